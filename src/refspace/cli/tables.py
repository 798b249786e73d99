"""Tables that commands print or write: counts, points, and the findings of a validation."""

import math
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refspace.cli.options import is_escaping_formulas, refuse_overwriting
from refspace.cli.outputs import Form, TableOutput
from refspace.cli.terminal import cell, echo, echo_json, layout, terminal_width
from refspace.formats.tables import text_rows, without_formulas, write_table
from refspace.safe_text import shown
from refspace.structure_tree import StructureTree

if TYPE_CHECKING:
    import xarray as xr

    from refspace.reference_space import ReferenceSpace
    from refspace.verbs.validation import Validation

# Columns that `points --each` adds to a table of points.
POINT_COLUMNS = ("structure", "acronym", "name", "status")


def counts_table(counts: "xr.Dataset") -> pd.DataFrame:
    """Rows of all structures; hemispheres apart if counted so."""
    from refspace.verbs.tables import long_table

    return long_table(counts, {"direct": "direct", "total": "total", "volume": "volume_mm3"})


def chosen_rows(table: pd.DataFrame, structure_ids: Collection[int]) -> pd.DataFrame:
    """Rows of some structures, or of all that have voxels."""
    return table.loc[list(structure_ids)] if structure_ids else table[table["total"] > 0]


def save_table(path: str | Path, parts: Iterator[pd.DataFrame] | Sequence[pd.DataFrame]) -> None:
    """Write a table, without formulas if the command was asked for that."""
    write_table(path, parts, escape_formulas=is_escaping_formulas())


def emit_table(
    name: str,
    table: pd.DataFrame,
    output: TableOutput,
    text: Callable[[], str] | None = None,
    *,
    number: str = "{:.3f}",
) -> None:
    """Write or print a table with its index, as a command was asked to.

    Parameters
    ----------
    name
        What the rows are, as JSON has it.
    table
        The table; its index is its first column.
    output
        Where to, and as what.
    text
        Makes what people are shown; by default the table, as wide as the terminal.
    number
        How numbers that are not whole are printed for people.
    """
    rows = table.reset_index()
    if output.path is not None:
        refuse_overwriting([output.path])
        save_table(output.path, [_with_path_texts(rows)])
        echo(f"wrote {output.path}")
    elif output.form == "csv":
        _print_csv(_with_path_texts(rows))
    elif output.form == "json":
        echo_json({name: _records(rows)})
    else:
        echo(text() if text else format_table(table, number, width=terminal_width()))


def _with_path_texts(table: pd.DataFrame) -> pd.DataFrame:
    """Table of structures whose paths and sets are texts, as `read_structures` takes them."""
    if not {"path", "sets"} <= {*table}:
        return table
    paths = [f"/{'/'.join(map(str, path))}/" for path in table["path"]]
    return table.assign(path=paths, sets=[str(list(ids)) for ids in table["sets"]])


def print_tables(tables: Mapping[str, pd.DataFrame], name: str, form: Form) -> None:
    """Print several tables for another program: JSON of each, or CSV of all, one below the other.

    Parameters
    ----------
    tables
        The tables.
    name
        Name of the first column of the CSV, which says of which table a row is.
    form
        ``csv`` or ``json``.
    """
    if form == "json":
        echo_json({key: _records(table) for key, table in tables.items()})
        return
    # Empty tables have no types that the others could keep.
    filled = [t.assign(**{name: key}).astype(object) for key, t in tables.items() if len(t)]
    columns = [name, *dict.fromkeys(column for table in tables.values() for column in table)]
    _print_csv(
        pd.concat(filled).reindex(columns=columns) if filled else pd.DataFrame(columns=columns)
    )


def _print_csv(rows: pd.DataFrame) -> None:
    """Print a table as a file would hold it."""
    rows = without_formulas(rows) if is_escaping_formulas() else rows
    text = text_rows("table.csv", rows, header=True)
    # A pipe gets it as it is; a terminal would obey control characters.
    click.echo(shown(text) if sys.stdout.isatty() else text, nl=False)


def _records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON values."""
    records = rows.astype(object).to_dict("records")
    return [{str(name): _json_value(value) for name, value in row.items()} for row in records]


def _json_value(value: Any) -> Any:
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_json_value(each) for each in value]
    value = value.item() if isinstance(value, np.generic) else value
    is_number = isinstance(value, (int, float)) and math.isfinite(value)
    return value if is_number or isinstance(value, str) else None


def format_table(table: pd.DataFrame, number: str = "{:.3f}", *, width: int | None = None) -> str:
    """Table as text: numbers flush right, and texts cut where a line of some width has no room.

    Parameters
    ----------
    table
        The table; its index is its first column.
    number
        How numbers that are not whole are shown.
    width
        Columns of a line; None for as many as it takes.
    """
    if table.empty:
        return "no structure has any"
    rows = table.reset_index()
    columns = [_texts(rows.iloc[:, n], number) for n in range(rows.shape[1])]
    right = [n for n, dtype in enumerate(rows.dtypes) if getattr(dtype, "kind", "O") in "iuf"]
    keys = 2 if "acronym" in rows.columns[1:2] else 1
    lines = [*zip(*columns, strict=True)]
    return layout([*map(cell, rows.columns)], lines, width=width, right=right, keys=keys)


def _texts(column: "pd.Series[Any]", number: str) -> list[str]:
    """Cells of a column."""
    if getattr(column.dtype, "kind", "O") == "f":
        return [number.format(value) for value in column]
    return ["" if value is None or value is pd.NA else cell(value) for value in column]


# ----- points


def point_columns(codes: NDArray[np.int64], tree: StructureTree, unassigned: str) -> dict[str, Any]:
    """Columns with the structure of each point, from the codes of `structure_at`.

    Parameters
    ----------
    codes
        A code for each point.
    tree
        The structures.
    unassigned
        Status of a point whose code is 0.
    """
    from refspace.ops.point_labels import MISSING, OUTSIDE

    # Points are many and structures few: each structure is looked up once.
    labels, inverse = np.unique(codes, return_inverse=True)
    known = [i for i in labels.tolist() if i > 0 and i in tree]
    statuses = {OUTSIDE: "outside", MISSING: "missing", 0: unassigned}
    statuses |= dict.fromkeys(known, "structure")
    columns: tuple[Any, ...] = (
        pd.Series(labels).astype("Int64").where(labels > 0).array,
        *_called(labels.tolist(), tree),
        # What remains are labels of the volume that the tree lacks.
        np.array([statuses.get(i, "unknown") for i in labels.tolist()], object),
    )
    return {name: values[inverse] for name, values in zip(POINT_COLUMNS, columns, strict=True)}


def _called(ids: Sequence[int], tree: StructureTree) -> tuple[NDArray[Any], NDArray[Any]]:
    """Acronyms and names of structures; empty of other labels."""
    known = {node["id"]: node for node in tree.nodes([i for i in ids if i > 0 and i in tree])}
    acronyms, names = (
        np.array([str(known.get(i, {}).get(field) or "") for i in ids], object)
        for field in ("acronym", "name")
    )
    return acronyms, names


# ----- validation

FINDINGS = (
    *("unknown", "unassigned", "uncovered", "doubly_covered"),
    *("asymmetric", "disconnected", "deviating"),
)
"""Names of the tables of a validation."""
_MM3 = {"volume": "volume_mm3", "published": "published_mm3"}


def validation_tables(validation: "Validation", space: "ReferenceSpace") -> dict[str, pd.DataFrame]:
    """Table of each finding, empty where all is well; none of a check that was not made."""
    unknown = validation.unknown.drop(columns=["start", "stop"])
    for corner in ("start", "stop"):
        for axis, dim in enumerate(space.grid.dims):
            unknown[f"{corner}_{dim}_um"] = [
                position[axis] for position in validation.unknown[corner]
            ]
    nodes = space.structure_tree.nodes(validation.unassigned)
    empty = {name: [str(node.get(name) or "") for node in nodes] for name in ("acronym", "name")}
    tables = {
        "unknown": unknown,
        "unassigned": pd.DataFrame(empty, pd.Index(validation.unassigned, name="structure")),
        "uncovered": validation.uncovered,
        "doubly_covered": validation.doubly_covered,
        "asymmetric": validation.asymmetric,
        "disconnected": validation.disconnected,
        "deviating": validation.deviating,
    }
    return {
        name: _with_names(table.rename(columns=_MM3).reset_index(), space.structure_tree)
        for name, table in tables.items()
        if table is not None
    }


def _with_names(table: pd.DataFrame, tree: StructureTree) -> pd.DataFrame:
    """Table whose structures have a name beside their acronym."""
    if "acronym" in table and "name" not in table:
        _, names = _called(table["structure"].tolist(), tree)
        table.insert([*table].index("acronym") + 1, "name", names)
    return table
