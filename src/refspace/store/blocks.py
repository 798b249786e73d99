"""Blocks of voxels as they are written: what a task takes, and what it tells of what it did."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import dask.array
import numpy as np
from numpy.typing import NDArray

from refspace.label_index import Chunks, cell_rows
from refspace.store import pyramid
from refspace.store.staging import Ticket
from refspace.store.stored_array import Box, StoredArray

Number = tuple[int, ...]

# Rows that are turned into C order at a time: a block then takes half the time.
_ROWS = 16


@dataclass(frozen=True)
class Written:
    """What is known of a block once it is stored."""

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
        Chunks of its label index; none for volumes that are not indexed.
    ticket
        Leave to write, for those who do not hold the lock of the store; none for those who do.
    """

    array: StoredArray
    cells: Chunks | None
    ticket: Ticket | None = None

    def put(self, number: Number, block: NDArray[Any]) -> Written:
        """Store a block; others may be stored meanwhile."""
        box = self.array.box(number)
        # In the machine's byte order, in which blocks are digested.
        block = _c_order(block.astype(self.array.dtype, copy=False))
        if self.ticket is not None:
            self.ticket.check()
        self.array.array[box] = block
        corner = [part.start for part in box]
        rows = cell_rows(block, corner, self.cells) if self.cells else np.empty((0, 0), np.int64)
        size = self.array.location.size(self.array.key(number))
        return Written(hashlib.sha256(block.data).digest(), size, rows)


def _c_order(block: NDArray[Any]) -> NDArray[Any]:
    if block.flags.c_contiguous:
        return block
    ordered = np.empty(block.shape, block.dtype)
    for start in range(0, len(block), _ROWS):
        ordered[start : start + _ROWS] = block[start : start + _ROWS]
    return ordered


def put_block(number: Number, writer: BlockWriter, make: Callable[[Box], NDArray[Any]]) -> Written:
    """Make a block of the voxels of its box, and store it."""
    return writer.put(number, make(writer.array.box(number)))


@dataclass(frozen=True)
class Cut:
    """Makes blocks of voxels that are in memory.

    Parameters
    ----------
    voxels
        A part of the array.
    part
        Where it is.
    """

    voxels: NDArray[Any]
    part: Box

    def __call__(self, box: Box) -> NDArray[Any]:
        """Voxels of a box within the part."""
        sides = zip(box, self.part, strict=True)
        return self.voxels[tuple(slice(b.start - p.start, b.stop - p.start) for b, p in sides)]


@dataclass(frozen=True)
class Coarser:
    """Makes blocks of a level of the voxels of the one before.

    Parameters
    ----------
    name
        The volume.
    finer
        The level before, whole in the store.
    """

    name: str
    finer: StoredArray

    def __call__(self, box: Box) -> NDArray[Any]:
        """Voxels of a box of the coarser level."""
        shape = self.finer.shape
        voxels: Any = self.finer.array[pyramid.source_box(box, shape)]
        return pyramid.coarser(self.name)(voxels, box, shape)


@dataclass(frozen=True)
class LazyPart:
    """Voxels of some blocks, to be computed where these are written.

    Parameters
    ----------
    part
        Where they are.
    voxels
        The voxels; its graph holds what they are made of, and no more.
    numbers
        The blocks.
    """

    part: Box
    voxels: dask.array.Array
    numbers: Sequence[Number]


def put_part(lazy: LazyPart, writer: BlockWriter) -> list[Written]:
    """Compute a part, and store its blocks."""
    # Not by the cluster that this is a task of.
    voxels = lazy.voxels.compute(scheduler="synchronous")
    make = Cut(voxels, lazy.part)
    return [put_block(number, writer, make) for number in lazy.numbers]
