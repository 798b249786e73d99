"""Objects of local and remote file systems, read whole, with retries and helpful errors."""

import functools
import json
import re
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import fsspec
from fsspec.asyn import AsyncFileSystem

from refspace.errors import MissingDependencyError, RemoteError, safe_cause
from refspace.files import read_at_most
from refspace.remote import retry
from refspace.remote.buckets import add_anonymous_access, bucket_region, url_protocol
from refspace.remote.intake import Intake
from refspace.safe_text import secrets_in, without_secrets, without_values
from refspace.signatures import is_web_page

_PACKAGES = {"s3": "s3fs", "gs": "gcsfs"}
_MISSING = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
# Retries of obstore are off: the policy of `retry` holds for all engines, once.
_PIECE_BYTES = 2**20
_NO_RETRIES: Any = {"max_retries": 0}


class Objects(Protocol):
    """A reader of the objects below a root, by name."""

    def read(self, key: str, limit: int | None = None) -> bytes:
        """Read an object; of one of more bytes than a limit, only a part that is longer than it."""

    def size(self, key: str) -> int:
        """Bytes of an object."""


class FsspecObjects:
    """Objects below a URL of any file system that fsspec knows.

    Parameters
    ----------
    url
        URL of the root.
    storage_options
        Options of fsspec for the file system, such as credentials.
    """

    def __init__(self, url: str, storage_options: Mapping[str, Any]) -> None:
        self._fs, self._root = file_system(url, storage_options)

    def read(self, key: str, limit: int | None = None) -> bytes:
        """Read an object; of one of more bytes than a limit, one more than that."""
        return _read_limited(self._fs, f"{self._root}/{key}", limit)

    def size(self, key: str) -> int:
        """Bytes of an object."""
        return int(self._fs.size(f"{self._root}/{key}"))


class ObstoreObjects:
    """Objects below an S3, Google Cloud or HTTP URL, through obstore.

    Parameters
    ----------
    url
        URL of the root.
    storage_options
        Options in the words of fsspec; those that obstore has an equivalent for.
    """

    def __init__(self, url: str, storage_options: Mapping[str, Any]) -> None:
        _check_host(url)
        self.store = _obstore(url, json.dumps(dict(storage_options), sort_keys=True, default=repr))

    def read(self, key: str, limit: int | None = None) -> bytes:
        """Read an object; of one of more bytes than a limit, only a part that is longer than it."""
        import obstore

        response = obstore.get(self.store, key)
        if limit is None:
            return bytes(response.bytes())
        # Piece by piece: a server may send more than it announces.
        pieces, count = [], 0
        for piece in response.stream(_PIECE_BYTES):
            pieces.append(bytes(piece))
            count += len(pieces[-1])
            if count > limit:
                break
        return b"".join(pieces)

    def size(self, key: str) -> int:
        """Bytes of an object."""
        import obstore

        return int(obstore.head(self.store, key)["size"])


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
        If there is no such protocol, or it does not take one of the options.
    """
    _check_host(url)
    try:
        options = _with_timeout(url, add_anonymous_access(url, storage_options))
        location: tuple[Any, str] = fsspec.core.url_to_fs(url, **options)
    except ImportError as error:
        package = _PACKAGES.get(url_protocol(url))
        hint = f": pip install {package}" if package else ""
        raise MissingDependencyError(f"{url}: {error}{hint}") from error
    except Exception as error:  # whatever the file system's own library raises
        secrets = {**storage_options, **secrets_in(url)}
        text = without_values(str(error), secrets)
        raise RemoteError(f"{url}: cannot be reached: {text}") from safe_cause(error, secrets)
    return location


def _is_http(fs: object) -> bool:
    """Whether a file system is one of HTTP."""
    # Not imported for the question: its library takes a tenth of a second, and who has such a file
    # system has imported it.
    http = sys.modules.get("fsspec.implementations.http")
    return http is not None and isinstance(fs, http.HTTPFileSystem)


def _check_host(url: str) -> None:
    """Refuse a URL whose host nobody can tell, as where a password has signs that URLs do not."""
    for part in re.findall(r"https?://\S*?(?=::\w+://|$)", url):
        try:
            urlsplit(part).port  # noqa: B018  # parsed when it is asked for
        except ValueError:
            raise RemoteError(
                f"{url} is no URL: where its host ends cannot be told; write the special signs of "
                "a password as %2F for / and %40 for @"
            ) from None


def _with_timeout(url: str, storage_options: dict[str, Any]) -> dict[str, Any]:
    """Add timeouts for servers that fall silent, and switch off the retries of other libraries."""
    protocol = url_protocol(url)
    if protocol == "s3":
        # botocore would make five attempts for each of ours.
        patience = {"connect_timeout": 15, "read_timeout": 60, "retries": {"max_attempts": 0}}
        return {"config_kwargs": patience, **storage_options}
    if protocol in ("http", "https"):
        import aiohttp

        # Its default is five minutes for a whole download, however fast it runs.
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=15, sock_read=60)
        return {"client_kwargs": {"timeout": timeout}, **storage_options}
    return storage_options


@functools.lru_cache(maxsize=64)
def _obstore(url: str, storage_options: str) -> Any:
    """Store of obstore; one for each URL, so that its connections are used again.

    The options come as JSON because the cache needs hashable arguments.
    """
    try:
        import obstore.store
    except ImportError as error:
        raise MissingDependencyError(
            "the engine obstore is not installed: pip install obstore"
        ) from error
    options = add_anonymous_access(url, json.loads(storage_options))
    protocol = url_protocol(url)
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
    """Translate options of s3fs into those of obstore."""
    client = options.get("client_kwargs", {})
    endpoint = options.get("endpoint_url", client.get("endpoint_url"))
    # obstore insists on a region; servers other than Amazon's ignore it.
    config: dict[str, Any] = {
        "skip_signature": options.get("anon"),
        "access_key_id": options.get("key"),
        "secret_access_key": options.get("secret"),
        "session_token": options.get("token"),
        "endpoint": endpoint,
        "region": client.get("region_name") or bucket_region(url) or (endpoint and "us-east-1"),
        "client_options": {"allow_http": True} if str(endpoint).startswith("http:") else None,
    }
    known = {"anon", "key", "secret", "token", "endpoint_url", "client_kwargs"}
    _refuse_others(url, options, known)
    return {name: value for name, value in config.items() if value is not None}


def _refuse_others(url: str, options: Mapping[str, Any], known: set[str]) -> None:
    """Refuse options that would be ignored."""
    if unknown := options.keys() - known:
        takes = f"the storage options {', '.join(sorted(known))}" if known else "no storage options"
        raise RemoteError(
            f"{url}: the engine obstore takes {takes}, not {', '.join(sorted(unknown))}; leave "
            "them or the engine out"
        )


def read_object(objects: Objects, key: str, name: str, limit: int | None = None) -> bytes:
    """Read an object, with retries where they may help.

    Parameters
    ----------
    objects
        Reader of the objects.
    key
        Name of the object.
    name
        Name to use in errors.
    limit
        Most bytes to read. Of a larger object more are returned, but not all of them.

    Raises
    ------
    FileNotFoundError
        If there is no such object.
    RemoteError
        If the object cannot be read for another reason, or a web page comes in its place.
    """
    try:
        data = retry.POLICY.run(functools.partial(objects.read, key, limit))
    except _MISSING as error:
        raise FileNotFoundError(f"{without_secrets(name)} does not exist") from safe_cause(error)
    except Exception as error:  # whatever the file system's own library raises
        raise _unreadable(name, error) from safe_cause(error, secrets_in(name))
    if is_web_page(data):
        raise RemoteError(
            f"{name} cannot be read: the server answers with a web page; it wants a login, or the "
            "URL is that of a page and not of the data"
        )
    return data


def _unreadable(name: str, error: Exception) -> RemoteError:
    text = without_values(reason(error), secrets_in(name))
    return RemoteError(f"{name} cannot be read: {text}")


def reason(error: BaseException) -> str:
    """Explain why something could not be read, and what to do about it."""
    status = retry.http_status(error) or retry.http_status(error.__cause__ or error)
    # The first line only: obstore adds pages of its internals.
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
    """Read a small file at a path or URL.

    Parameters
    ----------
    url
        Path on this machine, or URL of any file system that fsspec supports.
    storage_options
        Options of fsspec for the file system, such as credentials.
    limit
        Most bytes to read. Of a larger file one more is returned, which shows that it is larger.

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
        # Opened directly: fsspec would take a name with "::" for a chain of URLs.
        return read_at_most(Path(url), limit)
    fs, path = file_system(url, storage_options or {})
    return read_object(_Whole(fs), path, url, limit)


def list_folder(url: str, storage_options: Mapping[str, Any] | None = None) -> list[str] | None:
    """Names of what is in a folder, or below a prefix of a bucket, in order.

    Parameters
    ----------
    url
        Path on this machine, or URL of any file system that fsspec supports.
    storage_options
        Options of fsspec for the file system, such as credentials.

    Returns
    -------
    list of str or None
        The names, without their paths. None of a web server: it has no list that programs read.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    RemoteError
        If it cannot be listed.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> (folder / "b").touch(), (folder / "a").mkdir()
    (None, None)
    >>> list_folder(str(folder)), list_folder("https://example.org/a")
    (['a', 'b'], None)
    """
    if Path(url).is_dir():
        return sorted(each.name for each in Path(url).iterdir())
    if url_protocol(url) in ("http", "https"):
        return None
    fs, path = file_system(url, storage_options or {})
    # What others have added since the last listing is missing there.
    fs.invalidate_cache(path)
    try:
        listed = retry.POLICY.run(functools.partial(fs.ls, path, detail=False))
    except _MISSING as error:
        raise FileNotFoundError(f"{without_secrets(url)} does not exist") from safe_cause(error)
    except Exception as error:  # whatever the file system's own library raises
        raise _unreadable(url, error) from safe_cause(error, secrets_in(url))
    # Some object stores list the folder itself.
    paths = {str(each).rstrip("/") for each in listed} - {path.rstrip("/")}
    return sorted(each.rpartition("/")[2] for each in paths)


def copy_object(url: str, target: Path, storage_options: Mapping[str, Any] | None = None) -> None:
    """Copy a file from a file system that fsspec supports to this machine.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    RemoteError
        If it cannot be read, is larger than announced or than the limit ``download_bytes``, or the
        disk has no room for it.
    """
    fs, path = file_system(url, storage_options or {})
    try:
        retry.POLICY.run(functools.partial(_copy, fs, path, target, url))
    except _MISSING as error:
        raise FileNotFoundError(f"{without_secrets(url)} does not exist") from safe_cause(error)
    except RemoteError:
        raise
    except Exception as error:  # whatever the file system's own library raises
        raise _unreadable(url, error) from safe_cause(error, secrets_in(url))


def _copy(fs: Any, path: str, target: Path, url: str) -> None:
    announced = fs.info(path).get("size")
    intake = Intake(without_secrets(url), target.parent, announced)
    # As a stream: a server without ranges would send the whole file for each.
    how = {"block_size": 0} if _is_http(fs) else {}
    with fs.open(path, "rb", **how) as source, target.open("wb") as copy:
        while piece := source.read(_PIECE_BYTES):
            intake.add(len(piece))
            copy.write(piece)
    if announced is not None and intake.taken < announced:
        raise ConnectionError(f"it ended after {intake.taken} of {announced} bytes")


@dataclass(frozen=True)
class _Whole:
    """Reader of the objects of a file system by their paths in it."""

    fs: Any

    def size(self, key: str) -> int:
        return int(self.fs.size(key))

    def read(self, key: str, limit: int | None = None) -> bytes:
        return _read_limited(self.fs, key, limit)


def _read_limited(fs: Any, path: str, limit: int | None) -> bytes:
    """Read a file of a file system; of one of more bytes than a limit, one more than that.

    Parameters
    ----------
    fs
        The file system.
    path
        Path in it.
    limit
        Most bytes to read; None for all.
    """
    if limit is None:
        data: bytes = fs.cat_file(path)
        return data
    # As a stream, because a server may ignore a range and send the whole file.
    if isinstance(fs, AsyncFileSystem) and not fs.asynchronous:
        # Wrappers of file systems that do not stream say so late, or not at all.
        with suppress(NotImplementedError, AttributeError):
            return bytes(fsspec.asyn.sync(fs.loop, _read_stream, fs, path, limit + 1))
    part: bytes = fs.cat_file(path, start=0, end=limit + 1)
    return part


async def _read_stream(fs: Any, path: str, left: int) -> bytes:
    # HTTP would request the size first; with one stated, whatever it is, it does not.
    how = {"size": 1, **fs.kwargs} if _is_http(fs) else {}
    stream = await fs.open_async(path, "rb", **how)
    pieces = []
    try:
        while left and (piece := await stream.read(left)):
            pieces.append(piece)
            left -= len(piece)
    finally:
        # What is not read to its end would keep its connection; that of S3 closes no body.
        if (body := getattr(stream, "r", None)) is not None:
            body.close()
        await stream.close()
    return b"".join(pieces)
