"""The gallery shows what its code draws."""

import importlib
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.image import imread

ROOT = Path(__file__).parents[2]


@pytest.fixture
def gallery(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    with mpl.rc_context():
        yield importlib.import_module("make_gallery")


def test_every_picture_is_there_and_after_a_block(gallery) -> None:
    page = gallery.PAGE.read_text(encoding="utf-8")
    shown = [picture for _, picture, _ in gallery.blocks(page) if picture]
    assert page.count("![") == len(shown) > 6
    here = {path.relative_to(ROOT / "docs").as_posix() for path in ROOT.glob("docs/gallery/*")}
    assert here == {*shown}


@pytest.mark.slow
def test_every_block_runs_and_draws_what_is_shown(gallery, tmp_path: Path) -> None:
    for path in gallery.run(gallery.PAGE, tmp_path):
        drawn, shown = (imread(p) for p in (path, ROOT / "docs" / path.relative_to(tmp_path)))
        # Of another version or font it may be a pixel larger; it is the same picture.
        assert np.abs(np.subtract(drawn.shape, shown.shape)).max() <= 4
        rows, columns = np.minimum(drawn.shape, shown.shape)[:2]
        difference = np.abs(drawn[:rows, :columns] - shown[:rows, :columns]).mean()
        assert difference < 0.05, path.name


def test_a_block_without_its_picture_is_an_error(gallery, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nimport matplotlib.pyplot as plt\nplt.figure()\n```\n\ntext\n")
    with pytest.raises(SystemExit, match="line 2: a picture is drawn, or shown, but not both"):
        gallery.run(page, tmp_path)
