"""Blocks measured with those before them, against the planes of the whole array."""

import numpy as np
from helpers.blocks import blocks_of
from helpers.strategies import few
from helpers.volumes import CountingSource, chunkings, volumes
from hypothesis import given
from hypothesis import strategies as st

from refspace.blockwise.neighbours import outer_planes, reduce_with_neighbours
from refspace.blockwise.sources import block_sources, sole_labels


def sum_over_border(planes, before, last):
    """What is on both sides of the borders to the blocks before, and at the ends."""
    return [
        (
            None if ahead is None else (int(ahead[axis][1].sum()), int(first.sum())),
            int(end.sum()) if at_end else None,
        )
        for axis, (ahead, (first, end), at_end) in enumerate(zip(before, planes, last, strict=True))
    ]


@given(volumes(labels=(1, 2, 5), max_side=5), st.data())
@few
def test_borders_are_those_of_the_whole(voxels, data):
    chunks = data.draw(chunkings(voxels.shape))
    source = CountingSource(voxels)
    lazy = source.dask(chunks)
    sources = block_sources(lazy, sole_labels(None, chunks))
    borders = reduce_with_neighbours(
        "borders", lazy, sources, outer_planes, sum_over_border, list
    ).compute(scheduler="sync")
    blocks = blocks_of(voxels, chunks)
    for (block_id, block), axes in zip(blocks.items(), borders, strict=True):
        for axis, (border, end) in enumerate(axes):
            planes = np.moveaxis(block, axis, 0)
            if block_id[axis]:
                ahead = blocks[(*block_id[:axis], block_id[axis] - 1, *block_id[axis + 1 :])]
                assert border == (np.moveaxis(ahead, axis, 0)[-1].sum(), planes[0].sum())
            else:
                assert border is None
            at_end = block_id[axis] + 1 == len(chunks[axis])
            assert end == (planes[-1].sum() if at_end else None)
    assert set(source.chunk_reads(chunks).values()) == {1}


def test_planes_do_not_keep_the_block():
    block = np.arange(24).reshape(2, 3, 4)
    for planes in outer_planes(block):
        for plane in planes:
            assert not np.shares_memory(plane, block)
