"""What is wrong with a volume and its tree, against plain NumPy and scipy's labelling."""

import sys

import dask
import numpy as np
import pandas as pd
import pytest
import scipy.ndimage
from helpers.places import CUT, GRID, TREE, VOXELS, in_dask, measured, sharded, stored, unindexed
from helpers.strategies import few
from helpers.volumes import CountingSource, cases, chunked, chunkings, raising, volumes
from hypothesis import given
from hypothesis import strategies as st

import refspace
from refspace import Grid, ReferenceSpace, StructureTree
from refspace.errors import MissingDependencyError, OntologyError
from refspace.kernels import components as components_of_block
from refspace.labels import labelled
from refspace.ops.components import components

CHUNKS = ((6, 5), (5, 4), (4, 4))
WAYS = [in_dask, measured, stored, sharded, unindexed]


def plain():
    return ReferenceSpace(TREE, labelled(VOXELS, GRID))


@pytest.fixture(scope="module", params=WAYS)
def elsewhere(request, tmp_path_factory):
    return request.param(plain(), CUT, str(tmp_path_factory.mktemp("validate") / "atlas.zarr"))


def small(voxels, records, **kwargs):
    """Space of a few voxels, ten µm each, along ml."""
    voxels = np.asarray(voxels, "u4").reshape(1, 1, -1)
    tree = StructureTree(
        {
            "id": path[-1],
            "structure_id_path": path,
            "acronym": f"s{path[-1]}",
            "structure_set_ids": sets,
        }
        for path, sets in records
    )
    return ReferenceSpace(tree, voxels, 10, **kwargs)


FAMILY = [([1], [5]), ([1, 2], [5, 6]), ([1, 3], [6]), ([1, 3, 4], [6])]


# ----- tables


def test_a_clean_volume():
    space = small([2, 4, 4, 2], [FAMILY[0], ([1, 2], []), ([1, 4], [])])
    found = space.validate(connectivity=True, volumes={2: 2e-6})
    assert found.ok
    assert str(found) == "every id of the volume is known; 0 of 3 structures have no voxels"
    tables = [found.uncovered, found.doubly_covered, found.asymmetric]
    assert all(table.empty for table in [*tables, found.disconnected, found.deviating])


def test_voxels_that_no_child_covers():
    found = small([1, 2, 3, 3, 4, 4], FAMILY).validate().uncovered
    assert found.to_dict("index") == {
        3: {"acronym": "s3", "voxels": 2},
        1: {"acronym": "s1", "voxels": 1},
    }


def test_voxels_in_no_region():
    found = small([1, 2, 3, 3, 4, 4], FAMILY).validate([2, 4]).uncovered
    assert found.index.tolist() == [3, 1]
    assert found.index.name == "structure"
    space = small([1, 2, 3], FAMILY)
    assert space.validate(space.structure_tree.regions(depth=0)).uncovered.empty


def test_voxels_in_several_regions():
    space = small([1, 2, 3, 3, 4, 4, 4], FAMILY)
    asked = space.validate([1, 3]).doubly_covered
    assert asked.voxels.to_dict() == {4: 3, 3: 2}
    assert asked.structure_set.isna().all()
    of_sets = space.validate().doubly_covered
    rows = list(zip(of_sets.structure_set, of_sets.index, of_sets.voxels, strict=True))
    assert rows == [(5, 2, 1), (6, 4, 3)]
    of_set = space.validate(space.structure_tree.regions(structure_set=6)).doubly_covered
    assert of_set.voxels.to_dict() == {4: 3}


def test_unequal_hemispheres():
    space = small([2, 4, 4, 4, 2, 2], FAMILY)
    found = space.validate().asymmetric
    assert found.columns.tolist() == ["acronym", "left", "right", "asymmetry"]
    assert found.left.to_dict() == {3: 2, 4: 2, 2: 1}
    assert found.asymmetry.to_list() == pytest.approx([1 / 3] * 3)
    assert space.validate(tolerance=0.4).asymmetric.empty
    assert space.validate({2: "a", 4: "b"}).asymmetric.index.tolist() == ["a", "b"]


def test_hemispheres_of_their_own():
    sides = labelled(np.array([[[1, 2, 2, 2]]], "u1"), Grid((1, 1, 4), 10))
    found = small([2, 2, 2, 0], FAMILY, hemispheres=sides).validate(connectivity=True)
    assert found.asymmetric.loc[2, ["left", "right"]].to_list() == [1, 2]
    assert found.disconnected.empty
    sides = labelled(np.array([[[0, 1, 0, 2]]], "i4"), Grid((1, 1, 4), 10))
    pieces = small([2, 2, 2, 2], FAMILY, hemispheres=sides).validate(connectivity=True).disconnected
    assert pieces[["hemisphere", "components"]].to_numpy().tolist() == [["neither", 2]]


def test_published_volumes():
    space = small([2] * 10 + [4] * 5, FAMILY)
    published = pd.Series({"s2": 1.05e-5, "s4": 4e-6, 1: 3e-5, 3: np.nan})
    found = space.validate(volumes=published).deviating
    assert found.index.tolist() == [1, 4]
    assert found.deviation.to_list() == pytest.approx([-0.5, 0.25])
    assert found.published.to_list() == [3e-5, 4e-6]
    assert space.validate(volumes=dict(published), tolerance=0.3).deviating.index.tolist() == [1]
    assert space.validate().deviating is None


def test_the_report_is_cut():
    records = [([i], []) for i in range(1, 21)]
    space = small([*range(1, 21), 99, *[0] * 30], records)
    report = str(space.validate()).splitlines()
    assert report[0] == "1 voxels hold ids that the structures lack:"
    assert report[1].split() == ["voxels", "start", "stop"]
    assert "regions of unequal hemispheres: 20" in report
    assert report[-1] == "… and 12 more"
    assert len(report) < 20


def test_regions_are_named_in_one_way():
    with pytest.raises(OntologyError, match="give one of them"):
        plain().validate(TREE.regions([8], depth=1))


# ----- the same everywhere, and reading nothing


QUESTIONS = {
    "all": {},
    "depth": {"regions": TREE.regions(depth=1)},
    "structures": {"regions": ["s8", 997], "volumes": {"s8": 1e-3}},
    "connectivity": {"connectivity": True},
    "pieces of regions": {"connectivity": True, "regions": ["s8", 9]},
}


@pytest.mark.parametrize("asked", QUESTIONS.values(), ids=QUESTIONS)
def test_validation_is_the_same_everywhere(elsewhere, asked):
    expected, found = vars(plain().validate(**asked)), vars(elsewhere.validate(**asked))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, pd.DataFrame):
            pd.testing.assert_frame_equal(found[name], value)
        else:
            assert found[name] == value


def test_where_the_index_is_stored_no_voxel_is_read(phantom_store):
    space = refspace.open(phantom_store)
    with dask.config.set(scheduler=raising):
        found = space.validate(space.structure_tree.regions(depth=3), volumes={"VISp": 1})
        space.validate()
    assert found.deviating.index.tolist() == [385]


def test_without_an_index_each_chunk_is_read_once():
    source = CountingSource(VOXELS)
    space = ReferenceSpace(TREE, labelled(source.dask(CHUNKS), GRID))
    space.validate()
    assert sorted(source.chunk_reads(CHUNKS).values()) == [1] * 8
    source.reads.clear()
    space.validate(space.structure_tree.regions(depth=1))
    assert source.reads == []
    space.with_index().validate(connectivity=True)
    reads = source.chunk_reads(CHUNKS)
    assert set(reads.values()) == {1}
    # Those that hold one label, or no structure, are not.
    assert len(reads) < 8


# ----- connected components


def pieces_of(voxels, labels):
    """Number of components, voxels, and voxels of the largest component."""
    numbers, count = scipy.ndimage.label(np.isin(voxels, sorted(labels)))
    sizes = np.bincount(numbers.ravel())[1:]
    return (count, sizes.sum(), sizes.max()) if count else None


@given(volumes(labels=(1, 2, 2**32 - 1), max_side=7), st.data())
@few
def test_components_agree_with_labelling(voxels, data):
    found = components(chunked(voxels, data.draw(chunkings(voxels.shape)))).compute()
    labels = [i for i in np.unique(voxels).tolist() if i]
    assert found.labels.tolist() == labels
    rows = zip(found.count.tolist(), found.voxels.tolist(), found.largest.tolist(), strict=True)
    assert list(rows) == [pieces_of(voxels, [i]) for i in labels]


@given(volumes(labels=(1, 2), max_side=7))
@few
def test_components_of_a_block(voxels):
    numbers, labels, sizes = components_of_block(voxels)
    assert ((numbers < 0) == (voxels == 0)).all()
    np.testing.assert_array_equal(labels[numbers[numbers >= 0]], voxels[numbers >= 0])
    np.testing.assert_array_equal(sizes, np.bincount(numbers[numbers >= 0], minlength=sizes.size))
    # The same partition: each of scipy's components is one of these, and the other way round.
    for label in set(labels.tolist()):
        theirs, count = scipy.ndimage.label(voxels == label)
        both = {*zip(theirs[theirs > 0].tolist(), numbers[theirs > 0].tolist(), strict=True)}
        assert len(both) == count == np.count_nonzero(labels == label)


@given(cases(), st.booleans())
@few
def test_disconnected_regions(case, bare):
    space, tree = case.space, case.tree
    asked = {} if bare else {"regions": {i: f"r{i}" for i in tree.node_ids()}}
    found = space.validate(connectivity=True, **asked).disconnected
    expected = {}
    for side in ("left", "right"):
        voxels = case.voxels[..., space.annotation.hemisphere.values == side].astype("i8")
        for i in tree.node_ids():
            pieces = pieces_of(voxels, [i])
            if pieces and pieces[0] > 1:
                count, all_voxels, largest = pieces
                expected[i if bare else f"r{i}", side] = (count, all_voxels, all_voxels - largest)
    rows = found.set_index("hemisphere", append=True)[["components", "voxels", "outside"]]
    assert dict(zip(rows.index, rows.itertuples(index=False, name=None), strict=True)) == expected
    assert found.outside.is_monotonic_decreasing


def test_pieces_of_regions_are_those_of_their_subtrees():
    space = small([3, 4, 2, 3, 0, 0, 0, 0, 0, 0], FAMILY)
    bare = space.validate(connectivity=True).disconnected
    assert bare[["components", "outside"]].to_numpy().tolist() == [[2, 1]]
    assert bare.index.tolist() == [3]
    subtrees = space.validate([3], connectivity=True).disconnected
    assert subtrees.loc[3, ["components", "voxels", "outside"]].to_list() == [2, 3, 1]
    assert space.validate([1], connectivity=True).disconnected.empty
    assert "\nregions in several pieces: 1\n" in str(space.validate([3], connectivity=True))


def test_connectivity_needs_scipy(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.sparse", None)
    with pytest.raises(MissingDependencyError, match=r"pip install scipy"):
        plain().validate(connectivity=True)
    assert plain().validate().disconnected is None


@pytest.mark.ccf
def test_the_real_annotation(ccf_store):
    space = refspace.open(ccf_store)
    with dask.config.set(scheduler=raising):
        found = space.validate()
    assert found.ok
    assert len(found.unassigned) == 488
    assert found.uncovered.voxels.iloc[0] == 1_053_648  # of MOB, whose layers have none
    pieces = space.validate(connectivity=True).disconnected
    row = pieces[(pieces.index == 698) & (pieces.hemisphere == "left")].iloc[0]
    mask = space.hemisphere("left").make_structure_mask(698, direct_only=True, crop=True)
    count, voxels, largest = pieces_of(mask.values, [1])
    assert row[["components", "voxels", "outside"]].to_list() == [count, voxels, voxels - largest]
