"""Quantiles from histograms, to the error that is stated, for all that a float can be."""

import numpy as np
import pytest
from helpers.profiles import examples
from hypothesis import given
from hypothesis import strategies as st

from refspace.kernels import RELATIVE_ERROR, histogram_quantiles, is_exact
from refspace.kernels.histograms import (
    BINS,
    assign_bins,
    bin_middles,
    build_histogram,
    merge_histograms,
)

SHARES = np.array([0, 0.1, 0.25, 0.5, 0.75, 0.999, 1])


def quantiles_of(image, labels=None):
    """Quantiles of an image, as of two blocks."""
    codes = np.zeros(image.size, int)
    half = image.size // 2
    parts = [build_histogram(codes[cut], image[cut]) for cut in (slice(half), slice(half, None))]
    bins, counts = merge_histograms(parts).count_bins([np.array([0])])
    ends = float(image.min()), float(image.max())
    return histogram_quantiles(bins, next(counts), SHARES, ends, image.dtype)


def check(image):
    """Compare quantiles with NumPy's, each to the error relative to its own value."""
    wanted = np.quantile(image.astype("f8"), SHARES, method="inverted_cdf")
    error = 0 if is_exact(image.dtype) else RELATIVE_ERROR
    found = quantiles_of(image)
    np.testing.assert_allclose(found, wanted, rtol=error, atol=0)
    # The ends are exact.
    assert (found[0], found[-1]) == (wanted[0], wanted[-1])


def floats(width):
    return st.floats(width=width, allow_nan=False)


@pytest.mark.promise("values are outside the range of float32", "quantiles within 1/256")
@given(st.sampled_from([16, 32, 64]), st.data())
@examples(200)
def test_floats_of_any_size(width, data):
    values = data.draw(st.lists(floats(width), min_size=1, max_size=30))
    check(np.array(values, f"f{width // 8}"))


@given(st.sampled_from(["i1", "u2", "i4", "u4", "i8", "u8", "?"]), st.data())
@examples(100)
def test_integers_of_any_size(dtype, data):
    low, high = (0, 1) if dtype == "?" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    check(np.array(data.draw(st.lists(st.integers(low, high), min_size=1, max_size=30)), dtype))


@pytest.mark.parametrize("dtype", ["i4", "u4"])
def test_integers_of_32_bits_are_not_rounded_to_single_precision(dtype):
    """2**30 - 1 is the last value of its bin, and would be the first of the next one."""
    check(np.array([1, 2**30 - 1, 2**30 - 1, 2**30 + 2**29], dtype))


@given(st.sampled_from([32, 64]), st.data())
@examples(200)
def test_bins_ascend_with_values(width, data):
    values = sorted(data.draw(st.lists(floats(width), min_size=2, max_size=30)))
    bins = assign_bins(np.array(values, f"f{width // 8}")).astype(int)
    assert (np.diff(bins) >= 0).all()
    assert ((bins >= 0) & (bins < BINS)).all()


@pytest.mark.parametrize("scale", [1e-320, 1e-310, 1e-60, 1e-40, 1.0, 1e39, 1e60, 1e306])
def test_quantiles_of_every_range(scale):
    """Beyond the largest number of single precision, 3.4e38, and below its normal ones, 1.2e-38."""
    for values in (np.arange(1, 101), np.arange(-50, 51)):
        check(values * scale)
    if 1e-40 <= scale <= 1:
        check((np.arange(1, 101) * scale).astype("f4"))


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_the_smallest_and_the_largest_floats(dtype):
    ends = np.finfo(dtype)
    smallest, tiny, largest = ends.smallest_subnormal, ends.tiny, ends.max
    steps = np.arange(1, 600)
    check((steps * float(smallest)).astype(dtype))
    below = np.nextafter(tiny, np.dtype(dtype).type(0))
    check(np.array([-tiny, -below, -smallest, -0.0, 0.0, smallest, below, tiny], dtype))
    check(np.array([-np.inf, -largest, largest / 2, largest, np.inf], dtype))


def test_a_value_that_is_alone_in_its_bin():
    bins = assign_bins(np.array([0.0, -0.0, np.inf, -np.inf]))
    np.testing.assert_array_equal(bin_middles(bins, np.dtype("f8")), [0, 0, np.inf, -np.inf])


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_middles_are_within_their_bins(dtype):
    values = np.geomspace(1e-37, 1e37, 10001).astype(dtype)
    middles = bin_middles(assign_bins(values), np.dtype(dtype))
    assert (assign_bins(middles.astype(dtype)) == assign_bins(values)).all()
    # The half of a bin is no less than is stated, for some value.
    assert (np.abs(middles / values - 1)).max() > 0.9 * RELATIVE_ERROR


@pytest.mark.parametrize("labels", [1, 4095, 4096, 4097, 70000])
def test_many_labels_do_not_mix(labels):
    """Keys of few labels are of 32 bits, those of many of 64."""
    codes = np.arange(labels + 1) % (labels + 1)
    values = (codes % 7).astype("f8") + 1
    histogram = build_histogram(codes, values)
    named = histogram.relabelled(np.arange(labels + 1) * 3)
    chosen = [np.array([3]), np.array([3 * labels]), np.array([0, 1, 3 * labels + 1])]
    bins, counts = named.count_bins(chosen)
    found = [dict(zip(bin_middles(bins, values.dtype), n, strict=True)) for n in counts]
    for label, each in zip((1, labels), found, strict=False):
        (value,) = (value for value, n in each.items() if n)
        assert value == pytest.approx(values[label], rel=RELATIVE_ERROR)
        assert sum(each.values()) == 1
    assert sum(found[2].values()) == 0


def test_histograms_without_values():
    nothing = build_histogram(np.empty(0, int), np.empty(0))
    assert nothing.keys.size == nothing.counts.size == 0
    merged = merge_histograms([nothing, nothing])
    bins, counts = merged.count_bins([np.array([5])])
    (count,) = counts
    found = histogram_quantiles(bins, count, SHARES, (np.inf, -np.inf), np.dtype("f4"))
    assert np.isnan(found).all()


def test_what_does_not_count():
    valid = np.array([True, False, True])
    histogram = build_histogram(np.array([0, 0, 1]), np.array([5, 6, 7], "u1"), valid)
    assert histogram.counts.tolist() == [1, 1]
    assert (histogram.keys % BINS).tolist() == [5, 7]


def test_each_bin_is_stored_once():
    codes, values = np.array([0, 0, 1, 1, 1]), np.array([2.0, 2.0, 3.0, 3.0, 2.0])
    one = build_histogram(codes, values)
    assert one.counts.tolist() == [2, 1, 2]
    assert merge_histograms([one, one]).counts.tolist() == [4, 2, 4]
    assert (np.diff(one.keys) > 0).all()
