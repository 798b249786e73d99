"""Files that appear whole or not at all, and locks that keep other writers out."""

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def alone(lock: Path, refusal: Callable[[], Exception]) -> Iterator[None]:
    """Hold a lock file, which the system lets go when the process dies, however it dies.

    Parameters
    ----------
    lock
        Its path; the file is there only while somebody holds it.
    refusal
        Makes what is raised where somebody else does.

    Examples
    --------
    >>> import tempfile
    >>> lock = Path(tempfile.mkdtemp(), "lock")
    >>> with alone(lock, RuntimeError):
    ...     lock.exists()
    True
    """
    held = FileLock(lock, timeout=0, thread_local=False)
    try:
        held.acquire()
    except Timeout:
        raise refusal() from None
    try:
        yield
    finally:
        # filelock leaves its file. It goes while it is held: whoever has opened it already will
        # find that it has no name, and try again.
        with suppress(OSError):
            lock.unlink()
        held.release()


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
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
    >>> with replacing(target) as temporary:
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
