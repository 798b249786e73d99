"""Nothing is read before values are asked for, and then no chunk more often than needed."""

import ast
import inspect
import itertools
from collections import Counter
from fractions import Fraction

import dask
import dask.array as da
import numpy as np
import pytest
from helpers.volumes import CountingSource, allensdk, nearest, raising

from refspace import ReferenceSpace, StructureTree
from refspace.ops import relabel, resample

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

    That is the first cell that begins there or later (mode), or that takes its voxel from there.
    """
    result = []
    for sizes in CHUNKS:
        ratio = Fraction(target) / 10
        cells = round(sum(sizes) / ratio)
        line = np.arange(sum(sizes)).reshape(-1, 1, 1)
        if method == "mode":
            first = [cell * ratio for cell in range(cells)]
        elif method == "nearest":
            first = nearest(line, [ratio, 1, 1], (cells, 1, 1)).ravel()
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
            lambda s, target=target, method=method: s.downsample(target, method).annotation,
            coarse_chunks(target, method),
        )
        for target in (20, 13, 37.5, 5, 80)
        for method in ("nearest", "mode", "allensdk")
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


@pytest.mark.parametrize("module", [relabel, resample])
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
