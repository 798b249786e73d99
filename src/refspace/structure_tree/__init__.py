"""The ontology: structures of a brain as a tree."""

from refspace.structure_tree.parcellation import Level, Parcellation, Region
from refspace.structure_tree.simple_tree import SimpleTree
from refspace.structure_tree.structure_tree import StructureTree

__all__ = ["Level", "Parcellation", "Region", "SimpleTree", "StructureTree"]
