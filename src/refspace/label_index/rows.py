"""Rows of the table of a label index: the measurements of each label in each chunk."""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refspace import kernels
from refspace.grid import Grid

# Fields of the table, in order. Each is a row of it, contiguous in memory, with a column per label.
FIELDS = (
    "chunk", "label", "count", "start_0", "start_1", "start_2",
    "stop_0", "stop_1", "stop_2", "sum_0", "sum_1", "sum_2",
)  # fmt: skip
CHUNK, LABEL, COUNT = range(3)
# Three rows each, one for each axis.
START, STOP, SUM = slice(3, 6), slice(6, 9), slice(9, 12)

# Voxels that are measured at once: those of a usual chunk several times over.
_SLAB_VOXELS = 2**25

Chunks = tuple[tuple[int, ...], ...]
"""Sizes of the chunks along each axis, as dask has them."""


def chunk_rows(block: kernels.Labels, chunk_id: int, offset: Sequence[int]) -> NDArray[np.int64]:
    """Rows of one chunk in the table of a `LabelIndex`.

    Parameters
    ----------
    block
        Voxels of the chunk, three-dimensional.
    chunk_id
        Flat index of the chunk among all chunks, in C order.
    offset
        Index of its first voxel in the whole array, along each axis.

    Returns
    -------
    ndarray
        A column per label, sorted; the rows are `FIELDS`.

    Examples
    --------
    >>> chunk_rows(np.array([[[7, 7, 9]]], "u4"), 4, (0, 0, 100)).T
    array([[  4,   7,   2,   0,   0, 100,   1,   1, 102,   0,   0, 201],
           [  4,   9,   1,   0,   0, 102,   1,   1, 103,   0,   0, 102]])
    """
    labels, counts, start, stop, sums = kernels.measure(block)
    shift = np.asarray(offset, np.int64)
    rows = np.empty((len(FIELDS), labels.size), np.int64)
    rows[CHUNK], rows[LABEL], rows[COUNT] = chunk_id, labels, counts
    # Boxes and sums are in indices of the whole array, so that rows of any chunks can be merged.
    rows[START], rows[STOP] = (start + shift).T, (stop + shift).T
    rows[SUM] = (sums + counts[:, np.newaxis] * shift).T
    return rows


def cell_rows(
    block: kernels.Labels, corner: Sequence[int], cells: Sequence[Sequence[int]]
) -> NDArray[np.int64]:
    """Rows of all chunks of an index that a block of an array covers.

    Parameters
    ----------
    block
        Voxels of the block.
    corner
        Index of its first voxel in the whole array, along each axis.
    cells
        Sizes of the chunks of the index along each axis; the block is a union of them.

    Examples
    --------
    >>> block = np.array([[[7, 7, 9]]], "u4")
    >>> cell_rows(block, (0, 0, 100), ((1,), (1,), (100, 2, 1))).T[:, :3]
    array([[1, 7, 2],
           [2, 9, 1]])
    """
    parts = []
    for chunk, starts, stops in _covered_cells(corner, block.shape, cells):
        corners = zip(starts, stops, corner, strict=True)
        voxels = block[tuple(slice(a - c, b - c) for a, b, c in corners)]
        parts.append(_slab_rows(voxels, chunk, starts))
    return np.concatenate(parts, axis=1)


def filled_rows(
    label: int, corner: Sequence[int], shape: Sequence[int], cells: Sequence[Sequence[int]]
) -> NDArray[np.int64]:
    """Rows of all chunks of an index that a block of one label covers; no voxel is looked at.

    Parameters
    ----------
    label
        The label.
    corner, shape
        Index of the first voxel of the block in the whole array, and its lengths.
    cells
        As for `cell_rows`.

    Examples
    --------
    >>> cells = ((1,), (1,), (100, 2, 1))
    >>> block = np.full((1, 1, 3), 7, "u4")
    >>> rows = filled_rows(7, (0, 0, 100), (1, 1, 3), cells)
    >>> np.array_equal(rows, cell_rows(block, (0, 0, 100), cells))
    True
    """
    covered = list(_covered_cells(corner, shape, cells))
    rows = np.empty((len(FIELDS), len(covered)), np.int64)
    for column, (chunk, starts, stops) in enumerate(covered):
        count = math.prod(b - a for a, b in zip(starts, stops, strict=True))
        rows[CHUNK, column], rows[LABEL, column], rows[COUNT, column] = chunk, label, count
        rows[START, column], rows[STOP, column] = starts, stops
        # Along each axis the mean index of a box is half of its first and last together.
        rows[SUM, column] = [(a + b - 1) * count // 2 for a, b in zip(starts, stops, strict=True)]
    return rows


def merge_rows(table: NDArray[np.int64]) -> NDArray[np.int64]:
    """Merge rows of the same chunk and label into one, and sort them by chunk, then label.

    Examples
    --------
    >>> halves = [chunk_rows(np.full((1, 1, 2), 7, "u4"), 4, (0, 0, 2 * n)) for n in range(2)]
    >>> merge_rows(np.concatenate(halves, axis=1)).T
    array([[4, 7, 4, 0, 0, 0, 1, 1, 4, 0, 0, 6]])
    """
    table = table[:, np.lexsort((table[LABEL], table[CHUNK]))]
    # -1 is neither a chunk nor a label, so the first row always differs from what is before it.
    first = np.flatnonzero(np.diff(table[: LABEL + 1], prepend=-1).any(axis=0))
    merged = table[:, first]
    merged[COUNT] = np.add.reduceat(table[COUNT], first)
    merged[START] = np.minimum.reduceat(table[START], first, axis=1)
    merged[STOP] = np.maximum.reduceat(table[STOP], first, axis=1)
    merged[SUM] = np.add.reduceat(table[SUM], first, axis=1)
    # So that nobody has to copy it before it is shared.
    merged.flags.writeable = False
    return merged


def exact_totals(table: NDArray[np.int64]) -> NDArray[np.object_]:
    """Merge the rows of each label of all chunks into one, of Python's integers, which are exact.

    Examples
    --------
    >>> rows = [chunk_rows(np.full((1, 1, 2), 7, "u4"), n, (0, 0, 2 * n)) for n in range(2)]
    >>> exact_totals(np.concatenate(rows, axis=1)).T
    array([[0, 7, 4, 0, 0, 0, 1, 1, 4, 0, 0, 6]], dtype=object)
    """
    table = table[:, np.argsort(table[LABEL], kind="stable")]
    first = np.flatnonzero(np.diff(table[LABEL], prepend=-1))
    totals = np.zeros((len(FIELDS), first.size), object)
    totals[LABEL] = table[LABEL, first]
    totals[COUNT] = np.add.reduceat(table[COUNT], first)
    totals[START] = np.minimum.reduceat(table[START], first, axis=1)
    totals[STOP] = np.maximum.reduceat(table[STOP], first, axis=1)
    totals[SUM] = np.add.reduceat(table[SUM].astype(object), first, axis=1)
    return totals


def _covered_cells(
    corner: Sequence[int], shape: Sequence[int], cells: Sequence[Sequence[int]]
) -> Iterator[tuple[int, tuple[int, ...], tuple[int, ...]]]:
    """Flat index of each chunk of an index that a block covers, its first voxel and its end."""
    axes = []
    for lengths, start, count in zip(cells, corner, shape, strict=True):
        ends = bounds_of(lengths)
        first, last = np.searchsorted(ends, (start, start + count)).tolist()
        axes.append([(i, int(ends[i]), int(ends[i + 1])) for i in range(first, last)])
    counts = [len(along) for along in cells]
    for chunk, starts, stops in (zip(*cell, strict=True) for cell in itertools.product(*axes)):
        yield int(np.ravel_multi_index(chunk, counts)), starts, stops


def _slab_rows(voxels: kernels.Labels, chunk_id: int, corner: Sequence[int]) -> NDArray[np.int64]:
    """Rows of one chunk, a slab at a time: what kernels need beside the voxels is bounded."""
    layers = max(1, _SLAB_VOXELS * len(voxels) // max(1, voxels.size))
    if layers >= len(voxels):
        return chunk_rows(voxels, chunk_id, corner)
    slabs = [
        chunk_rows(voxels[at : at + layers], chunk_id, (corner[0] + at, *corner[1:]))
        for at in range(0, len(voxels), layers)
    ]
    return merge_rows(np.concatenate(slabs, axis=1))


def cut_at_midline(grid: Grid, chunks: Sequence[Sequence[int]], midline: float) -> Chunks:
    """Cut the chunks of an array at the midline, so that each is within one hemisphere.

    An index over such chunks answers for a hemisphere as exactly as for the whole.

    Examples
    --------
    >>> cut_at_midline(Grid((1, 1, 5), (10, 10, 10)), ((1,), (1,), (4, 1)), 25)
    ((1,), (1,), (3, 1, 1))
    """
    cut, axis = grid.midline_cut(midline), grid.axis("ml")
    cells = list(as_chunks(chunks))
    ends = {*bounds_of(cells[axis]).tolist(), cut}
    cells[axis] = tuple(np.diff(sorted(ends)).tolist())
    return tuple(cells)


def as_chunks(chunks: Sequence[Sequence[int]]) -> Chunks:
    """Sizes of chunks along each axis as tuples of ints, which are hashable."""
    return tuple(tuple(map(int, sizes)) for sizes in chunks)


def bounds_of(lengths: Sequence[int] | NDArray[Any]) -> NDArray[np.int64]:
    """Where stretches of some lengths begin, one after the other, as chunks along an axis, and end.

    Examples
    --------
    >>> bounds_of((4, 4, 2))
    array([ 0,  4,  8, 10])
    """
    return np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
