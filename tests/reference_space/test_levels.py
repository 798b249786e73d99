"""A space knows the coarser levels of its store, and what becomes of it becomes of them."""

import copy
import pickle

import dask
import numpy as np
import pytest
from helpers.volumes import raising

import refspace
from refspace import ReferenceSpace, StructureTree
from refspace.grid import Grid
from refspace.labels import labelled

RNG = np.random.default_rng(17)
TREE = StructureTree({"id": i, "structure_id_path": [i]} for i in (3, 5, 70000))
GRID = Grid((21, 16, 13), (10, 20, 30), origin=(-7, 0, 40))


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> ReferenceSpace:
    labels = labelled(RNG.choice(np.array([0, 3, 5, 70000], "u4"), GRID.shape), GRID)
    template = labelled(RNG.integers(0, 900, GRID.shape).astype("u2"), GRID, "template")
    url = tmp_path_factory.mktemp("levels") / "a.zarr"
    ReferenceSpace(TREE, labels, template=template, midline=200).to_zarr(url, chunks=6)
    return refspace.open(url)


def test_levels_are_those_of_the_store(space: ReferenceSpace) -> None:
    levels = space.levels
    assert levels[0] is space
    assert [level.resolution for level in levels] == [(10, 20, 30), (20, 40, 60), (40, 80, 120)]
    for level in levels:
        alone = refspace.open(space.url or "", resolution=level.resolution)
        assert level.annotation.identical(alone.annotation)
        assert level.template is not None
        assert level.template.identical(alone.template)
        assert (level.midline, level.url) == (200, space.url)
        assert level.direct_voxel_map == alone.direct_voxel_map


def test_a_coarser_level_knows_those_that_are_coarser_still(space: ReferenceSpace) -> None:
    middle = refspace.open(space.url or "", resolution=(20, 40, 60))
    assert [level.resolution[0] for level in middle.levels] == [20, 40]


def test_levels_are_changed_alike(space: ReferenceSpace) -> None:
    changed = space.reorient("LSA").in_frame("RAS").hemisphere("left")
    for level, before in zip(changed.levels, space.levels, strict=True):
        one = before.reorient("LSA").in_frame("RAS").hemisphere("left")
        assert level.annotation.identical(one.annotation)
        assert level.template is not None
        assert level.template.identical(one.template)
        assert level.midline == one.midline


def test_a_midline_and_a_tree_are_those_of_all_levels(space: ReferenceSpace) -> None:
    moved = refspace.open(space.url or "", midline=215)
    moved.structure_tree = TREE
    assert {level.midline for level in moved.levels} == {215}
    assert all(level.structure_tree is TREE for level in moved.levels)


def test_a_part_and_what_was_resampled_are_alone(space: ReferenceSpace) -> None:
    assert len(space.crop(5).levels) == len(space.downsample(40).levels) == 1
    assert len(ReferenceSpace(TREE, space.annotation).levels) == 1


def test_they_are_kept_where_the_index_is_there_already(space: ReferenceSpace) -> None:
    assert len(space.with_index().levels) == 3


def test_no_voxel_is_read_for_them(space: ReferenceSpace) -> None:
    with dask.config.set(scheduler=raising):
        assert len(space.hemisphere("right").levels) == 3


def test_they_survive_a_copy_and_another_process(space: ReferenceSpace) -> None:
    turned = space.reorient("RAS")
    for again in (copy.copy(turned), pickle.loads(pickle.dumps(turned))):
        assert [level.grid for level in again.levels] == [level.grid for level in turned.levels]
