"""Verbs that compare a volume with another, and with its ontology."""

from refspace.reference_space.shaping import Shaping


class Checking(Shaping):
    """What differs, and what is wrong."""
