"""Connected components of labels, in one pass."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import dask.array
import numpy as np
from dask.delayed import Delayed
from numpy.typing import NDArray

from refspace import kernels
from refspace.blockwise.neighbours import Planes, outer_planes, reduce_with_neighbours
from refspace.blockwise.sources import block_sources, sole_labels


@dataclass(frozen=True, eq=False)
class Components:
    """Number and size of the connected components of each label.

    Parameters
    ----------
    labels
        Labels that occur but 0, sorted.
    count
        Number of connected components of each.
    voxels, largest
        Voxels of each, and of its largest component.
    """

    labels: NDArray[np.int64]
    count: NDArray[np.int64]
    voxels: NDArray[np.int64]
    largest: NDArray[np.int64]


def components(data: dask.array.Array) -> Delayed:
    """Find the connected components of labels: voxels that share faces; lazy.

    Parameters
    ----------
    data
        Labels over any axes; 0 is outside. Each block is read once, and only the planes in which it
        meets the next are kept of its voxels.

    Returns
    -------
    dask.delayed.Delayed
        Of `Components`. Computing it needs scipy.

    Examples
    --------
    >>> data = dask.array.from_array(np.array([7, 7, 0, 7, 9], "u4"), chunks=1)
    >>> result = components(data).compute()
    >>> result.labels.tolist(), result.count.tolist(), result.largest.tolist()
    ([7, 9], [2, 1], [2, 1])
    """
    sources = block_sources(data, sole_labels(None, data.chunks))
    gather = functools.partial(_join, data.numblocks)
    return reduce_with_neighbours("components", data, sources, _find, _link, gather)


def split_by_hemisphere(
    regions: dask.array.Array, hemispheres: dask.array.Array
) -> dask.array.Array:
    """Labels of regions in each hemisphere: three times the region's, and the hemisphere.

    Parameters
    ----------
    regions
        Label of the region of each voxel, counted from 1; 0 is outside, and stays 0.
    hemispheres
        Hemisphere of each: 1 left, 2 right, anything else neither.

    Examples
    --------
    >>> regions = dask.array.from_array(np.array([0, 5, 5], "u4"))
    >>> split_by_hemisphere(regions, dask.array.from_array(np.array([1, 1, 2], "u1"))).compute()
    array([ 0, 16, 17], dtype=uint32)
    """
    sides = hemispheres.rechunk(regions.chunks)
    meta = np.empty((0,) * regions.ndim, np.uint32)
    result: dask.array.Array = dask.array.map_blocks(_split_block, regions, sides, meta=meta)
    return result


# ----- tasks


def _split_block(regions: NDArray[Any], sides: NDArray[Any]) -> NDArray[np.uint32]:
    """Labels of a block, with the hemisphere of each voxel in them."""
    flags = np.where((sides == 1) | (sides == 2), sides, 0).astype(np.uint32)
    return np.where(regions, regions.astype(np.uint32) * np.uint32(3) + flags, np.uint32(0))


@dataclass(frozen=True, eq=False)
class _Block:
    """Label and size of each component of a block, and which is where in its outer planes."""

    labels: NDArray[Any]
    sizes: NDArray[np.int64]
    planes: Planes


class _Linked(NamedTuple):
    """Components of a block; which of them hang together with those before it along each axis."""

    labels: NDArray[Any]
    sizes: NDArray[np.int64]
    links: list[NDArray[np.int64] | None]


def _find(block: NDArray[Any]) -> _Block:
    """Components within a block."""
    indices, labels, sizes = kernels.components(block)
    return _Block(labels, sizes, outer_planes(indices))


def _link(block: _Block, before: list[_Block | None], last: list[bool]) -> _Linked:
    """Components of a block, and those of the blocks before that they hang together with."""
    links = [
        None if ahead is None else _find_links(ahead, block, axis)
        for axis, ahead in enumerate(before)
    ]
    return _Linked(block.labels, block.sizes, links)


def _find_links(ahead: _Block, block: _Block, axis: int) -> NDArray[np.int64]:
    """Pairs of components of one label that meet where two blocks do."""
    one, other = ahead.planes[axis][1], block.planes[axis][0]
    both = (one >= 0) & (other >= 0)
    pairs = np.unique(np.stack((one[both], other[both]), axis=1), axis=0)
    links: NDArray[np.int64] = pairs[ahead.labels[pairs[:, 0]] == block.labels[pairs[:, 1]]]
    return links


def _join(shape: tuple[int, ...], blocks: Sequence[_Linked]) -> Components:
    """Components of the whole, from those of the blocks of a grid in C order."""
    # Of the whole, components are numbered block after block.
    first = np.cumsum([0, *(block.sizes.size for block in blocks)])
    flat_ids = np.arange(len(blocks)).reshape(shape)
    links = [np.empty((0, 2), np.int64)]
    for block_id, block in zip(np.ndindex(shape), blocks, strict=True):
        for axis, pairs in enumerate(block.links):
            if pairs is not None:
                ahead = (*block_id[:axis], block_id[axis] - 1, *block_id[axis + 1 :])
                links.append(pairs + first[[flat_ids[ahead], flat_ids[block_id]]])
    joined = kernels.join(int(first[-1]), np.concatenate(links))
    parts = np.concatenate([block.sizes for block in blocks])
    sizes = np.zeros(joined.max(initial=-1) + 1, np.int64)
    np.add.at(sizes, joined, parts)
    labels = np.zeros(sizes.size, np.int64)
    labels[joined] = np.concatenate([block.labels for block in blocks])
    return _group_by_label(labels, sizes)


def _group_by_label(labels: NDArray[np.int64], sizes: NDArray[np.int64]) -> Components:
    """Count the components of each label, from the label and the size of each component."""
    unique, position, count = np.unique(labels, return_inverse=True, return_counts=True)
    voxels, largest = np.zeros((2, unique.size), np.int64)
    np.add.at(voxels, position, sizes)
    np.maximum.at(largest, position, sizes)
    return Components(unique, count, voxels, largest)
