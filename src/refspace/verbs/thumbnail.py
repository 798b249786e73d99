"""A small picture of a space: one coronal plane of a coarse level, as a PNG within a URL."""

import base64
import math
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refspace.blockwise.identity import is_computed_in_memory
from refspace.types import BACKGROUND
from refspace.verbs.grids import reorient
from refspace.verbs.slices import MAGENTA
from refspace.verbs.space import Space

# Pixels across that are enough.
_WIDTH = 90
# Most bytes of blocks that a plane may cut in a store; of a whole volume in memory.
_MOST_CUT, _MOST_IN_MEMORY = 2**25, 2**26
# Most bytes of the URL.
_MOST_TEXT = 9_000


@dataclass(frozen=True)
class Thumbnail:
    """A picture of a coronal plane.

    Parameters
    ----------
    url
        The picture, as a ``data:`` URL.
    position
        Where the plane is along ap, in µm.
    """

    url: str
    position: float


def thumbnail(space: Space) -> Thumbnail | None:
    """Picture of the coronal plane in the middle; None where it would cost too much.

    It is cheap where a store on this machine has a coarse level, or the volume is small and in
    memory. Superior is at the top, left at the left, and what lies outside is transparent.

    Examples
    --------
    >>> import refspace
    >>> thumbnail(refspace.phantom(resolution=200)).position
    6700.0
    """
    level = _cheap_level(space)
    if level is None:
        return None
    upright = reorient(level, "PIR").annotation
    plane = upright.isel(ap=upright.sizes["ap"] // 2)
    # In this process: a cluster has better to do.
    labels = plane.compute(scheduler="synchronous").values
    pixels = colored(labels, space.structure_tree.get_colormap())
    url = data_url(pixels)
    while len(url) > _MOST_TEXT and max(pixels.shape) > 8:
        pixels = pixels[::2, ::2]
        url = data_url(pixels)
    return Thumbnail(url, float(plane.ap)) if len(url) <= _MOST_TEXT else None


def _cheap_level(space: Space) -> Space | None:
    """The coarsest level that is large enough to see, or else the largest that is cheap."""
    if space.url is None:
        is_small = space.annotation.nbytes <= _MOST_IN_MEMORY
        return space if is_small and is_computed_in_memory(space.annotation.data) else None
    if "://" in space.url and not space.url.startswith("file:"):
        return None
    # Of what was made of a store, like a part at another resolution, nothing is known.
    levels = [*space.levels[1:]] if space.volume.index is None else [*space.levels]
    cheap = [level for level in levels if _bytes_cut(level) <= _MOST_CUT]
    return next((level for level in reversed(cheap) if _width(level) >= _WIDTH), None) or (
        cheap[0] if cheap else None
    )


def _width(level: Space) -> int:
    return level.annotation.sizes["ml"]


def _bytes_cut(level: Space) -> int:
    """Bytes of the blocks that a coronal plane cuts, at most."""
    annotation = level.annotation
    axis = level.grid.axis("ap")
    cut = [max(s) if n == axis else sum(s) for n, s in enumerate(level.volume.chunks)]
    return math.prod(cut) * annotation.dtype.itemsize


def colored(labels: NDArray[Any], colormap: Mapping[int, Sequence[int]]) -> NDArray[np.uint8]:
    """Red, green, blue and opacity of labels; 0 is transparent.

    Examples
    --------
    >>> colored(np.array([[0, 8, 9]]), {8: (1, 2, 3)}).tolist()
    [[[0, 0, 0, 0], [1, 2, 3, 255], [255, 0, 255, 255]]]
    """
    ids, places = np.unique(labels, return_inverse=True)
    rows = [(*colormap.get(int(i), MAGENTA), 255) for i in ids]
    table = np.array(rows, np.uint8).reshape(-1, 4)
    table[ids == BACKGROUND] = 0
    picture: NDArray[np.uint8] = table[places.reshape(labels.shape)]
    return picture


def data_url(pixels: NDArray[np.uint8]) -> str:
    """PNG of pixels, of rows of red, green, blue and opacity, as a URL that holds it.

    It is written here, as no library that does is a dependency. Source of the format: W3C,
    "Portable Network Graphics (PNG) Specification".
    """
    height, width, _ = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    # Before each row a byte that says how it is filtered: not at all.
    rows = np.hstack([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)])
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b"")]
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"
