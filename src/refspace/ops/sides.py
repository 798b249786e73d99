"""One hemisphere of a volume; nothing is read of the other."""

from typing import Any

import dask.array
import numpy as np
import xarray as xr
from dask.highlevelgraph import HighLevelGraph
from dask.tokenize import tokenize
from numpy.typing import NDArray

from refspace.label_index import OUT, BlockLabels


def padded(part: dask.array.Array, whole: dask.array.Array, axis: int, start: int) -> Any:
    """Part of an array in its place in the whole, zeros around it.

    Parameters
    ----------
    part
        What is known; of the length of the whole along the other axes.
    whole
        Array whose shape and chunks the result has.
    axis
        Axis along which the part was cut.
    start
        Where it begins.

    Examples
    --------
    >>> whole = dask.array.zeros((1, 5), chunks=(1, 3))
    >>> padded(dask.array.ones((1, 2), dtype="u1"), whole, 1, 2).compute()
    array([[0, 0, 1, 1, 0]], dtype=uint8)
    """
    stop = start + part.shape[axis]
    ends = (slice(0, start), slice(stop, whole.shape[axis]))
    around = [_zeros(whole[(slice(None),) * axis + (end,)], part.dtype) for end in ends]
    return dask.array.concatenate([around[0], part, around[1]], axis).rechunk(whole.chunks)


def _zeros(like: dask.array.Array, dtype: np.dtype[Any]) -> dask.array.Array:
    return dask.array.zeros(like.shape, dtype=dtype, chunks=like.chunks)


def keep(
    volume: xr.DataArray,
    hemispheres: xr.DataArray,
    flag: int,
    verdicts: NDArray[np.int8] | None = None,
) -> xr.DataArray:
    """Volume in one hemisphere, and 0 elsewhere.

    Parameters
    ----------
    volume
        Labels, or what was made of them, dask-backed.
    hemispheres
        Hemisphere of each voxel, on the same grid, dask-backed.
    flag
        What it is in that hemisphere.
    verdicts
        What is known of each block of the volume, as `BlockLabels.verdicts` says it: where it is
        `OUT` the volume is 0, and no hemisphere is read.

    Examples
    --------
    >>> volume = xr.DataArray(dask.array.from_array(np.array([7, 8, 9], "u4")))
    >>> keep(volume, xr.DataArray(dask.array.from_array(np.array([1, 2, 0], "u1"))), 2).values
    array([0, 8, 0], dtype=uint32)
    """
    data, sides = volume.data, hemispheres.data.rechunk(volume.chunks)
    name = f"keep-{tokenize(data.name, sides.name, flag, verdicts)}"
    tasks: dict[Any, Any] = {}
    for number in np.ndindex(data.numblocks):
        known = verdicts is not None and verdicts[number] == OUT
        block = (data.name, *number)
        tasks[name, *number] = block if known else (_kept, block, (sides.name, *number), flag)
    graph = HighLevelGraph.from_collections(name, tasks, dependencies=[data, sides])
    kept = dask.array.Array(graph, name, data.chunks, meta=data._meta)
    return volume.copy(data=kept)


def _kept(block: NDArray[Any], sides: NDArray[Any], flag: int) -> NDArray[Any]:
    """Voxels of a block in one hemisphere."""
    return np.where(sides == flag, block, block.dtype.type(0))


def nothing_of(annotation: xr.DataArray) -> tuple[xr.DataArray, BlockLabels]:
    """Annotation of a hemisphere that has no voxels: 0 everywhere, and known to be."""
    data = annotation.data
    blocks = int(np.prod(data.numblocks))
    labels = BlockLabels(data.chunks, np.arange(blocks + 1), np.zeros(blocks, np.uint32))
    return annotation.copy(data=_zeros(data, data.dtype)), labels


def sides_of(annotation: xr.DataArray, left: slice, flags: tuple[int, int]) -> dask.array.Array:
    """Hemisphere of every voxel, from a midline; chunked as the annotation is.

    Parameters
    ----------
    annotation
        Volume over ``ml`` and other dims.
    left
        Voxels of the left hemisphere along ``ml``.
    flags
        What stands for left and for right.
    """
    axis = annotation.get_axis_num("ml")
    line = np.full(annotation.sizes["ml"], flags[1], np.uint8)
    line[left] = flags[0]
    chunks = annotation.chunks or ()
    cut = dask.array.from_array(line, chunks=(chunks[axis],))
    beside = tuple(slice(None) if a == axis else None for a in range(annotation.ndim))
    return dask.array.broadcast_to(cut[beside], annotation.shape, chunks)
