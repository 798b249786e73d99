"""Stopping a command from outside: what Ctrl-C cleans up, other signals that end it do too."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 128 + signal.SIGINT
"""Exit status of what was stopped by Ctrl-C, as shells have it."""

# Of job schedulers and containers, and of a terminal that is closed. Windows lacks the second.
_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Stopped(KeyboardInterrupt):
    """What a signal raises that ends a process: everything that heeds Ctrl-C heeds it.

    Parameters
    ----------
    number
        Number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number


def exit_status(stop: KeyboardInterrupt) -> int:
    """Exit status of what was stopped, as shells have it.

    Examples
    --------
    >>> exit_status(KeyboardInterrupt()), exit_status(Stopped(15))
    (130, 143)
    """
    return stop.status if isinstance(stop, Stopped) else INTERRUPTED


def _stop(number: int, frame: FrameType | None) -> None:
    # Once: what is cleaned up now is not to be cut short by another.
    signal.signal(number, signal.SIG_IGN)
    raise Stopped(number)


@contextmanager
def stopping_like_ctrl_c() -> Iterator[None]:
    """Have signals that end a process raise `Stopped`, as long as nothing else handles them.

    What is ignored, as nohup has it, stays so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    taken = [number for number in _SIGNALS if signal.getsignal(number) == signal.SIG_DFL]
    for number in taken:
        signal.signal(number, _stop)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)
