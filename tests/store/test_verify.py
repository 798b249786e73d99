"""Every damage to a store is found, named, and told once; a sound store has none."""

import json
import shutil
import threading
from collections import Counter
from pathlib import Path

import fsspec
import numpy as np
import pytest
import zarr
from helpers.profiles import examples
from hypothesis import given
from hypothesis import strategies as st

from refspace import ReferenceSpace, StructureTree
from refspace.errors import GridError, StoreError
from refspace.grid import Grid
from refspace.labels import labelled
from refspace.store import Fault, Report, block_writer, pyramid, verify_store
from refspace.store.digests import metadata_digest
from refspace.store.location import Location
from refspace.store.object_records import ObjectRecord

TREE = StructureTree(
    {
        "id": i,
        "acronym": f"s{i}",
        "name": f"Straße {i}",
        "structure_id_path": [1] if i == 1 else [1, i],
        "rgb_triplet": [i, 0, 9],
        "graph_order": i,
        "structure_set_ids": [7] if i == 2 else [],
    }
    for i in (1, 2, 3)
)
CUTS = {"plain": (2, None), "sharded": (2, 4)}
# Halved to (4, 2, 2), which leaves out the last plane, and (2, 1, 1).
SHAPE = (7, 4, 5)
CHUNKS = 24 + 2 + 1


def space_of(shape=SHAPE, seed=0, template="u2"):
    rng = np.random.default_rng(seed)
    grid = Grid(shape, (25, 30, 20), origin=(100, 0, -50))
    annotation = labelled(rng.choice([0, 1, 2, 3], shape).astype("u4"), grid)
    intensities = None
    if template is not None:
        values = rng.uniform(0, 200, shape).astype(template)
        intensities = labelled(values, grid, "template")
    return ReferenceSpace(TREE, annotation, template=intensities)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Makes stores that no test changes, each once."""
    folder = tmp_path_factory.mktemp("made")

    def make(cut="plain", seed=0, template=None):
        url = folder / f"{cut}-{seed}-{template}.zarr"
        if not url.exists():
            chunks, shards = CUTS[cut]
            space_of(seed=seed, template=template).to_zarr(url, chunks=chunks, shards=shards)
        return url

    return make


@pytest.fixture
def store(made, tmp_path):
    """Store of an annotation alone, to be damaged."""
    return Path(shutil.copytree(made(), tmp_path / "atlas.zarr"))


def lines(store, **options):
    return list(map(str, verify_store(store, **options).faults))


def files_of(store):
    return sorted(str(path.relative_to(store)) for path in store.rglob("*") if path.is_file())


def sign(store, change):
    """Change the root's metadata as someone would who knows how it is signed."""
    path = store / "zarr.json"
    document = json.loads(path.read_text())
    change(document)
    document["attributes"]["refspace"]["metadata_sha256"] = metadata_digest(document)
    path.write_text(json.dumps(document))


def seal(store, key):
    """Record a file as it is, and sign the root again."""
    record = ObjectRecord.of((store / key).read_bytes()).to_json()
    sign(
        store, lambda document: document["attributes"]["refspace"]["objects"].update({key: record})
    )


def flip(path, position, mask=255):
    data = bytearray(path.read_bytes())
    data[position] ^= mask
    path.write_bytes(data)


# ----- sound stores


@pytest.mark.parametrize("shape", [SHAPE, (1, 5, 7), (5, 1, 9), (3, 3, 3), (1, 1, 1), (8, 2, 6)])
@pytest.mark.parametrize(("chunks", "shards"), [(2, None), (3, None), (2, 4), (1, 3), (128, None)])
def test_a_sound_store_has_no_fault(shape, chunks, shards, tmp_path):
    for template, url in ((None, tmp_path / "a.zarr"), ("f4", f"memory://{tmp_path.name}.zarr")):
        space_of(shape, template=template).to_zarr(url, chunks=chunks, shards=shards)
        report = verify_store(url)
        assert report.faults == ()
        assert report.proven


def test_the_report_of_a_sound_store(made):
    report = verify_store(made())
    assert report.blocks == CHUNKS
    assert str(report) == f"{report.url}: every one of {CHUNKS} chunks is proven to be as written"


def test_intensities_that_are_no_numbers_are_equal_to_themselves(tmp_path):
    space = space_of(template="f4")
    space.template[2:4] = np.nan
    space.to_zarr(tmp_path / "atlas.zarr", chunks=2)
    assert lines(tmp_path / "atlas.zarr") == []


def test_given_coordinates_and_odd_spacings_are_no_fault(tmp_path):
    for spacing in (1 / 3, 39.0625, 0.1, 1e4):
        grid = Grid(SHAPE, (spacing, 10, 33.3), origin=(1 / 3, -57.5, 1e4))
        annotation = labelled(space_of().annotation.values, grid)
        nudged = np.nextafter(annotation.ap.values, np.inf)
        annotation = annotation.assign_coords(ap=("ap", nudged, annotation.ap.attrs))
        ReferenceSpace(TREE, annotation).to_zarr(tmp_path / "a.zarr", chunks=3, overwrite=True)
        assert lines(tmp_path / "a.zarr") == []


def test_attributes_that_others_add_are_no_fault(made, store):
    zarr.open_group(store, mode="r+", use_consolidated=False).attrs["seen"] = "by me"
    document = json.loads((store / "zarr.json").read_text())
    # zarr drops consolidated metadata when attributes change; so they are put back.
    whole = json.loads((made() / "zarr.json").read_text())
    whole["attributes"]["seen"] = document["attributes"]["seen"]
    (store / "zarr.json").write_text(json.dumps(whole, indent=2))
    assert lines(store) == []


# ----- bytes


def is_same_for_readers(store, whole, key):
    """Whether whoever reads a file gets what was written: two files may say the same thing."""
    if key.endswith("zarr.json"):
        try:
            return json.loads((store / key).read_bytes()) == json.loads((whole / key).read_bytes())
        except ValueError:
            return False
    path = key.partition("/c/")[0]
    try:
        found, expected = (zarr.open_array(s, path=path, mode="r")[...] for s in (store, whole))
    except Exception:  # whatever codecs raise
        return False
    same_size = (store / key).stat().st_size == (whole / key).stat().st_size
    return same_size and found.tolist() == expected.tolist()


def assert_named(faults, key):
    """A fault names the file, or the array whose file it is."""
    array = key.partition("/c/")[0]
    assert any(fault.key in (key, array) for fault in faults), (key, faults)


@pytest.mark.promise(
    "a bit is flipped in any file of a store",
    "the right answer or an error that names the file; verify names it",
)
@pytest.mark.slow
@pytest.mark.parametrize("cut", CUTS)
def test_a_flipped_byte_in_any_file_is_found(made, cut, tmp_path):
    whole = made(cut, template="u2" if cut == "sharded" else None)
    store = Path(shutil.copytree(whole, tmp_path / "atlas.zarr"))
    rng = np.random.default_rng(3)
    for key in files_of(store):
        before = (store / key).read_bytes()
        flip(store / key, rng.integers(len(before)))
        if not is_same_for_readers(store, whole, key):
            faults = verify_store(store).faults
            assert faults, key
            assert_named(faults, key)
        (store / key).write_bytes(before)
    assert lines(store) == []


@pytest.fixture(scope="module", params=CUTS)
def damaged(made, request, tmp_path_factory):
    """A store, what it was, and the names of its files."""
    whole = made(request.param, template="u2")
    store = tmp_path_factory.mktemp("damaged") / "atlas.zarr"
    return Path(shutil.copytree(whole, store)), whole, files_of(whole)


@pytest.mark.promise("a bit is flipped in any file of a store")
@given(data=st.data())
@examples(40)
def test_no_byte_is_beyond_proof(damaged, data):
    store, whole, files = damaged
    key = data.draw(st.sampled_from(["zarr.json", *files]))
    before = (store / key).read_bytes()
    how = data.draw(st.sampled_from(["flip", "cut", "add", "zero", "remove"]))
    position = data.draw(st.integers(0, len(before) - 1))
    after = {
        "cut": before[:position],
        "add": before[:position] + b"\0" + before[position:],
        "zero": before[:position] + bytes(len(before) - position),
        "flip": before,
    }
    try:
        if how == "remove":
            (store / key).unlink()
        else:
            (store / key).write_bytes(after[how])
        if how == "flip":
            flip(store / key, position, data.draw(st.integers(1, 255)))
        same = how != "remove" and is_same_for_readers(store, whole, key)
        faults = verify_store(store).faults
        # What readers do not see is none of verify's business; all else is.
        assert same or faults
        if faults:
            assert_named(faults, key)
    finally:
        (store / key).write_bytes(before)


# ----- voxels

FIRST = "s0/annotation/c/0/0/0"


@pytest.mark.promise("a chunk is lost")
def test_a_missing_chunk(store):
    (store / FIRST).unlink()
    assert lines(store) == [f"{FIRST}: is missing"]


def test_a_folder_in_the_place_of_a_chunk(store):
    (store / FIRST).unlink()
    (store / FIRST).mkdir()
    assert lines(store) == [f"{FIRST}: is missing"]


@pytest.mark.parametrize("size", [0, 1, 20])
def test_a_truncated_chunk(store, size):
    data = (store / FIRST).read_bytes()[:size]
    (store / FIRST).write_bytes(data)
    assert lines(store) == [f"{FIRST}: is not what was written"]


def test_a_chunk_that_was_never_right(tmp_path, monkeypatch):
    monkeypatch.setattr(block_writer, "encode_block", lambda array, block: b"no frame")
    space_of((2, 2, 2), template=None).to_zarr(tmp_path / "atlas.zarr")
    (line,) = lines(tmp_path / "atlas.zarr")
    assert line.startswith(f"{FIRST}: cannot be decoded: ")
    assert line.endswith("(8 bytes)")
    assert "\n" not in line


@pytest.mark.promise("two chunks are exchanged", "an error that names one, never a number")
def test_swapped_chunks(store):
    second = "s0/annotation/c/0/0/1"
    one, two = (store / FIRST).read_bytes(), (store / second).read_bytes()
    (store / FIRST).write_bytes(two)
    (store / second).write_bytes(one)
    assert lines(store) == [f"{key}: is not what was written" for key in (FIRST, second)]


@pytest.mark.promise(
    "a chunk is of an older version, or of another store",
    "an error that names it, never a number",
)
@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("name", ["annotation", "template"])
@pytest.mark.parametrize("level", [0, 1])
def test_a_chunk_of_an_older_version(made, cut, name, level, tmp_path):
    store = shutil.copytree(made(cut, template="u2"), tmp_path / "atlas.zarr")
    key = f"s{level}/{name}/c/0/0/0"
    shutil.copy(made(cut, seed=1, template="u2") / key, store / key)
    assert lines(store) == [f"{key}: is not what was written"]


@pytest.mark.parametrize("path", ["s1/annotation", "s2/annotation"])
def test_a_level_of_another_volume(made, store, path):
    shutil.rmtree(store / path / "c")
    shutil.copytree(made(seed=1) / path / "c", store / path / "c")
    keys = [key for key in files_of(store) if key.startswith(f"{path}/c/")]
    said = [f"{key}: is not what was written" for key in keys]
    assert lines(store) == said


def test_a_chunk_that_was_compressed_otherwise(store):
    size = (store / FIRST).stat().st_size
    array = zarr.open_group(store, mode="r", use_consolidated=False)["s0/annotation"]
    voxels = array[:2, :2, :2]
    codecs = [zarr.codecs.ZstdCodec(level=0, checksum=False)]
    options = {"shape": voxels.shape, "chunks": voxels.shape, "dtype": "u4"}
    other = zarr.create_array(store.parent / "other.zarr", compressors=codecs, **options)
    other[...] = voxels
    shutil.copy(store.parent / "other.zarr/c/0/0/0", store / FIRST)
    assert (store / FIRST).stat().st_size != size
    assert lines(store) == [f"{FIRST}: is not what was written"]


def test_a_file_that_cannot_be_read(store, monkeypatch):
    read = Location.read

    def refused(self, key, *limits):
        if key in (FIRST, "s0/zarr.json"):
            raise StoreError(f"{self.url}: {key} cannot be read: PermissionError(13)")
        return read(self, key, *limits)

    monkeypatch.setattr(Location, "read", refused)
    assert lines(store) == [
        f"{key}: cannot be read: PermissionError(13)" for key in ("s0/zarr.json", FIRST)
    ]


@pytest.mark.parametrize("name", ["annotation", "template"])
def test_a_level_is_proven_by_its_own_digests(name, tmp_path, monkeypatch):
    combine = {"annotation": "halve", "template": "average"}[name]
    right = getattr(pyramid, combine)

    def wrong(block, box, shape):
        result = right(block, box, shape)
        if shape == SHAPE and box[0].start == 0:
            result[0, 0, :2] += 1
        return result

    space_of().to_zarr(tmp_path / "right.zarr", chunks=2)
    with monkeypatch.context() as patch:
        patch.setattr(pyramid, combine, wrong)
        space_of().to_zarr(tmp_path / "wrong.zarr", chunks=2)
    # What a level is made of is the writer's to get right: what it wrote, it has digests of.
    assert lines(tmp_path / "wrong.zarr") == []
    # Such a chunk among those of a store that has other digests is damage, at any level.
    key = f"s1/{name}/c/0/0/0"
    shutil.copy(tmp_path / "wrong.zarr" / key, tmp_path / "right.zarr" / key)
    assert lines(tmp_path / "right.zarr") == [f"{key}: is not what was written"]


@pytest.mark.promise("a chunk is lost")
@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_chunk_that_is_missing_from_any_level(store, level):
    key = f"s{level}/annotation/c/0/0/0"
    (store / key).unlink()
    assert lines(store) == [f"{key}: is missing"]


# ----- records

RECORDS = "label_index/s0/annotation_objects"


def test_a_table_of_another_volume(store):
    key = "label_index/s0/table"
    voxels = space_of(template=None).annotation.values
    # The same boxes and counts under other labels make a table of the same shape.
    other = labelled(np.array([0, 2, 1, 3], "u4")[voxels], space_of().grid)
    ReferenceSpace(TREE, other).to_zarr(store.parent / "other.zarr", chunks=2)
    shutil.copy(store.parent / f"other.zarr/{key}/c/0/0", store / f"{key}/c/0/0")
    assert lines(store) == [f"{key}/c/0/0: is not what was written"]
    seal(store, f"{key}/c/0/0")
    (line,) = lines(store)
    assert line.startswith(f"{key}: differs from what ")
    assert line.endswith(" of 24 chunks hold: s0/annotation/c/0/0/0, …")


def test_a_table_that_was_measured_wrongly(tmp_path, monkeypatch):
    right = block_writer.cell_rows

    def wrong(block, corner, cells):
        rows = right(block, corner, cells)
        if corner == [0, 2, 4]:
            rows[1, -1] += 1
        return rows

    with monkeypatch.context() as patch:
        patch.setattr(block_writer, "cell_rows", wrong)
        space_of(template=None).to_zarr(tmp_path / "atlas.zarr", chunks=2)
    assert (
        lines(tmp_path / "atlas.zarr")
        == [
            "label_index/s0/table: differs from what 1 of 24 chunks hold: s0/annotation/c/0/1/2",
            "label_index/s1/table: differs from what 0 of 4 chunks hold: ",
        ][:1]
    )


def test_a_table_whose_digest_is_another(store):
    def change(document):
        document["attributes"]["refspace"]["arrays"]["s0/annotation"]["label_index"] = "0" * 64

    sign(store, change)
    assert lines(store) == [
        "zarr.json: the digest of the store is not that of its contents",
        "label_index/s0/table: is not the table that was written",
    ]


def test_records_of_another_volume(made, store):
    key = f"{RECORDS}/c/0/0/0/0"
    shutil.copy(made(seed=1) / key, store / key)
    damage = [f"{key}: is not what was written"]
    assert lines(store) == damage
    # The voxels are still proven, by the digest in the root.
    shutil.copy(made(seed=1) / FIRST, store / FIRST)
    told = "s0/annotation: its chunks are not those that were written; which ones cannot be told"
    assert told in lines(store)
    (store / FIRST).unlink()
    told = "s0/annotation: its other chunks cannot be proven: their records are damaged"
    assert lines(store) == [*damage, f"{FIRST}: is missing", told]


def test_records_of_another_volume_that_were_sealed(made, store):
    key = f"{RECORDS}/c/0/0/0/0"
    shutil.copy(made(seed=1) / key, store / key)
    seal(store, key)
    assert lines(store) == [f"{RECORDS}: its records are not those of s0/annotation"]


@pytest.mark.parametrize("level", [0, 1])
def test_coordinates_that_are_not_those_of_the_grid(store, level):
    array = zarr.open_group(store, mode="r+", use_consolidated=False)[f"s{level}/dv"]
    array[1] = array[1] + 0.1
    assert lines(store) == [f"s{level}/dv/c/0: is not what was written"]
    seal(store, f"s{level}/dv/c/0")
    told = f"s{level}/dv: is not on the grid that the multiscales of the root state"
    assert lines(store) == [told]
    array[1] = np.nan
    seal(store, f"s{level}/dv/c/0")
    assert lines(store) == [told]


def test_missing_coordinates(store):
    (store / "s0/ml/c/0").unlink()
    assert lines(store) == ["s0/ml/c/0: is missing"]
    shutil.rmtree(store / "s0/ml")
    assert lines(store) == ["s0/ml/zarr.json: is missing", "s0/ml/c/0: is missing"]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *[("structure", 9), ("parent_id", 3), ("graph_order", 0), ("structure_set", 8)],
        *[("acronym", "S3"), ("name", ""), ("rgb", [3, 0, 8]), ("in_set", True)],
    ],
)
def test_structures_that_are_not_those_of_the_root(store, column, value):
    zarr.open_group(store, mode="r+", use_consolidated=False)[f"structures/{column}"][-1] = value
    (line,) = lines(store)
    key, _, what = line.partition(": ")
    assert (key.startswith(f"structures/{column}/c/"), what) == (True, "is not what was written")
    seal(store, key)
    assert lines(store) == [f"structures/{column}: is not what the image-label of the root says"]


# ----- metadata


@pytest.mark.parametrize("node", ["s0", "s0/annotation", "s1/ap", "structures", "label_index/s0"])
def test_metadata_of_a_node(store, node):
    path = store / node / "zarr.json"
    whole = path.read_text()
    path.unlink()
    assert lines(store) == [f"{node}/zarr.json: is missing"]
    for stale in (whole[: len(whole) // 2], "{}", "[" * 100_000, json.dumps(json.loads(whole))):
        path.write_text(stale)
        assert lines(store) == [f"{node}/zarr.json: is not what was written"]
    path.write_text(whole)
    assert lines(store) == []


def without(*keys):
    def change(document):
        for key in keys[:-1]:
            document = document[key]
        del document[keys[-1]]

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without("attributes"), "what refspace wrote about the store into zarr.json is gone"),
        (without("attributes", "refspace"), "what refspace wrote about the store into zarr.json"),
        (without("attributes", "ome"), "has no 'ome'; convert it again"),
        (without("attributes", "ome", "image-label"), "is not what was written: it is damaged"),
        (without("attributes", "refspace", "digest"), "is not what was written: it is damaged"),
        (without("attributes", "refspace", "complete"), "is not complete: the run that wrote it"),
        (without("attributes", "refspace", "format"), "has format None; this refspace reads 5"),
        (without("consolidated_metadata"), "has no 'consolidated_metadata'; convert it again"),
        (without("consolidated_metadata", "metadata", "s0/ap"), "is not what was written"),
        (without("node_type"), "is not what was written: it is damaged, or was changed"),
        (without("zarr_format"), "is not the metadata of a zarr node"),
    ],
)
def test_metadata_of_the_root(store, change, said):
    document = json.loads((store / "zarr.json").read_text())
    change(document)
    (store / "zarr.json").write_text(json.dumps(document))
    (line,) = lines(store)
    assert line.startswith("zarr.json: ")
    assert said in line


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "[" * 100_000, '{"zarr_format": 3}'])
def test_a_root_that_is_none(store, content):
    (store / "zarr.json").write_text(content)
    (line,) = lines(store)
    assert line.startswith("zarr.json: ")
    (store / "zarr.json").unlink()
    (line,) = lines(store)
    assert line == f"zarr.json: there is no zarr store at {store}"


def test_a_root_of_another_volume(made, store):
    shutil.copy(made(seed=1) / "zarr.json", store / "zarr.json")
    assert [line for line in lines(store) if "s0/annotation" in line] == [
        f"{RECORDS}/c/0/0/0/0: is not what was written",
        "s0/annotation: its chunks are not those that were written; which ones cannot be told",
    ]


def test_a_root_that_was_signed_again(store):
    def shift(document):
        dataset = document["attributes"]["ome"]["multiscales"][0]["datasets"][1]
        dataset["coordinateTransformations"][1]["translation"][0] += 25

    sign(store, shift)
    assert lines(store) == [
        "s1/ap: is not on the grid that the multiscales of the root state",
        "zarr.json: its levels are not halves of each other",
    ]


def test_metadata_that_are_missing_from_the_root(store):
    sign(store, lambda document: document["consolidated_metadata"]["metadata"].pop(RECORDS))
    assert lines(store) == [f"{RECORDS}: is missing from the metadata of the root"]


def test_arrays_that_are_not_what_they_should_be(store):
    def change(document):
        nodes = document["consolidated_metadata"]["metadata"]
        nodes["s0/hemispheres"] = nodes["s0/annotation"]
        nodes[RECORDS] = nodes["label_index/s0/table"]

    sign(store, change)
    found = lines(store)
    assert any(line.startswith(f"{RECORDS}: is int64 of shape (12, ") for line in found)
    assert "s0/hemispheres: is nothing that this version of refspace can prove" in found


# ----- files, and all of it


@pytest.mark.promise("a file is in the store that belongs to nothing", "verify names it")
def test_files_that_belong_to_nothing(store):
    extra = [".DS_Store", "s0/annotation/c/0/0/0.partial", "s0/annotation/c/9/9/9", "s9/x"]
    for key in extra:
        (store / key).parent.mkdir(parents=True, exist_ok=True)
        (store / key).write_text("x")
    assert lines(store) == [f"{key}: belongs to nothing in the store; remove it" for key in extra]


def test_all_faults_are_listed_each_once(store):
    removed = [FIRST, "s0/annotation/c/3/1/2", "s1/annotation/c/0/0/0", "structures/name/c/0"]
    for key in removed:
        (store / key).unlink()
    (store / "s1/zarr.json").unlink()
    (store / "notes.txt").write_text("x")
    report = verify_store(store)
    assert Counter(fault.key for fault in report.faults) == Counter(
        [*removed, "s1/zarr.json", "notes.txt"]
    )
    assert str(report).splitlines() == [*map(str, report.faults), f"{store} has 6 faults"]


def test_one_fault_is_one():
    report = Report("a.zarr", 1, (Fault("s0/ap", "is missing"),), proven=True)
    assert str(report) == "s0/ap: is missing\na.zarr has 1 fault"


def test_a_damaged_remote_store():
    url = "memory://verify-remote.zarr"
    space_of().to_zarr(url, chunks=2, overwrite=True)
    fsspec.filesystem("memory").rm(f"/verify-remote.zarr/{FIRST}")
    assert lines(url) == [f"{FIRST}: is missing"]


# ----- how it is done


def test_each_file_of_voxels_is_read_once(made, monkeypatch):
    # Made before reads are counted: coarser levels are made of what is read back.
    store = made(template="u2")
    read, reads, lock = Location.read, Counter(), threading.Lock()

    def counted(self, key, *limit):
        with lock:
            reads[key] += 1
        return read(self, key, *limit)

    monkeypatch.setattr(Location, "read", counted)
    assert verify_store(store, threads=3).faults == ()
    voxels = {key: n for key, n in reads.items() if "annotation/c" in key or "template/c" in key}
    expected = [key for key in files_of(store) if "annotation/c" in key or "template/c" in key]
    assert voxels == dict.fromkeys(expected, 1)
    assert set(reads) == set(files_of(store))


@pytest.mark.parametrize("threads", [1, 4])
def test_progress(made, threads):
    calls = []
    verify_store(
        made(template="u2"),
        threads=threads,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert calls == sorted(calls)
    assert calls[-1] == (2 * CHUNKS, 2 * CHUNKS)
    assert {total for _, total in calls} == {2 * CHUNKS}


def test_an_interruption_ends_it(made):
    def stop(done, total):
        raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        verify_store(made(template="u2"), threads=2, progress=stop)
    assert threading.active_count() == before


@pytest.mark.parametrize("url", ["nothing.zarr", "memory://no/such.zarr"])
def test_no_store_is_an_error(url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError, match=f"there is no zarr store at {url}"):
        verify_store(url)


# ----- stores of other programs


@pytest.fixture(params=[2, 3])
def foreign(request, tmp_path):
    array = zarr.create_array(
        tmp_path / "foreign.zarr",
        shape=(5, 4, 3),
        chunks=(2, 2, 2),
        dtype="u4",
        zarr_format=request.param,
    )
    array[:4] = np.arange(1, 49).reshape(4, 4, 3)
    return tmp_path / "foreign.zarr"


def test_of_a_foreign_store_every_chunk_is_read(foreign):
    calls = []
    report = verify_store(foreign, resolution=25, progress=lambda *call: calls.append(call))
    # Chunks that were never written are fill values, as zarr has it.
    assert report.faults == ()
    assert report.blocks == 12
    assert calls == [(done, 12) for done in range(1, 13)]
    assert str(report) == (
        f"{foreign}: every one of 12 chunks can be read; whether they are as written cannot be "
        "proven: only a store of refspace has digests of its voxels"
    )


def test_damaged_chunks_of_a_foreign_store_are_named(foreign):
    chunks = [key for key in files_of(foreign) if not key.startswith((".z", "zarr"))]
    for key in chunks[:2]:
        (foreign / key).write_bytes(b"\0")
    found = verify_store(foreign, resolution=25).faults
    assert [fault.key for fault in found] == chunks[:2]
    assert all(fault.what.startswith("cannot be read: ") for fault in found)


def test_what_a_foreign_store_does_not_state_is_asked_for(foreign):
    with pytest.raises(GridError, match="is an array without geometry; give its resolution in µm"):
        verify_store(foreign)


def test_a_foreign_store_that_is_damaged(foreign):
    (key,) = [key for key in ("zarr.json", ".zarray") if (foreign / key).exists()]
    (foreign / key).write_text("{")
    (line,) = lines(foreign, resolution=25)
    assert line.startswith(f"{key}: ")
