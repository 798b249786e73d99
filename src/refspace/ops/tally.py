"""How many points are in regions, from what the voxels hold that hold them."""

import functools
from collections.abc import Sequence
from typing import Any

import dask.array
import numpy as np
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph
from dask.tokenize import tokenize
from numpy.typing import NDArray

from refspace.ops.borders import array_of
from refspace.ops.points import LABEL_BITS, MISSING, OUTSIDE
from refspace.structure_tree import Regions


def tally(
    codes: dask.array.Array, regions: Regions, sides: Sequence[int]
) -> tuple[dask.array.Array, dict[str, dask.array.Array]]:
    """Count points in regions, and in none; lazy.

    Parameters
    ----------
    codes
        Codes of points, as `Lookup.of` gives them: labels of the regions, and any other as 0.
    regions
        The regions.
    sides
        Hemispheres that are counted apart; 0 alone where the codes say none.

    Returns
    -------
    points
        Number of points of each region and hemisphere.
    others
        Numbers of what is in none: ``unassigned``, ``outside`` and ``missing``; and
        ``no_hemisphere``, where there are hemispheres.

    Examples
    --------
    >>> from refspace import phantom
    >>> tree = phantom(resolution=400).structure_tree
    >>> codes = dask.array.from_array(np.array([593, 821, 593, 0, -1]), chunks=2)  # VISp1, VISp2/3
    >>> points, others = tally(codes, tree.regions(["VISp", 593]), [0])
    >>> points.compute().tolist(), int(others["unassigned"]), int(others["outside"])
    ([[3], [2]], 1, 1)
    """
    counted = count_codes(codes)
    pool = functools.partial(_in_regions, regions=regions.without_names(), sides=tuple(sides))
    points = array_of(counted, pool, (len(regions), len(sides)), np.int64)
    names = ["unassigned", "outside", "missing", *(["no_hemisphere"] if any(sides) else [])]
    others = {
        name: array_of(counted, functools.partial(_others, name=name), (), np.int64)
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
    name = f"count-points-{tokenize(codes.name)}"
    tasks: dict[Any, Any] = {
        (f"{name}-block", *number): (_count_block, (codes.name, *number))
        for number in np.ndindex(codes.numblocks)
    }
    tasks[name] = (_summed, list(tasks))
    return Delayed(name, HighLevelGraph.from_collections(name, tasks, dependencies=[codes]))


def _count_block(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.stack(np.unique(codes, return_counts=True))


def _summed(parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    found, counts = np.concatenate(parts, axis=1)
    codes, place = np.unique(found, return_inverse=True)
    sums = np.zeros(codes.size, np.int64)
    np.add.at(sums, place, counts)
    return np.stack((codes, sums))


def _parted(table: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Label and hemisphere of each code; -1 both of points that no voxel holds."""
    codes = table[0]
    return np.where(codes < 0, -1, codes & 2**LABEL_BITS - 1), codes >> LABEL_BITS


def _in_regions(
    table: NDArray[np.int64], *, regions: Regions, sides: Sequence[int]
) -> NDArray[np.int64]:
    """Number of points of each region and hemisphere, from codes and their counts."""
    labels, side = _parted(table)
    return np.stack(
        [regions.reduce(labels[side == one], table[1, side == one]) for one in sides], axis=-1
    )


def _others(table: NDArray[np.int64], *, name: str) -> Any:
    """Number of points that are in no region, or in no hemisphere."""
    labels, side = _parted(table)
    which = {
        "unassigned": labels == 0,
        "outside": table[0] == OUTSIDE,
        "missing": table[0] == MISSING,
        "no_hemisphere": (labels > 0) & (side == 0),
    }
    return table[1, which[name]].sum()


def densities(points: dask.array.Array, volumes: Sequence[Any]) -> dask.array.Array:
    """Points per volume, NaN where there is none; lazy.

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
    return dask.array.map_blocks(_over, points, stacked.rechunk(points.chunks), meta=meta)


def _over(points: NDArray[np.int64], volumes: NDArray[np.float64]) -> NDArray[np.float64]:
    nothing = np.full(points.shape, np.nan)
    quotient: NDArray[np.float64] = np.divide(points, volumes, out=nothing, where=volumes > 0)
    return quotient
