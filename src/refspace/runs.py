"""Kernels on blocks of labels: NumPy in, NumPy out.

Annotation volumes are piecewise constant, so the kernels work on runs of equal voxels: whatever is
asked is answered once per run and spread over its voxels. Their cost does not grow with the number
of structures asked for.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

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


def relabel(
    block: Labels, ids: Labels, values: NDArray[Any], default: NDArray[Any]
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
        Value (or row) of every other label.

    Returns
    -------
    ndarray
        Array of the block's shape, followed by the shape of a row, in the block's memory order.

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
    table = np.concatenate((values, default[np.newaxis]))
    spread = np.repeat(table[_find(run_labels, ids)], lengths, axis=0)
    return spread.reshape(block.shape + values.shape[1:])


def _find(labels: Labels, ids: Labels) -> NDArray[np.intp]:
    """Position of each label among sorted ids, or their number where it is not among them."""
    positions = np.searchsorted(ids, labels)
    if ids.size:
        found = ids[np.minimum(positions, ids.size - 1)] == labels
        positions[~found] = ids.size
    return positions


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
        low = low.take(voxels, axis).min(axis + 1)
        high = high.take(voxels, axis).max(axis + 1)
    # Most cells hold one label: only the others are counted.
    mixed = np.argwhere(low != high)
    width = math.prod(voxels.shape[1] for voxels, _ in windows)
    for start in range(0, len(mixed), step := max(1, _GATHERED // width)):
        cells = tuple(mixed[start : start + step].T)
        low[cells] = _weighted_mode(*_gather(block, windows, cells))
    return low


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
