"""Answers are alike where results are, and only there."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from benchmarks import answers
from benchmarks.comparison import dissenters, same

volumes = arrays.arrays(
    np.uint32, arrays.array_shapes(min_dims=1, max_dims=4, max_side=4), elements=st.integers(0, 9)
)


@given(volumes)
def test_types_and_orders_do_not_matter(volume: np.ndarray) -> None:
    answer = answers.of_array(volume)
    for other in (volume.astype("i8"), volume.astype("u2"), np.asfortranarray(volume)):
        assert same(answer, answers.of_array(other))


@given(volumes, st.data())
def test_one_other_value_matters(volume: np.ndarray, data: st.DataObject) -> None:
    other = volume.copy()
    other.flat[data.draw(st.integers(0, volume.size - 1))] += 1
    assert not same(answers.of_array(volume), answers.of_array(other))


def test_a_mask_is_what_is_not_0() -> None:
    inside = np.array([[[True, False]]])
    assert same(answers.of_array(inside), answers.of_array(inside.astype("u1")))


def test_another_shape_is_another_answer() -> None:
    assert not same(answers.of_array(np.zeros((2, 3))), answers.of_array(np.zeros((3, 2))))


def test_counts_of_0_and_of_background_do_not_matter() -> None:
    assert same(answers.of_integers({0: 9, 3: 2, 5: 0}), answers.of_integers({3: np.int64(2)}))
    assert not same(answers.of_integers({3: 2}), answers.of_integers({3: 3}))


def test_numbers_agree_within_rounding_on_common_ids() -> None:
    one = answers.of_numbers([1, 2, 3], [0.5, 0.25, 7])
    assert same(one, answers.of_numbers([2, 1], [0.250001, 0.5]))
    assert not same(one, answers.of_numbers([2, 1], [0.26, 0.5]))
    assert not same(one, answers.of_numbers([4], [1]))


@pytest.mark.parametrize(
    ("given_answers", "wrong"),
    [
        ({}, []),
        ({"a": 1}, []),
        ({"a": 1, "b": 1}, []),
        ({"a": 1, "b": 2}, ["b"]),
        ({"a": 1, "b": 2, "c": 2}, ["a"]),
        ({"a": 1, "b": 2, "c": 1, "d": 3}, ["b", "d"]),
    ],
)
def test_most_are_right(given_answers: dict[str, int], wrong: list[str]) -> None:
    told = {name: {"digest": str(answer)} for name, answer in given_answers.items()}
    assert dissenters(told) == wrong
