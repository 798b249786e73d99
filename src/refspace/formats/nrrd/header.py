"""The header of an NRRD file, parsed and checked before a voxel is read."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

import nrrd
import numpy as np
from numpy.typing import NDArray

from refspace.errors import FormatError, GridError
from refspace.formats.allen_volumes import ORIENTATION
from refspace.formats.directions import (
    FittedAxes,
    fit_axes,
    micrometres,
    orientation_from_steps,
    origin_from_centre,
    triple,
    world_affine,
)
from refspace.formats.encoded_voxels import EncodedVoxels, Encoding
from refspace.formats.headers import Form
from refspace.formats.intensities import ImageFile, OtherAxis
from refspace.formats.itk_headers import ItkHeader, assumed_unit
from refspace.formats.nrrd.axes import split_axes
from refspace.formats.nrrd.data import data_place
from refspace.formats.sides import NO_SIDES, StatedSides
from refspace.formats.source_file import SourceFile, opened_source
from refspace.formats.spacing import UNSTATED, StatedSpacing
from refspace.grid import Triple
from refspace.limits import how_to_raise, limit
from refspace.safe_text import shown
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

# Fields whose names some programs write without the space, or with capitals, as teem reads them;
# those of the data file are known by both names.
_FIELDS = [
    "space",
    "space dimension",
    "space units",
    "space origin",
    "space directions",
    "measurement frame",
    "dimension",
    "type",
    "encoding",
    "endian",
    "sizes",
    "spacings",
    "units",
    "kinds",
    "labels",
    "centerings",
    "line skip",
    "lineskip",
    "byte skip",
    "byteskip",
    "data file",
    "datafile",
]
_FIELD_NAMES = {name.replace(" ", ""): name for name in _FIELDS} | {name: name for name in _FIELDS}
_FIELD = re.compile("([A-Za-z ]+):(?!=)")

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
_ENCODINGS: dict[str, Encoding] = {"raw": "raw", "gzip": "gzip", "gz": "gzip"}
_BYTE_ORDERS = {"little": "<", "big": ">"}

# µm per unit.
_UNITS = {
    "nm": 1e-3,
    **dict.fromkeys(["um", "\N{MICRO SIGN}m", "\N{GREEK SMALL LETTER MU}m"], 1.0),
    **dict.fromkeys(["micron", "microns", "micrometer", "micrometers", "micrometre"], 1.0),
    **dict.fromkeys(["mm", "millimeter", "millimeters", "millimetre"], 1e3),
    "cm": 1e4,
    "m": 1e6,
}


@dataclass(frozen=True)
class NrrdHeader(ItkHeader):
    """The header of an NRRD file.

    Parameters
    ----------
    usual
        As AllenSDK writes files.
    encoding
        How the voxels are encoded.
    """

    usual: str | None = ORIENTATION
    encoding: Encoding = "raw"


def parse_header(
    source: SourceFile, file: BinaryIO, *, is_image: bool = False, geometry: bool = True
) -> NrrdHeader:
    """Parse and check the header of an NRRD file; no voxel is read.

    Parameters
    ----------
    source, file, is_image, geometry
        As for `HeaderParser`.

    Raises
    ------
    FormatError
        If the file is no three-dimensional volume that `read_nrrd` can read, or no image that
        `read_nrrd_image` can.
    OSError
        If the file cannot be read.
    """
    fields, end = _fields(file), file.tell()
    fields, axes, others = split_axes(fields, is_image=is_image)
    if not is_image:
        _refuse_series(others)
    shape, dtype, encoding = _shape(fields), _dtype(fields), _encoding(fields)
    lengths = dict(zip(axes, shape, strict=True)) | {o.axis: o.length for o in others}
    # Without axes of one voxel that are none of space.
    kept = sorted(lengths)
    nbytes = math.prod(lengths.values()) * dtype.itemsize
    place = data_place(fields, encoding, nbytes, source, end)
    voxels = EncodedVoxels(
        place.files,
        tuple(lengths[axis] for axis in kept),
        dtype,
        encoding,
        place.offset,
        place.skipped,
    )
    i, j, k = (kept.index(axis) for axis in axes)
    others = tuple(replace(other, axis=kept.index(other.axis)) for other in others)
    return NrrdHeader(
        ImageFile(voxels, (i, j, k), others),
        sides=StatedSides.from_fields(fields) if geometry else NO_SIDES,
        encoding=encoding,
        **(_geometry_or_fault(fields, shape) if geometry else {}),
    )


def header_fields(path: PathLike) -> dict[str, Any]:
    """Fields of a header by the names of the format, as `nrrd.read_header` of pynrrd has them.

    Parameters
    ----------
    path
        Local file.

    Raises
    ------
    FormatError
        If the header cannot be parsed, or is not of three dimensions.
    """
    with opened_source(path) as (_, file):
        fields = _fields(file)
        return {**fields, "sizes": np.array(_shape(fields))}


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
    # Real headers have some kB. A line without an end would be read into memory whole.
    most = limit("header_bytes")
    while file.tell() < most:
        # UTF-8, because a µ dropped from "µm" would leave metres.
        line = file.readline(most).decode("utf-8", "replace").rstrip()
        if not line:
            return lines
        lines.append(_named(line))
        if not lines[0].startswith("NRRD"):
            return lines
    raise FormatError(
        f"the header has no end within {most} bytes; the file is damaged, get it again: or else, "
        f"{how_to_raise('header_bytes')}"
    )


def _named(line: str) -> str:
    """Line of a header, whose field has the name that the format gives it."""
    field = _FIELD.match(line)
    if field is None:
        return line
    stated = field[1].strip().lower()
    name = _FIELD_NAMES.get(stated, _FIELD_NAMES.get(stated.replace(" ", "")))
    return line if name is None else f"{name}:{line[field.end() :]}"


def _refuse_series(others: Sequence[OtherAxis]) -> None:
    """Refuse several volumes: of labels there is one."""
    if others:
        along = " and ".join(f"{other.length} along {other.name}" for other in others)
        raise FormatError(
            f"dimension is {3 + len(others)}, with {along}; a volume of labels has three axes, and "
            "any others of length 1: save one volume of it"
        )


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


def _encoding(fields: Mapping[str, Any]) -> Encoding:
    encoding = _ENCODINGS.get(fields["encoding"].lower())
    if encoding is None:
        raise FormatError(
            f"encoding {fields['encoding']!r} is not supported; save it with encoding gzip or raw"
        )
    return encoding


def _geometry_or_fault(fields: Mapping[str, Any], shape: tuple[int, int, int]) -> dict[str, Any]:
    """What a header states of the position of the voxels, or else what is wrong with it."""
    try:
        return _geometry(fields, shape)
    except GridError as error:
        return {"fault": str(error)}


def _geometry(fields: Mapping[str, Any], shape: tuple[int, int, int]) -> dict[str, Any]:
    """Fields of `NrrdHeader` on the position of the voxels, those that are stated."""
    space = _SPACES.get(fields.get("space", "").lower())
    spacings = _spacings(fields)
    if "space directions" not in fields:
        if spacings is None:
            return {"space": space}
        return {"stated": _in_unit(fields, "units", spacings, shape, space)[0], "space": space}
    vectors = _directions(fields["space directions"])
    axes = fit_axes(vectors, _first_centre(fields), shape, "space directions")
    lengths = triple(map(abs, axes.steps))
    stated, scales = _in_unit(fields, "space units", lengths, shape, space, axes.world)
    if spacings is not None:
        _check_spacings(fields, spacings, stated, scales)
    if space is None:
        return {"stated": stated, **_without_directions(fields, axes)}
    # Without an origin, the corner of the volume is at 0.
    origin: Triple = (0.0, 0.0, 0.0)
    if "space origin" in fields:
        origin = _origin(axes, stated.spacing or (), scales, shape, space)
    affine = None
    if axes.deviation:
        affine = world_affine(vectors, _first_centre(fields), scales, space)
    orientation = orientation_from_steps(axes.steps, axes.world, space)
    form = Form("space directions", orientation, stated.spacing, origin, axes.deviation, affine)
    return {"stated": stated, "space": space, "forms": (form,)}


def _without_directions(fields: Mapping[str, Any], axes: FittedAxes) -> dict[str, Any]:
    """What a header lacks that states directions, but in a space that is not anatomical.

    Those along the axes of the file, in no space that has a name, say nothing.
    """
    if "space" in fields:
        named = shown(repr(fields["space"][:60]))
        return {"usual": None, "unoriented": f"the space {named} is not one of anatomy"}
    if list(axes.world) == [0, 1, 2] and min(axes.steps) > 0:
        return {}
    return {"usual": None, "unoriented": "the header has directions, and no 'space' for them"}


def _in_unit(
    fields: Mapping[str, Any],
    name: str,
    numbers: Triple,
    shape: Sequence[int],
    space: str | None,
    world: Sequence[int] = (0, 1, 2),
) -> tuple[StatedSpacing, list[float]]:
    """Spacing in µm, and the µm per unit of each axis of the world.

    Parameters
    ----------
    fields
        Fields of the header.
    name
        That which states units.
    numbers
        Length of a voxel along each axis, as stated.
    shape, space
        Number of voxels; the space, None if it is not anatomical.
    world
        Axis of the world along each of the array.
    """
    scales, kind = _scales(fields, name), UNSTATED
    if scales is None:
        kind, scale = assumed_unit(shape, numbers, space)
        scales = [scale] * 3
    field = "spacings" if name == "units" else "space directions"
    spacing = triple(
        micrometres(number, scales[axis], field)
        for number, axis in zip(numbers, world, strict=True)
    )
    return replace(kind, spacing=spacing), scales


def _check_spacings(
    fields: Mapping[str, Any], spacings: Triple, stated: StatedSpacing, scales: list[float]
) -> None:
    """Refuse spacings that contradict the space directions, whose unit they have if none."""
    units = _scales(fields, "units") or scales
    lengths = triple(
        micrometres(n, unit, "spacings") for n, unit in zip(spacings, units, strict=True)
    )
    if not np.allclose(lengths, stated.spacing or (), rtol=1e-6, atol=0):
        raise FormatError(
            f"spacings {lengths} contradict the lengths of space directions, {stated.spacing}; "
            "remove one"
        )


def _spacings(fields: Mapping[str, Any]) -> Triple | None:
    if "spacings" not in fields:
        return None
    values = np.ravel(fields["spacings"])
    if len(values) != 3 or not (values > 0).all():
        raise FormatError(f"spacings are {values.tolist()}; they must be three positive numbers")
    return triple(map(float, values))


def _directions(rows: Any) -> NDArray[np.float64]:
    """Vector of each axis of the array, as rows."""
    try:
        matrix = np.array([[math.nan] * 3 if row is None else row for row in rows], np.float64)
    except (TypeError, ValueError):
        matrix = np.empty((0, 0))
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all():
        raise FormatError("space directions must be three vectors of three numbers: (25,0,0) …")
    return matrix


def _first_centre(fields: Mapping[str, Any]) -> list[float]:
    """Position of the origin, which in this format is the centre of the first voxel; 0 if none."""
    origin = np.ravel(fields.get("space origin", [0.0] * 3))
    if len(origin) != 3:
        raise FormatError(f"space origin is {origin.tolist()}; it must be three numbers")
    return [float(number) for number in origin]


def _origin(
    axes: FittedAxes,
    spacing: Sequence[float],
    scales: Sequence[float],
    shape: Sequence[int],
    space: str,
) -> Triple:
    """Lowest RAS+ coordinates of the fitted axes."""
    centre = [
        micrometres(value, scale, "space origin")
        for value, scale in zip(axes.centre, scales, strict=True)
    ]
    steps = [math.copysign(n, step) for n, step in zip(spacing, axes.steps, strict=True)]
    return origin_from_centre(steps, axes.world, centre, shape, space)


def _scales(fields: Mapping[str, Any], name: str) -> list[float] | None:
    """µm per unit of each axis; None where no unit is stated."""
    units = [unit.strip().lower() for unit in fields.get(name, [""] * 3)]
    if units == [""] * 3:
        return None
    if len(units) != 3 or not _UNITS.keys() >= set(units):
        raise FormatError(f"{name} are {units}; allowed are three of {', '.join(_UNITS)}")
    return [_UNITS[unit] for unit in units]
