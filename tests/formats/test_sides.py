"""What files state of hemispheres: written, kept by other programs, read back, believed."""

import gzip
import json
import re
import struct

import nibabel as nib
import nrrd
import numpy as np
import pytest
from helpers.profiles import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from nibabel.orientations import axcodes2ornt, ornt_transform

import refspace
from refspace.errors import FormatError
from refspace.formats.volumes import read_volume, stream_volume, write_volume
from refspace.grid import Grid
from refspace.labels import Midline, labelled, stated_midline, with_hemispheres

ENDINGS = [".nrrd", ".nii", ".nii.gz"]
GRID = Grid((6, 4, 3), (1000, 1000, 1000), (-2500, -2000, 0), "RAS")


def volume(grid=GRID, midline=250.0, side=None):
    voxels = np.arange(np.prod(grid.shape), dtype="u2").reshape(grid.shape)
    attrs = {} if side is None else {"hemisphere": side}
    return with_hemispheres(labelled(voxels, grid, attrs=attrs), midline)


def world_midline(path):
    """Position in µm to the right that a file states, as its own libraries read it."""
    if path.suffix == ".nrrd":
        return float(nrrd.read_header(str(path))["refspace_midline_um"])
    (extension,) = nib.load(path).header.extensions
    assert extension.get_code() == 6
    return json.loads(extension.get_content().rstrip(b"\0"))["refspace_midline_um"]


@given(
    st.permutations(["AP", "SI", "LR"]).flatmap(
        lambda axes: st.tuples(*map(st.sampled_from, axes)).map("".join)
    ),
    st.sampled_from([0.0, 250.0, -1234.5, 1e5]),
    st.sampled_from(["left", "right", None]),
    st.sampled_from(ENDINGS),
)
@examples(40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_statement_travels(tmp_path, orientation, midline, side, ending):
    path = tmp_path / f"volume{ending}"
    given_volume = volume(side=side, midline=midline)
    space_free = refspace.labels.reorient(given_volume, orientation)
    write_volume(path, space_free)
    assert world_midline(path) == midline
    back = read_volume(path)
    assert stated_midline(back) == Midline(
        stated_midline(space_free).position, "stated by the file"
    )
    assert back.attrs == ({} if side is None else {"hemisphere": side})
    np.testing.assert_array_equal(back.hemisphere, space_free.hemisphere)
    assert stream_volume(path).midline == stated_midline(back)


@pytest.mark.parametrize("ending", ENDINGS)
def test_other_programs_read_what_they_did_before(tmp_path, ending):
    sitk = pytest.importorskip("SimpleITK")
    path, bare = tmp_path / f"stated{ending}", tmp_path / f"bare{ending}"
    write_volume(path, volume(side="left"))
    write_volume(bare, volume().drop_vars("hemisphere"))
    one, other = sitk.ReadImage(str(path)), sitk.ReadImage(str(bare))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(one), sitk.GetArrayFromImage(other))
    assert one.GetOrigin() == other.GetOrigin()
    assert one.GetDirection() == other.GetDirection()
    if ending == ".nrrd":
        assert one.GetMetaData("refspace_midline_um") == "250.0"
        np.testing.assert_array_equal(nrrd.read(str(path))[0], volume().values)
    else:
        np.testing.assert_array_equal(np.asarray(nib.load(path).dataobj), volume().values)


@pytest.mark.parametrize("code", ["LAS", "LPI", "SAR"])
def test_nibabel_turns_a_volume_and_the_statement_stays_right(tmp_path, code):
    write_volume(tmp_path / "a.nii.gz", volume())
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(code))
    nib.save(nib.load(tmp_path / "a.nii.gz").as_reoriented(turn), tmp_path / "b.nii.gz")
    turned = read_volume(tmp_path / "b.nii.gz")
    sides = {
        int(v): s
        for v, s in zip(
            turned.values.ravel(),
            turned.hemisphere.broadcast_like(turned).values.ravel(),
            strict=True,
        )
    }
    expected = volume()
    for value, side in zip(
        expected.values.ravel(),
        expected.hemisphere.broadcast_like(expected).values.ravel(),
        strict=True,
    ):
        assert sides[int(value)] == side


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_file_that_says_nothing_has_the_midline_of_its_world(tmp_path, ending):
    path = tmp_path / f"bare{ending}"
    write_volume(path, volume().drop_vars("hemisphere"))
    if ending == ".nrrd":
        header = nrrd.read_header(str(path))
        stated = {key: value for key, value in header.items() if key.startswith("refspace")}
    else:
        (extension,) = nib.load(path).header.extensions
        stated = json.loads(extension.get_content().rstrip(b"\0"))
    assert stated == {"refspace_frame": "RAS"}
    # 0 is half a voxel off the middle, and on the centre of a voxel.
    assert stated_midline(read_volume(path)) == Midline(
        0.0, "0 of the world, 500 µm from the middle of the volume"
    )


@pytest.mark.parametrize("ending", ENDINGS)
def test_in_another_orientation_a_statement_means_nothing(tmp_path, ending):
    path = tmp_path / f"stated{ending}"
    write_volume(path, volume(Grid((6, 4, 3), (1000,) * 3, orientation="PIR"), 500.0))
    assert stated_midline(read_volume(path)).position == 500


def test_a_bare_array_states_nothing(tmp_path):
    refspace.write_nrrd(tmp_path / "a.nrrd", np.ones((2, 2, 2), "u1"))
    assert stated_midline(refspace.read_nrrd(tmp_path / "a.nrrd", resolution=10)) is None


# ----- damaged and foreign statements


def with_line(tmp_path, line, before=rb"refspace_midline_um:=250\.0"):
    refspace.write_nrrd(tmp_path / "a.nrrd", volume())
    data = (tmp_path / "a.nrrd").read_bytes()
    (tmp_path / "a.nrrd").write_bytes(re.sub(before, line, data))
    return tmp_path / "a.nrrd"


@pytest.mark.parametrize("wrong", ["middle", "nan", "inf", "1e999", "", "1,5"])
def test_an_nrrd_file_whose_midline_is_none(tmp_path, wrong):
    path = with_line(tmp_path, f"refspace_midline_um:={wrong}".encode())
    with pytest.raises(
        FormatError, match=r"a\.nrrd: refspace_midline_um is .*; it must be a posit"
    ):
        read_volume(path)


def test_an_nrrd_file_of_a_hemisphere_that_there_is_not(tmp_path):
    with pytest.raises(FormatError, match="refspace_hemisphere is 'up'; it must be left or right"):
        read_volume(with_line(tmp_path, b"refspace_hemisphere:=up"))


@pytest.mark.parametrize("wrong", ["XYZ", "pir", "RR", ""])
def test_an_nrrd_file_of_a_frame_that_there_is_not(tmp_path, wrong):
    line = f"refspace_frame:={wrong}".encode()
    path = with_line(tmp_path, line, before=rb"refspace_frame:=[A-Z]+")
    with pytest.raises(FormatError, match=r"a\.nrrd: refspace_frame: frame '.*correct the file$"):
        read_volume(path)


def with_extensions(tmp_path, *extensions, kind=nib.Nifti1Image, swap=False):
    """File of nibabel with header extensions: pairs of a code and a content."""
    affine = np.diag([1.0, 1, 1, 1])
    affine[0, 3] = -2.5
    header = kind.header_class(endianness=">" if swap else None)
    image = kind(np.ones((6, 2, 2), ">i2" if swap else "i2"), affine, header)
    for code, content in extensions:
        image.header.extensions.append(nib.nifti1.Nifti1Extension(code, content))
    path = tmp_path / "theirs.nii"
    image.to_filename(path)
    return path


OURS = b'{"refspace_midline_um": -700}'


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize(
    "others",
    [
        (),
        ((6, b"skull stripped"), (4, b"<AFNI/>"), (6, b'{"a": 1}'), (6, b"[1]")),
        ((32, b"x" * 5000), (6, b"[" * 3000)),
    ],
)
def test_the_statement_among_extensions_of_others(tmp_path, others, kind, swap):
    path = with_extensions(tmp_path, *others, (6, OURS), kind=kind, swap=swap)
    assert stated_midline(read_volume(path)).position == -700
    (tmp_path / "theirs.nii.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert stated_midline(read_volume(tmp_path / "theirs.nii.gz")).position == -700


@pytest.mark.parametrize("others", [(), ((6, b"skull stripped"),), ((44, OURS),)])
def test_extensions_without_a_statement(tmp_path, others):
    path = with_extensions(tmp_path, *others)
    assert stated_midline(read_volume(path)) == Midline(
        0.0, "0 of the world, 0 µm from the middle of the volume"
    )


@pytest.mark.parametrize("value", ['"middle"', "true", "NaN", "1e400", "[1]"])
def test_a_nifti_file_whose_midline_is_none(tmp_path, value):
    path = with_extensions(tmp_path, (6, b'{"refspace_midline_um": %s}' % value.encode()))
    with pytest.raises(FormatError, match=r"theirs\.nii: refspace_midline_um is"):
        read_volume(path)


@pytest.mark.parametrize("size", [0, 8, 10**6, 2**31 - 16, -16])
def test_sizes_of_extensions_that_are_none(tmp_path, size):
    path = with_extensions(tmp_path, (6, OURS))
    data = bytearray(path.read_bytes())
    data[352:356] = struct.pack("<i", size)
    path.write_bytes(data)
    assert stated_midline(read_volume(path)).position == 0
