"""Images that lie almost on the grid of an annotation: off by rounding, or by half a voxel."""

import math
from collections.abc import Sequence
from dataclasses import replace

from refspace.grid import SAME, Grid


def snapped(own: Grid, grid: Grid) -> Grid:
    """Grid whose outer edges are those of voxels of another, where they are off by rounding.

    Positions in headers may be in single precision. Voxels whose centres are meant to lie on the
    edges of others, or those at the border, would be taken by chance.

    Parameters
    ----------
    own
        The grid.
    grid
        The other one, along the same axes in the same frame. Up to a thousandth of a voxel counts
        as rounding.

    Examples
    --------
    >>> snapped(Grid((4, 1, 1), (5, 10, 10), (10.0001, 0, 0)), Grid((9, 1, 1), (10,) * 3)).origin
    (10.0, 0.0, 0.0)
    """
    (a, i), (b, j), (c, k) = (_snapped_axis(own, grid, dim) for dim in grid.dims)
    return replace(own, origin=(a, b, c), spacing=(i, j, k))


def _snapped_axis(own: Grid, grid: Grid, dim: str) -> tuple[float, float]:
    """Lowest coordinate and spacing along an axis."""
    axis = grid.axis(dim)
    step, start = grid.spacing[axis], grid.origin[axis]
    places = [(edge - start) / step for edge in own.edges(dim)]
    low, high = map(round, places)
    most = SAME * min(1, own.spacing[axis] / step)
    if high == low or any(abs(p - n) > most for p, n in zip(places, (low, high), strict=True)):
        return own.origin[axis], own.spacing[axis]
    count = high - low
    # The same number, where the voxels are of one size: also to the last digit.
    size = step if count == own.shape[axis] else count * step / own.shape[axis]
    return start + low * step, size


def half_voxel_shift(own: Grid, grid: Grid) -> tuple[float, ...] | None:
    """What brings the corner of an image onto an annotation's that is half a voxel off.

    Parameters
    ----------
    own, grid
        Grids of the image and of the annotation, along the same axes in the same frame.

    Returns
    -------
    tuple of float or None
        µm along each axis; None where the corners are not half a voxel of the image apart on each
        axis, or the image is another part of space, so that this may well be meant.

    Examples
    --------
    >>> half_voxel_shift(Grid((2, 2, 2), (50,) * 3, (-25,) * 3), Grid((4, 4, 4), (25,) * 3))
    (25.0, 25.0, 25.0)
    """
    off = first_corner_offsets(own, grid)
    if any(abs(abs(n) - 0.5) > SAME for n in off):
        return None
    pairs = list(zip(own.extent, grid.extent, own.spacing, strict=True))
    same_size = all(abs(a - b) <= (0.5 + SAME) * step for a, b, step in pairs)
    if not same_size and not _has_spacing(own, grid.spacing):
        return None
    return tuple(-n * step for n, step in zip(off, own.spacing, strict=True))


def first_corner_offsets(own: Grid, grid: Grid) -> list[float]:
    """How far the first corner of an image is from an annotation's along each axis, in its voxels.

    The first corner is that of the voxel of index 0 of the annotation.
    """
    return [
        (own.position(dim, 0.0) - grid.position(dim, 0.0)) / step
        for dim, step in zip(grid.dims, own.spacing, strict=True)
    ]


def _has_spacing(own: Grid, spacing: Sequence[float]) -> bool:
    return all(
        math.isclose(a * n, b * n, abs_tol=SAME * b)
        for a, b, n in zip(own.spacing, spacing, own.shape, strict=True)
    )


def corner_text(grid: Grid, dims: Sequence[str]) -> str:
    """Where the first corner of a grid is, in words.

    Examples
    --------
    >>> corner_text(Grid((2, 2, 2), (25,) * 3, (-12.5, 0, 0)), ("ap", "dv", "ml"))
    'ap -12.5, dv 0, ml 0 µm'
    """
    return ", ".join(f"{dim} {grid.position(dim, 0.0):g}" for dim in dims) + " µm"
