"""Replace labels by values with a per-block label index, skipping blocks that need no I/O.

Where the index says that all voxels of a block become the same value, the block is made of that
value, and no voxel of it is read. A mask of a small structure reads but the few blocks at its
border; one of a whole brain reads those at the brain's surface.
"""

import math
from collections.abc import Callable
from typing import Any

import dask.array
import numpy as np
from numpy.typing import NDArray

from refspace import kernels
from refspace.blockwise.graphs import Task, Tasks, array_from_tasks, name_from_inputs
from refspace.blockwise.in_place import filled_block, in_place
from refspace.blockwise.sources import block_shape
from refspace.errors import AnnotationError
from refspace.label_index import BlockLabels

# So many comparisons of all voxels take less time than a search for runs.
_COMPARED = 3
_DAMAGED = (
    "a block is not the one that was indexed; the store is damaged, 'refspace verify' lists what "
    "is wrong with it"
)


def relabel_blocks(
    data: dask.array.Array, block_labels: BlockLabels, values: NDArray[Any]
) -> dask.array.Array:
    """Replace the labels of an array, reading only blocks in which the result varies.

    Parameters
    ----------
    data
        Labels, chunked as the blocks are.
    block_labels
        Labels that may occur in each block.
    values
        Value, or row of values, of each of ``block_labels.labels``, as `values_of_labels` gives
        them.

    Returns
    -------
    dask.array.Array
        Values with the chunks of the array, followed by the axis of a row.

    Examples
    --------
    >>> data = dask.array.from_array(np.array([[5, 7], [7, 7]], "u4"), chunks=(1, 2))
    >>> block_labels = BlockLabels(((1, 1), (2,)), np.array([0, 2, 3]), np.array([5, 7, 7]))
    >>> relabel_blocks(data, block_labels, np.array([1, 0, 0])).compute()
    array([[1, 0],
           [0, 0]])
    """
    varies = blocks_to_read(block_labels, values)
    row = values.shape[1:]
    name = name_from_inputs("relabel", data.name, block_labels, values)
    # The only block is the result itself, and a user may write to it. Many are copied into one
    # array in the end.
    fill = np.full if varies.size == 1 else filled_block
    tasks: Tasks = {}
    for flat, block_id in enumerate(np.ndindex(block_labels.shape)):
        key = (name, *block_id, *(0,) * len(row))
        here = slice(*block_labels.indptr[flat : flat + 2])
        if varies[block_id]:
            known = _known_labels(block_labels, here, values)
            tasks[key] = (*known[:1], (data.name, *block_id), *known[1:])
        else:
            shape = block_shape(block_labels.chunks, block_id)
            tasks[key] = (fill, (*shape, *row), values[here][0])
    chunks = (*block_labels.chunks, *((count,) for count in row))
    return in_place(array_from_tasks(name, tasks, [data], chunks, values.dtype), data)


def count_blocks(
    data: dask.array.Array,
    block_labels: BlockLabels,
    count: Callable[[NDArray[Any]], NDArray[np.object_]],
) -> dask.array.Array:
    """Count the labels of each block, reading only those that may hold several.

    Parameters
    ----------
    data, block_labels
        As for `relabel_blocks`.
    count
        Labels and counts of the voxels of a block, as `counts_element` holds them.

    Returns
    -------
    dask.array.Array
        An object for each block: its labels, and how many voxels have each.

    Examples
    --------
    >>> data = dask.array.from_array(np.array([[5, 7], [7, 7]], "u4"), chunks=(1, 2))
    >>> block_labels = BlockLabels(((1, 1), (2,)), np.array([0, 2, 3]), np.array([5, 7, 7]))
    >>> def count(block):
    ...     return counts_element(*np.unique(block, return_counts=True), block.ndim)
    >>> count_blocks(data, block_labels, count).compute()[1, 0]
    (array([7], dtype=uint32), array([2]))
    """
    name = name_from_inputs("count", data.name, block_labels, count)
    tasks: Tasks = {}
    for block_id in np.ndindex(block_labels.shape):
        labels = block_labels.in_block(block_id)
        if labels.size == 1:
            size = math.prod(block_shape(block_labels.chunks, block_id))
            counts = (labels, np.array([size], np.int64))
            tasks[name, *block_id] = (counts_element, *counts, data.ndim)
        else:
            tasks[name, *block_id] = (count, (data.name, *block_id))
    ones = [(1,) * blocks for blocks in block_labels.shape]
    return array_from_tasks(name, tasks, [data], ones, object)


def counts_element(
    labels: NDArray[Any], counts: NDArray[np.int64], ndim: int
) -> NDArray[np.object_]:
    """Labels and their counts, as the single element of an array that stands for a block."""
    element = np.empty((1,) * ndim, object)
    element.flat[0] = (labels, counts)
    return element


def blocks_to_read(block_labels: BlockLabels, values: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether the values of each block differ, so that it must be read.

    Parameters
    ----------
    block_labels, values
        As for `relabel_blocks`.

    Returns
    -------
    ndarray
        Of the shape of the grid of blocks.

    Examples
    --------
    >>> block_labels = BlockLabels(((1, 1), (2,)), np.array([0, 2, 3]), np.array([5, 7, 7]))
    >>> blocks_to_read(block_labels, np.array([1, 0, 0])).tolist()
    [[True], [False]]
    """
    codes = np.unique(values, axis=0, return_inverse=True)[1].ravel()
    first = block_labels.indptr[:-1]
    varies = np.minimum.reduceat(codes, first) != np.maximum.reduceat(codes, first)
    read: NDArray[np.bool_] = varies.reshape(block_labels.shape)
    return read


def values_of_labels(
    block_labels: BlockLabels, ids: NDArray[Any], values: NDArray[Any], default: NDArray[Any]
) -> NDArray[Any]:
    """Value of each label of each block.

    Parameters
    ----------
    block_labels
        Labels that may occur in each block.
    ids
        Sorted labels that have a value.
    values
        Value, or row of values, of each.
    default
        Value of every other label.

    Examples
    --------
    >>> block_labels = BlockLabels(((1, 1), (2,)), np.array([0, 2, 3]), np.array([5, 7, 7]))
    >>> values_of_labels(block_labels, np.array([5]), np.array([1]), np.array(0))
    array([1, 0, 0])
    """
    table = np.concatenate((values, default[np.newaxis]))
    return table[kernels.find(block_labels.labels, ids.astype(np.uint32))]


# ----- tasks


def _known_labels(block_labels: BlockLabels, here: slice, values: NDArray[Any]) -> Task:
    """Function that makes the values of a block, and what it needs beside the block."""
    labels, own = block_labels.labels[here], values[here]
    if block_labels.counts is not None and own.dtype == bool and own.ndim == 1:
        inside = np.count_nonzero(own)
        if min(inside, own.size - inside) <= _COMPARED:
            return _mask_block, labels, own, int(block_labels.counts[here][own].sum())
    return _relabel_block, labels, own


def _mask_block(
    block: NDArray[Any], ids: NDArray[Any], inside: NDArray[np.bool_], count: int
) -> NDArray[np.bool_]:
    """Mask of a block, of which it is known how many voxels are inside."""
    mask = kernels.mask(block, ids.astype(block.dtype), inside)
    if (found := np.count_nonzero(mask)) != count:
        raise AnnotationError(f"{found} voxels are inside, where {count} should be: {_DAMAGED}")
    return mask


def _relabel_block(block: NDArray[Any], ids: NDArray[Any], values: NDArray[Any]) -> NDArray[Any]:
    """Values of a block, all of whose labels must be known."""
    try:
        return kernels.relabel(block, ids.astype(block.dtype), values, None)
    except AnnotationError as error:
        raise AnnotationError(f"{error}: {_DAMAGED}") from error
