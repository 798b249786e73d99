"""Which axes of an NRRD file are those of space, where it has more than three."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from refspace.errors import FormatError
from refspace.formats.intensities import OtherAxis
from refspace.safe_text import shown

# Kinds of axes along which positions lie; of "none" and "???" nothing is said.
_SPACE_KINDS = ("domain", "space")
_SECONDS = {
    **dict.fromkeys(["s", "sec", "second", "seconds"], 1.0),
    **dict.fromkeys(["ms", "msec", "millisecond", "milliseconds"], 1e-3),
}


def split_axes(
    fields: Mapping[str, Any], *, is_image: bool = False
) -> tuple[dict[str, Any], tuple[int, ...], tuple[OtherAxis, ...]]:
    """Fields of one volume of an image, which axes of the file are its own, and the other axes.

    Parameters
    ----------
    fields
        Fields of a header, the sizes as text.
    is_image
        Whether the file may hold several volumes.

    Raises
    ------
    FormatError
        If the header does not say which three axes are those of space, or if the values are
        complex.

    Examples
    --------
    >>> kinds = ["list", "domain", "domain", "domain"]
    >>> volume, space, others = split_axes({"dimension": 4, "sizes": "2 9 8 7", "kinds": kinds})
    >>> volume["sizes"], space, others[0].name, others[0].length
    ('9 8 7', (1, 2, 3), 'channel', 2)
    """
    kinds = [str(kind).lower() for kind in fields.get("kinds", ())]
    if "complex" in kinds:
        raise FormatError(
            "the values are complex numbers, by the kind of an axis; save their magnitude "
            "(numpy.abs) or their real part"
        )
    sizes = fields["sizes"].split()
    if fields["dimension"] <= 3 or len(sizes) != fields["dimension"]:
        _refuse_planes(fields, kinds, sizes)
        return {**fields}, (0, 1, 2), ()
    is_of_itk = fields.get("space dimension") == len(sizes)
    if is_of_itk:
        # All axes are of its space: those of the volume are the first.
        kinds = [*["domain"] * 3, "time", *["list"] * (len(sizes) - 4)]
    space = named = (0, 1, 2) if is_of_itk else _space_axes(fields, kinds)
    if len(space) != 3:
        space = _long_axes(sizes, is_image=is_image)
    if len(space) != 3 or max(space) >= len(sizes):
        raise FormatError(
            f"dimension is {fields['dimension']}, and the header names {len(named)} axes of space; "
            "state three, by 'kinds' like list domain domain domain, or by 'space directions' with "
            "none for the others"
        )
    others = _other_axes(fields, kinds, sizes, space)
    volume = {**fields, "dimension": 3, "sizes": " ".join(sizes[axis] for axis in space)}
    for name in ("space directions", "spacings", "units"):
        if len(fields.get(name, ())) == len(sizes):
            volume[name] = [fields[name][axis] for axis in space]
    if is_of_itk:
        volume |= _in_three_dimensions(volume)
    return volume, space, others


def _refuse_planes(fields: Mapping[str, Any], kinds: Sequence[str], sizes: Sequence[str]) -> None:
    """Refuse pictures of several channels or times, which have three axes too."""
    of_space = {*_SPACE_KINDS, "none", "???", ""}
    if "space directions" in fields:
        of_space.add("time")  # with a direction, it is one of space
    for kind, size in zip(kinds, sizes, strict=False):
        if kind not in of_space and size != "1":
            raise FormatError(
                f"an axis is of the kind {shown(repr(kind[:60]))}, so that two are left for "
                "space; a volume has three: correct 'kinds', or save a volume"
            )


def _long_axes(sizes: Sequence[str], *, is_image: bool) -> tuple[int, ...]:
    """Axes of more than one voxel, which are those of space if they are three; none in doubt."""
    axes = tuple(axis for axis, size in enumerate(sizes) if size != "1")
    # An axis of one voxel between them may be of space itself, and one beside it of channels.
    is_clear = not is_image or max(axes, default=0) - min(axes, default=0) < 3
    return axes if is_clear else ()


def _in_three_dimensions(volume: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a volume of a space that has as many dimensions as the file has axes.

    ITK writes such, without a name: the world's first three are left, posterior and superior.
    """
    if "space directions" not in volume:
        return {}
    count, origin = volume["space dimension"], np.ravel(volume.get("space origin", ()))
    try:
        rows = np.array(volume["space directions"], np.float64).reshape(3, count)
        is_apart = np.isfinite(rows).all() and not rows[:, 3:].any()
    except (TypeError, ValueError):  # of some axes none are stated, or other numbers
        is_apart = False
    if not is_apart or len(origin) not in (0, count):
        raise FormatError(
            f"space directions and origin must be vectors of {count} numbers, as is the space "
            "dimension, and those of the first three axes 0 along others; correct the header"
        )
    fields = {"space": "left-posterior-superior", "space directions": rows[:, :3]}
    return fields | ({"space origin": origin[:3]} if len(origin) else {})


def _space_axes(fields: Mapping[str, Any], kinds: Sequence[str]) -> tuple[int, ...]:
    """Axes of space: those with a direction, or of a kind of space, or with a spacing."""
    if "space directions" in fields:
        is_space = [_is_stated(row) for row in fields["space directions"]]
    elif kinds:
        is_space = [kind in _SPACE_KINDS for kind in kinds]
    else:
        is_space = [_is_stated(spacing) for spacing in np.ravel(fields.get("spacings", ()))]
    return tuple(axis for axis, stated in enumerate(is_space) if stated)


def _is_stated(numbers: Any) -> bool:
    """Whether numbers stand where the format allows ``none`` or NaN."""
    return numbers is not None and bool(np.isfinite(np.asarray(numbers, np.float64)).any())


def _other_axes(
    fields: Mapping[str, Any], kinds: Sequence[str], sizes: Sequence[str], space: Sequence[int]
) -> tuple[OtherAxis, ...]:
    """Axes that are none of space, of more than one volume."""
    found: dict[str, OtherAxis] = {}
    for axis in sorted({*range(len(sizes))} - {*space}):
        if not re.fullmatch("[1-9][0-9]{0,11}", sizes[axis]):
            raise FormatError(f"sizes are {' '.join(sizes)!r}; they must be positive whole numbers")
        name = "time" if kinds[axis : axis + 1] == ["time"] else "channel"
        if (length := int(sizes[axis])) > 1:
            name = f"dim_{axis + 1}" if name in found else name
            found[name] = OtherAxis(name, axis, length, step=_seconds(fields, axis))
    return tuple(found.values())


def _seconds(fields: Mapping[str, Any], axis: int) -> float | None:
    """Seconds from one volume to the next; None where the header does not state them."""
    spacings, units = np.ravel(fields.get("spacings", ())), fields.get("units", ())
    if axis >= len(spacings) or axis >= len(units):
        return None
    scale = _SECONDS.get(units[axis].strip().lower(), math.nan)
    step = float(spacings[axis]) * scale
    return step if 0 < step < math.inf else None
