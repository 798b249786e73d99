"""Kernels on blocks of labels: NumPy in, NumPy out.

Annotation volumes are piecewise constant, so the kernels work on runs of equal voxels: whatever is
asked is answered once per run and spread over its voxels. Their cost does not grow with the number
of structures asked for.
"""

import functools
import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refspace.errors import AnnotationError

# Voxels that are gathered at a time to find modes: in a noisy block every cell is mixed, and all at
# once would take 64 times the memory of the block.
_GATHERED = 2**20

Labels = NDArray[np.unsignedinteger[Any]]


def runs(block: Labels) -> tuple[Labels, NDArray[np.intp]]:
    """Find the runs of equal voxels, in C order.

    Parameters
    ----------
    block
        Labels, of any shape.

    Returns
    -------
    labels
        Label of each run.
    lengths
        Number of voxels of each run; they sum to the size of the block.

    Examples
    --------
    >>> runs(np.array([[7, 7, 7], [7, 0, 9]], "u4"))
    (array([7, 0, 9], dtype=uint32), array([4, 1, 1]))
    """
    flat = block.ravel()
    starts = np.flatnonzero(flat[1:] != flat[:-1])
    starts += 1
    starts = np.concatenate(([0], starts)) if flat.size else starts
    return flat[starts], np.diff(starts, append=flat.size)


def count_labels(block: Labels) -> tuple[Labels, NDArray[np.int64]]:
    """Count the voxels of each label of a block; the labels are sorted.

    Examples
    --------
    >>> count_labels(np.array([[7, 7, 7], [7, 0, 9]], "u4"))
    (array([0, 7, 9], dtype=uint32), array([1, 4, 1]))
    """
    run_labels, lengths = runs(block.T if block.flags.f_contiguous else block)
    labels = np.unique(run_labels)
    # Weights are float64, exact up to 2**53 voxels.
    counts = np.bincount(np.searchsorted(labels, run_labels), weights=lengths)
    return labels, counts.astype(np.int64)


def measure(
    block: Labels,
) -> tuple[Labels, NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Measure the labels of a block: how many voxels each has, and where they are.

    Parameters
    ----------
    block
        Labels, with at least one axis.

    Returns
    -------
    labels
        The labels that occur, sorted.
    counts
        Number of voxels of each.
    start, stop
        Bounding box of each, half open, in indices of the block; shape (labels, ndim).
    sums
        Sums of the indices of its voxels along each axis, exact; shape (labels, ndim).

    Examples
    --------
    >>> labels, counts, start, stop, sums = measure(np.array([[7, 7, 7], [7, 0, 9]], "u4"))
    >>> labels, counts
    (array([0, 7, 9], dtype=uint32), array([1, 4, 1]))
    >>> start.tolist(), stop.tolist(), sums.tolist()
    ([[1, 1], [0, 0], [1, 2]], [[2, 2], [2, 3], [2, 3]], [[1, 1], [1, 3], [1, 2]])
    """
    if block.flags.f_contiguous and not block.flags.c_contiguous:
        labels, counts, start, stop, sums = measure(block.T)
        return labels, counts, start[:, ::-1], stop[:, ::-1], sums[:, ::-1]
    run_labels, starts, lengths = _row_runs(block)
    labels = np.unique(run_labels)
    # Small codes, so that the stable sort is a radix sort.
    codes = np.searchsorted(labels, run_labels).astype(np.min_scalar_type(labels.size))
    order = np.argsort(codes, kind="stable")
    first = np.searchsorted(codes[order], np.arange(labels.size))
    lengths = lengths[order]
    low = np.stack(np.unravel_index(starts[order], block.shape))
    high = low + 1
    high[-1] = low[-1] + lengths
    # Along its axis a run sums to its length times its middle; across, low + high - 1 is twice low.
    sums = (low + high - 1) * lengths // 2
    return (
        labels,
        np.add.reduceat(lengths, first),
        np.minimum.reduceat(low, first, axis=1).T,
        np.maximum.reduceat(high, first, axis=1).T,
        np.add.reduceat(sums, first, axis=1).T,
    )


def _row_runs(block: Labels) -> tuple[Labels, NDArray[np.intp], NDArray[np.int64]]:
    """Label, flat start and length of the runs in C order, none of which crosses a row's end."""
    rows = block.reshape(math.prod(block.shape[:-1]), block.shape[-1])
    begins = np.ones(rows.shape, bool)
    np.not_equal(rows[:, 1:], rows[:, :-1], out=begins[:, 1:])
    starts = np.flatnonzero(begins)
    return rows.ravel()[starts], starts, np.diff(starts, append=block.size)


def relabel(
    block: Labels, ids: Labels, values: NDArray[Any], default: NDArray[Any] | None
) -> NDArray[Any]:
    """Replace every label by a value.

    Parameters
    ----------
    block
        Labels, of any shape and memory order.
    ids
        Labels to replace, sorted and unique.
    values
        Value of each of them, or a row of values.
    default
        Value (or row) of every other label; None if there must be none.

    Returns
    -------
    ndarray
        Array of the block's shape, followed by the shape of a row, in the block's memory order.

    Raises
    ------
    AnnotationError
        If there is another label and no default.

    Examples
    --------
    >>> block = np.array([[7, 7, 8], [7, 0, 9]], "u4")
    >>> relabel(block, np.array([7, 9], "u4"), np.array([1, 2]), np.array(-1))
    array([[ 1,  1, -1],
           [ 1, -1,  2]])
    """
    if block.flags.f_contiguous and not block.flags.c_contiguous:
        # Runs follow memory; the axes of the block are turned back, those of a row stay last.
        turned = relabel(block.T, ids, values, default)
        return turned.transpose(*range(block.ndim)[::-1], *range(block.ndim, turned.ndim))
    run_labels, lengths = runs(block)
    found = find(run_labels, ids)
    if default is not None:
        values = np.concatenate((values, default[np.newaxis]))
    elif found.max(initial=-1) == ids.size:
        raise AnnotationError(f"label {run_labels[found.argmax()]} is none of those expected")
    spread = np.repeat(values[found], lengths, axis=0)
    return spread.reshape(block.shape + values.shape[1:])


def find(labels: Labels, ids: Labels) -> NDArray[np.intp]:
    """Position of each label among sorted ids, or their number where it is not among them."""
    positions = np.searchsorted(ids, labels)
    if ids.size:
        found = ids[np.minimum(positions, ids.size - 1)] == labels
        positions[~found] = ids.size
    return positions


def windows(
    cells: range, ratio: Fraction, first: int, count: int
) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Voxels that each cell overlaps, and by how much, along one axis.

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
    unit, size = ratio.denominator, ratio.numerator
    start = np.arange(cells.start, cells.stop, dtype=np.int64)[:, None] * size
    lowest = start // unit
    width = int((-(-(start + size) // unit) - lowest).max())
    voxels = lowest + np.arange(width)
    overlaps = np.minimum(start + size, (voxels + 1) * unit) - np.maximum(start, voxels * unit)
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
        For each axis two arrays of shape (cells, width): which voxels a cell overlaps, and by
        how much. Windows narrower than the width repeat a voxel of theirs with overlap 0.

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
    low = high = block
    for axis, (voxels, _) in enumerate(windows):
        low = functools.reduce(np.minimum, _columns(low, voxels, axis))
        high = functools.reduce(np.maximum, _columns(high, voxels, axis))
    low = low.copy() if low.base is not None or low is block else low
    # Most cells hold one label: only the others are counted.
    mixed = np.argwhere(low != high)
    width = math.prod(voxels.shape[1] for voxels, _ in windows)
    for start in range(0, len(mixed), step := max(1, _GATHERED // width)):
        cells = tuple(mixed[start : start + step].T)
        low[cells] = _weighted_mode(*_gather(block, windows, cells))
    return low


def _columns(block: Labels, voxels: NDArray[np.intp], axis: int) -> Iterator[Labels]:
    """First voxel of every window along an axis, then every second, and so on."""
    for column in voxels.T.tolist():
        step = column[1] - column[0] if len(column) > 1 else 1
        if step > 0 and column == list(range(column[0], column[-1] + 1, step)):
            # A view: at whole ratios, to halve a block takes a third of the time.
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
    order = np.argsort(labels, axis=1)
    labels = np.take_along_axis(labels, order, 1).ravel()
    weights = np.take_along_axis(weights, order, 1).ravel()
    starts = np.ones(labels.size, bool)
    starts[1:] = labels[1:] != labels[:-1]
    starts[::width] = True
    first = np.flatnonzero(starts)
    totals = np.add.reduceat(weights, first)
    row = first // width
    # Sorted by row, then by falling weight; stable, so that the smaller label comes first.
    best = np.lexsort((-totals, row))
    return labels[first[best[np.searchsorted(row[best], np.arange(rows))]]]
