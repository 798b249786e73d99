"""``StructureTree``, that of refspace."""

from refspace.structure_tree import StructureTree

__all__ = ["StructureTree"]
