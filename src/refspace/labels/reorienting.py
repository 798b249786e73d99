"""Axes of a volume in another order and other directions, and its coordinates in another frame."""

import xarray as xr

from refspace.grid import Grid
from refspace.labels.annotation import axis_attrs, infer_grid, labelled
from refspace.labels.hemispheres import stated_midline, with_hemispheres
from refspace.labels.midline import midline_in_frame


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
        A transposed and flipped view. No coordinate changes: along a flipped axis they run the
        other way.

    Raises
    ------
    GridError
        If there is no such orientation, or the volume has no coordinates.

    Examples
    --------
    >>> import numpy as np
    >>> grid = Grid((1, 2, 3), (10, 10, 10))
    >>> volume = labelled(np.arange(6, dtype="u4").reshape(grid.shape), grid)
    >>> turned = reorient(volume, "LPS")
    >>> turned.dims, turned.ml.values.tolist()
    (('ml', 'ap', 'dv'), [25.0, 15.0, 5.0])
    >>> turned.sel(ml=25, dv=5).item() == volume.sel(ml=25, dv=5).item()
    True
    """
    grid = infer_grid(volume)
    turned, target = grid.reorientation_to(orientation), grid.reorient(orientation)
    flips = [dim for dim, flip in zip(target.dims, turned.flipped, strict=True) if flip]
    result = volume.transpose(*target.dims).isel({dim: slice(None, None, -1) for dim in flips})
    # The given centres to the last digit, so that arrays of any order align.
    return result.assign_coords(
        {dim: (dim, result[dim].values, axis_attrs(target, dim)) for dim in target.dims}
    )


def along_frame(volume: xr.DataArray) -> xr.DataArray:
    """Turn the axes of a volume that are stored against its frame; lazy.

    Examples
    --------
    >>> import numpy as np
    >>> grid = Grid((1, 1, 2), (10, 10, 10), orientation="ASL", frame="RAS")
    >>> volume = labelled(np.array([[[7, 9]]], "u4"), grid)
    >>> along_frame(volume).values.tolist()
    [[[9, 7]]]
    """
    grid = infer_grid(volume)
    orientation = grid.orientation_along_frame
    return volume if orientation == grid.orientation else reorient(volume, orientation)


def in_frame(volume: xr.DataArray, frame: str) -> xr.DataArray:
    """Express the coordinates of a volume in another frame; its voxels stay in their order.

    Parameters
    ----------
    volume
        Volume with coordinates, as `labelled` gives them.
    frame
        Three letters, for x, y and z: the direction in which coordinates grow. ``"RAS"`` is the
        world of NIfTI, ``"PIR"`` that of the Allen CCF.

    Returns
    -------
    xarray.DataArray
        The same array. Coordinates that grow the other way are negated: both frames are 0 at the
        same place.

    Raises
    ------
    GridError
        If there is no such frame, or the volume has no coordinates.

    Examples
    --------
    >>> import numpy as np
    >>> volume = labelled(np.zeros((1, 2, 3), "u4"), Grid((1, 2, 3), (10, 10, 10)))
    >>> in_frame(volume, "RAS").dv.values.tolist()
    [-5.0, -15.0]
    """
    grid = infer_grid(volume)
    target = grid.in_frame(frame)
    centres = {
        dim: volume[dim].values
        if grid.frame_direction(dim) == target.frame_direction(dim)
        else 0.0 - volume[dim].values
        for dim in grid.dims
    }
    result = volume.assign_coords(
        {dim: (dim, values, axis_attrs(target, dim)) for dim, values in centres.items()}
    )
    midline = stated_midline(volume)
    if midline is None:
        return result
    return with_hemispheres(result, midline_in_frame(midline, grid, target))


def turn_onto(volume: xr.DataArray, grid: Grid) -> xr.DataArray:
    """Turn a volume into the order and the frame of a grid, by what it states itself; lazy.

    Where it lies on the grid, it gets the very coordinates of it, so that xarray aligns both.

    Parameters
    ----------
    volume
        Volume with coordinates.
    grid
        Where other voxels are.

    Examples
    --------
    >>> import numpy as np
    >>> grid = Grid((1, 1, 2), (10, 10, 10))
    >>> turned = reorient(labelled(np.array([[[7, 9]]]), grid), "LIA")
    >>> turned.values.ravel().tolist(), turn_onto(in_frame(turned, "RAS"), grid).values.tolist()
    ([9, 7], [[[7, 9]]])
    """
    turned = reorient(in_frame(volume, grid.frame), grid.orientation)
    if not infer_grid(turned).matches(grid):
        return turned
    return labelled(turned.data, grid, str(volume.name), volume.attrs)
