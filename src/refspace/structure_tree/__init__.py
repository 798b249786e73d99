"""The ontology: structures of a brain as a tree, and the regions that they make up."""

from typing import TYPE_CHECKING

from refspace.lazy import lazy_names

if TYPE_CHECKING:
    from refspace.structure_tree.regions import RegionLabel as RegionLabel
    from refspace.structure_tree.regions import Regions as Regions
    from refspace.structure_tree.regions import RegionsLike as RegionsLike
    from refspace.structure_tree.simple_tree import SimpleTree as SimpleTree
    from refspace.structure_tree.structure_tree import StructureTree as StructureTree

_MODULES = {
    "RegionLabel": "refspace.structure_tree.regions",
    "Regions": "refspace.structure_tree.regions",
    "RegionsLike": "refspace.structure_tree.regions",
    "SimpleTree": "refspace.structure_tree.simple_tree",
    "StructureTree": "refspace.structure_tree.structure_tree",
}

__all__ = sorted(_MODULES)

__getattr__, __dir__ = lazy_names(__name__, _MODULES)
