"""Tables in files: CSV, TSV or Parquet, by the ending of the name."""

import hashlib
import io
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from refspace.errors import FormatError, MissingDependencyError
from refspace.files import atomic_write
from refspace.formats.endings import checked_ending
from refspace.formats.table_parts import (
    CHECKED,
    VERIFIED,
    has_pyarrow,
    parquet_parts,
    text_bytes,
    text_parts,
    typed_parts,
    write_parquet,
)
from refspace.limits import check_limit
from refspace.types import PathLike
from refspace.warning_filters import warnings_filtered

if TYPE_CHECKING:
    import pyarrow

_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_PARQUET = ".parquet"
# Key under which the schema of a Parquet file holds our metadata.
_METADATA_KEY = b"refspace"
ENDINGS = (*_SEPARATORS, _PARQUET)
# How formulas begin, also in the wide signs of East Asian keyboards; a tab or a line break before
# one is skipped. Numbers may begin so too.
_FORMULA = re.compile("[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
# Of a SHA-256; and of what ends a Parquet file: the length of its footer, and its name.
_SEAL_BYTES, _TAIL_BYTES = 32, 8
# Rows of a part, where a table is read in parts.
_ROWS_PER_PART = 10**6


def table_ending(path: PathLike) -> str:
    """Ending of the name of a table, checked to be one that can be read and written.

    Raises
    ------
    FormatError
        If the ending is not among `ENDINGS`.
    MissingDependencyError
        If the ending is that of Parquet, and pyarrow is not installed.

    Examples
    --------
    >>> table_ending("counts.CSV")
    '.csv'
    """
    rule = "tables are written and read as what their names end in"
    ending = checked_ending(path, ENDINGS, rule)
    if ending == _PARQUET:
        try:
            import pyarrow  # noqa: F401
        except ImportError as error:
            raise MissingDependencyError(
                "Parquet needs pyarrow; install it with: pip install pyarrow, or give "
                "a name that ends in .csv"
            ) from error
    return ending


# ----- reading


def read_table(path: PathLike, numeric: Sequence[str], *text: str) -> pd.DataFrame:
    """Read some columns of a table.

    Parameters
    ----------
    path
        File; its ending is one of `ENDINGS`.
    numeric
        Names of the columns to read as float64, NaN where a cell is empty.
    *text
        Names of the columns to read as text.

    Raises
    ------
    FormatError
        If it is no such table, lacks a column or has it twice, or if a cell of a numeric column
        holds anything else than a number; the message names the row.
    MissingDependencyError
        As for `table_ending`.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "cells.csv")
    >>> write_table(path, [pd.DataFrame({"ap": [1.5], "dv": [2.0], "size": [7]})])
    >>> read_table(path, ["dv", "ap"]).values
    array([[2. , 1.5]])
    """
    names = [*numeric, *text]
    _check_columns(path, names)
    dtypes: dict[str, Any] = dict.fromkeys(numeric, np.float64) | dict.fromkeys(text, str)
    with _naming(path):
        if table_ending(path) == _PARQUET:
            return _as_numbers(pd.read_parquet(path, columns=names, **VERIFIED), numeric)[names]
        # With dtypes, so that a large table never goes through Python objects.
        with suppress(ValueError):
            table: pd.DataFrame = _read_text(path, usecols=names, dtype=dtypes)[names]
            return table
        # Some cell is not a number: read once more as text, to name its row.
        return _as_numbers(_read_text(path, usecols=names, dtype=str), numeric)[names]


def column_names(path: PathLike) -> list[str]:
    """Names of the columns of a table.

    Raises
    ------
    FormatError, MissingDependencyError
        As for `read_table`.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "cells.csv")
    >>> _ = path.write_text("ap,dv,ml")
    >>> column_names(path)
    ['ap', 'dv', 'ml']
    """
    with _naming(path):
        if table_ending(path) == _PARQUET:
            from pyarrow.parquet import read_schema

            return list(read_schema(path).names)
        # Read as a row, because pandas renames duplicates in a header.
        first = _read_text(path, header=None, nrows=1, dtype=str, keep_default_na=False)
        return [str(name) for name in first.iloc[0]]


def read_parts(path: PathLike, *, as_text: bool) -> Iterator[pd.DataFrame]:
    """Read all columns of a table in parts, so that no more of it is in memory.

    Parameters
    ----------
    path
        File; its ending is one of `ENDINGS`.
    as_text
        Whether the cells of a text file are kept as they are written, to be written to a text file
        again; otherwise they get the dtype of their column, for which large files are read twice.

    Raises
    ------
    FormatError, MissingDependencyError
        As for `read_table`.
    """
    with _naming(path):
        if table_ending(path) == _PARQUET:
            yield from parquet_parts(Path(path))
        elif as_text:
            yield from _read_texts(path)
        else:
            yield from typed_parts(partial(_pandas_parts, path))


def _read_texts(path: PathLike) -> Iterator[pd.DataFrame]:
    """Cells of a text file as they are written, in parts."""
    done = 0
    header, names = column_names(path), list(_read_text(path, index_col=False, nrows=0))
    # Lines of blanks alone are rows of one column for pyarrow, and nothing for pandas.
    if len(header) == len(names) > 1 and has_pyarrow() and Path(path).is_file():
        from pyarrow import ArrowInvalid

        with suppress(ArrowInvalid):
            for part in text_parts(Path(path), separator(path), header, names):
                yield part
                done += len(part)
            return
    # What pyarrow does not take, as rows with too few cells, or what it has not begun with.
    for part in _pandas_parts(path, dtype=str, keep_default_na=False):
        if done < len(part) or not done:
            yield part.iloc[done:]
        done = max(0, done - len(part))


def _pandas_parts(path: PathLike, **options: Any) -> Iterator[pd.DataFrame]:
    with _read_text(path, index_col=False, chunksize=_ROWS_PER_PART, **options) as parts:
        while (part := _next_part(parts)) is not None:
            yield part


def _next_part(parts: Iterator[pd.DataFrame]) -> pd.DataFrame | None:
    with _losing_no_cells():
        return next(parts, None)


def _read_text(path: PathLike, **options: Any) -> Any:
    with _losing_no_cells():
        return pd.read_csv(path, sep=_SEPARATORS[table_ending(path)], **options)


def _losing_no_cells() -> AbstractContextManager[None]:
    # pandas warns of rows with more cells than columns, and drops the cells.
    return warnings_filtered("error", pd.errors.ParserWarning)


@contextmanager
def _naming(path: PathLike) -> Iterator[None]:
    """Name the table in errors of the parsers."""
    try:
        yield
    except (FormatError, MissingDependencyError):
        raise
    except Exception as error:  # whatever parsers raise
        # Of the disk; pyarrow tells of damaged files by errors of the same type without a number.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise FormatError(
            f"{os.fspath(path)} is no table that can be read: {' '.join(str(error).split())}"
        ) from error


def _check_columns(path: PathLike, names: Sequence[str]) -> None:
    present = column_names(path)
    for name in names:
        if present.count(name) != 1:
            count = "several columns" if name in present else "no column"
            raise FormatError(
                f"{os.fspath(path)} has {count} {name}; its columns are {', '.join(present)}"
            )


def _as_numbers(table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    for name in names:
        column = table[name]
        numbers = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
        wrong = np.isnan(numbers) & column.notna().to_numpy()
        if wrong.any():
            row = int(wrong.argmax())
            raise FormatError(
                f"column {name} holds {column.iloc[row]!r} in row {row + 1} below the header; give "
                "a number, or nothing where there is none"
            )
        table[name] = numbers
    return table


def parquet_columns(data: bytes) -> tuple[list[str], list[list[Any]]]:
    """Names of columns, and their cells, of a small Parquet file in memory.

    A file of some kB may state billions of values: what its metadata state is held against the
    limit ``ontology_bytes`` before anything is decoded.

    Raises
    ------
    FormatError
        If it is damaged, or too large.
    MissingDependencyError
        If pyarrow is not installed.

    Examples
    --------
    >>> parquet_columns(parquet_bytes(pd.DataFrame({"id": [8]}), lambda digest: None))
    (['id'], [[8]])
    """
    table_ending(f"structures{_PARQUET}")
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Of its columns, nothing is asked: of damaged ones, pyarrow 26 ends the process.
        metadata = pq.read_metadata(pa.BufferReader(data))
        groups = map(metadata.row_group, range(metadata.num_row_groups))
        size = sum(group.total_byte_size for group in groups)
        cells = metadata.num_rows * metadata.num_columns
        # A cell takes a bit where it is repeated, and some bytes of memory.
        check_limit("ontology_bytes", max(size, cells), f"it states {size} bytes, {cells} cells")
        table = pq.read_table(pa.BufferReader(data), **VERIFIED)
        # Column by column: rows as dicts take four times as long.
        cells = [column.to_pylist() for column in table.itercolumns()]
        return [str(name) for name in table.column_names], cells
    except FormatError:
        raise
    except (pa.ArrowException, OSError, ValueError, TypeError) as error:
        raise FormatError(f"no Parquet that can be read: {str(error)[:200]}") from error


# ----- writing


def write_table(
    path: PathLike,
    parts: Iterator[pd.DataFrame] | Sequence[pd.DataFrame],
    *,
    escape_formulas: bool = False,
) -> None:
    r"""Write the columns of a table, without its index; the file appears whole or not at all.

    Parameters
    ----------
    path
        File to write; its ending is one of `ENDINGS`.
    parts
        The table, or its rows part by part; at least one.
    escape_formulas
        Whether texts that a spreadsheet would take for formulas begin with an apostrophe in CSV and
        TSV, as `without_formulas` has it.

    Raises
    ------
    FormatError, MissingDependencyError
        As for `table_ending`.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "counts.tsv")
    >>> write_table(path, [pd.DataFrame({"structure": [385], "voxels": [12]})])
    >>> path.read_text()
    'structure\tvoxels\n385\t12\n'
    """
    write: Callable[..., None] = _write_text
    if (ending := table_ending(path)) == _PARQUET:
        write = _write_parquet
    elif escape_formulas:
        parts = map(without_formulas, parts)
    with atomic_write(path) as temporary:
        write(temporary, parts, _SEPARATORS.get(ending))


def _write_text(path: Path, parts: Iterator[pd.DataFrame], separator: str) -> None:
    with path.open("wb") as file:
        for number, part in enumerate(parts):
            if (lines := text_bytes(part, separator)) is None:
                file.write(_separated(part, separator, header=number == 0).encode())
                continue
            if number == 0:
                file.write(_separated(part[:0], separator, header=True).encode())
            file.write(lines)


def _separated(rows: pd.DataFrame, separator: str, *, header: bool) -> str:
    """Rows as text."""
    options: dict[str, Any] = {"sep": separator, "index": False, "header": header}
    text: str = rows.to_csv(None, lineterminator="\n", **options)
    if "\r" in text:
        # Before 3.13, Python puts no quotes around a cell with only a carriage return, where
        # readers begin another row.
        text = rows.replace("\r", " ", regex=True).to_csv(None, lineterminator="\n", **options)
    return text


def _write_parquet(path: Path, parts: Iterator[pd.DataFrame], _: None) -> None:
    write_parquet(path, parts)


def without_formulas(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows whose texts no spreadsheet takes for formulas, and runs: an apostrophe precedes them.

    Names are whatever the maker of an atlas wrote. In a file of text nothing says that a cell
    ``=HYPERLINK(…)`` is a name; in Parquet it is stated. Texts of numbers, like ``-1.5``, stay.

    Examples
    --------
    >>> rows = pd.DataFrame({"name": ["=1+1", "VISp"], "shift": ["-1.5", "@x"], "voxels": [-1, 2]})
    >>> without_formulas(rows).to_numpy().tolist()
    [["'=1+1", '-1.5', -1], ['VISp', "'@x", 2]]
    """
    escaped = {
        position: rows.iloc[:, position].map(_without_formula)
        for position, dtype in enumerate(rows.dtypes)
        if getattr(dtype, "kind", "O") not in "iufbc"
    }
    columns = [escaped.get(n, rows.iloc[:, n]) for n in range(rows.shape[1])]
    table = pd.concat(columns, axis=1) if columns else rows.copy()
    table.columns = pd.Index([_without_formula(name) for name in rows.columns])
    return table


def _without_formula(value: Any) -> Any:
    if not isinstance(value, str) or not _FORMULA.match(value) or _NUMBER.fullmatch(value):
        return value
    return f"'{value}"


def with_formula(text: str) -> str:
    """Text of a cell as it was before `without_formulas`.

    Examples
    --------
    >>> [with_formula(text) for text in ("'=1+1", "VISp", "'s", "=1+1")]
    ['=1+1', 'VISp', "'s", '=1+1']
    """
    return text[1:] if text[:1] == "'" and _without_formula(text[1:]) == text else text


# ----- rows of a part


def text_rows(path: PathLike, rows: pd.DataFrame, *, header: bool) -> str:
    r"""Rows as text, as a file of that name holds them.

    Examples
    --------
    >>> text_rows("counts.csv", pd.DataFrame({"structure": [385]}), header=True)
    'structure\n385\n'
    """
    return _separated(rows, separator(path), header=header)


def separator(path: PathLike) -> str:
    """What separates the cells of a text table, by its name.

    Examples
    --------
    >>> separator("counts.csv")
    ','
    """
    return _SEPARATORS[table_ending(path)]


def parquet_bytes(rows: pd.DataFrame, describe: Callable[[str], Any]) -> bytes:
    """Content of a sealed Parquet file of some rows, with metadata and checksums of its pages.

    Parameters
    ----------
    rows
        The rows.
    describe
        Makes the metadata, a JSON value, from the digest of the rows.
    """
    import pyarrow as pa

    table = pa.Table.from_pandas(rows, preserve_index=False)
    return _parquet(table, describe(_rows_digest(table)))


class ParquetFile:
    """A Parquet file in memory, all of which was read.

    Parameters
    ----------
    table
        What it holds, as pyarrow reads it.
    is_sealed
        Whether every byte is proven to be as `parquet_bytes` or `without_rows` has made it.

    Examples
    --------
    >>> data = parquet_bytes(pd.DataFrame({"structure": [385]}), lambda digest: {"rows": digest})
    >>> file = ParquetFile.read(data)
    >>> file.rows, file.metadata == {"rows": file.digest}, file.is_sealed
    (1, True, True)
    >>> ParquetFile.read_if_whole(data[:-1]) is None
    True
    """

    def __init__(self, table: "pyarrow.Table", *, is_sealed: bool) -> None:
        self._table, self.is_sealed = table, is_sealed
        self.rows = int(table.num_rows)

    @classmethod
    def read(cls, data: bytes) -> "ParquetFile":
        """Read a file, the checksums of whose pages are compared where it has any."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pq.read_table(pa.BufferReader(data), **VERIFIED)
        return cls(table, is_sealed=data == _with_seal(*_around_seal(data)))

    @classmethod
    def read_if_whole(cls, data: bytes) -> "ParquetFile | None":
        """Read a file; None if it is damaged, or no Parquet."""
        import pyarrow as pa

        try:
            file = cls.read(data)
            file.check_texts()
            return file
        except (pa.ArrowException, OSError, ValueError):
            return None

    def check_texts(self) -> None:
        """Look at every name and text, which would else be met only where it is used.

        Raises
        ------
        ValueError
            If one is none in UTF-8.
        """
        self._table.validate(full=True)
        _ = self._table.column_names

    @property
    def digest(self) -> str:
        """Digest of the rows: of the names of the columns, and of their values."""
        return _rows_digest(self._table)

    @property
    def metadata(self) -> Any:
        """JSON value that was written with the rows; None where there is none."""
        try:
            return json.loads((self._table.schema.metadata or {})[_METADATA_KEY])
        except (KeyError, ValueError, RecursionError):
            return None

    def without_rows(self, metadata: Mapping[str, Any]) -> bytes:
        """A sealed file with the same columns, no rows, and other metadata."""
        return _parquet(self._table[:0], metadata)


def _parquet(table: Any, metadata: Any) -> bytes:
    import pyarrow.parquet as pq

    merged = {**(table.schema.metadata or {}), _METADATA_KEY: json.dumps(metadata).encode()}
    file = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(merged), file, **CHECKED)
    data = file.getvalue()
    footer = _footer_start(data)
    return _with_seal(data[:footer], data[footer:])


# The seal of a file is the digest of all its other bytes. It is between the pages and the footer,
# where nothing points to: readers pass over it.


def _footer_start(data: bytes) -> int:
    return max(0, len(data) - _TAIL_BYTES - int.from_bytes(data[-_TAIL_BYTES:-4], "little"))


def _around_seal(data: bytes) -> tuple[bytes, bytes]:
    """What is before and after the place of the seal in a file."""
    footer = _footer_start(data)
    return data[: max(0, footer - _SEAL_BYTES)], data[footer:]


def _with_seal(before: bytes, after: bytes) -> bytes:
    return before + hashlib.sha256(before + after).digest() + after


def _rows_digest(table: Any) -> str:
    # Of values, and not of bytes: versions of pyarrow encode the same rows in other ways.
    text = json.dumps(table.to_pydict(), default=str)
    return hashlib.sha256(text.encode()).hexdigest()
