"""Plain stores in napari, without a display: by the reader of napari-ome-zarr that pip chooses.

It is in an environment of its own, for napari needs much that nothing else here does. One that is
there already is named by the environment variable ``REFSPACE_NAPARI_PYTHON``: its interpreter.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from refspace import ReferenceSpace, StructureTree
from refspace.grid import Grid
from refspace.labels import labelled

pytestmark = [pytest.mark.slow, pytest.mark.network]

READ = """
import contextlib, io, json, sys, warnings
from importlib.metadata import version

warnings.simplefilter("ignore")
from napari.layers import Image, Labels
from napari_ome_zarr import napari_get_reader

found = []
with contextlib.redirect_stdout(io.StringIO()):
    for data, options, kind in napari_get_reader(sys.argv[1])(sys.argv[1]):
        layer = {"image": Image, "labels": Labels}[kind](data, multiscale=True, **options)
        table = layer.features.to_dict("list") if kind == "labels" else {}
        rows = {str(i): n for i, n in zip(table.get("index", ()), table.get("acronym", ()))}
        shapes = [list(level.shape) for level in data]
        found.append({"kind": kind, "shapes": shapes, "scale": list(map(float, layer.scale)),
                      "units": [str(unit) for unit in layer.units], "acronyms": rows})
print(json.dumps([version("napari-ome-zarr"), found]))
"""
IDS = [997, 8, 300]
TREE = StructureTree(
    [{"id": i, "acronym": f"A{i}", "structure_set_ids": [1], "structure_id_path": [i]} for i in IDS]
)


@pytest.fixture(scope="module")
def napari(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Interpreter that has napari-ome-zarr."""
    if given := os.environ.get("REFSPACE_NAPARI_PYTHON"):
        return Path(given)
    folder = tmp_path_factory.mktemp("napari")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    command = [python, "-m", "pip", "install", "--quiet", "napari-ome-zarr>=0.8"]
    subprocess.run(command, check=True)
    return python


def read(napari: Path, store: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"QT_QPA_PLATFORM": "offscreen"}
    environment.pop("PYTHONPATH", None)
    command = [napari, "-c", READ, store]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_napari_reads_the_image_and_its_labels(tmp_path: Path, napari: Path) -> None:
    rng = np.random.default_rng(0)
    grid = Grid((12, 10, 8), (25, 50, 100), orientation="SPL")
    image = labelled(rng.integers(0, 900, grid.shape).astype("u2"), grid, "template")
    labels = labelled(rng.choice(np.array(IDS, "u4"), grid.shape), grid)
    space = ReferenceSpace(TREE, labels, template=image)
    for with_index in (True, False):
        space.to_ome_zarr(tmp_path / f"{with_index}.zarr", chunks=6, with_index=with_index)
    done = {
        with_index: read(napari, tmp_path / f"{with_index}.zarr") for with_index in (True, False)
    }
    version, _ = json.loads(done[False].stdout)
    # The readers before 0.11 add the column by which napari finds names; that one takes the file's.
    with_index = tuple(map(int, version.split(".")[:2])) >= (0, 11)
    found = json.loads(done[with_index].stdout)[1]
    assert [layer["kind"] for layer in found] == ["image", "labels"]
    for layer in found:
        assert layer["shapes"] == [[12, 10, 8], [6, 5, 4]]
        assert layer["scale"] == [25, 50, 100]
    assert found[1]["acronyms"] == {str(i): f"A{i}" for i in IDS}
    # What the documentation says of the other kind.
    if with_index:
        assert json.loads(done[False].stdout)[1][1]["acronyms"] == {}
    else:
        assert "All arrays must be of the same length" in done[True].stderr
