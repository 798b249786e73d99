"""Stamps of the objects of an array, eight bytes each: what tells their versions apart."""

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from refspace.errors import RemoteError
from refspace.remote.stamps import (
    listed_stamps,
    object_stamps,
    settled_status,
    status_stamp,
)
from refspace.store.boxes import BlockId
from refspace.store.stored_array import StoredArray

MISSING, UNSTATED = 0, 1
"""Stands for an object that is not there; for one of which its server states the size alone."""

# Objects that are worth a listing rather than a look at a few: two answers of S3.
_LISTED = 2000
# An ETag by the names that file systems have for it. It is the same, whatever reads the bucket.
_TAGS = ("ETag", "etag", "e_tag")


def block_stamps(
    array: StoredArray, block_ids: Sequence[BlockId], *, settled: bool = False
) -> NDArray[np.uint64]:
    """Stamp of the object of each of some blocks, as it is now.

    Of files of this machine it is made of the size and the times of the last change; of objects
    elsewhere of the size and the ETag, or what else their server states.

    Parameters
    ----------
    array
        The array.
    block_ids
        The blocks.
    settled
        Whether to wait, for files that have just changed, until the next change of them would have
        another time.

    Raises
    ------
    RemoteError
        If they cannot be reached.
    """
    keys = [array.key(block_id) for block_id in block_ids]
    if (root := array.location.local_path) is not None:
        numbers = [_file_number(root / key, settled) for key in keys]
    else:
        found = _remote_stamps(array, keys)
        numbers = [_number(found[key]) if key in found else MISSING for key in keys]
    return np.array(numbers, np.uint64)


def can_list(array: StoredArray, count: int) -> bool:
    """Whether the stamps of all objects cost little: they are files, or few in a bucket."""
    is_web = array.location.url.startswith(("http://", "https://"))
    return array.location.local_path is not None or (not is_web and count <= _LISTED)


def _file_number(path: Path, settled: bool) -> int:
    try:
        return _number(status_stamp(settled_status(path) if settled else path.stat()))
    except (FileNotFoundError, NotADirectoryError):
        return MISSING


def _remote_stamps(array: StoredArray, keys: Sequence[str]) -> dict[str, str | None]:
    """Stamp of each object that is there, by its name."""
    location, path = array.location, array.array.path
    how = location.storage_options, location.engine
    if len(keys) > 1 and can_list(array, len(keys)):
        with suppress(RemoteError):  # what cannot be listed may be readable
            if (listed := listed_stamps(location.url, path, *how)) is not None:
                prefix = f"{path}/" if path else ""
                return {f"{prefix}{key}": stamp for key, stamp in listed.items()}
    return object_stamps(location.url, keys, *how)


def _number(stamp: str | None) -> int:
    """Number that stands for a stamp, as of `refspace.remote.stamps`."""
    if stamp is None:
        return UNSTATED
    digest = hashlib.sha256(_common(stamp).encode()).digest()
    return int.from_bytes(digest[:8], "little") | 2


def _common(stamp: str) -> str:
    r"""What of a stamp is the same for all that read the object: size and ETag, if it has one.

    Examples
    --------
    >>> _common('{"ETag": "W/\\"0a\\"", "LastModified": "today", "size": "7"}')
    '7 0a'
    """
    with suppress(ValueError, AttributeError, TypeError):
        stated = json.loads(stamp)
        tags = [stated[name] for name in _TAGS if name in stated]
        if tags:
            return f"{stated.get('size')} {tags[0].removeprefix('W/').strip(chr(34))}"
    return stamp
