"""The midline of a volume: where it is, and how it came to be known."""

import math
import operator
import warnings
from dataclasses import dataclass

from refspace.errors import GridError
from refspace.grid import Grid
from refspace.safe_text import escaped

GIVEN = "given"
STATED_BY_FILE = "stated by the file"
STATED_BY_STORE = "stated by the store"
STATED_BY_ARRAY = "stated by the array"
MIDDLE = "the middle of the whole volume"

# Share of the volume's extent within which 0 of a world is its midline. Of whole brains it is off
# the middle by a fortieth at most: MNI152 (0.5 mm of 182, or none), Colin27 (none), Waxholm rat
# (0.45 mm of 20). In a volume that starts at 0, or is of one hemisphere, it is beyond a third.
NEAR_MIDDLE = 0.1
# In voxels: half of one, and a thousandth more for the rounding of headers.
_HALF_A_VOXEL = 0.501


@dataclass(frozen=True)
class Midline:
    """Position of the midline, and how it came to be known.

    Parameters
    ----------
    position
        µm along ml, in the coordinates of the volume.
    source
        How it is known, in words.

    Examples
    --------
    >>> str(Midline(5700.0, "given"))
    'ml 5700 µm (given)'
    """

    position: float
    source: str

    def __str__(self) -> str:
        return f"ml {self.position:g} µm ({escaped(self.source)})"

    @classmethod
    def from_value(cls, value: object, source: str = GIVEN) -> "Midline":
        """Midline at a position, which is checked.

        Raises
        ------
        GridError
            If it is no position.

        Examples
        --------
        >>> Midline.from_value(5700)
        Midline(position=5700.0, source='given')
        """
        try:
            position = float(operator.truediv(value, 1)) + 0.0
        except (TypeError, ValueError, OverflowError):
            position = math.nan
        if not math.isfinite(position):
            raise GridError(f"midline is {value!r}; give its position along ml in µm, like 5700")
        return cls(position, source)

    @property
    def negated(self) -> "Midline":
        """The same midline, where coordinates along ml change sign."""
        return Midline(0.0 - self.position, self.source)


def midline_of_world(grid: Grid) -> Midline:
    """Midline of a volume in a world: its 0 where that is near the middle, else the middle.

    0 is near within a tenth of the extent along ml. Where it is half a voxel off, and would leave
    one plane more to the left than to the right, the middle is meant: an origin at voxel n/2 does.

    Parameters
    ----------
    grid
        Grid in this world, or in another frame that is 0 at the same place.

    Examples
    --------
    >>> str(midline_of_world(Grid((20, 1, 1), (1000, 1000, 1000), (-9000, 0, 0), "RAS")))
    'ml 0 µm (0 of the world, 1000 µm from the middle of the volume)'
    >>> str(midline_of_world(Grid((20, 1, 1), (1000, 1000, 1000), (-1000, 0, 0), "RAS")))
    'ml 9000 µm (the middle of the whole volume, 9000 µm from 0 of the world)'
    """
    axis, middle = grid.axis("ml"), grid.middle
    distance = abs(middle)
    if distance > NEAR_MIDDLE * grid.extent[axis]:
        return Midline(middle, f"{MIDDLE}, {distance:g} µm from 0 of the world")
    planes, is_half_off = grid.shape[axis], distance <= _HALF_A_VOXEL * grid.spacing[axis]
    uneven, uneven_middle = (abs(2 * grid.midline_cut(x) - planes) for x in (0.0, middle))
    if is_half_off and uneven > uneven_middle:
        return Midline(middle, f"{MIDDLE}, {distance:g} µm from 0 of the world")
    return Midline(0.0, f"0 of the world, {distance:g} µm from the middle of the volume")


def warn_of_one_side(grid: Grid, midline: float) -> None:
    """Warn where a midline leaves a hemisphere without a voxel, as one in millimetres may.

    Warns
    -----
    UserWarning
        If all voxels are on one side.
    """
    cut, planes = grid.midline_cut(midline), grid.shape[grid.axis("ml")]
    if 0 < cut < planes:
        return
    empty = "left" if (cut == 0) == (grid.direction("ml") == "right") else "right"
    low, high = grid.edges("ml")
    warnings.warn(
        f"the midline at ml {midline:g} µm leaves no voxel in the {empty} hemisphere: the volume "
        f"runs from {low:g} to {high:g} µm",
        stacklevel=2,
    )


def resolve_midline(given: float | None, stated: Midline | None, grid: Grid) -> Midline:
    """Midline that is given, or else stated, or else the middle of a grid.

    Raises
    ------
    GridError
        If it is no position.

    Examples
    --------
    >>> str(resolve_midline(None, None, Grid((1, 1, 4), (10, 10, 10))))
    'ml 20 µm (the middle of the whole volume)'
    """
    if given is not None:
        return Midline.from_value(given)
    return Midline(grid.middle, MIDDLE) if stated is None else stated


def midline_in_frame(midline: Midline, grid: Grid, target: Grid) -> Midline:
    """Midline of a grid, as a coordinate of the same grid in another frame."""
    same = grid.frame_direction("ml") == target.frame_direction("ml")
    return midline if same else midline.negated
