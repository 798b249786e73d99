"""Statistics of an image over regions, in one pass over both."""

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dask.array
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from refspace import kernels
from refspace.blockwise.bounded import bounded
from refspace.blockwise.reduction import array_from_objects, reduce_images
from refspace.blockwise.sources import block_source, common_chunks, sole_labels
from refspace.kernels import Moments
from refspace.kernels.moments import COUNT, M2, MAX, MIN, SUM
from refspace.label_index import BlockLabels
from refspace.ops.align import Aligned
from refspace.ops.coverage import ImageExtent, covered_shares
from refspace.structure_tree import Regions
from refspace.types import BACKGROUND

# Rows of the table of `Moments` that each statistic needs, beside the counts: others are not kept.
STATISTICS: Mapping[str, tuple[int, ...]] = {
    "count": (),
    "sum": (SUM,),
    "mean": (SUM,),
    "std": (SUM, M2),
    "var": (SUM, M2),
    "min": (MIN,),
    "max": (MAX,),
}
# Voxels of a block that are measured at a time: their copies in double precision do not come from
# fresh memory, which takes a third of the time, and of slabs of hundreds of MB they would take four
# times as much.
_VOXELS_AT_ONCE = 2**19
# The outermost quantiles are the extremes themselves.
_OF_QUANTILES = (MIN, MAX)


@dataclass(frozen=True)
class Missing:
    """Values of an image that stand for none, as NaN does.

    Parameters
    ----------
    nodata
        A value that stands for none.
    step
        Difference of neighbouring values, where these are stored as scaled integers: of those, the
        one next to `nodata` is meant. 0 where it is meant exactly.
    valid_min
        Value below which all are none.
    """

    nodata: float | None = None
    step: float = 0.0
    valid_min: float | None = None

    def is_value(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        """Which values are some.

        Examples
        --------
        >>> Missing(nodata=-1, valid_min=-5).is_value(np.array([-9.0, -1.0, 0.0, 7.0]))
        array([False, False,  True,  True])
        """
        is_value: NDArray[np.bool_] = np.ones(values.shape, bool)
        if self.nodata is not None and self.step:
            is_value &= ~(np.abs(values - self.nodata) <= self.step / 2)
        elif self.nodata is not None:
            # As the voxels hold it: 0.1 is no number of single precision.
            nodata = values.dtype.type(self.nodata) if values.dtype.kind == "f" else self.nodata
            is_value &= values != nodata
        if self.valid_min is not None:
            is_value &= values >= self.valid_min
        return is_value


def aggregate(
    aligned: Aligned,
    regions: Regions,
    statistics: Sequence[str],
    extent: ImageExtent,
    *,
    quantiles: Sequence[float] = (),
    valid: xr.DataArray | None = None,
    missing: Missing | None = None,
    ddof: float = 0,
    block_labels: BlockLabels | None = None,
    measures: dask.array.Array | None = None,
) -> dict[str, tuple[tuple[str, ...], dask.array.Array]]:
    """Statistics of an image over regions.

    Parameters
    ----------
    aligned
        The image and the labels of its voxels.
    regions
        Which labels make up which region.
    statistics
        Names from `STATISTICS`.
    extent
        Where the image lies.
    quantiles
        Levels from 0 to 1, if quantiles are wanted.
    valid
        Which voxels of the image count, over its last dims at least; all if not given.
    missing
        Which values do not count, beside NaN.
    ddof
        What is taken from the count in the denominator of variances.
    block_labels
        Labels of each block of the labels, where they are known: those of no region are not read,
        neither is their part of the image.
    measures
        Rows of `totals.region_properties`, where the image is not everywhere.

    Returns
    -------
    dict
        Dims and values of each statistic, of ``quantiles`` and of ``covered``: lazy, ``structure``
        first, then the leading dims of the image.
    """
    fields = {field for name in statistics for field in STATISTICS[name]}
    if quantiles:
        fields.update(_OF_QUANTILES)
    levels = np.asarray(quantiles, np.float64)
    measure = functools.partial(
        _measure_block,
        fields=tuple(sorted(fields)),
        histogram=bool(quantiles),
        missing=missing,
    )
    finish = functools.partial(_pool_regions, quantile_levels=levels, dtype=aligned.image.dtype)
    pooled = _pool(aligned, valid, regions, measure, finish, block_labels)
    leading_dims = tuple(map(str, aligned.image.dims[:-3]))
    chunks = (len(regions),), *aligned.image.data.chunks[:-3]
    held = [each.data for each in (aligned.image, aligned.labels, valid) if each is not None]
    variables = {}
    for name in statistics:
        compute = functools.partial(_statistic, name=name, ddof=ddof)
        dtype = np.int64 if name == "count" else np.float64
        array = array_from_objects(pooled, compute, chunks, dtype)
        variables[name] = ("structure", *leading_dims), bounded(array, *held)
    if quantiles:
        array = array_from_objects(pooled, _quantiles, (*chunks, (len(levels),)), levels.dtype)
        dims = ("structure", *leading_dims, "quantile")
        variables["quantiles"] = dims, bounded(array, *held)
    share = functools.partial(covered_shares, extent=extent)
    array = array_from_objects(pooled, share, chunks, np.float64, measures)
    variables["covered"] = ("structure", *leading_dims), bounded(array, *held)
    return variables


def _pool(
    aligned: Aligned,
    valid: xr.DataArray | None,
    regions: Regions,
    measure: Callable[..., Moments],
    finish: Callable[..., Any],
    block_labels: BlockLabels | None,
) -> dask.array.Array:
    """What all statistics of regions are made of: an object for each block of leading dims."""
    volumes = [each for each in (aligned.labels, aligned.image, valid) if each is not None]
    labels, *images = _cut_alike([volume.data for volume in volumes])
    sole = sole_labels(block_labels, labels.chunks, regions.structures)
    return reduce_images(
        "moments",
        # 0 is in no region, and neither are the blocks that count as such.
        {
            block_id: block_source(labels, block_id, sole)
            for block_id in np.ndindex(labels.numblocks)
            if sole[block_id] != BACKGROUND
        },
        labels,
        images,
        measure=measure,
        merge=kernels.merge,
        finish=finish,
        shared=regions.without_names(),
    )


def _cut_alike(arrays: Sequence[dask.array.Array]) -> list[dask.array.Array]:
    """Labels, image and which voxels count: each block of one within one block of the others."""
    chunks = (*arrays[1].chunks[:-3], *common_chunks(arrays))
    return [array.rechunk(chunks[-array.ndim :]) for array in arrays]


# ----- tasks


def _measure_block(
    labels: NDArray[Any],
    image: NDArray[Any],
    valid: NDArray[Any] | None = None,
    *,
    fields: tuple[int, ...],
    histogram: bool,
    missing: Missing | None,
) -> Moments:
    """Moments of one block; leading dims become one."""
    flat = image.reshape(-1, *image.shape[-3:])
    # NaN is neither 0 nor equal to itself.
    counted = None if valid is None else ((valid != 0) & (valid == valid))
    if counted is not None:
        counted = counted.reshape(-1, *counted.shape[-3:])
    if missing is not None:
        is_value = missing.is_value(flat)
        counted = is_value if counted is None else counted & is_value
    parts = [
        kernels.measure_moments(
            labels[part],
            flat[:, *part],
            None if counted is None else counted[:, *part],
            fields=fields,
            histogram=histogram,
        )
        for part in _parts(labels, flat[0])
    ]
    return parts[0] if len(parts) == 1 else kernels.merge(parts)


def _parts(block: NDArray[Any], image: NDArray[Any]) -> Iterator[tuple[slice, ...]]:
    """Parts of a block that are measured one after the other: what is computed of one is small.

    Each is of voxels that are next to each other in memory, as far as they are in the block.
    """
    room, sides = _VOXELS_AT_ONCE, [*block.shape]
    # Labels of a block that are all the same have no order in memory.
    strides = block.strides if any(block.strides) else image.strides
    for axis in sorted(range(block.ndim), key=lambda axis: abs(strides[axis])):
        sides[axis] = max(1, min(block.shape[axis], room))
        room //= max(1, block.shape[axis])
    starts = (range(0, n, side) for n, side in zip(block.shape, sides, strict=True))
    for corner in itertools.product(*starts):
        yield tuple(slice(a, a + side) for a, side in zip(corner, sides, strict=True))


def _pool_regions(
    moments: Moments | None,
    regions: Regions,
    images: int,
    *,
    quantile_levels: NDArray[np.float64],
    dtype: np.dtype[Any],
) -> tuple[Moments, NDArray[np.float64]]:
    """Moments of regions, and quantiles of shape (images, regions, levels)."""
    moments = kernels.empty_moments(images) if moments is None else moments
    members, indptr = regions.members, regions.indptr
    pooled = moments.reduce(kernels.find(members, moments.labels.astype(np.int64)), indptr)
    quantiles = np.full((images, len(regions), len(quantile_levels)), np.nan)
    for image, histogram in enumerate(moments.histograms if len(quantile_levels) else ()):
        bins, counts = histogram.count_bins(map(regions.structures_in, range(len(regions))))
        for region_index, counts_of_region in enumerate(counts):
            low, high = pooled.table[[MIN, MAX], image, region_index].tolist()
            quantiles[image, region_index] = kernels.histogram_quantiles(
                bins, counts_of_region, quantile_levels, (low, high), dtype
            )
    return pooled, quantiles


def _statistic(
    pooled: tuple[Moments, Any], shape: tuple[int, ...], *, name: str, ddof: float
) -> NDArray[Any]:
    """A statistic of regions and images; NaN where there are too few values for it."""
    moments = pooled[0]
    count, squares, low, high = moments.table[[COUNT, M2, MIN, MAX]]
    values: NDArray[Any]
    if name == "count":
        values = count.astype(np.int64)
    elif name == "sum":
        values = moments.sums
    elif name == "mean":
        values = np.where(count > 0, moments.means, np.nan)
    elif name in ("min", "max"):
        values = np.where(count > 0, low if name == "min" else high, np.nan)
    else:
        values = _divide(squares, count - ddof)
        values = np.sqrt(values) if name == "std" else values
    return values.T.reshape(-1, *shape)


def _divide(values: NDArray[np.float64], count: NDArray[np.float64]) -> NDArray[np.float64]:
    """Quotient; NaN where the count is not positive."""
    nothing = np.full(count.shape, np.nan)
    quotient: NDArray[np.float64] = np.divide(values, count, out=nothing, where=count > 0)
    return quotient


def _quantiles(pooled: tuple[Any, NDArray[np.float64]], shape: tuple[int, ...]) -> NDArray[Any]:
    """Quantiles, the regions first and the levels last."""
    values = pooled[1]
    return np.moveaxis(values, 1, 0).reshape(values.shape[1], *shape, values.shape[2])
