"""Blocks of lazy arrays that were decoded, kept as long as they fit: several requests share one."""

import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import dask.array
import numpy as np
from numpy.typing import NDArray

_Key = tuple[str, tuple[int, ...]]


class BlockCache:
    """Decoded blocks of dask arrays, the latest of them.

    Parameters
    ----------
    size
        Most bytes that are kept; the block that was asked for last is kept in any case.
    """

    def __init__(self, size: int = 512 * 2**20) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._blocks: OrderedDict[_Key, Future[NDArray[Any]]] = OrderedDict()

    def read(self, data: NDArray[Any] | dask.array.Array, box: tuple[slice, ...]) -> NDArray[Any]:
        """Values of a box of an array.

        Parameters
        ----------
        data
            NumPy or dask array. Of the latter each block is computed once, in this thread, even
            where several ask for it at a time.
        box
            A slice with a start and a stop for each axis.

        Raises
        ------
        Exception
            What reading raises. It is not remembered: the next call tries again.
        """
        if not isinstance(data, dask.array.Array):
            return np.asarray(data[box])
        out = np.empty([cut.stop - cut.start for cut in box], data.dtype)
        cuts = [_cuts(sizes, cut) for sizes, cut in zip(data.chunks, box, strict=True)]
        for parts in itertools.product(*cuts):
            index, within, target = zip(*parts, strict=True)
            out[target] = self._block(data, index)[within]
        return out

    def _block(self, data: dask.array.Array, index: tuple[int, ...]) -> NDArray[Any]:
        key = (data.name, index)
        with self._lock:
            future = self._blocks.get(key)
            is_ours = future is None
            if future is None:
                future = self._blocks[key] = Future()
            self._blocks.move_to_end(key)
        if is_ours:
            self._fill(key, future, lambda: _computed(data, index))
        return future.result()

    def _fill(
        self, key: _Key, future: "Future[NDArray[Any]]", compute: Callable[[], NDArray[Any]]
    ) -> None:
        """Compute a block that others may wait for."""
        try:
            future.set_result(compute())
        except BaseException as error:
            with self._lock:
                self._blocks.pop(key, None)
            future.set_exception(error)
        with self._lock:
            self._evict()

    def _evict(self) -> None:
        done = [(key, f.result().nbytes) for key, f in self._blocks.items() if _is_there(f)]
        total = sum(size for _, size in done)
        for key, size in done[:-1]:
            if total <= self._size:
                return
            del self._blocks[key]
            total -= size


def _is_there(future: "Future[NDArray[Any]]") -> bool:
    return future.done() and future.exception() is None


def _computed(data: dask.array.Array, index: tuple[int, ...]) -> NDArray[Any]:
    return np.asarray(data.blocks[index].compute(scheduler="synchronous"))


def _cuts(sizes: tuple[int, ...], cut: slice) -> list[tuple[int, slice, slice]]:
    """Blocks along an axis that a slice meets, with the part of each and of the result."""
    ends = np.cumsum(sizes)
    first = int(np.searchsorted(ends, cut.start, side="right"))
    found = []
    for i in range(first, len(sizes)):
        begin = int(ends[i]) - sizes[i]
        if begin >= cut.stop:
            break
        low, high = max(begin, cut.start), min(int(ends[i]), cut.stop)
        within = slice(low - begin, high - begin)
        found.append((i, within, slice(low - cut.start, high - cut.start)))
    return found
