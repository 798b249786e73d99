"""The header of a MetaImage file, parsed and checked before a voxel is read."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from refspace.errors import FormatError
from refspace.formats.beside import beside
from refspace.formats.encoded_voxels import MAX_DEFLATE_RATIO, EncodedVoxels, Encoding
from refspace.formats.intensities import ImageFile, OtherAxis, Scaling
from refspace.formats.itk_headers import ItkHeader, grid_and_midline
from refspace.formats.metaimage.fields import (
    DATA_FILE,
    excerpt,
    numbers,
    read_fields,
    truth,
    value,
    whole,
    wholes,
)
from refspace.formats.metaimage.position import SPACE, stated_position
from refspace.formats.sides import NO_SIDES, StatedSides
from refspace.formats.source_file import SourceFile
from refspace.formats.volume_format import VolumeFormat

# Types of elements. A "long" has 4 bytes, on any machine.
TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
# Dimensions that ITK reads, at most.
_MOST_DIMENSIONS = 10
_LOCAL = ("LOCAL", "Local", "local")


@dataclass(frozen=True)
class _Place:
    """Where the voxels are, and how they are encoded."""

    files: tuple[SourceFile, ...]
    encoding: Encoding
    offset: int


def parse_header(
    source: SourceFile, file: BinaryIO, *, is_image: bool = False, geometry: bool = True
) -> ItkHeader:
    """Parse and check the header of a MetaImage file; no voxel is read.

    Parameters
    ----------
    source, file, is_image, geometry
        As for `HeaderParser`.

    Raises
    ------
    FormatError
        If the file is damaged, its voxels are neither in it nor in one file beside it, or it is no
        volume of three axes; an image may have channels, and more axes after these.
    OSError
        If the file, or that beside it, cannot be read.
    """
    fields, end = read_fields(file)
    lengths, dtype = _lengths(fields), _dtype(fields)
    others = _others(fields, lengths)
    scaling = _scaling(fields)
    if not is_image:
        _refuse_series(others)
        _refuse_scaled(scaling)
    channels = [other.length for other in others if other.name == "channel"]
    times = [other.length for other in others if other.name != "channel"]
    shape = (*channels, *lengths[:3], *times)
    place = _place(fields, source, end, math.prod(shape) * dtype.itemsize)
    voxels = EncodedVoxels(place.files, shape, dtype, place.encoding, place.offset)
    first = len(channels)
    sides = StatedSides.from_fields(fields) if geometry else NO_SIDES
    stated: dict[str, Any] = stated_position(fields, lengths) if geometry else {}
    return ItkHeader(
        ImageFile(voxels, (first, first + 1, first + 2), others, scaling),
        sides=sides,
        space=SPACE,
        # What is written here says in which directions it is.
        is_sure=sides.frame is not None,
        unoriented="the header has no TransformMatrix",
        **stated,
    )


def _lengths(fields: Mapping[str, str]) -> list[int]:
    """Voxels along each axis of the file, without channels."""
    if (kind := fields.get("ObjectType", "Image")) != "Image":
        raise FormatError(f"ObjectType is {excerpt(kind)}; only an Image has voxels: give one")
    dimensions = whole(fields, "NDims")
    if not 3 <= dimensions <= _MOST_DIMENSIONS:
        raise FormatError(
            f"NDims is {dimensions}; a volume has 3, and others may follow: save the slices as one "
            "volume"
        )
    lengths = wholes(fields, "DimSize", dimensions)
    if min(lengths) < 1:
        raise FormatError(f"DimSize is {lengths}; all must be 1 at least: correct the header")
    return lengths


def _dtype(fields: Mapping[str, str]) -> np.dtype[Any]:
    stated = value(fields, "ElementType") or "missing"
    code = TYPES.get(stated.removesuffix("_ARRAY"))
    if code is None:
        raise FormatError(
            f"ElementType is {excerpt(stated)}, which is not supported; save it with one of "
            f"{', '.join(TYPES)}"
        )
    if not truth(fields, "BinaryData", default=True):
        raise FormatError(
            "the voxels are written as text (BinaryData = False); save them as binary"
        )
    is_big = truth(fields, "BinaryDataByteOrderMSB", default=False)
    return np.dtype(code).newbyteorder(">" if is_big else "<")


def _others(fields: Mapping[str, str], lengths: Sequence[int]) -> tuple[OtherAxis, ...]:
    """Axes that are none of space, of more than one volume, the fastest in the file first."""
    channels = whole(fields, "ElementNumberOfChannels", 1)
    if channels < 1:
        raise FormatError(f"ElementNumberOfChannels is {channels}; it must be 1 at least")
    found = [OtherAxis("channel", 0, channels)] if channels > 1 else []
    first = len(found) + 3
    long = [(n, length) for n, length in enumerate(lengths[3:], 4) if length > 1]
    for axis, (n, length) in enumerate(long, first):
        found.append(OtherAxis("time" if n == 4 else f"dim_{n}", axis, length))
    return tuple(found)


def _refuse_series(others: Sequence[OtherAxis]) -> None:
    if others:
        along = " and ".join(f"{other.length} along {other.name}" for other in others)
        raise FormatError(
            f"it holds several volumes, {along}; a volume of labels has three axes, and any others "
            "of length 1: save one volume of it"
        )


def _scaling(fields: Mapping[str, str]) -> Scaling:
    """What the stored numbers stand for."""
    slope = numbers(fields, "ElementToIntensityFunctionSlope", 1) or [1.0]
    intercept = numbers(fields, "ElementToIntensityFunctionOffset", 1) or [0.0]
    return Scaling(slope[0], intercept[0])


def _refuse_scaled(scaling: Scaling) -> None:
    """Refuse voxels that are scaled to other values: a label is an id, not a measurement."""
    if not scaling.is_identity:
        raise FormatError(
            f"voxels are scaled by ElementToIntensityFunctionSlope {scaling.slope:g} and Offset "
            f"{scaling.intercept:g}; save the volume with the values that they stand for"
        )


# ----- where the voxels are


def _place(fields: Mapping[str, str], source: SourceFile, end: int, nbytes: int) -> _Place:
    """Where the voxels are that a header describes, checked against the size of their file."""
    is_local = fields[DATA_FILE] in _LOCAL
    files = (source,) if is_local else (source, beside(source, fields[DATA_FILE]))
    start, skip = end if is_local else 0, whole(fields, "HeaderSize", 0)
    encoding: Encoding = "zlib" if truth(fields, "CompressedData", default=False) else "raw"
    # -1: the voxels are the last bytes of the file.
    at_end = skip == -1 and encoding == "raw"
    if skip and not at_end and (is_local or skip < 0):
        raise FormatError(
            f"HeaderSize is {skip} with {DATA_FILE} = {excerpt(fields[DATA_FILE])} and "
            f"{'compressed' if encoding == 'zlib' else 'raw'} voxels, which is not supported; save "
            "it without"
        )
    stored = files[-1].size - start - max(0, skip)
    _check_size(nbytes, stored, encoding, is_open=at_end)
    if encoding == "zlib" and whole(fields, "CompressedDataSize", 0) > stored:
        raise FormatError(
            f"CompressedDataSize is {fields['CompressedDataSize']}, but the file holds {stored} "
            "bytes of data; it is cut short: get it again"
        )
    offset = files[-1].size - nbytes if at_end else start + max(0, skip)
    return _Place(files, encoding, offset)


def _check_size(needed: int, stored: int, encoding: Encoding, *, is_open: bool) -> None:
    most = stored * (MAX_DEFLATE_RATIO if encoding == "zlib" else 1)
    if needed > most or (encoding == "raw" and needed != stored and not is_open):
        raise FormatError(
            f"DimSize and ElementType make {needed} bytes, but the file holds {stored} bytes of "
            f"{encoding} data, which {'are' if encoding == 'raw' else 'can be at most'} {most}; "
            "the file is cut short or its header is wrong: get it again"
        )


METAIMAGE = VolumeFormat("metaimage", parse_header, place=grid_and_midline)
