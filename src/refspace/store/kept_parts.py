"""Parts of a table that are read when they are needed, and kept while there is room for them."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

from numpy.typing import NDArray

_Key = TypeVar("_Key", bound=Hashable)

# Of one table, decoded: a few parts of it.
_MOST_BYTES = 64 * 2**20


class KeptParts(Generic[_Key]):
    """Parts by name, those that were used last; several threads read each once.

    Parameters
    ----------
    read
        Reads a part.
    most_bytes
        Most bytes of parts that are kept; the one that was read last always is.

    Examples
    --------
    >>> import numpy as np
    >>> parts = KeptParts(np.arange)
    >>> parts.get(3), parts.get(3) is parts.get(3)
    (array([0, 1, 2]), True)
    """

    def __init__(self, read: Callable[[_Key], NDArray[Any]], most_bytes: int | None = None) -> None:
        self._read = read
        self._most_bytes = _MOST_BYTES if most_bytes is None else most_bytes
        self._parts: OrderedDict[_Key, NDArray[Any]] = OrderedDict()
        self._reading: dict[_Key, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, key: _Key) -> NDArray[Any]:
        """A part, read if it is not there; whatever reading raises is raised."""
        part, reading = self._kept(key)
        if part is not None:
            return part
        with reading:
            # Another thread may have read it meanwhile.
            part, _ = self._kept(key)
            if part is None:
                part = self._read(key)
                self._keep(key, part)
            return part

    def _kept(self, key: _Key) -> tuple[NDArray[Any] | None, threading.Lock]:
        """A part, if it is there, and else the lock of those who read it."""
        with self._lock:
            if key in self._parts:
                self._parts.move_to_end(key)
                return self._parts[key], self._lock
            return None, self._reading.setdefault(key, threading.Lock())

    def _keep(self, key: _Key, part: NDArray[Any]) -> None:
        with self._lock:
            self._parts[key] = part
            self._reading.pop(key, None)
            while len(self._parts) > 1 and self._nbytes > self._most_bytes:
                self._parts.popitem(last=False)

    @property
    def _nbytes(self) -> int:
        return sum(part.nbytes for part in self._parts.values())
