"""Blocks of the README that are not doctests: they run as they stand there."""

import os
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import refspace
from refspace.cli import main
from refspace.volume import labelled

README = Path(__file__).parents[1] / "README.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README.read_text("utf-8"), re.M | re.S)


def test_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # The first two blocks set up an environment: .ci/run runs them.
    (commands,) = blocks("bash")[2:]
    for line in commands.splitlines():
        result = CliRunner().invoke(main, shlex.split(line)[1:])
        assert result.exit_code == 0, f"{line}\n{result.output}"
    names = {"slice_coronal.png", "thalamus.png", "coarse.nrrd", "labels.nrrd", "labels.txt"}
    names |= {"AUDd.nrrd", "again.zarr/zarr.json"}
    names |= {"masks/structure_385.nrrd", "masks/structure_549.nrrd"}
    folder = tmp_path / "refspace-demo"
    assert names <= {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_python_without_prompt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    refspace.write_structures("structure_graph_1.json", refspace.phantom(400).structure_tree)
    grid = refspace.Grid((4, 4, 4), (25, 25, 25))
    refspace.write_nrrd("annotation_25.nrrd", labelled(np.full(grid.shape, 385, "u4"), grid))
    (code,) = [block for block in blocks("python") if ">>>" not in block]
    names: dict[str, refspace.ReferenceSpace] = {}
    exec(code, names)
    assert names["space"].total_voxel_map[315] == 64


def test_setup_commands_are_the_first_two_blocks() -> None:
    demo, tests = blocks("bash")[:2]
    assert demo.rstrip().endswith("refspace demo")
    assert tests.rstrip().endswith("-m pytest -n auto --cov")
    assert os.linesep not in demo.strip()
