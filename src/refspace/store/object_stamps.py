"""Identifies arrays of other programs, which hold no digests, by the stamps of their objects."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from refspace.blockwise.content_identity import Identity
from refspace.remote.stamps import (
    file_stamp,
    folder_stamps,
    listed_stamps,
    object_stamp,
    object_stamps,
)
from refspace.store.location import Location


def objects_identity(
    location: Location, path: str, metadata: Mapping[str, Any], keys: Callable[[], Sequence[str]]
) -> Identity:
    """Identify an array of any program by the size and version of each of its objects.

    They are listed where that is possible: on this machine, in buckets, in archives. Elsewhere, as
    on plain web servers, each object is asked for by its name, many at a time.

    Parameters
    ----------
    location
        The store.
    path
        Path of the array in it.
    metadata
        Metadata of the array.
    keys
        Makes the names of all objects that the array may have.

    Returns
    -------
    Identity
        In doubt where the size of an object is all that its server states.

    Raises
    ------
    RemoteError
        If they cannot be reached.
    """
    stamps = _stamps(location, path, keys)
    unproven = sorted(key for key, stamp in stamps.items() if stamp is None)
    if unproven:
        where = f"{location.url}: its server states neither an ETag nor a time of {unproven[0]}"
        return Identity({}, where)
    own = json.dumps(metadata, default=str, sort_keys=True)
    text = json.dumps([archive_stamp(location), path, own, sorted(stamps.items())])
    return Identity({"objects": hashlib.sha256(text.encode()).hexdigest()})


def archive_stamp(location: Location) -> str | None:
    """Stamp of the archive that a location is within; None of any other location."""
    archive = location.url.rpartition("::")[2]
    if archive == location.url or location.local_path is not None:
        return None
    within = Location(archive)
    if (path := within.local_path) is not None:
        return file_stamp(path)
    return object_stamp(archive)


def _stamps(
    location: Location, path: str, keys: Callable[[], Sequence[str]]
) -> Mapping[str, str | None]:
    """Stamp of each object by its name; absent ones have none."""
    if (root := location.local_path) is not None:
        return folder_stamps(Path(root, path))
    how = location.storage_options, location.engine
    listed = listed_stamps(location.url, path, *how)
    return object_stamps(location.url, keys(), *how) if listed is None else listed
