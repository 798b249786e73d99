"""What an image covers of regions, and which of its values stand for none, against plain NumPy."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dask.array as da
import nibabel as nib
import numpy as np
import pytest
import xarray as xr
from helpers.strategies import few
from helpers.volumes import CountingSource
from hypothesis import given
from hypothesis import strategies as st

from refspace import ReferenceSpace, StructureTree
from refspace.errors import AnnotationError, PositionError
from refspace.grid import Grid
from refspace.labels import labelled

TREE = StructureTree(
    [
        {"id": 1, "acronym": "A", "name": "one", "structure_id_path": [1]},
        {"id": 2, "acronym": "B", "name": "two", "structure_id_path": [1, 2]},
        {"id": 3, "acronym": "C", "name": "three", "structure_id_path": [1, 3]},
        {"id": 4, "acronym": "D", "name": "none", "structure_id_path": [4]},
    ]
)
MEMBERS = {1: [1, 2, 3], 2: [2], 3: [3], 4: [4]}
RNG = np.random.default_rng(8)
VOXELS = RNG.integers(0, 4, (8, 10, 6)).astype("u4")
IMAGE = RNG.normal(size=VOXELS.shape)


def space_of(voxels: np.ndarray = VOXELS, spacing: float = 10, **options: Any) -> ReferenceSpace:
    return ReferenceSpace(TREE, da.from_array(voxels, chunks=4), spacing, **options)


def shares(covered: np.ndarray, voxels: np.ndarray = VOXELS) -> list[float]:
    """Part of each structure's voxels at which something is true; NaN of none."""
    totals = [np.isin(voxels, ids) for ids in MEMBERS.values()]
    return [float(covered[inside].mean()) if inside.any() else np.nan for inside in totals]


# ----- covered


@few
@given(
    seed=st.integers(0, 999),
    before=st.sampled_from([(), (3,)]),
    nodata=st.sampled_from([None, -1, 0.5]),
    valid_min=st.sampled_from([None, -0.5]),
    masked=st.booleans(),
)
def test_what_counts_and_what_is_covered(
    seed: int, before: tuple[int, ...], nodata: Any, valid_min: Any, masked: bool
) -> None:
    rng = np.random.default_rng(seed)
    values = [np.nan, -1.0, 0.5, -0.7, -0.5, 2.0, 3.0]
    image = rng.choice(values, (*before, *VOXELS.shape)).astype("f4")
    valid = rng.random(VOXELS.shape) < 0.7 if masked else None
    asked = {"nodata": nodata, "valid_min": valid_min, "valid": valid}
    table = space_of().aggregate(image, **asked, statistics=["count", "mean"]).compute()
    counted = ~np.isnan(image) & (True if valid is None else valid)
    if nodata is not None:
        counted &= image != nodata
    if valid_min is not None:
        counted &= image >= valid_min
    for lead in np.ndindex(before):
        np.testing.assert_allclose(
            table.covered.values[(slice(None), *lead)], shares(counted[lead])
        )
        inside = counted[lead] & np.isin(VOXELS, MEMBERS[2])
        assert table["count"].sel(structure=2).values[lead] == inside.sum()
        if inside.any():
            wanted = image[lead][inside].astype("f8").mean()
            np.testing.assert_allclose(table["mean"].sel(structure=2).values[lead], wanted)


def part(cut: Sequence[slice], data: np.ndarray = IMAGE) -> xr.DataArray:
    whole = labelled(data, Grid(data.shape, (10, 10, 10)))
    return whole.isel(dict(zip(whole.dims, cut, strict=True)))


@pytest.mark.parametrize("indexed", [False, True])
def test_a_part_of_the_grid(indexed: bool) -> None:
    space = space_of().with_index() if indexed else space_of()
    cut = (slice(1, 8), slice(0, 9), slice(0, 6))
    covered = np.zeros(VOXELS.shape, bool)
    covered[cut] = IMAGE[cut] > -0.3
    table = space.aggregate(part(cut), valid_min=-0.3).compute()
    np.testing.assert_allclose(table.covered, shares(covered))


@pytest.mark.parametrize("factor", [2, 3])
def test_a_finer_image(factor: int) -> None:
    fine = np.kron(IMAGE, np.ones((factor,) * 3))
    spacing = (10 / factor,) * 3
    whole = labelled(fine, Grid(fine.shape, spacing))
    table = space_of().aggregate(whole, valid_min=0).compute()
    np.testing.assert_allclose(table.covered, shares(IMAGE >= 0))
    half = whole.isel(ap=slice(0, 5 * factor))
    wanted = np.zeros(VOXELS.shape, bool)
    wanted[:5] = IMAGE[:5] >= 0
    found = space_of().aggregate(half, valid_min=0).compute().covered
    np.testing.assert_allclose(found, shares(wanted))


def test_a_coarser_image() -> None:
    voxels = np.kron(RNG.integers(1, 4, (4, 5, 3)), np.ones((2, 2, 2), int)).astype("u4")
    coarse = RNG.normal(size=(4, 5, 3))
    image = labelled(coarse, Grid((4, 5, 3), (20, 20, 20)))
    fine = np.kron(coarse, np.ones((2, 2, 2)))
    table = space_of(voxels).aggregate(image, valid_min=0).compute()
    np.testing.assert_allclose(table.covered, shares(fine >= 0, voxels))
    # A single voxel, whose centre is that of no voxel of the image: it is not seen at all.
    voxels[voxels == 2], voxels[3, 3, 3] = 1, 2
    table = space_of(voxels).aggregate(image).compute()
    assert table.covered.sel(structure=[1, 2, 3, 4]).values[:3].tolist() == [1, 1, 1]
    voxels[3, 3, 3], voxels[2, 2, 2] = 1, 2
    table = space_of(voxels).aggregate(image).compute()
    assert table.covered.sel(structure=2) == 0
    assert table["count"].sel(structure=2) == 0


def test_hemispheres_are_covered_apart() -> None:
    cut = (slice(0, 8), slice(0, 10), slice(0, 4))
    table = space_of().aggregate(part(cut), by_hemisphere=True).compute()
    covered = np.zeros(VOXELS.shape, bool)
    covered[cut] = True
    for side, place in (("left", slice(0, 3)), ("right", slice(3, 6))):
        wanted = shares(covered[..., place], VOXELS[..., place])
        np.testing.assert_allclose(table.covered.sel(hemisphere=side), wanted)


def test_what_is_covered_is_lazy_and_costs_no_pass_where_the_image_is_everywhere() -> None:
    source = CountingSource(VOXELS)
    space = ReferenceSpace(TREE, source.dask(4), 10)
    table = space.aggregate(IMAGE, nodata=-1)
    small = space.aggregate(part((slice(0, 8), slice(0, 10), slice(0, 4))))
    assert source.reads == []
    assert table.covered.chunks == ((4,),)
    table.compute()
    blocks = int(np.prod(space.annotation.data.numblocks))
    assert len(source.reads) == blocks
    small.compute()
    assert len(source.reads) == 2 * blocks


# ----- no data


@pytest.mark.parametrize("dtype", ["u1", "i2", "f4", "f8"])
def test_nodata_that_a_dtype_cannot_hold(dtype: str) -> None:
    image = (IMAGE * 10).clip(0).astype(dtype)
    image[0] = 1
    for nodata in (-1, 0.1, 1e300):
        if dtype == "f4" and nodata == 1e300:
            continue
        table = space_of().aggregate(image, nodata=nodata).compute()
        assert table.covered.values[:3].tolist() == [1, 1, 1]
    assert (space_of().aggregate(image, nodata=1).compute().covered[:3] < 1).all()


def test_nodata_of_single_precision() -> None:
    image = np.where(IMAGE > 0, np.float32(0.1), np.float32(2))
    table = space_of().aggregate(image, nodata=0.1).compute()
    np.testing.assert_allclose(table.covered, shares(IMAGE <= 0))


@pytest.mark.parametrize("nodata", [-1.0, 0.0])
def test_nodata_of_scaled_integers(tmp_path: Path, nodata: float) -> None:
    """The number that stands for it is the nearest that was stored."""
    is_value = IMAGE > -0.3
    values = np.where(is_value, 1 + np.abs(IMAGE), nodata)
    path = tmp_path / "a.nii.gz"
    image = nib.Nifti1Image(values, np.diag([0.01, 0.01, 0.01, 1]))
    image.set_data_dtype(np.int16)
    nib.save(image, path)
    grid = Grid(VOXELS.shape, (10, 10, 10), (-5, -5, -5), "RAS")
    space = ReferenceSpace(TREE, labelled(VOXELS, grid))
    table = space.aggregate(path, nodata=nodata).compute()
    np.testing.assert_allclose(table.covered, shares(is_value))
    stored = nib.load(path).get_fdata()
    inside = is_value & np.isin(VOXELS, MEMBERS[1])
    np.testing.assert_allclose(table["mean"][0], stored[inside].mean(), rtol=1e-6)


def test_nan_is_never_a_value() -> None:
    image = np.where(IMAGE > 0, IMAGE, np.nan)
    for asked in ({"nodata": np.nan}, {"valid_min": np.nan}, {"valid_min": -np.inf}, {}):
        table = space_of().aggregate(image, **asked).compute()
        np.testing.assert_allclose(table.covered, shares(IMAGE > 0))


@pytest.mark.parametrize("name", ["nodata", "valid_min"])
@pytest.mark.parametrize("value", ["much", [1, 2], 1j])
def test_what_is_no_number(name: str, value: Any) -> None:
    with pytest.raises(AnnotationError, match=f"{name}= is .* give a number, like -1"):
        space_of().aggregate(IMAGE, **{name: value})


def test_complex_numbers_are_refused_with_the_way_out() -> None:
    with pytest.raises(AnnotationError, match=r"dtype complex128; .* magnitude \(numpy.abs\)"):
        space_of().aggregate(IMAGE * 1j)


# ----- images that lie elsewhere


def shifted(distance: float) -> xr.DataArray:
    """Image whose first voxel begins at some µm along ap."""
    return labelled(IMAGE, Grid(VOXELS.shape, (10, 10, 10), (distance, 0, 0)))


def test_an_image_that_covers_less_than_half_is_told_when_it_is_computed() -> None:
    space = space_of()
    table = space.aggregate(shifted(50))
    with pytest.warns(UserWarning, match=r"covers 38% of the box of the regions") as caught:
        table.compute(scheduler="synchronous")
    assert len(caught) == 1
    text = str(caught[0].message)
    assert "it lies at ap 50 to 130, dv 0 to 100, ml 0 to 60 µm" in text
    assert "they at ap 0 to 80, dv 0 to 100, ml 0 to 60 µm" in text
    assert "give its coordinates in the same space, or the bare array" in text


def test_an_image_of_half_the_box_or_of_the_regions_alone_is_all_right() -> None:
    space_of().aggregate(shifted(40)).compute()
    voxels = np.zeros_like(VOXELS)
    voxels[6:, :, :] = 3
    voxels[0, 0, 0] = 2
    for indexed in (False, True):
        space = space_of(voxels).with_index() if indexed else space_of(voxels)
        table = space.aggregate(shifted(60), "C").compute()
        assert table.covered.item() == 1
        with pytest.warns(UserWarning, match="covers 25% of the box"):
            space.aggregate(shifted(60)).compute(scheduler="synchronous")


def test_regions_without_voxels_have_no_box() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = space_of().aggregate(shifted(70), "D").compute()
    assert np.isnan(table.covered).all()


# ----- points


POINTS = np.array([[-5.0, 10, 10], [-7, 10, 10]])


def test_points_that_are_all_outside_are_refused() -> None:
    space = space_of()
    said = r"all 2 points are outside the volume: they have ap from -7 to -5, .* µm, the volume ap"
    with pytest.raises(PositionError, match=said):
        space.count_points(POINTS)
    one = np.concatenate([POINTS, [[5, 5, 5], [np.nan, 0, 0]]])
    assert int(space.count_points(one).outside) == 2
    # Of lazy points nothing is known; of no points there is nothing to say.
    assert int(space.count_points(da.from_array(POINTS)).outside) == 2
    assert int(space.count_points(np.empty((0, 3))).outside) == 0
    assert int(space.count_points(np.full((2, 3), np.nan)).missing) == 2
    assert space.structure_at(POINTS).values.tolist() == [-1, -1]
