"""The ontology: structures of a brain as a tree, and the regions that they make up."""

from refspace.structure_tree.regions import RegionLabel, Regions, RegionsLike
from refspace.structure_tree.simple_tree import SimpleTree
from refspace.structure_tree.structure_tree import StructureTree

__all__ = ["RegionLabel", "Regions", "RegionsLike", "SimpleTree", "StructureTree"]
