from fractions import Fraction

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from helpers.profiles import examples
from helpers.volumes import IDS, MEMORY_ORDERS, RATIOS, UNKNOWN, in_memory_order, mode, volumes
from hypothesis import given
from hypothesis import strategies as st

from refspace import kernels

DTYPES = ["u1", "u2", "u4"]
BLOCK = np.array([[[7, 7, 7], [7, 0, 9]], [[9, 9, 7], [0, 0, 0]]], "u4")


def table(dtype, values):
    """Sorted ids that the type can hold, and their values."""
    ids = sorted(i for i in values if i <= np.iinfo(dtype).max)
    return np.array(ids, dtype), np.array([values[i] for i in ids])


# ----- runs


@given(volumes())
def test_runs_spell_out_the_block(voxels):
    labels, lengths = kernels.run_lengths(voxels)
    np.testing.assert_array_equal(np.repeat(labels, lengths), voxels.ravel())
    assert (labels[1:] != labels[:-1]).all()
    assert lengths.min() > 0
    assert labels.dtype == voxels.dtype


@pytest.mark.parametrize("shape", [(0,), (0, 3, 3), (3, 0, 2)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_blocks_without_voxels(shape, dtype):
    block = np.zeros(shape, dtype)
    labels, lengths = kernels.run_lengths(block)
    assert labels.size == lengths.size == 0
    labels, counts = kernels.count_labels(block)
    assert labels.size == counts.size == 0
    mask = kernels.relabel(block, np.array([7], dtype), np.array([1], "u1"), np.array(0, "u1"))
    assert (mask.shape, mask.dtype) == (shape, np.uint8)


# ----- counts


@given(volumes())
def test_counts(voxels):
    labels, counts = kernels.count_labels(voxels)
    expected_labels, expected_counts = np.unique(voxels, return_counts=True)
    np.testing.assert_array_equal(labels, expected_labels)
    np.testing.assert_array_equal(counts, expected_counts)
    assert counts.dtype == np.int64


@pytest.mark.parametrize("order", MEMORY_ORDERS)
def test_counts_do_not_depend_on_memory_order(order):
    labels, counts = kernels.count_labels(in_memory_order(BLOCK, order))
    assert dict(zip(labels.tolist(), counts.tolist(), strict=True)) == {0: 4, 7: 5, 9: 3}


# ----- measures


@st.composite
def blocks(draw):
    """Labels of one to three axes, in any memory order."""
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=3, max_side=7))
    labels = st.sampled_from(draw(st.sampled_from([[7], [0, 2**32 - 1], [0, *IDS]])))
    voxels = draw(hnp.arrays("u4", shape, elements=labels, fill=labels))
    return in_memory_order(voxels, draw(st.sampled_from(MEMORY_ORDERS)))


@given(blocks())
def test_measures(block):
    labels, counts, start, stop, sums = kernels.measure(block)
    places = [np.argwhere(block == label) for label in labels]
    np.testing.assert_array_equal(labels, np.unique(block))
    np.testing.assert_array_equal(counts, [len(place) for place in places])
    np.testing.assert_array_equal(start, [place.min(axis=0) for place in places])
    np.testing.assert_array_equal(stop, [place.max(axis=0) + 1 for place in places])
    np.testing.assert_array_equal(sums, [place.sum(axis=0) for place in places])
    assert labels.dtype == block.dtype
    assert {part.dtype for part in (counts, start, stop, sums)} == {np.dtype(np.int64)}


@pytest.mark.parametrize("count", [255, 256, 257, 65535, 65536, 65537])
def test_measures_of_many_labels(count):
    block = np.random.default_rng(0).permutation(count).astype("u4")
    labels, counts, start, stop, sums = kernels.measure(block)
    np.testing.assert_array_equal(labels, np.arange(count))
    np.testing.assert_array_equal(block[start[:, 0]], labels)
    np.testing.assert_array_equal(start, sums)
    np.testing.assert_array_equal(stop, start + 1)
    assert (counts == 1).all()


def test_sums_are_exact_beyond_float64():
    # A line of 2**27 voxels: its indices sum to an odd number above 2**53.
    line = np.zeros(2**27 + 2, "u1")
    line[0] = 1
    count = line.size
    assert kernels.measure(line)[4].tolist() == [[count * (count - 1) // 2], [0]]


@pytest.mark.parametrize("shape", [(0,), (0, 3, 3), (3, 0, 2), (3, 2, 0)])
def test_measures_of_no_voxels(shape):
    labels, counts, *places = kernels.measure(np.zeros(shape, "u4"))
    assert labels.size == counts.size == 0
    assert [place.shape for place in places] == [(0, len(shape))] * 3


# ----- relabelling


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("count", [0, 1, 2, 3, 5])
def test_any_number_of_masks_of_a_block(count, order):
    ids = np.array([7, 9, 12], "u4")
    inside = np.random.default_rng(count).random((ids.size, count)) < 0.5
    found = list(kernels.masks(np.asarray(BLOCK, order=order), ids, inside))
    assert len(found) == count
    for mask, chosen in zip(found, inside.T, strict=True):
        np.testing.assert_array_equal(mask, np.isin(BLOCK, ids[chosen]))


@given(volumes(), st.sets(st.sampled_from([*IDS, *UNKNOWN])))
def test_masks(voxels, ids):
    kept, ones = table(voxels.dtype, dict.fromkeys(ids, 1))
    mask = kernels.relabel(voxels, kept, ones.astype("u1"), np.array(0, "u1"))
    np.testing.assert_array_equal(mask, np.isin(voxels, kept))
    assert mask.dtype == np.uint8


@given(volumes(), st.dictionaries(st.sampled_from(IDS), st.integers(-5, 5)), st.integers(6, 9))
def test_values(voxels, values, default):
    ids, numbers = table(voxels.dtype, values)
    result = kernels.relabel(voxels, ids, numbers.astype("i2"), np.array(default, "i2"))
    expected = [values.get(label, default) for label in voxels.ravel().tolist()]
    np.testing.assert_array_equal(result.ravel(), expected)
    assert result.dtype == np.int16


@given(volumes(), st.sets(st.sampled_from(IDS)))
def test_rows_of_values(voxels, ids):
    colors = {i: [i % 251, i % 241, i % 239] for i in ids}
    kept, rows = table(voxels.dtype, colors)
    default = np.array([255, 0, 255], "u1")
    image = kernels.relabel(voxels, kept, rows.reshape(-1, 3).astype("u1"), default)
    assert image.shape == (*voxels.shape, 3)
    for index in np.ndindex(voxels.shape):
        assert image[index].tolist() == colors.get(int(voxels[index]), [255, 0, 255])


@pytest.mark.parametrize("order", MEMORY_ORDERS)
def test_relabelling_keeps_memory_order(order):
    block = in_memory_order(BLOCK, order)
    ones = np.array([1], "u1")
    mask = kernels.relabel(block, np.array([7], "u4"), ones, np.array(0, "u1"))
    np.testing.assert_array_equal(mask, BLOCK == 7)
    assert mask.flags.f_contiguous == (order == "F")


@pytest.mark.parametrize("order", MEMORY_ORDERS)
def test_the_block_is_left_alone(order):
    block = in_memory_order(BLOCK, order)
    block.flags.writeable = False
    kernels.relabel(block, np.array([7], "u4"), np.array([1], "u1"), np.array(0, "u1"))
    kernels.count_labels(block)
    kernels.measure(block)
    pairs = kernels.windows(range(1), Fraction(2), 0, 2)
    kernels.mode(block, [pairs, pairs, kernels.windows(range(3), Fraction(1), 0, 3)])
    np.testing.assert_array_equal(block, BLOCK)


@pytest.mark.parametrize("near", [2**24, 2**24 + 1, 2**31 - 1, 2**31, 2**32 - 2])
def test_neighbouring_ids_stay_apart(near):
    block = np.array([near, near + 1, near, 0], "u4")
    found = kernels.relabel(block, np.array([near], "u4"), np.array([1]), np.array(0))
    assert found.tolist() == [1, 0, 1, 0]


# ----- modes


@given(volumes(labels=(5, 8, 254), max_side=5), st.tuples(*[st.sampled_from(RATIOS)] * 3))
@examples(60)
def test_modes(voxels, factors):
    ratios = [Fraction(factor).limit_denominator(10) for factor in factors]
    shape = [max(1, round(n / ratio)) for n, ratio in zip(voxels.shape, ratios, strict=True)]
    axes = [
        kernels.windows(range(cells), ratio, 0, n)
        for cells, ratio, n in zip(shape, ratios, voxels.shape, strict=True)
    ]
    result = kernels.mode(voxels, axes)
    np.testing.assert_array_equal(result, mode(voxels, ratios, shape))
    assert result.dtype == voxels.dtype
    assert set(result.flat) <= set(voxels.flat)


@pytest.mark.parametrize("low", [0, 1, 65536, 2**24])
def test_of_equal_labels_the_smaller_wins(low):
    cell = np.array([[[low + 1, low], [low, low + 1]], [[low, low + 1], [low + 1, low]]], "u4")
    pairs = kernels.windows(range(1), Fraction(2), 0, 2)
    assert kernels.mode(cell, [pairs] * 3).item() == low


def test_a_majority_wins_over_a_smaller_label():
    line = np.array([[[9, 5, 9, 7]]], "u4")
    one = kernels.windows(range(1), Fraction(1), 0, 1)
    assert kernels.mode(line, [one, one, kernels.windows(range(1), Fraction(4), 0, 4)]).item() == 9


def test_parts_of_voxels_count_by_their_size():
    # The cell takes 2/3 of its weight from 9 and 1/6 from each 5: more fives, but less of them.
    line = np.array([[[5, 9, 5]]], "u4")
    voxels, overlaps = np.array([[0, 1, 2]]), np.array([[1, 4, 1]])
    one = kernels.windows(range(1), Fraction(1), 0, 1)
    assert kernels.mode(line, [one, one, (voxels, overlaps)]).item() == 9


# ----- windows


@given(
    st.integers(0, 20),
    st.integers(1, 12),
    st.fractions(Fraction(1, 8), 8, max_denominator=12),
    st.integers(0, 3),
)
def test_windows_are_exact(first_cell, cells, ratio, spare):
    numbers = range(first_cell, first_cell + cells)
    first = first_cell * ratio.numerator // ratio.denominator
    stop = -(-(first_cell + cells) * ratio.numerator // ratio.denominator) + spare
    voxels, overlaps = kernels.windows(numbers, ratio, first, stop - first)
    assert voxels.shape == overlaps.shape
    assert ((voxels >= 0) & (voxels < stop - first)).all()
    for cell, indices, lengths in zip(numbers, voxels, overlaps, strict=True):
        got = {}
        for index, length in zip(indices.tolist(), lengths.tolist(), strict=True):
            got[first + index] = got.get(first + index, 0) + Fraction(length, ratio.denominator)
        low, high = cell * ratio, (cell + 1) * ratio
        expected = {v: min(high, v + 1) - max(low, v) for v in range(first, stop)}
        assert got == {v: overlap for v, overlap in expected.items() if overlap > 0}


def test_a_last_cell_that_sticks_out_counts_what_is_there():
    voxels, overlaps = kernels.windows(range(2), Fraction(3), 0, 5)
    assert voxels.tolist() == [[0, 1, 2], [3, 4, 4]]
    assert overlaps.tolist() == [[1, 1, 1], [1, 1, 0]]


def test_mode_of_noise_in_batches(monkeypatch):
    noise = np.random.default_rng(0).integers(0, 5, (12, 10, 8)).astype("u4")
    pairs = [(np.arange(n).reshape(-1, 2), np.ones((n // 2, 2), np.int64)) for n in noise.shape]
    whole = kernels.mode(noise, pairs)
    monkeypatch.setattr("refspace.kernels.modes._GATHERED", 20)
    np.testing.assert_array_equal(kernels.mode(noise, pairs), whole)


def test_a_graph_without_nodes_has_no_components():
    assert kernels.join(0, np.empty((0, 2), int)).shape == (0,)
