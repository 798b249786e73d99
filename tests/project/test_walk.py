"""The walk in the contributor's guide names what is in the files that it leads through."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WALK = re.search(r"<!-- walk.*?-->(.*)<!-- /walk -->", (ROOT / "CONTRIBUTING.md").read_text(), re.S)
STATIONS = re.findall(r"^\d\. (.*(?:\n   .*)*)", WALK[1] if WALK else "", re.M)


def test_six_files_lead_from_the_class_to_the_chunk() -> None:
    assert 0 < len(STATIONS) <= 6


@pytest.mark.parametrize("station", STATIONS, ids=lambda station: station.split("`")[1])
def test_each_file_has_what_the_walk_says(station: str) -> None:
    link, text = station.split(":", 1)
    path = re.search(r"\((.*)\)", link)
    assert path is not None
    code = (ROOT / path[1]).read_text()
    names = re.findall(r"`(\w+)`", text)
    assert names
    assert [name for name in names if not re.search(rf"\b{name}\b", code)] == []
