"""Limits: their values, how they are set, and what is said where something is beyond one."""

import contextlib
from concurrent.futures import ThreadPoolExecutor

import pytest

import refspace
from refspace.errors import FormatError, RemoteError, SettingError
from refspace.limits import (
    LIMITS,
    check_limit,
    chosen_limits,
    limit,
    limits_of_task,
    set_limits,
)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    for known in LIMITS.values():
        monkeypatch.delenv(known.variable, raising=False)


@pytest.mark.parametrize(
    ("value", "number"),
    [(7, 7), ("7", 7), (" 7 k ", 7168), ("2KiB", 2048), ("2MB", 2**21), ("3g", 3 * 2**30)],
)
def test_a_limit_is_set_for_a_block(value, number):
    before = limit("levels")
    with set_limits(levels=value, blocks=5):
        assert (limit("levels"), limit("blocks")) == (number, 5)
        with set_limits(levels=None):
            assert limit("levels") == before
        assert limit("levels") == number
    assert limit("levels") == before


def test_a_limit_is_set_from_now_on():
    refspace.set_limits(levels=9)
    try:
        assert limit("levels") == 9
    finally:
        set_limits(levels=None)
    assert limit("levels") == LIMITS["levels"].default


def test_the_environment_sets_limits_too(monkeypatch):
    monkeypatch.setenv("REFSPACE_MAX_METADATA_BYTES", "256M")
    assert limit("metadata_bytes") == 2**28
    with set_limits(metadata_bytes=3):
        assert limit("metadata_bytes") == 3
    monkeypatch.setenv("REFSPACE_MAX_METADATA_BYTES", "")
    assert limit("metadata_bytes") == 2**26
    monkeypatch.setenv("REFSPACE_MAX_METADATA_BYTES", "much")
    with pytest.raises(SettingError, match="the limit metadata_bytes is 'much'; give a whole numb"):
        limit("metadata_bytes")


def test_limits_of_clients_hold_while_their_tasks_are_done(monkeypatch):
    monkeypatch.setenv("REFSPACE_MAX_LEVELS", "7")
    with contextlib.ExitStack() as first, contextlib.ExitStack() as second:
        for stack, levels in ((first, 40), (second, 50), (first, 40)):
            stack.enter_context(limits_of_task({"levels": levels}))
        assert chosen_limits() == {"levels": 50}
        assert (limit("levels"), limit("blocks")) == (50, LIMITS["blocks"].default)
        # In threads of the task as well; what is set here counts before what comes from elsewhere.
        with ThreadPoolExecutor() as pool, set_limits(blocks=5):
            assert [*pool.map(limit, ["levels", "blocks"])] == [50, 5]
            with set_limits(levels=3):
                assert chosen_limits() == {"levels": 3, "blocks": 5}
        second.close()
        assert limit("levels") == 40
    assert limit("levels") == 7


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "", "1x", "9" * 19, "1e3"])
def test_values_that_are_none(value):
    with pytest.raises(SettingError, match=r"the limit levels is .*; give a whole number fr"):
        set_limits(levels=value)
    assert limit("levels") == LIMITS["levels"].default


def test_names_that_are_none():
    with pytest.raises(SettingError, match="there is no limit 'leves'; there are metadata_bytes, "):
        set_limits(leves=4)


def test_what_is_said_names_the_limit():
    check_limit("levels", 32, "nothing")
    with pytest.raises(FormatError, match=r"^a has 33, of at most 32; if it is right, raise the l"):
        check_limit("levels", 33, lambda: "a has 33")
    with pytest.raises(RemoteError, match=r"set_limits\(levels=\.\.\.\) or REFSPACE_MAX_LEVELS$"):
        check_limit("levels", 33, "a has 33", RemoteError)
