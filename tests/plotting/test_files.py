"""Figures in files: in the size of print, with texts as texts, whole or not at all."""

import functools
import struct
from pathlib import Path

import pytest
from helpers.pictures import plain_style, spotted

import refspace
from refspace.plotting.canvas import paper_figure, round_length
from refspace.plotting.files import save_figure

SPACE = refspace.phantom(resolution=400)


def figure_of(position, width=None):
    return paper_figure(width, lambda figure: SPACE.plot.slice("coronal", position, ax=figure))


@pytest.mark.parametrize(
    ("position", "width", "expected"),
    [(7000, None, 89), ([4000, 7000], None, 180), ([4000, 7000, 9000], 60, 60)],
)
def test_width_is_that_of_print(tmp_path: Path, position, width, expected) -> None:
    figure = figure_of(position, width)
    save_figure(tmp_path / "a.png", figure)
    pixels = struct.unpack(">II", (tmp_path / "a.png").read_bytes()[16:24])
    assert pixels[0] == int(expected / 25.4 * 300)
    # As high as it must be: what is drawn fills most of it.
    box = figure.get_tightbbox()
    assert box.y0 >= 0
    assert box.y1 <= figure.get_figheight()
    assert box.height > figure.get_figheight() - 0.3
    assert box.x0 >= 0
    assert box.x1 <= figure.get_figwidth()


def test_texts_stay_texts(tmp_path: Path) -> None:
    path = tmp_path / "a.svg"
    with plain_style():
        plot = functools.partial(SPACE.plot.slice, structures="Isocortex")
        save_figure(path, paper_figure(180, lambda figure: plot(ax=figure)))
    text = path.read_text()
    assert ">coronal, ap = " in text
    assert ">Isocortex<" in text
    save_figure(tmp_path / "a.pdf", figure_of(7000))
    pdf = (tmp_path / "a.pdf").read_bytes()
    assert b"/Type3" not in pdf
    assert b"/FontFile2" in pdf


def test_voxels_are_not_resampled_in_vector_files(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    save_figure(path, figure_of(7000))
    rows, columns = SPACE.grid.shape[1:]
    images = path.read_bytes()
    assert b"/Width %d" % columns in images
    assert b"/Height %d" % rows in images


def test_failed_picture_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "slice.png"
    path.write_bytes(b"old")
    with pytest.raises(refspace.RefspaceError, match="outside the volume"):
        save_figure(path, paper_figure(None, lambda f: spotted("PIR").plot.slice(0, 5000, ax=f)))
    with pytest.raises(refspace.RefspaceError, match=r"does not end in \.eps"):
        save_figure(tmp_path / "slice.nonsense", figure_of(7000))
    assert path.read_bytes() == b"old"
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize(
    ("most", "expected"), [(1, 1), (1.99, 1), (2, 2), (4999, 2000), (0.07, 0.05), (5e6, 5e6)]
)
def test_scale_bars_are_of_round_lengths(most: float, expected: float) -> None:
    assert round_length(most) == pytest.approx(expected)
