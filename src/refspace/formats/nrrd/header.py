"""The header of an NRRD file, read and checked before anything is done with it."""

import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import nrrd
import numpy as np

from refspace.errors import FormatError, GridError
from refspace.grid import Triple

# Axes of the named spaces: the direction in which each world coordinate grows.
_SPACES = {
    "left-posterior-superior": "LPS",
    "lps": "LPS",
    "right-anterior-superior": "RAS",
    "ras": "RAS",
    "left-anterior-superior": "LAS",
    "las": "LAS",
}
OPPOSITE = dict(zip("LRPASI", "RLAPIS", strict=True))

# Names of each type, all that the format defines but "block".
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
_ENCODINGS = {"raw": "raw", "gzip": "gzip", "gz": "gzip"}
_BYTE_ORDERS = {"little": "<", "big": ">"}

_UNITS = {
    "": 1.0,  # not stated: the archives that leave it out write µm
    "nm": 1e-3,
    **dict.fromkeys(["um", "\N{MICRO SIGN}m", "\N{GREEK SMALL LETTER MU}m"], 1.0),
    **dict.fromkeys(["micron", "microns", "micrometer", "micrometers", "micrometre"], 1.0),
    **dict.fromkeys(["mm", "millimeter", "millimeters", "millimetre"], 1e3),
    "cm": 1e4,
    "m": 1e6,
}

_MAX_HEADER_BYTES = 2**20
# Deflate stores at most 258 bytes in two bits: no stream grows more than this.
_MAX_DEFLATE_RATIO = 1032
# A thousand metres. Keeps the coordinates that a damaged header asks for from overflowing.
_MAX_MICROMETRES = 1e9
# Directions that are computed from rotations carry noise of this relative size.
_OBLIQUE = 1e-6


@dataclass(frozen=True)
class NrrdHeader:
    """What the header of an NRRD file says.

    Parameters
    ----------
    path
        Absolute path of the file.
    file_bytes, mtime_ns
        Its size and the time of its last change.
    shape
        Number of voxels along each axis, the fastest in the file first.
    dtype
        Type of the voxels as stored, with its byte order.
    encoding
        ``"raw"`` or ``"gzip"``.
    data_offset
        Where in the file the data start.
    spacing
        µm per voxel along each axis; None if not stated.
    space
        Directions in which the world coordinates grow; None if the space is not anatomical.
    orientation
        Direction in which the index of each axis grows; None if not stated.
    origin
        Corner of the first voxel in µm along `orientation`; None if not stated.
    """

    path: str
    file_bytes: int
    mtime_ns: int
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    encoding: str
    data_offset: int
    spacing: Triple | None = None
    space: str | None = None
    orientation: str | None = None
    origin: Triple | None = None

    @property
    def nbytes(self) -> int:
        """Size of the decoded voxels."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_header(path: str | os.PathLike[str]) -> NrrdHeader:
    """Read and check the header of an NRRD file; the voxels are not touched.

    Raises
    ------
    FormatError
        If it is not the header of a three-dimensional volume that `read_nrrd` can read.
    GridError
        If its axes are oblique.
    OSError
        If the file cannot be read.
    """
    absolute = Path(path).absolute()
    with absolute.open("rb") as file, naming(str(absolute)):
        fields, end, status = _fields(file), file.tell(), os.fstat(file.fileno())
        shape, dtype, encoding = _shape(fields), _dtype(fields), _encoding(fields)
        nbytes = math.prod(shape) * dtype.itemsize
        offset = _data_offset(fields, encoding, nbytes, end, status.st_size)
        return NrrdHeader(
            str(absolute),
            status.st_size,
            status.st_mtime_ns,
            shape,
            dtype,
            encoding,
            offset,
            *_geometry(fields),
        )


@contextmanager
def naming(path: str) -> Iterator[None]:
    """Put the path before the message of an error about a file."""
    try:
        yield
    except (FormatError, GridError) as error:
        error.args = (f"{path}: {error}",)
        raise


def _fields(file: BinaryIO) -> Mapping[str, Any]:
    lines = _lines(file)
    if not lines or not lines[0].startswith("NRRD"):
        start = (
            f"starts with {lines[0][:20]!r}" if lines else "is empty or starts with a blank line"
        )
        raise FormatError(f"not an NRRD file: it {start}, not with 'NRRD'; check what was saved")
    try:
        # Numbers that overflow an integer are an error too, not a warning.
        with np.errstate(all="raise"):
            fields: dict[str, Any] = dict(nrrd.read_header(lines))
    except Exception as error:  # IndexError, ValueError, …: whatever the parser runs into
        raise FormatError(
            f"the header cannot be parsed ({error}); the file is damaged, get it again"
        ) from error
    missing = [name for name in ("type", "dimension", "sizes", "encoding") if name not in fields]
    if missing:
        raise FormatError(
            f"the header has no field {missing[0]!r}; the file is damaged, get it again"
        )
    # pynrrd takes sizes through float64, which rounds 4.5 and 2**53 + 1: keep the text.
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
    """Where the data start, if as many as are declared can be there."""
    if (other := _either(fields, "data file")) is not None:
        # Refused: the name may lead anywhere on this machine.
        raise FormatError(
            f"the data are in another file, {other!r}; only attached data are read: save header "
            "and data in one .nrrd file"
        )
    lines, skip = _either(fields, "line skip") or 0, _either(fields, "byte skip") or 0
    at_end = encoding == "raw" and skip == -1  # the data are the last bytes of the file
    if lines != 0 or (skip != 0 and not at_end):
        raise FormatError(
            f"line skip {lines} and byte skip {skip} are not supported with encoding {encoding}; "
            "save it without them"
        )
    stored = file_end - header_end
    most = stored * (_MAX_DEFLATE_RATIO if encoding == "gzip" else 1)
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
    """Spacing, space, orientation and origin, each where it is stated."""
    space = _SPACES.get(fields.get("space", "").lower())
    spacing = _spacings(fields)
    if "space directions" not in fields:
        return spacing, space, None, None
    scales = _scales(fields, "space units")
    signed, world = _directions(fields["space directions"])
    lengths = [
        _micrometres(step, scales[axis], "space directions")
        for step, axis in zip(signed, world, strict=True)
    ]
    stated = _triple(map(abs, lengths))
    if spacing is not None and not np.allclose(spacing, stated, rtol=1e-6, atol=0):
        raise FormatError(
            f"spacings {spacing} contradict the lengths of space directions, {stated}; remove one"
        )
    if space is None:
        return stated, None, None, None
    letters = [space[axis] for axis in world]
    orientation = "".join(
        letter if step > 0 else OPPOSITE[letter]
        for letter, step in zip(letters, lengths, strict=True)
    )
    return stated, space, orientation, _corner(fields, scales, lengths, world)


def _spacings(fields: Mapping[str, Any]) -> Triple | None:
    if "spacings" not in fields:
        return None
    values, scales = np.ravel(fields["spacings"]), _scales(fields, "units")
    if len(values) != 3 or not (values > 0).all():
        raise FormatError(f"spacings are {values.tolist()}; they must be three positive numbers")
    return _triple(
        _micrometres(value, scale, "spacings") for value, scale in zip(values, scales, strict=True)
    )


def _directions(rows: Any) -> tuple[list[float], list[int]]:
    """Signed step along each axis, and the world coordinate that it changes."""
    try:
        matrix = np.array([[math.nan] * 3 if row is None else row for row in rows], np.float64)
    except (TypeError, ValueError):
        matrix = np.empty((0, 0))
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all():
        raise FormatError("space directions must be three vectors of three numbers: (25,0,0) …")
    world = np.abs(matrix).argmax(axis=1)
    steps = matrix[np.arange(3), world]
    others = matrix.copy()
    others[np.arange(3), world] = 0
    if len(set(world)) < 3 or (np.abs(others).max(axis=1) > _OBLIQUE * np.abs(steps)).any():
        raise GridError(
            f"space directions {matrix.tolist()} are not along the axes of the space; resample "
            "the volume to an axis-aligned grid first"
        )
    return steps.tolist(), world.tolist()


def _corner(
    fields: Mapping[str, Any], scales: list[float], lengths: list[float], world: list[int]
) -> Triple | None:
    """Corner of the first voxel; the format's origin is its centre."""
    if "space origin" not in fields:
        return None
    origin = np.ravel(fields["space origin"])
    if len(origin) != 3:
        raise FormatError(f"space origin is {origin.tolist()}; it must be three numbers")
    centre = [
        _micrometres(value, scale, "space origin")
        for value, scale in zip(origin, scales, strict=True)
    ]
    # Rounded to a picometre: halves of decimal spacings leave noise in the last digit.
    return _triple(
        round(math.copysign(1, step) * centre[axis] - abs(step) / 2, 6) + 0.0
        for step, axis in zip(lengths, world, strict=True)
    )


def _scales(fields: Mapping[str, Any], name: str) -> list[float]:
    """µm per unit of each axis."""
    units = [unit.strip().lower() for unit in fields.get(name, [""] * 3)]
    if len(units) != 3 or not _UNITS.keys() >= set(units):
        raise FormatError(
            f"{name} are {units}; allowed are three of {', '.join(filter(None, _UNITS))}"
        )
    return [_UNITS[unit] for unit in units]


def _micrometres(value: float, scale: float, name: str) -> float:
    # Rounded only where a factor leaves noise: 0.0333 mm are 33.3 µm.
    length = float(value) if scale == 1 else round(float(value) * scale, 9)
    if not abs(length) < _MAX_MICROMETRES:
        raise FormatError(f"{name} holds {value}; that is no length in µm, correct the header")
    return length


def _triple(values: Any) -> Triple:
    a, b, c = values
    return a, b, c
