"""Verbs that bring images and regions together: statistics, coverage."""

from refspace.reference_space.parcelling import Parcelling


class Aggregating(Parcelling):
    """Statistics of images over regions."""
