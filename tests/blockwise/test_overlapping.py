"""Functions of blocks and what is before them, against plain slices."""

from collections import Counter

import dask
import dask.array as da
import numpy as np
import pytest
from helpers.strategies import few
from helpers.volumes import CountingSource, chunkings, raising, volumes
from hypothesis import given
from hypothesis import strategies as st

from refspace.blockwise.overlapping import map_with_ends


def same(block, block_id):
    return block.copy()


@given(volumes(max_side=6), st.data())
@few
def test_blocks_with_what_is_before_them(voxels, data):
    chunks = data.draw(chunkings(voxels.shape))
    before = [[0, *(data.draw(st.integers(0, size)) for size in sizes[:-1])] for sizes in chunks]
    sizes = [
        tuple(size + count for size, count in zip(*axis, strict=True))
        for axis in zip(chunks, before, strict=True)
    ]
    source = CountingSource(voxels)
    with dask.config.set(scheduler=raising):
        lazy = map_with_ends(
            same, source.dask(chunks), before, sizes, np.full([*map(len, chunks)], -1)
        )
    result = lazy.compute()
    assert source.chunk_reads(chunks) == Counter({*np.ndindex(*map(len, chunks))})
    index = [
        np.concatenate(
            [np.arange(end - size - count, end) for size, count, end in zip(*axis, strict=True)]
        )
        for axis in zip(chunks, before, [np.cumsum(sizes) for sizes in chunks], strict=True)
    ]
    np.testing.assert_array_equal(result, voxels[np.ix_(*index)])


def test_a_part_reads_what_it_needs():
    voxels = np.arange(64, dtype="u4").reshape(4, 4, 4)
    source, chunks = CountingSource(voxels), ((1,) * 4,) * 3
    before = [(0, 1, 1, 1), (0,) * 4, (0,) * 4]
    sizes = [(1, 2, 2, 2), (1,) * 4, (1,) * 4]
    lazy = map_with_ends(same, source.dask(chunks), before, sizes, np.full((4, 4, 4), -1))
    np.testing.assert_array_equal(lazy.blocks[2, 0, 0], voxels[1:3, :1, :1])
    assert {*source.chunk_reads(chunks)} == {(1, 0, 0), (2, 0, 0)}


@pytest.mark.skipif(da.array_expr_enabled(), reason="expressions are computed as ever")
def test_few_blocks_are_kept():
    side, kept, most = 5, set(), []
    before, sizes = [(0, *(1,) * (side - 1))] * 3, [(2, *(3,) * (side - 1))] * 3

    def read(block, block_info=None):
        kept.add(tuple(block_info[None]["chunk-location"]))
        most.append(len(kept))
        return block

    def used(block, block_id):
        kept.discard(tuple(block_id))
        return block.copy()

    meta = np.empty((0,) * 3, "u4")
    data = da.zeros((2 * side,) * 3, "u4", chunks=2).map_blocks(read, meta=meta)
    lazy = map_with_ends(used, data, before, sizes, np.full((side,) * 3, -1))
    lazy.compute(scheduler="sync")
    assert max(most) == 1
    assert len(most) == side**3


def test_blocks_of_one_label_are_not_read():
    voxels = np.array([[[7, 7, 7, 7, 8, 9]]], "u4")
    source, chunks = CountingSource(voxels), ((1,), (1,), (2, 2, 2))
    seen = []

    def noted(block, block_id):
        seen.append((block.tolist(), any(block.strides)))
        return block.copy()

    before, sizes = [(0,), (0,), (0, 1, 1)], [(1,), (1,), (2, 3, 3)]
    sole = np.array([[[7, 7, -1]]])
    lazy = map_with_ends(noted, source.dask(chunks), before, sizes, sole)
    np.testing.assert_array_equal(lazy, [[[7, 7, 7, 7, 7, 7, 8, 9]]])
    assert {*source.chunk_reads(chunks)} == {(0, 0, 2)}
    assert ([[[7, 7, 7]]], False) in seen
