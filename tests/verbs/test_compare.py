"""Comparison of two volumes, against pandas and plain NumPy."""

import copy

import dask
import numpy as np
import pandas as pd
import pytest
from helpers.places import CUT, GRID, TREE, VOXELS, in_dask, measured, stored, unindexed
from helpers.strategies import few
from helpers.volumes import CountingSource, chunked, chunkings, raising, subtree, trees, volumes
from hypothesis import given
from hypothesis import strategies as st

import refspace
from refspace import Grid, ReferenceSpace, StructureTree
from refspace.errors import AnnotationError, GridError, OntologyError, StructureNotFoundError
from refspace.labels import labelled

CHUNKS = ((4, 4, 3), (5, 4), (8,))
OTHER_CHUNKS = ((6, 5), (9,), (3, 5))
OTHER = np.roll(VOXELS, 1, axis=0)


def plain(voxels=VOXELS, tree=TREE):
    return ReferenceSpace(tree, labelled(voxels, GRID))


def sizes_of(tree, structure, voxels):
    """Mask of a structure of a tree; empty if it has none."""
    labels = set(subtree(tree, structure)) - {0} if structure in tree else set()
    return np.isin(voxels.astype("i8"), sorted(labels))


# ----- against plain NumPy


@st.composite
def pairs(draw):
    """Two volumes of the same shape, each with a tree, and two chunkings."""
    one = draw(volumes(max_side=5))
    other = draw(volumes(max_side=5))
    shape = tuple(min(sides) for sides in zip(one.shape, other.shape, strict=True))
    corner = tuple(slice(side) for side in shape)
    spaces = [
        ReferenceSpace(
            draw(trees), labelled(chunked(v[corner], draw(chunkings(shape))), Grid(shape, 10))
        )
        for v in (one, other)
    ]
    return [space.with_index() if draw(st.booleans()) else space for space in spaces]


@given(pairs())
@few
def test_confusion_is_a_crosstab(spaces):
    one, other = (space.annotation.values.ravel() for space in spaces)
    found = spaces[0].compare(spaces[1]).confusion
    names = ["acronym", "name", "other_acronym", "other_name"]
    assert found.columns.tolist() == ["label", "other", "voxels", *names]
    for column, prefix, space in zip(("label", "other"), ("", "other_"), spaces, strict=True):
        tree = space.structure_tree
        called = {node["id"]: node for node in tree.nodes() if node["id"] != 0}
        for field in ("acronym", "name"):
            wanted = [str(called.get(i, {}).get(field) or "") for i in found[column]]
            assert found[f"{prefix}{field}"].tolist() == wanted
    found = found[["label", "other", "voxels"]]
    assert (found.dtypes == np.int64).all()
    crosstab = pd.crosstab(one, other).stack()
    expected = {(int(a), int(b)): int(n) for (a, b), n in crosstab.items() if n}
    rows = [(a, b, n) for a, b, n in found.itertuples(index=False)]
    assert {(a, b): n for a, b, n in rows} == expected
    assert rows == sorted(rows, key=lambda row: (-row[2], row[0], row[1]))


@given(pairs())
@few
def test_structures_agree_with_masks(spaces):
    one, other = (space.annotation.values for space in spaces)
    compared = spaces[0].compare(spaces[1])
    table = compared.structures
    trees_of = [space.structure_tree for space in spaces]
    assert set(table.structure.values.tolist()) == {i for t in trees_of for i in t.node_ids()}
    for row in table.to_dataframe().itertuples():
        here, there = (
            sizes_of(t, row.Index, v) for t, v in zip(trees_of, (one, other), strict=True)
        )
        common, either = (here & there).sum(), (here | there).sum()
        assert (row.voxels, row.other_voxels, row.common) == (here.sum(), there.sum(), common)
        if either:
            assert row.dice == 2 * common / (here.sum() + there.sum())
            assert row.jaccard == common / either
        else:
            assert np.isnan(row.dice)
            assert np.isnan(row.jaccard)
        if here.any():
            assert row.change == pytest.approx((there.sum() - here.sum()) / here.sum())
        assert row.volume == pytest.approx(here.sum() * 1e-6)
    assert compared.changed_voxels == (one != other).sum()
    assert compared.agreement == pytest.approx((one == other).mean())
    assert compared.only_here == tuple(np.setdiff1d(one[one > 0], other).tolist())
    assert compared.only_other == tuple(np.setdiff1d(other[other > 0], one).tolist())


@pytest.mark.parametrize("way", [in_dask, measured, stored, unindexed])
def test_comparisons_are_the_same_everywhere(way, tmp_path):
    expected = plain().compare(OTHER)
    space = way(plain(), CUT, str(tmp_path / "atlas.zarr"))
    found = space.compare(plain(OTHER))
    pd.testing.assert_frame_equal(found.confusion, expected.confusion)
    assert found.structures.identical(expected.structures)
    back = plain(OTHER).compare(space)
    np.testing.assert_array_equal(back.structures.other_voxels, found.structures.voxels)
    np.testing.assert_array_equal(back.structures.dice, found.structures.dice)


# ----- reading


def test_nothing_is_read_until_asked_and_then_once():
    sources = CountingSource(VOXELS), CountingSource(OTHER)
    one, other = (
        ReferenceSpace(TREE, labelled(source.dask(chunks), GRID))
        for source, chunks in zip(sources, (CHUNKS, OTHER_CHUNKS), strict=True)
    )
    with dask.config.set(scheduler=raising):
        compared = one.compare(other)
        repr(compared)
    assert [source.reads for source in sources] == [[], []]
    str(compared)
    compared.at(TREE.regions(depth=1))
    assert sorted(sources[0].chunk_reads(CHUNKS).values()) == [1] * 6
    assert sorted(sources[1].chunk_reads(OTHER_CHUNKS).values()) == [1] * 4


def test_blocks_of_one_label_are_not_read():
    voxels = np.zeros((4, 4, 8), "u4")
    voxels[..., 4:] = 8
    voxels[0, 0, 0] = 9
    source = CountingSource(voxels)
    chunks = ((4,), (4,), (4, 4))
    space = ReferenceSpace(TREE, labelled(source.dask(chunks), Grid(voxels.shape, 10)))
    space = space.with_index()
    source.reads.clear()
    assert space.compare(voxels).changed_voxels == 0
    assert source.chunk_reads(chunks) == {(0, 0, 0): 1}


def test_names_of_tasks_hold_both_volumes():
    keys = {plain().compare(v).pairs.key for v in (VOXELS, OTHER, OTHER.copy())}
    assert len(keys) == 2


# ----- regions


def test_a_volume_agrees_with_itself():
    space = refspace.phantom(resolution=400)
    compared = space.compare(space)
    assert compared.agreement == 1
    assert compared.changed_voxels == 0
    there = compared.structures.voxels > 0
    assert (compared.structures.dice[there] == 1).all()
    assert (compared.structures.change[there] == 0).all()
    assert str(compared).endswith("voxels changed: 100.00% agree")


def test_regions_of_one_tree_alone():
    smaller = StructureTree([{"id": 8, "acronym": "s8"}, {"id": 77, "acronym": "new"}])
    voxels = np.where(VOXELS == 9, 77, VOXELS).astype("u4")
    compared = plain().compare(plain(voxels, smaller))
    table = compared.at(["s8", 9, "new"])
    assert table.structure.values.tolist() == [8, 9, 77]
    assert table.acronym.values.tolist() == ["s8", "s9", "new"]
    assert table.other_voxels.values.tolist() == [(VOXELS == 8).sum(), 0, (VOXELS == 9).sum()]
    assert table.voxels.values.tolist()[1:] == [(VOXELS == 9).sum(), 0]
    assert table.change.values.tolist()[1:] == [-1, np.inf]
    assert compared.only_here == (9,)
    assert compared.only_other == (77,)
    with pytest.raises(StructureNotFoundError, match="12345"):
        compared.at([12345])


def test_regions_by_mapping_and_by_set():
    compared = plain().compare(OTHER)
    table = compared.at({"s8": "a", 9: "b"})
    assert table.structure.values.tolist() == ["a", "b"]
    assert "acronym" not in table.coords
    assert table.voxels.values.tolist() == compared.at([8, 9]).voxels.values.tolist()
    assert compared.at(TREE.regions(structure_set=2)).structure.values.tolist() == [8, 2**24 + 1, 9]
    assert compared.at(TREE.regions(depth=0)).structure.values.tolist() == [0, 997, 7]
    assert compared.at([]).sizes["structure"] == 0
    with pytest.raises(OntologyError, match="give one of them"):
        TREE.regions([8], depth=1)


def test_the_report():
    lines = str(plain().compare(np.where(VOXELS == 4242, 43, VOXELS).astype("u4"))).splitlines()
    changed = (VOXELS == 4242).sum()
    assert lines[0].startswith(f"{changed} of {VOXELS.size} voxels changed: ")
    assert lines[1] == "ids in this volume alone: 4242 (1)"
    assert lines[2] == "ids in the other alone: 43 (1)"
    assert len(lines) == 3  # of no structure
    report = str(plain().compare(OTHER)).splitlines()
    assert report[1] == "structures that changed most:"
    assert report[3].split()[:2] == ["997", "s997"]
    assert len(report) == 8


def test_the_tree_is_the_one_that_was_there():
    space = copy.copy(plain())
    compared = space.compare(OTHER)
    space.structure_tree = StructureTree([{"id": 8}])
    assert compared.structures.sizes["structure"] == len(TREE)


def test_the_other_may_be_a_file(tmp_path):
    refspace.write_nrrd(tmp_path / "other.nrrd", labelled(OTHER, GRID))
    pd.testing.assert_frame_equal(
        plain().compare(tmp_path / "other.nrrd").confusion, plain().compare(OTHER).confusion
    )


# ----- refused


@pytest.mark.parametrize(
    ("other", "error", "message"),
    [
        (
            VOXELS[1:],
            GridError,
            r"other volume has shape \(10, 9, 8\), this one \(11, 9, 8\): crop",
        ),
        (
            labelled(VOXELS, Grid(GRID.shape, GRID.spacing, orientation="IRP")),
            GridError,
            "lies on .*: resample one",
        ),
        (
            labelled(VOXELS, Grid(GRID.shape, GRID.spacing, (0, 0, 0), "SRA")),
            GridError,
            "resample one",
        ),
        (VOXELS.astype("f8") + 0.5, AnnotationError, r"holds 0\.5"),
        ({"a": 1}, AnnotationError, "annotation is a dict"),
    ],
)
def test_what_is_not_on_the_grid_is_refused(other, error, message):
    with pytest.raises(error, match=message):
        plain().compare(other).confusion  # noqa: B018


@pytest.mark.ccf
def test_the_real_annotation_with_itself_and_moved(ccf_store):
    space = refspace.open(ccf_store)
    assert space.compare(space).agreement == 1
    moved = space.annotation.copy(data=space.annotation.roll(ap=4).data)
    compared = space.compare(moved)
    table = compared.structures
    assert (table.voxels == table.other_voxels).all()
    assert 0.9 < float(table.dice.sel(structure=315)) < 1
    assert compared.changed_voxels == 8_716_376
