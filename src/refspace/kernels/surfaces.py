"""Surfaces of masks: marching cubes block by block, with the volume of the voxels.

The surface passes between the centres of voxels inside and of their neighbours outside, whatever
the smoothing: no part of a mask vanishes, no two parts grow together beyond a voxel, and blocks
agree on what they share without having seen each other. A vertex is named by the pair of voxels
that it lies between. So the parts of blocks are welded by these names alone, and vertices may be
moved along their pairs until the surface encloses the volume of the voxels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refspace.errors import MissingDependencyError

SURFACE_METHOD = 1
"""Changes with what surfaces are made of the same mask, for records of files that hold them."""
# Of a share of 1 inside, so much at least lies between the level and a voxel on either side: more
# makes steps of voxels stand out, less makes triangles thin. They differ, and the level is no
# dyadic fraction: four voxels around an edge are never in balance, where marching cubes would
# decide by rounding which of them hang together.
_INSIDE, _OUTSIDE = 0.01, 0.0097
_LEVEL = 0.4991
# Largest distance from the volume of the voxels, as a share of it.
_TOLERANCE = 1e-3
# First step from the level, which then grows; and how many levels are tried at most.
_STEP = 0.02
_MAX_STEPS = 40
# Distance from a grid line, in voxels, up to which rounding may take a vertex on it. No vertex on a
# line is as near to its ends.
_ROUNDING = 1e-3
# Triangles whose positions are in memory at a time.
_PIECE = 2**20
# A vertex within a cell, in place of the axis along which others lie.
_WITHIN = 3


@dataclass(frozen=True, eq=False)
class SurfacePart:
    """Surface in the cells of one block, or of all blocks; cells have voxel centres as corners.

    Parameters
    ----------
    names
        Names of the vertices, sorted, int64: four times the flat index of the lower one of two
        voxels in the box with a margin of one voxel, and the axis along which they neighbour. For
        vertices within a cell, that of its lowest voxel, and 3.
    inside, outside
        Share of the mask around the voxel inside and the one outside, float32.
    is_lower
        Whether the lower voxel is the one inside.
    faces
        Three vertices for each triangle, as indices, counter-clockwise seen from outside where the
        axes are right-handed.
    voxels
        Number of voxels of the mask.
    """

    names: NDArray[np.int64]
    inside: NDArray[np.float32]
    outside: NDArray[np.float32]
    is_lower: NDArray[np.bool_]
    faces: NDArray[np.int64]
    voxels: int


def smooth_mask(mask: NDArray[np.bool_], smoothing: int) -> NDArray[np.float32]:
    """Share of a mask around each voxel: averages with weights 1, 2, 1 along each axis in turn.

    Parameters
    ----------
    mask
        The mask; what is beyond its ends is outside.
    smoothing
        How many times to average. Blocks with a margin of as many voxels agree to the last digit:
        the same sums are made in the same order.

    Raises
    ------
    MissingDependencyError
        If scikit-image is not installed.

    Examples
    --------
    >>> smooth_mask(np.array([False, True, False]), 1)
    array([0.25, 0.5 , 0.25], dtype=float32)
    """
    weights = np.ones(1)
    for _ in range(smoothing):
        weights = np.convolve(weights, [0.25, 0.5, 0.25])
    share = mask.astype(np.float32)
    for axis in range(mask.ndim if smoothing else 0):
        share = _ndimage().correlate1d(share, weights, axis, mode="constant")
    return share


def _ndimage() -> Any:
    """Filters of scipy, which comes with scikit-image."""
    try:
        from scipy import ndimage
    except ImportError as error:
        raise _missing() from error
    return ndimage


def block_surface(
    mask: NDArray[np.bool_],
    smoothing: int,
    core: Sequence[slice],
    start: Sequence[int],
    shape: Sequence[int],
) -> SurfacePart:
    """Surface in the cells whose lowest voxel is in a block, or in the margin before it.

    Parameters
    ----------
    mask
        Mask of the block with at least ``smoothing + 1`` voxels on each side; False beyond the box.
    smoothing
        As for `smooth_mask`.
    core
        Which part of the mask is the block.
    start
        Index of the first voxel of the block in the box.
    shape
        Number of voxels of the box.

    Raises
    ------
    MissingDependencyError
        If scikit-image is not installed.

    Examples
    --------
    >>> mask = np.pad(np.ones((1, 1, 1), bool), 2)
    >>> part = block_surface(mask, 1, (slice(2, 3),) * 3, (0, 0, 0), (1, 1, 1))
    >>> part.names.size, part.faces.shape, part.voxels
    (6, (8, 3), 1)
    """
    voxels = int(np.count_nonzero(mask[tuple(core)]))
    # Cells reach to the next voxel; those before the box belong to its first blocks.
    first = [0 if begin else 1 for begin in start]
    cells = tuple(slice(c.start - f, c.stop + 1) for c, f in zip(core, first, strict=True))
    inside = mask[cells]
    if inside.all() or not inside.any():
        return _empty(voxels)
    share = smooth_mask(mask, smoothing)[cells]
    field = np.where(
        inside,
        np.maximum(share, np.float32(_LEVEL + _INSIDE)),
        np.minimum(share, np.float32(_LEVEL - _OUTSIDE)),
    )
    corners, faces = _marching_cubes()(
        field, _LEVEL, gradient_direction="ascent", allow_degenerate=True
    )[:2]
    # In the box with its margin.
    lowest = [begin + 1 - f for begin, f in zip(start, first, strict=True)]
    names, ends, is_lower = _name(corners, inside, lowest, [count + 2 for count in shape])
    shares = [share.ravel()[end] for end in ends]
    order = np.argsort(names)
    rank = np.empty(order.size, np.int64)
    rank[order] = np.arange(order.size)
    return SurfacePart(
        names[order], shares[0][order], shares[1][order], is_lower[order], rank[faces], voxels
    )


def _empty(voxels: int) -> SurfacePart:
    none = np.empty(0, np.float32)
    return SurfacePart(
        np.empty(0, np.int64), none, none, none.astype(bool), np.empty((0, 3), np.int64), voxels
    )


def _marching_cubes() -> Any:
    """Marching cubes of scikit-image, which is an extra."""
    try:
        from skimage.measure import marching_cubes
    except ImportError as error:
        raise _missing() from error
    return marching_cubes


def _missing() -> MissingDependencyError:
    return MissingDependencyError(
        "surfaces need scikit-image; install it with: pip install scikit-image"
    )


def _name(
    corners: NDArray[np.float32],
    inside: NDArray[np.bool_],
    lowest: Sequence[int],
    shape: Sequence[int],
) -> tuple[NDArray[np.int64], list[NDArray[np.int64]], NDArray[np.bool_]]:
    """Names of vertices; flat indices of their voxels inside and outside; which one is lower."""
    is_between = np.abs(corners - np.rint(corners)) > _ROUNDING
    voxel = np.where(is_between, np.floor(corners), np.rint(corners)).astype(np.int64)
    axis = np.where(is_between.sum(axis=1) == 1, is_between.argmax(axis=1), _WITHIN)
    names = 4 * np.ravel_multi_index(tuple((voxel + lowest).T), tuple(shape)) + axis
    low = np.ravel_multi_index(tuple(voxel.T), inside.shape)
    strides = np.array([*np.cumprod(inside.shape[:0:-1])[::-1], 1, 0], np.int64)
    high = low + strides[axis]
    is_lower = inside.ravel()[low]
    ends = [np.where(is_lower, low, high), np.where(is_lower, high, low)]
    return names, ends, is_lower


def join_surfaces(parts: Sequence[SurfacePart]) -> SurfacePart:
    """One surface of those of all blocks; the same whatever the blocks.

    Parameters
    ----------
    parts
        Surfaces of the blocks of one box.

    Examples
    --------
    >>> mask = np.pad(np.ones((2, 1, 1), bool), 2)
    >>> core = [slice(2, 4), slice(2, 3), slice(2, 3)]
    >>> whole = block_surface(mask, 1, core, (0, 0, 0), (2, 1, 1))
    >>> halves = [
    ...     block_surface(mask, 1, [slice(2 + i, 3 + i), *core[1:]], (i, 0, 0), (2, 1, 1))
    ...     for i in (0, 1)
    ... ]
    >>> bool((join_surfaces(halves).faces == join_surfaces([whole]).faces).all())
    True
    """
    own = np.concatenate([part.names for part in parts])
    names, first, index = np.unique(own, return_index=True, return_inverse=True)
    starts = np.cumsum([0, *(part.names.size for part in parts)])
    faces = np.concatenate(
        [index[part.faces + start] for part, start in zip(parts, starts, strict=False)]
    )
    # Each triangle begins with its lowest vertex, and they are sorted.
    turns = (np.arange(3) + faces.argmin(axis=1)[:, None]) % 3
    faces = np.take_along_axis(faces, turns, axis=1)
    # No two triangles run along an edge in the same direction: their first edges sort them.
    faces = faces[np.argsort(faces[:, 0] * names.size + faces[:, 1])]
    return SurfacePart(
        names,
        np.concatenate([part.inside for part in parts])[first],
        np.concatenate([part.outside for part in parts])[first],
        np.concatenate([part.is_lower for part in parts])[first],
        faces,
        sum(part.voxels for part in parts),
    )


# ----- positions


def fit_surface(surface: SurfacePart, shape: Sequence[int]) -> NDArray[np.float64]:
    """Positions of the vertices of a surface that encloses the volume of its voxels.

    Parameters
    ----------
    surface
        Surface of all blocks, of one voxel at least.
    shape
        Number of voxels of the box.

    Returns
    -------
    ndarray
        Positions in voxels from the centre of the first voxel of the box, (vertices, 3) float64.

    Examples
    --------
    >>> mask = np.pad(np.ones((1, 1, 1), bool), 2)
    >>> part = block_surface(mask, 1, (slice(2, 3),) * 3, (0, 0, 0), (1, 1, 1))
    >>> round(enclosed_volume(fit_surface(part, (1, 1, 1)), part.faces), 2)
    1.0
    """
    vertices = _Vertices(surface, shape)
    level, tried = _LEVEL, dict[float, float]()
    for _ in range(_MAX_STEPS):
        positions = vertices.at(level)
        tried[level] = enclosed_volume(positions, surface.faces) / surface.voxels - 1
        if abs(tried[level]) <= _TOLERANCE:
            break
        level = _next_level(tried)
    return positions


def _next_level(tried: dict[float, float]) -> float:
    """Level to try after others, of each of which the excess of volume is known."""
    # The volume falls with the level.
    low = max((level for level, excess in tried.items() if excess > 0), default=None)
    high = min((level for level, excess in tried.items() if excess <= 0), default=None)
    if low is None or high is None:
        # Most surfaces have nearly the volume at once, and need a small step.
        step = _STEP * 4.0 ** (len(tried) - 1)
        return min(tried) - step if low is None else max(tried) + step
    share: float = tried[low] / (tried[low] - tried[high])
    # Where the volume bends, a line alone would come near from one side for ever.
    return low + (high - low) * min(max(share, 0.02), 0.98)


class _Vertices:
    """Where the vertices of a surface are at a level."""

    def __init__(self, surface: SurfacePart, shape: Sequence[int]) -> None:
        flat, self._axis = np.divmod(surface.names, 4)
        voxel = np.unravel_index(flat, [count + 2 for count in shape])
        # Without the margin.
        self._voxel = np.stack(voxel, axis=1).astype(np.float64) - 1
        self._surface = surface
        self._between = np.flatnonzero(self._axis != _WITHIN)
        within = np.flatnonzero(self._axis == _WITHIN)
        self._within, self._around = within, _neighbours(surface.faces, within)

    def at(self, level: float) -> NDArray[np.float64]:
        surface, rows = self._surface, self._between
        inside = np.maximum(surface.inside[rows].astype(np.float64), level + _INSIDE)
        outside = np.minimum(surface.outside[rows].astype(np.float64), level - _OUTSIDE)
        way = (inside - level) / (inside - outside)
        positions = self._voxel.copy()
        positions[rows, self._axis[rows]] += np.where(surface.is_lower[rows], way, 1 - way)
        # Those within a cell are in the middle of those around them, which lie on its edges.
        vertex, neighbour = self._around
        for axis in range(3 if self._within.size else 0):
            sums = np.bincount(vertex, positions[neighbour, axis])
            positions[self._within, axis] = sums / np.bincount(vertex)
        return positions


def _neighbours(
    faces: NDArray[np.int64], chosen: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of some vertices, counted from 0, and the vertices that they share triangles with."""
    at = np.searchsorted(chosen, faces)
    is_chosen = np.take(chosen, at, mode="clip") == faces if chosen.size else faces < 0
    face, corner = np.nonzero(is_chosen)
    vertex = at[face, corner]
    others = [faces[face, (corner + step) % 3] for step in (1, 2)]
    return np.tile(vertex, 2), np.concatenate(others)


def enclosed_volume(positions: NDArray[np.float64], faces: NDArray[np.int64]) -> float:
    """Volume that a closed surface encloses.

    Positive where triangles are counter-clockwise seen from outside, in right-handed axes.

    Examples
    --------
    >>> corners = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    >>> enclosed_volume(corners, np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])) * 6
    1.0
    """
    # Prisms between triangles and a plane across the last axis, at some vertex: far from the
    # surface, digits would be lost.
    height, total = positions[:1, 2].sum(), 0.0
    for part in _pieces(faces):
        x, y, z = (column[part] for column in positions.T)
        x, y = x[:, 1:] - x[:, :1], y[:, 1:] - y[:, :1]
        shadow = x[:, 0] * y[:, 1] - x[:, 1] * y[:, 0]
        total += float(shadow @ (z.sum(axis=1) - 3 * height))
    return total / 6


def vertex_normals(positions: NDArray[np.float64], faces: NDArray[np.int64]) -> NDArray[np.float64]:
    """Unit normals at the vertices: those of the triangles around, weighted by their areas.

    Examples
    --------
    >>> corners = np.array([[0.0, 0, 0], [2, 0, 0], [0, 2, 0]])
    >>> vertex_normals(corners, np.array([[0, 1, 2]]))[0]
    array([0., 0., 1.])
    """
    sums = np.zeros((3, len(positions)))
    for part in _pieces(faces):
        x, y, z = (column[part] for column in positions.T)
        # Column by column: faster than cross products of rows.
        (x1, y1, z1), (x2, y2, z2) = ([c[:, i] - c[:, 0] for c in (x, y, z)] for i in (1, 2))
        areas = (y1 * z2 - z1 * y2, z1 * x2 - x1 * z2, x1 * y2 - y1 * x2)
        corners = part.T.ravel()
        for axis, area in enumerate(areas):
            sums[axis] += np.bincount(corners, np.tile(area, 3), len(positions))
    sums = sums.T
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    normals: NDArray[np.float64] = np.divide(
        sums, lengths, out=np.zeros_like(sums), where=lengths > 0
    )
    return normals


def _pieces(faces: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Some triangles after the others: positions of all would take more memory than they."""
    for start in range(0, len(faces), _PIECE):
        yield faces[start : start + _PIECE]
