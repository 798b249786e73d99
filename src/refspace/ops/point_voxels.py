"""Which voxels hold points: points sorted by the blocks that their voxels are in."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refspace.blockwise.lookup import PointsByBlock
from refspace.grid import Grid

# Points that are sorted at a time: what is computed of them on the way stays in the cache. 10⁷
# points took 1.2 s; 1.7 s at 2**18.
_PIECE = 2**16


def sort_points(
    axes: Sequence[NDArray[Any]], grid: Grid, chunks: Sequence[Sequence[int]]
) -> PointsByBlock:
    """Sort points by the blocks that hold them.

    Parameters
    ----------
    axes
        Positions along each axis of the grid, in µm.
    grid
        Where the voxels are. The voxel that holds a point is that of `Grid.index`.
    chunks
        Sizes of the blocks along each axis.

    Examples
    --------
    >>> line = np.array([35.0, 5.0, 99.0, 15.0])
    >>> grid = Grid((4, 1, 1), (10, 10, 10))
    >>> points = sort_points([line, 0 * line, 0 * line], grid, ((2, 2), (1,), (1,)))
    >>> points.order, points.offsets, points.ends
    (array([1, 3, 0, 2], dtype=uint8), array([0, 1, 1, 0], dtype=uint32), array([2, 3, 4, 4]))
    """
    flat = [axis.reshape(-1) for axis in axes]
    # Two groups more than blocks: of points outside, and of missing ones.
    count, groups = flat[0].size, math.prod(map(len, chunks)) + 2
    tables = [_voxel_table(sizes) for sizes in chunks]
    # Of 16 bits, so that the stable sort is a radix sort.
    blocks = np.empty(count, np.min_scalar_type(groups - 1))
    largest = math.prod(max(sizes) for sizes in chunks)
    offsets = np.empty(count, np.promote_types(np.uint32, np.min_scalar_type(largest)))
    held = np.zeros(groups, np.int64)
    for start in range(0, count, _PIECE):
        piece = slice(start, start + _PIECE)
        blocks[piece], offsets[piece] = _find_voxels([a[piece] for a in flat], grid, tables)
        held += np.bincount(blocks[piece], minlength=groups)
    order = np.argsort(blocks, kind="stable").astype(np.min_scalar_type(count))
    return PointsByBlock(order, offsets[order], np.cumsum(held))


def _voxel_table(sizes: Sequence[int]) -> NDArray[np.int64]:
    """For each voxel along an axis: index of its block, offset there, size of the block."""
    block = np.repeat(np.arange(len(sizes)), sizes)
    starts = np.concatenate(([0], np.cumsum(sizes)))
    return np.stack((block, np.arange(block.size) - starts[block], np.take(sizes, block)))


def _find_voxels(
    axes: Sequence[NDArray[Any]], grid: Grid, tables: Sequence[NDArray[np.int64]]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Flat id of the block of each point, and the offset of its voxel there."""
    block, offset = np.zeros((2, axes[0].size), np.int64)
    inside, finite = np.ones((2, axes[0].size), bool)
    count = 1
    for dim, positions, table in zip(grid.dims, axes, tables, strict=True):
        finite &= np.isfinite(positions)
        voxels = grid.voxels(dim, positions)
        within = ~np.isnan(voxels)
        inside &= within
        along, shift, size = table[:, np.where(within, voxels, 0).astype(np.intp)]
        blocks = int(table[0, -1]) + 1
        block, offset, count = block * blocks + along, offset * size + shift, count * blocks
    block[~inside], offset[~inside] = count, 0
    block[~finite] = count + 1
    return block, offset
