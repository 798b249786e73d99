"""``ReferenceSpace``, that of refspace."""

from refspace.reference_space import ReferenceSpace

__all__ = ["ReferenceSpace"]
