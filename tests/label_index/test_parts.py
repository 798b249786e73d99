"""An index in parts answers as the same one in one piece, and reads no more than it needs."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from dask.base import tokenize
from helpers.indices import chunked_volumes, coarser, in_parts, index_of, keys
from helpers.volumes import IDS, UNKNOWN
from hypothesis import given
from hypothesis import strategies as st

from refspace import StructureTree
from refspace.errors import AnnotationError, GridError
from refspace.grid import Grid, Reorientation
from refspace.label_index import IndexParts, LabelIndex, parts
from refspace.label_index.checks import is_summable
from refspace.ops.totals import region_properties

ids = st.sets(st.sampled_from([0, *IDS, *UNKNOWN]))
sizes = st.integers(1, 9)


@pytest.fixture(autouse=True)
def small_boxes(monkeypatch):
    """Boxes of few chunks, so that small volumes have several."""
    monkeypatch.setattr(parts, "_BOX", 2)


@st.composite
def both(draw):
    """An index, the same in parts, and the voxels."""
    voxels, chunks = draw(chunked_volumes())
    index = index_of(voxels, chunks)
    return index, in_parts(index, draw(sizes), draw(coarser(chunks))), voxels


@given(both(), ids)
def test_totals_are_those_of_the_whole(case, asked):
    index, parted, _ = case
    assert parted.counts() == index.counts()
    assert parted.extent(asked) == index.extent(asked)
    assert parted.coordinate_sums(asked) == index.coordinate_sums(asked)
    np.testing.assert_array_equal(parted.totals, index.totals)


@given(both())
def test_all_rows_are_those_of_the_whole(case):
    index, parted, _ = case
    assert parted == index
    assert tokenize(parted) == tokenize(index)
    assert parted.block_labels == index.block_labels


@given(both(), st.data())
def test_labels_of_a_part(case, data):
    index, parted, voxels = case
    key = data.draw(keys(voxels.shape))
    assert parted.labels_in(key) == index.block_labels.crop(key)


@given(both(), st.data())
def test_parts_of_whole_chunks(case, data):
    index, parted, _ = case
    ends = [
        sorted(
            data.draw(
                st.sets(st.sampled_from([*np.cumsum((0, *c)).tolist()]), min_size=2, max_size=2)
            )
        )
        for c in index.chunks
    ]
    start, stop = zip(*ends, strict=True)
    assert parted.crop(start, stop) == index.crop(start, stop)


def slabs(draw, index, chunks):
    """Axis and range whose ends are those of chunks."""
    axis = draw(st.integers(0, 2))
    edges = np.cumsum((0, *chunks[axis])).tolist()
    a, b = sorted(draw(st.lists(st.sampled_from(edges), min_size=2, max_size=2)))
    return axis, slice(a, b)


@given(both(), st.data())
def test_other_indices_made_of_one_in_parts(case, data):
    """Coarser, turned, and of a slab, in any order, each equal to those of the whole."""
    index, parted, _ = case
    for _ in range(data.draw(st.integers(1, 3))):
        match data.draw(st.sampled_from(["coarsen", "keep_slab", "reorient"])):
            case "coarsen":
                change = (data.draw(coarser(index.chunks)),)
                how = LabelIndex.coarsen
            case "keep_slab":
                large = data.draw(st.booleans()) and hasattr(parted, "coarse")
                change = slabs(data.draw, index, parted.coarse.chunks if large else index.chunks)
                how = LabelIndex.keep_slab
            case _:
                axes = tuple(data.draw(st.permutations(range(3))))
                change = (Reorientation(axes, tuple(data.draw(st.booleans()) for _ in range(3))),)
                how = LabelIndex.reorient
        index, parted = how(index, *change), getattr(parted, how.__name__)(*change)
    key = data.draw(keys(index.shape))
    if hasattr(parted, "labels_in"):
        assert parted.labels_in(key) == index.block_labels.crop(key)
    assert parted.counts() == index.counts()
    assert parted.chunks == index.chunks
    assert parted == index


def test_totals_read_nothing_and_a_part_its_own():
    voxels = np.arange(6**3, dtype="u4").reshape(6, 6, 6) // 7
    index = index_of(voxels, ((1,) * 6,) * 3)
    reads = []
    parted = in_parts(index, 9, ((6,), (6,), (2, 4)), reads)
    left = parted.keep_slab(2, slice(0, 2))
    assert left.counts() == index.keep_slab(2, slice(0, 2)).counts()
    assert parted.reorient(Reorientation((2, 1, 0), (True, False, True))).counts()
    assert parted.coarsen(((2, 4), (6,), (3, 3))).extent([3]) == index.extent([3])
    repr(parted), parted.counts(), parted.totals, parted.coordinate_sums([4])
    assert reads == []
    for key in ((slice(2, 4), slice(0, 2), 5), (slice(0, 6), 3, slice(0, 6)), (0, 0, 0)):
        parted.labels_in(key)
        assert reads == parts_with(index, key, 9)
        assert len(reads) < 24 + 8
        reads.clear()
    left.labels_in((0, 0, 0))
    assert reads == parts_with(index, (0, 0, 0), 9)


def parts_with(index, key, rows):
    """Parts with rows of the chunks, each of one voxel, of a key: said by a list of all rows."""
    boxes = sorted(itertools.product(range(6), repeat=3), key=lambda c: ([i // 2 for i in c], c))
    listed = [c for c in boxes for _ in range(np.count_nonzero(index.table[0] == flat(c)))]
    wanted = {*itertools.product(*([i] if isinstance(i, int) else range(6)[i] for i in key))}
    return sorted({place // rows for place, chunk in enumerate(listed) if chunk in wanted})


def flat(chunk):
    return np.ravel_multi_index(chunk, (6, 6, 6))


def test_parts_of_a_usual_size_have_boxes_of_32_chunks(monkeypatch):
    monkeypatch.undo()
    order = parts.part_order(np.arange(40 * 2 * 33), (40, 2, 33))
    expected = sorted(
        np.ndindex(40, 2, 33), key=lambda c: ([i // 32 for i in c], [i % 32 for i in c])
    )
    assert [tuple(c) for c in np.argsort(order)[:, np.newaxis].tolist()] == [
        (int(np.ravel_multi_index(c, (40, 2, 33))),) for c in expected
    ]


def test_boxes_that_cut_chunks():
    index = index_of(np.zeros((4, 3, 5), "u4"), ((2, 2), (3,), (4, 1)))
    with pytest.raises(GridError, match="no union of whole chunks"):
        in_parts(index, 2).crop((0, 0, 0), (1, 3, 5))
    with pytest.raises(GridError, match="cut chunks of"):
        in_parts(index, 2).coarsen(((1, 3), (3,), (5,)))
    with pytest.raises(GridError, match="give a slice without"):
        in_parts(index, 2).labels_in((slice(None, None, 2), 0, 0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table[:, :-1], "has 0 voxels in chunk 3, which has"),
        (lambda table: np.where(table == 3, 4, table), "has chunks beyond 4, which is how many"),
        (lambda table: np.where(table == 3, -1, table), "has chunks beyond 4"),
        (lambda table: table * [[1], [1], *[[2]] * 10], "cannot be true"),
    ],
)
def test_parts_that_lie(change, message):
    index = index_of(np.zeros((4, 3, 5), "u4"), ((2, 2), (3,), (4, 1)))
    table = change(index.table)
    spans = np.array([[0], [7]])
    lying = IndexParts(index.shape, index.chunks, spans, lambda asked: [table for _ in asked])
    with pytest.raises(AnnotationError, match=message):
        lying.crop((0, 0, 0), index.shape)


# ----- arrays whose sums of indices do not fit 64 bits

HUGE = (2**16, 2**16, 2**16)
HALVES = ((2**15, 2**15),) * 3


def huge_index():
    """Index of eight chunks, each of one of three labels, and what each label has, in all."""
    rows, expected = np.zeros((12, 8), np.int64), {}
    count = 2**45
    for number, block in enumerate(itertools.product(range(2), repeat=3)):
        label = number % 3
        start = [2**15 * i for i in block]
        sums = [count * (2 * first + 2**15 - 1) // 2 for first in start]
        rows[:, number] = [number, label, count, *start, *(f + 2**15 for f in start), *sums]
        before = expected.get(label, (0, 0, 0, 0))
        expected[label] = tuple(a + b for a, b in zip(before, (count, *sums), strict=True))
    return LabelIndex(HUGE, HALVES, rows), expected


@pytest.mark.parametrize("in_one", [True, False])
def test_sums_beyond_64_bits_are_exact(in_one):
    index, expected = huge_index()
    assert max(max(sums) for sums in expected.values()) > 2**61
    whole = tuple(sum(each) for each in zip(*expected.values(), strict=True))
    assert max(whole) == 2**48 * (2**16 - 1) // 2 > 2**62
    large = parts.large_chunks(HALVES, tuple((n,) for n in HUGE))
    assert large == HALVES
    index = index if in_one else in_parts(index, 3, large)
    assert index.counts() == {label: sums[0] for label, sums in expected.items()}
    assert index.coordinate_sums([0, 1, 2]) == (whole[0], whole[1:])
    for label, (count, *sums) in expected.items():
        assert index.coordinate_sums([label]) == (count, tuple(sums))
    assert index.extent([0, 1, 2]) == ((0, 0, 0), HUGE)
    turned = index.reorient(Reorientation((2, 1, 0), (False, True, False)))
    assert turned.coordinate_sums([0, 1, 2]) == (whole[0], whole[:0:-1])
    left = index.keep_slab(2, slice(0, 2**15))
    assert sum(left.counts().values()) == 2**48
    assert left.coordinate_sums([0, 1, 2]) == (whole[0], whole[1:])


def test_centroids_of_a_huge_array():
    index, expected = huge_index()
    tree = StructureTree(
        {"id": i, "acronym": f"s{i}", "name": "", "structure_id_path": [1, i][2 - i :]}
        for i in (1, 2)
    )
    grid = Grid(HUGE, (10, 10, 10), orientation="PIR")
    rows = region_properties(index.totals, tree.regions(["s1", "s2"]), grid)
    for axis in range(3):
        for region, labels in enumerate(([1, 2], [2])):
            count = sum(expected[label][0] for label in labels)
            sums = sum(expected[label][1 + axis] for label in labels)
            centre = float(Fraction(sums, count) * 10 + 5)
            assert rows[4 + 3 * axis, region] == pytest.approx(centre, rel=1e-15)
            assert rows[0, region] == count


@given(chunked_volumes(), st.data())
def test_large_chunks_are_unions_that_are_cut(case, data):
    _, chunks = case
    cut = data.draw(coarser(chunks))
    assert parts.large_chunks(chunks, cut) == cut


@given(st.lists(st.integers(1, 2**16), min_size=3, max_size=30), st.data())
def test_large_chunks_have_sums_that_fit(sizes, data):
    chunks = (tuple(sizes), tuple(sizes[::-1]), tuple(sizes[:3]))
    shape = tuple(map(sum, chunks))
    large = parts.large_chunks(chunks, tuple((n,) for n in shape))
    assert is_summable(shape, large) or large == chunks
    for own, fine in zip(large, chunks, strict=True):
        assert set(np.cumsum(own).tolist()) <= set(np.cumsum(fine).tolist())
