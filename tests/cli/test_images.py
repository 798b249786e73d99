"""Images as users have them: scaled, in series, with no data; and jobs that would do nothing."""

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import zarr
from helpers import commands

import refspace
from refspace.batch import aggregate_images
from refspace.errors import JobError

RNG = np.random.default_rng(0)
BRAIN = np.zeros((20, 6, 4), "u1")
BRAIN[:10], BRAIN[10:] = 1, 2
AFFINE = np.eye(4)
AFFINE[:3, 3] = -9.5, -2.5, -1.5
VALUES = RNG.random(BRAIN.shape)
TREE = [
    {"id": 1, "acronym": "A", "name": "left part", "structure_id_path": [1]},
    {"id": 2, "acronym": "B", "name": "right part", "structure_id_path": [2]},
    {"id": 3, "acronym": "C", "name": "nothing", "structure_id_path": [3]},
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    nifti(tmp_path / "brain.nii.gz", BRAIN)
    (tmp_path / "tree.json").write_text(json.dumps(TREE))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def nifti(path: Path, data: np.ndarray, affine: np.ndarray = AFFINE, dtype: Any = None) -> Path:
    image = nib.Nifti1Image(data, affine, dtype=data.dtype)
    image.set_data_dtype(dtype or data.dtype)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)
    return path


def aggregated(*words: object) -> pd.DataFrame:
    result = commands.run("aggregate", "brain.nii.gz", "tree.json", *words, "-o", "t.csv")
    assert result.exit_code == 0, result.output
    return pd.read_csv("t.csv")


def error(*words: object) -> str:
    before = set(Path().iterdir())
    result = commands.run(*words)
    assert result.exit_code == 1, result.output
    assert set(Path().iterdir()) == before
    return result.stderr


def means(values: np.ndarray) -> list[float]:
    return [values[BRAIN == 1].mean(), values[BRAIN == 2].mean()]


def test_scaled_values(folder: Path) -> None:
    path = nifti(folder / "a.nii.gz", VALUES, dtype=np.int16)
    table = aggregated("a.nii.gz", "-s", "A,B")
    assert list(table)[:4] == ["image", "structure", "acronym", "name"]
    np.testing.assert_allclose(table["mean"], means(nib.load(path).get_fdata()), rtol=1e-7)
    np.testing.assert_allclose(table["mean"], means(VALUES), rtol=1e-4)


def test_series(folder: Path) -> None:
    nifti(folder / "a.nii.gz", np.stack([VALUES, VALUES + 1, VALUES * 2], -1).astype("f4"))
    table = aggregated("a.nii.gz", "-s", "A,B", "--by-hemisphere")
    assert list(table)[:6] == ["image", "structure", "acronym", "name", "hemisphere", "time"]
    left = table[(table["hemisphere"] == "left") & (table["acronym"] == "A")]
    assert left["time"].tolist() == [0, 1, 2]
    mean = means(VALUES)[0]
    np.testing.assert_allclose(left["mean"], [mean, mean + 1, 2 * mean], rtol=1e-6)


@pytest.mark.parametrize("words", [("--nodata", "-1"), ("--valid-min", "0"), ("--valid-min=-0.5",)])
def test_no_data(folder: Path, words: tuple[str, ...]) -> None:
    is_value = RNG.random(BRAIN.shape) > 0.4
    nifti(folder / "a.nii.gz", np.where(is_value, VALUES, -1).astype("f4"))
    table = aggregated("a.nii.gz", *words)
    wanted = [is_value[i == BRAIN].mean() for i in (1, 2)]
    np.testing.assert_allclose(table["covered"], [*wanted, np.nan])
    assert list(table)[-1] == "covered"
    expected = [VALUES[is_value & (i == BRAIN)].mean() for i in (1, 2)]
    np.testing.assert_allclose(table["mean"][:2], expected, rtol=1e-6)
    # Another value is another job.
    result = commands.run(
        *("aggregate", "brain.nii.gz", "tree.json", "a.nii.gz", "--nodata", "-2", "-o", "t.csv")
    )
    assert result.exit_code == 1
    assert "has rows of another job" in result.stderr


def test_no_data_of_many_digits(folder: Path) -> None:
    """The largest integer of 64 bits, of which a float would be another one."""
    is_value = RNG.random(BRAIN.shape) > 0.4
    values = np.where(is_value, 2**64 - 2, 2**64 - 1).astype("u8")
    nifti(folder / "a.nii.gz", values)
    table = aggregated("a.nii.gz", "--nodata", str(2**64 - 1))
    assert table["count"][:2].tolist() == [is_value[i == BRAIN].sum() for i in (1, 2)]
    result = commands.run("aggregate", "brain.nii.gz", "tree.json", "a.nii.gz", "--nodata", "none")
    assert result.exit_code == 2
    assert "'none' is not a number" in result.stderr


@pytest.mark.filterwarnings("default:a.nii.gz")
def test_an_image_in_another_place(folder: Path) -> None:
    nifti(folder / "a.nii.gz", VALUES.astype("f4"), np.eye(4))
    words = ["aggregate", "brain.nii.gz", "tree.json", "a.nii.gz"]
    for more in ([], ["-o", "t.csv"]):
        result = commands.run(*words, *more)
        assert result.exit_code == 0, result.output
        (told,) = [line for line in result.stderr.splitlines() if "Warning" in line]
        assert "Warning: a.nii.gz: the image covers 19% of the box of the regions: it lies" in told
        assert "ml -500 to 19500" in told
        assert "they at ml -10000 to 10000" in told
        assert "--same-grid" in told
    np.testing.assert_allclose(pd.read_csv("t.csv")["covered"], [0, 0.25, np.nan])
    same = commands.run(*words, "--same-grid", "--statistics", "count")
    assert "Warning" not in same.stderr
    assert [line.split()[-2:] for line in same.stdout.splitlines()[1:]] == [["240", "1"]] * 2


def turned(degrees: float) -> np.ndarray:
    """The affine of the brain, turned about the axis from inferior to superior."""
    angle, turn = np.deg2rad(degrees), np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return turn @ AFFINE


@pytest.mark.filterwarnings("default:a.nii.gz")
@pytest.mark.parametrize("how", ["printed", "written"])
def test_an_image_half_a_voxel_off(folder: Path, how: str) -> None:
    corner = AFFINE.copy()
    corner[:3, 3] += 0.5
    nifti(folder / "a.nii.gz", VALUES, corner)
    words = ["aggregate", "brain.nii.gz", "tree.json", "a.nii.gz", "--statistics", "count,mean"]
    words += ["-s", "A,B"]
    more = ["-o", "t.csv"] if how == "written" else []
    result = commands.run(*words, *more)
    assert result.exit_code == 0, result.output
    (told,) = [line for line in result.stderr.splitlines() if "Warning" in line]
    assert "Warning: a.nii.gz: the image's corner is half a voxel off the annotation's" in told
    assert "at ml -9500, ap -2500, dv -1500 µm, that of the annotation at ml -10000" in told
    assert "--image-origin 'corner' moves it onto the annotation, --image-origin 'center'" in told
    for origin in ("center", "corner"):
        (folder / "t.csv").unlink(missing_ok=True)
        result = commands.run(*words, "--image-origin", origin, "-o", "t.csv")
        assert "Warning" not in result.stderr
        table = pd.read_csv("t.csv")
        wanted = [240, 240] if origin == "corner" else [135, 150]
        assert table["count"].tolist() == wanted
    np.testing.assert_allclose(table["mean"], means(VALUES))
    # Another origin is another job.
    assert "rows of another job" in commands.run(*words, "-o", "t.csv").stderr


@pytest.mark.parametrize("degrees", [0.01, 6, 70])
def test_an_oblique_image(folder: Path, degrees: float) -> None:
    nifti(folder / "a.nii.gz", VALUES, turned(degrees))
    table = aggregated("a.nii.gz", "-s", "A,B")
    onto = np.linalg.inv(AFFINE) @ turned(degrees)
    index = np.round(nib.affines.apply_affine(onto, np.moveaxis(np.indices(BRAIN.shape), 0, -1)))
    inside = ((index >= 0) & (index < BRAIN.shape)).all(axis=-1)
    labels = np.zeros(BRAIN.shape, int)
    labels[inside] = BRAIN[tuple(index[inside].astype(int).T)]
    for row, i in enumerate((1, 2)):
        assert table["count"][row] == (labels == i).sum()
        np.testing.assert_allclose(table["mean"][row], VALUES[labels == i].mean())
    # Along the nearest axes only where the header is ignored.
    words = ("brain.nii.gz", "tree.json", "a.nii.gz", "--same-grid", "-o", "s.csv")
    same = commands.run("aggregate", *words)
    assert "Warning" not in same.stderr
    np.testing.assert_allclose(pd.read_csv("s.csv")["mean"][:2], means(VALUES))


def test_only_the_shape_counts_where_it_is_asked_for(folder: Path) -> None:
    odd = nib.Nifti1Image(VALUES, np.diag([1.0, 2, 3, 1]))
    odd.set_qform(np.diag([-1.0, 2, 3, 1]), 1)
    nib.save(odd, folder / "odd.nii.gz")
    nib.save(nib.Nifti1Image(VALUES, None), folder / "bare.nii.gz")
    for name in ("odd", "bare"):
        words = (f"{name}.nii.gz", "--same-grid", "--valid", f"{name}.nii.gz", "-o", f"{name}.csv")
        result = commands.run("aggregate", "brain.nii.gz", "tree.json", *words)
        assert (result.exit_code, result.stderr.count("Warning")) == (0, 0)
        np.testing.assert_allclose(pd.read_csv(f"{name}.csv")["mean"][:2], means(VALUES))


def test_volumes_compared_whatever_their_headers_say(folder: Path) -> None:
    other = np.roll(BRAIN, 1, axis=0)
    nifti(folder / "other.nii.gz", other, turned(6))
    shutil.copy(folder / "tree.json", folder / "own.json")
    refspace.write_nrrd(folder / "plain.nrrd", refspace.read_nifti(folder / "brain.nii.gz"))
    refspace.convert(folder / "brain.nii.gz", folder / "tree.json", folder / "atlas.zarr")
    words = ("compare", "brain.nii.gz", "tree.json", "other.nii.gz")
    changed = (other != BRAIN).sum()
    assert "oblique" in error(*words)
    for more in ((), ("--other-structures", "own.json")):
        result = commands.run(*words, "--same-grid", *more)
        assert (result.exit_code, result.stderr.count("Warning")) == (0, 0), result.output
        assert f"{changed} of 480 voxels changed" in result.stdout
    zarr.create_array("bare.zarr", data=BRAIN, chunks=(9, 9, 9))
    nifti(folder / "far.nii.gz", BRAIN, np.diag([0.1, 0.1, 0.1, 1]))
    refspace.convert(folder / "far.nii.gz", folder / "tree.json", folder / "far.zarr")
    for store in ("atlas.zarr", "bare.zarr", "far.zarr"):
        words = ("compare", "brain.nii.gz", "tree.json", store, "--same-grid")
        result = commands.run(*words)
        assert "0 of 480 voxels changed" in result.stdout, result.output
    nifti(folder / "moved.nii.gz", BRAIN, AFFINE @ nib.affines.from_matvec(np.eye(3), [1, 0, 0]))
    assert "give --same-grid where voxel i of both" in error(*words[:3], "moved.nii.gz")
    nifti(folder / "small.nii.gz", BRAIN[1:])
    assert "the other volume has shape (19, 6, 4)" in error(
        *words[:3], "small.nii.gz", "--same-grid"
    )


def test_images_that_say_nothing(folder: Path) -> None:
    nifti(folder / "a.nii.gz", np.full(BRAIN.shape, -1, "f4"))
    far = AFFINE.copy()
    far[0, 3] = 500
    nifti(folder / "b.nii.gz", VALUES.astype("f4"), far)
    beside = AFFINE.copy()
    beside[0, 3] = -9.5 - 12
    nifti(folder / "c.nii.gz", VALUES.astype("f4"), beside)
    words = ("aggregate", "brain.nii.gz", "tree.json")
    assert "Error: a.nii.gz: the image has no voxel that counts in any region" in error(
        *words, "a.nii.gz", "--nodata", "-1"
    )
    assert "b.nii.gz: the image lies elsewhere" in error(*words, "b.nii.gz")
    assert (
        "c.nii.gz: the image has no voxel that counts in any region: the image covers 0% of"
        in error(*words, "c.nii.gz", "-s", "B")
    )
    nifti(folder / "d.nii.gz", VALUES.astype("f4"))
    result = commands.run(*words, *("a.nii.gz", "d.nii.gz", "--nodata", "-1", "-o", "t.csv"))
    assert result.exit_code == 1
    assert "a.nii.gz: the image has no voxel that counts" in result.stderr
    assert set(pd.read_csv("t.csv")["image"]) == {"d.nii.gz"}


def test_the_job_in_python_warns_and_fails_alike(folder: Path) -> None:
    space = refspace.open("brain.nii.gz", structures="tree.json")
    space.to_zarr("atlas.zarr")
    nifti(folder / "a.nii.gz", VALUES.astype("f4"), np.eye(4))
    with pytest.warns(UserWarning, match=r"a.nii.gz: the image covers 19% .*same_grid=True"):
        aggregate_images("atlas.zarr", ["a.nii.gz"], "t.csv")
    with pytest.raises(
        JobError, match=r"a.nii.gz: the image has no voxel that counts .* covers 19% of"
    ):
        aggregate_images("atlas.zarr", ["a.nii.gz"], "u.csv", valid_min=9)


def test_regions_with_texts_for_labels_say_so(folder: Path) -> None:
    space = refspace.open("brain.nii.gz", structures="tree.json")
    space.to_zarr("atlas.zarr")
    nifti(folder / "a.nii.gz", VALUES.astype("f4"))
    aggregate_images("atlas.zarr", ["a.nii.gz"], "t.csv", {"A": "one", "B": "one", "C": "two"})
    table = pd.read_csv("t.csv")
    assert list(table)[:3] == ["image", "structure", "region"]
    assert table["region"].tolist() == ["one", "two"]


# ----- masks of nothing


@pytest.mark.parametrize("words", [("-s", "C"), ("-s", "A,C"), ("-s", "C", "-o", "c.nrrd")])
def test_a_mask_of_nothing(folder: Path, words: tuple[str, ...]) -> None:
    said = error("mask", "brain.nii.gz", "tree.json", *words)
    assert "Error: 3 (C): no voxel in the annotation, so the mask would be of nothing" in said


def test_a_union_that_has_voxels_is_a_mask(folder: Path) -> None:
    result = commands.run("mask", "brain.nii.gz", "tree.json", "-s", "A,C", "-o", "a.nrrd")
    assert result.exit_code == 0, result.output


def test_a_mask_of_nothing_in_a_hemisphere(folder: Path) -> None:
    words = ["mask", "brain.nii.gz", "tree.json", "-s", "A", "--hemisphere", "right"]
    said = error(*words, "--direct-only")
    assert "1 (A): no voxel in the annotation" in said
    assert "or leave out --direct-only" in said


def test_masks_of_nothing(folder: Path) -> None:
    words = ["masks", "brain.nii.gz", "tree.json"]
    said = error(*words, "-s", "C", "-o", "a.zarr")
    assert "3 (C): no voxel in the annotation" in said
    some = commands.run(*words, "-s", "A,C", "-o", "masks.zarr")
    assert some.exit_code == 0, some.output
    assert "Warning: 1 of 2 masks have no voxel: 3 (C)" in some.stderr
    assert "no voxel" not in commands.run(*words, "-s", "A,B", "-o", "both.zarr").stderr


def test_a_message_names_few_of_many_structures(folder: Path) -> None:
    nodes = [{"id": i, "acronym": f"E{i}", "structure_id_path": [i]} for i in range(11, 19)]
    (folder / "many.json").write_text(json.dumps([*TREE, *nodes]))
    ids = ",".join(str(node["id"]) for node in nodes)
    said = error("masks", "brain.nii.gz", "many.json", "-s", ids, "-o", "a.zarr")
    assert "11 (E11), 12 (E12), 13 (E13), 14 (E14), 15 (E15), …: no voxel" in said
