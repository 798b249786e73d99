"""What the columns of a structures file hold, as a user of the commands says it."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from click.testing import Result
from helpers import commands

import refspace

COLUMNS = "id=number, name=what,acronym=the code, short,parent=mother"
TABLE = 'number;what;the code, short;mother\n1;left part;A;\n2;"right; part";B;1.0\n'


def run(*words: object, code: int = 0) -> Result:
    result = commands.run(*words)
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    brain = np.zeros((8, 6, 4), np.uint8)
    brain[:4], brain[4:] = 1, 2
    affine = np.diag([1.0, 1, 1, 1])
    affine[:3, 3] = -3.5, -2.5, -1.5
    nib.save(nib.Nifti1Image(brain, affine), "brain.nii.gz")
    nib.save(nib.Nifti1Image(brain.astype("f4"), affine), "image.nii.gz")
    Path("tree.csv").write_text(TABLE)


def test_what_the_columns_hold() -> None:
    result = run("counts", "brain.nii.gz", "tree.csv", code=1)
    assert "tree.csv: columns are number, what, the code, short, mother; a table" in result.stderr
    assert "as in --columns id=number" in result.stderr
    result = run("counts", "brain.nii.gz", "tree.csv", "--columns", COLUMNS, "-o", "counts.csv")
    table = pd.read_csv("counts.csv")
    assert table["acronym"].tolist() == ["A", "B"]
    assert table["name"].tolist() == ["left part", "right; part"]
    assert table["total"].tolist() == [192, 96]


def test_every_command_that_takes_structures_takes_their_columns() -> None:
    given = ["--columns", "id=number,name=what", "--columns", "parent=mother"]
    run("convert", "brain.nii.gz", "tree.csv", "a.zarr", *given)
    run("slice", "brain.nii.gz", "tree.csv", *given, "-o", "slice.png")
    run("mask", "brain.nii.gz", "tree.csv", *given, "--structures", "1", "-o", "mask.nii.gz")
    run("downsample", "brain.nii.gz", "tree.csv", *given, "--to", 2000, "-o", "d.zarr")
    run("export", "itksnap", "brain.nii.gz", "tree.csv", "x.nii.gz", "x.txt", *given)
    run("aggregate", "brain.nii.gz", "tree.csv", "image.nii.gz", *given, "-o", "table.csv")
    assert pd.read_csv("table.csv")["mean"].tolist() == [1.5, 2]
    for store in ("a.zarr", "d.zarr"):
        tree = refspace.open(store).structure_tree
        assert tree.parent_ids([1, 2]) == [None, 1]
        assert tree.resolve("left part") == [1]
    Path("points.csv").write_text("x,y,z\n-1000,0,0\n1000,0,0\n1500,0,0\n")
    words = ["--columns", "x,y,z", *given]
    result = run("points", "brain.nii.gz", "tree.csv", "points.csv", *words, "-o", "points_of.csv")
    assert pd.read_csv("points_of.csv")["points"].tolist() == [3, 2]
    others = ["--other-structures", "tree.csv", "--other-columns", "id=number,name=what"]
    result = run("compare", "brain.nii.gz", "tree.csv", "brain.nii.gz", *given, *others)
    assert "0.667" in result.output  # the other tree is flat


WRONG = {
    "no pair": (["tree.csv", "--columns", "number"], "'number' is no FIELD=COLUMN, like id=region"),
    "no name": (["tree.csv", "--columns", "id="], "'id=' is no FIELD=COLUMN"),
    "no file": (["--columns", "id=number"], "--columns is of a structures file; give that too"),
    "no field": (
        ["tree.csv", "--columns", "weight=what"],
        "--columns has a field 'weight'; fields",
    ),
    "no column": (
        ["tree.csv", "--columns", "id=nr"],
        "no column 'nr' for id; there are number, wh",
    ),
}


@pytest.mark.parametrize(("words", "message"), WRONG.values(), ids=WRONG)
def test_columns_that_are_none(words: list[str], message: str) -> None:
    result = commands.run("counts", "brain.nii.gz", *words)
    assert result.exit_code in (1, 2)
    assert message in " ".join(result.stderr.split())
