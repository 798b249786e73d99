"""Which labels share faces of voxels, and how many, in one pass."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from dask.delayed import Delayed
from numpy.typing import NDArray

from refspace import kernels
from refspace.blockwise.neighbours import Planes, outer_planes, reduce_with_neighbours
from refspace.blockwise.sources import block_sources, sole_labels
from refspace.label_index import BlockLabels
from refspace.labels.counting import count_voxels
from refspace.structure_tree import Regions


@dataclass(frozen=True, eq=False)
class Contacts:
    """Faces between voxels of unlike labels; the ends of the volume are faces to 0.

    Parameters
    ----------
    labels, voxels
        Labels that occur, sorted, and the number of voxels of each.
    pairs
        Labels that share faces, shape (pairs, 2): the smaller first, sorted.
    faces
        Number of faces across each axis, shape (pairs, 3).
    """

    labels: NDArray[np.uint32]
    voxels: NDArray[np.int64]
    pairs: NDArray[np.uint32]
    faces: NDArray[np.int64]

    def areas(self, spacing: Sequence[float]) -> NDArray[np.float64]:
        """Area of the faces of each pair in mm², from µm per voxel along each axis."""
        across = [spacing[1] * spacing[2], spacing[0] * spacing[2], spacing[0] * spacing[1]]
        areas: NDArray[np.float64] = self.faces @ np.array(across) * 1e-6
        return areas

    def surfaces(self, regions: Regions, spacing: Sequence[float]) -> NDArray[np.float64]:
        """Area of each region's border in mm²: of faces of which one side is in the region."""
        areas = self.areas(spacing)
        # One more at the end, for members that do not occur.
        inside = np.zeros(self.labels.size + 1, bool)
        sides = kernels.find(self.pairs, self.labels)
        surfaces = np.zeros(len(regions))
        for region_index in range(len(regions)):
            members = kernels.find(regions.structures_in(region_index), self.labels)
            inside[members], inside[-1] = True, False
            one, other = inside[sides].T
            surfaces[region_index] = areas[one != other].sum()
            inside[members] = False
        return surfaces

    def between(self, regions: Regions, spacing: Sequence[float]) -> list[tuple[int, int, float]]:
        """Indices of pairs of regions that share faces, and the area of these in mm².

        Each label is in the nearest of its regions.
        """
        indices = np.sort(regions.region_index(self.pairs), axis=1)
        apart = (indices[:, 0] >= 0) & (indices[:, 0] != indices[:, 1])
        edges, position = np.unique(indices[apart], axis=0, return_inverse=True)
        areas = np.bincount(position, self.areas(spacing)[apart], len(edges))
        return [(a, b, area) for (a, b), area in zip(edges.tolist(), areas.tolist(), strict=True)]


def contacts(
    annotation: xr.DataArray,
    block_labels: BlockLabels | None = None,
    ids: Sequence[int] | None = None,
) -> Delayed:
    """Count the faces between unlike labels; lazy, and each block is read once.

    Parameters
    ----------
    annotation
        Labels over three axes, dask-backed.
    block_labels
        Labels of each block, where they are known; blocks of a single one are not read.
    ids
        Labels that matter, all if not given: where blocks are known to hold none of these, their
        labels are taken for 0.

    Returns
    -------
    dask.delayed.Delayed
        Of `Contacts`.

    Examples
    --------
    >>> import dask.array
    >>> volume = xr.DataArray(dask.array.from_array(np.array([[[7, 7, 9]]], "u4"), chunks=1))
    >>> result = contacts(volume).compute()
    >>> result.pairs.tolist(), result.faces.tolist()
    ([[0, 7], [0, 9], [7, 9]], [[4, 4, 1], [2, 2, 1], [0, 0, 1]])
    """
    data = annotation.data
    sources = block_sources(data, sole_labels(block_labels, data.chunks, ids))
    return reduce_with_neighbours("contacts", data, sources, _count_in_block, _add_borders, _gather)


# ----- tasks


@dataclass(frozen=True, eq=False)
class _Block:
    """What is counted within a block, and its outer planes."""

    counted: tuple[Any, Any]
    faces: tuple[Any, Any]
    planes: Planes


def _count_in_block(block: NDArray[Any]) -> _Block:
    """Labels of a block, and the faces within it."""
    labels, counts = count_voxels(block)
    # A block of one label has no faces within.
    faces = kernels.sum_pairs([], block.ndim) if labels.size == 1 else kernels.count_faces(block)
    return _Block((labels, counts), faces, outer_planes(block))


def _add_borders(
    block: _Block, before: list[_Block | None], last: list[bool]
) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """Labels and faces of a block, with the faces to those before it and at the volume's ends."""
    faces = [block.faces]
    for axis, (first, end) in enumerate(block.planes):
        ahead = before[axis]
        other = np.zeros_like(first) if ahead is None else ahead.planes[axis][1]
        faces.append(kernels.count_facing(other, first, axis))
        if last[axis]:
            faces.append(kernels.count_facing(end, np.zeros_like(end), axis))
    return block.counted, kernels.sum_pairs(faces, 3)


def _gather(parts: Sequence[tuple[tuple[Any, Any], tuple[Any, Any]]]) -> Contacts:
    """Contacts of the volume, from what was counted of its blocks and their borders."""
    repeated = np.concatenate([labels for (labels, _), _ in parts]).astype(np.uint32)
    counts = np.concatenate([counts for (_, counts), _ in parts])
    labels, position = np.unique(repeated, return_inverse=True)
    voxels = np.zeros(labels.size, np.int64)
    np.add.at(voxels, position, counts)
    return Contacts(labels, voxels, *kernels.sum_pairs([faces for _, faces in parts], 3))
