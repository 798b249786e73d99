"""Endings of the names of files, of which what is written follows."""

import os
from collections.abc import Sequence
from pathlib import Path

from refspace.errors import FormatError
from refspace.safe_text import shown
from refspace.types import PathLike


def checked_ending(path: PathLike, endings: Sequence[str], rule: str) -> str:
    """Ending of the name of a file, in lower case, checked to be one of a list.

    Parameters
    ----------
    path
        The file.
    endings
        What its name may end in, like ``".csv"``.
    rule
        What follows from the ending, for the message.

    Raises
    ------
    FormatError
        If its name ends in something else.

    Examples
    --------
    >>> checked_ending("counts.CSV", (".csv", ".tsv"), "tables are written as that")
    '.csv'
    """
    ending = Path(path).suffix.lower()
    if ending not in endings:
        raise ending_error(path, endings, rule)
    return ending


def ending_error(path: PathLike, endings: Sequence[str], rule: str) -> FormatError:
    """Error of a name that ends in nothing of a list; see `checked_ending`.

    Examples
    --------
    >>> print(ending_error("a.doc", (".csv", ".tsv"), "tables are written as that"))
    a.doc does not end in .csv or .tsv; tables are written as that
    """
    *first, last = endings
    return FormatError(
        f"{shown(os.fspath(path))} does not end in {', '.join(first)} or {last}; {rule}"
    )
