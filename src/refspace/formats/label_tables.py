"""Tables that name the labels of an image, read as structures without a hierarchy.

Three forms are in use: label descriptions of ITK-SNAP (``IDX R G B A VIS MSH "LABEL"``), colour
tables of FreeSurfer (``id name R G B A``), and tables with named columns, like BIDS's ``dseg.tsv``.
"""

import colorsys
import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from refspace.errors import FormatError, OntologyError
from refspace.structure_tree.records import hex_to_rgb
from refspace.types import BACKGROUND, MAX_LABEL

_ITKSNAP = re.compile(
    r"(?P<id>\d+)\s+(?P<red>\d+)\s+(?P<green>\d+)\s+(?P<blue>\d+)\s+(?P<alpha>[\d.eE+-]+)"
    r'\s+[01]\s+[01]\s+"(?P<name>.*)"'
)
_ID_COLUMNS = ("id", "index", "value", "label")
_NAME_COLUMNS = ("name", "label")
_ACRONYM_COLUMNS = ("acronym", "abbreviation")
_RGB_COLUMNS = (("red", "green", "blue"), ("r", "g", "b"))
_HEX_COLUMNS = ("color", "colour", "color_hex_triplet")
_PARENT_COLUMNS = ("parent", "parent_id", "parent_structure_id")
# Multiples of the golden ratio spread evenly over the circle of hues, whatever their number.
_GOLDEN_RATIO = 0.618033988749895
_ALLOWED_COLUMNS = (
    "id, index, value or label; name; and, if it has them, acronym or abbreviation; red, green and "
    "blue, or r, g and b, or color; parent"
)

Row = Mapping[str, str]
"""Cells by column."""


def is_line_table(text: str) -> bool:
    r"""Whether a text is a table of ITK-SNAP or FreeSurfer: lines that begin with a number.

    Examples
    --------
    >>> is_line_table('# labels\n 1 255 0 0 1 1 1 "Cortex"'), is_line_table("index,name\n1,Left")
    (True, False)
    """
    first = next((line for _, line in _lines(text)), "")
    return re.match(r"\d+\s+\S", first) is not None


def read_line_table(text: str) -> list[dict[str, Any]]:
    """Read the structures of a table of ITK-SNAP or FreeSurfer.

    Raises
    ------
    FormatError
        If a line has another form, or two lines have the same label.

    Examples
    --------
    >>> read_line_table('1 255 0 0 1 1 1 "Cortex"')[0]["name"]
    'Cortex'
    >>> read_line_table("1 Left-Cortex 255 0 0 0")[0]["color_hex_triplet"]
    [255, 0, 0]
    """
    lines = list(_lines(text))
    # Only ITK-SNAP quotes names.
    parse, form = _freesurfer, "id name R G B A"
    if any('"' in line for _, line in lines):
        parse, form = _itksnap, 'IDX R G B A VIS MSH "LABEL"'
    rows = []
    for line_number, line in lines:
        row = parse(line)
        if row is None:
            raise FormatError(f"line {line_number} is {line[:80]!r}; lines are {form}")
        rows.append((line_number, row))
    return _records(rows)


def _itksnap(line: str) -> Row | None:
    match = _ITKSNAP.fullmatch(line)
    return None if match is None else match.groupdict()


def _freesurfer(line: str) -> Row | None:
    # From the right: FreeSurfer writes names without spaces, but other programs do not.
    head, *colour = line.rsplit(maxsplit=4)
    label, *name = head.split(maxsplit=1)
    if not name or not all(map(str.isdecimal, (label, *colour))):
        return None
    return dict(zip(("id", "name", "red", "green", "blue"), (label, *name, *colour), strict=False))


def _lines(text: str) -> Iterable[tuple[int, str]]:
    """Lines that are neither blank nor comments, and their numbers."""
    for line_number, line in enumerate(text.splitlines(), 1):
        if (stripped := line.strip()) and not stripped.startswith("#"):
            yield line_number, stripped


# ----- with named columns


def detect_delimiter(text: str) -> str:
    r"""Delimiter of the columns of a table: a tab if its first line has one, else a comma.

    Examples
    --------
    >>> detect_delimiter("index\tname\n1\tCortex, left")
    '\t'
    """
    return "\t" if "\t" in text.lstrip().partition("\n")[0] else ","


def is_column_table(columns: Iterable[str]) -> bool:
    """Whether the names of columns are those of a table of labels.

    Examples
    --------
    >>> is_column_table(["index", "name"]), is_column_table(["name", "colour"])
    (True, False)
    """
    return None not in _keys(columns)


def read_column_table(text: str) -> list[dict[str, Any]]:
    r"""Read the structures of a table with named columns.

    Raises
    ------
    FormatError
        If columns are missing, or a cell is not what its column should hold.

    Examples
    --------
    >>> read_column_table("index,name,r,g,b\n7,Cortex,255,0,0")[0]["id"]
    7
    """
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=detect_delimiter(text), strict=True
    )
    head = [name.strip().lower() for name in next(reader)]
    id_key, name_key = _keys(head)
    if id_key is None or name_key is None:
        raise FormatError(
            f"columns are {', '.join(head)}; a table of labels has {_ALLOWED_COLUMNS}"
        )
    rows = []
    for cells in reader:
        if not any(cells):
            continue
        if len(cells) != len(head):
            raise FormatError(
                f"line {reader.line_num} has {len(cells)} cells; the header has {len(head)} columns"
            )
        row = dict(zip(head, (cell.strip() for cell in cells), strict=True))
        rows.append((reader.line_num, _standard_names(row, id_key, name_key)))
    return _records(rows)


def _keys(columns: Iterable[str]) -> tuple[str | None, str | None]:
    """Columns of the ids and of the names.

    A column ``label`` holds names where another one holds the ids, and else the ids.
    """
    present = {column.strip().lower() for column in columns}
    id_key = next((key for key in _ID_COLUMNS if key in present), None)
    name_key = next((key for key in _NAME_COLUMNS if key in present and key != id_key), None)
    return id_key, name_key


def _standard_names(row: Row, id_key: str, name_key: str) -> dict[str, str]:
    """Cells of a row by the names that `_record` reads, whatever its columns are called."""
    named = {"id": row[id_key], "name": row[name_key]}
    columns = {"acronym": _ACRONYM_COLUMNS, "hex": _HEX_COLUMNS, "parent": _PARENT_COLUMNS}
    for name, keys in columns.items():
        named[name] = next((row[key] for key in keys if row.get(key)), "")
    for keys in _RGB_COLUMNS:
        if set(keys) <= row.keys():
            named |= {
                name: row[key] for name, key in zip(("red", "green", "blue"), keys, strict=True)
            }
    return named


# ----- rows


def _records(rows: Sequence[tuple[int, Row]]) -> list[dict[str, Any]]:
    """Records of structures; each is a root, unless it names a parent."""
    seen: dict[int, int] = {}
    records: list[dict[str, Any]] = []
    for line_number, row in rows:
        label = _whole(line_number, "label", row["id"], MAX_LABEL)
        if label in seen:
            raise FormatError(
                f"line {line_number}: label {label} is on line {seen[label]} already; "
                "give each once"
            )
        seen[label] = line_number
        if label != BACKGROUND:
            records.append(_record(line_number, label, row, len(records)))
    if not records:
        raise FormatError("names no label but the background")
    return records


def _record(line_number: int, label: int, row: Row, order: int) -> dict[str, Any]:
    if not row["name"]:
        raise FormatError(f"line {line_number}: label {label} has no name; give it one")
    parent = row.get("parent")
    # Tables write 0, the background, where there is no parent.
    above = _whole(line_number, "parent", parent, MAX_LABEL) if parent else BACKGROUND
    return {
        "id": label,
        "name": row["name"],
        "acronym": row.get("acronym") or row["name"],
        "parent_structure_id": above or None,
        "graph_order": order,
        "color_hex_triplet": _colour(line_number, row) or _make_colour(order),
    }


def _colour(line_number: int, row: Row) -> list[int] | None:
    if row.get("hex"):
        try:
            return hex_to_rgb(row["hex"])
        except OntologyError as error:
            raise FormatError(f"line {line_number}: {error}") from error
    parts = [row.get(name, "") for name in ("red", "green", "blue")]
    return [_whole(line_number, "colour", part, 255) for part in parts] if any(parts) else None


def _make_colour(order: int) -> list[int]:
    """Make a colour for a structure without one, unlike those of its neighbours in the table."""
    hue, saturation = order * _GOLDEN_RATIO % 1, (0.55, 0.75, 0.95)[order % 3]
    return [round(255 * part) for part in colorsys.hsv_to_rgb(hue, saturation, 0.9)]


def _whole(line_number: int, what: str, text: str, most: int) -> int:
    # At most ten digits: parsing takes time with the square of their number.
    if not re.fullmatch("[0-9]{1,10}", text) or int(text) > most:
        raise FormatError(f"line {line_number}: {what} is {text[:40]!r}; it must be 0 to {most}")
    return int(text)
