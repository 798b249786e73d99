"""MGH and MGZ files: read as nibabel reads them."""

import gzip
import re
import struct
import sys
import tracemalloc
from contextlib import suppress
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from helpers.positions import directions_in_ras, orientations, ras
from helpers.profiles import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

import refspace
from refspace.errors import FormatError, GridError, MissingDependencyError
from refspace.formats.names import is_volume_file
from refspace.formats.volumes import read_image_file, read_volume, read_voxels, stream_volume
from refspace.grid import Grid
from refspace.labels import infer_grid
from refspace.structure_tree import StructureTree

fuzz = examples(40, suppress_health_check=[HealthCheck.function_scoped_fixture])
SHAPE = (5, 4, 3)
VOXELS = np.random.default_rng(5).integers(0, 120, SHAPE).astype("i4")
AFFINE = np.array([[-1.5, 0, 0, 10], [0, 0, 0.7, -3.3], [0, -0.8, 0, 5], [0, 0, 0, 1]])


def save(path: Path, voxels: np.ndarray = VOXELS, affine: np.ndarray = AFFINE) -> Path:
    nib.save(nib.MGHImage(voxels, affine), path)
    return path


def load(path: Path) -> Any:
    """What nibabel reads; from bytes, for it leaves files open."""
    data = path.read_bytes()
    return nib.MGHImage.from_bytes(gzip.decompress(data) if path.suffix == ".mgz" else data)


def make(folder: Path, data: bytes | None = None, name: str = "x.mgh", **changes: Any) -> Path:
    """Write a file by hand: version, lengths, type, dof, flag, lengths of a voxel, directions."""
    fields: dict[str, Any] = {
        "version": 1,
        "dims": (*SHAPE, 1),
        "type": 1,
        "dof": 0,
        "flag": 1,
        "delta": (1, 1, 1),
        "cosines": (-1, 0, 0, 0, 0, -1, 0, 1, 0),
        "middle": (0, 0, 0),
    } | changes
    head = struct.pack(
        ">7ih15f",
        fields["version"],
        *fields["dims"],
        fields["type"],
        fields["dof"],
        fields["flag"],
        *fields["delta"],
        *fields["cosines"],
        *fields["middle"],
    )
    data = VOXELS.astype(">i4").tobytes("F") if data is None else data
    content = head.ljust(284, b"\0") + data
    path = folder / name
    path.write_bytes(gzip.compress(content) if name.endswith("z") else content)
    return path


@fuzz
@given(
    code=orientations,
    zooms=st.tuples(*[st.sampled_from([0.025, 1.0, 0.7, 0.0333, 2.0])] * 3),
    offset=st.tuples(*[st.sampled_from([0.0, -90.0, 45.5, 12.25])] * 3),
    dtype=st.sampled_from(["u1", "i2", "i4", "f4"]),
    ending=st.sampled_from([".mgh", ".mgz"]),
)
def test_files_of_nibabel_are_read_alike(
    tmp_path: Path, code: str, zooms: Any, offset: Any, dtype: str, ending: str
) -> None:
    affine = np.eye(4)
    affine[:3, :3] = directions_in_ras(code) * zooms
    affine[:3, 3] = offset
    path = save(tmp_path / f"theirs{ending}", VOXELS.astype(dtype), affine)
    loaded, array = load(path), read_volume(path)
    np.testing.assert_array_equal(array.values, np.asarray(loaded.dataobj))
    assert array.dtype == dtype
    assert array.name == "theirs"
    grid = infer_grid(array)
    assert grid.orientation == "".join(nib.aff2axcodes(loaded.affine)) == code
    np.testing.assert_allclose(grid.spacing, np.multiply(zooms, 1000), rtol=1e-9)
    for index in ((0, 0, 0), (4, 3, 2), (1, 2, 0)):
        wanted = 1000 * (loaded.affine @ [*index, 1])[:3]
        np.testing.assert_allclose(ras(array, index), wanted, rtol=1e-5, atol=0.05)
    slabs = [slab.copy() for _, slab in stream_volume(path).slabs(2)]
    np.testing.assert_array_equal(np.concatenate(slabs, axis=2), VOXELS)


def test_unsigned_shorts_of_freesurfer(tmp_path: Path) -> None:
    path = make(tmp_path, VOXELS.astype(">u2").tobytes("F"), type=10)
    np.testing.assert_array_equal(read_volume(path).values, VOXELS)
    # The oldest nibabel that is allowed knows none.
    with suppress(KeyError):
        np.testing.assert_array_equal(load(path).dataobj, VOXELS)


def test_slightly_turned_directions(tmp_path: Path) -> None:
    turn = np.deg2rad(15)
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    path = save(tmp_path / "turned.mgz", affine=affine)
    with pytest.raises(GridError, match="axes are oblique"):
        read_volume(path)
    ours = np.array(read_image_file(path).attrs["affine_to_ras_um"])
    np.testing.assert_allclose(ours, 1000 * load(path).affine[:3], rtol=1e-5, atol=1e-3)


def test_directions_that_are_not_known_are_asked_for(tmp_path: Path) -> None:
    path = make(tmp_path, flag=0, delta=(0.5, 0.25, 1))
    with pytest.raises(GridError, match=r"not known \(goodRASFlag\); give orientation="):
        read_volume(path)
    grid = infer_grid(read_volume(path, orientation="PIR"))
    assert grid == Grid(SHAPE, (500, 250, 1000), orientation="PIR")
    path = make(tmp_path, flag=0, delta=(0, 0, 0))
    with pytest.raises(GridError, match="no spacing; give resolution="):
        read_volume(path, orientation="PIR")
    assert infer_grid(read_volume(path, resolution=25, orientation="PIR")).spacing == (25, 25, 25)


def test_frames_are_an_axis_of_images(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((*SHAPE, 6)).astype("f4")
    path = save(tmp_path / "series.mgz", values)
    image = read_image_file(path)
    assert image.dims == ("frame", "ml", "dv", "ap")
    np.testing.assert_array_equal(image.values, np.moveaxis(values, 3, 0))
    with pytest.raises(FormatError, match="holds 6 frames; a volume of labels has one"):
        read_volume(path)


@pytest.mark.parametrize("name", ["x.mgh", "x.mgz"])
def test_parameters_of_the_scan_may_follow(tmp_path: Path, name: str) -> None:
    data = VOXELS.astype(">i4").tobytes("F")
    for more in (b"", bytes(20), b"tags" * 1000):
        path = make(tmp_path, data + more, name)
        np.testing.assert_array_equal(read_volume(path).values, VOXELS)
        slabs = [slab.copy() for _, slab in stream_volume(path).slabs(1)]
        np.testing.assert_array_equal(np.concatenate(slabs, axis=2), VOXELS)


# ----- laziness


def test_no_voxel_is_read_on_opening(tmp_path: Path) -> None:
    path = make(tmp_path, b"damaged" * 40, "x.mgz", dims=(7, 5, 2, 1), type=4)
    array = read_volume(path)
    path.write_bytes(b"another content")
    with pytest.raises(FormatError, match=re.escape(f"{path}: the file has changed")):
        array.compute()
    path.unlink()
    with pytest.raises(FileNotFoundError):
        array.compute()


def test_conversion_turns_the_volume(tmp_path: Path) -> None:
    tree = StructureTree([{"id": 1, "acronym": "a", "name": "one"}])
    path = save(tmp_path / "x.mgz")
    space = refspace.convert(path, tree, tmp_path / "x.zarr", threads=1)
    wanted = read_volume(path)
    stored = space.annotation.sel({dim: wanted[dim] for dim in wanted.dims}).transpose(*wanted.dims)
    np.testing.assert_array_equal(stored.values, VOXELS)


def test_without_nibabel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "x.mgz")
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(
        MissingDependencyError, match=r"MGH files need nibabel.*pip install nibabel"
    ):
        read_volume(path)


# ----- damaged and hostile files


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dims": (5, 4, 0, 1)}, "lengths of .5, 4, 0, 1.; each is 1 at least|no format"),
        ({"dims": (5, 4, -3, 1)}, "each is 1 at least|no format"),
        ({"dims": (5, 4, 3, 2)}, "holds 2 frames"),
        ({"dims": (5, 4, 4, 1)}, "make 604 bytes .*, but the file holds 524|data hold 240"),
        ({"dims": (2**31 - 1, 2**31 - 1, 2**31 - 1, 1)}, "bytes with the header, but the file"),
        ({"type": 2}, "type 2 is not supported"),
        ({"type": 8}, "type 8 is not supported"),
        ({"version": 2}, "not a MGH file|no format"),
        ({"delta": (float("nan"), 1, 1)}, "numbers that are no lengths"),
        ({"middle": (float("inf"), 0, 0)}, "numbers that are no lengths"),
        ({"cosines": (1e30,) * 9}, "numbers that are no lengths"),
    ],
)
def test_headers_that_cannot_be_trusted_are_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    for name in ("x.mgh", "x.mgz"):
        path = make(tmp_path, name=name, **changes)
        with pytest.raises(FormatError) as caught:
            read_volume(path).compute()
        told = str(caught.value)
        assert told.startswith(f"{path}: ")
        assert re.search(message, told), told


@pytest.mark.parametrize("changes", [{"cosines": (0,) * 9}, {"cosines": (1, 0, 0) * 3}])
def test_directions_of_no_volume_are_overruled_or_refused(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    path = make(tmp_path, **changes)
    with pytest.raises(GridError, match="are not those of a volume"):
        read_volume(path)
    array = read_volume(path, resolution=25, orientation="PIR", override=True)
    np.testing.assert_array_equal(array.values, VOXELS)
    assert read_voxels(path).dims == ("i", "j", "k")


def test_a_raw_file_is_not_longer_than_scans_are(tmp_path: Path) -> None:
    path = make(tmp_path, VOXELS.astype(">i4").tobytes("F") + bytes(2**20 + 1))
    with pytest.raises(FormatError, match="make 524 bytes"):
        read_volume(path)
    path = make(tmp_path, VOXELS.astype(">i4").tobytes("F") + bytes(2**20 + 1), "x.mgz")
    with pytest.raises(FormatError, match="hold more than 240"):
        read_volume(path).compute()


@pytest.mark.promise("the header of a volume lies about sizes")
def test_a_bomb_is_not_inflated(tmp_path: Path) -> None:
    path = make(tmp_path, bytes(100 * 2**20), "x.mgz")
    array = read_volume(path)
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match="hold more than 240"):
            array.compute()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**21


@pytest.mark.promise("the file of a volume is cut short", "an error, at any length")
def test_cut_files(tmp_path: Path) -> None:
    whole = save(tmp_path / "x.mgz").read_bytes()
    for size in (0, 5, 30, len(whole) - 9):
        path = tmp_path / "cut.mgz"
        path.write_bytes(whole[:size])
        with pytest.raises(FormatError, match=re.escape(str(path))):
            read_volume(path).compute()


def test_names(tmp_path: Path) -> None:
    for name in ("T1.mgz", "aseg.MGH", "x.mgh.gz"):
        assert is_volume_file(name)
    path = save(tmp_path / "x.mgz").rename(tmp_path / "x.nii.gz")
    np.testing.assert_array_equal(read_volume(path).values, VOXELS)
