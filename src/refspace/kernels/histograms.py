"""Histograms of the values in each label, from which quantiles are read.

The bin of a value is the upper bits of its float: sign, exponent and 7 bits of the mantissa, made
to ascend with the value. The bins are the same for all data, so that no range has to be known
beforehand and histograms of any blocks can be merged; none is wider than 1/128 of its values. That
holds for all that a float can be, subnormal numbers and, in double precision, those beyond single
precision too. Integers of up to 16 bits have a bin each, and their quantiles are exact.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Bins of any dtype: of the 2 × (2046 + 52) exponents of a float64, 128 each.
BINS = 2**20
# The middle of a bin is at most half its width from any value in it.
RELATIVE_ERROR = 2**-8
# A bin keeps 7 bits of the mantissa: there are as many bins for each exponent.
_BINS_OF_EXPONENT = 2**7
# Bin of 0, between those of negative and of positive values.
_ZERO = BINS // 2


@dataclass(frozen=True)
class Histogram:
    """Number of values of each label in each bin; only bins with values are stored.

    Parameters
    ----------
    keys
        Label times `BINS` plus bin, sorted.
    counts
        Number of values of each key.
    """

    keys: NDArray[np.int64]
    counts: NDArray[np.int64]

    def relabelled(self, labels: NDArray[Any]) -> "Histogram":
        """Replace positions among sorted labels by the labels themselves; label 0 is dropped."""
        codes, bins = np.divmod(self.keys, BINS)
        named = labels.astype(np.int64)[codes]
        # Labels ascend, so the new keys are sorted as the old ones were.
        return Histogram((named * BINS + bins)[named != 0], self.counts[named != 0])

    def count_bins(
        self, groups: Iterable[NDArray[np.int64]]
    ) -> tuple[NDArray[np.int64], Iterator[NDArray[np.int64]]]:
        """Bins that have values, ascending, and the number of values that groups of labels have.

        Parameters
        ----------
        groups
            Labels of each group.

        Examples
        --------
        >>> histogram = build_histogram(np.array([0, 0, 1]), np.array([5, 5, 9], "u1"))
        >>> bins, counts = histogram.count_bins([np.array([0]), np.array([0, 1])])
        >>> bins, [*counts]
        (array([5, 9]), [array([2, 0]), array([2, 1])])
        """
        bins, columns = np.unique(self.keys % BINS, return_inverse=True)
        return bins, (self._column_counts(labels, columns, bins.size) for labels in groups)

    def _column_counts(
        self, labels: NDArray[np.int64], columns: NDArray[np.intp], size: int
    ) -> NDArray[np.int64]:
        starts = np.searchsorted(self.keys, labels * BINS)
        stops = np.searchsorted(self.keys, (labels + 1) * BINS)
        parts = [np.arange(a, b) for a, b in zip(starts, stops, strict=True) if a < b]
        rows = np.concatenate([np.empty(0, np.intp), *parts])
        # bincount sums its weights as float64, which is exact up to 2**53 values.
        return np.bincount(columns[rows], self.counts[rows], size).astype(np.int64)


def build_histogram(
    codes: NDArray[Any], image: NDArray[Any], valid: NDArray[np.bool_] | None = None
) -> Histogram:
    """Build the histogram of values by label.

    Parameters
    ----------
    codes
        Position of the label of each value among the labels.
    image
        The values; no valid one is NaN.
    valid
        Which values count; by default all.

    Examples
    --------
    >>> build_histogram(np.array([0, 0, 1]), np.array([5, 5, 9], "u1"))
    Histogram(keys=array([      5, 1048585]), counts=array([2, 1]))
    """
    if valid is not None:
        codes, image = codes[valid], image[valid]
    small = codes.max(initial=0) < 2**32 // BINS
    # 32 bits are sorted in half the time of 64.
    keys: NDArray[Any] = codes.astype(np.uint32 if small else np.int64) * BINS
    keys += assign_bins(image)
    keys.sort()
    first = _first_of_each(keys)
    return Histogram(keys[first].astype(np.int64), np.diff(first, append=keys.size))


def merge_histograms(parts: Sequence[Histogram]) -> Histogram:
    """Merge several histograms."""
    keys = np.concatenate([part.keys for part in parts])
    counts = np.concatenate([part.counts for part in parts])
    order = np.argsort(keys, kind="stable")
    keys, counts = keys[order], counts[order]
    first = _first_of_each(keys)
    # reduceat refuses to begin at the end.
    return Histogram(keys[first], np.add.reduceat(counts, first) if keys.size else counts)


def _first_of_each(keys: NDArray[Any]) -> NDArray[np.intp]:
    """Where each of some sorted keys begins."""
    return np.flatnonzero(np.append(True, keys[1:] != keys[:-1])[: keys.size])


def is_exact(dtype: np.dtype[Any]) -> bool:
    """Whether each value of a dtype has a bin of its own."""
    return dtype.kind in "uib" and dtype.itemsize <= 2


def assign_bins(image: NDArray[Any]) -> NDArray[np.uint32]:
    """Bin of each value; greater values are in greater bins.

    Examples
    --------
    >>> assign_bins(np.array([-3, 7], "i2"))
    array([32765, 32775], dtype=uint32)
    >>> values = [-np.inf, -1e308, -2.0, -0.5, -1e-309, 0.0, 1e-309, 0.5, 2.0, 1e308]
    >>> bool(np.all(np.diff(assign_bins(np.array(values)).astype(int)) > 0))
    True
    """
    if is_exact(image.dtype):
        return (image.astype(np.int32) - _lowest(image.dtype)).astype(np.uint32)
    mantissa, bias = _layout(image.dtype)
    sign = (2 * bias + 2) * _BINS_OF_EXPONENT
    bits = _bits(image, mantissa)
    # Sign, exponent and what a bin keeps of the mantissa; without the sign they ascend with floats.
    upper = (bits >> (mantissa - 7)).astype(np.int32)
    bins = upper & (sign - 1)
    is_small = bins < _BINS_OF_EXPONENT
    bins += mantissa * _BINS_OF_EXPONENT
    # Subnormal numbers have one exponent together, and as whole numbers one of their own each.
    if is_small.any():
        magnitudes = bits[is_small] & np.iinfo(bits.dtype).max // 2
        bins[is_small] = _bins_of_subnormals(magnitudes)
    np.negative(bins, out=bins, where=upper >= sign)
    bins += _ZERO
    return bins.view(np.uint32)


def _bins_of_subnormals(numbers: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Bins of small floats, counted from that of 0, from how often each has the smallest one."""
    # The exponent of 1 is 1023 in the bits of a float64; its bins are the first ones after 0.
    bins = (_bits(numbers, 52) >> 45).astype(np.int64) - 1022 * _BINS_OF_EXPONENT
    return np.where(numbers == 0, 0, bins)


def _bits(values: NDArray[Any], mantissa: int) -> NDArray[Any]:
    """Bits of values as floats of so many bits of mantissa."""
    if mantissa == 23:
        return np.asarray(values, np.float32).view(np.uint32)
    return np.asarray(values, np.float64).view(np.uint64)


def _layout(dtype: np.dtype[Any]) -> tuple[int, int]:
    """Bits of the mantissa, and bias of the exponent, of the floats that are binned."""
    # Integers of 32 bits are not all in single precision.
    return (23, 127) if dtype.kind == "f" and dtype.itemsize <= 4 else (52, 1023)


def bin_middles(bins: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[np.float64]:
    """Middle of each bin of values of a dtype: the value itself where it has its own bin.

    Examples
    --------
    >>> bin_middles(assign_bins(np.array([1.0, -np.inf])), np.dtype("f8")).round(3)
    array([1.004,  -inf])
    >>> bin_middles(assign_bins(np.array([-3], "i2")), np.dtype("i2"))
    array([-3.])
    """
    if is_exact(dtype):
        return bins.astype(np.float64) + _lowest(dtype)
    mantissa, bias = _layout(dtype)
    numbers = bins.astype(np.int64) - _ZERO
    exponents, steps = np.divmod(np.abs(numbers), _BINS_OF_EXPONENT)
    exponents -= mantissa
    is_infinite = exponents > 2 * bias
    powers = np.where(is_infinite, 0, exponents - bias).astype(np.int32)
    # The half is added last: below the smallest number of all it is 0.
    middles = np.ldexp(1 + steps / _BINS_OF_EXPONENT, powers)
    middles += np.ldexp(0.5 / _BINS_OF_EXPONENT, powers)
    middles[is_infinite] = np.inf
    return np.where(numbers == 0, 0.0, np.copysign(middles, numbers))


def _lowest(dtype: np.dtype[Any]) -> int:
    return 0 if dtype.kind == "b" else int(np.iinfo(dtype).min)


def histogram_quantiles(
    bins: NDArray[np.int64],
    counts: NDArray[np.int64],
    quantiles: NDArray[np.float64],
    ends: tuple[float, float],
    dtype: np.dtype[Any],
) -> NDArray[np.float64]:
    """Quantiles of a histogram: the smallest value that at least such a share does not exceed.

    Parameters
    ----------
    bins, counts
        Bins, ascending, and the number of values in each of them.
    quantiles
        Levels of the quantiles, from 0 to 1.
    ends
        The smallest and the largest value, which bins alone do not give.
    dtype
        Dtype of the values.

    Returns
    -------
    ndarray
        Within `RELATIVE_ERROR`, or exact where each value has its own bin; NaN without values. The
        smallest and largest value are exact.

    Examples
    --------
    >>> image = np.array([1, 2, 3, 4], "u1")
    >>> bins, counts = build_histogram(np.zeros(4, int), image).count_bins([np.array([0])])
    >>> histogram_quantiles(bins, next(counts), np.array([0, 0.5, 1]), (1, 4), image.dtype)
    array([1., 2., 4.])
    """
    cumulative = np.cumsum(counts)
    size = int(counts.sum())
    if not size:
        return np.full(len(quantiles), np.nan)
    rank = np.clip(np.ceil(quantiles * size), 1, size).astype(np.int64)
    values = bin_middles(bins[np.searchsorted(cumulative, rank)], dtype).clip(*ends)
    values[rank == 1], values[rank == size] = ends
    return values
