"""Two writers that take turns at each request to a file system in memory."""

import threading
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

_REQUESTS = ("pipe_file", "cat_file", "find", "glob", "rm", "rm_file", "isfile", "size")
_SECONDS = 60


class _Writer(threading.Thread):
    """Work that stops before each of its requests, until it is its turn again."""

    def __init__(self, work: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self.result: Any = None
        self.error: BaseException | None = None
        self.requests = 0
        self.ended = False
        # Requests within a request are no others.
        self._inside = False
        self._work = work
        self._turn, self._stopped = threading.Semaphore(0), threading.Semaphore(0)
        self.start()

    def run(self) -> None:
        self._turn.acquire()
        try:
            self.result = self._work()
        except Exception as error:
            self.error = error
        finally:
            self.ended = True
            self._stopped.release()

    def request(self, call: Callable[[], Any]) -> Any:
        """Do a request, when it is this writer's turn."""
        if self._inside:
            return call()
        self._stopped.release()
        self._turn.acquire()
        self.requests += 1
        self._inside = True
        try:
            return call()
        finally:
            self._inside = False

    def go_on(self) -> None:
        """Have the writer do its next request, up to the one after that."""
        self._turn.release()
        assert self._stopped.acquire(timeout=_SECONDS)


def take_turns(
    works: Iterable[Callable[[], Any]],
    order: Iterable[int | Callable[[], None]],
    *,
    conditional: bool = True,
) -> list[_Writer]:
    """Let writers do their requests in an order; then each in turn goes on to its end.

    Parameters
    ----------
    works
        What the writers do.
    order
        Whose turn it is, request by request; or what happens in between, by nobody's request.
    conditional
        Whether the file system takes the condition that there is no object of a name.

    Returns
    -------
    list of writers
        With their ``result`` or ``error``, and the number of their ``requests``.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in _REQUESTS:
            patch.setattr(MemoryFileSystem, name, _switching(name, conditional))
        writers = [_Writer(work) for work in works]
        for turn in order:
            if callable(turn):
                turn()
            elif not writers[turn].ended:
                writers[turn].go_on()
        for writer in writers:
            while not writer.ended:
                writer.go_on()
    return writers


def _switching(name: str, conditional: bool) -> Callable[..., Any]:
    original = getattr(MemoryFileSystem, name)

    def request(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not conditional:
            kwargs.pop("mode", None)
        writer = threading.current_thread()
        if isinstance(writer, _Writer):
            return writer.request(lambda: original(self, *args, **kwargs))
        return original(self, *args, **kwargs)

    return request
