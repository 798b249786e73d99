"""One hemisphere of an array: the other becomes 0, and nothing is read of it."""

from typing import Any

import dask.array
import numpy as np
from numpy.typing import NDArray

from refspace.blockwise.graphs import Tasks, array_from_tasks, name_from_inputs
from refspace.blockwise.sources import UNKNOWN, block_shape


def keep_slab(data: dask.array.Array, axis: int, kept: slice) -> dask.array.Array:
    """Array that is 0 outside of a slab; blocks are cut at the ends of the slab.

    Cut there, each block lies on one side, so that what is known of its labels stays exact.

    Parameters
    ----------
    data
        Array with any axes.
    axis
        Axis across the slab.
    kept
        Range of indices along that axis that keep their values.

    Examples
    --------
    >>> data = dask.array.ones((1, 5), dtype="u1", chunks=(1, 3))
    >>> left = keep_slab(data, 1, slice(0, 2))
    >>> left.compute(), left.chunks
    (array([[1, 1, 0, 0, 0]], dtype=uint8), ((1,), (2, 1, 2)))
    """
    start, stop, _ = kept.indices(data.shape[axis])
    before, inside, after = (
        data[(slice(None),) * axis + (part,)]
        for part in (slice(0, start), slice(start, stop), slice(stop, None))
    )
    parts = [_zeros(before), inside, _zeros(after)]
    return dask.array.concatenate([part for part in parts if part.shape[axis]], axis)


def _zeros(like: dask.array.Array) -> dask.array.Array:
    return dask.array.zeros(like.shape, dtype=like.dtype, chunks=like.chunks)


def keep_where(
    data: dask.array.Array,
    hemispheres: dask.array.Array,
    flag: int,
    sole: NDArray[np.int64] | None = None,
) -> dask.array.Array:
    """Array that is 0 outside of one hemisphere of a volume of hemispheres.

    Parameters
    ----------
    data
        Labels.
    hemispheres
        Hemisphere of each voxel, of the same shape.
    flag
        What it is in the hemisphere that is kept.
    sole
        Label of each block that is known to hold a single one, else `UNKNOWN`. Neither array is
        read where that is 0, and labels are not where it is another.

    Examples
    --------
    >>> data = dask.array.from_array(np.array([7, 8, 9], "u4"))
    >>> keep_where(data, dask.array.from_array(np.array([1, 2, 0], "u1")), 2).compute()
    array([0, 8, 0], dtype=uint32)
    """
    sides = hemispheres.rechunk(data.chunks)
    name = name_from_inputs("hemisphere", data.name, sides.name, flag, sole)
    tasks: Tasks = {}
    for block_id in np.ndindex(data.numblocks):
        side, label = (sides.name, *block_id), UNKNOWN if sole is None else int(sole[block_id])
        if label == UNKNOWN:
            tasks[name, *block_id] = (_keep, (data.name, *block_id), side, flag)
        elif label:
            tasks[name, *block_id] = (_fill, label, side, flag, data.dtype)
        else:
            shape = block_shape(data.chunks, block_id)
            tasks[name, *block_id] = (np.broadcast_to, data.dtype.type(0), shape)
    return array_from_tasks(name, tasks, [data, sides], data.chunks, data.dtype)


def _keep(block: NDArray[Any], sides: NDArray[Any], flag: int) -> NDArray[Any]:
    return np.where(sides == flag, block, block.dtype.type(0))


def _fill(label: int, sides: NDArray[Any], flag: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Block of one label, in one hemisphere."""
    block = np.zeros(sides.shape, dtype)
    block[sides == flag] = label
    return block


def hemispheres_of_line(
    line: NDArray[np.uint8], axis: int, chunks: tuple[tuple[int, ...], ...]
) -> dask.array.Array:
    """Volume of hemispheres that are the same in each plane across an axis.

    Parameters
    ----------
    line
        Hemisphere of each plane.
    axis
        Axis across the planes.
    chunks
        Chunks of the volume.

    Examples
    --------
    >>> line = np.array([1, 2], "u1")
    >>> hemispheres_of_line(line, 1, ((2,), (1, 1))).compute()
    array([[1, 2],
           [1, 2]], dtype=uint8)
    """
    # Array expressions have no `dask.array.broadcast_to`.
    name = name_from_inputs("hemispheres", line, axis, chunks)
    line_name = name_from_inputs("line", name)
    ends = np.cumsum(chunks[axis])
    tasks: Tasks = {(line_name, i): part for i, part in enumerate(np.split(line, ends[:-1]))}
    for block_id in np.ndindex(*map(len, chunks)):
        part, shape = (line_name, block_id[axis]), block_shape(chunks, block_id)
        tasks[name, *block_id] = (_spread, part, axis, shape)
    return array_from_tasks(name, tasks, [], chunks, line.dtype)


def _spread(line: NDArray[Any], axis: int, shape: tuple[int, ...]) -> NDArray[Any]:
    """View of a line, repeated along all other axes."""
    return np.broadcast_to(np.expand_dims(line, [a for a in range(len(shape)) if a != axis]), shape)
