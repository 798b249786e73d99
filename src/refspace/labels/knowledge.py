"""What is known of the blocks of a volume without reading a voxel.

A volume from a store is *indexed*: its label index says which labels each block holds, how many
voxels of each, and where. A part of such a volume cuts blocks, so it is only *bounded*: what may be
in a block is known, how much of it is not. Of any other array the blocks are *unknown*.
"""

import functools
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import methodcaller
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from refspace.errors import GridError, RefspaceError, StoreReplacedError
from refspace.grid import Reorientation
from refspace.label_index import BlockLabels, Chunks, LabelIndex, PartedIndex

_T = TypeVar("_T")
Box = tuple[slice, ...]


class Once(Generic[_T]):
    """Something that may be known, made when it is first asked for: an index is read when needed.

    Parameters
    ----------
    make
        Makes the value; None where nothing is known. Other processes get this function, and make
        the value again.

    Examples
    --------
    >>> known = Once(functools.partial(int, "25"))
    >>> known(), known.then(float)(), Once.from_value(None).then(float)()
    (25, 25.0, None)
    """

    def __init__(self, make: Callable[[], _T | None]) -> None:
        self._make = make
        self._made: list[_T | None] = []

    @classmethod
    def from_value(cls, value: _T | None) -> "Once[_T]":
        """Something that is at hand."""
        return cls(functools.partial(_itself, value))

    def __call__(self) -> _T | None:
        """The value; None where nothing is known."""
        if not self._made:
            self._made.append(self._make())
        return self._made[0]

    def then(self, function: Callable[[_T], Any]) -> "Once[Any]":
        """What a function makes of the value; None where nothing is known."""
        return Once(functools.partial(_apply, function, self))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._make,)


def _itself(value: _T) -> _T:
    return value


def _apply(function: Callable[[_T], Any], known: Once[_T]) -> Any:
    value = known()
    return None if value is None else function(value)


_NOTHING: Once[Any] = Once.from_value(None)


@dataclass(frozen=True, eq=False)
class BlockKnowledge:
    """What is known of the blocks of a volume: indexed, bounded or, by default, unknown.

    Parameters
    ----------
    index
        Label index of the volume.
    block_labels
        Labels that may occur in each block.
    stored_bytes
        Bytes that each block takes where it is stored, in the shape of the block grid.
    stored_bytes_in
        The same of a range of blocks along each axis, where it is known without all others.
    attach
        Of a volume as it was opened in another program's store: gives it the label index at a path
        or URL, reached with some options. None of any other volume.

    Examples
    --------
    >>> labels = BlockLabels(((2, 2),), np.array([0, 1, 2]), np.array([7, 9]))
    >>> part = BlockKnowledge.bounded(labels).crop((slice(2, 4),), ((2, 2),))
    >>> part.block_labels().labels
    array([9], dtype=uint32)
    """

    index: Once[LabelIndex] = _NOTHING
    block_labels: Once[BlockLabels] = _NOTHING
    stored_bytes: Once[NDArray[Any]] = _NOTHING
    stored_bytes_in: Callable[[Box], NDArray[Any]] | None = None
    attach: "Attach | None" = None

    @classmethod
    def indexed(
        cls,
        index: Once[LabelIndex],
        chunks: Chunks,
        stored_bytes: Once[NDArray[Any]] = _NOTHING,
        stored_bytes_in: Callable[[Box], NDArray[Any]] | None = None,
    ) -> "BlockKnowledge":
        """Knowledge from a label index.

        Parameters
        ----------
        index
            The index, whose chunks are those of the volume or parts of them.
        chunks
            Chunks of the volume.
        stored_bytes, stored_bytes_in
            As for the class.
        """
        labels = index.then(functools.partial(labels_of_index, chunks=chunks))
        return cls(index, labels, stored_bytes, stored_bytes_in)

    @classmethod
    def bounded(cls, block_labels: BlockLabels) -> "BlockKnowledge":
        """Knowledge of the labels that may occur in each block."""
        return cls(block_labels=Once.from_value(block_labels))

    def crop(self, box: Box, chunks: Chunks) -> "BlockKnowledge":
        """Knowledge of a part: what may be in a block may be in a part of it.

        Parameters
        ----------
        box
            Range of voxels along each axis.
        chunks
            Chunks of the whole.
        """
        met = blocks_met(chunks, box)
        if self.stored_bytes_in is None:
            stored = self.stored_bytes.then(methodcaller("__getitem__", met))
        else:
            stored = Once(functools.partial(self.stored_bytes_in, met))
        labels = Once(functools.partial(self.labels_in, box, chunks))
        return BlockKnowledge(block_labels=labels, stored_bytes=stored)

    def labels_in(self, key: tuple[slice | int, ...], chunks: Chunks) -> BlockLabels | None:
        """Labels that may occur in each block of a part; None where only reading can tell.

        Of an index in parts, those with the blocks of the part are read, and else the whole.

        Parameters
        ----------
        key
            As for `BlockLabels.crop`.
        chunks
            Chunks of the whole.
        """
        index = self.index()
        if isinstance(index, PartedIndex):
            return labels_of_index(index, chunks, key)
        labels = self.block_labels()
        return None if labels is None else labels.crop(key)

    def reorient(self, reorientation: Reorientation) -> "BlockKnowledge":
        """Knowledge of the volume with its axes in another order and other directions."""
        turn = methodcaller("reorient", reorientation)
        return BlockKnowledge(
            self.index.then(turn),
            self.block_labels.then(turn),
            self.stored_bytes.then(reorientation.apply),
        )


Attach: TypeAlias = "Callable[[str, Mapping[str, Any] | None], tuple[Any, BlockKnowledge]]"
"""Labels whose reads are held against an index, and what that says of their blocks."""

UNKNOWN = BlockKnowledge()


def labels_of_index(
    index: LabelIndex, chunks: Chunks, key: tuple[slice | int, ...] | None = None
) -> BlockLabels | None:
    """Labels of the blocks of an array, or of a part of it, as its label index says.

    Parameters
    ----------
    index
        The index, of the blocks or parts of them.
    chunks
        Blocks of the array.
    key
        As for `BlockLabels.crop`; the whole if not given.

    Returns
    -------
    BlockLabels or None
        None where a part of the index cannot be read, which is told.

    Warns
    -----
    UserWarning
        If a part of the index must not be trusted.
    """
    try:
        # The index is that of cells, several of which may make up a block.
        of_blocks = index.coarsen(chunks)
        if key is None:
            return of_blocks.block_labels
        if isinstance(of_blocks, PartedIndex):
            return of_blocks.labels_in(key)
        return of_blocks.block_labels.crop(key)
    except StoreReplacedError:
        raise  # nor are its voxels those that were asked for
    except GridError:
        raise  # of a key that is none
    except RefspaceError as error:
        warnings.warn(
            f"the label index is not used: {error}. Voxels are read instead, which takes longer",
            stacklevel=2,
        )
        return None


def blocks_met(chunks: Sequence[Sequence[int]], box: Box) -> Box:
    """Blocks along each axis that a part of an array meets."""
    blocks = []
    for sizes, part in zip(chunks, box, strict=True):
        ends = np.cumsum(sizes)
        start, stop, _ = part.indices(int(ends[-1]))
        first = int(np.searchsorted(ends, start, side="right"))
        blocks.append(slice(first, min(int(np.searchsorted(ends, stop)) + 1, len(sizes))))
    return tuple(blocks)
