"""Location of a store: a folder of this machine, or a prefix on any file system of fsspec."""

import fnmatch
import functools
import glob
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import fsspec
from fsspec.implementations.local import LocalFileSystem

from refspace import limits
from refspace.errors import FormatError, StoreError, safe_cause
from refspace.files import first_link, read_at_most
from refspace.remote import retry
from refspace.remote.chunk_cache import ChunkCache
from refspace.remote.objects import ENGINES, Objects, file_system, read_object, reason
from refspace.remote.stamps import object_stamp
from refspace.safe_text import url_identity, without_secrets, without_values
from refspace.store.zarr_files import JSON_FILES

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
# HTTP status of a server that has another object, or was just asked to store one.
_CONDITION_FAILED = (409, 412)


@dataclass(frozen=True)
class Location:
    """Root of a store; small, and pickles without connections.

    Parameters
    ----------
    url
        Path or URL, as the caller wrote it.
    storage_options
        What fsspec needs to reach it.
    engine
        What reads from other machines: ``"fsspec"`` or ``"obstore"``.
    chunk_cache
        Folder for copies of what is read from other machines.
    """

    url: str
    # It may hold keys, which must not stand in a log.
    storage_options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    engine: str = "fsspec"
    chunk_cache: Path | None = None
    _folder: Path | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        url = str(self.url)
        # A protocol alone is the root of its file system.
        url = url if url.endswith("://") else url.rstrip("/") or "/"
        object.__setattr__(self, "url", url)
        object.__setattr__(self, "storage_options", dict(self.storage_options or {}))
        # Resolved now: the working directory may be another one when voxels are read.
        object.__setattr__(self, "_folder", None if _is_url(url) else _absolute(url))
        if self.engine not in ENGINES:
            raise StoreError(f"engine is {self.engine!r}; there are {' and '.join(ENGINES)}")

    def __repr__(self) -> str:
        # Tasks are shown so, on dashboards and in logs.
        return f"Location({self.name!r})"

    @property
    def name(self) -> str:
        """The URL without secrets, as messages, records and tables have it."""
        return without_secrets(self.url)

    @property
    def identity(self) -> str:
        """Text without secrets that tells the URL, or the path from anywhere, from others."""
        return url_identity(reachable(self.url))

    def __hash__(self) -> int:
        return hash(self.url)

    def with_url(self, url: str) -> "Location":
        """Location of another URL, reached with the same options."""
        return Location(url, self.storage_options, self.engine, self.chunk_cache)

    @property
    def local_path(self) -> Path | None:
        """Folder of this machine; None for anything else."""
        protocol = self.url.partition("://")[0]
        if self._folder is None and protocol not in LocalFileSystem.protocol:
            # Decided without opening it: obstore may be installed, and fsspec's package not.
            return None
        return Path(self._resolved()[1])

    def _resolved(self) -> tuple[Any, str]:
        if self._folder is not None:
            return LocalFileSystem(), self._folder.as_posix()
        return file_system(self.url, self.storage_options)

    def _objects(self) -> Objects:
        return ENGINES[self.engine](self.url, self.storage_options)

    def read(self, key: str, limit: int | None = None) -> bytes | None:
        """Bytes of an object, None if there is no such object.

        Parameters
        ----------
        key
            Name of the object.
        limit
            Most bytes that it may have. Of metadata it is the limit of that name.

        Raises
        ------
        FormatError
            If it has more.
        StoreError
            If a file of this machine may be there, but cannot be read.
        RemoteError
            If an object of another machine cannot be read, after all attempts.
        """
        is_metadata = limit is None and key.rpartition("/")[2] in JSON_FILES
        most = limits.limit("metadata_bytes") if is_metadata else limit
        data = self._read(key, most)
        if data is not None and most is not None and len(data) > most:
            hint = limits.how_to_raise("metadata_bytes") if is_metadata else "it is damaged"
            raise FormatError(f"{self.url}: {key} has more than {most} bytes; {hint}")
        return data

    def is_there(self, key: str) -> bool:
        """Whether there is an object of a name; hardly any of it is read.

        Raises
        ------
        StoreError, RemoteError
            As for `read`.
        """
        return self._read(key, 1) is not None

    def _read(self, key: str, most: int | None) -> bytes | None:
        """Bytes of an object; of a larger one than allowed, one more than that."""
        folder = self.local_path
        try:
            if folder is None:
                return read_object(self._objects(), key, f"{self.url}: {key}", most)
            self.refuse_links(key)
            return read_at_most(Path(f"{folder}/{key}"), most)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        except OSError as error:
            if folder is None or isinstance(error, StoreError):
                raise
            raise StoreError(f"{self.url}: {key} cannot be read: {error!r}") from error

    def refuse_links(self, key: str) -> None:
        """Refuse a key that leads through a symbolic link within a store of this machine.

        A link may lead to any file. Stores have none: who makes one of several parts has to copy
        them. The path of the store itself may have links.

        Raises
        ------
        StoreError
            If there is a link.
        """
        if (folder := self.local_path) is not None and (link := first_link(folder, key)):
            raise StoreError(
                f"{self.url}: {link} is a symbolic link, which is not followed within a store; "
                "put what it names in its place"
            )

    def links(self) -> list[str]:
        """Names of all symbolic links within a store of this machine; none of any other."""
        return [] if (folder := self.local_path) is None else sorted(_links(folder))

    def read_cached(self, key: str, version: str | None, limit: int | None = None) -> bytes | None:
        """Bytes of an object, from its copy on this machine where there is one.

        Parameters
        ----------
        key
            Name of the object.
        version
            Distinguishes the store from another one at the same URL at another time. If None, as
            for a store of another program, the object's own version is asked for: that costs a
            request, but brings no voxels. Without an answer, no copy is used.
        limit
            As for `read`.
        """
        # zarr's `CacheStore` keeps copies by name alone, without version or checksum: after a store
        # is replaced, or a disk was full, it would return wrong voxels.
        if (cache := self._chunk_cache) is None:
            return self.read(key, limit)
        try:
            version = version or self._object_version(key)
        except FileNotFoundError:
            return None
        if version is None:
            return self.read(key, limit)
        if (data := cache.get(key, version)) is not None:
            return data or None
        data = self.read(key, limit)
        self.put_in_cache(key, version, data)
        return data

    def put_in_cache(self, key: str, version: str | None, data: bytes | None) -> None:
        """Put a copy of an object on this machine; an empty copy stands for a missing object."""
        # An object that is empty itself is damaged, and not worth a copy.
        if (cache := self._chunk_cache) is None or data == b"":
            return
        if (version := version or self._object_version(key)) is not None:
            cache.put(key, version, data or b"")

    def _object_version(self, key: str) -> str | None:
        return object_stamp(self.url, key, self.storage_options, self.engine)

    @property
    def _chunk_cache(self) -> ChunkCache | None:
        """Copies of objects of other machines; None where there is no folder for them."""
        if self.chunk_cache is None or self.local_path is not None:
            return None
        return ChunkCache(self.chunk_cache, self.identity)

    def read_all(self, keys: Sequence[str]) -> dict[str, bytes | None]:
        """Bytes of several objects by name, requested at the same time."""
        return dict(zip(keys, map_concurrently(self.read, keys), strict=True))

    def size(self, key: str) -> int:
        """Bytes of an object as it is stored.

        Raises
        ------
        StoreError
            If the file system does not say.
        """
        file_system, path = self._resolved()
        try:
            # A listing from before the object was written would not have it.
            file_system.invalidate_cache(f"{path}/{key}")
            return int(file_system.size(f"{path}/{key}"))
        except Exception as error:  # whatever the file system's own library raises
            text = without_values(reason(error), self.storage_options)
            cause = safe_cause(error, self.storage_options)
            raise StoreError(f"{self.url}: {key} cannot be found: {text}") from cause

    def write(self, key: str, data: bytes) -> None:
        """Store an object."""
        file_system, path = self._resolved()
        file_system.makedirs(f"{path}/{key}".rpartition("/")[0], exist_ok=True)
        file_system.pipe_file(f"{path}/{key}", data)

    def create(self, key: str, data: bytes) -> bool | None:
        """Store an object on the condition that there is none of its name.

        Of several that do so at the same time, one succeeds.

        Returns
        -------
        bool or None
            Whether it was stored. None where the file system takes no conditions, or nothing at
            all. A server may also ignore the condition, and replace what is there.
        """
        file_system, path = self._resolved()
        file_system.makedirs(f"{path}/{key}".rpartition("/")[0], exist_ok=True)
        create = functools.partial(file_system.pipe_file, f"{path}/{key}", data, mode="create")
        try:
            retry.POLICY.run(create)
        except Exception as error:  # whatever the file system's own library raises
            if _is_there(error):
                # It may have been stored by an attempt whose answer was lost.
                return self.read(key) == data
            if retry.is_transient(error):
                raise
            return None
        return True

    def remove(self, key: str) -> None:
        """Remove an object, if it is there."""
        file_system, path = self._resolved()
        with suppress(FileNotFoundError):
            file_system.rm_file(f"{path}/{key}")

    def remove_all(self, pattern: str) -> None:
        """Remove folders, with all in them, and objects whose names fit a pattern."""
        if (folder := self.local_path) is not None:
            for match in folder.glob(pattern):
                shutil.rmtree(match) if match.is_dir() else match.unlink(missing_ok=True)
            return
        within = (pattern, f"{pattern}/*")
        keys = self.keys()
        self.remove_keys(k for k in keys if any(fnmatch.fnmatchcase(k, each) for each in within))

    def remove_keys(self, keys: Iterable[str]) -> None:
        """Remove objects, as far as they are there: many at a time where that is possible."""
        file_system, path = self._resolved()
        names = sorted(f"{path.rstrip('/')}/{key}" for key in keys)
        # Of names with brackets or stars `rm` makes patterns, which may fit objects of others.
        if names and not any(glob.has_magic(name) for name in names):
            with suppress(FileNotFoundError):
                file_system.rm(names)
                return
        for name in names:
            with suppress(FileNotFoundError):
                file_system.rm_file(name)

    def keys(self) -> set[str]:
        """Names of all objects, of a store that can be listed."""
        file_system, path = self._resolved()
        # A listing from before would lack what other processes have written.
        file_system.invalidate_cache()
        root = path.rstrip("/")
        keys = {key.removeprefix(root).lstrip("/") for key in file_system.find(path)}
        # Some object stores list an empty folder, which is no object.
        return keys - {""}


def _links(root: Path) -> Iterator[str]:
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(folder, name)
            if path.is_symlink():
                yield path.relative_to(root).as_posix()


def _is_there(error: Exception) -> bool:
    """Whether an object could not be created because there is one, or another one comes."""
    status = retry.http_status(error) or retry.http_status(error.__cause__ or error)
    return isinstance(error, FileExistsError) or status in _CONDITION_FAILED


def map_concurrently(read: Callable[[_Item], _Result], items: Sequence[_Item]) -> list[_Result]:
    """Results of reading several things at the same time: a request is mostly waiting.

    No more than the limit of requests are made at once, for metadata may name thousands of things.
    """
    pool = ThreadPoolExecutor(max(1, min(len(items), limits.limit("requests"))))
    try:
        return list(pool.map(read, items))
    finally:
        # When one fails, or the user interrupts, the others are not worth waiting for.
        pool.shutdown(wait=False, cancel_futures=True)


def _is_url(url: str) -> bool:
    """Whether it names a file system; a folder may have a name with ``::`` in it."""
    protocol, chained, _ = url.partition("::")
    return "://" in url or (bool(chained) and protocol in fsspec.available_protocols())


def reachable(url: str) -> str:
    """URL, or the path whatever the working directory, by which other processes reach the same.

    Examples
    --------
    >>> reachable("s3://bucket/a.zarr"), reachable("a.zarr") == str(Path("a.zarr").absolute())
    ('s3://bucket/a.zarr', True)
    """
    return url if _is_url(url) else str(_absolute(url))


def _absolute(path: str) -> Path:
    """Path whatever the working directory; a name that begins with ``~`` may be no home."""
    with suppress(RuntimeError):
        return Path(path).expanduser().absolute()
    return Path(path).absolute()
