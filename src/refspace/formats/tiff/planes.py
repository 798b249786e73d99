"""What a TIFF file says of its planes: which axes lead through them, and how long a voxel is.

Programs say it in the text of the first page, each in a way of its own: ImageJ in lines of names
and values, OME in XML (see `ome`), tifffile in JSON.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refspace.errors import FormatError
from refspace.formats.tiff.directories import Directories
from refspace.safe_text import shown

# µm per unit, by the names of ImageJ and OME.
UNITS = {
    "pm": 1e-6,
    "Å": 1e-4,
    "nm": 1e-3,
    **dict.fromkeys(["um", "\N{MICRO SIGN}m", "\N{GREEK SMALL LETTER MU}m"], 1.0),
    **dict.fromkeys(["micron", "microns", "micrometer", "micrometers", "micrometre"], 1.0),
    **dict.fromkeys(["mm", "millimeter", "millimeters", "millimetre"], 1e3),
    "cm": 1e4,
    "m": 1e6,
}
SECONDS = {"ns": 1e-9, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "sec": 1.0, "min": 60.0, "h": 3600.0}
# cm (and inches, which are no unit here) come with the dots per inch of pictures: believed only of
# voxels that a brain may have, in µm.
_DOUBTFUL, _SMALLEST, _LARGEST = ("cm", "m"), 0.01, 1e4
# In a line of ImageJ's text, and by the format a property without meaning to it.
OWN_KEY = "refspace"
_NAMES = {"T": "time", "Z": "z", "C": "channel"}
# ImageJ writes pixels per unit as a whole number of millionths.
_MILLION = 10**6


@dataclass(frozen=True)
class Axis:
    """An axis that leads from plane to plane: ``"z"``, ``"channel"``, ``"time"`` or another."""

    name: str
    length: int


@dataclass(frozen=True)
class Planes:
    """The planes of a file, in the order in which they are stored or numbered.

    Parameters
    ----------
    axes
        Axes that lead through them, the slowest first.
    pages
        Page of each plane; None where planes are pages, in their order.
    is_run
        Whether all planes lie one behind the other, where the first page begins.
    lengths
        µm per voxel along z, y and x; None of those that are not stated.
    step
        Seconds from one time to the next; None if not stated.
    own
        What refspace has written of the volume.
    fault
        What is wrong with the lengths; None if nothing is.
    """

    axes: tuple[Axis, ...]
    pages: NDArray[np.int64] | None = None
    is_run: bool = False
    lengths: tuple[float | None, float | None, float | None] = (None, None, None)
    step: float | None = None
    own: Mapping[str, Any] | None = None
    fault: str | None = None

    @property
    def count(self) -> int:
        """Number of planes."""
        return math.prod(axis.length for axis in self.axes)


def settled(planes: Planes) -> Planes:
    """Planes whose axes are z and those others that have more than one plane.

    A single axis is z, whatever a program has called it: many write a stack as a series in time, or
    as channels.

    Raises
    ------
    FormatError
        If it is one plane, or no axis is z.

    Examples
    --------
    >>> settled(Planes((Axis("time", 1), Axis("z", 1), Axis("channel", 8)))).axes
    (Axis(name='z', length=8),)
    """
    long = [axis for axis in planes.axes if axis.length > 1]
    if not long and planes.own is None:
        raise FormatError(
            "it is a single picture; give a volume: a stack of pictures as one TIFF file"
        )
    if len(long) < 2:
        return replace(planes, axes=(Axis("z", long[0].length if long else 1),))
    if not any(axis.name == "z" for axis in long):
        listed = ", ".join(f"{axis.length} along {axis.name}" for axis in long)
        raise FormatError(f"it holds planes along several axes, none of which is z: {listed}")
    return replace(planes, axes=tuple(long))


def plain_planes(directories: Directories) -> Planes:
    """Planes of a file that says nothing: each page is one, along z."""
    pages = directories.planes
    return Planes((Axis("z", len(pages)),), pages)


# ----- ImageJ


def is_imagej(text: str) -> bool:
    """Whether a text is of ImageJ."""
    return text.startswith("ImageJ=")


def imagej_planes(directories: Directories) -> Planes:
    """Planes of a file of ImageJ.

    Raises
    ------
    FormatError
        If there are others than its text says.
    """
    fields = _lines(directories.description)
    plain = plain_planes(directories)
    axes = _imagej_axes(fields, plain.count)
    planes = Planes(axes, plain.pages, own=own_fields(fields.get(OWN_KEY, "")))
    if plain.count == 1 < planes.count:
        # One directory for all: so are files beyond 4 GB, and hyperstacks of some programs.
        planes = replace(planes, pages=None, is_run=True)
    elif plain.count != planes.count:
        raise FormatError(
            f"ImageJ's text says {planes.count} planes, but there are {plain.count}; the file is "
            "damaged or cut short, get it again"
        )
    interval = _number(fields.get("finterval", "")) or 0
    step = interval * SECONDS.get(fields.get("tunit", "sec"), math.nan)
    return replace(
        planes,
        lengths=_imagej_lengths(fields, directories),
        step=step if 0 < step < math.inf else None,
    )


def _lines(text: str) -> dict[str, str]:
    """Names and values, one on each line."""
    parts = (line.partition("=") for line in text.splitlines())
    return {name.strip(): value.strip() for name, _, value in parts}


def _imagej_axes(fields: Mapping[str, str], pages: int) -> tuple[Axis, ...]:
    lengths = {
        name: _count(fields.get(key, "1"), key)
        for name, key in (("T", "frames"), ("Z", "slices"), ("C", "channels"))
    }
    images = _count(fields.get("images", "1"), "images")
    if math.prod(lengths.values()) == 1:
        # Stacks of old versions state the images alone.
        lengths["Z"] = images if pages == 1 else pages
    order = fields.get("order", "czt").upper()
    if sorted(order) != ["C", "T", "Z"]:
        order = "CZT"
    return tuple(Axis(_NAMES[name], lengths[name]) for name in reversed(order))


def _count(text: str, name: str) -> int:
    if not re.fullmatch("[1-9][0-9]{0,8}", text):
        raise FormatError(
            f"ImageJ's text says {name}={shown(text[:20])}, which is no number of planes; the file "
            "is damaged, get it again"
        )
    return int(text)


def _imagej_lengths(
    fields: Mapping[str, str], directories: Directories
) -> tuple[float | None, float | None, float | None]:
    """µm per voxel along z, y and x: all that are stated in a unit of length."""
    unit = fields.get("unit", "").replace("\\u00B5", "µ").replace("\\u00b5", "µ")
    scale = UNITS.get(unit.removesuffix("\\u0000"))
    if scale is None or directories.per_unit is None:
        return None, None, None
    x, y = (length_per_pixel(*pair) for pair in directories.per_unit)
    z = _number(fields.get("spacing", ""))
    found = [in_micrometres(n, scale) for n in (z, y, x)]
    known = [n for n in found if n is not None]
    if unit in _DOUBTFUL and not all(_SMALLEST <= n <= _LARGEST for n in known):
        return None, None, None
    return found[0], found[1], found[2]


def length_per_pixel(pixels: int, units: int) -> float:
    """Units of length for each pixel, from a fraction that states pixels per unit.

    ImageJ rounds pixels per unit to a millionth: the shortest number is meant that comes out so.

    Examples
    --------
    >>> length_per_pixel(59694, 1000000), length_per_pixel(1, 25), length_per_pixel(40000, 10**6)
    (16.752, 25.0, 25.0)
    """
    exact = units / pixels
    # Some programs shorten the fraction.
    if _MILLION % units == 0:
        millionths = pixels * _MILLION // units
        for digits in range(1, 12):
            short = float(f"{exact:.{digits}g}")
            if abs(Fraction(_MILLION) / Fraction(short) - millionths) <= Fraction(1, 2):
                return short
    return exact


def in_micrometres(value: float | None, scale: float) -> float | None:
    """Length in µm; None of what is no length.

    Examples
    --------
    >>> in_micrometres(0.0333, 1e3), in_micrometres(0.0, 1.0)
    (33.3, None)
    """
    if value is None or not math.isfinite(value) or value == 0:
        return None
    length = float(f"{abs(value) * scale:.12g}")
    return length if 0 < length < math.inf else None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


# ----- tifffile


def is_shaped(text: str) -> bool:
    """Whether a text is of tifffile."""
    return text.startswith('{"') and '"shape"' in text


def shaped_planes(directories: Directories) -> Planes:
    """Planes of a file of tifffile, whose text has a shape and may have names of axes.

    Raises
    ------
    FormatError
        If there are others than its text says.
    """
    plain = plain_planes(directories)
    try:
        fields = json.loads(directories.description)
    except (ValueError, RecursionError):
        return plain
    if not isinstance(fields, dict) or not _is_shape(fields.get("shape"), directories):
        return plain
    shape: list[int] = fields["shape"]
    names = fields.get("axes")
    if not (isinstance(names, str) and len(names) == len(shape)):
        names = ""
    leading = shape[:-2]
    planes = Planes(_shaped_axes(leading, names), plain.pages)
    if plain.count == 1 < planes.count:
        return replace(planes, pages=None, is_run=True)
    if planes.count == 1 < plain.count:
        # Written page by page: each has a text of its own, and says one plane.
        return plain
    if plain.count != planes.count:
        raise FormatError(
            f"its text says {planes.count} planes, but there are {plain.count}; the file is "
            "damaged or cut short, or holds several arrays: save one"
        )
    return planes


def _is_shape(shape: object, directories: Directories) -> bool:
    """Whether a value is a shape whose last two lengths are those of the pages."""
    layout = directories.first.layout
    return (
        isinstance(shape, list)
        and len(shape) >= 2
        and all(isinstance(n, int) and 0 < n < 10**9 for n in shape)
        and shape[-2:] == [layout.length, layout.width]
    )


def _shaped_axes(leading: Sequence[int], names: str) -> tuple[Axis, ...]:
    """Axes by their names; where there are none, z is the one before the rows."""
    axes = []
    for place, length in enumerate(leading):
        behind = len(leading) - place
        name = _NAMES.get(names[place : place + 1], "z" if behind == 1 and not names else None)
        axes.append(Axis(name or f"dim_{behind + 2}", length))
    return tuple(axes)


# ----- refspace


def own_fields(text: str) -> dict[str, Any] | None:
    """What refspace has written of a volume, as JSON; None where it has not."""
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None
