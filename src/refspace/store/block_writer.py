"""Writes blocks of voxels, from memory, from dask or from a finer level, and records them."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import dask.array
import numpy as np
from numpy.typing import NDArray

from refspace.label_index import Chunks, cell_rows
from refspace.store import pyramid
from refspace.store.encode import encode_block
from refspace.store.staging import WriteLease
from refspace.store.stored_array import BlockId, Box, StoredArray

# Rows that are turned into C order at a time: a block then takes half the time.
_ROWS = 16


@dataclass(frozen=True)
class WrittenBlock:
    """Record of a block that is stored.

    Parameters
    ----------
    sha256
        Digest of its voxels (C order, little-endian).
    stored_bytes
        Bytes that its object takes.
    rows
        Its rows of the label index.
    """

    sha256: bytes
    stored_bytes: int
    rows: NDArray[np.int64]


@dataclass(frozen=True)
class BlockWriter:
    """Writes blocks of an array, in any thread, process or machine.

    Parameters
    ----------
    array
        The array, ready to be written to.
    cells
        Chunks of its label index; None for volumes that are not indexed.
    lease
        Permission to write, for a process that does not hold the lock of the store; None for the
        one that does.
    """

    array: StoredArray
    cells: Chunks | None
    lease: WriteLease | None = None

    def put(self, block_id: BlockId, block: NDArray[Any]) -> WrittenBlock:
        """Store a block; others may be stored meanwhile."""
        box = self.array.box(block_id)
        # In the machine's byte order, in which blocks are digested.
        block = _c_order(block.astype(self.array.dtype, copy=False))
        size = self._store(block_id, block)
        corner = [part.start for part in box]
        rows = cell_rows(block, corner, self.cells) if self.cells else np.empty((0, 0), np.int64)
        return WrittenBlock(hashlib.sha256(block.data).digest(), size, rows)

    def _store(self, block_id: BlockId, block: NDArray[Any]) -> int:
        """Bytes that the object of a block takes, once it is stored."""
        key = self.array.key(block_id)
        if self.lease is not None:
            data = encode_block(self.array.array, block)
            self.lease.write(key, data)
            return len(data)
        self.array.array[self.array.box(block_id)] = block
        return self.array.location.size(key)


def _c_order(block: NDArray[Any]) -> NDArray[Any]:
    if block.flags.c_contiguous:
        return block
    ordered = np.empty(block.shape, block.dtype)
    for start in range(0, len(block), _ROWS):
        ordered[start : start + _ROWS] = block[start : start + _ROWS]
    return ordered


def put_block(
    block_id: BlockId, writer: BlockWriter, make: Callable[[Box], NDArray[Any]]
) -> WrittenBlock:
    """Make a block of the voxels of its box, and store it."""
    return writer.put(block_id, make(writer.array.box(block_id)))


@dataclass(frozen=True)
class FromMemory:
    """Makes blocks of voxels that are in memory.

    Parameters
    ----------
    voxels
        A slab of the array.
    slab
        The box that it covers.
    """

    voxels: NDArray[Any]
    slab: Box

    def __call__(self, box: Box) -> NDArray[Any]:
        """Voxels of a box within the slab."""
        sides = zip(box, self.slab, strict=True)
        return self.voxels[tuple(slice(b.start - s.start, b.stop - s.start) for b, s in sides)]


@dataclass(frozen=True)
class FromFinerLevel:
    """Makes blocks of a level by downsampling the level before.

    Parameters
    ----------
    name
        The volume: labels are downsampled by mode, a template by mean.
    finer
        The level before, whole in the store.
    """

    name: str
    finer: StoredArray

    def __call__(self, box: Box) -> NDArray[Any]:
        """Voxels of a box of the coarser level."""
        shape = self.finer.shape
        voxels: Any = self.finer.array[pyramid.source_box(box, shape)]
        return pyramid.downsampling(self.name)(voxels, box, shape)


@dataclass(frozen=True)
class LazySlab:
    """Voxels of some blocks, to be computed where these are written.

    Parameters
    ----------
    box
        The box that they cover.
    voxels
        The voxels; the graph holds only the tasks that these need.
    block_ids
        The blocks.
    """

    box: Box
    voxels: dask.array.Array
    block_ids: Sequence[BlockId]


def put_slab(slab: LazySlab, writer: BlockWriter) -> list[WrittenBlock]:
    """Compute a slab, and store its blocks."""
    # In this thread: this is a task of a cluster already.
    voxels = slab.voxels.compute(scheduler="synchronous")
    make = FromMemory(voxels, slab.box)
    return [put_block(block_id, writer, make) for block_id in slab.block_ids]
