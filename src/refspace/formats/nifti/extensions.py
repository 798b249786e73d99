"""Header extensions of NIfTI files: what lies between the header and the voxels.

Source of the format: https://nifti.nimh.nih.gov/nifti-1/documentation/nifti1fields/nifti1fields_pages/extension.html.
Four bytes, of which the first is not 0 where extensions follow; then for each its size, which is a
multiple of 16, its code, and its content.
"""

import json
from collections.abc import Iterator
from typing import Literal

from refspace.formats.sides import NO_SIDES, StatedSides

# Code of a comment, plain text: programs that know no better show it.
_COMMENT = 6
_BEFORE, _HEAD, _STEP = 4, 8, 16
# Of any file; those of CIFTI hold megabytes. What is further behind is not looked for.
MAX_EXTENSION_BYTES = 2**20


def comment_extension(sides: StatedSides) -> bytes:
    r"""Bytes between a header and its voxels, little-endian, that state sides if there are any.

    Examples
    --------
    >>> comment_extension(StatedSides())
    b'\x00\x00\x00\x00'
    >>> comment_extension(StatedSides(0.0))[12:]
    b'{"refspace_midline_um": 0.0}\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00'
    """
    if not sides.fields:
        return bytes(_BEFORE)
    text = json.dumps(sides.fields).encode("ascii")
    size = -(-(_HEAD + len(text)) // _STEP) * _STEP
    head = size.to_bytes(4, "little") + _COMMENT.to_bytes(4, "little")
    return b"\x01\0\0\0" + (head + text).ljust(size, b"\0")


def stated_sides(data: bytes, byte_order: Literal["little", "big"]) -> StatedSides:
    """What comments state of hemispheres, from the bytes behind a header.

    Raises
    ------
    FormatError
        If that is no midline, or no hemisphere.

    Examples
    --------
    >>> stated_sides(comment_extension(StatedSides(5700.0, "left")), "little")
    StatedSides(midline_um=5700.0, hemisphere='left', frame=None)
    """
    for text in _comments(data, byte_order):
        if (sides := StatedSides.from_json(text)) is not None:
            return sides
    return NO_SIDES


def _comments(data: bytes, byte_order: Literal["little", "big"]) -> Iterator[bytes]:
    """Texts of comments; sizes that are none end the list."""
    start = _BEFORE if data[:1] not in (b"", b"\0") else len(data)
    while start + _HEAD <= len(data):
        size, code = (
            int.from_bytes(data[i : i + 4], byte_order) for i in (start, start + _HEAD // 2)
        )
        if size < _STEP or start + size > len(data):
            return
        if code == _COMMENT:
            yield data[start + _HEAD : start + size].rstrip(b"\0")
        start += size
