"""Numbers that are probably in another unit: resolutions, and positions in voxels or in mm."""

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refspace.errors import GridError
from refspace.grid import Grid, parse_spacing
from refspace.types import Resolution

# µm per voxel of brain atlases are between these: numbers below are mostly meant in mm, and numbers
# above were mostly in µm already when they were converted.
_FINEST, _COARSEST = 1.0, 1e4
# Share of the volume along each axis near its corner, or near 0, within which no set of positions
# lies: a corner of a brain's volume is outside the brain.
_CORNER = 0.01
# Voxels are numbered from the corner. As µm these numbers reach further where voxels are small: of
# 1320 voxels of 10 µm, this share. Axes of fewer voxels are no brain's, which may be all right.
_NUMBERED, _FEWEST = 0.1, 64


def warn_of_odd_resolution(resolution: Resolution | None) -> None:
    """Warn of a resolution below 1 µm or above 1 cm along every axis, probably in another unit.

    Examples
    --------
    >>> warn_of_odd_resolution(25)
    """
    if resolution is None:
        return
    spacing = parse_spacing(resolution)
    # In mm they would be written with few digits: 0.025 or 0.0333, and not a third.
    if max(spacing) < _FINEST and all(math.isclose(n, round(n, 4)) for n in spacing):
        said, factor = f"resolution {resolution} is below 1 µm per voxel", 1000.0
    elif min(spacing) > _COARSEST:
        said, factor = f"resolution {resolution} is above 1 cm per voxel", 0.001
    else:
        return
    meant = ", ".join(f"{round(factor * s, 6):g}" for s in dict.fromkeys(spacing))
    warnings.warn(
        f"{said}; resolutions are in µm: if it is off by a thousand, give {meant}", stacklevel=2
    )


def check_target(grid: Grid, target_resolution: Resolution, *, upsample: bool) -> None:
    """Refuse to resample to finer voxels unasked, or to voxels larger than the volume.

    Raises
    ------
    GridError
        If the resolution is of that kind.

    Examples
    --------
    >>> check_target(Grid((4, 4, 4), (25, 25, 25)), 50, upsample=False)
    """
    target = parse_spacing(target_resolution)
    if all(t > length for t, length in zip(target, grid.extent, strict=True)):
        raise GridError(
            f"target resolution {target} µm is above the extent of the volume, {grid.extent} µm; "
            "give µm per voxel"
        )
    if not upsample and min(grid.ratios(target)) < 1:
        raise GridError(
            f"target resolution {target} µm is finer than that of the volume, {grid.spacing} µm, "
            "which has no such detail; give a coarser one, in µm, or upsample=True to repeat voxels"
        )


def warn_of_other_unit(axes: Sequence[NDArray[Any]], grid: Grid) -> None:
    """Warn of positions that all lie near a corner of the volume, or near 0, as no cells do.

    Parameters
    ----------
    axes
        Positions along each axis of the grid, taken as µm.
    grid
        Where the voxels are.

    Examples
    --------
    >>> grid = Grid((528, 320, 456), (25, 25, 25))
    >>> warn_of_other_unit([np.array([5000.0]), np.array([1500.0]), np.array([3300.0])], grid)
    """
    # One alone may be asked for wherever it is.
    if axes[0].size > 1 and (_all_near(axes, grid, 0.0) or _all_near(axes, grid, None)):
        lengths = " × ".join(f"{length:g}" for length in grid.extent)
        warnings.warn(
            f"all {axes[0].size} positions lie near one corner of the volume or near 0, taken as "
            f"µm in a volume of {lengths} µm; are they in voxels or mm? Give unit='voxel' or "
            "unit='mm'",
            stacklevel=2,
        )


def is_near(position: float, dim: str, grid: Grid) -> bool:
    """Whether one position along an axis is near the edge of the volume, or near 0 but not on it.

    Examples
    --------
    >>> grid = Grid((528, 320, 456), (25, 25, 25))
    >>> is_near(6.6, "ap", grid), is_near(6600, "ap", grid)
    (True, False)
    """
    length = grid.extent[grid.axis(dim)]
    start, _ = grid.edges(dim)
    is_inside = position != 0 and start <= position < start + length
    return is_inside and min(abs(position), position - start) < _CORNER * length


def _all_near(axes: Sequence[NDArray[Any]], grid: Grid, origin: float | None) -> bool:
    """Whether all finite positions are near an origin along every axis; None is the corner."""
    found = False
    for positions, dim, count, length in zip(axes, grid.dims, grid.shape, grid.extent, strict=True):
        distance = np.asarray(positions, np.float64)
        distance = distance[np.isfinite(distance)]
        start = origin
        if start is None:
            start, _ = grid.edges(dim)
        reach = _CORNER * length
        if count >= _FEWEST:
            reach = max(reach, min(float(count), _NUMBERED * length))
        if (np.abs(distance - start) > reach).any():
            return False
        found |= bool(distance.size)
    return found
