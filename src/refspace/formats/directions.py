"""Between the headers of file formats and grids: axes along anatomical world coordinates.

Headers give for each axis of the array a vector in the world, whose coordinates grow to the left or
right, posterior or anterior, superior; and the position of the centre of the first voxel there.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from refspace.errors import FormatError, GridError
from refspace.grid import Grid, Triple, parse_spacing

OPPOSITE = dict(zip("LRPASI", "RLAPIS", strict=True))
# A thousand metres. Keeps the coordinates that a damaged header asks for from overflowing.
_MAX_MICROMETRES = 1e9
# Directions that are computed from rotations carry noise of this relative size.
_OBLIQUE = 1e-6


def signed_steps(
    vectors: NDArray[np.float64], name: str, noise: float = _OBLIQUE
) -> tuple[list[float], list[int]]:
    """Signed step along each axis, and the world coordinate that it changes.

    Parameters
    ----------
    vectors
        One row for each axis of the array.
    name
        What the header calls them.
    noise
        How much of its length a vector may stray from its axis.

    Raises
    ------
    GridError
        If they are not along the axes of the world.

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


def orientation_of(steps: Sequence[float], world: Sequence[int], space: str) -> str:
    """Direction in which the index of each axis grows.

    Examples
    --------
    >>> orientation_of([-25.0, 10.0, 25.0], [1, 2, 0], "RAS")
    'PSR'
    """
    letters = [space[axis] for axis in world]
    return "".join(
        letter if step > 0 else OPPOSITE[letter]
        for letter, step in zip(letters, steps, strict=True)
    )


def corner_of(steps: Sequence[float], world: Sequence[int], centre: Sequence[float]) -> Triple:
    """Outer corner of the first voxel along each axis of the array, from its centre in the world.

    Along an axis that runs against its world coordinate, positions are negative ones of the world:
    they grow with the index, as those of a grid that was reoriented do.

    Examples
    --------
    >>> corner_of([-25.0, 10.0, 25.0], [1, 2, 0], [100.0, 0.0, 5.0])
    (-12.5, 0.0, 87.5)
    """
    # Rounded to a picometre: halves of decimal spacings leave noise in the last digit.
    return triple(
        round(math.copysign(1, step) * centre[axis] - abs(step) / 2, 6) + 0.0
        for step, axis in zip(steps, world, strict=True)
    )


def placed(grid: Grid, space: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Vector of each axis, one a row, and centre of the first voxel, in µm of a world.

    Examples
    --------
    >>> vectors, centre = placed(Grid((2, 2, 2), (10, 20, 30), orientation="PIR"), "RAS")
    >>> vectors.tolist(), centre.tolist()
    ([[0.0, -10.0, 0.0], [0.0, 0.0, -20.0], [30.0, 0.0, 0.0]], [15.0, -5.0, -10.0])
    """
    vectors, centre = np.zeros((3, 3)), np.zeros(3)
    for axis, letter in enumerate(grid.orientation):
        along = letter in space
        world = space.index(letter if along else OPPOSITE[letter])
        sign = 1 if along else -1
        vectors[axis, world] = sign * grid.spacing[axis]
        # + 0.0 makes -0.0 positive.
        centre[world] = sign * (grid.origin[axis] + grid.spacing[axis] / 2) + 0.0
    return vectors, centre


def agreed_spacing(
    stated: Triple | None, resolution: float | Sequence[float] | None, rtol: float = 1e-6
) -> Triple:
    """Spacing that a header states, or that the caller gives; both must agree.

    Raises
    ------
    GridError
        If there is none, or the two contradict each other.
    """
    if resolution is None:
        if stated is None:
            raise GridError("the header states no spacing; give resolution=, the µm per voxel")
        return stated
    given = parse_spacing(resolution)
    if stated is not None and not np.allclose(given, stated, rtol=rtol, atol=0):
        raise GridError(
            f"resolution {given} contradicts the header, whose voxels are {stated} µm apart; "
            "leave the resolution out or correct the file"
        )
    return stated or given


def micrometres(value: float, scale: float, name: str) -> float:
    """Length in µm of a number in a header.

    Raises
    ------
    FormatError
        If it is none.
    """
    # Rounded only where a factor leaves noise: 0.0333 mm are 33.3 µm.
    length = float(value) if scale == 1 else round(float(value) * scale, 9)
    if not abs(length) < _MAX_MICROMETRES:
        raise FormatError(f"{name} holds {value}; that is no length in µm, correct the header")
    return length


def triple(values: Iterable[float]) -> Triple:
    """Three numbers."""
    a, b, c = values
    return a, b, c
