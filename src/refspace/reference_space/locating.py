"""Verbs that bring points and regions together."""

from refspace.reference_space.aggregating import Aggregating


class Locating(Aggregating):
    """Structures of points, and points of structures."""
