"""Threads that compute arrays of large blocks: so few that these stay within memory.

A block is read as a whole, and each thread that is at work holds one of every array that it needs.
Slabs of whole planes have hundreds of MB: on a machine with many cores they would fill the memory.
"""

import math
from typing import Any, TypeVar

import dask
import dask.array
from dask import threaded
from dask.system import CPU_COUNT

from refspace.pools import Pool, ThreadPool

# Of blocks that are held at the same time, unless those of a single thread have more.
HELD_BYTES = 2 * 2**30


def threads_for(*arrays: dask.array.Array) -> int | None:
    """Number of threads that compute the blocks of some arrays together, to give to dask.

    Parameters
    ----------
    *arrays
        Arrays of which each thread holds a block.

    Returns
    -------
    int or None
        Fewer than there would be; None if there may be as many as ever, as for most arrays.

    Examples
    --------
    >>> slabs = dask.array.zeros((80, 8000, 11000), chunks=(8, -1, -1), dtype="f4")
    >>> with dask.config.set(num_workers=4):
    ...     threads_for(slabs), threads_for(slabs[:, :10])
    (1, None)
    """
    return _fewer(sum(map(_block_bytes, arrays)))


def pool_for(pool: Pool, *arrays: dask.array.Array) -> Pool:
    """Pool of no more threads than `threads_for` the arrays; one of a cluster as it is.

    Examples
    --------
    >>> pool_for(ThreadPool(4), dask.array.zeros((8, 8000, 11000), chunks=-1, dtype="f4")).threads
    1
    """
    if not isinstance(pool, ThreadPool):
        return pool
    fewer = _fewer(sum(map(_block_bytes, arrays)), pool.threads)
    return pool if fewer is None else ThreadPool(fewer)


def _fewer(held: int, ever: int | None = None) -> int | None:
    """Number of threads, each of which holds so many bytes; None if it is not to be limited.

    There would be some number ever, by default that of dask.
    """
    ever = ever or dask.config.get("num_workers", None) or CPU_COUNT
    most = max(1, HELD_BYTES // max(1, held))
    return most if most < ever else None


def _block_bytes(array: dask.array.Array) -> int:
    """Size of the largest block; 0 where that is not known."""
    voxels = math.prod(map(max, array.chunks))
    return 0 if math.isnan(voxels) else voxels * array.dtype.itemsize


class KindOfArray(type):
    """Type of a class that counts as the one of dask's own arrays, where classes are compared.

    xarray refuses to compute arrays of several classes together, and such an array, which is
    computed with others by the same functions of dask, is in datasets with any. So all classes of
    this type count as one.
    """

    def __eq__(cls, other: object) -> bool:
        return other is dask.array.Array or isinstance(other, KindOfArray)

    def __hash__(cls) -> int:
        return hash(dask.array.Array)


class _Threads:
    """Dask's own threads, but fewer where blocks are large.

    It equals dask's own: dask refuses to compute arrays of different schedulers together.
    """

    def __init__(self, held: int) -> None:
        self._held = held

    def __call__(self, dsk: Any, keys: Any, **kwargs: Any) -> Any:
        return threaded.get(dsk, keys, **{"num_workers": _fewer(self._held), **kwargs})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Threads) or other is threaded.get

    def __hash__(self) -> int:
        return hash(threaded.get)


class _Scheduler:
    """Default scheduler of an array; that of dask, of the class."""

    def __get__(self, array: "BoundedArray | None", owner: type) -> Any:
        return threaded.get if array is None else _Threads(array.held_bytes)


class BoundedArray(dask.array.Array, metaclass=KindOfArray):  # type: ignore[misc]  # dask is annotated in part
    """Array that few threads compute where its blocks, or those that it is made of, are large.

    So they do where dask is not told how: `compute`, `numpy.asarray`, and what xarray makes of
    them. What is made of the array is a plain array of dask.
    """

    __slots__ = ("held_bytes",)
    __dask_scheduler__ = _Scheduler()

    # What a thread holds.
    held_bytes: int


_Kind = TypeVar("_Kind", bound=BoundedArray)


def bounded(array: dask.array.Array, *made_of: dask.array.Array) -> dask.array.Array:
    """The same lazy array, which few threads compute where blocks are large.

    Parameters
    ----------
    array
        The array.
    *made_of
        Arrays of which a block is held for each of its blocks.

    Examples
    --------
    >>> array = bounded(dask.array.arange(5, chunks=2))
    >>> array.compute(), type(array + 1) is dask.array.Array
    (array([0, 1, 2, 3, 4]), True)
    """
    # Array expressions have a way of their own to be computed.
    if dask.array.array_expr_enabled():
        return array
    return as_kind(BoundedArray, array, *made_of)


def as_kind(kind: type[_Kind], array: dask.array.Array, *made_of: dask.array.Array) -> _Kind:
    """The same lazy array, as one of a class."""
    same = kind(array.dask, array.name, array.chunks, meta=array._meta)
    same.held_bytes = sum(map(_block_bytes, (array, *made_of)))
    return same
