"""Structures from the files in which ontologies are published: JSON and CSV."""

import csv
import io
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import fsspec
from fsspec.implementations.local import LocalFileSystem

from refspace.errors import FormatError, OntologyError
from refspace.files import replacing
from refspace.structure_tree import StructureTree

# The largest published ontology is some MB. A hostile file is not read beyond this.
_LARGEST_FILE = 256 * 2**20

# Columns of BrainGlobe's terminology.csv and what they are here.
_BRAINGLOBE_COLUMNS = {
    "abbreviation": "acronym",
    "name": "name",
    "color_hex_triplet": "color_hex_triplet",
}


def read_structures(path: str | os.PathLike[str]) -> StructureTree:
    """Read a structure tree.

    Parameters
    ----------
    path
        Path or URL (anything that fsspec opens) of one of: the Allen Institute's structure graph
        download (nested JSON), its query API's structures, with sets (flat JSON), a list of
        cleaned structures (JSON), its structures as CSV, or BrainGlobe's ``terminology.csv``.

    Returns
    -------
    StructureTree
        The structures, cleaned, in the order of the file.

    Raises
    ------
    FormatError
        If the file is none of these, is damaged, or is a server's report of failure.
    OntologyError
        If its structures do not form a tree.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile("w", suffix=".json", delete=False) as file:
    ...     _ = file.write('[{"id": 997, "acronym": "root", "structure_id_path": "/997/"}]')
    >>> read_structures(file.name).resolve("root")
    [997]
    """
    text = _read_text(path)
    try:
        records = _json_records(text) if text.lstrip()[:1] in ("{", "[") else _csv_records(text)
        return StructureTree(StructureTree.clean_structures(records))
    except (FormatError, OntologyError) as error:
        raise type(error)(f"{os.fspath(path)}: {error}") from error


def _read_text(path: str | os.PathLike[str]) -> str:
    data = _read_bytes(os.fspath(path))
    if len(data) > _LARGEST_FILE:
        raise FormatError(f"{path}: larger than {_LARGEST_FILE >> 20} MiB; no ontology is")
    try:
        # Spreadsheets begin their files with a byte order mark.
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: not text in UTF-8; give a JSON or CSV file") from error


def _read_bytes(path: str) -> bytes:
    # A local file may have a name that fsspec would take for a chain of URLs.
    source = LocalFileSystem() if Path(path).exists() else None
    try:
        with source.open(path) if source else fsspec.open(path, "rb") as file:
            data: bytes = file.read(_LARGEST_FILE + 1)
    except OSError:
        raise
    except Exception as error:  # whatever the file system's own library raises
        raise FormatError(f"{path}: cannot be read: {error}") from error
    return data


def _json_records(text: str) -> list[dict[str, Any]]:
    try:
        content = json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_no_constant)
    except FormatError:
        raise
    except ValueError as error:
        raise FormatError(f"not valid JSON: {error}") from error
    except RecursionError as error:
        raise FormatError("nested too deeply for an ontology") from error
    if isinstance(content, dict) and "msg" in content:
        if content.get("success") is not True:
            raise FormatError(f"the server reported a failure: {content['msg']}")
        content = content["msg"]
    if isinstance(content, dict):
        content = [content]
    if not (isinstance(content, list) and content and all(isinstance(r, dict) for r in content)):
        raise FormatError("holds no list of structures; give structures or a structure graph")
    return content


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise FormatError(f"a structure has the field {twice!r} twice")
    return fields


def _no_constant(text: str) -> NoReturn:
    raise FormatError(f"holds {text}, which is no JSON number")


def _csv_records(text: str) -> list[dict[str, Any]]:
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        rows = list(reader)
    except csv.Error as error:
        raise FormatError(f"not valid CSV: {error}") from error
    columns = set(reader.fieldnames or ())
    if any(None in row or None in row.values() for row in rows):
        raise FormatError("rows have more or fewer cells than the header has columns")
    if {"identifier", "parent_identifier"} <= columns:
        records = _brainglobe_records(rows)
    elif "id" in columns and columns & {"structure_id_path", "parent_structure_id"}:
        records = [_allen_record(row) for row in rows]
    else:
        raise FormatError(
            f"columns are {', '.join(sorted(columns)) or 'missing'}; a table of structures has id "
            "and structure_id_path or parent_structure_id, or identifier and parent_identifier"
        )
    if not records:
        raise FormatError("holds no structures, only the names of columns")
    return records


def _allen_record(row: Mapping[str, str]) -> dict[str, Any]:
    """Record of a row: empty cells are missing fields, and numbers are numbers."""
    numbers: dict[str, Callable[[str], Any]] = {"graph_id": int, "graph_order": int}
    try:
        record: dict[str, Any] = {
            key: numbers.get(key, str)(value) for key, value in row.items() if value != ""
        }
    except ValueError as error:
        raise FormatError(f"structure {row['id']}: {error}") from error
    return {"parent_structure_id": None, **record}


def _brainglobe_records(rows: list[dict[str, str]]) -> list[dict[str, Any]]:
    """Records of BrainGlobe's rows, known by the value that their voxels hold."""
    ids = {row["identifier"]: row.get("annotation_value") or row["identifier"] for row in rows}
    return [
        {
            "id": ids[row["identifier"]],
            "parent_structure_id": ids.get(row["parent_identifier"], row["parent_identifier"]),
            "graph_order": order,
            **{
                field: row[column]
                for column, field in _BRAINGLOBE_COLUMNS.items()
                if row.get(column)
            },
        }
        for order, row in enumerate(rows)
    ]


def write_structures(path: str | os.PathLike[str], tree: StructureTree) -> None:
    """Write a structure tree as a JSON list of cleaned structures.

    Parameters
    ----------
    path
        Local file to write; it appears only when it is complete.
    tree
        The structures.

    Examples
    --------
    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/structures.json"
    >>> write_structures(path, StructureTree([{"id": 997, "structure_id_path": [997]}]))
    >>> read_structures(path).node_ids()
    [997]
    """
    lines = ",\n".join(json.dumps(node, ensure_ascii=False) for node in tree.nodes())
    with replacing(path) as temporary:
        temporary.write_text(f"[\n{lines}\n]\n", encoding="utf-8", newline="\n")
