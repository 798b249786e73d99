"""Reads of several kinds, of which each may be refused, and all are tried."""

from collections.abc import Callable
from typing import Any

from refspace.errors import RefspaceError


def each(*reads: Callable[[], Any]) -> None:
    """Try all reads; refused if one of them is, once the others are tried."""
    refusals: list[Exception] = []
    for read in reads:
        try:
            read()
        except (RefspaceError, FileNotFoundError) as error:
            refusals.append(error)
    if refusals:
        raise refusals[0]
