"""Records with a checksum of their own, one a line: a line that was cut or edited is noticed."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

_SEAL = "seal"


def sealed(record: Mapping[str, Any]) -> bytes:
    r"""A record as one line of JSON, with its checksum and without a line break.

    Examples
    --------
    >>> line = sealed({"image": "a.nrrd"})
    >>> unsealed(line, ["image"])
    {'image': 'a.nrrd'}
    >>> unsealed(line.replace(b"a.nrrd", b"b.nrrd"), ["image"]) is None
    True
    """
    return json.dumps({**record, _SEAL: _checksum(record)}).encode()


def unsealed(line: bytes, texts: Sequence[str] = ()) -> dict[str, Any] | None:
    """A record from its line; None if that was cut or edited, or lacks a text.

    Parameters
    ----------
    line
        What `sealed` has returned.
    texts
        Names of what the record must hold, each of which is a text.
    """
    try:
        record = dict(json.loads(line))
        seal = record.pop(_SEAL)
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    is_whole = seal == _checksum(record) and all(isinstance(record.get(t), str) for t in texts)
    # As it was written to the byte: no other spaces between words, no word twice.
    return record if is_whole and sealed(record) == line else None


def _checksum(record: Mapping[str, Any]) -> str:
    text = json.dumps(record, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
