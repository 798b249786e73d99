"""Histograms of the values in each label, from which quantiles are read.

The bin of a value is the upper 16 bits of its 32-bit float: sign, exponent and 7 bits of the
mantissa, made to ascend with the value. The bins are the same for all data, so that no range has to
be known beforehand and histograms of any blocks can be merged; none is wider than 1/128 of its
values. Integers of up to 16 bits have a bin each, and their quantiles are exact.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 2**16
# The middle of a bin is at most half its width from any value in it.
RELATIVE_ERROR = 2**-8
# Masks of the sign bit of a 32-bit float, and of all its bits.
_SIGN, _ALL = np.uint32(2**31), np.uint32(2**32 - 1)


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

    def bin_counts(self, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Number of values in each bin, in several labels together."""
        starts = np.searchsorted(self.keys, labels * BINS)
        stops = np.searchsorted(self.keys, (labels + 1) * BINS)
        parts = [np.arange(a, b) for a, b in zip(starts, stops, strict=True) if a < b]
        rows = np.concatenate([np.empty(0, np.intp), *parts])
        # bincount sums its weights as float64, which is exact up to 2**53 values.
        return np.bincount(self.keys[rows] % BINS, self.counts[rows], BINS).astype(np.int64)


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
    Histogram(keys=array([    5, 65545]), counts=array([2, 1]))
    """
    if valid is not None:
        codes, image = codes[valid], image[valid]
    small = codes.max(initial=0) < BINS
    # 32 bits are sorted in half the time of 64.
    keys = codes.astype(np.uint32 if small else np.int64) * BINS + assign_bins(image)
    return _counted(np.sort(keys), np.ones(keys.size, np.int64))


def merge_histograms(parts: Sequence[Histogram]) -> Histogram:
    """Merge several histograms."""
    keys = np.concatenate([part.keys for part in parts])
    order = np.argsort(keys, kind="stable")
    return _counted(keys[order], np.concatenate([part.counts for part in parts])[order])


def _counted(keys: NDArray[Any], counts: NDArray[np.int64]) -> Histogram:
    """Histogram from sorted keys that may occur several times: their counts are added up."""
    if not keys.size:
        return Histogram(keys.astype(np.int64), counts)
    first = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
    return Histogram(keys[first].astype(np.int64), np.add.reduceat(counts, first))


def is_exact(dtype: np.dtype[Any]) -> bool:
    """Whether each value of a dtype has a bin of its own."""
    return dtype.kind in "uib" and dtype.itemsize <= 2


def assign_bins(image: NDArray[Any]) -> NDArray[Any]:
    """Bin of each value; greater values are in greater bins.

    Examples
    --------
    >>> assign_bins(np.array([-3, 7], "i2"))
    array([32765, 32775], dtype=uint32)
    >>> bool(np.all(np.diff(assign_bins(np.array([-np.inf, -2.0, -0.5, 0.0, 0.5, 2.0]))) > 0))
    True
    """
    if is_exact(image.dtype):
        return (image.astype(np.int32) - _lowest(image.dtype)).astype(np.uint32)
    # float64 beyond the range of float32 becomes infinite, and falls into the last bin.
    with np.errstate(over="ignore"):
        bits = image.astype(np.float32).view(np.uint32)
    # As integers, positive floats ascend with their value, and negative ones descend: the bits of
    # the latter are inverted, and the sign bit of the former is set, so that all ascend.
    return (bits ^ np.where(bits & _SIGN, _ALL, _SIGN)) >> np.uint32(16)


def bin_middles(bins: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[np.float64]:
    """Middle of each bin of values of a dtype: the value itself where it has its own bin.

    Examples
    --------
    >>> bin_middles(assign_bins(np.array([1.0, -np.inf])), np.dtype("f4")).round(3)
    array([1.004,  -inf])
    """
    if is_exact(dtype):
        return bins.astype(np.float64) + _lowest(dtype)
    first = bins.astype(np.uint32) << np.uint32(16)
    low, high = map(_keys_to_floats, (first, first | np.uint32(BINS - 1)))
    # The bins of ±inf extend into bit patterns that are NaN: there one end stands for both.
    low, high = np.where(np.isnan(low), high, low), np.where(np.isnan(high), low, high)
    return np.where(low == high, low, (low + high) / 2)


def _keys_to_floats(keys: NDArray[np.uint32]) -> NDArray[np.float64]:
    """Floats whose bits were made to ascend, as `assign_bins` does."""
    bits = keys ^ np.where(keys & _SIGN, _SIGN, _ALL)
    with np.errstate(invalid="ignore"):
        return bits.view(np.float32).astype(np.float64)


def _lowest(dtype: np.dtype[Any]) -> int:
    return 0 if dtype.kind == "b" else int(np.iinfo(dtype).min)


def histogram_quantiles(
    counts: NDArray[np.int64],
    quantiles: NDArray[np.float64],
    ends: tuple[float, float],
    dtype: np.dtype[Any],
) -> NDArray[np.float64]:
    """Quantiles of a histogram: the smallest value that at least such a share does not exceed.

    Parameters
    ----------
    counts
        Number of values in each bin.
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
    >>> counts = build_histogram(np.zeros(4, int), image).bin_counts(np.array([0]))
    >>> histogram_quantiles(counts, np.array([0, 0.5, 1]), (1, 4), image.dtype)
    array([1., 2., 4.])
    """
    cumulative = np.cumsum(counts)
    size = int(cumulative[-1])
    if not size:
        return np.full(len(quantiles), np.nan)
    rank = np.clip(np.ceil(quantiles * size), 1, size).astype(np.int64)
    values = bin_middles(np.searchsorted(cumulative, rank), dtype).clip(*ends)
    values[rank == 1], values[rank == size] = ends
    return values
