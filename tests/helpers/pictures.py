"""Small volumes whose pictures are known, and what a figure shows."""

from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib as mpl
import numpy as np
from matplotlib.patches import PathPatch

import refspace
from refspace.labels import labelled
from refspace.plotting.artists import RegionNames

TREE = refspace.StructureTree(
    [
        {"id": 1, "acronym": "root", "structure_id_path": [1], "rgb_triplet": [9, 9, 9]},
        {"id": 2, "acronym": "spot", "structure_id_path": [1, 2], "rgb_triplet": [255, 0, 0]},
    ]
)
GRID = refspace.Grid((4, 5, 6), (100, 200, 300))


def spotted(orientation: str, frame: str = "PIR") -> refspace.ReferenceSpace:
    """One voxel of 'spot' at the posterior superior right corner of a volume."""
    labels = np.ones(GRID.shape, "u4")
    labels[3, 0, 5] = 2
    grid = GRID.reorient(orientation)
    flips = tuple(slice(None, None, -1 if o not in "PIR" else 1) for o in orientation)
    data = labelled(labels, GRID).transpose(*grid.dims).values[flips]
    return refspace.ReferenceSpace(TREE, labelled(data, grid)).in_frame(frame)


def fill(ax):
    """Image of the colours of axes: the one above the underlay."""
    return max(ax.get_images(), key=lambda image: image.zorder)


def pixels(ax):
    """Colours of axes as they stand in the picture: rows from the top, columns from the left."""
    image = fill(ax)
    array = image.get_array()
    left, right, bottom, top = image.get_extent()
    assert image.origin == "lower"
    assert left < right
    assert bottom < top
    if ax.get_ylim()[0] < ax.get_ylim()[1]:
        array = array[::-1]
    return array if ax.get_xlim()[0] < ax.get_xlim()[1] else array[:, ::-1]


def lines_of(ax):
    """Ends of the lines that are drawn around regions, for each drawing of them; their widths."""
    patches = [p for p in ax.get_children() if isinstance(p, PathPatch) and not p.get_hatch()]
    return [
        (patch.get_path().vertices.reshape(-1, 2, 2), patch.get_linewidth()) for patch in patches
    ]


def hatched(ax):
    """Drawings of what is hatched."""
    return [p for p in ax.get_children() if isinstance(p, PathPatch) and p.get_hatch()]


def names_of(ax):
    """The artist that writes names of regions; None where there is none."""
    return next((artist for artist in ax.get_children() if isinstance(artist, RegionNames)), None)


@contextmanager
def plain_style() -> Iterator[None]:
    """The defaults of matplotlib, whatever the machine has."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams["backend"] = "agg"
        yield
