"""Commands tell which ids of the volume their structures lack: one line on standard error."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from helpers.commands import run as run_command

import refspace
from refspace.grid import Grid
from refspace.labels import labelled

ROWS = [(1, None), (2, 1), (70000, 1)]
LINE = "Warning: the volume holds 2 ids that the structures lack: 33, 4464. 1 of them are absent"
COUNTED = LINE.replace("the volume holds", "24 voxels hold")
CAST = "of the structures modulo 65536 (70000 became 4464): the volume was likely cast to uint16"


@pytest.fixture
def atlas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    voxels = np.zeros((6, 6, 6), "u2")
    voxels[1:5, 1:5, 1:3], voxels[1, 1:5, 3:5], voxels[2:4, 1:5, 3:5] = 2, 33, 70000 % 65536
    refspace.write_nrrd("v.nrrd", labelled(voxels, Grid(voxels.shape, 25)))
    records = [
        {"id": i, "acronym": f"s{i}", "name": f"s{i}", "parent_structure_id": p,
         "color_hex_triplet": "102030"}
        for i, p in ROWS
    ]  # fmt: skip
    Path("s.json").write_text(json.dumps(records))
    refspace.write_nrrd("image.nrrd", labelled(voxels.astype("f4"), Grid(voxels.shape, 25)))
    return ["v.nrrd", "s.json"]


@pytest.fixture
def store(atlas: list[str]) -> list[str]:
    refspace.convert(*atlas, "a.zarr", chunks=4)
    return ["a.zarr"]


COMMANDS: dict[str, Callable[[list[str]], list[str]]] = {
    "mask": lambda atlas: ["mask", *atlas, "-s", "s2", "-o", "m.nrrd"],
    "mask, cropped": lambda atlas: ["mask", *atlas, "-s", "s2", "--crop", "-o", "m.nrrd"],
    "masks": lambda atlas: ["masks", *atlas, "-o", "m.zarr"],
    "masks of some": lambda atlas: ["masks", *atlas, "-s", "s1", "-o", "folder"],
    "aggregate": lambda atlas: ["aggregate", *atlas, "image.nrrd"],
    "aggregate to a table": lambda atlas: ["aggregate", *atlas, "image.nrrd", "-o", "t.csv"],
    "export": lambda atlas: ["export", "itksnap", *atlas, "l.nrrd", "l.txt"],
}


def run(*words: object) -> Result:
    """Run a command that succeeds."""
    result = run_command(*words)
    assert result.exit_code == 0, result.output
    return result


def told(result: Result) -> list[str]:
    return [line for line in result.stderr.splitlines() if "that the structures lack" in line]


@pytest.mark.parametrize("command", COMMANDS)
def test_of_files_what_the_work_has_read(command: str, atlas: list[str]) -> None:
    result = run(*COMMANDS[command](atlas))
    (line,) = told(result)
    assert line.startswith(LINE)
    assert CAST in line


@pytest.mark.parametrize("command", COMMANDS)
def test_of_stores_what_the_index_says(command: str, store: list[str]) -> None:
    result = run(*COMMANDS[command](store))
    (line,) = told(result)
    assert line.startswith(COUNTED)
    assert CAST in line


def test_convert_and_info_and_counts(atlas: list[str]) -> None:
    for words in (
        ["convert", *atlas, "a.zarr"],
        ["info", "a.zarr"],
        ["info", "a.zarr", "--json"],
        ["counts", "a.zarr"],
        ["counts", *atlas],
        ["mask", "a.zarr", "-s", "s2", "--dry-run"],
    ):
        result = run(*words)
        (line,) = told(result)
        assert line.startswith(COUNTED)
        assert CAST in line
    described = run("info", "a.zarr", "--json")
    assert json.loads(described.stdout)["unknown_ids"] == [33, 4464]
    assert "; 2 unknown ids in the volume" in run("info", "a.zarr").stdout


def test_nothing_is_told_where_all_are_known(tmp_path: Path) -> None:
    space = refspace.phantom(400)
    space.to_zarr(tmp_path / "p.zarr")
    refspace.write_nrrd(tmp_path / "p.nrrd", space.annotation)
    refspace.write_structures(tmp_path / "p.json", space.structure_tree)
    for atlas in ([tmp_path / "p.zarr"], [tmp_path / "p.nrrd", tmp_path / "p.json"]):
        assert not told(run("mask", *atlas, "-s", "VISp", "-o", tmp_path / "m.nrrd", "--overwrite"))
        assert not told(run("counts", *atlas))
    described = run("info", tmp_path / "p.zarr")
    assert not told(described)
    assert "unknown" not in described.stdout


def test_what_is_not_read_is_not_told(atlas: list[str]) -> None:
    """Without an index, what would be read is not known either."""
    assert not told(run("mask", *atlas, "-s", "s2", "--dry-run"))
