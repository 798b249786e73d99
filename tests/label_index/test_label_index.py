import pickle
from dataclasses import replace

import dask.array as da
import numpy as np
import pytest
from dask.base import tokenize
from helpers.indices import chunked_volumes, coarser, index_of, keys, parts_of
from helpers.volumes import IDS, MEMORY_ORDERS, UNKNOWN, chunkings, in_memory_order
from hypothesis import given
from hypothesis import strategies as st

from refspace import kernels
from refspace.blockwise.hemisphere import keep_slab
from refspace.errors import AnnotationError, GridError
from refspace.label_index import (
    FIELDS,
    IN,
    MIXED,
    OUT,
    BlockLabels,
    LabelIndex,
    chunk_rows,
)

VOXELS = np.zeros((4, 3, 5), "u4")
VOXELS[1:3, :2, 1:4] = 7
VOXELS[2, 1, 3:] = 9
CHUNKS = ((2, 2), (3,), (4, 1))
ids = st.sets(st.sampled_from([0, *IDS, *UNKNOWN]))


# ----- what an index answers


@given(chunked_volumes(), ids)
def test_an_index_knows_what_the_voxels_show(case, asked):
    voxels, chunks = case
    index = index_of(voxels, chunks)
    places = np.argwhere(np.isin(voxels, list(asked)))
    labels, counts = np.unique(voxels, return_counts=True)
    assert list(index.counts().items()) == list(zip(labels.tolist(), counts.tolist(), strict=True))
    assert index.coordinate_sums(asked) == (len(places), tuple(places.sum(axis=0).tolist()))
    if len(places):
        corners = places.min(axis=0), places.max(axis=0) + 1
        assert index.extent(asked) == tuple(tuple(corner.tolist()) for corner in corners)
    else:
        assert index.extent(asked) is None


@given(chunked_volumes())
def test_each_chunk_is_measured_where_it_is(case):
    voxels, chunks = case
    table = index_of(voxels, chunks).table
    for number, part in enumerate(da.core.slices_from_chunks(chunks)):
        rows = table[:, table[0] == number]
        assert rows[1].tolist() == np.unique(voxels[part]).tolist()
        for _, label, count, *places in rows.T.tolist():
            inside = np.argwhere(voxels[part] == label) + [axis.start for axis in part]
            assert count == len(inside)
            assert places == [*inside.min(axis=0), *(inside.max(axis=0) + 1), *inside.sum(axis=0)]


@given(chunked_volumes())
def test_chunks_together_measure_the_whole(case):
    voxels, chunks = case
    index = index_of(voxels, chunks)
    labels, counts, start, stop, sums = kernels.measure(voxels)
    assert index.counts() == dict(zip(labels.tolist(), counts.tolist(), strict=True))
    for n, label in enumerate(labels.tolist()):
        assert index.extent([label]) == (tuple(start[n].tolist()), tuple(stop[n].tolist()))
        assert index.coordinate_sums([label]) == (counts[n], tuple(sums[n].tolist()))


@given(chunked_volumes(), st.data())
def test_coarser_chunks(case, data):
    voxels, chunks = case
    larger = data.draw(coarser(chunks))
    assert index_of(voxels, chunks).coarsen(larger) == index_of(voxels, larger)


@given(chunked_volumes(), st.randoms())
def test_parts_come_in_any_order(case, random):
    voxels, chunks = case
    parts = parts_of(voxels, chunks)
    random.shuffle(parts)
    assert LabelIndex.from_rows(voxels.shape, chunks, iter(parts)) == index_of(voxels, chunks)


@pytest.mark.parametrize("order", MEMORY_ORDERS)
def test_rows_do_not_depend_on_memory_order(order):
    rows = chunk_rows(in_memory_order(VOXELS, order), 3, (10, 20, 30))
    np.testing.assert_array_equal(rows, chunk_rows(VOXELS, 3, (10, 20, 30)))
    assert rows[:, 2].tolist() == [3, 9, 2, 12, 21, 33, 13, 22, 35, 24, 42, 67]
    assert dict(zip(FIELDS, rows[:, 1].tolist(), strict=True))["count"] == 11


@pytest.mark.parametrize("asked", [[7, 9, 7, 9], {7, 9, -1, 2**70}, np.array([7, 9], "u4")])
def test_labels_are_asked_for_in_any_form(asked):
    index = index_of(VOXELS, CHUNKS)
    count, sums = index.coordinate_sums(asked)
    start, stop = index.extent(iter(asked))
    assert (count, start, stop) == (13, (1, 0, 1), (3, 2, 5))
    assert {type(n) for n in (count, *sums, *start, *stop, *index.counts().values())} == {int}


def test_sums_beyond_float64_are_exact():
    # A line of two chunks, all one label: its indices sum to an odd number above 2**53.
    half = 2**26 + 1
    sums = half * (half - 1) // 2, half * half + half * (half - 1) // 2
    rows = np.array(
        [
            [0, 7, half, 0, 0, 0, 1, 1, half, 0, 0, sums[0]],
            [1, 7, half, 0, 0, half, 1, 1, 2 * half, 0, 0, sums[1]],
        ]
    )
    index = LabelIndex((1, 1, 2 * half), ((1,), (1,), (half, half)), rows.T)
    assert index.coordinate_sums([7]) == (2 * half, (0, 0, half * (2 * half - 1)))


def test_background_is_a_label():
    assert index_of(VOXELS, CHUNKS).counts() == {0: 47, 7: 11, 9: 2}


# ----- an index as a value


def test_equal_indexes_have_equal_names():
    index, same = index_of(VOXELS, CHUNKS), index_of(VOXELS.copy(), [list(c) for c in CHUNKS])
    other = index_of(VOXELS[::-1], CHUNKS)
    assert index == same
    assert index != other
    assert index != index.block_labels
    assert hash(index) == hash(same)
    assert tokenize(index) == tokenize(same) != tokenize(other)
    assert tokenize(index.block_labels) == tokenize(same.block_labels)
    assert tokenize(index.block_labels) != tokenize(other.block_labels)
    assert index.block_labels == same.block_labels
    assert index != "an index"


@pytest.mark.parametrize("name", ["table", "block_labels"])
def test_nothing_can_be_written_to(name):
    index = pickle.loads(pickle.dumps(index_of(VOXELS, CHUNKS)))
    with pytest.raises(AttributeError, match="cannot assign"):
        setattr(index, name, None)
    blocks = pickle.loads(pickle.dumps(index.block_labels))
    for array in (index.table, blocks.indptr, blocks.labels):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 1


def test_the_table_is_a_copy():
    table = index_of(VOXELS, CHUNKS).table.copy()
    index = LabelIndex(VOXELS.shape, CHUNKS, table)
    table[:] = 0
    assert index == index_of(VOXELS, CHUNKS)


def test_pickles_leave_out_what_is_cached():
    index = index_of(VOXELS, CHUNKS)
    fresh = pickle.dumps(index)
    index.extent([7])
    assert index.block_labels.verdicts([7]).size == 4
    assert pickle.dumps(index) == fresh
    assert pickle.loads(fresh) == index


def test_names_are_short():
    index = index_of(VOXELS, CHUNKS)
    assert repr(index) == "<LabelIndex of (4, 3, 5) voxels in 4 chunks: 3 labels in 8 rows>"
    assert repr(index.block_labels) == "<BlockLabels of (2, 1, 2) blocks: 8 labels in all>"


# ----- indexes that lie

ROW = {name: row for row, name in enumerate(FIELDS)}


def damaged(**changes):
    """Table of the example with other values for label 7 in the first chunk."""
    table = index_of(VOXELS, CHUNKS).table.copy()
    for name, value in changes.items():
        table[ROW[name], 1] = value
    return table


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"chunk": 4}, "label 7 of chunk 4: there are 4 chunks"),
        ({"chunk": -1}, "label 7 of chunk -1: there are 4 chunks"),
        ({"label": -7}, "label -7 of chunk 0: labels are 0 to"),
        ({"label": 2**32}, r"labels are 0 to 2\*\*32 - 1"),
        ({"label": 0}, "label 0 of chunk 0: rows are sorted by chunk, then label, and none comes"),
        ({"chunk": 1, "label": 9}, "label 0 of chunk 1: rows are sorted"),
        ({"start_2": -1}, "its box is empty or leaves the chunk"),
        ({"start_1": 2}, "its box is empty or leaves the chunk"),
        ({"stop_2": 5}, "its box is empty or leaves the chunk"),
        ({"stop_0": 3}, "its box is empty or leaves the chunk"),
        ({"stop_1": -(2**63)}, "its box is empty or leaves the chunk"),
        ({"count": 0}, "it has no voxel, or more than its box"),
        ({"count": 7}, "it has no voxel, or more than its box"),
        ({"count": 2**62}, "it has no voxel, or more than its box"),
        ({"sum_2": 13}, "no voxels in its box have such sums"),
        ({"sum_0": -(2**63)}, "no voxels in its box have such sums"),
        ({"count": 1, "sum_0": 1, "sum_1": 0, "sum_2": 1}, "no voxels in its box have such sums"),
        (
            {"count": 5, "sum_0": 5, "sum_1": 2, "sum_2": 10},
            "has 23 voxels in chunk 0, which has 24",
        ),
    ],
)
def test_damaged_rows(changes, message):
    with pytest.raises(AnnotationError, match=message):
        LabelIndex(VOXELS.shape, CHUNKS, damaged(**changes))


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"label": 2**32}, "labels are 0 to"),
        ({"stop_1": -(2**63)}, "its box is empty"),
        ({"count": 2**62}, "it has no voxel"),
        ({"sum_1": -(2**63)}, "no voxels in its box"),
    ],
)
def test_the_row_that_is_wrong_is_named(changes, rule):
    for row in range(index_of(VOXELS, CHUNKS).table.shape[1]):
        table = index_of(VOXELS, CHUNKS).table.copy()
        for name, value in changes.items():
            table[ROW[name], row] = value
        chunk, label = table[[ROW["chunk"], ROW["label"]], row]
        with pytest.raises(AnnotationError, match=f"for label {label} of chunk {chunk}: {rule}"):
            LabelIndex(VOXELS.shape, CHUNKS, table)


def test_a_changed_sum_does_not_pass():
    table = damaged()
    table[ROW["sum_1"], 0] -= 1
    with pytest.raises(AnnotationError, match="chunk 0, which has 24, or sums of other voxels"):
        LabelIndex(VOXELS.shape, CHUNKS, table)


@given(chunked_volumes(), st.sampled_from([1, -1, 2**40]), st.data())
def test_no_count_or_sum_changes_alone(case, by, data):
    voxels, chunks = case
    table = index_of(voxels, chunks).table.copy()
    field = data.draw(st.sampled_from([0, 2, 9, 10, 11]))
    table[field, data.draw(st.integers(0, table.shape[1] - 1))] += by
    with pytest.raises(AnnotationError, match="label index"):
        LabelIndex(voxels.shape, chunks, table)


@pytest.mark.parametrize("number", range(4))
def test_a_chunk_without_rows(number):
    table = damaged()
    with pytest.raises(AnnotationError, match=f"has 0 voxels in chunk {number}, which has"):
        LabelIndex(VOXELS.shape, CHUNKS, table[:, table[0] != number])


def test_parts_that_come_twice():
    parts = parts_of(VOXELS, CHUNKS)
    with pytest.raises(AnnotationError, match=r"label 0 of chunk 2: .* none comes twice; make"):
        LabelIndex.from_rows(VOXELS.shape, CHUNKS, [*parts, parts[2]])


def test_no_parts_at_all():
    with pytest.raises(AnnotationError, match="has 0 voxels in chunk 0, which has 24"):
        LabelIndex.from_rows(VOXELS.shape, CHUNKS, [])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (np.zeros((11, 4), np.int64), r"table of integers of shape \(12, rows\), not int64 of sha"),
        (np.zeros(12, np.int64), r"not int64 of shape \(12,\)"),
        (np.zeros((12, 4)), r"not float64 of shape \(12, 4\)"),
        (np.full((12, 4), 2**64 - 1, np.uint64), "there are 4 chunks"),
    ],
)
def test_tables_that_are_none(table, message):
    with pytest.raises(AnnotationError, match=message):
        LabelIndex(VOXELS.shape, CHUNKS, table)


@pytest.mark.parametrize(
    ("shape", "chunks"),
    [
        ((4, 3), ((2, 2), (3,))),
        ((4, 3, 6), CHUNKS),
        ((4, 3, 5), ((2, 2), (3,))),
        ((4, 3, 5), ((2, 2), (3,), (5, 0))),
        ((4, 3, 5), ((2, 2), (3,), (6, -1))),
        ((0, 3, 5), ((), (3,), (5,))),
    ],
)
def test_chunks_that_are_no_chunks(shape, chunks):
    with pytest.raises(GridError, match="do not make up an array"):
        LabelIndex(shape, chunks, damaged())


def test_arrays_too_large_to_sum():
    with pytest.raises(GridError, match="sums of its indices may pass"):
        LabelIndex((2**21,) * 3, ((2**21,),) * 3, damaged())


def test_coarser_chunks_that_cut():
    index = index_of(VOXELS, CHUNKS)
    with pytest.raises(GridError, match=r"\(3, 1\) voxels cut chunks of \(2, 2\) .* along axis 0"):
        index.coarsen(((3, 1), (3,), (5,)))
    with pytest.raises(GridError, match="do not make up an array"):
        index.coarsen(((4,), (3,), (4,)))


# ----- labels of blocks


@given(chunked_volumes(), ids)
def test_verdicts(case, asked):
    voxels, chunks = case
    verdicts = index_of(voxels, chunks).block_labels.verdicts(sorted(asked))
    masks = [np.isin(voxels[p], list(asked)) for p in da.core.slices_from_chunks(chunks)]
    expected = [IN if mask.all() else MIXED if mask.any() else OUT for mask in masks]
    assert verdicts.ravel().tolist() == expected
    assert verdicts.dtype == np.int8
    assert verdicts.shape == tuple(map(len, chunks))


def test_verdicts_of_no_ids_and_strange_ids():
    blocks = BlockLabels(((1, 1),), np.array([0, 1, 3]), np.array([2**32 - 1, 0, 7]))
    assert blocks.verdicts([]).tolist() == [OUT, OUT]
    assert blocks.verdicts([-1, 2**33]).tolist() == [OUT, OUT]
    assert blocks.verdicts(np.array([7, 2**32 - 1], "u4")).tolist() == [IN, MIXED]
    assert (OUT, IN, MIXED) == (0, 1, 2)


@given(chunked_volumes(), st.data())
def test_crops_have_the_blocks_of_dask(case, data):
    voxels, chunks = case
    key = data.draw(keys(voxels.shape))
    lazy = da.from_array(voxels, chunks=chunks)[key]
    blocks = index_of(voxels, chunks).block_labels.crop(key)
    assert blocks.chunks == lazy.chunks
    assert blocks.shape == lazy.numblocks
    crop = voxels[key]
    parts = da.core.slices_from_chunks(blocks.chunks)
    for block, part in zip(np.ndindex(blocks.shape), parts, strict=True):
        assert set(np.unique(crop[part])) <= set(blocks.in_block(block))
    again = data.draw(keys(lazy.shape)) if lazy.size else ()
    if again:
        twice = blocks.crop(again)
        assert twice.chunks == lazy[again].chunks
        for block, part in zip(
            np.ndindex(twice.shape), da.core.slices_from_chunks(twice.chunks), strict=True
        ):
            assert set(np.unique(crop[again][part])) <= set(twice.in_block(block))


def bare(blocks):
    """Labels of blocks without what else is known of them."""
    return replace(blocks, counts=None, boxes=None)


def test_crops_leave_out_labels_whose_box_they_do_not_meet():
    blocks = index_of(VOXELS, CHUNKS).block_labels
    assert blocks.crop((1, slice(None), slice(None))).labels.tolist() == [0, 7, 0]
    assert blocks.crop((slice(2, 4), 2, slice(None))).labels.tolist() == [0, 0]
    assert bare(blocks).crop((slice(2, 4), 2, slice(None))).labels.tolist() == [0, 7, 9, 0, 9]
    # A crop of a crop, in its own indices.
    part = blocks.crop((slice(2, 4), slice(1, 3), slice(3, 5)))
    assert part.crop((1, slice(None), slice(None))).labels.tolist() == [0, 0]
    assert part.crop((0, slice(None), slice(None))).labels.tolist() == [0, 7, 9, 0, 9]


def test_a_block_whose_boxes_are_all_elsewhere_keeps_its_labels():
    boxes = np.array([[[0, 0]], [[0, 0]]])
    blocks = BlockLabels(((2,),), np.array([0, 2]), np.array([7, 9]), boxes=boxes)
    assert blocks.crop((1,)).labels.tolist() == [7, 9]


@pytest.mark.parametrize(
    "known", [{"counts": np.array([1])}, {"boxes": np.zeros((2, 2, 2))}, {"boxes": np.zeros(2)}]
)
def test_counts_and_boxes_of_other_labels(known):
    with pytest.raises(
        AnnotationError, match=r"have the shape .*; give .*, for each of the labels"
    ):
        BlockLabels(((2,),), np.array([0, 2]), np.array([7, 9]), **known)


@given(chunked_volumes(), st.data())
def test_whole_chunks_keep_exactly_their_labels(case, data):
    voxels, chunks = case
    block = tuple(data.draw(st.integers(0, len(sizes) - 1)) for sizes in chunks)
    blocks = index_of(voxels, chunks).block_labels
    key = [
        slice(sum(sizes[:n]), sum(sizes[: n + 1])) for n, sizes in zip(block, chunks, strict=True)
    ]
    cropped = blocks.crop(tuple(key))
    expected = np.unique(voxels[tuple(key)])
    np.testing.assert_array_equal(blocks.in_block(block), expected)
    np.testing.assert_array_equal(cropped.in_block((0, 0, 0)), expected)
    assert cropped.labels.size == expected.size


def test_crops_of_a_line_to_a_voxel_and_nothing():
    blocks = BlockLabels(((3, 2),), np.array([0, 1, 3]), np.array([7, 0, 9]))
    voxel = blocks.crop((4,))
    assert (voxel.shape, voxel.in_block(()).tolist()) == ((), [0, 9])
    assert voxel.verdicts([0, 9]).tolist() == IN
    assert blocks.crop((slice(9, 12),)).chunks == ((0,),)
    assert blocks.crop((slice(3, 3),)).crop((slice(0, 0),)).chunks == ((0,),)


def test_crops_that_are_none():
    blocks = index_of(VOXELS, CHUNKS).block_labels
    with pytest.raises(GridError, match="has steps of 2; give a slice without"):
        blocks.crop((slice(0, 4, 2), 0, 0))
    with pytest.raises(IndexError, match="out of range"):
        blocks.crop((4, 0, 0))


@pytest.mark.parametrize("indptr", [[0, 1], [0, 0, 2], [0, 2, 2], [1, 2, 2], [0, 1, 3], []])
def test_blocks_without_labels(indptr):
    with pytest.raises(AnnotationError, match="does not deal 2 labels out to 2 blocks; give"):
        BlockLabels(((1, 1),), np.array(indptr), np.array([7, 9]))


# ----- a slab


@st.composite
def slabs(draw, chunks):
    """An axis, and a range along it: of whole chunks, or of any voxels."""
    axis = draw(st.integers(0, len(chunks) - 1))
    ends = np.cumsum([0, *chunks[axis]]).tolist()
    if draw(st.booleans()):
        ends = range(ends[-1] + 1)
    start, stop = sorted(draw(st.tuples(st.sampled_from(ends), st.sampled_from(ends))))
    return axis, slice(start, stop)


def outside_is_0(voxels, axis, kept):
    """The voxels, 0 outside of a slab."""
    result = np.zeros_like(voxels)
    inside = (slice(None),) * axis + (kept,)
    result[inside] = voxels[inside]
    return result


def cut_chunks(chunks, axis, kept):
    """The chunks, cut at the ends of a slab."""
    ends = {*np.cumsum([0, *chunks[axis]]).tolist(), kept.start, kept.stop}
    return (*chunks[:axis], tuple(np.diff(sorted(ends)).tolist()), *chunks[axis + 1 :])


@given(chunked_volumes(), st.data())
def test_an_index_of_a_slab_is_that_of_its_voxels(case, data):
    voxels, chunks = case
    axis, kept = data.draw(slabs(chunks))
    cells = cut_chunks(chunks, axis, kept)
    index = index_of(voxels, cells)
    slab = index.keep_slab(axis, kept)
    assert slab == index_of(outside_is_0(voxels, axis, kept), cells)
    # What was indexed stays as it was.
    assert index == index_of(voxels, cells)


@given(chunked_volumes(), st.data())
def test_an_index_of_a_slab_cuts_no_chunk(case, data):
    voxels, chunks = case
    axis, kept = data.draw(slabs(chunks))
    if kept.start == kept.stop or cut_chunks(chunks, axis, kept) == chunks:
        index_of(voxels, chunks).keep_slab(axis, kept)
        return
    with pytest.raises(GridError, match="is no union of whole chunks"):
        index_of(voxels, chunks).keep_slab(axis, kept)


def test_an_index_of_a_slab_of_nothing_holds_0_alone():
    for kept in (slice(0, 0), slice(4, 4), slice(7, 9)):
        slab = index_of(VOXELS, CHUNKS).keep_slab(0, kept)
        assert slab.counts() == {0: VOXELS.size}
        assert slab.chunks == CHUNKS
    whole = index_of(VOXELS, CHUNKS)
    assert whole.keep_slab(1, slice(None)) == whole


@given(chunked_volumes(), st.data())
def test_labels_of_a_slab_are_those_of_its_array(case, data):
    voxels, chunks = case
    axis, kept = data.draw(slabs(chunks))
    lazy = keep_slab(da.from_array(voxels, chunks=chunks), axis, kept)
    blocks = index_of(voxels, chunks).block_labels.keep_slab(axis, kept)
    assert blocks.chunks == lazy.chunks == cut_chunks(chunks, axis, kept)
    expected = outside_is_0(voxels, axis, kept)
    np.testing.assert_array_equal(lazy.compute(scheduler="sync"), expected)
    exact = index_of(expected, blocks.chunks).block_labels
    whole = index_of(voxels, chunks).block_labels
    starts = np.cumsum([0, *blocks.chunks[axis]])[:-1]
    for block in np.ndindex(blocks.shape):
        labels = blocks.in_block(block)
        assert {*exact.in_block(block)} <= {*labels}
        if kept.start <= starts[block[axis]] < kept.stop:
            # What may be in a part is what is in the block.
            old = np.searchsorted(np.cumsum(chunks[axis]), starts[block[axis]], side="right")
            of = whole.in_block((*block[:axis], int(old), *block[axis + 1 :]))
            np.testing.assert_array_equal(labels, of)
        else:
            assert labels.tolist() == [0]


# ----- other blocks


@given(chunked_volumes(), st.data())
def test_other_blocks_may_hold_what_those_that_they_meet_hold(case, data):
    voxels, chunks = case
    other = data.draw(chunkings(voxels.shape))
    blocks = bare(index_of(voxels, chunks).block_labels)
    found = blocks.coarsen(other)
    assert found.chunks == other
    parts = da.core.slices_from_chunks(other)
    for block, part in zip(np.ndindex(found.shape), parts, strict=True):
        expected = np.unique(blocks.crop(part).labels)
        np.testing.assert_array_equal(found.in_block(block), expected)
        assert {*np.unique(voxels[part])} <= {*expected}


@given(chunked_volumes(), st.data())
def test_unions_of_blocks_hold_exactly_their_labels(case, data):
    voxels, chunks = case
    larger = data.draw(coarser(chunks))
    found = index_of(voxels, chunks).block_labels.coarsen(larger)
    assert bare(found) == bare(index_of(voxels, larger).block_labels)


def test_the_same_blocks_are_not_made_again():
    blocks = index_of(VOXELS, CHUNKS).block_labels
    assert blocks.coarsen(CHUNKS) is blocks
    assert blocks.coarsen([list(sizes) for sizes in CHUNKS]) is blocks


@given(chunked_volumes(), st.sampled_from([0, *IDS]))
def test_a_label_more_in_every_block(case, label):
    voxels, chunks = case
    blocks = index_of(voxels, chunks).block_labels
    more = blocks.with_label(label)
    assert more.chunks == blocks.chunks
    for block in np.ndindex(blocks.shape):
        expected = np.union1d(blocks.in_block(block), [label])
        np.testing.assert_array_equal(more.in_block(block), expected)
