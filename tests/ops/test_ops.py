import dask.array as da
import numpy as np
import pytest
import xarray as xr
from helpers.strategies import few
from helpers.volumes import (
    IDS,
    RATIOS,
    RESOLUTIONS,
    UNKNOWN,
    allensdk,
    chunked,
    chunkings,
    exact_ratios,
    mode,
    nearest,
    volumes,
)
from hypothesis import assume, given
from hypothesis import strategies as st
from refspace.ops.counts import count_labels

from refspace.errors import GridError
from refspace.grid import Grid
from refspace.labels import infer_grid, labelled
from refspace.labels.resampling import downsample
from refspace.ops import resample
from refspace.ops.relabel import colors, coverage, mask, narrow, relabel

GRID = Grid((4, 3, 2), (25, 25, 25))
VOXELS = (np.arange(24, dtype="u4") % 5).reshape(GRID.shape)


@st.composite
def annotations(draw, **kwargs):
    """A volume with coordinates in random chunks."""
    voxels = draw(volumes(**kwargs))
    spacing = draw(st.tuples(*[st.sampled_from(RESOLUTIONS)] * 3))
    data = chunked(voxels, draw(chunkings(voxels.shape)))
    return labelled(data, Grid(voxels.shape, spacing))


def whole(shape=GRID.shape, value=1):
    return labelled(da.full(shape, value, dtype="u1", chunks=2), Grid(shape, 25))


# ----- counts


@given(annotations())
@few
def test_counts_over_chunks(annotation):
    labels, counts = np.unique(annotation.values, return_counts=True)
    counted = count_labels(annotation)
    assert counted == dict(zip(labels.tolist(), counts.tolist(), strict=True))
    assert list(counted) == sorted(counted)
    assert {type(number) for item in counted.items() for number in item} == {int}


def test_counts_of_chunks_without_voxels():
    lazy = da.from_array(VOXELS, chunks=((2, 0, 2), (3,), (0, 2)))
    assert lazy.numblocks == (3, 1, 2)
    assert count_labels(labelled(lazy, GRID)) == {0: 5, 1: 5, 2: 5, 3: 5, 4: 4}


# ----- relabelling


@given(annotations(), st.lists(st.sampled_from([*IDS, *UNKNOWN])))
@few
def test_masks_over_chunks(annotation, ids):
    result = mask(annotation, ids)
    assert result.chunks == annotation.chunks
    assert (result.dtype, result.name) == (np.uint8, "mask")
    assert result.attrs == {"long_name": "inside the structures", "flag_values": [0, 1]}
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


@pytest.mark.parametrize("dtype", [">u4", ">u2", "u1"])
def test_byte_order_makes_no_difference(dtype):
    annotation = labelled(da.from_array(VOXELS.astype(dtype), chunks=2), GRID)
    np.testing.assert_array_equal(mask(annotation, [1, 3, 70000]), np.isin(VOXELS, [1, 3]))
    assert count_labels(annotation) == {0: 5, 1: 5, 2: 5, 3: 5, 4: 4}
    coarse = downsample(annotation, 50, "mode")
    np.testing.assert_array_equal(coarse, mode(VOXELS, [2] * 3, (2, 2, 1)))


def test_names_of_lazy_results_are_deterministic():
    annotation = labelled(da.from_array(VOXELS, chunks=2), GRID)
    verbs = [
        lambda: mask(annotation, [1, 3]),
        lambda: coverage(mask(annotation, [1]), VOXELS),
        lambda: narrow(annotation, "u1", attrs={}),
        lambda: colors(annotation, {1: (1, 2, 3)}, (0, 0, 0)),
        *(lambda m=method: downsample(annotation, 40, m) for method in METHODS),
    ]
    for verb in verbs:
        assert verb().data.name == verb().data.name
    assert mask(annotation, [1]).data.name != mask(annotation, [2]).data.name


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


@pytest.mark.parametrize("coordinates", [True, False])
def test_a_transposed_domain(coordinates):
    domain = labelled(np.ones((3, 3, 3)), Grid((3, 3, 3), 25)).transpose("ml", "dv", "ap")
    if not coordinates:
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


# ----- other resolutions

METHODS = ["nearest", "mode", "allensdk"]


def oracle(voxels, grid, target, method):
    shape = grid.resample(target).shape
    if method == "allensdk":
        return allensdk(voxels, shape)
    ratios = exact_ratios(grid.spacing, target)
    return {"nearest": nearest, "mode": mode}[method](voxels, ratios, shape)


@pytest.mark.parametrize("method", METHODS)
@given(st.data())
@few
def test_downsampling_over_chunks(method, data):
    annotation = data.draw(annotations(labels=(5, 8, 254, 65536), max_side=5))
    grid = infer_grid(annotation)
    factors = data.draw(st.tuples(*[st.sampled_from(RATIOS)] * 3))
    target = tuple(round(s * f, 6) for s, f in zip(grid.spacing, factors, strict=True))
    assume(all(round(n * s / t) for n, s, t in zip(grid.shape, grid.spacing, target, strict=True)))
    result = downsample(annotation, target, method)
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
        np.testing.assert_array_equal(downsample(annotation, target, method), expected)


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
    fine = downsample(labelled(da.from_array(voxels), grid), 2.5, "mode")
    assert max(map(max, fine.chunks)) <= 8
    np.testing.assert_array_equal(fine, voxels.repeat(4, 0).repeat(4, 1).repeat(4, 2))


@pytest.mark.parametrize("method", ["Mode", "majority", "", None])
def test_methods_that_do_not_exist(method):
    annotation = labelled(da.from_array(VOXELS), GRID)
    text = f"^there is no method {method!r}; choose nearest, mode, allensdk$"
    with pytest.raises(GridError, match=text):
        downsample(annotation, 50, method)
