"""How much of each region an image covers, and whether image and regions lie at the same place."""

import functools
import itertools
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import dask.array
import numpy as np
from dask.delayed import Delayed
from numpy.typing import NDArray

from refspace.blockwise.reduction import array_from_value
from refspace.grid import Grid, Triple
from refspace.kernels.moments import COUNT, VOXELS, Moments
from refspace.ops.totals import region_properties
from refspace.structure_tree import Regions

# Share of the regions' box, below which an image is told to lie elsewhere.
_ENOUGH = 0.5
# Rounding: µm by which edges may differ that are computed in different ways, and shares too.
_NOISE = 1e-6


@dataclass(frozen=True)
class ImageExtent:
    """Where an image lies on the grid of an annotation.

    Parameters
    ----------
    dims
        Axes of the annotation.
    low, high
        Outer edges of the image along each, in µm.
    voxel_ratio
        Volume of a voxel of the image, in voxels of the annotation.
    is_everywhere
        Whether each voxel of the annotation holds the centre of one of the image at least.
    shares
        Rows of an affine from positions to shares of the image along its own axes, from 0 to 1;
        None where these are those of the annotation. Of an oblique image, the edges are those of
        the box around it.
    """

    dims: tuple[str, ...]
    low: Triple
    high: Triple
    voxel_ratio: float
    is_everywhere: bool
    shares: tuple[tuple[float, ...], ...] | None = None

    @classmethod
    def from_grids(cls, grid: Grid, own: Grid, index: Sequence[NDArray[np.intp]]) -> "ImageExtent":
        """Extent of an image.

        Parameters
        ----------
        grid, own
            Grids of the annotation and of the image, along the same axes.
        index
            Along each axis, which voxels of the annotation hold centres of the image's.
        """
        low, high = zip(*(own.edges(dim) for dim in grid.dims), strict=True)
        ratio = math.prod(own.spacing) / math.prod(grid.spacing)
        is_hit = [np.unique(i).size == n for i, n in zip(index, grid.shape, strict=True)]
        return cls(
            grid.dims,
            (low[0], low[1], low[2]),
            (high[0], high[1], high[2]),
            # Spacings of the same grid may differ in their last digit.
            1.0 if math.isclose(ratio, 1, rel_tol=1e-6) else ratio,
            all(is_hit),
        )

    def holds(self, boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which of some boxes lie within the image.

        Parameters
        ----------
        boxes
            Lower edge, upper edge and anything else along each axis, over the regions.
        """
        if self.shares is not None:
            return self._holds_corners(boxes, np.array(self.shares))
        low, high = np.array(self.low)[:, np.newaxis], np.array(self.high)[:, np.newaxis]
        edges = (boxes[0::3] >= low - _NOISE, boxes[1::3] <= high + _NOISE)
        inside: NDArray[np.bool_] = np.all(edges, axis=(0, 1))
        return inside

    def _holds_corners(
        self, boxes: NDArray[np.float64], affine: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        """Which boxes have all of their corners within the image, whose axes are oblique."""
        inside = np.ones(boxes.shape[1], bool)
        for ends in itertools.product((0, 1), repeat=3):
            corner = np.stack([boxes[3 * axis + end] for axis, end in enumerate(ends)])
            shares = affine[:, :3] @ corner + affine[:, 3:]
            inside &= ((shares >= -_NOISE) & (shares <= 1 + _NOISE)).all(axis=0)
        return inside

    def note(self, measures: NDArray[np.float64]) -> str:
        """What to tell where the image covers less than half of the regions' box; else nothing.

        Parameters
        ----------
        measures
            Rows of `totals.region_properties`.

        Examples
        --------
        >>> extent = ImageExtent(("ap", "dv", "ml"), (0, 0, 0), (50, 50, 50), 1, False)
        >>> box = [[9], [1], *[[40], [90], [65]] * 3]
        >>> extent.note(np.array(box, float))  # doctest: +ELLIPSIS
        'the image covers 1% of the box of the regions: it lies at ap 0 to 50, dv 0 to 50, ml ...
        """
        boxes = measures[2:, measures[0] > 0]
        if not boxes.size:
            return ""
        low, high = boxes[0::3].min(axis=1), boxes[1::3].max(axis=1)
        common = np.minimum(high, self.high) - np.maximum(low, self.low)
        share = float(np.prod(common.clip(0) / (high - low)))
        if share > _ENOUGH - _NOISE:
            return ""
        return (
            f"the image covers {share:.0%} of the box of the regions: it lies at "
            f"{self._box(self.low, self.high)}, they at {self._box(low.tolist(), high.tolist())}"
        )

    def _box(self, low: Sequence[float], high: Sequence[float]) -> str:
        sides = zip(self.dims, low, high, strict=True)
        return ", ".join(f"{dim} {a:g} to {b:g}" for dim, a, b in sides) + " µm"


# ----- tasks


def measured_regions(totals: Delayed, regions: Regions, grid: Grid) -> dask.array.Array:
    """Rows of `totals.region_properties`, lazy.

    Parameters
    ----------
    totals
        Totals of each label.
    regions
        The regions.
    grid
        Where the voxels are.
    """
    measure = functools.partial(region_properties, regions=regions.without_names(), grid=grid)
    return array_from_value(totals, measure, (11, len(regions)), np.float64)


def overlap_note(
    totals: Delayed, regions: Regions, grid: Grid, extent: ImageExtent
) -> dask.array.Array:
    """What to tell of the place of an image, as a lazy text: nothing where all is well.

    Parameters
    ----------
    totals, regions, grid
        As for `measured_regions`.
    extent
        Where the image is.
    """
    note = functools.partial(_note, regions=regions.without_names(), grid=grid, extent=extent)
    return array_from_value(totals, note, (), object)


def _note(
    totals: NDArray[np.int64], *, regions: Regions, grid: Grid, extent: ImageExtent
) -> NDArray[np.object_]:
    return np.array(extent.note(region_properties(totals, regions, grid)), object)


def with_warning(covered: dask.array.Array, note: dask.array.Array) -> dask.array.Array:
    """Array that warns of what a lazy text says, when it is computed.

    Parameters
    ----------
    covered
        The array.
    note
        The text, as `overlap_note` makes it.
    """
    axes, meta = tuple(range(covered.ndim)), np.empty((0,) * covered.ndim)
    told: dask.array.Array = dask.array.blockwise(
        _warn_of, axes, covered, axes, note, (), meta=meta, align_arrays=False
    )
    return told


def _warn_of(covered: NDArray[np.float64], note: NDArray[np.object_]) -> NDArray[np.float64]:
    if text := note.item():
        warnings.warn(
            f"{text}; give its coordinates in the same space, or the bare array where it is on "
            "the grid of the annotation",
            stacklevel=2,
        )
    return covered


def covered_shares(
    pooled: tuple[Moments, object],
    shape: tuple[int, ...],
    measures: NDArray[np.float64] | None = None,
    *,
    extent: ImageExtent,
) -> NDArray[np.float64]:
    """Part of each region that voxels with a value cover; NaN of a region without voxels.

    Parameters
    ----------
    pooled
        Moments of the regions, first.
    shape
        Sizes of the image's leading axes.
    measures
        Rows of `totals.region_properties`. Not needed where the image is everywhere: then it has
        voxels in all of each region.
    extent
        Where the image is.
    """
    count, voxels = pooled[0].table[[COUNT, VOXELS]]
    whole, is_empty = voxels, voxels == 0
    if measures is not None:
        # A region within the image is all of the voxels that have their centres in it. Of one that
        # reaches beyond, the image has fewer voxels than would fill it.
        filling = measures[0] / extent.voxel_ratio
        whole = np.where(extent.holds(measures[2:]), voxels, np.maximum(voxels, filling))
        is_empty = np.broadcast_to(measures[0] == 0, voxels.shape)
    shares = np.divide(count, whole, out=np.zeros(count.shape), where=whole > 0)
    shares[is_empty] = np.nan
    result: NDArray[np.float64] = np.minimum(shares, 1).T.reshape(-1, *shape)
    return result
