"""Tables with values of structures, as data frames and files: one column, or one for each side."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from refspace.errors import AnnotationError, FormatError
from refspace.formats.structures.fields import MISSING_TEXTS
from refspace.formats.tables import parquet_columns, read_parts, table_ending
from refspace.labels import HEMISPHERES
from refspace.limits import check_limit
from refspace.types import PathLike

# Columns that say of which structure a row is, the surest first.
_STRUCTURE_COLUMNS = ("structure", "structure_id", "id", "acronym", "name", "region")
# Columns beside those of structures that hold no values of them.
_BESIDE = ("hemisphere", "parent", "path", "color")
_PARQUET = ".parquet"
# What columns of values are called, the first first: of `aggregate`, of `count_points`, of others.
_DEFAULTS = ("mean", "density", "density_per_mm3", "value", "values")


def read_values(path: PathLike, variable: str | None = None) -> xr.DataArray:
    r"""Values of structures from a table in a file.

    Parameters
    ----------
    path
        CSV, TSV or Parquet file, or a folder of Parquet files that is called like one. A column
        ``structure``, ``id``, ``acronym`` or ``name`` says of which structure a row is.
    variable
        Column with the values: ``mean``, ``density`` or ``value`` if not given, or the only one of
        numbers.
        Columns ``left`` and ``right`` are values of the hemispheres, as are rows that a column
        ``hemisphere`` tells apart, like those of ``refspace aggregate --by-hemisphere``.

    Returns
    -------
    xarray.DataArray
        Over ``structure``, and ``hemisphere`` where values are of each; NaN where a cell is empty.

    Raises
    ------
    FormatError
        If it is no such table; the message names its columns, or the row at fault.
    MissingDependencyError
        If it is a Parquet file, and pyarrow is not installed.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "density.csv")
    >>> _ = path.write_text("acronym,left,right\nVISp,1,2\nTH,n/a,4\n")
    >>> read_values(path).values.tolist()
    [[1.0, 2.0], [nan, 4.0]]
    """
    table = _read(Path(path))
    try:
        return frame_values(_with_numbers(table), variable)
    except AnnotationError as error:
        raise FormatError(f"{os.fspath(path)}: {error}") from error


def _read(path: Path) -> pd.DataFrame:
    """All columns of a table; texts as they are written."""
    files = sorted(path.glob(f"*{_PARQUET}")) if path.is_dir() else [path]
    size = sum(file.stat().st_size for file in files)
    check_limit("ontology_bytes", size, f"{os.fspath(path)} has {size} bytes")
    if table_ending(path) != _PARQUET:
        return pd.concat(read_parts(path, as_text=True), ignore_index=True)
    # As tables of structures are read, which are held to the limit by what they state.
    parts = [parquet_columns(file.read_bytes()) for file in files]
    tables = [pd.DataFrame(dict(zip(*part, strict=True)), columns=part[0]) for part in parts]
    if not tables:
        raise FormatError(f"{os.fspath(path)} is a folder without Parquet files")
    return pd.concat([t for t in tables if len(t)] or tables[:1], ignore_index=True)


def frame_values(table: pd.DataFrame, variable: str | None = None) -> xr.DataArray:
    """Values of structures from a data frame, whose index or a column of which names them.

    Parameters
    ----------
    table
        The data frame.
    variable
        As for `read_values`.

    Returns
    -------
    xarray.DataArray
        As of `read_values`.

    Raises
    ------
    AnnotationError
        If it is no such table.

    Examples
    --------
    >>> table = pd.DataFrame({"left": [1, 2], "right": [3, 4]}, index=["VISp", "TH"])
    >>> frame_values(table).sel(structure="TH", hemisphere="right").item()
    4
    """
    table = _indexed(table)
    plain = {str(name).strip().lower(): name for name in table.columns}
    if variable is None and {*HEMISPHERES} <= {*plain}:
        sides = table[[plain[side] for side in HEMISPHERES]].set_axis([*HEMISPHERES], axis=1)
        return _array(sides, table.attrs, None)
    column = _value_column(table, variable)
    _check_numbers(table[column])
    if "hemisphere" not in plain:
        return _array(table[column], table.attrs, column)
    side = table[plain["hemisphere"]].map(lambda text: str(text).strip().lower())
    return _array(_side_by_side(table[column], side), table.attrs, column)


def _side_by_side(values: pd.Series, side: pd.Series) -> pd.DataFrame:
    """Columns of the hemispheres, of rows that name theirs."""
    if wrong := sorted({*side} - {*HEMISPHERES}):
        raise AnnotationError(
            f"the column hemisphere holds {wrong[0]!r}; give left or right, or leave the rows out"
        )
    rows = pd.MultiIndex.from_arrays([values.index, side])
    if rows.has_duplicates:
        structure, often = rows[rows.duplicated()][0]
        raise AnnotationError(f"there are several values of {structure} {often}; give one")
    order = values.index.unique()
    return values.set_axis(rows).unstack().reindex(index=order, columns=[*HEMISPHERES])


def _array(values: pd.Series | pd.DataFrame, attrs: Any, name: Any | None) -> xr.DataArray:
    dims = ("structure", "hemisphere")[: values.ndim]
    coords: dict[str, Any] = {"structure": np.array([*values.index], object)}
    if values.ndim == 2:
        coords["hemisphere"] = [*HEMISPHERES]
    units = {key: attrs[key] for key in ("units",) if isinstance(attrs.get(key), str)}
    return xr.DataArray(values.to_numpy(), coords, dims, None if name is None else str(name), units)


def _indexed(table: pd.DataFrame) -> pd.DataFrame:
    """Table with the structures as its index."""
    if isinstance(table.index, pd.MultiIndex):
        table = table.reset_index()
    elif table.index.name is not None and table.index.name not in table.columns:
        return table
    plain = {str(name).strip().lower(): name for name in reversed(table.columns)}
    column = next((plain[name] for name in _STRUCTURE_COLUMNS if name in plain), None)
    if column is not None:
        return table.set_index(column)
    if isinstance(table.index, pd.RangeIndex):
        raise AnnotationError(
            f"no column says of which structures the values are; call it structure, id, acronym or "
            f"name. There are {_listed(table.columns)}"
        )
    return table


def _value_column(table: pd.DataFrame, variable: str | None) -> Any:
    """Column that holds the values."""
    if variable is not None:
        if [*table.columns].count(variable) != 1:
            raise AnnotationError(f"no column {variable!r}; there are {_listed(table.columns)}")
        return variable
    others = {
        plain: name
        for name in table.columns
        if (plain := str(name).strip().lower()) not in (*_STRUCTURE_COLUMNS, *_BESIDE)
    }
    if (known := default_values([*others])) in _DEFAULTS:
        return others[known]
    columns = [n for n in others.values() if _is_number(table[n])] or [*others.values()]
    if len(columns) != 1:
        raise AnnotationError(
            f"which column holds the values? Name one of {_listed(columns or [*table.columns])}"
        )
    return columns[0]


def default_values(names: Sequence[str]) -> str | None:
    """Which of some columns or variables holds the values, where none is named; None if not clear.

    Examples
    --------
    >>> default_values(["points", "density"]), default_values(["a"]), default_values(["a", "b"])
    ('density', 'a', None)
    """
    known = [name for name in _DEFAULTS if name in names]
    return known[0] if known else names[0] if len(names) == 1 else None


def _check_numbers(column: pd.Series) -> None:
    if not _is_number(column):
        numbers = pd.to_numeric(column, errors="coerce")
        row = int((numbers.isna() & column.notna()).to_numpy().argmax())
        raise AnnotationError(
            f"column {str(column.name)[:40]} holds {str(column.iloc[row])[:40]!r} of "
            f"{str(column.index[row])[:40]!r}; give a number, or nothing where there is none"
        )


def _is_number(column: pd.Series) -> bool:
    return column.dtype.kind in "buif"


def _listed(names: Iterable[Any]) -> str:
    shown = [str(name)[:40] for name in names]
    return ", ".join([*shown[:10], *(["…"] if len(shown) > 10 else [])]) or "none"


# ----- texts


def _with_numbers(table: pd.DataFrame) -> pd.DataFrame:
    """Table whose columns of texts are numbers wherever all of them are, or are missing."""
    names = [n for n in table.columns if str(n).strip().lower() not in _STRUCTURE_COLUMNS]
    return table.assign(**{name: _numbers(table[name]) for name in names})


def _numbers(column: pd.Series) -> pd.Series:
    if _is_number(column):
        return column
    texts: pd.Series = column.astype(object).where(column.notna(), "").astype(str).str.strip()
    is_missing = texts.str.lower().isin(MISSING_TEXTS)
    numbers = pd.to_numeric(texts.where(~is_missing, ""), errors="coerce")
    is_number = numbers.notna() | is_missing
    return numbers.astype(np.float64) if is_number.all() else column
