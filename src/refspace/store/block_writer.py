"""Writes blocks of voxels, from memory, from dask or from a finer level, and records them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dask.array
import numpy as np
from numpy.typing import NDArray

from refspace.label_index import Chunks, cell_rows
from refspace.store import pyramid
from refspace.store.boxes import BlockId, Box
from refspace.store.encode import encode_block
from refspace.store.object_records import KnownRecords, ObjectRecord
from refspace.store.staging import WriteLease
from refspace.store.stored_array import StoredArray

# Rows that are turned into C order at a time: a block then takes half the time.
_ROWS = 16


@dataclass(frozen=True)
class WrittenBlock:
    """Record of a block that is stored.

    Parameters
    ----------
    record
        What proves its object.
    rows
        Its rows of the label index.
    """

    record: ObjectRecord
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
        block = _c_order(block.astype(self.array.dtype, copy=False))
        record = self._store(block_id, block)
        corner = [part.start for part in box]
        rows = cell_rows(block, corner, self.cells) if self.cells else np.empty((0, 0), np.int64)
        return WrittenBlock(record, rows)

    def _store(self, block_id: BlockId, block: NDArray[Any]) -> ObjectRecord:
        """Record of the object of a block, once it is stored."""
        key, data = self.array.key(block_id), encode_block(self.array.array, block)
        if self.lease is None:
            self.array.location.write(key, data)
        else:
            self.lease.write(key, data)
        return ObjectRecord.of(data)


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
class CoarseBlock:
    """A block of a level, and what proves the blocks of the level before that it is made of.

    Parameters
    ----------
    block_id
        The block.
    sources
        Records of the blocks of the finer level.
    """

    block_id: BlockId
    sources: Mapping[BlockId, ObjectRecord]


def put_coarse_block(
    block: CoarseBlock, writer: BlockWriter, name: str, finer: StoredArray
) -> WrittenBlock:
    """Make a block of a level by downsampling the level before, and store it.

    Parameters
    ----------
    block
        The block.
    writer
        Writes it.
    name
        The volume: labels are downsampled by mode, a template by mean.
    finer
        The level before, whole in the store.
    """
    box, shape = writer.array.box(block.block_id), finer.shape
    proven = StoredArray(finer.location, finer.array, records=KnownRecords(block.sources))
    voxels = proven.read_box(pyramid.source_box(box, shape))
    return writer.put(block.block_id, pyramid.downsampling(name)(voxels, box, shape))


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
