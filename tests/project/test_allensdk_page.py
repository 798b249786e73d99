"""The tables of the page for users of AllenSDK: each line runs, and gives what is said."""

import re
from pathlib import Path
from typing import Any

import nrrd
import numpy as np
import pytest

import refspace

PAGE = (Path(__file__).parents[2] / "docs" / "allensdk.md").read_text("utf-8")
MODULES = {"np": np, "nrrd": nrrd}


def rows(name: str) -> list[list[str]]:
    """Rows of a table, as its cells."""
    (table,) = re.findall(f"<!-- {name} -->(.*?)<!-- /{name} -->", PAGE, re.DOTALL)
    _, _, *lines = table.strip().splitlines()
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def code(cell: str) -> str:
    assert re.fullmatch("`[^`]+`", cell), cell
    return cell.strip("`")


@pytest.fixture(scope="module")
def space() -> refspace.ReferenceSpace:
    return refspace.phantom(400)


@pytest.fixture(scope="module")
def arrays(
    space: refspace.ReferenceSpace, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """Lazy arrays, as refspace has them."""
    return {
        "mask": space.make_structure_mask([315]),
        "other": space.make_structure_mask([385]),
        "annotation": space.annotation,
        "template": (space.annotation % 7).astype("f4"),
        "names": {0: "outside", **space.structure_tree.get_name_map()},
        "path": str(tmp_path_factory.mktemp("page") / "mask.nrrd"),
    }


@pytest.fixture(scope="module")
def plain(arrays: dict[str, Any]) -> dict[str, Any]:
    """The same, as AllenSDK has them."""
    masks = {name: arrays[name].values.astype("u1") for name in ("mask", "other")}
    others = {name: arrays[name].values for name in ("annotation", "template")}
    return arrays | masks | others


def same(one: Any, other: Any) -> bool:
    if isinstance(one, str):
        return isinstance(other, str) and one == other
    first, second = np.asarray(one), np.asarray(other)
    return first.shape == second.shape and np.allclose(first, second)


@pytest.mark.parametrize("row", rows("lines"), ids=lambda row: row[0])
def test_their_line_and_ours(row: list[str], space: refspace.ReferenceSpace) -> None:
    template = (space.annotation % 7).values.astype("f4")
    names = MODULES | {"rsp": space, "tree": space.structure_tree, "template": template}
    theirs, ours = (eval(code(cell), dict(names)) for cell in row)
    assert same(theirs, ours)


@pytest.mark.parametrize("row", rows("habits"), ids=lambda row: row[0])
def test_habits_that_break(row: list[str], arrays: dict[str, Any], plain: dict[str, Any]) -> None:
    habit, what, here = row
    expected = eval(code(habit), MODULES | plain)
    found = eval(code(here), MODULES | arrays)
    assert (
        np.all([same(a, b) for a, b in zip(expected, found, strict=True)])
        if isinstance(expected, tuple)
        else expected is found or same(expected, found)
    )
    if what.startswith("raises"):
        with pytest.raises(Exception):  # noqa: B017, PT011  # of NumPy, dask or xarray
            eval(code(habit), MODULES | arrays)
    else:
        assert what.startswith("**something else**")
        assert not same(expected, eval(code(habit), MODULES | arrays))
