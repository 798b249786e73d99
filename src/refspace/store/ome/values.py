"""Checks of JSON values that metadata of OME-Zarr consist of."""

import re
import reprlib
from collections.abc import Mapping
from typing import Any

from refspace.errors import FormatError

# Names that zarr gives no node, or that lead elsewhere on some file system: "..", "C:", "\\host".
_UNSAFE_NAME = re.compile(r"^\.*$|[\\:\x00-\x1f]")


def json_object(value: object, what: str) -> Mapping[str, Any]:
    """Check that a value is a JSON object."""
    if not isinstance(value, Mapping):
        raise FormatError(f"{what} is {reprlib.repr(value)}; it must be a JSON object")
    return value


def json_array(value: object, what: str) -> list[Any]:
    """Check that a value is a JSON array."""
    if not isinstance(value, list):
        raise FormatError(f"{what} is {reprlib.repr(value)}; it must be a JSON array")
    return value


def json_text(entry: Mapping[str, Any], key: str, where: str) -> str | None:
    """Text of a JSON object, None where it has none."""
    value = entry.get(key)
    if value is not None and not isinstance(value, str):
        raise FormatError(f"{where}.{key} is {reprlib.repr(value)}; it must be a text")
    return value


def path_within(value: object, where: str) -> str:
    """Check that a value is a path within a group; nothing that could lead out of it."""
    if not isinstance(value, str) or any(map(_UNSAFE_NAME.search, value.split("/"))):
        raise FormatError(
            f"{where} is {reprlib.repr(value)}; it must be a path below the group, like "
            "'s0/annotation'"
        )
    return value


def ome_metadata(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """OME-Zarr's part of attributes: 0.5 keeps it under a key of its own, 0.4 among the others."""
    attributes = json_object(attributes, "the attributes")
    return json_object(attributes["ome"], "ome") if "ome" in attributes else attributes
