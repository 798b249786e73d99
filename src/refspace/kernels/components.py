"""Connected components of the labels of a block."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from refspace.errors import MissingDependencyError
from refspace.kernels.run_lengths import Labels


def components(
    block: Labels,
) -> tuple[NDArray[np.int64], Labels, NDArray[np.int64]]:
    """Number the connected components of a block: voxels of one label that share faces.

    Parameters
    ----------
    block
        Labels, with at least one axis; 0 is in no component.

    Returns
    -------
    numbers
        Number of the component of each voxel from 0, -1 where the label is 0.
    labels
        Label of each component.
    sizes
        Voxels of each.

    Raises
    ------
    MissingDependencyError
        If scipy is not installed.

    Examples
    --------
    >>> numbers, labels, sizes = components(np.array([[7, 0, 7], [7, 9, 7]], "u4"))
    >>> numbers
    array([[ 0, -1,  1],
           [ 0,  2,  1]])
    >>> labels, sizes
    (array([7, 7, 9], dtype=uint32), array([2, 2, 1]))
    """
    begins = np.ones(block.shape, bool)
    np.not_equal(block[..., 1:], block[..., :-1], out=begins[..., 1:])
    starts = np.flatnonzero(begins)
    labels = block.ravel()[starts]
    run_of = (np.cumsum(begins) - 1).reshape(block.shape)
    links = [_overlaps(block, begins, run_of, axis) for axis in range(block.ndim - 1)]
    joined = join(labels.size, np.concatenate([np.empty((0, 2), np.int64), *links]))
    # Components of 0 are dropped; the others are numbered as their first voxels follow.
    inside = labels != 0
    first, number = np.unique(joined[inside], return_index=True, return_inverse=True)[1:]
    of_run = np.full(labels.size, -1, np.int64)
    of_run[inside] = number
    sizes = np.bincount(number, np.diff(starts, append=block.size)[inside]).astype(np.int64)
    return of_run[run_of], labels[inside][first], sizes


def _overlaps(
    block: Labels, begins: NDArray[np.bool_], run_of: NDArray[np.intp], axis: int
) -> NDArray[np.intp]:
    """Pairs of runs of one label that lie side by side along an axis across the runs."""
    low, high = ((slice(None),) * axis + (part,) for part in (slice(-1), slice(1, None)))
    # Where two runs begin to overlap, one of them begins: each pair is found once.
    meet = (block[low] == block[high]) & (begins[low] | begins[high]) & (block[low] != 0)
    return np.stack((run_of[low][meet], run_of[high][meet]), axis=1)


def join(count: int, links: NDArray[np.integer[Any]]) -> NDArray[np.intp]:
    """Component of each of some things, of which pairs are linked.

    Parameters
    ----------
    count
        How many there are.
    links
        Pairs of numbers, shape (links, 2).

    Returns
    -------
    ndarray
        Number of the component of each, numbered by their first members.

    Raises
    ------
    MissingDependencyError
        If scipy is not installed.

    Examples
    --------
    >>> join(4, np.array([[3, 1]]))
    array([0, 1, 2, 1])
    """
    try:
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components
    except ImportError as error:
        raise MissingDependencyError(
            "connected components need scipy; install it with: pip install 'refspace[analysis]'"
        ) from error
    if not count:
        return np.empty(0, np.intp)
    ones = np.ones(len(links), bool)
    graph = coo_array((ones, (links[:, 0], links[:, 1])), (count, count))
    number = connected_components(graph, directed=False)[1]
    first = np.unique(number, return_index=True)[1]
    rank = np.empty(first.size, np.intp)
    rank[np.argsort(first)] = np.arange(first.size)
    ordered: NDArray[np.intp] = rank[number]
    return ordered
