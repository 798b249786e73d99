"""Filters of warnings that threads set and set back: none stays."""

import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest

from refspace.warning_filters import warnings_are


def test_no_filter_stays_that_one_of_several_threads_set() -> None:
    before = list(warnings.filters)
    both_are_there = threading.Barrier(2)

    def work(number: int) -> None:
        both_are_there.wait(60)
        for _ in range(300):
            with warnings_are("ignore", UserWarning):
                warnings.warn("of a thread", stacklevel=1)

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(work, range(2)))
    assert warnings.filters == before
    with pytest.warns(UserWarning, match="of nobody"):
        warnings.warn("of nobody", stacklevel=1)


def test_one_within_another() -> None:
    with warnings_are("error", UserWarning):
        with warnings_are("ignore", UserWarning):
            warnings.warn("ignored", stacklevel=1)
        with pytest.raises(UserWarning, match="an error"):
            warnings.warn("an error", stacklevel=1)
