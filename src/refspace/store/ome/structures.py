"""Structures that a label image describes: read, checked, and made records of when asked for.

How they are written is said in `refspace.store.ome.labels`.
"""

import functools
import itertools
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from refspace.errors import FormatError, OntologyError
from refspace.safe_text import has_surrogate
from refspace.store.ome.images import is_label
from refspace.store.ome.values import json_array, json_object, ome_metadata
from refspace.structure_tree import StructureTree
from refspace.structure_tree.checked import LOOKED_UP, CheckedStructures
from refspace.structure_tree.colors import following_color
from refspace.structure_tree.numbering import Numbering
from refspace.types import MAX_LABEL

LABEL, PARENT, PATH = "label-value", "parent_structure_id", "structure_id_path"
OWN = "refspace"
"""Our own entry of the label image, with what no property can be."""

STATED = "refspace_stated"
"""Key of a colour that equals the one that would be made up."""

# Fields that a tree looks at itself.
_CHECKED_BY_TREE = ("children", "rgb_triplet")


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
    >>> from refspace.grid import Grid
    >>> from refspace.store.ome import label_attributes
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
        nested = _nested(properties, label.get(OWN, {}))
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
        fields = {field: _copied(value) for field, value in stated.items() if field != LABEL}
        text = str(structure)
        for name, values in self.nested.items():
            if text in values:
                fields[name] = _copied(values[text])
        node = {**fields, "id": structure, PATH: self.numbering.path(structure)}
        if PATH not in fields:
            del node[PARENT]
        color = self.colors.get(structure, {})
        if (rgba := color.get("rgba")) is not None:
            # Viewers need a colour of each structure, but one that follows is not stated by the
            # tree.
            follows = following_color({**fields, "id": structure})
            if rgba[:3] != follows or color.get(STATED) is True:
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
        labels = [entry.get(LABEL) for entry in entries]
        if _are_integers(labels, MAX_LABEL):
            by_label = dict(zip(labels, entries, strict=True))
            if len(by_label) == len(entries):
                return by_label
    return _by_label_one_by_one(entries, where)


def _by_label_one_by_one(entries: Sequence[Any], where: str) -> Mapping[int, Mapping[str, Any]]:
    by_label: dict[int, Mapping[str, Any]] = {}
    for i, entry in enumerate(entries):
        fields = json_object(entry, f"{where}[{i}]")
        label = fields.get(LABEL)
        if not _is_id(label):
            raise FormatError(
                f"{where}[{i}] has the {LABEL} {reprlib.repr(label)}; it must be an integer from "
                f"0 to {MAX_LABEL}"
            )
        if label in by_label:
            raise FormatError(f"{where} has the {LABEL} {label} more than once")
        by_label[label] = fields
    return by_label


def _nested(
    properties: Mapping[int, Mapping[str, Any]], entry: Any
) -> Mapping[str, Mapping[str, Any]]:
    """Lists and mappings, which stand beside the properties, of the fields of their labels."""
    where = f"image-label.{OWN}"
    by_text = {str(label): fields for label, fields in properties.items()}
    nested = json_object(entry, where)
    for name, values in nested.items():
        for label in json_object(values, f"{where}.{name}"):
            if label not in by_text or name in by_text[label] or name == LABEL:
                raise FormatError(
                    f"image-label.properties are damaged: {where} has {reprlib.repr(name)} of "
                    f"{reprlib.repr(label)}, which is no label, or has it already"
                )
    return nested


def _numbering(
    properties: Mapping[int, Mapping[str, Any]], nested: Mapping[str, Mapping[str, Any]]
) -> Numbering:
    """Numbering of structures, from the parents that they state."""
    paths, parents = (_stated(name, properties, nested) for name in (PATH, PARENT))
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
                f"image-label.properties are damaged: {PATH} of {structure} contradicts that of "
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
                f"image-label.properties are damaged: {PATH} of {structure} is "
                f"{reprlib.repr(path)}; it must be ids from the root down"
            )
        return path[-2] if len(path) > 1 else None
    parent = parents.get(structure, "missing")
    if parent is None or _is_id(parent):
        return parent
    raise FormatError(
        f"image-label.properties are damaged: {PARENT} of {structure} is {reprlib.repr(parent)}; "
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
