"""Stores whose tables are in parts: the same answers as in one piece, few reads, all proven."""

import itertools
import json
import pickle
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import zarr

import refspace
from refspace import ReferenceSpace, StructureTree
from refspace.cli.describe import stored_bytes
from refspace.errors import FormatError
from refspace.grid import Grid
from refspace.label_index import PartedIndex, parts
from refspace.labels import labelled
from refspace.store import block_writer, metadata, open_atlas, verify_store
from refspace.store.digests import array_sha256, metadata_digest
from refspace.store.location import Location
from refspace.store.object_records import ObjectRecord
from refspace.store.write import StoreWriter

TREE = StructureTree(
    {"id": i, "acronym": f"s{i}", "name": f"S {i}", "structure_id_path": [1] if i == 1 else [1, i]}
    for i in range(1, 9)
)
SHAPE, CHUNK, BOX, ROWS, RECORDS_SIDE = (12, 10, 14), 2, 2, 20, 3
GRID = Grid(SHAPE, (25, 25, 25))
NUMBLOCKS = (6, 5, 7)
FOLDER = "label_index/s0"
pytestmark = pytest.mark.usefixtures("no_sync")


@pytest.fixture(scope="module", autouse=True)
def small_parts():
    """Parts so small that a small store has many of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "_BOX", BOX)
        patch.setattr(metadata, "_PART_ROWS", ROWS)
        patch.setattr(metadata, "_MOST_RECORDS", 12)
        patch.setattr(metadata, "_RECORDS_SIDE", RECORDS_SIDE)
        yield


def voxels_of(seed=0):
    """Structures of some voxels, the last in a corner alone, in much background."""
    rng = np.random.default_rng(seed)
    coarse = rng.choice([0, 0, 2, 3, 4, 5, 6, 7], [n // 2 for n in SHAPE])
    voxels = coarse.repeat(2, 0).repeat(2, 1).repeat(2, 2).astype("u4")
    voxels[rng.random(SHAPE) < 0.05] = 1
    voxels[:4, 5:, 3:8][rng.random((4, 5, 5)) < 0.5] = 8
    return voxels


def space_of(seed=0, **options):
    """Space of random voxels; the one of seed -1 has other labels in the places of the first."""
    if seed == -1:
        voxels = np.array([0, 1, 3, 2, 4, 5, 6, 7, 8], "u4")[voxels_of()]
        return ReferenceSpace(TREE, labelled(voxels, GRID), template=template_of(), **options)
    annotation = labelled(voxels_of(seed), GRID)
    return ReferenceSpace(TREE, annotation, template=template_of(), **options)


def template_of():
    return labelled(np.arange(np.prod(SHAPE), dtype="u2").reshape(SHAPE), GRID, "template")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Makes stores that no test changes, each once: in parts, or in one piece."""
    folder = tmp_path_factory.mktemp("made")

    def make(name, seed=0):
        url = folder / f"{name}-{seed}.zarr"
        if not url.exists():
            with pytest.MonkeyPatch.context() as patch:
                if name == "one":
                    patch.setattr(metadata, "_PART_ROWS", 10**6)
                    patch.setattr(metadata, "_MOST_RECORDS", 10**6)
                shards = {"chunks": 1, "shards": CHUNK} if name == "sharded" else {"chunks": CHUNK}
                space_of(seed).to_zarr(url, **shards)
        return url

    return make


@pytest.fixture
def store(made, tmp_path):
    """Store in parts, to be damaged."""
    return Path(shutil.copytree(made("parts"), tmp_path / "atlas.zarr"))


@pytest.fixture
def reads(monkeypatch):
    """How often each object is read."""
    seen, read = Counter(), Location.read

    def counted(self, key, *limit):
        seen[key] += 1
        return read(self, key, *limit)

    monkeypatch.setattr(Location, "read", counted)
    return seen


def files_of(store):
    return sorted(str(path.relative_to(store)) for path in store.rglob("*") if path.is_file())


def below(reads, path):
    """Chunks of an array that were read, each once."""
    begin = f"{path}/c/"
    keys = [key for key in reads if key.startswith(begin)]
    assert {reads[key] for key in keys} <= {1}
    return sorted(tuple(map(int, key.removeprefix(begin).split("/"))) for key in keys)


# ----- the layout


def test_tables_are_in_parts(made):
    group = zarr.open_group(made("parts"), mode="r")
    arrays = {
        name: group[f"{FOLDER}/{name}"]
        for name in ("table", "totals", "spans", "table_objects", "annotation_objects")
    }
    assert arrays["table"].chunks == (12, ROWS)
    count = arrays["table"].nchunks
    assert count > 12
    assert arrays["table"].shape[1] > ROWS * (count - 1)
    assert arrays["spans"].shape == (2, count)
    assert arrays["table_objects"].shape == (1, count, 40)
    assert arrays["annotation_objects"].shape == (*NUMBLOCKS, 40)
    assert arrays["annotation_objects"].chunks == (RECORDS_SIDE,) * 3 + (40,)
    root = json.loads((made("parts") / "zarr.json").read_text())["attributes"]["refspace"]
    recorded = {key.partition("/c/")[0] for key in root["objects"]}
    assert not recorded & {f"{FOLDER}/table", f"{FOLDER}/annotation_objects"}
    assert f"{FOLDER}/annotation_objects_objects" in recorded


def test_what_is_proven_is_what_was_written(made):
    for name in ("parts", "sharded", "one"):
        assert verify_store(made(name)).faults == ()


def test_a_table_may_be_longer_than_a_volume(made):
    with refspace.set_limits(axis_length=100):
        assert refspace.open(made("parts")).crop("s8").label_index.counts()
    with (
        refspace.set_limits(blocks=200),
        pytest.raises(refspace.errors.FormatError, match="blocks"),
    ):
        refspace.open(made("parts")).annotation  # noqa: B018


# ----- the same answers


POINTS = np.random.default_rng(1).uniform(-20, 400, (60, 3))
IMAGE = np.random.default_rng(2).uniform(size=SHAPE).astype("f4")
QUESTIONS = {
    "counts": lambda s: s.voxel_counts().total.values,
    "counts of sides": lambda s: s.voxel_counts(by_hemisphere=True).direct.values,
    "properties": lambda s: s.region_properties().compute().to_array().values,
    "bounds": lambda s: str(s.bounds("s8")),
    "centroid": lambda s: s.centroid(["s2", "s8"]),
    "mask": lambda s: s.make_structure_mask("s8").values,
    "cropped mask": lambda s: s.make_structure_mask("s8", crop=True).values,
    "crop": lambda s: s.crop("s8", pad=30).annotation.values,
    "labels of a crop": lambda s: s.crop("s8").total_voxel_map[8],
    "crop of a side": lambda s: s.hemisphere("left").crop("s8").annotation.values,
    "mask of a side": lambda s: s.hemisphere("right").make_structure_mask("s3").values,
    "slice": lambda s: s.get_slice_image("ap", 60).values,
    "slice of a side": lambda s: s.hemisphere("left").get_slice_image("ml", 60).values,
    "turned": lambda s: s.reorient("RSA").get_slice_image("dv", 60).values,
    "boundaries": lambda s: s.boundaries(axis="ml", position=200).values,
    "all boundaries": lambda s: s.boundaries().values,
    "points": lambda s: s.structure_at(POINTS).values,
    "few points": lambda s: s.structure_at(POINTS[:2]).values,
    "no point": lambda s: s.structure_at(POINTS[:0]).values,
    "counted points": lambda s: s.count_points(POINTS, ["s2", "s8"]).points.values,
    "aggregate": lambda s: s.aggregate(IMAGE, ["s2", "s8"]).compute().to_array().values,
    "downsample": lambda s: s.downsample(50, "mode").annotation.values,
    "contacts": lambda s: s.surface_area(["s8"]).values,
    "plan": lambda s: [*np.ravel(s.plan("s8").blocks), s.plan("s8").stored_bytes],
    "plan of a crop": lambda s: [s.crop("s8").plan("s8").stored_bytes],
}


@pytest.mark.parametrize("name", ["parts", "sharded"])
@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
def test_answers_are_those_of_one_piece(made, name, question):
    space = refspace.open(made(name))
    assert isinstance(space.label_index, PartedIndex)
    expected = question(refspace.open(made("one")))
    if name == "sharded" and question in (QUESTIONS["plan"], QUESTIONS["plan of a crop"]):
        return  # which has other objects
    np.testing.assert_array_equal(question(space), expected)


def test_the_index_is_that_of_one_piece(made):
    one, parted = (refspace.open(made(name)) for name in ("one", "parts"))
    assert parted.label_index == one.label_index
    assert parted.hemisphere("left").label_index == one.hemisphere("left").label_index
    assert parted.block_labels == one.block_labels
    levels = zip(one.levels, parted.levels, strict=True)
    assert all(a.volume.label_index == b.volume.label_index for a, b in levels)


def test_slices_read_no_more_chunks_than_with_one_piece(made, reads):
    read = {}
    for name in ("one", "parts"):
        space = refspace.open(made(name))
        reads.clear()
        space.get_slice_image("dv", 130).compute()
        space.hemisphere("left").get_slice_image("ap", 130).compute()
        read[name] = sorted(key for key in reads if key.startswith("s0/annotation/c/"))
    assert read["one"] == read["parts"]


@pytest.mark.parametrize("side", ["left", "right"])
def test_hemispheres_that_a_volume_tells_apart(tmp_path, side):
    flags = np.random.default_rng(5).choice([1, 2], SHAPE).astype("u1")
    spaces = []
    for name, rows in (("one", 10**6), ("parts", ROWS)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(metadata, "_PART_ROWS", rows)
            space_of(hemispheres=labelled(flags, GRID, "hemispheres")).to_zarr(
                tmp_path / f"{name}.zarr", chunks=CHUNK
            )
        spaces.append(refspace.open(tmp_path / f"{name}.zarr").hemisphere(side))
    one, parted = spaces
    for name in ("slice", "mask", "cropped mask", "points", "counts"):
        np.testing.assert_array_equal(QUESTIONS[name](parted), QUESTIONS[name](one))
    plane = parted.get_slice_image("ap", 60)
    np.testing.assert_array_equal(plane, one.get_slice_image("ap", 60))


@pytest.mark.parametrize("name", ["counts", "cropped mask", "mask", "slice", "points", "crop"])
def test_a_store_elsewhere(made, reads, tmp_path, name):
    """Whose parts are requested at the same time, each once."""
    url = f"memory://{tmp_path.name}.zarr"
    space_of().to_zarr(url, chunks=CHUNK)
    space, expected = refspace.open(url), QUESTIONS[name](refspace.open(made("one")))
    reads.clear()
    np.testing.assert_array_equal(QUESTIONS[name](space), expected)
    assert {key: count for key, count in reads.items() if count > 1} == {}


def test_the_root_does_not_grow_with_the_parts(made):
    """But by what describes the tables: four arrays more of each level, and their objects."""
    sizes = {name: (made(name) / "zarr.json").stat().st_size for name in ("one", "parts")}
    levels = len(open_atlas(str(made("parts"))).levels)
    assert sizes["one"] < sizes["parts"] < sizes["one"] + 8000 * levels


# ----- what is read


def test_opening_and_counts_read_no_part(made, reads):
    space = refspace.open(made("parts"))
    assert reads == dict.fromkeys(["zarr.json", "s0/ap/c/0", "s0/dv/c/0", "s0/ml/c/0"], 1)
    reads.clear()
    space.voxel_counts()
    space.voxel_counts(by_hemisphere=True)
    space.region_properties().compute()
    space.bounds("s8"), space.centroid("s3"), space.crop("s8")
    assert reads == {f"{FOLDER}/totals/c/0/0": 1}


def cells_of_boxes(index):
    """Cells in the order of the parts: said by sorting all of them."""
    shape = tuple(map(len, index.chunks))
    return sorted(np.ndindex(shape), key=lambda cell: ([i // BOX for i in cell], cell))


def parts_with(index, cells):
    """Parts that have rows of some cells, by a list of the cell of each row."""
    shape = tuple(map(len, index.chunks))
    counts = np.bincount(index.table[0], minlength=np.prod(shape)).reshape(shape)
    rows = [cell for cell in cells_of_boxes(index) for _ in range(counts[cell])]
    return sorted({place // ROWS for place, cell in enumerate(rows) if cell in cells})


def cells_met(index, box):
    """Cells of an index that a box of voxels meets."""
    axes = []
    for sizes, part in zip(index.chunks, box, strict=True):
        ends = np.cumsum((0, *sizes)).tolist()
        pairs = enumerate(itertools.pairwise(ends))
        axes.append([i for i, (a, b) in pairs if a < part.stop and b > part.start])
    return set(itertools.product(*axes))


def test_a_cropped_mask_reads_the_parts_of_its_box(made, reads):
    index = refspace.open(made("one")).label_index
    where = np.argwhere(voxels_of() == 8)
    # Of whole blocks, each of which may be two cells.
    starts, stops = where.min(0) // CHUNK * CHUNK, -(-(where.max(0) + 1) // CHUNK) * CHUNK
    box = [slice(*ends) for ends in zip(starts.tolist(), stops.tolist(), strict=True)]
    space = refspace.open(made("parts"))
    reads.clear()
    mask = space.make_structure_mask("s8", crop=True).compute()
    assert int(mask.sum()) == len(where)
    expected = parts_with(index, cells_met(index, box))
    total = zarr.open_array(made("parts"), path=f"{FOLDER}/table", mode="r").nchunks
    assert [part for _, part in below(reads, f"{FOLDER}/table")] == expected
    assert len(expected) < total / 2
    blocks = below(reads, "s0/annotation")
    assert blocks
    held = sorted({(*(i // RECORDS_SIDE for i in block), 0) for block in blocks})
    assert below(reads, f"{FOLDER}/annotation_objects") == held
    assert len(held) < 6
    assert reads[f"{FOLDER}/totals/c/0/0"] == reads[f"{FOLDER}/spans/c/0/0"] == 1
    counted = {key.partition("/c/")[0] for key in reads}
    assert counted == {
        "s0/annotation",
        *(
            f"{FOLDER}/{name}"
            for name in (
                *("table", "totals", "spans", "table_objects", "table_objects_objects"),
                *("annotation_objects", "annotation_objects_objects"),
            )
        ),
    }
    # Once more, nothing of the tables is read.
    tables = {key: count for key, count in reads.items() if key.startswith(FOLDER)}
    space.make_structure_mask("s8", crop=True).compute()
    assert {key: count for key, count in reads.items() if key.startswith(FOLDER)} == tables


def test_a_plane_and_points_read_the_parts_of_their_blocks(made, reads):
    index = refspace.open(made("one")).label_index
    everything = [slice(0, n) for n in SHAPE]
    cases = {
        "plane": (lambda s: s.get_slice_image("ap", 60), [slice(2, 4), *everything[1:]]),
        "points": (
            lambda s: s.structure_at([[60, 10, 30], [30, 80, 20]]),
            [slice(0, 4), slice(0, 4), slice(0, 2)],
        ),
    }
    for ask, box in cases.values():
        space = refspace.open(made("parts"))
        reads.clear()
        ask(space).compute()
        expected = parts_with(index, cells_met(index, box))
        assert [part for _, part in below(reads, f"{FOLDER}/table")] == expected


def test_plans_of_a_crop_read_the_records_of_its_blocks(made, reads):
    space = refspace.open(made("parts"))
    part = space.crop("s8")
    reads.clear()
    plan = part.plan("s8")
    where = np.argwhere(voxels_of() == 8)
    low, high = where.min(0) // CHUNK // RECORDS_SIDE, where.max(0) // CHUNK // RECORDS_SIDE
    held = itertools.product(*(range(a, b + 1) for a, b in zip(low, high, strict=True)), [0])
    assert below(reads, f"{FOLDER}/annotation_objects") == sorted(held)
    first = low * 0 + where.min(0) // CHUNK
    sizes = [
        (made("parts") / "s0/annotation/c" / "/".join(map(str, first + block))).stat().st_size
        for block in plan.blocks
    ]
    assert plan.stored_bytes == sum(sizes)


def test_what_a_store_elsewhere_takes_is_not_summed_from_many_parts(made, reads, tmp_path):
    url = f"memory://{tmp_path.name}.zarr"
    space_of().to_zarr(url, chunks=CHUNK)
    atlas = open_atlas(url)
    reads.clear()
    assert stored_bytes(atlas) is None
    assert not reads
    assert stored_bytes(open_atlas(str(made("parts")))) > 0


def test_parts_are_read_in_each_process_and_not_sent(made, reads):
    space = refspace.open(made("parts"))
    space.make_structure_mask("s8", crop=True).compute()
    index = space.label_index
    assert len(pickle.dumps(open_atlas(str(made("parts"))).levels[0].array.records)) < 5000
    copy, expected = pickle.loads(pickle.dumps(index)), index.labels_in((0, 0, 0))
    reads.clear()
    assert copy.labels_in((0, 0, 0)) == expected
    assert below(reads, f"{FOLDER}/table") == [(0, 0)]


# ----- damage


def damaged(store, key, how):
    path = store / key
    match how:
        case "missing":
            path.unlink()
        case "cut":
            path.write_bytes(path.read_bytes()[:-1])
        case _:
            path.write_bytes(how.read_bytes())


def mask_and_counts(url):
    space = refspace.open(url)
    return space.make_structure_mask("s8", crop=True).values, space.total_voxel_map


TOTALS, SPANS = f"{FOLDER}/totals/c/0/0", f"{FOLDER}/spans/c/0/0"


@pytest.mark.parametrize("how", ["missing", "cut", "other"])
@pytest.mark.parametrize(
    "key",
    [TOTALS, SPANS, "table", f"{FOLDER}/table_objects/c/0/0/0",
     f"{FOLDER}/table_objects_objects/c/0/0/0/0"],
)  # fmt: skip
def test_a_damaged_part_is_not_trusted(store, made, key, how):
    expected = mask_and_counts(made("one"))
    if key == "table":
        # One that the mask needs.
        index = refspace.open(made("one")).label_index
        key = f"{FOLDER}/table/c/0/{parts_with(index, {(0, 3, 2)})[0]}"
    damaged(store, key, made("parts", 1) / key if how == "other" else how)
    with pytest.warns(UserWarning, match=r"label index .*is not used: .*Voxels are read instead"):
        mask, counts = mask_and_counts(store)
    np.testing.assert_array_equal(mask, expected[0])
    assert counts == expected[1]
    assert any(fault.key == key for fault in verify_store(store).faults)


@pytest.mark.parametrize("name", [name for name in QUESTIONS if "plan" not in name])
def test_voxels_are_read_where_no_part_can_be(store, made, name, recwarn):
    shutil.rmtree(store / f"{FOLDER}/table/c")
    spaces = refspace.open(store), refspace.open(made("one"))
    found, expected = map(QUESTIONS[name], spaces)
    if name == "contacts":  # whose sums are of floats
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    else:
        np.testing.assert_array_equal(found, expected)
    assert all("is not used" in str(warned.message) for warned in recwarn)


@pytest.mark.parametrize("how", ["missing", "cut", "other"])
@pytest.mark.parametrize("objects", ["annotation_objects", "annotation_objects_objects"])
def test_damaged_records_prove_nothing(store, made, objects, how):
    (key, *_) = [key for key in files_of(store) if key.startswith(f"{FOLDER}/{objects}/c/")]
    damaged(store, key, made("parts", 1) / key if how == "other" else how)
    with pytest.raises(FormatError, match=f"chunk {key} is"):
        refspace.open(store).annotation.compute()
    faults = verify_store(store).faults
    assert key in [fault.key for fault in faults]


def sealed(store, *keys, change=lambda metadata: None):
    """Sign the root again, as someone would who knows how, with objects as they are."""
    path = store / "zarr.json"
    document = json.loads(path.read_text())
    own = document["attributes"]["refspace"]
    for key in keys:
        own["objects"][key] = ObjectRecord.of((store / key).read_bytes()).to_json()
    change(document)
    own["metadata_sha256"] = metadata_digest(document)
    path.write_text(json.dumps(document))


@pytest.mark.parametrize("names", [["totals"], ["table", "table_objects"]])
def test_tables_of_another_volume_that_were_sealed(store, made, names):
    """Such tables are proven as objects, but are not those whose digests the root has."""
    other, (said, *_) = made("parts", -1), names
    for name in (*names, "table_objects_objects") if "table" in names else names:
        shutil.rmtree(store / FOLDER / name / "c")
        shutil.copytree(other / FOLDER / name / "c", store / FOLDER / name / "c")
    in_root = [k for k in files_of(store) if k.startswith(FOLDER) and "/c/" in k]
    root = json.loads((store / "zarr.json").read_text())["attributes"]["refspace"]["objects"]
    sealed(store, *(key for key in in_root if key in root))
    with pytest.warns(UserWarning, match="of another volume"):
        mask, counts = mask_and_counts(store)
    expected = mask_and_counts(made("parts"))
    np.testing.assert_array_equal(mask, expected[0])
    assert counts == expected[1]
    faults = [str(fault) for fault in verify_store(store).faults]
    assert any(fault.startswith(f"{FOLDER}/{said}") for fault in faults)


def test_parts_that_are_said_to_be_elsewhere(store, made):
    spans = zarr.open_group(store, mode="r+", use_consolidated=False)[f"{FOLDER}/spans"]
    spans[0, 5] += 1
    sealed(store, SPANS)
    with pytest.warns(UserWarning, match="table has parts of the index of another volume; conv"):
        mask, _ = mask_and_counts(store)
    np.testing.assert_array_equal(mask, mask_and_counts(made("parts"))[0])
    told = "is not of the parts that were written"
    assert [str(f) for f in verify_store(store).faults] == [f"{FOLDER}/spans: {told}"]


def test_verify_holds_totals_and_places_against_the_table(store):
    """Also where every digest fits, as of a writer that is wrong."""
    group = zarr.open_group(store, mode="r+", use_consolidated=False)
    totals, spans, records = (
        group[f"{FOLDER}/{name}"] for name in ("totals", "spans", "table_objects")
    )
    # Of two labels: as many voxels as before, all in all.
    totals[2, 2], totals[2, 4] = totals[2, 2] + 1, totals[2, 4] - 1
    spans[1, 5] -= 1

    def change(document):
        own = document["attributes"]["refspace"]["arrays"]["s0/annotation"]
        own["label_index_totals"] = array_sha256(totals[...])
        own["label_index_parts"] = array_sha256(spans[...], records[...])

    sealed(store, TOTALS, SPANS, change=change)
    assert [str(fault) for fault in verify_store(store).faults] == [
        "zarr.json: the digest of the store is not that of its contents",
        f"{FOLDER}/spans: is not where the chunks are in the table",
        f"{FOLDER}/totals: its totals are not those of the table",
    ]


def test_every_file_is_proven(made, tmp_path):
    """A flipped byte in any table of the first level is told."""
    store = Path(shutil.copytree(made("parts"), tmp_path / "atlas.zarr"))
    keys = [key for key in files_of(store) if key.startswith(FOLDER) and "/c/" in key]
    rng = np.random.default_rng(3)
    for key in rng.permutation(keys)[:12]:
        before = (store / key).read_bytes()
        changed = bytearray(before)
        changed[rng.integers(len(before))] ^= 255
        (store / key).write_bytes(changed)
        assert key in [fault.key for fault in verify_store(store).faults]
        (store / key).write_bytes(before)
    (store / FOLDER / "table/c/0/999").write_bytes(b"")
    assert [fault.key for fault in verify_store(store).faults] == [f"{FOLDER}/table/c/0/999"]


# ----- writing


def test_a_job_that_was_interrupted_writes_the_same(made, tmp_path, monkeypatch):
    target = tmp_path / "atlas.zarr"
    put, calls = block_writer.BlockWriter.put, Counter()

    def counted(self, block_id, block):
        calls["put"] += 1
        if calls["put"] > 60:
            raise KeyboardInterrupt
        return put(self, block_id, block)

    with monkeypatch.context() as patch:
        patch.setattr(block_writer.BlockWriter, "put", counted)
        patch.setattr(StoreWriter, "record_seconds", 0.0)
        with pytest.raises(KeyboardInterrupt):
            space_of().to_zarr(target, chunks=CHUNK, threads=1)
    assert not target.exists()
    space_of().to_zarr(target, chunks=CHUNK)
    assert files_of(target) == files_of(made("parts"))
    for key in files_of(target):
        if not key.startswith("zarr.json"):
            assert (target / key).read_bytes() == (made("parts") / key).read_bytes()
