"""Surface of a mask, block by block."""

import functools
import math
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import dask.array
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from refspace import kernels
from refspace.blockwise.bounded import threads_for

# Most voxels of a block along each axis. Work on one takes some 60 bytes for each of its voxels.
_MOST = 128


def find_surface(
    mask: xr.DataArray, smoothing: int, scheduler: str | None = None
) -> kernels.SurfacePart:
    """Surface of a mask, computed now; the same whatever the chunks.

    Parameters
    ----------
    mask
        True inside, lazy; beyond its ends all is outside.
    smoothing
        How many times it is averaged with its neighbours.
    scheduler
        Scheduler of dask that computes it; by default the one in use.

    Returns
    -------
    SurfacePart
        Of all blocks. Each chunk is read once; what is kept of it is its share of the surface.

    Raises
    ------
    MissingDependencyError
        If scikit-image is not installed.

    Examples
    --------
    >>> mask = xr.DataArray(dask.array.ones((4, 4, 4), bool, chunks=3), dims=("ap", "dv", "ml"))
    >>> find_surface(mask, 1).voxels
    64
    """
    margin = smoothing + 1
    data = mask.data.rechunk(tuple(_block_sizes(sizes, margin) for sizes in mask.data.chunks))
    depth = tuple(margin if count > 1 else 0 for count in data.numblocks)
    with_margins = dask.array.overlap.overlap(data, depth, boundary="none", allow_rechunk=False)
    starts = tuple(tuple(accumulate(sizes, initial=0)) for sizes in data.chunks)
    parts = with_margins.map_blocks(
        functools.partial(_block_surface, starts=starts, smoothing=smoothing),
        chunks=tuple((1,) * count for count in data.numblocks),
        dtype=object,
        meta=np.empty((0,) * data.ndim, object),
    )
    threads = threads_for(mask.data)
    surfaces = parts.compute(scheduler=scheduler, num_workers=threads)
    return kernels.join_surfaces(surfaces.ravel().tolist())


def _block_sizes(sizes: Sequence[int], least: int) -> tuple[int, ...]:
    """Sizes of blocks that are not too large, nor smaller than the margin that others need."""
    count, cuts = sum(sizes), [0]
    for end in accumulate(sizes):
        if end == count or (end - cuts[-1] >= least and count - end >= least):
            pieces = math.ceil((end - cuts[-1]) / _MOST)
            step = end - cuts[-1]
            cuts += [cuts[-1] + step * (piece + 1) // pieces for piece in range(pieces)]
    return tuple(stop - start for start, stop in pairwise(cuts))


def _block_surface(
    mask: NDArray[np.bool_],
    block_id: tuple[int, ...],
    *,
    starts: tuple[tuple[int, ...], ...],
    smoothing: int,
) -> NDArray[Any]:
    """Surface of a block that has a margin where there are other blocks, as an array of one."""
    margin = smoothing + 1
    pads = [
        (margin if i == 0 else 0, margin if i == len(bounds) - 2 else 0)
        for i, bounds in zip(block_id, starts, strict=True)
    ]
    start = [bounds[i] for i, bounds in zip(block_id, starts, strict=True)]
    stop = [bounds[i + 1] for i, bounds in zip(block_id, starts, strict=True)]
    core = [slice(margin, margin + b - a) for a, b in zip(start, stop, strict=True)]
    result = np.empty((1,) * mask.ndim, object)
    result.flat[0] = kernels.block_surface(
        np.pad(mask, pads), smoothing, core, start, [bounds[-1] for bounds in starts]
    )
    return result
