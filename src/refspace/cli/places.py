"""The command ``at``: the structure at a position."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from refspace.cli.columns import given_columns, structures_columns, structures_with
from refspace.cli.completion import complete_files
from refspace.cli.help import examples
from refspace.cli.options import (
    access_options,
    annotation_argument,
    open_space,
    takes_sides,
    unit_option,
)
from refspace.cli.outputs import TableOutput, takes_table_output
from refspace.cli.terminal import cell, terminal_width

if TYPE_CHECKING:
    import pandas as pd

    from refspace.reference_space import ReferenceSpace
    from refspace.types import LengthUnit

_AXES = 3
_SIDES = {0: "neither", 1: "left", 2: "right"}
_STATES = {
    0: "background, in no structure",
    -1: "outside the volume",
}


@click.command(
    context_settings={"ignore_unknown_options": True},
    epilog=examples(
        "refspace at refspace-demo/atlas.zarr 8000,1500,3800",
        "refspace at refspace-demo/atlas.zarr 8 1.5 3.8 --unit mm",
        "refspace at refspace-demo/annotation.nrrd refspace-demo/structures.json \\\n"
        "8000,1500,3800 5000,4000,5700 --csv",
    ),
)
@annotation_argument
@click.argument(
    "words",
    nargs=-1,
    required=True,
    metavar="[STRUCTURES] POSITION...",
    shell_complete=complete_files,
)
@structures_columns
@access_options
@takes_sides
@unit_option
@takes_table_output
def at(
    annotation: str,
    words: tuple[str, ...],
    access: dict[str, Any],
    sides: dict[str, Any],
    unit: "LengthUnit",
    output: TableOutput,
    **geometry: Any,
) -> None:
    """Print the structure at a position, or at several.

    POSITION has three numbers with commas, or three words: x, y and z of the frame, in µm. They are
    ap, dv and ml of Allen's CCF. With --unit voxel they are indices, along the axes in the order
    that the file has them. ANNOTATION and STRUCTURES are as for 'refspace counts'.
    """
    from refspace.cli.tables import emit_table

    file, positions = _split(words)
    structures = structures_with(file, given_columns())
    space = open_space(annotation, structures, **geometry, **sides, **access)
    table = _table(space, positions, unit)
    emit_table("positions", table, output, lambda: _format(table))


def _split(words: Sequence[str]) -> tuple[str | None, list[tuple[float, ...]]]:
    """Structures file, where there is one, and positions."""
    numbers = [_numbers(word) for word in words]
    file = None if numbers[0] else words[0]
    rest = [*zip(words, numbers, strict=True)][0 if file is None else 1 :]
    if file is not None and file.startswith("-"):
        raise click.NoSuchOption(file)
    for word, parts in rest:
        if not parts:
            what = "an option that there is not" if word.startswith("-") else "no position"
            raise click.UsageError(f"{word!r} is {what}; give three numbers like 7000,2000,5700")
    if rest and all(len(parts) == 1 for _, parts in rest) and len(rest) % _AXES == 0:
        flat = [parts[0] for _, parts in rest]
        return file, [tuple(flat[n : n + _AXES]) for n in range(0, len(flat), _AXES)]
    wrong = [word for word, parts in rest if len(parts) != _AXES]
    if wrong or not rest:
        given = repr(wrong[0]) if wrong else "none"
        raise click.UsageError(
            f"a position has three numbers, like 7000,2000,5700, and {given} was given"
        )
    return file, [tuple(parts) for _, parts in rest]


def _numbers(word: str) -> list[float]:
    """Numbers of a position; none of any other word."""
    try:
        numbers = [float(part) for part in word.split(",")]
    except ValueError:
        return []
    return numbers if all(map(math.isfinite, numbers)) else []


def _table(
    space: "ReferenceSpace", positions: Sequence[tuple[float, ...]], unit: "LengthUnit"
) -> "pd.DataFrame":
    """Row for each position: where it is in µm, and what is there."""
    import numpy as np
    import pandas as pd

    from refspace.ops.positions import position_dims, position_in_micrometres

    grid = space.grid
    dims = position_dims(grid, unit)
    codes = space.structure_at(np.array(positions, float), unit=unit).to_numpy().tolist()
    places = [
        {d: position_in_micrometres(p, d, grid, unit) for d, p in zip(dims, row, strict=True)}
        for row in positions
    ]
    if len(codes) == 1 and codes[0] < 0:
        for dim, position in places[0].items():
            grid.index(dim, position)  # which raises, and names the range
    rows = [
        {
            **{f"{dim}_um": place[dim] for dim in grid.frame_dims},
            **_structure(space, code),
            "hemisphere": _side(space, place) if code >= 0 else "",
        }
        for place, code in zip(places, codes, strict=True)
    ]
    table = pd.DataFrame(rows)
    table["structure"] = table["structure"].astype("Int64")
    return table.set_index(table.columns[0])


def _structure(space: "ReferenceSpace", code: int) -> dict[str, Any]:
    """What is known of a label."""
    tree = space.structure_tree
    if code <= 0 or code not in tree.node_ids():
        status = _STATES.get(code, f"label {code}, which the structures lack")
        number = code if code > 0 else None
        return {"structure": number, "acronym": "", "name": "", "path": "", "status": status}
    (node,) = tree.nodes([code])
    above = tree.nodes(node["structure_id_path"])
    return {
        "structure": code,
        "acronym": str(node.get("acronym") or ""),
        "name": str(node.get("name") or ""),
        "path": " > ".join(str(each.get("acronym") or each["id"]) for each in above),
        "status": "structure",
    }


def _side(space: "ReferenceSpace", place: dict[str, float]) -> str:
    """Hemisphere of the voxel that holds a position."""
    from refspace.labels.hemispheres import hemisphere_line

    index = {dim: space.grid.index(dim, position) for dim, position in place.items()}
    hemispheres = space.volume.hemispheres
    if hemispheres.volume is None:
        return _SIDES[int(hemisphere_line(space.grid, hemispheres.midline)[index["ml"]])]
    return _SIDES[int(hemispheres.volume.isel(index))]


def _format(table: "pd.DataFrame") -> str:
    """Positions as text: a few lines of each."""
    import textwrap

    width = terminal_width()
    blocks = []
    for row in table.reset_index().to_dict("records"):
        where = ", ".join(f"{str(k)[:-3]} {v:g}" for k, v in row.items() if str(k).endswith("_um"))
        lines = {"position": f"{where} µm"}
        if row["status"] != "structure":
            lines["structure"] = row["status"]
        else:
            lines["structure"] = f"{row['structure']}  {cell(row['acronym'])}  {cell(row['name'])}"
            lines["path"] = cell(row["path"])
        if row["hemisphere"]:
            lines["hemisphere"] = row["hemisphere"]
        texts = [f"{name:10}  {text}" for name, text in lines.items()]
        if width is not None:
            texts = [textwrap.fill(text, width, subsequent_indent=" " * 12) for text in texts]
        blocks.append("\n".join(texts))
    return "\n\n".join(blocks)


COMMANDS = (at,)
