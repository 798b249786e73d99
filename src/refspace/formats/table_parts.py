"""Tables of many rows, part by part: read and written by pyarrow where it is installed.

pandas makes a Python object of every cell of text, and takes 92 s for a table of 10⁷ rows.
"""

import importlib.util
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    import pyarrow

# Bytes of text that are parsed at a time, and rows of Parquet.
_BLOCK_BYTES = 16 * 2**20
_ROWS_PER_PART = 2**18
# Of fewer rows, text is written by pandas: pyarrow is not worth its import.
_MANY_ROWS = 10_000
# From here on not every whole number is a float.
_EXACT = 2**53
# Cell of the row that is put behind the last one of a text.
_END_MARK = "\x03"
# Name that pandas gives to an index without one.
_UNNAMED_INDEX = re.compile(r"__index_level_\d+__")
# Options of pyarrow: Parquet has no checksums of its pages unless they are asked for.
CHECKED: dict[str, Any] = {"write_page_checksum": True}
VERIFIED: dict[str, Any] = {"page_checksum_verification": True}


def has_pyarrow() -> bool:
    """Whether pyarrow is installed; it is not imported."""
    return importlib.util.find_spec("pyarrow") is not None


# ----- Parquet


def parquet_parts(path: Path) -> Iterator[pd.DataFrame]:
    """All columns of a Parquet file, in parts; at least one.

    Columns keep their types, in every part the same: one of whole numbers is none of floats where
    a cell is missing.
    """
    from pyarrow.parquet import ParquetFile

    with ParquetFile(path, **VERIFIED) as file:
        names = [name for name in file.schema_arrow.names if not _UNNAMED_INDEX.fullmatch(name)]
        yielded = False
        for batch in file.iter_batches(_ROWS_PER_PART, columns=names):
            yield _frame(batch)
            yielded = True
        if not yielded:
            yield _frame(file.schema_arrow.empty_table().select(names))


def _frame(table: "pyarrow.Table | pyarrow.RecordBatch") -> pd.DataFrame:
    frame: pd.DataFrame = table.to_pandas(types_mapper=pd.ArrowDtype, ignore_metadata=True)
    return frame


def write_parquet(path: Path, parts: Iterator[pd.DataFrame] | Sequence[pd.DataFrame]) -> None:
    """Write a Parquet file, part by part; the columns of each have the types of the first."""
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    left = iter(parts)
    first = pa.Table.from_pandas(next(left), preserve_index=False)
    schema = _plain_schema(first.schema)
    # pyarrow leaves a file open that it has opened itself, if the disk is full.
    with path.open("wb") as file, ParquetWriter(file, schema, **CHECKED) as writer:
        writer.write_table(first.cast(schema))
        for part in left:
            writer.write_table(pa.Table.from_pandas(part, schema, preserve_index=False))


def _plain_schema(schema: "pyarrow.Schema") -> "pyarrow.Schema":
    """Schema without columns in the types that pandas has of pyarrow, which readers would get."""
    described = schema.pandas_metadata
    columns = [each for each in described["columns"] if "[pyarrow]" not in each["numpy_type"]]
    pandas = json.dumps({**described, "columns": columns}).encode()
    return schema.with_metadata({**schema.metadata, b"pandas": pandas})


# ----- text that is read


def text_parts(
    path: Path, separator: str, header: Sequence[str], names: Sequence[str]
) -> Iterator[pd.DataFrame]:
    """Cells of a text file of several columns as they are written, in parts.

    Parameters
    ----------
    path
        The file.
    separator
        What separates its cells.
    header
        Names of the columns as they are written.
    names
        Names for the columns.

    Raises
    ------
    pyarrow.ArrowInvalid
        At what pyarrow does not read, or not as pandas does: rows with too few cells, line breaks
        of old kinds, and quotes without an end.
    """
    import pyarrow as pa
    from pyarrow import csv

    # The header is the first row: its own names may be there twice.
    numbered = [f"f{number}" for number in range(len(names))]
    mark = separator.join([_END_MARK] * len(names))
    with path.open("rb") as file:
        reader = csv.open_csv(
            _PlainText(file, f"\n{mark}\n".encode()),
            csv.ReadOptions(autogenerate_column_names=True, block_size=_BLOCK_BYTES),
            csv.ParseOptions(delimiter=separator, newlines_in_values=True),
            csv.ConvertOptions(column_types=dict.fromkeys(numbered, pa.string())),
        )
        if reader.schema.names != numbered:
            raise pa.ArrowInvalid(f"rows have {len(reader.schema)} cells, names {len(names)}")
        with reader:
            for batch in _between(reader, header, [_END_MARK] * len(names)):
                yield batch.rename_columns(names).to_pandas()


def _between(
    batches: "Iterable[pyarrow.RecordBatch]", first: Sequence[str], last: Sequence[str]
) -> "Iterator[pyarrow.RecordBatch]":
    """Rows between the first and the last, which are there unless a cell has taken them."""
    from pyarrow import ArrowInvalid

    def refuse_other(row: "pyarrow.RecordBatch", cells: Sequence[str]) -> None:
        if [column[0].as_py() for column in row.columns] != [*cells]:
            raise ArrowInvalid(f"the row of {cells} is not where it was put")

    held = None
    for batch in batches:
        if held is None:
            refuse_other(batch[:1], first)
            held = batch[1:]
            continue
        yield held
        held = batch
    if held is None or not held.num_rows:
        raise ArrowInvalid("there is no last row")
    refuse_other(held[-1:], last)
    yield held[:-1]


class _PlainText(io.RawIOBase):
    """A file of text that parsers agree on, with a row behind its last.

    Parameters
    ----------
    file
        The file.
    end
        What comes after it.
    """

    def __init__(self, file: BinaryIO, end: bytes) -> None:
        self._file, self._end = file, end

    def readable(self) -> bool:
        """Yes."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Next bytes; ArrowInvalid at a line break, or a sign, that not all take for the same."""
        from pyarrow import ArrowInvalid

        data = self._file.read(size - 1) if size > 1 else self._file.read(size)
        if not data:
            data, self._end = self._end[:size], self._end[size:]
            return data
        if data.endswith(b"\r"):
            data += self._file.read(1)
        if data.count(b"\r") != data.count(b"\r\n") or b"\0" in data:
            raise ArrowInvalid("a line break or sign that parsers do not agree on")
        return data


def typed_parts(read: Callable[..., Iterator[pd.DataFrame]]) -> Iterator[pd.DataFrame]:
    """A text table in parts whose columns have the types that the whole table would have.

    It is read again, unless it is a single part of which pandas has made what is in the file.

    Parameters
    ----------
    read
        Reads the table in parts, with options of `pandas.read_csv`.
    """
    parts = read()
    first = next(parts)
    found = [_described_columns(first), *map(_described_columns, parts)]
    columns = [[*column] for column in zip(*found, strict=True)]
    if len(found) == 1 and not any(each.is_changed for column in columns for each in column):
        yield first
        return
    dtypes = {
        name: _whole_dtype(read, position) if _is_rounded(column) else _common_dtype(column)
        for position, (name, column) in enumerate(zip(first, columns, strict=True))
    }
    yield from read(dtype=dtypes)


@dataclass(frozen=True)
class _Described:
    """What a part holds of a column.

    Parameters
    ----------
    kind
        Kind of its values.
    has_missing
        Whether any is missing.
    is_large
        Whether it has numbers so large that whole ones are rounded where they are made floats.
    is_changed
        Whether pandas may have made something else of what the file has.
    """

    kind: str
    has_missing: bool
    is_large: bool
    is_changed: bool


def _described_columns(part: pd.DataFrame) -> list[_Described]:
    return [_described(part.iloc[:, n]) for n in range(part.shape[1])]


def _described(column: "pd.Series[Any]") -> _Described:
    kind, has_missing, is_large = _kind(column), bool(column.isna().any()), False
    if kind in ("int64", "uint64", "float64"):
        values = column.to_numpy()
        # NaN is neither.
        is_large = bool(((values >= _EXACT) | (values <= -_EXACT)).any())
    is_rounded = is_large and has_missing
    # Whole numbers without end, which no column of Parquet takes; beside those of more than 63 bits
    # pandas makes empty texts of missing cells.
    is_endless = kind == "text" and (
        pd.api.types.infer_dtype(column, skipna=True) == "integer" or bool((column == "").any())
    )
    return _Described(kind, has_missing, is_large, is_rounded or is_endless)


def _kind(column: "pd.Series[Any]") -> str:
    if column.isna().all():
        return "empty"
    if column.dtype.kind in "iuf":
        return str(column.dtype)
    # Whole numbers without end are objects, as are truth values beside missing ones.
    return "bool" if pd.api.types.infer_dtype(column, skipna=True) == "boolean" else "text"


def _is_rounded(parts: Sequence[_Described]) -> bool:
    """Whether whole numbers of a column may be rounded, as where floats stand for missing ones."""
    names = {part.kind for part in parts} - {"empty"}
    is_float = any(part.has_missing for part in parts) and names <= {"int64", "uint64", "float64"}
    return is_float and any(part.is_large for part in parts)


def _whole_dtype(read: Callable[..., Iterator[pd.DataFrame]], position: int) -> Any:
    """Type of a column whose numbers are too large for floats, if they are whole."""
    least, most = 0, 0
    for part in read(dtype=str, usecols=[position]):
        cells = part.iloc[:, 0].dropna()
        if not cells.str.fullmatch(r"\s*[+-]?\d+\s*", flags=re.ASCII).all():
            return np.float64
        numbers = [0, *map(int, cells)]
        least, most = min(least, *numbers), max(most, *numbers)
    return "Int64" if least >= -(2**63) and most < 2**63 else str


def _common_dtype(parts: Sequence[_Described]) -> Any:
    """Type of a column, from what each part holds of it."""
    names = {part.kind for part in parts} - {"empty"}
    has_missing = any(part.has_missing for part in parts)
    if names == {"bool"}:
        return "boolean" if has_missing else bool
    if "bool" in names or "text" in names:
        return str
    if names == {"int64", "uint64"}:
        return str  # no type of numbers holds them all exactly
    return np.float64 if has_missing or not names else np.result_type(*names)


# ----- text that is written


def text_bytes(rows: pd.DataFrame, separator: str) -> "pyarrow.Buffer | None":
    """Rows as pandas writes them to text, but sooner; None where that is not known to be the same.

    Parameters
    ----------
    rows
        The rows; texts, numbers, and truth values, or anything of pyarrow's types.
    separator
        What separates cells.
    """
    of_arrow = any(isinstance(dtype, pd.ArrowDtype) for dtype in rows.dtypes)
    if not (of_arrow or len(rows) >= _MANY_ROWS) or not rows.shape[1] or not has_pyarrow():
        return None
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        columns = [_cells(rows.iloc[:, n], separator) for n in range(rows.shape[1])]
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):  # of several types, or too large
        return None
    if len(columns) == 1:  # an empty line would be no row
        columns = [pc.if_else(pc.equal(columns[0], ""), _word('""'), columns[0])]
    columns[-1] = _joined(columns[-1], "\n")
    return _data(pc.binary_join_element_wise(*columns, _word(separator)))


def _word(text: str) -> "pyarrow.Scalar":
    """A text of the one type that all texts here have: 2 GB of them are not too many."""
    import pyarrow as pa

    return pa.scalar(text, pa.large_string())


def _joined(*texts: "pyarrow.Array | str") -> "pyarrow.Array":
    import pyarrow.compute as pc

    words = [_word(text) if isinstance(text, str) else text for text in texts]
    return pc.binary_join_element_wise(*words, _word(""))


def _cells(column: "pd.Series[Any]", separator: str) -> "pyarrow.Array":
    """Texts of the cells of a column, in quotes where they need them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if column.dtype.kind == "f" and isinstance(column.dtype, np.dtype):
        values = column.to_numpy()
        texts = pa.array(values.astype(str), pa.large_string(), mask=np.isnan(values))
    else:
        cells = pa.array(column, from_pandas=True)
        if column.dtype == object and pa.types.is_floating(cells.type):
            raise pa.ArrowTypeError("whole numbers among them would be written as floats")
        texts = _texts(cells)
    texts = pc.fill_null(texts, "")
    special = [
        sign for sign in (separator, '"', "\n", "\r") if sign.encode() in bytes(_data(texts))
    ]
    if "\r" in special:
        # In quotes or not, readers of some versions begin another row there.
        texts = pc.replace_substring(texts, "\r", " ")
    return _quoted(texts, separator) if {*special} - {"\r"} else texts


def _texts(cells: Any) -> "pyarrow.Array":
    """Cells as texts, by their type."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(cells, pa.ChunkedArray):
        cells = cells.combine_chunks()
    if pa.types.is_boolean(cells.type):
        return pc.if_else(cells, _word("True"), _word("False"))
    if pa.types.is_dictionary(cells.type):
        cells = cells.dictionary_decode()
    try:
        texts = cells.cast(pa.large_string())
    except pa.ArrowNotImplementedError:  # lists
        values = [None if value is None else str(value) for value in cells.to_pylist()]
        return pa.array(values, pa.large_string())
    return _float_texts(texts) if pa.types.is_floating(cells.type) else texts


def _float_texts(texts: "pyarrow.Array") -> "pyarrow.Array":
    """Texts of floats, from those of pyarrow: nothing where there is no number, and 1.0, not 1."""
    import pyarrow as pa
    import pyarrow.compute as pc

    is_whole = pc.match_substring_regex(texts, r"^-?\d+$")
    texts = pc.if_else(is_whole, _joined(texts, ".0"), texts)
    return pc.if_else(pc.equal(texts, "nan"), pa.scalar(None, texts.type), texts)


def _quoted(texts: "pyarrow.Array", separator: str) -> "pyarrow.Array":
    """Texts, in quotes those that need them; each text is looked at once, however often it is."""
    import pyarrow.compute as pc

    encoded = texts.dictionary_encode()
    words = encoded.dictionary
    doubled = pc.replace_substring(words, '"', '""')
    quoted = _joined('"', doubled, '"')
    needed = pc.match_substring_regex(words, f'[{separator}"\n]')
    return pc.if_else(needed, quoted, words).take(encoded.indices)


def _data(texts: "pyarrow.Array") -> "pyarrow.Buffer":
    """All texts of an array of large strings, one behind the other."""
    _, offsets, data = texts.buffers()
    start, stop = np.frombuffer(offsets, np.int64)[[texts.offset, texts.offset + len(texts)]]
    return data.slice(start, stop - start) if data is not None else offsets.slice(0, 0)
