"""What is known of the blocks of a volume without reading a voxel.

A volume from a store is *indexed*: its label index says which labels each block holds, how many
voxels of each, and where. A part of such a volume cuts blocks, so it is only *bounded*: what may be
in a block is known, how much of it is not. Of any other array the blocks are *unknown*.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from refspace.grid import Reorientation
from refspace.label_index import BlockLabels, Chunks, LabelIndex

_T = TypeVar("_T")
Box = tuple[slice, ...]


class Once(Generic[_T]):
    """A value that is made when it is first asked for: an index is read only where it is needed.

    Parameters
    ----------
    make
        Makes the value. Other processes get this function, and make the value again.

    Examples
    --------
    >>> Once(functools.partial(int, "25"))()
    25
    """

    def __init__(self, make: Callable[[], _T]) -> None:
        self._make = make
        self._made: list[_T] = []

    def __call__(self) -> _T:
        """The value."""
        if not self._made:
            self._made.append(self._make())
        return self._made[0]

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._make,)


def _nothing() -> None:
    return None


_UNKNOWN: Once[None] = Once(_nothing)


@dataclass(frozen=True, eq=False)
class BlockKnowledge:
    """What is known of the blocks of a volume: indexed, bounded or, by default, unknown.

    Parameters
    ----------
    index
        Gives the label index of the volume; None if there is none.
    block_labels
        Gives the labels that may occur in each block; None if they are not known.
    stored_bytes
        Gives the bytes that each block takes where it is stored, in the shape of the block grid;
        None if they are not known.

    Examples
    --------
    >>> labels = BlockLabels(((2, 2),), np.array([0, 1, 2]), np.array([7, 9]))
    >>> BlockKnowledge.bounded(labels).crop((slice(2, 4),), ((2, 2),)).block_labels().labels
    array([9], dtype=uint32)
    """

    index: Once[Any] = _UNKNOWN
    block_labels: Once[Any] = _UNKNOWN
    stored_bytes: Once[Any] = _UNKNOWN

    @classmethod
    def indexed(
        cls,
        index: Callable[[], LabelIndex | None],
        chunks: Chunks,
        stored_bytes: Callable[[], NDArray[Any] | None] = _UNKNOWN,
    ) -> "BlockKnowledge":
        """Knowledge from a label index, whose chunks are those of the volume or parts of them.

        Parameters
        ----------
        index
            Gives the index; None where there is none after all.
        chunks
            Chunks of the volume.
        stored_bytes
            As for the class.
        """
        known = Once(index)
        labels = functools.partial(_coarsened_labels, known, chunks)
        return cls(known, Once(labels), Once(stored_bytes))

    @classmethod
    def bounded(cls, block_labels: BlockLabels) -> "BlockKnowledge":
        """Knowledge of the labels that may occur in each block."""
        return cls(block_labels=Once(functools.partial(_identity, block_labels)))

    def crop(self, box: Box, chunks: Chunks) -> "BlockKnowledge":
        """Knowledge of a part: what may be in a block may be in a part of it.

        Parameters
        ----------
        box
            Range of voxels along each axis.
        chunks
            Chunks of the whole.
        """
        return BlockKnowledge(
            block_labels=_after(_crop_labels, self.block_labels, box),
            stored_bytes=_after(_crop_blocks, self.stored_bytes, chunks, box),
        )

    def reorient(self, reorientation: Reorientation) -> "BlockKnowledge":
        """Knowledge of the volume with its axes in another order and other directions."""
        return BlockKnowledge(
            _after(_reorient_labels, self.index, reorientation),
            _after(_reorient_labels, self.block_labels, reorientation),
            _after(_reorient_blocks, self.stored_bytes, reorientation),
        )


UNKNOWN = BlockKnowledge()


def _after(function: Callable[..., Any], known: Once[Any], *arguments: Any) -> Once[Any]:
    """What a function makes of something that is known; None where it is not."""
    return (
        known if known is _UNKNOWN else Once(functools.partial(_call, function, known, arguments))
    )


def _call(function: Callable[..., Any], known: Once[Any], arguments: tuple[Any, ...]) -> Any:
    value = known()
    return None if value is None else function(value, *arguments)


def _identity(value: _T) -> _T:
    return value


def _coarsened_labels(index: Once[LabelIndex | None], chunks: Chunks) -> BlockLabels | None:
    known = index()
    # The index is that of cells, several of which may make up a block.
    return None if known is None else known.coarsen(chunks).block_labels


def _crop_labels(labels: BlockLabels, box: Box) -> BlockLabels:
    return labels.crop(box)


def _reorient_labels(labels: Any, reorientation: Reorientation) -> Any:
    return labels.reorient(reorientation)


def _crop_blocks(stored: NDArray[Any], chunks: Sequence[Sequence[int]], box: Box) -> NDArray[Any]:
    """Numbers of blocks, of those that a part of the array meets."""
    blocks = []
    for sizes, part in zip(chunks, box, strict=True):
        ends = np.cumsum(sizes)
        start, stop, _ = part.indices(int(ends[-1]))
        first = np.searchsorted(ends, start, side="right")
        blocks.append(slice(int(first), int(np.searchsorted(ends, stop)) + 1))
    return stored[tuple(blocks)]


def _reorient_blocks(stored: NDArray[Any], reorientation: Reorientation) -> NDArray[Any]:
    return reorientation.apply(stored)
