"""Label images: geometry and ontology of an annotation as OME-Zarr has them.

Every structure is an entry of the image's ``properties``, with its fields as they are, but for
three that OME-Zarr has words for: ``id`` is the label-value, ``rgb_triplet`` a colour, and
``structure_id_path`` follows from ``parent_structure_id``. Where a structure has a field of that
name itself, it is kept as it is, and the path beside it.

Properties are single values: viewers make a column of each, and some refuse the whole image where a
value is a list. Lists and mappings, like the sets of a structure, stand beside the properties, in
an entry of our own, ``refspace``: for each field, its value of each label.
"""

import functools
import itertools
import math
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeGuard

import numpy as np

from refspace.errors import FormatError, GridError, OntologyError
from refspace.grid import Grid
from refspace.safe_text import has_surrogate
from refspace.store.ome.grids import ORIENTATIONS
from refspace.store.ome.images import is_label
from refspace.store.ome.values import json_array, json_object, ome_metadata
from refspace.structure_tree import StructureTree
from refspace.structure_tree.checked import LOOKED_UP, CheckedStructures
from refspace.structure_tree.colors import following_color, node_color
from refspace.structure_tree.numbering import Numbering
from refspace.types import BACKGROUND, MAX_LABEL

_LABEL, _PARENT, _PATH = "label-value", "parent_structure_id", "structure_id_path"
# Our own entry of the label image.
_OWN = "refspace"
# Fields that a tree looks at itself.
_CHECKED_BY_TREE = ("children", "rgb_triplet")

_METHODS = {"mode": "the most frequent label, the smallest of equals", "mean": "the mean"}
# Key of a colour that equals the one that would be made up.
_STATED = "refspace_stated"

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
            nested.setdefault(name, {})[str(entry[_LABEL])] = entry.pop(name)
    # Every structure is in both lists, with a colour or without: some readers demand it.
    described = {"colors": [_color(node) for node in nodes], "properties": fields}
    return described | ({_OWN: nested} if nested else {})


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
    color = {_LABEL: node["id"], "rgba": [*node_color(node), alpha]}
    # One that is stated, and by chance, or because it was made up before, the one that follows.
    is_stated = node.get("rgb_triplet") == following_color(node)
    return color | ({_STATED: True} if is_stated else {})


def _property(node: Mapping[str, Any]) -> dict[str, Any]:
    path = node[_PATH]
    kept: dict[str, Any] = {_LABEL: node["id"]}
    for field, value in node.items():
        if field in ("id", _PATH) or (field == "rgb_triplet" and value is not None):
            continue
        if field == _LABEL or not isinstance(field, str):
            raise OntologyError(
                f"structure {node['id']} has a field {field!r}; field names are texts, and "
                f"{_LABEL!r} is taken: rename it"
            )
        kept[field] = plain_value(
            value, f"structure {node['id']} has {field} {reprlib.repr(value)}"
        )
    if _PARENT in kept:
        return {**kept, _PATH: path}
    return {**kept, _PARENT: path[-2] if len(path) > 1 else None}


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


def nodes_from_label(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Structures that a label image describes, as `label_attributes` takes them.

    Parameters
    ----------
    attributes
        Attributes of the group of the label image, or their part that is OME-Zarr's.

    Returns
    -------
    list of dict
        A record of each structure, for `StructureTree`, in their order. None where the label image
        has no properties.

    Raises
    ------
    FormatError
        If it is no label image, or its properties are damaged or do not form a tree.

    Examples
    --------
    >>> nodes = [{"id": 8, "name": "grey", "rgb_triplet": [1, 2, 3], "structure_id_path": [8]}]
    >>> ome = label_attributes("annotation", [("s0", Grid((4, 4, 4), (25, 25, 25)))], nodes)
    >>> nodes_from_label({"ome": ome}) == nodes
    True
    """
    return [*LabelStructures.from_label(attributes).records().values()]


@dataclass(frozen=True, eq=False)
class LabelStructures:
    """Structures that a label image describes, checked; a record is made when it is asked for.

    Many trees may be made of one: they have nothing in common that could be changed.

    Parameters
    ----------
    properties
        Entry of each structure, by its id, in their order.
    colors
        Entries with colours, by id.
    nested
        Lists and mappings of structures, by the name of the field, and then by the text of the id.
    numbering
        Parents of the structures.
    """

    properties: Mapping[int, Mapping[str, Any]]
    colors: Mapping[int, Mapping[str, Any]]
    nested: Mapping[str, Mapping[str, Any]]
    numbering: Numbering

    @classmethod
    def from_label(cls, attributes: Mapping[str, Any]) -> "LabelStructures":
        """Structures of the attributes of a group, as `nodes_from_label` takes them.

        Raises
        ------
        FormatError
            As for `nodes_from_label`.
        """
        if not is_label(attributes):
            raise FormatError("the group has no 'image-label', so it is no label image")
        label = json_object(ome_metadata(attributes)["image-label"], "image-label")
        colors = _by_label(label.get("colors", []), "image-label.colors")
        properties = _by_label(label.get("properties", []), "image-label.properties")
        nested = _nested(properties, label.get(_OWN, {}))
        numbering = _numbering(properties, nested)
        _check_colors(properties, colors)
        return cls(properties, colors, nested, numbering)

    def __len__(self) -> int:
        return len(self.properties)

    def tree(self) -> StructureTree:
        """The structures as a tree.

        Raises
        ------
        OntologyError
            If they are none.
        """
        records = self.records()
        if not self._is_plain:
            return StructureTree(records.values())
        return StructureTree(CheckedStructures(self.numbering, records, self._texts))

    def records(self) -> "Mapping[int, dict[str, Any]]":
        """Record of each structure, which is made when it is looked up."""
        return _Records(self)

    def record(self, structure: int) -> dict[str, Any]:
        """Record of a structure, made anew."""
        stated = self.properties[structure]
        fields = {field: _copied(value) for field, value in stated.items() if field != _LABEL}
        text = str(structure)
        for name, values in self.nested.items():
            if text in values:
                fields[name] = _copied(values[text])
        node = {**fields, "id": structure, _PATH: self.numbering.path(structure)}
        if _PATH not in fields:
            del node[_PARENT]
        color = self.colors.get(structure, {})
        if (rgba := color.get("rgba")) is not None:
            # Viewers need a colour of each structure, but one that follows is not stated by the
            # tree.
            follows = following_color({**fields, "id": structure})
            if rgba[:3] != follows or color.get(_STATED) is True:
                node["rgb_triplet"] = rgba[:3]
        return node

    @functools.cached_property
    def _texts(self) -> dict[str, list[Any]]:
        entries = self.properties.values()
        return {field: [entry.get(field) for entry in entries] for field in LOOKED_UP}

    @functools.cached_property
    def _is_plain(self) -> bool:
        """Whether a tree of them needs no other checks than were made here."""
        entries = self.properties.values()
        fields = set(self.nested).union(*entries)
        if not fields.isdisjoint(_CHECKED_BY_TREE) or not self.nested.keys().isdisjoint(LOOKED_UP):
            return False
        if any(not set(map(type, self._texts[f])) <= {str, type(None)} for f in LOOKED_UP):
            return False
        values = itertools.chain(entries, self.nested.values())
        texts = [value for fields in values for value in fields.values() if type(value) is str]
        return not has_surrogate("".join(texts))


class _Records(Mapping[int, dict[str, Any]]):
    """Records of structures by id, each made when it is looked up, and then kept."""

    def __init__(self, structures: LabelStructures) -> None:
        self._structures = structures
        self._made: dict[int, dict[str, Any]] = {}

    def __getitem__(self, structure: int) -> dict[str, Any]:
        if structure not in self._made:
            # Of threads that make the same, all get the one that was first.
            self._made.setdefault(structure, self._structures.record(structure))
        return self._made[structure]

    def __iter__(self) -> Iterator[int]:
        return iter(self._structures.properties)

    def __len__(self) -> int:
        return len(self._structures.properties)


def _copied(value: Any) -> Any:
    """JSON value that has no list or mapping in common with another."""
    if isinstance(value, list):
        return [_copied(item) for item in value]
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return value


def _by_label(entries: Any, where: str) -> Mapping[int, Mapping[str, Any]]:
    """Entry of each label, in their order."""
    entries = json_array(entries, where)
    # All at once: one by one takes five times as long. What is wrong is looked for after that.
    if set(map(type, entries)) <= {dict}:
        labels = [entry.get(_LABEL) for entry in entries]
        if _are_integers(labels, MAX_LABEL):
            by_label = dict(zip(labels, entries, strict=True))
            if len(by_label) == len(entries):
                return by_label
    return _by_label_one_by_one(entries, where)


def _by_label_one_by_one(entries: Sequence[Any], where: str) -> Mapping[int, Mapping[str, Any]]:
    by_label: dict[int, Mapping[str, Any]] = {}
    for i, entry in enumerate(entries):
        fields = json_object(entry, f"{where}[{i}]")
        label = fields.get(_LABEL)
        if not _is_id(label):
            raise FormatError(
                f"{where}[{i}] has the {_LABEL} {reprlib.repr(label)}; it must be an integer from "
                f"0 to {MAX_LABEL}"
            )
        if label in by_label:
            raise FormatError(f"{where} has the {_LABEL} {label} more than once")
        by_label[label] = fields
    return by_label


def _nested(
    properties: Mapping[int, Mapping[str, Any]], entry: Any
) -> Mapping[str, Mapping[str, Any]]:
    """Lists and mappings, which stand beside the properties, of the fields of their labels."""
    where = f"image-label.{_OWN}"
    by_text = {str(label): fields for label, fields in properties.items()}
    nested = json_object(entry, where)
    for name, values in nested.items():
        for label in json_object(values, f"{where}.{name}"):
            if label not in by_text or name in by_text[label] or name == _LABEL:
                raise FormatError(
                    f"image-label.properties are damaged: {where} has {reprlib.repr(name)} of "
                    f"{reprlib.repr(label)}, which is no label, or has it already"
                )
    return nested


def _numbering(
    properties: Mapping[int, Mapping[str, Any]], nested: Mapping[str, Mapping[str, Any]]
) -> Numbering:
    """Numbering of structures, from the parents that they state."""
    paths, parents = (_stated(name, properties, nested) for name in (_PATH, _PARENT))
    above = [parents.get(structure, "missing") for structure in properties]
    if paths or not _are_integers([p for p in above if p is not None], MAX_LABEL):
        above = [_parent(structure, parents, paths) for structure in properties]
    try:
        numbering = Numbering.from_parents([*properties], above)
    except OntologyError as error:
        raise FormatError(f"image-label.properties are damaged: {error}") from error
    for structure in properties:
        if structure in paths and paths[structure] != numbering.path(structure):
            raise FormatError(
                f"image-label.properties are damaged: {_PATH} of {structure} contradicts that of "
                "its parent"
            )
    return numbering


def _stated(
    name: str, properties: Mapping[int, Mapping[str, Any]], nested: Mapping[str, Mapping[str, Any]]
) -> dict[int, Any]:
    """Values of a field, of those structures that have it."""
    values = {structure: fields[name] for structure, fields in properties.items() if name in fields}
    return values | {int(text): value for text, value in nested.get(name, {}).items()}


def _parent(structure: int, parents: Mapping[int, Any], paths: Mapping[int, Any]) -> int | None:
    if structure in paths:
        path = paths[structure]
        if not (isinstance(path, list) and path and all(map(_is_id, path))):
            raise FormatError(
                f"image-label.properties are damaged: {_PATH} of {structure} is "
                f"{reprlib.repr(path)}; it must be ids from the root down"
            )
        return path[-2] if len(path) > 1 else None
    parent = parents.get(structure, "missing")
    if parent is None or _is_id(parent):
        return parent
    raise FormatError(
        f"image-label.properties are damaged: {_PARENT} of {structure} is {reprlib.repr(parent)}; "
        "it must be an id, or null for a root"
    )


def _check_colors(
    properties: Mapping[int, Mapping[str, Any]], colors: Mapping[int, Mapping[str, Any]]
) -> None:
    """Refuse what is no colour, of a structure."""
    stated = {structure: color.get("rgba") for structure, color in colors.items()}
    given = [rgba for rgba in stated.values() if rgba is not None]
    if (
        set(map(type, given)) <= {list}
        and set(map(len, given)) <= {4}
        and _are_integers([*itertools.chain.from_iterable(given)], 255)
    ):
        return
    for structure in properties:
        rgba = stated.get(structure)
        if rgba is not None and not (
            isinstance(rgba, list) and len(rgba) == 4 and all(_is_integer(n, 255) for n in rgba)
        ):
            raise FormatError(
                f"image-label.colors are damaged: rgba of {structure} is {reprlib.repr(rgba)}; it "
                "must be four integers from 0 to 255"
            )


def _is_id(value: object) -> TypeGuard[int]:
    return _is_integer(value, MAX_LABEL)


def _is_integer(value: object, largest: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= largest


def _are_integers(values: Sequence[Any], largest: int) -> bool:
    """Whether all values are such integers, in a fraction of the time of one after the other."""
    if set(map(type, values)) <= {int}:
        return not values or (min(values) >= 0 and max(values) <= largest)
    return False
