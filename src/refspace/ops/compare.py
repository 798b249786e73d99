"""Which labels two volumes have at the same places, in one pass."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph
from dask.tokenize import tokenize
from numpy.typing import NDArray

from refspace import kernels
from refspace.errors import GridError
from refspace.grid import Grid
from refspace.label_index import BlockLabels
from refspace.ops.align import common_chunks, holding, same_voxels
from refspace.ops.borders import sole_labels, voxels_task


def confusion(
    one: xr.DataArray,
    other: xr.DataArray,
    labels: BlockLabels | None = None,
    other_labels: BlockLabels | None = None,
) -> Delayed:
    """Count the pairs of labels that two volumes have at the same places; lazy.

    Parameters
    ----------
    one, other
        Labels of the same shape, dask-backed; chunked alike or not, each chunk is read once.
    labels, other_labels
        Labels of each block of the one and of the other, where they are known: blocks of a single
        one are not read.

    Returns
    -------
    dask.delayed.Delayed
        Of a DataFrame: ``label``, ``other`` and ``voxels`` of each pair that occurs, the most
        frequent first.

    Examples
    --------
    >>> import dask.array
    >>> one = xr.DataArray(dask.array.from_array(np.array([7, 7, 0], "u4"), chunks=2))
    >>> other = xr.DataArray(dask.array.from_array(np.array([7, 7, 8], "u4"), chunks=1))
    >>> confusion(one, other).compute()
       label  other  voxels
    0      7      7       2
    1      0      8       1
    """
    chunks = common_chunks([one.data, other.data])
    sides = [
        (volume.data.rechunk(chunks), _alone(volume.data.chunks, known, chunks))
        for volume, known in ((one, labels), (other, other_labels))
    ]
    arrays = [data for data, _ in sides]
    name = f"confusion-{tokenize(*(data.name for data in arrays), *(alone for _, alone in sides))}"
    tasks: dict[Any, Any] = {}
    for number in np.ndindex(arrays[0].numblocks):
        pair = [voxels_task(data, number, alone) for data, alone in sides]
        tasks[f"pairs-{name}", *number] = (kernels.count_pairs, *pair)
    tasks[name] = (_table, list(tasks))
    return Delayed(name, HighLevelGraph.from_collections(name, tasks, dependencies=arrays))


def check_same_grid(grid: Grid, other: Grid) -> None:
    """Refuse grids whose voxels are not at the same places.

    Raises
    ------
    GridError
        If shape, orientation or positions differ.

    Examples
    --------
    >>> check_same_grid(Grid((1, 2, 3), (10, 10, 10)), Grid((1, 2, 3), (10, 10, 10)))
    """
    if grid.orientation != other.orientation:
        raise GridError(
            f"the other volume runs to {other.orientation}, this one to {grid.orientation}: "
            "reorient one"
        )
    if grid.shape != other.shape:
        raise GridError(
            f"the other volume has shape {other.shape}, this one {grid.shape}: crop or resample one"
        )
    if not same_voxels(grid, other):
        raise GridError(f"the other volume lies on {other}, this one on {grid}: resample one")


def _alone(
    chunks: Sequence[Sequence[int]], labels: BlockLabels | None, finer: Sequence[Sequence[int]]
) -> NDArray[np.int64]:
    """Label of each of the finer chunks that is known to hold a single one, else -1."""
    if labels is None:
        return np.full(tuple(map(len, finer)), -1)
    alone: NDArray[np.int64] = sole_labels(labels)[np.ix_(*holding(chunks, finer))]
    return alone


def _table(parts: Sequence[tuple[NDArray[np.uint32], NDArray[np.int64]]]) -> pd.DataFrame:
    pairs, voxels = kernels.sum_pairs([(pairs, counts[:, None]) for pairs, counts in parts], 1)
    columns = {"label": pairs[:, 0], "other": pairs[:, 1], "voxels": voxels[:, 0]}
    table = pd.DataFrame(columns).astype(np.int64)
    order = ["voxels", "label", "other"]
    return table.sort_values(order, ascending=[False, True, True], ignore_index=True)
