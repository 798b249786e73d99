"""Where the voxels of a block come from: from the array, or from the label that all of them have.

A block that holds a single label, as the label index knows, need not be read. Its task makes it of
that label instead, in the memory of one voxel.
"""

from collections.abc import Sequence
from typing import Any

import dask.array
import numpy as np
from numpy.typing import NDArray

from refspace.blockwise.graphs import BlockId, Task
from refspace.label_index import OUT, BlockLabels

# In arrays of the label of each block: one that is not known, so that the block must be read.
UNKNOWN = -1


def sole_labels(
    block_labels: BlockLabels | None,
    chunks: Sequence[Sequence[int]],
    ids: Sequence[int] | NDArray[np.integer[Any]] | None = None,
) -> NDArray[np.int64]:
    """Label of each block that holds a single one, `UNKNOWN` for those that may hold several.

    Parameters
    ----------
    block_labels
        Labels of each block of the array, or of larger blocks, where they are known.
    chunks
        Sizes of the blocks along each axis.
    ids
        Labels that matter, all if not given: a block that holds none of them counts as one of 0.

    Examples
    --------
    >>> block_labels = BlockLabels(((2, 2),), np.array([0, 2, 3]), np.array([7, 8, 9]))
    >>> sole_labels(block_labels, ((2, 2),)), sole_labels(block_labels, ((2, 1, 1),), [9])
    (array([-1,  9]), array([0, 9, 9]))
    """
    if block_labels is None:
        return np.full(tuple(map(len, chunks)), UNKNOWN)
    first = block_labels.labels[block_labels.indptr[:-1]].astype(np.int64)
    alone = np.diff(block_labels.indptr) == 1
    sole = np.where(alone, first, UNKNOWN).reshape(block_labels.shape)
    if ids is not None:
        sole = np.where(block_labels.verdicts(ids) == OUT, 0, sole)
    return sole[np.ix_(*containing_blocks(block_labels.chunks, chunks))]


def block_sources(data: dask.array.Array, sole: NDArray[np.int64]) -> dict[BlockId, Task]:
    """Key or task of the voxels of each block.

    Parameters
    ----------
    data
        Labels.
    sole
        Label of each block, as `sole_labels` gives it.

    Examples
    --------
    >>> data = dask.array.from_array(np.array([7, 8, 9, 9], "u4"), chunks=2)
    >>> sources = block_sources(data, np.array([-1, 9]))
    >>> sources[0,] == (data.name, 0), sources[1,]
    (True, (<function constant_block at 0x...>, (2,), 9, '<u4'))
    """
    return {block_id: block_source(data, block_id, sole) for block_id in np.ndindex(data.numblocks)}


def block_source(data: dask.array.Array, block_id: BlockId, sole: NDArray[np.int64]) -> Task:
    """Key or task of the voxels of one block."""
    if sole[block_id] == UNKNOWN:
        return (data.name, *block_id)
    return constant_block, block_shape(data.chunks, block_id), int(sole[block_id]), data.dtype.str


def constant_block(shape: tuple[int, ...], label: int, dtype: str) -> NDArray[Any]:
    """Block of one label, which takes the memory of one voxel."""
    return np.broadcast_to(np.array(label, dtype), shape)


# ----- sizes of blocks


def block_shape(chunks: Sequence[Sequence[int]], block_id: BlockId) -> tuple[int, ...]:
    """Voxels of a block along each axis.

    Examples
    --------
    >>> block_shape(((4, 2), (3,)), (1, 0))
    (2, 3)
    """
    return tuple(sizes[i] for sizes, i in zip(chunks, block_id, strict=True))


def common_chunks(arrays: Sequence[dask.array.Array]) -> tuple[tuple[int, ...], ...]:
    """Chunks along the last three axes, cut wherever those of one of several arrays are.

    Examples
    --------
    >>> arrays = [dask.array.zeros((1, 1, 6), chunks=(1, 1, n)) for n in (4, 3)]
    >>> common_chunks(arrays)
    ((1,), (1,), (3, 1, 2))
    """
    chunks = []
    for sizes in zip(*(array.chunks[-3:] for array in arrays), strict=True):
        cuts = {0}.union(*(np.cumsum(each).tolist() for each in sizes))
        chunks.append(tuple(np.diff(sorted(cuts)).tolist()))
    return tuple(chunks)


def containing_blocks(
    larger: Sequence[Sequence[int]], chunks: Sequence[Sequence[int]]
) -> list[NDArray[np.intp]]:
    """Along each axis, index of the larger block that contains each of some blocks.

    Parameters
    ----------
    larger, chunks
        Sizes along each axis; the larger ones are unions of the others.

    Examples
    --------
    >>> containing_blocks(((4, 2),), ((3, 1, 2),))
    [array([0, 0, 1])]
    """
    axes = zip(larger, chunks, strict=True)
    return [np.searchsorted(np.cumsum(sizes), np.cumsum(parts)) for sizes, parts in axes]
