"""What points may be: arrays, DataArrays and tables of positions, as positions along three axes."""

from collections.abc import Hashable, Sequence
from typing import Any

import dask.array
import numpy as np
import pandas as pd
import xarray as xr
from dask.base import is_dask_collection
from numpy.typing import NDArray

from refspace.blockwise.tables import array_from_table
from refspace.errors import GridError, PositionError
from refspace.grid import Grid
from refspace.types import PointsLike

# µm by which a point on an edge may seem to be beyond it.
_NOISE = 1e-6


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
        Columns of a table that hold them; those called like the axes if not given.

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


def refuse_all_outside(positions: dask.array.Array | Sequence[NDArray[Any]], grid: Grid) -> None:
    """Refuse points in memory none of which is in a volume; those of lazy ones are not known.

    Parameters
    ----------
    positions
        As `positions_along_axes` returns them.
    grid
        Grid of the volume.

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
    known = np.isfinite(np.stack([np.asarray(axis, np.float64) for axis in positions]))
    is_known = known.all(axis=0)
    is_inside, found, valid = is_known.copy(), [], []
    for dim, axis, spacing in zip(grid.dims, positions, grid.spacing, strict=True):
        centres = grid.coordinates(dim)
        low, high = centres.min() - spacing / 2, centres.max() + spacing / 2
        # To rounding: an edge is inside or not, as the look-up decides.
        is_inside &= (axis >= low - _NOISE) & (axis <= high + _NOISE)
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


def is_table(points: PointsLike) -> bool:
    """Whether points are a table of pandas, or of dask, which need not be installed in full."""
    # The type is asked, as a delayed object has any attribute.
    return isinstance(points, pd.DataFrame) or (
        is_dask_collection(points) and hasattr(type(points), "columns")
    )


def with_axes_last(points: PointsLike, dims: Sequence[str]) -> xr.DataArray:
    """Points of an array as a DataArray, whose last dim has a position along each axis.

    Parameters
    ----------
    points
        NumPy or dask array of shape (n, 3); or a DataArray with a dim of length 3, whose labels
        are the names of the axes in any order, or which has no labels and is in their order.
    dims
        Axes of the volume.

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
            points = points.sel({dim: list(dims)})
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
    named = [d for d in threes if d in points.coords and {*points[d].values.tolist()} == {*dims}]
    fitting = named or [dim for dim in threes if dim not in points.coords]
    if len(fitting) != 1:
        raise GridError(
            f"points have dims {dict(points.sizes)}; give them one of length 3, which has the "
            f"labels {', '.join(dims)}"
        )
    return fitting[0]


def _columns(table: Any, dims: Sequence[str], columns: Sequence[Hashable] | None) -> list[Hashable]:
    """Columns that hold the positions along each axis, checked."""
    names = list(dims if columns is None else columns)
    present = list(table.columns)
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
