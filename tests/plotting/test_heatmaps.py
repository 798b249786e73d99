"""Values by structure: each voxel in the colour of its value, hatched where that is missing."""

import dask
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from helpers.pictures import fill, hatched, names_of, pixels, spotted
from helpers.volumes import CountingSource
from matplotlib.colors import LogNorm

import refspace
from refspace.errors import AnnotationError, SettingError, StructureNotFoundError
from refspace.labels import labelled

SPACE = refspace.phantom(resolution=200)
VALUES = pd.Series({"Isocortex": 2.0, "VISp": 5.0, "TH": 3.5, "CP": np.nan}, name="density")


def bar_of(ax):
    return next(other for other in ax.figure.axes if other.get_label() == "<colorbar>")


@pytest.mark.parametrize("axis", ["ap", "dv", "ml"])
def test_voxels_have_the_values_that_paint_gives_them(axis: str) -> None:
    ax = SPACE.plot.heatmap(VALUES, axis)
    position = float(ax.get_title().split(" = ")[1].split()[0]) * 1000
    index = SPACE.grid.index(axis, position)
    expected = SPACE.paint(VALUES).isel({axis: index})
    if axis == "ml":
        expected = expected.transpose("dv", "ap")
    shown = np.ma.filled(pixels(ax), np.nan)
    np.testing.assert_array_equal(shown, expected.values)
    assert np.isfinite(shown).any()


def test_sides_have_their_own_values() -> None:
    table = pd.DataFrame({"left": VALUES, "right": VALUES[::-1].to_numpy()}, VALUES.index)
    image = SPACE.annotation.copy(data=np.random.default_rng(1).random(SPACE.grid.shape))
    dataset = SPACE.aggregate(image, ["TH", "VISp", "MO"], by_hemisphere=True).compute()
    is_left = (SPACE.annotation.hemisphere == "left").values
    for values, left, right in (
        (table, table["left"], table["right"]),
        (dataset, *(dataset["mean"].sel(hemisphere=side) for side in ("left", "right"))),
    ):
        ax = SPACE.plot.heatmap(values, "coronal", 7300)
        shown = np.ma.filled(pixels(ax), np.nan)
        for side, painted in ((is_left, left), (~is_left, right)):
            expected = SPACE.paint(painted).isel(ap=36).values
            np.testing.assert_array_equal(shown[:, side], expected[:, side])


def test_hemispheres_of_a_volume_and_voxels_of_neither() -> None:
    space = spotted("LPI", "RAS")
    sides = np.full(space.grid.shape, 1, "u1")
    sides[:3], sides[3] = 2, 0
    space = refspace.ReferenceSpace(
        space.structure_tree, space.annotation, hemispheres=labelled(sides, space.grid)
    )
    ax = space.plot.heatmap(pd.DataFrame({"left": [1.0], "right": [2.0]}, ["root"]), "horizontal")
    row = pixels(ax)[0]
    # Stored towards left, shown from left to right.
    assert np.ma.filled(row, -1).tolist() == [1, 1, -1, 2, 2, 2]


@pytest.mark.parametrize("frame", ["PIR", "LAS", "PIL"])
def test_values_of_the_left_are_at_the_left_in_any_frame(frame: str) -> None:
    table = pd.DataFrame({"left": [1.0], "right": [2.0]}, ["root"])
    ax = spotted("RAS", frame).plot.heatmap(table)
    assert np.ma.filled(pixels(ax)[-1], -1).tolist() == [1, 1, 1, 2, 2, 2]
    assert (ax.get_title("left"), ax.get_title("right")) == ("L", "R")


# ----- what is missing


def test_missing_regions_are_hatched_and_others_grey() -> None:
    ax = SPACE.plot.heatmap(VALUES, "coronal", 5100)
    (patch,) = hatched(ax)
    assert patch.get_hatch()
    tree = SPACE.structure_tree
    (ids,) = tree.descendant_ids(tree.resolve("CP"))
    missing = np.isin(SPACE.annotation.isel(ap=25).values, ids)
    # Area of the hatched rectangles, by the shoelace formula.
    corners = patch.get_path().vertices.reshape(-1, 5, 2)[:, :4]
    x, y = corners[..., 0], corners[..., 1]
    area = np.abs((x * np.roll(y, -1, 1) - y * np.roll(x, -1, 1)).sum()) / 2
    assert area == pytest.approx(missing.sum() * 200**2)
    assert np.ma.getmaskarray(pixels(ax))[missing].all()
    assert ax.get_legend().get_texts()[0].get_text() == "no value"
    # Never white on white: the brain is grey where there is nothing.
    below = np.asarray(min(ax.get_images(), key=lambda image: image.zorder).get_array())
    brain = (SPACE.annotation.isel(ap=25) != 0).values
    assert (below[brain][:, :3] < 0.9).all()
    assert (below[brain][:, 3] == 1).all()


def test_nothing_is_hatched_where_nothing_is_missing() -> None:
    ax = SPACE.plot.heatmap(VALUES.dropna())
    assert hatched(ax) == []
    assert ax.get_legend() is None


@pytest.mark.parametrize("values", [{}, pd.Series([], dtype=float)])
def test_no_value_at_all_is_an_error(values) -> None:
    with pytest.raises(AnnotationError, match="no value of any structure; give at least one"):
        SPACE.plot.heatmap(values)


def test_all_missing_is_drawn() -> None:
    assert hatched(SPACE.plot.heatmap({"TH": np.nan}, position=7300))


def test_unknown_structures_are_named() -> None:
    with pytest.raises(StructureNotFoundError, match="did you mean VISp"):
        SPACE.plot.heatmap({"VISP": 1})


# ----- colours


def test_colours_run_over_all_values() -> None:
    ax = SPACE.plot.heatmap(VALUES)
    assert fill(ax).get_clim() == (2, 5)
    assert fill(ax).get_cmap().name == "viridis"
    bar = bar_of(ax)
    assert bar.get_ylabel() == "density"
    assert max(bar.get_ylim()) == 5


def test_values_of_both_signs_have_white_for_zero() -> None:
    image = fill(SPACE.plot.heatmap({"TH": -1.0, "VISp": 4.0}))
    assert image.get_clim() == (-4, 4)
    assert image.get_cmap().name == "RdBu_r"
    assert min(image.cmap(image.norm(0.0))[:3]) > 0.95
    assert fill(SPACE.plot.heatmap({"TH": -1.0, "VISp": 4.0}, vmax=2)).get_clim() == (-2, 2)


def test_colour_options_are_passed_on() -> None:
    ax = SPACE.plot.heatmap(VALUES, vmin=0, vmax=4, cmap="magma", cbar_kwargs={"label": "x"})
    assert fill(ax).get_clim() == (0, 4)
    assert fill(ax).get_cmap().name == "magma"
    assert bar_of(ax).get_ylabel() == "x"
    norm = LogNorm(1, 10)
    ax = SPACE.plot.heatmap(VALUES, norm=norm, add_colorbar=False)
    assert fill(ax).norm is norm
    assert len(ax.figure.axes) == 1
    assert fill(SPACE.plot.heatmap({"TH": -1, "VISp": 1}, cmap="cividis")).cmap.name == "cividis"


def simulated(rgb):
    """Colours as people without cones for long waves see them (Viénot 1999), linear in light."""
    linear = np.asarray(rgb) ** 2.2
    blind = (
        linear @ np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]]).T
    )
    return np.clip(blind, 0, 1) ** (1 / 2.2)


@pytest.mark.parametrize("name", ["viridis", "RdBu_r"])
def test_colours_are_told_apart_without_red_and_green(name: str) -> None:
    seen = simulated(mpl.colormaps[name](np.linspace(0, 1, 9))[:, :3])
    for i in range(9):
        for j in range(i + 1, 9):
            assert np.abs(seen[i] - seen[j]).max() > 0.05, (i, j)


def test_names_of_columns_are_no_formulas() -> None:
    ax = SPACE.plot.heatmap(VALUES.rename("$x_{$\n"))
    ax.figure.canvas.draw()
    assert bar_of(ax).get_ylabel() == r"\$x_{\$"


def test_panels_share_their_colours() -> None:
    axes = SPACE.plot.heatmap(VALUES, "coronal", [4000, 7000, 9000], labels=True, outline="TH")
    assert axes.shape == (3,)
    assert len({fill(ax).get_clim() for ax in axes}) == 1
    assert len(axes[0].figure.axes) == 4
    axes[0].figure.canvas.draw()
    assert "Isocortex" in {name for ax in axes for name, *_ in names_of(ax).placed()}


# ----- what is read


def test_each_chunk_of_the_planes_is_read_once() -> None:
    chunks = ((17, 17, 17, 15), (20, 20), (30, 27))
    labels, sides = (
        CountingSource(array.values) for array in (SPACE.annotation, SPACE.hemispheres)
    )
    space = refspace.ReferenceSpace(
        SPACE.structure_tree,
        SPACE.annotation.copy(data=labels.dask(chunks)),
        hemispheres=SPACE.hemispheres.copy(data=sides.dask(chunks)),
    )
    table = pd.DataFrame({"left": [1, 2], "right": [3, 4]}, ["VISp", "TH"])
    with dask.config.set(scheduler="synchronous"):
        space.plot.heatmap(table, "coronal", [4000, 4500])
    expected = {(1, dv, ml): 1 for dv in (0, 1) for ml in (0, 1)}
    assert labels.chunk_reads(chunks) == sides.chunk_reads(chunks) == expected


# ----- values at the edge


def test_norms_run_over_all_values_of_all_panels() -> None:
    values = {"TH": 10.0, "CB": 1e4, "VISp": 0.5}
    axes = SPACE.plot.heatmap(values, "coronal", [7000, 9000], norm=LogNorm())
    assert {fill(ax).get_clim() for ax in axes} == {(0.5, 1e4)}
    (ax,) = SPACE.plot.heatmap(values, "coronal", [7000], norm="log", vmax=100)
    assert fill(ax).get_clim() == (0.5, 100)
    assert bar_of(ax).get_yscale() == "log"


@pytest.mark.parametrize(
    ("options", "limits", "name"),
    [
        ({"vmin": 0}, (0, 4), "viridis"),
        ({"vmax": -0.5}, (-1, -0.5), "viridis"),
        ({"vmin": -3}, (-3, 3), "RdBu_r"),
        ({"vmin": -1, "vmax": 20}, (-1, 20), "viridis"),
        ({"vmin": -2, "vmax": 2}, (-2, 2), "RdBu_r"),
        ({"cmap": "PuOr"}, (-4, 4), "PuOr"),
    ],
)
def test_ends_of_the_colours_of_values_of_both_signs(options, limits, name) -> None:
    image = fill(SPACE.plot.heatmap({"TH": -1.0, "VISp": 4.0}, **options))
    assert image.get_clim() == limits
    assert image.get_cmap().name == name


def test_infinite_values_are_drawn_as_the_ends() -> None:
    values = {"TH": np.inf, "CP": -np.inf, "VISp": 1.0, "CB": 3.0}
    ax = SPACE.plot.heatmap(values, "coronal", 7000, norm=None)
    image = fill(ax)
    assert image.get_clim() == (1, 3)
    shown = SPACE.paint(values).sel(ap=7000, method="nearest").values
    colors = image.to_rgba(image.get_array())
    assert np.isinf(shown).any()
    for infinity, end in ((np.inf, 1.0), (-np.inf, 0.0)):
        np.testing.assert_allclose(
            colors[shown == infinity], [image.cmap(end)] * (shown == infinity).sum()
        )
    assert bar_of(ax)._colorbar.extend == "both"


def test_values_that_are_all_the_same_have_a_colour() -> None:
    low, high = fill(SPACE.plot.heatmap({"TH": 3, "VISp": 3})).get_clim()
    assert low < 3 < high


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"vmin": 5, "vmax": 2}, "colours would run from 5 to 2; give a vmin below vmax"),
        ({"vmin": 9}, "from 9 to 5; give a vmin below vmax, both where the values, from 2 to 5,"),
        ({"vmax": np.nan}, "from 2 to nan"),
        ({"norm": LogNorm(1, 10), "vmin": 2}, "there is a norm beside vmin or vmax"),
        ({"cmap": "red to green"}, "no colour map 'red to green'; try viridis"),
    ],
)
def test_colours_that_cannot_be(options, said) -> None:
    with pytest.raises(SettingError, match=said):
        SPACE.plot.heatmap(VALUES, **options)
    assert plt.get_fignums() == []


def test_what_count_points_returns() -> None:
    cells = np.array([[7000.0, 4000, 4500], [7000.0, 4000, 4600], [7000.0, 4000, 7500]])
    counted = SPACE.count_points(cells, ["TH", "CP"], by_hemisphere=True)
    ax = SPACE.plot.heatmap(counted, "coronal", 7000)
    assert bar_of(ax).get_ylabel() == "density [mm-3]"
    density = counted["density"].sel(structure=SPACE.structure_tree.resolve("TH")[0])
    assert {*np.unique(np.ma.compressed(pixels(ax)))} >= {*density.values}
