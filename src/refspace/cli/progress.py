"""Progress of commands: a line on standard error that says what is going on."""

import logging
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn, Self

import click
from tqdm import tqdm

from refspace.cli.terminal import one_line

_REDRAWN_EVERY = 0.1
_TIMES = "{elapsed} gone, {remaining} to go"
_LOG = logging.getLogger("refspace")


class Line:
    """A line on standard error that says what is going on, and in the end how long it took.

    It is redrawn in place on a terminal; elsewhere only its end is written.

    Parameters
    ----------
    label
        What is going on, like ``"counting voxels"``.
    """

    def __init__(self, label: str) -> None:
        self._label = one_line(label)
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


def _bar_options(label: str, unit: str, *, live: bool) -> dict[str, Any]:
    """Options of a bar of tqdm on a line, with the time that the rest will take.

    It is drawn on a terminal only, and cleared when it ends, however it ends.
    """
    return {
        "desc": label,
        "bar_format": f"{{l_bar}}{{bar}}| {{n}} of {{total}} {unit}, {_TIMES}",
        "file": sys.stderr,
        "disable": not live,
        "leave": False,
        "dynamic_ncols": True,
        "delay": _REDRAWN_EVERY,
        "smoothing": 0,
        "miniters": 1,  # by time alone: a block may take a second, or none
    }


class Progress(Line):
    """Show the tasks of each dask computation within the ``with`` block, on a bar.

    Parameters
    ----------
    label
        What is going on.
    """

    def __init__(self, label: str) -> None:
        # Late: what computes nothing with dask does not wait for it.
        from tqdm.dask import TqdmCallback

        super().__init__(label)
        # The bar of a terminal: the one for notebooks would need a widget.
        options = _bar_options(self._label, "tasks", live=self._live)
        self._callback = TqdmCallback(tqdm_class=tqdm, **options)

    def __enter__(self) -> Self:
        self._callback.__enter__()
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        self._callback.__exit__(*error)
        super().__exit__(*error)


class BlockProgress(Line):
    """Show how many blocks are done, and how long the others will take.

    It is itself what `refspace.convert` and others take as ``progress``.

    Parameters
    ----------
    label
        What is going on.
    unit
        What is counted, where it is no blocks.
    """

    def __init__(self, label: str, unit: str = "blocks") -> None:
        super().__init__(label)
        self._unit = unit
        # Blocks that were done by an earlier run, which this one resumes; None before any report.
        self.first: int | None = None

    def __enter__(self) -> Self:
        options = _bar_options(self._label, self._unit, live=self._live)
        self._bar: tqdm[NoReturn] = tqdm(**options)
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        self._bar.close()
        super().__exit__(*error)

    def __call__(self, done: int, total: int) -> None:
        """Show how many blocks are done, of how many."""
        if self.first is None:
            # Blocks of an earlier run do not count for the speed.
            self.first = self._bar.initial = self._bar.n = done
        self._bar.total = total
        self._bar.update(done - self._bar.n)


class FetchProgress(Line):
    """Show how much of each file has come, and how much of the store is written.

    It is itself what `refspace.fetch` takes as ``progress``. It also shows what the library logs
    meanwhile: processes that it waits for, and downloads that it tries again.

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
        # When each file or store began, and with how much of it.
        self._begun: dict[str, tuple[float, int]] = {}
        self._handler = _MessageHandler(self._write_message)

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
        """Show how much of a file is done, of how much; for a store, how many blocks."""
        blocks = name.endswith(".zarr")
        if not blocks:
            self.downloads[name] = done
        self._begun.setdefault(name, (time.monotonic(), done))
        if self._is_due():
            what = "converting" if blocks else one_line(name)
            left = self._time_left(name, done, total)
            self._write(f"{what}, {self._text(done, total, blocks)}{left}")

    def _time_left(self, name: str, done: int, total: int) -> str:
        """How long the rest will take, at the speed so far; empty as long as nothing is known."""
        began, before = self._begun[name]
        if not total or done <= before:
            return ""
        seconds = (time.monotonic() - began) * (total - done) / (done - before)
        return f", {tqdm.format_interval(seconds)} to go"

    def _text(self, done: int, total: int, blocks: bool) -> str:
        share = f"{100 * done // total} %, " if total else ""
        if blocks:
            return f"{share}{done} of {total} blocks"
        return f"{share}{done / 1e6:.1f}{f' of {total / 1e6:.1f}' if total else ''} MB"


class _MessageHandler(logging.Handler):
    """Passes log messages to a function.

    Parameters
    ----------
    show
        The function.
    """

    def __init__(self, show: Callable[[str], None]) -> None:
        super().__init__(logging.INFO)
        self._show = show

    def emit(self, record: logging.LogRecord) -> None:
        """Pass a message on."""
        self._show(one_line(record.getMessage()))
