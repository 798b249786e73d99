"""Blocks whose labels are known before they are read: those that need not be are never read."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import dask.array
import numpy as np
from dask.highlevelgraph import HighLevelGraph
from dask.tokenize import tokenize
from numpy.typing import NDArray

from refspace import kernels
from refspace.errors import AnnotationError
from refspace.label_index import BlockLabels


def relabel_known(
    data: dask.array.Array, labels: BlockLabels, values: NDArray[Any]
) -> dask.array.Array:
    """Replace the labels of an array, reading only blocks in which the result varies.

    Parameters
    ----------
    data
        Labels, chunked as the blocks are.
    labels
        Labels that may occur in each block.
    values
        Value, or row of values, of each of ``labels.labels``.

    Returns
    -------
    dask.array.Array
        Values with the chunks of the array, followed by the axis of a row.

    Examples
    --------
    >>> data = dask.array.from_array(np.array([[5, 7], [7, 7]], "u4"), chunks=(1, 2))
    >>> labels = BlockLabels(((1, 1), (2,)), np.array([0, 2, 3]), np.array([5, 7, 7]))
    >>> relabel_known(data, labels, np.array([1, 0, 0])).compute()
    array([[1, 0],
           [0, 0]])
    """
    varies = read_blocks(labels, values)
    row = values.shape[1:]
    name = f"relabel-{tokenize(data.name, labels, values)}"
    tasks: dict[Any, Any] = {}
    for flat, number in enumerate(np.ndindex(labels.shape)):
        key = (name, *number, *(0,) * len(row))
        mine = slice(*labels.indptr[flat : flat + 2])
        if varies[number]:
            block = (data.name, *number)
            tasks[key] = (_relabel_block, block, labels.labels[mine], values[mine])
        else:
            shape = tuple(sizes[i] for sizes, i in zip(labels.chunks, number, strict=True))
            tasks[key] = (partial(_filled, alone=varies.size == 1), shape, values[mine][0])
    return _array(name, tasks, data, (*labels.chunks, *((n,) for n in row)), values.dtype)


def count_known(data: dask.array.Array, labels: BlockLabels, count: Any) -> dask.array.Array:
    """Count the labels of each block, reading only those that may hold several.

    Parameters
    ----------
    data, labels
        As for `relabel_known`.
    count
        Labels and counts of a block, in an array of one element, as `ops.counts` makes it.
    """
    name = f"count-{tokenize(data.name, labels)}"
    tasks: dict[Any, Any] = {}
    for flat, number in enumerate(np.ndindex(labels.shape)):
        mine = labels.labels[slice(*labels.indptr[flat : flat + 2])]
        block = (data.name, *number)
        if mine.size == 1:
            size = math.prod(c[i] for c, i in zip(labels.chunks, number, strict=True))
            tasks[name, *number] = (_counted, labels.shape, mine, size)
        else:
            tasks[name, *number] = (count, block)
    return _array(name, tasks, data, tuple((1,) * n for n in labels.shape), np.dtype(object))


def _counted(shape: Sequence[int], label: NDArray[Any], size: int) -> NDArray[np.object_]:
    """What counting a block of one label gives."""
    result = np.empty((1,) * len(shape), object)
    result.flat[0] = (label, np.array([size], np.int64))
    return result


def _array(
    name: str,
    tasks: dict[Any, Any],
    data: dask.array.Array,
    chunks: tuple[tuple[int, ...], ...],
    dtype: np.dtype[Any],
) -> dask.array.Array:
    graph = HighLevelGraph.from_collections(name, tasks, dependencies=[data])
    return dask.array.Array(graph, name, chunks, meta=np.empty((0,) * len(chunks), dtype))


def read_blocks(labels: BlockLabels, values: NDArray[Any]) -> NDArray[np.bool_]:
    """Which blocks `relabel_known` reads: an array of the block grid's shape."""
    codes = np.unique(values, axis=0, return_inverse=True)[1].ravel()
    first = labels.indptr[:-1]
    varies = np.minimum.reduceat(codes, first) != np.maximum.reduceat(codes, first)
    read: NDArray[np.bool_] = varies.reshape(labels.shape)
    return read


def table_for(
    labels: BlockLabels, ids: NDArray[Any], values: NDArray[Any], default: NDArray[Any]
) -> NDArray[Any]:
    """Value of each of ``labels.labels``, from those of sorted ids and a default for the rest."""
    table = np.concatenate((values, default[np.newaxis]))
    return table[kernels.find(labels.labels, ids.astype(np.uint32))]


def _filled(shape: Sequence[int], value: NDArray[Any], *, alone: bool) -> NDArray[Any]:
    """Block of one value; one that is the whole result may be written to."""
    if alone:
        return np.full((*shape, *value.shape), value)
    # A view of one value: beside the mask of a small structure, which is 1.2 GB at 10 µm, its
    # blocks took 1.3 GB more. Many blocks are copied into one array in the end.
    return np.broadcast_to(value, (*shape, *value.shape))


def _relabel_block(block: NDArray[Any], ids: NDArray[Any], values: NDArray[Any]) -> NDArray[Any]:
    """Values of a block, all of whose labels must be known."""
    try:
        return kernels.relabel(block, ids.astype(block.dtype), values, None)
    except AnnotationError as error:
        raise AnnotationError(
            f"{error}: a block is not the one that was indexed; the store is damaged, "
            "'refspace verify' lists what is wrong with it"
        ) from error
