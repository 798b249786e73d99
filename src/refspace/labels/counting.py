"""Counting the voxels of every label in one pass."""

from typing import Any

import dask.array
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from refspace import kernels
from refspace.blockwise.relabel import count_known
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
    >>> labels = xr.DataArray(dask.array.from_array(np.array([8, 0, 8], "u4")), dims="ml")
    >>> count_labels(labels)
    {0: 1, 8: 2}
    """
    counted = _counted(annotation.data, block_labels).compute()
    found = np.concatenate([found for found, _ in counted.flat])
    counts = np.concatenate([counts for _, counts in counted.flat])
    unique, position = np.unique(found, return_inverse=True)
    sums = np.zeros(unique.size, np.int64)
    np.add.at(sums, position, counts)
    return dict(zip(unique.tolist(), sums.tolist(), strict=True))


def _counted(data: dask.array.Array, block_labels: BlockLabels | None) -> dask.array.Array:
    if block_labels is not None:
        return count_known(data, block_labels, _count_block)
    ones, meta = (1,) * data.ndim, np.empty((0,) * data.ndim, object)
    result: dask.array.Array = data.map_blocks(_count_block, chunks=ones, meta=meta)
    return result


def _count_block(block: NDArray[Any]) -> NDArray[np.object_]:
    """Labels and counts of a block, as the single element of an array that stands for it."""
    result = np.empty((1,) * block.ndim, object)
    result.flat[0] = kernels.count_labels(block)
    return result
