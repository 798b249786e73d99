"""What ``info`` says of any file, and ``at`` of any position."""

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import xarray as xr
import zarr
from helpers.commands import run

import refspace
from refspace.samples.measurements import cells


@pytest.fixture(scope="module")
def space() -> refspace.ReferenceSpace:
    return refspace.phantom(400)


@pytest.fixture(scope="module")
def folder(space: refspace.ReferenceSpace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    space.to_zarr(folder / "atlas.zarr")
    refspace.write_nrrd(folder / "annotation.nrrd", space.annotation)
    refspace.write_structures(folder / "structures.csv", space.structure_tree)
    refspace.write_masks(space, folder / "masks.zarr", ["VISp", "TH"])
    space.to_ome_zarr(folder / "plain.ome.zarr")
    cells(space.grid).to_csv(folder / "cells.csv", index=False)
    assert run("counts", folder / "atlas.zarr", "-o", folder / "counts.tsv").exit_code == 0
    series = np.zeros((4, 5, 6, 3), "f4")
    nib.save(nib.Nifti1Image(series, np.diag([0.1, 0.1, 0.1, 1])), folder / "series.nii.gz")
    centres = {dim: np.arange(4) * 10.0 + 5 for dim in ("ap", "dv", "ml")}
    image = xr.DataArray(np.zeros((4, 4, 4)), centres, [*centres], "energy")
    image.to_dataset().to_zarr(folder / "image.zarr", zarr_format=2)
    mesh = "v 0 0 0\nv 5 0 0\nv 0 5 0\nvn 0 0 1\nf 1//1 2//1 3//1\n"
    (folder / "mesh.obj").write_text(mesh)
    (folder / "labels.txt").write_text('385 1 2 3 1 1 1 "VISp"\n')
    return folder


KINDS: list[tuple[str, dict[str, Any], str]] = [
    ("atlas.zarr", {"kind": "refspace", "structures": 488}, "store of refspace"),
    ("annotation.nrrd", {"kind": "file", "dtype": "uint32"}, "file of a volume"),
    ("masks.zarr", {"kind": "masks", "acronyms": ["VISp", "TH"]}, "store of masks"),
    ("plain.ome.zarr", {"kind": "foreign"}, "label image of OME-Zarr 0.5"),
    (
        "series.nii.gz",
        {"kind": "image", "shape": [3, 4, 5, 6]},
        "image, which 'refspace aggregate'",
    ),
    ("image.zarr", {"dtype": "float64", "resolution_um": [10.0] * 3}, "image, which"),
    ("cells.csv", {"kind": "table", "rows": 20000, "positions": ["ap", "dv", "ml"]}, "of points"),
    ("counts.tsv", {"kind": "table", "positions": []}, ": table\n"),
    ("structures.csv", {"kind": "structures", "structures": 488, "roots": ["root"]}, "which 'refs"),
    ("labels.txt", {"kind": "structures", "structures": 1}, "structures, which"),
    ("mesh.obj", {"kind": "mesh", "triangles": 1, "highest": [5.0, 5.0, 0.0]}, "surface mesh"),
]


@pytest.mark.parametrize(("name", "facts", "said"), KINDS)
def test_info_of_any_file(name: str, facts: dict[str, Any], said: str, folder: Path) -> None:
    result = run("info", folder / name)
    assert result.exit_code == 0, result.output
    assert said in result.stdout
    details = json.loads(run("info", folder / name, "--json").stdout)
    assert {key: details[key] for key in facts} == facts


def test_info_of_atlases_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("REFSPACE_CACHE", str(tmp_path))
    result = run("info", "allen:ccf_2017")
    assert "10 or 25 or 50 or 100 µm" in result.stdout
    assert "'refspace fetch allen:ccf_2017' brings it" in result.stdout
    result = run("info", "allen:ccf_2018")
    assert result.exit_code == 1
    assert "allen has no 'ccf_2018'; 'refspace list allen' says what it has" in result.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x89PNG", "is a PNG picture"),
        (b"%PDF-1.7", "is a PDF document"),
        (b"a,b\n1,2\n", "is a table of text, and no volume"),
    ],
)
def test_foreign_files_are_named(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "file.dat"
    path.write_bytes(content)
    result = run("info", path)
    assert result.exit_code == 1
    assert said in result.stderr


# ----- at


def test_the_structure_at_positions(space: refspace.ReferenceSpace, folder: Path) -> None:
    positions = [(8000, 1500, 3800), (5000, 4000, 7000), (200, 200, 200)]
    words = [",".join(map(str, position)) for position in positions]
    result = run("at", folder / "atlas.zarr", *words, "--json")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["positions"]
    for row, position in zip(rows, positions, strict=True):
        voxel = space.annotation.sel(
            dict(zip(("ap", "dv", "ml"), position, strict=True)), "nearest"
        )
        assert (row["structure"] or 0) == int(voxel)
        assert row["hemisphere"] == ("left" if position[2] < 5700 else "right")
        if row["structure"]:
            (node,) = space.structure_tree.nodes([row["structure"]])
            assert row["path"].split(" > ")[-1] == row["acronym"] == node["acronym"]
    assert rows[2]["status"] == "background, in no structure"


def test_positions_in_other_units_and_frames(folder: Path) -> None:
    def structure(*words: object) -> Any:
        result = run("at", folder / "atlas.zarr", *words, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)["positions"][0]["structure"]

    expected = structure("8100,1500,3800")
    assert structure("8.1", "1.5", "3.8", "--unit", "mm") == expected
    assert structure("20,3,9", "--unit", "voxel") == expected
    assert structure("3800,-8100,-1500", "--frame", "RAS") == expected
    files = [folder / "annotation.nrrd", folder / "structures.csv"]
    result = run("at", *files, "8100,1500,3800")
    assert f"structure   {expected}  " in result.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-30,1,2"], "ap position -30 µm is outside the volume; ap runs from 0 µm"),
        (["1,2"], "a position has three numbers, like 7000,2000,5700, and '1,2' was given"),
        (["1", "2"], "a position has three numbers"),
        (["1,2,x"], "names no structures"),
        (["1,2,3", "--untit", "mm"], "'--untit' is an option that there is not"),
        (["--untit", "mm", "1,2,3"], "'--untit' is an option that there is not"),
        (["nan,2,3"], ""),
    ],
)
def test_what_is_no_position(words: list[str], said: str, folder: Path) -> None:
    result = run("at", folder / "annotation.nrrd", folder / "structures.csv", *words)
    if words == ["1,2,x"]:
        result = run("at", folder / "annotation.nrrd", "1,2,3")
    assert result.exit_code != 0
    assert said in result.stderr
    assert "Traceback" not in result.output


def test_a_store_of_another_program_is_described_as_before(tmp_path: Path) -> None:
    root = zarr.open_group(tmp_path / "group.zarr", mode="w")
    root.create_array("texts", shape=(2,), dtype=str)
    result = run("info", tmp_path / "group.zarr")
    assert result.exit_code == 1
    assert "group.zarr" in result.stderr
