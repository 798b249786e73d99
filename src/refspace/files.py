"""Files that appear whole or not at all, and locks that keep other writers out."""

import logging
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

_LOG = logging.getLogger("refspace")
# Of a file that does not say how long it is.
_STEP_BYTES = 2**16


def read_at_most(path: Path, limit: int | None) -> bytes:
    """Read a file; of one of more bytes than a limit, one more than that.

    Parameters
    ----------
    path
        The file.
    limit
        Most bytes to read; None for all.

    Raises
    ------
    OSError
        If it cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "notes.txt")
    >>> _ = path.write_bytes(b"whole")
    >>> read_at_most(path, 2**40), read_at_most(path, 2)
    (b'whole', b'who')
    """
    with path.open("rb") as file:
        if limit is None:
            return file.read()
        # Python takes memory for as many bytes as are asked for, before it looks for them.
        step = max(os.fstat(file.fileno()).st_size + 1, _STEP_BYTES)
        pieces, left = [], limit + 1
        while left and (piece := file.read(min(left, step))):
            pieces.append(piece)
            left -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


@contextmanager
def exclusive_lock(
    path: Path, refusal: Callable[[], Exception] | None = None, *, waiting_for: str = "working"
) -> Iterator[None]:
    """Hold a lock file, which the system releases when the process dies, however it dies.

    Parameters
    ----------
    path
        The lock file; it exists only while a process holds it. Its folder must exist.
    refusal
        Makes the error to raise where another process holds the lock; without it, wait.
    waiting_for
        What the other process is doing, for the log of those who wait.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "lock")
    >>> with exclusive_lock(path, RuntimeError):
    ...     path.exists()
    True
    >>> path.exists()
    False
    """
    lock = FileLock(path, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if refusal is not None:
            raise refusal() from None
        _LOG.info("waiting for another process that is %s", waiting_for)
        lock.acquire()
    try:
        yield
    finally:
        # filelock leaves its file. It is removed while it is held: a process that has opened
        # it already will find that it has no name, and try again.
        with suppress(OSError):
            path.unlink()
        lock.release()


def first_link(folder: str | os.PathLike[str], key: str) -> str | None:
    """First symbolic link on the way from a folder to what a key names in it; None if none is.

    The folder itself may be reached through links.

    Parameters
    ----------
    folder
        The folder.
    key
        Path below it, with slashes.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> (folder / "out").symlink_to("/")
    >>> first_link(folder, "out/etc"), first_link(folder, "in/etc")
    ('out', None)
    """
    path = os.fspath(folder)
    for count, part in enumerate(parts := key.split("/"), 1):
        path = f"{path}/{part}"
        try:
            if stat.S_ISLNK(os.lstat(path).st_mode):
                return "/".join(parts[:count])
        except (OSError, ValueError):
            return None  # nothing is there, so nothing to follow
    return None


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Write a file under a temporary name beside its own, and rename it when it is complete.

    A reader, or a power cut, meets the old file or the new one. When the block raises, the
    temporary file is removed and the target stays as it was.

    Parameters
    ----------
    path
        Final name of the file; its folder must exist.

    Yields
    ------
    Path
        Name to write to.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    FileExistsError
        If the name belongs to something that is no regular file.

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp(), "notes.txt")
    >>> with atomic_write(target) as temporary:
    ...     _ = temporary.write_text("whole")
    >>> target.read_text()
    'whole'
    """
    # Through a symbolic link, to what it names.
    target = Path(path).resolve()
    if not target.parent.is_dir():
        raise FileNotFoundError(f"folder {target.parent} does not exist; make it, then try again")
    if target.exists() and not target.is_file():
        raise FileExistsError(f"{target} is a folder or device; give the name of a file")
    # The ending is kept: some writers choose their format by it.
    temporary = target.with_name(f".{target.stem}.{secrets.token_hex(4)}.partial{target.suffix}")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
