"""What is to be stored, in parts that fit in memory."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import dask.array
import numpy as np
from numpy.typing import NDArray

from refspace.errors import GridError
from refspace.store.stored_array import Box

# Tells of a part of a volume whether it is not wanted.
Skip: TypeAlias = Callable[[Box], bool]
Voxels: TypeAlias = NDArray[Any] | dask.array.Array


@dataclass(frozen=True)
class Feed:
    """Voxels of a volume, in parts of whole blocks.

    Parameters
    ----------
    parts
        Yields where each part is, and its voxels, in any order; those that are not wanted may be
        left out. Memory of a part may be used again for the next one: take from it what is needed
        before asking on.
    is_lazy
        Whether the voxels are arrays of dask, which can be computed anywhere; those of a stream
        come one after the other, in this process.
    """

    parts: Callable[[Skip], Iterator[tuple[Box, Voxels]]]
    is_lazy: bool

    def map(self, values: Callable[[NDArray[Any]], NDArray[Any]], dtype: np.dtype[Any]) -> "Feed":
        """Feed of other values, which a function makes of any block."""

        def mapped(skip: Skip) -> Iterator[tuple[Box, Voxels]]:
            for part, voxels in self.parts(skip):
                if isinstance(voxels, dask.array.Array):
                    yield part, voxels.map_blocks(values, dtype=dtype)
                else:
                    yield part, values(voxels)

        return Feed(mapped, self.is_lazy)


def feed_of(data: Voxels, block_shape: Sequence[int], memory: int) -> Feed:
    """Feed of an array, whose parts are computed one by one.

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

    def parts(skip: Skip) -> Iterator[tuple[Box, Voxels]]:
        for corner in np.ndindex(*map(len, starts)):
            box = tuple(
                slice(axis[i], min(axis[i] + step, count))
                for axis, i, step, count in zip(starts, corner, shape, data.shape, strict=True)
            )
            if not skip(box):
                yield box, data[box]

    return Feed(parts, is_lazy=True)


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
