"""What is measured of each label of a volume as a whole, lazily."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph
from dask.tokenize import tokenize
from numpy.typing import NDArray

from refspace.grid import Grid
from refspace.label_index import BlockLabels, Chunks, LabelIndex, chunk_rows
from refspace.label_index.rows import COUNT, LABEL, START, STOP, SUM
from refspace.ops.borders import block_tasks
from refspace.structure_tree import Regions


def label_totals(
    annotation: xr.DataArray,
    labels: BlockLabels | None = None,
    ids: Sequence[int] | None = None,
) -> Delayed:
    """Measure every label: voxels, box and sums of indices; each block is read once.

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
        Of a table as `LabelIndex.totals`.

    Examples
    --------
    >>> import dask.array
    >>> volume = xr.DataArray(dask.array.from_array(np.array([[[8, 0, 8]]], "u4"), chunks=1))
    >>> label_totals(volume).compute()[1:3]
    array([[0, 8],
           [1, 2]])
    """
    data = annotation.data
    blocks = block_tasks(data, labels, ids)
    starts = [np.cumsum((0, *sizes)).tolist() for sizes in data.chunks]
    name = f"totals-{tokenize(data.name, blocks)}"
    tasks: dict[Any, Any] = {}
    for flat, (number, voxels) in enumerate(blocks.items()):
        corner = [axis[i] for axis, i in zip(starts, number, strict=True)]
        tasks[f"rows-{name}", *number] = (chunk_rows, voxels, flat, corner)
    tasks[name] = (functools.partial(_totals, data.shape, data.chunks), list(tasks))
    return Delayed(name, HighLevelGraph.from_collections(name, tasks, dependencies=[data]))


def _totals(
    shape: tuple[int, ...], chunks: Chunks, parts: Sequence[NDArray[np.int64]]
) -> NDArray[np.int64]:
    return LabelIndex.from_rows(shape, chunks, parts).totals


def geometry(table: NDArray[np.int64], regions: Regions, grid: Grid) -> NDArray[np.float64]:
    """Size and place of each region.

    Parameters
    ----------
    table
        What is measured of each label, as `LabelIndex.totals`.
    regions
        The regions.
    grid
        Where the voxels are.

    Returns
    -------
    ndarray
        Rows over the regions: voxels, volume in mm³, then for each axis the outer edges of the
        bounding box and the centroid, in µm; these are NaN of a region without voxels.

    Examples
    --------
    >>> from refspace import phantom
    >>> space = phantom(resolution=400)
    >>> regions = space.structure_tree.regions(["VISp"])
    >>> geometry(space.label_index.totals, regions, space.grid).ravel()[:2].tolist()
    [98.0, 6.272]
    """
    labels, far = table[LABEL], np.iinfo(np.int64).max
    voxels = regions.reduce(labels, table[COUNT])
    start = regions.reduce(labels, table[START], np.minimum, far)
    stop = regions.reduce(labels, table[STOP], np.maximum)
    sums = regions.reduce(labels, table[SUM])
    rows = np.full((2 + 3 * len(grid.dims), len(regions)), np.nan)
    rows[0], rows[1] = voxels, voxels * grid.voxel_volume
    there = voxels > 0
    for axis, (origin, step) in enumerate(zip(grid.origin, grid.spacing, strict=True)):
        low, high = start[axis, there], stop[axis, there]
        edge = origin + low * step
        centre = origin + (sums[axis, there] / voxels[there] + 0.5) * step
        rows[2 + 3 * axis : 5 + 3 * axis, there] = edge, edge + (high - low) * step, centre
    return rows
