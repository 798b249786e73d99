"""Units of files and positions, as a user of the commands meets them."""

import json
from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import pandas as pd
import pytest
from click.testing import Result
from helpers import commands

import refspace

SHAPE = (6, 5, 4)
VOXELS = np.arange(1, 121, dtype="u2").reshape(SHAPE) % 3


def run(*words: object, code: int = 0) -> Result:
    result = commands.run(*words)
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("tree.csv").write_text("id,acronym,name,red,green,blue\n1,A,a,1,2,3\n2,B,b,4,5,6\n")
    return "tree.csv"


def itk(name: str, number: float, shape: tuple[int, ...] = SHAPE, space: bool = True) -> str:
    """File without a unit, of voxels of a length."""
    directions = np.diag([-number, -number, number])
    header = {"spacings": [number] * 3}
    if space:
        header = {"space": "left-posterior-superior", "space directions": directions}
    nrrd.write(name, np.resize(VOXELS, shape), header)
    return name


def rodent(name: str) -> str:
    """File whose header is ten times its size."""
    nib.save(nib.Nifti1Image(VOXELS, np.diag([-1.0, 1, 1, 1])), name)
    return name


def test_what_is_assumed_is_said(tree: str) -> None:
    path = itk("itk.nrrd", 0.025)
    said = "the header states no unit; its lengths are taken as millimetres, as ITK, SimpleITK and"
    for words in (
        ("counts", path, tree),
        ("info", path),
        ("convert", path, tree, "a.zarr"),
        ("downsample", path, "--to", "50"),
    ):
        result = run(*words)
        assert said in result.stderr
        assert "give --resolution, the µm per voxel" in result.stderr
    assert "unit         not stated; millimetres, as ITK" in run("info", path).stdout
    assert "Warning" not in run("counts", path, tree, "--resolution", 25).stderr
    assert refspace.open("a.zarr").resolution == (25, 25, 25)


def test_what_is_certain_is_said_without_a_warning(tree: str) -> None:
    path = itk("allensdk.nrrd", 25, space=False)
    said = f"{path} states no unit: its lengths are taken as µm, as AllenSDK writes volumes without"
    for words in (("counts", path, tree), ("downsample", path, "--to", "50")):
        assert said in run(*words).stderr
    assert said in run("convert", path, tree, "a.zarr").stderr
    assert run("counts", path, tree, "--resolution", 25).stderr.count("unit") == 0


def test_info_of_a_file(tree: str) -> None:
    path = rodent("mouse.nii.gz")
    lines = run("info", path).stdout.splitlines()
    assert lines[0] == "mouse.nii.gz: file of a volume"
    assert "resolution   1000 µm" in lines
    assert "unit         not stated; millimetres, as programs read NIfTI files" in lines
    given = ("--resolution", 100, "--override-header")
    text = run("info", path, *given).stdout
    assert "resolution   100 µm; the header has 1000 µm" in text
    facts = json.loads(run("info", path, *given, "--json").stdout)
    assert facts["resolution_um"] == [100, 100, 100]
    assert facts["shape"] == list(SHAPE)
    assert facts["extent_mm"] == [0.6, 0.5, 0.4]
    nib.save(nib.Nifti1Image(VOXELS, None), "bare.nii")
    bare = run("info", "bare.nii", "--resolution", 25, "--orientation", "RAS").stdout
    assert "unit         no lengths stated" in bare
    refspace.write_nrrd("ours.nrrd", refspace.phantom(800).annotation)
    assert "unit         stated" in run("info", "ours.nrrd").stdout


def test_headers_are_overruled(tree: str) -> None:
    path = rodent("mouse.nii.gz")
    given = ("--resolution", 100)
    for words in (
        ("counts", path, tree),
        ("convert", path, tree, "a.zarr"),
        ("info", path),
        ("downsample", path, "--to", "200", "-o", "coarse.nrrd"),
        ("aggregate", path, tree, "a.zarr"),
        ("masks", path, tree, "-o", "masks"),
        ("compare", path, tree, path),
        ("validate", path, tree),
    ):
        result = run(*words, *given, code=1)
        assert "10 times as much" in result.stderr
        assert "give --override-header to overrule it" in result.stderr
        if words[0] != "aggregate":
            run(*words, *given, "--override-header")
    assert refspace.open("a.zarr").resolution == (100, 100, 100)
    table = run("counts", path, tree, *given, "--override-header", "-o", "counts.csv")
    assert "wrote" in table.stdout
    assert pd.read_csv("counts.csv")["volume_mm3"].tolist() == pytest.approx([0.04, 0.04])


def test_headers_of_images_are_overruled(tree: str) -> None:
    path = rodent("mouse.nii.gz")
    run("convert", path, tree, "a.zarr", "--resolution", 100, "--override-header")
    given = ("aggregate", "a.zarr", path, "--image-resolution", 100)
    result = run(*given, code=1)
    assert "give --image-override-header to overrule it" in result.stderr
    assert "A" in run(*given, "--image-override-header").stdout
    directions = np.diag([-0.1, 0.1, 0.1])
    header = {"space": "right-anterior-superior", "space directions": directions}
    # In the same place: the first voxel of both is at 0.
    nrrd.write("itk.nrrd", VOXELS, header | {"space origin": [0, 0, 0]})
    result = run("aggregate", "a.zarr", "itk.nrrd")
    assert "Warning: " in result.stderr
    assert "give --image-resolution, the µm per voxel" in result.stderr


def test_units_of_positions(tree: str) -> None:
    space = refspace.phantom(200)
    space.to_zarr("a.zarr")
    places = space.annotation.sel(ap=5100, dv=1500, ml=3300)
    label = int(places)
    names = ["x", "y", "z"]
    rows = np.array([[25, 7, 16], [26, 7, 16], [25, 8, 17]])
    pd.DataFrame(rows, columns=names).to_csv("voxels.csv", index=False)
    pd.DataFrame(rows * 0.2 + 0.1, columns=names).to_csv("mm.csv", index=False)
    pd.DataFrame(rows * 200.0 + 100, columns=names).to_csv("um.csv", index=False)
    tables = {}
    for unit in ("um", "mm", "voxel"):
        file = "voxels.csv" if unit == "voxel" else f"{unit}.csv"
        words = ("points", "a.zarr", file, "--columns", "x,y,z", "--unit", unit)
        result = run(*words, "--each", f"{unit}-each.csv")
        assert "Warning" not in result.stderr
        tables[unit] = result.stdout.replace(f"{unit}-each.csv", "")
    assert tables["um"] == tables["mm"] == tables["voxel"]
    assert pd.read_csv("voxel-each.csv")["structure"][0] == label
    for file in ("voxels.csv", "mm.csv"):
        # Taken as µm they are all in the background.
        result = run("points", "a.zarr", file, "--columns", "x,y,z", code=1)
        assert result.stderr.count("Warning: all 3 positions lie near one corner") == 1
        assert "Give --unit 'voxel' or --unit 'mm'" in result.stderr


def test_units_of_slices(tree: str) -> None:
    refspace.phantom(200).to_zarr("a.zarr")
    for words in (("5100",), ("5.1", "--unit", "mm"), ("25", "--unit", "voxel")):
        result = run("slice", "a.zarr", "--overwrite", "--position", *words)
        assert "cut at ap = 5100 µm" in result.stdout
        assert "Warning" not in result.stderr
    result = run("slice", "a.zarr", "--overwrite", "--position", "5.1")
    assert "Warning: --position 5.1 is near the edge of the volume" in result.stderr


def test_finer_voxels_are_asked_for(tree: str) -> None:
    path = itk("a.nrrd", 0.05)
    words = ("downsample", path, tree, "--to", "25", "--resolution", "50")
    for output in ("fine.nrrd", "fine.zarr"):
        result = run(*words, "-o", output, code=1)
        assert "in µm, or --upsample to repeat voxels" in result.stderr
        run(*words, "-o", output, "--upsample")
    assert refspace.open("fine.zarr").annotation.shape == (12, 10, 8)


def test_the_export_for_itksnap_may_be_nifti(tree: str) -> None:
    path = itk("a.nrrd", 0.05)
    result = run("export", "itksnap", path, tree, "l.nii.gz", "l.txt", "--resolution", 50)
    assert result.stdout == "wrote l.nii.gz and l.txt\n"
    image = nib.load("l.nii.gz")
    assert image.header.get_xyzt_units()[0] == "mm"
    np.testing.assert_allclose(image.header.get_zooms(), [0.05] * 3, rtol=1e-6)
    np.testing.assert_array_equal(np.asarray(image.dataobj), VOXELS)
