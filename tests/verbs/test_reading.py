"""The front door to images: whatever they are in, wherever they are."""

import json

import dask.array as da
import nibabel as nib
import numpy as np
import pytest
import xarray as xr
from helpers.serving import Server

import refspace
from refspace.errors import AnnotationError, FormatError, GridError, StoreError
from refspace.formats.names import is_volume_file
from refspace.grid import Grid
from refspace.labels import labelled

VALUES = np.arange(60, dtype="f4").reshape(5, 4, 3)
GRID = Grid(VALUES.shape, (25, 25, 25))
IMAGE = labelled(VALUES, GRID, "image")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    refspace.write_nrrd(folder / "a.nrrd", IMAGE)
    refspace.write_nifti(folder / "a.nii.gz", IMAGE)
    IMAGE.to_dataset().to_zarr(folder / "a.zarr", zarr_format=2)
    refspace.write_nrrd(folder / "labels.nrrd", labelled(np.ones(GRID.shape, "u1"), GRID))
    return folder


@pytest.fixture
def server(folder):
    with Server(folder) as server:
        yield server


@pytest.mark.parametrize("name", ["a.nrrd", "a.nii.gz", "a.zarr"])
def test_one_door_for_all(folder, server, name):
    for where in (folder / name, f"{server.url}/{name}"):
        xr.testing.assert_equal(
            refspace.read_image(where)
            .transpose(*IMAGE.dims)
            .drop_vars("hemisphere", errors="ignore"),
            IMAGE.drop_vars("hemisphere", errors="ignore"),
        )


def test_arrays_say_where_they_are_or_are_asked(folder):
    assert refspace.read_image(IMAGE) is IMAGE
    for array in (VALUES, da.from_array(VALUES), xr.DataArray(VALUES)):
        placed = refspace.read_image(array, resolution=(10, 20, 30), orientation="LPS")
        assert placed.dims == ("ml", "ap", "dv")
        assert placed.dv.values.tolist() == [15, 45, 75]
        with pytest.raises(GridError, match="give resolution=, like 25"):
            refspace.read_image(array, orientation="PIR")
        with pytest.raises(GridError, match="give orientation=, three letters"):
            refspace.read_image(array, resolution=25)
    series = xr.DataArray(np.zeros((2, *VALUES.shape)), dims=("time", "z", "y", "x"))
    assert refspace.read_image(series, resolution=25, orientation="PIR").dims[0] == "time"
    with pytest.raises(GridError, match="has coordinates of its own"):
        refspace.read_image(IMAGE, resolution=25)
    with pytest.raises(GridError, match="override=True is for headers of files"):
        refspace.read_image(VALUES, resolution=25, orientation="PIR", override=True)
    for nothing in (np.zeros((4, 4)), np.zeros((0, 4, 4)), [[1]]):
        with pytest.raises(AnnotationError, match="give an array of three axes of space"):
            refspace.read_image(nothing, resolution=25, orientation="PIR")


def test_content_and_not_the_name_tells_the_format(folder, tmp_path):
    for source, name in (("a.nrrd", "a.nii"), ("a.nii.gz", "a.nrrd"), ("a.nrrd", "noname")):
        (tmp_path / name).write_bytes((folder / source).read_bytes())
        np.testing.assert_array_equal(
            refspace.read_image(tmp_path / name).transpose(*IMAGE.dims), VALUES
        )


# What people give, and what they are told.
FOREIGN = {
    "a.ims": (b"\x89HDF\r\n\x1a\n" + bytes(600), "is an Imaris file: convert it to OME-Zarr"),
    "page.nrrd": (b"<!DOCTYPE html><html>404", "is an HTML page: the URL is that of a page"),
    "atlas.xml": (b"<?xml version='1.0'?><atlas/>", "is XML; give a volume, and the structures"),
    "lfs.nii.gz": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0",
        "of Git LFS, .*: run git lfs pull",
    ),
    "a.czi": (b"ZISRAWFILE" + bytes(90), "is a Zeiss CZI file: convert it to OME-Zarr"),
    "tree.json": (json.dumps([{"id": 1}]).encode(), "is JSON; give a volume, and"),
    "a.dcm": (
        bytes(128) + b"DICM" + bytes(99),
        "is a DICOM file: convert .* dcm2niix",
    ),
    "a.png": (b"\x89PNG\r\n", "is a PNG picture: give a volume, like a"),
    "a.mnc": (b"CDF\x01", "is a NetCDF or MINC 1 file"),
    "b.h5": (bytes(512) + b"\x89HDF\r\n\x1a\n", "is an HDF5 file: save the volume in it as zarr"),
    "a.mat": (b"MATLAB 5.0 MAT-file", "is a MATLAB file"),
    "empty": (b"", "is empty; get it again"),
    "a.nrrd.bz2": (b"BZh91AY", "is compressed by bzip2: unpack it first"),
    "noise": (b"\x00\x01\x02\x03\xff" * 9, "starts with .*like no format that is read: NRRD"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_not_read_is_named_with_the_way_out(tmp_path, name):
    content, told = FOREIGN[name]
    (tmp_path / name).write_bytes(content)
    for read in (
        refspace.read_image,
        lambda path: refspace.open(path, structures=refspace.phantom(400).structure_tree),
    ):
        with pytest.raises(FormatError, match=told) as caught:
            read(tmp_path / name)
        assert str(caught.value).startswith(str(tmp_path / name))
        assert len(str(caught.value)) < 400


def test_gzip_is_looked_into(tmp_path):
    import gzip

    (tmp_path / "a.nrrd.gz").write_bytes(gzip.compress(b"NRRD0005\n" + bytes(99)))
    with pytest.raises(FormatError, match=r"compressed by gzip, and what is within .*NRRD"):
        refspace.read_image(tmp_path / "a.nrrd.gz")


# ----- other machines


def test_a_file_elsewhere_is_read_in_place(folder, server):
    """Opening asks for its size and its first bytes; voxels come in one request, when wanted."""
    space = refspace.open(
        f"{server.url}/labels.nrrd",
        structures=refspace.StructureTree([{"id": 1, "acronym": "a", "structure_id_path": [1]}]),
    )
    assert [request.method for request in server.requests] == ["HEAD", "GET"]
    assert space.total_voxel_map[1] == 60
    assert len(server.requests) <= 6
    assert server.requests[-1].path == "/labels.nrrd"


def test_a_file_elsewhere_that_changes(folder, tmp_path):
    for name in ("a.nrrd",):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with Server(tmp_path) as server:
        image = refspace.read_image(f"{server.url}/a.nrrd")
        refspace.write_nrrd(tmp_path / "a.nrrd", IMAGE + 1)
        with pytest.raises(FormatError, match="changed since it was opened"):
            image.compute()


def test_nothing_there(server, tmp_path):
    for name in ("no.nrrd", "no.nii.gz"):
        with pytest.raises(FileNotFoundError, match="does not exist"):
            refspace.read_image(f"{server.url}/{name}")
        with pytest.raises(FileNotFoundError, match="does not exist"):
            refspace.read_image(tmp_path / name)
    for where in (f"{server.url}/no.zarr", tmp_path / "no.zarr"):
        with pytest.raises(StoreError, match="there is no zarr store"):
            refspace.read_image(where)


def test_any_file_system_of_fsspec(folder):
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe("/images/a.nrrd", (folder / "a.nrrd").read_bytes())
    try:
        image = refspace.read_image("memory://images/a.nrrd")
        np.testing.assert_array_equal(image.values, VALUES)
    finally:
        memory.rm("/images", recursive=True)


def test_a_file_elsewhere_is_converted(folder, server, tmp_path):
    tree = refspace.StructureTree([{"id": 1, "acronym": "a", "structure_id_path": [1]}])
    stored = refspace.convert(f"{server.url}/labels.nrrd", tree, tmp_path / "atlas.zarr")
    assert stored.total_voxel_map[1] == 60


def test_an_image_elsewhere_is_aggregated(folder, server, tmp_path):
    tree = refspace.StructureTree([{"id": 1, "acronym": "a", "structure_id_path": [1]}])
    space = refspace.convert(folder / "labels.nrrd", tree, tmp_path / "atlas.zarr")
    for image in (f"{server.url}/a.nii.gz", folder / "a.zarr"):
        table = space.aggregate(image, statistics="mean")
        assert table["mean"].values.tolist() == [VALUES.mean()]
    refspace.aggregate_images(
        tmp_path / "atlas.zarr", [f"{server.url}/a.nii.gz"], tmp_path / "t.csv", statistics="mean"
    )
    assert f",{VALUES.mean()}" in (tmp_path / "t.csv").read_text()


def test_headers_are_read_alone(folder, tmp_path, monkeypatch):
    """Nothing but the header is read of a file, here or elsewhere."""
    image = nib.Nifti1Image(VALUES, np.eye(4))
    nib.save(image, tmp_path / "a.nii")
    whole = (tmp_path / "a.nii").read_bytes()
    (tmp_path / "a.nii").write_bytes(whole[:352] + b"\xff" * (len(whole) - 352))
    assert refspace.read_image(tmp_path / "a.nii").shape == VALUES.shape


def test_a_download_whose_name_says_nothing_is_recognised_by_its_content(tmp_path):
    voxels = np.random.default_rng(8).integers(0, 9, (5, 4, 3)).astype("u2")
    grid = Grid(voxels.shape, (25, 25, 25), orientation="RAS", frame="RAS")
    refspace.write_nrrd(tmp_path / "x.nrrd", labelled(voxels, grid))
    content = (tmp_path / "x.nrrd").read_bytes()
    with Server({"files/123": content, "get?file=7": content, "page": b"<html>"}) as server:
        for name in ("files/123", "get?file=7"):
            np.testing.assert_array_equal(refspace.read_image(f"{server.url}/{name}"), voxels)
        for name in ("page", "missing"):
            assert not is_volume_file(f"{server.url}/{name}")
        server.requests.clear()
        assert not is_volume_file(f"{server.url}/atlas.zarr/s0")
        assert server.requests == []
