"""Counting the voxels of every label in one pass."""

from typing import Any

import dask.array
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from refspace import kernels
from refspace.blockwise.bounded import threads_for
from refspace.blockwise.relabel import count_blocks, counts_element
from refspace.label_index import BlockLabels


def count_labels(
    annotation: xr.DataArray, block_labels: BlockLabels | None = None
) -> dict[int, int]:
    """Count the voxels of every label.

    Each chunk is read once, whatever the number of labels, and only its counts are kept.

    Parameters
    ----------
    annotation
        Labels, dask-backed.
    block_labels
        Labels of each block, where they are known; blocks of a single one are not read.

    Returns
    -------
    dict
        Number of voxels of each label that occurs, by ascending label; 0 among them.

    Examples
    --------
    >>> import dask.array
    >>> volume = xr.DataArray(dask.array.from_array(np.array([8, 0, 8], "u4")), dims="ml")
    >>> count_labels(volume)
    {0: 1, 8: 2}
    """
    blocks = _count_blocks(annotation.data, block_labels).compute(
        num_workers=threads_for(annotation.data)
    )
    repeated = np.concatenate([labels for labels, _ in blocks.flat])
    counts = np.concatenate([counts for _, counts in blocks.flat])
    labels, position = np.unique(repeated, return_inverse=True)
    sums = np.zeros(labels.size, np.int64)
    np.add.at(sums, position, counts)
    return dict(zip(labels.tolist(), sums.tolist(), strict=True))


def count_voxels(block: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Labels of a block, sorted, and how many voxels have each.

    Examples
    --------
    >>> count_voxels(np.array([8, 0, 8], "u4"))
    (array([0, 8], dtype=uint32), array([1, 2]))
    """
    if block.size and not any(block.strides):
        # A block of one label, which takes the memory of one voxel: nothing to look at.
        return block[(slice(0, 1),) * block.ndim].ravel(), np.array([block.size])
    return kernels.count_labels(block)


def _count_blocks(data: dask.array.Array, block_labels: BlockLabels | None) -> dask.array.Array:
    """Labels and counts of each block, an object for each."""
    if block_labels is not None:
        return count_blocks(data, block_labels, _count_block)
    ones, meta = (1,) * data.ndim, np.empty((0,) * data.ndim, object)
    result: dask.array.Array = data.map_blocks(_count_block, chunks=ones, meta=meta)
    return result


def _count_block(block: NDArray[Any]) -> NDArray[np.object_]:
    """Labels and counts of a block, in an array of one element."""
    return counts_element(*kernels.count_labels(block), block.ndim)
