"""The object that users hold, and how it is opened."""

from refspace.reference_space.opening import open
from refspace.reference_space.space import ReferenceSpace

__all__ = ["ReferenceSpace", "open"]
