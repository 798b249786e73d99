"""Symbolic links within stores: they may lead to any file, so none is followed."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from helpers.commands import run

import refspace
from refspace.errors import RefspaceError, StoreError
from refspace.store import Location, verify_store

pytestmark = pytest.mark.usefixtures("no_sync", "no_threads")

REFUSED = "symbolic link"


@pytest.fixture(scope="module")
def space():
    return refspace.phantom(resolution=400)


@pytest.fixture
def atlas(space, tmp_path):
    path = tmp_path / "atlas.zarr"
    space.to_zarr(path, chunks=16)
    return path


def linked(path: Path, outside: Path, *, relative: bool = False) -> None:
    """Move a file or folder outside of its store, and leave a link to it."""
    outside.mkdir(exist_ok=True)
    target = outside / "moved"
    shutil.move(path, target)
    path.symlink_to(os.path.relpath(target, path.parent) if relative else target)


@pytest.mark.promise("a symbolic link lies within a store", "it is not followed; verify names it")
@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize(
    "key",
    ["zarr.json", "s0/annotation/c/0/0/0", "s0/annotation/c/0", "s0/annotation", "s0", "s0/ap"],
)
def test_what_lies_behind_a_link_is_not_read(atlas, tmp_path, key, relative):
    linked(atlas / key, tmp_path / "outside", relative=relative)
    with pytest.raises(StoreError, match=REFUSED) as caught:
        refspace.open(atlas).annotation.compute()
    assert key.split("/")[0] in str(caught.value)
    assert str(atlas) in str(caught.value)


def test_links_within_the_store_are_refused_too(atlas):
    first, second = (atlas / f"s0/annotation/c/0/0/{n}" for n in (0, 1))
    second.unlink()
    second.symlink_to(first)
    with pytest.raises(StoreError, match=r"c/0/0/1 is a symbolic link"):
        refspace.open(atlas).annotation.compute()


def test_the_path_of_a_store_may_have_links(atlas, space, tmp_path):
    link = tmp_path / "other"
    link.symlink_to(tmp_path)
    again = tmp_path / "again.zarr"
    again.symlink_to(atlas)
    for path in (link / atlas.name, again):
        opened = refspace.open(path)
        np.testing.assert_array_equal(opened.annotation, space.annotation)
        assert verify_store(path).faults == ()


@pytest.mark.promise("a symbolic link lies within a store")
@pytest.mark.parametrize("key", ["zarr.json", "s0/annotation/c/0/0/0", "label_index/s0", "s0"])
def test_verify_lists_links(atlas, tmp_path, key):
    linked(atlas / key, tmp_path / "outside")
    (atlas / "dangling").symlink_to("nowhere")
    found = {fault.key: fault.what for fault in verify_store(atlas).faults}
    assert "symbolic link" in found[key]
    assert "symbolic link" in found["dangling"]
    result = run("verify", atlas)
    assert result.exit_code == 1
    assert f"{key}: is a symbolic link" in result.stdout


def test_masks_behind_links_are_not_read(space, tmp_path):
    path = tmp_path / "masks.zarr"
    refspace.write_masks(space, path, ["TH", "CP"])
    whole = refspace.open_masks(path).compute()
    shards = [file for file in (path / "s0/mask/c").rglob("*") if file.is_file()]
    shard = max(shards, key=lambda file: file.stat().st_size)
    linked(shard, tmp_path / "outside")
    with pytest.raises(RefspaceError, match=REFUSED):
        refspace.open_masks(path).compute()
    assert any(REFUSED in fault.what for fault in verify_store(path).faults)
    assert whole.any()


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_bare_arrays_of_other_programs_have_no_links(tmp_path, zarr_format):
    path = tmp_path / "array.zarr"
    array = zarr.create_array(
        path, shape=(4, 4, 4), chunks=(2, 2, 2), dtype="u1", zarr_format=zarr_format
    )
    array[...] = 1
    chunk = path / ("c/0/0/0" if zarr_format == 3 else "0.0.0")
    linked(chunk, tmp_path / "outside")
    space = refspace.open(path, resolution=10, structures=refspace.phantom().structure_tree)
    with pytest.raises(RefspaceError, match=REFUSED):
        space.annotation.compute()
    assert any(REFUSED in fault.what for fault in verify_store(path, resolution=10).faults)


@pytest.mark.parametrize("name", ["ap", "energy"])
def test_variables_of_xarray_have_no_links(tmp_path, name, space):
    path = tmp_path / "image.zarr"
    centres = {dim: space.annotation[dim].values for dim in space.annotation.dims}
    image = xr.DataArray(np.ones(space.annotation.shape), centres, [*centres], name="energy")
    image.to_dataset().to_zarr(path, zarr_format=2)
    linked(path / name, tmp_path / "outside")
    result = run("aggregate", *_stored(space, tmp_path), path, "-s", "TH")
    assert result.exit_code == 1
    assert REFUSED in result.stderr or "no array" in result.stderr or "no variable" in result.stderr
    assert not isinstance(result.exception, OSError | ValueError)


def _stored(space, folder):
    space.to_zarr(folder / "space.zarr")
    return [folder / "space.zarr"]


def test_label_images_below_a_group_have_no_links(tmp_path, space):
    path = tmp_path / "outer.zarr"
    outer = zarr.create_group(path, zarr_format=3)
    outer.create_group("labels", attributes={"ome": {"version": "0.5", "labels": ["there"]}})
    space.to_zarr(tmp_path / "atlas.zarr")
    (path / "labels/there").symlink_to(tmp_path / "atlas.zarr")
    with pytest.raises(RefspaceError, match=r"labels/there is a symbolic link"):
        refspace.open(path, structures=space.structure_tree)


def test_copies_behind_links_are_neither_read_nor_written(tmp_path):
    folder = tmp_path / "copies"
    location = Location("http://host.invalid/a.zarr", chunk_cache=folder)
    location.put_in_cache("key", "1", b"voxels")
    (copy,) = (file for file in folder.rglob("*") if file.is_file())
    assert location.read_cached("key", "1") == b"voxels"
    linked(copy, tmp_path / "outside")
    cache = location._chunk_cache
    assert cache.get("key", "1") is None
    before = (tmp_path / "outside/moved").read_bytes()
    cache.put("key", "1", b"other")
    assert (tmp_path / "outside/moved").read_bytes() == before
    assert [*folder.rglob("*.partial")] == []


def test_names_with_a_nul_are_no_links(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    with pytest.raises((RefspaceError, ValueError)):
        Location(str(tmp_path / "a.zarr")).read("s0\0/x")
