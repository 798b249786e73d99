"""How many points are in regions, from the codes of the voxels that hold them."""

import functools
from collections.abc import Sequence
from typing import Any

import dask.array
import numpy as np
from dask.delayed import Delayed
from numpy.typing import NDArray

from refspace.blockwise.reduction import array_from_value, reduce_blocks
from refspace.ops.point_labels import LABEL_BITS, MISSING, OUTSIDE
from refspace.structure_tree import Regions


def count_points(
    codes: dask.array.Array, regions: Regions, hemispheres: Sequence[int]
) -> tuple[dask.array.Array, dict[str, dask.array.Array]]:
    """Count points in regions, and those in no region; lazy.

    Parameters
    ----------
    codes
        Codes of points, as `VoxelLookup.look_up` gives them: labels of the regions, and any other
        as 0.
    regions
        The regions.
    hemispheres
        Hemispheres that are counted apart; 0 alone where the codes have none.

    Returns
    -------
    points
        Number of points of each region and hemisphere.
    others
        Numbers of points in no region: ``unassigned``, ``outside`` and ``missing``; and, where
        there are hemispheres, ``no_hemisphere``.

    Examples
    --------
    >>> from refspace import phantom
    >>> tree = phantom(resolution=400).structure_tree
    >>> codes = dask.array.from_array(np.array([593, 821, 593, 0, -1]), chunks=2)  # VISp1, VISp2/3
    >>> points, others = count_points(codes, tree.regions(["VISp", 593]), [0])
    >>> points.compute().tolist(), int(others["unassigned"].compute())
    ([[3], [2]], 1)
    """
    counts = count_codes(codes)
    count = functools.partial(
        _count_in_regions, regions=regions.without_names(), hemispheres=tuple(hemispheres)
    )
    points = array_from_value(counts, count, (len(regions), len(hemispheres)), np.int64)
    names = ["unassigned", "outside", "missing"]
    if any(hemispheres):
        names.append("no_hemisphere")
    others = {
        name: array_from_value(counts, functools.partial(_count_others, name=name), (), np.int64)
        for name in names
    }
    return points, others


def count_codes(codes: dask.array.Array) -> Delayed:
    """Count how often each code occurs; lazy.

    Returns
    -------
    dask.delayed.Delayed
        Of an array of two rows: sorted codes, and how many points have each.

    Examples
    --------
    >>> count_codes(dask.array.from_array(np.array([7, 9, 7, -1]), chunks=2)).compute()
    array([[-1,  7,  9],
           [ 1,  2,  1]])
    """
    keys = {block_id: [(codes.name, *block_id)] for block_id in np.ndindex(codes.numblocks)}
    return reduce_blocks("count-points", _count_block, keys, [codes], _sum_counts)


# ----- tasks


def _count_block(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sorted codes of a block, and how often each occurs."""
    return np.stack(np.unique(codes, return_counts=True))


def _sum_counts(parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Codes and counts of all blocks, from those of each."""
    repeated, counts = np.concatenate(parts, axis=1)
    codes, position = np.unique(repeated, return_inverse=True)
    sums = np.zeros(codes.size, np.int64)
    np.add.at(sums, position, counts)
    return np.stack((codes, sums))


def _decode(table: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Label and hemisphere of each code; both are -1 for points that no voxel holds."""
    codes = table[0]
    return np.where(codes < 0, -1, codes & 2**LABEL_BITS - 1), codes >> LABEL_BITS


def _count_in_regions(
    table: NDArray[np.int64], *, regions: Regions, hemispheres: Sequence[int]
) -> NDArray[np.int64]:
    """Number of points of each region and hemisphere, from codes and their counts."""
    labels, side = _decode(table)
    return np.stack(
        [regions.reduce(labels[side == one], table[1, side == one]) for one in hemispheres],
        axis=-1,
    )


def _count_others(table: NDArray[np.int64], *, name: str) -> Any:
    """Number of points that are in no region, or in no hemisphere."""
    labels, side = _decode(table)
    which = {
        "unassigned": labels == 0,
        "outside": table[0] == OUTSIDE,
        "missing": table[0] == MISSING,
        "no_hemisphere": (labels > 0) & (side == 0),
    }
    return table[1, which[name]].sum()


# ----- densities


def densities(
    points: dask.array.Array, volumes: Sequence[dask.array.Array | NDArray[np.float64]]
) -> dask.array.Array:
    """Points per volume, NaN where the volume is 0; lazy.

    Parameters
    ----------
    points
        Number of points of each region and hemisphere.
    volumes
        Volume of each region, of one hemisphere after the other.

    Examples
    --------
    >>> points = dask.array.from_array(np.array([[3], [0]]))
    >>> densities(points, [np.array([2.0, 0.0])]).compute().tolist()
    [[1.5], [nan]]
    """
    stacked = dask.array.stack([dask.array.asarray(volume) for volume in volumes], axis=-1)
    meta = np.empty((0, 0))
    return dask.array.map_blocks(_divide, points, stacked.rechunk(points.chunks), meta=meta)


def _divide(points: NDArray[np.int64], volumes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Quotient; NaN where the volume is 0."""
    nothing = np.full(points.shape, np.nan)
    quotient: NDArray[np.float64] = np.divide(points, volumes, out=nothing, where=volumes > 0)
    return quotient
