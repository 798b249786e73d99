"""µm per voxel of a file: what its header states, what a convention suggests, what the caller says.

What a header states is believed; a caller who contradicts it must overrule it. What it leaves open
the caller may say. Lengths without a unit are taken as a convention has them.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from refspace.errors import GridError
from refspace.grid import Grid, Triple, parse_orientation, parse_spacing
from refspace.labels import warn_of_odd_resolution
from refspace.types import Resolution

# Voxels of brains, in µm. Lengths whose unit is only assumed are not believed beyond these: numbers
# in µm that are read as mm come out thousands of times as large.
_SMALLEST, _LARGEST = 1.0, 1e4


@dataclass(frozen=True)
class StatedSpacing:
    """What a header says of the lengths of its voxels.

    Parameters
    ----------
    spacing
        µm per voxel along each axis; None if not stated.
    assumed
        What its numbers are taken for, in words, where it states no unit; None if it does.
    notice
        How the assumption is told: by a warning where other programs may mean something else, by a
        note of commands where it is certain, or not at all where all programs share it.
    is_open
        Whether the numbers mean nothing without a unit, so that the caller need not overrule them.
    """

    spacing: Triple | None = None
    assumed: str | None = None
    notice: Literal["warning", "note"] | None = None
    is_open: bool = False


UNSTATED = StatedSpacing()
# From one unit to another: nm, µm, mm and m.
_OTHER_UNITS = (1e-6, 1e-3, 1e3, 1e6)


def settle_spacing(
    stated: StatedSpacing,
    resolution: Resolution | None,
    *,
    override: bool = False,
    path: str = "the file",
    rtol: float = 1e-6,
) -> tuple[Triple, float | None]:
    """Spacing of a file, and the factor by which its header's other lengths are to be taken.

    Parameters
    ----------
    stated
        What the header says.
    resolution
        What the caller says; None if nothing. It must agree with what is stated, unless it
        overrules it.
    override
        Whether the caller overrules what is stated.
    path
        Name of the file, for warnings.
    rtol
        Relative tolerance, as wide as the precision that the header is stored with.

    Returns
    -------
    spacing
        µm per voxel along each axis.
    factor
        1 where the header is believed; None where its lengths are wrong by more than a factor.

    Raises
    ------
    GridError
        If neither says anything, both contradict each other, or voxels would be of a size that no
        brain has.

    Examples
    --------
    >>> settle_spacing(StatedSpacing((1000.0, 1000.0, 1000.0)), 100, override=True)
    ((100.0, 100.0, 100.0), 0.1)
    """
    if resolution is None:
        return _without_resolution(stated, path), 1.0
    wanted = parse_spacing(resolution)
    if stated.spacing is None:
        warn_of_odd_resolution(resolution)
        return wanted, 1.0
    if np.allclose(wanted, stated.spacing, rtol=rtol, atol=0):
        return wanted, 1.0
    factor = _factor(wanted, stated.spacing, rtol)
    is_other_unit = stated.assumed is not None and factor in _OTHER_UNITS
    if not (override or stated.is_open or is_other_unit):
        raise GridError(_contradiction(wanted, stated.spacing, factor))
    warn_of_odd_resolution(resolution)
    return wanted, factor


def scaled_origin(origin: Triple, factor: float | None, path: str) -> Triple:
    """Origin of a header whose lengths are to be taken times a factor; 0 where there is none.

    Examples
    --------
    >>> scaled_origin((-9500.0, 0.0, 100.0), 0.1, "mouse.nii")
    (-950.0, 0.0, 10.0)
    """
    if factor is None:
        if any(origin):
            warnings.warn(
                f"{path}: the resolution differs from the header's by another factor along each "
                "axis, so that the header's origin cannot be kept; the volume starts at 0",
                stacklevel=2,
            )
        return 0.0, 0.0, 0.0
    a, b, c = (round(corner * factor, 6) for corner in origin) if factor != 1 else origin
    return a, b, c


def refuse_fault(
    fault: str | None,
    resolution: Resolution | None,
    orientation: str | None,
    override: bool = False,
    like: Grid | None = None,
) -> None:
    """Refuse a header whose geometry is of no volume, unless the caller says all of it instead.

    Parameters
    ----------
    fault
        What is wrong with the header; None if nothing is.
    resolution, orientation, override
        As for `settle_spacing` and `settle_orientation`.
    like
        Where the voxels of another volume are, which says all.

    Raises
    ------
    GridError
        If there is a fault, and the caller does not overrule the header or leaves something out.

    Examples
    --------
    >>> refuse_fault(None, None, None)
    >>> refuse_fault("voxels are 0 µm apart", 25, "PIR", True)
    """
    says_all = like is not None or (resolution is not None and orientation is not None)
    if fault is not None and not (override and says_all):
        raise GridError(
            f"{fault}; correct the header, or give resolution=, orientation= and override=True to "
            "overrule it"
        )


def settle_orientation(
    stated: Sequence[str], orientation: str | None, *, override: bool = False
) -> str | None:
    """Orientation of a file; None where the caller says nothing and the header not one thing.

    Parameters
    ----------
    stated
        Orientations that the header states.
    orientation
        What the caller says; it must be one of them, where there are any.
    override
        Whether the caller overrules them.

    Raises
    ------
    GridError
        If both contradict each other, or the caller's is none.

    Examples
    --------
    >>> settle_orientation(["LAS"], None), settle_orientation(["LAS", "RAS"], "RAS")
    ('LAS', 'RAS')
    """
    known = sorted(set(stated))
    if orientation is None:
        return known[0] if len(known) == 1 else None
    used = parse_orientation(orientation)
    if known and used not in known and not override:
        raise GridError(
            f"orientation {used} contradicts the header, which states {' and '.join(known)}; leave "
            "the orientation out to believe the header, or give override=True to overrule it"
        )
    return used


def grid_like(
    shape: tuple[int, int, int],
    stated: StatedSpacing,
    like: Grid,
    *,
    override: bool = False,
    path: str = "the file",
    rtol: float = 1e-6,
) -> Grid:
    """Grid of a file that does not state its orientation: that of a volume stored in its order.

    Parameters
    ----------
    shape, stated
        What the header says.
    like
        Where the voxels of the other volume are.
    override, path, rtol
        As for `settle_spacing`.

    Raises
    ------
    GridError
        If the header states another spacing.
    """
    # Numbers without a unit may be in another one, and no more: it is no caller who says so.
    strict = replace(stated, is_open=False)
    spacing, _ = settle_spacing(strict, like.spacing, override=override, path=path, rtol=rtol)
    return replace(like, shape=shape, spacing=spacing)


def spacing_like(stated: StatedSpacing, orientation: str, like: Grid) -> Triple | None:
    """Spacing for a file that states its orientation, but no spacing or no unit; None otherwise."""
    spacing = like.reorient(orientation).spacing
    if stated.spacing is None:
        return spacing
    factor = None if stated.assumed is None else _factor(spacing, stated.spacing, 1e-5)
    return spacing if factor in _OTHER_UNITS else None


def _without_resolution(stated: StatedSpacing, path: str) -> Triple:
    """Spacing of a header, told where its unit is assumed, refused where that cannot be."""
    if stated.spacing is None:
        raise GridError("the header states no spacing; give resolution=, the µm per voxel")
    if stated.assumed is None:
        return stated.spacing
    if min(stated.spacing) > _LARGEST or max(stated.spacing) < _SMALLEST:
        raise GridError(
            f"the header states no unit; its lengths would be {stated.assumed}, and voxels "
            f"{_times(stated.spacing)} µm apart, as those of no brain are; give resolution=, the "
            "µm per voxel"
        )
    if stated.notice == "warning":
        warnings.warn(
            f"{path}: the header states no unit; its lengths are taken as {stated.assumed}: voxels "
            f"are {_times(stated.spacing)} µm apart. If they are not, give resolution=, the µm per "
            "voxel",
            stacklevel=2,
        )
    return stated.spacing


def _factor(wanted: Sequence[float], stated: Sequence[float], rtol: float) -> float | None:
    """Factor from one spacing to another, exact if it is a power of ten; None if there is none."""
    if min(stated) <= 0:
        return None
    ratios = [w / s for w, s in zip(wanted, stated, strict=True)]
    if not np.allclose(ratios, ratios[0], rtol=2 * rtol, atol=0):
        return None
    ten = float(f"1e{round(math.log10(ratios[0]))}")
    return ten if math.isclose(ratios[0], ten, rel_tol=2 * rtol) else ratios[0]


def _contradiction(wanted: Triple, stated: Triple, factor: float | None) -> str:
    larger = "" if factor is None else _comparison(1 / factor)
    return (
        f"resolution {wanted} contradicts the header, whose voxels are {stated} µm apart{larger}; "
        "leave the resolution out to believe the header, or give override=True to overrule it"
    )


def _comparison(ratio: float) -> str:
    """What a ratio of lengths tells of their cause, where it is a power of ten.

    Examples
    --------
    >>> _comparison(10), _comparison(0.001), _comparison(1.5)
    (', 10 times as much', ', 1/1000 of it, as if mm and µm were mixed up', '')
    """
    power = round(math.log10(ratio))
    if power == 0 or not math.isclose(ratio, 10.0**power, rel_tol=1e-4):
        return ""
    number = 10 ** abs(power)
    cause = ", as if mm and µm were mixed up" if number == 1000 else ""
    return f", {number} times as much{cause}" if power > 0 else f", 1/{number} of it{cause}"


def _times(lengths: Sequence[float]) -> str:
    """Lengths in words: one where all are the same.

    Examples
    --------
    >>> _times([25.0, 25.0, 25.0]), _times([10, 20, 33.3])
    ('25', '10 × 20 × 33.3')
    """
    return " × ".join(f"{n:g}" for n in (lengths[:1] if len(set(lengths)) == 1 else lengths))
