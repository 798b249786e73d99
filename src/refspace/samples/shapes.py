"""Geometry of the phantom: curves, surfaces and angles.

Only operations that IEEE 754 rounds correctly are used (+, -, *, /, sqrt, comparisons, minimum,
maximum, abs, floor), each in a NumPy call of its own, so that every machine computes the same bits.
Sines, powers and `hypot` are not used: they come from the mathematical library of the machine,
which may differ in the last bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_TINY = 1e-12  # keeps 0 / 0 out of the exact centre of a solid


@dataclass(frozen=True)
class Curve:
    """Smooth curve through `knots`: cubic Hermite pieces, level at and beyond the ends."""

    knots: tuple[tuple[float, float], ...]

    def __call__(self, positions: Floats) -> Floats:
        """Evaluate at `positions` of any shape."""
        at, values = np.array(self.knots, np.float64).T
        slopes = np.zeros_like(values)
        slopes[1:-1] = (values[2:] - values[:-2]) / (at[2:] - at[:-2])
        inside = clip(positions, at[0], at[-1])
        left = np.minimum(np.searchsorted(at, inside, side="right") - 1, len(at) - 2)
        length = at[left + 1] - at[left]
        t = (inside - at[left]) / length
        rise = values[left + 1] - values[left]
        start, end = slopes[left] * length, slopes[left + 1] * length
        second = 3.0 * rise - 2.0 * start - end
        third = start + end - 2.0 * rise
        value: Floats = values[left] + t * (start + t * (second + t * third))
        return value


def curves(stations: Sequence[float], **values: Sequence[float]) -> dict[str, Curve]:
    """Curves by name, all with their knots at the same `stations`."""
    return {name: Curve(tuple(zip(stations, knots, strict=True))) for name, knots in values.items()}


def square(value: Floats) -> Floats:
    """Square by one multiplication (a power function may round differently elsewhere)."""
    return value * value


def clip(value: Floats, low: float, high: float) -> Floats:
    """Limit `value` to the range from `low` to `high`."""
    return np.minimum(np.maximum(value, low), high)


def smooth_min(first: Floats, second: Floats, *, radius: float) -> Floats:
    """Minimum whose crease is rounded where the two differ by less than `radius`."""
    blend = np.maximum(radius - np.abs(first - second), 0.0) / radius
    return np.minimum(first, second) - blend * blend * (radius / 4.0)


def smooth_max(first: Floats, second: Floats, *, radius: float) -> Floats:
    """Maximum whose crease is rounded where the two differ by less than `radius`."""
    return -smooth_min(-first, -second, radius=radius)


def diamond_angle(right: Floats, up: Floats) -> Floats:
    """Angle without trigonometry: -1 left, 0 up, 1 right, 2 down, just under 3 left again."""
    t = right / (np.abs(right) + np.abs(up) + _TINY)
    return np.where(up >= 0.0, t, 2.0 - t)


def diamond_direction(angle: float) -> tuple[float, float]:
    """Unit vector (right, up) of a diamond angle from -1 to 3."""
    right = angle if angle <= 1.0 else 2.0 - angle
    up = (1.0 - abs(right)) * (1.0 if angle <= 1.0 else -1.0)
    length = float(np.sqrt(right * right + up * up))
    return right / length, up / length


def surface_depth(
    offsets: tuple[Floats, Floats, Floats],
    radii: tuple[Floats | float, Floats | float, Floats | float],
    *,
    squareness: float = 0.0,
) -> Floats:
    """Depth below a closed surface in µm, to first order; negative outside.

    Parameters
    ----------
    offsets
        Offsets (ap, dv, x) from the centre in µm, shaped to broadcast.
    radii
        Half-axes in µm; arrays let the cross-section change along ap.
    squareness
        From 0 (ellipse) to 1 (rectangle): shape of the (dv, x) section, in between a squircle.

    Returns
    -------
    Floats
        The normalised depth times the radius of the surface in the direction of the voxel.

    Notes
    -----
    The squircle is that of Fernández-Guasti (1992), u² + v² - k u² v² = 1.
    """
    ap, dv, x = (square(o / r) for o, r in zip(offsets, radii, strict=True))
    total = ap + dv + x
    weighted = ap / (radii[0] * radii[0]) + dv / (radii[1] * radii[1]) + x / (radii[2] * radii[2])
    radius = np.sqrt((total + _TINY) / (weighted + _TINY * _TINY))
    if squareness:  # capped, or the surface would open again far outside
        total = total - squareness * np.minimum(dv, 1.0) * np.minimum(x, 1.0)
    return (1.0 - np.sqrt(total)) * radius
