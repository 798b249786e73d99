"""Proves blocks of voxels by the digests and sizes that the store records of them."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refspace.errors import StoreError
from refspace.label_index import Chunks, cell_rows
from refspace.store.decode import decode_block
from refspace.store.report import Fault, FaultError, one_line
from refspace.store.stored_array import BlockId, StoredArray


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

    def read(self, block_id: BlockId) -> tuple[NDArray[Any], int]:
        """Values of a block, in C order, and the bytes that it takes in the store."""
        key = self.array.key(block_id)
        try:
            data = self.array.location.read(key)
        except StoreError as error:
            raise FaultError(key, one_line(error, self.array.location, key)) from error
        if data is None:
            raise FaultError(key, "is missing")
        try:
            whole = decode_block(self.array.array, data)
        except Exception as error:  # whatever codecs raise
            what = f"cannot be decoded: {one_line(error, self.array.location, key)}"
            raise FaultError(key, f"{what} ({len(data)} bytes)") from error
        return np.ascontiguousarray(self.array.cropped(block_id, whole)), len(data)

    def read_all(self) -> NDArray[Any]:
        """Values of the whole array."""
        values = np.empty(self.array.shape, self.array.dtype)
        for block_id, box in self.array.boxes.items():
            values[box] = self.read(block_id)[0]
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
    sha256
        Digest of each block as it was recorded; empty if the record is damaged.
    stored_bytes
        Bytes that each block took in the store; empty if the record is damaged.
    measured
        Digest of the voxels of each block that can be decoded.
    rows
        Rows of the label index of each block whose voxels are sound.
    """

    name: str
    level: int
    blocks: BlockReader
    cells: Chunks | None = None
    sha256: Mapping[BlockId, bytes] = field(default_factory=dict)
    stored_bytes: Mapping[BlockId, int] = field(default_factory=dict)
    measured: dict[BlockId, bytes] = field(default_factory=dict)
    rows: dict[BlockId, NDArray[np.int64]] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """Path of the array in the store."""
        return self.blocks.array.array.path

    def record(self, block_id: BlockId) -> "BlockRecord":
        """What is recorded of a block."""
        return BlockRecord(block_id, self.sha256.get(block_id), self.stored_bytes.get(block_id))


@dataclass(frozen=True)
class BlockRecord:
    """What is recorded of a block.

    Parameters
    ----------
    block_id
        The block.
    sha256
        Digest of its voxels; None if the record is damaged.
    stored_bytes
        Bytes that it took in the store; None if the record is damaged.
    """

    block_id: BlockId
    sha256: bytes | None
    stored_bytes: int | None


@dataclass(frozen=True)
class BlockFindings:
    """Result of proving a block.

    Parameters
    ----------
    faults
        What is wrong with it.
    measured
        Digest of its voxels; None if they cannot be decoded.
    rows
        Its rows of the label index; None if its voxels are not sound, or are not indexed.
    """

    faults: tuple[Fault, ...]
    measured: bytes | None = None
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
    key = array.key(record.block_id)
    try:
        voxels, size = BlockReader(array).read(record.block_id)
    except FaultError as error:
        return BlockFindings((error.fault,))
    digest = hashlib.sha256(voxels.data).digest()
    if record.sha256 not in (None, digest):
        # Of voxels that are wrong anyway, neither the size nor the labels say more.
        what = "its voxels are not those that were written"
        return BlockFindings((Fault(key, what),), digest)
    faults = []
    if record.stored_bytes not in (None, size):
        faults.append(Fault(key, f"takes {size} bytes, where {record.stored_bytes} are recorded"))
    corner = [part.start for part in array.box(record.block_id)]
    rows = None if cells is None else cell_rows(voxels, corner, cells)
    return BlockFindings(tuple(faults), digest, rows)
