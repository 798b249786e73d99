"""Progress of computations, on a terminal."""

import sys
import time
from types import TracebackType
from typing import Any

import click
from dask.callbacks import Callback

_REDRAWN_EVERY = 0.1


class Progress(Callback):  # type: ignore[misc]
    """Say what is going on, and how many blocks of it are done.

    Within the ``with`` block every dask computation counts, however many there are. The line is
    redrawn in place on a terminal; elsewhere only its end is written. It goes to standard error.

    Parameters
    ----------
    label
        What is going on, like ``"counting voxels"``.
    """

    def __init__(self, label: str) -> None:
        super().__init__()
        self._label = label
        self._live = sys.stderr.isatty()
        self._done = self._known = 0

    def __enter__(self) -> "Progress":
        self._began = self._drawn = time.monotonic()
        super().__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, trace)
        ending = f"{time.monotonic() - self._began:.1f} s" if kind is None else "failed"
        self._write(ending, end="\n")

    def _start_state(self, dsk: Any, state: dict[str, Any]) -> None:
        self._known += sum(len(state[key]) for key in ("ready", "waiting"))

    def _posttask(self, *_: Any) -> None:
        self._done += 1
        if self._live and time.monotonic() - self._drawn > _REDRAWN_EVERY:
            self._drawn = time.monotonic()
            self._write(f"{self._done} of {self._known} tasks", end="")

    def _write(self, text: str, end: str) -> None:
        start = "\r\033[K" if self._live else ""
        click.echo(f"{start}{self._label} … {text}{end}", err=True, nl=False)
