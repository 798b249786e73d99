"""Parts of the label index of a level of a store, read when they are needed."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refspace.errors import AnnotationError, FormatError
from refspace.label_index import FIELDS, Chunks, IndexParts, LabelIndex
from refspace.store.digests import array_sha256
from refspace.store.kept_parts import KeptParts
from refspace.store.location import map_concurrently
from refspace.store.own_arrays import REPAIR
from refspace.store.record_table import RecordTable
from refspace.store.stored_array import StoredArray

# Parts that are on the way at the same time: each has 12 MB once it is decoded.
_GROUP = 4


class StoredIndexParts:
    """Label index of a level in parts, each read once while there is room for it.

    Parameters
    ----------
    table
        The table.
    spans
        Reads where the parts are, as `IndexParts.spans` says.
    digest
        Digest of these and of the records of the parts.
    shape, chunks
        As those of the index.
    """

    def __init__(
        self,
        table: StoredArray,
        spans: Callable[[], NDArray[np.int64]],
        digest: str | None,
        shape: tuple[int, ...],
        chunks: Chunks,
    ) -> None:
        self._table, self._spans, self._digest = table, spans, digest
        self._shape, self._chunks = shape, chunks
        self._kept: KeptParts[int] = KeptParts(self._read)

    def __reduce__(self) -> tuple[Any, ...]:
        own = self._table, self._spans, self._digest, self._shape, self._chunks
        return type(self), own

    def crop(self, start: Sequence[int], stop: Sequence[int]) -> LabelIndex:
        """Index of a part of the array that is made of whole chunks, as `LabelIndex.crop`.

        Raises
        ------
        FormatError
            If what is read for it is damaged, or is of another volume.
        StoreReplacedError, StoreError
            If it cannot be read.
        """
        try:
            return self._parts.crop(start, stop)
        except AnnotationError as error:
            raise FormatError(f"{self._table.location.url}: {self._table.path}: {error}") from error

    @functools.cached_property
    def _parts(self) -> IndexParts:
        """The parts, once what says where they are is proven."""
        table, spans = self._table, self._spans()
        what, grid = f"{table.location.url}: {table.path}", tuple(map(len, table.blocks))
        is_table = table.dtype == np.int64 and table.shape[0] == len(FIELDS)
        records = table.records
        if not is_table or grid != (1, spans.shape[1]) or not isinstance(records, RecordTable):
            raise FormatError(f"{what} is not in the parts that are stated; {REPAIR}")
        if array_sha256(spans, records.rows) != self._digest:
            raise FormatError(f"{what} has parts of the index of another volume; {REPAIR}")
        return IndexParts(self._shape, self._chunks, spans, self._read_all)

    def _read_all(self, parts: Sequence[int]) -> Iterator[NDArray[np.int64]]:
        """Some parts of the table, several of which are read at the same time."""
        is_local = self._table.location.local_path is not None
        for first in range(0, len(parts), _GROUP):
            group = parts[first : first + _GROUP]
            # Files of this machine are read in no time.
            read_all = map if is_local else map_concurrently
            yield from read_all(self._kept.get, group)

    def _read(self, part: int) -> NDArray[np.int64]:
        return self._table.read_block((0, part))
