"""Statistics of the values in each label: of a block, of several blocks, of regions."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refspace.kernels.histograms import Histogram, build_histogram, merge_histograms
from refspace.kernels.run_lengths import Labels, run_lengths

COUNT, SUM, M2, MIN, MAX = range(5)
# How two values of each are made one, and what changes nothing.
_REDUCED = (
    (np.add, 0.0),
    (np.add, 0.0),
    (np.add, 0.0),
    (np.minimum, np.inf),
    (np.maximum, -np.inf),
)


@dataclass(frozen=True)
class Moments:
    """What statistics are made of, for each label and each of several images.

    Parameters
    ----------
    labels
        The labels, sorted.
    table
        Floats of shape (5, images, labels): `COUNT`, how many values there are; `SUM`, their sum;
        `M2`, the sum of their squared deviations from the label's mean; `MIN` and `MAX`, the
        smallest and the largest, infinite where there are none.
    histograms
        How often there is which value, for each image; empty if nobody asks for quantiles.

    Notes
    -----
    Deviations are those from the mean of what they are summed over, never differences of large
    sums; parts are put together as Chan, Golub and LeVeque do (1983, The American Statistician
    37:242-247), so that a parent is as exact as its children.
    """

    labels: NDArray[Any]
    table: NDArray[np.float64]
    histograms: tuple[Histogram, ...] = ()

    def reduce(self, places: NDArray[np.intp], indptr: NDArray[np.integer[Any]]) -> "Moments":
        """Moments of groups of labels, without histograms.

        Parameters
        ----------
        places
            Where the members of each group are among the labels; their number for one that is not.
        indptr
            Where the members of each group begin in `places`, and the end.
        """
        # One more at the end, empty: for what is not there, and for groups that begin at the end.
        nothing = np.array([empty for _, empty in _REDUCED])[:, np.newaxis, np.newaxis]
        shape = (*self.table.shape[:2], 1)
        table = np.concatenate((self.table, np.broadcast_to(nothing, shape)), axis=-1)
        table = table[..., np.append(places, -1)]
        groups = np.arange(len(indptr) - 1)
        pooled = np.empty((*self.table.shape[:2], groups.size))
        for row, (ufunc, empty) in enumerate(_REDUCED):
            if row == M2:
                of_groups = np.repeat(_means(pooled), np.diff(indptr), axis=-1)
                # As in a block: infinite means are not apart, and huge distances are infinite.
                with np.errstate(invalid="ignore", over="ignore"):
                    apart = _means(table)[:, :-1] - of_groups
                    table[M2, :, :-1] += table[COUNT, :, :-1] * apart**2
            pooled[row] = ufunc.reduceat(table[row], indptr[:-1], axis=-1)
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
    """Moments of the values in each label of a block but 0, which is outside.

    Parameters
    ----------
    block
        Labels, of any shape.
    values
        Real numbers, of the block's shape behind one more axis: a number of images. NaN is no
        value.
    valid
        Which of them count, of the same shape, or of one image for all; all if not given.
    fields
        Which rows of the table are wanted beside `COUNT`; each costs a pass over the block, and
        `M2` need `SUM`.
    histogram
        Whether histograms are wanted too.

    Examples
    --------
    >>> block = np.array([[7, 7, 7], [7, 0, 9]], "u4")
    >>> parts = measure_moments(block, np.array([[[1, 2, np.nan], [6, 50, 4]]]))
    >>> parts.labels, parts.table[[COUNT, SUM], 0]
    (array([7, 9], dtype=uint32), array([[3., 1.],
           [9., 4.]]))
    """
    if block.flags.f_contiguous and not block.flags.c_contiguous:
        # Runs follow memory.
        block, values = block.T, values.transpose(0, *range(values.ndim)[:0:-1])
        valid = None if valid is None else valid.transpose(0, *range(valid.ndim)[:0:-1])
    found, lengths = run_lengths(block)
    labels, codes = np.unique(found, return_inverse=True)
    groups = _Groups(codes, lengths, labels.size)
    table = np.empty((len(_REDUCED), len(values), labels.size))
    histograms = []
    for number, image in enumerate(values):
        image = image.ravel()
        counted = _valid(image, None if valid is None else valid[number % len(valid)].ravel())
        table[:, number] = _rows(groups, image, counted, fields)
        if histogram:
            histograms.append(build_histogram(groups.voxel_codes(), image, counted))
    inside = labels != 0
    named = tuple(part.relabelled(labels) for part in histograms)
    return Moments(labels[inside], table[..., inside], named)


def merge(parts: Sequence[Moments]) -> Moments:
    """Moments of several blocks as one.

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
    side = Moments(labels, np.concatenate([part.table for part in parts], axis=-1))
    pooled = side.reduce(order, np.append(first, labels.size))
    images = zip(*(part.histograms for part in parts), strict=True)
    return Moments(unique, pooled.table, tuple(map(merge_histograms, images)))


def empty_moments(images: int) -> Moments:
    """Moments of a number of images in no label at all."""
    nothing = Histogram(np.empty(0, np.int64), np.empty(0, np.int64))
    return Moments(np.empty(0, np.int64), np.empty((5, images, 0)), (nothing,) * images)


class _Groups:
    """Runs of equal labels, put together by label.

    Parameters
    ----------
    codes
        Number of the label of each run.
    lengths
        Voxels of each run.
    size
        How many labels there are.
    """

    def __init__(self, codes: NDArray[np.intp], lengths: NDArray[np.intp], size: int) -> None:
        self.codes, self.lengths, self.size = codes, lengths, size
        self.starts = np.cumsum(lengths) - lengths
        # Small codes, so that the stable sort is a radix sort.
        self._order = np.argsort(codes.astype(np.min_scalar_type(size)), kind="stable")
        self._first = np.searchsorted(codes[self._order], np.arange(size))

    def reduce_runs(self, ufunc: np.ufunc, per_run: NDArray[Any]) -> NDArray[Any]:
        """A value per run, reduced to one per label."""
        reduced: NDArray[Any] = ufunc.reduceat(per_run[self._order], self._first)
        return reduced

    def reduce_voxels(self, ufunc: np.ufunc, per_voxel: NDArray[Any]) -> NDArray[Any]:
        """A value per voxel, reduced to one per label."""
        return self.reduce_runs(ufunc, ufunc.reduceat(per_voxel, self.starts))

    def spread(self, per_label: NDArray[Any]) -> NDArray[Any]:
        """A value per label, repeated for each of its voxels."""
        return np.repeat(per_label[self.codes], self.lengths)

    def voxel_codes(self) -> NDArray[Any]:
        """Number of the label of each voxel."""
        return np.repeat(self.codes, self.lengths)


def _rows(
    groups: _Groups,
    image: NDArray[Any],
    valid: NDArray[np.bool_] | None,
    fields: Collection[int],
) -> NDArray[np.float64]:
    """Rows of the table of `Moments` for one image; what nobody wants is empty."""
    rows = np.array([[empty] * groups.size for _, empty in _REDUCED])
    rows[COUNT] = _counts(groups, valid)
    if SUM in fields:
        exact = image.astype(np.float64)
        if valid is not None:
            exact[~valid] = 0
        rows[SUM] = groups.reduce_voxels(np.add, exact)
        if M2 in fields:
            rows[M2] = _squares(groups, exact, _means(rows), valid)
    for row in {MIN, MAX}.intersection(fields):
        ufunc, empty = _REDUCED[row]
        shown = image if valid is None else np.where(valid, image, empty)
        rows[row] = groups.reduce_voxels(ufunc, shown)
    return rows


def _squares(
    groups: _Groups,
    values: NDArray[np.float64],
    means: NDArray[np.float64],
    valid: NDArray[np.bool_] | None,
) -> NDArray[Any]:
    """Sum of the squared deviations from the mean of each label; the values are used up."""
    # Infinite values are not apart from their mean, and squares of huge ones are infinite.
    with np.errstate(invalid="ignore", over="ignore"):
        values -= groups.spread(means)
        if valid is not None:
            values[~valid] = 0
        return groups.reduce_voxels(np.add, np.square(values, out=values))


def _valid(image: NDArray[Any], valid: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
    """Which values of an image count; None if all do."""
    # A minimum is NaN where anything is.
    if image.dtype.kind == "f" and np.isnan(image.min(initial=np.inf)):
        there: NDArray[np.bool_] = ~np.isnan(image)
        return there if valid is None else valid & there
    return valid


def _counts(groups: _Groups, valid: NDArray[np.bool_] | None) -> NDArray[Any]:
    if valid is None:
        return groups.reduce_runs(np.add, groups.lengths)
    return groups.reduce_runs(np.add, np.add.reduceat(valid, groups.starts, dtype=np.int64))


def _means(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means of a table's columns; 0 where there is no value."""
    count, total = table[COUNT], table[SUM]
    means: NDArray[np.float64] = np.divide(total, count, out=np.zeros(count.shape), where=count > 0)
    return means
