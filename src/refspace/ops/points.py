"""Points in a volume: which voxels hold them, and what these hold."""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dask.array
import numpy as np
import pandas as pd
import xarray as xr
from dask.base import is_dask_collection
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph
from dask.tokenize import tokenize
from numpy.typing import NDArray

from refspace import kernels
from refspace.blockwise.relabel import read_blocks
from refspace.errors import GridError
from refspace.grid import Grid
from refspace.label_index import BlockLabels
from refspace.ops.borders import voxels_task

# Of points that no voxel holds.
OUTSIDE, MISSING = -1, -2
# A code is a label, and above its bits the hemisphere.
LABEL_BITS = 32
# Points that are placed at a time: what is computed of them on the way stays in the cache. 10⁷
# points took 1.2 s; 1.7 s at 2**18.
_PIECE = 2**16
# Digits of a voxel to which positions are rounded, as `Grid.index` does.
_DIGITS = 9


# ----- what points may be


def axes_of(points: Any, dims: Sequence[str], columns: Sequence[Hashable] | None) -> Any:
    """Positions of points: a dask array with an axis of three at its end, or three arrays.

    Parameters
    ----------
    points
        An array of shape (n, 3), a DataArray, as `last_axis` makes it, or a table.
    dims
        Axes of the volume, in whose order the three are.
    columns
        Columns of a table that hold them; those called like the axes if not given.

    Raises
    ------
    GridError
        If the points are none.

    Examples
    --------
    >>> table = pd.DataFrame({"ml": [1.0, 2.0], "ap": [3.0, 4.0], "dv": [5.0, 6.0]})
    >>> [axis.tolist() for axis in axes_of(table, ("ap", "dv", "ml"), None)]
    [[3.0, 4.0], [5.0, 6.0], [1.0, 2.0]]
    """
    if is_table(points):
        names = _columns(points, dims, columns)
        if is_dask_collection(points):
            return points[names].astype(np.float64).to_dask_array()
        return [points[name].to_numpy(np.float64, na_value=np.nan) for name in names]
    if columns is not None:
        raise GridError(
            f"columns are {tuple(columns)}, but the points are a {type(points).__name__}; "
            "columns name those of a table"
        )
    array = points.data if isinstance(points, xr.DataArray) else points
    return array if isinstance(array, dask.array.Array) else np.moveaxis(array, -1, 0)


def is_table(points: Any) -> bool:
    """Whether points are a table of pandas, or of dask, which need not be installed in full."""
    # Asked of the type: a delayed object has any attribute.
    return isinstance(points, pd.DataFrame) or (
        is_dask_collection(points) and hasattr(type(points), "columns")
    )


def last_axis(points: Any, dims: Sequence[str]) -> xr.DataArray:
    """Points of an array as a DataArray, whose last dim has a position along each axis.

    Parameters
    ----------
    points
        NumPy or dask array of shape (n, 3); or a DataArray with a dim of length 3, whose labels
        are the names of the axes, in any order, or which has none and is in their order.
    dims
        Axes of the volume.

    Raises
    ------
    GridError
        If the points are none.

    Examples
    --------
    >>> labels = {"axis": ["ml", "ap", "dv"]}
    >>> turned = xr.DataArray([[1.0, 2], [3, 4], [5, 6]], labels, ("axis", "cell"))
    >>> last_axis(turned, ("ap", "dv", "ml")).values
    array([[3., 5., 1.],
           [4., 6., 2.]])
    """
    if isinstance(points, xr.DataArray):
        _check_numbers(points.dtype)
        dim = _dim_of_axes(points, dims)
        if dim in points.coords:
            points = points.sel({dim: list(dims)})
        turned: xr.DataArray = points.transpose(..., dim)
        return turned
    if isinstance(points, np.ma.MaskedArray):
        points = np.ma.filled(points.astype(np.float64), np.nan)
    array = points if isinstance(points, dask.array.Array) else _as_array(points)
    if array.ndim != 2 or array.shape[1] != len(dims):
        raise GridError(
            f"points are a {type(points).__name__} of shape {array.shape}; give an array of shape "
            f"(n, 3) in the order {', '.join(dims)}, a DataArray, or a table"
        )
    _check_numbers(array.dtype)
    return xr.DataArray(array, dims=("point", "axis"))


def _as_array(points: Any) -> NDArray[Any]:
    kind = type(points).__name__
    # Other tables convert too, but in the order of their columns, whatever these are called.
    if hasattr(type(points), "to_pandas"):
        raise GridError(f"points are a {kind}; give its to_pandas(), a table with the same columns")
    try:
        return np.asarray(points)
    except (TypeError, ValueError) as error:
        raise GridError(
            f"points are a {kind}, of which no array can be made ({error}); give an array of shape "
            "(n, 3), a DataArray, or a table"
        ) from error


def _dim_of_axes(points: xr.DataArray, dims: Sequence[str]) -> Hashable:
    """Dim that has a position along each axis."""
    threes = [dim for dim, count in points.sizes.items() if count == len(dims)]
    named = [d for d in threes if d in points.coords and {*points[d].values.tolist()} == {*dims}]
    found = named or [dim for dim in threes if dim not in points.coords]
    if len(found) != 1:
        raise GridError(
            f"points have dims {dict(points.sizes)}; give them one of length 3, which has the "
            f"labels {', '.join(dims)}"
        )
    return found[0]


def _columns(
    points: Any, dims: Sequence[str], columns: Sequence[Hashable] | None
) -> list[Hashable]:
    names = list(dims if columns is None else columns)
    given = list(points.columns)
    if len(names) != len(dims) or any(given.count(name) != 1 for name in names):
        raise GridError(
            f"the table has columns {', '.join(map(str, given)) or 'none'}, and points are wanted "
            f"of {', '.join(map(str, names))}; name the three columns of {', '.join(dims)}, each "
            "of which is there once: columns=('x', 'y', 'z')"
        )
    for name in names:
        _check_numbers(points[name].dtype)
    return names


def _check_numbers(dtype: Any) -> None:
    if dtype.kind not in "uif":
        raise GridError(f"points have dtype {dtype}; give positions in µm as real numbers")


# ----- which voxels hold them


@dataclass(frozen=True, eq=False)
class Placed:
    """Points in the order of the blocks that hold them.

    Parameters
    ----------
    order
        Which of the points given each is.
    offsets
        Place of the voxel of each within its block, in C order.
    ends
        Where the points of each block end, flat in C order; then those outside, then those that
        are missing.
    """

    order: NDArray[np.unsignedinteger[Any]]
    offsets: NDArray[np.unsignedinteger[Any]]
    ends: NDArray[np.int64]

    def of(self, block: int) -> slice:
        """Points of a block."""
        return slice(self.ends[block - 1] if block else 0, self.ends[block])


def place(axes: Sequence[NDArray[Any]], grid: Grid, chunks: Sequence[Sequence[int]]) -> Placed:
    """Sort points by the blocks that hold them.

    Parameters
    ----------
    axes
        Positions along each axis of the grid, in µm.
    grid
        Where the voxels are. The voxel that holds a point is that of `Grid.index`.
    chunks
        Sizes of the blocks along each axis.

    Examples
    --------
    >>> line = np.array([35.0, 5.0, 99.0, 15.0])
    >>> placed = place([line, 0 * line, 0 * line], Grid((4, 1, 1), (10, 10, 10)), ((2, 2), (1,), (1,)))
    >>> placed.order, placed.offsets, placed.ends
    (array([1, 3, 0, 2], dtype=uint8), array([0, 1, 1, 0], dtype=uint32), array([2, 3, 4, 4]))
    """  # noqa: E501
    flat = [axis.reshape(-1) for axis in axes]
    count, codes = flat[0].size, math.prod(map(len, chunks)) + 2
    tables = [_within(sizes) for sizes in chunks]
    # Of 16 bits, so that the stable sort is a radix sort.
    blocks = np.empty(count, np.min_scalar_type(codes - 1))
    largest = math.prod(max(sizes) for sizes in chunks)
    offsets = np.empty(count, np.promote_types(np.uint32, np.min_scalar_type(largest)))
    held = np.zeros(codes, np.int64)
    for start in range(0, count, _PIECE):
        piece = slice(start, start + _PIECE)
        blocks[piece], offsets[piece] = _place_piece([a[piece] for a in flat], grid, tables)
        held += np.bincount(blocks[piece], minlength=codes)
    order = np.argsort(blocks, kind="stable").astype(np.min_scalar_type(count))
    return Placed(order, offsets[order], np.cumsum(held))


def _within(sizes: Sequence[int]) -> NDArray[np.int64]:
    """For each voxel along an axis: number of its block, place in it, and size of it."""
    number = np.repeat(np.arange(len(sizes)), sizes)
    starts = np.concatenate(([0], np.cumsum(sizes)))
    return np.stack((number, np.arange(number.size) - starts[number], np.take(sizes, number)))


def _place_piece(
    axes: Sequence[NDArray[Any]], grid: Grid, tables: Sequence[NDArray[np.int64]]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Flat number of the block of each point, and its offset there."""
    block, offset = np.zeros((2, axes[0].size), np.int64)
    inside, finite = np.ones((2, axes[0].size), bool)
    count = 1
    for positions, origin, spacing, table in zip(
        axes, grid.origin, grid.spacing, tables, strict=True
    ):
        finite &= np.isfinite(positions)
        with np.errstate(over="ignore"):
            voxels = np.round((positions.astype(np.float64) - origin) / spacing, _DIGITS)
        there = (voxels >= 0) & (voxels < table.shape[1])
        inside &= there
        number, within, size = table[:, np.where(there, voxels, 0).astype(np.intp)]
        blocks = int(table[0, -1]) + 1
        block, offset, count = block * blocks + number, offset * size + within, count * blocks
    block[~inside], offset[~inside] = count, 0
    block[~finite] = count + 1
    return block, offset


# ----- what these voxels hold


@dataclass(frozen=True, eq=False)
class Lookup:
    """What is asked of the voxels that hold points: a code for each.

    Dask does not look into it: where the points themselves are lazy, a task looks up those of a
    partition, once it has them.

    Parameters
    ----------
    grid
        Where the voxels are.
    data
        Labels.
    labels
        Labels of each block, where they are known.
    table
        Sorted labels, and the code of each; any other has the code 0. A label is its own code if
        not given.
    sides
        Hemisphere of each voxel, if it is to be part of the code; chunked like the labels.
    """

    grid: Grid
    data: dask.array.Array
    labels: BlockLabels | None = None
    table: NDArray[np.int64] | None = None
    sides: dask.array.Array | None = None

    def of(self, points: Any) -> dask.array.Array:
        """Codes of points, as `axes_of` gives them; `OUTSIDE` or `MISSING` where no voxel is.

        Examples
        --------
        >>> data = dask.array.from_array(np.array([[[7, 0, 9]]], "u4"))
        >>> lookup = Lookup(Grid((1, 1, 3), (10, 10, 10)), data)
        >>> lookup.of(np.array([[5.0, 5, 5], [5, 5, 5], [29, np.nan, 31]])).compute()
        array([ 9, -2, -1])
        """
        if isinstance(points, dask.array.Array):
            return self._of_lazy(points)
        return self._of_placed(place(points, self.grid, self.data.chunks), points[0].shape)

    @property
    def shared(self) -> Delayed:
        """The look-up as a task, on which those of all partitions depend."""
        name = f"lookup-{tokenize(self)}"
        return Delayed(name, {name: self})

    def _of_lazy(self, points: dask.array.Array) -> dask.array.Array:
        axis = points.ndim - 1
        codes: dask.array.Array = points.rechunk({axis: -1}).map_blocks(
            _codes_of_partition,
            self.shared,
            drop_axis=axis,
            dtype=np.int64,
            meta=np.empty((0,) * axis, np.int64),
        )
        return codes

    def _of_placed(self, placed: Placed, shape: tuple[int, ...]) -> dask.array.Array:
        """Codes of points in memory: a task for each block that holds any, and one for all."""
        name = f"points-{tokenize(self, placed.order, placed.offsets, placed.ends, shape)}"
        tasks: dict[Any, Any] = {f"{name}-table": self.table}
        numbers = np.flatnonzero(np.diff(placed.ends[:-2], prepend=0)).tolist()
        alone = self._alone()
        for flat in numbers:
            number = tuple(map(int, np.unravel_index(flat, self.data.numblocks)))
            voxels = voxels_task(self.data, number, alone)
            side = None if self.sides is None else (self.sides.name, *number)
            offsets = placed.offsets[placed.of(flat)]
            tasks[f"{name}-block", flat] = (_codes_at, offsets, voxels, side, f"{name}-table")
        parts = [(f"{name}-block", flat) for flat in numbers]
        key = (name, *(0,) * len(shape))
        tasks[key] = (_in_order, placed.order, placed.ends[[*numbers, -2, -1]], parts, shape)
        sources = [self.data] if self.sides is None else [self.data, self.sides]
        graph = HighLevelGraph.from_collections(name, tasks, dependencies=sources)
        chunks = tuple((count,) for count in shape)
        return dask.array.Array(graph, name, chunks, dtype=np.dtype(np.int64))

    def _alone(self) -> NDArray[np.int64]:
        """Label that tells the code of all voxels of a block, -1 where it must be read."""
        if self.labels is None:
            return np.full(self.data.numblocks, -1)
        labels = self.labels.labels.astype(np.int64)
        codes = labels if self.table is None else _translated(labels, self.table)
        first = labels[self.labels.indptr[:-1]].reshape(self.labels.shape)
        return np.where(read_blocks(self.labels, codes), -1, first)


def _codes_of_partition(points: NDArray[Any], lookup: Lookup) -> NDArray[np.int64]:
    codes: NDArray[np.int64] = lookup.of(np.moveaxis(points, -1, 0)).compute(
        scheduler="synchronous"
    )
    return codes


def codes_of_table(
    points: pd.DataFrame,
    lookup: Lookup,
    columns: Sequence[Hashable] | None,
    attrs: Mapping[str, Any],
    scheduler: str | None = None,
) -> pd.Series:
    """Codes of the points of a table in memory, with its index."""
    codes = lookup.of(axes_of(points, lookup.grid.dims, columns)).compute(scheduler=scheduler)
    series = pd.Series(codes, points.index, name="structure")
    series.attrs.update(attrs)
    return series


def _codes_at(
    offsets: NDArray[Any],
    block: NDArray[Any],
    sides: NDArray[Any] | None,
    table: NDArray[np.int64] | None,
) -> NDArray[Any]:
    """Codes of some voxels of a block."""
    places = np.unravel_index(offsets, block.shape)
    codes = block[places]
    if table is not None:
        codes = _translated(codes, table)
    if sides is None:
        return codes
    return codes.astype(np.int64) | sides[places].astype(np.int64) << LABEL_BITS


def _translated(labels: NDArray[Any], table: NDArray[np.int64]) -> NDArray[np.int64]:
    """Codes of labels, from those that have one."""
    ids, codes = table
    return np.append(codes, 0)[kernels.find(labels.astype(np.int64), ids)]


def _in_order(
    order: NDArray[Any],
    ends: NDArray[np.int64],
    parts: Sequence[NDArray[np.int64]],
    shape: tuple[int, ...],
) -> NDArray[np.int64]:
    """Codes of all points, in the order in which these were given."""
    codes, start = np.empty(order.size, np.int64), 0
    for part, end in zip((*parts, np.array(OUTSIDE), np.array(MISSING)), ends, strict=True):
        codes[order[start:end]] = part
        start = end
    return codes.reshape(shape)
