"""Values by structure mean the same, however they are given."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import refspace
from refspace.errors import AnnotationError, FormatError, OntologyError, StructureNotFoundError
from refspace.verbs.value_tables import read_values
from refspace.verbs.values import StructureValues, structure_values

SPACE = refspace.phantom(resolution=400)
TREE = SPACE.structure_tree
ONE = {"VISp": 1.5, "TH": -2.0}
SIDES = pd.DataFrame({"left": [1.5, -2.0], "right": [3.0, math.nan]}, index=["VISp", "TH"])


def oracle(values: dict[str, float]) -> dict[int, float]:
    """Value of the nearest ancestor of each structure that has one."""
    by_id = {TREE.resolve(key)[0]: value for key, value in values.items()}
    found = {}
    for i in TREE.node_ids():
        path = [*reversed(TREE.nodes([i])[0]["structure_id_path"])]
        nearest = [by_id[a] for a in path if a in by_id]
        if nearest:
            found[i] = nearest[0]
    return found


@pytest.mark.parametrize(
    "values",
    [
        ONE,
        {385: 1.5, "Thalamus": -2},
        pd.Series(ONE),
        pd.Series([1.5, -2.0], index=[385.0, 549.0]),
        pd.DataFrame({"value": ONE}),
        pd.DataFrame({"Acronym": ["VISp", "TH"], "cells": [1.5, -2.0], "name": ["a", "b"]}),
        xr.DataArray([-2.0, 1.5], {"structure": [549, 385]}, "structure"),
        xr.Dataset({"mean": ("structure", [1.5, -2]), "std": ("structure", [0, 0])}).assign_coords(
            structure=[385, 549]
        ),
        xr.DataArray([[1.5], [-2.0]], {"structure": ["VISp", "TH"]}, ("structure", "channel")),
    ],
)
def test_one_value_for_both_sides(values) -> None:
    found = structure_values(TREE, values)
    assert found.left == found.right == oracle(ONE)
    assert not found.is_sided
    assert found.limits == (-2.0, 1.5)


@pytest.mark.parametrize(
    "values",
    [
        SIDES,
        SIDES.rename_axis("acronym").reset_index(),
        SIDES.rename_axis("structure").rename_axis("hemisphere", axis=1).stack(),
        SIDES.rename_axis("acronym").melt(
            var_name="hemisphere", value_name="mean", ignore_index=False
        ),
        xr.DataArray(
            SIDES.to_numpy().T[::-1],
            {"hemisphere": ["right", "left"], "structure": ["VISp", "TH"]},
            ("hemisphere", "structure"),
        ),
    ],
)
def test_a_value_for_each_side(values) -> None:
    found = structure_values(TREE, values)
    assert found.is_sided
    assert found.left == oracle(ONE)
    right = oracle({"VISp": 3.0})
    assert {i: value for i, value in found.right.items() if not math.isnan(value)} == right
    assert {*found.right} == {*found.left}


def test_dataset_of_aggregate_equals_paint() -> None:
    image = SPACE.annotation.copy(data=np.random.default_rng(1).random(SPACE.grid.shape))
    image.attrs["units"] = "mV"
    table = SPACE.aggregate(image, ["VIS", "TH"], by_hemisphere=True).compute()
    found = structure_values(TREE, table)
    painted = SPACE.paint(table["mean"]).sel(hemisphere=SPACE.annotation.hemisphere)
    painted = painted.transpose(*SPACE.grid.dims)
    for side in ("left", "right"):
        values = {0: math.nan, **getattr(found, side)}
        labels = SPACE.hemisphere(side).annotation.values
        expected = np.vectorize(lambda i, values=values: values.get(i, math.nan))(labels)
        is_side = (SPACE.annotation.hemisphere == side).values
        np.testing.assert_array_equal(painted.values[..., is_side], expected[..., is_side])
    assert found.label == "mean [mV]"


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        (5, AnnotationError, "values are a int"),
        ({"VISP": 1}, StructureNotFoundError, "did you mean VISp"),
        ({"VISp": 1, 385: 2}, OntologyError, "several values of"),
        ({None: 1.0}, AnnotationError, "value of None"),
        (pd.DataFrame({"a": [1.0], "b": [2.0]}, ["TH"]), AnnotationError, "Name one of a, b"),
        (pd.DataFrame({"a": [1.0]}), AnnotationError, "no column says of which structures"),
        (pd.DataFrame({"mean": ["x"]}, ["TH"]), AnnotationError, "holds 'x' of 'TH'"),
        (
            pd.DataFrame({"id": [385], "hemisphere": ["both"], "mean": [1.0]}),
            AnnotationError,
            "'both'; give left or right",
        ),
        (
            pd.DataFrame({"id": [385, 385], "hemisphere": ["left"] * 2, "mean": [1.0, 2]}),
            AnnotationError,
            "several values of 385 left",
        ),
        (
            xr.Dataset({"a": ("structure", [1]), "b": ("structure", [1])}),
            AnnotationError,
            "choose one of a, b",
        ),
        (
            xr.DataArray([[1, 2]], {"structure": [385]}, ("structure", "channel")),
            AnnotationError,
            r"dim channel of 2; choose one of them, like values.isel\(channel=0\)",
        ),
        (
            xr.DataArray([[1.0]], {"structure": [385]}, ("structure", "hemisphere")).assign_coords(
                hemisphere=["top"]
            ),
            AnnotationError,
            "holds top; give left and right",
        ),
    ],
)
def test_what_is_no_value_of_a_structure(values, error, message) -> None:
    with pytest.raises(error, match=message):
        structure_values(TREE, values)


# ----- files


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".parquet"])
def test_table_of_aggregate_is_read_back(tmp_path: Path, ending: str) -> None:
    table = pd.DataFrame(
        {
            "structure": [385, 385, 549, 549],
            "acronym": ["VISp", "VISp", "TH", "TH"],
            "hemisphere": ["left", "right"] * 2,
            "count": [4, 5, 6, 7],
            "mean": [1.5, 3.0, -2.0, np.nan],
        }
    )
    path = tmp_path / f"table{ending}"
    if ending == ".parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, sep="," if ending == ".csv" else "\t", index=False)
    found = structure_values(TREE, read_values(path))
    expected = structure_values(TREE, SIDES)
    assert found.left == expected.left
    assert str(found.right) == str(expected.right)  # with NaN
    assert structure_values(TREE, read_values(path, "count")).limits == (4, 7)


def test_missing_cells_and_acronyms_that_look_so(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("acronym,density\nNA,1\nTH,n/a\nVISp, \n")
    values = read_values(path)
    assert values.structure.values.tolist() == ["NA", "TH", "VISp"]
    assert np.isnan(values.values[1:]).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "no column says of which structures the values are"),
        ("id,mean\n385,1;5\n", "column mean holds '1;5' of '385'"),
        ("id,x,y\n385,1,2\n", "Name one of x, y"),
        ("id\n385\n", "Name one of none"),
        ("", "no table that can be read"),
    ],
)
def test_file_that_is_no_table_of_values(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(FormatError, match=message):
        read_values(path)


def test_table_larger_than_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("id,mean\n385,1\n")
    with refspace.set_limits(ontology_bytes=4), pytest.raises(FormatError, match="14 bytes"):
        read_values(path)


def test_values_without_any_finite_one() -> None:
    assert StructureValues({1: math.nan}, {1: math.inf}).limits == (0, 1)
