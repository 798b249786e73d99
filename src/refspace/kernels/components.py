"""Connected components: the separate pieces that a label has within a block."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from refspace.errors import MissingDependencyError
from refspace.kernels.run_lengths import Labels


def components(
    block: Labels,
) -> tuple[NDArray[np.int64], Labels, NDArray[np.int64]]:
    """Find the connected components of a block: voxels of one label that share faces.

    Parameters
    ----------
    block
        Labels, with at least one axis. Voxels of label 0 belong to no component.

    Returns
    -------
    component_ids
        Component of each voxel, numbered from 0; -1 where the label is 0.
    labels
        Label of each component.
    sizes
        Number of voxels of each component.

    Raises
    ------
    MissingDependencyError
        If scipy is not installed.

    Examples
    --------
    >>> component_ids, labels, sizes = components(np.array([[7, 0, 7], [7, 9, 7]], "u4"))
    >>> component_ids
    array([[ 0, -1,  1],
           [ 0,  2,  1]])
    >>> labels, sizes
    (array([7, 7, 9], dtype=uint32), array([2, 2, 1]))
    """
    # Runs are connected along the last axis already: only runs in neighbouring rows are left to be
    # linked. A graph of runs is far smaller than one of voxels.
    begins = np.ones(block.shape, bool)
    np.not_equal(block[..., 1:], block[..., :-1], out=begins[..., 1:])
    starts = np.flatnonzero(begins)
    labels = block.ravel()[starts]
    run_index = (np.cumsum(begins) - 1).reshape(block.shape)
    links = [_overlaps(block, begins, run_index, axis) for axis in range(block.ndim - 1)]
    run_components = join(labels.size, np.concatenate([np.empty((0, 2), np.int64), *links]))
    # Components of label 0 are dropped; the others are numbered in the order of their first voxels.
    inside = labels != 0
    first, kept = np.unique(run_components[inside], return_index=True, return_inverse=True)[1:]
    component_ids = np.full(labels.size, -1)
    component_ids[inside] = kept
    sizes = np.bincount(kept, np.diff(starts, append=block.size)[inside]).astype(np.int64)
    return component_ids[run_index], labels[inside][first], sizes


def _overlaps(
    block: Labels, begins: NDArray[np.bool_], run_index: NDArray[np.intp], axis: int
) -> NDArray[np.intp]:
    """Pairs of runs of one label that touch across an axis."""
    low, high = ((slice(None),) * axis + (part,) for part in (slice(-1), slice(1, None)))
    # Where two runs begin to overlap, one of the two begins: so each pair is listed once, and not
    # once for each pair of voxels that touch.
    meet = (block[low] == block[high]) & (begins[low] | begins[high]) & (block[low] != 0)
    return np.stack((run_index[low][meet], run_index[high][meet]), axis=1)


def join(count: int, links: NDArray[np.integer[Any]]) -> NDArray[np.intp]:
    """Find the connected components of a graph.

    Parameters
    ----------
    count
        Number of nodes.
    links
        Pairs of nodes that are linked, shape (links, 2).

    Returns
    -------
    ndarray
        Component of each node, numbered from 0 in the order of their first nodes.

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
            "connected components need scipy; install it with: pip install scipy"
        ) from error
    if not count:
        return np.empty(0, np.intp)
    ones = np.ones(len(links), bool)
    graph = coo_array((ones, (links[:, 0], links[:, 1])), (count, count))
    component = connected_components(graph, directed=False)[1]
    # scipy promises no order of its numbers: they are replaced by ranks of first nodes.
    first = np.unique(component, return_index=True)[1]
    rank = np.empty(first.size, np.intp)
    rank[np.argsort(first)] = np.arange(first.size)
    ordered: NDArray[np.intp] = rank[component]
    return ordered
