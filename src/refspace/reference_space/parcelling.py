"""Verbs that go between structures and regions: relabelling, painting, boundaries."""

from refspace.reference_space.masking import Masking


class Parcelling(Masking):
    """Regions of structures: where they are, and values given to them."""
