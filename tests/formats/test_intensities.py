"""Images in files: values beside those that nibabel, SimpleITK and pynrrd read."""

from pathlib import Path
from typing import Any

import dask
import nibabel as nib
import nrrd
import numpy as np
import pytest
from helpers.profiles import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from refspace.errors import FormatError
from refspace.formats import encoded_voxels, voxel_files
from refspace.formats.intensities import Scaling
from refspace.formats.volumes import read_image_file, read_volume, stream_volume

fuzz = examples(25, suppress_health_check=[HealthCheck.function_scoped_fixture])
RNG = np.random.default_rng(3)
AFFINE = np.diag([0.2, 0.3, 0.4, 1])


def nifti(
    path: Path,
    stored: np.ndarray,
    slope: float = np.nan,
    inter: float = np.nan,
    kind: Any = nib.Nifti1Image,
    **fields: Any,
) -> Path:
    """File of stored numbers, whose header says what they stand for."""
    made = kind(np.zeros(stored.shape, stored.dtype), AFFINE, dtype=stored.dtype)
    made.header.set_data_dtype(stored.dtype)
    header = made.header.copy()
    for name, value in fields.items():
        header[name] = value
    header["scl_slope"], header["scl_inter"] = slope, inter
    header["magic"] = b"n+1" if len(header.binaryblock) == 348 else b"n+2"
    header["vox_offset"] = len(header.binaryblock) + 4
    path.write_bytes(header.binaryblock + bytes(4) + stored.tobytes("F"))
    return path


def write_nrrd(path: Path, values: np.ndarray, **header: Any) -> Path:
    nrrd.write(str(path), values, {name.replace("_", " "): v for name, v in header.items()})
    return path


# ----- values


@fuzz
@given(
    dtype=st.sampled_from(["u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8"]),
    slope=st.sampled_from([1.0, 0.5, -2.5, 1e-3, 3.7e-5, 12345.0, 1e-30, 1e36]),
    inter=st.sampled_from([0.0, 1.0, -100.25, 1e6, 1e-7]),
    shape=st.lists(st.integers(1, 4), min_size=3, max_size=5),
    kind=st.sampled_from([nib.Nifti1Image, nib.Nifti2Image]),
    seed=st.integers(0, 99),
)
def test_scaled_values_are_those_of_nibabel(
    tmp_path: Path, dtype: str, slope: float, inter: float, shape: list[int], kind: Any, seed: int
) -> None:
    stored = np.random.default_rng(seed).integers(0, 120, shape).astype(dtype)
    path = nifti(tmp_path / "a.nii", stored, slope, inter, kind)
    wanted = np.asarray(nib.load(path).dataobj, np.float64)
    image = read_image_file(path)
    order = [name for name in ("time", "channel") if name in image.dims]
    ours = image.transpose("ml", "ap", "dv", *order).values
    np.testing.assert_allclose(ours, wanted.reshape(ours.shape), rtol=1e-6, atol=0)
    if len(shape) == 3:
        slabs = [slab.copy() for _, slab in stream_volume(path, is_image=True).slabs(2)]
        assert slabs[0].dtype == image.dtype
        np.testing.assert_array_equal(np.concatenate(slabs, axis=2), image.values)


@pytest.mark.parametrize(
    ("slope", "inter"), [(np.nan, 5), (0, 5), (np.inf, 0), (1, 0), (1, np.nan), (-np.inf, np.nan)]
)
def test_what_scales_nothing_leaves_the_dtype(tmp_path: Path, slope: float, inter: float) -> None:
    stored = RNG.integers(-50, 50, (4, 3, 2)).astype("i2")
    image = read_image_file(nifti(tmp_path / "a.nii", stored, slope, inter))
    assert image.dtype == np.int16
    np.testing.assert_array_equal(image.values, stored)
    assert image.encoding == {}


def test_a_slope_with_no_intercept_is_damaged(tmp_path: Path) -> None:
    path = nifti(tmp_path / "a.nii", np.ones((4, 3, 2), "i2"), 2, np.nan)
    with pytest.raises(FormatError, match="scl_slope is 2, and scl_inter nan, which is no number"):
        read_image_file(path)


@pytest.mark.parametrize(
    ("dtype", "slope", "wanted"),
    [
        ("i2", 0.5, "f4"),
        ("u1", 1e36, "f4"),
        ("u2", 1e36, "f8"),
        ("i2", 1e-40, "f8"),
        ("i4", 0.5, "f8"),
        ("f4", 2.0, "f8"),
        ("u4", 1.0, "u4"),
    ],
)
def test_values_are_as_small_as_single_precision_allows(
    dtype: str, slope: float, wanted: str
) -> None:
    assert Scaling(slope).dtype(np.dtype(dtype)) == np.dtype(wanted)
    assert Scaling(slope).values(np.ones(2, dtype)).dtype == np.dtype(wanted)


def test_what_cancels_keeps_its_digits(tmp_path: Path) -> None:
    """32767 × 0.01 - 327.67 in single precision would be rounding alone."""
    stored = np.array([32767, 32766, 0], "i2").reshape(3, 1, 1)
    path = nifti(tmp_path / "a.nii", stored, 0.01, -327.6, nib.Nifti2Image)
    wanted = nib.load(path).get_fdata()
    np.testing.assert_allclose(read_image_file(path).values, wanted, rtol=1e-6)


def test_labels_stay_strict(tmp_path: Path) -> None:
    scaled = nifti(tmp_path / "a.nii", np.ones((4, 3, 2), "i2"), 2, 0)
    series = nifti(tmp_path / "b.nii", np.ones((4, 3, 2, 2), "i2"))
    for path in (scaled, series):
        with pytest.raises(FormatError, match="save"):
            read_volume(path)
        assert read_image_file(path).size == np.prod(nib.load(path).shape)


# ----- other axes


def test_a_series_has_its_times(tmp_path: Path) -> None:
    stored = RNG.random((4, 3, 2, 5)).astype("f4")
    fields = {"pixdim": [1, 0.2, 0.3, 0.4, 800, 1, 1, 1], "xyzt_units": 2 + 16, "toffset": 400}
    image = read_image_file(nifti(tmp_path / "a.nii", stored, **fields))
    assert image.dims == ("time", "ml", "ap", "dv")
    np.testing.assert_array_equal(image.time, [0.4, 1.2, 2.0, 2.8, 3.6])
    assert image.time.attrs["units"] == "s"
    np.testing.assert_array_equal(image.values, np.moveaxis(stored, 3, 0))


@pytest.mark.parametrize("fields", [{}, {"xyzt_units": 2}, {"xyzt_units": 10, "toffset": np.nan}])
def test_a_series_that_states_no_times(tmp_path: Path, fields: dict[str, Any]) -> None:
    image = read_image_file(nifti(tmp_path / "a.nii", np.ones((4, 3, 2, 5), "f4"), **fields))
    assert image.dims[0] == "time"
    assert "time" not in image.coords


@pytest.mark.parametrize(
    ("shape", "unit", "dims"),
    [
        ((4, 3, 2, 1), 2, ()),
        ((4, 3, 2, 1, 3), 2, ("channel",)),
        ((4, 3, 2, 2, 3), 2, ("time", "channel")),
        ((4, 3, 2, 2), 2 + 40, ("frequency",)),
        ((4, 3, 2, 2, 1, 2, 3), 2, ("time", "dim_6", "dim_7")),
    ],
)
def test_axes_of_nifti(
    tmp_path: Path, shape: tuple[int, ...], unit: int, dims: tuple[str, ...]
) -> None:
    stored = RNG.integers(0, 999, shape).astype("u2")
    path = nifti(tmp_path / "a.nii", stored, xyzt_units=unit)
    image = read_image_file(path)
    assert image.dims == (*dims, "ml", "ap", "dv")
    theirs = np.squeeze(
        np.asarray(nib.load(path).dataobj),
        tuple(np.flatnonzero([n == 1 and axis > 2 for axis, n in enumerate(shape)])),
    )
    np.testing.assert_array_equal(image.transpose("ml", "ap", "dv", *dims).values, theirs)


@pytest.mark.parametrize(
    ("dtype", "encoding"), [("i2", "gzip"), (">u2", "raw"), ("u8", "gzip"), (">f8", "raw")]
)
@pytest.mark.parametrize(
    ("kinds", "shape", "dims"),
    [
        (["list", "domain", "domain", "domain"], (2, 4, 3, 5), ("channel", "ap", "dv", "ml")),
        (["domain", "domain", "domain", "time"], (4, 3, 5, 2), ("time", "ap", "dv", "ml")),
        (["domain", "vector", "domain", "domain"], (4, 2, 3, 5), ("channel", "ap", "dv", "ml")),
        (["RGB-color", "space", "space", "space"], (3, 4, 3, 5), ("channel", "ap", "dv", "ml")),
        (
            ["list", "domain", "domain", "domain", "list"],
            (2, 4, 3, 5, 3),
            ("channel", "dim_5", "ap", "dv", "ml"),
        ),
        (["list", "domain", "domain", "domain"], (1, 4, 3, 5), ("ap", "dv", "ml")),
    ],
)
def test_axes_of_nrrd(
    tmp_path: Path,
    dtype: str,
    encoding: str,
    kinds: list[str],
    shape: tuple[int, ...],
    dims: tuple[str, ...],
) -> None:
    values = RNG.integers(0, 99, shape).astype(dtype)
    is_space = [kind in ("domain", "space") for kind in kinds]
    spacings = [25.0 if stated else np.nan for stated in is_space]
    path = write_nrrd(
        tmp_path / "a.nrrd", values, kinds=kinds, spacings=spacings, encoding=encoding
    )
    image = read_image_file(path)
    assert image.dims == dims
    assert image.dtype == values.dtype.newbyteorder("=")
    theirs, _ = nrrd.read(str(path))
    others = [axis for axis, stated in enumerate(is_space) if not stated]
    wanted = np.moveaxis(theirs, others, range(len(others)))
    np.testing.assert_array_equal(image.values, wanted.reshape(image.shape))


def test_axes_of_nrrd_that_have_a_direction(tmp_path: Path) -> None:
    """As SimpleITK writes images of vectors."""
    sitk = pytest.importorskip("SimpleITK")
    values = RNG.random((5, 3, 4, 2)).astype("f4")
    image = sitk.GetImageFromArray(values, isVector=True)
    image.SetSpacing((0.2, 0.3, 0.4))
    image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"))
    with pytest.warns(UserWarning, match="states no unit; its lengths are taken as millimetres"):
        ours = read_image_file(tmp_path / "a.nrrd")
    assert ours.dims == ("channel", "ml", "ap", "dv")
    places = [float(ours[dim][0]) for dim in ("ml", "ap", "dv")]
    theirs = np.multiply(image.TransformIndexToPhysicalPoint((0, 0, 0)), [-1000, -1000, 1000])
    np.testing.assert_allclose(places, theirs)
    places = [float(ours[dim][1]) for dim in ("ml", "ap", "dv")]
    np.testing.assert_allclose(places, [200, 300, 400])
    np.testing.assert_array_equal(ours.transpose("dv", "ap", "ml", "channel").values, values)


def test_times_of_nrrd(tmp_path: Path) -> None:
    header = {"kinds": ["domain"] * 3 + ["time"], "spacings": [25, 25, 25, 0.5]}
    values = np.zeros((4, 3, 2, 3), "f4")
    for units, wanted in (
        (["um"] * 3 + ["s"], [0, 0.5, 1.0]),
        (["um"] * 3 + ["ms"], [0, 0.0005, 0.001]),
    ):
        image = read_image_file(write_nrrd(tmp_path / "a.nrrd", values, units=units, **header))
        np.testing.assert_allclose(image.time, wanted)
    for other in ({"units": ["um"] * 3 + ["parsec"]}, {}):
        path = write_nrrd(tmp_path / "b.nrrd", values, **header, **other)
        assert "time" not in read_image_file(path).coords


@pytest.mark.parametrize(
    ("header", "shape", "message"),
    [
        ({"kinds": ["complex", "domain", "domain", "domain"]}, (2, 4, 3, 2), "complex numbers"),
        ({}, (2, 4, 3, 2), "dimension is 4, and the header names 0 axes of space; state three"),
        ({"spacings": [1.0, 1, 1, 1]}, (2, 4, 3, 2), "names 4 axes of space"),
        ({"kinds": ["domain"] * 4}, (2, 4, 3, 2), "names 4 axes of space"),
        ({}, (4, 3), "dimension is 2"),
    ],
)
def test_axes_that_are_not_known(
    tmp_path: Path, header: dict[str, Any], shape: tuple[int, ...], message: str
) -> None:
    path = write_nrrd(tmp_path / "a.nrrd", np.zeros(shape, "f4"), **header)
    with pytest.raises(FormatError, match=message):
        read_image_file(path)


def test_sizes_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "a.nrrd"
    path.write_bytes(
        b"NRRD0004\ntype: float\ndimension: 4\nsizes: 0 4 3 2\nencoding: raw\nendian: little\n"
        b"kinds: list domain domain domain\nspacings: nan 1 1 1\n\n"
    )
    with pytest.raises(FormatError, match="positive whole numbers"):
        read_image_file(path)


@pytest.mark.parametrize(
    ("dtype", "message"),
    [
        (np.complex64, r"datatype 32 is not supported; .* the magnitude \(numpy.abs\)"),
        (np.complex128, r"datatype 1792 is not supported; .* the magnitude"),
        (np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]), "datatype 128 .*of colours .* one cha"),
    ],
)
def test_what_is_no_real_number(tmp_path: Path, dtype: Any, message: str) -> None:
    nib.save(nib.Nifti1Image(np.zeros((4, 3, 2), dtype), AFFINE), tmp_path / "a.nii.gz")
    for read in (read_image_file, read_volume):
        with pytest.raises(FormatError, match=message):
            read(tmp_path / "a.nii.gz")


# ----- laziness


def test_images_are_lazy_and_cut_into_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = RNG.integers(0, 99, (8, 6, 4, 5)).astype("i2")
    path = nifti(tmp_path / "a.nii", stored, 0.5, 1)
    monkeypatch.setattr(voxel_files, "SLAB_BYTES", 8 * 6 * 2 * 2)
    monkeypatch.setattr(encoded_voxels, "_read_voxels", None)
    image = read_image_file(path)
    assert image.chunks == ((1,) * 5, (8,), (6,), (2, 2))
    assert image.dtype == np.float32
    monkeypatch.undo()
    np.testing.assert_array_equal(read_image_file(path).values, np.moveaxis(stored * 0.5 + 1, 3, 0))
    monkeypatch.setattr(voxel_files, "SLAB_BYTES", 8 * 6 * 4 * 2 * 2)
    assert read_image_file(path).chunks == ((2, 2, 1), (8,), (6,), (4,))


def test_equal_images_have_equal_names(tmp_path: Path) -> None:
    path = nifti(tmp_path / "a.nii", np.ones((4, 3, 2), "i2"), 0.5, 1)
    assert dask.base.tokenize(read_image_file(path)) == dask.base.tokenize(read_image_file(path))


def test_a_stream_is_of_one_volume(tmp_path: Path) -> None:
    path = nifti(tmp_path / "a.nii", np.ones((4, 3, 2, 5), "i2"))
    with pytest.raises(FormatError, match=r"a.nii: holds several volumes, 5 along time; save the"):
        stream_volume(path, is_image=True)


def test_memory_of_a_stream_counts_stored_numbers_and_values(tmp_path: Path) -> None:
    scaled = stream_volume(
        nifti(tmp_path / "a.nii", np.ones((4, 3, 2), "i2"), 0.5, 1), is_image=True
    )
    assert scaled.slab_bytes(1) == 4 * 3 * (2 + 4)
    plain = stream_volume(nifti(tmp_path / "b.nii", np.ones((4, 3, 2), "i2")), is_image=True)
    assert plain.slab_bytes(1) == 4 * 3 * 2
