"""Structures in tables with named columns: CSV, TSV, with semicolons, or Parquet."""

import csv
import io
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from refspace.errors import FormatError
from refspace.formats import tables
from refspace.formats.structures import fields, line_tables
from refspace.formats.structures.tables import Row, Table

_DELIMITERS = (";", ",")
# Columns of tables without names, by how many there are.
_UNNAMED = {
    2: ("id", "name"),
    5: ("id", "name", "red", "green", "blue"),
    6: ("id", "name", "red", "green", "blue", "alpha"),
}


class _Header(NamedTuple):
    """The line that names the columns, and the text that follows it, after some lines."""

    line: str
    rest: str
    before: int


def read_parquet(data: bytes) -> Table:
    """Read structures in a Parquet file.

    Raises
    ------
    FormatError
        If it is damaged, or holds more than an ontology.
    MissingDependencyError
        If pyarrow is not installed.

    Examples
    --------
    >>> import pandas as pd
    >>> data = tables.parquet_bytes(pd.DataFrame({"id": [8], "name": ["grey"]}), lambda _: None)
    >>> read_parquet(data).rows[0].values
    {'id': 8, 'name': 'grey'}
    """
    names, records = tables.parquet_records(data)
    rows = [Row(f"row {number}", record) for number, record in enumerate(records, 1)]
    return Table(names, rows)


def read_column_table(text: str) -> Table:
    r"""Read structures in a table of text; its first line, or a comment above it, names columns.

    Raises
    ------
    FormatError
        If it is damaged, or names no columns.

    Examples
    --------
    >>> read_column_table("# made by us\nidx;name\n7;Cortex\n").rows[0].values
    {'idx': '7', 'name': 'Cortex'}
    """
    header = _header(text)
    delimiter = _delimiter(header.line)
    # Names may have blanks, which only tables of lines can tell from those between columns.
    is_of_lines = delimiter == " " and line_tables.is_line_table(header.rest)
    if is_of_lines and line_tables.plain_words(header.line):
        return _shifted(line_tables.read_line_table(header.rest, header.line), header.before)
    names = [name.strip() for name in next(_cells(header.line, delimiter))[1]]
    if len(names) > 1 and names[0].isascii() and names[0].isdigit():
        return _without_names(text, delimiter, len(names))
    return Table(names, _rows(names, header, delimiter))


def _delimiter(line: str) -> str:
    """What separates the names of columns: a tab if there is one, else what there is more of."""
    if "\t" in line:
        return "\t"
    often = max(_DELIMITERS, key=line.count)
    return often if often in line else " "


def _shifted(table: Table, lines: int) -> Table:
    """The same table, which begins some lines further down."""
    rows = [
        Row(f"line {int(row.where.removeprefix('line ')) + lines}", row.values)
        for row in table.rows
    ]
    return Table(table.names, rows, has_names=False)


def _header(text: str) -> _Header:
    """The line that names the columns: the first, or the comment before it where it does not."""
    lines = text.splitlines(keepends=True)
    comment: tuple[int, str] | None = None
    for number, line in enumerate(lines):
        stripped = line.strip()
        if stripped.startswith("#"):
            comment = (number, stripped.strip("# "))
        elif stripped and not stripped.lower().startswith("sep="):
            if comment is not None and not _names_ids(line) and _names_ids(comment[1]):
                return _Header(comment[1], "".join(lines[number:]), number)
            return _Header(line.rstrip("\r\n"), "".join(lines[number + 1 :]), number + 1)
    if comment is not None and _names_ids(comment[1]):
        return _Header(comment[1], "", len(lines))
    raise FormatError("empty, or nothing but blanks and comments; a table of structures has more")


def _names_ids(line: str) -> bool:
    """Whether a line names a column of ids, and another one."""
    names = [name.strip('" \r\n') for name in line.split(_delimiter(line))]
    return len(names) > 1 and any(fields.field_name(name) == "id" for name in names)


def _rows(names: Sequence[str], header: _Header, delimiter: str) -> list[Row]:
    rows = []
    for number, cells in _cells(header.rest, delimiter):
        where = f"line {header.before + number}"
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(names):
            raise FormatError(
                f"{where} has {len(cells)} cells; the header has {len(names)} columns: "
                f"{fields.listed_names(names)}"
            )
        # Columns without a name are the index that pandas writes.
        rows.append(Row(where, {n: c for n, c in zip(names, cells, strict=True) if n}))
    return rows


def _without_names(text: str, delimiter: str, count: int) -> Table:
    """Table of labels and names alone, or with three or four numbers of a colour."""
    if count not in _UNNAMED:
        raise FormatError(
            f"the first line has {count} cells, and names no columns; a table of structures begins "
            "with the names of its columns"
        )
    comments = "".join(
        "\n" if line.lstrip().startswith("#") else line for line in text.splitlines(keepends=True)
    )
    table = Table(_UNNAMED[count], _rows(_UNNAMED[count], _Header("", comments, 0), delimiter))
    return Table(table.names, table.rows, has_names=False)


def _cells(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Cells of each row, and the number of its last line."""
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=delimiter,
        strict=True,
        skipinitialspace=delimiter == " ",
    )
    try:
        for cells in reader:
            yield reader.line_num, cells
    except csv.Error as error:
        raise FormatError(f"not valid CSV: {str(error)[:80]}") from error
