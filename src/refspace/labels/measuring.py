"""The label index of an array without one, measured in one pass over it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from refspace.blockwise.bounded import threads_for
from refspace.label_index import LabelIndex, cell_rows


def measure_labels(
    annotation: xr.DataArray, cells: Sequence[Sequence[int]] | None = None
) -> LabelIndex:
    """Measure the labels of every chunk; each is read once.

    Parameters
    ----------
    annotation
        Labels over three axes, dask-backed.
    cells
        Sizes of the chunks of the index along each axis, where they are smaller than those of the
        annotation, which must be unions of them.

    Examples
    --------
    >>> import dask.array
    >>> labels = xr.DataArray(dask.array.from_array(np.array([[[8, 0, 8]]], "u4")))
    >>> measure_labels(labels).extent([8])
    ((0, 0, 0), (1, 1, 3))
    """
    data = annotation.data
    cells = data.chunks if cells is None else cells
    starts = [np.cumsum((0, *sizes))[:-1].tolist() for sizes in data.chunks]
    rows = data.map_blocks(
        _rows_of_block,
        starts=starts,
        cells=cells,
        chunks=(1,) * data.ndim,
        meta=np.empty((0,) * data.ndim, object),
    ).compute(num_workers=threads_for(data))
    return LabelIndex.from_rows(data.shape, cells, list(rows.flat))


def _rows_of_block(
    block: NDArray[Any],
    starts: list[list[int]],
    cells: Sequence[Sequence[int]],
    block_id: tuple[int, ...],
) -> NDArray[np.object_]:
    """Rows of a block, as the single element of an array that stands for it."""
    result = np.empty((1,) * block.ndim, object)
    corner = [axis[i] for axis, i in zip(starts, block_id, strict=True)]
    result.flat[0] = cell_rows(block, corner, cells)
    return result
