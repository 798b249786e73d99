"""Memory of decoded blocks, used again for the next ones.

The system clears memory before it hands it out. For blocks of 8 MB, each of which is dropped soon
after it was decoded, that took as long as to decode them.
"""

import math
import os
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

# Smaller arrays come from memory that the process has; larger ones are too much to be kept.
_SMALLEST, _LARGEST = 2**20, 2**25
# Two for each thread that computes: what it decodes, and what it still holds. Of many threads some
# have new memory, so that no more than 0.5 GB is kept.
_rooms: deque[NDArray[np.uint8]] = deque(maxlen=min(16, 2 * (os.cpu_count() or 1)))


class _Loan:
    """Memory that an array and its views hold; when the last of them is gone, it is used again."""

    def __init__(self, room: NDArray[np.uint8]) -> None:
        self._room = room
        self.__array_interface__ = room.__array_interface__

    def __del__(self) -> None:
        # Thread-safe; when it is full, the oldest are freed.
        _rooms.append(self._room)


def empty(shape: Sequence[int], dtype: DTypeLike) -> NDArray[Any]:
    """Array with any values, as `numpy.empty` makes it, of memory that was in use before.

    Examples
    --------
    >>> empty((256, 1024), "u4").shape
    (256, 1024)
    """
    nbytes = math.prod(shape) * np.dtype(dtype).itemsize
    if not _SMALLEST <= nbytes <= _LARGEST:
        return np.empty(shape, dtype)
    room = _room(nbytes)
    return np.asarray(_Loan(room)).view(dtype).reshape(shape)


def _room(nbytes: int) -> NDArray[np.uint8]:
    """Memory of a size; what was kept of other sizes is freed."""
    while _rooms:
        try:
            room = _rooms.popleft()
        except IndexError:  # another thread took the last one
            break
        if room.nbytes == nbytes:
            return room
    return np.empty(nbytes, np.uint8)
