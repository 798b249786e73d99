"""Chromium for tests of the viewer: its pages, its pixels, and every request that it makes."""

import importlib
import io
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from numpy.typing import NDArray

PICTURES = "REFSPACE_PICTURES"
_FLAGS = (
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
)
_SECONDS = 30
_SIZE = {"width": 900, "height": 640}
# What lies over the panes, beside the pixels of the brain.
_BARE = """
.refspace-sides, .neuroglancer-data-panel-layout-controls { visibility: hidden !important; }
"""
_READY = "body[data-ready=yes]"
_PANES = """
() => [...viewer.display.panels].filter((p) => p.sliceView).map((p) => {
  const { x, y, width, height } = p.element.getBoundingClientRect();
  const texts = [...p.element.querySelectorAll('.refspace-sides > span')];
  const sides = Object.fromEntries(texts.map((t) => [t.dataset.at, t.textContent]));
  return { x, y, width, height, sides };
})
"""
_PLACE = """
() => {
  const { navigationState } = viewer;
  const names = navigationState.coordinateSpace.value.names;
  const at = [...navigationState.position.value];
  return {
    zoom: navigationState.zoomFactor.value,
    position: Object.fromEntries(names.map((name, i) => [name, at[i]])),
  };
}
"""


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser, without a window; the test is skipped where there is none."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("chromium is not installed")
    try:
        api = importlib.import_module("playwright.sync_api")
    except ImportError:
        pytest.skip("playwright is not installed")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[*_FLAGS])
        yield browser
        browser.close()


class ViewerPage:
    """A page of the viewer that is open.

    Parameters
    ----------
    browser
        The browser.
    url
        URL of the page.
    """

    def __init__(self, browser: Any, url: str) -> None:
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.page = browser.new_page(viewport=_SIZE)
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(url)
        self.page.wait_for_selector(_READY, timeout=1000 * _SECONDS)
        self.frame = self.page.frames[1]

    @property
    def hosts(self) -> set[str]:
        """Hosts of this network or another that were asked for anything."""
        parts = [urlsplit(url) for url in self.requests]
        return {part.netloc for part in parts if part.scheme not in ("data", "blob")}

    @property
    def panes(self) -> list[dict[str, Any]]:
        """Coronal, sagittal and horizontal pane: where they are in the frame, and their sides."""
        found: list[dict[str, Any]] = self.frame.evaluate(_PANES)
        by_plane = {pane["sides"]["plane"].split()[0]: pane for pane in found}
        return [by_plane[plane] for plane in ("coronal", "horizontal", "sagittal")]

    @property
    def place(self) -> dict[str, Any]:
        """Position in µm along each axis, and µm per pixel."""
        found: dict[str, Any] = self.frame.evaluate(_PLACE)
        return found

    def bare(self) -> None:
        """Hide what lies over the panes."""
        self.frame.add_style_tag(content=_BARE)
        self.frame.evaluate("viewer.showScaleBar.value = false")

    def pixels(self) -> NDArray[np.uint8]:
        """What the frame with the panes shows: rows, columns, red green blue."""
        from PIL import Image

        picture = self.page.locator("#view").screenshot()
        return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))

    def keep_picture(self, name: str) -> None:
        """Keep a picture of the page, where CI names a folder for it."""
        if folder := os.environ.get(PICTURES):
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=Path(folder, f"{name}.png"))

    def close(self) -> None:
        """Close it."""
        self.page.close()


def until(differ: Callable[[], Any], seconds: float = _SECONDS) -> Any:
    """What a comparison finds, once it finds no difference, or when the time is over."""
    deadline = time.monotonic() + seconds
    while found := differ():
        if time.monotonic() > deadline:
            break
        time.sleep(0.15)
    return found
