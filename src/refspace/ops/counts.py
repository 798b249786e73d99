"""Counting the voxels of every label in one pass."""

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from refspace import runs


def count_labels(annotation: xr.DataArray) -> dict[int, int]:
    """Count the voxels of every label.

    Each chunk is read once, whatever the number of labels, and only its counts are kept.

    Parameters
    ----------
    annotation
        Labels, dask-backed.

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
    counted = annotation.data.map_blocks(
        _count_block,
        chunks=(1,) * annotation.ndim,
        meta=np.empty((0,) * annotation.ndim, object),
    ).compute()
    labels = np.concatenate([labels for labels, _ in counted.flat])
    counts = np.concatenate([counts for _, counts in counted.flat])
    unique, position = np.unique(labels, return_inverse=True)
    sums = np.zeros(unique.size, np.int64)
    np.add.at(sums, position, counts)
    return dict(zip(unique.tolist(), sums.tolist(), strict=True))


def _count_block(block: NDArray[Any]) -> NDArray[np.object_]:
    """Labels and counts of a block, as the single element of an array that stands for it."""
    result = np.empty((1,) * block.ndim, object)
    result.flat[0] = runs.count_labels(block)
    return result
