"""Records of the objects of a store: how long each is as it is stored, and its digest.

A store of ours proves what is read of it. Its root metadata, which a digest of their own proves,
hold a record of every small object: coordinates, columns, tables and the metadata of nodes. One of
these tables holds a record of every block of voxels, `RECORD_BYTES` for each:

==========  =================================================
Bytes       Content
==========  =================================================
0 to 7      length of the object, little-endian
8 to 39     sha256 of the object, as it is stored (encoded)
==========  =================================================
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from refspace.errors import FormatError

if TYPE_CHECKING:
    from refspace.store.stored_array import BlockId, StoredArray

RECORD_BYTES = 40

_SIZE_BYTES = 8
# Tables that a worker process keeps: one for each volume and level that its tasks read.
_MOST_TABLES = 64


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
    def from_json(cls, value: Any) -> "ObjectRecord":
        """Record from a JSON value, as `to_json` gives it.

        Raises
        ------
        ValueError, TypeError
            If it is none.
        """
        nbytes, digits = value
        sha256 = bytes.fromhex(digits)
        if type(nbytes) is not int or nbytes < 0 or len(sha256) != hashlib.sha256().digest_size:
            raise ValueError(f"{value} is no record of an object")
        return cls(nbytes, sha256)

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

    def record(self, block_id: "BlockId") -> ObjectRecord:
        """Record of a block."""

    def prefetch(self) -> None:
        """Read what it takes to know records, if anything: beside the blocks, not before them."""


@dataclass(frozen=True)
class KnownRecords:
    """Records that are at hand.

    Parameters
    ----------
    by_block
        Record of each block that may be read.
    """

    by_block: Mapping["BlockId", ObjectRecord]

    def record(self, block_id: "BlockId") -> ObjectRecord:
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

    def prefetch(self) -> None:
        """Nothing: all is known."""


class RecordTable:
    """Records of the blocks of a large array, read when the first of them is needed.

    A copy in another process reads the table anew, once for each process: it would weigh more than
    all else in a task.

    Parameters
    ----------
    table
        The table, uint8 of shape (blocks, `RECORD_BYTES`), in C order of the blocks.
    numblocks
        Number of blocks along each axis.
    """

    def __init__(self, table: "StoredArray", numblocks: Sequence[int]) -> None:
        self._table, self._numblocks = table, tuple(numblocks)
        self._rows: NDArray[np.uint8] | None = None
        self._lock = threading.Lock()

    def __reduce__(self) -> Any:
        return _in_this_process, (self._table, self._numblocks)

    @property
    def rows(self) -> NDArray[np.uint8]:
        """The table.

        Raises
        ------
        FormatError, StoreError
            If it is damaged, or cannot be read.
        """
        with self._lock:
            if self._rows is None:
                self._rows = self._read()
            return self._rows

    def _read(self) -> NDArray[np.uint8]:
        table, blocks = self._table, int(np.prod(self._numblocks))
        if table.shape != (blocks, RECORD_BYTES) or table.dtype != np.uint8:
            raise FormatError(
                f"{table.location.url}: {table.array.path} is {table.dtype} of shape {table.shape}, "
                f"and no record of {blocks} blocks; convert the store again, or copy it again from "
                "where it is whole"
            )
        return table.values()

    @property
    def stored_bytes(self) -> NDArray[np.int64]:
        """Bytes that each block takes in the store, in C order of the blocks."""
        return np.ascontiguousarray(self.rows[:, :_SIZE_BYTES]).view("<i8")[:, 0].astype(np.int64)

    def record(self, block_id: "BlockId") -> ObjectRecord:
        """Record of a block."""
        return ObjectRecord.from_bytes(
            self.rows[np.ravel_multi_index(tuple(block_id), self._numblocks)]
        )

    def prefetch(self) -> None:
        """Read the table."""
        _ = self.rows


def table_of(records: Iterable[ObjectRecord]) -> NDArray[np.uint8]:
    """Table of the records of blocks, in C order of the blocks.

    Examples
    --------
    >>> table_of([ObjectRecord.of(b"voxels")]).shape
    (1, 40)
    """
    rows = b"".join(record.to_bytes() for record in records)
    return np.frombuffer(rows, np.uint8).reshape(-1, RECORD_BYTES)


_TABLES: OrderedDict[tuple[str, str, str], RecordTable] = OrderedDict()
_TABLES_LOCK = threading.Lock()


def _in_this_process(table: "StoredArray", numblocks: tuple[int, ...]) -> RecordTable:
    """The one table of its kind in a process to which tasks with copies of it are sent."""
    # The version is the digest of all metadata: a store that replaced another has another one.
    name = (table.location.url, table.version, table.array.path)
    with _TABLES_LOCK:
        records = _TABLES.pop(name, None) or RecordTable(table, numblocks)
        _TABLES[name] = records
        if len(_TABLES) > _MOST_TABLES:
            _TABLES.popitem(last=False)
        return records
