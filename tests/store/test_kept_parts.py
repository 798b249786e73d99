"""Parts of tables are read once, by however many threads, and few are kept."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from refspace.store.kept_parts import KeptParts


def test_several_threads_read_a_part_once_and_others_meanwhile():
    reads, both = Counter(), threading.Barrier(2, timeout=30)

    def read(key):
        reads[key] += 1
        # Two parts are read at the same time, or this never ends.
        both.wait()
        return np.full(3, key)

    parts = KeptParts(read)
    with ThreadPoolExecutor(8) as pool:
        values = list(pool.map(parts.get, [0, 1] * 4))
    assert reads == {0: 1, 1: 1}
    assert [value[0] for value in values] == [0, 1] * 4


@pytest.mark.parametrize(
    ("most_bytes", "asked", "expected"),
    [
        pytest.param(25, (0, 1, 0, 2, 0, 1), [0, 1, 2, 1], id="those used last"),
        pytest.param(5, (0, 0, 1, 1, 0), [0, 1, 0], id="one larger than all room"),
    ],
)
def test_parts_are_kept_while_there_is_room(most_bytes, asked, expected):
    reads = []

    def read(key):
        reads.append(key)
        return np.zeros(10, np.uint8)

    parts = KeptParts(read, most_bytes=most_bytes)
    for key in asked:
        parts.get(key)
    assert reads == expected


def test_what_could_not_be_read_is_tried_again():
    answers = [OSError("away"), np.arange(2)]

    def read(_key):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    parts = KeptParts(read)
    with pytest.raises(OSError, match="away"):
        parts.get(0)
    assert parts.get(0).tolist() == [0, 1]
