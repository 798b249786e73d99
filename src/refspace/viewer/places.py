"""Where a structure is: a voxel of it in its middle, found at a coarse level."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from refspace.labels import HEMISPHERES
from refspace.verbs.places import centroid
from refspace.verbs.space import Space

# Levels of more voxels are not searched.
_MOST_SEARCHED = 2**24


def place_of(levels: Sequence[Space], structure: int) -> dict[str, float] | None:
    """Centre of a voxel in the middle of a structure: in its left part, where it has one.

    The centroid of a sheet like the cortex is outside of it.

    Parameters
    ----------
    levels
        The space at several resolutions, the finest first.
    structure
        Id of the structure; its subtree counts.

    Returns
    -------
    dict or None
        µm along each axis; None where it has no voxel.

    Examples
    --------
    >>> import refspace
    >>> space = refspace.phantom(resolution=200)
    >>> place = place_of([space], 315)
    >>> point = [[place[dim] for dim in ("ap", "dv", "ml")]]
    >>> found = int(space.structure_at(np.array(point))[0])
    >>> space.structure_tree.structure_descends_from(found, 315)
    True
    """
    ids = np.array(levels[0].structure_tree.descendant_ids([structure])[0])
    for level in reversed(levels):
        if level.annotation.size > _MOST_SEARCHED:
            break
        found = np.nonzero(np.isin(level.annotation.values, ids))
        if found[0].size:
            return _finest(levels[0], level, ids, _middle(level, found))
    # Small structures are at no coarse level.
    place = {str(dim): float(x) for dim, x in centroid(levels[0], structure).items()}
    return place if all(np.isfinite(list(place.values()))) else None


def _middle(level: Space, found: tuple[NDArray[np.intp], ...]) -> tuple[int, ...]:
    """Index of the voxel nearest to the middle of some: of those at the left, if there are any."""
    voxels = np.stack(found, axis=1)
    is_left = level.hemispheres.values[found] == HEMISPHERES["left"]
    voxels = voxels[is_left] if is_left.any() else voxels
    distances = ((voxels - voxels.mean(axis=0)) ** 2).sum(axis=1)
    return tuple(voxels[int(np.argmin(distances))].tolist())


def _finest(
    finest: Space, level: Space, ids: NDArray[np.int64], index: tuple[int, ...]
) -> dict[str, float]:
    """Centre of a voxel of the finest level, within one of a coarser level, that is of some ids."""
    dims = level.grid.dims
    centre = {d: float(level.annotation[d][i]) for d, i in zip(dims, index, strict=True)}
    box = {
        dim: slice(centre[dim] - spacing / 2, centre[dim] + spacing / 2)
        for dim, spacing in zip(dims, level.resolution, strict=True)
    }
    part = finest.annotation.sel(box)
    found = np.nonzero(np.isin(part.values, ids))
    if not found[0].size:
        return centre
    away = [np.abs(part[d].values[i] - centre[d]) for d, i in zip(dims, found, strict=True)]
    best = int(np.argmin(np.sum(away, axis=0)))
    return {d: float(part[d][i[best]]) for d, i in zip(dims, found, strict=True)}
