"""The option ``--columns``: which columns of a structures file hold what."""

import functools
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import click

from refspace.cli.values import commas

if TYPE_CHECKING:
    from refspace.structure_tree import StructureTree

# Where a command notes which columns of the structures hold what.
_COLUMNS = "refspace.columns"


def named_columns(
    ctx: click.Context, param: click.Parameter, value: Iterable[str]
) -> dict[str, str]:
    """Turn texts like FIELD=COLUMN,FIELD=COLUMN into a mapping."""
    # Names of columns may have commas, but no field before a sign of equality follows there.
    parts = [part.strip() for text in value for part in re.split(r",(?=\s*\w+\s*=)", text)]
    pairs = [part.partition("=") for part in parts]
    for field, equals, name in pairs:
        if not (field.strip() and equals and name.strip()):
            raise click.BadParameter(
                f"{field + equals + name!r} is no FIELD=COLUMN, like id=region_id,acronym=abbr"
            )
    return {field.strip(): name.strip() for field, _, name in pairs}


columns_option = functools.partial(click.option, metavar="FIELD=COLUMN,…", multiple=True)


def _note_columns(ctx: click.Context, param: click.Parameter, value: Iterable[str]) -> None:
    ctx.meta[_COLUMNS] = named_columns(ctx, param, value)


structures_columns = columns_option(
    "--columns",
    expose_value=False,
    callback=_note_columns,
    help="Columns (or keys) of STRUCTURES, like id=region_id,acronym=abbr, where their names are "
    "not known; fields are id, name, acronym, parent, path, color, red, green, blue.",
)


def positions_or_structures(
    ctx: click.Context, param: click.Parameter, value: Iterable[str]
) -> tuple[str, ...] | None:
    """Names of the columns of positions; texts like id=region_id are noted for the structures."""
    named = [text for text in value if re.match(r"\s*\w+\s*=", text)]
    _note_columns(ctx, param, named)
    others = [text for text in value if text not in named]
    return commas(ctx, param, others[-1] if others else None)


def given_columns() -> dict[str, str]:
    """Columns of the structures file by field, as the command was given them."""
    return dict(click.get_current_context().meta.get(_COLUMNS, {}))


def structures_with(
    structures_file: str | None, columns: Mapping[str, str], option: str = "--columns"
) -> "StructureTree | str | None":
    """Structures whose columns the command was given; otherwise the file, for what opens it.

    Parameters
    ----------
    structures_file
        The file.
    columns
        Names of its columns by field.
    option
        Name of the option that gave them.
    """
    if not columns:
        return structures_file
    if structures_file is None:
        raise click.UsageError(f"{option} is of a structures file; give that too")
    from refspace.formats.structures import read_structures

    return read_structures(structures_file, columns=columns)
