"""Blocks that are measured together with their neighbours: what crosses the borders of blocks.

Faces between voxels, and components that hang together, cross the borders between blocks. A block
is first measured alone, and keeps its outer planes; then it is measured with the planes of the
blocks before it. So every border is met once, and no task holds the voxels of two blocks.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import dask.array
import numpy as np
from dask.delayed import Delayed
from numpy.typing import NDArray

from refspace.blockwise.graphs import BlockId, Task, Tasks, name_from_inputs, value_from_tasks

Planes: TypeAlias = list[tuple[NDArray[Any], NDArray[Any]]]
"""First and last plane of a block across each axis."""


def outer_planes(block: NDArray[Any]) -> Planes:
    """Outer planes of a block; copies, so that the memory of the block can be freed.

    Examples
    --------
    >>> outer_planes(np.array([[7, 8, 9]]))
    [(array([7, 8, 9]), array([7, 8, 9])), (array([7]), array([9]))]
    """
    axes = (np.moveaxis(block, axis, 0) for axis in range(block.ndim))
    return [(along[0].copy(), along[-1].copy()) for along in axes]


def reduce_with_neighbours(
    prefix: str,
    data: dask.array.Array,
    sources: Mapping[BlockId, Task],
    measure: Callable[..., Any],
    combine: Callable[..., Any],
    gather: Callable[..., Any],
) -> Delayed:
    """Measure each block, then each with those before it, then all together; lazy.

    No task holds more than the block that it reads, or what was measured of four.

    Parameters
    ----------
    prefix
        What the tasks are called.
    data
        Array of the blocks.
    sources
        Key or task of the voxels of every block, as `sources.block_sources` gives them.
    measure
        Called with the voxels of a block.
    combine
        Called with what was measured of a block; a list of what was of the block before it along
        each axis, None where there is none; and whether it is the last along each.
    gather
        Called with all that `combine` returned, in C order of the blocks.

    Returns
    -------
    dask.delayed.Delayed
        What `gather` returns.

    Examples
    --------
    Of each block its number of voxels, then how many those before it have:

    >>> data = dask.array.from_array(np.arange(5), chunks=2)
    >>> keys = {block_id: (data.name, *block_id) for block_id in np.ndindex(data.numblocks)}
    >>> reduce_with_neighbours("sizes", data, keys, len, lambda *args: args, list).compute()
    [(2, [None], [False]), (2, [2], [False]), (1, [2], [True])]
    """
    name = name_from_inputs(prefix, data.name, sources, measure, combine, gather)
    measured, combined = f"measured-{name}", f"combined-{name}"
    tasks: Tasks = {}
    for block_id, voxels in sources.items():
        tasks[measured, *block_id] = (measure, voxels)
        before: list[Any] = []
        for axis, i in enumerate(block_id):
            neighbour = (*block_id[:axis], i - 1, *block_id[axis + 1 :])
            before.append((measured, *neighbour) if i else None)
        last = [i + 1 == count for i, count in zip(block_id, data.numblocks, strict=True)]
        tasks[combined, *block_id] = (combine, (measured, *block_id), before, last)
    tasks[name] = (gather, [(combined, *block_id) for block_id in sources])
    return value_from_tasks(name, tasks, [data])
