"""Masks of the voxels at the boundaries of regions."""

import dask.array
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from refspace.blockwise.relabel import relabel_blocks
from refspace.kernels import Labels
from refspace.label_index import BlockLabels


def boundaries(annotation: xr.DataArray, block_labels: BlockLabels | None = None) -> xr.DataArray:
    """Mask of the voxels that share a face with a voxel of another label; voxels of 0 are outside.

    Parameters
    ----------
    annotation
        Labels, dask-backed, with any dims.
    block_labels
        Labels of each block, where they are known; blocks of a single one are not read.

    Returns
    -------
    xarray.DataArray
        bool, True at a boundary, with the chunks of the annotation; lazy, and each chunk is read
        once. The ends of the volume are no boundary.

    Examples
    --------
    >>> volume = xr.DataArray(dask.array.from_array(np.array([0, 7, 7, 7, 9], "u4"), 2), dims="ml")
    >>> boundaries(volume).values
    array([False,  True, False,  True,  True])
    """
    data = annotation.data
    if block_labels is not None:
        # Every label becomes itself, and blocks of a single one are not read.
        data = relabel_blocks(data, block_labels, block_labels.labels)
    inner = dask.array.map_overlap(
        inner_boundary,
        data,
        depth=1,
        boundary="nearest",
        meta=np.empty((0,) * data.ndim, bool),
    )
    attrs = {"long_name": "boundary of regions"}
    return xr.DataArray(inner, annotation.coords, annotation.dims, "boundaries", attrs)


def inner_boundary(block: Labels) -> NDArray[np.bool_]:
    """True for each voxel of a block that has a label but 0, and a neighbour with another.

    Examples
    --------
    >>> inner_boundary(np.array([[0, 7, 7], [7, 7, 7]], "u4"))
    array([[False,  True, False],
           [ True, False, False]])
    """
    edge = np.zeros_like(block, bool)
    for axis in range(block.ndim):
        along, at_edge = np.moveaxis(block, axis, 0), np.moveaxis(edge, axis, 0)
        differs = along[1:] != along[:-1]
        at_edge[1:] |= differs
        at_edge[:-1] |= differs
    edge &= block != 0
    return edge
