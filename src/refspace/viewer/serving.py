"""What the server answers for each thing that is shown, and what neuroglancer calls its sources."""

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from refspace.errors import AnnotationError
from refspace.types import BACKGROUND
from refspace.verbs.space import Space
from refspace.verbs.values import StructureValues
from refspace.viewer.blocks import BlockCache
from refspace.viewer.colormap import css_gradient
from refspace.viewer.places import place_of
from refspace.viewer.points import Points
from refspace.viewer.segments import segment_properties, structures_json
from refspace.viewer.server import Answer, Server
from refspace.viewer.state import ImageLayer, ValuesLayer, mesh_source
from refspace.viewer.surfaces import Surfaces, can_mesh
from refspace.viewer.virtual_store import VirtualStore
from refspace.viewer.volumes import ShownImage, painted

_JSON = "application/json"


class Serving:
    """Adds to a server what is shown.

    Parameters
    ----------
    server
        The server.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._cache = BlockCache()

    def annotation(self, levels: Sequence[Space]) -> str:
        """Serve the annotation; the source of its voxels."""
        volumes = tuple(level.annotation for level in levels)
        return self._volume("annotation", VirtualStore("annotation", volumes, self._cache))

    def segments(self, space: Space) -> str:
        """Serve names of segments; their source."""
        info = json.dumps(segment_properties(space.structure_tree)).encode()
        self._server.add("segments", {"info": (info, _JSON)}.get)
        return f"{self._server.url}segments/|neuroglancer-precomputed:"

    def surfaces(self, levels: Sequence[Space]) -> list[dict[str, Any]]:
        """Serve surfaces of structures; their source, and none where they cannot be made."""
        if not can_mesh():
            return []
        self._server.add("surfaces", Surfaces(levels).get)
        url = f"{self._server.url}surfaces/|neuroglancer-precomputed:"
        return [mesh_source(url, levels[0].grid)]

    def image(self, number: int, image: ShownImage) -> ImageLayer:
        """Serve an image; its layer."""
        store = VirtualStore(image.name, image.levels, self._cache)
        return ImageLayer(image.name, self._volume(f"image{number}", store), image.contrast)

    def values(
        self,
        levels: Sequence[Space],
        values: StructureValues,
        limits: tuple[float, float] | None,
    ) -> ValuesLayer:
        """Serve values as an image that is painted chunk by chunk; its layer.

        Raises
        ------
        AnnotationError
            If the limits are none.
        """
        low, high = checked_limits(limits or values.limits)
        store = VirtualStore("values", painted(levels, values), self._cache)
        return ValuesLayer(self._volume("values", store), (low, high))

    def points(self, points: Points) -> str:
        """Serve points; their source."""
        self._server.add("points", points.get)
        return f"{self._server.url}points/|neuroglancer-precomputed:"

    def page(self, levels: Sequence[Space], about: Mapping[str, Any]) -> None:
        """Serve what the page shows beside the panes: structures, legend, where structures are."""
        space = levels[0]
        files: dict[str, Answer] = {
            "structures.json": (structures_json(space.structure_tree), _JSON),
            "about.json": (json.dumps(about).encode(), _JSON),
        }

        @functools.lru_cache(maxsize=1000)
        def place(structure: int) -> Answer:
            return json.dumps(place_of(levels, structure)).encode(), _JSON

        def answer(path: str) -> Answer | None:
            folder, _, number = path.partition("/")
            if folder == "place" and number.isascii() and number.isdigit() and len(number) < 11:
                is_known = int(number) != BACKGROUND and int(number) in space.structure_tree
                return place(int(number)) if is_known else None
            return files.get(path)

        self._server.add("page", answer)

    def _volume(self, name: str, store: VirtualStore) -> str:
        self._server.add(name, store.get)
        return f"{self._server.url}{name}/|zarr3:"


def about_page(
    title: str,
    space: Space,
    values: StructureValues | None,
    limits: tuple[float, float] | None,
    structures: Sequence[int],
    notes: Sequence[str],
) -> dict[str, Any]:
    """What the page says of the space: title, directions, legend, what is highlighted, notes."""
    frame = dict(zip(space.grid.frame_dims, space.grid.frame, strict=True))
    extent = dict(zip(space.grid.dims, space.grid.extent, strict=True))
    about: dict[str, Any] = {
        "title": title,
        "frame": frame,
        "extent": extent,
        "depth": max(space.grid.spacing),
        "structures": list(structures),
        "notes": [n for n in notes if n],
    }
    if values is not None and limits is not None:
        about["legend"] = {
            "label": values.label or "values",
            "low": f"{limits[0]:.4g}",
            "high": f"{limits[1]:.4g}",
            "gradient": css_gradient(),
        }
    return about


def checked_limits(limits: tuple[float, float]) -> tuple[float, float]:
    """Ends of a colour map as numbers.

    Raises
    ------
    AnnotationError
        If they are none, or the lower one is not below the other; equal ones are taken apart.

    Examples
    --------
    >>> checked_limits((2, 2)), checked_limits((0, 5))
    ((1.5, 2.5), (0.0, 5.0))
    """
    try:
        low, high = (float(limit) for limit in limits)
    except (TypeError, ValueError) as error:
        raise AnnotationError(f"limits are {limits!r}; give two numbers, like (0, 10)") from error
    if not (np.isfinite([low, high]).all() and low <= high):
        raise AnnotationError(
            f"limits are {low:g} and {high:g}; give two finite numbers, the lower one first"
        )
    return (low, high) if low < high else (low - 0.5, high + 0.5)
