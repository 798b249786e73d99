"""Nothing is read before values are asked for, and then no chunk more often than needed."""

import ast
import functools
import gc
import inspect
import itertools
import weakref
from collections import Counter
from fractions import Fraction

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from helpers.volumes import CountingSource, allensdk, corner, nearest, raising

from refspace import ReferenceSpace, StructureTree
from refspace.blockwise import hemisphere
from refspace.blockwise import relabel as relabel_blocks
from refspace.labels import labelled, resampling, volume
from refspace.ops import relabel

VOXELS = np.random.default_rng(7).integers(0, 9, (13, 12, 8)).astype("u4")
CHUNKS = ((4, 4, 5), (5, 7), (8,))
TREE = StructureTree(
    {
        "id": i,
        "structure_id_path": [1] if i == 1 else [1, i],
        "acronym": f"s{i}",
        "name": f"structure {i}",
        "rgb_triplet": [i % 251, 0, 9],
    }
    for i in (1, 2, 3, 5, 7, 70000)
)
DOMAIN = np.random.default_rng(8).random(VOXELS.shape) < 0.5


def lazy_space(voxels=VOXELS):
    source = CountingSource(voxels)
    return source, ReferenceSpace(TREE, source.dask(CHUNKS), 10)


def eager_space():
    return ReferenceSpace(TREE, VOXELS, 10)


def coarse_chunks(target, method):
    """Chunks are cut at the first cell that is beyond a cut of the source's chunks.

    That is the first cell that ends behind it (mode), or that takes its voxel from there.
    """
    result = []
    for sizes in CHUNKS:
        ratio = Fraction(target) / 10
        cells = round(sum(sizes) / ratio)
        line = np.arange(sum(sizes)).reshape(-1, 1, 1)
        if method == "mode":
            # A cell is of the block in which it ends.
            first = [(cell + 1) * ratio - Fraction(1, 10**6) for cell in range(cells)]
        elif method in ("nearest", "corner"):
            pick = nearest if method == "nearest" else corner
            first = pick(line, [ratio, 1, 1], (cells, 1, 1)).ravel()
        else:
            first = allensdk(line, (cells, 1, 1)).ravel()
        cuts = {sum(voxel < cut for voxel in first) for cut in itertools.accumulate(sizes[:-1])}
        bounds = sorted({0, cells, *cuts})
        result.append(tuple(np.diff(bounds).tolist()))
    return tuple(result)


# Verb → chunks of its result.
VERBS = {
    "annotation": (lambda s: s.annotation, CHUNKS),
    "mask": (lambda s: s.make_structure_mask([1]), CHUNKS),
    "direct mask": (lambda s: s.make_structure_mask([2, 3], direct_only=True), CHUNKS),
    "empty mask": (lambda s: s.make_structure_mask([]), CHUNKS),
    "one of many masks": (lambda s: next(s.many_structure_masks([2]))[1], CHUNKS),
    "coverage": (lambda s: s.check_coverage([2, 3], DOMAIN), CHUNKS),
    "validation": (lambda s: s.validate_structures([2, 3], DOMAIN)[1], CHUNKS),
    "itksnap, renumbered": (lambda s: s.export_itksnap_labels("u2")[0], CHUNKS),
    "itksnap, as they are": (lambda s: s.export_itksnap_labels("u4")[0], CHUNKS),
    "coronal slice": (lambda s: s.get_slice_image("ap", 45), (*CHUNKS[1:], (3,))),
    "sagittal slice": (lambda s: s.get_slice_image("ml", 0), (*CHUNKS[:2], (3,))),
    **{
        f"{method} to {target} um": (
            lambda s, target=target, method=method: (
                s.downsample(target, method, upsample=True).annotation
            ),
            coarse_chunks(target, method),
        )
        for target in (20, 13, 37.5, 5, 80)
        for method in ("nearest", "mode", "corner", "allensdk")
    },
}
verbs = pytest.mark.parametrize(("verb", "chunks"), VERBS.values(), ids=VERBS)


@verbs
def test_nothing_is_computed_while_building(verb, chunks):
    source, space = lazy_space()
    with dask.config.set(scheduler=raising):
        result = verb(space)
        repr(result)
        result.nbytes  # noqa: B018
    assert isinstance(result.data, da.Array)
    assert source.reads == []


def test_the_scheduler_that_watches_is_asked():
    with dask.config.set(scheduler=raising), pytest.raises(AssertionError, match="while building"):
        lazy_space()[1].annotation.compute()


@verbs
def test_chunks_are_as_promised(verb, chunks):
    assert verb(lazy_space()[1]).chunks == chunks


@verbs
def test_lazy_is_identical_to_eager(verb, chunks):
    result, eager = verb(lazy_space()[1]), verb(eager_space())
    assert result.dtype == eager.dtype == result.compute().dtype
    assert result.identical(eager)


@verbs
@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_each_chunk_is_read_at_most_once(verb, chunks, scheduler):
    source, space = lazy_space()
    verb(space).compute(scheduler=scheduler)
    assert set(source.chunk_reads(CHUNKS).values()) == {1}


def test_building_the_space_reads_nothing():
    with dask.config.set(scheduler=raising):
        source, space = lazy_space()
        repr(space)
        space._repr_html_()
        assert space.resolution == (10, 10, 10)
        space.many_structure_masks([1, 2])
    assert source.reads == []


@pytest.mark.parametrize("dtype", ["i8", "f4"])
def test_conversion_of_ids_reads_nothing(dtype):
    with dask.config.set(scheduler=raising):
        source, space = lazy_space(VOXELS.astype(dtype))
        mask = space.make_structure_mask([1])
    assert source.reads == []
    np.testing.assert_array_equal(mask, eager_space().make_structure_mask([1]))


def everything():
    return Counter(itertools.product(*(range(len(sizes)) for sizes in CHUNKS)))


def test_counts_read_each_chunk_once_and_never_again():
    source, space = lazy_space()
    space.direct_voxel_map  # noqa: B018
    assert source.chunk_reads(CHUNKS) == everything()
    assert len(source.reads) == 6
    space.total_voxel_map  # noqa: B018
    space.voxel_counts()
    space.direct_voxel_counts()
    space.remove_unassigned()
    assert len(source.reads) == 6


def test_a_mask_reads_each_chunk_once():
    source, space = lazy_space()
    space.make_structure_mask([1, 2, 3, 5]).compute()
    assert source.chunk_reads(CHUNKS) == everything()
    assert len(source.reads) == 6


@pytest.mark.parametrize(
    ("axis", "position", "row"), [("ap", 0, 0), ("ap", 79, 1), ("ap", 129, 2), ("dv", 50, 1)]
)
def test_a_slice_reads_the_chunks_of_its_plane(axis, position, row):
    source, space = lazy_space()
    space.get_slice_image(axis, position).compute()
    number = ("ap", "dv", "ml").index(axis)
    expected = Counter(index for index in everything() if index[number] == row)
    assert source.chunk_reads(CHUNKS) == expected
    assert len(source.reads) == len(expected)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_plane_of_a_mask_reads_the_chunks_of_its_plane(axis):
    source, space = lazy_space()
    space.make_structure_mask([1]).isel({("ap", "dv")[axis]: 6}).compute()
    expected = Counter(index for index in everything() if index[axis] == 1)
    assert source.chunk_reads(CHUNKS) == expected


def test_several_verbs_at_once_share_their_reads():
    source, space = lazy_space()
    dask.compute(space.make_structure_mask([2]), space.make_structure_mask([3]))
    assert source.chunk_reads(CHUNKS) == everything()


def test_writing_reads_each_chunk_once(tmp_path):
    source, space = lazy_space()
    space.write_itksnap_labels(tmp_path / "a.nrrd", tmp_path / "a.txt")
    assert source.chunk_reads(CHUNKS) == everything()


# ----- lazy, whatever was called before

POINTS = np.random.default_rng(3).random((40, 3)) * 130
IMAGE = np.random.default_rng(4).random(VOXELS.shape)
VALUES = {2: 1.5, 3: 2.5}
SIDES = np.random.default_rng(5).integers(0, 3, VOXELS.shape)
VALUED = {
    "hemispheres": lambda s: s.hemispheres,
    "mask": lambda s: s.make_structure_mask([2, 3]),
    "mask of many": lambda s: next(s.many_structure_masks([2]))[1],
    "coverage": lambda s: s.check_coverage([2, 3], DOMAIN),
    "coverage of each": lambda s: s.check_coverage([2, 3], DOMAIN, per_structure=True),
    "validate structures": lambda s: s.validate_structures([2, 3], DOMAIN)[1],
    "relabel": lambda s: s.relabel([2, 3]),
    "relabel to regions": lambda s: s.relabel({2: "a", 3: "b"}),
    "paint": lambda s: s.paint(VALUES),
    "boundaries": lambda s: s.boundaries(),
    "boundaries of regions": lambda s: s.boundaries([2, 3], axis="ap", position=45),
    "aggregate": lambda s: s.aggregate(IMAGE, [2, 3]),
    "aggregate by hemisphere": lambda s: s.aggregate(IMAGE, [2, 3], by_hemisphere=True),
    "structure at": lambda s: s.structure_at(da.from_array(POINTS, chunks=-1)),
    "structure at, names": lambda s: s.structure_at(da.from_array(POINTS, chunks=-1), as_="name"),
    "count points": lambda s: s.count_points(POINTS, [2, 3]),
    "count points by hemisphere": lambda s: s.count_points(POINTS, [2, 3], by_hemisphere=True),
    "region properties": lambda s: s.region_properties([2, 3]),
    "properties by hemisphere": lambda s: s.region_properties(by_hemisphere=True),
    "surface area": lambda s: s.surface_area([2, 3]),
    "slice": lambda s: s.get_slice_image("ml", 33),
    "itksnap": lambda s: s.export_itksnap_labels("u2")[0],
    "downsample": lambda s: s.downsample(20, "mode").annotation,
    "reorient": lambda s: s.reorient("RAS").make_structure_mask([2]),
    "datatree": lambda s: s.to_datatree()["s0/annotation"],
}
# The nodes of xarray's DataTree hold their parents and children: only the collector frees them.
CYCLES = {"datatree"}
HISTORY = {
    "label index": lambda s: s.label_index,
    "maps": lambda s: s.total_voxel_map,
    "adjacency": lambda s: s.adjacency(),
    "validate": lambda s: s.validate(),
    "bounds and crop": lambda s: (s.bounds([2]), s.crop([2]), s.centroid([2])),
    "with index": lambda s: s.with_index(),
    "both hemispheres": lambda s: [
        (s.hemisphere(side).label_index, s.hemisphere(side).total_voxel_map)
        for side in ("left", "right")
    ],
}


def own_sides():
    return labelled(da.from_array(SIDES, chunks=CHUNKS, name="sides"), eager_space().grid)


SPACES = {
    "both": lambda data: ReferenceSpace(TREE, data, 10),
    "left": lambda data: ReferenceSpace(TREE, data, 10, midline=30).hemisphere("left"),
    "left of a volume": lambda data: ReferenceSpace(
        TREE, data, 10, hemispheres=own_sides()
    ).hemisphere("left"),
}


def lazy_arrays(result):
    """Arrays of a result, by the names of its variables; all of them lazy."""
    variables = result.variables.values() if hasattr(result, "data_vars") else [result]
    named = [v for v in variables if dask.is_dask_collection(v)]
    if hasattr(result, "data_vars"):
        assert all(dask.is_dask_collection(v) for v in result.data_vars.values())
    assert named
    return [v.data for v in named]


def reads_of(source, result):
    source.reads.clear()
    result.compute()
    return source.chunk_reads(CHUNKS)


@pytest.fixture(scope="module", params=SPACES)
def with_history(request):
    """A source, what makes a space of it, and a space of it that was asked for everything."""
    source = CountingSource(VOXELS)
    make = functools.partial(SPACES[request.param], source.dask(CHUNKS))
    space = make()
    for before in HISTORY.values():
        before(space)
    return source, make, space


@pytest.mark.parametrize("verb", VALUED.values(), ids=VALUED)
def test_no_history_makes_a_verb_eager_or_another(verb, with_history):
    source, make, space = with_history
    source.reads.clear()
    fresh = verb(make())
    assert source.reads == []
    expected, reads = [(a.name, {*a.dask}) for a in lazy_arrays(fresh)], reads_of(source, fresh)
    source.reads.clear()
    with dask.config.set(scheduler=raising):
        result = verb(space)
        assert [(a.name, {*a.dask}) for a in lazy_arrays(result)] == expected
    assert source.reads == []
    assert reads_of(source, result) == reads
    assert set(reads.values()) <= {1}


@pytest.mark.parametrize("history", HISTORY.values(), ids=HISTORY)
def test_what_is_measured_is_measured_in_one_pass(history):
    source, space = lazy_space()
    history(space)
    reads = Counter(source.chunk_reads(CHUNKS))
    # One chunk spans both hemispheres, so each of them reads all, once for the index and the maps.
    most = 4 if history is HISTORY["both hemispheres"] else 1
    assert set(reads.values()) <= set(range(1, most + 1))


def test_a_space_with_an_index_reads_less_and_only_that_one():
    voxels = VOXELS.copy()
    voxels[:4] = 5
    source = CountingSource(voxels)
    space = ReferenceSpace(TREE, source.dask(CHUNKS), 10)
    indexed = space.with_index()
    assert source.chunk_reads(CHUNKS) == everything()
    source.reads.clear()
    assert indexed.total_voxel_map == ReferenceSpace(TREE, voxels, 10).total_voxel_map
    indexed.region_properties().compute()
    assert source.reads == []
    mask = indexed.make_structure_mask([2]).compute()
    np.testing.assert_array_equal(mask, voxels == 2)
    assert {block[0] for block in source.chunk_reads(CHUNKS)} == {1, 2}
    source.reads.clear()
    space.make_structure_mask([2]).compute()
    assert source.chunk_reads(CHUNKS) == everything()


# ----- one tree


@pytest.mark.parametrize("make", SPACES.values(), ids=SPACES)
def test_after_removal_everything_is_of_one_tree(make):
    source = CountingSource(np.where(np.isin(VOXELS, [3, 5]), 2, VOXELS))
    space = make(source.dask(CHUNKS))
    before = space.direct_voxel_map, space.total_voxel_map, space.voxel_counts()
    sides = {side: space.hemisphere(side) for side in ("left", "right")}
    assert 3 in before[0]
    assert all(3 in side.total_voxel_map for side in sides.values())
    space.remove_unassigned()
    ids = [1, 2, 7]
    assert space.structure_tree.node_ids() == ids
    for result in (space, *map(space.hemisphere, ("left", "right"))):
        assert [*result.direct_voxel_map] == [*result.total_voxel_map] == ids
        assert [*result.direct_voxel_counts()] == [*result.total_voxel_counts()] == ids
        assert result.voxel_counts().structure.values.tolist() == ids
        assert result.region_properties().structure.values.tolist() == ids
    assert space.voxel_counts(by_hemisphere=True).structure.values.tolist() == ids
    assert space.total_voxel_map == {i: before[1][i] for i in ids}
    assert set(space.adjacency().nodes) <= set(ids)
    assert space.validate().structure_count == 3
    assert space.make_structure_mask([1]).sum() == before[1][1]
    # Spaces that were made of it before keep their tree.
    assert all(3 in side.total_voxel_map for side in sides.values())


# ----- nothing outlives its last reference


def failing(space):
    with pytest.raises(KeyError):
        space.make_structure_mask("none at all")


USES = {name: verb for name, verb in VALUED.items() if name not in CYCLES} | {
    "label index": lambda s: s.label_index,
    "block labels": lambda s: s.block_labels,
    "maps": lambda s: (s.direct_voxel_map, s.total_voxel_map, s.voxel_counts()),
    "counts by hemisphere": lambda s: s.voxel_counts(by_hemisphere=True),
    "remove unassigned": lambda s: s.remove_unassigned(),
    "bounds": lambda s: (s.bounds([2]), s.centroid([2])),
    "hemisphere": lambda s: s.hemisphere("right").total_voxel_map,
    "crop": lambda s: s.crop([2], pad=10).annotation,
    "mask of the box": lambda s: s.make_structure_mask([2], crop=True),
    "coarser": lambda s: s.downsample(20).total_voxel_map,
    "turned": lambda s: s.reorient("LPS").total_voxel_map,
    "with index": lambda s: s.with_index().total_voxel_map,
    "plan": lambda s: s.plan([2]),
    "adjacency": lambda s: s.adjacency(),
    "distance": lambda s: s.distance([2]),
    "compare": lambda s: str(s.compare(s.reorient("PIR"))),
    "validate": lambda s: str(s.validate(connectivity=True)),
    "aggregate all": lambda s: s.aggregate(IMAGE, quantiles=0.5),
    "shown": lambda s: (repr(s), s._repr_html_()),
    "a fault": failing,
}


@pytest.fixture
def _no_collector():
    gc.disable()
    yield
    gc.enable()


def use_and_drop(use, make, tmp_path):
    """Weak references to a volume and its space, after a use of them and with none left."""
    voxels = np.array(VOXELS)
    space = make(voxels)
    kept = weakref.ref(voxels), weakref.ref(space), weakref.ref(space.volume)
    result = use(space)
    if dask.is_dask_collection(result):
        result.compute()
    return kept


@pytest.mark.usefixtures("_no_collector")
@pytest.mark.parametrize("make", SPACES.values(), ids=SPACES)
@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_volume_is_freed_with_its_last_reference(use, make, tmp_path):
    pytest.importorskip("scipy")
    assert [ref() for ref in use_and_drop(use, make, tmp_path)] == [None] * 3


@pytest.mark.usefixtures("_no_collector")
def test_a_data_tree_lives_until_the_collector_comes(tmp_path):
    def use(space):
        tree = space.to_datatree()
        assert ReferenceSpace.from_datatree(tree).total_voxel_map == space.total_voxel_map

    voxels, *others = use_and_drop(use, SPACES["both"], tmp_path)
    # What holds the volume is the tree: a plain one is as hard to free.
    assert [ref() for ref in others] == [None, None]
    plain = xr.DataTree.from_dict({"a": xr.Dataset()})
    child = weakref.ref(plain["a"])
    del plain
    assert child() is not None
    gc.collect()
    assert voxels() is child() is None


@pytest.mark.usefixtures("_no_collector")
@pytest.mark.parametrize("threads", [1, 2])
def test_a_volume_is_freed_after_it_is_written(threads, tmp_path):
    write = functools.partial(ReferenceSpace.to_zarr, url=tmp_path / "a.zarr", threads=threads)
    assert [ref() for ref in use_and_drop(write, SPACES["both"], tmp_path)] == [None] * 3


# ----- eager calls that a scheduler would not notice

EAGER_METHODS = ("compute", "load", "persist", "item", "tolist", "to_numpy")
EAGER_FUNCTIONS = ("np.asarray", "np.ascontiguousarray", "dask.compute", "dask.persist")
# What these modules convert is small and in memory: values, and positions along an axis.
IN_MEMORY = ("default", "unknown", "np.diff(", "np.cumsum(", "np.searchsorted(")


def eager_calls(tree):
    """Expressions that compute a lazy array."""
    for node in ast.walk(tree):
        subject = None
        if isinstance(node, ast.Attribute) and node.attr == "values":
            subject = node.value
        if isinstance(node, ast.Call) and ast.unparse(node.func) in EAGER_FUNCTIONS:
            subject = node.args[0]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            subject = node.func.value if node.func.attr in EAGER_METHODS else None
        if subject is not None and not ast.unparse(subject).startswith(IN_MEMORY):
            yield node.lineno, ast.unparse(node)


@pytest.mark.parametrize("module", [relabel, relabel_blocks, hemisphere, resampling, volume])
def test_lazy_modules_make_no_eager_call(module):
    assert list(eager_calls(ast.parse(inspect.getsource(module)))) == []


@pytest.mark.parametrize(
    "line",
    [
        "annotation.compute()",
        "annotation.data.max().compute(scheduler='sync')",
        "dask.compute(annotation)",
        "annotation.values",
        "annotation.load()",
        "annotation.data.persist()",
        "np.asarray(annotation)",
        "np.asarray(domain, bool)",
        "annotation.max().item()",
    ],
)
def test_eager_calls_are_found(line):
    assert len(list(eager_calls(ast.parse(line)))) == 1
