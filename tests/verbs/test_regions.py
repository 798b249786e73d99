"""Regions on the volume: relabelled, painted, and where they meet; against plain NumPy."""

import itertools
from collections import Counter

import cloudpickle
import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from helpers.places import half
from helpers.strategies import few
from helpers.volumes import CountingSource, cases, raising
from hypothesis import given
from hypothesis import strategies as st
from skimage.segmentation import find_boundaries

import refspace
from refspace import ReferenceSpace, StructureTree
from refspace.errors import (
    AnnotationError,
    GridError,
    OntologyError,
    PositionError,
    StructureNotFoundError,
)
from refspace.grid import Grid
from refspace.labels import labelled

pytestmark = pytest.mark.usefixtures("no_threads")


# ----- oracles


def nearest(tree, label, chosen):
    """What is chosen of the nearest structure above a label, or of itself; None if nothing is."""
    if label == 0 or label not in tree:
        return None
    above = tree.nodes([int(label)])[0]["structure_id_path"][::-1]
    return next((chosen[i] for i in above if i in chosen), None)


def relabelled(tree, voxels, chosen, default, dtype):
    """Value of each voxel, found for one label after the other."""
    result = np.full(voxels.shape, default, dtype)
    for label in np.unique(voxels).tolist():
        value = nearest(tree, label, chosen)
        if value is not None:
            result[voxels == label] = value
    return result


def sides(space):
    return {h: space.hemispheres.values == flag for h, flag in (("left", 1), ("right", 2))}


def measured(case, data):
    """The space of a case, perhaps once its labels are known."""
    return case.space.with_index() if data.draw(st.booleans()) else case.space


some = st.sampled_from([None, "left", "right"])


def some_ids(data, tree):
    return data.draw(st.lists(st.sampled_from(tree.node_ids()), min_size=1, unique=True))


# ----- relabel


@few
@given(cases(), st.data())
def test_voxels_name_the_nearest_listed_structure(case, data):
    space, ids, hemisphere = measured(case, data), some_ids(data, case.tree), data.draw(some)
    side = half(space, hemisphere)
    found = side.relabel(ids)
    expected = relabelled(case.tree, case.voxels, {i: i for i in ids}, 0, "u4")
    if hemisphere is not None:
        expected[~sides(space)[hemisphere]] = 0
        assert found.attrs["hemisphere"] == hemisphere
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.uint32
    assert found.chunks == side.annotation.chunks
    assert found.dims == space.annotation.dims
    xr.testing.assert_identical(found.coords.to_dataset(), space.annotation.coords.to_dataset())


@few
@given(cases(), st.data())
def test_voxels_have_the_label_that_a_mapping_gives(case, data):
    space, ids = measured(case, data), some_ids(data, case.tree)
    labels = {i: data.draw(st.sampled_from([1, 7, 2**32 - 1])) for i in ids}
    found = space.relabel(labels)
    np.testing.assert_array_equal(found, relabelled(case.tree, case.voxels, labels, 0, "u4"))
    assert "regions" not in found.attrs
    texts = {i: f"r{label}" for i, label in labels.items()}
    order = [*dict.fromkeys(texts.values())]
    numbers = {i: order.index(text) + 1 for i, text in texts.items()}
    found = space.relabel(texts)
    np.testing.assert_array_equal(found, relabelled(case.tree, case.voxels, numbers, 0, "u4"))
    assert found.attrs["regions"] == order


@few
@given(cases(), st.data())
def test_relabelling_without_descendants(case, data):
    ids = some_ids(data, case.tree)
    expected = np.where(np.isin(case.voxels.astype("i8"), ids), case.voxels, 0)
    np.testing.assert_array_equal(
        case.space.relabel(case.tree.regions(ids, direct_only=True)), expected
    )


@few
@given(cases(), st.data())
def test_levels_and_sets_are_lists_of_structures(case, data):
    tree = case.tree
    sets = data.draw(
        st.lists(st.sampled_from(sorted(tree.get_structure_sets())), min_size=1, max_size=2)
    )
    found = case.space.relabel(tree.regions(structure_set=sets))
    ids = [n["id"] for n in tree.nodes() if {*n["structure_set_ids"]} & {*sets}]
    np.testing.assert_array_equal(found, case.space.relabel(ids))
    assert found.attrs == case.space.relabel(ids).attrs
    deep = [len(n["structure_id_path"]) - 1 for n in tree.nodes()]
    level = data.draw(st.integers(0, max(deep)))
    leaves = {*tree.node_ids()} - {p for p in tree.parent_ids(tree.node_ids()) if p is not None}
    ids = [
        i
        for i, d in zip(tree.node_ids(), deep, strict=True)
        if d == level or (d < level and i in leaves)
    ]
    found = case.space.relabel(tree.regions(depth=level))
    np.testing.assert_array_equal(found, case.space.relabel(ids))
    found = case.space.relabel("leaves")
    np.testing.assert_array_equal(found, case.space.relabel(sorted(leaves)))


@few
@given(cases(), st.data())
def test_what_is_covered_twice_or_not_at_all_is_told(case, data):
    ids = some_ids(data, case.tree)
    found = case.space.relabel(ids)
    times = Counter(i for above in ids for i in case.tree.descendant_ids([above])[0])
    inner = [i for i in case.tree.node_ids() if i != 0]
    assert found.attrs["overlapping"] == [i for i in inner if times[i] > 1]
    assert found.attrs["uncovered"] == [i for i in inner if times[i] == 0]


def test_summary_structures_of_the_phantom():
    space = refspace.phantom(resolution=200)
    summary = space.relabel(space.structure_tree.regions(structure_set=167587189))
    ids = [n["id"] for n in space.structure_tree.get_structures_by_set_id([167587189])]
    assert {*np.unique(summary).tolist()} <= {0, *ids}
    for i in ids[:5]:
        assert int((summary == i).sum()) == space.total_voxel_map[i]
    report = str(space.structure_tree.regions(structure_set=167587189))
    assert report.startswith("137 regions\n0 structures are in several regions\n")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"structures": [1], "structure_set": 1}, "regions are named by structures and struct"),
        ({"structures": [1], "depth": 1}, "regions are named by structures and depth; give one of"),
        ({"depth": 9}, "depth is 9; give a depth from 0, that of the roots, to 1, or 'leaves'"),
        ({"structure_set": 4}, "no structure is in set 4; the sets of this tree are none"),
        ({"structures": {1: 0}}, "a region is labelled 0; give an integer from 1"),
    ],
)
def test_what_names_no_regions(asked, message):
    with pytest.raises(OntologyError, match=message):
        TREE.regions(**asked)


def test_errors_of_calls_name_the_verb():
    with pytest.raises(TypeError, match=r"^relabel\(\) missing 1 required .* argument: 'regions'$"):
        eager_space().relabel()
    with pytest.raises(TypeError, match=r"^make_structure_mask\(\) got an unexpected keyword"):
        eager_space().make_structure_mask([1], hemisphere="left")


# ----- paint


@few
@given(cases(), st.data())
def test_voxels_have_the_value_of_the_nearest_structure_that_has_one(case, data):
    space, ids, hemisphere = measured(case, data), some_ids(data, case.tree), data.draw(some)
    numbers = [data.draw(st.sampled_from([1.5, -2.0, np.nan, np.inf, 0.0])) for _ in ids]
    values = dict(zip(ids, numbers, strict=True))
    expected = relabelled(case.tree, case.voxels, values, np.nan, "f8")
    if hemisphere is not None:
        expected[~sides(space)[hemisphere]] = np.nan
    coords = {"structure": ids}
    for given_values in (
        values,
        {f"a{i}": value for i, value in values.items()},
        pd.Series(values),
        pd.Series(numbers, [f"structure {i}" for i in ids]),
        xr.DataArray(numbers, coords),
        xr.DataArray(numbers, coords).chunk(structure=1),
    ):
        side = half(space, hemisphere)
        image = side.paint(given_values)
        np.testing.assert_array_equal(image, expected)
        assert image.dtype == np.float64
        assert image.chunks == side.annotation.chunks


@few
@given(cases(), st.data())
def test_other_dims_of_values_come_first(case, data):
    ids = some_ids(data, case.tree)
    numbers = np.random.default_rng(0).random((2, len(ids), 3)).astype("f4")
    coords = {"structure": ids, "channel": ["a", "b"], "gene": ("time", [*"xyz"])}
    values = xr.DataArray(numbers, coords, ("channel", "structure", "time"), "level")
    for given_values in (values, values.chunk(time=2, structure=1)):
        image = case.space.paint(given_values)
        assert image.dims == ("channel", "time", *case.space.annotation.dims)
        assert (image.dtype, image.name) == (np.float32, "level")
        assert image.gene.values.tolist() == [*"xyz"]
        for c, t in itertools.product(range(2), range(3)):
            wanted = dict(zip(ids, numbers[c, :, t].tolist(), strict=True))
            expected = relabelled(case.tree, case.voxels, wanted, np.nan, "f4")
            np.testing.assert_array_equal(image[c, t], expected)


@few
@given(cases(), st.data())
def test_values_of_other_regions_are_looked_up_by_their_labels(case, data):
    ids = some_ids(data, case.tree)
    labels = {i: data.draw(st.sampled_from(["one", "two"])) for i in ids}
    values = {label: n + 0.5 for n, label in enumerate({*labels.values()})}
    expected = {i: values[label] for i, label in labels.items()}
    image = case.space.paint(pd.Series(values), labels)
    np.testing.assert_array_equal(image, relabelled(case.tree, case.voxels, expected, np.nan, "f8"))
    # A region without a value has none, whatever lies above it.
    one = case.space.paint({ids[0]: 3}, ids)
    expected = {i: 3.0 if i == ids[0] else np.nan for i in ids}
    np.testing.assert_array_equal(one, relabelled(case.tree, case.voxels, expected, np.nan, "f8"))


@few
@given(cases())
def test_painting_is_aggregating_the_other_way_round(case):
    space = case.space
    image = np.random.default_rng(1).integers(0, 100, case.voxels.shape).astype("u1")
    roots = space.aggregate(
        image, space.structure_tree.regions(depth=0), statistics=["mean", "count"]
    )
    painted = space.paint(roots["mean"])
    again = space.aggregate(
        painted, space.structure_tree.regions(depth=0), statistics=["mean", "count"]
    )
    np.testing.assert_allclose(again["mean"], roots["mean"], rtol=1e-12)
    # Regions without voxels have a mean of NaN; none of those with voxels has one.
    np.testing.assert_array_equal(again["count"], roots["count"])


@pytest.mark.parametrize(
    ("series", "dtype"),
    [
        (pd.Series({2: 1, 3: 4}), "f8"),
        (pd.Series({2: 1, 3: 4}, dtype="f4"), "f4"),
        (pd.Series({2: 1, 3: None}, dtype="Int64"), "f8"),
        (pd.Series({2: True, 3: False}), "f8"),
        (pd.Series({2: 1.5, 3: None}, dtype="Float32"), "f8"),
        (pd.Series({2: 1.5, 3: 4}).astype(">f4"), "=f4"),
    ],
)
def test_type_of_the_image(series, dtype):
    image = eager_space().paint(series)
    assert image.dtype == image.compute().dtype == dtype
    there = np.isin(VOXELS, [i for i, value in series.items() if not pd.isna(value)])
    np.testing.assert_array_equal(np.isfinite(image), there)


def test_no_values():
    assert np.isnan(eager_space().paint({}).values).all()
    assert np.isnan(eager_space().paint(pd.Series([], dtype=float)).values).all()


def test_a_painted_image_keeps_what_its_values_say():
    values = xr.DataArray([1.0], {"structure": [2]}, attrs={"units": "um"}, name="mean")
    image = eager_space().hemisphere("left").paint(values)
    assert image.name == "mean"
    assert {"units": "um", "hemisphere": "left"}.items() <= image.attrs.items()


def test_coordinates_of_values_leave_those_of_the_volume_alone():
    space = eager_space()
    values = xr.DataArray(
        [[1.0, 2.0]],
        {"structure": [2], "hemisphere": ["left", "right"], "ap": 7.0, "gene": "A"},
        ("structure", "hemisphere"),
    )
    both, left = space.paint(values), space.paint(values.sel(hemisphere="left"))
    assert both.hemisphere.values.tolist() == ["left", "right"]
    assert left.hemisphere.variable.identical(space.annotation.hemisphere.variable)
    for image in (both, left):
        assert image.ap.variable.identical(space.annotation.ap.variable)
        assert image.gene.item() == "A"


def test_values_of_hemispheres_each_on_their_side():
    space = eager_space()
    values = xr.DataArray(
        [[1.0, 2.0]],
        {"structure": [2], "hemisphere": ["right", "left"]},
        ("structure", "hemisphere"),
    )
    image = space.paint(values).sel(hemisphere=space.annotation.hemisphere)
    side = xr.where(space.annotation.hemisphere == "right", 1.0, 2.0)
    expected = side.where(space.annotation == 2)
    np.testing.assert_array_equal(image.transpose(*expected.dims), expected)


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"VISp": 1}, StructureNotFoundError, "no structure has acronym, name or id 'VISp'"),
        ({2: 1, "s2": 2}, OntologyError, "there are several values of 2; give one"),
        ({2: "a"}, AnnotationError, "values have dtype (object|str); give real numbers"),
        ({2: 1j}, AnnotationError, "values have dtype complex128"),
        ([1, 2], AnnotationError, "values are a list; give a mapping or a pandas Series"),
        (xr.Dataset({"mean": ("structure", [1.0])}), AnnotationError, "values are a Dataset; give"),
        ({2: None}, AnnotationError, "give real numbers, and NaN where there is none"),
        (xr.DataArray([1.0]), AnnotationError, "values have dims dim_0 and coordinates none"),
        (xr.DataArray([1.0], dims="structure"), AnnotationError, "and coordinates none; a dim"),
        (
            xr.DataArray([[1.0]], {"structure": [2]}, ("structure", "ap")),
            GridError,
            "values have the dim ap of the volume; rename it",
        ),
    ],
)
def test_what_cannot_be_painted(values, error, message):
    with pytest.raises(error, match=message):
        eager_space().paint(values)


def test_values_of_what_is_no_region():
    space = eager_space()
    with pytest.raises(OntologyError, match=r"values of 'c', which is no region; .* are a, b"):
        space.paint({"c": 1}, {2: "a", 3: "b"})
    with pytest.raises(
        OntologyError, match=r"values of 1, which is no region; .*2, 3, 5, 7, 70000"
    ):
        space.paint({1: 1}, TREE.regions(depth=1))


# ----- boundaries


def edges(codes):
    """Voxels beside one of another code; by scikit-image, which knows no axis of length 1."""
    squeezed = np.squeeze(codes.astype("i8"))
    if squeezed.ndim == 0:
        return np.zeros(codes.shape, "u1")
    found = find_boundaries(squeezed, connectivity=1, mode="inner")
    return found.reshape(codes.shape).astype("u1")


@few
@given(cases(), st.data())
def test_boundaries_between_regions(case, data):
    space, ids = measured(case, data), some_ids(data, case.tree)
    codes = relabelled(case.tree, case.voxels, {i: n for n, i in enumerate(ids, 1)}, 0, "i8")
    found = space.boundaries(ids)
    np.testing.assert_array_equal(found, edges(codes))
    assert found.dtype == bool
    assert found.chunks == space.annotation.chunks
    np.testing.assert_array_equal(space.boundaries(), edges(case.voxels))


@few
@given(cases(), st.data())
def test_boundaries_in_a_slice(case, data):
    space, ids = measured(case, data), some_ids(data, case.tree)
    dim = data.draw(st.sampled_from(space.grid.dims))
    axis = space.grid.axis(dim)
    index = data.draw(st.integers(0, case.voxels.shape[axis] - 1))
    position = float(space.grid.coordinates(dim)[index])
    plane = case.voxels.take(index, axis)
    codes = relabelled(case.tree, plane, {i: n for n, i in enumerate(ids, 1)}, 0, "i8")
    found = space.boundaries(ids, axis=dim, position=position)
    np.testing.assert_array_equal(found, edges(codes))
    assert found.dims == tuple(d for d in space.grid.dims if d != dim)
    assert float(found[dim]) == position
    np.testing.assert_array_equal(space.boundaries(axis=dim, position=position), edges(plane))


def test_what_is_no_slice():
    space = eager_space()
    with pytest.raises(GridError, match="axis is 'ap' and position None; give both or none"):
        space.boundaries(axis="ap")
    with pytest.raises(GridError, match="there is no axis 'x'"):
        space.boundaries(axis="x", position=5)
    with pytest.raises(PositionError, match="outside the volume"):
        space.boundaries(axis="ap", position=-5)


# ----- laziness

VOXELS = np.random.default_rng(7).integers(0, 9, (13, 12, 8)).astype("u4")
CHUNKS = ((4, 4, 5), (5, 7), (4, 4))
EVERYTHING = set(itertools.product(range(3), range(2), range(2)))
TREE = StructureTree(
    {"id": i, "structure_id_path": [1] if i == 1 else [1, i], "acronym": f"s{i}"}
    for i in (1, 2, 3, 5, 7, 70000)
)
VALUES = xr.DataArray([[1.0, 2]], {"structure": [2, 5]}, ("channel", "structure"))


def eager_space():
    return ReferenceSpace(TREE, VOXELS, 10)


def lazy_space(voxels=VOXELS, **given):
    source = CountingSource(voxels)
    return source, ReferenceSpace(TREE, source.dask(CHUNKS), 10, **given)


VERBS = {
    "relabel": lambda s: s.relabel([2, 3]),
    "relabel a depth": lambda s: s.relabel(TREE.regions(depth=1)),
    "relabel by texts": lambda s: s.relabel({1: "a", 2: "b"}),
    "paint": lambda s: s.paint({2: 1, 3: 4.5}),
    "paint channels": lambda s: s.paint(VALUES),
    "paint lazy channels": lambda s: s.paint(VALUES.chunk(channel=1)),
}
WITHOUT_SIDES = {
    "boundaries": lambda s: s.boundaries(),
    "boundaries of regions": lambda s: s.boundaries([2, 3]),
}
every_verb = pytest.mark.parametrize("verb", [*VERBS.values(), *WITHOUT_SIDES.values()])


@every_verb
def test_nothing_is_read_while_building(verb):
    source, space = lazy_space()
    with dask.config.set(scheduler=raising):
        result = verb(space)
        repr(result)
    assert isinstance(result.data, da.Array)
    assert source.reads == []
    assert result.dtype == result.compute().dtype
    assert result.chunks[-3:] == space.annotation.chunks
    assert source.chunk_reads(CHUNKS) == dict.fromkeys(EVERYTHING, 1)
    assert result.identical(verb(eager_space()))


@pytest.mark.parametrize("hemisphere", ["left", "right"])
@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
def test_the_other_hemisphere_is_not_read(verb, hemisphere):
    source, space = lazy_space()
    verb(space.hemisphere(hemisphere)).compute()
    block = ("left", "right").index(hemisphere)
    assert source.chunk_reads(CHUNKS) == {i: 1 for i in EVERYTHING if i[2] == block}


@pytest.mark.parametrize("hemisphere", ["left", "right"])
@pytest.mark.parametrize("known", [False, True])
def test_hemispheres_of_their_own(hemisphere, known):
    flags = np.random.default_rng(3).integers(0, 3, VOXELS.shape)
    own = labelled(flags, Grid(VOXELS.shape, (10, 10, 10)))
    source, space = lazy_space(hemispheres=own)
    if known:
        space = space.with_index()
    source.reads.clear()
    there = flags == ("left", "right").index(hemisphere) + 1
    expected = np.where(np.isin(VOXELS, [2, 3]) & there, VOXELS, 0)
    np.testing.assert_array_equal(space.hemisphere(hemisphere).relabel([2, 3]), expected)
    assert set(source.chunk_reads(CHUNKS).values()) == {1}
    image = space.hemisphere(hemisphere).paint({2: 2, 3: 3})
    np.testing.assert_array_equal(image, np.where(expected, expected, np.nan))


@pytest.mark.parametrize("midline", [-50.0, 500.0])
def test_a_hemisphere_without_voxels(midline):
    source, space = lazy_space(midline=midline)
    empty, full = ("left", "right") if midline < 0 else ("right", "left")
    assert not space.hemisphere(empty).relabel([1]).values.any()
    assert np.isnan(space.hemisphere(empty).paint({1: 1})).all()
    assert source.reads == []
    np.testing.assert_array_equal(space.hemisphere(full).relabel([2]), space.relabel([2]))


def test_blocks_that_become_one_value_are_not_read():
    voxels = VOXELS.copy()
    voxels[:4, :5, :4] = 2
    voxels[4:8, :5, :4] = np.where(np.arange(4) % 2, 2, 5)
    voxels[8:, :5, :4] = 8  # of no structure
    source, space = lazy_space(voxels)
    space = space.with_index()
    alone = {(n, 0, 0) for n in range(3)}
    for verb in (
        lambda s: s.relabel({2: "a", 5: "a"}),
        lambda s: s.paint({1: 5}),
        lambda s: s.boundaries([1]),
    ):
        source.reads.clear()
        result = verb(space).values
        assert source.chunk_reads(CHUNKS) == dict.fromkeys(EVERYTHING - alone, 1)
        np.testing.assert_array_equal(result, verb(ReferenceSpace(TREE, voxels, 10)))
    source.reads.clear()
    space.boundaries().compute()
    assert source.chunk_reads(CHUNKS) == dict.fromkeys(EVERYTHING - {(0, 0, 0), (2, 0, 0)}, 1)


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("structures", [None, [2, 3]])
def test_a_slice_of_boundaries_reads_the_chunks_of_its_plane(structures, known):
    source, space = lazy_space()
    if known:
        space = space.with_index()
    source.reads.clear()
    space.boundaries(structures, axis="ap", position=79).compute()
    assert source.chunk_reads(CHUNKS) == {i: 1 for i in EVERYTHING if i[0] == 1}


# ----- the graph


@every_verb
def test_names_hold_what_goes_into_them(verb):
    _, space = lazy_space()
    name = verb(space).data.name
    assert verb(ReferenceSpace(TREE, space.annotation)).data.name == name
    assert verb(lazy_space(VOXELS + 1)[1]).data.name != name
    values = [space.paint({2: value}).data.name for value in (1, 2)]
    labels = [space.relabel({2: label}).data.name for label in (1, 2)]
    assert len({*values, *labels}) == 4


@every_verb
def test_results_are_the_same_in_another_process(verb):
    space = ReferenceSpace(TREE, da.from_array(VOXELS, CHUNKS), 10)
    result = verb(space)
    again = cloudpickle.loads(cloudpickle.dumps(result))
    assert again.compute().identical(result.compute())


def test_tasks_are_small():
    space = refspace.phantom(resolution=100).with_index()
    deep, shallow = (space.structure_tree.regions(depth=depth) for depth in (6, 5))
    for result in (space.relabel(deep), space.paint({"VISp": 1}), space.boundaries(shallow)):
        source = {*space.annotation.data.dask}
        own = {key for key in result.data.dask if key not in source}
        assert max(len(cloudpickle.dumps(result.data.dask[key])) for key in own) < 30_000


# ----- the real atlas


@pytest.mark.ccf
def test_regions_of_the_ccf(ccf_data, ccf_store):
    tree = refspace.read_structures(ccf_data / "structures_1.json")
    plain = refspace.open(ccf_data / "annotation_25.nrrd", structures=tree)
    stored = refspace.open(ccf_store)
    counts = stored.total_voxel_counts()
    with dask.config.set(scheduler="threads"):
        summary = stored.relabel(stored.structure_tree.regions(structure_set=167587189)).values
        labels, voxels = np.unique(summary, return_counts=True)
        for label, count in zip(labels[1:].tolist(), voxels[1:].tolist(), strict=True):
            assert count == counts[label]
        regions = tree.regions(depth=5)
        plane = plain.boundaries(regions, axis="ap", position=7000)
        np.testing.assert_array_equal(plane, stored.boundaries(regions, axis="ap", position=7000))
        expected = edges(plain.relabel(regions).sel(ap=7012.5).values)
        np.testing.assert_array_equal(plane, expected)
        image = stored.paint({"Isocortex": 1.0, "VISp": 2.0})
        assert int((image == 2).sum()) == counts[385]
        assert int((image == 1).sum()) == counts[315] - counts[385]
