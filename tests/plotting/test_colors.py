"""Colour map and norm for xarray's own pictures: exact for every id."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_rgba

import refspace
from refspace.plotting.label_colors import label_colors

SPACE = refspace.phantom(resolution=400)


def drawn(mesh):
    return mesh.to_rgba(mesh.get_array(), bytes=True)


@pytest.mark.parametrize("dim", ["ap", "dv", "ml"])
def test_pixels_of_xarray_equal_those_of_get_slice_image(dim: str) -> None:
    position = SPACE.grid.coordinates(dim)[12]
    plane = SPACE.annotation.sel({dim: position})
    expected = SPACE.get_slice_image(dim, position).values
    colors = SPACE.plot.colors()
    np.testing.assert_array_equal(
        drawn(plane.plot(**colors)).reshape(*plane.shape, 4)[..., :3], expected
    )
    plt.figure()
    np.testing.assert_array_equal(drawn(plane.plot.imshow(**colors))[..., :3], expected)
    assert len(plt.gcf().axes) == 1  # no colour bar of a thousand ids


@given(st.sets(st.integers(1, 2**32 - 1) | st.integers(2**24, 2**24 + 9), min_size=1, max_size=30))
def test_every_id_has_its_colour_and_no_other(ids: set[int]) -> None:
    rng = np.random.default_rng(len(ids))
    rgb = {i: rng.integers(0, 256, 3).tolist() for i in ids}
    tree = refspace.StructureTree(
        [{"id": i, "structure_id_path": [i], "rgb_triplet": rgb[i]} for i in ids]
    )
    around = {i + step for i in ids for step in (-1, 0, 1)} | {0}
    labels = np.array(sorted(i for i in around if 0 <= i < 2**32), "u4")
    colors = label_colors(tree)
    shown = colors["cmap"](colors["norm"](labels), bytes=True)[:, :3].tolist()
    expected = [rgb.get(i, [255, 0, 255] if i else [0, 0, 0]) for i in labels.tolist()]
    assert shown == expected


@pytest.mark.parametrize("background", ["white", "none"])
def test_background(background: str) -> None:
    colors = SPACE.plot.colors(background)
    np.testing.assert_allclose(colors["cmap"](colors["norm"](0)), to_rgba(background))


def test_labels_in_memory_of_any_type() -> None:
    plane = xr.DataArray(np.array([[0, 385], [315, 4_000_000]], "i8"), dims=("y", "x"))
    shown = drawn(plane.plot(**SPACE.plot.colors())).reshape(2, 2, 4)
    colormap = SPACE.structure_tree.get_colormap()
    assert shown[0, 1, :3].tolist() == list(colormap[385])
    assert shown[1, 1, :3].tolist() == [255, 0, 255]
