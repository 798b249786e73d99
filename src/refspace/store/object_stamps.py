"""Identifies arrays of other programs, which hold no digests, by the stamps of their objects."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from refspace.blockwise.identity import Identity
from refspace.remote.stamps import (
    file_stamp,
    folder_stamps,
    listed_stamps,
    object_stamp,
    object_stamps,
)
from refspace.store.location import Location

if TYPE_CHECKING:
    from refspace.store.stored_array import StoredArray


def objects_identity(array: "StoredArray") -> Identity:
    """Identify an array by the size and version of each of its objects.

    They are listed where that is possible: on this machine, in buckets, in archives. Elsewhere, as
    on plain web servers, each object is asked for by its name, many at a time.

    Parameters
    ----------
    array
        The array, of any program.

    Returns
    -------
    Identity
        In doubt where the size of an object is all that its server states.

    Raises
    ------
    RemoteError
        If they cannot be reached.
    """
    location, folder = array.location, array.array.path
    stamps = _stamps(array)
    unproven = sorted(key for key, stamp in stamps.items() if stamp is None)
    if unproven:
        return Identity(
            {},
            f"{location.url}: its server states neither an ETag nor a time of {unproven[0]}",
        )
    metadata = json.dumps(array.array.metadata.to_dict(), default=str, sort_keys=True)
    text = json.dumps([archive_stamp(location), folder, metadata, sorted(stamps.items())])
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


def _stamps(array: "StoredArray") -> dict[str, str | None]:
    """Stamp of each object of an array by its name in the array's folder; absent ones have none."""
    location, path = array.location, array.array.path
    if (root := location.local_path) is not None:
        return {**folder_stamps(Path(root, path))}
    how = location.storage_options, location.engine
    if (listed := listed_stamps(location.url, path, *how)) is not None:
        return listed
    keys = [array.key(block_id) for block_id in np.ndindex(*map(len, array.blocks))]
    return object_stamps(location.url, keys, *how)
