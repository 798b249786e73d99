"""Colours of structures: those that they state, or else made-up ones.

A made-up colour follows from the id of its structure alone. So it is the same in every process and
version, in a tree and in any part of it, whatever the order of its structures.
"""

import colorsys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from refspace.errors import OntologyError
from refspace.structure_tree.records import hex_to_rgb

# Fractions of 2**32: the powers of 1 / 1.2207…, the root of x⁴ = x + 1. Multiples of the three fill
# a cube more evenly than any others, so that ids which follow each other get colours far apart.
# Source: M. Roberts, "The unreasonable effectiveness of quasirandom sequences", 2018.
_STEPS = (3518319155, 2882110345, 2360945575)
_WHOLE = 2**32


def made_up_color(structure_id: int) -> list[int]:
    """Colour for a structure without one: red, green and blue, 0 to 255, neither pale nor dark.

    Examples
    --------
    >>> made_up_color(1), made_up_color(2)
    ([200, 46, 215], [66, 85, 175])
    """
    hue, saturation, value = (structure_id * step % _WHOLE / _WHOLE for step in _STEPS)
    parts = colorsys.hsv_to_rgb(hue, 0.45 + 0.5 * saturation, 0.65 + 0.35 * value)
    return [round(255 * part) for part in parts]


def node_color(node: Mapping[str, Any]) -> list[int]:
    """Colour of the record of a structure: its ``rgb_triplet``, or else what follows.

    Examples
    --------
    >>> node_color({"id": 8, "rgb_triplet": [1, 2, 3]}), node_color({"id": 1}) == made_up_color(1)
    ([1, 2, 3], True)
    """
    stated = node.get("rgb_triplet")
    return following_color(node) if stated is None else stated


def following_color(node: Mapping[str, Any]) -> list[int]:
    """Colour of a record without an ``rgb_triplet``: that of a published one, or a made-up one.

    Examples
    --------
    >>> following_color({"id": 8, "color_hex_triplet": "BFDAE3"})
    [191, 218, 227]
    """
    published = node.get("color_hex_triplet")
    if isinstance(published, str):
        with suppress(OntologyError):
            return hex_to_rgb(published)
    return made_up_color(node["id"])
