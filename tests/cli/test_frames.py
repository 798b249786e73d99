"""Frames on the command line: what positions mean that are given and printed."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import zarr
from helpers.commands import run

import refspace

TREE = [
    {"id": 1, "acronym": "A", "name": "a", "structure_id_path": [1], "rgb_triplet": [1, 2, 3]},
    {"id": 2, "acronym": "B", "name": "b", "structure_id_path": [2], "rgb_triplet": [4, 5, 6]},
]
# Of nibabel, along x, y and z of the world; corner at -6, -4 and -1 mm, voxels of 1 mm.
BRAIN = np.zeros((12, 6, 4), "u1")
BRAIN[1:11, 1:5, 1:3] = 1
BRAIN[8, 1, 2] = 2
CORNER = (-6, -4, -1)
# Centre of the voxel of structure 2 in the world: right, anterior, superior, in µm.
RIGHT, ANTERIOR, SUPERIOR = 2500, -2500, 1500


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A brain stored in another order than that of its world, and its structures."""
    monkeypatch.chdir(tmp_path)
    Path("tree.json").write_text(json.dumps(TREE))
    affine = np.eye(4)
    affine[:3, 3] = np.array(CORNER) + 0.5
    image = nib.Nifti1Image(BRAIN, affine)
    image.header.set_xyzt_units("mm")
    ornt = nib.orientations
    turn = ornt.ornt_transform(ornt.axcodes2ornt("RAS"), ornt.axcodes2ornt("LIP"))
    nib.save(image.as_reoriented(turn), "brain.nii.gz")
    return tmp_path


FRAMES = {
    (): (RIGHT, ANTERIOR, SUPERIOR),
    ("--frame", "RAS"): (RIGHT, ANTERIOR, SUPERIOR),
    ("--frame", "LPS"): (-RIGHT, -ANTERIOR, SUPERIOR),
    # Its x, y and z are ap, dv and ml.
    ("--frame", "PIR"): (-ANTERIOR, -SUPERIOR, RIGHT),
}


@pytest.mark.parametrize("frame", FRAMES, ids="".join)
def test_points(files: Path, frame) -> None:
    pd.DataFrame([FRAMES[frame], FRAMES[frame]], columns=list("xyz")).to_csv("p.csv")
    words = ("points", "brain.nii.gz", "tree.json", "p.csv", "-o", "t.csv")
    result = run(*words, *frame)
    assert result.exit_code == 0, result.output
    assert pd.read_csv("t.csv").set_index("structure").points[2] == 2


@pytest.mark.parametrize("frame", FRAMES, ids="".join)
def test_a_store_is_written_in_a_frame(files: Path, frame) -> None:
    assert run("convert", "brain.nii.gz", "tree.json", "a.zarr", *frame).exit_code == 0
    space = refspace.open("a.zarr")
    code = dict([frame]).get("--frame", "RAS") if frame else "RAS"
    assert space.grid.frame == code
    assert sorted(space.grid.orientation) == sorted(code)
    found = space.centroid(2)
    names = ("ap", "dv", "ml") if code == "PIR" else ("ml", "ap", "dv")
    assert [found[name] for name in names] == list(FRAMES[frame])
    # Positions grow with the index for everybody: axes of OME-Zarr have positive scales.
    (image,) = zarr.open_group("a.zarr", mode="r").attrs["ome"]["multiscales"]
    scale, translation = image["datasets"][0]["coordinateTransformations"]
    voxel = np.argwhere(zarr.open_array("a.zarr/s0/annotation", mode="r")[:] == 2)[0]
    centre = voxel * scale["scale"] + translation["translation"]
    assert dict(zip(space.annotation.dims, centre.tolist(), strict=True)) == found
    # Of a store too.
    assert run("convert", "a.zarr", "tree.json", "b.zarr", "--frame", "LPI").exit_code == 0
    again = refspace.open("b.zarr")
    assert again.centroid(2) == {"ml": -RIGHT, "ap": -ANTERIOR, "dv": -SUPERIOR}
    assert again.midline == 0


def test_the_midline_is_given_in_the_frame(files: Path) -> None:
    # Structure 1 has 5 planes on both sides of 0, and 3 to the right of ml 2000 in the world.
    for words in (
        ("counts", "brain.nii.gz", "tree.json"),
        ("aggregate", "brain.nii.gz", "tree.json", "brain.nii.gz"),
    ):
        for frame, midline, right in (("RAS", 2000, 3), ("LPS", -2000, 3), ("LPS", 2000, 7)):
            given = ("--by-hemisphere", "--frame", frame, "--midline", midline)
            Path("t.csv").unlink(missing_ok=True)
            result = run(*words, *given, "-o", "t.csv")
            assert result.exit_code == 0, result.output
            assert f"ml {midline} µm (given)" in result.stderr
            table = pd.read_csv("t.csv")
            column = "total" if "total" in table else "count"
            sides = table[table.structure == 1].set_index("hemisphere")[column]
            assert sides["right"] == right * 8 - 1
    assert (
        run(
            "convert", "brain.nii.gz", "tree.json", "a.zarr", "--frame", "LPS", "--midline", "1000"
        ).exit_code
        == 0
    )
    assert refspace.open("a.zarr").midline == 1000
    assert refspace.open("a.zarr").in_frame("RAS").midline == -1000
    for source in (("brain.nii.gz",), ("a.zarr",)):
        shown = run("info", *source, "--frame", "LPS", "--midline", "500").stdout
        assert "ml 500 µm (given)" in shown


@pytest.mark.parametrize("output", ["coarse.nrrd", "coarse.nii.gz", "coarse.zarr"])
def test_what_is_written_states_the_frame(files: Path, output: str) -> None:
    words = ("downsample", "brain.nii.gz", "tree.json", "--to", "2000", "--frame", "PIR")
    result = run(*words, "-o", output)
    assert result.exit_code == 0, result.output
    space = refspace.open(output, structures="tree.json")
    assert space.grid.frame == "PIR"
    assert {dim: space.grid.edges(dim) for dim in ("ap", "dv", "ml")} == {
        "ap": (-2000, 4000),
        "dv": (-3000, 1000),
        "ml": (-6000, 6000),
    }
    if output != "coarse.zarr":
        # In the same place for everybody.
        return
    assert run("compare", output, output, "--frame", "RAS").exit_code == 0


def test_slices_and_comparisons(files: Path) -> None:
    cut = (
        "slice",
        "brain.nii.gz",
        "tree.json",
        "--axis",
        "dv",
        "--position",
        "-2000",
        "--overwrite",
    )
    assert "cut at dv = -2000 µm" in run(*cut, "--frame", "PIR").output
    assert "dv position -2000 µm is outside the volume" in run(*cut).output
    assert run("convert", "brain.nii.gz", "tree.json", "a.zarr", "--frame", "PIR").exit_code == 0
    both = ("compare", "brain.nii.gz", "tree.json")
    for other in (
        ("a.zarr",),
        ("brain.nii.gz",),
        ("brain.nii.gz", "--other-structures", "tree.json"),
    ):
        result = run(*both, *other, "--frame", "LPI", "-o", "t.csv", "--overwrite")
        assert result.exit_code == 0, result.output
        assert pd.read_csv("t.csv").dice.tolist() == [1, 1]


# ----- info


def test_info_shows_frames(files: Path) -> None:
    assert run("convert", "brain.nii.gz", "tree.json", "a.zarr").exit_code == 0
    for path in ("brain.nii.gz", "a.zarr"):
        lines = [" ".join(line.split()) for line in run("info", path).stdout.splitlines()]
        assert (
            "frame RAS: coordinates grow along ml to right, ap to anterior, dv to superior" in lines
        )
        assert "midline ml 0 µm (0 of the world, 0 µm from the middle of the volume)" in lines
        facts = json.loads(run("info", path, "--frame", "PIR", "--json").stdout)
        assert facts["frame"] == "PIR"
        assert facts["frame_directions"] == {"ap": "posterior", "dv": "inferior", "ml": "right"}
        assert dict(zip(facts["directions"], facts["origin_um"], strict=True)) == {
            "ap": -2000,
            "dv": -3000,
            "ml": -6000,
        }


def test_info_of_files_shows_what_tells_sides_apart(files: Path) -> None:
    image = nib.load("brain.nii.gz")
    sides = np.ones(image.shape, "u1")
    sides[:2] = 2
    nib.save(nib.Nifti1Image(sides, image.affine), "sides.nii.gz")
    nib.save(nib.Nifti1Image(sides, np.eye(4)), "elsewhere.nii")
    given = ("info", "brain.nii.gz", "--hemispheres")
    assert "a volume of hemispheres decides, sides.nii.gz" in run(*given, "sides.nii.gz").stdout
    facts = json.loads(run(*given, "sides.nii.gz", "--json").stdout)
    assert (facts["hemispheres_from"], facts["midline_um"]) == ("sides.nii.gz", None)
    refused = run(*given, "elsewhere.nii")
    assert refused.exit_code == 1
    assert "the volume of hemispheres elsewhere.nii lies on" in refused.output


# ----- what is refused


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("RAX", "frame 'RAX' is not a code of three letters"),
        ("RASP", "frame 'RASP' is not a code of three letters"),
        ("", "frame '' is not a code of three letters"),
        ("asr", "frame 'asr' is in lower case"),
    ],
)
@pytest.mark.parametrize("command", ["counts", "info", "convert"])
def test_what_is_no_frame(tmp_path: Path, command: str, code: str, said: str) -> None:
    path = tmp_path / "brain.nii.gz"
    nib.save(nib.Nifti1Image(BRAIN, np.eye(4)), path)
    files = {"counts": [path], "info": [path], "convert": [path, "tree.json", "a.zarr"]}
    result = run(command, *files[command], "--frame", code)
    assert result.exit_code == 2
    assert "Invalid value for '--frame'" in result.output
    assert said in " ".join(result.output.split())
