"""How far it reaches, by simulation."""

import pytest

from benchmarks import scale


def test_at_a_small_size(capsys: pytest.CaptureFixture[str]) -> None:
    scale.main(["--side", "4"])
    printed = capsys.readouterr().out
    assert "\n| chunks of 128³ | 693 | 589,680 | 420,325,000 |" in printed
    assert "\n| the whole label index, in memory | 195 KiB | 162 MiB | 113 GiB |" in printed
    with pytest.raises(SystemExit):
        scale.main(["--side", "3"])


@pytest.mark.slow
def test_an_index_of_a_million_chunks() -> None:
    # Counts and masks are compared with what was written while they are measured.
    measured = scale.measure(100)
    assert (measured.chunks, measured.rows) == (10**6, 10**6 + 8)
    assert (measured.parts, measured.cropped_reads) == (8, 1)
    assert measured.count_memory < 2**20
    # As of a small volume: blocks elsewhere are no part of its graph.
    assert measured.cropped_tasks == scale.measure(5).cropped_tasks
