"""What is to be stored, in parts that fit in memory."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import dask.array
import numpy as np
from numpy.typing import NDArray

from refspace.errors import GridError
from refspace.store.stored_array import Box

# Voxels in parts of whole blocks, in any order; parts for which the argument is true may be left
# out. A part may be reused for the next one: take from it what is needed before asking on.
Feed = Callable[[Callable[[Box], bool]], Iterator[tuple[Box, NDArray[Any]]]]


def feed_of(data: NDArray[Any] | dask.array.Array, block_shape: Sequence[int], memory: int) -> Feed:
    """Feed of an array; one of dask is computed part by part.

    Parts are as large as needed to compute each chunk of the array once, or as memory allows.

    Parameters
    ----------
    data
        Voxels.
    block_shape
        Voxels that an object of the store holds along each axis.
    memory
        Largest size of a part in bytes.
    """
    if not isinstance(data, dask.array.Array):
        data = dask.array.from_array(data, chunks=tuple(block_shape), name=False)
    shape = _part_shape(data, block_shape, memory)
    starts = [range(0, count, step) for count, step in zip(data.shape, shape, strict=True)]

    def feed(skip: Callable[[Box], bool]) -> Iterator[tuple[Box, NDArray[Any]]]:
        for corner in np.ndindex(*map(len, starts)):
            box = tuple(
                slice(axis[i], min(axis[i] + step, count))
                for axis, i, step, count in zip(starts, corner, shape, data.shape, strict=True)
            )
            if not skip(box):
                yield box, data[box].compute()

    return feed


def _part_shape(data: dask.array.Array, block_shape: Sequence[int], memory: int) -> list[int]:
    """Whole blocks along each axis, grown where chunks would be computed most often."""
    shape = [min(size, count) for size, count in zip(block_shape, data.shape, strict=True)]
    smallest = math.prod(shape) * data.dtype.itemsize
    if smallest > memory:
        raise GridError(
            f"one block of the store holds {smallest} bytes, and parts may take {memory}; give "
            "more memory, or smaller chunks or shards"
        )
    while (axis := _axis_to_grow(data, shape)) is not None:
        grown = list(shape)
        grown[axis] = min(shape[axis] + block_shape[axis], data.shape[axis])
        if math.prod(grown) * data.dtype.itemsize > memory:
            break
        shape = grown
    return shape


def _axis_to_grow(data: dask.array.Array, shape: Sequence[int]) -> int | None:
    """Axis along which parts of this shape cut chunks into most pieces; None if none is cut."""
    pieces = [
        max(sizes) / part if set(range(part, count, part)) - set(np.cumsum(sizes).tolist()) else 0
        for sizes, count, part in zip(data.chunks, data.shape, shape, strict=True)
    ]
    return int(np.argmax(pieces)) if any(pieces) else None
