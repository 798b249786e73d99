"""Progress of computations, on a terminal."""

import logging
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn, Self

import click
from dask.callbacks import Callback
from tqdm import tqdm

_REDRAWN_EVERY = 0.1
_TIMES = "{elapsed} gone, {remaining} to go"
_LOG = logging.getLogger("refspace")


class _Line:
    """A line on standard error that says what is going on, and in the end how long it took.

    It is redrawn in place on a terminal; elsewhere only its end is written.

    Parameters
    ----------
    label
        What is going on, like ``"counting voxels"``.
    """

    def __init__(self, label: str) -> None:
        self._label = label
        self._live = sys.stderr.isatty()
        self.seconds = 0.0

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        self.seconds = time.monotonic() - self._began
        if kind is None:
            self._write(f"{self.seconds:.1f} s", end="\n")
        else:
            self._write("failed" if issubclass(kind, Exception) else "stopped", end="\n")

    def _write(self, text: str, end: str = "") -> None:
        start = "\r\033[K" if self._live else ""
        click.echo(f"{start}{self._label} … {text}{end}", err=True, nl=False)


class _Bar(_Line):
    """A line with a bar on it, and with how long what is left will take.

    Parameters
    ----------
    label
        What is going on.
    unit
        What is counted.
    """

    def __init__(self, label: str, unit: str) -> None:
        super().__init__(label)
        self._unit = unit

    def __enter__(self) -> Self:
        self._bar: tqdm[NoReturn] = tqdm(
            desc=self._label,
            bar_format=f"{{l_bar}}{{bar}}| {{n}} of {{total}} {self._unit}, {_TIMES}",
            file=sys.stderr,
            disable=not self._live,
            leave=False,
            dynamic_ncols=True,
            delay=_REDRAWN_EVERY,
            smoothing=0,
            miniters=1,  # by time alone: a block may take a second, or none
        )
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        self._bar.close()
        super().__exit__(*error)

    def _show(self, done: int, total: int) -> None:
        self._bar.total = total
        self._bar.update(done - self._bar.n)


class Progress(_Bar):
    """Say how many tasks of all dask computations within the ``with`` block are done.

    Parameters
    ----------
    label
        What is going on.
    """

    def __init__(self, label: str) -> None:
        super().__init__(label, "tasks")
        self._done = self._known = 0
        self._callback = Callback(start_state=self._start_state, posttask=self._posttask)

    def __enter__(self) -> Self:
        super().__enter__()
        self._callback.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._callback.__exit__(*error)
        super().__exit__(*error)

    def _start_state(self, dsk: Any, state: dict[str, Any]) -> None:
        self._known += sum(len(state[key]) for key in ("ready", "waiting"))

    def _posttask(self, *_: Any) -> None:
        self._done += 1
        self._show(self._done, self._known)


class BlockProgress(_Bar):
    """Say how many blocks are done, and how long the others will take.

    It is itself what `refspace.convert` and others take as ``progress``.

    Parameters
    ----------
    label
        What is going on.
    unit
        What is counted, where it is no blocks.
    """

    def __init__(self, label: str, unit: str = "blocks") -> None:
        super().__init__(label, unit)
        # Blocks that were done before, by a run that is resumed; None until there is anything.
        self.first: int | None = None

    def __call__(self, done: int, total: int) -> None:
        """Note how many blocks are done, of how many."""
        if self.first is None:
            # They say nothing of how fast it goes.
            self.first = self._bar.initial = self._bar.n = done
        self._show(done, total)


class FetchProgress(_Line):
    """Say how much of each file has come, and of the store how much is written.

    It is itself what `refspace.fetch` takes as ``progress``. What the library logs meanwhile, of
    other processes that it waits for and of what it tries again, is said too.

    Parameters
    ----------
    label
        What is going on.
    """

    def __init__(self, label: str) -> None:
        super().__init__(label)
        self._drawn = -_REDRAWN_EVERY
        # Bytes of each file that came, by its name.
        self.downloads: dict[str, int] = {}
        self._handler = _Saying(self._write_message)

    def __enter__(self) -> Self:
        _LOG.addHandler(self._handler)
        self._level = _LOG.level
        _LOG.setLevel(logging.INFO)
        super().__enter__()
        if self._live:
            self._write("")
        return self

    def __exit__(self, *error: Any) -> None:
        _LOG.removeHandler(self._handler)
        _LOG.setLevel(self._level)
        super().__exit__(*error)

    def _is_due(self) -> bool:
        """Whether to draw the line again."""
        now = time.monotonic()
        if not self._live or now - self._drawn < _REDRAWN_EVERY:
            return False
        self._drawn = now
        return True

    def _write_message(self, text: str) -> None:
        self._write(text, end="" if self._live else "\n")

    def __call__(self, name: str, done: int, total: int) -> None:
        """Note how much of a file is done, of how much; of a store, how many blocks."""
        blocks = name.endswith(".zarr")
        if not blocks:
            self.downloads[name] = done
        if self._is_due():
            self._write(f"{'converting' if blocks else name}, {self._text(done, total, blocks)}")

    def _text(self, done: int, total: int, blocks: bool) -> str:
        share = f"{100 * done // total} %, " if total else ""
        if blocks:
            return f"{share}{done} of {total} blocks"
        return f"{share}{done / 1e6:.1f}{f' of {total / 1e6:.1f}' if total else ''} MB"


class _Saying(logging.Handler):
    """Hands messages on.

    Parameters
    ----------
    say
        What takes them.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(logging.INFO)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        """Hand a message on."""
        self._say(record.getMessage())
