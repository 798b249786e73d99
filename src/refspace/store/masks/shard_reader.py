"""Reads masks from shards, each proven as a whole."""

import threading
from collections import OrderedDict
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refspace.store.boxes import BlockId, Box, common_box, within
from refspace.store.masks.shards import decode_mask
from refspace.store.stored_array import StoredArray

# Of shards as they are stored: the masks of one block are mostly asked for together.
_CACHE_BYTES = 64 * 2**20


class ShardReader:
    """Reads parts of an array of masks; a shard that is absent is 0 everywhere, without a request.

    A shard is requested as a whole, because its record proves it as a whole. Those read last are
    kept, as they are stored, for the other masks in them; not in copies for other processes.

    Parameters
    ----------
    array
        The array, whose blocks are shards.
    present
        Group and block of each shard that exists.
    """

    def __init__(self, array: StoredArray, present: Collection[BlockId]) -> None:
        self.array, self._present = array, frozenset(present)
        self._kept: OrderedDict[BlockId, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def __reduce__(self) -> Any:
        return ShardReader, (self.array, self._present)

    def read_box(self, box: Box) -> NDArray[np.bool_]:
        """Masks in a part of the array."""
        values = np.zeros([part.stop - part.start for part in box], bool)
        for block_id in self.array.block_ids(box):
            if block_id in self._present:
                whole = self.array.box(block_id)
                common = common_box(whole, box)
                self._read(block_id, within(common, whole), values[within(common, box)])
        return values

    def _read(self, block_id: BlockId, part: Box, values: NDArray[np.bool_]) -> None:
        """Read masks in a part of a shard."""
        content, (count, *chunk_shape) = self._content(block_id), self.array.block_shape
        for row, position in enumerate(range(part[0].start, part[0].stop)):
            mask = decode_mask(content, position, count, chunk_shape)
            if mask is not None:
                values[row] = mask[part[1:]]

    def _content(self, block_id: BlockId) -> bytes:
        with self._lock:
            if block_id in self._kept:
                self._kept.move_to_end(block_id)
                return self._kept[block_id]
        content = self.array.content(block_id)
        with self._lock:
            self._kept[block_id] = content
            while sum(map(len, self._kept.values())) > _CACHE_BYTES:
                self._kept.popitem(last=False)
        return content
