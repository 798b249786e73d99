"""Checks of a label index that was read: only a table that some array could have is accepted.

An index answers in place of the voxels, so a damaged one would give wrong counts without an error.
"""

import math

import numpy as np
from numpy.typing import NDArray

from refspace.errors import AnnotationError, GridError
from refspace.label_index.rows import (
    CHUNK,
    COUNT,
    LABEL,
    START,
    STOP,
    SUM,
    Chunks,
    bounds_of,
)
from refspace.types import MAX_LABEL

# Of a table, at a time.
_ROWS_AT_ONCE = 2**18


def check_chunks(shape: tuple[int, ...], chunks: Chunks) -> None:
    """Refuse chunks that do not make up an array, and those whose sums overflow an int64."""
    smallest = [min(sizes, default=0) for sizes in chunks]
    if len(shape) != 3 or tuple(map(sum, chunks)) != shape or min(smallest) < 1:
        raise GridError(
            f"chunks of {chunks} do not make up an array of {shape}; give three axes, "
            "chunks of at least one voxel, and all voxels"
        )
    if not is_summable(shape, chunks):
        largest = tuple(max(sizes) for sizes in chunks)
        raise GridError(
            f"chunks of {largest} voxels in an array of {shape} are too large: sums of its indices "
            "may pass 2**63; give smaller chunks"
        )


def is_summable(shape: tuple[int, ...], chunks: Chunks) -> bool:
    """Whether sums of the indices of voxels fit an int64, within any one of the chunks.

    Examples
    --------
    >>> is_summable((2**15,) * 3, ((2**15,),) * 3), is_summable((2**16,) * 3, ((2**16,),) * 3)
    (True, False)
    >>> is_summable((2**16,) * 3, ((2**15, 2**15),) * 3)
    True
    """
    # A sum of indices is less than voxels × longest side; its double is computed in between.
    return math.prod(max(sizes) for sizes in chunks) * max(shape) < 2**62


def check_table(table: NDArray[np.int64], chunks: Chunks) -> None:
    """Refuse a table that no array can have.

    The order matters: each check relies on the ones before it, for example for ids that index
    arrays.
    """
    low, high = _corners(chunks)
    # Part by part, each with the last row of the one before: of a table of some hundred MB, what is
    # computed here would take several times as much.
    for first in range(0, table.shape[1], _ROWS_AT_ONCE):
        _check_rows(table[:, max(0, first - 1) : first + _ROWS_AT_ONCE], low, high)
    _check_chunk_totals(table, low, high)


def _check_rows(table: NDArray[np.int64], low: NDArray[np.int64], high: NDArray[np.int64]) -> None:
    chunk, label, count = table[: COUNT + 1]
    chunk_count = low.shape[1]
    _refuse(table, (chunk < 0) | (chunk >= chunk_count), f"there are {chunk_count} chunks")
    _refuse(table, (label < 0) | (label > MAX_LABEL), "labels are 0 to 2**32 - 1")
    unsorted = np.diff((chunk << 32) + label) <= 0
    _refuse(table[:, 1:], unsorted, "rows are sorted by chunk, then label, and none comes twice")
    start, stop = table[START], table[STOP]
    outside = (start < low[:, chunk]) | (start >= stop) | (stop > high[:, chunk])
    _refuse(table, np.logical_or.reduce(outside), "its box is empty or leaves the chunk")
    # int64 does not overflow here: boxes are within the array, whose size was checked.
    sides = stop - start
    volume = sides.prod(axis=0)
    _refuse(table, (count < 1) | (count > volume), "it has no voxel, or more than its box")
    _refuse(table, _impossible(table, volume // sides), "no voxels in its box have such sums")


def _refuse(table: NDArray[np.int64], bad: NDArray[np.bool_], rule: str) -> None:
    if bad.any():
        chunk, label = table[: LABEL + 1, int(bad.argmax())].tolist()
        raise AnnotationError(
            f"the label index cannot be true for label {label} of chunk {chunk}: {rule}; "
            "make it again from the voxels"
        )


def _corners(chunks: Chunks) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First voxel and end of each chunk, in C order; shape (3, chunks)."""
    bounds = [bounds_of(sizes) for sizes in chunks]
    low = np.meshgrid(*(b[:-1] for b in bounds), indexing="ij")
    high = np.meshgrid(*(b[1:] for b in bounds), indexing="ij")
    return np.stack(low).reshape(3, -1), np.stack(high).reshape(3, -1)


def _impossible(table: NDArray[np.int64], plane: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether no set of voxels that touches every face of the box has such sums of indices.

    The least sum has one voxel on the far face, and all others in planes filled from the near one;
    the largest is its mirror image. `plane` is the number of voxels in a plane of the box across
    each axis.
    """
    others = table[COUNT] - 1
    near, far = table[START], table[STOP] - 1
    full, rest = np.divmod(others, plane)
    filled = plane * (full * (full - 1) // 2) + rest * full
    least = far + others * near + filled
    most = near + others * far - filled
    impossible: NDArray[np.bool_] = ((table[SUM] < least) | (table[SUM] > most)).any(axis=0)
    return impossible


def _check_chunk_totals(
    table: NDArray[np.int64], low: NDArray[np.int64], high: NDArray[np.int64]
) -> None:
    """Refuse rows of a chunk whose counts and sums do not add up to those of all its voxels."""
    sizes = (high - low).prod(axis=0)
    expected = np.vstack((sizes, sizes * (low + high - 1) // 2)).T
    totals = np.zeros_like(expected)
    # Rows are sorted by chunk; one without rows has no voxels.
    first = np.flatnonzero(np.diff(table[CHUNK], prepend=-1))
    for column, values in enumerate((table[COUNT], *table[SUM])):
        totals[table[CHUNK, first], column] = np.add.reduceat(values, first)
    wrong = (totals != expected).any(axis=1)
    if wrong.any():
        chunk = int(wrong.argmax())
        raise AnnotationError(
            f"the label index has {totals[chunk, 0]} voxels in chunk {chunk}, which has "
            f"{sizes[chunk]}, or sums of other voxels; make it again from the voxels"
        )
