"""What points may be: arrays, DataArrays and tables of positions, as positions along three axes."""

import numbers
from collections.abc import Hashable, Sequence
from typing import Any, get_args

import dask.array
import numpy as np
import pandas as pd
import xarray as xr
from dask.base import is_dask_collection
from numpy.typing import NDArray

from refspace.blockwise.tables import array_from_table
from refspace.errors import GridError, PositionError
from refspace.grid import Grid
from refspace.labels import warn_of_other_unit
from refspace.types import LengthUnit, PointsLike

# The axes of the frame, as tables of other programs name them.
_FRAME_AXES = ("x", "y", "z")


def positions_along_axes(
    points: PointsLike, dims: Sequence[str], columns: Sequence[Hashable] | None = None
) -> dask.array.Array | Sequence[NDArray[Any]]:
    """Positions of points: three arrays, one for each axis; or a lazy one with an axis of three.

    Parameters
    ----------
    points
        An array as `with_axes_last` makes it, or a table.
    dims
        Axes of the volume, in whose order the three are.
    columns
        Columns of a table that hold them; if not given those called like the axes, or x, y and z.

    Returns
    -------
    dask.array.Array or sequence of ndarray
        Of lazy points a dask array, whose last axis has the three.

    Raises
    ------
    GridError
        If the points have other columns, or are no real numbers.

    Examples
    --------
    >>> table = pd.DataFrame({"ml": [1.0, 2.0], "ap": [3.0, 4.0], "dv": [5.0, 6.0]})
    >>> [axis.tolist() for axis in positions_along_axes(table, ("ap", "dv", "ml"))]
    [[3.0, 4.0], [5.0, 6.0], [1.0, 2.0]]
    """
    if is_table(points):
        return _positions_in_table(points, dims, columns)
    if columns is not None:
        raise GridError(
            f"columns are {tuple(columns)}, but the points are a {type(points).__name__}; "
            "columns name those of a table"
        )
    array: Any = points.data if isinstance(points, xr.DataArray) else points
    return array if isinstance(array, dask.array.Array) else np.moveaxis(array, -1, 0)


def refuse_all_outside(
    positions: dask.array.Array | Sequence[NDArray[Any]], grid: Grid, unit: LengthUnit = "um"
) -> None:
    """Refuse points in memory none of which is in a volume; those of lazy ones are not known.

    Parameters
    ----------
    positions
        As `positions_along_axes` returns them.
    grid
        Grid of the volume.
    unit
        Unit of the positions.

    Raises
    ------
    PositionError
        If there are points, and all whose position is known are outside.

    Examples
    --------
    >>> refuse_all_outside(np.array([[5.0, -5.0], [5.0, 5.0], [5.0, 5.0]]), Grid((1, 1, 1), (10,) * 3))
    """  # noqa: E501
    if isinstance(positions, dask.array.Array):
        return
    axes = _along_axes(positions, grid, unit)
    known = np.isfinite(np.stack([np.asarray(axis, np.float64) for axis in axes]))
    is_known = known.all(axis=0)
    is_inside, found, valid = is_known.copy(), [], []
    for dim, axis in zip(grid.dims, axes, strict=True):
        low, high = grid.edges(dim)
        is_inside &= ~np.isnan(grid.voxels(dim, axis))
        valid.append(f"{dim} from {low:g} to {high:g}")
        if is_known.any():
            inside = np.asarray(axis)[is_known]
            found.append(f"{dim} from {inside.min():g} to {inside.max():g}")
    if is_known.any() and not is_inside.any():
        raise PositionError(
            f"all {np.count_nonzero(is_known)} points are outside the volume: they have "
            f"{', '.join(found)} µm, the volume {', '.join(valid)}; check their unit, and the "
            "order of their columns"
        )


def _positions_in_table(
    table: Any, dims: Sequence[str], columns: Sequence[Hashable] | None
) -> dask.array.Array | Sequence[NDArray[Any]]:
    """Positions in the columns of a table, of pandas or dask."""
    names = _columns(table, dims, columns)
    if is_dask_collection(table):
        return array_from_table(table, names)
    return [table[name].to_numpy(np.float64, na_value=np.nan) for name in names]


def in_micrometres(
    axes: Sequence[NDArray[Any]], grid: Grid, unit: LengthUnit
) -> Sequence[NDArray[Any]]:
    """Positions in µm along each axis of a grid; a warning if they seem to be in another unit.

    Parameters
    ----------
    axes
        Positions along each of `position_dims`.
    grid
        Where the voxels are.
    unit
        ``"um"``, ``"mm"`` or ``"voxel"``: a position from i up to i + 1 is in the voxel of index i,
        whose centre it becomes. So brainglobe-atlasapi looks up what cellfinder writes.

    Examples
    --------
    >>> grid = Grid((4, 4, 4), (25, 25, 25))
    >>> [axis.tolist() for axis in in_micrometres([np.array([2, 2.9])] * 3, grid, "voxel")][0]
    [62.5, 62.5]
    """
    along = _along_axes(axes, grid, unit)
    if unit == "um":
        warn_of_other_unit(along, grid)
    return along


def _along_axes(
    axes: Sequence[NDArray[Any]], grid: Grid, unit: LengthUnit
) -> Sequence[NDArray[Any]]:
    """Positions in µm along each axis of a grid."""
    by_dim = dict(zip(position_dims(grid, unit), axes, strict=True))
    axes = [by_dim[dim] for dim in grid.dims]
    if unit == "um":
        return axes
    if unit == "mm":
        return [np.asarray(axis, np.float64) * 1000 for axis in axes]
    return [_voxel_centres(axis, grid, dim) for axis, dim in zip(axes, grid.dims, strict=True)]


def position_dims(grid: Grid, unit: LengthUnit) -> tuple[str, str, str]:
    """Axes in the order in which positions without names have them.

    Lengths are along x, y and z of the frame; voxels are counted along the axes of the array.

    Examples
    --------
    >>> grid = Grid((4, 4, 4), (25, 25, 25), orientation="PIR", frame="RAS")
    >>> position_dims(grid, "um"), position_dims(grid, "voxel")
    (('ml', 'ap', 'dv'), ('ap', 'dv', 'ml'))
    """
    return grid.dims if unit == "voxel" else grid.frame_dims


def position_in_micrometres(position: float, dim: str, grid: Grid, unit: LengthUnit) -> float:
    """One position along an axis in µm.

    Examples
    --------
    >>> position_in_micrometres(2, "dv", Grid((4, 4, 4), (25, 25, 25)), "voxel")
    62.5
    """
    if unit == "um":
        return position
    return position * 1000 if unit == "mm" else float(_voxel_centres(np.array(position), grid, dim))


def _voxel_centres(indices: NDArray[Any], grid: Grid, dim: str) -> NDArray[np.float64]:
    """Coordinates of the centres of voxels, also of those that would be outside the volume."""
    centres, step = grid.coordinates(dim), grid.spacing[grid.axis(dim)]
    if centres[-1] < centres[0]:
        step = -step
    # To a billionth of a voxel, as positions are.
    voxels = np.floor(np.round(np.asarray(indices, np.float64), 9))
    positions: NDArray[np.float64] = centres[0] + step * voxels
    return positions


def check_unit(unit: str) -> None:
    """Refuse a unit that positions cannot have.

    Raises
    ------
    GridError
        If it is none of `LengthUnit`.
    """
    if unit not in get_args(LengthUnit):
        raise GridError(
            f"unit is {unit!r}; positions are in {', '.join(map(repr, get_args(LengthUnit)))}"
        )


def is_table(points: PointsLike) -> bool:
    """Whether points are a table of pandas, or of dask, which need not be installed in full."""
    # The type is asked, as a delayed object has any attribute.
    return isinstance(points, pd.DataFrame) or (
        is_dask_collection(points) and hasattr(type(points), "columns")
    )


def is_position(points: object) -> bool:
    """Whether points are one position: a tuple, list or array of three real numbers.

    Examples
    --------
    >>> is_position((5100, 1500.5, 3300)), is_position([[5100, 1500, 3300]]), is_position("abc")
    (True, False, False)
    """
    if isinstance(points, np.ndarray):
        return points.shape == (3,) and points.dtype.kind in "uif"
    return (
        isinstance(points, tuple | list)
        and len(points) == 3
        and all(isinstance(p, numbers.Real) and not isinstance(p, bool) for p in points)
    )


def with_axes_last(points: PointsLike, dims: Sequence[str]) -> xr.DataArray:
    """Points of an array as a DataArray, whose last dim has a position along each axis.

    Parameters
    ----------
    points
        NumPy or dask array of shape (n, 3); or a DataArray with a dim of length 3, whose labels
        are the names of the axes, or x, y and z, in any order, or which has no labels and is in
        their order.
    dims
        Axes of the volume, in whose order positions without names are.

    Raises
    ------
    GridError
        If the array has another shape, or holds no real numbers.

    Examples
    --------
    >>> labels = {"axis": ["ml", "ap", "dv"]}
    >>> cells = xr.DataArray([[1.0, 2], [3, 4], [5, 6]], labels, ("axis", "cell"))
    >>> with_axes_last(cells, ("ap", "dv", "ml")).values
    array([[3., 5., 1.],
           [4., 6., 2.]])
    """
    if isinstance(points, xr.DataArray):
        _check_numbers(points.dtype)
        dim = _dim_of_axes(points, dims)
        if dim in points.coords:
            points = points.sel({dim: axis_names(points[dim].values.tolist(), dims)})
        reordered: xr.DataArray = points.transpose(..., dim)
        return reordered
    if isinstance(points, np.ma.MaskedArray):
        points = np.ma.filled(points.astype(np.float64), np.nan)
    array: Any = points if isinstance(points, dask.array.Array) else _as_array(points)
    if array.ndim != 2 or array.shape[1] != len(dims):
        raise GridError(
            f"points are a {type(points).__name__} of shape {array.shape}; give an array of shape "
            f"(n, 3) in the order {', '.join(dims)}, a DataArray, or a table"
        )
    _check_numbers(array.dtype)
    return xr.DataArray(array, dims=("point", "axis"))


def _as_array(points: Any) -> NDArray[Any]:
    """Array of points that are a sequence, or of another array library."""
    kind = type(points).__name__
    # Other tables convert too, but in the order of their columns, whatever these are called.
    if hasattr(type(points), "to_pandas"):
        raise GridError(f"points are a {kind}; give its to_pandas(), a table with the same columns")
    try:
        return np.asarray(points)
    except (TypeError, ValueError) as error:
        raise GridError(
            f"points are a {kind}, of which no array can be made ({error}); give an array of shape "
            "(n, 3), a DataArray, or a table"
        ) from error


def _dim_of_axes(points: xr.DataArray, dims: Sequence[str]) -> Hashable:
    """Dim that has a position along each axis."""
    threes = [dim for dim, count in points.sizes.items() if count == len(dims)]
    labels = {dim: {*points[dim].values.tolist()} for dim in threes if dim in points.coords}
    named = [dim for dim, names in labels.items() if names in ({*dims}, {*_FRAME_AXES})]
    fitting = named or [dim for dim in threes if dim not in points.coords]
    if len(fitting) != 1:
        raise GridError(
            f"points have dims {dict(points.sizes)}; give them one of length 3, which has the "
            f"labels {', '.join(dims)}, or x, y, z"
        )
    return fitting[0]


def axis_names(present: Sequence[Hashable], dims: Sequence[str]) -> list[str]:
    """Names of the axes among some names: their own, or else x, y and z.

    Examples
    --------
    >>> axis_names(["x", "y", "z", "intensity"], ("ap", "dv", "ml"))
    ['x', 'y', 'z']
    """
    own = {*dims} <= {*present} or not {*_FRAME_AXES} <= {*present}
    return list(dims if own else _FRAME_AXES)


def _columns(table: Any, dims: Sequence[str], columns: Sequence[Hashable] | None) -> list[Hashable]:
    """Columns that hold the positions along each axis, checked."""
    present = list(table.columns)
    names: list[Hashable] = list(axis_names(present, dims) if columns is None else columns)
    if len(names) != len(dims) or any(present.count(name) != 1 for name in names):
        raise GridError(
            f"the table has columns {', '.join(map(str, present)) or 'none'}, and points are "
            f"wanted of {', '.join(map(str, names))}; name the three columns of {', '.join(dims)}, "
            "each of which is there once: columns=('x', 'y', 'z')"
        )
    for name in names:
        _check_numbers(table[name].dtype)
    return names


def _check_numbers(dtype: Any) -> None:
    """Refuse positions that are booleans, complex numbers, texts or times."""
    if dtype.kind not in "uif":
        raise GridError(f"points have dtype {dtype}; give positions in µm as real numbers")
