"""Pictures: what is up is up, and pixels lie where their voxels do."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import LineCollection

import refspace
from refspace.labels import labelled
from refspace.plotting import plot_slice, save_slice

TREE = refspace.StructureTree(
    [
        {"id": 1, "acronym": "root", "structure_id_path": [1], "rgb_triplet": [9, 9, 9]},
        {"id": 2, "acronym": "spot", "structure_id_path": [1, 2], "rgb_triplet": [255, 0, 0]},
    ]
)


def spotted(orientation: str) -> refspace.ReferenceSpace:
    """One voxel of 'spot' at the posterior superior right corner of a volume."""
    labels = np.ones((4, 5, 6), "u4")
    labels[3, 0, 5] = 2
    grid = refspace.Grid(labels.shape, (100, 200, 300))
    space = labelled(labels, grid)
    turned = grid.reorient(orientation)
    flips = tuple(slice(None, None, -1 if o not in "PIR" else 1) for o in orientation)
    data = space.transpose(*turned.dims).values[flips]
    return refspace.ReferenceSpace(TREE, labelled(data, turned))


@pytest.mark.parametrize("orientation", ["PIR", "ASR", "RAS", "LPI"])
@pytest.mark.parametrize(("axis", "index"), [("ap", 3), ("dv", 0), ("ml", 5)])
def test_superior_and_anterior_are_up(orientation: str, axis: str, index: int) -> None:
    space = spotted(orientation)
    plane = space.make_structure_mask("spot").any([d for d in space.grid.dims if d != axis])
    position = float(plane[axis][int(plane.values.argmax())])
    ax = plot_slice(space, axis, position)
    (image,) = ax.get_images()
    pixels = np.asarray(image.get_array())
    row = np.argwhere((pixels == [255, 0, 0]).all(axis=-1))[0, 0]
    _, _, bottom, top = image.get_extent()
    y = top + (row + 0.5) / pixels.shape[0] * (bottom - top)
    lower, upper = ax.get_ylim()
    height = (y - lower) / (upper - lower)
    # Superior is up; in a horizontal slice anterior is, and the spot is posterior.
    assert height < 0.5 if axis == "dv" else height > 0.5


def test_coordinates_are_millimetres() -> None:
    ax = plot_slice(spotted("PIR"), "dv", 50)
    (image,) = ax.get_images()
    assert image.get_extent() == pytest.approx([0, 1.8, 0.4, 0])
    assert ax.get_title() == "horizontal, dv = 0.05 mm"
    assert ax.get_xlabel() == "ml [mm] → right"


def test_borders_and_outline_run_along_pixel_edges() -> None:
    ax = plot_slice(spotted("PIR"), "dv", 50, outline="spot")
    borders, outline = (c for c in ax.collections if isinstance(c, LineCollection))
    # The corner pixel has two inner edges: above it and left of it.
    expected = {((1.5, 0.3), (1.8, 0.3)), ((1.5, 0.3), (1.5, 0.4))}
    for lines in (borders, outline):
        drawn = {tuple(map(tuple, np.round(s, 9).tolist())) for s in lines.get_segments()}
        assert drawn == expected


def test_failed_picture_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "slice.png"
    path.write_bytes(b"old")
    with pytest.raises(refspace.RefspaceError, match="outside the volume"):
        save_slice(path, spotted("PIR"), "dv", 5000)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
