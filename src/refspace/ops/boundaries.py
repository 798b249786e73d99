"""Voxels at the boundaries of regions."""

import dask.array
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from refspace.blockwise.relabel import relabel_known
from refspace.kernels import Labels
from refspace.label_index import BlockLabels


def boundaries(annotation: xr.DataArray, labels: BlockLabels | None = None) -> xr.DataArray:
    """Mask of the voxels that share a face with a voxel of another label; 0 has none.

    Parameters
    ----------
    annotation
        Labels, dask-backed, with any dims.
    labels
        Labels of each block, where they are known; blocks of a single one are not read.

    Returns
    -------
    xarray.DataArray
        uint8, 1 at a boundary, with the chunks of the annotation; lazy, and each chunk is read
        once. The ends of the volume are no boundary.

    Examples
    --------
    >>> labels = xr.DataArray(dask.array.from_array(np.array([0, 7, 7, 7, 9], "u4"), 2), dims="ml")
    >>> boundaries(labels).values
    array([0, 1, 0, 1, 1], dtype=uint8)
    """
    data = annotation.data
    if labels is not None:
        data = relabel_known(data, labels, labels.labels)
    inner = dask.array.map_overlap(
        inner_boundary,
        data,
        depth=1,
        boundary="nearest",
        meta=np.empty((0,) * data.ndim, np.uint8),
    )
    attrs = {"long_name": "boundary of regions", "flag_values": [0, 1]}
    return xr.DataArray(inner, annotation.coords, annotation.dims, "boundaries", attrs)


def inner_boundary(block: Labels) -> NDArray[np.uint8]:
    """1 for voxels of a block, but those of 0, beside one of another label.

    Examples
    --------
    >>> inner_boundary(np.array([[0, 7, 7], [7, 7, 7]], "u4"))
    array([[0, 1, 0],
           [1, 0, 0]], dtype=uint8)
    """
    edge = np.zeros_like(block, bool)
    for axis in range(block.ndim):
        along, at_edge = np.moveaxis(block, axis, 0), np.moveaxis(edge, axis, 0)
        differs = along[1:] != along[:-1]
        at_edge[1:] |= differs
        at_edge[:-1] |= differs
    edge &= block != 0
    return edge.view(np.uint8)
