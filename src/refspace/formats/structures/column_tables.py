"""Structures in tables with named columns: CSV, TSV, with semicolons, or Parquet."""

import csv
import io
import itertools
import re
from array import array
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from refspace.errors import FormatError
from refspace.formats import tables
from refspace.formats.structures import fields, line_tables
from refspace.formats.structures.cells import Places
from refspace.formats.structures.tables import Table

_DELIMITERS = (";", ",")
# A line and what ends it, as `str.splitlines` has it. Few are looked at, of what may be millions.
_LINE = re.compile("[^{0}]*(?:\r\n|[{0}])|[^{0}]+".format("\n\r\v\f\x1c-\x1e\x85\u2028\u2029"))
# Rows that are turned into columns at a time: so few that they are gone before Python looks for
# garbage, which takes two thirds of the time where it goes through many.
_ROWS_AT_ONCE = 250
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
    >>> read_parquet(data).columns
    {'id': [8], 'name': ['grey']}
    """
    names, columns = tables.parquet_columns(data)
    rows = len(columns[0]) if columns else 0
    by_name = dict(zip(names, columns, strict=True))
    return Table(names, by_name, Places("row", range(1, rows + 1)))


def read_column_table(text: str) -> Table:
    r"""Read structures in a table of text; its first line, or a comment above it, names columns.

    Raises
    ------
    FormatError
        If it is damaged, or names no columns.

    Examples
    --------
    >>> read_column_table("# made by us\nidx;name\n7;Cortex\n").columns
    {'idx': ['7'], 'name': ['Cortex']}
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
    return _table(names, header, delimiter)


def _delimiter(line: str) -> str:
    """What separates the names of columns: a tab if there is one, else what there is more of."""
    if "\t" in line:
        return "\t"
    often = max(_DELIMITERS, key=line.count)
    return often if often in line else " "


def _shifted(table: Table, lines: int) -> Table:
    """The same table, which begins some lines further down."""
    where = Places(table.where.kind, [number + lines for number in table.where.numbers])
    return Table(table.names, table.columns, where, has_names=False)


def _header(text: str) -> _Header:
    """The line that names the columns: the first, or the comment before it where it does not."""
    comment = ""
    for number, match in enumerate(_LINE.finditer(text)):
        line, stripped = match[0], match[0].strip()
        if stripped.startswith("#"):
            comment = stripped.strip("# ")
        elif stripped and not stripped.lower().startswith("sep="):
            if comment and not _names_ids(line) and _names_ids(comment):
                return _Header(comment, text[match.start() :], number)
            return _Header(line.rstrip("\r\n"), text[match.end() :], number + 1)
    if comment and _names_ids(comment):
        return _Header(comment, "", len(text.splitlines()))
    raise FormatError("empty, or nothing but blanks and comments; a table of structures has more")


def _names_ids(line: str) -> bool:
    """Whether a line names a column of ids, and another one."""
    names = [name.strip('" \r\n') for name in line.split(_delimiter(line))]
    return len(names) > 1 and any(fields.field_name(name) == "id" for name in names)


def _table(names: Sequence[str], header: _Header, delimiter: str) -> Table:
    columns: list[list[str]] = [[] for _ in names]
    # Eight bytes for each, of what may be millions.
    numbers = array("q")
    rows = _filled_rows(names, header, delimiter)
    while part := list(itertools.islice(rows, _ROWS_AT_ONCE)):
        numbers.extend(number for number, _ in part)
        for column, cells in zip(columns, zip(*(row for _, row in part), strict=True), strict=True):
            column += cells
    # Columns without a name are the index that pandas writes.
    by_name = {name: column for name, column in zip(names, columns, strict=True) if name}
    return Table(names, by_name, Places("line", numbers))


def _filled_rows(
    names: Sequence[str], header: _Header, delimiter: str
) -> Iterator[tuple[int, list[str]]]:
    """Number of the last line of each row that is not blank, and its cells, one for each name."""
    for number, cells in _cells(header.rest, delimiter):
        line = header.before + number
        # Most rows begin with an id: the others are joined to see whether they hold anything.
        if not cells or not (cells[0].strip() or "".join(cells).strip()):
            continue
        if len(cells) != len(names):
            raise FormatError(
                f"line {line} has {len(cells)} cells; the header has {len(names)} columns: "
                f"{fields.listed_names(names)}"
            )
        yield line, cells


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
    table = _table(_UNNAMED[count], _Header("", comments, 0), delimiter)
    return Table(table.names, table.columns, table.where, has_names=False)


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
