"""Levels of a pyramid: the one of a resolution."""

from collections.abc import Sequence

import numpy as np

from refspace.errors import GridError
from refspace.grid import Grid, parse_spacing


def find_level(grids: Sequence[Grid], resolution: float | Sequence[float] | None, name: str) -> int:
    """Level of a resolution in µm, the finest if None, among levels on some grids.

    Raises
    ------
    GridError
        If there is no such level. The message calls the whole by the name and lists its levels.
    """
    if resolution is None:
        return 0
    wanted = parse_spacing(resolution)
    for level, grid in enumerate(grids):
        if np.allclose(grid.spacing, wanted, rtol=1e-6):
            return level
    there = ", ".join(_format_spacing(grid.spacing) for grid in grids)
    raise GridError(
        f"{name} has no level of {_format_spacing(wanted)} µm; it has {there} µm: open one of "
        f"these, and downsample it{_other_unit(grids[0].spacing, wanted)}"
    )


def _other_unit(stated: Sequence[float], wanted: Sequence[float]) -> str:
    """Hint for lengths that are wrong by a unit, or were scaled by ten."""
    for factor in (1000, 10):
        for first, second, more in ((stated, wanted, "more"), (wanted, stated, "less")):
            if np.allclose(first, [factor * length for length in second], rtol=1e-6):
                return (
                    f"; or, as it states {factor} times {more} than that, correct the unit or the "
                    "scale in its metadata"
                )
    return ""


def _format_spacing(spacing: Sequence[float]) -> str:
    one = len(set(spacing)) == 1
    return " × ".join(f"{step:g}" for step in (spacing[:1] if one else spacing))
