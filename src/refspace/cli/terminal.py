"""What commands print: without secrets, and without control characters that a terminal obeys."""

import json
from collections.abc import Mapping
from typing import Any

import click

from refspace.safe_text import escaped, shown, without_secrets_in


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


def echo_json(values: Mapping[str, Any]) -> None:
    """Print JSON, in which control characters are escaped as JSON has it."""
    text = json.dumps(without_secrets_in(values), indent=2)
    # It leaves this one, the last of ASCII.
    click.echo(text.replace("\x7f", "\\u007f"))


def cell(text: object) -> str:
    """Text of a cell of a printed table, which stays on its line."""
    return escaped(str(text))


def one_line(message: str) -> str:
    """Message of an error as one line."""
    return " ".join(shown(message).split("\n"))
