"""The header of an NRRD file, parsed and checked before a voxel is read."""

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import nrrd
import numpy as np

from refspace.errors import FormatError
from refspace.formats.directions import (
    corner_from_centre,
    micrometres,
    orientation_from_steps,
    signed_steps,
    triple,
)
from refspace.formats.intensities import ImageFile, OtherAxis
from refspace.formats.nrrd.axes import split_axes
from refspace.formats.voxel_files import MAX_DEFLATE_RATIO, VoxelFile, naming
from refspace.grid import Triple
from refspace.types import PathLike

# Axes of the named spaces: the direction in which each world coordinate grows.
_SPACES = {
    "left-posterior-superior": "LPS",
    "lps": "LPS",
    "right-anterior-superior": "RAS",
    "ras": "RAS",
    "left-anterior-superior": "LAS",
    "las": "LAS",
}

# Names of each dtype: all that the format defines, except "block".
_TYPES = {
    "i1": "signed char, int8, int8_t",
    "u1": "uchar, unsigned char, uint8, uint8_t",
    "i2": "short, short int, signed short, signed short int, int16, int16_t",
    "u2": "ushort, unsigned short, unsigned short int, uint16, uint16_t",
    "i4": "int, signed int, int32, int32_t",
    "u4": "uint, unsigned int, uint32, uint32_t",
    "i8": "longlong, long long, long long int, signed long long, signed long long int, "
    "int64, int64_t",
    "u8": "ulonglong, unsigned long long, unsigned long long int, uint64, uint64_t",
    "f4": "float",
    "f8": "double",
}
_CODES = {name: code for code, names in _TYPES.items() for name in names.split(", ")}
# The format has bzip2, text and hex too: they are refused by name.
_ENCODINGS = {"raw": "raw", "gzip": "gzip", "gz": "gzip"}
_BYTE_ORDERS = {"little": "<", "big": ">"}

# µm per unit.
_UNITS = {
    "": 1.0,  # not stated: the archives that leave it out write µm
    "nm": 1e-3,
    **dict.fromkeys(["um", "\N{MICRO SIGN}m", "\N{GREEK SMALL LETTER MU}m"], 1.0),
    **dict.fromkeys(["micron", "microns", "micrometer", "micrometers", "micrometre"], 1.0),
    **dict.fromkeys(["mm", "millimeter", "millimeters", "millimetre"], 1e3),
    "cm": 1e4,
    "m": 1e6,
}

# Real headers have some kB. A line without an end would be read into memory whole.
_MAX_HEADER_BYTES = 2**20


@dataclass(frozen=True)
class NrrdHeader(VoxelFile):
    """The header of an NRRD file; what concerns its voxels is that of `VoxelFile`.

    Parameters
    ----------
    spacing
        µm per voxel along each axis; None if not stated.
    space
        Directions in which the world coordinates grow; None if the space is not anatomical.
    orientation
        Direction in which the index of each axis grows; None if not stated.
    origin
        Corner of the first voxel in µm along `orientation`; None if not stated.
    """

    shape: tuple[int, int, int]
    spacing: Triple | None = None
    space: str | None = None
    orientation: str | None = None
    origin: Triple | None = None


def read_header(path: PathLike) -> NrrdHeader:
    """Read and check the header of an NRRD file; no voxel is read.

    Raises
    ------
    FormatError
        If the file is no three-dimensional volume that `read_nrrd` can read.
    GridError
        If its axes are oblique.
    OSError
        If the file cannot be read.
    """
    return _read(path, is_image=False)[0]


def read_image_header(path: PathLike) -> tuple[NrrdHeader, ImageFile]:
    """Read and check the header of an image, which may have more axes than those of space.

    Raises
    ------
    FormatError
        If the file is no image that `read_nrrd_image` can read.
    GridError, OSError
        As for `read_header`.
    """
    return _read(path, is_image=True)


def _read(path: PathLike, *, is_image: bool) -> tuple[NrrdHeader, ImageFile]:
    absolute = Path(path).absolute()
    with absolute.open("rb") as file, naming(str(absolute)):
        fields, end, status = _fields(file), file.tell(), os.fstat(file.fileno())
        axes: tuple[int, ...] = (0, 1, 2)
        others: tuple[OtherAxis, ...] = ()
        if is_image:
            fields, axes, others = split_axes(fields)
        shape, dtype, encoding = _shape(fields), _dtype(fields), _encoding(fields)
        volumes = math.prod(other.length for other in others)
        nbytes = math.prod(shape) * dtype.itemsize * volumes
        offset = _data_offset(fields, encoding, nbytes, end, status.st_size)
        spacing, space, orientation, origin = _geometry(fields)
        volume = NrrdHeader(
            str(absolute),
            status.st_size,
            status.st_mtime_ns,
            shape,
            dtype,
            encoding,
            offset,
            spacing=spacing,
            space=space,
            orientation=orientation,
            origin=origin,
        )
        return volume, ImageFile(volume, axes, others)


def _fields(file: BinaryIO) -> Mapping[str, Any]:
    lines = _lines(file)
    if not lines or not lines[0].startswith("NRRD"):
        start = (
            f"starts with {lines[0][:20]!r}" if lines else "is empty or starts with a blank line"
        )
        raise FormatError(f"not an NRRD file: it {start}, not with 'NRRD'; check what was saved")
    try:
        # A number that overflows an integer would only be a warning of NumPy.
        with np.errstate(all="raise"):
            fields: dict[str, Any] = dict(nrrd.read_header(lines))
    except Exception as error:  # IndexError, ValueError and others of the parser
        raise FormatError(
            f"the header cannot be parsed ({error}); the file is damaged, get it again"
        ) from error
    missing = [name for name in ("type", "dimension", "sizes", "encoding") if name not in fields]
    if missing:
        raise FormatError(
            f"the header has no field {missing[0]!r}; the file is damaged, get it again"
        )
    # The text of the sizes: pynrrd takes them through float64, which rounds 4.5 and 2**53 + 1.
    fields["sizes"] = next(
        re.split(":=?", line, maxsplit=1)[1]
        for line in lines
        if re.match(r"sizes\s*:", line.strip())
    )
    return fields


def _lines(file: BinaryIO) -> list[str]:
    """Lines up to the blank one that ends a header; the file is left at the first byte of data."""
    lines: list[str] = []
    while file.tell() < _MAX_HEADER_BYTES:
        # UTF-8, because a µ dropped from "µm" would leave metres.
        line = file.readline(_MAX_HEADER_BYTES).decode("utf-8", "replace").rstrip()
        if not line:
            return lines
        lines.append(line)
        if not lines[0].startswith("NRRD"):
            return lines
    raise FormatError(
        f"the header has no end within {_MAX_HEADER_BYTES} bytes; the file is damaged, get it again"
    )


def _either(fields: Mapping[str, Any], name: str) -> Any:
    """Value of a field whose name the format allows with and without its space."""
    twin = name.replace(" ", "")
    if name in fields and twin in fields:
        raise FormatError(f"the header has both {name!r} and {twin!r}; remove one")
    return fields.get(name, fields.get(twin))


def _shape(fields: Mapping[str, Any]) -> tuple[int, int, int]:
    sizes = fields["sizes"].split()
    if fields["dimension"] != 3 or len(sizes) != 3:
        raise FormatError(
            f"dimension is {fields['dimension']} and sizes are {fields['sizes'].strip()!r}; a "
            "volume has dimension 3 and three sizes: save one channel of it"
        )
    if not all(re.fullmatch("[1-9][0-9]{0,11}", size) for size in sizes):
        raise FormatError(
            f"sizes are {fields['sizes'].strip()!r}; they must be positive whole numbers"
        )
    a, b, c = map(int, sizes)
    return a, b, c


def _dtype(fields: Mapping[str, Any]) -> np.dtype[Any]:
    code = _CODES.get(fields["type"].lower())
    if code is None:
        raise FormatError(
            f"type {fields['type']!r} is not supported; save it with integers of 8 to 64 bits, "
            "float or double"
        )
    endian = fields.get("endian", "little" if code in ("i1", "u1") else None)
    if endian not in _BYTE_ORDERS:
        raise FormatError(
            f"the header has endian {endian!r} for type {fields['type']!r}; it must be 'little' "
            "or 'big'"
        )
    return np.dtype(_BYTE_ORDERS[endian] + code)


def _encoding(fields: Mapping[str, Any]) -> str:
    encoding = _ENCODINGS.get(fields["encoding"].lower())
    if encoding is None:
        raise FormatError(
            f"encoding {fields['encoding']!r} is not supported; save it with encoding gzip or raw"
        )
    return encoding


def _data_offset(
    fields: Mapping[str, Any], encoding: str, nbytes: int, header_end: int, file_end: int
) -> int:
    """Position of the data in the file, checked against its size."""
    if (other := _either(fields, "data file")) is not None:
        # Refused: the name may be that of any file on this machine.
        raise FormatError(
            f"the data are in another file, {other!r}; only attached data are read: save header "
            "and data in one .nrrd file"
        )
    lines, skip = _either(fields, "line skip") or 0, _either(fields, "byte skip") or 0
    # byte skip -1: the data are the last bytes of the file.
    at_end = encoding == "raw" and skip == -1
    if lines != 0 or (skip != 0 and not at_end):
        raise FormatError(
            f"line skip {lines} and byte skip {skip} are not supported with encoding {encoding}; "
            "save it without them"
        )
    stored = file_end - header_end
    most = stored * (MAX_DEFLATE_RATIO if encoding == "gzip" else 1)
    if nbytes > most or (encoding == "raw" and nbytes != stored and not at_end):
        raise FormatError(
            f"sizes and type make {nbytes} bytes, but the file holds {stored} bytes of {encoding} "
            f"data, which {'are' if encoding == 'raw' else 'can be at most'} {most}; the file is "
            "cut short or its header is wrong: get it again"
        )
    return file_end - nbytes if at_end else header_end


def _geometry(
    fields: Mapping[str, Any],
) -> tuple[Triple | None, str | None, str | None, Triple | None]:
    """Spacing, space, orientation and origin, each None if it is not stated."""
    space = _SPACES.get(fields.get("space", "").lower())
    spacing = _spacings(fields)
    if "space directions" not in fields:
        return spacing, space, None, None
    scales = _scales(fields, "space units")
    signed, world = _directions(fields["space directions"])
    lengths = [
        micrometres(step, scales[axis], "space directions")
        for step, axis in zip(signed, world, strict=True)
    ]
    stated = triple(map(abs, lengths))
    if spacing is not None and not np.allclose(spacing, stated, rtol=1e-6, atol=0):
        raise FormatError(
            f"spacings {spacing} contradict the lengths of space directions, {stated}; remove one"
        )
    if space is None:
        return stated, None, None, None
    orientation = orientation_from_steps(lengths, world, space)
    return stated, space, orientation, _corner(fields, scales, lengths, world)


def _spacings(fields: Mapping[str, Any]) -> Triple | None:
    if "spacings" not in fields:
        return None
    values, scales = np.ravel(fields["spacings"]), _scales(fields, "units")
    if len(values) != 3 or not (values > 0).all():
        raise FormatError(f"spacings are {values.tolist()}; they must be three positive numbers")
    return triple(
        micrometres(value, scale, "spacings") for value, scale in zip(values, scales, strict=True)
    )


def _directions(rows: Any) -> tuple[list[float], list[int]]:
    """Signed step along each axis, and the world coordinate that it changes."""
    try:
        matrix = np.array([[math.nan] * 3 if row is None else row for row in rows], np.float64)
    except (TypeError, ValueError):
        matrix = np.empty((0, 0))
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all():
        raise FormatError("space directions must be three vectors of three numbers: (25,0,0) …")
    return signed_steps(matrix, "space directions")


def _corner(
    fields: Mapping[str, Any], scales: list[float], lengths: list[float], world: list[int]
) -> Triple | None:
    """Corner of the first voxel, from the origin, which in this format is its centre."""
    if "space origin" not in fields:
        return None
    origin = np.ravel(fields["space origin"])
    if len(origin) != 3:
        raise FormatError(f"space origin is {origin.tolist()}; it must be three numbers")
    centre = [
        micrometres(value, scale, "space origin")
        for value, scale in zip(origin, scales, strict=True)
    ]
    return corner_from_centre(lengths, world, centre)


def _scales(fields: Mapping[str, Any], name: str) -> list[float]:
    """µm per unit of each axis."""
    units = [unit.strip().lower() for unit in fields.get(name, [""] * 3)]
    if len(units) != 3 or not _UNITS.keys() >= set(units):
        raise FormatError(
            f"{name} are {units}; allowed are three of {', '.join(filter(None, _UNITS))}"
        )
    return [_UNITS[unit] for unit in units]
