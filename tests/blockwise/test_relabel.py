"""Labels replaced and counted with what is known of blocks, against plain NumPy."""

from collections import Counter
from dataclasses import replace

import dask
import dask.array as da
import numpy as np
import pytest
from helpers.blocks import block_labels_of, blocks_of
from helpers.strategies import few
from helpers.volumes import IDS, CountingSource, chunked, chunkings, volumes
from hypothesis import given
from hypothesis import strategies as st

from refspace.blockwise.relabel import (
    blocks_to_read,
    count_blocks,
    counts_element,
    relabel_blocks,
    values_of_labels,
)
from refspace.errors import AnnotationError

LABELS = IDS[:4]
rows = st.sampled_from([(), (3,)])


def count(block):
    return counts_element(*np.unique(block, return_counts=True), block.ndim)


@given(volumes(labels=LABELS, max_side=4), rows, st.data())
@few
def test_values_over_chunks(voxels, row, data):
    chunks = data.draw(chunkings(voxels.shape))
    fitting = [label for label in LABELS if label <= np.iinfo(voxels.dtype).max]
    ids = sorted(data.draw(st.sets(st.sampled_from(fitting))))
    values = np.arange(len(ids) * 3).reshape(len(ids), 3)[:, : 3 if row else 1] // 4
    values, default = values.reshape(len(ids), *row), np.full(row, 9)
    more = data.draw(st.sampled_from([(), (0,), (8, 254)]))
    block_labels = block_labels_of(voxels, chunks, more)
    table = values_of_labels(block_labels, np.array(ids, "u4"), values, default)
    result = relabel_blocks(chunked(voxels, chunks), block_labels, table)
    assert result.chunks == (*chunks, *((n,) for n in row))
    by_label = dict(zip(ids, values, strict=True))
    expected = [by_label.get(label, default) for label in voxels.ravel().tolist()]
    np.testing.assert_array_equal(result, np.reshape(expected, (*voxels.shape, *row)))
    assert result.dtype == result.compute().dtype == values.dtype


@given(volumes(labels=LABELS, max_side=4), st.data())
@few
def test_only_blocks_that_vary_are_read(voxels, data):
    chunks = data.draw(chunkings(voxels.shape))
    inside = sorted(data.draw(st.sets(st.sampled_from(LABELS))))
    block_labels = block_labels_of(voxels, chunks)
    values = np.isin(block_labels.labels, inside).astype("u1")
    source = CountingSource(voxels)
    result = relabel_blocks(source.dask(chunks), block_labels, values)
    np.testing.assert_array_equal(result, np.isin(voxels.astype("i8"), inside))
    mixed = {
        block_id
        for block_id, block in blocks_of(voxels, chunks).items()
        if len(set(np.isin(block.astype("i8"), inside).ravel().tolist())) > 1
    }
    assert source.chunk_reads(chunks) == Counter(mixed)
    assert {*zip(*np.nonzero(blocks_to_read(block_labels, values)), strict=True)} == mixed


def test_a_result_of_one_block_can_be_written_to():
    voxels = np.full((2, 2, 2), 7, "u4")
    block_labels = block_labels_of(voxels, ((2,),) * 3)
    result = relabel_blocks(da.from_array(voxels), block_labels, np.array([5])).compute()
    result[0] = 1
    assert result.sum() == 24


def test_blocks_of_one_value_take_the_memory_of_one():
    voxels = np.full((2, 2, 2), 7, "u4")
    block_labels = block_labels_of(voxels, ((1, 1), (2,), (2,)))
    lazy = da.from_array(voxels, chunks=(1, 2, 2))
    result = relabel_blocks(lazy, block_labels, np.array([5, 5]))
    block = dask.get(dict(result.dask), (result.name, 0, 0, 0))
    assert block.strides == (0, 0, 0)


def test_another_label_than_the_known_ones():
    voxels = np.array([[[5, 7]], [[7, 7]]], "u4")
    block_labels = block_labels_of(voxels, ((1, 1), (1,), (2,)))
    damaged = da.from_array(np.array([[[5, 9]], [[7, 7]]], "u4"), chunks=(1, 1, 2))
    result = relabel_blocks(damaged, block_labels, np.array([1, 0, 0]))
    with pytest.raises(AnnotationError, match=r"9.*a block is not the one that was indexed"):
        result.compute()


def counted(voxels, chunks):
    """Labels of each block, and how many voxels have each."""
    pairs = [np.unique(b, return_counts=True) for b in blocks_of(voxels, chunks).values()]
    return replace(
        block_labels_of(voxels, chunks), counts=np.concatenate([counts for _, counts in pairs])
    )


@given(volumes(labels=IDS, max_side=5), st.data())
@few
def test_masks_of_blocks_whose_counts_are_known(voxels, data):
    chunks = data.draw(chunkings(voxels.shape))
    inside = sorted(data.draw(st.sets(st.sampled_from(IDS))))
    known = counted(voxels, chunks)
    result = relabel_blocks(chunked(voxels, chunks), known, np.isin(known.labels, inside))
    np.testing.assert_array_equal(result, np.isin(voxels.astype("i8"), inside))


def test_another_count_than_the_known_one():
    voxels = np.array([[[5, 7, 7]], [[7, 7, 7]]], "u4")
    known = counted(voxels, ((1, 1), (1,), (3,)))
    damaged = da.from_array(np.array([[[5, 9, 7]], [[7, 7, 7]]], "u4"), chunks=(1, 1, 3))
    result = relabel_blocks(damaged, known, known.labels == 7)
    with pytest.raises(AnnotationError, match=r"1 voxels are inside, where 2 should be: a block"):
        result.compute()


@given(volumes(labels=LABELS, max_side=4), st.data())
@few
def test_counts_of_blocks(voxels, data):
    chunks = data.draw(chunkings(voxels.shape))
    block_labels = block_labels_of(voxels, chunks)
    source = CountingSource(voxels)
    counts = count_blocks(source.dask(chunks), block_labels, count)
    assert counts.chunks == tuple((1,) * len(sizes) for sizes in chunks)
    several = set()
    for block_id, (labels, sizes) in zip(
        np.ndindex(counts.shape), counts.compute().flat, strict=True
    ):
        block = blocks_of(voxels, chunks)[block_id]
        expected = np.unique(block, return_counts=True)
        np.testing.assert_array_equal((labels, sizes), expected)
        several |= {block_id} if len(labels) > 1 else set()
    assert source.chunk_reads(chunks) == Counter(several)


def test_names_are_of_all_that_values_depend_on():
    voxels = np.array([[[5, 7]]], "u4")
    block_labels = block_labels_of(voxels, ((1,), (1,), (2,)))
    lazy = da.from_array(voxels)

    def name(values):
        return relabel_blocks(lazy, block_labels, np.array(values)).name

    assert name([1, 0]) == name([1, 0]) != name([0, 1])
    assert count_blocks(lazy, block_labels, count).name.startswith("count-")
