"""Figures look as they did when they were last looked at.

Texts are left out: fonts differ between machines and versions. To change a reference, delete it,
run the tests, which write it and fail, and look at it.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.pictures import names_of
from matplotlib.testing.compare import compare_images
from matplotlib.text import Text

import refspace

SPACE = refspace.phantom(resolution=400)
REFERENCES = Path(__file__).with_name("references")
# Root mean square of differences, of 255.
_TOLERANCE = 4
VALUES = pd.DataFrame(
    {"left": [1, 2, -3, 2], "right": [2.5, np.nan, -1, 0]}, ["Isocortex", "VISp", "TH", "CP"]
)
CELLS = np.random.default_rng(3).normal((6500, 3000, 4500), (900, 600, 900), (300, 3))


def smooth_template():
    """Intensities that vary within the brain."""
    along = [np.sin(np.arange(n) / 3) for n in SPACE.grid.shape]
    waves = along[0][:, None, None] + along[1][:, None] + along[2]
    return SPACE.annotation.copy(data=waves)


FIGURES = {
    "slice": lambda: SPACE.plot.slice("coronal", 7000, outline="TH"),
    "structures": lambda: SPACE.plot.slice(
        "sagittal", structures=["Isocortex", "HPF", "TH"], template=smooth_template()
    ),
    "panels": lambda: SPACE.plot.slice("horizontal", [2000, 3000, 4000, 5000, 6000])[0],
    "frame": lambda: SPACE.in_frame("LPS").reorient("RIP").plot.slice("coronal", structures="VISp"),
    "heatmap": lambda: SPACE.plot.heatmap(VALUES, "coronal", [5100, 7300, 9000])[0],
    "points": lambda: SPACE.plot.points(CELLS, "horizontal", 3000, thickness=600, c=CELLS[:, 1]),
    "surface": lambda: SPACE.plot.surface(["HPF", "TH"]),
}


SLOW = ("panels", "surface", "structures", "points")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in FIGURES]
)
def test_figure_is_as_it_was(name: str, tmp_path: Path) -> None:
    ax = FIGURES[name]()
    figure = ax.figure
    figure.draw_without_rendering()
    # Where texts are is kept; they themselves are not drawn.
    figure.set_layout_engine("none")
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
