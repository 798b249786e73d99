"""Voxels to be stored, as slabs of whole blocks that fit in memory."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import dask.array
import numpy as np
from numpy.typing import NDArray

from refspace.errors import GridError
from refspace.store.boxes import Box

# Whether all blocks in a part of a volume are stored already, so that it need not be read.
IsDone: TypeAlias = Callable[[Box], bool]
Voxels: TypeAlias = NDArray[Any] | dask.array.Array


@dataclass(frozen=True)
class BlockSource:
    """Voxels of a volume, in slabs of whole blocks.

    Parameters
    ----------
    slabs
        Yields the box of each slab, and its voxels, in any order; it may leave out those that are
        done. The memory of a slab may be used again for the next one: take what is needed from it
        before asking for more.
    is_lazy
        Whether the voxels are arrays of dask, which can be computed anywhere; those of a stream
        come one after the other, in this process.
    """

    slabs: Callable[[IsDone], Iterator[tuple[Box, Voxels]]]
    is_lazy: bool

    @classmethod
    def from_array(
        cls, data: Voxels, block_shape: Sequence[int], max_slab_bytes: int
    ) -> "BlockSource":
        """Slabs of an array, computed one by one.

        Slabs are as large as needed to compute each chunk of the array once, or as memory allows.

        Parameters
        ----------
        data
            Voxels.
        block_shape
            Voxels that an object of the store holds along each axis.
        max_slab_bytes
            Largest size of a slab.

        Raises
        ------
        GridError
            If not even one block is that small.
        """
        if not isinstance(data, dask.array.Array):
            data = dask.array.from_array(data, chunks=tuple(block_shape), name=False)
        shape = _slab_shape(data, block_shape, max_slab_bytes)
        starts = [range(0, count, step) for count, step in zip(data.shape, shape, strict=True)]

        def slabs(is_done: IsDone) -> Iterator[tuple[Box, Voxels]]:
            for corner in np.ndindex(*map(len, starts)):
                box = tuple(
                    slice(axis[i], min(axis[i] + step, count))
                    for axis, i, step, count in zip(starts, corner, shape, data.shape, strict=True)
                )
                if not is_done(box):
                    yield box, data[box]

        return cls(slabs, is_lazy=True)

    def map(
        self, values: Callable[[NDArray[Any]], NDArray[Any]], dtype: np.dtype[Any]
    ) -> "BlockSource":
        """The same slabs of other values, which a function makes of any block."""

        def mapped(is_done: IsDone) -> Iterator[tuple[Box, Voxels]]:
            for box, voxels in self.slabs(is_done):
                if isinstance(voxels, dask.array.Array):
                    yield box, voxels.map_blocks(values, dtype=dtype)
                else:
                    yield box, values(voxels)

        return BlockSource(mapped, self.is_lazy)


def _slab_shape(
    data: dask.array.Array, block_shape: Sequence[int], max_slab_bytes: int
) -> list[int]:
    """Whole blocks along each axis, grown where chunks would be computed most often."""
    shape = [min(size, count) for size, count in zip(block_shape, data.shape, strict=True)]
    smallest = math.prod(shape) * data.dtype.itemsize
    if smallest > max_slab_bytes:
        raise GridError(
            f"one block of the store holds {smallest} bytes, and parts may take {max_slab_bytes}; "
            "give more memory, or smaller chunks or shards"
        )
    while (axis := _axis_to_grow(data, shape)) is not None:
        grown = list(shape)
        grown[axis] = min(shape[axis] + block_shape[axis], data.shape[axis])
        if math.prod(grown) * data.dtype.itemsize > max_slab_bytes:
            break
        shape = grown
    return shape


def _axis_to_grow(data: dask.array.Array, shape: Sequence[int]) -> int | None:
    """Axis along which slabs of this shape cut chunks into most pieces; None if none is cut."""
    pieces = [
        max(sizes) / step if set(range(step, count, step)) - set(np.cumsum(sizes).tolist()) else 0
        for sizes, count, step in zip(data.chunks, data.shape, shape, strict=True)
    ]
    return int(np.argmax(pieces)) if any(pieces) else None
