"""Runs of equal voxels, and what follows from them: counts, bounding boxes, other labels, masks."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refspace.errors import AnnotationError

Labels = NDArray[np.unsignedinteger[Any]]


def run_lengths(block: Labels) -> tuple[Labels, NDArray[np.intp]]:
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
    >>> run_lengths(np.array([[7, 7, 7], [7, 0, 9]], "u4"))
    (array([7, 0, 9], dtype=uint32), array([4, 1, 1]))
    """
    # One comparison per voxel is all that a kernel spends on voxels; the rest is per run.
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
    # Counts do not depend on the order of voxels: the transpose of a block in Fortran order is read
    # along memory.
    run_labels, lengths = run_lengths(block.T if block.flags.f_contiguous else block)
    labels = np.unique(run_labels)
    # bincount sums its weights as float64, which is exact up to 2**53 voxels.
    counts = np.bincount(np.searchsorted(labels, run_labels), weights=lengths)
    return labels, counts.astype(np.int64)


def measure(
    block: Labels,
) -> tuple[Labels, NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Measure the labels of a block: their voxel counts, bounding boxes and sums of indices.

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
    # Runs are sorted by label, so that reduceat takes each label in one stretch. NumPy sorts
    # integers of up to 16 bits by radix, in linear time; hence codes of the smallest type that
    # holds them.
    codes = np.searchsorted(labels, run_labels).astype(np.min_scalar_type(labels.size))
    order = np.argsort(codes, kind="stable")
    first = np.searchsorted(codes[order], np.arange(labels.size))
    lengths = lengths[order]
    low = np.stack(np.unravel_index(starts[order], block.shape))
    high = low + 1
    high[-1] = low[-1] + lengths
    # Along its axis a run sums to length × (first + last) / 2, and last is high - 1. Across its
    # axis low and high - 1 are equal, and the same formula gives length × low. The division is
    # exact.
    sums = (low + high - 1) * lengths // 2
    return (
        labels,
        np.add.reduceat(lengths, first),
        np.minimum.reduceat(low, first, axis=1).T,
        np.maximum.reduceat(high, first, axis=1).T,
        np.add.reduceat(sums, first, axis=1).T,
    )


def _row_runs(block: Labels) -> tuple[Labels, NDArray[np.intp], NDArray[np.int64]]:
    """Label, flat start and length of the runs in C order, each within one row.

    A run that went on into the next row would have no bounding box of its own.
    """
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
        Value (or row) of every other label; None if other labels are an error.

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
        # The axes of the block are reversed back; those of a row of values stay last.
        result = relabel(block.T, ids, values, default)
        return result.transpose(*range(block.ndim)[::-1], *range(block.ndim, result.ndim))
    run_labels, lengths = run_lengths(block)
    positions = find(run_labels, ids)
    if default is not None:
        # The position of an unknown label is the number of ids, where the default is appended.
        values = np.concatenate((values, default[np.newaxis]))
    elif positions.max(initial=-1) == ids.size:
        raise AnnotationError(f"label {run_labels[positions.argmax()]} is none of those expected")
    per_voxel = np.repeat(values[positions], lengths, axis=0)
    return per_voxel.reshape(block.shape + values.shape[1:])


def mask(block: Labels, ids: Labels, inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Make a mask of a block by comparing its voxels with few labels, without a search for runs.

    Parameters
    ----------
    block
        Labels, of any shape and memory order.
    ids
        Labels of the block, all of them, unique.
    inside
        Which of them are in the mask: some, but not all.

    Returns
    -------
    ndarray
        True inside; bool, of the block's shape, in its memory order. A label that is not one of the
        ids is taken for one of those that are more: compare the number of voxels.

    Examples
    --------
    >>> block = np.array([[7, 7, 8], [7, 0, 9]], "u4")
    >>> mask(block, np.array([0, 7, 8, 9], "u4"), np.array([False, True, True, True]))
    array([[ True,  True,  True],
           [ True, False,  True]])
    """
    is_few_outside = 2 * np.count_nonzero(inside) > ids.size
    compare, combine = (
        (np.not_equal, np.logical_and) if is_few_outside else (np.equal, np.logical_or)
    )
    first, *others = ids[~inside if is_few_outside else inside]
    result: NDArray[np.bool_] = compare(block, first)
    for label in others:
        combine(result, compare(block, label), out=result)
    return result


def masks(block: Labels, ids: Labels, inside: NDArray[np.bool_]) -> Iterator[NDArray[np.bool_]]:
    """Make several masks of a block, one after the other, from one search for its runs.

    Parameters
    ----------
    block
        Labels, of any shape and memory order.
    ids
        Labels that are in any mask, sorted and unique.
    inside
        Which of them are in each mask; shape (ids, masks).

    Yields
    ------
    ndarray
        True inside; bool, of the block's shape, in its memory order.

    Examples
    --------
    >>> block = np.array([[7, 7, 8], [7, 0, 9]], "u4")
    >>> [*masks(block, np.array([7, 9], "u4"), np.array([[True, True], [False, True]]))]
    [array([[ True,  True, False],
           [ True, False, False]]), array([[ True,  True, False],
           [ True, False,  True]])]
    """
    if block.flags.f_contiguous and not block.flags.c_contiguous:
        yield from (mask.T for mask in masks(block.T, ids, inside))
        return
    run_labels, lengths = run_lengths(block)
    positions = find(run_labels, ids)
    # One row more, of False, for all other labels.
    values = np.concatenate((inside, np.zeros((1, inside.shape[1]), bool)))
    for column in values.T:
        yield np.repeat(column[positions], lengths).reshape(block.shape)


def find(labels: NDArray[np.integer[Any]], ids: NDArray[np.integer[Any]]) -> NDArray[np.intp]:
    """Position of each label among sorted ids; the number of ids for a label that is not one.

    A search rather than a table over all ids: ids go up to 2**32 - 1.
    """
    positions = np.searchsorted(ids, labels)
    if ids.size:
        is_id = ids[np.minimum(positions, ids.size - 1)] == labels
        positions[~is_id] = ids.size
    return positions
