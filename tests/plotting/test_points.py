"""Points on slices: in their places, and those alone that are near."""

import dask.array
import numpy as np
import pandas as pd
import pytest
from helpers.pictures import spotted

import refspace
from refspace.errors import GridError, PositionError

SPACE = refspace.phantom(resolution=400)
CELLS = np.array([[6000.0, 1500, 3300], [6099, 2000, 4000], [6100, 2500, 5000], [9000, 3000, 6000]])


def offsets(ax):
    return np.asarray(ax.collections[-1].get_offsets())


@pytest.mark.parametrize(
    "points",
    [
        CELLS,
        dask.array.from_array(CELLS, chunks=2),
        pd.DataFrame(CELLS, columns=["ap", "dv", "ml"])[["ml", "dv", "ap"]],
        np.vstack((CELLS, [[np.nan, 1, 1]])),
    ],
)
def test_those_near_the_plane_are_in_their_places(points) -> None:
    ax = SPACE.plot.points(points, "coronal", 6000, thickness=200)
    # Half open, as voxels are: what is on the edge is of the next slice.
    assert offsets(ax).tolist() == [[3300, 1500], [4000, 2000]]
    assert ax.get_title() == "coronal, ap = 6 ± 0.1 mm"
    everything = SPACE.plot.points(points, "sagittal")
    assert offsets(everything).tolist() == CELLS[:, [0, 1]].tolist()
    assert everything.get_title() == "sagittal, ml = 4.5 mm"


def test_of_slices_side_by_side_each_point_is_in_one() -> None:
    axes = SPACE.plot.points(CELLS, "coronal", [5900, 6100, 6300], thickness=200)
    assert [len(offsets(ax)) for ax in axes] == [0, 3, 0]


def test_points_of_another_frame_and_unit() -> None:
    space = spotted("LPI", "RAS")
    where = space.centroid("spot")
    ax = space.plot.points([[where[dim] / 1000 for dim in ("ml", "ap", "dv")]], unit="mm")
    assert offsets(ax).tolist() == [[pytest.approx(where["ml"]), pytest.approx(where["dv"])]]


def test_options_for_each_point_follow_it() -> None:
    table = pd.DataFrame(CELLS, columns=["ap", "dv", "ml"]).assign(size=[1.0, 2, 3, 4])
    ax = SPACE.plot.points(table, "coronal", 6000, thickness=200, c="size", s=[10, 20, 30, 40])
    drawn = ax.collections[-1]
    assert np.asarray(drawn.get_array()).tolist() == [1, 2]
    assert drawn.get_sizes().tolist() == [10, 20]
    # Colours are on the scale of all points, the same for each panel.
    assert drawn.get_clim() == (1, 4)
    ax = SPACE.plot.points(table, c="size", vmax=10, cmap="magma")
    assert ax.collections[-1].get_clim() == (1, 10)
    ax = SPACE.plot.points(table, c="crimson", marker="x", linewidths=1)
    assert not ax.collections[-1].get_rasterized()


def test_many_points_are_an_image_in_vector_files() -> None:
    many = np.repeat(CELLS, 3000, axis=0)
    assert SPACE.plot.points(many).collections[-1].get_rasterized()


@pytest.mark.parametrize(
    ("points", "options", "error", "message"),
    [
        (CELLS[:, :2], {}, GridError, "shape"),
        (CELLS, {"thickness": 0}, GridError, "thickness is 0; give µm above 0"),
        (CELLS, {"thickness": np.nan}, GridError, "thickness is nan"),
        (CELLS * 1e3, {}, PositionError, "all 4 points are outside the volume"),
        (CELLS * np.nan, {}, GridError, "no point with a position"),
        (CELLS[:0], {}, GridError, "no point with a position"),
        (CELLS, {"columns": ["x"]}, GridError, "columns name those of a table"),
    ],
)
def test_what_cannot_be_drawn(points, options, error, message) -> None:
    with pytest.raises(error, match=message):
        SPACE.plot.points(points, **options)
