"""The pyramid of a store: grids of its levels, and downsampling from one to the next."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refspace import kernels
from refspace.grid import Grid
from refspace.store.boxes import Box

# Layers of cells of which a mean is taken together: in double precision, all of a block take eight
# times as much memory as the block that they make.
_LAYERS_AT_ONCE = 8


def level_grids(grid: Grid, block_shape: Sequence[int]) -> list[Grid]:
    """Grid of every level: that of the volume, then halved until the volume fits one block.

    Lengths are rounded half to even, as `Grid.resample` does; an axis of a single voxel stays.

    Examples
    --------
    >>> [g.shape for g in level_grids(Grid((528, 320, 456), (25, 25, 25)), (128, 128, 128))]
    [(528, 320, 456), (264, 160, 228), (132, 80, 114), (66, 40, 57)]
    """
    grids = [grid]
    while any(n > size for n, size in zip(grids[-1].shape, block_shape, strict=True)):
        last = grids[-1]
        grids.append(
            last.resample([s * f for s, f in zip(last.spacing, _factors(last.shape), strict=True)])
        )
    return grids


def _factors(shape: Sequence[int]) -> list[int]:
    return [2 if count > 1 else 1 for count in shape]


def source_box(box: Box, shape: Sequence[int]) -> Box:
    """Voxels of the finer level, of this shape, that a part of the coarser one is made of."""
    return tuple(
        slice(part.start * f, min(part.stop * f, count))
        for part, count, f in zip(box, shape, _factors(shape), strict=True)
    )


def halve(block: NDArray[Any], box: Box, shape: Sequence[int]) -> NDArray[Any]:
    """Most frequent label of every cell, the smaller of equal ones.

    Parameters
    ----------
    block
        Labels in the `source_box` of the result.
    box
        Part of the coarser level to make.
    shape
        Shape of the whole finer level.
    """
    return kernels.mode(block, _windows(block, box, shape))


def average(block: NDArray[Any], box: Box, shape: Sequence[int]) -> NDArray[Any]:
    """Mean of every cell, rounded half to even where the values are integers.

    Parameters
    ----------
    block, box, shape
        As for `halve`, with intensities.
    """
    windows = _windows(block, box, shape)
    cells = len(windows[0][0])
    result = np.empty([len(voxels) for voxels, _ in windows], block.dtype)
    for first in range(0, cells, _LAYERS_AT_ONCE):
        layers = slice(first, first + _LAYERS_AT_ONCE)
        voxels, overlaps = windows[0]
        result[layers] = _average(block, [(voxels[layers], overlaps[layers]), *windows[1:]])
    return result


def _average(
    block: NDArray[Any], windows: Sequence[tuple[NDArray[np.intp], NDArray[np.int64]]]
) -> NDArray[Any]:
    """Mean of some cells."""
    total = block
    for axis, (voxels, overlaps) in enumerate(windows):
        weights = np.expand_dims(overlaps / overlaps.sum(1, keepdims=True), _other_axes(axis, 3))
        total = (total.take(voxels, axis) * weights).sum(axis + 1)
    if block.dtype.kind in "ui":
        # Noise of the weights must not decide a half.
        total = np.rint(np.round(total, 6))
    return total.astype(block.dtype)


def downsampling(name: str) -> Callable[[NDArray[Any], Box, Sequence[int]], NDArray[Any]]:
    """Function that makes the next level of a volume: mean of a template, mode of labels."""
    return average if name == "template" else halve


def _windows(
    block: NDArray[Any], box: Box, shape: Sequence[int]
) -> list[tuple[NDArray[np.intp], NDArray[np.int64]]]:
    return [
        kernels.windows(range(part.stop - part.start), Fraction(factor), 0, count)
        for part, factor, count in zip(box, _factors(shape), block.shape, strict=True)
    ]


def _other_axes(axis: int, ndim: int) -> tuple[int, ...]:
    """Where to put new axes beside (cells, width) of one axis, once its voxels are taken."""
    return tuple(a for a in range(ndim + 1) if a not in (axis, axis + 1))
