"""Conversions go on from sources that are proven to be the same, and begin anew from others."""

import os

import dask.array
import numpy as np
import pytest
import zarr
from helpers.files import names
from helpers.foreign_stores import SHAPE, TREE, VOXELS, write
from helpers.serving import Fault, Server

import refspace
from refspace.blockwise.identity import array_identity
from refspace.errors import FormatError, StoreError
from refspace.store import verify_store

SILENT = Fault(headers={"ETag": None, "Last-Modified": None})
HOW = {"orientation": "PIR", "chunks": 4, "threads": 1}


def interrupt_at(count):
    """Progress that stops a conversion, as Ctrl-C does, when so many blocks are done."""

    def interrupt(done, total):
        if done == count:
            raise KeyboardInterrupt

    return interrupt


def edit(path):
    """Change an array of labels in place, with which no metadata change."""
    array = zarr.open_array(path, mode="r+")
    array[4:] = np.where(array[4:] == 8, 997, 8)


def interrupted(source, target, count=2, **how):
    with pytest.raises(KeyboardInterrupt):
        refspace.convert(source, TREE, target, progress=interrupt_at(count), **{**HOW, **how})


@pytest.mark.promise("the source of a stopped conversion has changed")
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_an_edited_source_is_not_resumed(tmp_path, version):
    source, target = tmp_path / "labels.zarr", tmp_path / "atlas.zarr"
    write(source, version)
    interrupted(source, target)
    edit(source / "0")
    with pytest.raises(StoreError, match=r"is another job: source\.annotation\.voxels is"):
        refspace.convert(source, TREE, target, **HOW)
    stored = refspace.convert(source, TREE, target, overwrite=True, **HOW)
    np.testing.assert_array_equal(stored.annotation, zarr.open_array(source / "0")[:])
    assert not verify_store(target).faults
    # Nor is a complete store taken for that of other voxels.
    edit(source / "0")
    with pytest.raises(StoreError, match="exists; give another name"):
        refspace.convert(source, TREE, target, **HOW)


def test_a_source_that_is_the_same_is_resumed(tmp_path):
    source, target, told = tmp_path / "labels.zarr", tmp_path / "atlas.zarr", []
    write(source)
    interrupted(source, target)
    refspace.convert(source, TREE, target, progress=lambda *n: told.append(n), **HOW)
    assert told[0][0] == 2
    edited = refspace.open(source, structures=TREE, orientation="PIR")
    assert array_identity(edited.annotation.data) == array_identity(edited.annotation.data)


@pytest.mark.parametrize("kind", ["template", "hemispheres"])
def test_what_lies_beside_an_annotation_is_known_too(tmp_path, kind):
    source, target = tmp_path / "labels.zarr", tmp_path / "atlas.zarr"
    write(source)
    numbers = 1 + (np.indices(SHAPE)[2] > 1).astype("u1")
    beside = zarr.create_array(tmp_path / "beside.zarr", data=numbers, chunks=(4, 6, 4))
    interrupted(source, target, **{kind: tmp_path / "beside.zarr"})
    beside[:4] = 2
    with pytest.raises(StoreError, match=rf"source\.{kind}\.voxels is"):
        refspace.convert(source, TREE, target, **HOW, **{kind: tmp_path / "beside.zarr"})


def test_a_file_that_was_edited_with_forged_times(tmp_path):
    path, target = tmp_path / "labels.nrrd", tmp_path / "atlas.zarr"
    labels = refspace.ReferenceSpace(TREE, VOXELS, 25).annotation
    refspace.write_nrrd(path, labels)
    how = {**HOW, "orientation": None}
    interrupted(path, target, **how)
    status = path.stat()
    data = path.read_bytes()
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    with pytest.raises(StoreError, match=r"source\.annotation\.stamp is"):
        refspace.convert(path, TREE, target, **how)


@pytest.mark.promise("a source changes while it is read")
@pytest.mark.parametrize("kind", ["zarr", "nrrd"])
def test_a_source_that_changes_while_it_is_read(tmp_path, kind):
    folder = tmp_path / "out"
    folder.mkdir()
    source = tmp_path / f"labels.{kind}"
    labels = refspace.ReferenceSpace(TREE, VOXELS, 25).annotation
    if kind == "zarr":
        write(source)
    else:
        refspace.write_nrrd(source, labels)

    def meanwhile(done, total):
        if done == total - 1:  # all of the source has been read
            if kind == "zarr":
                edit(source / "0")
            else:
                refspace.write_nrrd(source, labels + 1)

    how = {**HOW, "orientation": "PIR" if kind == "zarr" else None}
    with pytest.raises(
        (StoreError, FormatError), match=r"has changed (while it was read|since it)"
    ):
        refspace.convert(source, TREE, folder / "atlas.zarr", progress=meanwhile, **how)
    assert not names(folder)


def test_a_space_whose_source_changes_while_it_is_written(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    write(tmp_path / "labels.zarr")
    space = refspace.open(tmp_path / "labels.zarr", structures=TREE, orientation="PIR")
    with pytest.raises(StoreError, match="the annotation has changed while it was read"):
        space.to_zarr(folder / "a.zarr", progress=lambda *_: edit(tmp_path / "labels.zarr/0"))
    assert not names(folder)


# ----- what cannot be proven


def unproven(folder, kind):
    """Voxels that dask reads in ways of its own."""
    zarr.create_array(folder / "labels.zarr", data=VOXELS, chunks=(4, 3, 4), overwrite=True)
    return {
        "zarr": lambda: dask.array.from_zarr(str(folder / "labels.zarr")),
        "function": lambda: dask.array.from_array(VOXELS, chunks=4).map_blocks(_unchanged),
        "named": lambda: dask.array.from_array(VOXELS, chunks=4, name="labels"),
    }[kind]()


def _unchanged(block):
    return block


@pytest.mark.promise("nothing proves a source unchanged", "a job begins anew, and says why")
@pytest.mark.parametrize("kind", ["zarr", "function", "named"])
@pytest.mark.parametrize("place", ["folder", "memory"])
def test_a_source_in_doubt_begins_anew(tmp_path, kind, place):
    target = f"memory://doubt-{kind}/atlas.zarr" if place == "memory" else f"{tmp_path}/atlas.zarr"
    how = {**HOW, "resolution": 25}
    source = unproven(tmp_path, kind)
    # One that is stopped leaves nothing that could be gone on with.
    interrupted(source, target, **how)
    with pytest.raises(StoreError, match="there is no zarr store"):
        refspace.open(target)
    refspace.convert(source, TREE, target, **how)
    with pytest.raises(StoreError, match="exists, and cannot be proven to hold the same voxels"):
        refspace.convert(source, TREE, target, **how)
    refspace.convert(source, TREE, target, overwrite=True, **how)


@pytest.mark.parametrize("place", ["folder", "memory"])
def test_what_a_kill_leaves_of_a_source_in_doubt(tmp_path, monkeypatch, place):
    from refspace.store.staging import staging

    target = "memory://killed/atlas.zarr" if place == "memory" else f"{tmp_path}/atlas.zarr"
    how = {**HOW, "resolution": 25}
    source = unproven(tmp_path, "zarr")
    with monkeypatch.context() as patch:
        patch.setattr(staging, "_discard", lambda *_: None)  # as a kill does
        interrupted(source, target, **how)
    told = []
    with pytest.warns(UserWarning, match="is not continued, but begun anew: .* holds a zarr"):
        refspace.convert(source, TREE, target, progress=lambda *n: told.append(n), **how)
    assert told[0][0] == 0
    assert not verify_store(target).faults


def test_a_server_that_states_no_versions(tmp_path):
    write(tmp_path / "labels.zarr")
    target = tmp_path / "atlas.zarr"
    with Server(tmp_path) as server:
        url = f"{server.url}/labels.zarr"
        interrupted(url, target)
        told = []
        refspace.convert(url, TREE, target, progress=lambda *n: told.append(n), **HOW)
        assert told[0][0] == 2
        server.faults = lambda request: SILENT
        with pytest.raises(StoreError, match="states neither an ETag nor a time of 0/c/0"):
            refspace.convert(url, TREE, target, **HOW)


def test_what_verbs_make_is_no_doubt(tmp_path):
    refspace.phantom(resolution=200).to_zarr(tmp_path / "atlas.zarr")
    refspace.write_nrrd(tmp_path / "a.nrrd", refspace.phantom(resolution=200).annotation)
    tree = refspace.phantom(resolution=400).structure_tree
    of_file = refspace.ReferenceSpace(tree, refspace.read_nrrd(tmp_path / "a.nrrd"))
    for space in (refspace.open(tmp_path / "atlas.zarr"), of_file):
        for each in (
            space,
            space.hemisphere("left"),
            space.downsample(400),
            space.downsample(400, "mode"),
            space.downsample(300),
            space.reorient("RAS"),
        ):
            assert array_identity(each.annotation.data).is_proven
        assert array_identity(space.make_structure_mask("TH").data).is_proven
