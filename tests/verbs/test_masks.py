"""Masks in Python are bool, as weights and conditions of xarray take them; in files 0 and 1."""

import nibabel as nib
import nrrd
import numpy as np
import pytest
import xarray as xr
import zarr

import refspace
from refspace import ReferenceSpace, StructureTree
from refspace.grid import Grid
from refspace.labels import labelled

GRID = Grid((12, 11, 10), 25)
# Two thirds are structure 2, which is far more than 255 voxels.
VOXELS = np.random.default_rng(3).choice(np.array([0, 2, 2], "u4"), GRID.shape)
SIDES = np.random.default_rng(4).integers(0, 3, GRID.shape).astype("u1")
IMAGE = np.random.default_rng(5).random(GRID.shape)
INSIDE = VOXELS == 2


@pytest.fixture
def space():
    return ReferenceSpace(StructureTree([{"id": 2, "acronym": "A"}]), VOXELS, 25)


def every_mask(space, folder):
    """Masks by every way, each with what NumPy says."""
    own = ReferenceSpace(space.structure_tree, VOXELS, 25, hemispheres=labelled(SIDES, GRID))
    space.to_zarr(folder / "a.zarr", chunks=8)
    refspace.write_masks(space, folder / "masks.zarr")
    left = np.broadcast_to(space.annotation.hemisphere == "left", GRID.shape)
    yield space.make_structure_mask(2), INSIDE
    yield space.make_structure_mask("A", direct_only=True, crop=True), INSIDE
    yield dict(space.many_structure_masks([2]))[2], INSIDE
    yield space.hemisphere("left").make_structure_mask(2), INSIDE & left
    yield own.hemisphere("right").make_structure_mask(2), INSIDE & (SIDES == 2)
    yield own.with_index().hemisphere("right").make_structure_mask(2), INSIDE & (SIDES == 2)
    yield refspace.open(folder / "a.zarr").make_structure_mask(2), INSIDE
    yield refspace.open_masks(folder / "masks.zarr").sel(structure=2), INSIDE


def test_masks_are_weights_and_conditions(space, tmp_path):
    image = labelled(IMAGE, GRID)
    for mask, expected in every_mask(space, tmp_path):
        assert mask.dtype == mask.compute().dtype == bool
        assert np.count_nonzero(expected) > 255
        np.testing.assert_array_equal(mask, expected)
        np.testing.assert_array_equal(~mask, ~expected)
        np.testing.assert_allclose(image.weighted(mask).mean(), IMAGE[expected].mean())
        np.testing.assert_array_equal(image.where(mask), np.where(expected, IMAGE, np.nan))
        np.testing.assert_allclose((image * mask).sum(), IMAGE[expected].sum())
        assert int(mask.sum()) == np.count_nonzero(expected)


def test_boundaries_are_conditions(space):
    edge = space.boundaries()
    assert edge.dtype == edge.compute().dtype == bool
    assert not (edge & ~space.make_structure_mask(2)).any()


def test_weights_of_uint8_would_wrap(space):
    """Why masks are bool: this is what xarray makes of 0 and 1 as uint8."""
    image, mask = labelled(IMAGE, GRID), space.make_structure_mask(2)
    wrong = image.weighted(mask.astype("u1")).mean()
    assert abs(float(wrong) - IMAGE[INSIDE].mean()) > 1


@pytest.mark.parametrize("kind", ["nrrd", "nifti"])
def test_files_of_masks_hold_0_and_1(space, tmp_path, kind):
    refspace.write_masks(space, tmp_path, format=kind)
    if kind == "nrrd":
        voxels, header = nrrd.read(str(tmp_path / "structure_2.nrrd"))
        assert header["type"] in ("uint8", "unsigned char", "uchar")
    else:
        image = nib.load(tmp_path / "structure_2.nii.gz")
        voxels = np.asanyarray(image.dataobj)
        assert image.get_data_dtype() == np.uint8
        voxels = voxels.reshape(voxels.shape)
    assert voxels.dtype == np.uint8
    assert sorted(np.unique(voxels).tolist()) == [0, 1]
    assert np.count_nonzero(voxels) == np.count_nonzero(INSIDE)


def test_stores_of_masks_hold_0_and_1(space, tmp_path):
    refspace.write_masks(space, tmp_path / "masks.zarr")
    stored = zarr.open_group(tmp_path / "masks.zarr", mode="r")["s0/mask"]
    assert stored.dtype == np.uint8
    np.testing.assert_array_equal(stored[0], INSIDE)


def test_one_mask_as_a_file(space, tmp_path):
    ReferenceSpace.check_and_write(tmp_path, 2, lambda: space.make_structure_mask(2))
    voxels, _ = nrrd.read(str(tmp_path / "structure_2.nrrd"))
    assert voxels.dtype == np.uint8
    np.testing.assert_array_equal(voxels, INSIDE)
    assert isinstance(refspace.read_nrrd(tmp_path / "structure_2.nrrd"), xr.DataArray)
