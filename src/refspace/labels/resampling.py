"""Annotation volumes at another resolution."""

import functools
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Literal, get_args

import dask.array
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from refspace import kernels
from refspace.blockwise.overlapping import map_with_ends
from refspace.blockwise.sources import sole_labels
from refspace.errors import GridError
from refspace.label_index import BlockLabels
from refspace.labels.annotation import infer_grid, labelled
from refspace.labels.hemispheres import stated_midline, with_hemispheres
from refspace.labels.plausible import check_target
from refspace.labels.reorienting import along_frame, reorient
from refspace.types import Resolution

Method = Literal["nearest", "mode", "corner", "allensdk"]

# When cells are smaller than voxels, blocks are cut so that none of the result is larger than this
# along an axis: a block of 128³ source voxels would otherwise become one of 1280³ at ratio 10.
_LARGEST_UPSAMPLED = 256


def downsample(
    annotation: xr.DataArray,
    target_resolution: Resolution,
    method: Method,
    *,
    upsample: bool = False,
    block_labels: BlockLabels | None = None,
) -> xr.DataArray:
    """Resample labels to another resolution; every label of the result occurs in the volume.

    Parameters
    ----------
    annotation
        Annotation volume with coordinates, dask-backed.
    target_resolution
        µm per voxel of the result, one number or one for each axis.
    method
        ``"nearest"``: the voxel that contains the centre of the new one. ``"mode"``: the label
        that fills most of the new voxel, the smaller of equal ones. ``"corner"``: the voxel that
        contains the corner of the new one where coordinates are lowest, as Allen published its
        coarser volumes: every fourth voxel from 0 at a quarter of the resolution. ``"allensdk"``:
        the voxels that AllenSDK 2.16 takes, which pair the first and last voxels of both grids.
    upsample
        Whether the result may be finer than the volume, along any axis.
    block_labels
        Labels of each block of the volume, where they are known: for ``"mode"``, blocks of one
        label are then not read.

    Returns
    -------
    xarray.DataArray
        Lazy, from where coordinates are lowest, in any order of storage;
        ``round(n * resolution / target)`` voxels along each axis. A midline that the volume states
        stays where it is.

    Raises
    ------
    GridError
        If the result would have no voxels, would be finer and `upsample` does not allow it, or
        there is no such method.

    Examples
    --------
    >>> from refspace.grid import Grid
    >>> data = dask.array.from_array(np.array([[[5, 5, 7, 8]]], "u4"))
    >>> pair = labelled(data, Grid((1, 1, 4), (20, 20, 10)))
    >>> downsample(pair, 20, "mode").values
    array([[[5, 7]]], dtype=uint32)
    """
    if method not in get_args(Method):
        raise GridError(f"there is no method {method!r}; choose {', '.join(get_args(Method))}")
    grid = infer_grid(annotation)
    if grid.orientation != grid.orientation_along_frame:
        along = downsample(along_frame(annotation), target_resolution, method, upsample=upsample)
        return reorient(along, grid.orientation)
    target = grid.resample(target_resolution)
    check_target(grid, target_resolution, upsample=upsample)
    ratios = grid.ratios(target_resolution)
    if method == "mode":
        data = _mode(annotation.data, ratios, target.shape, block_labels)
    elif method in ("nearest", "corner"):
        index = _nearest if method == "nearest" else _corner
        data = take(annotation.data, [*map(index, grid.shape, target.shape, ratios)])
    else:
        data = take(annotation.data, [*map(_endpoints, grid.shape, target.shape)])
        data = _without_overrun(data, grid.shape)
    result = labelled(data, target, str(annotation.name), annotation.attrs)
    midline = stated_midline(annotation)
    return result if midline is None else with_hemispheres(result, midline)


def take(data: dask.array.Array, index: Sequence[NDArray[np.intp]]) -> dask.array.Array:
    """Voxels at the crossings of one ascending index per axis; lazy.

    Parameters
    ----------
    data
        Array, of any number of axes.
    index
        Indices along each axis, in ascending order; an index may occur several times.

    Examples
    --------
    >>> take(dask.array.arange(5, chunks=2), [np.array([0, 0, 3])]).compute()
    array([0, 0, 3])
    """
    data, index = _without_idle_blocks(data, index)
    cuts, source = zip(
        *(
            _common_cuts(_bounds(_finer(chunks, Fraction(count, taken.size))), taken)
            for chunks, count, taken in zip(data.chunks, data.shape, index, strict=True)
        ),
        strict=True,
    )
    result: dask.array.Array = data.rechunk(tuple(map(_sizes, source))).map_blocks(
        _take_block,
        index=index,
        cuts=cuts,
        source=source,
        chunks=tuple(map(_sizes, cuts)),
        meta=np.empty((0,) * data.ndim, data.dtype),
    )
    return result


def _without_idle_blocks(
    data: dask.array.Array, index: Sequence[NDArray[np.intp]]
) -> tuple[dask.array.Array, list[NDArray[np.intp]]]:
    """Array without the blocks of which no voxel is taken, and the indices in what remains."""
    kept = []
    for axis, (sizes, taken) in enumerate(zip(data.chunks, index, strict=True)):
        bounds = _bounds(sizes)
        is_used = np.diff(np.searchsorted(taken, bounds)) > 0
        if not is_used.all():
            parts = [
                data[(slice(None),) * axis + (slice(start, stop),)]
                for start, stop, used in zip(bounds, bounds[1:], is_used, strict=False)
                if used
            ]
            data = dask.array.concatenate(parts, axis)
            dropped = np.cumsum(np.where(is_used, 0, sizes))
            taken = taken - dropped[np.searchsorted(bounds, taken, side="right") - 1]
        kept.append(taken)
    return data, kept


def _take_block(
    block: NDArray[Any],
    index: Sequence[NDArray[np.intp]],
    cuts: Sequence[Sequence[int]],
    source: Sequence[Sequence[int]],
    block_id: tuple[int, ...],
) -> NDArray[Any]:
    """Voxels of one block."""
    within = [
        taken[axis_cuts[i] : axis_cuts[i + 1]] - bounds[i]
        for taken, axis_cuts, bounds, i in zip(index, cuts, source, block_id, strict=True)
    ]
    if block.flags.f_contiguous:
        # Walked as it lies in memory: in C order this takes four times as long.
        return block.T[np.ix_(*within[::-1])].T
    return block[np.ix_(*within)]


def _common_cuts(bounds: Sequence[int], index: NDArray[np.intp]) -> tuple[list[int], list[int]]:
    """Cells at which blocks of the result begin, and the voxels at which theirs do.

    A block without a voxel that is taken is joined to the one before.
    """
    cuts, source = [0], [0]
    for cut, bound in zip(np.searchsorted(index, bounds[1:-1]).tolist(), bounds[1:-1], strict=True):
        if cuts[-1] < cut < index.size:
            cuts.append(cut)
            source.append(bound)
    return [*cuts, index.size], [*source, bounds[-1]]


def _nearest(count: int, cells: int, ratio: Fraction) -> NDArray[np.intp]:
    """Index of the voxel that holds the centre of each cell, in exact integers."""
    doubled = (2 * np.arange(cells) + 1) * ratio.numerator
    index: NDArray[np.intp] = np.minimum(doubled // (2 * ratio.denominator), count - 1)
    return index


def _corner(count: int, cells: int, ratio: Fraction) -> NDArray[np.intp]:
    """Index of the voxel that holds the first corner of each cell, in exact integers."""
    index: NDArray[np.intp] = np.arange(cells) * ratio.numerator // ratio.denominator
    return np.minimum(index, count - 1)


def _endpoints(count: int, cells: int) -> NDArray[np.intp]:
    """Index of the voxel that AllenSDK takes: first and last coincide, halves round up."""
    index: NDArray[np.intp] = np.floor(_positions(count, cells) + 0.5).astype(np.intp)
    return index


def _positions(count: int, cells: int) -> NDArray[np.float64]:
    """Positions of cells between the first and last voxel, rounded as AllenSDK rounds them."""
    return np.arange(cells, dtype=np.float64) * ((count - 1) / max(cells - 1, 1))


def _without_overrun(data: dask.array.Array, source_shape: Sequence[int]) -> dask.array.Array:
    """Empty the last plane where AllenSDK does: its rounded position is beyond the last voxel."""
    for axis, (count, cells) in enumerate(zip(source_shape, data.shape, strict=True)):
        within = _positions(count, cells) <= count - 1
        if not within.all():
            kept = dask.array.from_array(within, chunks=data.chunks[axis])
            data = data * kept[tuple(slice(None) if a == axis else None for a in range(3))]
    return data


def _mode(
    data: dask.array.Array,
    ratios: Sequence[Fraction],
    shape: Sequence[int],
    block_labels: BlockLabels | None,
) -> dask.array.Array:
    """Modes of cells, each computed with the block in which it ends."""
    cuts, bounds = zip(
        *(
            _cells_by_block(_bounds(_finer(chunks, ratio)), ratio, cells)
            for chunks, ratio, cells in zip(data.chunks, ratios, shape, strict=True)
        ),
        strict=True,
    )
    blocks = data.rechunk(tuple(map(_sizes, bounds)))
    # Voxels in which the first cell of each block begins, which the block before may hold.
    starts = [_starts(*axis) for axis in zip(cuts, ratios, strict=True)]
    before = [
        [bound - start for bound, start in zip(*axis, strict=False)]
        for axis in zip(bounds, starts, strict=True)
    ]
    # Of blocks that were joined, it is not worth while to know.
    is_known = block_labels is not None and all(
        {*_bounds(known)} <= {*own} for known, own in zip(block_labels.chunks, bounds, strict=True)
    )
    sole = sole_labels(block_labels if is_known else None, blocks.chunks)
    modes = functools.partial(_mode_block, cuts=cuts, starts=starts, ratios=tuple(ratios))
    return map_with_ends(modes, blocks, before, tuple(map(_sizes, cuts)), sole)


def _mode_block(
    block: NDArray[Any],
    block_id: Sequence[int],
    cuts: Sequence[Sequence[int]],
    starts: Sequence[Sequence[int]],
    ratios: Sequence[Fraction],
) -> NDArray[Any]:
    """Modes of the cells of one block."""
    if not any(block.strides):
        shape = [axis[i + 1] - axis[i] for axis, i in zip(cuts, block_id, strict=True)]
        return np.broadcast_to(block[(slice(1),) * block.ndim], shape)
    axes = [
        kernels.windows(range(axis_cuts[i], axis_cuts[i + 1]), ratio, first[i], count)
        for axis_cuts, ratio, first, i, count in zip(
            cuts, ratios, starts, block_id, block.shape, strict=True
        )
    ]
    if block.flags.f_contiguous:
        return kernels.mode(block.T, axes[::-1]).T
    return kernels.mode(block, axes)


def _finer(chunks: Sequence[int], ratio: Fraction) -> list[int]:
    """Chunks, cut further where their cells would make too large a block."""
    largest = max(1, int(_LARGEST_UPSAMPLED * ratio)) if ratio < 1 else max(chunks)
    return [min(largest, chunk - start) for chunk in chunks for start in range(0, chunk, largest)]


def _bounds(sizes: Sequence[int]) -> list[int]:
    """Voxels at which blocks begin, and the end."""
    return [0, *np.cumsum(sizes).tolist()]


def _sizes(bounds: Sequence[int]) -> tuple[int, ...]:
    """Sizes of blocks between bounds."""
    return tuple(np.diff(bounds).tolist())


def _cells_by_block(
    bounds: Sequence[int], ratio: Fraction, cells: int
) -> tuple[list[int], list[int]]:
    """Cells at which blocks of the result begin, and the bounds of the blocks that these end in.

    A block in which no cell ends is joined to the next one; the last one has all that are left.
    """
    cuts, joined = [0], [0]
    for bound in bounds[1:-1]:
        cut = bound * ratio.denominator // ratio.numerator
        if cuts[-1] < cut < cells:
            cuts.append(cut)
            joined.append(bound)
    return [*cuts, cells], [*joined, bounds[-1]]


def _starts(cuts: Sequence[int], ratio: Fraction) -> list[int]:
    """Voxel in which the first cell of each block begins."""
    return [cut * ratio.numerator // ratio.denominator for cut in cuts[:-1]]
