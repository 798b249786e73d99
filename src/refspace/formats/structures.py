"""Structures from files: JSON and CSV of the Allen Institute and BrainGlobe, tables of labels."""

import csv
import io
import json
import os
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from refspace.errors import FormatError, OntologyError
from refspace.formats import label_tables
from refspace.limits import check_limit, limit
from refspace.remote.objects import read_url
from refspace.structure_tree import StructureTree
from refspace.types import PathLike

# Columns of BrainGlobe's terminology.csv, and the fields that they become.
_BRAINGLOBE_COLUMNS = {
    "abbreviation": "acronym",
    "name": "name",
    "color_hex_triplet": "color_hex_triplet",
}


def read_structures(path: PathLike) -> StructureTree:
    """Read a structure tree.

    Parameters
    ----------
    path
        Path or URL (anything that fsspec opens) of one of: the Allen Institute's structure graph
        download (nested JSON), its query API's structures, with sets (flat JSON), a list of
        cleaned structures (JSON), its structures as CSV, or BrainGlobe's ``terminology.csv``. Or a
        table that names labels, each of which becomes a structure of its own, but 0, the
        background: a label description of ITK-SNAP, a colour table of FreeSurfer, or CSV or TSV
        with the columns id (or index, value, label), name, and optionally acronym (abbreviation),
        red, green, blue (r, g, b) or color, parent. Where there is no acronym, the name serves as
        one, and where there is no colour, one is made up, the same every time.

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
    FileNotFoundError
        If there is no such file.
    RemoteError
        If it cannot be read from where it is.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile("w", suffix=".json", delete=False) as file:
    ...     _ = file.write('[{"id": 997, "acronym": "root", "structure_id_path": "/997/"}]')
    >>> read_structures(file.name).resolve("root")
    [997]
    """
    url = os.fspath(path)
    # The largest published ontology has some MB. Of a larger file, nothing is parsed.
    return parse_structures(read_url(url, limit=limit("ontology_bytes")), url)


def parse_structures(data: bytes, name: str) -> StructureTree:
    """Parse the content of a file of any form that `read_structures` reads.

    Parameters
    ----------
    data
        Content of the file.
    name
        Name of the file in errors.
    """
    try:
        return StructureTree(StructureTree.clean_structures(_records(_text(data))))
    except (FormatError, OntologyError) as error:
        raise type(error)(f"{name}: {error}") from error


def _text(data: bytes) -> str:
    check_limit("ontology_bytes", len(data), f"it has {len(data)} bytes or more")
    try:
        # Spreadsheets begin their files with a byte order mark.
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(
            "not text in UTF-8; give a JSON or CSV file, or a table of labels"
        ) from error


def _records(text: str) -> list[dict[str, Any]]:
    if text.lstrip()[:1] in ("{", "["):
        return _json_records(text)
    if label_tables.is_line_table(text):
        return label_tables.read_line_table(text)
    return _csv_records(text)


def _json_records(text: str) -> list[dict[str, Any]]:
    try:
        # Python's parser takes duplicate keys and NaN, which JSON does not have, without an error.
        content = json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_no_constant)
    except FormatError:
        raise
    except ValueError as error:
        raise FormatError(f"not valid JSON: {error}") from error
    except RecursionError as error:
        raise FormatError("nested too deeply for an ontology") from error
    # The envelope of the Allen API, whose msg is a text where success is not true.
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
        delimiter = label_tables.detect_delimiter(text)
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
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
    elif label_tables.is_column_table(columns):
        records = label_tables.read_column_table(text)
    else:
        raise FormatError(
            f"columns are {', '.join(sorted(columns)) or 'missing'}; a table of structures has id "
            "and structure_id_path or parent_structure_id (or, where it names labels, id, index, "
            "value or label and name), or identifier and parent_identifier"
        )
    if not records:
        raise FormatError("holds no structures, only the names of columns")
    return records


def _allen_record(row: Mapping[str, str]) -> dict[str, Any]:
    """Record of a row: empty cells are missing fields, and numeric fields become integers."""
    convert: dict[str, Callable[[str], Any]] = {"graph_id": int, "graph_order": int}
    try:
        record: dict[str, Any] = {
            key: convert.get(key, str)(value) for key, value in row.items() if value != ""
        }
    except ValueError as error:
        raise FormatError(f"structure {row['id']}: {error}") from error
    return {"parent_structure_id": None, **record}


def _brainglobe_records(rows: list[dict[str, str]]) -> list[dict[str, Any]]:
    """Records of BrainGlobe's rows, with the value of their voxels as id.

    Parents are named by ``identifier``, which may differ from ``annotation_value``.
    """
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
