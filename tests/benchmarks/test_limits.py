"""Speeds of the machine, and what they allow."""

from pathlib import Path

import pytest

import refspace
from benchmarks import limits, work
from benchmarks.measurement import Inputs


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    url = tmp_path_factory.mktemp("limits") / "atlas.zarr"
    refspace.phantom(resolution=200).to_zarr(url, chunks=48)
    return url


def test_limits_of_the_machine(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_WRITTEN_BYTES", 2**20)
    speeds = limits.Speeds.measured(store)
    assert speeds.codec > 0 < speeds.memset
    assert limits.Speeds(10, 5).limit(decoded_bytes=30, written_bytes=20) == 7


def test_one_chunk_of_one_label_is_enough(tmp_path: Path) -> None:
    refspace.phantom(resolution=400).to_zarr(tmp_path / "small.zarr")
    assert limits.codec_speed(tmp_path / "small.zarr") > 0


VOXELS, CHUNK = 66 * 40 * 57, 48**3


@pytest.mark.parametrize(
    ("function", "given", "written"),
    [
        ("opening", {}, 0),
        ("index", {}, 0),
        ("mask", {"structures": ["AUDd"]}, VOXELS),
        ("every_voxel", {}, 4 * VOXELS),
        ("coarser", {"ratio": 2}, VOXELS / 2),
        ("image", {"lazy": True}, 4 * VOXELS),
        ("slice_image", {"axis": 0}, 3 * 40 * 57),
    ],
)
def test_work(function: str, given: dict, written: float, store: Path) -> None:
    space = refspace.open(store)
    inputs = Inputs(str(store.parent), 200, "disk", str(store.parent), store.name, given)
    found = getattr(work, function)(space, inputs)
    assert found.written == written
    assert 0 <= found.decoded <= 4 * VOXELS
    assert (found.decoded > 0) == (function not in ("opening", "index"))


def test_chunks_of_one_label_need_not_be_decoded(store: Path) -> None:
    space = refspace.open(store)
    labels = space.annotation.values
    varied = [
        len(set(labels[a : a + 48, b : b + 48, c : c + 48].ravel().tolist())) > 1
        for a in (0, 48)
        for b in (0,)
        for c in (0, 48)
    ]
    assert work._varied_chunks(space).ravel().tolist() == varied
