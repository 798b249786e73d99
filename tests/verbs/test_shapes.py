"""Boxes, surfaces, neighbours and distances of regions, against plain NumPy."""

import itertools
import pickle
import sys
from collections import Counter

import dask
import networkx as nx
import numpy as np
import pytest
import scipy.ndimage
import xarray as xr
from helpers.places import (
    CUT,
    GRID,
    TREE,
    VOXELS,
    foreign,
    half,
    in_dask,
    measured,
    sharded,
    stored,
    unindexed,
)
from helpers.strategies import few
from helpers.volumes import (
    CountingSource,
    bounding_box,
    cases,
    chunked,
    chunkings,
    raising,
    subtree,
    volumes,
)
from hypothesis import given
from hypothesis import strategies as st

import refspace
from refspace import ReferenceSpace, StructureTree
from refspace.blockwise.neighbours import reduce_with_neighbours
from refspace.errors import AnnotationError, GridError, MissingDependencyError, OntologyError
from refspace.kernels import count_faces
from refspace.labels import labelled
from refspace.ops.contacts import contacts
from refspace.ops.distance import signed_distance

CHUNKS = ((4, 4, 3), (5, 4), (8,))
COLUMNS = [f"{dim}_{part}" for dim in GRID.dims for part in ("min", "max", "centroid")]


def plain():
    return ReferenceSpace(TREE, labelled(VOXELS, GRID))


@pytest.fixture(scope="module", params=[in_dask, measured, stored, sharded, unindexed, foreign])
def elsewhere(request, tmp_path_factory):
    """The same space, in memory or in a store, with an index or without."""
    return request.param(plain(), CUT, str(tmp_path_factory.mktemp("shapes") / "atlas.zarr"))


def lazy_space():
    source = CountingSource(VOXELS)
    return source, ReferenceSpace(TREE, labelled(source.dask(CHUNKS), GRID))


# ----- oracles


def labels_of(tree, structure, direct_only=False):
    return {structure if direct_only else i for i in subtree(tree, structure)} - {0}


def faces_of(voxels):
    """Faces between unlike labels, with zeros around the volume, across each axis."""
    around = np.pad(voxels.astype("i8"), 1)
    faces = Counter()
    for axis in range(3):
        along = np.moveaxis(around, axis, 0)
        for a, b in zip(along[:-1].ravel().tolist(), along[1:].ravel().tolist(), strict=True):
            faces[min(a, b), max(a, b), axis] += a != b
    return +faces


def areas_of(spacing):
    return [
        spacing[1] * spacing[2] / 1e6,
        spacing[0] * spacing[2] / 1e6,
        spacing[0] * spacing[1] / 1e6,
    ]


def surface_of(voxels, labels, spacing):
    """Area between a mask and what is not in it."""
    inside = np.pad(np.isin(voxels.astype("i8"), sorted(labels)), 1)
    faces = [np.count_nonzero(np.diff(inside, axis=axis)) for axis in range(3)]
    return float(np.dot(faces, areas_of(spacing)))


def distance_of(inside, spacing):
    """Signed distance over the whole of a volume, with what is outside around it."""
    around = np.pad(inside, 1)
    depth = scipy.ndimage.distance_transform_edt(around, spacing)
    depth -= scipy.ndimage.distance_transform_edt(~around, spacing)
    return depth[1:-1, 1:-1, 1:-1]


# ----- region properties


@given(cases(), st.booleans())
@few
def test_region_properties_agrees_with_argwhere(case, direct_only):
    regions = case.tree.regions(direct_only=direct_only)
    table = case.space.region_properties(regions).compute()
    grid = case.space.grid
    for row in table.to_dataframe().itertuples():
        labels = labels_of(case.tree, row.Index, direct_only)
        box = bounding_box(case.voxels, labels)
        inside = np.isin(case.voxels.astype("i8"), sorted(labels))
        assert row.voxels == np.count_nonzero(inside)
        assert row.volume == pytest.approx(row.voxels * np.prod(grid.spacing) / 1e9)
        places = np.argwhere(inside)
        for axis, dim in enumerate(grid.dims):
            found = [getattr(row, f"{dim}_{part}") for part in ("min", "max", "centroid")]
            if box is None:
                assert np.isnan(found).all()
                continue
            edges = [box[0][axis] * grid.spacing[axis], box[1][axis] * grid.spacing[axis]]
            centre = (places[:, axis].mean() + 0.5) * grid.spacing[axis]
            assert found == pytest.approx([*edges, centre])


@pytest.mark.parametrize("hemisphere", [None, "left", "right"])
def test_region_properties_agrees_with_bounds_and_centroid(elsewhere, hemisphere):
    side = half(elsewhere, hemisphere)
    table = side.region_properties().compute()
    assert list(table.data_vars) == ["voxels", "volume", *COLUMNS]
    assert table.voxels.dtype == np.int64
    assert table.attrs.get("hemisphere") == hemisphere
    counts = side.total_voxel_counts()
    assert dict(
        zip(table.structure.values.tolist(), table.voxels.values.tolist(), strict=True)
    ) == (counts)
    for structure in (i for i, count in counts.items() if count):
        row = table.sel(structure=structure)
        bounds, centre = side.bounds(structure).positions, side.centroid(structure)
        for dim in GRID.dims:
            assert (float(row[f"{dim}_min"]), float(row[f"{dim}_max"])) == bounds[dim]
            assert float(row[f"{dim}_centroid"]) == centre[dim]


def test_region_properties_is_a_row_per_structure():
    frame = plain().region_properties(["s8", 9]).to_dataframe()
    assert frame.index.tolist() == [8, 9]
    assert frame.columns.tolist() == ["voxels", "volume", *COLUMNS, "acronym", "name"]
    assert plain().region_properties({"s8": "a", 9: "b"}).structure.values.tolist() == ["a", "b"]


def test_region_properties_of_an_index_reads_nothing():
    source, space = lazy_space()
    space = space.with_index()
    reads = len(source.reads)
    with dask.config.set(scheduler=raising):
        table = space.region_properties()
    assert isinstance(table.volume.data, dask.array.Array)
    xr.testing.assert_equal(table.compute(), plain().region_properties().compute())
    assert len(source.reads) == reads


# ----- lazy, and once


LAZY = {
    "region properties": lambda s, regions=None: s.region_properties(regions).volume,
    "surface_area": lambda s, regions=None: s.surface_area(regions),
}
lazy = pytest.mark.parametrize("verb", LAZY.values(), ids=LAZY)


@lazy
def test_building_reads_nothing_and_computing_each_chunk_once(verb):
    source, space = lazy_space()
    with dask.config.set(scheduler=raising):
        table = verb(space)
        repr(table)
    assert source.reads == []
    table.compute(scheduler="sync")
    assert sorted(source.chunk_reads(CHUNKS).values()) == [1] * 6


def test_all_of_region_properties_takes_one_pass():
    source, space = lazy_space()
    space.region_properties().compute()
    assert len(source.reads) == 6


@lazy
def test_names_of_tasks_hold_what_goes_into_them(verb):
    _source, space = lazy_space()
    names = [
        verb(s, regions).data.name
        for s, regions in [
            (space, None),
            (space, TREE.regions(depth=1)),
            (space, TREE.regions(direct_only=True)),
            (space.hemisphere("left"), None),
            (
                ReferenceSpace(
                    TREE, labelled(space.annotation.data, GRID.crop((0, 0, 0), VOXELS.shape))
                ),
                None,
            ),
        ]
    ]
    assert names[0] == names[-1] == verb(space).data.name
    assert len(set(names)) == 4


@lazy
def test_tasks_pickle_small(verb):
    space = refspace.phantom(resolution=100)
    space = ReferenceSpace(
        space.structure_tree, labelled(CountingSource(space.annotation.values).dask(32), space.grid)
    )
    voxels = set(dict(space.annotation.data.dask))
    tasks = {
        k: t
        for k, t in dict(verb(space, space.structure_tree.regions(depth=3)).data.dask).items()
        if k not in voxels
    }
    assert max(len(pickle.dumps(task)) for task in tasks.values()) < 20_000


@lazy
def test_blocks_without_the_structures_are_not_read(verb):
    source, space = lazy_space()
    space = space.with_index()
    source.reads.clear()
    # Of a part the blocks are known, but not the index.
    found = verb(space.crop(997), [9]).compute()
    assert 0 < len(source.reads) < 6
    np.testing.assert_allclose(found, verb(plain().crop(997), [9]))


# ----- faces


@given(volumes(max_side=5), st.data())
@few
def test_faces_agree_with_brute_force(voxels, data):
    chunks = data.draw(chunkings(voxels.shape))
    annotation = labelled(chunked(voxels, chunks), refspace.Grid(voxels.shape, 10))
    found = contacts(annotation).compute()
    triples = itertools.product(enumerate(found.pairs.tolist()), range(3))
    faces = Counter({(a, b, axis): int(found.faces[n, axis]) for (n, (a, b)), axis in triples})
    assert +faces == faces_of(voxels)
    labels, counts = np.unique(voxels, return_counts=True)
    assert found.labels.tolist() == labels.tolist()
    assert found.voxels.tolist() == counts.tolist()


@given(volumes())
@few
def test_faces_within_a_block(voxels):
    pairs, faces = count_faces(voxels)
    inner = Counter()
    for axis in range(3):
        along = np.moveaxis(voxels.astype("i8"), axis, 0)
        for a, b in zip(along[:-1].ravel().tolist(), along[1:].ravel().tolist(), strict=True):
            inner[min(a, b), max(a, b), axis] += a != b
    assert {
        (*p, k): n
        for p, row in zip(pairs.tolist(), faces.tolist(), strict=True)
        for k, n in enumerate(row)
        if n
    } == +inner


@given(cases(), st.booleans())
@few
def test_surfaces_agree_with_masks(case, direct_only):
    areas = case.space.surface_area(case.tree.regions(direct_only=direct_only)).compute()
    for structure, area in zip(areas.structure.values.tolist(), areas.values.tolist(), strict=True):
        labels = labels_of(case.tree, structure, direct_only)
        assert area == pytest.approx(surface_of(case.voxels, labels, case.space.resolution))


def test_surfaces_are_the_same_everywhere(elsewhere):
    expected = [surface_of(VOXELS, labels_of(TREE, i), GRID.spacing) for i in TREE.node_ids()]
    found = elsewhere.surface_area()
    assert found.values == pytest.approx(expected)
    assert found.name == "surface_area"
    assert found.attrs["units"] == "mm2"
    elsewhere.adjacency()
    again = elsewhere.surface_area()
    assert isinstance(again.data, dask.array.Array)  # lazy, whatever was asked before
    assert again.data.name == found.data.name
    np.testing.assert_array_equal(again, found)


@pytest.mark.parametrize("hemisphere", ["left", "right"])
def test_the_midline_is_a_border(elsewhere, hemisphere):
    inside = plain().annotation.hemisphere.values == hemisphere
    half = VOXELS[:, inside]
    expected = [surface_of(half, labels_of(TREE, i), GRID.spacing) for i in TREE.node_ids()]
    found = elsewhere.hemisphere(hemisphere).surface_area()
    assert found.values == pytest.approx(expected)
    assert found.attrs["hemisphere"] == hemisphere


def test_a_cube_has_six_sides():
    voxels = np.zeros((5, 5, 5), "u4")
    voxels[1:4, 1:4, 1:4] = 8
    space = ReferenceSpace(StructureTree([{"id": 8, "acronym": "a"}]), voxels, 100)
    assert float(space.surface_area(8)[0]) == pytest.approx(6 * 0.3**2)
    whole = ReferenceSpace(space.structure_tree, np.full((2, 3, 4), 8, "u4"), 100)
    assert float(whole.surface_area(8)[0]) == pytest.approx(2 * (0.06 + 0.08 + 0.12))
    assert len(whole.adjacency()) == 1


# ----- neighbours


@given(cases())
@few
def test_adjacency_agrees_with_brute_force(case):
    graph = case.space.adjacency()
    areas, known = areas_of(case.space.resolution), set(case.tree.node_ids())
    expected = {}
    for (a, b, axis), count in faces_of(case.voxels).items():
        if {a, b} <= known:
            expected[a, b] = expected.get((a, b), 0) + count * areas[axis]
    found = {tuple(sorted(pair)): area for *pair, area in graph.edges(data="area")}
    assert found == pytest.approx(expected)
    volume = np.prod(case.space.resolution) / 1e9
    voxels = {i: case.space.direct_voxel_map[i] for i in case.tree.node_ids()}
    expected = {i: count * volume for i, count in voxels.items() if count}
    assert dict(graph.nodes(data="volume")) == pytest.approx(expected)


def test_adjacency_at_a_level_is_that_of_relabelled_voxels(elsewhere):
    # 8 has 70000 below it; 997 has what is left: its own voxels, and those of 2**24 + 1.
    graph = elsewhere.adjacency([997, "s8"])
    regions = np.select([np.isin(VOXELS, [8, 70000]), np.isin(VOXELS, [997, 2**24 + 1])], [8, 997])
    faces = faces_of(regions)
    area = sum(faces[8, 997, axis] * a for axis, a in enumerate(areas_of(GRID.spacing)))
    assert list(graph.edges(data="area")) == [(997, 8, pytest.approx(area))]
    assert graph.nodes[8]["acronym"] == "s8"
    assert graph.nodes[997]["name"] == "structure 997"
    by_text = elsewhere.adjacency({997: "rest", "s8": "eight"})
    assert list(by_text.edges(data="area")) == [("rest", "eight", pytest.approx(area))]
    assert "acronym" not in by_text.nodes["rest"]


def test_what_has_no_voxels_is_no_node(elsewhere):
    graph = elsewhere.adjacency()
    assert 12997 not in graph
    assert 0 not in graph
    assert set(graph) == {i for i, n in elsewhere.direct_voxel_map.items() if n}


def test_contacts_are_remembered_whatever_the_tree():
    source, space = lazy_space()
    space.adjacency()
    assert sorted(source.chunk_reads(CHUNKS).values()) == [1] * 6
    space.adjacency(space.structure_tree.regions(depth=1))
    space.structure_tree = StructureTree([{"id": 8, "acronym": "a"}, {"id": 9, "acronym": "b"}])
    assert set(space.adjacency()) == {8, 9}
    assert len(source.reads) == 6


def test_hemispheres_have_neighbours_of_their_own():
    space = refspace.phantom(resolution=200)
    regions = space.structure_tree.regions(depth=3)
    both, left = (s.adjacency(regions) for s in (space, space.hemisphere("left")))
    assert set(left.edges) <= {*both.edges, *((b, a) for a, b in both.edges)}
    volumes, halves = (nx.get_node_attributes(graph, "volume") for graph in (both, left))
    assert volumes.keys() >= halves.keys()
    assert all(halves[i] <= volumes[i] for i in halves)
    assert sum(halves.values()) == pytest.approx(sum(volumes.values()) / 2, rel=0.05)


def test_regions_are_named_in_one_way():
    with pytest.raises(OntologyError, match="named by structures and depth"):
        TREE.regions([8], depth=1)


def test_passes_over_borders_know_the_blocks_before():
    data = dask.array.ones((2, 3), chunks=1)
    sources = {block_id: (data.name, *block_id) for block_id in np.ndindex(data.numblocks)}
    met = reduce_with_neighbours("met", data, sources, np.sum, lambda *given: given, list).compute()
    assert met[0] == (1, [None, None], [False, False])
    assert met[5] == (1, [1, 1], [True, True])


# ----- distances


@given(cases(max_side=5), st.data())
@few
def test_distances_agree_with_those_over_the_whole(case, data):
    space, tree = case.space, case.tree
    structure = data.draw(st.sampled_from(tree.node_ids()))
    inside = np.isin(case.voxels.astype("i8"), sorted(labels_of(tree, structure)))
    pad = data.draw(st.sampled_from([0, 30, 1e6]))
    if not inside.any():
        with pytest.raises(AnnotationError, match="has no voxels"):
            space.distance(structure, pad=pad)
        return
    found = space.distance(structure, pad=pad)
    assert found.dtype == np.float32
    box = space.crop(structure, pad=pad).annotation
    np.testing.assert_array_equal(found.ap, box.ap)
    expected = labelled(distance_of(inside, space.resolution), space.grid).sel(
        {dim: box[dim] for dim in box.dims}
    )
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_distance_is_one_lazy_task():
    space = refspace.phantom(resolution=200).with_index()
    with dask.config.set(scheduler=raising):
        found = space.hemisphere("left").distance("TH", pad=400)
    assert found.data.npartitions == 1
    assert found.attrs["hemisphere"] == "left"
    assert found.attrs["structure_ids"] == [549]
    mask = (
        space.hemisphere("left")
        .make_structure_mask("TH")
        .sel({dim: found[dim] for dim in found.dims})
    )
    np.testing.assert_array_equal(found > 0, mask == 1)
    assert float(abs(found).min()) == 200


def test_too_large_a_box_is_refused():
    space = refspace.phantom(resolution=200)
    with pytest.raises(
        GridError, match=r"take 0\.0 GiB, more than the 0\.0 GiB of max_bytes; down"
    ):
        space.distance("TH", max_bytes=1000)


def test_a_mask_without_inside_is_infinitely_far():
    mask = labelled(dask.array.zeros((1, 1, 2), dtype="u1"), refspace.Grid((1, 1, 2), 10))
    assert np.isneginf(signed_distance(mask, (10, 10, 10))).all()


def test_distances_need_scipy(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.ndimage", None)
    with pytest.raises(MissingDependencyError, match=r"pip install scipy"):
        refspace.phantom(resolution=400).distance("TH")


# ----- the real annotation


@pytest.mark.ccf
def test_surfaces_are_sums_of_contacts(ccf_store):
    space = refspace.open(ccf_store)
    graph = space.adjacency()
    assert len(graph) == 671
    direct = space.surface_area(space.structure_tree.regions(direct_only=True)).values
    found = space.contacts
    outside = found.areas(space.resolution)[found.pairs[:, 0] == 0].sum()
    between = sum(area for *_, area in graph.edges(data="area"))
    assert direct.sum() == pytest.approx(2 * between + outside)
    isocortex = space.surface_area("Isocortex")
    mask = space.make_structure_mask("Isocortex", crop=True).values
    expected = [np.count_nonzero(np.diff(np.pad(mask, 1), axis=axis)) for axis in range(3)]
    assert float(isocortex[0]) == pytest.approx(sum(expected) * 0.025**2)
