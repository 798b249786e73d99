"""Files that volumes are read from, on this machine or another: their first bytes, and all of them.

A header is read from the first bytes. What follows is read when voxels are asked for, from a file
that is still the same one.
"""

import io
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

from refspace.blockwise.content_identity import Identity
from refspace.errors import FormatError, GridError, RemoteError
from refspace.limits import limit
from refspace.remote.objects import copy_object, read_url
from refspace.remote.stamps import file_stamp, object_status, status_stamp
from refspace.safe_text import url_identity
from refspace.types import PathLike


@dataclass(frozen=True)
class SourceFile:
    """A file, as it was when its header was read.

    Parameters
    ----------
    path
        Its absolute path, or its URL.
    size
        Its size in bytes.
    stamp
        Text that is another one once the file has changed; None where a server states nothing that
        would tell.
    storage_options
        What fsspec needs to reach a URL.
    """

    path: str
    size: int
    stamp: str | None
    storage_options: Mapping[str, Any] = field(
        default_factory=dict, hash=False, compare=False, repr=False
    )

    def open(self) -> BinaryIO:
        """Open it; a file of another machine is copied as a whole, for as long as it is open.

        Raises
        ------
        FormatError
            If it has changed since its header was read.
        OSError
            If it cannot be read.
        """
        with ExitStack() as undo:
            if is_url(self.path):
                copy = undo.enter_context(tempfile.NamedTemporaryFile(suffix=".refspace"))
                opened = cast("BinaryIO", copy)
                copy_object(self.path, Path(copy.name), self.storage_options)
                stamp = _remote_status(self.path, self.storage_options).stamp
            else:
                opened = undo.enter_context(_open_local(self.path))
                stamp = status_stamp(os.fstat(opened.fileno()))
            self._refuse_changed(stamp)
            undo.pop_all()
        return opened

    def _refuse_changed(self, stamp: str | None) -> None:
        if stamp != self.stamp:
            raise FormatError("the file has changed since it was opened; read it again")

    @property
    def identity(self) -> dict[str, Any]:
        """Where it is, and its stamp: different for any other file, and after a change."""
        name = url_identity(self.path) if is_url(self.path) else self.path
        return {"path": name, "stamp": self.stamp}

    def content_identity(self) -> Identity:
        """What tells the file from any other, once it is made sure that it is as it was opened.

        Raises
        ------
        FormatError
            If it has changed since.
        OSError
            If it is gone.
        """
        with naming(self.path):
            if not is_url(self.path):
                self._refuse_changed(file_stamp(self.path))
                return Identity(self.identity)
            self._refuse_changed(_remote_status(self.path, self.storage_options).stamp)
        doubt = None if self.stamp else f"{self.path}: its server states neither an ETag nor a time"
        return Identity(self.identity, doubt)


def is_url(path: PathLike) -> bool:
    """Whether a path is a URL of a file system of fsspec.

    Examples
    --------
    >>> is_url("s3://bucket/brain.nrrd"), is_url("brain.nrrd")
    (True, False)
    """
    return "://" in os.fspath(path)


@contextmanager
def opened_source(
    path: PathLike, storage_options: Mapping[str, Any] | None = None
) -> Iterator[tuple[SourceFile, BinaryIO]]:
    """Open a file to read its header; errors within the block name it.

    Parameters
    ----------
    path
        Path or URL.
    storage_options
        What fsspec needs to reach a URL.

    Yields
    ------
    source
        The file, as it is now.
    opened
        Its content from the first byte on; of a URL, the first bytes alone.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    if is_url(path):
        url = os.fspath(path)
        source = _remote_status(url, storage_options or {})
        start = read_url(url, storage_options, limit=limit("header_bytes"))
        with naming(url):
            yield source, io.BytesIO(start)
        return
    absolute = str(Path(path).absolute())
    with _open_local(absolute) as opened, naming(absolute):
        status = os.fstat(opened.fileno())
        yield SourceFile(absolute, status.st_size, status_stamp(status)), opened


def source_at(path: str, storage_options: Mapping[str, Any] | None = None) -> SourceFile:
    """A file, as it is now; it is not opened.

    Parameters
    ----------
    path
        Absolute path, or URL.
    storage_options
        What fsspec needs to reach a URL.

    Raises
    ------
    FileNotFoundError
        If there is no such file, or what has its name is none.
    OSError
        If it cannot be reached.
    """
    if is_url(path):
        return _remote_status(path, storage_options or {})
    status = Path(path).stat()
    if not stat.S_ISREG(status.st_mode):
        raise FileNotFoundError(f"{path} is a folder or device, and no file")
    return SourceFile(path, status.st_size, status_stamp(status))


def _open_local(path: str) -> BinaryIO:
    try:
        mode = Path(path).stat().st_mode
        # Not opened: that waits until another program writes into a pipe, or reads without an end.
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise FormatError(f"{path} is a pipe or device, and no file; save it as one")
        return Path(path).open("rb")
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path} does not exist") from error


def _remote_status(url: str, storage_options: Mapping[str, Any]) -> SourceFile:
    status = object_status(url, storage_options=storage_options)
    if status.size is None:
        raise RemoteError(
            f"{url} cannot be read in place: its server does not state its size; download it first"
        )
    return SourceFile(url, status.size, status.stamp, storage_options)


@contextmanager
def naming(path: str) -> Iterator[None]:
    """Put the path before the message of an error about a file."""
    try:
        yield
    except (FormatError, GridError) as error:
        error.args = (f"{path}: {error}",)
        raise
