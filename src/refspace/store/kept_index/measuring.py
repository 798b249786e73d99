"""The labels of one block of an array of another program, measured from its object."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refspace.label_index import Chunks, cell_rows, filled_rows
from refspace.labels.annotation import unsigned_labels
from refspace.store.boxes import BlockId
from refspace.store.stored_array import StoredArray


@dataclass(frozen=True)
class SpaceAxes:
    """Which axes of an array are those of space; any others have the length 1.

    Parameters
    ----------
    axes
        Their numbers, in order.
    """

    axes: tuple[int, ...]

    def of(self, values: Sequence[int] | BlockId) -> tuple[int, ...]:
        """Of one number for each axis of the array, those of the axes of space."""
        return tuple(values[axis] for axis in self.axes)

    def blocks(self, array: StoredArray) -> Chunks:
        """Lengths of the blocks of an array along each axis of space."""
        return tuple(array.blocks[axis] for axis in self.axes)

    def block_ids(self, array: StoredArray, flat_ids: NDArray[np.intp]) -> list[BlockId]:
        """Blocks of an array by their flat ids, in C order."""
        counts = [len(sizes) for sizes in self.blocks(array)]
        full = np.zeros((flat_ids.size, array.ndim), np.intp)
        full[:, self.axes] = np.stack(np.unravel_index(flat_ids, counts), axis=1)
        return [tuple(row) for row in full.tolist()]


def measured_rows(
    array: StoredArray,
    axes: SpaceAxes,
    cells: Chunks,
    block_id: BlockId,
    data: bytes | None,
) -> NDArray[np.int64]:
    """Rows of a label index for one block.

    Parameters
    ----------
    array, axes
        The array, and its axes of space.
    cells
        Lengths of the chunks of the index along each axis of space.
    block_id
        The block.
    data
        Content of its object; None where there is none, and the block holds the fill value.

    Raises
    ------
    FormatError
        If it is damaged.
    AnnotationError
        If it holds anything else than labels.
    """
    box = array.box(block_id)
    corner = axes.of([part.start for part in box])
    shape = axes.of([part.stop - part.start for part in box])
    if data is None:
        fill = np.asarray([array.array.fill_value or 0], array.dtype)
        return filled_rows(int(_labels(fill)[0]), corner, shape, cells)
    block = array.cropped(block_id, array.decoded(block_id, data))
    return cell_rows(_labels(block.reshape(shape)), corner, cells)


def _labels(block: NDArray[Any]) -> NDArray[Any]:
    """Labels as a space has them: unsigned, of 32 bits at most."""
    is_unsigned = block.dtype.kind == "u" and block.dtype.itemsize <= 4
    return block if is_unsigned else unsigned_labels(block)


def block_bytes(array: StoredArray) -> int:
    """Bytes of a block, once it is decoded."""
    return math.prod(array.block_shape) * array.dtype.itemsize
