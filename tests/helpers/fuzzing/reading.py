"""Reads of several kinds, each of which may be refused."""

from collections.abc import Callable
from typing import Any

from refspace.errors import RefspaceError


def each(*reads: Callable[[], Any]) -> None:
    """Try all reads; refused if every one of them is."""
    refusals: list[Exception] = []
    for read in reads:
        try:
            read()
        except (RefspaceError, FileNotFoundError) as error:
            refusals.append(error)
    if len(refusals) == len(reads):
        raise refusals[0]
