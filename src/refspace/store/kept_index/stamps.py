"""Stamps of the objects of an array, eight bytes each: what tells their versions apart."""

import functools
import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from refspace.errors import RemoteError
from refspace.remote.stamps import listed_stamps, object_stamp, settled_status, status_stamp
from refspace.store.boxes import BlockId
from refspace.store.location import map_concurrently
from refspace.store.stored_array import StoredArray

MISSING, UNSTATED = 0, 1
"""Stands for an object that is not there; for one of which its server states the size alone."""

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
    """
    found = listed_block_stamps(array, block_ids, settled=settled)
    return asked_block_stamps(array, block_ids) if found is None else found


def asked_block_stamps(array: StoredArray, block_ids: Sequence[BlockId]) -> NDArray[np.uint64]:
    """Stamps as of `block_stamps`, of each object by a request of its own."""
    keys = [array.key(block_id) for block_id in block_ids]
    asked = map_concurrently(functools.partial(_asked_number, array), keys)
    return np.array(asked, np.uint64)


def listed_block_stamps(
    array: StoredArray, block_ids: Sequence[BlockId], *, settled: bool = False
) -> NDArray[np.uint64] | None:
    """Stamps as of `block_stamps`, from files or a listing; None where neither is possible."""
    keys = [array.key(block_id) for block_id in block_ids]
    location, path = array.location, array.array.path
    if (root := location.local_path) is not None:
        return np.array([_file_number(root / key, settled) for key in keys], np.uint64)
    try:
        listed = listed_stamps(location.url, path, location.storage_options, location.engine)
    except RemoteError:
        return None  # what cannot be listed may be readable
    if listed is None:
        return None
    prefix = f"{path}/" if path else ""
    found = {f"{prefix}{key}": _number(stamp) for key, stamp in listed.items()}
    return np.array([found.get(key, MISSING) for key in keys], np.uint64)


def _file_number(path: Path, settled: bool) -> int:
    try:
        return _number(status_stamp(settled_status(path) if settled else path.stat()))
    except (FileNotFoundError, NotADirectoryError):
        return MISSING


def _asked_number(array: StoredArray, key: str) -> int:
    location = array.location
    try:
        stamp = object_stamp(location.url, key, location.storage_options, location.engine)
    except FileNotFoundError:
        return MISSING
    except RemoteError:
        return UNSTATED  # some servers do not say of what is missing that it is
    return _number(stamp)


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
