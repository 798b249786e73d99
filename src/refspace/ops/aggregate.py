"""Statistics of an image over regions, in one pass over both."""

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import dask.array
import numpy as np
import xarray as xr
from dask.highlevelgraph import HighLevelGraph
from dask.tokenize import tokenize
from numpy.typing import NDArray

from refspace import kernels
from refspace.kernels import Moments
from refspace.kernels.moments import M2, MAX, MIN, SUM
from refspace.label_index import OUT, BlockLabels
from refspace.ops.align import Aligned, common_chunks, holding
from refspace.structure_tree import Regions

# Rows of the table of `Moments` that each statistic is made of, beside the counts.
STATISTICS: Mapping[str, tuple[int, ...]] = {
    "count": (),
    "sum": (SUM,),
    "mean": (SUM,),
    "std": (SUM, M2),
    "var": (SUM, M2),
    "min": (MIN,),
    "max": (MAX,),
}
_OF_QUANTILES = (MIN, MAX)
# Blocks whose moments are put together at a time, so that few are in memory.
_TOGETHER = 8


def aggregate(
    aligned: Aligned,
    regions: Regions,
    statistics: Sequence[str],
    *,
    quantiles: Sequence[float] = (),
    valid: xr.DataArray | None = None,
    ddof: float = 0,
    labels: BlockLabels | None = None,
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
    quantiles
        Shares from 0 to 1, if quantiles are wanted.
    valid
        Which voxels of the image count, over its last dims at least; all if not given.
    ddof
        What is taken from the count in the denominator of variances.
    labels
        Labels of each block of the labels, where they are known: those of no region are not read,
        neither is their part of the image.

    Returns
    -------
    dict
        Dims and values of each statistic, and of ``quantiles``: lazy, ``structure`` first, then the
        leading dims of the image.
    """
    before = tuple(map(str, aligned.image.dims[:-3]))
    fields = {field for name in statistics for field in STATISTICS[name]}
    kernel = functools.partial(
        _moments_of_block,
        fields=tuple(sorted(fields.union(_OF_QUANTILES if quantiles else ()))),
        histogram=bool(quantiles),
    )
    shares = np.asarray(quantiles, np.float64)
    pool = functools.partial(_pooled, quantiles=shares, dtype=aligned.image.dtype)
    table = _table(aligned, valid, regions, kernel, pool, labels)
    chunks, count = aligned.image.data.chunks[:-3], len(regions)
    variables = {}
    for name in statistics:
        read = functools.partial(_statistic, name=name, ddof=ddof)
        dtype = np.dtype(np.int64 if name == "count" else np.float64)
        array = _variable(table, read, ((count,), *chunks), dtype)
        variables[name] = ("structure", *before), array
    if quantiles:
        array = _variable(table, _quantiles, ((count,), *chunks, (len(shares),)), shares.dtype)
        variables["quantiles"] = ("structure", *before, "quantile"), array
    return variables


# ----- the graph


def _table(
    aligned: Aligned,
    valid: xr.DataArray | None,
    regions: Regions,
    kernel: functools.partial[Any],
    pool: functools.partial[Any],
    known: BlockLabels | None,
) -> dask.array.Array:
    """What statistics of all regions are made of: an object for each block of leading dims."""
    arrays = _cut(
        [each.data for each in (aligned.labels, aligned.image, valid) if each is not None]
    )
    labels, image = arrays[:2]
    name = f"moments-{tokenize(arrays, regions.members, regions.indptr, kernel, pool, known)}"
    sources = _label_sources(labels, regions, known)
    # Once for all blocks.
    tasks: dict[Any, Any] = {f"{name}-regions": (_regions, regions.members, regions.indptr)}
    for lead in np.ndindex(image.numblocks[:-3]):
        level = []
        for number, source in sources.items():
            blocks = [
                (a.name, *(lead if a.ndim == image.ndim else ()), *number) for a in arrays[1:]
            ]
            tasks[f"{name}-block", *lead, *number] = (kernel, source, *blocks)
            level.append((f"{name}-block", *lead, *number))
        images = math.prod(c[i] for c, i in zip(image.chunks, lead, strict=False))
        merged = _merged(tasks, (f"{name}-merge", *lead), level)
        tasks[name, *lead] = (pool, merged, f"{name}-regions", images)
    graph = HighLevelGraph.from_collections(name, tasks, dependencies=arrays)
    ones = tuple((1,) * count for count in image.numblocks[:-3])
    return dask.array.Array(graph, name, ones, dtype=np.dtype(object))


def _cut(arrays: Sequence[dask.array.Array]) -> list[dask.array.Array]:
    """Labels, image and what counts of it: each block of one within one block of the others."""
    chunks = (*arrays[1].chunks[:-3], *common_chunks(arrays))
    return [array.rechunk(chunks[-array.ndim :]) for array in arrays]


def _label_sources(
    labels: dask.array.Array, regions: Regions, known: BlockLabels | None
) -> dict[tuple[int, ...], Any]:
    """Where the labels come from of each block that holds any of a region, as far as is known."""
    numbers = np.ndindex(labels.numblocks)
    if known is None:
        return {number: (labels.name, *number) for number in numbers}
    matters = known.verdicts(regions.structures) != OUT
    within = holding(known.chunks, labels.chunks)
    sources: dict[tuple[int, ...], Any] = {}
    for number in numbers:
        there = tuple(int(axis[i]) for axis, i in zip(within, number, strict=True))
        if not matters[there]:
            continue
        sources[number] = (labels.name, *number)
        if (found := known.in_block(there)).size == 1:
            shape = tuple(sizes[i] for sizes, i in zip(labels.chunks, number, strict=True))
            sources[number] = (np.broadcast_to, found[0], shape)
    return sources


def _merged(tasks: dict[Any, Any], name: tuple[Any, ...], level: list[Any]) -> Any:
    """Key of the moments of all blocks, put together a few at a time; None of no blocks."""
    depth = 0
    while len(level) > 1:
        groups = [level[i : i + _TOGETHER] for i in range(0, len(level), _TOGETHER)]
        level = [(*name, depth, number) for number in range(len(groups))]
        tasks |= {key: (kernels.merge, group) for key, group in zip(level, groups, strict=True)}
        depth += 1
    return level[0] if level else None


def _variable(
    table: dask.array.Array,
    read: Any,
    chunks: tuple[tuple[int, ...], ...],
    dtype: np.dtype[Any],
) -> dask.array.Array:
    """A statistic: regions along the first axis, then the leading dims, and what comes after."""
    name = f"statistic-{tokenize(table.name, read)}"
    tasks = {}
    for lead in np.ndindex(table.numblocks):
        shape = tuple(c[i] for c, i in zip(chunks[1:], lead, strict=False))
        after = (0,) * (len(chunks) - 1 - len(lead))
        tasks[name, 0, *lead, *after] = (read, (table.name, *lead), shape)
    graph = HighLevelGraph.from_collections(name, tasks, dependencies=[table])
    return dask.array.Array(graph, name, chunks, dtype=dtype)


# ----- what its tasks do


def _moments_of_block(
    labels: NDArray[Any],
    image: NDArray[Any],
    valid: NDArray[Any] | None = None,
    *,
    fields: tuple[int, ...],
    histogram: bool,
) -> Moments:
    """Moments of one block; leading dims become one."""
    flat = image.reshape(-1, *image.shape[-3:])
    # NaN is neither 0 nor equal to itself.
    counted = None if valid is None else ((valid != 0) & (valid == valid))
    if counted is not None:
        counted = counted.reshape(-1, *counted.shape[-3:])
    return kernels.measure_moments(labels, flat, counted, fields=fields, histogram=histogram)


def _regions(*arrays: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
    return arrays


def _pooled(
    parts: Moments | None,
    regions: tuple[NDArray[np.int64], NDArray[np.int64]],
    images: int,
    *,
    quantiles: NDArray[np.float64],
    dtype: np.dtype[Any],
) -> tuple[Moments, NDArray[np.float64]]:
    """Moments of regions, and quantiles of shape (images, regions, quantiles)."""
    parts = kernels.empty_moments(images) if parts is None else parts
    members, indptr = regions
    pooled = parts.reduce(kernels.find(members, parts.labels.astype(np.int64)), indptr)
    values = np.full((images, len(indptr) - 1, len(quantiles)), np.nan)
    for image, histogram in enumerate(parts.histograms if len(quantiles) else ()):
        for region, (start, stop) in enumerate(itertools.pairwise(indptr.tolist())):
            low, high = pooled.table[[MIN, MAX], image, region].tolist()
            counts = histogram.bin_counts(members[start:stop])
            values[image, region] = kernels.histogram_quantiles(
                counts, quantiles, (low, high), dtype
            )
    return pooled, values


def _statistic(
    pooled: tuple[Moments, Any], shape: tuple[int, ...], *, name: str, ddof: float
) -> NDArray[Any]:
    """A statistic of regions and images; NaN where there are too few values for it."""
    count, total, squares, low, high = pooled[0].table
    values: NDArray[Any]
    if name == "count":
        values = count.astype(np.int64)
    elif name == "sum":
        values = total
    elif name == "mean":
        values = _over(total, count)
    elif name in ("min", "max"):
        values = np.where(count > 0, low if name == "min" else high, np.nan)
    else:
        values = _over(squares, count - ddof)
        values = np.sqrt(values) if name == "std" else values
    return values.T.reshape(-1, *shape)


def _over(values: NDArray[np.float64], count: NDArray[np.float64]) -> NDArray[np.float64]:
    """Quotient; NaN where the count is not positive."""
    nothing = np.full(count.shape, np.nan)
    quotient: NDArray[np.float64] = np.divide(values, count, out=nothing, where=count > 0)
    return quotient


def _quantiles(pooled: tuple[Any, NDArray[np.float64]], shape: tuple[int, ...]) -> NDArray[Any]:
    values = pooled[1]
    return np.moveaxis(values, 1, 0).reshape(values.shape[1], *shape, values.shape[2])
