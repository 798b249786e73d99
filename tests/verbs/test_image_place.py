"""Where images lie: off by rounding, by half a voxel, oblique; against nibabel, scipy and NumPy."""

import itertools
import warnings
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import nibabel as nib
import nrrd
import numpy as np
import pytest
import xarray as xr
from helpers.strategies import few
from helpers.volumes import CountingSource, raising
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

import refspace
from refspace import Grid, ReferenceSpace, StructureTree
from refspace.errors import AnnotationError, GridError
from refspace.labels import in_frame, labelled, reorient
from refspace.ops.align import align
from refspace.types import AFFINE

TREE = StructureTree(
    [
        {"id": i, "acronym": f"s{i}", "name": f"structure {i}", "structure_id_path": [i]}
        for i in (1, 2, 3)
    ]
)
RNG = np.random.default_rng(3)
VOXELS = RNG.integers(0, 4, (8, 10, 6)).astype("u4")
IMAGE = RNG.normal(size=VOXELS.shape)
GRID = Grid(VOXELS.shape, (10, 10, 10))
CODES = [
    "".join(c) for p in itertools.permutations(["RL", "AP", "SI"]) for c in itertools.product(*p)
]


def space_of(grid: Grid = GRID, voxels: np.ndarray = VOXELS) -> ReferenceSpace:
    return ReferenceSpace(TREE, labelled(da.from_array(voxels, chunks=4), grid))


def statistics(labels: np.ndarray, image: np.ndarray) -> list[list[float]]:
    """Count and mean in each structure."""
    inside = [image[labels == i] for i in (1, 2, 3)]
    return [[v.size for v in inside], [v.mean() if v.size else np.nan for v in inside]]


def found(space: ReferenceSpace, image: Any, **options: Any) -> list[list[float]]:
    table = space.aggregate(image, statistics=["count", "mean"], **options).compute()
    return [table["count"].values.tolist(), table["mean"].values.tolist()]


# ----- half a voxel


def off_by_half(sign: float, spacing: float = 10, shape: tuple[int, ...] = VOXELS.shape) -> Grid:
    return Grid(shape, (spacing,) * 3, (sign * spacing / 2,) * 3)


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("frame", ["PIR", "RAS"])
@pytest.mark.parametrize("order", ["PIR", "RAS", "LSA"])
def test_a_corner_half_a_voxel_off(sign: int, frame: str, order: str) -> None:
    space = refspace.ReferenceSpace(TREE, in_frame(labelled(VOXELS, GRID), frame))
    image = reorient(in_frame(labelled(IMAGE, off_by_half(sign)), frame), order)
    with pytest.warns(UserWarning, match="corner is half a voxel off the annotation's: it is at"):
        as_stated = found(space, image)
    np.testing.assert_allclose(found(space, image, image_origin="center"), as_stated)
    moved = found(space, image, image_origin="corner")
    np.testing.assert_allclose(moved, statistics(VOXELS, IMAGE))
    # One that lies on the annotation stays there.
    on_it = reorient(in_frame(labelled(IMAGE, GRID), frame), order)
    np.testing.assert_allclose(found(space, on_it, image_origin="corner"), moved)
    np.testing.assert_allclose(found(space, IMAGE, image_origin="corner"), moved)
    table = space.aggregate(image, valid=on_it > 0, image_origin="corner").compute()
    assert table["count"].values.tolist() == [
        int(((i == VOXELS) & (IMAGE > 0)).sum()) for i in (1, 2, 3)
    ]


def test_what_the_warning_says_of_both_corners() -> None:
    with pytest.warns(UserWarning, match="half a voxel off") as told:
        space_of().aggregate(labelled(IMAGE, off_by_half(-1)))
    text = str(told[0].message)
    assert "it is at ap -5, dv -5, ml -5 µm, that of the annotation at ap 0, dv 0, ml 0 µm" in text
    assert "image_origin='corner' moves it onto the annotation" in text
    assert told[0].filename == __file__


def test_a_coarser_image_half_of_its_voxels_off() -> None:
    fine = np.kron(VOXELS, np.ones((2, 2, 2), int)).astype("u4")
    space = space_of(Grid(fine.shape, (5, 5, 5)), fine)
    image = labelled(IMAGE, off_by_half(-1))
    with pytest.warns(UserWarning, match="half a voxel off"):
        space.aggregate(image)
    corner = np.kron(VOXELS, [[[1]]])
    assert found(space, image, image_origin="corner")[0] == statistics(corner, IMAGE)[0]


@pytest.mark.parametrize(
    "grid",
    [
        Grid((4, 5, 3), (10, 10, 10), (15, 5, 25)),  # part of the volume, cut somewhere
        Grid((3, 4, 2), (20, 20, 20), (10, 10, 10)),  # a coarser part
        Grid(VOXELS.shape, (10, 10, 10), (-5, -5, 0)),  # not along each axis
    ],
)
def test_what_may_well_be_meant_is_not_told(grid: Grid) -> None:
    image = labelled(np.ones(grid.shape), grid)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        space_of().aggregate(image)


@pytest.mark.filterwarnings("ignore:the image covers")
def test_a_part_whose_positions_are_of_corners() -> None:
    """As a program writes it that knows no half voxels: the index times the spacing."""
    cut = (slice(2, 6), slice(3, 8), slice(1, 4))
    part = IMAGE[cut]
    for grid in (GRID, GRID.reorient("ASL")):
        whole = reorient(labelled(VOXELS, GRID), grid.orientation)
        space = ReferenceSpace(TREE, whole)
        image = labelled(part, Grid(part.shape, (10, 10, 10), (15, 25, 5)))
        np.testing.assert_allclose(
            found(space, image, image_origin="corner"), statistics(VOXELS[cut], part)
        )


def test_an_origin_that_is_none() -> None:
    with pytest.raises(GridError, match="image_origin is 'centre'; give 'center' or 'corner'"):
        space_of().aggregate(IMAGE, image_origin="centre")


# ----- off by rounding


@pytest.mark.filterwarnings("ignore:the image covers")
@few
@given(
    noise=st.lists(st.floats(-9e-4, 9e-4), min_size=6, max_size=6),
    frame=st.sampled_from(["PIR", "RAS"]),
    order=st.sampled_from(CODES),
    factor=st.sampled_from([1, 2]),
    cut=st.booleans(),
)
def test_grids_are_the_same_to_a_thousandth_of_a_voxel(
    noise: list[float], frame: str, order: str, factor: int, cut: bool
) -> None:
    """Of a coarser image the centres are on edges of voxels, where rounding would decide."""
    start = np.array((2, 4, 0)) if cut else np.zeros(3, int)
    shape = (np.array(VOXELS.shape) - start) // factor
    low = start * 10 + 10 * np.array(noise[:3])
    high = (start + shape * factor) * 10 + 10 * np.array(noise[3:])
    exact = Grid(tuple(shape), (10 * factor,) * 3, tuple(start * 10))
    near = Grid(tuple(shape), tuple((high - low) / shape), tuple(low))
    image = RNG.normal(size=tuple(shape))
    space = ReferenceSpace(TREE, in_frame(labelled(da.from_array(VOXELS, chunks=4), GRID), frame))
    tables = [
        space.aggregate(
            reorient(in_frame(labelled(image, grid), frame), order),
            valid=reorient(in_frame(labelled(image > 0, other), frame), order),
        ).compute()
        for grid, other in ((exact, exact), (near, exact), (exact, near))
    ]
    for table in tables[1:]:
        xr.testing.assert_allclose(table, tables[0])
    if factor == 1:
        labels = VOXELS[start[0] :, start[1] :]
        wanted = [int(((labels == i) & (image > 0)).sum()) for i in (1, 2, 3)]
        assert tables[1]["count"].values.tolist() == wanted


def test_coordinates_in_single_precision() -> None:
    grid = Grid(VOXELS.shape, (16.1, 16.1, 16.1), (3.7, 0.3, 4000.7))
    image = labelled(IMAGE, grid)
    single = image.assign_coords({d: image[d].astype("f4").astype("f8") for d in image.dims})
    space = space_of(grid)
    np.testing.assert_allclose(found(space, single), statistics(VOXELS, IMAGE))
    np.testing.assert_allclose(found(space, IMAGE, valid=single < 9), statistics(VOXELS, IMAGE))


def test_a_mask_elsewhere_of_the_same_shape() -> None:
    image = labelled(IMAGE, GRID)
    with pytest.raises(GridError, match="give one on the grid of the image"):
        space_of().aggregate(image.isel(ap=slice(0, 4)), valid=image.isel(ap=slice(4, 8)))


# ----- whatever the header says


def test_only_the_shape_counts(tmp_path: Path) -> None:
    space, tilt = space_of(), np.array([[1, 1, 0, 9], [-1, 1, 0, 9], [0, 0, 7, 9], [0, 0, 0, 1.0]])
    odd = nib.Nifti1Image(IMAGE, tilt)
    odd.set_qform(np.diag([-1.0, 2, 3, 1]), 1)
    bare = nib.Nifti1Image(IMAGE, None)
    bare.header["xyzt_units"] = 7  # of no unit
    nib.save(odd, tmp_path / "odd.nii")
    nib.save(bare, tmp_path / "bare.nii.gz")
    flat = {
        "space": "left-posterior-superior",
        "space directions": [[1, 0, 0], [1, 0, 0], [0, 0, 1]],
    }
    nrrd.write(str(tmp_path / "flat.nrrd"), IMAGE, flat)
    nrrd.write(str(tmp_path / "none.nrrd"), IMAGE, {"spacings": [4, 5, np.nan]})
    for name in ("odd.nii", "bare.nii.gz", "flat.nrrd", "none.nrrd"):
        given = {"same_grid": True, "valid": tmp_path / name}
        np.testing.assert_allclose(
            found(space, tmp_path / name, **given), statistics(VOXELS, IMAGE)
        )
        labels = (tmp_path / name).with_name(f"l{name}")
        if "nii" in name:
            image = nib.load(tmp_path / name)
            image = type(image)(VOXELS, None, image.header)
            image.set_data_dtype(np.uint32)
            nib.save(image, labels)
        else:
            _, header = nrrd.read(str(tmp_path / name))
            nrrd.write(str(labels), VOXELS, {k: header[k] for k in header if "sp" in k})
        assert space.compare(labels, same_grid=True).agreement == 1
    moved = labelled(IMAGE, Grid(VOXELS.shape, (5, 5, 5), (99, 99, 99), "LSA"))
    np.testing.assert_allclose(found(space, moved, same_grid=True), statistics(VOXELS, IMAGE))
    with pytest.raises(GridError, match=r"the image has shape \(6, 10, 8\); the annotation"):
        space.aggregate(IMAGE.T, same_grid=True)


@pytest.mark.parametrize("kind", ["array", "DataArray", "space", "lazy"])
def test_volumes_compared_by_their_shape(kind: str) -> None:
    other = np.roll(VOXELS, 1, axis=0)
    place = Grid(VOXELS.shape, (7, 8, 9), (5, 5, 5), "ASL")
    given = {
        "array": other,
        "DataArray": labelled(other, place),
        "space": space_of(place, other),
        "lazy": da.from_array(other, chunks=3),
    }[kind]
    comparison = space_of().compare(given, same_grid=True)
    assert comparison.changed_voxels == (other != VOXELS).sum()
    if kind in ("DataArray", "space"):
        with pytest.raises(
            GridError, match="give same_grid=True where voxel i of both is the same"
        ):
            space_of().compare(given)
    with pytest.raises(GridError, match=r"other volume has shape \(10, 8, 6\), this one"):
        space_of().compare(other.transpose(1, 0, 2), same_grid=True)


def test_what_is_no_annotation_is_none_on_the_same_grid_either() -> None:
    with pytest.raises(AnnotationError, match=r"holds \d\.5"):
        space_of().compare(VOXELS + 0.5, same_grid=True)


# ----- oblique


def rotation(angles: tuple[float, ...]) -> np.ndarray:
    turned = np.eye(3)
    for axis, angle in enumerate(angles):
        i, j = {0, 1, 2} - {axis}
        turn = np.eye(3)
        turn[[i, i, j, j], [i, j, i, j]] = (
            np.cos(angle),
            -np.sin(angle),
            np.sin(angle),
            np.cos(angle),
        )
        turned = turned @ turn
    return turned


def looked_up(annotation: nib.Nifti1Image, affine: np.ndarray, shape: tuple[int, ...]) -> Any:
    """Label at the centre of each voxel, by nibabel and scipy; None if one is on an edge."""
    onto = np.linalg.inv(annotation.affine) @ affine
    index = nib.affines.apply_affine(onto, np.moveaxis(np.indices(shape), 0, -1))
    if (np.abs(index - np.floor(index) - 0.5) < 1e-5).any():
        return None
    voxels = np.asarray(annotation.dataobj)
    return map_coordinates(voxels, np.moveaxis(index, -1, 0), order=0, mode="grid-constant")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("oblique")


@few
@given(
    angles=st.tuples(*[st.floats(-3.1, 3.1)] * 3),
    shift=st.tuples(*[st.floats(-4, 4)] * 3),
    scale=st.tuples(*[st.sampled_from([0.6, 1.0, 2.2])] * 3),
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    order=st.sampled_from(CODES),
    frame=st.sampled_from(["RAS", "PIR", "LPS"]),
    data=st.data(),
)
@pytest.mark.filterwarnings("ignore:the image covers")
def test_oblique_images_beside_nibabel_and_scipy(
    folder: Path,
    angles: tuple[float, ...],
    shift: tuple[float, ...],
    scale: tuple[float, ...],
    shape: tuple[int, ...],
    order: str,
    frame: str,
    data: Any,
) -> None:
    affine = nib.affines.from_matvec(np.diag([0.4, 0.5, 0.6]), [-1.7, 20.3, -2.9])
    straight = nib.Nifti1Image(VOXELS, affine)
    stored = straight.as_reoriented(
        nib.orientations.ornt_transform(*map(nib.orientations.axcodes2ornt, ("RAS", order)))
    )
    stored.header.set_xyzt_units("mm")
    nib.save(stored, folder / "labels.nii")
    matrix = rotation(angles) @ np.diag(0.5 * np.array(scale))
    middle = nib.affines.apply_affine(affine, (np.array(VOXELS.shape) - 1) / 2)
    first = middle + np.array(shift) * 0.5 - matrix @ ((np.array(shape) - 1) / 2)
    place = nib.affines.from_matvec(matrix, first)
    series = RNG.normal(size=(*shape, 2)).astype("f4")
    image = nib.Nifti2Image(series, place)
    image.header.set_xyzt_units("mm")
    nib.save(image, folder / "image.nii")
    labels = looked_up(straight, place, shape)
    assume(labels is not None)
    volume = in_frame(refspace.read_nifti(folder / "labels.nii"), frame)
    space = ReferenceSpace(TREE, volume.chunk(data.draw(st.integers(2, 9))))
    space = space.with_index() if data.draw(st.booleans()) else space
    try:
        table = space.aggregate(folder / "image.nii", statistics=["count", "mean"]).compute()
    except GridError:
        assert not labels.any()
        return
    for time in range(2):
        count, mean = statistics(labels, series[..., time].astype("f8"))
        assert table["count"].values[:, time].tolist() == count
        np.testing.assert_allclose(table["mean"].values[:, time], mean, rtol=1e-6, atol=1e-9)


def oblique(degrees: float, shape: tuple[int, ...], middle: Any, spacing: float) -> np.ndarray:
    """Rows of an affine of an image about a point, turned about each axis."""
    matrix = rotation((np.deg2rad(degrees),) * 3) * spacing
    return np.column_stack((matrix, middle - matrix @ ((np.array(shape) - 1) / 2)))


def test_what_an_oblique_image_covers() -> None:
    """Against a grid ten times as fine, of which each voxel is in the image or not."""
    voxels = np.zeros((24, 24, 24), "u4")
    voxels[4:20, 4:20, 4:20] = 1
    voxels[10:14, 10:14, 10:14] = 2
    voxels[4:8, 4:8, 4:8] = 3
    space = ReferenceSpace(
        TREE,
        labelled(da.from_array(voxels, chunks=8), Grid(voxels.shape, (10,) * 3, orientation="RAS")),
    )
    shape = (20, 15, 30)
    rows = oblique(20, shape, [120, 120, 120], 8)
    image = xr.DataArray(np.ones(shape), dims=("x", "y", "z"), attrs={AFFINE: rows})
    covered = space.aggregate(image).compute().covered.values
    fine = (np.moveaxis(np.indices((120,) * 3), 0, -1) + 0.5) * 2
    index = (fine - rows[:, 3]) @ np.linalg.inv(rows[:, :3]).T
    inside = ((index > -0.5) & (index < np.array(shape) - 0.5)).all(axis=-1)
    labels = np.kron(voxels, np.ones((5, 5, 5), "u4"))
    wanted = [inside[labels == i].mean() for i in (1, 2, 3)]
    np.testing.assert_allclose(covered, wanted, atol=0.03)
    assert covered[1] == 1
    assert 0.1 < wanted[2] < 0.9
    half = image.where(xr.DataArray(np.arange(15) < 7, dims="y"))
    share = (index[labels == 2][:, 1] < 6.5).mean()
    assert space.aggregate(half).compute().covered[1] == pytest.approx(share, abs=0.03)


def test_an_oblique_image_is_lazy_and_reads_what_it_needs() -> None:
    source = CountingSource(VOXELS)
    chunks = ((4, 4), (4, 4, 2), (4, 2))
    space = ReferenceSpace(TREE, labelled(source.dask(chunks), GRID))
    # In the corner at posterior 0: RAS from there is -ap, -dv, ml.
    rows = oblique(10, (3, 3, 3), [15, -15, -15], 5)
    image = xr.DataArray(da.ones((3, 3, 3), chunks=2), dims=("i", "j", "k"), attrs={AFFINE: rows})
    with dask.config.set(scheduler=raising):
        table = space.aggregate(image, statistics="count", valid=image)
    with pytest.warns(UserWarning, match="the image covers"):
        count = table.compute()["count"].sum()
    source.reads.clear()
    labels = align(space.annotation, image).labels.compute()
    assert set(source.chunk_reads(chunks)) == {(0, 0, 0)}
    assert np.count_nonzero(labels) == count
    centres = nib.affines.apply_affine(
        np.vstack((rows, [0, 0, 0, 1])), np.indices((3,) * 3).reshape(3, -1).T
    )
    voxel = np.floor(centres[:, [1, 2, 0]] * [-1, -1, 1] / 10).astype(int)
    assert count == np.count_nonzero(VOXELS[tuple(voxel.T)])


def test_hemispheres_of_an_oblique_image() -> None:
    rows = oblique(15, (9, 9, 9), [30, -40, -50], 9)
    image = xr.DataArray(RNG.normal(size=(9, 9, 9)), dims=("i", "j", "k"), attrs={AFFINE: rows})
    table = space_of().aggregate(image, statistics="count", by_hemisphere=True).compute()
    whole = space_of().aggregate(image, statistics="count").compute()["count"]
    left = space_of().hemisphere("left").aggregate(image, statistics="count").compute()["count"]
    np.testing.assert_array_equal(table["count"].sel(hemisphere="left"), left)
    np.testing.assert_array_equal(table["count"].sum("hemisphere"), whole)


def test_the_corner_of_an_oblique_image() -> None:
    rows = oblique(15, (9, 9, 9), [30, -40, -50], 9)
    corner = rows.copy()
    corner[:, 3] += rows[:, :3] @ [0.5, 0.5, 0.5]
    image = xr.DataArray(RNG.normal(size=(9, 9, 9)), dims=("i", "j", "k"), attrs={AFFINE: rows})
    moved = found(space_of(), image, image_origin="corner")
    np.testing.assert_allclose(moved, found(space_of(), image.assign_attrs({AFFINE: corner})))
    assert moved[0] != found(space_of(), image)[0]


def test_masks_of_an_oblique_image() -> None:
    rows = oblique(15, (9, 9, 9), [30, -40, -50], 9)
    image = xr.DataArray(
        RNG.normal(size=(2, 9, 9, 9)), dims=("t", "i", "j", "k"), attrs={AFFINE: rows}
    )
    valid = image.copy(data=RNG.random((2, 9, 9, 9)) < 0.5)
    table = space_of().aggregate(image, statistics="sum", valid=valid).compute()
    cut = space_of().aggregate(image.where(valid), statistics="sum").compute()
    xr.testing.assert_allclose(table, cut)
    single = valid[0].assign_attrs({AFFINE: rows.astype("f4")})
    space_of().aggregate(image, valid=single)
    for mask in (IMAGE > 0, single.assign_attrs({AFFINE: rows + 1}), single[1:]):
        with pytest.raises(GridError, match="give one on the grid of the image"):
            space_of().aggregate(image, valid=mask)
    with pytest.raises(GridError, match="give one on the grid of the image"):
        space_of().aggregate(IMAGE, valid=single)


@pytest.mark.parametrize("rows", [None, np.eye(4), np.zeros((3, 4)), np.full((3, 4), np.nan), "ab"])
def test_an_affine_that_is_none(rows: Any) -> None:
    image = xr.DataArray(IMAGE, dims=("i", "j", "k"), attrs={AFFINE: rows})
    with pytest.raises(GridError, match=r"affine_to_ras_um is .*give three rows of four numbers"):
        space_of().aggregate(image)


def test_an_oblique_image_that_lies_elsewhere() -> None:
    rows = oblique(15, (9, 9, 9), [3000, -40, -50], 9)
    image = xr.DataArray(np.ones((9, 9, 9)), dims=("i", "j", "k"), attrs={AFFINE: rows})
    with pytest.raises(
        GridError, match=r"lies elsewhere: it has ap from .* ml from 29\d\d.*ml from 0 to 60"
    ):
        space_of().aggregate(image)


def test_an_oblique_image_in_nrrd_lies_where_it_does_in_nifti(tmp_path: Path) -> None:
    turn = nib.eulerangles.euler2mat(0.1, -0.2, 0.3)
    middle = (np.array(VOXELS.shape) - 1) / 2
    vectors, centre = turn * 0.01, np.array([0.03, -0.04, 0.05])
    first = centre - vectors @ middle
    nib.save(nib.Nifti1Image(IMAGE, nib.affines.from_matvec(vectors, first)), tmp_path / "a.nii")
    flip = np.array([-1, -1, 1])
    header = {
        "space": "left-posterior-superior",
        "space directions": (vectors * flip[:, np.newaxis]).T,
        "space origin": first * flip,
        "space units": ["mm"] * 3,
    }
    nrrd.write(str(tmp_path / "a.nrrd"), IMAGE, header)
    space = space_of(Grid(VOXELS.shape, (10, 10, 10), (-10, -90, 20), "RAS"))
    expected = found(space, tmp_path / "a.nii")
    assert sum(expected[0]) > 100
    np.testing.assert_allclose(found(space, tmp_path / "a.nrrd"), expected)


def test_a_template_elsewhere_is_refused() -> None:
    elsewhere = labelled(IMAGE, off_by_half(1))
    with pytest.raises(GridError, match=r"^the template lies on Grid.*: resample it$"):
        ReferenceSpace(TREE, labelled(VOXELS, GRID), template=elsewhere)
