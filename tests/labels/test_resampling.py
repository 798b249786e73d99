"""Volumes at other resolutions over random chunks, against exact oracles."""

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from helpers.strategies import few
from helpers.volumes import (
    RATIOS,
    CountingSource,
    allensdk,
    annotations,
    corner,
    exact_ratios,
    mode,
    nearest,
)
from hypothesis import assume, given
from hypothesis import strategies as st

from refspace.errors import GridError
from refspace.grid import Grid
from refspace.labels import infer_grid, labelled
from refspace.labels import resampling as resample
from refspace.labels.resampling import downsample

GRID = Grid((4, 3, 2), (25, 25, 25))
VOXELS = (np.arange(24, dtype="u4") % 5).reshape(GRID.shape)
METHODS = ["nearest", "mode", "corner", "allensdk"]


def oracle(voxels, grid, target, method):
    shape = grid.resample(target).shape
    if method == "allensdk":
        return allensdk(voxels, shape)
    ratios = exact_ratios(grid.spacing, target)
    return {"nearest": nearest, "mode": mode, "corner": corner}[method](voxels, ratios, shape)


@pytest.mark.parametrize("method", METHODS)
@given(st.data())
@few
def test_downsampling_over_chunks(method, data):
    annotation = data.draw(annotations(labels=(5, 8, 254, 65536), max_side=5))
    grid = infer_grid(annotation)
    factors = data.draw(st.tuples(*[st.sampled_from(RATIOS)] * 3))
    target = tuple(round(s * f, 6) for s, f in zip(grid.spacing, factors, strict=True))
    assume(all(round(n * s / t) for n, s, t in zip(grid.shape, grid.spacing, target, strict=True)))
    assume(any(length >= t for length, t in zip(grid.extent, target, strict=True)))
    result = downsample(annotation, target, method, upsample=True)
    assert infer_grid(result) == grid.resample(target)
    np.testing.assert_array_equal(result, oracle(annotation.values, grid, target, method))
    assert (result.dtype, result.name) == (annotation.dtype, "annotation")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("target", [(10, 20, 40), (7.5, 5, 10), (13, 33.3, 21), (90, 80, 70)])
def test_downsampling_does_not_depend_on_chunks(method, target):
    voxels = np.random.default_rng(3).integers(0, 4, (9, 7, 6)).astype("u2")
    grid = Grid(voxels.shape, (10, 10, 10))
    expected = oracle(voxels, grid, target, method)
    for chunks in [(9, 7, 6), (2, 2, 1), (5, 4, 3), ((1, 8), (6, 1), (2, 1, 3))]:
        annotation = labelled(da.from_array(voxels, chunks=chunks), grid)
        result = downsample(annotation, target, method, upsample=True)
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("method", METHODS)
def test_the_same_resolution_changes_nothing(method):
    annotation = labelled(da.from_array(VOXELS, chunks=2), GRID)
    xr.testing.assert_identical(downsample(annotation, 25, method), annotation)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dims", [("ml", "ap", "dv"), ("dv", "ml", "ap")])
def test_axes_in_another_order(method, dims):
    annotation = labelled(da.from_array(VOXELS, chunks=2), GRID)
    turned = downsample(annotation.transpose(*dims), 40, method)
    xr.testing.assert_identical(
        turned.transpose("ap", "dv", "ml"), downsample(annotation, 40, method)
    )


def test_nearest_of_even_ratios_takes_the_upper_voxel():
    line = labelled(da.from_array(np.arange(8, dtype="u1")[:, None, None]), Grid((8, 1, 1), 25))
    assert downsample(line, (50, 25, 25), "nearest").values.ravel().tolist() == [1, 3, 5, 7]


@pytest.mark.parametrize("step", [1, 2, 4])
@pytest.mark.parametrize("shape", [(12, 8, 16), (8, 4, 4)])
def test_corners_are_every_nth_voxel_from_0(step, shape):
    voxels = np.random.default_rng(5).integers(0, 2**32, shape, np.uint32)
    for orientation in ("PIR", "RAS", "LPI"):
        annotation = labelled(
            da.from_array(voxels, chunks=5), Grid(shape, 25, orientation=orientation)
        )
        result = downsample(annotation, 25 * step, "corner")
        np.testing.assert_array_equal(result, voxels[::step, ::step, ::step])


def test_corners_at_a_ratio_that_is_no_integer():
    line = labelled(da.from_array(np.arange(10, dtype="u1")[:, None, None]), Grid((10, 1, 1), 10))
    # Cells begin at 0, 15, 30, … µm.
    found = downsample(line, (15, 10, 10), "corner").values.ravel().tolist()
    assert found == [0, 1, 3, 4, 6, 7, 9]
    fine = downsample(line, (5, 10, 10), "corner", upsample=True).values.ravel()
    np.testing.assert_array_equal(fine, np.repeat(np.arange(10), 2))


def test_corners_read_only_chunks_that_have_one():
    voxels = np.random.default_rng(6).integers(0, 9, (16, 4, 4)).astype("u4")
    source = CountingSource(voxels)
    annotation = labelled(source.dask(((2,) * 8, (4,), (4,))), Grid(voxels.shape, 10))
    coarse = downsample(annotation, (80, 10, 10), "corner")
    assert source.reads == []
    np.testing.assert_array_equal(coarse[1], voxels[8])
    assert {part[0].start for part in source.reads} == {8}


def test_allensdk_pairs_the_ends():
    line = labelled(da.from_array(np.arange(10, dtype="u1")[:, None, None]), Grid((10, 1, 1), 25))
    picked = downsample(line, (50, 25, 25), "allensdk")
    assert picked.values.ravel().tolist() == [0, 2, 5, 7, 9]
    one = downsample(line, (250, 25, 25), "allensdk")
    assert one.values.ravel().tolist() == [0]


def test_no_block_of_a_finer_grid_is_huge(monkeypatch):
    monkeypatch.setattr(resample, "_LARGEST_UPSAMPLED", 8)
    voxels = np.random.default_rng(0).integers(0, 3, (6, 5, 4)).astype("u1")
    grid = Grid(voxels.shape, 10)
    fine = downsample(labelled(da.from_array(voxels), grid), 2.5, "mode", upsample=True)
    assert max(map(max, fine.chunks)) <= 8
    np.testing.assert_array_equal(fine, voxels.repeat(4, 0).repeat(4, 1).repeat(4, 2))


@pytest.mark.parametrize("method", ["Mode", "majority", "", None])
def test_methods_that_do_not_exist(method):
    annotation = labelled(da.from_array(VOXELS), GRID)
    text = f"^there is no method {method!r}; choose nearest, mode, corner, allensdk$"
    with pytest.raises(GridError, match=text):
        downsample(annotation, 50, method)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("target", [20, (25, 25, 10), 0.05])
def test_finer_voxels_are_asked_for(method, target):
    annotation = labelled(da.from_array(VOXELS), GRID)
    with pytest.raises(GridError, match=r"finer than that of the volume, .* or upsample=True"):
        downsample(annotation, target, method)


def test_a_resolution_above_the_volume_is_refused():
    annotation = labelled(da.from_array(VOXELS[:, :2, :1]), Grid((4, 2, 1), 25))
    with pytest.raises(GridError, match=r"\(130.0, 60.0, 30.0\) µm is above the extent"):
        downsample(annotation, (130, 60, 30), "mode")
    assert downsample(annotation, (50, 30, 30), "mode").shape == (2, 2, 1)
