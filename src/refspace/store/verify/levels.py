"""Proves blocks of voxels by the records that the store has of their objects."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refspace.errors import StoreError
from refspace.label_index import Chunks, cell_rows
from refspace.store.boxes import BlockId
from refspace.store.decode import decode_block
from refspace.store.object_records import ObjectRecord
from refspace.store.prove import NOT_AS_WRITTEN
from refspace.store.report import Fault, FaultError, one_line
from refspace.store.stored_array import StoredArray


class BlockReader:
    """Reads blocks of an array, each decoded from its file as a whole.

    One request gives a block's size and its values, and a shard is decoded to its last chunk.

    Parameters
    ----------
    array
        The array.
    """

    def __init__(self, array: StoredArray) -> None:
        self.array = array

    def read(self, block_id: BlockId) -> NDArray[Any]:
        """Values of a block, in C order."""
        return self.decode(block_id, self.content(block_id))

    def content(self, block_id: BlockId) -> bytes:
        """Content of the object that holds a block."""
        key = self.array.key(block_id)
        try:
            data = self.array.location.read(key)
        except StoreError as error:
            raise FaultError(key, one_line(error, self.array.location, key)) from error
        if data is None:
            raise FaultError(key, "is missing")
        return data

    def decode(self, block_id: BlockId, data: bytes) -> NDArray[Any]:
        """Values of a block, in C order, from the content of its object."""
        key = self.array.key(block_id)
        try:
            whole = decode_block(self.array.array, data)
        except Exception as error:  # whatever codecs raise
            what = f"cannot be decoded: {one_line(error, self.array.location, key)}"
            raise FaultError(key, f"{what} ({len(data)} bytes)") from error
        return np.ascontiguousarray(self.array.cropped(block_id, whole))

    def read_all(self) -> NDArray[Any]:
        """Values of the whole array."""
        values = np.empty(self.array.shape, self.array.dtype)
        for block_id, box in self.array.boxes.items():
            values[box] = self.read(block_id)
        return values


@dataclass
class LevelProof:
    """One level of a volume, with the records of its blocks and what was measured of them.

    Parameters
    ----------
    name
        ``annotation``, ``template`` or ``hemispheres``.
    level
        0 for the finest.
    blocks
        Its voxels.
    cells
        Chunks of its label index; None for volumes that are not indexed.
    records
        Record of the object of each block; empty if they are damaged.
    measured
        What the object is of each block that can be decoded.
    rows
        Rows of the label index of each block whose voxels are sound.
    """

    name: str
    level: int
    blocks: BlockReader
    cells: Chunks | None = None
    records: Mapping[BlockId, ObjectRecord] = field(default_factory=dict)
    measured: dict[BlockId, ObjectRecord] = field(default_factory=dict)
    rows: dict[BlockId, NDArray[np.int64]] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """Path of the array in the store."""
        return self.blocks.array.array.path

    def record(self, block_id: BlockId) -> "BlockRecord":
        """What is recorded of a block."""
        return BlockRecord(block_id, self.records.get(block_id))


@dataclass(frozen=True)
class BlockRecord:
    """What is recorded of a block.

    Parameters
    ----------
    block_id
        The block.
    record
        What is recorded of its object; None if the record is damaged.
    """

    block_id: BlockId
    record: ObjectRecord | None


@dataclass(frozen=True)
class BlockFindings:
    """Result of proving a block.

    Parameters
    ----------
    faults
        What is wrong with it.
    measured
        What its object is; None if it is missing, or cannot be decoded.
    rows
        Its rows of the label index; None if its voxels are not sound, or are not indexed.
    """

    faults: tuple[Fault, ...]
    measured: ObjectRecord | None = None
    rows: NDArray[np.int64] | None = None


def prove_block(record: BlockRecord, array: StoredArray, cells: Chunks | None) -> BlockFindings:
    """Prove a block by what is recorded of it, in any thread, process or machine.

    Parameters
    ----------
    record
        What is recorded of it.
    array
        The array that it is a block of.
    cells
        Chunks of the array's label index; None if it has no index.
    """
    reader, block_id = BlockReader(array), record.block_id
    try:
        data = reader.content(block_id)
        measured = ObjectRecord.of(data)
        if record.record not in (None, measured):
            # Nothing is decoded that is wrong anyway.
            return BlockFindings((Fault(array.key(block_id), NOT_AS_WRITTEN),), measured)
        voxels = reader.decode(block_id, data)
    except FaultError as error:
        return BlockFindings((error.fault,))
    corner = [part.start for part in array.box(block_id)]
    rows = None if cells is None else cell_rows(voxels, corner, cells)
    return BlockFindings((), measured, rows)
