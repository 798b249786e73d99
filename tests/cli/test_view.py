"""The commands ``view`` and ``export neuroglancer``."""

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers.commands import run

import refspace
from refspace.viewer.viewing import View


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tmp_path = tmp_path_factory.mktemp("view")
    space = refspace.phantom(resolution=400)
    refspace.write_nifti(tmp_path / "brain.nii.gz", space.annotation)
    refspace.write_nrrd(tmp_path / "energy.nrrd", space.annotation.astype("u2"))
    refspace.write_structures(tmp_path / "structures.json", space.structure_tree)
    space.to_zarr(tmp_path / "brain.zarr", chunks=16)
    rows = {"structure": ["Isocortex", "TH"], "left": [1, 2], "right": [3, "n/a"]}
    pd.DataFrame(rows).to_csv(tmp_path / "values.csv", index=False)
    pd.DataFrame(np.full((5, 3), 2), columns=["i", "j", "k"]).to_csv(tmp_path / "cells.csv")
    return tmp_path


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """States of the viewers that commands have shown; each is ended by Ctrl-C at once."""
    states: list[dict[str, Any]] = []

    def wait(view: View) -> None:
        states.append(view.state)
        raise KeyboardInterrupt

    monkeypatch.setattr(View, "wait", wait)
    return states


def layers(states: list[dict[str, Any]]) -> list[str]:
    (state,) = states
    return [layer["name"] for layer in state["layers"]]


def test_a_nifti_with_all_there_is(files: Path, seen: list[dict[str, Any]]) -> None:
    inputs = [files / name for name in ("brain.nii.gz", "structures.json", "energy.nrrd")]
    options = ["--values", files / "values.csv", "--points", files / "cells.csv"]
    options += ["--columns", "i,j,k", "--unit", "voxel", "--structure", "TH", "--limits", 0, 5]
    result = run("view", *inputs, "--frame", "PIR", *options, "--no-browser")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("http://127.0.0.1:")
    assert layers(seen) == ["energy.nrrd", "values", "annotation", "points"]
    assert "549" in seen[0]["layers"][2]["segments"]


def test_a_store_and_an_image(files: Path, seen: list[dict[str, Any]]) -> None:
    result = run("view", files / "brain.zarr", files / "energy.nrrd", "--no-browser")
    assert result.exit_code == 0, result.output
    assert layers(seen) == ["energy.nrrd", "annotation"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["brain.nii.gz"], "names no structures"),
        (["brain.zarr", "none.nrrd"], "none.nrrd does not exist"),
        (["brain.zarr", "--structure", "Thalamsu"], "Thalam"),
        (["brain.zarr", "--values", "cells.csv"], "no column says of which structures"),
        (["brain.zarr", "--points", "values.csv"], "values.csv"),
        (["brain.zarr", "--limits", "5", "1", "--values", "values.csv"], "the lower one first"),
        (["brain.zarr", "--opacity", "3"], "opacity"),
    ],
)
def test_what_cannot_be_shown(
    files: Path,
    seen: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(files)
    result = run("view", *words, "--no-browser")
    assert result.exit_code != 0
    assert message in result.output
    assert "Traceback" not in result.output
    assert seen == []


@pytest.mark.slow
def test_ctrl_c_ends_it_well(files: Path) -> None:
    code = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code += "from refspace.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, "view", str(files / "brain.zarr"), "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as it:
        assert it.stdout is not None
        url = it.stdout.readline().strip()
        with urllib.request.urlopen(url) as answer:
            assert answer.status == 200
        it.send_signal(signal.SIGINT)
        _, errors = it.communicate(timeout=60)
    assert (it.returncode, "Traceback" in errors) == (0, False)


def test_export(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files)
    result = run("export", "neuroglancer", "brain.zarr", "-o", "look")
    assert "give --url" in result.output
    url = "https://host/atlases/brain.zarr"
    result = run("export", "neuroglancer", "brain.zarr", "--url", url, "-o", "look")
    assert result.exit_code == 0, result.output
    assert "#!https://host/atlases/look/state.json" in result.output
    state = json.loads((files / "look" / "state.json").read_text())
    assert state["layers"][0]["source"][0] == f"zarr3://{url}/"


@pytest.mark.slow
def test_export_with_meshes(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files)
    url = "https://host/brain.zarr"
    result = run("export", "neuroglancer", "brain.zarr", "--url", url, "--meshes", "-o", "solid")
    assert result.exit_code == 0, result.output
    space = refspace.open(files / "brain.zarr")
    meshes = {path.stem for path in (files / "solid" / "meshes").glob("*.mesh")}
    assert meshes == {str(i) for i, count in space.direct_voxel_map.items() if count}
