"""Modes: the most frequent label in each cell of another grid, by which labels are resampled."""

import functools
import math
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from refspace.kernels.run_lengths import Labels

# Voxels that are gathered at a time to count labels: in a noisy block every cell is mixed, and all
# cells at once would take 64 times the memory of the block.
_GATHERED = 2**20


def windows(
    cells: range, ratio: Fraction, first: int, count: int
) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Voxels that each cell overlaps along one axis, and the lengths of these overlaps.

    Parameters
    ----------
    cells
        Cells, numbered from the corner of the volume.
    ratio
        Voxels per cell.
    first, count
        First voxel of the block and the number of its voxels.

    Returns
    -------
    voxels
        Indices within the block, shape (cells, width).
    overlaps
        Length of each overlap in units of a voxel over ``ratio.denominator``, hence exact.

    Examples
    --------
    >>> windows(range(2), Fraction(3, 2), 0, 3)
    (array([[0, 1],
           [1, 2]]), array([[2, 1],
           [1, 2]]))
    """
    # In units of a voxel over the denominator, the edges of voxels and cells are integers.
    unit, size = ratio.denominator, ratio.numerator
    start = np.arange(cells.start, cells.stop)[:, None] * size
    lowest = start // unit
    width = int((-(-(start + size) // unit) - lowest).max())
    voxels = lowest + np.arange(width)
    overlaps = np.minimum(start + size, (voxels + 1) * unit) - np.maximum(start, voxels * unit)
    # All windows have the same width. A narrower one, or one cut off at the end of the block,
    # repeats its last voxel with overlap 0.
    inside = (overlaps > 0) & (voxels < first + count)
    last = np.where(inside, voxels, lowest).max(axis=1, keepdims=True)
    return np.minimum(voxels, last) - first, np.where(inside, overlaps, 0)


def mode(
    block: Labels,
    windows: list[tuple[NDArray[np.intp], NDArray[np.int64]]],
) -> Labels:
    """Most frequent label of each cell of a coarser (or finer) grid, ties to the smaller label.

    Parameters
    ----------
    block
        Labels.
    windows
        For each axis two arrays of shape (cells, width): the voxels that a cell overlaps, and the
        lengths of the overlaps. Windows narrower than the width repeat a voxel with overlap 0.

    Returns
    -------
    ndarray
        One label per cell; every one of them occurs in its cell.

    Examples
    --------
    >>> pairs = np.array([[0, 1]]), np.array([[1, 1]])
    >>> mode(np.array([[7, 9], [9, 5]], "u4"), [pairs, pairs])
    array([[9]], dtype=uint32)
    """
    # The minimum and the maximum of a cell, axis by axis, show at little cost whether it is mixed.
    low = high = block
    for axis, (voxels, _) in enumerate(windows):
        low = functools.reduce(np.minimum, _columns(low, voxels, axis))
        high = functools.reduce(np.maximum, _columns(high, voxels, axis))
    low = low.copy() if low.base is not None or low is block else low
    # Most cells hold one label, which is their minimum: labels are counted only in the others.
    mixed = np.argwhere(low != high)
    width = math.prod(voxels.shape[1] for voxels, _ in windows)
    for start in range(0, len(mixed), step := max(1, _GATHERED // width)):
        cells = tuple(mixed[start : start + step].T)
        low[cells] = _weighted_mode(*_gather(block, windows, cells))
    return low


def _columns(block: Labels, voxels: NDArray[np.intp], axis: int) -> Iterator[Labels]:
    """The first voxels of all windows along an axis, then all second ones, and so on."""
    for column in voxels.T.tolist():
        step = column[1] - column[0] if len(column) > 1 else 1
        if step > 0 and column == list(range(column[0], column[-1] + 1, step)):
            # A view instead of a copy: at whole ratios, halving a block takes a third of the time.
            rows = slice(column[0], column[-1] + 1, step)
            yield block[(*[slice(None)] * axis, rows)]
        else:
            yield block.take(column, axis)


def _gather(
    block: Labels,
    windows: list[tuple[NDArray[np.intp], NDArray[np.int64]]],
    cells: tuple[NDArray[np.intp], ...],
) -> tuple[Labels, NDArray[np.int64]]:
    """Labels and weights of the voxels of some cells, as two arrays (cell, voxel)."""
    index, weight = [], np.ones((cells[0].size,) + (1,) * block.ndim, np.int64)
    for axis, ((voxels, overlaps), cell) in enumerate(zip(windows, cells, strict=True)):
        shape = [cell.size] + [1] * block.ndim
        shape[axis + 1] = voxels.shape[1]
        index.append(voxels[cell].reshape(shape))
        weight = weight * overlaps[cell].reshape(shape)
    return block[tuple(index)].reshape(cells[0].size, -1), weight.reshape(cells[0].size, -1)


def _weighted_mode(labels: Labels, weights: NDArray[np.int64]) -> Labels:
    """Label of the largest total weight in each row; the smaller label of equal ones."""
    rows, width = labels.shape
    order = np.argsort(labels)
    labels = np.take_along_axis(labels, order, 1).ravel()
    weights = np.take_along_axis(weights, order, 1).ravel()
    starts = np.ones(labels.size, bool)
    starts[1:] = labels[1:] != labels[:-1]
    starts[::width] = True  # a run never goes on into the next cell
    first = np.flatnonzero(starts)
    totals = np.add.reduceat(weights, first)
    row = first // width
    # Sorted by row, then by falling weight; stable, so that the smaller label comes first.
    best = np.lexsort((-totals, row))
    return labels[first[best[np.searchsorted(row[best], np.arange(rows))]]]
