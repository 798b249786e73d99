"""The label index of an array of another program: looked for, and proven, when it is needed."""

import threading
import warnings
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refspace.errors import FormatError, RefspaceError
from refspace.label_index import LabelIndex
from refspace.store.boxes import BlockId
from refspace.store.kept_index.measuring import SpaceAxes
from refspace.store.kept_index.packed import ABSENT, IndexedArray, PackedIndex
from refspace.store.kept_index.places import Place, index_places
from refspace.store.kept_index.proof import Proof, prove
from refspace.store.object_records import sizes_in
from refspace.store.stored_array import StoredArray

# Indices that a worker process keeps.
_MOST_KEPT = 16


@dataclass(frozen=True)
class Found:
    """An index that was looked for.

    Parameters
    ----------
    place
        Where it is.
    digest
        Digest of the object that holds it.
    indexed
        The index of the array.
    proof
        How far it was compared with the array; None where it was not.
    """

    place: Place
    digest: str
    indexed: IndexedArray
    proof: Proof | None


class KeptIndex:
    """Label index of an array of another program, which is kept beside the image or in the cache.

    It is looked for when it is first asked for, and used if it is proven to be of the array as that
    is then. From then on every object that is read must be the one that was indexed.

    Parameters
    ----------
    array
        The array.
    axes
        Which of its axes are those of space.
    metadata
        Digest of its metadata.
    given
        The only place to look at, which the caller has named: what is there must fit.
    """

    def __init__(
        self, array: StoredArray, axes: Sequence[int], metadata: str, given: Place | None = None
    ) -> None:
        self.array = array
        self.axes = SpaceAxes(tuple(axes))
        self.metadata = metadata
        self.given = given
        self._found: Found | None = None
        self._is_known = False
        self._lock = threading.Lock()

    def __reduce__(self) -> Any:
        found = self._found
        digest = None if found is None else found.digest
        return _in_this_process, (self.array, self.axes.axes, self.metadata, self.given, digest)

    # ----- looking for it

    def index(self) -> LabelIndex | None:
        """The index; None where there is none.

        Raises
        ------
        FormatError
            If the caller has named a place, and what is there is no index of the array.

        Warns
        -----
        UserWarning
            If there is one that must not be trusted.
        """
        found = self.found()
        return None if found is None else found.indexed.index

    def found(self) -> Found | None:
        """The index, where it is, and its proof; None where there is none.

        Raises
        ------
        FormatError
            As for `index`.

        Warns
        -----
        UserWarning
            As for `index`.
        """
        with self._lock:
            if not self._is_known:
                self._found = self._look()
                self._is_known = True
            return self._found

    def _look(self) -> Found | None:
        faults = []
        for place in (self.given,) if self.given else index_places(self.array.location):
            outcome = self.at(place)
            if isinstance(outcome, Found):
                return outcome
            if outcome is not None:
                faults.append(f"the label index {place.name} is not used: {outcome}")
        if self.given is not None:
            why = "; ".join(faults) or f"there is no label index at {self.given.name}"
            raise FormatError(f"{self.array.location.name}: {why}")
        if faults:
            warnings.warn(
                f"{self.array.location.name}: {'; '.join(faults)}. Voxels are read instead, which "
                "takes longer; 'refspace index' makes it again",
                stacklevel=2,
            )
        return None

    def at(self, place: Place) -> Found | str | None:
        """The index at a place, proven; or why there is none that fits; None if there is none."""
        try:
            packed = place.read()
        except (RefspaceError, OSError) as error:
            return str(error)
        return None if packed is None else self.proven(packed, place)

    def proven(self, packed: PackedIndex, place: Place) -> Found | str:
        """The index in what was read at a place, once it is proven; or why it does not fit."""
        try:
            indexed = self._unpacked(packed)
            proof = prove(self.array, self.axes, indexed)
        except (RefspaceError, OSError) as error:
            return str(error)
        return proof if isinstance(proof, str) else Found(place, packed.digest, indexed, proof)

    def _unpacked(self, packed: PackedIndex) -> IndexedArray:
        """Index of the array from an object that may hold any."""
        path = self.array.array.path
        entry = packed.entries.get(path)
        if entry is not None and entry.metadata != self.metadata:
            raise FormatError(
                f"the metadata of {path or 'the array'} have changed since it was made"
            )
        return packed.array(path, self.axes.blocks(self.array))

    @property
    def read_array(self) -> StoredArray:
        """The array, whose objects are held against the index once that is in use."""
        return StoredArray(self.array.location, self.array.array, indexed=self)

    def at_given(self, place: Place) -> "KeptIndex":
        """The index at a place that the caller names, and nowhere else."""
        return KeptIndex(self.array, self.axes.axes, self.metadata, place)

    def stored_bytes(self) -> NDArray[np.int64] | None:
        """Bytes that each block takes where it is stored, in the shape of the block grid."""
        if (found := self.found()) is None:
            return None
        sizes = np.where(found.indexed.is_absent, 0, sizes_in(found.indexed.records))
        return sizes.reshape([len(sizes) for sizes in self.axes.blocks(self.array)])

    # ----- what is read

    def is_as_indexed(self, block_id: BlockId | Sequence[int], data: bytes | None) -> bool:
        """Whether an object is the one that was indexed, or no index is in use."""
        if self._found is None:
            return True
        counts = [len(sizes) for sizes in self.axes.blocks(self.array)]
        flat_id = int(np.ravel_multi_index(self.axes.of(tuple(block_id)), counts))
        record = self._found.indexed.record(flat_id)
        return data is None if record == ABSENT else record.proves(data)

    # ----- other processes

    def load(self, digest: str) -> None:
        """Take over an index that another process has proven, where this one can read it."""
        with self._lock:
            if self._is_known:
                return
            self._is_known = True
            for place in (self.given,) if self.given else index_places(self.array.location):
                try:
                    packed = place.read()
                    if packed is not None and packed.digest == digest:
                        self._found = Found(place, digest, self._unpacked(packed), None)
                        return
                except (RefspaceError, OSError):
                    continue


_KEPT: OrderedDict[tuple[Any, ...], KeptIndex] = OrderedDict()
_KEPT_LOCK = threading.Lock()


def _in_this_process(
    array: StoredArray,
    axes: Sequence[int],
    metadata: str,
    given: Place | None,
    digest: str | None,
) -> KeptIndex:
    """The one copy of an index in a process to which tasks with it are sent.

    Tasks of results that were made by an index have their objects proven by it, where this process
    finds the same one. One in the cache of another machine is not found here.
    """
    if digest is None:
        return KeptIndex(array, axes, metadata, given)
    name = (array.location.url, array.array.path, metadata, digest)
    with _KEPT_LOCK:
        kept = _KEPT.pop(name, None) or KeptIndex(array, axes, metadata, given)
        _KEPT[name] = kept
        if len(_KEPT) > _MOST_KEPT:
            _KEPT.popitem(last=False)
    kept.load(digest)
    return kept
