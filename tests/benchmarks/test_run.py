"""Runs, on a volume too small to say anything of speed; rivals are those of this environment."""

import json
import subprocess
import sys
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest

import refspace
from benchmarks import data, environments
from benchmarks.making import whole
from benchmarks.measurement import Inputs, Timed
from benchmarks.server import REPOSITORY, served
from benchmarks.timing import REQUESTS, measured


def run(work: Path, *options: str) -> dict:
    """Summary of a run on the sample brain."""
    out = work / "out.json"
    command = [sys.executable, "-W", "error", "-m", "benchmarks", "--here", "--rounds", "1"]
    command += ["--sizes", "400", "--work", str(work), "--out", str(out), *options]
    subprocess.run(command, check=True, cwd=REPOSITORY, capture_output=True, text=True)
    return json.loads(out.read_text())


@pytest.mark.slow
def test_processes_are_measured_in_turn_and_logged(tmp_path: Path) -> None:
    found = run(tmp_path, "--only", "counts", "mask of AUDd, cropped", "--media", "disk", "memory")
    assert [(row["job"], row["medium"]) for row in found["rows"]] == [
        ("counts", "memory"),
        ("counts", "disk"),
        ("mask of AUDd, cropped", "memory"),
        ("mask of AUDd, cropped", "disk"),
    ]
    for row in found["rows"]:
        assert row["limit"] is None or row["medium"] == "disk"
        by_name = {way["name"]: way for way in row["ways"]}
        assert by_name["refspace"]["seconds"] > 0
        assert by_name["refspace"]["agrees"]
        assert "failed" not in by_name["refspace"]
    (log,) = tmp_path.glob("*.jsonl")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    names = [line["name"] for line in lines if line.get("job") == "counts"]
    assert names[:2] == ["refspace", "dask.array.unique"]


@pytest.mark.slow
def test_two_versions_in_one_run(tmp_path: Path) -> None:
    # The code of this commit has the same stores as the present one, or stores of its own.
    head = subprocess.run(
        ["git", "-C", REPOSITORY, "rev-parse", "--short=7", "HEAD"], capture_output=True, text=True
    )
    if head.returncode:
        pytest.skip("this is no repository of git")
    found = run(tmp_path, "--against", "HEAD", "--only", "mask of VISp", "--media", "disk")
    (row,) = found["rows"]
    assert [way["name"] for way in row["ways"]][:2] == found["refspace"]
    assert found["refspace"] == ["refspace", f"refspace {head.stdout.strip()}"]
    assert [way["agrees"] for way in row["ways"][:2]] == [True, True]


def test_a_commit_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="--against nowhere"):
        data.earlier("nowhere", tmp_path)


def test_stores_of_other_code_have_other_names(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("1")
    first = data.Version("refspace", tmp_path).store
    (tmp_path / "a.py").write_text("2")
    assert data.Version("refspace", tmp_path).store != first


def test_an_environment_that_cannot_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(command: list[str], **_: object) -> None:
        raise subprocess.CalledProcessError(1, command, stderr="ERROR: no such version\n")

    monkeypatch.setattr(environments.subprocess, "run", failing)
    rivals = environments.Environments(tmp_path)
    for _ in range(2):
        with pytest.raises(environments.MissingEnvironmentError, match="no such version"):
            rivals.python("allensdk")
    assert rivals.python("ours") == Path(sys.executable)


def test_files_are_whole_or_absent(tmp_path: Path) -> None:
    target = tmp_path / "a.npy"
    with suppress(KeyError), whole(target) as path:
        path.write_text("half")
        raise KeyError
    assert not target.exists()
    with whole(target) as path:
        path.write_text("all")
    assert target.read_text() == "all"


# ----- one measurement


def inputs(folder: Path, **options: object) -> Inputs:
    """Inputs of a measurement that repeats its call for no time."""
    return Inputs(str(folder), 400, "disk", str(folder), "atlas.zarr", seconds=0, **options)


def test_a_call_is_repeated_with_what_is_fresh(tmp_path: Path) -> None:
    spaces: list[int] = []

    def fresh() -> int:
        spaces.append(len(spaces))
        return spaces[-1]

    timed = Timed(lambda space: space, lambda result: {"digest": str(result)}, fresh)
    figures = measured(timed, inputs(tmp_path))
    assert len(figures["seconds"]) == len(figures["processor"]) == len(spaces) == 2
    assert figures["answer"] == {"digest": "0"}
    assert figures["peak"] >= figures["before"] > 0


def test_the_output_is_counted(tmp_path: Path) -> None:
    mask = refspace.phantom(400).make_structure_mask("root")
    figures = measured(Timed(lambda _: mask.values), inputs(tmp_path))
    assert figures["output"] == pytest.approx(mask.size / 1e6)


def test_requests_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("b")
    with served(tmp_path, 1) as url:
        for expected in (0, 1):
            with urllib.request.urlopen(f"{url}/{REQUESTS}") as answer:
                assert int(answer.read()) == expected
            with urllib.request.urlopen(f"{url}/a") as answer:
                assert answer.read() == b"b"


def test_a_failure_is_an_answer(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.worker", "ours.mask"]
    given = inputs(tmp_path, given={"structures": ["VISp"]})
    command.append(given.to_json())
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert json.loads(done.stdout)["failed"].startswith("StoreError: there is no zarr store")
