"""Axes of arrays in anatomical world coordinates: from the headers of files to grids, and back.

A header states a vector in the world for each axis of the array, and the position of the centre of
the first voxel. World coordinates grow to the left or right, posterior or anterior, superior. A
`Grid` has axes along those of the world, letters for their directions, and its frame is the world
RAS+, whose coordinates grow to the right, anterior and superior.
"""

import math
from collections.abc import Iterable, Sequence
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from refspace.errors import FormatError, GridError
from refspace.grid import OPPOSITE, Grid, Triple

# The world of NIfTI, and of NRRD files that state an anatomical space.
WORLD = "RAS"
# A thousand metres. Larger lengths in a damaged header would overflow what is computed from them.
_MAX_MICROMETRES = 1e9
# Vectors that programs compute from rotations are off their axes by rounding, to this relative
# size.
_OBLIQUE = 1e-6
# Relative error that sums and products of doubles leave.
_NOISE = 1e-14


def signed_steps(
    vectors: NDArray[np.float64], name: str, noise: float = _OBLIQUE
) -> tuple[list[float], list[int]]:
    """Signed step along each axis, and the world coordinate that it changes.

    Parameters
    ----------
    vectors
        One row for each axis of the array.
    name
        Name of the vectors in the header, for errors.
    noise
        Largest deviation of a vector from its axis, as a share of its length.

    Raises
    ------
    GridError
        If a vector is not along an axis of the world.

    Examples
    --------
    >>> signed_steps(np.array([[0, -25.0, 0], [0, 0, 10], [25, 0, 0]]), "directions")
    ([-25.0, 10.0, 25.0], [1, 2, 0])
    """
    world = np.abs(vectors).argmax(axis=1)
    steps = vectors[np.arange(3), world]
    others = vectors.copy()
    others[np.arange(3), world] = 0
    if len(set(world)) < 3 or (np.abs(others).max(axis=1) > noise * np.abs(steps)).any():
        raise GridError(
            f"{name} {vectors.tolist()} are not along the axes of the space; resample the volume "
            "to an axis-aligned grid first"
        )
    return steps.tolist(), world.tolist()


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
