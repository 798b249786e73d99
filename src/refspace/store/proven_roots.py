"""What was proven of the metadata of stores of ours, kept for when the same bytes come again.

A store is opened again and again: by each command of a notebook, for each resolution, by workers.
Its root metadata are read each time, so nothing here can be out of date; but bytes of a digest that
was met before need not be parsed and proven again.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from refspace.store import ome

# Bytes of metadata whose content is kept; parsed, they take some ten times as many. Those of the
# Allen CCF are 0.3 MB.
_MOST_BYTES = 4 * 2**20


@dataclass(frozen=True)
class ProvenRoot:
    """Content of root metadata whose digest was proven. It is shared, so nobody may change it.

    Parameters
    ----------
    document
        The metadata as JSON.
    structures
        The structures that they describe.
    """

    document: Mapping[str, Any]
    structures: ome.LabelStructures


class ProvenRoots:
    """Contents of root metadata by the digest of their bytes, those that were used last.

    Parameters
    ----------
    most_bytes
        Most bytes of metadata whose content is kept.

    Examples
    --------
    >>> roots = ProvenRoots(most_bytes=4)
    >>> roots.get(b"{}") is None
    True
    """

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._by_digest: OrderedDict[bytes, tuple[int, ProvenRoot]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, data: bytes) -> ProvenRoot | None:
        """What was proven of some bytes; None of those that are not known."""
        digest = _digest(data)
        with self._lock:
            if digest not in self._by_digest:
                return None
            self._by_digest.move_to_end(digest)
            return self._by_digest[digest][1]

    def put(self, data: bytes, root: ProvenRoot) -> None:
        """Keep what was proven of some bytes, and no longer what was not used for the longest."""
        if len(data) > self._most_bytes:
            return
        digest = _digest(data)
        with self._lock:
            self._by_digest[digest] = (len(data), root)
            while sum(nbytes for nbytes, _ in self._by_digest.values()) > self._most_bytes:
                self._by_digest.popitem(last=False)


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


PROVEN_ROOTS = ProvenRoots()
"""Those of this process."""
