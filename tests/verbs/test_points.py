"""Structures of points, and points of structures, against plain look-ups of single voxels."""

import itertools
import math
from typing import NamedTuple

import cloudpickle
import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from dask.delayed import delayed
from helpers.strategies import few
from helpers.volumes import UNKNOWN, CountingSource, chunked, chunkings, grids, raising, trees
from hypothesis import given
from hypothesis import strategies as st

import refspace
from refspace import ReferenceSpace, StructureTree
from refspace.errors import GridError, OntologyError, PositionError, StructureNotFoundError
from refspace.grid import Grid
from refspace.labels import labelled
from refspace.ops import point_voxels

pytestmark = [
    pytest.mark.usefixtures("no_threads"),
    # Random points in random volumes of few voxels may be anywhere.
    pytest.mark.filterwarnings("ignore:all .* positions lie near one corner:UserWarning"),
]

OUTSIDE, MISSING = -1, -2


# ----- oracle


def label_at(space, voxels, point):
    """Label of the voxel that holds a point, one axis after the other."""
    if not all(map(math.isfinite, point)):
        return MISSING
    try:
        index = {
            d: space.grid.index(d, x) for d, x in zip(space.grid.frame_dims, point, strict=True)
        }
    except PositionError:
        return OUTSIDE
    return int(voxels[tuple(index[dim] for dim in space.grid.dims)])


def nearest(tree, label, chosen):
    """What is chosen of the nearest structure above a label; 0 if nothing is."""
    node = tree.nodes([label])[0] if label > 0 else None
    above = [] if node is None else node["structure_id_path"][::-1]
    return next((chosen[i] for i in above if i in chosen), 0)


def regions_at(space, voxels, points, chosen):
    labels = [label_at(space, voxels, point) for point in points]
    return [i if i < 0 else nearest(space.structure_tree, i, chosen) for i in labels]


# ----- what is asked


class Asked(NamedTuple):
    """A space on any grid, in memory or in chunks, and points in it and around."""

    space: ReferenceSpace
    tree: StructureTree
    voxels: np.ndarray
    points: np.ndarray


def positions(origin, spacing, count):
    """Positions along an axis: anywhere, on edges, beside them, and no position at all."""
    edges = st.integers(-1, count + 1).map(lambda i: origin + i * spacing)
    noise = st.sampled_from([0.0, 1e-12, -1e-12, 1e-3, -1e-3, 0.5])
    beside = st.tuples(edges, noise).map(lambda pair: pair[0] + pair[1] * spacing)
    width = count * spacing
    inner = st.floats(origin - width / 10, origin + width * 1.1, allow_subnormal=False)
    return st.one_of(beside, inner, st.sampled_from([np.nan, np.inf, -np.inf, 1e300, -1e300]))


@st.composite
def points_in(draw, grid, dtype="f8"):
    axes = [
        positions(grid.origin[axis], grid.spacing[axis], grid.shape[axis])
        for axis in map(grid.axis, grid.frame_dims)
    ]
    rows = draw(st.lists(st.tuples(*axes), max_size=20))
    with np.errstate(over="ignore"):
        return np.array(rows, "f8").reshape(-1, 3).astype(dtype)


@st.composite
def questions(draw):
    tree, grid = draw(trees), draw(grids)
    labels = st.sampled_from([0, *tree.node_ids(), *UNKNOWN])
    size = math.prod(grid.shape)
    pattern = draw(st.lists(labels, min_size=1, max_size=12))
    voxels = np.resize(np.repeat(pattern, draw(st.integers(1, 9))), size).reshape(grid.shape)
    voxels = voxels.astype("u4")
    data = chunked(voxels, draw(chunkings(grid.shape))) if draw(st.booleans()) else voxels
    space = ReferenceSpace(tree, labelled(data, grid))
    space = space.with_index() if draw(st.booleans()) else space
    return Asked(space, tree, voxels, draw(points_in(grid, draw(st.sampled_from(["f8", "f4"])))))


@few
@given(questions())
def test_labels_of_points_are_those_of_their_voxels(asked):
    found = asked.space.structure_at(asked.points)
    assert found.dims == ("point",)
    assert found.dtype == found.compute().dtype == np.int64
    expected = [label_at(asked.space, asked.voxels, p) for p in asked.points.astype("f8").tolist()]
    assert found.values.tolist() == expected


@few
@given(questions(), st.data())
def test_regions_of_points_are_the_nearest_above(asked, data):
    ids = data.draw(st.lists(st.sampled_from(asked.tree.node_ids()), min_size=1))
    points = asked.points.astype("f8").tolist()
    found = asked.space.structure_at(asked.points, ids)
    expected = regions_at(asked.space, asked.voxels, points, {i: i for i in ids if i})
    assert found.values.tolist() == expected
    texts = {i: f"r{i % 3}" for i in ids}
    numbers = {text: n for n, text in enumerate(dict.fromkeys(texts.values()), 1)}
    named = asked.space.structure_at(asked.points, texts)
    chosen = {i: numbers[text] for i, text in texts.items()}
    assert named.values.tolist() == regions_at(asked.space, asked.voxels, points, chosen)
    assert named.attrs["regions"] == list(numbers)


@few
@given(questions())
def test_points_relabel_alike(asked):
    points = asked.points.astype("f8")
    found = asked.space.structure_at(points, asked.tree.regions(depth=0)).values
    volume = asked.space.relabel(asked.tree.regions(depth=0)).values
    assert found.tolist() == [label_at(asked.space, volume, p) for p in points.tolist()]


@few
@given(questions(), st.data())
def test_kinds_of_points_agree(asked, data):
    space, dims = asked.space, list(asked.space.grid.frame_dims)
    expected = space.structure_at(asked.points).values
    lazy = da.from_array(asked.points, chunks=(max(1, len(asked.points) // 2), 2))
    assert isinstance(space.structure_at(lazy).data, da.Array)
    np.testing.assert_array_equal(space.structure_at(lazy), expected)
    order = data.draw(st.permutations(range(3)))
    named = xr.DataArray(
        asked.points[:, order].T, {"axis": [dims[i] for i in order]}, ("axis", "cell")
    )
    for array in (named, named.chunk({"cell": 1})):
        if len(asked.points) != 3:
            plain = array.sel(axis=dims).drop_vars("axis")
            np.testing.assert_array_equal(space.structure_at(plain), expected)
        found = space.structure_at(array)
        assert found.dims == ("cell",)
        np.testing.assert_array_equal(found, expected)
    frame = pd.DataFrame(asked.points[:, order], columns=[dims[i] for i in order])
    np.testing.assert_array_equal(space.structure_at(frame), expected)


@few
@given(questions())
def test_counts_are_those_of_a_table(asked):
    space, tree = asked.space, asked.tree
    found = space.structure_at(asked.points).values
    if OUTSIDE in found and np.isin(found, [OUTSIDE, MISSING]).all():
        with pytest.raises(PositionError, match="outside the volume"):
            space.count_points(asked.points)
        return
    table = space.count_points(asked.points, by_hemisphere=True).compute()
    both = space.count_points(asked.points).compute()
    labels = [label_at(space, asked.voxels, p) for p in asked.points.astype("f8").tolist()]
    sides = label_sides(space, asked.points.astype("f8").tolist())
    frame = pd.DataFrame({"label": labels, "side": sides}, columns=["label", "side"])
    counted = frame.groupby(["label", "side"]).size()
    for region in tree.node_ids():
        inside = [n["id"] for n in tree.nodes() if region in n["structure_id_path"]]
        inside = [i for i in inside if i]
        for side in ("left", "right"):
            wanted = sum(counted.get((i, side), 0) for i in inside)
            volume = np.isin(asked.voxels, inside)[sides_of_volume(space) == side].sum()
            cell = table.sel(structure=region, hemisphere=side)
            assert int(cell.points) == wanted
            check_density(float(cell.density), wanted, volume * space.grid.voxel_volume)
        assert int(both.points.sel(structure=region)) == sum(i in inside for i in labels)
    known = {*tree.node_ids()} - {0}
    for counts in (table, both):
        assert int(counts.outside) == labels.count(OUTSIDE)
        assert int(counts.missing) == labels.count(MISSING)
        assert int(counts.unassigned) == sum(i >= 0 and i not in known for i in labels)
    assert int(table.no_hemisphere) == 0


def check_density(found, points, volume):
    if volume:
        assert found == pytest.approx(points / volume)
    else:
        assert math.isnan(found)


def sides_of_volume(space):
    axis = space.grid.axis("ml")
    line = np.moveaxis(np.empty(space.grid.shape, "U5"), axis, -1)
    line[...] = space.annotation.hemisphere.values
    return np.moveaxis(line, -1, axis)


def label_sides(space, points):
    names = space.annotation.hemisphere.values
    dims = space.grid.frame_dims
    sides = []
    for point in points:
        try:
            index = [space.grid.index(d, x) for d, x in zip(dims, point, strict=True)]
        except (PositionError, ValueError, OverflowError):
            sides.append("")
        else:
            sides.append(str(names[index[dims.index("ml")]]))
    return sides


# ----- laziness

VOXELS = np.random.default_rng(7).integers(0, 9, (13, 12, 8)).astype("u4")
CHUNKS = ((4, 4, 5), (5, 7), (8,))
TREE = StructureTree(
    {"id": i, "structure_id_path": [1] if i == 1 else [1, i], "acronym": f"s{i}"}
    for i in (1, 2, 3, 5, 7, 70000)
)
# In two of the six chunks, outside and nowhere.
POINTS = np.array([[95, 5, 5], [5, 5, 5], [96, 5, 75], [-1, 5, 5], [np.nan, 5, 5], [35, 45, 5]])


def lazy_space(voxels=VOXELS, **given):
    source = CountingSource(voxels)
    return source, ReferenceSpace(TREE, source.dask(CHUNKS), 10, **given)


def own_sides():
    values = np.random.default_rng(3).integers(0, 3, VOXELS.shape)
    return labelled(values, Grid(VOXELS.shape, (10, 10, 10)))


KINDS = {
    "array": POINTS,
    "dask array": da.from_array(POINTS, chunks=(4, 3)),
    "DataArray": xr.DataArray(POINTS, dims=("cell", "axis")),
    "chunked DataArray": xr.DataArray(POINTS, dims=("cell", "axis")).chunk(cell=2),
}
kinds = pytest.mark.parametrize("points", KINDS.values(), ids=KINDS)
REGIONS = {"labels": None, "a structure": [1], "a depth": TREE.regions(depth=1)}
regions = pytest.mark.parametrize("asked", REGIONS.values(), ids=REGIONS)


@kinds
@regions
def test_nothing_is_read_while_building(points, asked):
    source, space = lazy_space()
    with dask.config.set(scheduler=raising):
        at = space.structure_at(points, asked)
        table = space.count_points(points, asked)
        apart = space.count_points(points, asked, by_hemisphere=True)
        repr((at, table, apart))
    assert source.reads == []
    assert all(isinstance(table[name].data, da.Array) for name in table.data_vars)
    assert isinstance(at.data, da.Array)


@regions
def test_chunks_without_points_are_never_read_and_others_once(asked):
    source, space = lazy_space()
    space.structure_at(POINTS, asked).compute(scheduler="threads")
    assert dict(source.chunk_reads(CHUNKS)) == {(0, 0, 0): 1, (2, 0, 0): 1}


@pytest.mark.parametrize("own", [None, own_sides()], ids=["midline", "own hemispheres"])
@pytest.mark.parametrize("by_hemisphere", [False, True])
def test_counts_read_each_chunk_once(by_hemisphere, own):
    source, space = lazy_space(hemispheres=own)
    space.count_points(POINTS, by_hemisphere=by_hemisphere).compute()
    # All of them for the volumes.
    assert set(source.chunk_reads(CHUNKS).values()) == {1}
    assert len(source.chunk_reads(CHUNKS)) == 6


def test_counts_with_an_index_read_only_chunks_with_points():
    source, space = lazy_space()
    space = space.with_index()
    source.reads.clear()
    space.count_points(POINTS, by_hemisphere=True).compute()
    assert dict(source.chunk_reads(CHUNKS)) == {(0, 0, 0): 1, (2, 0, 0): 1}


def test_chunks_that_are_known_to_be_of_one_region_are_not_read():
    voxels = VOXELS.copy()
    voxels[:4, :5] = 2
    voxels[8:, :5] = np.where(np.arange(8) % 2, 2, 5)
    source, space = lazy_space(voxels)
    space = space.with_index()
    source.reads.clear()
    assert space.structure_at(POINTS, [1]).values.tolist() == [1, 1, 1, -1, -2, 1]
    assert source.reads == []
    assert space.structure_at(POINTS).values.tolist() == [5, 2, 2, -1, -2, 2]
    assert dict(source.chunk_reads(CHUNKS)) == {(2, 0, 0): 1}
    source.reads.clear()
    assert int(space.count_points(POINTS, [70000]).unassigned) == 4
    assert source.reads == []


def test_lazy_points_read_a_chunk_once_for_each_of_their_chunks():
    source, space = lazy_space()
    points = da.from_array(POINTS, chunks=(2, 3))
    found = space.structure_at(points).compute()
    np.testing.assert_array_equal(found, space.structure_at(POINTS))
    source.reads.clear()
    space.structure_at(points).compute()
    assert dict(source.chunk_reads(CHUNKS)) == {(0, 0, 0): 2, (2, 0, 0): 2}


def test_own_hemispheres_tell_points_apart():
    sides = own_sides()
    space = ReferenceSpace(TREE, VOXELS, 10, hemispheres=sides)
    rng = np.random.default_rng(5)
    points = rng.random((500, 3)) * space.grid.extent
    index = tuple((points // 10).astype(int).T)
    labels, flags = VOXELS[index], sides.values[index]
    table = space.count_points(points, [2, 5], by_hemisphere=True).compute()
    for (n, label), (m, flag) in itertools.product(enumerate([2, 5]), enumerate([1, 2])):
        there = (labels == label) & (flags == flag)
        assert int(table.points[n, m]) == there.sum()
        volume = ((label == VOXELS) & (sides.values == flag)).sum() * 1e-6
        assert float(table.density[n, m]) == pytest.approx(there.sum() / volume)
    assert int(table.no_hemisphere) == (np.isin(labels, [2, 5]) & (flags == 0)).sum()
    total = table.points.sum() + table.no_hemisphere + table.unassigned
    assert int(total) == len(points)


# ----- kinds


def test_tables_keep_their_index():
    _, space = lazy_space()
    frame = pd.DataFrame(POINTS[:, ::-1], columns=["ml", "dv", "ap"], index=list("abcdef"))
    found = space.structure_at(frame, {1: "one", 5: "five"})
    assert isinstance(found, pd.Series)
    assert (found.name, found.dtype, found.index.tolist()) == ("structure", "int64", [*"abcdef"])
    assert found.attrs["flag_meanings"] == "no_structure outside missing"
    assert found.attrs["flag_values"] == [0, -1, -2]
    assert found.attrs["regions"] == ["one", "five"]
    expected = space.structure_at(POINTS, {1: "one", 5: "five"})
    np.testing.assert_array_equal(found, expected)
    renamed = frame.set_axis(["z", "y", "x"], axis=1)
    assert space.structure_at(renamed, columns=("x", "y", "z")).tolist() == (
        space.structure_at(frame).tolist()
    )
    assert space.count_points(renamed, columns=["x", "y", "z"]).identical(
        space.count_points(POINTS)
    )


@pytest.mark.parametrize("dtype", ["Float64", "float32", "Int64"])
def test_columns_may_lack_values(dtype):
    _, space = lazy_space()
    frame = pd.DataFrame({"ap": [5, None, 95], "dv": [5, 5, 5], "ml": [5, 5, 75]}, dtype=dtype)
    expected = [int(VOXELS[0, 0, 0]), MISSING, int(VOXELS[9, 0, 7])]
    assert space.structure_at(frame).tolist() == expected


def test_lazy_tables_are_looked_up_by_partition():
    dd = pytest.importorskip("dask.dataframe")
    source, space = lazy_space()
    frame = pd.DataFrame(POINTS[:, ::-1], columns=["ml", "dv", "ap"], index=range(10, 16))
    lazy = dd.from_pandas(frame, npartitions=3)
    with dask.config.set(scheduler=raising):
        found = space.structure_at(lazy, space.structure_tree.regions(depth=1))
        table = space.count_points(lazy, by_hemisphere=True)
    assert source.reads == []
    eager = space.structure_at(frame, TREE.regions(depth=1))
    pd.testing.assert_series_equal(found.compute(), eager)
    assert found.compute().attrs == eager.attrs
    assert found.divisions == lazy.divisions
    xr.testing.assert_identical(
        table.compute(), space.count_points(frame, by_hemisphere=True).compute()
    )
    with pytest.raises(GridError, match="the table has columns ml, dv, ap, and points are wanted"):
        space.structure_at(lazy, columns=("x", "y", "z"))


def test_other_dims_and_coordinates_of_points_are_kept():
    _, space = lazy_space()
    points = xr.DataArray(
        POINTS.reshape(2, 3, 3)[:, [0, 1]],
        {"axis": ["ap", "dv", "ml"], "run": ["a", "b"], "color": (("run", "cell"), np.eye(2))},
        ("run", "cell", "axis"),
    )
    for array in (points, points.chunk(run=1), points.transpose("axis", "cell", "run")):
        found = space.structure_at(array).transpose("run", "cell")
        assert found.coords.keys() == {"run", "color"}
        plain = space.structure_at(points.values.reshape(-1, 3)).values
        np.testing.assert_array_equal(found, plain.reshape(2, 2))
    alone = space.structure_at(points[0, 1])
    assert alone.dims == ()
    assert int(alone) == VOXELS[0, 0, 0]


def test_masked_positions_are_missing():
    _, space = lazy_space()
    masked = np.ma.masked_array(POINTS[:2], [[True, False, False], [False] * 3])
    assert space.structure_at(masked).values.tolist() == [MISSING, VOXELS[0, 0, 0]]


def test_arrays_of_unknown_length():
    _, space = lazy_space()
    points = da.from_array(POINTS, chunks=(2, 3))
    some = points[points[:, 1] > 0]
    with pytest.raises(GridError, match=r"how many points there are; call compute_chunk_sizes\(\)"):
        space.structure_at(some)
    known = space.structure_at(some.compute_chunk_sizes())
    np.testing.assert_array_equal(known, space.structure_at(POINTS))
    one, other = space.count_points(some), space.count_points(POINTS)
    assert one.compute().identical(other.compute())


def test_no_points():
    _, space = lazy_space()
    assert space.structure_at(np.empty((0, 3))).shape == (0,)
    assert space.structure_at(np.empty((0, 3))).values.size == 0
    table = space.count_points(np.empty((0, 3)), [2]).compute()
    assert (table.points.item(), table.density.item(), table.outside.item()) == (0, 0, 0)
    frame = pd.DataFrame({"ap": [], "dv": [], "ml": []}, dtype=float)
    assert space.structure_at(frame).dtype == np.int64
    assert space.count_points(np.empty((0, 3)), []).compute().points.shape == (0,)


def test_density_of_nothing_is_nan():
    _, space = lazy_space()
    table = space.count_points(POINTS, [70000, 2]).compute()
    assert np.isnan(table.density.values[0])
    assert table.density.attrs["units"] == "mm-3"


def test_regions_that_overlap_each_have_their_points():
    space = refspace.phantom(resolution=200)
    points = (np.argwhere(space.annotation.values == 593) + 0.5) * 200
    table = space.count_points(points, ["Isocortex", "VISp", "TH"]).compute()
    assert table.points.values.tolist() == [len(points), len(points), 0]
    assert table.acronym.values.tolist() == ["Isocortex", "VISp", "TH"]
    by_text = space.count_points(points, {"VIS": "visual", "AUD": "auditory"})
    assert by_text.points.to_series().to_dict() == {"visual": len(points), "auditory": 0}


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.zeros((3, 2)), r"a ndarray of shape \(3, 2\); give an array of shape \(n, 3\)"),
        (np.zeros(4), r"of shape \(4,\)"),
        (da.zeros((2, 2, 3)), r"a Array of shape \(2, 2, 3\)"),
        (np.zeros((2, 3), "c16"), "points have dtype complex128; give positions in µm"),
        (np.zeros((2, 3), "?"), "points have dtype bool"),
        (np.full((2, 3), "a"), "points have dtype <U1"),
        ("VISp", r"a str of shape \(\)"),
        ([[1, 2, 3], [4, 5]], r"points are a list, of which no array can be made \("),
        (delayed(np.zeros((2, 3))), r"of shape \(\)"),
        (xr.Dataset({"ap": ("cell", [1.0])}), r"points are a Dataset; give its to_pandas\(\)"),
        (xr.DataArray(np.zeros((2, 4))), r"points have dims {'dim_0': 2, 'dim_1': 4}; give them"),
        (xr.DataArray(np.zeros((3, 3))), "one of length 3, which has the labels ap, dv, ml"),
        (xr.DataArray(np.zeros((2, 3)), {"b": [*"abc"]}, ("a", "b")), "points have dims"),
        (pd.DataFrame({"ap": [1.0]}), "columns ap, and points are wanted of ap, dv, ml; name"),
        (pd.DataFrame(np.zeros((1, 3)), columns=["ap", "ap", "dv"]), "each of which is there once"),
        (pd.DataFrame({"ap": ["a"], "dv": [1.0], "ml": [1.0]}), "points have dtype"),
    ],
)
def test_what_is_no_point(points, message):
    _, space = lazy_space()
    for verb in (space.structure_at, space.count_points):
        with pytest.raises(GridError, match=message):
            verb(points)


def test_a_table_of_another_kind_is_not_taken_by_the_order_of_its_columns():
    arrow = pytest.importorskip("pyarrow")
    _, space = lazy_space()
    frame = pd.DataFrame(POINTS[:, ::-1], columns=["ml", "dv", "ap"])
    table = arrow.Table.from_pandas(frame)
    with pytest.raises(GridError, match=r"points are a Table; give its to_pandas\(\)"):
        space.structure_at(table)
    np.testing.assert_array_equal(space.structure_at(table.to_pandas()), space.structure_at(POINTS))


def test_what_is_no_column_or_region():
    _, space = lazy_space()
    frame = pd.DataFrame(POINTS, columns=["x", "y", "z"])
    with pytest.raises(GridError, match="wanted of x, y; name the three columns of ap, dv, ml"):
        space.structure_at(frame, columns=("x", "y"))
    with pytest.raises(GridError, match="columns name those of a table"):
        space.structure_at(POINTS, columns=("x", "y", "z"))
    with pytest.raises(OntologyError, match="give one of them"):
        TREE.regions([1], depth=0)
    with pytest.raises(StructureNotFoundError, match="no structure has"):
        space.count_points(POINTS, ["VISp"])


# ----- the graph


def test_names_hold_what_goes_into_them():
    _, space = lazy_space(VOXELS)
    again = ReferenceSpace(TREE, space.annotation)
    lazy = KINDS["dask array"]
    for points in (POINTS, lazy):
        names = [
            s.structure_at(p, asked).data.name
            for s, p, asked in [
                (space, points, None),
                (space, points[::-1], None),
                (space, points, TREE.regions(depth=1)),
                (space, points, {1: 7}),
                (space, points, {1: 8}),
                (ReferenceSpace(TREE, VOXELS + 1, 10), points, None),
                (ReferenceSpace(TREE, space.annotation.data, 20), points, None),
            ]
        ]
        assert len({*names}) == len(names)
        assert again.structure_at(points).data.name == names[0]
    one, other = (space.count_points(POINTS, by_hemisphere=b) for b in (True, False))
    assert one.outside.data.name != other.outside.data.name


def test_tasks_are_small_and_leave_the_process():
    space = refspace.phantom(resolution=200)
    points = np.random.default_rng(0).random((1000, 3)) * space.grid.extent
    found = space.structure_at(points, space.structure_tree.regions(depth=5))
    own = {key for key in found.data.dask if str(key).startswith(("points-", "('points-"))}
    assert max(len(cloudpickle.dumps(found.data.dask[key])) for key in own) < 30_000
    regions = space.structure_tree.regions(depth=5)
    table = space.count_points(da.from_array(points, chunks=500), regions)
    with dask.config.set(scheduler="processes", num_workers=1):
        there = dask.compute(found, table)
    with dask.config.set(scheduler="synchronous"):
        here = dask.compute(found, table)
    for one, other in zip(there, here, strict=True):
        assert one.identical(other)


def test_points_are_placed_a_piece_at_a_time(monkeypatch):
    _, space = lazy_space()
    points = np.random.default_rng(1).random((100, 3)) * space.grid.extent
    whole = space.structure_at(points).values
    monkeypatch.setattr(point_voxels, "_PIECE", 7)
    np.testing.assert_array_equal(space.structure_at(points), whole)
    np.testing.assert_array_equal(whole, VOXELS[tuple((points // 10).astype(int).T)])


# ----- the real atlas


@pytest.mark.ccf
def test_points_in_the_ccf(ccf_data, ccf_store):
    tree = refspace.read_structures(ccf_data / "structures_1.json")
    plain = refspace.open(ccf_data / "annotation_25.nrrd", structures=tree)
    voxels = plain.annotation.values
    points = np.random.default_rng(0).random((100_000, 3)) * plain.grid.extent
    labels = voxels[tuple((points // 25).astype(int).T)].astype("i8")
    with dask.config.set(scheduler="threads"):
        for space in (plain, refspace.open(ccf_store)):
            np.testing.assert_array_equal(space.structure_at(points), labels)
            counts = space.count_points(points, ["Isocortex", "VISp"]).compute()
            for region, count in zip((315, 385), counts.points.values, strict=True):
                assert count == np.isin(labels, tree.descendant_ids([region])[0]).sum()
            volumes = space.voxel_counts().volume.sel(structure=[315, 385])
            np.testing.assert_allclose(counts.density, counts.points / volumes)


# ----- units


def unit_space(code="PIR"):
    """Space of a volume with other lengths along each axis, in any order of storage."""
    voxels = np.random.default_rng(5).integers(1, 9, (7, 6, 5)).astype("u1")
    grid = Grid(voxels.shape, (10, 20, 40), (100, -300, 7), code)
    tree = StructureTree([{"id": i, "structure_id_path": [i]} for i in range(1, 9)])
    return voxels, ReferenceSpace(tree, labelled(da.from_array(voxels, chunks=3), grid))


@pytest.mark.parametrize("code", ["PIR", "LAS", "SRA", "IPL"])
def test_voxels_are_those_of_the_file(code):
    voxels, space = unit_space(code)
    rng = np.random.default_rng(6)
    indices = np.stack([rng.integers(0, n, 40) for n in voxels.shape], axis=1)
    expected = voxels[tuple(indices.T)]
    within = indices + rng.uniform(0, 0.999, indices.shape)
    table = pd.DataFrame(within, columns=["x", "y", "z"])
    for points in (indices, within, within.astype("f4"), da.from_array(within, chunks=(9, 3))):
        np.testing.assert_array_equal(space.structure_at(points, unit="voxel"), expected)
    found = space.structure_at(table, columns=["x", "y", "z"], unit="voxel")
    np.testing.assert_array_equal(found, expected)
    named = pd.DataFrame(dict(zip(space.grid.dims, indices.T, strict=True)))
    counts = space.count_points(named, list(range(1, 9)), unit="voxel").points
    np.testing.assert_array_equal(counts, np.bincount(expected, minlength=9)[1:])


def test_voxels_outside_and_missing_ones():
    _, space = unit_space()
    points = [[-1, 0, 0], [7, 0, 0], [0, 5.999, 0], [0, 6, 0], [np.nan, 0, 0], [-0.01, 0, 0]]
    found = space.structure_at(points, unit="voxel").values
    assert found.clip(max=0).tolist() == [OUTSIDE, OUTSIDE, 0, OUTSIDE, MISSING, OUTSIDE]


def test_millimetres_are_a_thousand_micrometres():
    _, space = unit_space("LAS")
    coords = [space.annotation[dim].values for dim in space.grid.dims]
    points = np.random.default_rng(7).choice(range(5), (30, 3))
    points = np.stack([c[i] for c, i in zip(coords, points.T, strict=True)], axis=1) + 3
    expected = space.structure_at(points)
    np.testing.assert_array_equal(space.structure_at(points / 1000, unit="mm"), expected)
    where = ((coords[0][1], "um"), (1, "voxel"), (1.5, "voxel"), (coords[0][1] / 1000, "mm"))
    cmap = {i: (i, i, i) for i in range(1, 9)}
    one, *others = [space.get_slice_image(0, p, cmap, unit=unit) for p, unit in where]
    for other in others:
        np.testing.assert_array_equal(one, other)


def test_units_that_do_not_exist():
    _, space = unit_space()
    message = "unit is 'inch'; positions are in 'um', 'mm', 'voxel'"
    for verb in (space.structure_at, space.count_points):
        with pytest.raises(GridError, match=message):
            verb(np.zeros((1, 3)), unit="inch")
    with pytest.raises(GridError, match=message):
        space.get_slice_image(0, 0, unit="inch")


def test_positions_in_another_unit_are_noticed():
    tree = StructureTree([{"id": 1, "structure_id_path": [1]}])
    voxels = np.ones((132, 80, 114), "u1")
    space = ReferenceSpace(tree, voxels, 100)
    points = np.array([[66, 40, 57], [30.5, 20, 50]])
    table = pd.DataFrame(points, columns=["ap", "dv", "ml"])
    for verb in (space.structure_at, space.count_points):
        for cells in (points, table):
            with pytest.warns(UserWarning, match="are they in voxels or mm"):
                verb(cells)
            assert verb(cells, unit="voxel") is not None


@pytest.mark.parametrize("orientation", ["RAS", "LAS", "IPL"])
def test_voxels_are_counted_along_the_axes_of_the_array(orientation):
    """Whichever way coordinates run, as brainglobe-atlasapi indexes the array itself."""
    voxels = np.arange(1, 61, dtype="u4").reshape(3, 4, 5)
    grid = Grid(voxels.shape, (10, 20, 30), (-15, 0, 40), orientation, "RAS")
    nodes = [{"id": i, "structure_id_path": [i]} for i in range(1, 61)]
    space = ReferenceSpace(StructureTree(nodes), labelled(voxels, grid))
    points = np.array([[0, 0, 0], [2, 3, 4], [1.9, 0.5, 3], [3, 0, 0], [-0.1, 0, 0]])
    expected = [voxels[0, 0, 0], voxels[2, 3, 4], voxels[1, 0, 3], OUTSIDE, OUTSIDE]
    assert space.structure_at(points, unit="voxel").values.tolist() == expected


# ----- one position, and what structures are called


@few
@given(questions(), st.data())
def test_one_position_is_its_voxel(asked, data):
    form = data.draw(st.sampled_from([tuple, list, np.array]))
    for point in asked.points.astype("f8").tolist()[:4]:
        expected = label_at(asked.space, asked.voxels, point)
        if expected < 0:
            with pytest.raises(PositionError, match=r"is outside the volume; .. runs from"):
                asked.space.structure_at(form(point))
            continue
        found = asked.space.structure_at(form(point))
        assert type(found) is int
        assert found == expected
        called = asked.space.structure_at(form(point), as_="acronym")
        assert type(called) is str
        inside = asked.tree.nodes([expected])[0] if expected in asked.tree else {}
        assert called == ("" if not expected else str(inside.get("acronym") or expected))


def test_one_position_in_other_units_and_regions():
    _, space = lazy_space()
    voxel = (9, 0, 7)
    expected = int(VOXELS[voxel])
    assert space.structure_at(voxel, unit="voxel") == expected
    assert space.structure_at((0.095, 0.005, 0.075), unit="mm") == expected
    assert space.structure_at((95, 5, 75), [1]) == (1 if expected in TREE else 0)
    with pytest.raises(PositionError, match="ap position 135 µm is outside the volume; ap runs"):
        space.structure_at((13, 0, 0), unit="voxel")
    ras = space.reorient("RAS").in_frame("RAS")  # x, y and z are ml, ap and dv there
    assert ras.structure_at((75, -95, -5)) == expected
    with pytest.raises(GridError, match="columns name those of a table"):
        space.structure_at((5, 5, 5), columns=["x", "y", "z"])
    with pytest.raises(GridError, match="unit is 'm'"):
        space.structure_at((5, 5, 5), unit="m")


def test_one_position_reads_one_chunk():
    source, space = lazy_space()
    source.reads.clear()
    space.structure_at((95, 5, 5), as_="acronym")
    assert dict(source.chunk_reads(CHUNKS)) == {(2, 0, 0): 1}


@kinds
@pytest.mark.parametrize("field", ["acronym", "name"])
def test_structures_are_called_as_the_tree_calls_them(points, field):
    source, space = lazy_space()
    with dask.config.set(scheduler=raising):
        found = space.structure_at(points, as_=field)
    assert source.reads == []
    codes = space.structure_at(points)
    assert (found.dims, found.name) == (codes.dims, field)
    called = {node["id"]: str(node.get(field) or node["id"]) for node in TREE.nodes()}
    expected = ["" if i <= 0 else called.get(i, str(i)) for i in codes.values.tolist()]
    assert found.dtype == found.compute().dtype
    assert found.values.tolist() == expected
    assert found.attrs == {"long_name": f"{field} of the structure"}


def test_tables_are_called_too():
    dd = pytest.importorskip("dask.dataframe")
    _, space = lazy_space()
    frame = pd.DataFrame(POINTS, columns=["ap", "dv", "ml"], index=range(10, 16))
    expected = pd.Series(
        space.structure_at(POINTS, as_="acronym").values.tolist(), frame.index, name="acronym"
    )
    found = space.structure_at(frame, as_="acronym")
    pd.testing.assert_series_equal(found, expected)
    assert found.value_counts()[""] >= 2  # outside and missing
    lazy = space.structure_at(dd.from_pandas(frame, npartitions=3), as_="acronym")
    assert lazy.dtype == expected.dtype or lazy.dtype == "string"
    assert lazy.compute().tolist() == expected.tolist()


def test_regions_are_called_by_their_labels():
    _, space = lazy_space()
    codes = space.structure_at(POINTS)
    texts = {1: "one", 5: "the fifth"}
    wanted = {5: "the fifth"} | dict.fromkeys((1, 2, 3, 7, 70000), "one")
    for field in ("acronym", "name"):
        found = space.structure_at(POINTS, texts, as_=field)
        assert found.values.tolist() == [wanted.get(i, "") for i in codes.values.tolist()]
    found = space.structure_at(POINTS, [1], as_="acronym").values.tolist()
    assert found == ["s1" if i in TREE else "" for i in codes.values.tolist()]
    with pytest.raises(OntologyError, match="labels of these regions are the numbers of a mapping"):
        space.structure_at(POINTS, {1: 4}, as_="acronym")
    with pytest.raises(OntologyError, match="as_ is 'colour'; give 'id', 'acronym' or 'name'"):
        space.structure_at(POINTS, as_="colour")
