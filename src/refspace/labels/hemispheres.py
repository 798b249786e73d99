"""Hemispheres of a volume: those that the midline separates, or those of a volume of their own."""

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from refspace.errors import AnnotationError, GridError
from refspace.grid import Grid, Hemisphere
from refspace.labels.annotation import infer_grid, labelled

# What a volume of hemispheres holds; anything else is in neither.
HEMISPHERES: Mapping[Hemisphere, int] = MappingProxyType({"left": 1, "right": 2})
HEMISPHERES_ATTRS: Mapping[str, Any] = MappingProxyType(
    {"long_name": "hemisphere", "flag_values": [1, 2], "flag_meanings": "left right"}
)


@dataclass(frozen=True, eq=False)
class Hemispheres:
    """How the hemispheres of a volume are told apart.

    Parameters
    ----------
    midline
        Position of the midline along ml in µm. Voxels whose centre is on it are left.
    volume
        Hemisphere of each voxel, as `as_hemispheres` makes it, where the midline does not decide.
    side
        The hemisphere that the volume was reduced to; None where it has both.
    """

    midline: float
    volume: xr.DataArray | None = None
    side: Hemisphere | None = None

    def map_volume(self, change: Callable[[xr.DataArray], xr.DataArray]) -> "Hemispheres":
        """The same hemispheres over another part or order of the voxels."""
        return self if self.volume is None else replace(self, volume=change(self.volume))

    @property
    def attrs(self) -> dict[str, str]:
        """Attributes of whatever is made of a volume: the hemisphere that it was reduced to."""
        return {} if self.side is None else {"hemisphere": self.side}


def with_hemispheres(annotation: xr.DataArray, midline: float) -> xr.DataArray:
    """Give a volume the coordinate ``hemisphere``: left or right, for each place along ``ml``.

    Parameters
    ----------
    annotation
        Volume with coordinates.
    midline
        Position of the midline along ``ml`` in µm. Voxels whose centre is on it are left.

    Examples
    --------
    >>> volume = labelled(np.zeros((1, 1, 3), "u4"), Grid((1, 1, 3), (10, 10, 10)))
    >>> with_hemispheres(volume, 15.0).hemisphere.values.tolist()
    ['left', 'left', 'right']
    """
    line = hemisphere_line(infer_grid(annotation), midline)
    sides = np.where(line == HEMISPHERES["left"], "left", "right")
    attrs = {"long_name": "hemisphere", "midline": midline}
    return annotation.assign_coords(hemisphere=("ml", sides, attrs))


def hemisphere_line(grid: Grid, midline: float) -> NDArray[np.uint8]:
    """Hemisphere of each plane across ml, as `HEMISPHERES` numbers them.

    Examples
    --------
    >>> hemisphere_line(Grid((1, 1, 3), (10, 10, 10)), 15.0)
    array([1, 1, 2], dtype=uint8)
    """
    line = np.full(grid.shape[grid.axis("ml")], HEMISPHERES["right"], np.uint8)
    line[grid.hemisphere_slice("left", midline)] = HEMISPHERES["left"]
    return line


def stated_midline(annotation: object) -> float | None:
    """Midline that a volume states with its coordinate ``hemisphere``; None if it states none."""
    if not isinstance(annotation, xr.DataArray) or "hemisphere" not in annotation.coords:
        return None
    midline: float | None = annotation.coords["hemisphere"].attrs.get("midline")
    return midline


def resolve_midline(midline: float | None, annotation: object, grid: Grid) -> float:
    """Midline that is given, or else stated by the annotation, or else the middle of its grid.

    Raises
    ------
    GridError
        If it is no position.

    Examples
    --------
    >>> resolve_midline(None, None, Grid((1, 1, 4), (10, 10, 10)))
    20.0
    """
    given = stated_midline(annotation) if midline is None else midline
    if given is None:
        return grid.middle
    try:
        position = float(operator.truediv(given, 1)) + 0.0
    except (TypeError, ValueError, OverflowError):
        position = math.nan
    if not math.isfinite(position):
        raise GridError(f"midline is {midline!r}; give its position along ml in µm, like 5700")
    return position


def check_hemisphere(hemisphere: object) -> Hemisphere:
    """Check the name of a hemisphere.

    Raises
    ------
    GridError
        If there is no such hemisphere.

    Examples
    --------
    >>> check_hemisphere("left")
    'left'
    """
    for name in HEMISPHERES:
        if isinstance(hemisphere, str) and hemisphere == name:
            return name
    raise GridError(f"hemisphere is {hemisphere!r}; give 'left' or 'right'")


def as_hemispheres(hemispheres: object, grid: Grid) -> xr.DataArray:
    """Volume of hemispheres on the grid of an annotation: uint8, 1 left and 2 right; lazy.

    Parameters
    ----------
    hemispheres
        DataArray of integers, 1 left and 2 right, anything else neither.
    grid
        Grid of the annotation.

    Raises
    ------
    GridError
        If it is no DataArray, or lies elsewhere.
    AnnotationError
        If it does not hold integers.

    Examples
    --------
    >>> grid = Grid((1, 1, 4), (10, 10, 10))
    >>> sides = as_hemispheres(labelled(np.array([[[1, 2, 3, 258]]]), grid), grid)
    >>> sides.dtype, sides.values.tolist()
    (dtype('uint8'), [[[1, 2, 0, 0]]])
    """
    if not isinstance(hemispheres, xr.DataArray) or infer_grid(hemispheres) != grid:
        raise GridError("hemispheres must be a DataArray on the grid of the annotation")
    check_hemispheres_dtype(hemispheres.dtype)
    chunked = hemispheres.chunk() if hemispheres.chunks is None else hemispheres
    data = chunked.data.map_blocks(hemisphere_flags, meta=np.empty((0, 0, 0), np.uint8))
    return labelled(data, grid, "hemispheres", HEMISPHERES_ATTRS)


def check_hemispheres_dtype(dtype: np.dtype[Any]) -> None:
    """Refuse a type that cannot say which hemisphere a voxel is in."""
    if dtype.kind not in "ui":
        raise AnnotationError(
            f"hemispheres have dtype {dtype}; give integers, 1 left and 2 right, 0 neither"
        )


def hemisphere_flags(block: NDArray[Any]) -> NDArray[np.uint8]:
    """Hemisphere of each voxel of a block, as uint8: 1 left, 2 right, 0 neither."""
    return np.where((block == 1) | (block == 2), block, 0).astype(np.uint8)
