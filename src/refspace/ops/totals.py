"""Totals of each label of a whole volume, and the size and position of regions made of them."""

import functools
from collections.abc import Sequence

import numpy as np
import xarray as xr
from dask.delayed import Delayed
from numpy.typing import NDArray

from refspace.blockwise.reduction import reduce_blocks
from refspace.blockwise.sources import block_sources, sole_labels
from refspace.grid import Grid
from refspace.label_index import BlockLabels, Chunks, LabelIndex, chunk_rows
from refspace.label_index.rows import COUNT, LABEL, START, STOP, SUM
from refspace.structure_tree import Regions


def label_totals(
    annotation: xr.DataArray,
    block_labels: BlockLabels | None = None,
    ids: Sequence[int] | None = None,
) -> Delayed:
    """Measure every label: voxels, box and sums of indices; each block is read once.

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
    sources = block_sources(data, sole_labels(block_labels, data.chunks, ids))
    edges = [np.cumsum((0, *sizes)).tolist() for sizes in data.chunks]
    arguments = {
        block_id: (voxels, flat, [axis[i] for axis, i in zip(edges, block_id, strict=True)])
        for flat, (block_id, voxels) in enumerate(sources.items())
    }
    gather = functools.partial(_totals, data.shape, data.chunks)
    return reduce_blocks("totals", chunk_rows, arguments, [data], gather)


def _totals(
    shape: tuple[int, ...], chunks: Chunks, parts: Sequence[NDArray[np.int64]]
) -> NDArray[np.int64]:
    """Totals of the volume, from the rows of its blocks."""
    return LabelIndex.from_rows(shape, chunks, parts).totals


def region_properties(
    table: NDArray[np.int64], regions: Regions, grid: Grid
) -> NDArray[np.float64]:
    """Size, bounding box and centroid of each region.

    Parameters
    ----------
    table
        Totals of each label, as `LabelIndex.totals`.
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
    >>> region_properties(space.label_index.totals, regions, space.grid).ravel()[:2].tolist()
    [98.0, 6.272]
    """
    # Sums alone may be of Python's integers.
    rest, far = table[: SUM.start].astype(np.int64, copy=False), np.iinfo(np.int64).max
    labels = rest[LABEL]
    voxels = regions.reduce(labels, rest[COUNT])
    start = regions.reduce(labels, rest[START], np.minimum, far)
    stop = regions.reduce(labels, rest[STOP], np.maximum)
    sums = regions.reduce(labels, table[SUM])
    rows = np.full((2 + 3 * len(grid.dims), len(regions)), np.nan)
    rows[0], rows[1] = voxels, voxels * grid.voxel_volume
    present = voxels > 0
    for axis, dim in enumerate(grid.dims):
        mean = (sums[axis, present] / voxels[present]).astype(np.float64) + 0.5
        ends = grid.position(dim, start[axis, present]), grid.position(dim, stop[axis, present])
        low, high = ends[::-1] if grid.is_falling(dim) else ends
        rows[2 + 3 * axis : 5 + 3 * axis, present] = low, high, grid.position(dim, mean)
    return rows
