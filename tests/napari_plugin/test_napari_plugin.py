"""The plug-in of napari: what it opens, what it leaves to others; napari itself is not here."""

import ast
import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr

import refspace
from refspace import ReferenceSpace, napari_plugin
from refspace.napari_plugin import get_reader, read_layers

PACKAGE = Path(refspace.__file__).parent
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plugin") / "a.zarr"
    refspace.phantom(resolution=400).to_zarr(path, chunks=16)
    return path


def test_a_store_is_opened(store: Path) -> None:
    for path in (store, str(store), f"{store}/", store.as_uri()):
        reader = get_reader(path)
        assert reader is not None
        (labels, options, kind) = reader(path)[0]
    assert (kind, len(labels), options["name"]) == ("labels", 2, "annotation")


def plain_image(folder: Path) -> Path:
    refspace.phantom(resolution=800).to_ome_zarr(folder / "a.zarr")
    return folder / "a.zarr"


def masks(folder: Path) -> Path:
    space = refspace.phantom(resolution=800)
    refspace.write_masks(space, folder / "a.zarr", ["TH"])
    return folder / "a.zarr"


def xarray_group(folder: Path) -> Path:
    xr.Dataset({"a": ("x", np.arange(3))}).to_zarr(folder / "a.zarr", consolidated=False)
    return folder / "a.zarr"


def text(content: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / "a.zarr").mkdir()
        (folder / "a.zarr/zarr.json").write_text(content)
        return folder / "a.zarr"

    return write


OTHERS = {
    "plain image": plain_image,
    "masks": masks,
    "group of xarray": xarray_group,
    "nothing": lambda folder: folder / "a.zarr",
    "empty folder": lambda folder: folder,
    "no JSON": text("{"),
    "a list": text("[1]"),
    "no attributes": text("{}"),
    "attributes that are none": text('{"attributes": 3}'),
    "a name alone": text('{"attributes": {"refspace": "0.1"}}'),
    "deep JSON": text("[" * 100_000),
    "bytes that are no text": lambda folder: _bytes(folder),
}


def _bytes(folder: Path) -> Path:
    (folder / "zarr.json").write_bytes(b"\xff\xfe\x00{")
    return folder


@pytest.mark.parametrize("make", OTHERS.values(), ids=OTHERS)
def test_everything_else_is_left_to_others(make: Callable[[Path], Path], tmp_path: Path) -> None:
    assert get_reader(make(tmp_path)) is None


def test_several_paths_are_left_to_others(store: Path) -> None:
    assert get_reader([store, store]) is None


INCOMPLETE = {
    "zarr_format": 3,
    "node_type": "group",
    "attributes": {"refspace": {"complete": False}},
}


def test_an_incomplete_store_says_so(tmp_path: Path) -> None:
    path = text(json.dumps(INCOMPLETE))(tmp_path)
    reader = get_reader(path)
    assert reader is not None
    with pytest.raises(refspace.RefspaceError, match="is not complete"):
        reader(path)


@pytest.mark.parametrize(
    ("frame", "expected"), [("PIR", ("down", "right")), ("LAS", ("up", "left"))]
)
def test_an_empty_viewer_is_turned_upright(
    frame: str, expected: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    camera = SimpleNamespace(orientation2d=None)
    viewer = SimpleNamespace(layers=[], camera=camera)
    monkeypatch.setattr(napari_plugin, "_viewer", lambda: viewer)
    refspace.phantom(resolution=800).in_frame(frame).to_zarr(tmp_path / "a.zarr")
    read_layers(tmp_path / "a.zarr")
    assert camera.orientation2d == expected
    # One that shows something already stays as it is.
    camera.orientation2d = None
    viewer.layers.append("image")
    read_layers(tmp_path / "a.zarr")
    assert camera.orientation2d is None


def test_the_manifest_names_functions_that_are_there() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module, _, name = project["entry-points"]["napari.manifest"]["refspace"].partition(":")
    manifest = PACKAGE / name
    assert (module, manifest.exists()) == ("refspace", True)
    # Each command is `module:function`; YAML of others is not needed to read it.
    lines = [line.split(": ", 1) for line in manifest.read_text().splitlines() if ": " in line]
    named = [value for key, value in lines if key.strip() == "python_name"]
    assert {value.partition(":")[0] for value in named} == {"refspace.napari_plugin"}
    for value in named:
        assert callable(getattr(napari_plugin, value.partition(":")[2]))


def test_napari_is_no_dependency() -> None:
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        # Parsed where it may be imported alone: all of them would take seconds.
        for node in (
            ast.walk(ast.parse(text)) if "import napari" in text or "from napari" in text else ()
        ):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] == "napari" for name in names), path


def test_the_sample_brain_is_a_space() -> None:
    ((_, options, kind),) = napari_plugin.demo()
    assert (kind, options["scale"]) == ("labels", (100.0, 100.0, 100.0))
    assert ReferenceSpace.to_napari.__module__ == "refspace.verbs.napari"
