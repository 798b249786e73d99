"""The list of atlases, as commands print and write it."""

from typing import Any

import pandas as pd

from refspace.cli.terminal import cell

_WIDTH = 80
_GAP = "  "


def format_atlases(table: pd.DataFrame) -> str:
    """List of atlases as text of at most 80 columns: source and name, version, µm, what is here.

    Parameters
    ----------
    table
        Table of `refspace.atlases`.
    """
    if table.empty:
        return "there are no atlases"
    rows = [("atlas", "version", "µm", "here")]
    rows += [
        (
            cell(f"{row['source']}:{row['name']}"),
            cell(row["version"] or ""),
            _text(row["resolution"]) or "",
            "yes" if row["here"] else "",
        )
        for row in atlas_records(table)
    ]
    _, *widths = (max(map(len, column)) for column in zip(*rows, strict=True))
    # What is longer than names are is cut, so that the other columns stay on the line.
    longest = max(20, _WIDTH - sum(widths) - len(widths) * len(_GAP))
    cut = [(_cut(name, longest), *others) for name, *others in rows]
    widths = [max(map(len, column)) for column in zip(*cut, strict=True)]
    return "\n".join(
        _GAP.join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in cut
    )


def atlas_records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of the list as JSON values."""
    return [{str(name): row[name] for name in row} for row in table.to_dict("records")]


def with_texts(table: pd.DataFrame) -> pd.DataFrame:
    """List whose resolutions are texts, as options take them: ``25`` or ``10,20,20``."""
    return table.assign(resolution=table["resolution"].map(_text))


def _text(resolution: Any) -> str | None:
    if resolution is None:
        return None
    lengths = resolution if isinstance(resolution, tuple) else (resolution,)
    return ",".join(f"{length:g}" for length in lengths)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"
