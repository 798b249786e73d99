"""Contacts: pairs of labels that share faces, and pairs that two blocks have in the same voxel."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from refspace.kernels.run_lengths import Labels, count_labels

Pairs = NDArray[np.uint32]


def count_pairs(one: Labels, other: Labels) -> tuple[Pairs, NDArray[np.int64]]:
    """Count the pairs of labels that two blocks have in the same voxels.

    Parameters
    ----------
    one, other
        Labels up to 2**32 - 1, of the same shape.

    Returns
    -------
    pairs
        Label of the one and of the other, shape (pairs, 2), sorted.
    counts
        Number of voxels of each pair.

    Examples
    --------
    >>> count_pairs(np.array([7, 7, 0, 7], "u4"), np.array([7, 8, 0, 8], "u4"))
    (array([[0, 0],
           [7, 7],
           [7, 8]], dtype=uint32), array([1, 1, 2]))
    """
    # Both labels in one integer of 64 bits: pairs are counted like labels, by runs.
    keys, counts = count_labels(one.astype(np.uint64) << np.uint64(32) | other)
    return _split_keys(keys), counts


def count_faces(block: Labels) -> tuple[Pairs, NDArray[np.int64]]:
    """Count the faces between unlike neighbours within a block.

    Parameters
    ----------
    block
        Labels up to 2**32 - 1.

    Returns
    -------
    pairs
        Labels that share faces, shape (pairs, 2): the smaller first, sorted.
    faces
        Number of faces across each axis, shape (pairs, ndim).

    Examples
    --------
    >>> count_faces(np.array([[7, 7, 7], [7, 0, 9]], "u4"))
    (array([[0, 7],
           [0, 9],
           [7, 9]], dtype=uint32), array([[1, 1],
           [0, 1],
           [1, 0]]))
    """
    if block.flags.f_contiguous and not block.flags.c_contiguous:
        pairs, faces = count_faces(block.T)
        return pairs, faces[:, ::-1]
    parts = []
    for axis in range(block.ndim):
        along = np.moveaxis(block, axis, 0)
        parts.append(count_facing(along[:-1], along[1:], axis, block.ndim))
    return sum_pairs(parts, block.ndim)


def count_facing(
    one: Labels, other: Labels, axis: int, ndim: int = 3
) -> tuple[Pairs, NDArray[np.int64]]:
    """Count the faces between unlike voxels of two neighbouring arrays.

    Parameters
    ----------
    one, other
        Labels of the same shape.
    axis
        Axis along which the other follows the one.
    ndim
        Number of axes.

    Returns
    -------
    pairs, faces
        As `count_faces` returns them.

    Examples
    --------
    >>> count_facing(np.array([7, 7, 9], "u4"), np.array([7, 0, 0], "u4"), axis=0, ndim=2)
    (array([[0, 7],
           [0, 9]], dtype=uint32), array([[1, 0],
           [1, 0]]))
    """
    # Unlike neighbours are few, so they are picked out before anything is sorted.
    differ = one != other
    one, other = one[differ], other[differ]
    pairs, counts = count_pairs(np.minimum(one, other), np.maximum(one, other))
    faces = np.zeros((counts.size, ndim), np.int64)
    faces[:, axis] = counts
    return pairs, faces


def sum_pairs(
    parts: list[tuple[Pairs, NDArray[np.int64]]], columns: int
) -> tuple[Pairs, NDArray[np.int64]]:
    """Add up tables of pairs: every pair once, sorted, with the sum of its rows of counts.

    Examples
    --------
    >>> part = np.array([[7, 9]], "u4"), np.array([[1, 2]])
    >>> sum_pairs([part, part], 2)
    (array([[7, 9]], dtype=uint32), array([[2, 4]]))
    """
    pairs = np.concatenate([np.empty((0, 2), np.uint32), *(pairs for pairs, _ in parts)])
    counts = np.concatenate([np.empty((0, columns), np.int64), *(counts for _, counts in parts)])
    wide = pairs.astype(np.uint64)
    keys, row = np.unique(wide[:, 0] << np.uint64(32) | wide[:, 1], return_inverse=True)
    sums = np.zeros((keys.size, columns), np.int64)
    np.add.at(sums, row, counts)
    return _split_keys(keys), sums


def _split_keys(keys: NDArray[Any]) -> Pairs:
    """Pairs of labels from integers of 64 bits that hold one label in each half."""
    # Of the whole integer the cast keeps the lower half.
    return np.stack((keys >> np.uint64(32), keys), axis=1).astype(np.uint32)
