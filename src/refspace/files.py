"""Files that appear whole or not at all, locks that keep other writers out, and full disks."""

import errno
import logging
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from refspace.errors import StoreError, WriteError

_LOG = logging.getLogger("refspace")
# Of a file that does not say how long it is.
_STEP_BYTES = 2**16
_FULL = (errno.ENOSPC, errno.EDQUOT)
_NO_RIGHT = (errno.EACCES, errno.EPERM)


def write_error(error: BaseException, place: Path | str, note: str = "") -> WriteError | None:
    """Explain why nothing can be written at a place; None if that is not what an error says.

    Parameters
    ----------
    error
        The error, of the system or explained before.
    place
        Path or URL of what is written.
    note
        What else to say, like ``"the old file is untouched"``.

    Examples
    --------
    >>> full = OSError(errno.ENOSPC, "No space left on device")
    >>> str(write_error(full, "s3://bucket/a.zarr"))
    'no space left for s3://bucket/a.zarr; make room, or give another place'
    >>> write_error(ValueError("no number"), "a.nrrd") is None
    True
    """
    if not isinstance(error, OSError):
        return None
    local = place if isinstance(place, Path) else None
    if error.errno in _FULL:
        what, remedy = f"no space left {_device(local)}for {place}", "make room"
    elif error.errno == errno.EFBIG:
        what = f"{place} would be larger than files may be here"
        remedy = "raise the limit of the file system or of the process (ulimit -f)"
    elif error.errno == errno.EROFS:
        what, remedy = f"{place} is on a file system that takes no changes", "mount it for writing"
    elif error.errno in _NO_RIGHT and _is_at(error.filename, local):
        named = f": {error.filename} is out of bounds" if error.filename else ""
        what, remedy = f"no right to write {place}{named}", "have the right given to you"
    else:
        return None
    number = error.errno or 0
    return WriteError(
        number, "; ".join(filter(None, [what, note, f"{remedy}, or give another place"]))
    )


def _device(path: Path | None) -> str:
    """Device that a file is on, or would be, and how much is free there."""
    if path is None:
        return ""
    # A folder that is a symbolic link may be on another device than the link.
    folder = next(each for each in path.resolve().parents if each.exists())
    device = next(each for each in (folder, *folder.parents) if each.is_mount())
    return f"on {device} ({shutil.disk_usage(folder).free:,} bytes free) "


def _is_at(filename: object, place: Path | None) -> bool:
    """Whether an error is about what is written, and not about what is read meanwhile."""
    if filename is None or place is None:
        return filename is None
    path, place = Path(os.fsdecode(str(filename))).absolute(), place.absolute()
    within = (path, *path.parents)
    # What is written under another name, beside it, is hidden, and has its name in the other.
    beside = [p for p in within if p.parent == place.parent and p.name.startswith(".")]
    is_own = place in within or any(place.stem in each.name for each in beside)
    return is_own or path in place.parents


@contextmanager
def explained(place: str | os.PathLike[str]) -> Iterator[None]:
    """Explain full disks and missing rights, where something is written to a path.

    Raises
    ------
    WriteError
        If the block meets them; it names the path.
    """
    try:
        yield
    except WriteError:
        raise
    except OSError as error:
        if (explanation := write_error(error, Path(place))) is not None:
            raise explanation from error
        raise


def make_folder(path: str | os.PathLike[str]) -> Path:
    """Make a folder, and those that it is in, unless they are there.

    Raises
    ------
    WriteError
        If that is not possible.

    Examples
    --------
    >>> import tempfile
    >>> make_folder(Path(tempfile.mkdtemp(), "a", "b")).is_dir()
    True
    """
    folder = Path(path)
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def refuse_link(path: Path) -> None:
    """Refuse a symbolic link where a file or folder of our own is to be written.

    What it names would be cut or filled. Others may put links into folders that they may write to.

    Raises
    ------
    StoreError
        If the path is a symbolic link.
    """
    if path.is_symlink():
        raise StoreError(
            f"{path} is a symbolic link, and what it names would be written over; see who made it, "
            "then remove the link"
        )


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

    Raises
    ------
    StoreError
        If the lock file is a symbolic link.
    WriteError
        If it cannot be made.

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
    # It is cut to no bytes when it is opened, which would cut what a link names.
    refuse_link(path)
    lock = FileLock(path, thread_local=False)
    try:
        with explained(path):
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
def atomic_write(path: str | os.PathLike[str], *, through_links: bool = True) -> Iterator[Path]:
    """Write a file under a temporary name beside its own, and rename it when it is complete.

    A reader, or a power cut, meets the old file or the new one. When the block raises, the
    temporary file is removed and the target stays as it was.

    Parameters
    ----------
    path
        Final name of the file; its folder must exist.
    through_links
        Whether a symbolic link stays, and what it names is written. Otherwise the link is replaced,
        as is right for what nobody but this library writes.

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
    WriteError
        If there is no space left, or no right to write.

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp(), "notes.txt")
    >>> with atomic_write(target) as temporary:
    ...     _ = temporary.write_text("whole")
    >>> target.read_text()
    'whole'
    """
    target = Path(path).resolve() if through_links else Path(path).absolute()
    if not target.parent.is_dir():
        raise FileNotFoundError(f"folder {target.parent} does not exist; make it, then try again")
    if target.exists() and not target.is_file() and (through_links or not target.is_symlink()):
        raise FileExistsError(f"{target} is a folder or device; give the name of a file")
    # The ending is kept: some writers choose their format by it.
    temporary = target.with_name(f".{target.stem}.{secrets.token_hex(4)}.partial{target.suffix}")
    try:
        with explained(target):
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(target)
    except BaseException:
        with suppress(OSError):  # it would hide why
            temporary.unlink(missing_ok=True)
        raise
