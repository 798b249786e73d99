"""Which labels share faces, and how many, in one pass."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from dask.delayed import Delayed
from numpy.typing import NDArray

from refspace import kernels
from refspace.label_index import BlockLabels
from refspace.ops.borders import Planes, block_tasks, over_borders, planes_of
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
        for number in range(len(regions)):
            places = kernels.find(regions.structures_in(number), self.labels)
            inside[places], inside[-1] = True, False
            one, other = inside[sides].T
            surfaces[number] = areas[one != other].sum()
            inside[places] = False
        return surfaces

    def between(self, regions: Regions, spacing: Sequence[float]) -> list[tuple[int, int, float]]:
        """Numbers of regions that share faces, and the area of these in mm².

        Each label is in the nearest of its regions.
        """
        numbers = np.sort(regions.region_index(self.pairs), axis=1)
        apart = (numbers[:, 0] >= 0) & (numbers[:, 0] != numbers[:, 1])
        edges, place = np.unique(numbers[apart], axis=0, return_inverse=True)
        areas = np.bincount(place, self.areas(spacing)[apart], len(edges))
        return [(a, b, area) for (a, b), area in zip(edges.tolist(), areas.tolist(), strict=True)]


def contacts(
    annotation: xr.DataArray,
    labels: BlockLabels | None = None,
    ids: Sequence[int] | None = None,
) -> Delayed:
    """Count the faces between unlike labels; lazy, and each block is read once.

    Parameters
    ----------
    annotation
        Labels over three axes, dask-backed.
    labels
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
    >>> found = contacts(volume).compute()
    >>> found.pairs.tolist(), found.faces.tolist()
    ([[0, 7], [0, 9], [7, 9]], [[4, 4, 1], [2, 2, 1], [0, 0, 1]])
    """
    tasks = block_tasks(annotation.data, labels, ids)
    return over_borders("contacts", tasks, annotation.data, _of_block, _with_borders, _of_all)


@dataclass(frozen=True, eq=False)
class _Block:
    """What is counted within a block, and its outer planes."""

    counted: tuple[Any, Any]
    faces: tuple[Any, Any]
    planes: Planes


def _of_block(block: NDArray[Any]) -> _Block:
    planes = planes_of(block)
    if not any(block.strides):  # of one label: it has no face within
        counted = block.ravel()[:1], np.array([block.size])
        return _Block(counted, kernels.sum_pairs([], block.ndim), planes)
    return _Block(kernels.count_labels(block), kernels.count_faces(block), planes)


def _with_borders(
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


def _of_all(parts: Sequence[tuple[tuple[Any, Any], tuple[Any, Any]]]) -> Contacts:
    found = np.concatenate([labels for (labels, _), _ in parts]).astype(np.uint32)
    counts = np.concatenate([counts for (_, counts), _ in parts])
    labels, place = np.unique(found, return_inverse=True)
    voxels = np.zeros(labels.size, np.int64)
    np.add.at(voxels, place, counts)
    return Contacts(labels, voxels, *kernels.sum_pairs([faces for _, faces in parts], 3))
