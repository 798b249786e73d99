"""What a MetaImage header states of the position of its voxels.

The world is left-posterior-superior, in mm, as ITK reads all files. `TransformMatrix` has a row for
each axis of the file, the direction in which its index grows. `AnatomicalOrientation` says the same
once more, by the sides that the axes come from; ITK derives it when it writes, older ones always
wrote RAI, and no ITK reads it.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refspace.errors import FormatError, GridError
from refspace.formats.directions import (
    fit_axes,
    micrometres,
    orientation_from_steps,
    origin_from_centre,
    triple,
    world_affine,
)
from refspace.formats.headers import Form
from refspace.formats.itk_headers import assumed_unit
from refspace.formats.metaimage.fields import excerpt, numbers
from refspace.formats.spacing import UNSTATED, StatedSpacing
from refspace.grid import OPPOSITE, Triple

SPACE = "LPS"
# µm per unit, of those that the format has.
_UNITS = {"um": 1.0, "mm": 1e3, "cm": 1e4}
_UNKNOWN_UNITS = ("", "?")
# How far directions may be off length 1.
_UNIT_LENGTH = 1e-3
# What older ITK wrote whatever the directions are.
_ALWAYS = "RAI"
_LETTERS = re.compile("(?!.*[LR].*[LR])(?!.*[AP].*[AP])(?!.*[SI].*[SI])[LRAPSI]{3}")


def stated_position(fields: Mapping[str, str], lengths: Sequence[int]) -> dict[str, Any]:
    """Fields of `ItkHeader` on the position of the voxels, those that are stated.

    Parameters
    ----------
    fields
        Values of the header by key.
    lengths
        Number of voxels along each axis of the file; the first three are those of space.

    Raises
    ------
    FormatError
        If numbers are missing, or are none.
    """
    try:
        return _position(fields, lengths)
    except GridError as error:
        return {"fault": str(error)}


def _position(fields: Mapping[str, str], lengths: Sequence[int]) -> dict[str, Any]:
    shape = tuple(lengths[:3])
    stated, scale = _spacing(fields, lengths)
    directions = _directions(fields, len(lengths))
    if directions is None:
        return {"stated": stated}
    _refuse_other_centre(fields, directions, len(lengths))
    first = (numbers(fields, "Offset", len(lengths)) or [0.0] * 3)[:3]
    form = _form(directions, first, stated.spacing, scale, shape)
    # Of oblique axes it is the nearest, which ITK finds in another way near the diagonals.
    named = None if form.affine else _named_form(fields, form.orientation)
    return {"stated": stated, "forms": (form,) if named is None else (form, named)}


def _spacing(fields: Mapping[str, str], lengths: Sequence[int]) -> tuple[StatedSpacing, float]:
    """Spacing in µm, and the µm per unit."""
    # The size of an element counts where its distance to the next is not stated.
    stated = numbers(fields, "ElementSpacing", len(lengths))
    stated = stated or numbers(fields, "ElementSize", len(lengths))
    if stated is None:
        return UNSTATED, 1e3
    steps = triple(stated[:3])
    if min(steps) <= 0:
        raise GridError(f"voxels are {list(steps)} apart (ElementSpacing); lengths are positive")
    kind, scale = UNSTATED, _unit(fields)
    if scale is None:
        kind, scale = assumed_unit(lengths[:3], steps, SPACE)
    spacing = triple(micrometres(step, scale, "ElementSpacing") for step in steps)
    return replace(kind, spacing=spacing), scale


def _unit(fields: Mapping[str, str]) -> float | None:
    """µm per unit; None where none is stated."""
    unit = fields.get("DistanceUnits", "").lower()
    if unit in _UNKNOWN_UNITS:
        return None
    if unit not in _UNITS:
        raise FormatError(
            f"DistanceUnits is {excerpt(unit)}; allowed are {', '.join(_UNITS)}: correct the header"
        )
    return _UNITS[unit]


def _directions(fields: Mapping[str, str], count: int) -> NDArray[np.float64] | None:
    """Direction in the world of each axis of space, as rows; None where they are not stated."""
    stated = numbers(fields, "TransformMatrix", count * count)
    if stated is None:
        return None
    matrix = np.array(stated).reshape(count, count)
    if matrix[:3, 3:].any() or matrix[3:, :3].any():
        raise GridError("TransformMatrix turns axes of space into others, like time")
    rows = matrix[:3, :3]
    with np.errstate(over="ignore"):
        off = np.abs(np.linalg.norm(rows, axis=1) - 1).max()
    if not off <= _UNIT_LENGTH:
        raise GridError(f"TransformMatrix has rows {rows.tolist()}; each must be of length 1")
    return rows


def _refuse_other_centre(
    fields: Mapping[str, str], directions: NDArray[np.float64], count: int
) -> None:
    """Refuse a centre of rotation that would matter: some turn about it, ITK does not."""
    centre = numbers(fields, "CenterOfRotation", count)
    if centre is not None and any(centre[:3]) and not np.array_equal(directions, np.eye(3)):
        raise GridError(
            f"CenterOfRotation is {centre[:3]} with a TransformMatrix that turns; ITK passes over "
            "it, other programs do not: save the volume with ITK"
        )


def _form(
    directions: NDArray[np.float64],
    first: Sequence[float],
    spacing: Triple | None,
    scale: float,
    shape: Sequence[int],
) -> Form:
    """Statement on the position of the voxels, whose lengths may not be stated.

    Parameters
    ----------
    directions
        As of `_directions`.
    first
        Centre of the first voxel.
    spacing
        µm per voxel along each axis; None if not stated.
    scale
        µm per unit.
    shape
        Number of voxels along each axis.
    """
    lengths = np.array(spacing or (scale,) * 3) / scale
    vectors = directions * lengths[:, None]
    axes = fit_axes(vectors, first, shape, "the rows of TransformMatrix")
    name, orientation = (
        "TransformMatrix",
        orientation_from_steps(axes.steps, axes.world, SPACE),
    )
    if spacing is None:
        return Form(name, orientation)
    steps = [math.copysign(n, step) for n, step in zip(spacing, axes.steps, strict=True)]
    centre = [micrometres(x, scale, "Offset") for x in axes.centre]
    origin = origin_from_centre(steps, axes.world, centre, shape, SPACE)
    affine = world_affine(vectors, first, [scale] * 3, SPACE) if axes.deviation else None
    return Form(name, orientation, spacing, origin, axes.deviation, affine)


def _named_form(fields: Mapping[str, str], orientation: str) -> Form | None:
    """What `AnatomicalOrientation` says, where that contradicts the directions.

    It is taken for right by the sides that axes come from, as ITK writes it, or go to, as others.
    """
    letters = fields.get("AnatomicalOrientation", "").upper()
    if _LETTERS.fullmatch(letters) is None or letters in (_ALWAYS, orientation):
        return None
    named = "".join(OPPOSITE[letter] for letter in letters)
    return None if named == orientation else Form("AnatomicalOrientation", named)
