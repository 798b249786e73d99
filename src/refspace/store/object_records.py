"""Records of the objects of a store: how long each is as it is stored, and its digest.

A store of ours proves what is read of it. Its root metadata, which a digest of their own proves,
hold a record of every small object: coordinates, columns, tables and the metadata of nodes. Tables
hold the records of the objects of arrays that have many, like those of voxels, `RECORD_BYTES` for
each:

==========  =================================================
Bytes       Content
==========  =================================================
0 to 7      length of the object, little-endian
8 to 39     sha256 of the object, as it is stored (encoded)
==========  =================================================
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from refspace.errors import FormatError
from refspace.store.boxes import BlockId

RECORD_BYTES = 40

_SIZE_BYTES = 8
_DIGITS = 2 * hashlib.sha256().digest_size


@dataclass(frozen=True)
class ObjectRecord:
    """What proves an object.

    Parameters
    ----------
    nbytes
        Its length, as it is stored.
    sha256
        Its digest.
    """

    nbytes: int
    sha256: bytes

    @classmethod
    def of(cls, data: bytes) -> "ObjectRecord":
        """Record of an object.

        Examples
        --------
        >>> record = ObjectRecord.of(b"voxels")
        >>> record.proves(b"voxels"), record.proves(b"voxel5"), record.proves(None)
        (True, False, False)
        """
        return cls(len(data), hashlib.sha256(data).digest())

    @classmethod
    def from_json(cls, value: object) -> "ObjectRecord":
        """Record from a JSON value, as `to_json` gives it.

        Raises
        ------
        ValueError
            If it is none.
        """
        match value:
            case [int(nbytes), str(digits)] if nbytes >= 0 and len(digits) == _DIGITS:
                return cls(nbytes, bytes.fromhex(digits))
        raise ValueError(f"{value!r} is no record of an object")

    @classmethod
    def from_bytes(cls, row: NDArray[np.uint8]) -> "ObjectRecord":
        """Record from the row of a table, as `table_of` gives it."""
        data = row.tobytes()
        return cls(int.from_bytes(data[:_SIZE_BYTES], "little"), data[_SIZE_BYTES:])

    def to_json(self) -> list[Any]:
        """JSON value: the length, and the digest in hexadecimal digits."""
        return [self.nbytes, self.sha256.hex()]

    def to_bytes(self) -> bytes:
        """Row of a table of records."""
        return self.nbytes.to_bytes(_SIZE_BYTES, "little") + self.sha256

    def proves(self, data: bytes | None) -> bool:
        """Whether an object is the one that was recorded; None stands for a missing one."""
        return (
            data is not None
            and len(data) == self.nbytes
            and hashlib.sha256(data).digest() == self.sha256
        )


class Records(Protocol):
    """Records of the blocks of an array."""

    def record(self, block_id: BlockId) -> ObjectRecord:
        """Record of a block."""

    def prefetch(self, block_ids: Sequence[Sequence[int]]) -> None:
        """Read what it takes to know records of blocks: beside the blocks, not before them."""


@dataclass(frozen=True)
class KnownRecords:
    """Records that are at hand.

    Parameters
    ----------
    by_block
        Record of each block that may be read.
    """

    by_block: Mapping[BlockId, ObjectRecord]

    def record(self, block_id: BlockId) -> ObjectRecord:
        """Record of a block.

        Raises
        ------
        FormatError
            If there is none.
        """
        try:
            return self.by_block[tuple(block_id)]
        except KeyError as error:
            raise FormatError(f"there is no record of block {tuple(block_id)}") from error

    def prefetch(self, block_ids: Sequence[Sequence[int]]) -> None:
        """Nothing: all is known."""


def sizes_in(table: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Lengths of objects, from the table of their records, whose last axis is that of bytes.

    Examples
    --------
    >>> sizes_in(table_of([ObjectRecord.of(b"voxels"), ObjectRecord.of(b"")]))
    array([6, 0])
    """
    return np.ascontiguousarray(table[..., :_SIZE_BYTES]).view("<i8")[..., 0].astype(np.int64)


def table_of(records: Iterable[ObjectRecord]) -> NDArray[np.uint8]:
    """Table of the records of blocks, in C order of the blocks.

    Examples
    --------
    >>> table_of([ObjectRecord.of(b"voxels")]).shape
    (1, 40)
    """
    rows = b"".join(record.to_bytes() for record in records)
    return np.frombuffer(rows, np.uint8).reshape(-1, RECORD_BYTES)
