"""Which labels two volumes have at the same positions, in one pass."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr
from dask.delayed import Delayed
from numpy.typing import NDArray

from refspace import kernels
from refspace.blockwise.reduction import reduce_blocks
from refspace.blockwise.sources import block_sources, common_chunks, sole_labels
from refspace.errors import GridError
from refspace.grid import Grid
from refspace.label_index import BlockLabels


def confusion(
    one: xr.DataArray,
    other: xr.DataArray,
    block_labels: BlockLabels | None = None,
    other_block_labels: BlockLabels | None = None,
) -> Delayed:
    """Count the pairs of labels that two volumes have at the same positions; lazy.

    Parameters
    ----------
    one, other
        Labels of the same shape, dask-backed; chunked alike or not, each chunk is read once.
    block_labels, other_block_labels
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
    arrays = [volume.data.rechunk(chunks) for volume in (one, other)]
    sources = [
        block_sources(array, sole_labels(known, chunks))
        for array, known in zip(arrays, (block_labels, other_block_labels), strict=True)
    ]
    pairs = {block_id: [each[block_id] for each in sources] for block_id in sources[0]}
    return reduce_blocks("confusion", kernels.count_pairs, pairs, arrays, _table)


def check_same_grid(grid: Grid, other: Grid) -> None:
    """Refuse grids whose voxels are not at the same positions.

    Raises
    ------
    GridError
        If shape, orientation or positions differ.

    Examples
    --------
    >>> check_same_grid(Grid((1, 2, 3), (10, 10, 10)), Grid((1, 2, 3), (10, 10, 10)))
    """
    check_same_shape(grid.shape, other.shape)
    if not grid.matches(other):
        raise GridError(
            f"the other volume lies on {other}, this one on {grid}: resample one, or give "
            "same_grid=True where voxel i of both is the same place"
        )


def check_same_shape(shape: tuple[int, ...], other: tuple[int, ...]) -> None:
    """Refuse volumes of another shape.

    Raises
    ------
    GridError
        If the shapes differ.

    Examples
    --------
    >>> check_same_shape((1, 2, 3), (1, 2, 3))
    """
    if shape != other:
        raise GridError(
            f"the other volume has shape {other}, this one {shape}: crop or resample one"
        )


def _table(parts: Sequence[tuple[NDArray[np.uint32], NDArray[np.int64]]]) -> pd.DataFrame:
    """Table of all pairs, from those of each block."""
    pairs, voxels = kernels.sum_pairs([(pairs, counts[:, None]) for pairs, counts in parts], 1)
    columns = {"label": pairs[:, 0], "other": pairs[:, 1], "voxels": voxels[:, 0]}
    table = pd.DataFrame(columns).astype(np.int64)
    order = ["voxels", "label", "other"]
    return table.sort_values(order, ascending=[False, True, True], ignore_index=True)
