"""Whatever the frame, the panes are upright: each direction is where it belongs."""

import itertools

import numpy as np
import pytest

from refspace.grid import Grid
from refspace.viewer.panes import panes

FRAMES = [
    "".join(letters)
    for order in itertools.permutations(("RL", "AP", "SI"))
    for letters in itertools.product(*order)
]
DIM = {"R": "ml", "L": "ml", "A": "ap", "P": "ap", "S": "dv", "I": "dv"}


def rotated(quaternion: tuple[float, ...], vector: list[float]) -> list[float]:
    """A vector turned by a quaternion, by the formula of Hamilton's product."""
    *u, w = quaternion
    t = 2 * np.cross(u, vector)
    turned: list[float] = (np.array(vector) + w * t + np.cross(u, t)).tolist()
    return turned


@pytest.mark.parametrize("frame", FRAMES)
def test_screen_directions(frame: str) -> None:
    found = panes(Grid((2, 3, 4), (10, 20, 30), orientation=frame))
    assert np.linalg.norm(found.quaternion) == pytest.approx(1)
    grows = {DIM[letter]: letter for letter in frame}
    for screen, letter in (([1, 0, 0], "R"), ([0, 1, 0], "I"), ([0, 0, 1], "P")):
        along = rotated(found.quaternion, [float(x) for x in screen])
        expected = [0.0, 0.0, 0.0]
        expected[found.dims.index(DIM[letter])] = 1 if grows[DIM[letter]] == letter else -1
        assert along == pytest.approx(expected, abs=1e-6)
