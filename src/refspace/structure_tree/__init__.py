"""The ontology: structures of a brain as a tree."""

from typing import Literal

from refspace.structure_tree.regions import RegionLabel, Regions, RegionsLike
from refspace.structure_tree.simple_tree import SimpleTree
from refspace.structure_tree.structure_tree import StructureTree

Level = int | Literal["leaf"]


def _regions(tree, structures=None, *, level=None, structure_set=None, direct_only=False):
    if level == "leaf":
        return tree.regions("leaves")
    return tree.regions(
        structures, depth=level, structure_set=structure_set, direct_only=direct_only
    )


__all__ = ["RegionLabel", "Regions", "RegionsLike", "SimpleTree", "StructureTree"]
