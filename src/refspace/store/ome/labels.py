"""Label images: geometry and ontology of an annotation as OME-Zarr has them.

Every structure is an entry of the image's ``properties``, with its fields as they are, but for
three that OME-Zarr has words for: ``id`` is the label-value, ``rgb_triplet`` a colour, and
``structure_id_path`` follows from ``parent_structure_id``. Where a structure has a field of that
name itself, it is kept as it is, and the path beside it.

Properties are single values: viewers make a column of each, and some refuse the whole image where a
value is a list. Lists and mappings, like the sets of a structure, stand beside the properties, in
an entry of our own, ``refspace``: for each field, its value of each label.
"""

import math
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from refspace.errors import GridError, OntologyError
from refspace.grid import Grid
from refspace.store.ome.grids import ORIENTATIONS
from refspace.store.ome.structures import LABEL, OWN, PARENT, PATH, STATED
from refspace.structure_tree.colors import following_color, node_color
from refspace.types import BACKGROUND

_METHODS = {"mode": "the most frequent label, the smallest of equals", "mean": "the mean"}

# Extra fields are flat, or nearly so; the bound ends a list that contains itself.
_MAX_NESTING = 50


def label_attributes(
    name: str,
    levels: Sequence[tuple[str, Grid]],
    nodes: Sequence[Mapping[str, Any]],
    *,
    template: Sequence[tuple[str, Grid]] = (),
    hemispheres: Sequence[tuple[str, Grid]] = (),
) -> dict[str, Any]:
    """Metadata of an annotation as an OME-Zarr 0.5 label image: the value of the key ``ome``.

    Parameters
    ----------
    name
        Name of the annotation.
    levels
        Path and grid of each level of the annotation, the finest first.
    nodes
        Structures as `StructureTree.nodes` gives them.
    template, hemispheres
        Path and grid of each level of these, where there are any: further images.

    Returns
    -------
    dict
        Plain JSON values.

    Raises
    ------
    OntologyError
        If a field of a structure is nothing that JSON carries as it is.
    GridError
        If the levels of an image have different orientations.

    Examples
    --------
    >>> nodes = [{"id": 8, "name": "grey", "rgb_triplet": [1, 2, 3], "structure_id_path": [8]}]
    >>> ome = label_attributes("annotation", [("s0", Grid((4, 4, 4), (25, 25, 25)))], nodes)
    >>> ome["image-label"]["properties"]
    [{'label-value': 8, 'name': 'grey', 'parent_structure_id': None}]
    >>> ome["multiscales"][0]["axes"][0]["orientation"]
    {'type': 'anatomical', 'value': 'anterior-to-posterior'}
    """
    images = [image_metadata(name, levels)]
    if template:
        images.append(image_metadata("template", template, method="mean"))
    if hemispheres:
        images.append(image_metadata("hemispheres", hemispheres))
    label = {"version": "0.5", **_described(nodes)}
    return {"version": "0.5", "multiscales": images, "image-label": label}


def _described(nodes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Structures as entries of a label image."""
    if not nodes:
        return {}
    fields = [_property(node) for node in nodes]
    nested: dict[str, dict[str, Any]] = {}
    for entry in fields:
        for name in [name for name, value in entry.items() if isinstance(value, list | dict)]:
            nested.setdefault(name, {})[str(entry[LABEL])] = entry.pop(name)
    # Every structure is in both lists, with a colour or without: some readers demand it.
    described = {"colors": [_color(node) for node in nodes], "properties": fields}
    return described | ({OWN: nested} if nested else {})


def image_metadata(
    name: str,
    levels: Sequence[tuple[str, Grid]],
    *,
    method: Literal["mode", "mean"] = "mode",
    axis_names: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Entry of ``multiscales`` of a volume.

    Parameters
    ----------
    name
        Name of the image.
    levels
        Path and grid of each level, the finest first.
    method
        How each level is made of the one before.
    axis_names
        Names of the axes; those of the grid if not given.

    Raises
    ------
    GridError
        If the levels have different orientations.
    """
    grid = levels[0][1]
    codes = {level.orientation for _, level in levels}
    if len(codes) > 1:
        raise GridError(f"levels of {name!r} have the orientations {sorted(codes)}; give them one")
    return {
        "name": name,
        "type": method,
        "metadata": {"description": f"each voxel is {_METHODS[method]} of those it replaces"},
        "axes": axes_metadata(grid, axis_names),
        "datasets": [
            {"path": path, "coordinateTransformations": transformations(level)}
            for path, level in levels
        ],
    }


def axes_metadata(grid: Grid, names: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Axes of space of an image on a grid, called as its dims if no names are given."""
    grid = _as_stored(grid)
    return [
        {
            "name": name,
            "type": "space",
            "unit": "micrometer",
            "orientation": {"type": "anatomical", "value": ORIENTATIONS[letter]},
        }
        for name, letter in zip(names or grid.dims, grid.orientation, strict=True)
    ]


def transformations(grid: Grid) -> list[dict[str, Any]]:
    """Where the voxels of a grid are."""
    grid = _as_stored(grid)
    # Centres as `Grid.coordinates` computes them, to the last digit.
    centre = [o + 0.5 * s for o, s in zip(grid.origin, grid.spacing, strict=True)]
    return [
        {"type": "scale", "scale": list(grid.spacing)},
        {"type": "translation", "translation": centre},
    ]


def _as_stored(grid: Grid) -> Grid:
    """Grid in the frame of its orientation: positions in OME-Zarr grow with the index."""
    return grid.in_frame(grid.orientation)


def _color(node: Mapping[str, Any]) -> dict[str, Any]:
    # Outside is 0, whatever structure has it as its id: it is transparent.
    alpha = 0 if node["id"] == BACKGROUND else 255
    color = {LABEL: node["id"], "rgba": [*node_color(node), alpha]}
    # One that is stated, and by chance, or because it was made up before, the one that follows.
    is_stated = node.get("rgb_triplet") == following_color(node)
    return color | ({STATED: True} if is_stated else {})


def _property(node: Mapping[str, Any]) -> dict[str, Any]:
    path = node[PATH]
    kept: dict[str, Any] = {LABEL: node["id"]}
    for field, value in node.items():
        if field in ("id", PATH) or (field == "rgb_triplet" and value is not None):
            continue
        if field == LABEL or not isinstance(field, str):
            raise OntologyError(
                f"structure {node['id']} has a field {field!r}; field names are texts, and "
                f"{LABEL!r} is taken: rename it"
            )
        kept[field] = plain_value(
            value, f"structure {node['id']} has {field} {reprlib.repr(value)}"
        )
    if PARENT in kept:
        return {**kept, PATH: path}
    return {**kept, PARENT: path[-2] if len(path) > 1 else None}


def plain_value(value: object, what: str, depth: int = 0) -> Any:
    """Value that JSON gives back as one that is equal.

    Raises
    ------
    OntologyError
        If there is none; the message begins with what it is.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, list) and depth < _MAX_NESTING:
        return [plain_value(item, what, depth + 1) for item in value]
    if isinstance(value, dict) and depth < _MAX_NESTING and all(isinstance(k, str) for k in value):
        return {key: plain_value(item, what, depth + 1) for key, item in value.items()}
    if not _is_carried(value):
        raise OntologyError(
            f"{what}, which JSON does not carry as it is; use texts, finite numbers of 64 bits, "
            "lists, and dicts of texts"
        )
    return value


def _is_carried(value: Any) -> bool:
    if isinstance(value, int):  # or bool
        return -(2**63) <= value < 2**64
    if isinstance(value, str):  # half of a surrogate pair is no character
        return not any("\ud800" <= letter <= "\udfff" for letter in value)
    return value is None or (isinstance(value, float) and math.isfinite(value))
