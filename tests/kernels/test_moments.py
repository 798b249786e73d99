"""Moments of values by label, against exact fractions."""

from fractions import Fraction

import numpy as np
import pytest
from helpers.profiles import examples
from helpers.volumes import MEMORY_ORDERS, in_memory_order
from hypothesis import given
from hypothesis import strategies as st

from refspace import kernels
from refspace.kernels import moments
from refspace.kernels.moments import COUNT, HIGH, M2, MAX, MIN, RESIDUAL, SUM, VOXELS

# Of the variance, which the documentation states.
ERROR = 1e-12
LABELS = [0, 3, 7, 2**32 - 1]
WHOLE = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", ">i8"]
FLOATS = ["f2", "f4", "f8", ">f8"]


# ----- oracle


def exact(values):
    """Sum, and sum of squared deviations from the mean, of some values."""
    numbers = [Fraction(value) for value in values.tolist()]
    total = sum(numbers, Fraction())
    mean = total / max(len(numbers), 1)
    return total, sum(((number - mean) ** 2 for number in numbers), Fraction())


def check(found, image, inside, column):
    """Compare one image's moments of one label with its values."""
    values = image[inside]
    total, squares = exact(values)
    count, m2, low, high = found.table[[COUNT, M2, MIN, MAX], 0, column]
    assert count == values.size
    if image.dtype.kind in "iu":
        # Rounded once, from the exact sum.
        assert found.sums[0, column] == float(total)
    else:
        size = float(sum(abs(Fraction(value)) for value in values.tolist()))
        assert abs(found.sums[0, column] - float(total)) <= 1e-14 * size
    np.testing.assert_allclose(m2, float(squares), rtol=ERROR, atol=0)
    if values.size:
        assert (low, high) == (float(values.min()), float(values.max()))
        mean = total / values.size
        assert abs(found.means[0, column] - float(mean)) <= 1e-14 * float(
            abs(values.astype("f8")).max()
        )
    else:
        assert (low, high, found.means[0, column]) == (np.inf, -np.inf, 0)


@st.composite
def images(draw):
    """Values near some number, or anywhere, of any dtype."""
    dtype = np.dtype(draw(st.sampled_from([*WHOLE, *FLOATS])))
    count = draw(st.integers(1, 40))
    if dtype.kind == "f":
        largest = 60000 if dtype.itemsize == 2 else 1e15
        offset = draw(st.sampled_from([0.0, 1.0, 1e6, 1e9, 2.0**53, -1e12]))
        spread = draw(st.sampled_from([1e-3, 1.0, 1e3]))
        numbers = st.floats(-1, 1).map(lambda share: offset + share * spread)
        values = [min(max(draw(numbers), -largest), largest) for _ in range(count)]
        return np.array(values).astype(dtype)
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    near = draw(st.sampled_from([low, high, 0, high // 2 + 1, high // 3]))
    spread = draw(st.sampled_from([1, 2, 100, high]))
    numbers = st.integers(max(low, near - spread), min(high, near + spread))
    return np.array([draw(numbers) for _ in range(count)], dtype)


@pytest.mark.promise(
    "values are large, far from zero, or integers beyond 2^53",
    "std and var within 1e-12, sums of integers exact",
)
@given(images(), st.data())
@examples(150)
def test_moments_are_those_of_fractions(image, data):
    labels = data.draw(st.lists(st.sampled_from(LABELS), min_size=image.size, max_size=image.size))
    labels = np.array(labels, "u4")
    valid = np.array(data.draw(st.lists(st.booleans(), min_size=image.size, max_size=image.size)))
    valid = valid if data.draw(st.booleans()) else np.ones(image.size, bool)
    cuts = sorted(data.draw(st.sets(st.integers(0, image.size), max_size=4)))
    with pytest.MonkeyPatch.context() as patch:
        # Of larger blocks, small integers are measured as large ones are.
        patch.setattr(moments, "_MOST_SQUARES", data.draw(st.sampled_from([0, 100])))
        parts = [
            kernels.measure_moments(labels[cut], image[np.newaxis, cut], valid[np.newaxis, cut])
            for cut in map(slice, [0, *cuts], [*cuts, image.size])
        ]
    found = kernels.merge(parts)
    assert found.labels.tolist() == sorted({*labels.tolist()} - {0})
    for column, label in enumerate(found.labels):
        assert found.table[VOXELS, 0, column] == (labels == label).sum()
        check(found, image, (labels == label) & valid, column)
    # All of them together, as a parent has them.
    pooled = found.reduce(np.arange(found.labels.size), np.array([0, found.labels.size]))
    if found.labels.size:
        check(pooled, image, (labels != 0) & valid, 0)


@pytest.mark.parametrize("order", MEMORY_ORDERS)
@pytest.mark.parametrize("dtype", ["i8", "f4"])
def test_memory_order_makes_no_difference(order, dtype):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, (4, 5, 6)).astype("u4")
    image = rng.integers(-9, 9, (2, *labels.shape)).astype(dtype)
    valid = rng.random((1, *labels.shape)) < 0.7
    expected = kernels.measure_moments(labels, image, valid)
    turned = np.stack([in_memory_order(each, order) for each in image])
    found = kernels.measure_moments(in_memory_order(labels, order), turned, valid)
    np.testing.assert_allclose(found.table, expected.table, rtol=1e-12, atol=1e-12)


# ----- values far from 0


@pytest.mark.parametrize("offset", [2**53, 2**60, 2**63 - 3, -(2**63), 2**64 - 3])
def test_variances_of_neighbouring_integers(offset):
    dtype = "u8" if offset > 2**62 + 2**61 else "i8"
    image = np.array([offset, offset + 1, offset + 2], dtype)[np.newaxis]
    one, two = np.array([1, 1, 1], "u4"), np.array([1, 2, 1], "u4")
    assert kernels.measure_moments(one, image).table[M2].item() == pytest.approx(2, rel=ERROR)
    found = kernels.measure_moments(two, image)
    assert found.table[M2, 0].tolist() == pytest.approx([2, 0], rel=ERROR)
    pooled = found.reduce(np.array([0, 1]), np.array([0, 2]))
    assert pooled.table[M2].item() == pytest.approx(2, rel=ERROR)
    assert pooled.sums.item() == float(3 * offset + 3)


def test_variances_of_blocks_far_from_zero():
    """1e9 ± 1 in double precision and 1e6 ± 0.1 in single, over many blocks."""
    rng = np.random.default_rng(0)
    for offset, spread, dtype in ((1e9, 1, "f8"), (1e6, 0.1, "f4"), (2**53, 4, "f8")):
        image = (offset + spread * rng.choice([-1, 1, 0.5], 4000)).astype(dtype)
        labels = np.repeat(np.arange(1, 5), 1000).astype("u4")
        blocks = [
            kernels.measure_moments(labels[i : i + 500], image[np.newaxis, i : i + 500])
            for i in range(0, image.size, 500)
        ]
        found = kernels.merge(blocks)
        for column in range(4):
            check(found, image, labels == column + 1, column)
        check(found.reduce(np.arange(4), np.array([0, 4])), image, labels > 0, 0)


def test_means_that_no_float_is():
    """The residual takes what a rounded mean lost: here almost all of a variance."""
    image = np.array([2**53, 2**53 + 2, 2**53 + 2], "f8")
    found = kernels.measure_moments(np.ones(3, "u4"), image[np.newaxis])
    assert found.table[RESIDUAL].item() != 0
    assert found.table[M2].item() == pytest.approx(8 / 3, rel=ERROR)


def test_equal_values_have_no_variance():
    for dtype in ("f4", "f8"):
        found = kernels.measure_moments(np.ones(3, "u4"), np.full((1, 3), 0.1, dtype))
        assert 0 <= found.table[M2].item() < 1e-32


# ----- sums of integers


@pytest.mark.parametrize("dtype", ["i8", "u8"])
def test_sums_of_integers_neither_overflow_nor_round(dtype):
    ends = np.iinfo(dtype)
    image = np.array([ends.max, ends.min, ends.max, 5, ends.max, ends.min], dtype)[np.newaxis]
    labels = np.array([1, 1, 1, 1, 2, 3], "u4")
    found = kernels.measure_moments(labels, image)
    expected = [2 * ends.max + ends.min + 5, ends.max, ends.min]
    assert found.sums[0].tolist() == [float(total) for total in expected]
    # High parts and low parts cancel only together.
    pooled = found.reduce(np.array([1, 2]), np.array([0, 2]))
    assert pooled.sums.item() == float(ends.max + ends.min)


def test_low_parts_of_sums_are_carried():
    """No part of a sum grows beyond what a float counts, however many are merged."""
    part = kernels.measure_moments(np.ones(1, "u4"), np.array([[2**33 - 1]], "u8"))
    found = kernels.merge([part] * 1000)
    assert found.table[SUM].item() < 2**32
    assert found.table[HIGH].item() * 2**32 + found.table[SUM].item() == 1000 * (2**33 - 1)


def test_integers_beyond_the_digits_of_a_float_are_counted_apart():
    image = np.array([[2**60 + 1, -(2**60)]], "i8")
    assert kernels.measure_moments(np.ones(2, "u4"), image).sums.item() == 1


# ----- what is no finite number


def test_infinite_values():
    image = np.array([[np.inf, 1, -np.inf, np.inf, -np.inf, 2]])
    found = kernels.measure_moments(np.array([1, 1, 2, 3, 3, 3], "u4"), image)
    np.testing.assert_array_equal(found.sums[0], [np.inf, -np.inf, np.nan])
    assert np.isnan(found.table[M2]).all()
    np.testing.assert_array_equal(found.table[[MIN, MAX], 0, 0], [1, np.inf])
    pooled = found.reduce(np.array([0, 1]), np.array([0, 2]))
    assert np.isnan(pooled.sums.item())


def test_sums_that_no_float_holds_are_infinite():
    found = kernels.measure_moments(np.ones(2, "u4"), np.array([[1e308, 1.5e308]]))
    assert found.sums.item() == np.inf


def test_squares_that_no_float_holds_are_infinite():
    image = np.array([[-1e200, 1e200, 3e200]])
    found = kernels.measure_moments(np.ones(3, "u4"), image)
    assert found.table[M2].item() == np.inf
    assert kernels.merge([found, found]).table[M2].item() == np.inf


def test_smallest_and_largest_of_any_sign():
    rng = np.random.default_rng(0)
    labels = np.sort(rng.integers(1, 9, 200)).astype("u4")
    for dtype in ("f2", "f4", "f8"):
        image = rng.normal(size=(1, 200)).astype(dtype)
        image[0, ::7] = np.nan
        found = kernels.measure_moments(labels, image, fields=(moments.MIN, moments.MAX))
        for column, label in enumerate(found.labels):
            values = image[0, labels == label]
            assert found.table[MIN, 0, column] == np.nanmin(values)
            assert found.table[MAX, 0, column] == np.nanmax(values)


def test_rows_that_are_not_asked_for_are_neutral():
    image = np.array([[4, 6]], "u2")
    found = kernels.measure_moments(np.ones(2, "u4"), image, fields=(SUM,))
    assert found.table[[COUNT, SUM, M2, MIN, MAX, VOXELS], 0, 0].tolist() == [
        *(2, 10, 0, np.inf, -np.inf, 2)
    ]


def test_groups_without_members_or_values():
    found = kernels.measure_moments(np.array([1, 2], "u4"), np.array([[5.0, np.nan]]))
    pooled = found.reduce(np.array([2, 0, 1]), np.array([0, 1, 1, 3]))
    assert pooled.table[COUNT, 0].tolist() == [0, 0, 1]
    assert pooled.table[VOXELS, 0].tolist() == [0, 0, 2]
    assert pooled.table[MIN, 0].tolist() == [np.inf, np.inf, 5]
    assert pooled.means[0].tolist() == [0, 0, 5]
    assert pooled.table[M2, 0].tolist() == [0, 0, 0]
    assert kernels.merge([kernels.empty_moments(1)] * 2).table.shape == (8, 1, 0)
