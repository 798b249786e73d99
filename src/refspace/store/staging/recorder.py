"""Records finished work in batches, every few seconds."""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, Self, TypeVar

# A killed run loses no more, and syncing costs little.
RECORD_SECONDS = 2.0

Part = TypeVar("Part")


class Recorder(Generic[Part]):
    """Collects finished parts of a job, and records them every few seconds and at the end.

    Parameters
    ----------
    record
        Records some parts durably.
    seconds
        Time from one record to the next; a few if not given.

    Examples
    --------
    >>> with Recorder(print, seconds=60) as recorder:
    ...     recorder.add("block 1")
    ...     recorder.add("block 2")
    ['block 1', 'block 2']
    """

    def __init__(self, record: Callable[[list[Part]], None], seconds: float | None = None) -> None:
        self._record = record
        self._seconds = RECORD_SECONDS if seconds is None else seconds
        self._fresh: list[Part] = []

    def __enter__(self) -> Self:
        self._recorded = time.monotonic()
        return self

    def add(self, part: Part) -> None:
        """Note that a part is done."""
        self._fresh.append(part)
        if time.monotonic() - self._recorded >= self._seconds:
            self._flush()

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        if kind is None:
            self._flush()
            return
        # Finished work is not lost with what failed; the first failure is the one to raise.
        with suppress(Exception):
            self._flush()

    def _flush(self) -> None:
        fresh, self._fresh = self._fresh, []
        if fresh:
            self._record(fresh)
        self._recorded = time.monotonic()
