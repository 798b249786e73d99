"""Stamps of objects: texts that change when an object does, as its file system states it.

A stamp is of the size and of whatever else tells one version of an object from another: an ETag, a
generation, a checksum, a time. A size alone proves nothing: an image that is computed again has the
same one.
"""

import functools
import json
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from refspace.errors import RemoteError, safe_cause
from refspace.remote import retry
from refspace.remote.objects import ObstoreObjects, file_system, reason
from refspace.safe_text import secrets_in, without_secrets, without_values

# Any of these tells versions of an object apart. Names as file systems of fsspec and obstore give
# them: S3 ETag and LastModified, Google Cloud Storage etag and generation, HTTP Last-Modified, zip
# archives CRC, memory created.
_VERSIONS = (
    *("ETag", "etag", "e_tag", "generation", "VersionId", "version"),
    *("Content-MD5", "Digest", "md5", "CRC", "date_time"),
    *("LastModified", "last_modified", "Last-Modified", "mtime", "modified", "updated", "created"),
)
# Requests that are on the way at the same time.
_TOGETHER = 32
# File systems of today tell times apart that differ by a tick of the kernel's clock, others (FAT,
# HFS+, some of networks) by two seconds; the latter have no fractions.
_TICK_NS, _COARSE_TICK_NS = 2 * 10**7, 2 * 10**9
_MISSING = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
_GONE = (404, 410)


def file_stamp(path: str | os.PathLike[str]) -> str:
    """Stamp of a file of this machine: its size, and the times of its last change.

    The time of the last change of its metadata is one of them: programs can forge the time of the
    last change of the content (``cp -p``, ``touch``), but not that one. A file that has changed
    just now is waited for, until the next change would have another time.

    Raises
    ------
    OSError
        If there is no such file.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "image.nrrd")
    >>> _ = path.write_bytes(b"1")
    >>> before, times = file_stamp(path), path.stat()
    >>> _ = path.write_bytes(b"2")
    >>> os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    >>> file_stamp(path) == before
    False
    """
    return status_stamp(settled_status(path))


def status_stamp(status: os.stat_result) -> str:
    """Stamp of a file of this machine from its status, as of `file_stamp`, which waits for it."""
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def settled_status(path: str | os.PathLike[str]) -> os.stat_result:
    """Status of a file, once the next change of it would have another time.

    Raises
    ------
    OSError
        If there is no such file.
    """
    status = Path(path).stat()
    while (wait := _until_settled(status)) > 0:
        time.sleep(wait / 1e9)
        status = Path(path).stat()
    return status


def _until_settled(status: os.stat_result) -> int:
    """Nanoseconds until a change of a file would have another time than its last one."""
    changed = max(status.st_mtime_ns, status.st_ctime_ns)
    tick = _TICK_NS if changed % 10**9 else _COARSE_TICK_NS
    age = time.time_ns() - changed
    # A time to come is that of another machine's clock, or was set by hand.
    return tick - age if 0 <= age < tick else 0


def folder_stamps(folder: Path) -> dict[str, str]:
    """Stamps of all files below a folder of this machine, by their names relative to it.

    Hidden files are left out, which file managers put anywhere.
    """
    stamps = {}
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith("."):
                path = Path(parent, name)
                stamps[path.relative_to(folder).as_posix()] = file_stamp(path)
    return stamps


@dataclass(frozen=True)
class ObjectStatus:
    """What a server states of an object.

    Parameters
    ----------
    size
        Its size in bytes; None if not stated.
    stamp
        As of `object_stamp`.
    """

    size: int | None
    stamp: str | None


def object_stamp(
    url: str,
    key: str = "",
    storage_options: Mapping[str, Any] | None = None,
    engine: str = "fsspec",
) -> str | None:
    """Stamp of an object of another machine; None if its server states none that proves anything.

    Parameters
    ----------
    url, key, storage_options, engine
        As for `object_status`.

    Raises
    ------
    FileNotFoundError, RemoteError
        As for `object_status`.
    """
    return object_status(url, key, storage_options, engine).stamp


def object_status(
    url: str,
    key: str = "",
    storage_options: Mapping[str, Any] | None = None,
    engine: str = "fsspec",
) -> ObjectStatus:
    """Size and stamp of an object of another machine, by one request.

    Parameters
    ----------
    url
        URL of the object, or of what it is below.
    key
        Its name below that.
    storage_options, engine
        As for `refspace.open`.

    Raises
    ------
    FileNotFoundError
        If there is no such object.
    RemoteError
        If it cannot be reached.
    """
    look_up = _look_up_obstore if engine == "obstore" else _look_up_fsspec
    name = f"{url}/{key}" if key else url
    try:
        info = retry.POLICY.run(functools.partial(look_up, url, key, dict(storage_options or {})))
    except _MISSING as error:
        # fsspec says so of any answer of a web server that is no success, and of none at all.
        if error.__cause__ is None or retry.http_status(error.__cause__) in _GONE:
            raise FileNotFoundError(f"{without_secrets(name)} does not exist") from safe_cause(
                error
            )
        raise _out_of_reach(name, error) from safe_cause(error, secrets_in(name))
    except Exception as error:  # whatever the file system's own library raises
        raise _out_of_reach(name, error) from safe_cause(error, secrets_in(name))
    size = info.get("size")
    return ObjectStatus(None if size is None else int(size), _stamp(info))


def _out_of_reach(name: str, error: Exception) -> RemoteError:
    text = without_values(reason(error), secrets_in(name))
    return RemoteError(f"{name} cannot be reached: {text}")


def _look_up_fsspec(url: str, key: str, storage_options: Mapping[str, Any]) -> Mapping[str, Any]:
    fs, root = file_system(url, storage_options)
    # fsspec caches listings, in which an object that has changed would look as before.
    fs.invalidate_cache()
    info: Mapping[str, Any] = fs.info(f"{root}/{key}" if key else root)
    return info


def _look_up_obstore(url: str, key: str, storage_options: Mapping[str, Any]) -> Mapping[str, Any]:
    import obstore

    return dict(obstore.head(ObstoreObjects(url, storage_options).store, key))


def object_stamps(
    url: str,
    keys: Sequence[str],
    storage_options: Mapping[str, Any] | None = None,
    engine: str = "fsspec",
) -> dict[str, str | None]:
    """Stamps of some objects below a URL, several requests at a time; absent ones are left out.

    Raises
    ------
    RemoteError
        If they cannot be reached.
    """

    def stamp(key: str) -> tuple[bool, str | None]:
        try:
            return True, object_stamp(url, key, storage_options, engine)
        except FileNotFoundError:
            return False, None

    with ThreadPoolExecutor(_TOGETHER) as pool:
        found = zip(keys, pool.map(stamp, keys), strict=True)
        return {key: stamped for key, (is_there, stamped) in found if is_there}


def listed_stamps(
    url: str,
    folder: str = "",
    storage_options: Mapping[str, Any] | None = None,
    engine: str = "fsspec",
) -> dict[str, str | None] | None:
    """Stamps of all objects in a folder below a URL, in one listing; None where none is possible.

    Hidden ones are left out, as of `folder_stamps`.

    Raises
    ------
    RemoteError
        If it cannot be reached.
    """
    if url.startswith(("http://", "https://")):
        return None  # what fsspec would list are the links of a web page
    list_all = _list_obstore if engine == "obstore" else _list_fsspec
    try:
        listed = retry.POLICY.run(
            functools.partial(list_all, url, folder, dict(storage_options or {}))
        )
    except (NotImplementedError, PermissionError):
        return None  # objects may be read, and not listed
    except Exception as error:  # whatever the file system's own library raises
        raise RemoteError(f"{url} cannot be listed: {reason(error)}") from error
    return {
        key: _stamp(info)
        for key, info in listed.items()
        if not any(part.startswith(".") for part in key.split("/"))
    }


def _list_fsspec(url: str, folder: str, storage_options: Mapping[str, Any]) -> dict[str, Any]:
    fs, path = file_system(url, storage_options)
    if "::" in url:
        # fsspec keeps an archive open, with the list of what it held when it was opened.
        type(fs).clear_instance_cache()
        fs, path = file_system(url, storage_options)
    fs.invalidate_cache()
    root = "/".join(filter(None, (path.rstrip("/"), folder)))
    found: dict[str, Any] = fs.find(root, detail=True)
    return {key.removeprefix(root).lstrip("/"): info for key, info in found.items()}


def _list_obstore(url: str, folder: str, storage_options: Mapping[str, Any]) -> dict[str, Any]:
    import obstore

    store = ObstoreObjects(url, storage_options).store
    prefix = f"{folder}/" if folder else ""
    listed = obstore.list(store, prefix=prefix or None).collect()
    return {str(info["path"]).removeprefix(prefix): dict(info) for info in listed}


def _stamp(info: Mapping[str, Any]) -> str | None:
    r"""Stamp of an object of which a file system states some fields; None if they prove nothing.

    Examples
    --------
    >>> _stamp({"size": 7, "ETag": '"0a"', "owner": "me"})
    '{"ETag": "\\"0a\\"", "size": "7"}'
    >>> _stamp({"size": 7}) is None
    True
    """
    stated = {name: str(info[name]) for name in _VERSIONS if info.get(name)}
    if not stated:
        return None
    return json.dumps(stated | {"size": str(info.get("size"))}, sort_keys=True)
