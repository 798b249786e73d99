"""Tables on a terminal, and in files."""

from collections.abc import Collection
from typing import Any

import click
import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from refspace.formats.tables import write_table
from refspace.ops.point_labels import MISSING, OUTSIDE
from refspace.reference_space import ReferenceSpace
from refspace.structure_tree import StructureTree
from refspace.verbs.tables import long_table
from refspace.verbs.validation import Validation

_NAME_WIDTH = 40
# Columns of a table of points that say where each of them is.
ADDED = ("structure", "acronym", "status")


def counts_table(counts: xr.Dataset, structure_ids: Collection[int] = ()) -> pd.DataFrame:
    """Rows of some structures, or of all that have voxels; hemispheres apart if counted so."""
    table = long_table(counts, {"direct": "direct", "total": "total", "volume": "volume_mm3"})
    return table.loc[list(structure_ids)] if structure_ids else table[table["total"] > 0]


def deliver(table: pd.DataFrame, output: str | None, number: str = "{:.3f}") -> None:
    """Write a table, or print it."""
    if output is None:
        click.echo(format_table(table, number))
        return
    write_table(output, [table.reset_index()])
    click.echo(f"wrote {output}")


def format_table(table: pd.DataFrame, number: str = "{:.3f}") -> str:
    """Table as text, the names flush left and cut to a line."""
    if table.empty:
        return "no structure has any"
    names = [str(name)[:_NAME_WIDTH] for name in table.get("name", [""] * len(table))]
    width = max(map(len, names), default=0)
    shown = table.assign(name=[name.ljust(width) for name in names]).reset_index()
    return shown.to_string(index=False, float_format=number.format)


def warn_of_unknown(counts: xr.Dataset) -> None:
    """Say on standard error which ids of the volume the tree does not know."""
    ids, voxels = counts.attrs["unknown_ids"], counts.attrs["unknown_voxels"]
    if ids:
        shown = ", ".join(map(str, ids[:5])) + (", …" if len(ids) > 5 else "")
        click.echo(
            f"Warning: {sum(voxels)} voxels hold {len(ids)} ids that the structures lack: {shown}",
            err=True,
        )


# ----- points


def structures_of(codes: NDArray[np.int64], tree: StructureTree, unassigned: str) -> dict[str, Any]:
    """Columns that say where each of some points is, from the codes of `structure_at`.

    Parameters
    ----------
    codes
        A code for each point.
    tree
        The structures.
    unassigned
        Status of a point whose code is 0.
    """
    labels, place = np.unique(codes, return_inverse=True)
    known = [i for i in labels.tolist() if i > 0 and i in tree]
    acronyms = {node["id"]: str(node.get("acronym") or "") for node in tree.nodes(known)}
    texts = {OUTSIDE: "outside", MISSING: "missing", 0: unassigned}
    texts |= dict.fromkeys(known, "structure")
    of_label: tuple[Any, ...] = (
        pd.Series(labels).astype("Int64").where(labels > 0).array,
        np.array([acronyms.get(i, "") for i in labels.tolist()], object),
        # Labels of the volume that the tree lacks are left.
        np.array([texts.get(i, "unknown") for i in labels.tolist()], object),
    )
    return {name: values[place] for name, values in zip(ADDED, of_label, strict=True)}


# ----- what is wrong with a volume

_MM3 = {"volume": "volume_mm3", "published": "published_mm3"}


def findings(found: Validation, space: ReferenceSpace) -> dict[str, pd.DataFrame]:
    """Tables of what was found, also where that is nothing; none of what was not looked for."""
    unknown = found.unknown.drop(columns=["start", "stop"])
    for corner in ("start", "stop"):
        for axis, dim in enumerate(space.grid.dims):
            unknown[f"{corner}_{dim}_um"] = [place[axis] for place in found.unknown[corner]]
    nodes = space.structure_tree.nodes(found.unassigned)
    empty = {name: [str(node.get(name) or "") for node in nodes] for name in ("acronym", "name")}
    tables = {
        "unknown": unknown,
        "unassigned": pd.DataFrame(empty, pd.Index(found.unassigned, name="structure")),
        "uncovered": found.uncovered,
        "doubly_covered": found.doubly_covered,
        "asymmetric": found.asymmetric,
        "disconnected": found.disconnected,
        "deviating": found.deviating,
    }
    return {
        name: table.rename(columns=_MM3).reset_index()
        for name, table in tables.items()
        if table is not None
    }
