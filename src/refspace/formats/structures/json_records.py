"""Structures in JSON: flat or nested records, alone or in the envelope of a server."""

import json
import reprlib
from collections import Counter
from collections.abc import Mapping
from typing import Any, NoReturn

from refspace.errors import FormatError, OntologyError
from refspace.formats.structures.cells import Places, RecordColumns
from refspace.formats.structures.tables import Table
from refspace.structure_tree.records import MAX_DEPTH, as_record, elements

# Keys under which documents hold their structures: of the Allen Institute's API, of tools that use
# it, and of parcellations in siibra.
_ENVELOPES = ("msg", "data", "structures", "regions", "nodes", "labels")
_LONGEST_ERROR = 200


def read_json(text: str) -> Table:
    """Read structures in JSON.

    Raises
    ------
    FormatError
        If it is damaged, holds no records, or is a server's report of failure.
    OntologyError
        If records are nested deeper than any ontology, or in what is no list.

    Examples
    --------
    >>> table = read_json('{"msg": [{"id": 997, "children": [{"id": 8}]}]}')
    >>> table.columns["id"], table.above, table.where[1]
    ([997, 8], [None, 0], 'record 2')
    """
    records = _records(_parsed(text))
    if not (isinstance(records, list) and records and all(isinstance(r, dict) for r in records)):
        raise FormatError("holds no list of structures; give structures or a structure graph")
    flat, above = records, None
    if any("children" in record for record in records):
        flat, above = _flattened(records)
    columns = RecordColumns(flat)
    where = Places("record", range(1, len(flat) + 1))
    return Table(list(columns), columns, where, above, are_keys=True)


def _loads(text: str) -> Any:
    # Python's parser takes duplicate keys and NaN, which JSON does not have, without an error.
    return json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_no_constant)


def _json_lines(text: str) -> list[Any] | None:
    """Records of which each is a line; None if it is no such file."""
    lines = [line for line in text.split("\n") if line.strip()]
    if len(lines) < 2 or not all(line.rstrip().endswith("}") for line in lines):
        return None
    try:
        return [_loads(line) for line in lines]
    except ValueError:
        return None


def _parsed(text: str) -> Any:
    try:
        return _loads(text)
    except FormatError:
        raise
    except ValueError as error:
        if (lines := _json_lines(text)) is not None:
            return lines
        raise FormatError(f"not valid JSON: {error}") from error
    except RecursionError as error:
        raise FormatError("nested too deeply for an ontology") from error


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        twice = next(key for key, count in counts.items() if count > 1)
        raise FormatError(f"a structure has the field {twice[:40]!r} twice")
    return fields


def _no_constant(text: str) -> NoReturn:
    raise FormatError(f"holds {text}, which is no JSON number")


def _records(content: Any) -> Any:
    """The records of a document, without what they are wrapped in."""
    # As deep as envelopes are known to be: a list of a server in that of a tool.
    for _ in range(3):
        if not isinstance(content, dict):
            break
        # An answer of the Allen Institute's API has an id too.
        if "msg" in content:
            _refuse_failure(content)
        elif "children" in content or "id" in content:
            break
        if str(content.get("@type", "")).startswith("siibra/"):
            return _siibra(content)
        inner = [content[key] for key in _ENVELOPES if isinstance(content.get(key), list | dict)]
        if not inner:
            return _by_label(content)
        content = inner[0]
    return [content] if isinstance(content, dict) else content


def _refuse_failure(content: Mapping[str, Any]) -> None:
    """Refuse the answer of a server that did not do what it was asked for."""
    message = content["msg"]
    if content.get("success") in (True, None) and not isinstance(message, str):
        return
    if content.get("success") is True:
        raise FormatError("holds no list of structures, but a message of a server")
    text = message if isinstance(message, str) else reprlib.repr(message)
    raise FormatError(f"the server reported a failure: {text[:_LONGEST_ERROR]}")


def _by_label(content: Mapping[str, Any]) -> list[Any]:
    """Records of a mapping from labels to names, or to records; else the mapping as a record."""
    if not content or not all(key.isascii() and key.isdigit() for key in content):
        return [content]
    named = [{"name": value} if isinstance(value, str) else value for value in content.values()]
    if not all(isinstance(record, dict) for record in named):
        return [content]
    return [{"id": key} | record for key, record in zip(content, named, strict=True)]


def _siibra(content: Mapping[str, Any]) -> Any:
    """Records of a document of siibra: the regions of a parcellation, or the labels of a map."""
    if not isinstance(indices := content.get("indices"), dict):
        regions = content.get("regions")
        if isinstance(regions, list) and not _has_labels(regions):
            raise FormatError(
                "a parcellation of siibra that states no labels; give the map of it, whose indices "
                "name them"
            )
        return regions
    named = [
        (entry.get("label"), str(name).removesuffix(f" - {entry.get('fragment')}"))
        for name, entries in indices.items()
        for entry in elements({"id": name, "indices": entries}, "indices")
        if isinstance(entry, dict)
    ]
    # Both hemispheres of a region may have one label.
    return [{"id": label, "name": name} for label, name in dict.fromkeys(named)]


def _has_labels(regions: list[Any]) -> bool:
    """Whether any region, or region within, has a label."""
    stack = list(regions)
    while stack:
        region = stack.pop()
        if isinstance(region, dict):
            if any(region.get(key) is not None for key in ("labelIndex", "id")):
                return True
            children = region.get("children")
            stack += children if isinstance(children, list) else []
    return False


def _flattened(
    records: list[Mapping[str, Any]],
) -> tuple[list[Mapping[str, Any]], list[int | None] | None]:
    """Records and those within them, in depth-first order, and the position of what holds each.

    There are no positions where no record holds another.
    """
    # With a stack of its own: nesting as deep as JSON allows would exhaust that of Python.
    flat: list[Mapping[str, Any]] = []
    above: list[int | None] = []
    stack: list[tuple[Mapping[str, Any], int | None, int]] = []
    stack += [(record, None, 1) for record in reversed(records)]
    while stack:
        nested, holder, depth = stack.pop()
        if depth > MAX_DEPTH:
            raise OntologyError(f"structures are nested deeper than {MAX_DEPTH} levels")
        record = as_record(nested)
        children = elements(record, "children")
        record.pop("children", None)
        stack += [(child, len(flat), depth + 1) for child in children][::-1]
        flat.append(record)
        above.append(holder)
    return flat, above if any(holder is not None for holder in above) else None
