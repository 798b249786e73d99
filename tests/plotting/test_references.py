"""Figures look as they did when they were last looked at.

Texts are left out: fonts differ between machines and versions. To change a reference, delete it,
run the tests, which write it and fail, and look at it.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.pictures import names_of
from matplotlib.figure import Figure
from matplotlib.testing.compare import compare_images
from matplotlib.text import Text

import refspace

SPACE = refspace.phantom(resolution=400)
REFERENCES = Path(__file__).with_name("references")
# Root mean square of differences, of 255: matplotlib 3.10 and 3.11 put edges of voxels a pixel
# apart, which makes up to 14.
_TOLERANCE = 16
VALUES = pd.DataFrame(
    {"left": [1, 2, -3, 2], "right": [2.5, np.nan, -1, 0]}, ["Isocortex", "VISp", "TH", "CP"]
)
CELLS = np.random.default_rng(3).normal((6500, 3000, 4500), (900, 600, 900), (300, 3))


def smooth_template():
    """Intensities that vary within the brain."""
    along = [np.sin(np.arange(n) / 3) for n in SPACE.grid.shape]
    waves = along[0][:, None, None] + along[1][:, None] + along[2]
    return SPACE.annotation.copy(data=waves)


def axes_of(count):
    """Axes at places that do not depend on the size of letters."""
    figure = Figure(figsize=(2.5 * count, 2.2))
    edges = np.linspace(0, 0.9, count + 1)
    return [figure.add_axes((left, 0.1, 0.9 / count - 0.01, 0.8)) for left in edges[:-1]]


def draw_slice():
    return SPACE.plot.slice("coronal", 7000, outline="TH", ax=axes_of(1))


def draw_structures():
    names, template = ["Isocortex", "HPF", "TH"], smooth_template()
    return SPACE.plot.slice("sagittal", structures=names, template=template, ax=axes_of(1))


def draw_panels():
    return SPACE.plot.slice("horizontal", [2000, 4000, 6000], ax=axes_of(3))[0]


def draw_frame():
    space = SPACE.in_frame("LPS").reorient("RIP").hemisphere("left")
    return space.plot.slice("coronal", structures="VISp", ax=axes_of(1))


def draw_heatmap():
    return SPACE.plot.heatmap(VALUES, "coronal", [5100, 7300, 9000], ax=axes_of(3))[0]


def draw_points():
    style = {"thickness": 600, "c": CELLS[:, 1], "ax": axes_of(1)}
    return SPACE.plot.points(CELLS, "horizontal", 3000, **style)


def draw_surface():
    return SPACE.plot.surface(["HPF", "TH"])


FIGURES = {
    "slice": draw_slice,
    "structures": draw_structures,
    "panels": draw_panels,
    "frame": draw_frame,
    "heatmap": draw_heatmap,
    "points": draw_points,
    "surface": draw_surface,
}
SLOW = ("panels", "surface", "structures", "points")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in FIGURES]
)
def test_figure_is_as_it_was(name: str, tmp_path: Path) -> None:
    ax = FIGURES[name]()
    figure = ax.figure
    for text in figure.findobj(Text):
        text.set_alpha(0)
    for axes in figure.axes:
        if (names := names_of(axes)) is not None:
            names.set_visible(False)
    drawn, reference = tmp_path / f"{name}.png", REFERENCES / f"{name}.png"
    figure.savefig(drawn, dpi=72)
    if not reference.exists():
        reference.parent.mkdir(exist_ok=True)
        reference.write_bytes(drawn.read_bytes())
        pytest.fail(f"wrote {reference.name}: look at it")
    assert reference.stat().st_size < 60_000
    assert compare_images(str(reference), str(drawn), _TOLERANCE) is None


def test_references_are_of_figures() -> None:
    assert {path.stem for path in REFERENCES.glob("*.png")} == {*FIGURES}
