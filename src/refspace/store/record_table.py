"""Tables of records in a store: read when they are needed, once for each process."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refspace.errors import FormatError
from refspace.store.boxes import BlockId
from refspace.store.object_records import RECORD_BYTES, ObjectRecord, sizes_in
from refspace.store.stored_array import StoredArray

# Tables that a worker process keeps: one for each volume and level that its tasks read.
_MOST_TABLES = 64


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

    def __init__(self, table: StoredArray, numblocks: Sequence[int]) -> None:
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
                f"{table.location.url}: {table.path} is {table.dtype} of shape "
                f"{table.shape}, and no record of {blocks} blocks; convert the store again, or "
                "copy it again from where it is whole"
            )
        return table.values()

    @property
    def stored_bytes(self) -> NDArray[np.int64]:
        """Bytes that each block takes in the store, in C order of the blocks."""
        return sizes_in(self.rows)

    def record(self, block_id: BlockId) -> ObjectRecord:
        """Record of a block."""
        return ObjectRecord.from_bytes(
            self.rows[np.ravel_multi_index(tuple(block_id), self._numblocks)]
        )

    def prefetch(self) -> None:
        """Read the table."""
        _ = self.rows


_TABLES: OrderedDict[tuple[str, str | None, str], RecordTable] = OrderedDict()
_TABLES_LOCK = threading.Lock()


def _in_this_process(table: StoredArray, numblocks: tuple[int, ...]) -> RecordTable:
    """The one table of its kind in a process to which tasks with copies of it are sent."""
    # The version is the digest of all metadata: a store that replaced another has another one.
    name = (table.location.url, table.version, table.path)
    with _TABLES_LOCK:
        records = _TABLES.pop(name, None) or RecordTable(table, numblocks)
        _TABLES[name] = records
        if len(_TABLES) > _MOST_TABLES:
            _TABLES.popitem(last=False)
        return records
