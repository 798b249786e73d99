"""What files state that their formats have no field for: frame, midline, hemisphere of a mask.

NRRD files hold it as key/value pairs, NIfTI files as a header extension; other programs pass over
both. The midline is stated in the world of the file, so that the statement does not depend on the
frame, nor on the order in which voxels are stored.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import xarray as xr

from refspace.errors import FormatError, GridError
from refspace.grid import Grid, Hemisphere, parse_orientation
from refspace.labels import HEMISPHERES, Midline, midline_of_world, stated_midline
from refspace.labels.midline import STATED_BY_FILE

_MIDLINE, _HEMISPHERE, _FRAME = "midline_um", "hemisphere", "frame"
_PREFIX = "refspace_"


@dataclass(frozen=True)
class StatedSides:
    """What a file states of its frame and of hemispheres.

    Parameters
    ----------
    midline_um
        Position of the midline in µm of a world that grows to the right; None if not stated.
    hemisphere
        Hemisphere that the voxels are of; None if it is not one.
    frame
        Frame whose coordinates the volume had when it was written; None if not stated.
    """

    midline_um: float | None = None
    hemisphere: Hemisphere | None = None
    frame: str | None = None

    @classmethod
    def from_array(cls, array: xr.DataArray, grid: Grid) -> "StatedSides":
        """What an array with coordinates states.

        Raises
        ------
        GridError
            If its midline is no position.
        """
        midline, side = stated_midline(array), array.attrs.get("hemisphere")
        return cls(
            None if midline is None else _turned(grid, midline.position),
            next((name for name in HEMISPHERES if isinstance(side, str) and side == name), None),
            grid.frame,
        )

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> "StatedSides":
        """What key/value pairs state, as `fields` has them.

        Raises
        ------
        FormatError
            If a value is no midline, no hemisphere or no frame.

        Examples
        --------
        >>> StatedSides.from_fields({"refspace_midline_um": "5700.0", "comment": "-"})
        StatedSides(midline_um=5700.0, hemisphere=None, frame=None)
        """
        midline = fields.get(_PREFIX + _MIDLINE)
        side = fields.get(_PREFIX + _HEMISPHERE)
        if side is not None and side not in (*HEMISPHERES,):
            raise FormatError(
                f"{_PREFIX + _HEMISPHERE} is {side!r}; it must be left or right: correct the file"
            )
        frame = fields.get(_PREFIX + _FRAME)
        return cls(
            None if midline is None else _position(midline),
            side,
            None if frame is None else _frame(frame),
        )

    @property
    def fields(self) -> dict[str, Any]:
        """The statements as key/value pairs.

        Examples
        --------
        >>> StatedSides(5700.0, "left", "PIR").fields
        {'refspace_midline_um': 5700.0, 'refspace_hemisphere': 'left', 'refspace_frame': 'PIR'}
        """
        stated = {_MIDLINE: self.midline_um, _HEMISPHERE: self.hemisphere, _FRAME: self.frame}
        return {_PREFIX + name: value for name, value in stated.items() if value is not None}

    @classmethod
    def from_json(cls, text: bytes) -> "StatedSides | None":
        """What a JSON object of `fields` states; None for a text that is anything else.

        Raises
        ------
        FormatError
            As for `from_fields`.

        Examples
        --------
        >>> StatedSides.from_json(b'{"refspace_midline_um": 0}')
        StatedSides(midline_um=0.0, hemisphere=None, frame=None)
        >>> StatedSides.from_json(b"skull stripped") is None
        True
        """
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError):
            return None
        if not isinstance(fields, dict) or not any(key.startswith(_PREFIX) for key in fields):
            return None
        return cls.from_fields(fields)

    def in_frame(self, grid: Grid) -> Grid:
        """Grid in the world of the file, with the coordinates that the volume had when written."""
        return grid if self.frame is None else grid.in_frame(self.frame)

    def midline(self, grid: Grid) -> Midline:
        """Midline of a volume whose world the file states: as stated, or as 0 of the world tells.

        Parameters
        ----------
        grid
            Grid of the volume, in this world or another frame.
        """
        if self.midline_um is None:
            return midline_of_world(grid)
        return Midline(_turned(grid, self.midline_um), STATED_BY_FILE)

    @property
    def attrs(self) -> dict[str, Any]:
        """Attributes of the volume."""
        return {} if self.hemisphere is None else {"hemisphere": self.hemisphere}


NO_SIDES = StatedSides()


def _frame(value: object) -> str:
    try:
        return parse_orientation(str(value), "frame")
    except GridError as error:
        raise FormatError(f"{_PREFIX + _FRAME}: {error}; correct the file") from error


def _position(value: object) -> float:
    try:
        is_number = isinstance(value, str | int | float) and not isinstance(value, bool)
        position = float(value) if is_number else math.nan  # type: ignore[arg-type]
    except (ValueError, OverflowError):
        position = math.nan
    if not math.isfinite(position):
        raise FormatError(
            f"{_PREFIX + _MIDLINE} is {value!r}; it must be a position in µm: correct the file"
        )
    return position


def _turned(grid: Grid, position: float) -> float:
    """Position along ml, from the coordinates of a grid to a world that grows right, or back."""
    return position if grid.frame_direction("ml") == "right" else 0.0 - position
