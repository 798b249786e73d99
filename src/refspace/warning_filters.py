"""Filters of warnings around calls of other libraries."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, TypeAlias

_Action: TypeAlias = Literal["ignore", "error"]

# Filters belong to the process. Of two threads that change them at the same time, the one that ends
# last would restore those of the other, for good.
_FILTERS_LOCK = threading.RLock()


@contextmanager
def warnings_filtered(action: _Action, category: type[Warning]) -> Iterator[None]:
    """Filter warnings within a block, one thread at a time; it must be short, and yield nothing.

    Parameters
    ----------
    action
        What becomes of the warnings.
    category
        Of what class they are.

    Examples
    --------
    >>> with warnings_filtered("ignore", UserWarning):
    ...     warnings.warn("of no use here")
    """
    with _FILTERS_LOCK, warnings.catch_warnings():
        warnings.simplefilter(action, category)
        yield
