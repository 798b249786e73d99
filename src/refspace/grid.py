"""Geometry of a volume: shape, spacing, origin and orientation of its voxels, as a frozen value.

A `Grid` maps indices of voxels to positions and back, without an array or I/O. Its axes are
anatomical: ``ap`` (anterior to posterior), ``dv`` (dorsal to ventral) and ``ml`` (medial-lateral:
left and right). All positions are in micrometres, and a position belongs to the voxel that contains
it.
"""

import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from refspace.errors import GridError, PositionError
from refspace.types import Resolution

# Letters of an orientation code: nibabel's convention, the end towards which an index grows.
_DIM_OF_LETTER = {"A": "ap", "P": "ap", "S": "dv", "I": "dv", "L": "ml", "R": "ml"}
DIRECTIONS = {
    "A": "anterior",
    "P": "posterior",
    "S": "superior",
    "I": "inferior",
    "L": "left",
    "R": "right",
}

# Largest numerator of a resampling ratio. Cell weights are products of three overlaps, each at
# most the numerator, and the weights of one cell sum to at most its cube: 2**60 fits an int64.
_MAX_NUMERATOR = 2**20

_RESOLUTION_HELP = "one positive number of µm per voxel, or three in the order of the axes"

# Share of a voxel within which a midline counts as on the centre of a voxel. Origins are rounded to
# a picometre, so a midline that is meant to be on a centre may be off by as much.
_ON_MIDLINE = 1e-3

Triple = tuple[float, float, float]
Hemisphere = Literal["left", "right"]


@dataclass(frozen=True)
class Reorientation:
    """The change of axis order and directions from one orientation to another.

    Parameters
    ----------
    axes
        Position of each new axis among the old ones.
    flipped
        Whether each new axis runs the other way.
    """

    axes: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]

    def apply(self, array: NDArray[Any]) -> NDArray[Any]:
        """Reorient an array; the result is a view.

        Examples
        --------
        >>> reorientation = Reorientation((2, 0, 1), (False, True, False))
        >>> reorientation.apply(np.array([[[1, 2, 3]], [[4, 5, 6]]])).tolist()
        [[[4], [1]], [[5], [2]], [[6], [3]]]
        """
        return array.transpose(self.axes)[
            tuple(slice(None, None, self._step(f)) for f in self.flipped)
        ]

    def chunks(self, sizes: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
        """Reorient the sizes of chunks along each axis."""
        steps = map(self._step, self.flipped)
        return tuple(tuple(sizes[a])[::step] for a, step in zip(self.axes, steps, strict=True))

    @staticmethod
    def _step(flip: bool) -> int:
        return -1 if flip else 1


@dataclass(frozen=True)
class Grid:
    """A regular three-dimensional grid of voxels in anatomical space.

    Parameters
    ----------
    shape
        Number of voxels along each axis.
    spacing
        Distance between voxel centres along each axis, in µm.
    origin
        Position of the outer corner of the first voxel, in µm.
    orientation
        Three letters, one per axis: the direction in which its index grows. ``"PIR"`` (posterior,
        inferior, right) is the Allen CCF. Convention of nibabel's ``aff2axcodes``.

    Raises
    ------
    GridError
        If the parts do not describe a grid.

    Examples
    --------
    >>> grid = Grid((528, 320, 456), (25, 25, 25))
    >>> grid.dims, grid.extent
    (('ap', 'dv', 'ml'), (13200.0, 8000.0, 11400.0))
    >>> grid.coordinates("ap")[:2]
    array([12.5, 37.5])
    >>> grid.index("dv", 5000)
    200
    """

    shape: tuple[int, int, int]
    spacing: Triple
    origin: Triple = (0.0, 0.0, 0.0)
    orientation: str = "PIR"

    def __post_init__(self) -> None:
        # Normalised, so that grids are equal and hash alike whether made from lists, arrays or
        # ints.
        try:
            shape, origin = _ints(self.shape), _floats(self.origin)
        except (TypeError, ValueError) as error:
            raise GridError(
                f"shape {self.shape} and origin {self.origin}: give three integers and three "
                "positions in µm"
            ) from error
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "spacing", parse_spacing(self.spacing))
        object.__setattr__(self, "origin", origin)
        object.__setattr__(self, "orientation", parse_orientation(self.orientation))
        if min(self.shape) < 1:
            raise GridError(f"shape {self.shape} has an axis without voxels; give at least 1 each")
        if not all(map(math.isfinite, self.origin)):
            raise GridError(f"origin {self.origin} is not finite; give a corner in µm")

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return (type(self).__name__, self.shape, self.spacing, self.origin, self.orientation)

    @property
    def dims(self) -> tuple[str, str, str]:
        """Names of the axes in their order, from ``ap``, ``dv`` and ``ml``."""
        a, b, c = (_DIM_OF_LETTER[letter] for letter in self.orientation)
        return a, b, c

    @property
    def extent(self) -> Triple:
        """Length of the volume along each axis, in µm."""
        return _floats(n * s for n, s in zip(self.shape, self.spacing, strict=True))

    @property
    def voxel_volume(self) -> float:
        """Volume of one voxel in mm³."""
        return math.prod(self.spacing) * 1e-9

    def direction(self, dim: str) -> str:
        """Direction in which the index of an axis grows, for example ``"posterior"``."""
        return DIRECTIONS[self.orientation[self.axis(dim)]]

    def axis(self, dim: str) -> int:
        """Position of an axis in `dims`.

        Raises
        ------
        GridError
            If there is no such axis.
        """
        if dim not in self.dims:
            raise GridError(f"there is no axis {dim!r}; the axes are {', '.join(self.dims)}")
        return self.dims.index(dim)

    def coordinates(self, dim: str) -> NDArray[np.float64]:
        """Voxel centres along an axis, in µm.

        Examples
        --------
        >>> Grid((2, 3, 4), (10, 20, 30), origin=(0, 100, 0)).coordinates("dv")
        array([110., 130., 150.])
        """
        axis = self.axis(dim)
        centres = np.arange(self.shape[axis], dtype=np.float64) + 0.5
        return self.origin[axis] + centres * self.spacing[axis]

    def index(self, dim: str, position: float) -> int:
        """Index of the voxel that contains a position.

        A voxel contains its lower edge and not its upper one; a position within a billionth of a
        voxel from an edge is on the edge.

        Parameters
        ----------
        dim
            Axis.
        position
            Position along it, in µm.

        Raises
        ------
        PositionError
            If the position is outside the volume; it never wraps.

        Examples
        --------
        >>> grid = Grid((4, 4, 4), (25, 25, 25))
        >>> grid.index("ap", 24.9), grid.index("ap", 25)
        (0, 1)
        >>> grid.index("ap", -30)
        Traceback (most recent call last):
        ...
        refspace.errors.PositionError: ap position -30 µm is outside the volume; ap runs from 0 µm up to (not including) 100 µm
        """  # noqa: E501
        axis = self.axis(dim)
        origin, spacing, count = self.origin[axis], self.spacing[axis], self.shape[axis]
        # To a billionth of a voxel: neither 3 * 16.1 nor 48.3 must miss the edge by a rounding.
        voxels = round((position - origin) / spacing, 9)
        if not 0 <= voxels < count:
            raise PositionError(
                f"{dim} position {position:g} µm is outside the volume; {dim} runs from "
                f"{origin:g} µm up to (not including) {origin + count * spacing:g} µm"
            )
        return math.floor(voxels)

    def crop(self, start: Sequence[int], stop: Sequence[int]) -> "Grid":
        """Part of the grid between two corners, in indices; voxels keep their positions.

        Raises
        ------
        GridError
            If the box is empty or leaves the grid.

        Examples
        --------
        >>> Grid((10, 10, 10), (25, 25, 25)).crop((2, 0, 0), (5, 10, 10)).origin
        (50.0, 0.0, 0.0)
        """
        box = list(zip(start, stop, self.shape, strict=True))
        if not all(0 <= a < b <= n for a, b, n in box):
            raise GridError(f"box from {start} to {stop} is not within a grid of {self.shape}")
        origin = _floats(
            o + i * s for o, i, s in zip(self.origin, start, self.spacing, strict=True)
        )
        return replace(self, shape=_ints(b - a for a, b, _ in box), origin=origin)

    def ratios(self, target_resolution: Resolution) -> tuple[Fraction, Fraction, Fraction]:
        """Source voxels per voxel of another resolution, along each axis, as exact fractions.

        Resolutions count as the decimals that are written: 33.3 over 25 is 333/250. Taken as binary
        floats, edges of cells would miss edges of voxels by a rounding.
        """
        a, b, c = (
            _bounded(_exact(t) / _exact(s))
            for t, s in zip(parse_spacing(target_resolution), self.spacing, strict=True)
        )
        return a, b, c

    def resample(self, target_resolution: Resolution) -> "Grid":
        """Grid of another resolution from the same corner; each length is rounded half to even.

        Parameters
        ----------
        target_resolution
            µm per voxel along each axis, or one number for all axes.

        Raises
        ------
        GridError
            If a length would be 0.

        Examples
        --------
        >>> Grid((528, 320, 456), (25, 25, 25)).resample((75, 75, 75)).shape
        (176, 107, 152)
        """
        target = parse_spacing(target_resolution)
        shape = _ints(
            round(n * s / t) for n, s, t in zip(self.shape, self.spacing, target, strict=True)
        )
        if min(shape) < 1:
            raise GridError(
                f"target resolution {target} µm leaves no voxel of a volume of {self.extent} µm; "
                "give at most twice its extent"
            )
        return replace(self, shape=shape, spacing=target)

    def reorient(self, orientation: str) -> "Grid":
        """Grid of the same voxels with other axis order and directions.

        Coordinates along a flipped axis change sign, so that they still grow with the index.

        Examples
        --------
        >>> grid = Grid((4, 2, 3), (10, 10, 10)).reorient("RAS")
        >>> grid.shape, grid.origin
        ((3, 4, 2), (0.0, -40.0, -20.0))
        """
        reorientation = self.reorientation_to(orientation)
        origin = [
            -(self.origin[a] + self.extent[a]) if flip else self.origin[a]
            for a, flip in zip(reorientation.axes, reorientation.flipped, strict=True)
        ]
        shape = _ints(self.shape[a] for a in reorientation.axes)
        spacing = _floats(self.spacing[a] for a in reorientation.axes)
        return Grid(shape, spacing, _floats(origin), orientation)

    def reorientation_to(self, orientation: str) -> Reorientation:
        """Change of axes that leads to another orientation.

        Examples
        --------
        >>> Grid((4, 2, 3), (10, 10, 10)).reorientation_to("RAS")
        Reorientation(axes=(2, 0, 1), flipped=(False, True, True))
        """
        letters = parse_orientation(orientation)
        a, b, c = (self.axis(_DIM_OF_LETTER[letter]) for letter in letters)
        i, j, k = (new != self.orientation[o] for new, o in zip(letters, (a, b, c), strict=True))
        return Reorientation((a, b, c), (i, j, k))

    # ----- hemispheres

    @property
    def middle(self) -> float:
        """Middle of the volume along ``ml``, in µm.

        Examples
        --------
        >>> Grid((528, 320, 456), (25, 25, 25)).middle
        5700.0
        """
        axis = self.axis("ml")
        return self.origin[axis] + self.extent[axis] / 2

    def hemisphere_slice(self, hemisphere: Hemisphere, midline: float) -> slice:
        """Voxels of a hemisphere along ``ml``; a voxel whose centre is on the midline is left.

        Parameters
        ----------
        hemisphere
            Left or right.
        midline
            Position of the midline along ``ml``, in µm; it may be outside the volume.

        Examples
        --------
        >>> grid = Grid((1, 1, 5), (10, 10, 10))
        >>> grid.hemisphere_slice("left", 25), grid.hemisphere_slice("right", 25)
        (slice(0, 3, None), slice(3, 5, None))
        >>> grid.reorient("PIL").hemisphere_slice("left", -25)
        slice(2, 5, None)
        """
        cut = self.midline_cut(midline)
        first = (hemisphere == "left") == (self.direction("ml") == "right")
        return slice(0, cut) if first else slice(cut, self.shape[self.axis("ml")])

    def midline_cut(self, midline: float) -> int:
        """Number of voxels along ``ml`` before the midline, in the order of the index."""
        axis = self.axis("ml")
        centres = (midline - self.origin[axis]) / self.spacing[axis] - 0.5
        if self.direction("ml") == "right":
            cut = math.floor(centres + _ON_MIDLINE) + 1
        else:
            cut = math.ceil(centres - _ON_MIDLINE)
        return min(max(cut, 0), self.shape[axis])

    @classmethod
    def from_coordinates(
        cls,
        centres: Mapping[str, NDArray[np.float64]],
        directions: Mapping[str, str],
        spacing: Mapping[str, float] = MappingProxyType({}),
    ) -> "Grid":
        """Grid from voxel centres, as the coordinates of an array are.

        Parameters
        ----------
        centres
            Voxel centres in µm of each axis, in the order of the axes.
        directions
            Direction in which each axis grows, like ``"posterior"``.
        spacing
            µm per voxel where it is known. An axis of a single voxel needs it; along others it
            keeps the spacing exact, of which differences of centres are off in the last digits.

        Raises
        ------
        GridError
            If centres are not evenly spaced and increasing, or a direction does not fit its axis.

        Examples
        --------
        >>> centres = {"ap": np.array([5.0, 15.0]), "dv": np.array([5.0]), "ml": np.array([5.0])}
        >>> directions = {"ap": "posterior", "dv": "inferior", "ml": "right"}
        >>> Grid.from_coordinates(centres, directions, {"dv": 10, "ml": 10}).shape
        (2, 1, 1)
        """
        steps = [_step(dim, values, spacing.get(dim)) for dim, values in centres.items()]
        letters = [_letter(dim, directions[dim]) for dim in centres]
        # Rounded to a picometre: halves of decimal spacings leave noise in the last digit.
        origin = [
            round(float(v[0]) - s / 2, 6) for v, s in zip(centres.values(), steps, strict=True)
        ]
        shape = [len(values) for values in centres.values()]
        return cls(_ints(shape), _floats(steps), _floats(origin), "".join(letters))


def parse_orientation(code: str) -> str:
    """Check an orientation code and return it in capitals.

    Raises
    ------
    GridError
        If it does not name each anatomical axis once.

    Examples
    --------
    >>> parse_orientation("pir")
    'PIR'
    """
    letters = str(code).upper()
    if sorted(_DIM_OF_LETTER.get(letter, "?") for letter in letters) != ["ap", "dv", "ml"]:
        raise GridError(
            f"orientation {code!r} is not a code of three letters, one of A/P, one of S/I and one "
            "of L/R, each the direction in which an index grows; the Allen CCF is 'PIR'"
        )
    return letters


def parse_spacing(resolution: Resolution) -> Triple:
    """Spacing along each axis from a resolution: three numbers, or one for all axes, in µm.

    Raises
    ------
    GridError
        If it is not one or three positive numbers.

    Examples
    --------
    >>> parse_spacing(25), parse_spacing([10, 20, 20])
    ((25.0, 25.0, 25.0), (10.0, 20.0, 20.0))
    """
    try:
        values = [resolution] * 3 if np.ndim(resolution) == 0 else list(np.asarray(resolution).flat)
        spacing = _floats(values)
    except (TypeError, ValueError) as error:
        raise GridError(f"resolution {resolution!r} is not {_RESOLUTION_HELP}") from error
    if not all(math.isfinite(s) and s > 0 for s in spacing):
        raise GridError(f"resolution {resolution!r} is not {_RESOLUTION_HELP}")
    return spacing


def _floats(values: Iterable[Any]) -> Triple:
    # + 0.0 makes -0.0 positive: they are equal, but their dask tokens are not.
    a, b, c = (float(value) + 0.0 for value in values)
    return a, b, c


def _ints(values: Iterable[Any]) -> tuple[int, int, int]:
    a, b, c = map(operator.index, values)
    return a, b, c


def _exact(number: float) -> Fraction:
    """The decimal that a float is written as."""
    return Fraction(repr(float(number)))


def _bounded(ratio: Fraction) -> Fraction:
    """Nearest fraction whose numerator keeps cell weights within int64."""
    excess = ratio.numerator // _MAX_NUMERATOR + 1
    return ratio if excess == 1 else ratio.limit_denominator(max(1, ratio.denominator // excess))


def _step(dim: str, centres: NDArray[np.float64], known: float | None) -> float:
    """Spacing of evenly spaced centres; the known spacing where it agrees with them."""
    if len(centres) < 2:
        if known is None:
            raise GridError(f"{dim} has one voxel and no 'spacing' attribute; give a resolution")
        return float(known)
    measured = float(centres[-1] - centres[0]) / (len(centres) - 1)
    even = measured > 0 and np.allclose(np.diff(centres), measured, rtol=1e-6, atol=1e-6)
    if not even:
        raise GridError(
            f"{dim} coordinates are not evenly spaced and increasing; flip or resample first"
        )
    agrees = known is not None and math.isclose(measured, known, rel_tol=1e-9)
    return float(known) if known is not None and agrees else measured


def _letter(dim: str, direction: str) -> str:
    for letter, name in DIRECTIONS.items():
        if name == direction and _DIM_OF_LETTER[letter] == dim:
            return letter
    allowed = [name for letter, name in DIRECTIONS.items() if _DIM_OF_LETTER.get(letter) == dim]
    raise GridError(f"{dim} has direction {direction!r}; allowed are {' and '.join(allowed)}")
