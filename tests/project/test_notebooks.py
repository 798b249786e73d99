"""Notebooks run from top to bottom, on the sample atlas and on the real one, and come out right."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# Of the sample atlas, with outputs: the site shows these, and does not execute them again.
EXECUTED = ROOT / "build/notebooks"

# What the other notebooks show does not depend on the atlas.
ON_THE_CCF = [path for path in NOTEBOOKS if path.stem not in ("cloud", "cluster")]

# What must be true at the end of a notebook, of its own names.
CHECKS = {
    "cells": """
        assert agrees.all()
        sides = points.hemisphere.value_counts()
        assert brainglobe.count_points(
            points, ["root"], columns=columns, unit="voxel", by_hemisphere=True
        ).points.values.tolist() == [[sides["left"], sides["right"]]]
        assert 2 * sides["left"] < sides["right"]
        assert (counts["cellfinder"] - counts["ABBA"]).abs().to_numpy().sum() < 0.01 * len(points)
        assert counts["ABBA", "right"].idxmax() == "VISp"
    """,
    "cloud": """
        asked = table.requests.to_dict()
        assert asked["open"] == 4
        assert asked["volumes of all structures"] == asked["the same once more"] == 1
        assert asked["centroid of VISp"] == asked["mask of VISp, lazy"] == 0
        assert 0 < asked["mask of VISp, computed"] < len(stored) / 4
        assert 0 < asked["slice of a crop"] < len(stored) / 8
        assert voxels == space.total_voxel_map[385]
    """,
    "cluster": """
        assert written.kept >= 4 and written.written > 0
        assert (again.kept, again.written) == (written.kept + written.written, 0)
        assert voxels.values.tolist() == expected
    """,
    "cohort": """
        assert set(found.index) >= set(effects)
        assert len(found) <= 1.2 * len(effects) + 1
        assert all((found.change[region] > 0) == (effect > 1) for region, effect in effects.items())
    """,
}


def run(path: Path) -> nbformat.NotebookNode:
    """Execute a notebook, with what must be true at its end; give it with its outputs."""
    notebook = nbformat.read(path, as_version=4)
    check = CHECKS.get(path.stem, "").replace("\n        ", "\n").strip()
    notebook.cells.append(new_code_cell(check))
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    del notebook.cells[-1]
    return notebook


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_on_the_sample(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REFSPACE_CCF_DATA", raising=False)
    notebook = run(path)
    EXECUTED.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, EXECUTED / path.name)


@pytest.mark.slow
@pytest.mark.ccf
@pytest.mark.parametrize("path", ON_THE_CCF, ids=lambda path: path.stem)
def test_on_the_ccf(path: Path, ccf_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFSPACE_CCF_DATA", str(ccf_data))
    run(path)


def test_there_are_notebooks() -> None:
    assert {path.stem for path in NOTEBOOKS} >= CHECKS.keys()
