"""How the panes of the viewer lie: the display axes and the rotation that set the brain upright.

A pane has three directions on the screen: to the right, down, and away from the viewer. In the
coronal pane they are right, inferior and posterior; the viewer makes the horizontal pane of it by
a turn about the first of them, and the sagittal one about the second.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refspace.grid import Grid

# Directions of the coronal pane: to the right, down, away from the viewer.
_PANE = "RIP"
_DIM_OF_LETTER = {"R": "ml", "L": "ml", "I": "dv", "S": "dv", "P": "ap", "A": "ap"}
# An even and an odd permutation: of the two, one leads to the pane by a rotation alone.
_ORDERS = (("ml", "dv", "ap"), ("ml", "ap", "dv"))


@dataclass(frozen=True)
class Panes:
    """Axes of the viewer and their rotation.

    Parameters
    ----------
    dims
        Axes of the space in the order in which the viewer has them as x, y and z.
    quaternion
        Rotation from the screen's axes to these: x, y, z, w.
    """

    dims: tuple[str, str, str]
    quaternion: tuple[float, float, float, float]


def panes(grid: Grid) -> Panes:
    """Axes and rotation in which every pane is upright, and left is at the left.

    Parameters
    ----------
    grid
        The grid, whose frame says in which directions coordinates grow.

    Examples
    --------
    >>> panes(Grid((2, 2, 2), (10, 10, 10)))
    Panes(dims=('ml', 'dv', 'ap'), quaternion=(0.0, 0.0, 0.0, 1.0))
    >>> panes(Grid((2, 2, 2), (10, 10, 10), orientation="RAS")).quaternion
    (1.0, 0.0, 0.0, 0.0)
    """
    grows = dict(zip(grid.frame_dims, grid.frame, strict=True))
    for dims in _ORDERS:
        rotation = np.zeros((3, 3))
        for column, letter in enumerate(_PANE):
            dim = _DIM_OF_LETTER[letter]
            rotation[dims.index(dim), column] = 1 if grows[dim] == letter else -1
        if np.linalg.det(rotation) > 0:
            return Panes(dims, _quaternion(rotation))
    raise AssertionError("one of an even and an odd permutation is a rotation")


def _quaternion(rotation: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Unit quaternion of a rotation: the eigenvector, to the value 1, of a symmetric matrix.

    Source: I. Bar-Itzhack, "New method for extracting the quaternion from a rotation matrix", 2000.
    """
    m = rotation
    matrix = np.array(
        [
            [m[0, 0] - m[1, 1] - m[2, 2], m[1, 0] + m[0, 1], m[2, 0] + m[0, 2], m[2, 1] - m[1, 2]],
            [m[1, 0] + m[0, 1], m[1, 1] - m[0, 0] - m[2, 2], m[2, 1] + m[1, 2], m[0, 2] - m[2, 0]],
            [m[2, 0] + m[0, 2], m[2, 1] + m[1, 2], m[2, 2] - m[0, 0] - m[1, 1], m[1, 0] - m[0, 1]],
            [m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1], m[0, 0] + m[1, 1] + m[2, 2]],
        ]
    )
    values, vectors = np.linalg.eigh(matrix / 3)
    found = vectors[:, int(np.argmax(values))]
    # A quaternion and its negative are one rotation.
    found = found * math.copysign(1, found[int(np.argmax(np.abs(found)))])
    x, y, z, w = (round(float(part), 12) + 0.0 for part in found)
    return x, y, z, w
