"""Rows of the table of a label index: the measurements of each label in each chunk."""

import itertools
from collections.abc import Sequence

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
    axes = []
    for lengths, start, count in zip(cells, corner, block.shape, strict=True):
        ends = chunk_edges(lengths)
        first, last = np.searchsorted(ends, (start, start + count)).tolist()
        axes.append([(i, int(ends[i]), int(ends[i + 1])) for i in range(first, last)])
    shape, parts = [len(along) for along in cells], []
    for chunk, starts, stops in (zip(*cell, strict=True) for cell in itertools.product(*axes)):
        corners = zip(starts, stops, corner, strict=True)
        voxels = block[tuple(slice(a - c, b - c) for a, b, c in corners)]
        parts.append(chunk_rows(voxels, int(np.ravel_multi_index(chunk, shape)), starts))
    return np.concatenate(parts, axis=1)


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
    ends = {*chunk_edges(cells[axis]).tolist(), cut}
    cells[axis] = tuple(np.diff(sorted(ends)).tolist())
    return tuple(cells)


def as_chunks(chunks: Sequence[Sequence[int]]) -> Chunks:
    """Sizes of chunks along each axis as tuples of ints, which are hashable."""
    return tuple(tuple(map(int, sizes)) for sizes in chunks)


def chunk_edges(sizes: Sequence[int]) -> NDArray[np.int64]:
    """Indices at which the chunks along an axis begin, and the end of the last."""
    return np.concatenate(([0], np.cumsum(sizes, dtype=np.int64)))
