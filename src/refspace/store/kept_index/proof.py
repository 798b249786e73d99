"""Whether a label index is still that of an array: metadata, stamps, and a few contents.

Of files of this machine all stamps are compared; of objects in a bucket those of up to two
thousand, by a listing; elsewhere, as on web servers, those of a few. What has another stamp is
read, as far as it is not too much, and its content compared: a copy of an image has other times,
and is the same image. Of some that are read the labels are measured again: an index that anybody
may have published is not merely believed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refspace.label_index.rows import CHUNK
from refspace.store.boxes import BlockId
from refspace.store.kept_index.measuring import SpaceAxes, measured_rows
from refspace.store.kept_index.packed import ABSENT, IndexedArray
from refspace.store.kept_index.stamps import (
    MISSING,
    UNSTATED,
    asked_block_stamps,
    listed_block_stamps,
)
from refspace.store.location import map_concurrently
from refspace.store.stored_array import StoredArray

# Files of this machine whose stamps are compared.
_MOST_FILES = 10**5
# Objects that are worth a listing rather than a look at a few: two answers of S3.
_LISTED = 2000
# Bytes of contents that are compared, of files of this machine and of objects elsewhere.
_LOCAL_BYTES, _REMOTE_BYTES = 256 * 2**20, 32 * 2**20
# Objects elsewhere whose contents are compared, at most; blocks whose labels are measured again.
_CONTENTS, _MEASURED = 16, 4
# Larger blocks are not measured again.
_MEASURED_BYTES = 64 * 2**20
# Blocks that are looked at where stamps cost a request each: of those with most labels, of all
# others that are there, and of those that are not.
_RICH, _PRESENT, _ABSENT = 2, 3, 3


@dataclass(frozen=True)
class Proof:
    """How far an index was compared with an array that it fits.

    Parameters
    ----------
    compared
        Number of blocks whose object is as it was when the index was made, of all.
    blocks
        Number of all blocks.
    """

    compared: int
    blocks: int

    def __str__(self) -> str:
        if self.compared == self.blocks:
            return f"every one of {self.blocks} chunks is as it was indexed"
        return (
            f"{self.compared} of {self.blocks} chunks were compared, and are as they were indexed"
        )


def prove(array: StoredArray, axes: SpaceAxes, indexed: IndexedArray) -> Proof | str:
    """Proof that an index is that of an array; or why it is not.

    Parameters
    ----------
    array
        The array, whose metadata and blocks are those of the index.
    axes
        Which of its axes are those of space.
    indexed
        The index.

    Raises
    ------
    RefspaceError
        If the array cannot be reached.
    """
    return _Comparison(array, axes, indexed).result()


@dataclass(frozen=True)
class _Comparison:
    """The comparison of an index with an array."""

    array: StoredArray
    axes: SpaceAxes
    indexed: IndexedArray

    def result(self) -> Proof | str:
        """Proof, or why there is none."""
        chosen, stamps = self._stamps()
        known = self.indexed.stamps[chosen]
        absent = self.indexed.is_absent[chosen]
        if (appeared := chosen[absent & (stamps != MISSING)]).size:
            return f"chunk {self._key(appeared[0])} was not there when the image was indexed"
        if (gone := chosen[~absent & (stamps == MISSING)]).size:
            return f"chunk {self._key(gone[0])} is gone"
        is_same = absent | ((stamps == known) & (stamps > UNSTATED))
        doubtful = chosen[~is_same]
        read = self._affordable(doubtful)
        if (changed := self._first_changed(read)) is not None:
            return changed
        return Proof(int(is_same.sum()) + read.size, self.indexed.stamps.size)

    def _stamps(self) -> tuple[NDArray[np.intp], NDArray[np.uint64]]:
        """Blocks to compare, by their flat ids, and the stamps of their objects as they are now."""
        count, is_local = self.indexed.stamps.size, self.array.location.local_path is not None
        if is_local or count <= _LISTED:
            chosen = _spread(np.arange(count), _MOST_FILES)
            listed = listed_block_stamps(self.array, self._ids(chosen))
            if listed is not None:
                return chosen, listed
        absent = self.indexed.is_absent
        chosen = self._handful(absent)
        stamps = np.full(chosen.size, MISSING, np.uint64)
        there = ~absent[chosen]
        stamps[there] = asked_block_stamps(self.array, self._ids(chosen[there]))
        # What should be missing is asked for itself: some servers let nobody ask whether it is.
        keys = [self._key(flat_id) for flat_id in chosen[~there]]
        found = map_concurrently(self.array.location.is_there, keys)
        stamps[~there] = [UNSTATED if is_there else MISSING for is_there in found]
        return chosen, stamps

    def _handful(self, absent: NDArray[np.bool_]) -> NDArray[np.intp]:
        """Blocks to look at where each costs a request: the same ones every time."""
        there, missing = np.flatnonzero(~absent), np.flatnonzero(absent)
        labels = self._labels_per_block()[there]
        rich = there[np.argsort(-labels, kind="stable")[:_RICH]]
        central = missing[np.argsort(self._off_centre(missing), kind="stable")[:1]]
        parts = [rich, _spread(there, _PRESENT), central, _spread(missing, _ABSENT)]
        return np.unique(np.concatenate(parts))

    def _labels_per_block(self) -> NDArray[np.intp]:
        index, blocks = self.indexed.index, self.axes.blocks(self.array)
        per_block = index.coarsen(blocks).table[CHUNK]
        return np.bincount(per_block, minlength=self.indexed.stamps.size)

    def _off_centre(self, flat_ids: NDArray[np.intp]) -> NDArray[np.float64]:
        """How far blocks are from the middle: what is missing there will hardly stay so."""
        counts = [len(sizes) for sizes in self.axes.blocks(self.array)]
        ids = np.unravel_index(flat_ids, counts)
        sides = [i / count - (count - 1) / count / 2 for i, count in zip(ids, counts, strict=True)]
        squares: NDArray[np.float64] = np.square(np.array(sides)).sum(axis=0)
        return squares

    def _affordable(self, doubtful: NDArray[np.intp]) -> NDArray[np.intp]:
        """Of blocks whose contents are to be compared, as many as are not too much to read."""
        is_local = self.array.location.local_path is not None
        sizes = self.indexed.records[:, :8].copy().view("<u8")[:, 0].astype(np.float64)
        most = _LOCAL_BYTES if is_local else _REMOTE_BYTES
        count = doubtful.size if is_local else _CONTENTS
        if doubtful.size and (total := sizes[doubtful].sum()) > most:
            count = min(count, max(1, int(doubtful.size * most / total)))
        return _spread(doubtful, count)

    def _first_changed(self, flat_ids: NDArray[np.intp]) -> str | None:
        """What is wrong with the first block whose content is not that of the index."""
        measured = {*_spread(flat_ids, _MEASURED).tolist()}
        size = np.prod(self.array.block_shape) * self.array.dtype.itemsize
        measured = set() if size > _MEASURED_BYTES else measured
        for group in _groups(flat_ids.tolist()):
            faults = map_concurrently(lambda i: self._fault(i, i in measured), group)
            if found := next(filter(None, faults), None):
                return found
        return None

    def _fault(self, flat_id: int, is_measured: bool) -> str | None:
        (block_id,) = self._ids(np.array([flat_id]))
        data = self.array.location.read(self.array.key(block_id), self.array.most_bytes)
        record = self.indexed.record(flat_id)
        if record == ABSENT or not record.proves(data):
            return f"chunk {self._key(flat_id)} has changed since the image was indexed"
        if is_measured and not self._has_rows(block_id, data):
            return f"chunk {self._key(flat_id)} holds other labels than the index says"
        return None

    def _has_rows(self, block_id: BlockId, data: bytes | None) -> bool:
        index = self.indexed.index
        rows = measured_rows(self.array, self.axes, index.chunks, block_id, data)
        return np.array_equal(index.table[:, np.isin(index.table[CHUNK], rows[CHUNK])], rows)

    def _ids(self, flat_ids: NDArray[np.intp]) -> list[BlockId]:
        return self.axes.block_ids(self.array, flat_ids)

    def _key(self, flat_id: int) -> str:
        return self.array.key(self._ids(np.array([flat_id]))[0])


def _spread(ids: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    """Some of a number of ids, the first and the last among them, evenly spread.

    Examples
    --------
    >>> _spread(np.arange(10), 3), _spread(np.arange(2), 3), _spread(np.arange(0), 3)
    (array([0, 4, 9]), array([0, 1]), array([], dtype=int64))
    """
    if ids.size <= count:
        return ids
    return ids[np.linspace(0, ids.size - 1, count).astype(np.intp)]


def _groups(ids: Sequence[int], size: int = 64) -> Iterable[Sequence[int]]:
    return (ids[first : first + size] for first in range(0, len(ids), size))
