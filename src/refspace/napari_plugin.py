"""Plug-in of napari: it opens stores of refspace. napari finds it by ``napari.yaml``."""

import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any, TypeAlias

from refspace.errors import RefspaceError
from refspace.grid import Grid
from refspace.reference_space.opening import open
from refspace.samples import phantom
from refspace.store.location import Location
from refspace.store.zarr_files import ZARR_JSON
from refspace.types import PathLike
from refspace.verbs.napari import LayerData

Reader: TypeAlias = Callable[[PathLike | Sequence[PathLike]], list[LayerData]]

# Which way coordinates grow on the screen, where they grow towards these directions.
_ON_SCREEN = {"inferior": "down", "superior": "up", "right": "right", "left": "left"}


def get_reader(path: PathLike | Sequence[PathLike]) -> Reader | None:
    """Reader of a store that refspace wrote; None of anything else, which others may read.

    Parameters
    ----------
    path
        What napari is asked to open: a path or URL, or several.

    Examples
    --------
    >>> import tempfile
    >>> get_reader(tempfile.mkdtemp()) is None
    True
    """
    if isinstance(path, str | os.PathLike) and _is_own(os.fspath(path)):
        return read_layers
    return None


def read_layers(path: PathLike | Sequence[PathLike]) -> list[LayerData]:
    """Layers of a store, as `to_napari` makes them; an empty viewer is turned upright.

    Parameters
    ----------
    path
        Path or URL of the store.

    Raises
    ------
    RefspaceError
        As for `refspace.open`.

    Examples
    --------
    >>> import refspace, tempfile
    >>> url = tempfile.mkdtemp() + "/phantom.zarr"
    >>> refspace.phantom(resolution=200).to_zarr(url)
    >>> [kind for _, _, kind in read_layers(url)]
    ['labels']
    """
    assert isinstance(path, str | os.PathLike), "napari gives what it asked the reader of"
    space = open(path)
    _turn_upright(space.grid)
    return space.to_napari()


def demo() -> list[LayerData]:
    """Layers of the sample brain.

    Examples
    --------
    >>> [kind for _, _, kind in demo()]
    ['labels']
    """
    return phantom(resolution=100).to_napari()


def _is_own(url: str) -> bool:
    """Whether the metadata at the root of a store are of an annotation that refspace wrote."""
    with suppress(RefspaceError, ValueError, RecursionError, OSError):
        root = Location(url).read(ZARR_JSON)
        document = None if root is None else json.loads(root)
        attributes = document.get("attributes") if isinstance(document, dict) else None
        own = attributes.get("refspace") if isinstance(attributes, dict) else None
        return isinstance(own, dict) and own.get("kind") is None
    return False


def _turn_upright(grid: Grid) -> None:
    """Turn the camera of a viewer without layers so that superior is up, and left at the left."""
    viewer = _viewer()
    if viewer is None or len(viewer.layers):
        return
    vertical, horizontal = (_ON_SCREEN[grid.frame_direction(dim)] for dim in ("dv", "ml"))
    with suppress(AttributeError, ValueError):  # before napari 0.6
        viewer.camera.orientation2d = (vertical, horizontal)


def _viewer() -> Any:
    """Viewer that is open; None where there is none, or napari is not installed."""
    with suppress(ImportError, AttributeError):
        return import_module("napari").current_viewer()
    return None
