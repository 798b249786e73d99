"""Voxels that hold points, looked up block by block: a task for each block that holds any.

Points that are sorted by block need each block once, however many points there are. Blocks without
a point are never read, nor those whose voxels are known to be alike.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import dask.array
import numpy as np
from dask.delayed import Delayed
from numpy.typing import NDArray

from refspace.blockwise.graphs import Tasks, array_from_tasks, name_from_inputs
from refspace.blockwise.sources import block_source


@dataclass(frozen=True, eq=False)
class PointsByBlock:
    """Points in the order of the blocks that hold them.

    Parameters
    ----------
    order
        Index of each among the points as they came.
    offsets
        Offset of the voxel of each within its block, in C order.
    ends
        Where the points of each block end, flat in C order; then those outside, then those that
        are missing.
    """

    order: NDArray[np.unsignedinteger[Any]]
    offsets: NDArray[np.unsignedinteger[Any]]
    ends: NDArray[np.int64]

    @property
    def blocks(self) -> list[int]:
        """Flat ids of the blocks that hold any."""
        counts = np.diff(self.ends[:-2], prepend=0)
        blocks: list[int] = np.flatnonzero(counts).tolist()
        return blocks

    def offsets_in(self, block: int) -> NDArray[np.unsignedinteger[Any]]:
        """Offsets of the points of a block, by its flat id."""
        return self.offsets[self.ends[block - 1] if block else 0 : self.ends[block]]


def look_up_points(
    points: PointsByBlock,
    shape: tuple[int, ...],
    arrays: Sequence[dask.array.Array],
    sole: NDArray[np.int64],
    function: Callable[..., NDArray[np.int64]],
    shared: object,
    elsewhere: tuple[int, int],
) -> dask.array.Array:
    """Value at each of some points in memory; lazy, one block.

    Parameters
    ----------
    points
        The points.
    shape
        Shape of the result, in which they are in C order.
    arrays
        Labels, and whatever else is looked up; chunked alike.
    sole
        Label of each block, as `sources.sole_labels` gives it; such blocks of labels are not read.
    function
        Called with what is shared, with the offsets of the points of a block, and with that block
        of each array. It returns the value at each of these.
    shared
        What it needs besides, which is no tuple and no list; sent to workers once.
    elsewhere
        Value of the points outside, and of those that are missing.

    Examples
    --------
    >>> data = dask.array.from_array(np.array([7, 8, 9], "u4"), chunks=2)
    >>> points = PointsByBlock(np.array([1, 0, 2]), np.array([1, 0, 0]), np.array([1, 2, 3, 3]))
    >>> look_up_points(
    ...     points, (3,), [data], np.array([-1, -1]), lambda _, at, block: block[at], None, (-1, -2)
    ... ).compute()
    array([ 9,  8, -1])
    """
    held = points.order, points.offsets, points.ends
    names = [array.name for array in arrays]
    name = name_from_inputs("points", *held, shape, names, sole, function, shared, elsewhere)
    tasks: Tasks = {f"{name}-shared": shared}
    labels, *others = arrays
    for block in points.blocks:
        block_id = tuple(map(int, np.unravel_index(block, labels.numblocks)))
        voxels = block_source(labels, block_id, sole), *((each.name, *block_id) for each in others)
        offsets = points.offsets_in(block)
        tasks[f"{name}-block", block] = (function, f"{name}-shared", offsets, *voxels)
    parts = [(f"{name}-block", block) for block in points.blocks]
    ends = points.ends[[*points.blocks, -2, -1]]
    key = (name, *(0,) * len(shape))
    tasks[key] = (_in_order, points.order, ends, parts, elsewhere, shape)
    return array_from_tasks(name, tasks, arrays, [(count,) for count in shape], np.int64)


def look_up_partitions(
    points: dask.array.Array, function: Callable[..., NDArray[np.int64]], lookup: Delayed
) -> dask.array.Array:
    """Value at each of some lazy points; lazy, a task for each partition.

    Parameters
    ----------
    points
        Positions, in whose last axis are those of one point.
    function
        Called with the positions of a partition, and with the look-up. It returns a value for each.
    lookup
        What it needs besides, as `graphs.shared_value` makes it.

    Examples
    --------
    >>> from refspace.blockwise.graphs import shared_value
    >>> points = dask.array.from_array(np.array([[1, 2], [3, 4], [5, 6]]), chunks=(2, 1))
    >>> look_up_partitions(points, np.dot, shared_value("weights", np.array([1, 10]))).compute()
    array([21, 43, 65])
    """
    # `dask.array.map_blocks` loses a value among its arguments where arrays are expressions.
    whole = points.rechunk({points.ndim - 1: -1})
    name = name_from_inputs("points", whole.name, function, lookup.key)
    tasks: Tasks = {
        (name, *block_id): (function, (whole.name, *block_id, 0), lookup.key)
        for block_id in np.ndindex(whole.numblocks[:-1])
    }
    return array_from_tasks(name, tasks, [whole, lookup], whole.chunks[:-1], np.int64)


def _in_order(
    order: NDArray[Any],
    ends: NDArray[np.int64],
    parts: Sequence[NDArray[np.int64]],
    elsewhere: tuple[int, int],
    shape: tuple[int, ...],
) -> NDArray[np.int64]:
    """Values of all points, in the order in which these came."""
    values, start = np.empty(order.size, np.int64), 0
    for part, end in zip((*parts, *map(np.array, elsewhere)), ends, strict=True):
        values[order[start:end]] = part
        start = end
    return values.reshape(shape)
