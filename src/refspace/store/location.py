"""Where a store is: a folder of this machine, or a prefix of any file system that fsspec knows."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec
import zarr.abc.store
from fsspec.implementations.local import LocalFileSystem
from zarr.storage import FsspecStore, LocalStore

from refspace.errors import StoreError


@dataclass(frozen=True)
class Location:
    """Root of a store; small, and pickles without connections.

    Parameters
    ----------
    url
        Path or URL, as the caller wrote it.
    storage_options
        What fsspec needs to reach it.
    """

    url: str
    storage_options: Mapping[str, Any] = field(default_factory=dict)
    _folder: Path | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        url = str(self.url)
        # A protocol alone is the root of its file system.
        url = url if url.endswith("://") else url.rstrip("/") or "/"
        object.__setattr__(self, "url", url)
        object.__setattr__(self, "storage_options", dict(self.storage_options or {}))
        # Now: when voxels are read, the working directory may be another.
        object.__setattr__(self, "_folder", None if _is_url(url) else _absolute(url))

    def __hash__(self) -> int:
        return hash(self.url)

    @property
    def local_path(self) -> Path | None:
        """Folder of this machine; None for anything else."""
        file_system, path = self._resolved()
        return Path(path) if isinstance(file_system, LocalFileSystem) else None

    def _resolved(self) -> tuple[Any, str]:
        if self._folder is not None:
            return LocalFileSystem(), str(self._folder)
        try:
            file_system, path = fsspec.core.url_to_fs(self.url, **self.storage_options)
        except Exception as error:  # whatever the file system's own library raises
            raise StoreError(f"{self.url}: cannot be reached: {error}") from error
        return file_system, path

    def read(self, key: str) -> bytes | None:
        """Bytes of an object, None if there is none.

        Raises
        ------
        StoreError
            If it can neither be read nor be told to be missing.
        """
        file_system, path = self._resolved()
        try:
            data: bytes = file_system.cat_file(f"{path}/{key}")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        except Exception as error:  # whatever the file system's own library raises
            raise StoreError(f"{self.url}: {key} cannot be read: {error!r}") from error
        return data

    def size(self, key: str) -> int:
        """Bytes of an object as it is stored.

        Raises
        ------
        StoreError
            If that cannot be told.
        """
        file_system, path = self._resolved()
        try:
            return int(file_system.size(f"{path}/{key}"))
        except Exception as error:  # whatever the file system's own library raises
            raise StoreError(f"{self.url}: {key} cannot be found: {error!r}") from error

    def write(self, key: str, data: bytes) -> None:
        """Store an object."""
        file_system, path = self._resolved()
        file_system.makedirs(f"{path}/{key}".rpartition("/")[0], exist_ok=True)
        file_system.pipe_file(f"{path}/{key}", data)

    def keys(self) -> set[str]:
        """All objects of the store; it must be one that can be listed."""
        file_system, path = self._resolved()
        root = file_system._strip_protocol(path).rstrip("/")
        return {found.removeprefix(root).lstrip("/") for found in file_system.find(path)}

    def zarr_store(self, *, read_only: bool = True) -> zarr.abc.store.Store:
        """The same place for zarr."""
        if (folder := self.local_path) is not None:
            return LocalStore(folder, read_only=read_only)
        return FsspecStore.from_url(
            self.url, storage_options=dict(self.storage_options), read_only=read_only
        )


def _is_url(url: str) -> bool:
    """Whether it names a file system; a folder may have a name with ``::`` in it."""
    protocol, chained, _ = url.partition("::")
    return "://" in url or (bool(chained) and protocol in fsspec.available_protocols())


def _absolute(path: str) -> Path:
    """Path whatever the working directory; a name that begins with ``~`` may be no home."""
    with suppress(RuntimeError):
        return Path(path).expanduser().absolute()
    return Path(path).absolute()
