"""Labels replaced by values over random chunks, and coverage of a domain, against plain NumPy."""

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from helpers.strategies import few
from helpers.volumes import (
    IDS,
    UNKNOWN,
    annotations,
    chunkings,
)
from hypothesis import given
from hypothesis import strategies as st

from refspace.errors import GridError
from refspace.grid import Grid
from refspace.labels import labelled
from refspace.ops.relabel import colors, coverage, mask, narrow, relabel

GRID = Grid((4, 3, 2), (25, 25, 25))
VOXELS = (np.arange(24, dtype="u4") % 5).reshape(GRID.shape)


def whole(shape=GRID.shape, value=1):
    return labelled(da.full(shape, value, dtype="u1", chunks=2), Grid(shape, 25))


@given(annotations(), st.lists(st.sampled_from([*IDS, *UNKNOWN])))
@few
def test_masks_over_chunks(annotation, ids):
    result = mask(annotation, ids)
    assert result.chunks == annotation.chunks
    assert (result.dtype, result.name) == (bool, "mask")
    assert result.attrs == {"long_name": "inside the structures"}
    np.testing.assert_array_equal(result, np.isin(annotation.values.astype("i8"), ids))
    xr.testing.assert_identical(result.coords.to_dataset(), annotation.coords.to_dataset())


@given(annotations(), st.dictionaries(st.sampled_from(IDS), st.floats(-1, 1, width=32)))
@few
def test_values_over_chunks(annotation, values):
    result = relabel(annotation, values, np.nan, dtype="f4", name="depth", attrs={"a": 1})
    expected = [values.get(label, np.nan) for label in annotation.values.ravel().tolist()]
    np.testing.assert_array_equal(result.values.ravel(), np.array(expected, "f4"))
    assert (result.dtype, result.name, result.attrs) == (np.float32, "depth", {"a": 1})


@given(annotations(), st.sets(st.sampled_from(IDS)))
@few
def test_colors_over_chunks(annotation, ids):
    colormap = {i: (i % 251, i % 241, 7) for i in ids}
    image = colors(annotation, colormap, (255, 0, 255))
    expected = [colormap.get(label, (255, 0, 255)) for label in annotation.values.ravel().tolist()]
    np.testing.assert_array_equal(image.values.reshape(-1, 3), expected)
    assert (image.dims, image.dtype) == (("ap", "dv", "ml", "rgb"), np.uint8)
    assert image.chunks == (*annotation.chunks, (3,))
    assert image.rgb.values.tolist() == ["red", "green", "blue"]


@given(annotations(), st.sampled_from(["u1", "u2", "u4", "i2", "i4", "i8"]))
@few
def test_narrowing_never_wraps(annotation, dtype):
    result = narrow(annotation, dtype, attrs={})
    largest = np.iinfo(dtype).max
    expected = [label if label <= largest else 0 for label in annotation.values.ravel().tolist()]
    np.testing.assert_array_equal(result.values.ravel(), expected)
    assert result.dtype == dtype
    assert result.chunks == annotation.chunks


# ----- coverage


@given(annotations(), st.sets(st.sampled_from(IDS)), st.data())
@few
def test_coverage_over_chunks(annotation, ids, data):
    covered = mask(annotation, sorted(ids))
    seed = data.draw(st.integers(0, 2**16))
    wanted = np.random.default_rng(seed).random(covered.shape) < 0.5
    dtype = data.draw(st.sampled_from(["?", "u1", "i1", "f4", "u8"]))
    domain = wanted.astype(dtype)
    given_as = data.draw(st.sampled_from(["numpy", "dask", "xarray", "list"]))
    if given_as == "dask":
        domain = da.from_array(domain, chunks=data.draw(chunkings(covered.shape)))
    if given_as == "xarray":
        domain = covered.copy(data=domain)
    result = coverage(covered, domain.tolist() if given_as == "list" else domain)
    np.testing.assert_array_equal(result, wanted.astype(int) - covered.values.astype(int))
    assert result.dtype == np.int8
    assert result.chunks == covered.chunks
    assert result.name == "coverage"


def test_anything_but_zero_belongs_to_the_domain():
    domain = np.zeros(GRID.shape)
    domain[0], domain[1], domain[2] = -1, 255, np.nan
    result = coverage(whole(value=0), domain)
    assert result[:, 0, 0].values.tolist() == [1, 1, 1, 0]


def test_a_domain_of_another_shape():
    text = r"^domain has shape \(4, 3\); the annotation has \(4, 3, 2\)$"
    with pytest.raises(GridError, match=text):
        coverage(whole(), np.ones((4, 3)))


@pytest.mark.parametrize(
    "grid",
    [
        Grid((4, 3, 2), 50),
        Grid((4, 3, 2), 25, origin=(0, 0, 25)),
        Grid((4, 3, 2), 25, orientation="PIL"),
    ],
)
def test_a_domain_on_another_grid(grid):
    domain = labelled(np.ones(grid.shape), grid)
    with pytest.raises(
        GridError, match=r"^domain lies on Grid\(.*; the annotation on .*: resample"
    ):
        coverage(whole(), domain)


def test_a_domain_is_turned_by_what_it_states():
    values = np.random.default_rng(0).integers(0, 2, (2, 3, 4))
    domain = labelled(values, Grid((2, 3, 4), 25))
    there = domain.transpose("ml", "dv", "ap").isel(dv=slice(None, None, -1))
    found = coverage(whole((2, 3, 4)), there)
    np.testing.assert_array_equal(found, values - 1)


def test_a_transposed_domain_that_states_nothing():
    domain = labelled(np.ones((3, 3, 3)), Grid((3, 3, 3), 25)).transpose("ml", "dv", "ap")
    domain = domain.drop_vars(["ap", "dv", "ml"])
    text = r"^domain has dims \('ml', 'dv', 'ap'\); the annotation \('ap', 'dv', 'ml'\): transpose$"
    with pytest.raises(GridError, match=text):
        coverage(whole((3, 3, 3)), domain)


@pytest.mark.parametrize("spacing", [33.3, 1 / 3, 0.1])
def test_a_domain_with_bare_coordinates(spacing):
    covered = labelled(da.ones((132, 2, 2), dtype="u1"), Grid((132, 2, 2), spacing))
    coords = {dim: covered[dim].values for dim in covered.dims}
    domain = xr.DataArray(np.zeros(covered.shape), coords, covered.dims)
    assert (coverage(covered, domain) == -1).all()


def test_a_domain_without_coordinates():
    for dims in [("ap", "dv", "ml"), ("x", "y", "z")]:
        domain = xr.DataArray(np.ones(GRID.shape), dims=dims)
        assert (coverage(whole(), domain) == 0).all()
