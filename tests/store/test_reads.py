"""What is read of a store: counted, chunk by chunk, and what happens where a chunk is not right."""

import itertools
import pickle
import shutil
from collections import Counter

import cloudpickle
import dask.array
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from helpers.volumes import subtree
from zarr.storage import LocalStore

import refspace
from refspace import ReferenceSpace, StructureTree
from refspace.errors import FormatError
from refspace.store.location import Location
from refspace.store.stored_array import StoredArray

ROOT, AUDD, VISP, ISOCORTEX = 997, 1011, 385, 315
TABLE = "label_index/s0/table/c/0/0"
RECORDS = "label_index/s0/annotation_objects/c/0/0/0/0"


class Reads:
    """What was asked of the stores of this machine."""

    def __init__(self):
        self.arrays = Counter()
        self.objects = Counter()

    def chunks(self, path="s0/annotation"):
        """How often each chunk of an array was read."""
        begin = f"{path}/c/"
        keys = [key for key in self.objects if key.startswith(begin)]
        return {numbers(key.removeprefix(begin)): self.objects[key] for key in keys}

    def no_voxel(self):
        return not any("/annotation" in key for key in [*self.arrays, *self.objects])

    def clear(self):
        self.arrays.clear()
        self.objects.clear()


def numbers(text):
    return tuple(map(int, text.split("/")))


@pytest.fixture
def reads(monkeypatch):
    """Blocks that are decoded, by array, and objects that are asked for bytes."""
    seen = Reads()
    decoded, read, get = StoredArray.decoded, Location.read, LocalStore.get

    def counted_decoded(self, key, data):
        seen.arrays[self.array.path] += 1
        return decoded(self, key, data)

    def counted_read(self, key, *limit):
        seen.objects[key] += 1
        return read(self, key, *limit)

    async def counted_get(self, key, *args, **kwargs):
        seen.objects[key] += 1
        return await get(self, key, *args, **kwargs)

    monkeypatch.setattr(StoredArray, "decoded", counted_decoded)
    monkeypatch.setattr(Location, "read", counted_read)
    # For whoever reads through zarr, as xarray does.
    monkeypatch.setattr(LocalStore, "get", counted_get)
    return seen


# ----- the stores, and what NumPy says of their chunks


@pytest.fixture(
    scope="module", params=["phantom_store", pytest.param("ccf_store", marks=pytest.mark.ccf)]
)
def url(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def array(url):
    return zarr.open_array(url, path="s0/annotation", mode="r")


@pytest.fixture(scope="module")
def voxels(array):
    return array[...]


@pytest.fixture(scope="module")
def labels(array, voxels):
    """Labels of each chunk."""
    return labels_of_parts(voxels, array.chunks)


def labels_of_parts(voxels, shape):
    sides = [range(0, n, size) for n, size in zip(voxels.shape, shape, strict=True)]
    parts = itertools.product(
        *([slice(a, a + n) for a in s] for s, n in zip(sides, shape, strict=True))
    )
    found = [set(pd.unique(voxels[part].ravel()).tolist()) for part in parts]
    return dict(zip(itertools.product(*map(range, map(len, sides))), found, strict=True))


@pytest.fixture(scope="module")
def warm(url):
    """The store, opened, and its index read."""
    space = refspace.open(url)
    space.label_index  # noqa: B018
    return space


def once(keys):
    return dict.fromkeys(keys, 1)


def mixed(labels, ids):
    """Chunks of which some voxels have one of the ids, and others have not."""
    return [number for number, here in labels.items() if here & ids and here - ids]


def ids_of(space, structure):
    return set(subtree(space.structure_tree, structure))


def files(url, chunks):
    """Sizes of the files of some chunks, in all."""
    paths = [url / "s0/annotation/c" / "/".join(map(str, number)) for number in chunks]
    return sum(path.stat().st_size for path in paths)


# ----- nothing is read


def test_opening_reads_the_coordinates_alone(url, reads):
    space = refspace.open(url)
    repr(space)
    assert reads.objects == once(["zarr.json", "s0/ap/c/0", "s0/dv/c/0", "s0/ml/c/0"])


def test_a_notebook_reads_the_index_and_a_chunk_or_two_of_a_coarse_level(url, reads):
    space = refspace.open(url)
    levels = [level.grid.shape for level in space.levels]
    reads.clear()
    assert "data:image/png" in space._repr_html_()
    # The coarsest that is 90 voxels wide, or the finest, where none is.
    wide = [number for number, shape in enumerate(levels) if shape[2] >= 90]
    chosen = max(wide, default=0)
    tables = {f"label_index/s{number}/table/c/0/0" for number in {0, chosen}}
    objects = {key for key in reads.objects if not key.startswith(f"s{chosen}/annotation/c/")}
    assert objects <= tables | {f"label_index/s{chosen}/annotation_objects/c/0/0/0/0"}
    chunks = reads.chunks(f"s{chosen}/annotation")
    size = zarr.open_array(url, path=f"s{chosen}/annotation", mode="r").chunks[0]
    assert {index[0] for index in chunks} == {levels[chosen][0] // 2 // size}
    assert set(chunks.values()) == {1}


@pytest.fixture
def space(url, reads):
    """The store, just opened."""
    opened = refspace.open(url)
    reads.clear()
    return opened


def test_counts_read_one_table(space, reads, labels):
    counts = space.voxel_counts()
    assert counts.direct.sum() == sum(space.direct_voxel_map.values()) > 0
    assert space.total_voxel_map[ROOT] == counts.total.sel(structure=ROOT)
    assert space.validate().ok
    assert set(space.label_index.counts()) == set().union(*labels.values())
    space.remove_unassigned()
    assert reads.objects == {TABLE: 1}


def test_places_read_one_table(space, reads):
    for structure, count in space.total_voxel_map.items():
        if count:
            space.bounds(structure)
            space.centroid(structure)
    space.crop([AUDD, VISP], pad=1000)
    assert reads.objects == {TABLE: 1}


def test_plans_read_two_tables(space, reads):
    plans = [space.plan(structure) for structure in (ROOT, AUDD, VISP, ISOCORTEX)]
    assert all(plan.blocks for plan in plans)
    assert reads.objects == {TABLE: 1, RECORDS: 1}


BUILT = {
    "mask": lambda s: [s.make_structure_mask(ROOT)],
    "cropped mask": lambda s: [s.make_structure_mask("VISp", crop=True)],
    "masks": lambda s: [mask for _, mask in s.many_structure_masks([AUDD, VISP])],
    "coverage": lambda s: [s.check_coverage(VISP, s.make_structure_mask(ISOCORTEX))],
    "slices": lambda s: [s.get_slice_image(dim, 4000) for dim in s.grid.dims],
    "itksnap": lambda s: [s.export_itksnap_labels(dtype)[0] for dtype in ("u2", "u4")],
    "crop": lambda s: [s.crop(ISOCORTEX, pad=100).make_structure_mask(AUDD)],
    "downsample": lambda s: [
        s.downsample(100, method).annotation for method in ("nearest", "mode", "corner", "allensdk")
    ],
    "datatree": lambda s: [s.to_datatree()["s1/annotation"]],
    "a space of a datatree": lambda s: [ReferenceSpace.from_datatree(s.to_datatree()).annotation],
}
built = pytest.mark.parametrize("build", BUILT.values(), ids=BUILT)


@built
def test_building_reads_no_voxel(warm, reads, build):
    repr(build(warm))
    assert reads.no_voxel()


def test_a_datatree_reads_what_is_asked_for(url, reads):
    with xr.open_datatree(url, engine="zarr") as tree:
        space = ReferenceSpace.from_datatree(tree)
        space.make_structure_mask(AUDD)
        assert space.annotation.chunks == refspace.open(url).annotation.chunks
        assert reads.no_voxel()
        space.annotation[0, 0, 0].compute()
    assert reads.chunks() == {(0, 0, 0): 1}


# ----- what is read, once


def test_a_small_structure_is_in_few_chunks(warm, reads, labels):
    expected = mixed(labels, ids_of(warm, AUDD))
    assert 0 < len(expected) <= 6 < len(labels)
    mask = warm.make_structure_mask("AUDd").compute()
    assert reads.chunks() == once(expected)
    assert reads.arrays["s0/annotation"] == len(expected)
    assert mask.sum() == warm.total_voxel_map[AUDD]
    reads.clear()
    cropped = warm.make_structure_mask("AUDd", crop=True).compute()
    assert reads.chunks() == once(expected)
    xr.testing.assert_identical(cropped, mask.isel(warm.bounds(AUDD).voxels))


def test_a_mask_of_everything_reads_mixed_chunks(warm, reads, labels, voxels):
    expected = mixed(labels, ids_of(warm, ROOT))
    assert 0 < len(expected) < len(labels)
    mask = warm.make_structure_mask(ROOT).values
    assert reads.chunks() == once(expected)
    assert reads.arrays["s0/annotation"] == len(expected)
    np.testing.assert_array_equal(mask, voxels != 0)


@pytest.mark.parametrize("direct_only", [False, True])
@pytest.mark.parametrize("structures", [ISOCORTEX, [VISP, AUDD], []])
def test_plans_come_true(warm, reads, url, labels, structures, direct_only):
    plan = warm.plan(structures, direct_only)
    reads.clear()
    warm.make_structure_mask(structures, direct_only).data.sum().compute()
    assert reads.chunks() == once(plan.blocks)
    assert plan.block_count == len(labels)
    assert plan.stored_bytes == files(url, plan.blocks)


def test_the_plan_of_a_crop_comes_true(warm, reads, url):
    part = warm.crop(ISOCORTEX)
    plan = part.plan(AUDD)
    reads.clear()
    part.make_structure_mask(AUDD).data.sum().compute()
    assert reads.chunks() == once(reads.chunks())
    assert len(reads.chunks()) == len(plan.blocks) > 0
    assert plan.stored_bytes == files(url, reads.chunks())


@pytest.mark.parametrize(("dim", "position"), [("ap", 6000), ("dv", 25), ("ml", 11399)])
def test_slices_read_chunks_of_several_colors(warm, reads, array, voxels, labels, dim, position):
    axis = warm.grid.axis(dim)
    index = warm.grid.index(dim, position)
    color = {n["id"]: tuple(n["rgb_triplet"]) for n in warm.structure_tree.nodes()} | {0: (0, 0, 0)}
    row, height = index // array.chunks[axis], np.array(array.chunks)
    height[axis] = 1
    plane = labels_of_parts(voxels.take([index], axis), height)
    inside = {(*n[:axis], row, *n[axis + 1 :]): here for n, here in plane.items()}
    needed = {n for n, here in inside.items() if len({*map(color.get, here)}) > 1}
    varied = {n for n in inside if len({*map(color.get, labels[n])}) > 1}
    warm.get_slice_image(dim, position).compute()
    # The index knows of a chunk's labels which occur in it, not in which of its planes.
    assert needed <= set(reads.chunks()) <= varied
    assert reads.chunks() == once(reads.chunks())
    assert len(reads.chunks()) < len(labels) / 3


@pytest.mark.parametrize("id_type", ["u2", "u4"])
def test_itksnap_labels_read_mixed_chunks(warm, reads, labels, id_type):
    expected = [number for number, here in labels.items() if len(here) > 1]
    assert 0 < len(expected) < len(labels)
    warm.export_itksnap_labels(id_type)[0].data.sum().compute()
    assert reads.chunks() == once(expected)


def test_masks_share_their_reads(warm, reads, labels):
    structures = [AUDD, VISP, ISOCORTEX]
    voxels = dask.compute(*(warm.make_structure_mask(i).data.sum() for i in structures))
    assert voxels == tuple(warm.total_voxel_map[i] for i in structures)
    expected = {number for i in structures for number in mixed(labels, ids_of(warm, i))}
    assert reads.chunks() == once(expected)


def test_a_voxel_is_in_one_chunk(warm, reads, voxels):
    place = {"ap": 7000, "dv": 3000, "ml": 5000}
    voxel = warm.annotation.sel(place, method="nearest").compute()
    assert voxel == voxels[tuple(warm.grid.index(dim, p) for dim, p in place.items())]
    assert sum(reads.chunks().values()) == 1


def test_other_levels_are_read_alone(url, reads):
    space = refspace.open(url, resolution=100)
    total = space.total_voxel_map[VISP]
    plan = space.plan(VISP)
    assert space.make_structure_mask(VISP).sum() == total > 0
    number = {25: 2, 50: 1}[round(refspace.open(url).resolution[0])]
    assert reads.chunks(f"s{number}/annotation") == once(plan.blocks)
    assert not reads.chunks()
    assert f"label_index/s{number}/table/c/0/0" in reads.objects


# ----- small to send, and always of the same name


def test_a_space_pickles_without_voxels(warm, voxels):
    data = pickle.dumps(warm)
    assert len(data) < 1_000_000 < voxels.nbytes
    again = pickle.loads(data)
    assert again.label_index == warm.label_index
    assert again.total_voxel_map == warm.total_voxel_map
    assert again.grid == warm.grid
    mask = again.make_structure_mask(AUDD)
    assert mask.data.name == warm.make_structure_mask(AUDD).data.name
    assert mask.data.sum().compute() == warm.total_voxel_map[AUDD]


@pytest.mark.parametrize(("build", "largest"), [("mask", 1_000), ("itksnap", 2_000)])
def test_graphs_are_small(warm, build, largest):
    (result,) = dask.optimize(BUILT[build](warm)[0].data)
    graph = dict(result.__dask_graph__())
    assert len(cloudpickle.dumps(graph)) < largest * result.npartitions
    # A task on its own takes the array along: its metadata, and where it is.
    assert max(len(cloudpickle.dumps(task)) for task in graph.values()) < 5_000


@pytest.fixture(scope="module")
def again(url):
    """The store, opened once more."""
    return refspace.open(url)


@built
def test_results_have_the_same_name_every_time(warm, again, build):
    names = [array.data.name for array in build(warm)]
    assert [array.data.name for array in build(again)] == names


# ----- chunks that are not what they were

# 0 alone in chunk 0/0/0, 7 alone in 0/0/2, several labels in each of the rest.
VOXELS = np.zeros((4, 8, 12), "u4")
VOXELS[:, :, 6:] = 7
VOXELS[:, 5:, :6] = 70000
VOXELS[0, 7, 11] = 8
TREE = StructureTree(
    {
        "id": i,
        "acronym": f"s{i}",
        "name": f"structure {i}",
        "rgb_triplet": [i % 251, 2, 3],
        "structure_id_path": [1] if i == 1 else [1, i],
    }
    for i in (1, 7, 8, 70000)
)
DAMAGED = "s0/annotation/c/0/1/0"
READING = {
    "mask": lambda s: s.make_structure_mask(70000),
    "cropped mask": lambda s: s.make_structure_mask(1, crop=True),
    "coverage": lambda s: s.check_coverage(1, VOXELS),
    "slice": lambda s: s.get_slice_image("ap", 15),
    "itksnap": lambda s: s.export_itksnap_labels("u2")[0],
    "itksnap as they are": lambda s: s.export_itksnap_labels("u4")[0],
}
PLAIN = {
    "annotation": lambda s: s.annotation,
    "nearest": lambda s: s.downsample(20).annotation,
    "mode": lambda s: s.downsample(20, "mode").annotation,
}
reading = pytest.mark.parametrize("verb", READING.values(), ids=READING)
all_verbs = READING | PLAIN


def plain(voxels=VOXELS):
    return ReferenceSpace(TREE, voxels, 10)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Two stores of one layout, whose voxels differ."""
    folder = tmp_path_factory.mktemp("small")
    plain().to_zarr(folder / "small.zarr", chunks=4)
    plain(np.where(VOXELS == 70000, 8, VOXELS).astype("u4")).to_zarr(
        folder / "other.zarr", chunks=4
    )
    return folder


@pytest.fixture
def small(stores, tmp_path):
    """A store to be spoilt."""
    return shutil.copytree(stores / "small.zarr", tmp_path / "small.zarr")


@pytest.fixture
def other(stores):
    return stores / "other.zarr"


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 16
    path.write_bytes(data)


DAMAGE = {
    "flipped": flip,
    "short": lambda path: path.write_bytes(path.read_bytes()[:-3]),
    "empty": lambda path: path.write_bytes(b""),
    "other bytes": lambda path: path.write_bytes(b"something else altogether"),
}


def unaffected(url):
    """What does not need the damaged chunk is right."""
    space = refspace.open(url)
    np.testing.assert_array_equal(space.make_structure_mask(8), VOXELS == 8)
    np.testing.assert_array_equal(space.make_structure_mask(7), VOXELS == 7)
    assert space.total_voxel_map == plain().total_voxel_map
    assert space.bounds(70000) == plain().bounds(70000)
    return True


@pytest.mark.promise("a chunk is of an older version, or of another store")
@pytest.mark.promise("two chunks are exchanged")
@pytest.mark.parametrize("verb", all_verbs.values(), ids=all_verbs)
def test_a_chunk_of_another_volume_is_noticed(small, other, verb):
    shutil.copy(other / DAMAGED, small / DAMAGED)
    text = (
        rf"small\.zarr: chunk {DAMAGED} is not the one that was written; .*'refspace verify' lists"
    )
    with pytest.raises(FormatError, match=text):
        verb(refspace.open(small)).compute()
    assert unaffected(small)


@pytest.mark.promise("a chunk is lost", "an error that names it, never background")
@pytest.mark.parametrize("verb", all_verbs.values(), ids=all_verbs)
def test_a_missing_chunk_is_named(small, verb):
    (small / DAMAGED).unlink()
    text = rf"small\.zarr: chunk {DAMAGED} is missing; the store is damaged: write it again"
    with pytest.raises(FormatError, match=text):
        verb(refspace.open(small)).compute()
    assert unaffected(small)


@pytest.mark.parametrize(
    ("damage", "verb"),
    [*itertools.product(DAMAGE, ["mask"]), *itertools.product(["flipped"], all_verbs)],
)
def test_a_damaged_chunk_is_named(small, damage, verb):
    DAMAGE[damage](small / DAMAGED)
    text = rf"small\.zarr: chunk {DAMAGED} is not the one that was written; .*'refspace verify' "
    with pytest.raises(FormatError, match=text):
        all_verbs[verb](refspace.open(small)).compute()
    assert unaffected(small)


# ----- an index that is not one


def replaced(small, other):
    shutil.copy(other / TABLE, small / TABLE)


BAD_INDEX = {name: lambda s, _, f=f: f(s / TABLE) for name, f in DAMAGE.items()} | {
    "missing": lambda small, _: (small / TABLE).unlink(),
    "of another volume": replaced,
}


@pytest.mark.parametrize("spoil", BAD_INDEX.values(), ids=BAD_INDEX)
def test_an_index_that_is_not_one_is_not_used(small, other, reads, spoil):
    spoil(small, other)
    space = refspace.open(small)
    text = r"small\.zarr: the label index of s0/annotation is not used: .*Voxels are read instead"
    with pytest.warns(UserWarning, match=text):
        plan = space.plan(70000)
    # All that follows knows of it, and does not say so again.
    assert plan.blocks == tuple(np.ndindex(1, 2, 3))
    assert plan.stored_bytes == files(small, plan.blocks)
    reads.clear()
    space.make_structure_mask(70000).compute()
    assert reads.chunks() == once(plan.blocks)
    for verb in all_verbs.values():
        np.testing.assert_array_equal(verb(space), verb(plain()))
    assert space.voxel_counts().identical(plain().voxel_counts())
    assert space.bounds(70000) == plain().bounds(70000)
    assert space.centroid(1) == plain().centroid(1)
    # Measured on request, it serves as the stored one would have.
    space = space.with_index()
    reads.clear()
    space.make_structure_mask(70000).compute()
    assert reads.chunks() == once(space.plan(70000).blocks) == once([(0, 1, 0), (0, 1, 1)])


@pytest.mark.promise(
    "a store is replaced while it is open",
    "an error that says to open it again; never old counts with new voxels",
)
def test_a_new_store_of_the_same_name_is_not_taken_for_the_old_one(small):
    old = refspace.open(small).make_structure_mask(8).data.name
    plain(np.full_like(VOXELS, 8)).to_zarr(small, chunks=4, overwrite=True)
    new = refspace.open(small).make_structure_mask(8)
    assert new.all()
    assert new.data.name != old


def test_processes_compute_what_threads_do(small):
    space = refspace.open(small)
    results = [space.make_structure_mask(1), space.get_slice_image("ap", 15), space.annotation]
    with dask.config.set(scheduler="processes", num_workers=1):
        found = dask.compute(*results)
    for array, expected in zip(found, results, strict=True):
        xr.testing.assert_identical(array, expected.compute())
