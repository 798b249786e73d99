"""Medians, limits, agreement and what is wanted, of measurements that are made up."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as command
from benchmarks import pages, report, results

BEGUN = {
    "machine": {
        "processor": "P",
        "cores": "2",
        "memory": "24 GB",
        "system": "S",
        "python": "3.11",
        "date": "2026-01-01",
    },
    "versions": {"numpy": "2.4"},
    "refspace": ["refspace", "refspace 1234567"],
    "brain": "mouse",
}
JOB = "mask of Isocortex"


def line(name: str, seconds: list[float], way: str = "", **figures: Any) -> dict[str, Any]:
    """A line of a log."""
    place = {"job": JOB, "resolution": 25.0, "medium": "memory", **figures}
    costs = {"processor": seconds, "peak": 300.0, "output": 100.0, "before": 200.0}
    return {"way": way or name, "name": name, "seconds": seconds, **costs, **place}


def limits(**work: float) -> dict[str, Any]:
    """What a job must do, on a machine of 1 GB/s."""
    works = {JOB: {"decoded": 0, "written": 0, "rounds": 0, **work}}
    return {
        "limits": {"work": works, "speeds": {"codec": 1e9, "memset": 1e9}},
        "resolution": 25.0,
    }


def row(*lines: dict[str, Any]) -> dict[str, Any]:
    """The only row of a summary."""
    (found,) = results.summary([BEGUN, *lines])["rows"]
    return found


def test_medians_of_processes() -> None:
    runs = [line("refspace", calls) for calls in ([0.9, 0.2, 0.3], [0.5, 0.4], [0.7, 0.1])]
    (way,) = row(*runs)["ways"]
    assert (way["first"], way["seconds"], way["runs"], way["calls"]) == (0.7, 0.2, 3, 3)
    assert (way["peak"], way["beyond"]) == (300, 200)


def test_what_is_measured_in_part_is_multiplied() -> None:
    name = "masks of 300 structures to a store"
    (way,) = row(line("AllenSDK", [12], job=name, medium="disk"))["ways"]
    assert way["seconds"] == 300


def test_a_wrong_rival_is_told() -> None:
    found = row(
        line("refspace", [1], answer={"digest": "a"}),
        line("AllenSDK", [9], answer={"digest": "b"}),
        line("numpy.isin", [8], answer={"digest": "a"}),
        line("fastremap.mask_except", [2]),
    )
    agreeing = {way["name"]: way.get("agrees") for way in found["ways"]}
    assert list(agreeing.values()) == [True, False, True, None]
    told = report.text({**BEGUN, "speeds": {}, "rows": [found]})
    assert [each.split()[0] for each in told.splitlines() if "WRONG" in each] == ["AllenSDK"]


def test_of_two_that_differ_the_second_is_told() -> None:
    found = row(
        line("refspace", [1], answer={"digest": "a"}),
        line("AllenSDK", [9], answer={"digest": "b"}),
    )
    assert [way["agrees"] for way in found["ways"]] == [True, False]


def test_a_rival_that_fails_is_told() -> None:
    failed = {"job": JOB, "resolution": 25.0, "medium": "memory", "way": "nobody", "name": "nobody",
              "failed": "ModuleNotFoundError: No module named 'nobody'"}  # fmt: skip
    found = row(line("refspace", [1]), failed)
    told = report.text({**BEGUN, "speeds": {}, "rows": [found]})
    assert "not measured: ModuleNotFoundError: No module named 'nobody'" in told


@pytest.mark.parametrize(
    ("medium", "limit"), [("disk", 3.0), ("http, 50 ms", 3.1), ("memory", None)]
)
def test_limits(medium: str, limit: float | None) -> None:
    work = limits(decoded=2e9, written=1e9, rounds=2)
    assert row(work, line("refspace", [1], medium=medium))["limit"] == limit


@pytest.mark.parametrize(("seconds", "met"), [(0.5, True), (0.51, False)])
def test_what_is_wanted_beside_a_rival(seconds: float, met: bool) -> None:
    found = row(line("refspace", [seconds]), line("AllenSDK", [10]))
    assert [each["met"] for each in found["wanted"]] == [met]


@pytest.mark.parametrize(("seconds", "met"), [(2, True), (2.1, False)])
def test_what_is_wanted_beside_the_limit(seconds: float, met: bool) -> None:
    place = {"medium": "disk", "resolution": 10.0}
    work = {**limits(decoded=1e9), "resolution": 10.0}
    found = row(work, line("refspace", [seconds], **place))
    assert [each["met"] for each in found["wanted"]] == [met, True]  # and 200 MB of 500


def test_nothing_is_wanted_of_the_sample_brain() -> None:
    begun = {**BEGUN, "brain": "sample"}
    lines = [begun, line("refspace", [9]), line("AllenSDK", [10])]
    assert results.summary(lines)["rows"][0]["wanted"] == []


def test_before_and_after() -> None:
    lines = [line("refspace", [1]), line("refspace 1234567", [2], way="refspace")]
    told = report.before_and_after(results.summary([BEGUN, *lines]))
    assert "| 2 s, 300 MB | 1 s, 300 MB | 2 × | 2 × |" in told


def test_a_log_that_was_cut_off(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [json.dumps(each) for each in (BEGUN, line("refspace", [1]), line("AllenSDK", [50]))]
    log = tmp_path / "log.jsonl"
    log.write_text("\n".join(lines) + '\n{"job": "mask of Iso')
    assert len(results.read_log(log)) == 3
    assert command.main(["--from-log", str(log), "--out", str(tmp_path / "out.json")]) == 0
    assert "AllenSDK" in capsys.readouterr().out
    assert json.loads((tmp_path / "out.json").read_text())["rows"][0]["job"] == JOB


def test_what_is_not_as_wanted_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [json.dumps(each) for each in (BEGUN, line("refspace", [1]), line("AllenSDK", [2]))]
    log = tmp_path / "log.jsonl"
    log.write_text("\n".join(lines) + "\n")
    assert command.main(["--from-log", str(log)]) == 1
    assert "FAIL: time at most 0.05 × AllenSDK: 1 of 0.1" in capsys.readouterr().out


def test_an_unknown_job_is_an_error_that_lists_all() -> None:
    with pytest.raises(SystemExit, match=r"--only 'maks' is no job; there are: load, file to mask"):
        command.main(["--only", "maks"])


def test_some_jobs_are_not_published_for_all() -> None:
    with pytest.raises(SystemExit, match="leave out --only"):
        command.main(["--only", "load", "--publish"])


@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: page.name)
def test_pages_show_what_the_results_say(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "<!-- benchmark: " in text
    assert pages.rendered(text) == text, "run: python -m benchmarks.pages"


@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: page.parent.name)
def test_pages_show_new_results(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [
        limits(decoded=1e8),
        line("refspace", [1]),
        line("refspace 1234567", [2], way="refspace"),
        line("AllenSDK", [150]),
    ]
    (tmp_path / "mouse.json").write_text(results.to_json(results.summary([BEGUN, *lines])))
    monkeypatch.setattr(pages, "RESULTS", tmp_path)
    text = pages.rendered(page.read_text(encoding="utf-8"))
    shown = {
        "README.md": "| mask of Isocortex | 150 s | 1 s | 150 × |",
        "speed.md": "| mask of Isocortex (memory) | 1 s | | 300 MB | "
        "refspace 1234567 2 s (2 ×), AllenSDK 150 s (150 ×) |",
        "benchmarks": "| mask of Isocortex, 25 µm, memory | 2 s, 300 MB | 1 s, 300 MB | 2 × |",
    }
    assert shown["benchmarks" if page.parent.name == "benchmarks" else page.name] in text
    assert pages.rendered(text) == text


def test_the_readme_is_short() -> None:
    assert len((pages.REPOSITORY / "README.md").read_bytes()) <= 6000
