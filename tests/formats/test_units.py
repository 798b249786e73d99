"""Units and lengths of files: stated, assumed by convention, said by the caller, overruled."""

import gzip
import warnings

import dask.array as da
import nibabel as nib
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from helpers.profiles import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

import refspace
from refspace.batch import AtlasReference, ImageOptions
from refspace.errors import FormatError, GridError, JobError, StoreError
from refspace.formats.nifti import read_nifti, write_nifti
from refspace.formats.nrrd import read_nrrd, write_nrrd
from refspace.formats.volumes import read_volume, stated_spacing, stream_volume
from refspace.grid import Grid
from refspace.labels import infer_grid, labelled

SHAPE = (4, 3, 2)
VOXELS = np.arange(24, dtype="u2").reshape(SHAPE, order="F")
fuzz = examples(48, suppress_health_check=[HealthCheck.function_scoped_fixture])
orientations = st.permutations(["AP", "SI", "LR"]).flatmap(
    lambda axes: st.tuples(*map(st.sampled_from, axes)).map("".join)
)


def made_nrrd(path, directions, shape=SHAPE, space="left-posterior-superior", **fields):
    """File with a header as it stands, of voxels 1."""
    changed = {name.replace("_", " "): value for name, value in fields.items()}
    lines = {
        "type": "uint16",
        "dimension": 3,
        "space": space,
        "sizes": " ".join(map(str, shape)),
        "space directions": " ".join("({},{},{})".format(*row) for row in directions),
        "endian": "little",
        "encoding": "gzip",
    } | changed
    header = "".join(f"{name}: {value}\n" for name, value in lines.items() if value is not None)
    voxels = gzip.compress(np.ones(shape, "<u2").tobytes())
    path.write_bytes(f"NRRD0005\n{header}\n".encode() + voxels)
    return path


def made_nifti(path, affine, **header):
    """File of nibabel's, whose unit is unknown unless given."""
    image = nib.Nifti1Image(VOXELS, affine)
    for name, values in header.items():
        getattr(image.header, f"set_{name}")(*values)
    nib.save(image, path)
    return path


def diagonal(*lengths):
    return np.diag(lengths)


# ----- what other programs write


@pytest.mark.parametrize("micrometres", [(25, 25, 25), (10, 20, 33.3), (1000, 1000, 2500)])
def test_files_of_itk_are_in_millimetres(tmp_path, micrometres):
    image = sitk.GetImageFromArray(VOXELS.transpose())
    image.SetSpacing([n / 1000 for n in micrometres])
    image.SetDirection([-1, 0, 0, 0, 0, 1, 0, -1, 0])
    image.SetOrigin([1.0, 2.0, 3.0])
    path = tmp_path / "itk.nrrd"
    sitk.WriteImage(image, str(path))
    assert "space units" not in nrrd.read_header(str(path))
    with pytest.warns(UserWarning, match="itk.nrrd: the header states no unit; its lengths are ta"):
        grid = infer_grid(read_nrrd(path))
    assert grid.spacing == pytest.approx(micrometres)
    sitk.WriteImage(image, str(tmp_path / "itk.nii.gz"))
    theirs = infer_grid(read_nifti(tmp_path / "itk.nii.gz"))
    assert theirs.orientation == grid.orientation
    np.testing.assert_allclose(grid.origin, theirs.origin, atol=1e-3)
    # Nothing is assumed where the caller says it.
    assert infer_grid(read_nrrd(path, resolution=micrometres)) == grid
    assert stream_volume(path, resolution=micrometres).grid == grid


@pytest.mark.parametrize(
    ("resolution", "shape"),
    [
        (10, (1320, 800, 1140)),
        (25, (528, 320, 456)),
        (25, (456, 320, 528)),
        (50, (264, 160, 228)),
        (100, (132, 80, 114)),
        (200, (66, 40, 57)),
    ],
)
def test_files_of_the_allen_institute_are_in_micrometres(tmp_path, resolution, shape):
    step = diagonal(resolution, resolution, resolution)
    small = made_nrrd(tmp_path / "a.nrrd", step, (2, 2, 2)).read_bytes()
    path = tmp_path / "allen.nrrd"
    # Voxels of the size that the header declares are not needed to read the header.
    sizes = " ".join(map(str, shape)).encode()
    content = small.replace(b"sizes: 2 2 2", b"sizes: " + sizes)
    path.write_bytes(content + bytes(2 * np.prod(shape) // 1000))
    assert infer_grid(read_nrrd(path, orientation="PIR")).spacing == (resolution,) * 3
    assert "Allen Institute" in (stated_spacing(path).assumed or "")
    # They are known, so that another resolution is a contradiction.
    with pytest.raises(GridError, match=f"contradicts the header, .*{resolution}.0"):
        read_nrrd(path, resolution=2 * resolution, orientation="PIR")


@pytest.mark.parametrize("shape", [(4, 3, 2), (528, 320, 455), (132, 80, 114)])
def test_a_magnitude_alone_tells_no_unit(tmp_path, shape):
    path = made_nrrd(tmp_path / "x.nrrd", diagonal(25, 25, 25), shape)
    message = r"x\.nrrd: the header states no unit; .* voxels 25000 µm apart, .* give resolution="
    with pytest.raises(GridError, match=message):
        read_nrrd(path, orientation="PIR")
    assert infer_grid(read_nrrd(path, orientation="PIR", resolution=25)).spacing == (25,) * 3


def test_without_an_anatomical_space_lengths_are_those_of_allensdk(tmp_path):
    nrrd.write(str(tmp_path / "a.nrrd"), VOXELS, {"spacings": [25, 25, 25]})
    assert infer_grid(read_nrrd(tmp_path / "a.nrrd")).spacing == (25, 25, 25)
    nrrd.write(str(tmp_path / "b.nrrd"), VOXELS, {"spacings": [0.025, 0.025, 0.025]})
    with pytest.raises(GridError, match=r"would be µm, as AllenSDK .* voxels 0\.025 µm apart"):
        read_nrrd(tmp_path / "b.nrrd")
    assert infer_grid(read_nrrd(tmp_path / "b.nrrd", resolution=25)).spacing == (25, 25, 25)
    spaced = {"space_directions": None, "spacings": "0.025 0.025 0.05"}
    path = made_nrrd(tmp_path / "c.nrrd", diagonal(1, 1, 1), **spaced)
    with pytest.warns(UserWarning, match="taken as millimetres, .*: voxels are 25 × 25 × 50 µm ap"):
        assert infer_grid(read_nrrd(path)).spacing == (25, 25, 50)


def test_spacings_and_directions_may_be_in_units_of_their_own(tmp_path):
    directions = diagonal(-0.025, -0.025, 0.025)
    stated = {"space_units": '"mm" "mm" "mm"', "spacings": "25 25 25", "units": '"um" "um" "um"'}
    path = made_nrrd(tmp_path / "a.nrrd", directions, **stated)
    assert infer_grid(read_nrrd(path)).spacing == (25, 25, 25)
    path = made_nrrd(tmp_path / "b.nrrd", directions, **(stated | {"units": '"um" "" "um"'}))
    with pytest.raises(FormatError, match=r"units are \['um', '', 'um'\]; allowed are"):
        read_nrrd(path)


# ----- what the caller says


@pytest.mark.parametrize(
    ("number", "resolution", "origin"),
    [(0.025, 25, 1000), (25, 25, 1), (1, 25, 25), (0.25, 25, 100), (0.05, 25, 500)],
)
def test_the_caller_says_what_is_not_stated(tmp_path, number, resolution, origin):
    path = made_nrrd(
        tmp_path / "x.nrrd", diagonal(-number, -number, number), space_origin="(1,1,1)"
    )
    grid = infer_grid(read_nrrd(path, resolution=resolution))
    assert grid.spacing == (resolution,) * 3
    # Its centre is at 1 in the header's length, which is taken as its spacing is.
    np.testing.assert_allclose(np.add(grid.origin, 12.5), (-origin, -origin, origin))


def test_an_origin_is_left_out_where_lengths_differ_by_no_factor(tmp_path):
    path = made_nrrd(tmp_path / "x.nrrd", diagonal(-1, -1, 2), space_origin="(1,1,1)")
    with pytest.warns(UserWarning, match=r"x\.nrrd: the resolution differs .* starts at 0"):
        grid = infer_grid(read_nrrd(path, resolution=25))
    assert grid.origin == (0, 0, 0)
    path = made_nrrd(tmp_path / "y.nrrd", diagonal(-1, -1, 2))
    assert infer_grid(read_nrrd(path, resolution=25)).origin == (0, 0, 0)


def test_a_header_that_states_nothing(tmp_path):
    path = made_nifti(tmp_path / "x.nii", None)
    for read in (read_nifti, lambda *a, **k: labelled(VOXELS, stream_volume(*a, **k).grid)):
        grid = infer_grid(read(path, resolution=25, orientation="RAS"))
        assert grid == Grid(SHAPE, (25, 25, 25), orientation="RAS")
    with pytest.raises(GridError, match=r"x\.nii: the header states no spacing; give resolution="):
        read_nifti(path, orientation="RAS")
    with pytest.raises(GridError, match=r"x\.nii: the header has no sform or qform; give orient"):
        read_nifti(path, resolution=25)
    # A unit, or lengths that nobody writes unasked, are a statement.
    path = made_nifti(tmp_path / "y.nii", None, xyzt_units=["mm"])
    with pytest.raises(GridError, match="contradicts the header"):
        read_nifti(path, resolution=25, orientation="RAS")
    path = made_nifti(tmp_path / "z.nii", None, zooms=[(0.5, 0.5, 0.5)])
    assert infer_grid(read_nifti(path, orientation="RAS")).spacing == (500,) * 3
    assert infer_grid(read_nifti(path, orientation="RAS", resolution=30)).spacing == (30,) * 3


def test_lengths_without_a_unit_may_be_in_another_one(tmp_path):
    affine = np.diag([-25.0, 25, 25, 1])
    affine[:3, 3] = 100, -200, 300
    path = made_nifti(tmp_path / "x.nii", affine)
    with pytest.raises(GridError, match=r"no unit; its lengths would be millimetres.* 25000 µm"):
        read_nifti(path)
    grid = infer_grid(read_nifti(path, resolution=25))
    # As if the unit were stated.
    stated = made_nifti(tmp_path / "y.nii", affine, xyzt_units=["micron"])
    assert grid == infer_grid(read_nifti(stated))


# ----- what contradicts


@pytest.mark.parametrize(
    ("stated", "said", "factor"),
    [
        (1000, 100, "10 times as much;"),
        (100, 1000, "1/10 of it;"),
        (25000, 25, "1000 times as much, as if mm and µm were mixed up;"),
        (10, 10000, "1/1000 of it, as if mm and µm were mixed up;"),
        (50, 20, "apart;"),
    ],
)
def test_a_contradiction_names_both(tmp_path, stated, said, factor):
    affine = np.diag([stated / 1000] * 3 + [1])
    affine[:3, 3] = -1, 2, 3
    nifti = made_nifti(tmp_path / "x.nii.gz", affine, xyzt_units=["mm"])
    unit = {"space_units": '"mm" "mm" "mm"', "space_origin": "(1,-2,3)"}
    lengths = diagonal(-stated / 1000, -stated / 1000, stated / 1000)
    for path in (nifti, made_nrrd(tmp_path / "x.nrrd", lengths, **unit)):
        with pytest.raises(GridError) as caught:
            read_volume(path, resolution=said)
        assert str(caught.value).startswith(f"{path}: resolution ({said}.0,")
        assert f"({stated}.0, {stated}.0, {stated}.0) µm apart" in str(caught.value)
        assert factor in str(caught.value)
        assert "override=True" in str(caught.value)
        grid = infer_grid(read_volume(path, resolution=said, override=True))
        assert (grid.spacing, grid.orientation) == ((said,) * 3, "RAS")
        centres = np.add(grid.origin, said / 2)
        np.testing.assert_allclose(centres, np.array([-1, 2, 3]) * 1000 * said / stated, rtol=1e-5)


def test_a_rodent_scaled_by_ten_needs_no_stated_unit(tmp_path):
    path = made_nifti(tmp_path / "mouse.nii.gz", np.diag([-1.0, 1, 1, 1]))
    with pytest.raises(GridError, match="10 times as much; leave the resolution out"):
        read_nifti(path, resolution=100)
    grid = infer_grid(read_nifti(path, resolution=100, override=True))
    # The first voxel is at x = 0, the last one at -300 µm.
    assert grid == Grid(SHAPE, (100,) * 3, (-350, -50, -50), "LAS", "RAS")


def test_an_identity_affine_is_overruled(tmp_path):
    path = made_nifti(tmp_path / "identity.nii", np.eye(4))
    with pytest.raises(GridError, match="orientation PIR contradicts the header, which states RAS"):
        read_nifti(path, orientation="PIR")
    grid = infer_grid(read_nifti(path, resolution=25, orientation="PIR", override=True))
    assert grid == Grid(SHAPE, (25, 25, 25))
    # What is not said is believed still.
    assert infer_grid(read_nifti(path, override=True)) == infer_grid(read_nifti(path))


def test_a_spacing_of_zero_is_overruled(tmp_path):
    header = {"space_directions": "(-0,0,0) (0,-1,0) (0,0,1)"}
    flat = nib.Nifti1Image(VOXELS, np.eye(4))
    nib.save(flat, tmp_path / "x.nii")
    content = bytearray((tmp_path / "x.nii").read_bytes())
    content[280:284] = bytes(4)  # the first number of srow_x
    (tmp_path / "x.nii").write_bytes(content)
    made_nrrd(tmp_path / "x.nrrd", diagonal(1, 1, 1), **header)
    for name in ("x.nrrd", "x.nii"):
        path = tmp_path / name
        given = {"resolution": 25, "orientation": "PIR"}
        grid = infer_grid(read_volume(path, **given, override=True))
        assert grid == Grid(SHAPE, (25, 25, 25))
        assert infer_grid(read_volume(path, override=True, like=grid)) == grid
        for less in (given, {"like": grid}, {"resolution": 25, "override": True}):
            with pytest.raises(
                GridError, match=r"no length, or lie in one plane; .* override=True"
            ):
                read_volume(path, **less)


def test_fine_resolutions_are_noticed(tmp_path):
    path = made_nifti(tmp_path / "x.nii", None)
    with pytest.warns(UserWarning, match=r"resolution 0\.025 is below 1 µm per voxel; .* give 25$"):
        read_nifti(path, resolution=0.025, orientation="RAS")
    path = made_nrrd(tmp_path / "x.nrrd", diagonal(-1, -1, 1))
    with pytest.warns(UserWarning, match="below 1 µm per voxel"):
        read_nrrd(path, resolution=0.025)


# ----- what we write


@fuzz
@given(
    code=orientations,
    spacing=st.tuples(*[st.sampled_from([10.0, 25.0, 33.3, 1000.0])] * 3),
    origin=st.tuples(*[st.sampled_from([0.0, -12.5, 100.0, -5700.0])] * 3),
)
def test_both_formats_lie_in_one_place_for_itk(tmp_path, code, spacing, origin):
    grid = Grid(SHAPE, spacing, origin, code)
    array = labelled(VOXELS, grid)
    paths = [tmp_path / "x.nrrd", tmp_path / "x.nii.gz"]
    write_nrrd(paths[0], array)
    write_nifti(paths[1], array)
    theirs = [sitk.ReadImage(str(path)) for path in paths]
    for image in theirs:
        np.testing.assert_allclose(image.GetSpacing(), np.array(spacing) / 1000, rtol=1e-6)
        np.testing.assert_array_equal(sitk.GetArrayFromImage(image).transpose(), VOXELS)
    one, other = theirs
    np.testing.assert_allclose(one.GetOrigin(), other.GetOrigin(), atol=1e-5)
    np.testing.assert_allclose(one.GetDirection(), other.GetDirection(), atol=1e-6)
    for index in ((0, 0, 0), (3, 2, 1)):
        places = [image.TransformIndexToPhysicalPoint(index) for image in theirs]
        np.testing.assert_allclose(*places, atol=1e-5)
    assert infer_grid(read_nrrd(paths[0])) == grid
    assert infer_grid(read_nifti(paths[1])) == grid


@pytest.mark.parametrize("name", ["labels.nrrd", "labels.nii", "labels.nii.gz"])
def test_the_export_for_itksnap_lies_in_the_brain(tmp_path, name):
    space = refspace.phantom(400)
    space.write_itksnap_labels(tmp_path / name, tmp_path / "labels.txt")
    image = sitk.ReadImage(str(tmp_path / name))
    np.testing.assert_allclose(image.GetSpacing(), [0.4] * 3, rtol=1e-6)
    expected, _ = space.export_itksnap_labels()
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image).transpose(), expected)
    # Voxel 0 is the most anterior, superior and left one: in mm of left-posterior-superior.
    np.testing.assert_allclose(image.GetOrigin(), [-0.2, 0.2, -0.2], atol=1e-6)


# ----- every way into the library


@pytest.fixture
def mouse(tmp_path):
    """Rodent whose header is ten times its size, its structures, and their right space."""
    affine = np.diag([-1.0, 1, 1, 1])
    affine[:3, 3] = 2, -2, -1
    path = made_nifti(tmp_path / "mouse.nii.gz", affine)
    tree = [{"id": i, "acronym": f"s{i}", "structure_id_path": [i]} for i in range(1, 24)]
    (tmp_path / "tree.csv").write_text(
        "id,acronym,name\n" + "".join(f"{n['id']},{n['acronym']},{n['acronym']}\n" for n in tree)
    )
    return path, tmp_path / "tree.csv", MOUSE


# The first voxel is at x = 2 mm in the header, the last one at -1 mm.
MOUSE = Grid(SHAPE, (100,) * 3, (-150, -250, -150), "LAS", "RAS")


def test_spaces_of_overruled_files(mouse, tmp_path):
    path, tree, grid = mouse
    given = {"resolution": 100, "override": True}
    assert refspace.open(path, structures=tree, **given).grid == grid
    with pytest.raises(GridError, match="10 times as much"):
        refspace.convert(path, tree, tmp_path / "a.zarr", resolution=100)
    stored = refspace.convert(path, tree, tmp_path / "a.zarr", template=path, **given)
    # Stores are written along the frame.
    assert stored.grid == grid.reorient("RAS")
    np.testing.assert_array_equal(stored.annotation.values, VOXELS[::-1])
    np.testing.assert_array_equal(stored.template.values, VOXELS[::-1])
    for volume in (da.zeros(SHAPE, dtype="u1"), tmp_path / "a.zarr"):
        with pytest.raises(GridError, match="override=True is for headers of files"):
            refspace.convert(volume, tree, tmp_path / "b.zarr", **given)
    for name in (tmp_path / "a.zarr", "allen:ccf_2017"):
        with pytest.raises(GridError, match="override=True is for headers"):
            refspace.open(name, override=True)


def test_tables_of_images_of_overruled_files(mouse, tmp_path):
    path, tree, _ = mouse
    given = {"resolution": 100, "override": True}
    atlas = AtlasReference.from_arguments(path, structures=tree, **given)
    options = ImageOptions(**given)
    table = tmp_path / "table.csv"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        done = refspace.aggregate_images(atlas, [path], table, image_options=options, threads=1)
    assert done.written == 1
    # Another grid of the same voxels is another job.
    believed = AtlasReference.from_arguments(path, structures=tree)
    with pytest.raises(StoreError):
        refspace.aggregate_images(believed, [path], table, threads=1)
    refspace.open(path, structures=tree, **given).to_zarr(tmp_path / "a.zarr")
    with pytest.raises(JobError, match="override=True is for headers of files"):
        refspace.aggregate_images(
            tmp_path / "a.zarr",
            [tmp_path / "a.zarr"],
            tmp_path / "b.csv",
            image_options=ImageOptions(override=True),
            threads=1,
        )
