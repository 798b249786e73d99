"""Axes of a volume in another order and other directions."""

import xarray as xr

from refspace.labels.annotation import axis_attrs, infer_grid
from refspace.labels.hemispheres import stated_midline, with_hemispheres


def reorient(volume: xr.DataArray, orientation: str) -> xr.DataArray:
    """Turn the axes of a volume; lazy, and every voxel keeps its value and its place.

    Parameters
    ----------
    volume
        Volume with coordinates, as `labelled` gives them.
    orientation
        Direction in which the index of each axis of the result grows, like ``"RAS"``.

    Returns
    -------
    xarray.DataArray
        A transposed and flipped view. Coordinates along a flipped axis change sign, so that they
        still grow with the index.

    Raises
    ------
    GridError
        If there is no such orientation, or the volume has no coordinates.

    Examples
    --------
    >>> import numpy as np
    >>> from refspace.grid import Grid
    >>> from refspace.labels import labelled
    >>> grid = Grid((1, 2, 3), (10, 10, 10))
    >>> volume = labelled(np.arange(6, dtype="u4").reshape(grid.shape), grid)
    >>> turned = reorient(volume, "LPS")
    >>> turned.dims, turned.ml.values.tolist()
    (('ml', 'ap', 'dv'), [-25.0, -15.0, -5.0])
    >>> turned.sel(ml=-25, dv=-5).item() == volume.sel(ml=25, dv=5).item()
    True
    """
    grid = infer_grid(volume)
    turned, target = grid.reorientation_to(orientation), grid.reorient(orientation)
    flips = [dim for dim, flip in zip(target.dims, turned.flipped, strict=True) if flip]
    result = volume.transpose(*target.dims).isel({dim: slice(None, None, -1) for dim in flips})
    # The given centres to the last digit, so that there and back is where it was.
    centres = {
        dim: 0.0 - result[dim].values if dim in flips else result[dim].values for dim in target.dims
    }
    result = result.assign_coords(
        {dim: (dim, values, axis_attrs(target, dim)) for dim, values in centres.items()}
    )
    midline = stated_midline(volume)
    if midline is None:
        return result
    return with_hemispheres(result, midline.negated if "ml" in flips else midline)
