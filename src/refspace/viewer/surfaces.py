"""Surfaces of structures for the pane of three dimensions, made when they are asked for."""

import functools
import importlib.util
import json
import re
from collections.abc import Sequence

from refspace.formats.meshes.neuroglancer import encode_fragment, neuroglancer_info
from refspace.types import BACKGROUND
from refspace.verbs.grids import with_index
from refspace.verbs.meshes import mesh
from refspace.verbs.space import Space

_PATH = re.compile(r"(\d{1,10})(:0|\.mesh)")
# Surfaces are of the finest level with no more voxels than these.
_MOST_VOXELS = 2**22
_KEPT = 2000


def can_mesh() -> bool:
    """Whether the library that finds surfaces is installed."""
    return importlib.util.find_spec("skimage") is not None


class Surfaces:
    """Meshes of labels in neuroglancer's format.

    Parameters
    ----------
    levels
        The space at several resolutions, the finest first.
    """

    def __init__(self, levels: Sequence[Space]) -> None:
        small = [level for level in levels if level.annotation.size <= _MOST_VOXELS]
        self._level = small[0] if small else levels[-1]
        self._fragment = functools.lru_cache(maxsize=_KEPT)(self._made)

    def get(self, path: str) -> tuple[bytes, str] | None:
        """Content of a path, and its media type; None if there is nothing."""
        if path == "info":
            return neuroglancer_info(), "application/json"
        match = _PATH.fullmatch(path)
        if match is None:
            return None
        label = int(match[1])
        if label == BACKGROUND or label not in self._level.structure_tree:
            return None
        # A structure that has voxels in its parts alone has no surface of its own.
        has_voxels = self._counts.get(label, 0) > 0
        if match[2] == ":0":
            fragments = [f"{label}.mesh"] if has_voxels else []
            return json.dumps({"fragments": fragments}).encode(), "application/json"
        return (self._fragment(label), "application/octet-stream") if has_voxels else None

    @functools.cached_property
    def _indexed(self) -> Space:
        return with_index(self._level)

    @property
    def _counts(self) -> dict[int, int]:
        return dict(self._indexed.volume.label_counts)

    def _made(self, label: int) -> bytes:
        return encode_fragment(mesh(self._indexed, label, direct_only=True))
