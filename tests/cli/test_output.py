"""What commands print and write: tables for people and programs, files that are there already."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.commands import run

import refspace
from refspace.cli.outputs import files_of
from refspace.cli.tables import format_table
from refspace.cli.terminal import layout
from refspace.formats.names import OUTPUT_ENDINGS
from refspace.formats.volumes import write_volume
from refspace.samples.measurements import cells, expression


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("atlas")
    space = refspace.phantom(400)
    space.to_zarr(folder / "atlas.zarr")
    refspace.write_nrrd(folder / "annotation.nrrd", space.annotation)
    refspace.write_structures(folder / "structures.json", space.structure_tree)
    refspace.write_nrrd(folder / "image.nrrd", expression(space.grid))
    cells(space.grid).to_csv(folder / "cells.csv", index=False)
    return folder


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# ----- tables

TABLES = {
    "counts": ["counts", "{}/atlas.zarr", "-s", "TH,VISp"],
    "points": ["points", "{}/atlas.zarr", "{}/cells.csv", "-s", "TH,VISp"],
    "compare": ["compare", "{}/atlas.zarr", "{}/annotation.nrrd", "-s", "TH,VISp"],
    "aggregate": ["aggregate", "{}/atlas.zarr", "{}/image.nrrd", "-s", "TH,VISp"],
    "tree": ["tree", "{}/atlas.zarr", "TH"],
    "search": ["search", "{}/atlas.zarr", "thalamus"],
    "at": ["at", "{}/atlas.zarr", "8000,1500,3800", "5000,4000,5700"],
    "list": ["list", "allen"],
}


@pytest.mark.parametrize("command", TABLES)
def test_tables_go_to_programs(command: str, folder: Path, tmp_path: Path) -> None:
    words = [word.format(folder) for word in TABLES[command]]
    csv = run(*words, "--csv")
    assert csv.exit_code == 0, csv.output
    table = pd.read_csv(io.StringIO(csv.stdout))
    assert len(table) > 0
    assert run(*words, "-o", "-").stdout == csv.stdout
    (rows,) = json.loads(run(*words, "--json").stdout).values()
    assert [*rows[0]] == [*table.columns]
    assert len(rows) == len(table)
    if command != "aggregate":  # whose tables have an order of their own
        assert run(*words, "-o", tmp_path / "table.csv").exit_code == 0
        assert (tmp_path / "table.csv").read_text() == csv.stdout
    both = run(*words, "--csv", "--json")
    assert (both.exit_code, "give one of --csv and --json" in both.stderr) == (2, True)


def test_findings_go_to_programs(folder: Path) -> None:
    result = run("validate", folder / "atlas.zarr", "--depth", "5", "--json")
    findings = json.loads(result.stdout)
    assert {"unknown", "unassigned", "uncovered"} <= {*findings}
    table = pd.read_csv(io.StringIO(run("validate", folder / "atlas.zarr", "--csv").stdout))
    assert table.columns[0] == "finding"


def test_nothing_is_cut_in_a_pipe(folder: Path) -> None:
    longest = max(refspace.phantom(400).structure_tree.nodes(), key=lambda node: len(node["name"]))
    assert len(longest["name"]) > 40
    result = run("counts", folder / "atlas.zarr", "-s", longest["id"])
    assert longest["name"] in result.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such terminals")
@pytest.mark.parametrize("columns", [80, 60])
def test_tables_fit_a_terminal(folder: Path, columns: int) -> None:
    pty = pytest.importorskip("pty")
    parent, child = pty.openpty()
    words = ["counts", str(folder / "atlas.zarr"), "--by-hemisphere", "--depth", "leaves"]
    code = f"from refspace.cli import main; main({words!r}, prog_name='refspace')"
    environment = {**os.environ, "COLUMNS": str(columns), "LINES": "24"}
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=child, stderr=subprocess.DEVNULL, env=environment
    )
    os.close(child)
    parts = []
    while True:
        try:
            part = os.read(parent, 2**16)
        except OSError:  # how Linux ends it
            break
        if not part:
            break
        parts.append(part)
    assert process.wait() == 0
    lines = b"".join(parts).decode().replace("\r", "").splitlines()
    assert len(lines) > 100
    assert max(map(len, lines)) <= columns
    assert any("…" in line for line in lines)


def test_columns_that_do_not_fit_go_below() -> None:
    table = pd.DataFrame(
        {"acronym": ["TH"], "name": ["Thalamus"], **{f"q{n}": [n + 0.5] for n in range(20)}},
        pd.Index([549], name="structure"),
    )
    text = format_table(table, width=50)
    assert max(map(len, text.splitlines())) <= 50
    blocks = text.split("\n\n")
    assert len(blocks) > 1
    assert all(block.splitlines()[1].split()[:2] == ["549", "TH"] for block in blocks)
    assert format_table(table).count("\n") == 1
    assert layout(["a", "b"], [["x" * 50, "y"]], width=20).splitlines()[1].endswith("…  y")


# ----- what is there already


@pytest.mark.parametrize("ending", OUTPUT_ENDINGS)
def test_every_file_of_a_volume_is_known(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"brain{ending}"
    write_volume(path, refspace.phantom(800).annotation)
    assert {*tmp_path.iterdir()} == {*files_of(path)}


@pytest.mark.parametrize(
    ("words", "taken"),
    [
        (["export", "volume", "{}/atlas.zarr", "-o", "a.mhd"], "a.zraw"),
        (["export", "volume", "{}/atlas.zarr", "-o", "a.nrrd", "--label-table"], "a.tsv"),
        (["export", "itksnap", "{}/atlas.zarr", "a.nrrd", "a.txt"], "a.txt"),
        (["export", "structures", "{}/atlas.zarr", "-o", "a.csv"], "a.csv"),
        (["mask", "{}/atlas.zarr", "-s", "TH,VISp", "-o", "m"], "m/structure_385.nrrd"),
        (["mask", "{}/atlas.zarr", "-s", "TH", "-o", "a.mhd"], "a.zraw"),
        (["downsample", "{}/atlas.zarr", "--to", "800", "-o", "a.mhd"], "a.zraw"),
        (["points", "{}/atlas.zarr", "{}/cells.csv", "--each", "a.csv"], "a.csv"),
        (["compare", "{}/atlas.zarr", "{}/annotation.nrrd", "--confusion", "a.csv"], "a.csv"),
        (["validate", "{}/atlas.zarr", "-o", "m"], "m/unassigned.csv"),
        (["counts", "{}/atlas.zarr", "-o", "a.csv"], "a.csv"),
        (["slice", "{}/atlas.zarr", "-o", "a.png"], "a.png"),
        (["list", "allen", "-o", "a.csv"], "a.csv"),
        (["demo", "m", "--resolution", "800"], "m/cells.csv"),
    ],
)
def test_nothing_is_replaced_unasked(
    words: list[str], taken: str, folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / taken
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    words = [word.format(folder) for word in words]
    result = run(*words)
    assert result.exit_code == 1
    assert f"{taken} exists; give --overwrite to replace what is there" in result.stderr
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [path]
    assert path.read_text() == "mine"
    if words[0] != "demo":  # which takes seconds
        assert run(*words, "--overwrite").exit_code == 0
        assert not path.exists() or path.read_bytes() != b"mine"


# ----- libraries


@pytest.mark.parametrize(
    "words", [["--help"], ["list", "allen"], ["list", "--here"], ["list", "--sources"], ["info"]]
)
def test_short_answers_need_no_array_library(words: list[str], folder: Path) -> None:
    words = [*words, *([str(folder / "atlas.zarr")] if words == ["info"] else [])]
    code = (
        "import sys; from refspace.cli import main\n"
        f"try: main({words!r}, prog_name='refspace')\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "heavy = {'xarray', 'dask', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)


def test_the_package_runs_as_a_module() -> None:
    words = [sys.executable, "-m", "refspace", "--version"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"refspace, version {refspace.__version__}"


# ----- planes


def test_planes_name_axes_in_python_and_in_commands(folder: Path) -> None:
    space = refspace.phantom(400)
    for plane, dim in {"coronal": "ap", "axial": "dv", "sagittal": "ml"}.items():
        np.testing.assert_array_equal(
            space.get_slice_image(plane, 5000), space.get_slice_image(dim, 5000)
        )
        np.testing.assert_array_equal(
            space.boundaries(axis=plane, position=5000), space.boundaries(axis=dim, position=5000)
        )
    result = run("slice", folder / "atlas.zarr", "--axis", "Axial", "-o", "a.png")
    assert "cut at dv = " in result.stdout
