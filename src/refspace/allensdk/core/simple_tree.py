"""``SimpleTree``, that of refspace."""

from refspace.structure_tree import SimpleTree

__all__ = ["SimpleTree"]
