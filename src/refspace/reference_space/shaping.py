"""Verbs that measure the shapes of structures: geometry, contacts, distances."""

from refspace.reference_space.locating import Locating


class Shaping(Locating):
    """Shapes of structures and what they touch."""
