"""Moments of the values in each label: count, sum, squared deviations, minimum and maximum."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refspace.kernels.histograms import Histogram, build_histogram, merge_histograms
from refspace.kernels.run_lengths import Labels, run_lengths

# Rows of the table of moments.
COUNT, HIGH, SUM, RESIDUAL, M2, MIN, MAX, VOXELS = range(8)
# For each row: the function that combines two values, and its neutral element.
_REDUCTIONS = (
    (np.add, 0.0),
    (np.add, 0.0),
    (np.add, 0.0),
    (np.add, 0.0),
    (np.add, 0.0),
    (np.minimum, np.inf),
    (np.maximum, -np.inf),
    (np.add, 0.0),
)
# What `HIGH` counts: sums of integers are kept in two floats, of which each is exact.
_HIGH_UNIT = 2.0**32
# Integers of 16 bits of which the sum of squares is below 2**62.
_MOST_SQUARES = 2**30


@dataclass(frozen=True)
class Moments:
    """Moments of the values of several images in each label.

    Parameters
    ----------
    labels
        The labels, sorted.
    table
        Floats of shape (8, images, labels): `COUNT`, the number of values; `SUM`, their sum, to
        which `HIGH` times 2**32 is added; `RESIDUAL`, the sum of their deviations from the mean as
        it is rounded; `M2`, that of the squared deviations from the true mean; `MIN` and `MAX`, the
        smallest and the largest, infinite without values; `VOXELS`, the number of voxels, also
        those without a value.
    histograms
        Histogram of the values of each image; empty where no quantiles are wanted.

    Notes
    -----
    Parents are computed exactly, by merging their children's moments. `M2` is summed from
    deviations from the mean, not as the difference of two large sums (Σx² - (Σx)²/n), which cancels
    all digits where the mean is large against the spread. The mean itself is rounded: the corrected
    two-pass algorithm takes what the deviations from it sum to, the residual r, and
    M2 = Σd² - r²/n. Parts merge by M2 = Σ (M2ᵢ + nᵢ (meanᵢ - mean)²), where means are differences
    from rounded ones, so that errors are relative to the spread of the values, wherever they are.
    Both are of Chan, Golub and LeVeque (1983, The American Statistician 37:242-247).

    Sums of integers are exact as long as they are below 2**85. Those of floats are summed pairwise,
    in double precision.
    """

    labels: NDArray[Any]
    table: NDArray[np.float64]
    histograms: tuple[Histogram, ...] = ()

    def reduce(self, positions: NDArray[np.intp], indptr: NDArray[np.integer[Any]]) -> "Moments":
        """Moments of groups of labels, without histograms.

        Parameters
        ----------
        positions
            Positions of the members of each group among the labels; the number of labels for a
            member that has no values.
        indptr
            Where the members of each group begin in `positions`, and the end.
        """
        # One empty column more: for members without values, and because reduceat refuses a group
        # that begins at the end.
        nothing = np.array([empty for _, empty in _REDUCTIONS])[:, np.newaxis, np.newaxis]
        shape = (*self.table.shape[:2], 1)
        table = np.concatenate((self.table, np.broadcast_to(nothing, shape)), axis=-1)
        table = table[..., np.append(positions, -1)]
        sizes = np.diff(indptr)
        groups = np.arange(sizes.size)
        pooled = np.empty((*self.table.shape[:2], groups.size))

        def pool(row: int) -> None:
            ufunc, empty = _REDUCTIONS[row]
            pooled[row] = ufunc.reduceat(table[row], indptr[:-1], axis=-1)
            # For an empty group reduceat returns the member after it.
            pooled[row][:, sizes == 0] = empty

        # inf - inf is NaN, and what is too large for a float is inf: no reason to warn.
        with np.errstate(invalid="ignore", over="ignore"):
            for row in (COUNT, HIGH, SUM, MIN, MAX, VOXELS):
                pool(row)
            _carry(pooled)
            # From the rounded mean of a group, first to that of each member, then to the true ones.
            count, steps = table[COUNT, :, :-1], _means(table)[:, :-1]
            steps -= np.repeat(_means(pooled), sizes, axis=-1)
            distances = steps + _divide(table[RESIDUAL], table[COUNT])[:, :-1]
            table[RESIDUAL, :, :-1] += count * steps
            pool(RESIDUAL)
            distances -= np.repeat(_divide(pooled[RESIDUAL], pooled[COUNT]), sizes, axis=-1)
            table[M2, :, :-1] += count * distances**2
            pool(M2)
        return Moments(groups, pooled)

    @property
    def sums(self) -> NDArray[np.float64]:
        """Sum of the values of each image in each label."""
        return _sums(self.table)

    @property
    def means(self) -> NDArray[np.float64]:
        """Mean of the values of each image in each label; 0 without values."""
        return _means(self.table)


def measure_moments(
    block: Labels,
    values: NDArray[Any],
    valid: NDArray[np.bool_] | None = None,
    *,
    fields: Collection[int] = (SUM, M2, MIN, MAX),
    histogram: bool = False,
) -> Moments:
    """Measure the values in each label of a block, without label 0, which is outside.

    Parameters
    ----------
    block
        Labels, of any shape.
    values
        Real numbers, of the block's shape behind one more axis, that of the images. NaN is no
        value.
    valid
        Which values count: a mask of the same shape, or of one image for all. By default all.
    fields
        Rows of the table to compute beside `COUNT` and `VOXELS`. Each costs a pass over the
        block, and `M2` needs `SUM`.
    histogram
        Whether to compute histograms too.

    Examples
    --------
    >>> block = np.array([[7, 7, 7], [7, 0, 9]], "u4")
    >>> parts = measure_moments(block, np.array([[[1, 2, np.nan], [6, 50, 4]]]))
    >>> parts.labels, parts.table[[COUNT, SUM], 0]
    (array([7, 9], dtype=uint32), array([[3., 1.],
           [9., 4.]]))
    """
    if block.flags.f_contiguous and not block.flags.c_contiguous:
        # Runs follow memory: the axes of space are reversed, that of the images stays first.
        block, values = block.T, values.transpose(0, *range(values.ndim)[:0:-1])
        valid = None if valid is None else valid.transpose(0, *range(valid.ndim)[:0:-1])
    run_labels, lengths = run_lengths(block)
    labels = np.unique(run_labels)
    codes = np.searchsorted(labels, run_labels)
    groups = _RunsByLabel(codes, lengths, labels.size)
    table = np.empty((len(_REDUCTIONS), len(values), labels.size))
    histograms = []
    for i, image in enumerate(values):
        image = image.ravel()
        counted = _valid(image, None if valid is None else valid[i % len(valid)].ravel())
        table[:, i] = _rows(groups, image, counted, fields)
        if histogram:
            histograms.append(build_histogram(groups.voxel_codes(), image, counted))
    inside = labels != 0
    by_label = tuple(part.relabelled(labels) for part in histograms)
    return Moments(labels[inside], table[..., inside], by_label)


def merge(parts: Sequence[Moments]) -> Moments:
    """Merge the moments of several blocks.

    Examples
    --------
    >>> blocks = [np.array([7, 7], "u4"), np.array([9, 7], "u4")]
    >>> both = merge([measure_moments(block, np.array([[1.0, 3.0]])) for block in blocks])
    >>> both.labels, both.table[[COUNT, SUM], 0]
    (array([7, 9], dtype=uint32), array([[3., 1.],
           [7., 1.]]))
    """
    labels = np.concatenate([part.labels for part in parts])
    order = np.argsort(labels, kind="stable")
    unique, first = np.unique(labels[order], return_index=True)
    concatenated = Moments(labels, np.concatenate([part.table for part in parts], axis=-1))
    pooled = concatenated.reduce(order, np.append(first, labels.size))
    images = zip(*(part.histograms for part in parts), strict=True)
    return Moments(unique, pooled.table, tuple(map(merge_histograms, images)))


def empty_moments(images: int) -> Moments:
    """Moments of some images in a block without labels."""
    nothing = Histogram(np.empty(0, np.int64), np.empty(0, np.int64))
    return Moments(
        np.empty(0, np.int64), np.empty((len(_REDUCTIONS), images, 0)), (nothing,) * images
    )


class _RunsByLabel:
    """Runs of equal labels, grouped by label: reduces values per run or voxel to one per label.

    Parameters
    ----------
    codes
        Position of the label of each run among the labels.
    lengths
        Voxels of each run.
    size
        Number of labels.
    """

    def __init__(self, codes: NDArray[np.intp], lengths: NDArray[np.intp], size: int) -> None:
        self.codes, self.lengths, self.size = codes, lengths, size
        self.starts = np.cumsum(lengths) - lengths
        # NumPy sorts integers of up to 16 bits by radix, in linear time: hence small codes.
        self._order = np.argsort(codes.astype(np.min_scalar_type(size)), kind="stable")
        self._first = np.searchsorted(codes[self._order], np.arange(size))

    def reduce_runs(self, ufunc: np.ufunc, per_run: NDArray[Any]) -> NDArray[Any]:
        """Reduce values per run to one per label."""
        reduced: NDArray[Any] = ufunc.reduceat(per_run[self._order], self._first)
        return reduced

    def reduce_voxels(self, ufunc: np.ufunc, per_voxel: NDArray[Any]) -> NDArray[Any]:
        """Reduce values per voxel to one per label.

        First within runs, where they are next to each other in memory; only runs are sorted.
        """
        return self.reduce_runs(ufunc, ufunc.reduceat(per_voxel, self.starts))

    def spread(self, per_label: NDArray[Any]) -> NDArray[Any]:
        """Repeat a value per label for each of its voxels."""
        return np.repeat(per_label[self.codes], self.lengths)

    def voxel_codes(self) -> NDArray[Any]:
        """Position of the label of each voxel among the labels."""
        return np.repeat(self.codes, self.lengths)


def _rows(
    groups: _RunsByLabel,
    image: NDArray[Any],
    valid: NDArray[np.bool_] | None,
    fields: Collection[int],
) -> NDArray[np.float64]:
    """Rows of the table of `Moments` for one image; those not wanted are neutral elements."""
    rows = np.array([[empty] * groups.size for _, empty in _REDUCTIONS])
    rows[VOXELS] = _counts(groups, None)
    rows[COUNT] = rows[VOXELS] if valid is None else _counts(groups, valid)
    if SUM in fields:
        _adder(image)(rows, groups, image, valid, M2 in fields)
    if fields_of_ends := {MIN, MAX}.intersection(fields):
        _add_ends(rows, groups, image, valid, fields_of_ends)
    return rows


def _adder(image: NDArray[Any]) -> Callable[..., None]:
    """What fills in the sums of an image."""
    if image.dtype.kind not in "iu":
        return _add_floats
    is_small = image.dtype.itemsize <= 2 and image.size < _MOST_SQUARES
    return _add_small_integers if is_small else _add_integers


def _add_ends(
    rows: NDArray[np.float64],
    groups: _RunsByLabel,
    image: NDArray[Any],
    valid: NDArray[np.bool_] | None,
    fields: Collection[int],
) -> None:
    """Fill in the smallest and largest values."""
    is_float = image.dtype.kind == "f"
    values = _ordered(image) if is_float else image
    for row in fields:
        ufunc, empty = _REDUCTIONS[row]
        if valid is not None:
            neutral = _ordered(np.array(empty, _native_float(image.dtype))) if is_float else empty
            found = groups.reduce_voxels(ufunc, np.where(valid, values, neutral))
        else:
            found = groups.reduce_voxels(ufunc, values)
        rows[row] = _floats(found) if is_float else found


def _native_float(dtype: np.dtype[Any]) -> type[np.floating[Any]]:
    return np.float32 if dtype.itemsize <= 4 else np.float64


def _ordered(values: NDArray[Any]) -> NDArray[np.signedinteger[Any]]:
    """Integers that ascend as floats do: NumPy finds their extremes in half the time."""
    floats = np.asarray(values, _native_float(values.dtype))
    return _swapped(floats.view(f"i{floats.itemsize}"))


def _floats(ordered: NDArray[np.signedinteger[Any]]) -> NDArray[np.floating[Any]]:
    """The floats of which `_ordered` made integers."""
    return _swapped(ordered).view(f"f{ordered.itemsize}")


def _swapped(bits: NDArray[np.signedinteger[Any]]) -> NDArray[np.signedinteger[Any]]:
    """Bits of floats with those of negative ones inverted, but for the sign; its own inverse."""
    swapped = bits >> (8 * bits.itemsize - 1)
    swapped &= np.iinfo(bits.dtype).max
    swapped ^= bits
    return swapped


def _add_floats(
    rows: NDArray[np.float64],
    groups: _RunsByLabel,
    image: NDArray[Any],
    valid: NDArray[np.bool_] | None,
    with_squares: bool,
) -> None:
    """Fill in the sums of floats."""
    # A copy in float64, in which sums keep the digits that float32 would lose.
    values = _counted(image, valid, np.float64)
    # inf - inf is NaN, and what is too large for a float is inf: no reason to warn.
    with np.errstate(invalid="ignore", over="ignore"):
        rows[SUM] = groups.reduce_voxels(np.add, values)
        if not with_squares:
            return
        values -= groups.spread(_means(rows))
        if valid is not None:
            values[~valid] = 0
        rows[RESIDUAL] = groups.reduce_voxels(np.add, values)
        squares = groups.reduce_voxels(np.add, np.square(values, out=values))
        # Of no more than the digits that the mean lost: it is no infinity where the squares are.
        excess = rows[RESIDUAL] * _divide(rows[RESIDUAL], rows[COUNT])
        rows[M2] = np.where(np.isinf(squares), squares, np.maximum(squares - excess, 0))


def _add_small_integers(
    rows: NDArray[np.float64],
    groups: _RunsByLabel,
    image: NDArray[Any],
    valid: NDArray[np.bool_] | None,
    with_squares: bool,
) -> None:
    """Fill in the sums of integers so small that the sum of their squares is exact, too."""
    values = _counted(image, valid, np.int64)
    sums = groups.reduce_voxels(np.add, values)
    rows[SUM] = sums
    if not with_squares:
        return
    # No second pass for the deviations: around a whole number near the mean they, too, are exact.
    squares = groups.reduce_voxels(np.add, np.square(values, out=values))
    means, count = _means(rows), rows[COUNT].astype(np.int64)
    whole = np.rint(means).astype(np.int64)
    deviations = sums - count * whole
    rows[RESIDUAL] = deviations - rows[COUNT] * (means - whole)
    around_whole = squares - whole * (sums + deviations)
    rows[M2] = around_whole - deviations * _divide(deviations.astype(np.float64), rows[COUNT])


def _add_integers(
    rows: NDArray[np.float64],
    groups: _RunsByLabel,
    image: NDArray[Any],
    valid: NDArray[np.bool_] | None,
    with_squares: bool,
) -> None:
    """Fill in the sums of integers, of which float64 would lose digits."""
    wide = _counted(image, valid, np.uint64 if image.dtype.kind == "u" else np.int64)
    # Neither half of as many integers as a block can have overflows.
    high, low = (wide >> 32).astype(np.int64), (wide & (2**32 - 1)).astype(np.int64)
    low_sums = groups.reduce_voxels(np.add, low)
    rows[HIGH] = groups.reduce_voxels(np.add, high) + (low_sums >> 32)
    rows[SUM] = low_sums & (2**32 - 1)
    if not with_squares:
        return
    # Deviations from a whole number near the mean are exact, up to the digits of a float; those
    # from the mean itself follow.
    whole = np.rint(_means(rows))
    whole_high = np.floor(whole / _HIGH_UNIT)
    values = (high - groups.spread(whole_high)) * _HIGH_UNIT
    values += low - groups.spread(whole - whole_high * _HIGH_UNIT)
    if valid is not None:
        values[~valid] = 0
    deviations = groups.reduce_voxels(np.add, values)
    rows[RESIDUAL] = deviations - rows[COUNT] * (_means(rows) - whole)
    values -= groups.spread(_divide(deviations, rows[COUNT]))
    if valid is not None:
        values[~valid] = 0
    rows[M2] = groups.reduce_voxels(np.add, np.square(values, out=values))


def _counted(
    image: NDArray[Any], valid: NDArray[np.bool_] | None, dtype: type[np.number[Any]]
) -> NDArray[Any]:
    """Copy of an image in another type, 0 where a value does not count."""
    values = image.astype(dtype)
    if valid is not None:
        values[~valid] = 0
    return values


def _valid(image: NDArray[Any], valid: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
    """Which values of an image count; None if all do."""
    # A minimum is NaN if any value is: one pass without a temporary array for the common case.
    if image.dtype.kind == "f" and np.isnan(image.min(initial=np.inf)):
        is_value: NDArray[np.bool_] = ~np.isnan(image)
        return is_value if valid is None else valid & is_value
    return valid


def _counts(groups: _RunsByLabel, valid: NDArray[np.bool_] | None) -> NDArray[Any]:
    if valid is None:
        return groups.reduce_runs(np.add, groups.lengths)
    return groups.reduce_runs(np.add, np.add.reduceat(valid, groups.starts, dtype=np.int64))


def _carry(table: NDArray[np.float64]) -> None:
    """Move what `SUM` has of whole units of `HIGH` to there, so that neither loses digits."""
    # Sums of floats, which may be infinite, have no high part.
    carried = np.floor(
        np.divide(table[SUM], _HIGH_UNIT, where=table[HIGH] != 0, out=np.zeros(table[SUM].shape))
    )
    table[HIGH] += carried
    table[SUM] -= carried * _HIGH_UNIT


def _sums(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums of a table's columns."""
    sums: NDArray[np.float64] = table[HIGH] * _HIGH_UNIT + table[SUM]
    return sums


def _means(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means of a table's columns, rounded; 0 without values."""
    return _divide(_sums(table), table[COUNT])


def _divide(values: NDArray[np.float64], count: NDArray[np.float64]) -> NDArray[np.float64]:
    """Quotient; 0 where the count is 0."""
    quotient: NDArray[np.float64] = np.divide(
        values, count, out=np.zeros(count.shape), where=count > 0
    )
    return quotient
