"""One pass over the blocks of an array, and over the borders between them."""

from collections.abc import Callable, Sequence
from typing import Any

import dask.array
import numpy as np
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph
from dask.tokenize import tokenize
from numpy.typing import NDArray

from refspace.label_index import OUT, BlockLabels

# First and last plane of a block across each axis.
Planes = list[tuple[NDArray[Any], NDArray[Any]]]


def planes_of(block: NDArray[Any]) -> Planes:
    """Outer planes of a block; copies, so that the block itself can go.

    Examples
    --------
    >>> planes_of(np.array([[7, 8, 9]]))
    [(array([7, 8, 9]), array([7, 8, 9])), (array([7]), array([9]))]
    """
    turned = (np.moveaxis(block, axis, 0) for axis in range(block.ndim))
    return [(along[0].copy(), along[-1].copy()) for along in turned]


def over_borders(
    name: str,
    blocks: dict[tuple[int, ...], Any],
    data: dask.array.Array,
    measure: Callable[..., Any],
    meet: Callable[..., Any],
    gather: Callable[..., Any],
) -> Delayed:
    """Measure each block, then each with those before it, then all together; lazy.

    No task holds more than the block that it reads, or what was measured of four.

    Parameters
    ----------
    name
        What the tasks are called.
    blocks
        Task or key of the voxels of each block, by its number.
    data
        Array that they are blocks of.
    measure
        Called with the voxels of a block.
    meet
        Called with what was measured of a block; a list of what was of the block before it along
        each axis, None where there is none; and whether it is the last along each.
    gather
        Called with all that `meet` returned, in C order of the blocks.

    Returns
    -------
    dask.delayed.Delayed
        What `gather` returns.
    """
    name = f"{name}-{tokenize(data.name, blocks, measure, meet, gather)}"
    tasks: dict[Any, Any] = {}
    for number, voxels in blocks.items():
        tasks[f"measured-{name}", *number] = (measure, voxels)
        before: list[Any] = []
        for axis, i in enumerate(number):
            neighbour = (*number[:axis], i - 1, *number[axis + 1 :])
            before.append((f"measured-{name}", *neighbour) if i else None)
        last = [i + 1 == count for i, count in zip(number, data.numblocks, strict=True)]
        tasks[f"met-{name}", *number] = (meet, (f"measured-{name}", *number), before, last)
    tasks[name] = (gather, [(f"met-{name}", *number) for number in blocks])
    graph = HighLevelGraph.from_collections(name, tasks, dependencies=[data])
    return Delayed(name, graph)


def block_tasks(
    data: dask.array.Array, labels: BlockLabels | None, ids: Sequence[int] | None
) -> dict[tuple[int, ...], Any]:
    """Task or key of the voxels of each block, that of the array where it must be read.

    Parameters
    ----------
    data
        Labels.
    labels
        Labels of each block, where they are known; a block of a single one is not read.
    ids
        Labels that matter: blocks that are known to hold none of them are taken for 0. None for
        all.

    Examples
    --------
    >>> data = dask.array.from_array(np.array([7, 8, 9, 9], "u4"), chunks=2)
    >>> labels = BlockLabels(((2, 2),), np.array([0, 2, 3]), np.array([7, 8, 9]))
    >>> [type(task[0]).__name__ for task in block_tasks(data, labels, None).values()]
    ['str', 'function']
    """
    alone = np.full(data.numblocks, -1) if labels is None else sole_labels(labels)
    if labels is not None and ids is not None:
        alone = np.where(labels.verdicts(ids) == OUT, 0, alone)
    return {number: voxels_task(data, number, alone) for number in np.ndindex(data.numblocks)}


def voxels_task(
    data: dask.array.Array, number: tuple[int, ...], alone: NDArray[np.int64]
) -> tuple[Any, ...]:
    """Key of a block, or the task that makes it of the label that it is known to hold alone.

    Parameters
    ----------
    data
        Labels.
    number
        Number of the block.
    alone
        Label of each block that holds a single one, else -1.
    """
    if alone[number] < 0:
        return (data.name, *number)
    shape = tuple(sizes[i] for sizes, i in zip(data.chunks, number, strict=True))
    return constant_block, shape, int(alone[number]), data.dtype.str


def sole_labels(labels: BlockLabels) -> NDArray[np.int64]:
    """Label of each block that holds a single one, -1 of those that may hold several.

    Examples
    --------
    >>> sole_labels(BlockLabels(((2, 2),), np.array([0, 2, 3]), np.array([7, 8, 9])))
    array([-1,  9])
    """
    first = labels.labels[labels.indptr[:-1]].astype(np.int64)
    return np.where(np.diff(labels.indptr) == 1, first, -1).reshape(labels.shape)


def constant_block(shape: tuple[int, ...], label: int, dtype: str) -> NDArray[Any]:
    """Block of one label, which takes the memory of one voxel."""
    return np.broadcast_to(np.array(label, dtype), shape)


def array_of(
    result: Delayed, function: Callable[[Any], NDArray[Any]], shape: tuple[int, ...], dtype: Any
) -> dask.array.Array:
    """Lazy array of one block that a function makes of a result.

    Examples
    --------
    >>> from dask.delayed import delayed
    >>> array_of(delayed([3, 4]), np.array, (2,), np.int64).compute()
    array([3, 4])
    """
    name = f"table-{tokenize(result.key, function)}"
    tasks = {(name, *(0,) * len(shape)): (function, result.key)}
    graph = HighLevelGraph.from_collections(name, tasks, dependencies=[result])
    chunks = tuple((count,) for count in shape)
    return dask.array.Array(graph, name, chunks, meta=np.empty((0,) * len(shape), dtype))
