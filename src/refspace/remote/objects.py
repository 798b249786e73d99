"""Objects of any file system, read whole: patiently, and with errors that say what to do."""

import functools
import json
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import fsspec
from fsspec.implementations.http import HTTPFileSystem

from refspace.errors import MissingDependencyError, RemoteError
from refspace.remote import retry
from refspace.remote.answers import is_page
from refspace.remote.buckets import protocol_of, region_of, with_public

_EXTRAS = {"s3": "s3", "gs": "gs"}
_MISSING = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
# What file systems call the size of a file, and what changes with it.
_STAMPS = ("size", "mtime", "ETag", "etag", "LastModified", "last_modified", "generation")
# There is one policy for all engines: that of `retry`.
_NO_RETRIES: Any = {"max_retries": 0}


class Objects(Protocol):
    """Objects below a root, by name."""

    def read(self, key: str) -> bytes:
        """Content of an object."""

    def size(self, key: str) -> int:
        """Bytes of an object."""


class FsspecObjects:
    """Objects below a URL of any file system that fsspec knows.

    Parameters
    ----------
    url
        Root.
    storage_options
        What fsspec needs to reach it.
    """

    def __init__(self, url: str, storage_options: Mapping[str, Any]) -> None:
        self._fs, self._root = file_system(url, storage_options)

    def read(self, key: str) -> bytes:
        """Content of an object."""
        data: bytes = self._fs.cat_file(f"{self._root}/{key}")
        return data

    def size(self, key: str) -> int:
        """Bytes of an object."""
        return int(self._fs.size(f"{self._root}/{key}"))


class ObstoreObjects:
    """Objects below an S3, Google Cloud or HTTP URL, through obstore.

    Parameters
    ----------
    url
        Root.
    storage_options
        As for fsspec; those that obstore has an equal of.
    """

    def __init__(self, url: str, storage_options: Mapping[str, Any]) -> None:
        self._store = _obstore(url, json.dumps(dict(storage_options), sort_keys=True, default=repr))

    def read(self, key: str) -> bytes:
        """Content of an object."""
        import obstore

        return bytes(obstore.get(self._store, key).bytes())

    def size(self, key: str) -> int:
        """Bytes of an object."""
        import obstore

        return int(obstore.head(self._store, key)["size"])


ENGINES: dict[str, Callable[[str, Mapping[str, Any]], Objects]] = {
    "fsspec": FsspecObjects,
    "obstore": ObstoreObjects,
}


def file_system(url: str, storage_options: Mapping[str, Any]) -> tuple[Any, str]:
    """File system of a URL, and the path in it; public buckets are read without an account.

    Raises
    ------
    MissingDependencyError
        If the package for its protocol is not installed.
    RemoteError
        If there is no such protocol, or the options are none of it.
    """
    try:
        options = _with_timeout(url, with_public(url, storage_options))
        found: tuple[Any, str] = fsspec.core.url_to_fs(url, **options)
    except ImportError as error:
        extra = _EXTRAS.get(protocol_of(url))
        hint = f": pip install 'refspace[{extra}]'" if extra else ""
        raise MissingDependencyError(f"{url}: {error}{hint}") from error
    except Exception as error:  # whatever the file system's own library raises
        raise RemoteError(f"{url}: cannot be reached: {error}") from error
    return found


def _with_timeout(url: str, storage_options: dict[str, Any]) -> dict[str, Any]:
    """Options that give up on a server which has fallen silent, and leave trying again to us."""
    protocol = protocol_of(url)
    if protocol == "s3":
        # botocore would try five times for each of our attempts.
        patience = {"connect_timeout": 15, "read_timeout": 60, "retries": {"max_attempts": 0}}
        return {"config_kwargs": patience, **storage_options}
    if protocol in ("http", "https"):
        import aiohttp

        # aiohttp waits 5 minutes.
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=15, sock_read=60)
        return {"client_kwargs": {"timeout": timeout}, **storage_options}
    return storage_options


@functools.lru_cache(maxsize=64)
def _obstore(url: str, storage_options: str) -> Any:
    """Store of obstore; one for each URL, because it holds the connections."""
    try:
        import obstore.store
    except ImportError as error:
        raise MissingDependencyError(
            "the engine obstore is not installed: pip install 'refspace[obstore]'"
        ) from error
    options = with_public(url, json.loads(storage_options))
    protocol = protocol_of(url)
    if protocol in ("http", "https"):
        _refuse_others(url, options, set())
        return obstore.store.HTTPStore.from_url(
            url, client_options={"allow_http": True}, retry_config=_NO_RETRIES
        )
    if protocol == "s3":
        return obstore.store.S3Store.from_url(
            url, retry_config=_NO_RETRIES, **_s3_config(url, options)
        )
    if protocol == "gs":
        anonymous = options.get("token") == "anon"
        _refuse_others(url, options, {"token"} if anonymous else set())
        return obstore.store.GCSStore.from_url(
            url, retry_config=_NO_RETRIES, skip_signature=anonymous
        )
    raise RemoteError(f"{url}: the engine obstore reads s3, gs, http and https; leave engine out")


def _s3_config(url: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of s3fs in the words of obstore."""
    client = options.get("client_kwargs", {})
    endpoint = options.get("endpoint_url", client.get("endpoint_url"))
    config: dict[str, Any] = {
        "skip_signature": options.get("anon"),
        "access_key_id": options.get("key"),
        "secret_access_key": options.get("secret"),
        "session_token": options.get("token"),
        "endpoint": endpoint,
        "region": client.get("region_name") or region_of(url) or (endpoint and "us-east-1"),
        "client_options": {"allow_http": True} if str(endpoint).startswith("http:") else None,
    }
    known = {"anon", "key", "secret", "token", "endpoint_url", "client_kwargs"}
    _refuse_others(url, options, known)
    return {name: value for name, value in config.items() if value is not None}


def _refuse_others(url: str, options: Mapping[str, Any], known: set[str]) -> None:
    """Refuse options that would be passed over."""
    if unknown := options.keys() - known:
        takes = f"the storage options {', '.join(sorted(known))}" if known else "no storage options"
        raise RemoteError(
            f"{url}: the engine obstore takes {takes}, not {', '.join(sorted(unknown))}; leave "
            "them or the engine out"
        )


def read_object(objects: Objects, key: str, name: str) -> bytes:
    """Content of an object, trying again where that may help.

    Parameters
    ----------
    objects
        Where it is.
    key
        Its name there.
    name
        What to call it in errors.

    Raises
    ------
    FileNotFoundError
        If there is no such object.
    RemoteError
        If it can neither be read nor be told to be missing, or a page for people comes instead.
    """
    try:
        data = retry.POLICY.run(functools.partial(objects.read, key))
    except _MISSING as error:
        raise FileNotFoundError(f"{name} does not exist") from error
    except Exception as error:  # whatever the file system's own library raises
        raise RemoteError(f"{name} cannot be read: {reason(error)}") from error
    if is_page(data):
        raise RemoteError(
            f"{name} cannot be read: the server answers with a web page; it wants a login, or the "
            "URL is that of a page and not of the data"
        )
    return data


def reason(error: BaseException) -> str:
    """Why something could not be read, and what to do about it."""
    status = retry.status_of(error) or retry.status_of(error.__cause__ or error)
    # obstore adds pages of its internals.
    text = (str(error).splitlines() or [""])[0]
    if status in (401, 403) or isinstance(error, PermissionError):
        return (
            f"access is denied ({text}): give credentials, or none for a public bucket "
            "(storage_options={'anon': True}); or there is no such object and no right to list"
        )
    if type(error).__name__ in ("NoCredentialsError", "UnauthenticatedError"):
        return f"{text}; for a public bucket give storage_options={{'anon': True}}"
    if isinstance(error.__cause__, socket.gaierror):
        return (
            f"{text}; there is no such host, or no network: atlases that refspace.fetch brought "
            "before need none"
        )
    times = f", {retry.POLICY.attempts} times" if retry.is_transient(error) else ""
    return (f"HTTP status {status}" if status else f"{type(error).__name__}: {text}") + times


def read_url(
    url: str, storage_options: Mapping[str, Any] | None = None, *, limit: int | None = None
) -> bytes:
    """Content of a small file at a path or URL.

    Parameters
    ----------
    url
        Path of this machine, or URL of any file system that fsspec knows.
    storage_options
        What fsspec needs to reach it.
    limit
        Most bytes to read; of a larger file, one more comes.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    RemoteError
        If it cannot be read.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp(), "note.txt")
    >>> _ = path.write_bytes(b"whole")
    >>> read_url(str(path)), read_url(str(path), limit=2)
    (b'whole', b'who')
    """
    if Path(url).exists():
        # Its name may be one that fsspec would take for a chain of URLs.
        with Path(url).open("rb") as file:
            return file.read(-1 if limit is None else limit + 1)
    fs, path = file_system(url, storage_options or {})
    return read_object(_Limited(fs, limit), path, url)


def copy_object(url: str, target: Path, storage_options: Mapping[str, Any] | None = None) -> None:
    """Bring a file of any file system that fsspec knows here, however large it is.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    RemoteError
        If it cannot be read.
    """
    fs, path = file_system(url, storage_options or {})
    try:
        retry.POLICY.run(functools.partial(fs.get_file, path, str(target)))
    except _MISSING as error:
        raise FileNotFoundError(f"{url} does not exist") from error
    except Exception as error:  # whatever the file system's own library raises
        raise RemoteError(f"{url} cannot be read: {reason(error)}") from error


def stamp_of(url: str, storage_options: Mapping[str, Any] | None = None) -> str:
    """What tells a file from itself once it has changed, as its file system tells it.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    RemoteError
        If it cannot be reached.
    """
    fs, path = file_system(url, storage_options or {})
    try:
        fs.invalidate_cache()
        facts = retry.POLICY.run(functools.partial(fs.info, path))
    except _MISSING as error:
        raise FileNotFoundError(f"{url} does not exist") from error
    except Exception as error:  # whatever the file system's own library raises
        raise RemoteError(f"{url} cannot be reached: {reason(error)}") from error
    return json.dumps({name: str(facts[name]) for name in _STAMPS if facts.get(name)})


class _Limited:
    """Objects of a file system, of which no more than a number of bytes is read."""

    def __init__(self, fs: Any, limit: int | None) -> None:
        self._fs, self._most = fs, None if limit is None else limit + 1

    def size(self, key: str) -> int:
        return int(self._fs.size(key))

    def read(self, key: str) -> bytes:
        if self._most is None:
            data: bytes = self._fs.cat_file(key)
            return data
        # As a stream: asked for a range, a server may send the whole all the same. A size that is
        # given spares the request that would ask for it.
        http = isinstance(self._fs, HTTPFileSystem)
        with self._fs.open(key, "rb", **({"block_size": 0, "size": 1} if http else {})) as stream:
            pieces, left = [], self._most
            while left and (piece := stream.read(left)):
                pieces.append(piece)
                left -= len(piece)
        return b"".join(pieces)
