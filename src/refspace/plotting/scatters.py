"""Points on slices: those near the plane, or all of them projected onto it."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import dask.array
import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from refspace.errors import GridError
from refspace.ops.positions import (
    in_micrometres,
    is_table,
    position_dims,
    positions_along_axes,
    refuse_all_outside,
    with_axes_last,
)
from refspace.plotting import artists
from refspace.plotting.canvas import AxesLike, as_given
from refspace.plotting.planes import Cut, read_planes
from refspace.plotting.slices import THIN, Panels, choose_template
from refspace.types import LengthUnit, PointsLike, StructuresLike
from refspace.verbs.space import Space

# Points of which a vector picture holds an image instead of a mark each.
_MANY = 10_000
_PER_POINT = ("s", "c")
_STYLE = {"s": 4.0, "linewidths": 0.0, "alpha": 0.8, "zorder": artists.POINTS}


def draw_points(
    space: Space,
    positions: Mapping[str, NDArray[np.float64]],
    cut: Cut,
    *,
    thickness: float | None = None,
    outline: StructuresLike = (),
    template: bool | xr.DataArray = True,
    ax: AxesLike = None,
    **kwargs: Any,
) -> Any:
    """Draw points on slices; see `SpacePlots.points`.

    Their positions are those along each axis.
    """
    if thickness is not None and not thickness > 0:
        raise GridError(f"thickness is {thickness}; give µm above 0, or None for all points")
    space, with_template = choose_template(space, template)
    planes = read_planes(space, cut, template=with_template)
    panels, view = Panels.make(planes, ax, thickness=thickness), cut.view
    for axes, plane in panels:
        artists.draw_borders(axes, plane.labels, view, **THIN)
        near = _near(positions, view.cut, plane.position, thickness)
        style = _STYLE | {"rasterized": bool(np.count_nonzero(near) > _MANY)} | kwargs
        style |= _per_point(near, style)
        axes.scatter(positions[view.columns][near], positions[view.rows][near], **style)
    panels.outline(space, outline)
    return as_given(panels.axes, single=cut.is_single)


def read_points(
    space: Space, points: PointsLike, columns: Sequence[Hashable] | None, unit: LengthUnit
) -> dict[str, NDArray[np.float64]]:
    """Positions of points along each axis, in µm.

    Raises
    ------
    GridError
        If they are no positions.
    PositionError
        If all of them are outside the volume.
    """
    dims = position_dims(space.grid, unit)
    given = points if is_table(points) else with_axes_last(points, dims)
    along = positions_along_axes(given, dims, columns)
    if isinstance(along, dask.array.Array):
        along = np.moveaxis(along.compute(), -1, 0)
    axes = [np.ravel(np.asarray(axis, np.float64)) for axis in along]
    refuse_all_outside(axes, space.grid, unit)
    if not np.isfinite(axes).all(axis=0).any():
        raise GridError("there is no point with a position; give at least one")
    return dict(zip(space.grid.dims, in_micrometres(axes, space.grid, unit), strict=True))


def middle_of(positions: Mapping[str, NDArray[np.float64]], dim: str) -> float:
    """Middle of the points along an axis: as many are before it as behind it."""
    return float(np.median(positions[dim][_known(positions)]))


def _known(positions: Mapping[str, NDArray[np.float64]]) -> NDArray[np.bool_]:
    """Which points have a position along each axis."""
    known = np.logical_and.reduce([np.isfinite(along) for along in positions.values()])
    return np.asarray(known)


def _near(
    positions: Mapping[str, NDArray[np.float64]], dim: str, centre: float, thickness: float | None
) -> NDArray[np.bool_]:
    """Which points are drawn on the plane at a position."""
    known = _known(positions)
    if thickness is None:
        return known
    # Half open, as voxels are: of slices side by side none has a point of another.
    low, high = centre - thickness / 2, centre + thickness / 2
    return np.asarray(known & (positions[dim] >= low) & (positions[dim] < high))


def with_columns(points: PointsLike, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options in which the names of columns of a table of points are replaced by their values."""
    if not isinstance(points, pd.DataFrame):
        return dict(options)
    columns = {
        name: points[options[name]].to_numpy()
        for name in _PER_POINT
        if isinstance(options.get(name), str) and options[name] in points
    }
    return {**options, **columns}


def _per_point(near: NDArray[np.bool_], style: Mapping[str, Any]) -> dict[str, Any]:
    """Sizes and colours of the points that are drawn, where there is one for each of all points.

    Colours of numbers are on the scale of all points.
    """
    found: dict[str, Any] = {}
    for name in _PER_POINT:
        value = style.get(name)
        if value is None or isinstance(value, str) or np.shape(value)[:1] != near.shape:
            continue
        values = np.asarray(value)
        is_scaled = name == "c" and values.ndim == 1 and values.dtype.kind in "iuf"
        if is_scaled and style.get("norm") is None:
            found |= {"vmin": np.nanmin(values), "vmax": np.nanmax(values)}
            found |= {key: style[key] for key in ("vmin", "vmax") if key in style}
        found[name] = values[near]
    return found
