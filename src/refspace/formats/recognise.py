"""Which format a file is of, by its first bytes: names of files may say anything.

What is known and not read is named, with a way out.
"""

import re
import zlib
from typing import BinaryIO

from refspace.safe_text import shown
from refspace.signatures import START_BYTES, kind_of_content

_GZIP = b"\x1f\x8b"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# Keys of MetaImage; files begin with any of them.
_META_KEY = re.compile(rb"\s*(ObjectType|NDims|Comment|ObjectSubType)\s*=")
# Two lines of several cells each, which are all printable.
_TABLE = re.compile(r"(?:[ -~µ]+[,;\t])+[ -~µ]*\r?\n(?:[ -~µ]*[,;\t])+[ -~µ]*(\r?\n|$)")
# Length of the header of NIfTI by version; it is the first number of the file, in either order.
_NIFTI_LENGTHS = (348, 540)


def recognise(start: bytes) -> str | None:
    r"""Name of the format of a file that can be read; None of any other.

    Parameters
    ----------
    start
        Its first `START_BYTES`.

    Examples
    --------
    >>> recognise(b"NRRD0005\ntype: uint"), recognise(b"II*\0"), recognise(b"<html>")
    ('nrrd', 'tiff', None)
    """
    inflated = _inflated(start)
    if start.startswith(b"NRRD"):
        return "nrrd"
    if start.startswith(b"\x93NUMPY"):
        return "npy"
    if start.startswith(_TIFF):
        return "tiff"
    if _META_KEY.match(start):
        return "metaimage"
    if {int.from_bytes(inflated[:4], order) for order in ("little", "big")} & {*_NIFTI_LENGTHS}:
        return "nifti"
    if _is_mgh(inflated):
        return "mgh"
    return None


def _is_mgh(start: bytes) -> bool:
    """Whether a file begins like one of FreeSurfer: version 1, four lengths and a type."""
    numbers = [int.from_bytes(start[n : n + 4], "big") for n in range(0, 24, 4)]
    return len(start) >= 284 and numbers[0] == 1 and min(numbers[1:5]) > 0 and numbers[5] < 11


def describe_foreign(start: bytes, name: str = "") -> str:
    r"""What a file is that cannot be read, and the way out, in words.

    Parameters
    ----------
    start, name
        As for `kind_of_content`.

    Examples
    --------
    >>> describe_foreign(b"\x89PNG")
    'is a PNG picture: give a volume, like a stack of pictures as one TIFF file'
    """
    if not start:
        return "is empty; get it again"
    if (kind := kind_of_content(start, name)) is not None:
        return f"is {kind}"
    if start.startswith(_GZIP):
        within = describe_foreign(_inflated(start) or b"?")
        return f"is compressed by gzip, and what is within {within}"
    return _describe_text(start)


def _describe_text(start: bytes) -> str:
    text = start.decode("utf-8-sig", "replace").lstrip()
    if text.startswith("<"):
        return "is XML; give a volume, and the structures after it"
    if text.startswith(("{", "[")):
        return "is JSON; give a volume, and the structures after it"
    if _TABLE.match(text):
        return "is a table of text, and no volume; check the order of what was given"
    return (
        f"starts with {shown(repr(start[:20]))}, like no format that is read: NRRD, NIfTI, MGH, "
        "MetaImage, TIFF, .npy; check what was saved"
    )


def _inflated(start: bytes) -> bytes:
    """First bytes of what is compressed by gzip; the bytes themselves, if they are not."""
    if not start.startswith(_GZIP):
        return start
    try:
        return zlib.decompressobj(wbits=31).decompress(start, START_BYTES)
    except zlib.error:
        return b""


def read_start(file: BinaryIO) -> bytes:
    """First bytes of a file, which is left where it was."""
    start = file.read(START_BYTES)
    file.seek(0)
    return start
