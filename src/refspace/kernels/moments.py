"""Moments of the values in each label: count, sum, squared deviations, minimum and maximum."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refspace.kernels.histograms import Histogram, build_histogram, merge_histograms
from refspace.kernels.run_lengths import Labels, run_lengths

# Rows of the table of moments.
COUNT, SUM, M2, MIN, MAX, VOXELS = range(6)
# For each row: the function that combines two values, and its neutral element.
_REDUCTIONS = (
    (np.add, 0.0),
    (np.add, 0.0),
    (np.add, 0.0),
    (np.minimum, np.inf),
    (np.maximum, -np.inf),
    (np.add, 0.0),
)


@dataclass(frozen=True)
class Moments:
    """Moments of the values of several images in each label.

    Parameters
    ----------
    labels
        The labels, sorted.
    table
        Floats of shape (6, images, labels): `COUNT`, the number of values; `SUM`, their sum;
        `M2`, the sum of their squared deviations from the label's mean; `MIN` and `MAX`, the
        smallest and the largest, infinite without values; `VOXELS`, the number of voxels, also
        those without a value.
    histograms
        Histogram of the values of each image; empty where no quantiles are wanted.

    Notes
    -----
    Parents are computed exactly, by merging their children's moments. `M2` is summed from
    deviations from the mean, not as the difference of two large sums (Σx² - (Σx)²/n), which cancels
    all digits where the mean is large against the spread. Parts merge by the formula of Chan, Golub
    and LeVeque (1983, The American Statistician 37:242-247): M2 = Σ (M2ᵢ + nᵢ (meanᵢ - mean)²).
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
        groups = np.arange(len(indptr) - 1)
        pooled = np.empty((*self.table.shape[:2], groups.size))
        for row, (ufunc, empty) in enumerate(_REDUCTIONS):
            if row == M2:
                # SUM was pooled before M2, so that the means of the groups are known by now.
                group_means = np.repeat(_means(pooled), np.diff(indptr), axis=-1)
                # inf - inf is NaN, and the square of a huge distance inf: no reason to warn.
                with np.errstate(invalid="ignore", over="ignore"):
                    distances = _means(table)[:, :-1] - group_means
                    table[M2, :, :-1] += table[COUNT, :, :-1] * distances**2
            pooled[row] = ufunc.reduceat(table[row], indptr[:-1], axis=-1)
            # For an empty group reduceat returns the member after it.
            pooled[row][:, np.diff(indptr) == 0] = empty
        return Moments(groups, pooled)


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
    labels, codes = np.unique(run_labels, return_inverse=True)
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
        # A copy in float64, in which sums keep the digits that float32 would lose.
        exact = image.astype(np.float64)
        if valid is not None:
            exact[~valid] = 0
        rows[SUM] = groups.reduce_voxels(np.add, exact)
        if M2 in fields:
            rows[M2] = _squared_deviations(groups, exact, _means(rows), valid)
    for row in {MIN, MAX}.intersection(fields):
        ufunc, empty = _REDUCTIONS[row]
        counted = image if valid is None else np.where(valid, image, empty)
        rows[row] = groups.reduce_voxels(ufunc, counted)
    return rows


def _squared_deviations(
    groups: _RunsByLabel,
    values: NDArray[np.float64],
    means: NDArray[np.float64],
    valid: NDArray[np.bool_] | None,
) -> NDArray[Any]:
    """Sum of the squared deviations from the mean of each label; overwrites the values."""
    # inf - inf is NaN, and the square of a huge value inf: no reason to warn.
    with np.errstate(invalid="ignore", over="ignore"):
        values -= groups.spread(means)
        if valid is not None:
            values[~valid] = 0
        return groups.reduce_voxels(np.add, np.square(values, out=values))


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


def _means(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means of a table's columns; 0 without values."""
    count, total = table[COUNT], table[SUM]
    means: NDArray[np.float64] = np.divide(total, count, out=np.zeros(count.shape), where=count > 0)
    return means
