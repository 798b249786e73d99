"""What a subclass replaces, as users of AllenSDK do, is what the other verbs use."""

from typing import Any

import numpy as np
import pytest
import xarray as xr

import refspace
from refspace import ReferenceSpace


class Counting(ReferenceSpace):
    """A space that notes with which arguments its methods are called."""

    def make_structure_mask(self, *arguments: Any, **options: Any) -> xr.DataArray:
        vars(self).setdefault("calls", []).append((arguments, options))
        return super().make_structure_mask(*arguments, **options)

    def check_coverage(self, *arguments: Any, **options: Any) -> Any:
        vars(self).setdefault("calls", []).append((arguments, options))
        return super().check_coverage(*arguments, **options)


@pytest.fixture
def space() -> Counting:
    sample = refspace.phantom(400)
    return Counting(sample.structure_tree, sample.annotation)


def test_many_masks_are_made_by_the_method(space: Counting) -> None:
    masks = dict(space.many_structure_masks(["VISp", 672], direct_only=True))
    assert [*masks] == [385, 672]
    assert vars(space)["calls"] == [(([385], True), {}), (([672], True), {})]


def test_structures_are_validated_by_the_method(space: Counting) -> None:
    domain = np.ones(space.grid.shape, bool)
    space.validate_structures(["VISp"], domain)
    # With AllenSDK's arguments alone, unless more is wanted.
    assert vars(space)["calls"] == [((["VISp"], domain), {})]
    space.validate_structures(["VISp"], domain, per_structure=True)
    assert vars(space)["calls"][1:] == [((["VISp"], domain), {"per_structure": True})]


def test_counts_are_set_in_any_order(space: Counting) -> None:
    expected = space.voxel_counts()
    totals = dict(space.total_voxel_map)
    space.direct_voxel_map = dict(reversed(space.direct_voxel_map.items()))
    assert space.total_voxel_map == totals
    assert space.voxel_counts().equals(expected)


def test_counts_that_were_set_are_of_the_tree_that_they_were_set_for(space: Counting) -> None:
    space.total_voxel_map = dict.fromkeys(space.structure_tree.node_ids(), 1)
    assert space.total_voxel_map[385] == 1
    space.structure_tree = refspace.StructureTree(
        space.structure_tree.nodes([997, 8]),
    )
    assert [*space.total_voxel_map] == [997, 8]
    assert space.total_voxel_map[8] == 0
