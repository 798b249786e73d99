"""Filters of warnings, which all threads of a process share."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

# Of two threads that set filters and set them back, the last would leave those of the other.
_LOCK = threading.RLock()


@contextmanager
def warnings_are(action: Literal["error", "ignore"], category: type[Warning]) -> Iterator[None]:
    """Make warnings of a kind errors, or ignore them, in one thread of ours at a time.

    Parameters
    ----------
    action
        What becomes of them.
    category
        Their kind.

    Examples
    --------
    >>> with warnings_are("error", UserWarning):
    ...     warnings.warn("rows are cut")
    Traceback (most recent call last):
    UserWarning: rows are cut
    """
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter(action, category)
        yield
