""".npy files: the arrays that NumPy reads, and what these leave open."""

import re
import tracemalloc
import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

import dask
import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from helpers.profiles import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

import refspace
from refspace.errors import FormatError, GridError
from refspace.formats.names import is_volume_file
from refspace.formats.volumes import read_image_file, read_volume, read_voxels, stream_volume
from refspace.grid import Grid
from refspace.labels import infer_grid
from refspace.structure_tree import StructureTree

fuzz = examples(60, suppress_health_check=[HealthCheck.function_scoped_fixture])
VOXELS = np.arange(60, dtype="u4").reshape(5, 4, 3)
TOLD: dict[str, Any] = {"resolution": (10, 20, 30), "orientation": "RAS"}


def save(path: Path, array: np.ndarray, version: Any = None) -> Path:
    with path.open("wb") as file:
        np.lib.format.write_array(file, array, version)
    return path


def made(folder: Path, header: str, data: bytes = bytes(240), version: int = 1) -> Path:
    """Write a file by hand."""
    text = header.encode("latin1") + b"\n"
    length = len(text).to_bytes(2 if version == 1 else 4, "little")
    path = folder / "made.npy"
    path.write_bytes(b"\x93NUMPY" + bytes([version, 0]) + length + text + data)
    return path


def header_text(shape: str = "(5, 4, 3)", descr: str = "'<u4'", fortran: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}"


@fuzz
@given(
    array=hnp.arrays(
        st.sampled_from(["u1", "i1", "<u2", ">i2", "<u4", ">u4", "i8", ">u8", "f2", "<f4", ">f8"]),
        hnp.array_shapes(min_dims=3, max_dims=3, max_side=6),
        fill=st.just(0),
        elements=st.integers(0, 100),
    ),
    order=st.sampled_from("CF"),
    version=st.sampled_from([(1, 0), (2, 0)]),
    thickness=st.integers(1, 4),
)
def test_arrays_of_numpy_are_read_alike(
    tmp_path: Path, array: np.ndarray, order: Any, version: Any, thickness: int
) -> None:
    path = save(tmp_path / "theirs.npy", np.array(array, order=order), version)
    ours = read_volume(path, **TOLD)
    wanted = np.load(path)
    np.testing.assert_array_equal(ours.values, wanted)
    assert ours.dtype == wanted.dtype.newbyteorder("=")
    assert ours.name == "theirs"
    assert infer_grid(ours) == Grid(wanted.shape, (10, 20, 30), orientation="RAS")
    stream = stream_volume(path, **TOLD)
    slabs = [slab.copy() for _, slab in stream.slabs(thickness)]
    joined = np.concatenate(slabs, axis=2)
    # A file in C order is read along the first axis of its array.
    is_fortran = stream.grid.orientation == "RAS" and joined.shape == wanted.shape
    np.testing.assert_array_equal(joined if stream.grid.orientation == "RAS" else joined.T, wanted)
    assert is_fortran or stream.grid.orientation == "SAR"


def test_nothing_is_known_of_an_array(tmp_path: Path) -> None:
    path = save(tmp_path / "x.npy", VOXELS)
    for told in ({}, {"resolution": 25}, {"orientation": "PIR"}):
        for read in (read_volume, read_image_file, stream_volume):
            with pytest.raises(GridError, match=r"give resolution=.*orientation=.*\(5, 4, 3\)"):
                read(path, **told)
    assert read_voxels(path).dims == ("i", "j", "k")
    np.testing.assert_array_equal(read_voxels(path).values, VOXELS)


def test_another_volume_says_all(tmp_path: Path) -> None:
    path = save(tmp_path / "x.npy", VOXELS)
    like = Grid((5, 4, 3), (10, 20, 30), (5, 6, 7), "LPI", "RAS")
    assert infer_grid(read_volume(path, like=like)) == like


@pytest.mark.parametrize("shape", [(1, 5, 4, 3), (5, 4, 3, 1), (5, 1, 4, 1, 3), (1, 1, 1, 4, 3)])
@pytest.mark.parametrize("order", "CF")
def test_axes_of_one_voxel_are_left_out(tmp_path: Path, shape: Any, order: Any) -> None:
    array = np.arange(np.prod(shape), dtype="u2").reshape(shape)
    path = save(tmp_path / "x.npy", np.array(array, order=order))
    wanted = array[0, 0] if shape[:3] == (1, 1, 1) else np.squeeze(array)
    np.testing.assert_array_equal(read_volume(path, **TOLD).values, wanted)
    if shape != (5, 1, 4, 1, 3):
        np.testing.assert_array_equal(read_image_file(path, **TOLD).values, wanted)
    slabs = [slab.copy() for _, slab in stream_volume(path, **TOLD).slabs(2)]
    joined = np.concatenate(slabs, axis=2)
    np.testing.assert_array_equal(joined if order == "F" else joined.T, wanted)


@pytest.mark.parametrize("order", "CF")
def test_other_axes_of_images_come_first(tmp_path: Path, order: Any) -> None:
    array = np.random.default_rng(0).random((2, 1, 6, 5, 4, 3)).astype(">f4")
    path = save(tmp_path / "x.npy", np.array(array, order=order))
    image = read_image_file(path, **TOLD)
    assert image.dims == ("dim_0", "dim_2", "ml", "ap", "dv")
    np.testing.assert_array_equal(image.values, array[:, 0])
    with pytest.raises(FormatError, match=r"shape \(2, 1, 6, 5, 4, 3\); a volume of labels has"):
        read_volume(path, **TOLD)
    with pytest.raises(FormatError, match="several volumes, 2 along dim_0, 6 along dim_2"):
        stream_volume(path, is_image=True, **TOLD)


@pytest.mark.parametrize("order", "CF")
def test_a_plane_of_an_image_keeps_its_axis(tmp_path: Path, order: Any) -> None:
    array = np.arange(2 * 3 * 4 * 5, dtype="f4").reshape(2, 3, 1, 4, 5)
    path = save(tmp_path / "x.npy", np.array(array, order=order))
    image = read_image_file(path, **TOLD)
    assert image.dims == ("dim_0", "dim_1", "ml", "ap", "dv")
    np.testing.assert_array_equal(image.values, array)
    given_array = refspace.read_image(array, **TOLD)
    np.testing.assert_array_equal(given_array.values, image.values)


@pytest.mark.parametrize("shape", [(2, 1, 4, 5), (4, 5, 1, 2), (5, 1, 4, 1, 3)])
def test_images_of_one_volume_or_several_planes_are_refused(tmp_path: Path, shape: Any) -> None:
    path = save(tmp_path / "x.npy", np.zeros(shape, "f4"))
    with pytest.raises(FormatError, match="several of a single plane: save it without its axes"):
        read_image_file(path, **TOLD)


@pytest.mark.parametrize(("order", "other"), ["CC", "CF", "FC", "FF"])
@pytest.mark.parametrize("shape", [(4, 4, 4), (3, 4, 5)])
def test_what_is_stored_alike_is_converted_alike(
    tmp_path: Path, order: Any, other: Any, shape: tuple[int, int, int]
) -> None:
    tree = StructureTree([{"id": 1, "acronym": "a", "name": "one"}])
    labels = np.random.default_rng(0).integers(0, 2, shape).astype("u4")
    template = np.random.default_rng(1).random(shape).astype("f4")
    files = {
        name: save(tmp_path / f"{name}.npy", np.array(array, order=memory))
        for name, array, memory in [
            ("annotation", labels, order),
            ("template", template, other),
            ("hemispheres", 1 + (template > 0.5).astype("u1"), other),
        ]
    }
    for n, whole in enumerate((files["template"], template)):
        space = refspace.convert(
            files["annotation"],
            tree,
            tmp_path / f"{n}.zarr",
            template=whole,
            hemispheres=files["hemispheres"],
            threads=1,
            resolution=25,
            orientation="RAS",
        )
        stored = refspace.read_image(tmp_path / f"{n}.zarr")
        assert stored.dims == space.annotation.dims == ("ml", "ap", "dv")
        np.testing.assert_array_equal(space.annotation.values, labels)
        np.testing.assert_array_equal(stored.values, template)
        left = space.hemisphere("left").annotation.values
        np.testing.assert_array_equal(left, np.where(template > 0.5, 0, labels))


def test_booleans_are_0_and_1(tmp_path: Path) -> None:
    path = save(tmp_path / "x.npy", VOXELS % 3 == 0)
    ours = read_volume(path, **TOLD)
    assert ours.dtype == np.uint8
    np.testing.assert_array_equal(ours.values, VOXELS % 3 == 0)


# ----- laziness


def test_voxels_are_mapped_into_memory(tmp_path: Path) -> None:
    values = np.zeros((64, 256, 256), "u4")
    path = save(tmp_path / "x.npy", values)
    tracemalloc.start()
    try:
        (block,) = dask.compute(*read_volume(path, **TOLD).data.to_delayed().ravel())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert block.nbytes == values.nbytes
    assert peak < 0.1 * values.nbytes


def test_no_voxel_is_read_on_opening(tmp_path: Path) -> None:
    path = save(tmp_path / "x.npy", VOXELS)
    array = read_volume(path, **TOLD)
    path.write_bytes(b"another content")
    with pytest.raises(FormatError, match=re.escape(f"{path}: the file has changed")):
        array.compute()


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("orientation", ["PIR", "LSA", "RAS"])
def test_conversion_turns_the_volume(tmp_path: Path, order: Any, orientation: str) -> None:
    tree = StructureTree([{"id": 1, "acronym": "a", "name": "one"}])
    path = save(tmp_path / "x.npy", np.array(VOXELS, order=order))
    how: dict[str, Any] = {"resolution": (10, 20, 30), "orientation": orientation}
    space = refspace.convert(path, tree, tmp_path / "x.zarr", threads=1, **how)
    wanted = read_volume(path, **how)
    stored = space.annotation.sel({dim: wanted[dim] for dim in wanted.dims}).transpose(*wanted.dims)
    np.testing.assert_array_equal(stored.values, VOXELS)


# ----- damaged and hostile files


class Runs:
    def __reduce__(self) -> Any:
        return (exit, ("it ran",))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((5, 4), "u1"), r"shape \(5, 4\); a volume has three axes"),
        (np.zeros((), "u1"), "three axes"),
        (np.zeros((5, 0, 3), "u1"), "three axes of one voxel at least"),
        (np.zeros((5, 4, 3), "c8"), r"complex; save their magnitude \(numpy.abs\)"),
        (np.zeros((5, 4, 3), "U3"), "dtype <U3, which is not read"),
        (np.zeros((5, 4, 3), "M8[s]"), r"dtype datetime64\[s\], which is not read"),
        (np.zeros((5, 4, 3), np.longdouble), "dtype float128|dtype longdouble"),
        (np.zeros((5, 4, 3), [("a", "u1"), ("b", "f4")]), "which is not read"),
        (np.zeros((5, 4, 3), [("é\u4e00", "u1")]), r"version \(3, 0\) .* structured"),
        (np.full((5, 4, 3), Runs(), object), "dtype object, which is not read"),
    ],
)
def test_arrays_of_other_kinds_are_refused(tmp_path: Path, array: np.ndarray, message: str) -> None:
    path = tmp_path / "x.npy"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        np.save(path, array)
    with pytest.raises(FormatError, match=f"^{re.escape(str(path))}: .*{message}"):
        read_volume(path, **TOLD)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (header_text(f"({2**62}, {2**62}, {2**62})"), "longer than any file can be"),
        (header_text(f"({'9' * 4000}, 1, 1)"), "longer than any file can be"),
        (header_text(f"({10**11}, {10**11}, {10**11})"), "bytes, but the file holds 240 of data"),
        (header_text("(-5, -4, 3)"), "three axes"),
        (header_text("(True, True, True)"), "three axes"),
        (header_text("(5, 4, 3.0)"), "cannot be parsed"),
        (header_text("[5, 4, 3]"), "cannot be parsed"),
        (header_text("(5, 4, 2)"), "make 160 bytes, but the file holds 240"),
        (header_text(descr="'|O'"), "dtype object"),
        (header_text(descr="'<u3'"), "cannot be parsed"),
        (header_text(descr="'<V4'"), "is not read"),
        (header_text(descr="('<u4', (2**9,))"), "cannot be parsed"),
        (header_text(descr="__import__('os').system('false')"), "cannot be parsed"),
        (header_text(fortran="1"), "cannot be parsed"),
        ("{" * 5000, "cannot be parsed"),
        ("(" * 9000 + ")" * 900, "cannot be parsed"),
        ("-" * 9000 + "1", "cannot be parsed"),
        ("[" + "1," * 30000 + "]", "cannot be parsed"),
        ("'\x1b[2J'", "cannot be parsed"),
        ("", "cannot be parsed"),
    ],
)
def test_headers_that_cannot_be_trusted_are_refused(
    tmp_path: Path, header: str, message: str
) -> None:
    path = made(tmp_path, header, version=2)
    with pytest.raises(FormatError, match=message) as caught:
        read_volume(path, **TOLD)
    assert len(str(caught.value)) < 600
    assert "\x1b" not in str(caught.value)


def test_a_header_of_python_2_is_read(tmp_path: Path) -> None:
    data = VOXELS.astype("<u4").tobytes()
    path = made(tmp_path, header_text("(5L, 4L, 3L)"), data)
    np.testing.assert_array_equal(read_volume(path, **TOLD).values, VOXELS)


@pytest.mark.promise("the file of a volume is cut short")
def test_cut_files_are_refused(tmp_path: Path) -> None:
    buffer = BytesIO()
    np.save(buffer, VOXELS)
    for size in (3, 7, 9, 60, 128, 300, len(buffer.getvalue()) - 1):
        path = tmp_path / "x.npy"
        path.write_bytes(buffer.getvalue()[:size])
        with pytest.raises(FormatError, match=re.escape(str(path))):
            read_volume(path, **TOLD)
    path.write_bytes(buffer.getvalue() + b"1")
    with pytest.raises(FormatError, match="but the file holds 241"):
        read_volume(path, **TOLD)


def test_names() -> None:
    assert is_volume_file("s3://bucket/annotation.NPY")
