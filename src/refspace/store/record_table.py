"""Tables of records in a store: read when they are needed, once for each process."""

import functools
import itertools
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refspace.errors import FormatError
from refspace.store.boxes import BlockId, Box, common_box, within
from refspace.store.kept_parts import KeptParts
from refspace.store.location import map_concurrently
from refspace.store.object_records import RECORD_BYTES, ObjectRecord, sizes_in
from refspace.store.stored_array import StoredArray

# Tables that a worker process keeps: one for each volume and level that its tasks read.
_MOST_TABLES = 64


class RecordTable:
    """Records of the blocks of a large array, read when the first of them is needed.

    Of a table in parts, those parts are read whose blocks are asked for. A copy in another process
    reads them anew, once for each process: they would weigh more than all else in a task.

    Parameters
    ----------
    table
        The table, uint8 of the shape of the block grid and `RECORD_BYTES`.
    numblocks
        Number of blocks along each axis.
    """

    def __init__(self, table: StoredArray, numblocks: Sequence[int]) -> None:
        self._table, self._numblocks = table, tuple(numblocks)
        self._parts: KeptParts[BlockId] = KeptParts(self._read)

    def __reduce__(self) -> Any:
        return _in_this_process, (self._table, self._numblocks)

    @property
    def is_in_parts(self) -> bool:
        """Whether there is more than one part."""
        return self._part_shape != self._numblocks

    @property
    def rows(self) -> NDArray[np.uint8]:
        """The whole table, with a row for each block, in C order of the blocks.

        Raises
        ------
        FormatError, StoreError
            If it is damaged, or cannot be read.
        """
        if not self.is_in_parts:
            return self._parts.get((0,) * len(self._numblocks)).reshape(-1, RECORD_BYTES)
        rows = np.empty((*self._numblocks, RECORD_BYTES), np.uint8)
        for place, part in self._rows_in([slice(0, count) for count in self._numblocks]):
            rows[place] = part
        return rows.reshape(-1, RECORD_BYTES)

    def stored_bytes(self, blocks: Sequence[slice]) -> NDArray[np.int64]:
        """Bytes that some blocks take in the store, in the shape of their grid.

        Parameters
        ----------
        blocks
            Range of blocks along each axis, with ends within the grid.
        """
        sizes = np.empty([part.stop - part.start for part in blocks], np.int64)
        for place, part in self._rows_in(blocks):
            sizes[place] = sizes_in(part)
        return sizes

    def _rows_in(self, blocks: Sequence[slice]) -> Iterator[tuple[Box, NDArray[np.uint8]]]:
        """Rows of some blocks, part by part, and where they are among these blocks."""
        wanted, sizes = tuple(blocks), self._part_shape
        sides = zip(wanted, sizes, strict=True)
        numbers = [range(side.start // n, -(-side.stop // n)) for side, n in sides]
        for part_id in itertools.product(*numbers):
            part = self._parts.get(part_id)
            starts = [i * n for i, n in zip(part_id, sizes, strict=True)]
            whole = tuple(slice(a, a + n) for a, n in zip(starts, part.shape[:-1], strict=True))
            common = common_box(whole, wanted)
            yield within(common, wanted), part[within(common, whole)]

    def record(self, block_id: BlockId) -> ObjectRecord:
        """Record of a block."""
        axes = [divmod(i, n) for i, n in zip(block_id, self._part_shape, strict=True)]
        part = self._parts.get(tuple(part for part, _ in axes))
        return ObjectRecord.from_bytes(part[tuple(inside for _, inside in axes)])

    def prefetch(self, block_ids: Sequence[Sequence[int]]) -> None:
        """Read the parts with the records of some blocks, at the same time."""
        sizes = self._part_shape
        parts = {tuple(i // n for i, n in zip(each, sizes, strict=True)) for each in block_ids}
        map_concurrently(self._parts.get, sorted(parts))

    @functools.cached_property
    def _part_shape(self) -> tuple[int, ...]:
        """Number of blocks of a part along each axis, once the table is seen to be one."""
        table, shape = self._table, (*self._numblocks, RECORD_BYTES)
        if table.shape != shape or table.dtype != np.uint8 or table.block_shape[-1] != shape[-1]:
            raise FormatError(
                f"{table.location.url}: {table.path} is {table.dtype} of shape "
                f"{table.shape}, and no record of {self._numblocks} blocks; convert the store "
                "again, or copy it again from where it is whole"
            )
        return table.block_shape[:-1]

    def _read(self, part_id: BlockId) -> NDArray[np.uint8]:
        return self._table.read_block((*part_id, 0))


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
