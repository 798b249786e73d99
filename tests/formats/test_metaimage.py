"""MetaImage files: read as SimpleITK reads them, and written so that it reads them alike."""

import re
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from helpers.files import names
from helpers.positions import directions_in_ras, orientations, ras, sitk_ras
from helpers.profiles import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

import refspace
from refspace.errors import AnnotationError, FormatError, GridError
from refspace.formats.metaimage import write_metaimage
from refspace.formats.volumes import (
    open_header,
    read_image_file,
    read_volume,
    read_voxels,
    stream_volume,
)
from refspace.grid import Grid
from refspace.labels import infer_grid, labelled
from refspace.structure_tree import StructureTree

pytestmark = pytest.mark.filterwarnings("ignore:.*states no unit:UserWarning")
fuzz = examples(40, suppress_health_check=[HealthCheck.function_scoped_fixture])

SHAPE = (5, 4, 3)
VOXELS = np.random.default_rng(6).integers(0, 120, SHAPE).astype("u2")
PACKED = zlib.compress(VOXELS.tobytes("F"))
PACKED_BIG = zlib.compress(VOXELS.astype(">u2").tobytes("F"))
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])
# Directions that are no identity: posterior, inferior, left.
FIELDS = {
    "ObjectType": "Image",
    "NDims": "3",
    "TransformMatrix": "0 1 0 0 0 -1 1 0 0",
    "Offset": "1.5 -2 0.25",
    "ElementSpacing": "0.1 0.2 0.05",
    "DimSize": "5 4 3",
    "ElementType": "MET_USHORT",
    "ElementDataFile": "LOCAL",
}
IDENTITY = {"TransformMatrix": "1 0 0 0 1 0 0 0 1", "Offset": "0 0 0"}


def header_text(**changes: Any) -> str:
    """Header of a small valid file; a field that is changed to None is left out."""
    last = changes.pop("ElementDataFile", FIELDS["ElementDataFile"])
    fields = {**FIELDS, **changes, "ElementDataFile": last}
    # The name of the data file comes last, whatever is added.
    fields["ElementDataFile"] = fields.pop("ElementDataFile")
    return "".join(f"{key} = {value}\n" for key, value in fields.items() if value is not None)


def make(folder: Path, data: bytes | None = None, name: str = "x.mha", **changes: Any) -> Path:
    """Write a file by hand."""
    path = folder / name
    data = VOXELS.tobytes("F") if data is None else data
    path.write_bytes(header_text(**changes).encode() + data)
    return path


def itk_image(
    voxels: np.ndarray, orientation: str, spacing: Any, origin: Any, **how: Any
) -> sitk.Image:
    """Image of SimpleITK's, in mm."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(voxels.T), **how)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection((LPS_TO_RAS @ directions_in_ras(orientation)).ravel().tolist())
    return image


def corners(shape: Any) -> list[tuple[int, ...]]:
    return [(0, 0, 0), tuple(n - 1 for n in shape), (shape[0] - 1, 0, 0), (0, 0, shape[2] - 1)]


# ----- reading


@fuzz
@given(
    orientation=orientations,
    spacing=st.tuples(*[st.sampled_from([0.025, 0.01, 0.0333, 1.0, 0.7])] * 3),
    origin=st.tuples(*[st.sampled_from([0.0, -5.7, 12.25, 0.1])] * 3),
    dtype=st.sampled_from(["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"]),
    ending=st.sampled_from([".mha", ".mhd"]),
    compressed=st.booleans(),
)
def test_files_of_itk_are_read_alike(
    tmp_path: Path,
    orientation: str,
    spacing: Any,
    origin: Any,
    dtype: str,
    ending: str,
    compressed: bool,
) -> None:
    path = tmp_path / f"theirs{ending}"
    image = itk_image(VOXELS.astype(dtype), orientation, spacing, origin)
    sitk.WriteImage(image, path, compressed)
    # Directions along the axes of the file may be of a program that does not know them.
    array = read_volume(path, orientation="LPS" if orientation == "LPS" else None)
    assert array.dtype == dtype
    np.testing.assert_array_equal(array.values, VOXELS)
    assert infer_grid(array).orientation == orientation
    theirs = sitk.ReadImage(path)
    for index in corners(SHAPE):
        np.testing.assert_allclose(ras(array, index), sitk_ras(theirs, index), rtol=1e-9, atol=1e-6)
    stated = {"orientation": "LPS"} if orientation == "LPS" else {}
    slabs = [slab.copy() for _, slab in stream_volume(path, **stated).slabs(2)]
    np.testing.assert_array_equal(np.concatenate(slabs, axis=2), VOXELS)


HAND_MADE: dict[str, tuple[dict[str, Any], bytes]] = {
    "big-endian": ({"BinaryDataByteOrderMSB": "True"}, VOXELS.astype(">u2").tobytes("F")),
    "big-endian by its old name": ({"ElementByteOrderMSB": "1"}, VOXELS.astype(">u2").tobytes("F")),
    "compressed": (
        {"CompressedData": "true", "CompressedDataSize": str(len(PACKED))},
        PACKED + b"and more",
    ),
    "compressed, big-endian": (
        {
            "CompressedData": "True",
            "CompressedDataSize": str(len(PACKED_BIG)),
            "BinaryDataByteOrderMSB": "True",
        },
        PACKED_BIG,
    ),
    "voxels last": ({"HeaderSize": "-1"}, b"padding" + VOXELS.tobytes("F")),
    "a long has four bytes": ({"ElementType": "MET_LONG"}, VOXELS.astype("<i4").tobytes("F")),
    "an unsigned long": ({"ElementType": "MET_ULONG"}, VOXELS.astype("<u4").tobytes("F")),
    "position": ({"Offset": None, "Position": "1.5 -2 0.25"}, b""),
    "origin": ({"Offset": None, "Origin": "1.5 -2 0.25"}, b""),
    "no offset": ({"Offset": None}, b""),
    "rotation": ({"TransformMatrix": None, "Rotation": "0 1 0 0 0 -1 1 0 0"}, b""),
    "orientation": ({"TransformMatrix": None, "Orientation": "0 1 0 0 0 -1 1 0 0"}, b""),
    "size of an element": ({"ElementSpacing": None, "ElementSize": "0.1 0.2 0.05"}, b""),
    "both": ({"ElementSize": "9 9 9"}, b""),
    "other keys": ({"Modality": "MET_MOD_MR", "0008|0020": "12", "my key": "a = b"}, b""),
    "what older ITK always wrote": ({"AnatomicalOrientation": "RAI"}, b""),
    "what ITK derives": ({"AnatomicalOrientation": "ASR"}, b""),
    "by the sides that axes go to": ({"AnatomicalOrientation": "PIL"}, b""),
    "four dimensions": (
        {
            "NDims": "4",
            "DimSize": "5 4 3 1",
            "ElementSpacing": "0.1 0.2 0.05 7",
            "Offset": "1.5 -2 0.25 9",
            "TransformMatrix": "0 1 0 0 0 0 -1 0 1 0 0 0 0 0 0 1",
        },
        b"",
    ),
}


@pytest.mark.parametrize("name", HAND_MADE)
def test_headers_are_read_as_itk_does(tmp_path: Path, name: str) -> None:
    changes, data = HAND_MADE[name]
    path = make(tmp_path, data or None, **changes)
    array, theirs = read_volume(path), sitk.ReadImage(path)
    np.testing.assert_array_equal(array.values, VOXELS)
    values = sitk.GetArrayFromImage(theirs)
    np.testing.assert_array_equal(array.values, np.squeeze(values).T)
    for index in corners(SHAPE):
        four = [*index, 0][: theirs.GetDimension()]
        np.testing.assert_allclose(ras(array, index), sitk_ras(theirs, four), atol=1e-6)


def test_the_size_of_compressed_voxels_need_not_be_stated(tmp_path: Path) -> None:
    path = make(tmp_path, PACKED, CompressedData="True")
    np.testing.assert_array_equal(read_volume(path).values, VOXELS)


@pytest.mark.parametrize(("size", "before"), [("7", b"padding"), ("-1", b"some"), ("0", b"")])
def test_a_part_of_the_data_file_is_skipped(tmp_path: Path, size: str, before: bytes) -> None:
    (tmp_path / "x.raw").write_bytes(before + VOXELS.tobytes("F"))
    path = make(tmp_path, b"", "x.mhd", HeaderSize=size, ElementDataFile="x.raw")
    np.testing.assert_array_equal(read_volume(path).values, VOXELS)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(path)).T, VOXELS)


@pytest.mark.parametrize(
    ("unit", "micrometres"), [("um", 0.1), ("mm", 100.0), ("cm", 1000.0), ("MM", 100.0)]
)
@pytest.mark.filterwarnings("error")
def test_a_unit_that_is_stated_is_believed(tmp_path: Path, unit: str, micrometres: float) -> None:
    array = read_volume(make(tmp_path, DistanceUnits=unit))
    assert infer_grid(array).spacing[0] == pytest.approx(micrometres)


def test_lengths_without_a_unit_are_told(tmp_path: Path) -> None:
    path = make(tmp_path, DistanceUnits="?")
    with pytest.warns(UserWarning, match="taken as millimetres, .*100 × 200 × 50 µm apart"):
        read_volume(path)
    # As of a program that writes µm.
    path = make(tmp_path, ElementSpacing="10 20 5")
    assert infer_grid(read_volume(path, resolution=(10, 20, 5))).spacing == (10, 20, 5)


def test_what_is_left_open_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(GridError, match="no TransformMatrix; give orientation="):
        read_volume(make(tmp_path, TransformMatrix=None))
    array = read_volume(make(tmp_path, TransformMatrix=None), orientation="PIR")
    assert array.dims == ("ap", "dv", "ml")
    path = make(tmp_path, ElementSpacing=None)
    with pytest.raises(GridError, match="states no spacing; give resolution="):
        read_volume(path)
    assert infer_grid(read_volume(path, resolution=25)).orientation == "PIL"


def test_directions_along_the_file_are_asked_for(tmp_path: Path) -> None:
    path = make(tmp_path, **IDENTITY)
    with pytest.raises(GridError, match="give orientation='PIR' for such data, or 'LPS' to trust"):
        read_volume(path)
    assert infer_grid(read_volume(path, orientation="RAS")).orientation == "RAS"


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [
        ((67, 41, 58), 200),
        ((70, 75, 40), 80),
        ((77, 43, 50), 160),
        ((132, 80, 114), 100),
    ],
)
@pytest.mark.filterwarnings("error")
def test_grids_of_the_allen_institute(
    tmp_path: Path, shape: tuple[int, int, int], spacing: int
) -> None:
    voxels = np.arange(np.prod(shape), dtype="<f4").reshape(shape, order="F")
    (tmp_path / "energy.raw").write_bytes(voxels.tobytes("F"))
    path = make(
        tmp_path,
        b"",
        "energy.mhd",
        **IDENTITY,
        AnatomicalOrientation="RAI",
        ElementSpacing=f"{spacing} {spacing} {spacing}",
        DimSize=" ".join(map(str, shape)),
        ElementType="MET_FLOAT",
        ElementDataFile="energy.raw",
    )
    image = read_image_file(path)
    grid = infer_grid(image)
    assert (grid.orientation, grid.spacing, grid.origin) == ("PIR", (spacing,) * 3, (0, 0, 0))
    np.testing.assert_array_equal(image.values, voxels)
    with pytest.raises(GridError, match=r"2000 µm|contradicts"):
        read_image_file(path, resolution=2000 + spacing)


def test_other_shapes_are_no_grids(tmp_path: Path) -> None:
    path = make(tmp_path, ElementSpacing="200 200 200")
    with pytest.raises(GridError, match="voxels 200000 µm apart, as those of no brain"):
        read_volume(path)
    assert infer_grid(read_volume(path, resolution=200)).spacing == (200, 200, 200)


def test_a_name_of_directions_that_contradicts_them_is_not_passed_over(tmp_path: Path) -> None:
    path = make(tmp_path, AnatomicalOrientation="LPI")
    with pytest.raises(GridError, match="TransformMatrix PIL and AnatomicalOrientation RAS; give"):
        read_volume(path)
    assert infer_grid(read_volume(path, orientation="PIL")).origin != (0, 0, 0)
    assert infer_grid(read_volume(path, orientation="RAS")).orientation == "RAS"


@pytest.mark.parametrize("name", ["???", "", "LLL", "oblique", "RAIS"])
def test_a_name_that_is_none_says_nothing(tmp_path: Path, name: str) -> None:
    assert infer_grid(read_volume(make(tmp_path, AnatomicalOrientation=name))).orientation == "PIL"


def test_oblique_axes(tmp_path: Path) -> None:
    path = tmp_path / "oblique.mha"
    image = itk_image(VOXELS, "RAS", (0.1, 0.2, 0.3), (1, 2, 3))
    turn = sitk.VersorTransform((0, 0, 1), np.deg2rad(20))
    matrix = np.array(turn.GetMatrix()).reshape(3, 3) @ np.reshape(image.GetDirection(), (3, 3))
    image.SetDirection(matrix.ravel().tolist())
    sitk.WriteImage(image, path)
    with pytest.raises(GridError, match=r"axes are oblique.*orientation='RAS'"):
        read_volume(path)
    with pytest.warns(UserWarning, match="axes are oblique"):
        read_volume(path, orientation="RAS")
    affine = np.array(read_image_file(path).attrs["affine_to_ras_um"])
    for index in corners(SHAPE):
        np.testing.assert_allclose(affine @ [*index, 1], sitk_ras(image, index), rtol=1e-9)


def test_a_name_of_oblique_directions_says_nothing(tmp_path: Path) -> None:
    # Near the diagonal: ITK names the nearest axes by another rule than ours.
    turned = "0.6 0.8 0 -0.8 0.6 0 0 0 1"
    path = make(tmp_path, TransformMatrix=turned, AnatomicalOrientation="LPI")
    affine = np.array(read_image_file(path).attrs["affine_to_ras_um"])
    image = sitk.ReadImage(path)
    for index in corners(SHAPE):
        np.testing.assert_allclose(affine @ [*index, 1], sitk_ras(image, index), rtol=1e-9)


# ----- images


def test_channels_are_the_fastest(tmp_path: Path) -> None:
    path = tmp_path / "channels.mha"
    values = np.random.default_rng(0).random((3, 4, 5, 2)).astype("f4")
    image = sitk.GetImageFromArray(values, isVector=True)
    image.SetDirection((0, 0, 1, 1, 0, 0, 0, 1, 0))
    sitk.WriteImage(image, path, True)
    ours = read_image_file(path)
    assert ours.dims == ("channel", "ap", "dv", "ml")
    np.testing.assert_array_equal(ours.values, np.moveaxis(values, 3, 0).transpose(0, 3, 2, 1))
    with pytest.raises(FormatError, match="several volumes, 2 along channel"):
        read_volume(path)


def test_a_fourth_dimension_is_time(tmp_path: Path) -> None:
    path = tmp_path / "series.mhd"
    values = np.random.default_rng(0).random((6, 3, 4, 5))
    image = sitk.GetImageFromArray(values, isVector=False)
    image.SetDirection((0, 0, 1, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1))
    sitk.WriteImage(image, path)
    ours = read_image_file(path)
    assert ours.dims == ("time", "ap", "dv", "ml")
    np.testing.assert_array_equal(ours.values, values.transpose(0, 3, 2, 1))
    with pytest.raises(FormatError, match="several volumes, 6 along time"):
        read_volume(path)


def test_values_are_scaled_and_labels_are_not(tmp_path: Path) -> None:
    scaled = {"ElementToIntensityFunctionSlope": "0.5", "ElementToIntensityFunctionOffset": "-1"}
    path = make(tmp_path, **scaled)
    np.testing.assert_array_equal(read_image_file(path).values, VOXELS * np.float32(0.5) - 1)
    with pytest.raises(FormatError, match=r"scaled by ElementToIntensityFunctionSlope 0.5"):
        read_volume(path)


# ----- laziness


@pytest.mark.parametrize("compressed", [True, False])
def test_no_voxel_is_read_on_opening(tmp_path: Path, compressed: bool) -> None:
    path = tmp_path / "lazy.mhd"
    sitk.WriteImage(itk_image(VOXELS, "RAS", (1, 1, 1), (0, 0, 0)), path, compressed)
    (data,) = (each for each in tmp_path.iterdir() if each != path)
    array, stream = read_volume(path), stream_volume(path)
    data.write_bytes(b"another content")
    with pytest.raises(FormatError, match=re.escape(f"{path}: the file has changed")):
        array.compute()
    with pytest.raises(FormatError, match="has changed"):
        list(stream.slabs(1))
    data.unlink()
    with pytest.raises(FileNotFoundError):
        array.compute()


def test_conversion_is_the_same_in_every_order(tmp_path: Path) -> None:
    tree = StructureTree([{"id": 1, "acronym": "a", "name": "one"}])
    stored = []
    for orientation in ("RAS", "PIR", "ILA", "SRP"):
        path = tmp_path / f"{orientation}.mhd"
        grid = Grid(SHAPE, (25, 50, 100), (10, 20, 30), "RAS", "RAS")
        volume = labelled(VOXELS, grid)
        turned = refspace.ReferenceSpace(tree, volume).reorient(orientation).annotation
        write_metaimage(path, turned)
        space = refspace.convert(path, tree, tmp_path / f"{orientation}.zarr", threads=1)
        stored.append(space.annotation.transpose("ml", "ap", "dv"))
    for each in stored:
        np.testing.assert_array_equal(each.values, VOXELS)
        for dim in each.dims:
            np.testing.assert_array_equal(each[dim], stored[0][dim])


# ----- writing


@fuzz
@given(
    orientation=orientations,
    spacing=st.tuples(*[st.sampled_from([25.0, 10.0, 33.3, 0.7, 200.0])] * 3),
    origin=st.tuples(*[st.sampled_from([0.0, -5700.0, 12.25])] * 3),
    dtype=st.sampled_from(["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", ">f8"]),
    chunked=st.booleans(),
    ending=st.sampled_from([".mha", ".mhd"]),
)
def test_what_is_written_is_read_by_itk_and_here(
    tmp_path: Path,
    orientation: str,
    spacing: Any,
    origin: Any,
    dtype: str,
    chunked: bool,
    ending: str,
) -> None:
    path = tmp_path / f"ours{ending}"
    voxels = VOXELS.astype(dtype)
    grid = Grid(SHAPE, spacing, origin, orientation, "RAS")
    array = labelled(da.from_array(voxels, 2) if chunked else voxels, grid)
    write_metaimage(path, array)
    theirs = sitk.ReadImage(path)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(theirs).T, voxels)
    for index in corners(SHAPE):
        np.testing.assert_allclose(ras(array, index), sitk_ras(theirs, index), atol=1e-6)
    ours = read_volume(path)
    np.testing.assert_array_equal(ours.values, voxels)
    assert infer_grid(ours).matches(grid)
    assert ours.dtype.itemsize == voxels.dtype.itemsize


def test_frame_midline_and_hemisphere_are_kept(tmp_path: Path) -> None:
    space = refspace.phantom(resolution=1000)
    mask = space.hemisphere("left").make_structure_mask(space.structure_tree.nodes()[0]["id"])
    for ending in (".mha", ".mhd"):
        write_metaimage(tmp_path / f"m{ending}", mask)
        again = read_volume(tmp_path / f"m{ending}")
        assert again.attrs["hemisphere"] == "left"
        for dim in mask.dims:
            np.testing.assert_allclose(again[dim], mask[dim])
        np.testing.assert_array_equal(again.hemisphere, mask.hemisphere)
        # Programs on ITK keep what they do not know.
        assert sitk.ReadImage(tmp_path / f"m{ending}").GetMetaData("refspace_hemisphere") == "left"


def test_itk_says_nothing_of_our_keys(tmp_path: Path) -> None:
    write_metaimage(tmp_path / "x.mha", labelled(VOXELS, Grid(SHAPE, (25, 25, 25))))
    code = "import SimpleITK, sys; SimpleITK.ReadImage(sys.argv[1])"
    told = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "x.mha"], capture_output=True, check=True
    )
    assert (told.stdout, told.stderr) == (b"", b"")


@pytest.mark.parametrize("fails", ["voxels", "header", "rename"])
@pytest.mark.parametrize("old", [True, False])
def test_both_files_appear_or_neither(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str, old: bool
) -> None:
    path = tmp_path / "x.mhd"
    grid = Grid(SHAPE, (25, 25, 25))
    if old:
        write_metaimage(path, labelled(VOXELS, grid))
    array = labelled(VOXELS, grid)

    def stop(*_: Any, **__: Any) -> Any:
        raise RuntimeError("stop")

    if fails == "voxels":
        array = labelled(da.from_array(VOXELS, 2).map_blocks(stop, dtype="u2", meta=VOXELS), grid)
    elif fails == "header":
        monkeypatch.setattr(Path, "write_bytes", stop)
    else:
        replace = Path.replace
        monkeypatch.setattr(
            Path, "replace", lambda a, b: stop() if b.suffix == ".mhd" else replace(a, b)
        )
    with pytest.raises(RuntimeError, match="stop"):
        write_metaimage(path, array)
    assert names(tmp_path) == (["x.mhd", "x.zraw"] if old else [])
    if old:
        np.testing.assert_array_equal(read_volume(path).values, VOXELS)


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    array = labelled(VOXELS, Grid(SHAPE, (25, 25, 25)))
    with pytest.raises(FormatError, match=r"does not end in \.mha or \.mhd"):
        write_metaimage(tmp_path / "x.mhb", array)
    for name in ("LISTED.mhd", "a%d.mhd", "a\nb = c.mhd", "a:b.mhd"):
        with pytest.raises(FormatError, match="cannot stand in a header"):
            write_metaimage(tmp_path / name, array)
    with pytest.raises(AnnotationError, match="says nothing of where its voxels are"):
        write_metaimage(tmp_path / "x.mha", VOXELS)  # type: ignore[arg-type]
    with pytest.raises(AnnotationError, match="MetaImage has no type for complex64"):
        write_metaimage(tmp_path / "x.mha", array.astype("c8"))
    assert names(tmp_path) == []


# ----- damaged and hostile files

HEADERS: list[tuple[dict[str, Any], str]] = [
    ({"NDims": "2", "DimSize": "5 4"}, "NDims is 2; a volume has 3"),
    ({"NDims": "99"}, "NDims is 99"),
    ({"NDims": None}, "no NDims"),
    ({"DimSize": "5 4"}, "DimSize is '5 4'; it must be 3 whole numbers"),
    ({"DimSize": "5 4 0"}, "must be 1 at least"),
    ({"DimSize": "5 4 -3"}, "must be 1 at least"),
    ({"DimSize": "5 4 3.0"}, "3 whole numbers"),
    ({"DimSize": f"5 4 {2**62}"}, "3 whole numbers"),
    ({"DimSize": "400000 300000 70000"}, "make 16800000000000000 bytes, but the file holds 120"),
    ({"DimSize": "5 4 4"}, "make 160 bytes, but the file holds 120 bytes of raw data"),
    ({"ElementNumberOfChannels": "0"}, "must be 1 at least"),
    ({"ElementNumberOfChannels": "999999999999"}, "bytes, but the file|several volumes"),
    ({"ElementType": "MET_STRING"}, "ElementType is 'MET_STRING', which is not supported"),
    ({"ElementType": None}, "ElementType is 'missing'"),
    ({"BinaryData": "False"}, "voxels are written as text"),
    ({"BinaryData": "perhaps"}, "BinaryData is 'perhaps'; it must be True or False"),
    ({"ObjectType": "Mesh"}, "ObjectType is 'Mesh'"),
    ({"HeaderSize": "7"}, "HeaderSize is 7 .* not supported"),
    ({"HeaderSize": "-2"}, "HeaderSize is -2"),
    ({"HeaderSize": "-1", "CompressedData": "True"}, "HeaderSize is -1 .* compressed"),
    ({"CompressedData": "True", "CompressedDataSize": "121"}, "is 121, but the file holds 120"),
    ({"CompressedData": "True", "DimSize": "500 400 300"}, "can be at most 123840"),
    ({"Position": "0 0 0"}, "both Offset and Position; remove one"),
    ({"ElementSpacing": "0.1 nan 0.1"}, "must be 3 numbers"),
    ({"ElementSpacing": "0.1 mm 0.1"}, "must be 3 numbers"),
    ({"ElementSpacing": "1e308 1 1"}, "no length"),
    ({"ElementSpacing": "0.1 0.1"}, "must be 3 numbers"),
    ({"Offset": "inf 0 0"}, "must be 3 numbers"),
    ({"TransformMatrix": "1 0 0"}, "must be 9 numbers"),
    ({"DistanceUnits": "inch"}, "DistanceUnits is 'inch'; allowed are um, mm, cm"),
    ({"refspace_midline_um": "left"}, "refspace_midline_um is 'left'"),
    ({"ElementDataFile": "/etc/passwd"}, "another file, '/etc/passwd'; only one in the same"),
    ({"ElementDataFile": "../x.raw"}, "only one in the same folder"),
    ({"ElementDataFile": "sub/x.raw"}, "only one in the same folder"),
    ({"ElementDataFile": "C:\\x.raw"}, "only one in the same folder"),
    ({"ElementDataFile": ".."}, "only one in the same folder"),
    ({"ElementDataFile": ""}, "only one in the same folder"),
    ({"ElementDataFile": "a\0b"}, r"'a\\x00b'; only one"),
    ({"ElementDataFile": "x" * 300}, "only one in the same folder"),
    ({"ElementDataFile": "http://host/x.raw"}, "only one in the same folder"),
    ({"ElementDataFile": "missing.raw"}, "none of that name beside the header"),
    ({"ElementDataFile": "LIST"}, "in several files, 'LIST'; save them in one"),
    ({"ElementDataFile": "LIST 2D"}, "in several files"),
    ({"ElementDataFile": "x%03d.raw 1 3 1"}, "in several files"),
]


@pytest.mark.parametrize(("changes", "message"), HEADERS)
def test_headers_that_cannot_be_trusted_are_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = make(tmp_path, **changes)
    with pytest.raises(FormatError, match=f"(?s)^{re.escape(str(path))}: .*({message})"):
        read_volume(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"TransformMatrix": "2 0 0 0 1 0 0 0 1"}, "each must be of length 1"),
        ({"TransformMatrix": "0 0 0 0 0 0 0 0 0"}, "each must be of length 1"),
        ({"TransformMatrix": "1e300 0 0 0 1 0 0 0 1"}, "each must be of length 1"),
        ({"TransformMatrix": "1 0 0 1 0 0 0 0 1"}, "lie in one plane"),
        ({"ElementSpacing": "0.1 -0.1 0.1"}, "lengths are positive"),
        ({"CenterOfRotation": "1 0 0"}, "CenterOfRotation is .* ITK passes over it"),
        (
            {
                "NDims": "4",
                "DimSize": "5 4 3 1",
                "ElementSpacing": "1 1 1 1",
                "Offset": "0 0 0 0",
                "TransformMatrix": "1 0 0 1 0 1 0 0 0 0 1 0 0 0 0 1",
            },
            "turns axes of space into others",
        ),
    ],
)
def test_geometry_of_no_volume_is_overruled_or_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = make(tmp_path, **changes)
    with pytest.raises(GridError, match=message):
        read_volume(path)
    array = read_volume(path, resolution=25, orientation="PIR", override=True)
    np.testing.assert_array_equal(array.values, VOXELS)
    assert read_voxels(path).dims == ("i", "j", "k")


def test_a_centre_of_rotation_without_a_rotation_is_harmless(tmp_path: Path) -> None:
    path = make(tmp_path, **IDENTITY, CenterOfRotation="1 2 3")
    array = read_volume(path, orientation="LPS")
    np.testing.assert_allclose(ras(array, (0, 0, 0)), [0, 0, 0], atol=1e-9)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"NDims = 3\nDimSize = 1 1 1\n", "ends without ElementDataFile"),
        (b"NDims = 3\nNDims = 3\n", "has 'NDims' twice; remove one"),
        (b"NDims = 3\njust words\n", "line 2 of the header is 'just words', and not key = value"),
        (b"NDims = 3\n = 4\n", "line 2"),
        (b"NDims = 3\n" + b"a" * 2**21, "no ElementDataFile within 1048576 bytes"),
        (b"NDims = 3\n" + b"".join(b"k%d = 1\n" % n for n in range(10**5)), "within 1048576 bytes"),
        (
            b"NDims = 3\n\x1b[2J = 1\n\x1b[2J = 1\n",
            r"has '\\\\x1b\[2J' twice|has '\\x1b\[2J' twice",
        ),
    ],
)
def test_files_without_a_whole_header_are_refused(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "x.mha"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=message) as caught:
        read_volume(path)
    assert len(str(caught.value)) < 500


@pytest.mark.promise("the header of a volume lies about sizes")
def test_a_bomb_is_not_inflated(tmp_path: Path) -> None:
    data = zlib.compress(bytes(100 * 2**20), 9)
    path = make(tmp_path, data, CompressedData="True", DimSize="50 40 30")
    array = read_volume(path)
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match="hold more than 120000"):
            array.compute()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**21


@pytest.mark.parametrize(
    "damage", [lambda d: d[:-5], lambda d: d[:20] + b"xxxx" + d[24:], lambda d: b"\x1f\x8b" + d[2:]]
)
def test_damaged_voxels_raise_when_they_are_computed(tmp_path: Path, damage: Any) -> None:
    path = make(tmp_path, damage(zlib.compress(VOXELS.tobytes("F"))), CompressedData="True")
    with pytest.raises(FormatError, match=f"^{re.escape(str(path))}: .*(damaged|hold)"):
        read_volume(path).compute()
    with pytest.raises(FormatError, match=r"damaged|hold"):
        list(stream_volume(path).slabs(1))


def test_blank_lines_and_ends_of_lines_are_of_no_concern(tmp_path: Path) -> None:
    path = tmp_path / "x.mha"
    text = header_text().replace("\n", "\r\n\r\n").removesuffix("\r\n")
    path.write_bytes(text.encode() + VOXELS.tobytes("F"))
    np.testing.assert_array_equal(read_volume(path).values, VOXELS)


def test_a_header_is_recognised_whatever_its_name(tmp_path: Path) -> None:
    path = make(tmp_path, name="volume.txt")
    assert open_header(path)[0].name == "metaimage"
    np.testing.assert_array_equal(read_volume(path).values, VOXELS)
