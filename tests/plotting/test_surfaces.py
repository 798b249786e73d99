"""Surfaces: in their places, the right way round, in the structures' colours."""

import numpy as np
import pytest
from mpl_toolkits.mplot3d.art3d import Poly3DCollection
from mpl_toolkits.mplot3d.proj3d import proj_transform

import refspace
from refspace.errors import AnnotationError, StructureNotFoundError

SPACE = refspace.phantom(resolution=400)


def triangles(ax):
    (surface,) = (c for c in ax.collections if isinstance(c, Poly3DCollection))
    if hasattr(surface, "_faces"):
        return np.asarray(surface._faces)
    # Before matplotlib 3.11.
    return surface._vec[:3].T.reshape(-1, 3, 3)


def test_vertices_are_in_the_coordinates_of_the_space() -> None:
    ax = SPACE.plot.surface("TH", context=())
    found = triangles(ax).reshape(-1, 3)
    positions = SPACE.bounds("TH").positions
    for axis, dim in enumerate(("ml", "ap", "dv")):
        low, high = positions[dim]
        assert low - 200 <= found[:, axis].min() < low + 400
        assert high - 400 < found[:, axis].max() <= high + 200


@pytest.mark.parametrize(
    ("orientation", "frame"),
    [pytest.param("PIR", "PIR", marks=pytest.mark.slow), ("LPI", "LAS")],
)
def test_it_is_upright_and_not_mirrored(orientation: str, frame: str) -> None:
    space = SPACE.in_frame(frame).reorient(orientation)
    ax = space.plot.surface("VISp")
    ax.figure.canvas.draw()
    middle = space.centroid("TH")
    seen = {}
    for name, structure, side in (
        ("left", "VISp", "left"),
        ("right", "VISp", "right"),
        ("front", "MOB", "left"),
        ("back", "CB", "left"),
    ):
        where = space.hemisphere(side).centroid(structure)
        x, y, _ = proj_transform(*(where[dim] for dim in ("ml", "ap", "dv")), ax.get_proj())
        seen[name] = x, y
    x, y, _ = proj_transform(*(middle[dim] for dim in ("ml", "ap", "dv")), ax.get_proj())
    above = {**middle, "dv": space.centroid("Isocortex")["dv"]}
    _, top, _ = proj_transform(*(above[dim] for dim in ("ml", "ap", "dv")), ax.get_proj())
    # From the left and the front: the front is at the left, and so is the right side.
    assert seen["front"][0] < x < seen["back"][0]
    assert seen["right"][0] < seen["left"][0]
    assert top > y


def test_colours_are_shaded_and_the_brain_is_around() -> None:
    ax = SPACE.plot.surface(["TH", "VISp"])
    (surface,) = (c for c in ax.collections if isinstance(c, Poly3DCollection))
    colors = np.asarray(surface._facecolor3d)
    assert (colors[:, 3] < 0.1).any()
    opaque = colors[colors[:, 3] == 1]
    for acronym in ("TH", "VISp"):
        (node,) = SPACE.structure_tree.get_structures_by_acronym([acronym])
        base = np.array(node["rgb_triplet"]) / 255
        share = opaque[:, :3] @ base / (base @ base)
        is_it = np.abs(opaque[:, :3] - share[:, None] * base).max(axis=1) < 1e-6
        assert is_it.sum() > 50
        assert 0.4 < share[is_it].min() < share[is_it].max() <= 1 + 1e-9


@pytest.mark.slow
def test_coarser_voxels_have_fewer_triangles() -> None:
    fine = refspace.phantom(resolution=200)
    default, coarse = fine.plot.surface("TH"), fine.plot.surface("TH", resolution=400)
    assert len(triangles(coarse)) < len(triangles(default)) / 3
    again = fine.plot.surface("TH", resolution=400, ax=coarse)
    assert again is coarse


def test_what_cannot_be_drawn() -> None:
    with pytest.raises(StructureNotFoundError, match="did you mean"):
        SPACE.plot.surface("VISpp")
    with pytest.raises(AnnotationError, match="no voxels"):
        SPACE.plot.surface("retina")
