"""Commands that show the structures of an atlas, and find some among them."""

import shutil
import sys
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from refspace.cli.columns import given_columns, structures_columns
from refspace.cli.completion import complete_atlas, complete_structures
from refspace.cli.help import examples
from refspace.cli.options import (
    access_options,
    formulas_option,
    is_named,
    is_store,
    open_space,
)
from refspace.cli.outputs import TableOutput, takes_table_output
from refspace.cli.regions import resolve
from refspace.cli.terminal import cell, echo
from refspace.cli.values import Resolution

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from refspace.structure_tree import StructureTree
    from refspace.types import Resolution as ResolutionLike

# Levels that a drawing shows below where it begins, and structures that a search lists, where
# nothing is asked for: they fit a screen.
_DEPTH = 2
_FOUND = 20
_COUNTED = ["direct", "total", "volume_mm3"]
resolution_option = click.option(
    "--resolution", type=Resolution(), help="µm per voxel, of an atlas by name that has several."
)


@click.command(
    epilog=examples(
        "refspace tree refspace-demo/atlas.zarr",
        "refspace tree refspace-demo/atlas.zarr VIS --depth 1 --counts",
        "refspace tree refspace-demo/structures.json TH --csv",
        "refspace tree refspace-demo/atlas.zarr -o structures.csv",
        "refspace tree refspace-demo/atlas.zarr --sets",
    )
)
@click.argument("source", metavar="ATLAS", shell_complete=complete_atlas)
@click.argument("structure", required=False, shell_complete=complete_structures)
@structures_columns
@access_options
@resolution_option
@click.option(
    "--depth",
    type=click.IntRange(min=0),
    help=f"Levels to show below STRUCTURE, or below the roots; {_DEPTH} if not given. Tables "
    "without it have all of them.",
)
@click.option("--counts", is_flag=True, help="Tell how many voxels each structure has.")
@click.option("--sets", is_flag=True, help="List the sets that structures are in, instead.")
@takes_table_output
@formulas_option
def tree(
    source: str,
    structure: str | None,
    access: dict[str, Any],
    resolution: "ResolutionLike | None",
    depth: int | None,
    counts: bool,
    sets: bool,
    output: TableOutput,
) -> None:
    """Draw the tree of the structures of an atlas, or a part of it.

    ATLAS is a structures file, the path or URL of a store with structures of its own, or an atlas
    by name. STRUCTURE is an id, acronym or name. A table has a row for each structure, with its
    parent, depth, colour, path and sets; 'counts' adds its own voxels and those of its subtree.
    """
    if sets and (structure is not None or depth is not None or counts):
        raise click.UsageError(
            "--sets is of the whole tree; give no STRUCTURE, --depth or --counts"
        )
    counted = _counts(source, access, resolution) if counts else None
    nodes = open_structures(source, access, resolution) if counted is None else counted[0]
    top = None if structure is None else resolve(nodes, [structure])
    levels = _DEPTH if depth is None else depth
    if counted is None and not sets and output.is_for_people:
        echo(nodes.show(top, depth=levels, width=_width()))
        return
    # Late: what is drawn needs no library of tables.
    from refspace.cli.tables import emit_table

    if sets:
        table = nodes.sets()
        emit_table("sets", table, output, lambda: _format_sets(table))
        return
    table = _below(nodes, top, depth)
    voxels = None
    if counted is not None:
        table = table.join(counted[1][_COUNTED])
        voxels = counted[1]["total"].to_dict()
    emit_table(
        "structures",
        table,
        output,
        lambda: nodes.show(top, depth=levels, counts=voxels, width=_width()),
    )


def _below(
    nodes: "StructureTree", top: "Sequence[int] | None", depth: int | None
) -> "pd.DataFrame":
    """Table of the structures below some, to a depth, where there is one."""
    table: pd.DataFrame = nodes.to_dataframe()
    if top is not None:
        table = table.loc[[i for ids in nodes.descendant_ids(top) for i in ids]]
    if depth is None or table.empty:
        return table
    shallow: pd.DataFrame = table[table["depth"] <= table["depth"].iloc[0] + depth]
    return shallow


@click.command(
    epilog=examples(
        "refspace search refspace-demo/atlas.zarr visual area",
        "refspace search refspace-demo/structures.json hipocampus",
        r"refspace search refspace-demo/atlas.zarr --regex '^VISp\d' --csv",
    )
)
@click.argument("source", metavar="ATLAS", shell_complete=complete_atlas)
@click.argument("words", nargs=-1, required=True, shell_complete=complete_structures)
@structures_columns
@access_options
@resolution_option
@click.option("--regex", is_flag=True, help="WORDS are a regular expression.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    help=f"How many structures to list; {_FOUND} if not given. Tables without it have all.",
)
@takes_table_output
@formulas_option
def search(
    source: str,
    words: tuple[str, ...],
    access: dict[str, Any],
    resolution: "ResolutionLike | None",
    regex: bool,
    limit: int | None,
    output: TableOutput,
) -> None:
    """Find structures by words of their acronyms and names, the best match first.

    ATLAS is as for 'refspace tree'. All WORDS have to be there, or parts of longer ones; capitals
    do not count. In the place of a word that occurs nowhere, those are taken that are spelled like
    it. The exit status is 1 if there is no such structure.
    """
    from refspace.cli.tables import emit_table

    nodes, query = open_structures(source, access, resolution), " ".join(words)
    found = nodes.search(query, regex=regex)
    if found.empty:
        hint = "'refspace tree' shows all" if regex else "try fewer words, or parts of them"
        raise click.ClickException(f"no structure matches {query!r}; {hint}")
    shown = found.head(_FOUND if limit is None else limit)
    if (found["match"] == "spelling").all():
        echo(f"no structure has all of {query!r}; these are spelled like it", err=True)
    emit_table(
        "structures",
        found if limit is None else shown,
        output,
        lambda: _format_found(shown, len(found)),
    )


def _format_found(table: "pd.DataFrame", total: int) -> str:
    """List of structures with a line for each."""
    ids = [str(i) for i in table.index]
    acronyms = [cell(text) for text in table["acronym"]]
    wide = max(map(len, ids)), max(map(len, acronyms))
    rows = zip(ids, acronyms, table["name"], strict=True)
    lines = [f"{i:>{wide[0]}}  {acronym:{wide[1]}}  {cell(name)}" for i, acronym, name in rows]
    if more := total - len(table):
        lines.append(f"… and {more} more; --limit {total} lists all")
    return "\n".join(_cut(line) for line in lines)


def _format_sets(table: "pd.DataFrame") -> str:
    """List of sets with a line for each, and how they are asked for."""
    if table.empty:
        return "the structures are in no sets"
    lines = [f"{'set':>10}  structures  name"]
    for set_id, name, count, regions in table.itertuples():
        called = f"{cell(name)} ({regions})" if regions else cell(name)
        lines.append(_cut(f"{set_id:>10}  {count:>10}  {called}"))
    return "\n".join(lines)


def _width() -> int | None:
    """Columns of a terminal; None where the output goes elsewhere, and is not cut."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _cut(line: str) -> str:
    width = _width()
    return line if width is None or len(line) <= width else f"{line[: width - 1]}…"


# ----- opening


def open_structures(
    source: str, access: dict[str, Any], resolution: "ResolutionLike | None" = None
) -> "StructureTree":
    """Structures of a file, a store or an atlas by name.

    Parameters
    ----------
    source
        Path or URL of the file or store, or the name of the atlas.
    access
        What reaching a store on another machine needs.
    resolution
        µm per voxel of an atlas that has several.
    """
    if _is_atlas(source):
        if given_columns():
            raise click.UsageError(f"--columns is of a structures file, and {source} is none")
        from refspace.cli.stored import stored_tree

        stored = stored_tree(source, resolution, **access)
        return stored or open_space(source, None, resolution, None, **access).structure_tree
    from refspace.formats.names import holds_volume
    from refspace.formats.structures import read_structures

    if holds_volume(source):
        raise click.UsageError(
            f"{source} is a volume, which names no structures; give their file, a store or an "
            "atlas by name"
        )
    return read_structures(source, columns=given_columns())


def _counts(
    source: str, access: dict[str, Any], resolution: "ResolutionLike | None"
) -> "tuple[StructureTree, pd.DataFrame]":
    """Structures of a store or an atlas by name, and a table of their voxels."""
    if not _is_atlas(source):
        raise click.UsageError(
            f"--counts needs voxels, and {source} is a structures file; give a store, as 'refspace "
            "convert' makes it of both, or an atlas by name"
        )
    from refspace.cli.stored import stored_counts

    if (stored := stored_counts(source, resolution, **access)) is not None:
        return stored.tree, stored.table()
    from refspace.cli.tables import counts_table

    space = open_space(source, None, resolution, None, **access)
    return space.structure_tree, counts_table(space.voxel_counts())


def _is_atlas(source: str) -> bool:
    """Whether a text is a store or the name of an atlas, rather than a structures file."""
    suffix = PurePosixPath(urlsplit(source).path).suffix.lower()
    is_url_of_file = "://" in source and suffix not in ("", ".zarr")
    return is_named(source) or (is_store(source) and not is_url_of_file)


COMMANDS = (tree, search)
