"""Commands that draw figures, from files and tables as people have them."""

import struct
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.commands import run

import refspace


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("figures") / "atlas.zarr"
    refspace.phantom(400).to_zarr(path)
    return path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "values.tsv"
    path.write_text("acronym\tleft\tright\nVISp\t1\t2\nTH\tn/a\t3\n")
    return path


def size(path: Path) -> tuple[int, int]:
    return struct.unpack(">II", path.read_bytes()[16:24])


def test_slices_at_positions_and_panels(store: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    words = ("--position", "7000", "--position", "9000", "--width", "50")
    result = run("slice", store, *words, "-o", path)
    assert result.exit_code == 0, result.output
    assert "cut at ap = 7000, 9000 µm" in result.stdout
    assert size(path)[0] == int(50 / 25.4 * 300)
    again = ("-o", path, "--overwrite")
    result = run("slice", store, "--panels", "3", "-s", "TH", "--dpi", "100", *again)
    positions = refspace.open(store).plot.positions("coronal", 3, "TH")
    assert f"cut at ap = {', '.join(f'{p:g}' for p in positions)} µm" in result.stdout
    assert size(path)[0] == int(180 / 25.4 * 100)
    for words in (["--depth", "5", "--no-labels", "--no-template", "--axis", "sagittal"],):
        result = run("slice", store, *words, "--width", "60", *again)
        assert result.exit_code == 0, result.output
        assert size(path)[0] == int(60 / 25.4 * 300)


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_heatmap(store: Path, table: Path, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    words = (
        "--values",
        table,
        "--label",
        "cells",
        "--cmap",
        "magma",
        "--vmax",
        "4",
        "-o",
        path,
        "--dpi",
        "90",
    )
    result = run("heatmap", store, *words, "--labels", "--axis", "horizontal")
    assert result.exit_code == 0, result.output
    assert path.stat().st_size > 1000
    if ending == "svg":
        assert ">cells<" in path.read_text()


@pytest.mark.slow
def test_heatmap_of_what_aggregate_writes(store: Path, tmp_path: Path) -> None:
    space = refspace.open(store)
    image = space.annotation.copy(data=np.random.default_rng(0).random(space.grid.shape))
    refspace.write_nrrd(tmp_path / "image.nrrd", image)
    table, path = tmp_path / "table.parquet", tmp_path / "a.png"
    words = ("--depth", "5", "--by-hemisphere", "-o", table)
    assert run("aggregate", store, tmp_path / "image.nrrd", *words).exit_code == 0
    assert {"mean", "hemisphere"} <= {*pd.read_parquet(table)}
    for column in ((), ("--column", "max")):
        result = run(
            "heatmap", store, "--values", table, *column, "--panels", "2", "-o", path, "--overwrite"
        )
        assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--cmap", "foo"), "matplotlib has no colour map 'foo'; try viridis"),
        (("--column", "middle"), "no column 'middle'; there are left, right"),
        (("--position", "1", "--panels", "2"), "give one of --position and --panels"),
        (("--position", "99999"), "is outside the volume; ap runs from 0 µm"),
        (("--outline", "VISpp"), "did you mean VISp"),
        (("-o", "values.csv"), "does not end in .eps"),
    ],
)
def test_errors_say_what_to_do(store: Path, table: Path, words, said, tmp_path: Path) -> None:
    output = () if "-o" in words else ("-o", tmp_path / "a.png")
    result = run("heatmap", store, "--values", table, *words, *output)
    assert result.exit_code != 0
    assert said in result.stderr
    assert not (tmp_path / "a.png").exists()


def test_unknown_structures_of_a_table(store: Path, tmp_path: Path) -> None:
    path = tmp_path / "values.csv"
    path.write_text("acronym,mean\nVISpp,1\n")
    result = run("heatmap", store, "--values", path, "-o", tmp_path / "a.png")
    assert result.exit_code == 1
    assert "no structure has acronym, name or id 'VISpp'; did you mean VISp" in result.stderr
