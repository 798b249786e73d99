"""Tables that commands print or write: counts, points, and the findings of a validation."""

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from refspace.cli.options import is_escaping_formulas, refuse_overwriting
from refspace.cli.outputs import TableOutput
from refspace.cli.terminal import cell, echo, echo_json
from refspace.formats.tables import without_formulas, write_table
from refspace.ops.point_labels import MISSING, OUTSIDE
from refspace.reference_space import ReferenceSpace
from refspace.structure_tree import StructureTree
from refspace.verbs.tables import long_table
from refspace.verbs.validation import Validation

_NAME_WIDTH = 40
# Columns that `points --each` adds to a table of points.
POINT_COLUMNS = ("structure", "acronym", "name", "status")


def counts_table(counts: xr.Dataset, structure_ids: Collection[int] = ()) -> pd.DataFrame:
    """Rows of some structures, or of all that have voxels; hemispheres apart if counted so."""
    table = long_table(counts, {"direct": "direct", "total": "total", "volume": "volume_mm3"})
    return table.loc[list(structure_ids)] if structure_ids else table[table["total"] > 0]


def save_table(path: str | Path, parts: Iterator[pd.DataFrame] | Sequence[pd.DataFrame]) -> None:
    """Write a table, without formulas if the command was asked for that."""
    write_table(path, parts, escape_formulas=is_escaping_formulas())


def write_or_print(table: pd.DataFrame, output: str | None, number: str = "{:.3f}") -> None:
    """Write a table to a file, or print it where there is none."""
    if output is None:
        echo(format_table(table, number))
        return
    save_table(output, [table.reset_index()])
    echo(f"wrote {output}")


def format_table(table: pd.DataFrame, number: str = "{:.3f}") -> str:
    """Table as text, the names flush left and cut to a line."""
    if table.empty:
        return "no structure has any"
    names = [cell(name)[:_NAME_WIDTH] for name in table.get("name", [""] * len(table))]
    width = max(map(len, names), default=0)
    shown = table.assign(name=[name.ljust(width) for name in names]).reset_index()
    for column in shown.columns[shown.dtypes.map(lambda dtype: dtype.kind not in "iufb")]:
        shown[column] = [value if pd.isna(value) else cell(value) for value in shown[column]]
    return shown.to_string(index=False, float_format=number.format)


def emit_table(
    name: str, table: pd.DataFrame, output: TableOutput, text: Callable[[], str]
) -> None:
    """Write or print a table with its index, as a command was asked to.

    Parameters
    ----------
    name
        What the rows are, as JSON has it.
    table
        The table.
    output
        Where to, and as what.
    text
        Makes what people are shown.
    """
    rows = table.reset_index()
    if output.path is not None:
        refuse_overwriting([output.path])
        save_table(output.path, [_with_path_texts(rows)])
        echo(f"wrote {output.path}")
    elif output.form == "csv":
        texts = _with_path_texts(rows)
        escaped = without_formulas(texts) if is_escaping_formulas() else texts
        echo(escaped.to_csv(index=False).rstrip("\n"))
    elif output.form == "json":
        records = rows.astype(object).where(rows.notna(), None).to_dict("records")
        echo_json({name: [{str(key): row[key] for key in row} for row in records]})
    else:
        echo(text())


def _with_path_texts(table: pd.DataFrame) -> pd.DataFrame:
    """Table of structures whose paths and sets are texts, as `read_structures` takes them."""
    if "path" not in table:
        return table
    paths = [f"/{'/'.join(map(str, path))}/" for path in table["path"]]
    return table.assign(path=paths, sets=[str(list(ids)) for ids in table["sets"]])


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

_MM3 = {"volume": "volume_mm3", "published": "published_mm3"}


def validation_tables(validation: Validation, space: ReferenceSpace) -> dict[str, pd.DataFrame]:
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
