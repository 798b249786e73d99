"""The command ``list``: sources of atlases, what they have, and what is on this machine."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from refspace.cli.completion import complete_source
from refspace.cli.help import examples
from refspace.cli.options import takes_storage_options
from refspace.cli.outputs import TableOutput, takes_table_output
from refspace.cli.terminal import cell, echo, echo_json, layout, terminal_width
from refspace.cli.values import key_values


@click.command(
    "list",
    epilog=examples(
        "refspace list --sources", "refspace list allen", "refspace list --here --json"
    ),
)
@click.argument("source", required=False, shell_complete=complete_source)
@click.option("--here", is_flag=True, help="Only what is on this machine; asks no network.")
@click.option("--sources", is_flag=True, help="The sources alone, and what they are.")
@click.option(
    "-O",
    "--option",
    "more",
    metavar="KEY=VALUE",
    multiple=True,
    callback=key_values,
    help="What else the source understands, like base=FOLDER; any number of times.",
)
@takes_storage_options
@takes_table_output
def list_(
    source: str | None,
    here: bool,
    sources: bool,
    more: dict[str, Any],
    storage_options: dict[str, Any],
    output: TableOutput,
) -> None:
    """List the atlases that there are, and what is here.

    SOURCE is allen, brainglobe, abc, or that of another package; all of them if it is not given.
    Other commands take an atlas by the name that is printed. A table to write or --json says more:
    species, and where an atlas is on this machine.
    """
    if storage_options:
        more |= {"storage_options": storage_options}
    if sources:
        if source is not None or here or more:
            raise click.UsageError("--sources lists all sources: leave out the rest")
        from refspace.sources.listing import source_rows

        _deliver("sources", source_rows(), output, _format_sources)
        return
    from refspace.sources.listing import atlas_rows

    rows = atlas_rows(source, here=here, **more)
    _deliver("atlases", rows, output, _format_paths if here else _format)


def _deliver(name: str, rows: Sequence[Mapping[str, Any]], output: TableOutput, text: Any) -> None:
    """Print rows, or write them to a file."""
    if output.is_for_people:
        echo(text(rows))
    elif output.is_piped and output.form == "json":
        echo_json({name: rows})
    else:
        import pandas as pd

        from refspace.cli.tables import emit_table

        texts = [{key: _text(value) for key, value in row.items()} for row in rows]
        table = pd.DataFrame(texts, dtype=object)
        emit_table(name, table.set_index(table.columns[0]) if len(table) else table, output)


def _format(rows: Sequence[Mapping[str, Any]]) -> str:
    """Atlases as text: source and name, version, µm, what is here."""
    if not rows:
        return "there are no atlases"
    cells = [
        (_name(row), cell(row["version"] or ""), _text(row["resolution"]) or "", _yes(row["here"]))
        for row in rows
    ]
    return layout(("atlas", "version", "µm", "here"), cells, width=terminal_width())


def _format_paths(rows: Sequence[Mapping[str, Any]]) -> str:
    """What is here, as text: where it is too."""
    if not rows:
        return "there are no atlases here; 'refspace fetch' brings them"
    cells = [(_name(row), _text(row["resolution"]) or "", cell(row["here"])) for row in rows]
    # Paths are to be copied: not cut.
    return layout(("atlas", "µm", "path"), cells)


def _format_sources(rows: Sequence[Mapping[str, Any]]) -> str:
    cells = [(cell(row["source"]), cell(row["description"])) for row in rows]
    return layout(("source", "description"), cells, width=terminal_width())


def _name(row: Mapping[str, Any]) -> str:
    return cell(f"{row['source']}:{row['name']}")


def _yes(value: object) -> str:
    return "yes" if value else ""


def _text(value: Any) -> Any:
    """Resolutions as options take them: ``25`` or ``10,20,20``; other values as they are."""
    if isinstance(value, (int, float)):
        return f"{value:g}"
    return ",".join(f"{length:g}" for length in value) if isinstance(value, tuple) else value


COMMANDS = (list_,)
