"""Where images lie, along their own axes."""

import numpy as np
import pytest

from refspace.ops.coverage import ImageExtent

DIMS = ("ap", "dv", "ml")


@pytest.fixture
def turned():
    """An image from 10 to 30 µm along each axis, placed by an affine as oblique ones are."""
    shares = ((0.05, 0.0, 0.0, -0.5), (0.0, 0.05, 0.0, -0.5), (0.0, 0.0, 0.05, -0.5))
    return ImageExtent(DIMS, (10, 10, 10), (30, 30, 30), 1, False, shares)


@pytest.mark.parametrize("axis", range(3))
def test_boxes_within_an_oblique_image(turned, axis):
    boxes = np.array([[10, 10, 10, 12], [30, 31, 29, 30], [20] * 4] * 3, float)
    assert turned.holds(boxes).tolist() == [True, False, True, True]
    beyond = np.array([[10.0], [30], [20]] * 3)
    for row, edge in ((3 * axis, 9.9), (3 * axis + 1, 30.1)):
        moved = beyond.copy()
        moved[row] = edge
        assert turned.holds(beyond).all()
        assert not turned.holds(moved).any()


def test_of_regions_without_voxels_nothing_is_told(turned):
    measures = np.array([[0.0], [0], *[[np.nan]] * 9])
    assert turned.note(measures) == ""
