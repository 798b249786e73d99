import contextlib
import gzip
import itertools
import math
import os
import pickle
import subprocess
import sys
import tracemalloc

import dask
import dask.array as da
import hypothesis.extra.numpy as hnp
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import xarray as xr
from helpers.profiles import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

import refspace
from refspace.errors import (
    AnnotationError,
    FormatError,
    GridError,
    MissingDependencyError,
    StoreError,
)
from refspace.formats import encoded_voxels, voxel_files
from refspace.formats.names import is_volume_file, output_ending
from refspace.formats.nifti import NIFTI, read_nifti, write_nifti
from refspace.formats.volumes import stream_volume, write_volume
from refspace.grid import Grid
from refspace.labels import infer_grid, labelled
from refspace.reference_space import ReferenceSpace
from refspace.structure_tree import StructureTree

SHAPE = (4, 3, 2)
VOXELS = np.arange(24, dtype="<u4").reshape(SHAPE, order="F")
DTYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"]
AFFINE = np.array([[-2.0, 0, 0, 90], [0, 2, 0, -126], [0, 0, 2, -72], [0, 0, 0, 1]])

fuzz = examples(60, suppress_health_check=[HealthCheck.function_scoped_fixture])
orientations = st.permutations(["AP", "SI", "LR"]).flatmap(
    lambda axes: st.tuples(*map(st.sampled_from, axes)).map("".join)
)
grids = st.builds(
    Grid,
    st.tuples(*[st.integers(1, 7)] * 3),
    st.tuples(*[st.sampled_from([1000.0, 10.0, 25.0, 33.3, 16.752, 2000.0])] * 3),
    st.tuples(*[st.sampled_from([0.0, -12.5, 100.0, -5700.0, -90500.0])] * 3),
    orientations,
)


def image(voxels=VOXELS, affine=AFFINE, kind=nib.Nifti1Image, sform=2, qform=2, units="mm"):
    """Image of nibabel's; of the forms, those that have a code."""
    made = kind(voxels, None, dtype=voxels.dtype)
    made.header.set_zooms([*np.linalg.norm(affine[:3, :3], axis=0), *[1] * (voxels.ndim - 3)])
    made.header.set_sform(affine, code=sform)
    made.header.set_qform(affine, code=qform)
    made.header.set_xyzt_units(units)
    made._affine = made.header.get_best_affine()
    return made


def save(path, made):
    """Write the header as it stands: nibabel would make the forms fit its own affine."""
    header = made.header.copy()
    header["magic"] = b"n+1" if len(header.binaryblock) == 348 else b"n+2"
    if header["vox_offset"] == 0:
        header["vox_offset"] = len(header.binaryblock) + 4
    data = np.asarray(made.dataobj).astype(header.get_data_dtype()).tobytes("F")
    content = header.binaryblock + bytes(int(header["vox_offset"]) - len(header.binaryblock)) + data
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def changed(path, **fields):
    made = image()
    for name, value in fields.items():
        made.header[name] = value
    return save(path, made)


# --- reading ------------------------------------------------------------------------------------


@fuzz
@given(
    voxels=hnp.arrays(
        st.sampled_from(DTYPES).map(np.dtype), st.tuples(*[st.integers(1, 5)] * 3), fill=st.just(0)
    ),
    order=st.sampled_from("<>"),
    kind=st.sampled_from([nib.Nifti1Image, nib.Nifti2Image]),
    ending=st.sampled_from([".nii", ".nii.gz"]),
)
def test_files_of_nibabel_are_read_alike(tmp_path, voxels, order, kind, ending):
    path = tmp_path / f"theirs{ending}"
    header = kind.header_class(endianness=order)
    header.set_data_dtype(voxels.dtype)
    nib.save(kind(voxels, AFFINE, header), path)
    assert nib.load(path).header.endianness == order
    array = read_nifti(path)
    assert array.dtype == voxels.dtype
    assert array.dtype.isnative
    np.testing.assert_array_equal(array.values, voxels)
    assert array.name == "theirs"
    slabs = [(cut, slab.copy()) for cut, slab in stream_volume(path).slabs(2)]
    np.testing.assert_array_equal(np.concatenate([slab for _, slab in slabs], axis=2), voxels)
    assert slabs[-1][0].stop == voxels.shape[2]


@fuzz
@given(
    code=orientations,
    zooms=st.tuples(*[st.sampled_from([0.01, 0.025, 1.0, 2.0, 1.5, 0.7])] * 3),
    offset=st.tuples(*[st.sampled_from([0.0, -90.0, 45.5, 12.25])] * 3),
    forms=st.sampled_from([(2, 2), (1, 0), (0, 1), (4, 1)]),
    kind=st.sampled_from([nib.Nifti1Image, nib.Nifti2Image]),
)
def test_all_orientations_agree_with_nibabel(tmp_path, code, zooms, offset, forms, kind):
    turn = nib.orientations.inv_ornt_aff(
        ornt_transform(axcodes2ornt(code), axcodes2ornt("RAS")), SHAPE
    )
    affine = np.diag([*zooms, 1]) @ np.linalg.inv(turn)
    affine[:3, 3] = offset
    made = image(affine=affine, kind=kind, sform=forms[0], qform=forms[1])
    path = save(tmp_path / "turned.nii.gz", made)
    loaded = nib.load(path)
    array = read_nifti(path)
    grid = infer_grid(array)
    assert grid.orientation == "".join(nib.aff2axcodes(loaded.affine)) == code
    np.testing.assert_allclose(np.array(grid.spacing) / 1000, loaded.header.get_zooms(), rtol=1e-6)
    # In nibabel's canonical order, places are those of the world.
    canonical = nib.as_closest_canonical(loaded)
    ours = ReferenceSpace(StructureTree([]), array).annotation
    turned = refspace.ReferenceSpace(StructureTree([]), ours).reorient("RAS").annotation
    np.testing.assert_array_equal(turned.values, np.asarray(canonical.dataobj))
    for axis, dim in enumerate(turned.dims):
        steps = np.arange(canonical.shape[axis])
        world = canonical.affine[axis, axis] * steps + canonical.affine[axis, 3]
        np.testing.assert_allclose(turned[dim].values / 1000, world, atol=2e-5, rtol=1e-6)


def test_coordinates_are_those_of_the_world(tmp_path):
    path = save(tmp_path / "mni.nii.gz", image(np.zeros((91, 109, 91), "u1")))
    array = read_nifti(path)
    assert infer_grid(array) == Grid(
        (91, 109, 91), (2000,) * 3, (-91000, -127000, -73000), "LAS", "RAS"
    )
    # x is 90 mm at the first voxel, and falls to the left.
    assert array.ml.values[0] == 90_000
    assert array.hemisphere.attrs["midline"] == 0
    assert array.hemisphere.sel(ml=-2000).item() == "left"
    assert array.hemisphere.sel(ml=2000).item() == "right"


@pytest.mark.parametrize(
    ("units", "factor"), [("mm", 1000), ("micron", 1), ("meter", 1e6), ("unknown", 1000)]
)
def test_units_are_converted(tmp_path, units, factor):
    affine = np.diag([25, 10, 33.3, factor]) / factor
    path = save(tmp_path / "u.nii", image(affine=affine, units=units))
    assert infer_grid(read_nifti(path)).spacing == pytest.approx((25, 10, 33.3), rel=1e-9)
    assert infer_grid(read_nifti(path, resolution=(25, 10, 33.3))).spacing == (25, 10, 33.3)
    with pytest.raises(GridError, match=r"u\.nii: resolution \(50.0, 50.0, 50.0\) contradicts"):
        read_nifti(path, resolution=50)


def test_a_zero_at_the_edge_is_no_midline(tmp_path):
    path = save(tmp_path / "corner.nii", image(affine=np.diag([0.025, 0.025, 0.025, 1])))
    array = read_nifti(path)
    assert array.hemisphere.attrs["midline"] == infer_grid(array).middle
    assert array.ml.values[0] == 0


def test_the_sform_counts_before_the_qform(tmp_path):
    made = image()
    near = AFFINE.copy()
    near[:3, 3] += 5
    made.header.set_qform(near, code=1)
    path = save(tmp_path / "a.nii", made)
    assert infer_grid(read_nifti(path)).origin == (91000 - 2000 * SHAPE[0], -127000, -73000)
    # That of the scanner may be oblique, as long as it is not another orientation.
    turned = near.copy()
    turned[:3, :3] = near[:3, :3] @ nib.eulerangles.euler2mat(0.1)
    made.header.set_qform(turned, code=1)
    assert infer_grid(read_nifti(save(path, made))).orientation == "LAS"


def test_two_orientations_are_one_too_many(tmp_path):
    made = image()
    made.header.set_qform(np.diag([2, 2, 2, 1]), code=1)
    path = save(tmp_path / "two.nii", made)
    message = (
        r"two\.nii: the header has two orientations, sform LAS and qform RAS; give orientation="
    )
    with pytest.raises(GridError, match=message):
        read_nifti(path)
    assert infer_grid(read_nifti(path, orientation="RAS")) == Grid(
        SHAPE, (2000,) * 3, orientation="RAS"
    )
    # That which counts keeps its place.
    assert infer_grid(read_nifti(path, orientation="LAS")).origin == (
        91000 - 2000 * SHAPE[0],
        -127000,
        -73000,
    )


def test_a_header_without_forms_states_no_orientation(tmp_path):
    path = save(tmp_path / "none.nii", image(sform=0, qform=0))
    with pytest.raises(GridError, match=r"none\.nii: the header has no sform or qform; give orie"):
        read_nifti(path)
    array = read_nifti(path, orientation="PIR")
    assert infer_grid(array) == Grid(SHAPE, (2000,) * 3)
    assert "hemisphere" not in array.coords


def tilted(degrees, shape=(40, 40, 40), code="RAS"):
    """Affine of 1 mm turned about the middle of a volume, about x."""
    turn = nib.affines.from_matvec(nib.eulerangles.euler2mat(0, 0, math.radians(degrees)))
    middle = nib.affines.from_matvec(np.eye(3), (np.array(shape) - 1) / 2)
    order = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(code))
    return turn @ np.linalg.inv(middle) @ nib.orientations.inv_ornt_aff(order, shape)


@pytest.mark.parametrize("code", ["RAS", "LIP", "SPR"])
def test_slightly_oblique_axes_are_taken_for_the_nearest_with_a_note(tmp_path, code):
    shape = (40, 40, 40)
    affine = tilted(0.5, code=code)
    path = save(tmp_path / "o.nii", image(np.zeros(shape, "u1"), affine, qform=0))
    with pytest.warns(
        UserWarning, match=rf"the header's axes are oblique; they are taken as {code}"
    ):
        grid = infer_grid(read_nifti(path))
    assert grid.orientation == code
    corners = np.array([*itertools.product((0, 39), repeat=3)])
    theirs = nib.affines.apply_affine(affine, corners)
    places = [grid.coordinates(d)[corners[:, grid.axis(d)]] / 1000 for d in ("ml", "ap", "dv")]
    off = np.abs(np.transpose(places) - theirs)
    assert 0.1 < off.max() < 0.5


def test_oblique_axes_are_opened_along_the_nearest_where_they_are_asked_for(tmp_path):
    path = save(tmp_path / "o.nii", image(np.zeros((40,) * 3, "u1"), tilted(6), qform=0))
    with pytest.raises(
        GridError, match=r"axes are oblique: along the nearest ones, RAS, .*2\.\d vox"
    ):
        read_nifti(path)
    with pytest.raises(GridError, match="orientation LAS contradicts the header"):
        read_nifti(path, orientation="LAS")
    with pytest.warns(UserWarning, match="taken as RAS, so that voxels of the volume are up to 2"):
        grid = infer_grid(read_nifti(path, orientation="RAS"))
    assert grid.spacing == pytest.approx((1000,) * 3)
    assert grid.origin == pytest.approx((-20_000,) * 3)


def test_noise_of_axes_is_no_matter(tmp_path):
    affine = AFFINE.copy()
    affine[0, 1] = 1e-7
    path = save(tmp_path / "n.nii", image(affine=affine, qform=0))
    assert infer_grid(read_nifti(path)).orientation == "LAS"


def test_a_fourth_axis_of_one_volume_is_dropped(tmp_path):
    path = tmp_path / "4d.nii.gz"
    nib.save(nib.Nifti1Image(VOXELS[..., None], AFFINE), path)
    np.testing.assert_array_equal(read_nifti(path).values, VOXELS)
    nib.save(nib.Nifti1Image(np.stack([VOXELS, VOXELS], -1), AFFINE), path)
    with pytest.raises(FormatError, match=r"dim is \[4, 4, 3, 2, 2, .*save one volume of it"):
        read_nifti(path)


def test_extensions_are_read_over(tmp_path):
    for ending in (".nii", ".nii.gz"):
        made = nib.Nifti1Image(VOXELS, AFFINE)
        made.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"voxels" * 100))
        nib.save(made, tmp_path / f"e{ending}")
        np.testing.assert_array_equal(read_nifti(tmp_path / f"e{ending}").values, VOXELS)


@pytest.mark.parametrize(
    ("slope", "intercept", "scaled"),
    [(0, 3, False), (np.nan, 0, False), (1, 0, False), (1, np.nan, False), (2, 0, True),
     (1, 5, True), (0.004, 0, True)],
)  # fmt: skip
def test_scaled_voxels_are_refused(tmp_path, slope, intercept, scaled):
    path = changed(tmp_path / "s.nii", scl_slope=slope, scl_inter=intercept)
    if not scaled:
        np.testing.assert_array_equal(read_nifti(path).values, VOXELS)
        return
    with pytest.raises(FormatError, match=r"scaled by scl_slope .* as integers and without scal"):
        read_nifti(path)


# --- laziness and damage ------------------------------------------------------------------------


def test_opening_reads_the_header_only(tmp_path):
    path = save(tmp_path / "a.nii.gz", image())
    whole = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(whole[:400]))
    array = read_nifti(path)
    assert array.shape == SHAPE
    for _ in range(2):
        with pytest.raises(FormatError, match=r"a\.nii\.gz: the header declares 96 bytes, but the"):
            array.compute()


def test_a_volume_is_inflated_once_into_views(tmp_path, monkeypatch):
    monkeypatch.setattr(voxel_files, "SLAB_BYTES", 4 * 3 * 4)
    loads = []
    original = encoded_voxels._inflated
    count = lambda *args: loads.append(1) or original(*args)  # noqa: E731
    monkeypatch.setattr(encoded_voxels, "_inflated", count)
    array = read_nifti(save(tmp_path / "a.nii.gz", image()))
    assert array.chunks == ((4,), (3,), (1, 1))
    blocks = dask.compute(*array.data.to_delayed().ravel(), scheduler="threads")
    assert loads == [1]
    assert all(block.flags.f_contiguous and not block.flags.owndata for block in blocks)


def test_a_changed_file_is_detected(tmp_path):
    path = save(tmp_path / "a.nii", image())
    array, stream = read_nifti(path), stream_volume(path)
    os.utime(path, ns=(0, 0))
    with pytest.raises(FormatError, match="has changed since it was opened; read it again"):
        array.compute()
    with pytest.raises(FormatError, match="has changed since it was opened; read it again"):
        list(stream.slabs(1))


def test_an_array_pickles_as_its_path(tmp_path):
    array = read_nifti(save(tmp_path / "a.nii.gz", image(np.ones((40, 40, 40), "u4"))))
    array.compute()
    pickled = pickle.dumps(array.data)
    assert len(pickled) < 10_000
    assert pickle.loads(pickled).compute().sum() == 40**3


@pytest.mark.promise("the header of a volume lies about sizes")
def test_a_bomb_behind_a_small_header_is_not_inflated(tmp_path):
    path = tmp_path / "bomb.nii.gz"
    small = gzip.decompress(save(path, image()).read_bytes())
    with gzip.open(path, "wb") as file:
        file.write(small)
        for _ in range(64):
            file.write(bytes(2**20))
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match="declares 96 bytes, but the gzip data hold more th"):
            read_nifti(path).compute()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * 2**20


def test_streams_take_slabs_of_memory(tmp_path):
    voxels = np.zeros((128, 128, 512), "u4")  # 32 MiB
    path = save(tmp_path / "big.nii.gz", image(voxels))
    stream = stream_volume(path)
    assert stream.slab_bytes(8) == 128 * 128 * 8 * 4
    tracemalloc.start()
    try:
        assert sum(slab.shape[2] for _, slab in stream.slabs(8)) == 512
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * 2**20


DAMAGED = {
    "dim 2": ({"dim": [2, 4, 3, 1, 1, 1, 1, 1]}, r"dim is \[2, .* a volume has three dimensions"),
    "dim 0": ({"dim": [3, 4, 0, 2, 1, 1, 1, 1]}, "a volume has three dimensions"),
    "dim negative": ({"dim": [3, 4, -3, 2, 1, 1, 1, 1]}, "a volume has three dimensions"),
    "dim 9": ({"dim": [9, 4, 3, 2, 1, 1, 1, 1]}, "a volume has three dimensions"),
    "too large": ({"dim": [3, 32767, 32767, 32767, 1, 1, 1, 1]}, "make 1407.* bytes, but the f"),
    "complex": ({"datatype": 32, "bitpix": 64}, "datatype 32 is not supported; save it"),
    "colours": ({"datatype": 128, "bitpix": 24}, "datatype 128 is not supported"),
    "no type": ({"datatype": 7}, "datatype 7 is not supported"),
    "bitpix": ({"bitpix": 16}, "datatype 768 has bitpix 16; the file is damaged"),
    "units": ({"xyzt_units": 5}, "xyzt_units is 5, of no unit"),
    "sform NaN": ({"srow_x": [np.nan, 0, 0, 0]}, "the sform .* has numbers that are no lengths"),
    "sform 0": ({"srow_x": [0, 0, 0, 0]}, "not those of a volume|lengths must be positive"),
    "sform far": ({"srow_x": [-2, 0, 0, 1e30]}, "numbers that are no lengths"),
}  # fmt: skip


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize(("fields", "message"), DAMAGED.values(), ids=DAMAGED)
def test_headers_that_are_damaged(tmp_path, fields, message, ending):
    made = image()
    for name, value in fields.items():
        made.header[name] = value
    header = made.header.copy()
    header["vox_offset"], header["magic"] = 352, b"n+1"
    content = header.binaryblock + bytes(4) + VOXELS.tobytes("F")
    path = tmp_path / f"d{ending}"
    path.write_bytes(gzip.compress(content) if ending == ".nii.gz" else content)
    with pytest.raises((FormatError, GridError), match=message) as caught:
        read_nifti(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"x\.nii: not a NIfTI file: it is empty"),
        (b"NRRD0004\n" * 100, "not a NIfTI file: it starts with b'NRRD"),
        ((348).to_bytes(4, "little") + bytes(100), "not a NIfTI file"),
        (
            (348).to_bytes(4, "little") + bytes(400),
            "magic is b'', not that of NIfTI-1 .a file of A",
        ),
        ((540).to_bytes(4, "big") + bytes(600), "not that of NIfTI-2"),
        (b"\x1f\x8b\x08\x00broken", "the gzip data are damaged"),
    ],
)
def test_files_that_are_no_nifti(tmp_path, content, message):
    path = tmp_path / "x.nii"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=message):
        read_nifti(path)


@pytest.mark.parametrize("field", ["pixdim", "srow_x", "quatern_b"])
def test_numbers_beyond_single_precision(tmp_path, field):
    made = nib.Nifti2Image(VOXELS, np.diag([-2.0, 2, 3, 1]))
    made.set_qform(np.diag([-2.0, 2, 3, 1]), 1)
    made.header[field] = 1e200
    made.header["vox_offset"], made.header["magic"] = 544, b"n+2"
    path = tmp_path / "far.nii"
    path.write_bytes(made.header.binaryblock + bytes(4) + VOXELS.tobytes("F"))
    with pytest.raises(FormatError, match=r"no length in µm|no lengths|cannot be read"):
        read_nifti(path)


@pytest.mark.promise("a file of any format is mutated")
@pytest.mark.filterwarnings("ignore:.*axes are oblique:UserWarning")
@fuzz
@given(data=st.data())
def test_no_damage_gets_through(tmp_path, data):
    path = save(tmp_path / "f.nii", image())
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, 351))] = data.draw(st.integers(0, 255))
    stop = data.draw(st.sampled_from([len(content), 351, 400]))
    path.write_bytes(content[:stop])
    # A geometry that is another one may be read; anything else is one of our errors.
    with contextlib.suppress(FormatError, GridError):
        assert read_nifti(path).compute().nbytes == VOXELS.nbytes


def test_without_nibabel_the_error_names_the_extra(tmp_path, monkeypatch):
    path = save(tmp_path / "a.nii", image())
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(MissingDependencyError, match=r"pip install nibabel"):
        read_nifti(path)


def test_nibabel_is_imported_when_it_is_needed():
    code = "import sys, refspace; refspace.ReferenceSpace; sys.exit('nibabel' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- writing ------------------------------------------------------------------------------------


@fuzz
@given(
    grid=grids,
    dtype=st.sampled_from(DTYPES),
    chunks=st.none() | st.tuples(*[st.integers(1, 4)] * 3),
    ending=st.sampled_from([".nii", ".nii.gz"]),
)
def test_what_is_written_is_read_with_its_grid(tmp_path, grid, dtype, chunks, ending):
    path = tmp_path / f"round{ending}"
    values = np.random.default_rng(0).integers(0, 120, grid.shape).astype(dtype)
    data = values if chunks is None else da.from_array(values, chunks)
    write_nifti(path, labelled(data, grid))
    back = infer_grid(read_nifti(path))
    assert (back.shape, back.orientation) == (grid.shape, grid.orientation)
    np.testing.assert_allclose(back.spacing, grid.spacing, rtol=1e-6)
    np.testing.assert_allclose(back.origin, grid.origin, rtol=1e-6, atol=1e-2)
    theirs = nib.load(path)
    np.testing.assert_array_equal(np.asarray(theirs.dataobj), values)
    assert theirs.get_data_dtype() == values.dtype
    assert "".join(nib.aff2axcodes(theirs.affine)) == grid.orientation
    assert theirs.header.get_xyzt_units()[0] == "mm"
    for form in (theirs.get_sform(), theirs.get_qform()):
        first = nib.affines.apply_affine(form, [0, 0, 0]) * 1000
        signs = [1 if letter in "RAS" else -1 for letter in grid.orientation]
        world = {d: s * grid.coordinates(d)[0] for d, s in zip(grid.dims, signs, strict=True)}
        expected = [world["ml"], world["ap"], world["dv"]]
        # The flips of dims do not move the first voxel: dv grows to inferior, or to superior.
        np.testing.assert_allclose(first, expected, rtol=1e-6, atol=1e-2)


def test_a_mask_is_exported(tmp_path):
    space = refspace.phantom(resolution=200)
    mask = space.make_structure_mask("VISp")
    write_nifti(tmp_path / "mask.nii.gz", mask)
    theirs = nib.load(tmp_path / "mask.nii.gz")
    assert "".join(nib.aff2axcodes(theirs.affine)) == "PIR"
    np.testing.assert_array_equal(np.asarray(theirs.dataobj), mask.values)
    xr.testing.assert_equal(
        read_nifti(tmp_path / "mask.nii.gz").drop_vars("hemisphere", errors="ignore"),
        mask.drop_vars("hemisphere", errors="ignore"),
    )
    write_nifti(tmp_path / "bool.nii", mask > 0)
    assert nib.load(tmp_path / "bool.nii").get_data_dtype() == np.uint8


def test_a_long_side_makes_nifti_2(tmp_path):
    grid = Grid((40_000, 1, 1), (10, 10, 10))
    write_nifti(tmp_path / "long.nii", labelled(np.ones(grid.shape, "u1"), grid))
    assert isinstance(nib.load(tmp_path / "long.nii"), nib.Nifti2Image)
    assert infer_grid(read_nifti(tmp_path / "long.nii")) == grid


def test_what_cannot_be_written_is_refused(tmp_path):
    grid = Grid(SHAPE, (25, 25, 25))
    array = labelled(VOXELS, grid)
    with pytest.raises(FormatError, match=r"x\.nrrd does not end in \.nii or \.nii\.gz"):
        write_nifti(tmp_path / "x.nrrd", array)
    with pytest.raises(AnnotationError, match="array is a ndarray, which says nothing of where"):
        write_nifti(tmp_path / "x.nii", VOXELS)
    with pytest.raises(AnnotationError, match="NIfTI has no type for complex64; convert"):
        write_nifti(tmp_path / "x.nii", array.astype("c8"))
    with pytest.raises(FormatError, match=r"compression_level is 0; give 1 \(fast\) to 9"):
        write_nifti(tmp_path / "x.nii.gz", array, compression_level=0)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        write_nifti(tmp_path / "nowhere" / "x.nii", array)
    with pytest.raises(GridError, match="no coordinates"):
        write_nifti(tmp_path / "x.nii", xr.DataArray(VOXELS, dims=("ap", "dv", "ml")))
    assert list(tmp_path.iterdir()) == []


def _failing(block):
    raise RuntimeError("lost")


@pytest.mark.promise("a file is written and the writer fails")
def test_a_failed_write_leaves_the_old_file(tmp_path):
    path, grid = tmp_path / "kept.nii.gz", Grid(SHAPE, (25, 25, 25))
    write_nifti(path, labelled(VOXELS, grid))
    before = path.read_bytes()
    broken = da.from_array(VOXELS).map_blocks(_failing, meta=np.empty((0, 0, 0), "u4"))
    with pytest.raises(RuntimeError, match="lost"):
        write_nifti(path, labelled(broken, grid))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["kept.nii.gz"]


# --- every door ---------------------------------------------------------------------------------

LABELS = "".join(f'{i} 10 20 {i} 1 1 1 "Area {i}"\n' for i in range(1, 24))


@pytest.fixture
def atlas(tmp_path):
    """A NIfTI file around the world's 0, and its label table."""
    affine = np.diag([-1.0, 1, 1, 1])
    affine[0, 3] = 1.5
    save(tmp_path / "atlas.nii.gz", image(VOXELS, affine))
    (tmp_path / "labels.txt").write_text(f'0 0 0 0 0 0 0 "Clear Label"\n{LABELS}')
    return tmp_path


def test_a_nifti_atlas_opens_through_every_door(atlas):
    path, labels = atlas / "atlas.nii.gz", atlas / "labels.txt"
    tree = refspace.read_structures(labels)
    opened = refspace.open(path, structures=labels)
    stored = refspace.convert(path, labels, atlas / "atlas.zarr")
    in_memory = ReferenceSpace(tree, read_nifti(path))
    with_tree = refspace.open(str(path), structures=tree)
    for space in (opened, stored, with_tree, in_memory):
        assert space.midline == 0
        # The first voxel of the file is at x = 1.5 mm: right. Stores are written along the world.
        orientation, voxels = ("RAS", VOXELS[::-1]) if space is stored else ("LAS", VOXELS)
        grid = Grid(SHAPE, (1000,) * 3, (-2000, -500, -500), orientation, "RAS")
        assert space.grid == grid
        np.testing.assert_array_equal(space.annotation.values, voxels)
        assert int(space.annotation.sel(ml=1500, ap=1000, dv=0)) == VOXELS[0, 1, 0]
        assert space.hemisphere("right").direct_voxel_counts()[1] == 1
        assert space.hemisphere("left").direct_voxel_counts()[1] == 0
    with pytest.raises(FormatError, match=r"atlas\.nii\.gz names no structures; give structures="):
        refspace.open(path)


def test_a_template_in_nifti_is_stored_beside(atlas):
    made = image(VOXELS.astype("f4") / 2, nib.load(atlas / "atlas.nii.gz").affine)
    template = save(atlas / "t.nii", made)
    path, labels = atlas / "atlas.nii.gz", atlas / "labels.txt"
    stored = refspace.convert(path, labels, atlas / "a.zarr", template=template)
    np.testing.assert_array_equal(stored.template.values, VOXELS[::-1] / 2)
    np.testing.assert_array_equal(stored.annotation.values, VOXELS[::-1])


def test_one_function_tells_files_from_stores():
    assert all(
        map(is_volume_file, ["a.nrrd", "a.NHDR", "a.nii", "b/a.nii.gz", "http://h/a.nii?k=1"])
    )
    assert not any(map(is_volume_file, ["a.zarr", "a", "http://host/a.zarr", "a.gz"]))


def test_voxel_values_become_ids(atlas):
    path, labels = atlas / "atlas.nii.gz", atlas / "labels.txt"
    ids = {value: (23 - value if value else 0) for value in range(24)}
    expected = np.where(VOXELS == 0, 0, 23 - VOXELS.astype("i8"))[::-1]
    for number, source in enumerate([path, read_nifti(path)]):
        stored = refspace.convert(source, labels, atlas / f"{number}.zarr", ids=ids)
        np.testing.assert_array_equal(stored.annotation.values, expected)
        assert stored.annotation.dtype == np.uint32
        assert stored.direct_voxel_map[5] == 1
    del ids[7], ids[9]
    with pytest.raises(AnnotationError, match="ids tells no structure of: 7, 9; complete it"):
        refspace.convert(path, labels, atlas / "x.zarr", ids=ids)
    assert not (atlas / "x.zarr").exists()


def test_a_header_says_what_it_is(atlas):
    header = NIFTI.read_header(atlas / "atlas.nii.gz")
    voxels = header.image.voxels
    assert (voxels.encoding, voxels.skipped) == ("gzip", 352)
    assert [form.name for form in header.forms] == ["sform", "qform"]
    assert io_orientation(nib.load(atlas / "atlas.nii.gz").affine)[0, 1] == -1


def _stop(done, total):
    if done == 2:
        raise KeyboardInterrupt


def test_a_run_is_resumed_with_the_same_ids_alone(atlas):
    path, labels, target = atlas / "atlas.nii.gz", atlas / "labels.txt", atlas / "a.zarr"
    ids = {value: value for value in range(24)}
    with pytest.raises(KeyboardInterrupt):
        refspace.convert(path, labels, target, ids=ids, chunks=1, threads=1, progress=_stop)
    other = {**ids, 3: 4}
    with pytest.raises(StoreError, match="resume"):
        refspace.convert(path, labels, target, ids=other, chunks=1, resume=True)
    stored = refspace.convert(path, labels, target, ids=ids, chunks=1, resume=True)
    np.testing.assert_array_equal(stored.annotation.values, VOXELS[::-1])


@pytest.mark.parametrize("name", ["a.NII", "a.NII.GZ", "a.NRRD"])
def test_endings_in_capitals(tmp_path, name):
    voxels = np.arange(60, dtype=np.uint16).reshape(3, 4, 5)
    path = tmp_path / name
    write_volume(path, labelled(voxels, Grid((3, 4, 5), (25, 25, 25))))
    image = sitk.ReadImage(path)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image).T, voxels)
    np.testing.assert_array_equal(refspace.read_image(path), voxels)


@pytest.mark.parametrize("name", ["a.MHA", "a.MHD", "a.Nii.gz", "a.nii.GZ"])
def test_endings_that_itk_does_not_know(tmp_path, name):
    with pytest.raises(FormatError, match="does not end in"):
        output_ending(tmp_path / name)
