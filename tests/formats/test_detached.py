"""Voxels in the file beside a header, and never elsewhere: NRRD, MetaImage, pairs of NIfTI."""

import gzip
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import nibabel as nib
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from helpers.positions import ras, sitk_ras
from helpers.serving import Server

import refspace
from refspace.errors import FormatError
from refspace.formats.beside import beside
from refspace.formats.metaimage import write_metaimage
from refspace.formats.source_file import source_at
from refspace.formats.volumes import read_image_file, read_volume, stream_volume
from refspace.grid import Grid
from refspace.labels import labelled
from refspace.structure_tree import StructureTree

SHAPE = (5, 4, 3)
VOXELS = np.random.default_rng(4).integers(0, 120, SHAPE).astype("u2")
RAW = VOXELS.tobytes("F")
AFFINE = np.array([[-1.5, 0, 0, 10], [0, 0, 0.5, -3], [0, -0.75, 0, 5], [0, 0, 0, 1]])
HEAD = (
    "NRRD0005\ntype: uint16\ndimension: {0}\nsizes: {1}\nendian: little\nspacings: {2}\n"
    "encoding: {3}\n"
)


def nhdr(folder: Path, data: bytes = RAW, name: str = "x.raw", encoding: str = "raw", **more: Any):
    """Write a detached NRRD by hand."""
    (folder / "x.raw").write_bytes(data)
    path = folder / "x.nhdr"
    lines = "".join(f"{key.replace('_', ' ')}: {value}\n" for key, value in more.items())
    text = HEAD.format(3, "5 4 3", "25 25 25", encoding) + lines + f"data file: {name}\n"
    path.write_text(text)
    return path


def mhd(folder: Path, name: str = "x.raw", data: bytes = RAW) -> Path:
    (folder / "x.raw").write_bytes(data)
    path = folder / "x.mhd"
    path.write_text(
        "NDims = 3\nDimSize = 5 4 3\nElementSpacing = 0.1 0.1 0.1\nDistanceUnits = mm\n"
        "TransformMatrix = 0 1 0 0 0 -1 1 0 0\nOffset = 0 0 0\nElementType = MET_USHORT\n"
        f"ElementDataFile = {name}\n"
    )
    return path


def pair(folder: Path, name: str = "") -> Path:
    nib.save(nib.Nifti1Pair(VOXELS, AFFINE), folder / "x.img")
    return folder / "x.hdr"


# ----- files of other programs


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.filterwarnings("ignore:.*states no unit:UserWarning")
def test_detached_files_of_itk(tmp_path: Path, compressed: bool) -> None:
    path = tmp_path / "theirs.nhdr"
    image = sitk.GetImageFromArray(VOXELS.T)
    image.SetSpacing((0.1, 0.2, 0.05))
    image.SetOrigin((1, 2, 3))
    image.SetDirection((0, 0, 1, 1, 0, 0, 0, -1, 0))
    sitk.WriteImage(image, path, compressed)
    assert len([*tmp_path.iterdir()]) == 2
    array = read_volume(path)
    np.testing.assert_array_equal(array.values, VOXELS)
    for index in ((0, 0, 0), (4, 3, 2)):
        np.testing.assert_allclose(ras(array, index), sitk_ras(image, index), atol=1e-6)


@pytest.mark.parametrize("encoding", ["raw", "gzip"])
@pytest.mark.parametrize("relative", [True, False])
def test_detached_files_of_pynrrd(tmp_path: Path, encoding: str, relative: bool) -> None:
    path = tmp_path / "theirs.nhdr"
    header = {"encoding": encoding, "spacings": [25, 25, 25]}
    nrrd.write(str(path), VOXELS, header, detached_header=True, relative_data_path=relative)
    if relative:
        np.testing.assert_array_equal(read_volume(path).values, nrrd.read(str(path))[0])
        slabs = [slab.copy() for _, slab in stream_volume(path).slabs(2)]
        np.testing.assert_array_equal(np.concatenate(slabs, axis=2), VOXELS)
    else:
        with pytest.raises(FormatError, match="only one in the same folder is read"):
            read_volume(path)


@pytest.mark.parametrize("kind", [nib.Nifti1Pair, nib.Nifti2Pair])
@pytest.mark.parametrize("ending", ["img", "img.gz"])
def test_pairs_of_nibabel(tmp_path: Path, kind: Any, ending: str) -> None:
    image = kind(VOXELS, AFFINE)
    image.header.set_xyzt_units("mm")
    nib.save(image, tmp_path / f"x.{ending}")
    path = tmp_path / f"x.{ending.replace('img', 'hdr')}"
    array, theirs = read_volume(path), nib.load(path)
    np.testing.assert_array_equal(array.values, theirs.dataobj)
    for index in ((0, 0, 0), (4, 3, 2)):
        wanted = 1000 * (theirs.affine @ [*index, 1])[:3]
        np.testing.assert_allclose(ras(array, index), wanted, rtol=1e-5)
    slabs = [slab.copy() for _, slab in stream_volume(path).slabs(2)]
    np.testing.assert_array_equal(np.concatenate(slabs, axis=2), VOXELS)
    with pytest.raises(FormatError, match=r"voxels of a pair of files; give the \.hdr file|gzip"):
        read_volume(tmp_path / f"x.{ending}")


def test_the_header_of_a_pair_has_its_name(tmp_path: Path) -> None:
    path = pair(tmp_path).rename(tmp_path / "x.nii")
    with pytest.raises(FormatError, match=r"does not end in \.hdr; name them like T1.hdr and T1.i"):
        read_volume(path)


# ----- what is skipped in the data file

SKIPPED: dict[str, tuple[bytes, dict[str, Any]]] = {
    "nothing": (RAW, {}),
    "bytes": (b"seven b" + RAW, {"byte_skip": 7}),
    "lines": (b"one\ntwo\r\n" + RAW, {"line_skip": 2}),
    "both": (b"one\ntwo\nabc" + RAW, {"line_skip": 2, "byte_skip": 3}),
    "all but the last": (b"anything" + RAW, {"byte_skip": -1}),
    "lines before a stream": (b"one\n" + gzip.compress(RAW), {"line_skip": 1, "encoding": "gzip"}),
    "bytes in a stream": (gzip.compress(b"abc" + RAW), {"byte_skip": 3, "encoding": "gzip"}),
}


@pytest.mark.parametrize("name", SKIPPED)
def test_what_is_skipped_is_as_others_have_it(tmp_path: Path, name: str) -> None:
    data, fields = SKIPPED[name]
    path = nhdr(tmp_path, data, **fields)
    if name != "bytes in a stream":  # pynrrd skips them in the compressed stream too
        np.testing.assert_array_equal(nrrd.read(str(path))[0], VOXELS)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(path)).T, VOXELS)
    np.testing.assert_array_equal(read_volume(path).values, VOXELS)
    slabs = [slab.copy() for _, slab in stream_volume(path).slabs(2)]
    np.testing.assert_array_equal(np.concatenate(slabs, axis=2), VOXELS)


@pytest.mark.parametrize(
    ("data", "fields", "message"),
    [
        (RAW, {"line_skip": -1}, "line skip -1 and byte skip 0 are not supported"),
        (RAW, {"byte_skip": -2}, "byte skip -2 are not supported"),
        (gzip.compress(RAW), {"byte_skip": -1, "encoding": "gzip"}, "byte skip -1"),
        (RAW, {"line_skip": 10**9}, "line skip is 1000000000, of at most 1048576"),
        (bytes(2**21), {"line_skip": 3}, "skipped lines are as long as a header"),
        (RAW, {"byte_skip": 2**62}, "file holds -46116860184|but the file holds"),
        (RAW[:-1], {}, "make 120 bytes, but the file holds 119"),
        (RAW + b"1", {}, "make 120 bytes, but the file holds 121"),
        (RAW[:-1], {"byte_skip": -1}, "make 120 bytes"),
        (b"", {"encoding": "gzip"}, "make 120 bytes"),
    ],
)
def test_what_cannot_be_skipped(
    tmp_path: Path, data: bytes, fields: dict[str, Any], message: str
) -> None:
    path = nhdr(tmp_path, data, **fields)
    with pytest.raises(FormatError, match=f"^{re.escape(str(path))}: .*({message})"):
        read_volume(path)


# ----- where a name may lead

MAKERS: list[Callable[..., Path]] = [
    lambda folder, name: nhdr(folder, name=name),
    lambda folder, name: mhd(folder, name),
]
OUT = [
    "/etc/passwd",
    "../secret",
    "sub/x.raw",
    "sub/../x.raw",
    "..",
    ".",
    "C:secret",
    "\\\\host\\share",
    "~/x.raw/..",
    "file:///etc/passwd",
    "memory://x",
    ".//etc/passwd",
    "./../secret",
    "x" * 256,
]


@pytest.mark.promise(
    "a header names a file elsewhere as its voxels", "it is refused; only its own folder is read"
)
@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("name", OUT)
def test_names_that_lead_out_are_refused(tmp_path: Path, make: Any, name: str) -> None:
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    for secret in (tmp_path / "secret", folder / "sub" / "x.raw"):
        secret.write_bytes(RAW)
    path = make(folder, name)
    with pytest.raises(FormatError, match="only one in the same folder is read: put it beside"):
        read_volume(path)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("name", ["LIST", "LIST 2", "x%03d.raw 1 3 1", "x%d", "x%3i.raw 1 2 1 2"])
def test_several_files_are_refused(tmp_path: Path, make: Any, name: str) -> None:
    with pytest.raises(FormatError, match=r"in several files, .*; save them in one"):
        read_volume(make(tmp_path, name))


@pytest.mark.parametrize("make", MAKERS)
def test_names_within_the_folder(tmp_path: Path, make: Any) -> None:
    np.testing.assert_array_equal(read_volume(make(tmp_path, "./x.raw")).values, VOXELS)
    np.testing.assert_array_equal(read_volume(make(tmp_path, "x.raw")).values, VOXELS)
    for name in ("my brain (1).raw", "LISTED.raw", "x,y+z=#1.raw", "µ.raw"):
        (tmp_path / name).write_bytes(RAW)
        np.testing.assert_array_equal(read_volume(make(tmp_path, name)).values, VOXELS)
    with pytest.raises(FormatError, match=r"'gone\.raw', and there is none of that name beside"):
        read_volume(make(tmp_path, "gone.raw"))
    (tmp_path / "folder.raw").mkdir()
    with pytest.raises(FormatError, match="none of that name beside"):
        read_volume(make(tmp_path, "folder.raw"))
    os.mkfifo(tmp_path / "pipe.raw")
    with pytest.raises(FormatError, match="none of that name beside"):
        read_volume(make(tmp_path, "pipe.raw"))


@pytest.mark.parametrize("make", [*MAKERS, pair])
def test_links_stay_in_the_folder(tmp_path: Path, make: Any) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    path = make(folder, "x.raw")
    (data,) = (each for each in folder.iterdir() if each != path)
    moved = data.rename(tmp_path / "secret")
    data.symlink_to(moved)
    with pytest.raises(FormatError, match="symbolic link that leads out of the folder"):
        read_volume(path)
    with pytest.raises(FormatError, match="leads out"):
        read_volume(path.as_uri() if path.suffix != ".hdr" else path)
    data.unlink()
    moved.rename(folder / "other")
    data.symlink_to("other")
    np.testing.assert_array_equal(read_volume(path).values, VOXELS)


def test_a_folder_may_itself_be_a_link(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    mhd(folder)
    (tmp_path / "link").symlink_to(folder)
    np.testing.assert_array_equal(read_volume(tmp_path / "link" / "x.mhd").values, VOXELS)


def test_a_link_that_is_put_there_later_is_seen(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    array = read_volume(mhd(folder))
    (tmp_path / "secret").write_bytes(RAW)
    (folder / "x.raw").unlink()
    (folder / "x.raw").symlink_to(tmp_path / "secret")
    with pytest.raises(FormatError, match="the file has changed"):
        array.compute()


# ----- laziness, other machines


@pytest.mark.parametrize("make", [*MAKERS, pair])
def test_a_changed_file_of_voxels_is_seen(tmp_path: Path, make: Any) -> None:
    path = make(tmp_path, "x.raw")
    array, stream = read_volume(path), stream_volume(path)
    (data,) = (each for each in tmp_path.iterdir() if each != path)
    again = pickle.loads(pickle.dumps(array))
    data.write_bytes(bytes(reversed(data.read_bytes())))
    for each in (array, again):
        with pytest.raises(FormatError, match=re.escape(f"{path}: the file has changed")):
            each.compute()
    with pytest.raises(FormatError, match="has changed"):
        stream.content_identity()
    data.unlink()
    with pytest.raises(FileNotFoundError):
        list(stream.slabs(1))


@pytest.mark.parametrize("make", [*MAKERS, pair])
def test_over_a_web_server(tmp_path: Path, make: Any) -> None:
    path = make(tmp_path, "x.raw")
    with Server(tmp_path) as server:
        array = read_volume(f"{server.url}/{path.name}?version=2")
        assert server.paths("GET") == [f"/{path.name}?version=2"]
        np.testing.assert_array_equal(array.values, VOXELS)


def test_in_an_object_store(tmp_path: Path) -> None:
    for path in (mhd(tmp_path), tmp_path / "x.raw"):
        with fsspec.open(f"memory://detached/{path.name}", "wb") as file:
            file.write(path.read_bytes())
    array = read_volume("memory://detached/x.mhd")
    np.testing.assert_array_equal(array.values, VOXELS)
    url = "memory://detached/x.mhd"
    with fsspec.open(url, "wb") as file:
        file.write((tmp_path / "x.mhd").read_bytes().replace(b"x.raw", b"../x.raw"))
    with pytest.raises(FormatError, match="only one in the same folder"):
        read_volume(url)


def test_conversion_takes_two_files(tmp_path: Path) -> None:
    tree = StructureTree([{"id": 1, "acronym": "a", "name": "one"}])
    write_metaimage(tmp_path / "t.mhd", labelled(VOXELS, Grid(SHAPE, (25, 25, 25))))
    space = refspace.convert(
        nhdr(tmp_path), tree, tmp_path / "a.zarr", template=tmp_path / "t.mhd", threads=1
    )
    np.testing.assert_array_equal(space.annotation.values, VOXELS)
    np.testing.assert_array_equal(space.template.values, VOXELS)


def test_the_file_beside_another_is_not_opened(tmp_path: Path) -> None:
    path = mhd(tmp_path)
    found = beside(source_at(str(path)), "x.raw")
    assert (found.path, found.size) == (str(tmp_path / "x.raw"), 120)
    assert found.stamp == source_at(str(tmp_path / "x.raw")).stamp


# ----- axes of one voxel


@pytest.mark.parametrize(
    ("sizes", "spacings"),
    [("5 4 3 1", "25 25 25 nan"), ("1 5 4 3", "nan 25 25 25"), ("5 4 1 3 1", "25 25 7 25 8")],
)
def test_labels_of_nrrd_may_have_axes_of_one_voxel(
    tmp_path: Path, sizes: str, spacings: str
) -> None:
    path = tmp_path / "x.nrrd"
    count = len(sizes.split())
    path.write_bytes(HEAD.format(count, sizes, spacings, "raw").encode() + b"\n" + RAW)
    np.testing.assert_array_equal(read_volume(path).values, VOXELS)
    slabs = [slab.copy() for _, slab in stream_volume(path).slabs(2)]
    np.testing.assert_array_equal(np.concatenate(slabs, axis=2), VOXELS)
    if count == 4:
        np.testing.assert_array_equal(read_image_file(path).values, VOXELS)
        return
    # Of an image, an axis of one voxel between others may be of space.
    with pytest.raises(FormatError, match="the header names 5 axes of space; state three"):
        read_image_file(path)


def test_labels_of_nrrd_are_one_volume(tmp_path: Path) -> None:
    path = tmp_path / "x.nrrd"
    path.write_bytes(HEAD.format(4, "5 4 3 2", "25 25 25 nan", "raw").encode() + b"\n" + RAW * 2)
    with pytest.raises(FormatError, match="dimension is 4, with 2 along channel; a volume"):
        read_volume(path)


@pytest.mark.filterwarnings("ignore:.*states no unit:UserWarning")
def test_a_series_of_itk_in_four_dimensions(tmp_path: Path) -> None:
    path = tmp_path / "x.nrrd"
    values = np.random.default_rng(0).random((2, *SHAPE[::-1])).astype("f4")
    image = sitk.GetImageFromArray(values, isVector=False)
    image.SetDirection((0, 0, 1, 0, 1, 0, 0, 0, 0, -1, 0, 0, 0, 0, 0, 1))
    sitk.WriteImage(image, path)
    series = read_image_file(path)
    assert series.dims == ("time", "ap", "dv", "ml")
    np.testing.assert_array_equal(series.values, values.transpose(0, 3, 2, 1))
    with pytest.raises(FormatError, match="dimension is 4, with 2 along time"):
        read_volume(path)


@pytest.mark.parametrize(
    "field",
    [
        "space directions: (1,0,0,2) (0,1,0,0) (0,0,1,0) (0,0,0,1)",
        "space directions: (1,0,0) (0,1,0) (0,0,1) (0,0,0)",
        "space directions: (1,0,0,0) none none (0,0,0,1)",
        "space directions: (1,0,0,0) (0,1,0,0) (0,0,1,0) (0,0,0,1)\nspace origin: (1,2)",
    ],
)
@pytest.mark.filterwarnings("ignore:.*states no unit:UserWarning")
def test_directions_in_four_dimensions_that_say_nothing(tmp_path: Path, field: str) -> None:
    path = tmp_path / "x.nrrd"
    head = "NRRD0005\ntype: uint16\ndimension: 4\nspace dimension: 4\nsizes: 5 4 3 1\n"
    text = f"{head}endian: little\nencoding: raw\n{field}\n\n"
    path.write_bytes(text.encode() + RAW)
    with pytest.raises(FormatError, match="vectors of 4 numbers, as is the space dimension"):
        read_volume(path)


@pytest.mark.filterwarnings("ignore:.*states no unit:UserWarning")
def test_four_dimensions_of_itk(tmp_path: Path) -> None:
    for name in ("x.nrrd", "x.mha"):
        path = tmp_path / name
        image = sitk.GetImageFromArray(VOXELS.T[None], isVector=False)
        image.SetSpacing((0.1, 0.2, 0.05, 3))
        image.SetOrigin((1, 2, 3, 4))
        image.SetDirection((0, 0, 1, 0, 1, 0, 0, 0, 0, -1, 0, 0, 0, 0, 0, 1))
        sitk.WriteImage(image, path)
        array = read_volume(path)
        np.testing.assert_array_equal(array.values, VOXELS)
        for index in ((0, 0, 0), (4, 3, 2)):
            wanted = sitk_ras(image, [*index, 0])
            np.testing.assert_allclose(ras(array, index), wanted, atol=1e-6)
