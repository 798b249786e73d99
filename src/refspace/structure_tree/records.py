"""Records of structures: published forms are checked and turned into those that trees are built of.

Three forms are in use: flat records with a path (``"/997/8/"``) or a ``parent_structure_id``, as
the Allen Institute's query API serves them, and nested records with ``children``, as its structure
graph download has them.
"""

import operator
import reprlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, SupportsIndex

import numpy as np

from refspace.errors import OntologyError
from refspace.safe_text import has_surrogate
from refspace.types import MAX_LABEL

Record = dict[str, Any]

# Real ontologies are some ten levels deep. Without a bound, the paths of a hostile chain of n
# structures would take memory of n².
MAX_DEPTH = 100
_NAMED_OFFENDERS = 5


def structure_id(value: "str | SupportsIndex | None") -> int:
    """Check a structure id: an integer from 0 to 2**32 - 1, never a float.

    Raises
    ------
    OntologyError
        If it is not one.

    Examples
    --------
    >>> structure_id("997")
    997
    """
    # Of most: of a million ids, the checks below take twenty times as long.
    if type(value) is int and 0 <= value <= MAX_LABEL:
        return value
    try:
        if isinstance(value, str) and value.isascii() and value.strip().isdigit():
            checked = int(value)
        elif isinstance(value, bool | np.bool_):
            raise TypeError("a bool is no id")
        else:
            checked = operator.index(value)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise OntologyError(
            f"{reprlib.repr(value)} is not a structure id; ids are integers from 0 to {MAX_LABEL}, "
            "never floats"
        ) from error
    if not 0 <= checked <= MAX_LABEL:
        raise OntologyError(f"structure id {checked} is out of range; ids go from 0 to {MAX_LABEL}")
    return checked


def path_to_list(path: str | Iterable[Any]) -> list[int]:
    """Ids of a structure path, ``"/997/8/"`` or already a list.

    Examples
    --------
    >>> path_to_list("/997/8/")
    [997, 8]
    """
    if not isinstance(path, Iterable):
        raise OntologyError(f"{path!r} is not a structure path; give ids from the root down")
    parts = path.split("/") if isinstance(path, str) else path
    return [structure_id(_whole(part)) for part in parts if part != ""]


def _whole(value: Any) -> Any:
    """Turn a float without a fraction into an integer: tables write ids as ``997.0``."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def stated_path(record: Mapping[str, Any]) -> list[int]:
    """Path that a record states; empty if it states none."""
    path = record.get("structure_id_path")
    return [] if path is None else path_to_list(path)


def refuse_surrogates(records: Sequence[Record]) -> None:
    """Refuse texts with halves of characters: no file can hold them, so no table or store.

    Raises
    ------
    OntologyError
        If a structure has one.
    """
    # All at once: record by record takes ten times as long.
    texts = [value for record in records for value in record.values() if isinstance(value, str)]
    if not has_surrogate("".join(texts)):
        return
    for record in records:
        for field, value in record.items():
            refuse_surrogate(record["id"], field, value)


def refuse_surrogate(own: int, field: str, value: object) -> None:
    """Refuse a text of a structure that has half a character.

    Raises
    ------
    OntologyError
        If it has one.
    """
    if isinstance(value, str) and has_surrogate(value):
        raise OntologyError(
            f"structure {own} has {field} {reprlib.repr(value)}, of which a part is half a "
            "character (a lone surrogate), which no file can hold; write it anew"
        )


def as_record(node: object) -> Record:
    """Copy the record of a structure or a set; refuse anything that is no mapping."""
    if not isinstance(node, Mapping):
        raise OntologyError(f"{reprlib.repr(node)} is not a record; give dicts with an id each")
    return dict(node)


def elements(record: Mapping[str, Any], field: str) -> list[Any]:
    """Elements of a field that holds a list; an empty list if it is missing or null."""
    value = record.get(field)
    if value is None:
        return []
    # A text would be iterated letter by letter.
    if isinstance(value, str | Mapping) or not isinstance(value, Iterable):
        stated = f"structure {reprlib.repr(record.get('id'))} has {field} {reprlib.repr(value)}"
        raise OntologyError(f"{stated}; give a list")
    return list(value)


def hex_to_rgb(color: str | Iterable[float]) -> list[int]:
    """Red, green and blue of a hexadecimal colour, or of a triplet that is one already.

    Spreadsheets take ``019399`` for a number and write ``19399``: short colours are padded with
    zeros, unless a ``#`` shows that they were text all the time.

    Raises
    ------
    OntologyError
        If it is not a colour.

    Examples
    --------
    >>> hex_to_rgb("#019399"), hex_to_rgb("19399")
    ([1, 147, 153], [1, 147, 153])
    """
    try:
        if isinstance(color, str):
            text = color.strip()
            digits = text[1:] if text.startswith("#") else text and text.rjust(6, "0")
            red, green, blue = bytes.fromhex(digits)
        else:
            red, green, blue = bytes(map(_whole, color))
    except (TypeError, ValueError) as error:
        raise OntologyError(
            f"{reprlib.repr(color)} is not a colour; give six hexadecimal digits or three "
            "integers from 0 to 255"
        ) from error
    return [red, green, blue]


def flatten(roots: Iterable[Mapping[str, Any]]) -> list[Record]:
    """Flatten records nested by ``children`` into records with paths, in depth-first order.

    Raises
    ------
    OntologyError
        If they are nested deeper than any ontology.

    Examples
    --------
    >>> flat = flatten([{"id": 997, "children": [{"id": 8, "children": []}]}])
    >>> [record["structure_id_path"] for record in flat]
    [[997], [997, 8]]
    """
    # With a stack of its own: nesting as deep as JSON allows would exhaust that of Python.
    flat: list[Record] = []
    stack: list[tuple[Mapping[str, Any], list[int]]] = [(root, []) for root in roots]
    stack.reverse()
    while stack:
        nested, above = stack.pop()
        node = as_record(nested)
        path = [*above, structure_id(node.get("id"))]
        if len(path) > MAX_DEPTH:
            raise OntologyError(f"structures are nested deeper than {MAX_DEPTH} levels")
        stack += [(child, path) for child in elements(node, "children")][::-1]
        node.pop("children", None)
        flat.append({**node, "structure_id_path": path})
    return flat


def collect_sets(record: Mapping[str, Any]) -> list[int]:
    """Ids of the sets of a structure, sorted; a record states them as ids, as records, or both."""
    ids = elements(record, "structure_set_ids")
    ids += [as_record(item).get("id") for item in elements(record, "structure_sets")]
    return sorted(set(map(structure_id, ids)))


# Fields, new names and conversions of AllenSDK's `clean_structures`.
WHITELIST = (
    "acronym",
    "color_hex_triplet",
    "graph_id",
    "graph_order",
    "id",
    "name",
    "structure_id_path",
    "structure_set_ids",
)
RENAMES = {"color_hex_triplet": "rgb_triplet"}
TRANSFORMS: dict[str, Callable[[Any], Any]] = {
    "id": structure_id,
    "structure_id_path": path_to_list,
    "color_hex_triplet": hex_to_rgb,
}


def clean(
    records: Iterable[Mapping[str, Any]],
    fields: Collection[str],
    transforms: Mapping[str, Callable[[Any], Any]],
    renames: Mapping[str, str],
) -> list[Record]:
    """Keep some fields of each record, convert their values, then rename them.

    Null stays null: a field without a value.
    """
    # Records that are clean already have the new names, and pass unchanged.
    kept_as_is = set(renames.values())
    return [
        {
            renames.get(key, key): transforms[key](value)
            if key in transforms and value is not None
            else value
            for key, value in record.items()
            if key in fields or key in kept_as_is
        }
        for record in records
    ]


def parent_id(record: Mapping[str, Any]) -> int | None:
    """Id of the parent: from the path where there is one, else from ``parent_structure_id``."""
    path = stated_path(record)
    if path:
        return path[-2] if len(path) > 1 else None
    value = record.get("parent_structure_id")
    return None if value in (None, "") else structure_id(value)


def listing(offenders: Sequence[Any]) -> str:
    """List the first offenders, and the number of the others."""
    shown = ", ".join(map(str, offenders[:_NAMED_OFFENDERS]))
    more = len(offenders) - _NAMED_OFFENDERS
    return f"{shown} and {more} more" if more > 0 else shown
