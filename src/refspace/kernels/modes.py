"""Modes: the most frequent label in each cell of another grid, by which labels are resampled."""

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refspace.kernels.run_lengths import Labels

# Voxels that are gathered at a time to count labels: in a noisy block every cell is mixed, and all
# cells at once would take 64 times the memory of the block.
_GATHERED = 2**20
# Voxels that are looked up at a time, at least.
_COMBINED = 2**13
# Of windows that begin anew with a voxel; longer ones are copied by an index.
_LONGEST_PERIOD = 8

Windows = list[tuple[NDArray[np.intp], NDArray[np.int64]]]
"""For each axis what `windows` gives: voxels of each cell, and their overlaps."""


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
    windows: Windows,
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
    # Most cells hold one label, which is that of their first voxel. Axis by axis, comparisons of
    # neighbours show at little cost which do: labels are counted only in the others.
    block = np.ascontiguousarray(block)
    first, is_alike = block, None
    for axis, (voxels, _) in enumerate(windows):
        first, is_alike = _compare_along(axis, voxels, first, is_alike)
    assert is_alike is not None
    mixed = np.flatnonzero(~is_alike)
    width = math.prod(voxels.shape[1] for voxels, _ in windows)
    for start in range(0, len(mixed), step := max(1, _GATHERED // width)):
        some = mixed[start : start + step]
        cells = np.unravel_index(some, first.shape)
        labels = _gather(block, windows, cells)
        weights = None if _are_equal(windows) else _weights(windows, cells)
        first.reshape(-1)[some] = _weighted_mode(labels, weights)
    return first


def _compare_along(
    axis: int, voxels: NDArray[np.intp], first: Labels, is_alike: NDArray[np.bool_] | None
) -> tuple[Labels, NDArray[np.bool_]]:
    """First label of each window along an axis, and whether all of its labels are alike.

    Parameters
    ----------
    axis
        The axis.
    voxels
        Voxels of each window.
    first, is_alike
        The same of the axes before; None before the first.
    """
    shape = [*first.shape]
    shape[axis] = len(voxels)
    labels, alike = np.empty(shape, first.dtype), np.empty(shape, bool)
    before = (slice(None),) * axis
    for cells, columns in _strides(voxels):
        head, *others = ((*before, column) for column in columns)
        own = (*before, cells)
        labels[own] = first[head]
        alike[own] = True if is_alike is None else is_alike[head]
        for other in others:
            alike[own] &= first[other] == labels[own]
            if is_alike is not None:
                alike[own] &= is_alike[other]
    return labels, alike


def _strides(
    voxels: NDArray[np.intp],
) -> Iterator[tuple[slice, list[slice | NDArray[np.intp]]]]:
    """Windows in groups, and the first voxels of each group, then the second ones, and so on.

    Slices make views where an index would copy: windows of 5/2 voxels are two groups of every
    second one, whose voxels are 5 apart. The last window is by itself, as it may be cut off.
    """
    inner = voxels[:-1]
    for period in range(1, _LONGEST_PERIOD + 1):
        step = inner[period:] - inner[:-period]
        if (step == step[:1, :1]).all() and (step > 0).all():
            for phase in range(min(period, len(inner))):
                columns = inner[phase::period].T.tolist()
                stride = columns[0][1] - columns[0][0] if len(columns[0]) > 1 else 1
                groups = [slice(column[0], column[-1] + 1, stride) for column in columns]
                yield slice(phase, len(inner), period), _without_repeated(groups)
            break
    else:
        yield slice(0, len(inner)), [*inner.T]
    end = voxels[-1].tolist()
    yield slice(len(inner), None), _without_repeated([slice(voxel, voxel + 1) for voxel in end])


def _without_repeated(columns: list[Any]) -> list[Any]:
    """Columns without those that repeat the one before, as narrow windows do."""
    return [column for i, column in enumerate(columns) if column not in columns[:i]]


def _gather(block: Labels, windows: Windows, cells: tuple[NDArray[np.intp], ...]) -> Labels:
    """Labels of the voxels of some cells, as an array (voxel, cell)."""
    steps = [math.prod(block.shape[axis + 1 :]) for axis in range(block.ndim)]
    along = [
        np.take(voxels.T * step, cell, axis=1)
        for (voxels, _), cell, step in zip(windows, cells, steps, strict=True)
    ]
    # A row for each voxel of a cell: what follows goes along rows, which are contiguous.
    labels = np.empty((math.prod(map(len, along)), cells[0].size), block.dtype)
    for rows, index in _combined(np.add, along, labels):
        # All indices are those of voxels; to look for others would take a copy of the rows.
        np.take(block.reshape(-1), index, out=rows, mode="clip")
    return labels


def _weights(windows: Windows, cells: tuple[NDArray[np.intp], ...]) -> NDArray[np.integer[Any]]:
    """Weights of the voxels of some cells, in the order of `_gather`."""
    largest = math.prod(int(overlaps.sum(axis=1).max()) for _, overlaps in windows)
    # Sums over a cell are exact; of fewer bytes, they take less time.
    dtype = np.min_scalar_type(largest)
    along = [
        np.take(overlaps.T.astype(dtype), cell, axis=1)
        for (_, overlaps), cell in zip(windows, cells, strict=True)
    ]
    weights = np.empty((math.prod(map(len, along)), cells[0].size), dtype)
    for rows, weight in _combined(np.multiply, along, weights):
        rows[:] = weight
    return weights


def _combined(
    ufunc: np.ufunc, along: Sequence[NDArray[Any]], rows: NDArray[Any]
) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Rows for all combinations of those of several arrays, some at a time, and what is in them.

    So many that they take longer than the call of a function, and still stay in the cache.
    """
    *others, last = along
    count = last.shape[-1]
    while others and last.size < _COMBINED:
        last = ufunc(others.pop()[:, np.newaxis], last).reshape(-1, count)
    parts = rows.reshape(-1, *last.shape)
    for part, combination in zip(parts, itertools.product(*others), strict=True):
        yield part, ufunc(functools.reduce(ufunc, combination), last) if combination else last


def _are_equal(windows: Windows) -> bool:
    """Whether all voxels of all cells have the same weight."""
    return all((overlaps == overlaps[:1, :1]).all() for _, overlaps in windows)


def _weighted_mode(labels: Labels, weights: NDArray[np.integer[Any]] | None) -> Labels:
    """Label of the largest total weight in each column; the smaller label of equal ones.

    Without weights those of all voxels are equal.
    """
    # In most the smallest and the largest label have all of the weight, or one of them half of it,
    # and nothing needs to be sorted.
    low, high = labels.min(axis=0), labels.max(axis=0)
    total = len(labels) if weights is None else weights.sum(axis=0, dtype=np.int64)
    of_low, of_high = (_total_of(label, labels, weights) for label in (low, high))
    modes: Labels = np.where(of_low >= of_high, low, high)
    is_open = np.flatnonzero(
        (of_low + of_high < total) & (2 * of_low < total) & (2 * of_high <= total)
    )
    rest = None if weights is None else weights[:, is_open].T
    modes[is_open] = _sorted_mode(labels[:, is_open].T, rest)
    return modes


def _total_of(
    label: Labels, labels: Labels, weights: NDArray[np.integer[Any]] | None
) -> NDArray[np.int64]:
    """Total weight that one label has in each column."""
    has_it = labels == label
    if weights is None:
        # Counted in few bytes, which takes a quarter of the time.
        weights, dtype = has_it.view(np.uint8), np.min_scalar_type(len(labels))
    else:
        weights, dtype = weights * has_it, weights.dtype
    total: NDArray[np.int64] = weights.sum(axis=0, dtype=dtype).astype(np.int64)
    return total


def _sorted_mode(labels: Labels, weights: NDArray[np.integer[Any]] | None) -> Labels:
    """The same for any labels, of cells in rows."""
    rows, width = labels.shape
    if weights is None:
        ordered = np.sort(labels).ravel()
    else:
        order = np.argsort(labels)
        ordered = np.take_along_axis(labels, order, 1).ravel()
        weights = np.take_along_axis(weights, order, 1).ravel()
    starts = np.ones(ordered.size, bool)
    starts[1:] = ordered[1:] != ordered[:-1]
    starts[::width] = True  # a run never goes on into the next cell
    first = np.flatnonzero(starts)
    if weights is None:
        totals = np.diff(first, append=ordered.size)
    else:
        totals = np.add.reduceat(weights.astype(np.int64), first)
    row = first // width
    # Sorted by row, then by falling weight; stable, so that the smaller label comes first.
    best = np.lexsort((-totals, row))
    return ordered[first[best[np.searchsorted(row[best], np.arange(rows))]]]
