"""Axes of arrays in anatomical world coordinates: from the headers of files to grids, and back.

A header states a vector in the world for each axis of the array, and the position of the centre of
the first voxel. World coordinates grow to the left or right, posterior or anterior, superior. A
`Grid` has axes along those of the world, letters for their directions, and its frame is the world
RAS+, whose coordinates grow to the right, anterior and superior.
"""

import itertools
import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from refspace.errors import FormatError, GridError
from refspace.grid import OPPOSITE, Grid, Triple

# Rows of an affine from indices to positions in RAS+.
Affine: TypeAlias = tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]

# The world of NIfTI, and of NRRD files that state an anatomical space.
WORLD = "RAS"
# A thousand metres. Larger lengths in a damaged header would overflow what is computed from them.
_MAX_MICROMETRES = 1e9
# Vectors that programs compute from rotations are off their axes by rounding, to this relative
# size.
_OBLIQUE = 1e-6
# Volume of a voxel of edges of length 1, below which it is none.
_FLAT = 1e-3
# Voxels that a volume may be off along the nearest axes without being asked for; without a word.
_TILTED, _STRAIGHT = 0.5, 1e-3
# Relative error that sums and products of doubles leave.
_NOISE = 1e-14


@dataclass(frozen=True)
class FittedAxes:
    """Axes of an array along those of a world, as a header states them or nearest to what it does.

    Parameters
    ----------
    steps
        Signed step along each axis of the array.
    world
        Axis of the world along each axis of the array.
    centre
        Centre of the first voxel in the world.
    deviation
        Largest distance, in voxels along an axis, over the whole volume, from what the header
        states; 0 where that is along the axes.
    """

    steps: list[float]
    world: list[int]
    centre: list[float]
    deviation: float = 0.0


def fit_axes(
    vectors: NDArray[np.float64],
    centre: Sequence[float],
    shape: Sequence[int],
    name: str,
    noise: float = _OBLIQUE,
) -> FittedAxes:
    """Fit axes along those of the world to stated ones; oblique ones are turned about the middle.

    Parameters
    ----------
    vectors
        One row for each axis of the array.
    centre
        Centre of the first voxel in the world.
    shape
        Number of voxels along each axis of the array.
    name
        Name of the vectors in the header, for errors.
    noise
        Largest deviation of a vector from its axis that counts as rounding, as a share of its
        length.

    Raises
    ------
    GridError
        If the vectors are not those of a volume: without a length, or two along one line.

    Examples
    --------
    >>> vectors = np.array([[0, -25.0, 0], [0, 0, 10], [25, 0, 0]])
    >>> fit_axes(vectors, [0, 0, 0], (4, 4, 4), "directions")
    FittedAxes(steps=[-25.0, 10.0, 25.0], world=[1, 2, 0], centre=[0, 0, 0], deviation=0.0)
    """
    lengths = np.linalg.norm(vectors, axis=1)
    if not lengths.all() or abs(np.linalg.det(vectors / lengths[:, None])) < _FLAT:
        raise GridError(
            f"{name} {vectors.tolist()} are not those of a volume: some have no length, or lie in "
            "one plane"
        )
    axes = np.arange(3)
    shares = np.abs(vectors) / lengths[:, None]
    world = list(max(itertools.permutations(range(3)), key=lambda p: np.prod(shares[axes, p])))
    steps, others = vectors[axes, world], vectors.copy()
    others[axes, world] = 0
    if (np.abs(others).max(axis=1) <= noise * np.abs(steps)).all():
        return FittedAxes(steps.tolist(), world, list(centre))
    straight = np.zeros((3, 3))
    straight[axes, world] = np.copysign(lengths, steps)
    corners = np.array([*itertools.product((-0.5, 0.5), repeat=3)]) * shape
    spacing = np.empty(3)
    spacing[world] = lengths
    deviation = np.abs(corners @ (vectors - straight) / spacing).max()
    middle = (np.array(shape) - 1) / 2
    fitted = np.asarray(centre) + middle @ vectors - middle @ straight
    return FittedAxes(straight[axes, world].tolist(), world, fitted.tolist(), float(deviation))


def world_affine(
    vectors: NDArray[np.float64], centre: Sequence[float], scales: Sequence[float], space: str
) -> Affine:
    """Affine from indices of voxels to their centres in RAS+, in µm.

    Parameters
    ----------
    vectors, centre
        As of `fit_axes`.
    scales
        µm per unit along each axis of the world.
    space
        Directions in which the world's own coordinates grow.

    Examples
    --------
    >>> world_affine(25 * np.eye(3), [0, 0, 100], [1, 1, 1], "LPS")
    ((-25.0, 0.0, 0.0, 0.0), (0.0, -25.0, 0.0, 0.0), (0.0, 0.0, 25.0, 100.0))
    """
    rows = np.column_stack((vectors.T, centre)) * np.reshape(scales, (3, 1))
    own = ["LR" if letter in "LR" else "AP" if letter in "AP" else "IS" for letter in space]
    signs = [1 if letter in WORLD else -1 for letter in space]
    a, b, c = (
        tuple(float(n) + 0.0 for n in signs[own.index(ends)] * rows[own.index(ends)])
        for ends in ("LR", "AP", "IS")
    )
    return a, b, c


def settle_tilt(deviation: float, orientation: str | None, stated: str | None, path: str) -> None:
    """Accept axes that are fitted to oblique ones, with a note, or refuse them.

    Parameters
    ----------
    deviation
        As of `FittedAxes`.
    orientation
        What the caller says; None if nothing.
    stated
        Directions of the fitted axes.
    path
        Name of the file, for warnings.

    Raises
    ------
    GridError
        If voxels are further off than half of one, and the caller does not say which the nearest
        axes are.
    """
    if deviation <= _STRAIGHT:
        return
    off = f"voxels of the volume are up to {deviation:.2g} voxels off"
    if deviation > _TILTED and orientation is None:
        raise GridError(
            f"the header's axes are oblique: along the nearest ones, {stated}, {off}; resample the "
            f"volume to a grid along its axes, or give orientation='{stated}' to open it along "
            "these all the same"
        )
    warnings.warn(
        f"{path}: the header's axes are oblique; they are taken as {stated}, so that {off}",
        stacklevel=2,
    )


def tilted_affine(affine: Affine | None, deviation: float, factor: float | None) -> Affine | None:
    """Affine of an image that is placed by it; None where axes along those of the world do.

    Parameters
    ----------
    affine, deviation
        As headers have them.
    factor
        By which the header's lengths are to be taken; None where they cannot be.

    Examples
    --------
    >>> rows = (1.0, 0.5, 0.0, 3.0), (-0.5, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0)
    >>> tilted_affine(rows, 0.7, 100.0)[0]
    (100.0, 50.0, 0.0, 300.0)
    """
    if affine is None or factor is None or deviation <= _STRAIGHT:
        return None
    a, b, c = (tuple(factor * number for number in row) for row in affine)
    return a, b, c


def orientation_from_steps(steps: Sequence[float], world: Sequence[int], space: str) -> str:
    """Direction in which the index of each axis grows, from its signed step.

    Examples
    --------
    >>> orientation_from_steps([-25.0, 10.0, 25.0], [1, 2, 0], "RAS")
    'PSR'
    """
    letters = [space[axis] for axis in world]
    return "".join(
        letter if step > 0 else OPPOSITE[letter]
        for letter, step in zip(letters, steps, strict=True)
    )


def origin_from_centre(
    steps: Sequence[float],
    world: Sequence[int],
    centre: Sequence[float],
    shape: Sequence[int],
    space: str,
) -> Triple:
    """Lowest RAS+ coordinate along each axis of the array, from the centre of the first voxel.

    Parameters
    ----------
    steps, world
        As of `signed_steps`, in µm.
    centre
        Centre of the first voxel in the space, in µm.
    shape
        Number of voxels along each axis of the array.
    space
        Directions in which the space's own coordinates grow.

    Examples
    --------
    >>> steps, centre = [-25.0, 10.0, 25.0], [100.0, 0.0, 5.0]
    >>> origin_from_centre(steps, [1, 2, 0], centre, (2, 2, 2), "RAS")
    (-37.5, 0.0, 87.5)
    """
    origin = []
    for step, axis, count in zip(steps, world, shape, strict=True):
        sign = 1 if space[axis] in WORLD else -1
        first, last = centre[axis], centre[axis] + (count - 1) * step
        # Rounded to a picometre: halves of decimal spacings leave noise in the last digit.
        origin.append(round(min(sign * first, sign * last) - abs(step) / 2, 6) + 0.0)
    return triple(origin)


def world_vectors(grid: Grid, space: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Vector of each axis in µm of a world, as rows, and the centre of the first voxel.

    Examples
    --------
    >>> vectors, centre = world_vectors(Grid((2, 2, 2), (10, 20, 30), orientation="PIR"), "RAS")
    >>> vectors.tolist(), centre.tolist()
    ([[0.0, -10.0, 0.0], [0.0, 0.0, -20.0], [30.0, 0.0, 0.0]], [15.0, -5.0, -10.0])
    """
    vectors, centre = np.zeros((3, 3)), np.zeros(3)
    grid = grid.in_frame(space)
    for axis, dim in enumerate(grid.dims):
        world = grid.frame_dims.index(dim)
        vectors[axis, world] = -grid.spacing[axis] if grid.is_falling(dim) else grid.spacing[axis]
        # + 0.0 makes -0.0 positive.
        centre[world] = grid.position(dim, 0.5) + 0.0
    return vectors, centre


def micrometres(value: float, scale: float, name: str) -> float:
    """Convert a number in a header to a length in µm.

    Raises
    ------
    FormatError
        If it is not finite, or too large for a length.
    """
    if not abs(float(value) * scale) < _MAX_MICROMETRES:
        raise FormatError(f"{name} holds {value}; that is no length in µm, correct the header")
    if scale == 1:
        return float(value)
    # As decimals: 0.0333 * 1000 is 33.300000000000004. Noise that is there already is rounded off.
    length = float(Decimal(repr(float(value))) * Decimal(repr(scale)))
    near = round(length, 9)
    return near if math.isclose(near, length, rel_tol=_NOISE) else length


def millimetres(lengths: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lengths of µm in mm, of which `micrometres` makes the same numbers again.

    Examples
    --------
    >>> millimetres(np.array([[25.0, 33.3]])).tolist(), 33.3 / 1000
    ([[0.025, 0.0333]], 0.033299999999999996)
    """
    exact = [float(Decimal(repr(length)).scaleb(-3)) for length in lengths.ravel().tolist()]
    return np.array(exact).reshape(lengths.shape)


def triple(values: Iterable[float]) -> Triple:
    """Tuple of exactly three numbers."""
    a, b, c = values
    return a, b, c
