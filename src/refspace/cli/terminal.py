"""What commands print: without secrets, and without control characters that a terminal obeys."""

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from refspace.safe_text import escaped, shown, without_secrets_in

_GAP = "  "
_CUT = "…"
# What texts of a table are cut to, at most, where a line is too short for them.
_SHORTEST = 12


def echo(text: object, *, err: bool = False) -> None:
    """Print a text, whatever it holds.

    Parameters
    ----------
    text
        The text; of control characters, only those that end lines are meant.
    err
        Whether it goes to standard error.
    """
    click.echo(shown(str(text)), err=err)


def echo_json(values: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> None:
    """Print JSON, in which control characters are escaped as JSON has it."""
    safe: Any = (
        without_secrets_in(values)
        if isinstance(values, Mapping)
        else [without_secrets_in(row) for row in values]
    )
    # It leaves this one, the last of ASCII.
    click.echo(json.dumps(safe, indent=2).replace("\x7f", "\\u007f"))


def cell(text: object) -> str:
    """Text of a cell of a printed table, which stays on its line."""
    return escaped(str(text))


def one_line(message: str) -> str:
    """Message of an error as one line."""
    return " ".join(shown(message).split("\n"))


# ----- tables of texts


def terminal_width() -> int | None:
    """Columns of the terminal that standard output goes to; None for a pipe or a file."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def layout(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    width: int | None = None,
    right: Sequence[int] = (),
    keys: int = 1,
) -> str:
    """Table of texts in columns, within a width.

    Where a line is too short, the longest texts are cut, and then columns that still do not fit go
    below the others, beside the first ones again.

    Parameters
    ----------
    head, rows
        Names of the columns, and the cells, each on one line.
    width
        Columns of a line; None for as many as it takes.
    right
        Which columns are flush right, as numbers are; only the others are cut.
    keys
        How many of the first columns name a row.

    Examples
    --------
    >>> print(layout(["id", "name"], [["1", "root"], ["385", "Primary visual area"]], right=[0]))
     id  name
      1  root
    385  Primary visual area
    >>> print(layout(["name", "mean"], [["Primary visual area", "1.5"]], width=20, right=[1]))
    name            mean
    Primary visua…   1.5
    """
    lines = [[*map(str, row)] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    if width is not None:
        texts = [n for n in range(len(head)) if n not in right]
        widths = _shortened(widths, texts, width)
    blocks = _blocks(widths, width, keys)
    return "\n\n".join(
        "\n".join(_line(line, block, widths, right) for line in lines) for block in blocks
    )


def _shortened(widths: list[int], texts: Sequence[int], width: int) -> list[int]:
    """Widths of columns, of which the widest texts give what a line lacks."""
    widths = [*widths]
    while sum(widths) + len(_GAP) * (len(widths) - 1) > width:
        widest = max(texts, key=widths.__getitem__, default=None)
        if widest is None or widths[widest] <= _SHORTEST:
            break
        widths[widest] -= 1
    return widths


def _blocks(widths: Sequence[int], width: int | None, keys: int) -> list[list[int]]:
    """Columns of each block of lines: the first ones, and as many others as fit."""
    first = [*range(min(keys, len(widths)))]
    start = sum(widths[n] + len(_GAP) for n in first)
    blocks, used = [first[:]], start
    for n in range(len(first), len(widths)):
        needed = widths[n] + len(_GAP)
        if width is not None and used + widths[n] > width and len(blocks[-1]) > len(first):
            blocks.append(first[:])
            used = start
        blocks[-1].append(n)
        used += needed
    return blocks


def _line(
    cells: Sequence[str], block: Sequence[int], widths: Sequence[int], right: Sequence[int]
) -> str:
    parts = []
    for n in block:
        text = cells[n]
        if len(text) > widths[n]:
            text = f"{text[: widths[n] - 1]}{_CUT}"
        parts.append(text.rjust(widths[n]) if n in right else text.ljust(widths[n]))
    return _GAP.join(parts).rstrip()
