"""Where the voxels of an image are, from the coordinates of its dims and what the caller says."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from refspace.errors import GridError
from refspace.grid import OPPOSITE, Grid, parse_orientation, parse_spacing
from refspace.labels import infer_grid, labelled, warn_of_odd_resolution
from refspace.store.ome.grids import micrometres_of_unit

AXES = ("ap", "dv", "ml")
"""Dims of space of what states its directions by their names."""

_IMAGE_AXES = ("z", "y", "x")
# That of the Allen CCF, as for arrays in memory.
_HOUSE = "PIR"


@dataclass(frozen=True)
class Given:
    """What the caller says of an image.

    Parameters
    ----------
    shape
        Voxels of a grid that the image shares voxel by voxel, whatever position it states.
    resolution, orientation
        As for `open_image`.
    """

    shape: Sequence[int] | None = None
    resolution: float | Sequence[float] | None = None
    orientation: str | None = None


def space_dims(dims: Sequence[str]) -> tuple[str, ...]:
    """The dims of space: those of their names, else the last three.

    Examples
    --------
    >>> space_dims(("z", "y", "x", "channel")), space_dims(("time", "i", "j", "k"))
    (('z', 'y', 'x'), ('i', 'j', 'k'))
    """
    for names in (AXES, _IMAGE_AXES):
        found = tuple(dim for dim in dims if dim.lower() in names)
        if len(found) == len(names):
            return found
    return tuple(dims[-3:])


def space_axes(shape: Sequence[int]) -> tuple[int, ...]:
    """The axes of space of an array whose axes have no names: all but those of length 1.

    The first axes of length 1 are left out before the last, and no more than leaves three. Of what
    is left, the last three are those of space.

    Examples
    --------
    >>> space_axes((1, 8, 6, 4)), space_axes((8, 6, 4, 1)), space_axes((2, 8, 6, 4))
    ((1, 2, 3), (0, 1, 2), (1, 2, 3))
    """
    axes = [*range(len(shape))]
    while len(axes) > len(AXES) and 1 in (shape[axes[0]], shape[axes[-1]]):
        axes = axes[1:] if shape[axes[0]] == 1 else axes[:-1]
    return tuple(axes[-3:])


def placed(image: xr.DataArray, given: Given) -> xr.DataArray:
    """Image over ap, dv and ml with coordinates in µm; any other dims come first.

    What has neither coordinates nor a resolution is returned as it is.
    """
    space = space_dims([str(dim) for dim in image.dims])
    is_named, is_located = {*space} == {*AXES}, [dim in image.coords for dim in space]
    if is_named and all(is_located):
        _check_given(image, space, given)
        return image
    if given.resolution is None and (is_named or not any(is_located)):
        return image if is_named else space_last(image)
    image = space_last(image)
    before = image.dims[:-3]
    grid = _grid(image, space, given)
    first = labelled(image.data[(0,) * len(before)], grid)
    coords = {dim: image.coords[dim] for dim in before if dim in image.coords}
    return xr.DataArray(
        image.data, {**coords, **first.coords}, (*before, *first.dims), image.name, image.attrs
    )


def space_last(image: xr.DataArray) -> xr.DataArray:
    """Image whose dims of space are the last three, in the order in which it has them."""
    space = space_dims([str(dim) for dim in image.dims])
    return image.transpose(*(dim for dim in image.dims if dim not in space), *space)


def _check_given(image: xr.DataArray, space: Sequence[str], given: Given) -> None:
    """Refuse what contradicts coordinates over ap, dv and ml."""
    if given.resolution is None and given.orientation is None:
        return
    first = image.isel({dim: 0 for dim in image.dims if dim not in space})
    grid = infer_grid(first)
    if given.resolution is not None:
        wanted = parse_spacing(given.resolution)
        if not np.allclose(grid.spacing, wanted, rtol=1e-6):
            raise GridError(
                f"resolution {given.resolution} contradicts the coordinates, which are "
                f"{' × '.join(f'{step:g}' for step in grid.spacing)} µm apart; leave the "
                "resolution out or correct the coordinates"
            )
    if given.orientation is not None and parse_orientation(given.orientation) != grid.orientation:
        raise GridError(
            f"orientation {given.orientation!r} contradicts the coordinates, which state "
            f"{grid.orientation!r}; leave the orientation out or correct the coordinates"
        )


def _grid(image: xr.DataArray, space: Sequence[str], given: Given) -> Grid:
    i, j, k = (image.sizes[dim] for dim in space)
    wanted = None if given.resolution is None else parse_spacing(given.resolution)
    warn_of_odd_resolution(given.resolution)
    code = _orientation(space, given)
    if wanted is not None and not any(dim in image.coords for dim in space):
        return Grid((i, j, k), wanted, orientation=code)
    steps: list[float | None] = [None] * 3 if wanted is None else [*wanted]
    axes = [_centres(image, dim, step) for dim, step in zip(space, steps, strict=True)]
    # Where coordinates fall as the index grows, they grow in the other direction.
    frame = [
        OPPOSITE[letter] if len(values) > 1 and values[0] > values[-1] else letter
        for letter, values in zip(code, axes, strict=True)
    ]
    dims = Grid((i, j, k), (1, 1, 1), orientation=code).dims
    known = {dim: step for dim, step in zip(dims, steps, strict=True) if step is not None}
    return Grid.from_coordinates(dict(zip(dims, axes, strict=True)), "".join(frame), known)


def _orientation(space: Sequence[str], given: Given) -> str:
    """Orientation that the caller states, in agreement with the names of the dims."""
    named = {*space} == {*AXES}
    if given.orientation is None and (tuple(space) == AXES or not named):
        return _HOUSE if named else _refuse_open_directions(space)
    code = parse_orientation(given.orientation or _HOUSE)
    if named and Grid((1, 1, 1), (1, 1, 1), orientation=code).dims != tuple(space):
        raise GridError(
            f"the dims {', '.join(space)} do not run as orientation {code!r} says; give "
            "orientation=, three letters in their order"
        )
    return code


def _refuse_open_directions(space: Sequence[str]) -> NoReturn:
    raise GridError(
        f"the dims {', '.join(space)} do not state in which directions they run; give "
        "orientation=, three letters like 'PIR', that of the Allen CCF"
    )


def _centres(image: xr.DataArray, dim: str, known: float | None) -> NDArray[np.float64]:
    """Voxel centres along a dim in µm."""
    count = image.sizes[dim]
    if dim not in image.coords:
        if known is None:
            raise GridError(f"{dim} has no coordinates; give resolution=, the µm per voxel")
        return (np.arange(count, dtype=np.float64) + 0.5) * known
    axis = image.coords[dim]
    values = _numbers(axis, dim)
    unit = micrometres_of_unit(str(axis.attrs.get("units", "")))
    step = abs(float(values[-1] - values[0])) / max(1, count - 1)
    if known is None and unit is None:
        raise GridError(
            f"{dim} has coordinates without a unit of length; give resolution=, the µm per voxel"
        )
    if unit is None:
        return values * (known / step if step and known is not None else 1.0)
    if known is not None and count > 1 and not np.isclose(step * unit, known, rtol=1e-6):
        raise GridError(
            f"resolution {known:g} contradicts {dim}, whose coordinates are {step * unit:g} µm "
            "apart; leave the resolution out or correct the coordinates"
        )
    # In another unit, positions are decimals: noise in their last digit is none of theirs.
    return values if unit == 1 else np.round(values * unit, 9)


def _numbers(axis: xr.DataArray, dim: str) -> NDArray[np.float64]:
    if axis.dtype.kind not in "iuf" or not np.isfinite(axis.values).all():
        raise GridError(f"{dim} has coordinates that are no positions; give finite numbers")
    values: NDArray[np.float64] = axis.values.astype(np.float64)
    return values
