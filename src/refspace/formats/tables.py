"""Tables as files: CSV, TSV or Parquet, by the ending of the name."""

import io
import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from refspace.errors import FormatError, MissingDependencyError
from refspace.files import atomic_write

_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_PARQUET = ".parquet"
# Key of the schema's metadata that holds what rows are.
_FACTS = b"refspace"
ENDINGS = (*_SEPARATORS, _PARQUET)
# Rows that are in memory at a time, where tables go through it.
_PART = 10**6


def table_ending(path: str | os.PathLike[str]) -> str:
    """Ending of the name of a table, once it is known that such tables can be read and written.

    Raises
    ------
    FormatError
        If it is none of `ENDINGS`.
    MissingDependencyError
        If it is Parquet, and pyarrow is not installed.

    Examples
    --------
    >>> table_ending("counts.CSV")
    '.csv'
    """
    ending = Path(path).suffix.lower()
    if ending not in ENDINGS:
        raise FormatError(
            f"{os.fspath(path)} does not end in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}; tables "
            "are written and read as what their names end in"
        )
    if ending == _PARQUET:
        try:
            import pyarrow  # noqa: F401
        except ImportError as error:
            raise MissingDependencyError(
                "Parquet needs pyarrow; install it with: pip install 'refspace[parquet]', or give "
                "a name that ends in .csv"
            ) from error
    return ending


# ----- reading


def read_table(path: str | os.PathLike[str], numbers: Sequence[str], *texts: str) -> pd.DataFrame:
    """Read some columns of a table.

    Parameters
    ----------
    path
        File; its ending is one of `ENDINGS`.
    numbers
        Names of the columns to read as float64, NaN where a cell is empty.
    *texts
        Names of the columns to read as texts.

    Raises
    ------
    FormatError
        If it is no such table, lacks a column or has it twice, or if there is anything else in the
        place of a number, whose row is named.
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
    names = [*numbers, *texts]
    _check_columns(path, names)
    dtypes: dict[str, Any] = dict.fromkeys(numbers, np.float64) | dict.fromkeys(texts, str)
    with _naming(path):
        if table_ending(path) == _PARQUET:
            return _as_numbers(pd.read_parquet(path, columns=names), numbers)[names]
        # Of known types, so that the rows of a large table are never objects.
        with suppress(ValueError):
            table: pd.DataFrame = _read_text(path, usecols=names, dtype=dtypes)[names]
            return table
        # There is something else somewhere: once more, to say where.
        return _as_numbers(_read_text(path, usecols=names, dtype=str), numbers)[names]


def column_names(path: str | os.PathLike[str]) -> list[str]:
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
        # Not as a header, in which pandas renames what is there twice.
        first = _read_text(path, header=None, nrows=1, dtype=str, keep_default_na=False)
        return [str(name) for name in first.iloc[0]]


def read_parts(path: str | os.PathLike[str], *, as_text: bool) -> Iterator[pd.DataFrame]:
    """Rows of a table with all their columns, some at a time where it is text.

    Parameters
    ----------
    path
        File; its ending is one of `ENDINGS`.
    as_text
        Whether cells of text are kept as they are written, which a text file is to hold again;
        otherwise they become what all cells of their column are.

    Raises
    ------
    FormatError, MissingDependencyError
        As for `read_table`.
    """
    with _naming(path):
        if table_ending(path) == _PARQUET:
            yield pd.read_parquet(path)
        elif not as_text:
            yield _read_text(path, index_col=False)
        else:
            yield from _read_text(
                path, index_col=False, dtype=str, keep_default_na=False, chunksize=_PART
            )


def _read_text(path: str | os.PathLike[str], **options: Any) -> Any:
    return pd.read_csv(path, sep=_SEPARATORS[table_ending(path)], **options)


@contextmanager
def _naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Say which table it is that cannot be read."""
    try:
        with warnings.catch_warnings():
            # Rows with more cells than there are columns, whose last ones would be lost.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            yield
    except (FormatError, MissingDependencyError, OSError):
        raise
    except Exception as error:  # whatever parsers raise
        raise FormatError(
            f"{os.fspath(path)} is no table that can be read: {' '.join(str(error).split())}"
        ) from error


def _check_columns(path: str | os.PathLike[str], names: Sequence[str]) -> None:
    given = column_names(path)
    for name in names:
        if given.count(name) != 1:
            how_often = "several columns" if name in given else "no column"
            raise FormatError(
                f"{os.fspath(path)} has {how_often} {name}; its columns are {', '.join(given)}"
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


# ----- writing


def write_table(
    path: str | os.PathLike[str], parts: Iterator[pd.DataFrame] | Sequence[pd.DataFrame]
) -> None:
    r"""Write the columns of a table, without its index; the file appears whole or not at all.

    Parameters
    ----------
    path
        File to write; its ending is one of `ENDINGS`.
    parts
        The table, or its rows part by part; at least one.

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
    with atomic_write(path) as temporary:
        write(temporary, parts, _SEPARATORS.get(ending))


def _write_text(path: Path, parts: Iterator[pd.DataFrame], separator: str) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        for number, part in enumerate(parts):
            part.to_csv(file, sep=separator, index=False, header=number == 0, lineterminator="\n")


def _write_parquet(path: Path, parts: Iterator[pd.DataFrame], _: None) -> None:
    pd.concat(parts, ignore_index=True).to_parquet(path, index=False)


# ----- rows of a part


def text_rows(path: str | os.PathLike[str], rows: pd.DataFrame, *, header: bool) -> str:
    r"""Rows as the text that a file of them holds.

    Examples
    --------
    >>> text_rows("counts.csv", pd.DataFrame({"structure": [385]}), header=True)
    'structure\n385\n'
    """
    separator = _SEPARATORS[table_ending(path)]
    text: str = rows.to_csv(None, sep=separator, index=False, header=header, lineterminator="\n")
    return text


def parquet_bytes(rows: pd.DataFrame, facts: Mapping[str, Any]) -> bytes:
    """Parquet file of some rows that says what they are, with checksums of its pages."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(rows, preserve_index=False)
    told = {**(table.schema.metadata or {}), _FACTS: json.dumps(dict(facts)).encode()}
    file = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(told), file, write_page_checksum=True)
    return file.getvalue()


def parquet_facts(data: bytes) -> dict[str, Any] | None:
    """What a file of `parquet_bytes` says of its rows; None if it is damaged, or none.

    Examples
    --------
    >>> data = parquet_bytes(pd.DataFrame({"structure": [385]}), {"part": "a.nii"})
    >>> parquet_facts(data), parquet_facts(data[:-1])
    ({'part': 'a.nii'}, None)
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(data), page_checksum_verification=True)
        facts: dict[str, Any] = json.loads(table.schema.metadata[_FACTS])
        return facts
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError):
        return None
