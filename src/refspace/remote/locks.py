"""Locks between processes, for what one of them shall do and all shall have."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

_LOG = logging.getLogger("refspace")


@contextmanager
def waiting_lock(path: Path, doing: str) -> Iterator[None]:
    """Hold a lock file, after any other process that holds it; the system lets go when one dies.

    Parameters
    ----------
    path
        The file; it is there only while somebody holds it. Its folder must exist.
    doing
        What is done meanwhile, for the log of those who wait.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "lock")
    >>> with waiting_lock(path, "converting"):
    ...     path.exists()
    True
    >>> path.exists()
    False
    """
    lock = FileLock(path, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _LOG.info("waiting for another process that is %s", doing)
        lock.acquire()
    try:
        yield
    finally:
        # filelock leaves its file. It goes while it is held: whoever has opened it already will
        # find that it has no name, and try again.
        with suppress(OSError):
            path.unlink()
        lock.release()
