"""Statistics of images over regions, against plain NumPy, SciPy and nilearn."""

import functools
import math
import warnings
from fractions import Fraction
from typing import Any, NamedTuple

import dask
import dask.array as da
import hypothesis.extra.numpy as hnp
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from helpers.places import chosen_regions
from helpers.strategies import few
from helpers.volumes import CountingSource, cases, chunked, chunkings, in_memory_order
from hypothesis import given
from hypothesis import strategies as st

import refspace
from refspace import ReferenceSpace, StructureTree
from refspace.errors import AnnotationError, GridError, OntologyError, StructureNotFoundError
from refspace.grid import Grid
from refspace.kernels import RELATIVE_ERROR
from refspace.labels import labelled, reorient
from refspace.ops import align
from refspace.verbs.images import DEFAULT_STATISTICS

pytestmark = pytest.mark.usefixtures("no_threads")

ALL = ["count", "sum", "mean", "std", "var", "min", "max"]
DTYPES = ["f4", "f8", "f2", "i2", "u1", "i8", "?", ">f4", "u4"]
SHARES = [0.0, 0.05, 0.25, 0.5, 0.9, 1.0]


# ----- oracle


def selected(tree, region, voxels, direct_only=False):
    """Voxels of a structure and its descendants."""
    ids = [
        node["id"]
        for node in tree.nodes()
        if region in (node["structure_id_path"][-1:] if direct_only else node["structure_id_path"])
    ]
    return np.isin(voxels.astype("i8"), ids) & (voxels != 0)


def plain(values, ddof=0):
    """Statistics of some values, by NumPy."""
    values = values[~np.isnan(values.astype("f8"))].astype("f8")
    n = values.size
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            "count": n,
            "sum": values.sum(),
            "mean": values.mean() if n else np.nan,
            "std": values.std(ddof=ddof) if n > ddof else np.nan,
            "var": values.var(ddof=ddof) if n > ddof else np.nan,
            "min": values.min() if n else np.nan,
            "max": values.max() if n else np.nan,
        }


def same(found, wanted, scale=1.0):
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12 * scale)


@st.composite
def images(draw, shape):
    """Images of any real type and memory order, with NaN where there can be."""
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    if dtype.kind == "f":
        width = dtype.itemsize * 8
        numbers = st.floats(-1000, 1000, width=width, allow_subnormal=False)
        elements = numbers | st.just(np.nan)
    elif dtype.kind == "b":
        elements = st.booleans()
    else:
        low, high = max(-1000, np.iinfo(dtype).min), min(1000, np.iinfo(dtype).max)
        elements = st.integers(low, high)
    values = draw(hnp.arrays(dtype, shape, elements=elements))
    return in_memory_order(values, draw(st.sampled_from(["C", "F", "strided"])))


class Asked(NamedTuple):
    """A space, an image on its grid, and which voxels count."""

    case: Any
    image: np.ndarray
    given: Any
    valid: np.ndarray | None


@st.composite
def questions(draw):
    case = draw(cases(5))
    before = draw(st.sampled_from([(), (2,), (1, 3)]))
    image = draw(images((*before, *case.voxels.shape)))
    valid = None
    if draw(st.booleans()):
        few_dims = draw(st.booleans())
        shape = case.voxels.shape if few_dims else image.shape
        valid = draw(hnp.arrays(bool, shape))
    given_image = image
    if draw(st.booleans()):
        chunks = (*((1,) * n for n in before), *draw(chunkings(case.voxels.shape)))
        given_image = chunked(image, chunks)
    return Asked(case, image, given_image, valid)


# ----- what comes out


@few
@given(questions(), st.integers(0, 1))
def test_every_statistic_of_every_structure(asked, ddof):
    case, image = asked.case, asked.image
    table = case.space.aggregate(asked.given, statistics=ALL, valid=asked.valid, ddof=ddof)
    table = table.compute()
    assert table.structure.values.tolist() == case.tree.node_ids()
    assert table["mean"].dims == ("structure", *(f"dim_{n}" for n in range(image.ndim - 3)))
    valid = np.broadcast_to(True if asked.valid is None else asked.valid, image.shape)
    for region in case.tree.node_ids():
        inside = selected(case.tree, region, case.voxels)
        for lead in np.ndindex(image.shape[:-3]):
            values = image[lead][inside & valid[lead]]
            for name, wanted in plain(values, ddof).items():
                found = table[name].sel(structure=region).values[lead]
                same(found, wanted, 1e6)
                assert name != "count" or found.dtype == np.int64


@few
@given(questions())
def test_quantiles_are_values_to_the_stated_error(asked):
    case, image = asked.case, asked.image
    table = case.space.aggregate(asked.given, statistics=[], quantiles=SHARES, valid=asked.valid)
    found = table["quantiles"].transpose("structure", ..., "quantile").values
    error = table["quantiles"].attrs["relative_error"]
    assert error == (0 if image.dtype.kind in "iub" and image.dtype.itemsize < 4 else 2**-8)
    valid = np.broadcast_to(True if asked.valid is None else asked.valid, image.shape)
    for n, region in enumerate(case.tree.node_ids()):
        inside = selected(case.tree, region, case.voxels)
        for lead in np.ndindex(image.shape[:-3]):
            values = image[lead][inside & valid[lead]].astype("f8")
            values = values[~np.isnan(values)]
            if not values.size:
                assert np.isnan(found[(n, *lead)]).all()
                continue
            wanted = np.quantile(values, SHARES, method="inverted_cdf")
            np.testing.assert_allclose(found[(n, *lead)], wanted, rtol=error, atol=0)
            assert found[(n, *lead)][0] == values.min()
            assert found[(n, *lead)][-1] == values.max()


def test_values_far_from_zero_keep_their_variance():
    """Sums of squares would lose it: 1e8 and 1e8 + 1 differ in the last digits of their squares."""
    rng = np.random.default_rng(0)
    image = 1e9 + rng.random((8, 9, 10))
    voxels = rng.integers(0, 4, image.shape).astype("u4")
    space = ReferenceSpace(tree_of_four(), da.from_array(voxels, chunks=3), 10)
    table = space.aggregate(image, statistics=["var"]).compute()
    for region in (1, 2, 3):
        values = image[selected(space.structure_tree, region, voxels)]
        np.testing.assert_allclose(table["var"].sel(structure=region), values.var(), rtol=1e-6)


def test_infinite_values_are_values():
    voxels = np.array([[[1, 1, 2, 2]]], "u4")
    image = np.array([[[np.inf, 1, -np.inf, 3]]])
    space = ReferenceSpace(tree_of_four(), voxels, 10)
    table = space.aggregate(
        image, space.structure_tree.regions([1, 2], direct_only=True), quantiles=[0.4, 1.0]
    ).compute()
    assert table["mean"].values.tolist() == [np.inf, -np.inf]
    assert table["min"].values.tolist() == [1, -np.inf]
    assert table["max"].values.tolist() == [np.inf, 3]
    np.testing.assert_allclose(table["quantiles"], [[1, np.inf], [-np.inf, 3]], rtol=RELATIVE_ERROR)
    assert np.isnan(table["std"]).all()


def test_what_is_not_valid_where_the_mask_is_nan():
    space = ReferenceSpace(tree_of_four(), VOXELS, 10)
    valid = np.where(IMAGE > 0, 1.0, np.nan)
    table = space.aggregate(IMAGE, [2], valid=valid).compute()
    assert table["mean"].item() == pytest.approx(IMAGE[(VOXELS == 2) & (IMAGE > 0)].mean())


def test_values_whose_squares_no_float_holds():
    space = ReferenceSpace(tree_of_four(), VOXELS, 10)
    table = space.aggregate(IMAGE * 1e200, [2]).compute()
    assert table["mean"].item() == pytest.approx(mean_of([2]) * 1e200)
    assert table["std"].item() == np.inf


# What float64 or float32 alone would not hold: a dtype, a smallest value, and steps above it.
FAR = [
    *(("i8", 2**53, 1), ("i8", 2**63 - 8, 1), ("i8", -(2**63), 3), ("u8", 2**64 - 8, 1)),
    *(("i4", 2**31 - 8, 1), ("u4", 2**32 - 8, 1), ("f8", 1e9, 1), ("f4", 1e6, 0.125)),
    *(("f8", 2**53, 2), ("f8", -1e15, 0.5), ("f8", 1e-320, 1e-322), ("f4", 1e-44, 1e-44)),
    *(("f8", 1e300, 1e298), ("f8", 1e150, 1e149)),
]


@pytest.mark.parametrize(("dtype", "low", "step"), FAR)
def test_values_at_the_ends_of_their_dtypes(dtype, low, step):
    """In chunks, rolled up, beside fractions: each chunk is read once all the same."""
    rng = np.random.default_rng(0)
    steps = rng.integers(0, 8, VOXELS.shape)
    image = np.array([low + step * n for n in range(8)], dtype)[steps]
    source, lazy = counting(image, (4, 4, 4))
    space = ReferenceSpace(tree_of_four(), da.from_array(VOXELS, chunks=4), 10)
    table = space.aggregate(lazy, statistics=ALL, quantiles=SHARES).compute()
    assert len(source.reads) == lazy.npartitions
    for region in (1, 2, 3, 4):
        values = [
            Fraction(v) for v in image[selected(space.structure_tree, region, VOXELS)].tolist()
        ]
        found = {name: table[name].sel(structure=region).item() for name in ALL}
        total, mean = sum(values), sum(values) / len(values)
        variance = sum((value - mean) ** 2 for value in values) / len(values)
        assert (found["min"], found["max"]) == (float(min(values)), float(max(values)))
        assert found["sum"] == pytest.approx(float(total), rel=0 if dtype[0] in "iu" else 1e-14)
        assert found["mean"] == pytest.approx(float(mean), rel=1e-14, abs=1e-323)
        if abs(low) < 1e200:
            lost = 1e-308 if low < 1e-30 else 0
            assert found["var"] == pytest.approx(float(variance), rel=1e-12, abs=lost)
            assert found["std"] == pytest.approx(float(variance) ** 0.5, rel=1e-12, abs=lost**0.5)
        else:
            assert found["var"] == found["std"] == np.inf
        quantiles = table["quantiles"].sel(structure=region)
        ordered = sorted(map(float, values))
        wanted = [ordered[max(math.ceil(share * len(ordered)), 1) - 1] for share in SHARES]
        np.testing.assert_allclose(quantiles, wanted, rtol=RELATIVE_ERROR, atol=0)


def test_sums_of_integers_are_exact():
    voxels = np.ones((4, 4, 4), "u4")
    image = np.full((4, 4, 4), 2**40 + 1, "i8")
    table = ReferenceSpace(tree_of_four(), voxels, 10).aggregate(image, [1], statistics="sum")
    assert table["sum"].values[0] == 64 * (2**40 + 1)
    image[:2] = -(2**62) - 1
    image[2:] = 2**62
    table = ReferenceSpace(tree_of_four(), voxels, 10).aggregate(image, [1])
    assert table["mean"].values[0] == -0.5


@pytest.mark.parametrize(
    ("dtype", "nodata"), [("u8", 2**64 - 1), ("i8", 2**53), ("i8", -(2**63)), ("u8", 2**60)]
)
def test_large_integers_that_stand_for_no_value(dtype, nodata):
    """A float would stand for their neighbours too."""
    step = -1 if nodata == 2**64 - 1 else 1
    image = np.array([[[nodata, nodata + step, nodata + 2 * step, 7]]], dtype)
    space = ReferenceSpace(tree_of_four(), np.ones(image.shape, "u4"), 10)
    assert space.aggregate(image, [1], nodata=nodata)["count"].values.tolist() == [3]
    counted = space.aggregate(image, [1], valid_min=nodata)["count"].values.item()
    assert counted == (image >= np.dtype(dtype).type(nodata)).sum()


# ----- which regions


def tree_of_four():
    return StructureTree(
        {
            "id": i,
            "structure_id_path": path,
            "acronym": f"s{i}",
            "name": f"structure {i}",
            "rgb_triplet": [i, 0, 0],
            "structure_set_ids": [50 + i % 2],
        }
        for i, path in ((1, [1]), (2, [1, 2]), (3, [1, 3]), (4, [1, 3, 4]))
    )


VOXELS = np.random.default_rng(5).integers(0, 6, (9, 8, 7)).astype("u4")
IMAGE = np.random.default_rng(6).normal(size=VOXELS.shape)


def mean_of(labels):
    return IMAGE[np.isin(VOXELS, labels)].mean()


REGIONS = {
    "all": ({}, [1, 2, 3, 4], [[1, 2, 3, 4], [2], [3, 4], [4]]),
    "a list, overlapping": ({"structures": ["s4", 1]}, [4, 1], [[4], [1, 2, 3, 4]]),
    "one acronym": ({"structures": "s3"}, [3], [[3, 4]]),
    "direct only": ({"structures": [3, 1], "direct_only": True}, [3, 1], [[3], [1]]),
    "a depth": ({"depth": 1}, [2, 3], [[2], [3, 4]]),
    "a depth, leaves above": ({"depth": 2}, [2, 4], [[2], [4]]),
    "leaves": ({"structures": "leaves"}, [2, 4], [[2], [4]]),
    "a set": ({"structure_set": 51}, [1, 3], [[1, 2, 3, 4], [3, 4]]),
    "a partition": ({"structures": {1: "rest", "s4": "four"}}, ["rest", "four"], [[1, 2, 3], [4]]),
    "a numbered partition": ({"structures": {2: 7, 4: 7}}, [7], [[2, 4]]),
}


@pytest.mark.parametrize("name", REGIONS)
def test_regions(name):
    asked, labels, members = REGIONS[name]
    space = ReferenceSpace(tree_of_four(), da.from_array(VOXELS, chunks=4), 10)
    regions = chosen_regions(space.structure_tree, **asked)
    table = space.aggregate(IMAGE, regions).compute()
    assert table.structure.values.tolist() == labels
    np.testing.assert_allclose(table["mean"], [mean_of(ids) for ids in members])
    assert table["count"].values.tolist() == [np.isin(VOXELS, ids).sum() for ids in members]
    assert ("acronym" in table.coords) == (name not in ("a partition", "a numbered partition"))


def test_no_regions_make_an_empty_table():
    space = ReferenceSpace(tree_of_four(), VOXELS, 10)
    table = space.aggregate(IMAGE, [], quantiles=0.5).compute()
    assert table.sizes == {"structure": 0, "quantile": 1}


def test_a_table_goes_into_pandas_and_back_onto_the_volume():
    space = ReferenceSpace(tree_of_four(), VOXELS, 10)
    table = space.aggregate(IMAGE)
    frame = table.to_dataframe()
    assert set(frame.columns) == {
        *("acronym", "name", "count", "mean", "std", "min", "max", "covered")
    }
    by_pandas = pd.Series(IMAGE.ravel()).groupby(VOXELS.ravel()).mean()
    direct = space.aggregate(IMAGE, space.structure_tree.regions("leaves"))["mean"].to_pandas()
    assert direct[4] == pytest.approx(by_pandas[4])
    painted = space.paint(direct)
    np.testing.assert_allclose(painted.values[VOXELS == 4], by_pandas[4])


# ----- hemispheres


@few
@given(questions(), st.sampled_from(["left", "right"]), st.floats(-0.1, 1.1))
def test_a_hemisphere(asked, hemisphere, share):
    case, image = asked.case, asked.image
    annotation = case.space.annotation.drop_vars("hemisphere")
    midline = share * case.space.grid.extent[2]
    space = ReferenceSpace(case.tree, annotation, midline=midline)
    table = space.hemisphere(hemisphere).aggregate(asked.given, valid=asked.valid).compute()
    assert table.attrs["hemisphere"] == hemisphere
    side = space.annotation.hemisphere.values == hemisphere
    valid = np.broadcast_to(True if asked.valid is None else asked.valid, image.shape)
    for region in case.tree.node_ids():
        inside = selected(case.tree, region, case.voxels) & side
        for lead in np.ndindex(image.shape[:-3]):
            wanted = plain(image[lead][inside & valid[lead]])
            for name in DEFAULT_STATISTICS:
                same(table[name].sel(structure=region).values[lead], wanted[name], 1e6)


def test_a_hemisphere_of_a_volume_of_its_own():
    sides = np.random.default_rng(3).integers(0, 3, VOXELS.shape).astype("u1")
    grid = Grid(VOXELS.shape, (10, 10, 10))
    space = ReferenceSpace(tree_of_four(), VOXELS, 10, hemispheres=labelled(sides, grid))
    table = space.hemisphere("right").aggregate(IMAGE, [1])
    assert table["mean"].compute().item() == pytest.approx(
        IMAGE[(sides == 2) & np.isin(VOXELS, range(1, 5))].mean()
    )


# ----- other grids


@st.composite
def placed(draw):
    """A space, and an image somewhere else of another resolution and orientation."""
    case = draw(cases(5))
    grid = case.space.grid
    factors = draw(st.tuples(*[st.sampled_from([0.5, 1.0, 1.5, 2.0])] * 3))
    spacing = tuple(s * f for s, f in zip(grid.spacing, factors, strict=True))
    shape = draw(st.tuples(*[st.integers(1, 6)] * 3))
    shift = draw(st.tuples(*[st.sampled_from([-1.0, -0.25, 0.0, 0.3, 1.0])] * 3))
    origin = tuple(o + s * f for o, s, f in zip(grid.origin, grid.spacing, shift, strict=True))
    image = labelled(draw(images(shape)), Grid(shape, spacing, origin))
    return case, image, draw(st.sampled_from(["PIR", "RAS", "LPS", "SRA"]))


@pytest.mark.filterwarnings("ignore:the image covers")
@few
@given(placed())
def test_an_image_on_another_grid(asked):
    case, image, orientation = asked
    wanted = {i: [] for i in case.tree.node_ids()}
    inside = {i: selected(case.tree, i, case.voxels) for i in wanted}
    seen = 0
    for place in np.ndindex(image.shape):
        centre = [float(image[d][i]) for d, i in zip(image.dims, place, strict=True)]
        try:
            voxel = tuple(
                case.space.grid.index(*pair) for pair in zip(image.dims, centre, strict=True)
            )
        except IndexError:
            continue
        seen += 1
        for region, mask in inside.items():
            if mask[voxel]:
                wanted[region].append(image.values[place])
    turned = reorient(image, orientation)
    if not seen:
        with pytest.raises(GridError, match=r"the image lies elsewhere: its .. runs from"):
            case.space.aggregate(turned)
        return
    table = case.space.aggregate(turned, statistics=ALL).compute()
    for region, values in wanted.items():
        for name, value in plain(np.array(values, image.dtype)).items():
            same(table[name].sel(structure=region).item(), value, 1e6)


def test_an_image_of_a_part_of_the_grid_is_not_resampled():
    space = ReferenceSpace(tree_of_four(), VOXELS, 10)
    image = labelled(IMAGE, space.grid).isel(ap=slice(2, 7), ml=slice(1, None))
    aligned = align.align(space.annotation, align.as_image(image, space.annotation))
    assert aligned.box == (slice(2, 7), slice(0, 8), slice(1, 7))
    np.testing.assert_array_equal(aligned.labels, VOXELS[2:7, :, 1:])


def test_an_image_around_zero_is_turned():
    """Its coordinates are the same when they are flipped."""
    grid = Grid(VOXELS.shape, (10, 10, 10), [-5 * n for n in VOXELS.shape])
    space = ReferenceSpace(tree_of_four(), labelled(VOXELS, grid))
    table = space.aggregate(reorient(labelled(IMAGE, grid), "ASL"), [2]).compute()
    assert table["mean"].item() == pytest.approx(mean_of([2]))


def test_an_image_that_is_turned_and_a_mask_that_is_not():
    space = ReferenceSpace(tree_of_four(), VOXELS, 10)
    valid = IMAGE > 0
    table = space.aggregate(reorient(labelled(IMAGE, space.grid), "RAS"), [2], valid=valid)
    assert table["mean"].compute().item() == pytest.approx(IMAGE[(VOXELS == 2) & valid].mean())


def test_dims_in_any_order_and_their_coordinates_are_kept():
    space = ReferenceSpace(tree_of_four(), VOXELS, 10)
    image = xr.DataArray(
        np.stack([IMAGE, 2 * IMAGE]).transpose(1, 0, 3, 2),
        dims=("ap", "channel", "ml", "dv"),
        coords={"channel": ["red", "green"], "exposure": ("channel", [1, 2])},
        attrs={"units": "counts"},
    )
    table = space.aggregate(image, [3]).compute()
    assert table["mean"].dims == ("structure", "channel")
    assert table["mean"].attrs["units"] == "counts"
    assert table.exposure.values.tolist() == [1, 2]
    assert table["mean"].sel(structure=3, channel="green").item() == pytest.approx(
        2 * mean_of([3, 4])
    )


def test_channels_of_a_coarser_image():
    space = ReferenceSpace(tree_of_four(), VOXELS, 10)
    grid = Grid((4, 4, 3), (20, 20, 20))
    one = labelled(np.random.default_rng(2).random(grid.shape), grid)
    image = xr.concat([one, 2 * one], "channel").assign_coords(channel=["red", "green"])
    table = space.aggregate(image, [3], statistics="sum").compute()
    single = space.aggregate(one, [3], statistics="sum").compute()
    np.testing.assert_allclose(table["sum"].sel(channel="green"), 2 * single["sum"])


def test_a_mask_over_some_of_the_leading_dims():
    space = ReferenceSpace(tree_of_four(), VOXELS, 10)
    image = xr.DataArray(
        np.stack([[IMAGE, -IMAGE]] * 3), dims=("subject", "time", "ap", "dv", "ml")
    )
    keep = np.random.default_rng(1).random((2, *VOXELS.shape)) < 0.5
    valid = xr.DataArray(keep, dims=("time", "ap", "dv", "ml"))
    table = space.aggregate(image.chunk(subject=2), [1], valid=valid).compute()
    inside = np.isin(VOXELS, [1, 2, 3, 4])
    for time, sign in ((0, 1), (1, -1)):
        found = table["mean"].isel(structure=0, time=time)
        np.testing.assert_allclose(found, sign * IMAGE[inside & keep[time]].mean())


# ----- nothing read too early, too often or in vain


def counting(image, chunks):
    source = CountingSource(image)
    return source, source.dask(chunks)


def test_building_reads_nothing():
    labels, annotation = counting(VOXELS, (4, 4, 4))
    source, image = counting(IMAGE, (3, 8, 7))
    space = ReferenceSpace(tree_of_four(), annotation, 10)
    space.hemisphere("left").aggregate(image, statistics=ALL, quantiles=0.5, valid=image)
    space.check_coverage([2], image, per_structure=True)
    assert not labels.reads
    assert not source.reads


@pytest.mark.parametrize("chunks", [(4, 4, 4), (3, 8, 7), (9, 8, 7), (2, 3, 5)])
def test_one_pass_reads_each_chunk_once(chunks):
    labels, annotation = counting(VOXELS, (4, 4, 4))
    source, image = counting(IMAGE, chunks)
    space = ReferenceSpace(tree_of_four(), annotation, 10)
    space.aggregate(image, statistics=ALL, quantiles=[0.5, 0.9]).compute()
    for each, array in ((labels, annotation), (source, image)):
        reads = each.chunk_reads(array.chunks)
        assert set(reads.values()) == {1}
        assert len(reads) == array.npartitions


def test_only_chunks_that_can_matter_are_read(phantom_store):
    space = refspace.open(phantom_store)
    image = np.random.default_rng(0).random(space.annotation.shape, dtype="f4")
    source, lazy = counting(image, 64)
    table = space.aggregate(lazy, ["AUDd"]).compute()
    blocks = space.label_index.coarsen(space.annotation.data.chunks).block_labels
    members = space.structure_tree.descendant_ids("AUDd")[0]
    wanted = {
        number
        for number in np.ndindex(blocks.shape)
        if np.isin(blocks.in_block(number), members).any()
    }
    assert source.chunk_reads(lazy.chunks) == dict.fromkeys(wanted, 1)
    assert 0 < len(wanted) < lazy.npartitions / 2
    mask = space.make_structure_mask("AUDd").values.astype(bool)
    assert table["mean"].compute().item() == pytest.approx(image[mask].mean(dtype="f8"))


def test_blocks_of_one_label_are_known_without_being_read(tmp_path):
    voxels = np.repeat(np.array([2, 3], "u4"), 4)[:, None, None] * np.ones((8, 4, 4), "u4")
    ReferenceSpace(tree_of_four(), voxels, 10).to_zarr(tmp_path / "halves.zarr", chunks=4)
    space = refspace.open(tmp_path / "halves.zarr")
    for chunk in (tmp_path / "halves.zarr" / "s0" / "annotation" / "c").rglob("0"):
        if chunk.is_file():
            chunk.unlink()  # it would be an error to read them
    image = np.random.default_rng(0).random(voxels.shape)
    table = space.aggregate(image, "leaves").compute()
    assert table["mean"].sel(structure=2).item() == pytest.approx(image[:4].mean())


def test_an_image_that_xarray_opened_without_dask(tmp_path):
    space = ReferenceSpace(tree_of_four(), da.from_array(VOXELS, chunks=4), 10)
    image = xr.concat([labelled(IMAGE, space.grid, "image")] * 2, "time")
    image.to_dataset().to_zarr(tmp_path / "image.zarr", consolidated=False)
    lazy = xr.open_zarr(tmp_path / "image.zarr", chunks=None, consolidated=False)["image"]
    table = space.aggregate(lazy, [2])
    assert table["mean"].chunks == ((1,), (1, 1))
    np.testing.assert_allclose(table["mean"].compute(), [[mean_of([2])] * 2])


def test_a_store_and_the_volume_in_memory_agree(phantom_store):
    stored = refspace.open(phantom_store)
    memory = ReferenceSpace(stored.structure_tree, stored.annotation.values, 50)
    image = np.random.default_rng(0).random(stored.annotation.shape, dtype="f4")
    regions = stored.structure_tree.regions(depth=5)
    asked = {"statistics": ALL, "quantiles": [0.1, 0.5]}
    with dask.config.set(scheduler="threads"):
        one, other = (
            s.hemisphere("right").aggregate(image, regions, **asked).compute()
            for s in (stored, memory)
        )
        both = stored.aggregate(image, regions, by_hemisphere=True, **asked).compute()
    xr.testing.assert_allclose(one, both.sel(hemisphere="right", drop=True), rtol=1e-12)
    xr.testing.assert_allclose(one, other, rtol=1e-12)


def test_equal_work_has_equal_names():
    space = ReferenceSpace(tree_of_four(), VOXELS, 10)
    make = functools.partial(space.aggregate, IMAGE)
    assert make()["mean"].data.name == make()["mean"].data.name
    names = [
        make(**asked)["mean"].data.name
        for asked in ({}, {"regions": [2]}, {"by_hemisphere": True}, {"valid": IMAGE > 0})
    ]
    assert len(set(names)) == 4
    assert make(ddof=1)["std"].data.name != make()["std"].data.name


# ----- bad input


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        ({"image": np.zeros((2, 2, 2))}, GridError, r"the image has shape \(2, 2, 2\); the annot"),
        ({"image": np.zeros(3)}, GridError, r"the image has shape \(3,\)"),
        ({"image": "nowhere.nrrd"}, OSError, "nowhere.nrrd"),
        ({"image": 7}, GridError, "the image is a int; give an array or a DataArray"),
        ({"image": IMAGE.astype(complex)}, AnnotationError, "has dtype complex128; give real"),
        ({"image": IMAGE.astype("g")}, AnnotationError, "double precision at most; give .astype"),
        ({"nodata": 10**400}, AnnotationError, "give a number, like -1"),
        ({"image": IMAGE.astype(str)}, AnnotationError, "dtype <U.*give real numbers"),
        (
            {"image": np.ma.masked_less(IMAGE, 0)},
            AnnotationError,
            "the image is a masked array; fill what is masked",
        ),
        (
            {"valid": np.ma.masked_less(IMAGE, 0)},
            AnnotationError,
            "the validity mask is a masked array",
        ),
        ({"image": np.zeros((0, 9, 8, 7))}, GridError, "no values along dim_0; give at least one"),
        ({"ddof": "x"}, AnnotationError, "ddof is 'x'; give 0, or 1 for the variance of a sample"),
        ({"ddof": -1}, AnnotationError, "ddof is -1"),
        ({"regions": {1: 1, "s1": 2}}, OntologyError, "structure 1 is mapped to 1 and to 2"),
        ({"regions": {1: 1, 2: "b"}}, OntologyError, "labelled by integers and texts"),
        (
            {"statistics": "median"},
            AnnotationError,
            "no statistic 'median'; choose from count, sum",
        ),
        ({"quantiles": [50]}, AnnotationError, r"quantiles are \[50\]; give shares from 0 to 1"),
        ({"quantiles": "half"}, AnnotationError, "quantiles are 'half'"),
        ({"valid": np.ones((9, 8, 6))}, GridError, "the validity mask has shape"),
        (
            {
                "by_hemisphere": True,
                "image": xr.DataArray(IMAGE[None], dims=("hemisphere", "ap", "dv", "ml")),
            },
            GridError,
            "called hemisphere, as the table has",
        ),
        ({"regions": ["s9"]}, StructureNotFoundError, "no structure has acronym, name or id"),
    ],
)
def test_bad_input(asked, error, message):
    space = ReferenceSpace(tree_of_four(), VOXELS, 10)
    with pytest.raises(error, match=message):
        space.aggregate(**{"image": IMAGE} | asked)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (
            {"structure_set": "x"},
            "no structure is in set x; the sets of this tree are 50, 51; tree",
        ),
        ({"structure_set": 5.5}, r"structure_set is 5.5; give ids or names of sets"),
        ({"depth": 9}, "depth is 9; give a depth from 0, .* to 2, or 'leaves'"),
        ({"structure_set": 7}, "no structure is in set 7; the sets of this tree"),
        ({"depth": 1, "structure_set": 50}, "named by depth and structure_set"),
    ],
)
def test_regions_that_are_not_there(chosen, message):
    with pytest.raises(OntologyError, match=message):
        tree_of_four().regions(**chosen)


@pytest.mark.parametrize("name", ["structure", "quantile", "acronym", "mean"])
def test_names_that_the_table_has(name):
    space = ReferenceSpace(tree_of_four(), VOXELS, 10)
    dims = ("ap", "dv", "ml")
    for image in (
        xr.DataArray(IMAGE[np.newaxis], dims=(name, *dims)),
        xr.DataArray(IMAGE[np.newaxis], {name: ("time", [3])}, ("time", *dims)),
    ):
        with pytest.raises(GridError, match=f"a dim or coordinate called {name}, as the table has"):
            space.aggregate(image)


def test_dims_of_other_names():
    space = ReferenceSpace(tree_of_four(), VOXELS, 10)
    with pytest.raises(GridError, match="dims z, y, x; rename its axes to ap, dv, ml"):
        space.aggregate(xr.DataArray(IMAGE, dims=("z", "y", "x")))
    part = labelled(IMAGE, space.grid).drop_vars("ml")
    with pytest.raises(GridError, match="coordinates along ap, dv alone"):
        space.aggregate(part)


def test_a_mask_on_another_grid():
    space = ReferenceSpace(tree_of_four(), VOXELS, 10)
    valid = labelled(np.ones((4, 4, 4)), Grid((4, 4, 4), (20, 20, 20)))
    with pytest.raises(GridError, match="give one on the grid of the image"):
        space.aggregate(IMAGE, valid=valid)


# ----- coverage


@few
@given(cases(5), st.data())
def test_coverage_per_structure(case, data):
    ids = data.draw(st.lists(st.sampled_from(case.tree.node_ids()), unique=True, max_size=3))
    domain = data.draw(hnp.arrays(bool, case.voxels.shape))
    table = case.space.check_coverage(ids, domain, per_structure=True).compute()
    covered = np.zeros(domain.shape, bool)
    for i in ids:
        below = [n["id"] for n in case.tree.nodes() if i in n["structure_id_path"]]
        covered |= np.isin(case.voxels.astype("i8"), below)
    for region in case.tree.node_ids():
        inside = selected(case.tree, region, case.voxels)
        row = table.sel(structure=region)
        assert row.missing == (inside & domain & ~covered).sum()
        assert row.excess == (inside & covered & ~domain).sum()
    known = np.isin(case.voxels.astype("i8"), case.tree.node_ids()) & (case.voxels != 0)
    assert table.missing_unassigned == (domain & ~covered & ~known).sum()
    again = case.space.validate_structures(ids, domain, per_structure=True)
    assert again[0] == case.tree.has_overlaps(ids)
    xr.testing.assert_identical(again[1].compute(), table)


# ----- the real annotation


@pytest.mark.ccf
def test_every_structure_of_the_ccf_beside_scipy_and_nilearn(ccf_store, tmp_path):
    ndimage = pytest.importorskip("scipy.ndimage")
    space = refspace.open(ccf_store)
    image = np.random.default_rng(0).normal(100, 20, space.annotation.shape).astype("f4")
    with dask.config.set(scheduler="threads"):
        table = space.aggregate(image, space.structure_tree.regions(direct_only=True)).compute()
        voxels = space.annotation.values
    found = [i for i in table.structure.values.tolist() if table["count"].sel(structure=i) > 0]
    dense = np.searchsorted(found, voxels)
    order = np.argsort(found)
    ids = np.array(found)[order]
    dense = np.searchsorted(ids, voxels)
    dense[ids[np.minimum(dense, ids.size - 1)] != voxels] = ids.size
    rows = table.sel(structure=ids)
    numbers = range(ids.size)
    np.testing.assert_allclose(rows["mean"], ndimage.mean(image, dense, numbers), rtol=1e-6)
    np.testing.assert_allclose(
        rows["std"], ndimage.standard_deviation(image, dense, numbers), rtol=1e-6
    )
    assert rows["count"].values.tolist() == np.bincount(dense.ravel())[: ids.size].tolist()
    total = space.aggregate(image, statistics=["count", "mean"]).compute()
    inside = voxels != 0
    assert total["count"].sel(structure=997).item() == 32387385
    assert total["mean"].sel(structure=997).item() == pytest.approx(image[inside].mean(dtype="f8"))


def test_means_beside_nilearn():
    nibabel = pytest.importorskip("nibabel")
    maskers = pytest.importorskip("nilearn.maskers")
    affine = np.diag([0.01, 0.01, 0.01, 1])
    masker = maskers.NiftiLabelsMasker(
        nibabel.Nifti1Image(VOXELS.astype("i4"), affine), standardize=False, resampling_target=None
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = masker.fit_transform(nibabel.Nifti1Image(IMAGE[..., np.newaxis], affine))
    space = ReferenceSpace(tree_of_four(), VOXELS, 10)
    regions = space.structure_tree.regions(direct_only=True)
    ours = space.aggregate(IMAGE, regions, statistics="mean")["mean"].values
    np.testing.assert_allclose(theirs.ravel()[:4], ours, rtol=1e-6)
