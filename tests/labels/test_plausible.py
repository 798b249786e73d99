"""Numbers that are probably in another unit, and those that are not."""

import warnings

import numpy as np
import pytest

from refspace.grid import Grid
from refspace.labels import as_annotation, is_near
from refspace.labels.plausible import warn_of_odd_resolution, warn_of_other_unit

CCF = Grid((528, 320, 456), (25, 25, 25))
CCF_10 = Grid((1320, 800, 1140), (10, 10, 10))
MNI = Grid((182, 218, 182), (1000, 1000, 1000), (-91000, -126000, -72000), "RAS")


def cells(grid, scale):
    """Positions all over the middle half of a volume, in µm over a scale."""
    shares = np.random.default_rng(0).uniform(0.25, 0.75, (50, 3))
    return (np.add(grid.origin, shares * grid.extent) / scale).T


def indices(grid):
    shares = np.random.default_rng(0).uniform(0.1, 0.9, (50, 3))
    return np.floor(shares * grid.shape).T


@pytest.mark.parametrize("grid", [CCF, CCF_10, MNI, Grid((66, 40, 57), (200, 200, 200))])
def test_positions_in_mm_and_in_voxels_are_noticed(grid):
    for axes in (cells(grid, 1000), indices(grid)):
        with pytest.warns(
            UserWarning, match="all 50 positions lie near .* unit='voxel' or unit='mm"
        ):
            warn_of_other_unit(axes, grid)
        axes[:, 7] = np.nan
        with pytest.warns(UserWarning, match="all 50 positions"):
            warn_of_other_unit(axes, grid)


@pytest.mark.parametrize("grid", [CCF, CCF_10, MNI])
def test_positions_in_micrometres_are_not(grid):
    middle = cells(grid, 1)
    one_far = indices(grid)
    one_far[1, 3] = grid.origin[1] + grid.extent[1] / 2
    alone = np.zeros((3, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for axes in (middle, one_far, alone, np.empty((3, 0)), np.full((3, 2), np.nan)):
            warn_of_other_unit(axes, grid)


def test_toy_volumes_may_be_asked_for_their_corner():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_other_unit(np.full((3, 2), 5.0), Grid((13, 12, 8), (10, 10, 10)))


@pytest.mark.parametrize(
    ("grid", "position", "expected"),
    [
        (CCF, 6.6, True),
        (CCF, 6600, False),
        (CCF, -30, False),
        (CCF, 0, False),
        (MNI, 0, False),
        (MNI, 20, True),
        (MNI, 20_000, False),
        (MNI, -90_900, True),
    ],
)
def test_single_positions(grid, position, expected):
    assert is_near(position, "ml", grid) is expected


@pytest.mark.parametrize(
    ("resolution", "meant"),
    [
        (0.025, "25"),
        ((0.01, 0.02, 0.02), "10, 20"),
        (0.2, "200"),
        (25_000, "25"),
        ((10_001, 50_000, 50_000), "10.001, 50"),
    ],
)
def test_resolutions_in_another_unit_are_noticed(resolution, meant):
    message = rf"is (below 1 µm|above 1 cm) per voxel; .* give {meant}$"
    with pytest.warns(UserWarning, match=message):
        warn_of_odd_resolution(resolution)
    with pytest.warns(UserWarning, match=message):
        as_annotation(np.zeros((2, 2, 2), "u1"), resolution)


def test_voxels_may_be_thin_or_alone():
    as_annotation(np.zeros((1, 1, 1), "u1"), 0.1)
    warn_of_odd_resolution((0.5, 2, 2))
    warn_of_odd_resolution((50_000, 25, 25))
    warn_of_odd_resolution(1)
    warn_of_odd_resolution(10_000)
    warn_of_odd_resolution(1 / 3)
    warn_of_odd_resolution(None)
