"""Geometry of a volume: shape, spacing, origin, orientation and frame, as a frozen value.

A `Grid` maps indices of voxels to positions and back, without an array or I/O. Its axes are
anatomical: ``ap`` (anterior and posterior), ``dv`` (superior and inferior) and ``ml``
(medial-lateral: left and right). All positions are in micrometres, and a position belongs to the
voxel that contains it.

A coordinate is a fact about the brain, not about how its voxels are stored: the *frame* says in
which direction coordinates grow, the *orientation* in which direction the index does. Along an axis
that is stored against the frame, coordinates fall with the index.
"""

import math
import operator
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from types import MappingProxyType
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from refspace.axes import axis_name
from refspace.errors import GridError, PositionError
from refspace.types import AxisLike, Resolution

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

OPPOSITE = dict(zip("LRPASI", "RLAPIS", strict=True))
_GROWS = {"orientation": "an index grows", "frame": "coordinates grow"}
# Digits of a voxel to which positions are rounded: neither 3 * 16.1 nor 48.3 must miss the edge of
# a voxel.
_DIGITS = 9

# Share of a voxel within which positions are the same.
SAME = 1e-3

# Largest numerator of a resampling ratio. Cell weights are products of three overlaps, each at
# most the numerator, and the weights of one cell sum to at most its cube: 2**60 fits an int64.
_MAX_NUMERATOR = 2**20

_RESOLUTION_HELP = "one positive number of µm per voxel, or three in the order of the axes"

# Share of a voxel within which a midline counts as on the centre of a voxel. Origins are rounded to
# a picometre, so a midline that is meant to be on a centre may be off by as much.
_ON_MIDLINE = 1e-3

Triple = tuple[float, float, float]
Hemisphere = Literal["left", "right"]
Distance = TypeVar("Distance", float, NDArray[np.float64])


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
        Lowest coordinate of the volume along each axis, in µm: its outer corner.
    orientation
        Three letters, one per axis: the direction in which its index grows. ``"PIR"`` (posterior,
        inferior, right) is the Allen CCF. Convention of nibabel's ``aff2axcodes``.
    frame
        Three letters: the directions in which coordinates grow, those of the orientation if not
        given. They come in the order of x, y and z, as their users have them: x runs between left
        and right, and z grows superior, as in ``"RAS"``, the world of NIfTI; where coordinates grow
        inferior, as in ``"PIR"``, the Allen CCF, x, y and z are ap, dv and ml.

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

    Stored from right to left, in a world whose coordinates grow to the right:

    >>> Grid((2, 2, 3), (10, 10, 10), orientation="ASL", frame="RAS").coordinates("ml")
    array([25., 15.,  5.])
    """

    shape: tuple[int, int, int]
    spacing: Triple
    origin: Triple = (0.0, 0.0, 0.0)
    orientation: str = "PIR"
    frame: str = ""

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
        object.__setattr__(self, "frame", _parse_frame(self.frame or self.orientation))
        if min(self.shape) < 1:
            raise GridError(f"shape {self.shape} has an axis without voxels; give at least 1 each")
        if not all(map(math.isfinite, self.origin)):
            raise GridError(f"origin {self.origin} is not finite; give a corner in µm")

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        geometry = (self.shape, self.spacing, self.origin, self.orientation, self.frame)
        return (type(self).__name__, *geometry)

    @property
    def dims(self) -> tuple[str, str, str]:
        """Names of the axes in their order, from ``ap``, ``dv`` and ``ml``."""
        return _dims(self.orientation)

    @property
    def frame_dims(self) -> tuple[str, str, str]:
        """Names of the axes in the order of the frame: its x, y and z.

        Examples
        --------
        >>> Grid((2, 2, 2), (10, 10, 10), orientation="PIR", frame="RAS").frame_dims
        ('ml', 'ap', 'dv')
        """
        return _dims(self.frame)

    @property
    def orientation_along_frame(self) -> str:
        """Orientation of the same axes in the same order, if all were stored along the frame.

        Examples
        --------
        >>> Grid((2, 2, 2), (10, 10, 10), orientation="PIR", frame="RAS").orientation_along_frame
        'ASR'
        """
        return "".join(self.frame[self.frame_dims.index(dim)] for dim in self.dims)

    @property
    def extent(self) -> Triple:
        """Length of the volume along each axis, in µm."""
        return _floats(n * s for n, s in zip(self.shape, self.spacing, strict=True))

    @property
    def voxel_volume(self) -> float:
        """Volume of one voxel in mm³."""
        return math.prod(self.spacing) * 1e-9

    def direction(self, dim: AxisLike) -> str:
        """Direction in which the index of an axis grows, for example ``"posterior"``."""
        return DIRECTIONS[self.orientation[self.axis(dim)]]

    def frame_direction(self, dim: AxisLike) -> str:
        """Direction in which the coordinates of an axis grow, for example ``"right"``."""
        return DIRECTIONS[self.orientation_along_frame[self.axis(dim)]]

    def is_falling(self, dim: AxisLike) -> bool:
        """Whether coordinates fall with the index: an axis that is stored against the frame."""
        return self.direction(dim) != self.frame_direction(dim)

    def axis(self, dim: AxisLike) -> int:
        """Position of an axis in `dims`, by its name or that of its plane.

        Raises
        ------
        GridError
            If there is no such axis.

        Examples
        --------
        >>> grid = Grid((2, 2, 2), (10, 10, 10), orientation="RAS")
        >>> grid.axis("ap"), grid.axis("coronal")
        (1, 1)
        """
        return self.dims.index(axis_name(dim, self.dims))

    def coordinates(self, dim: AxisLike) -> NDArray[np.float64]:
        """Voxel centres along an axis, in µm.

        Examples
        --------
        >>> Grid((2, 3, 4), (10, 20, 30), origin=(0, 100, 0)).coordinates("dv")
        array([110., 130., 150.])
        """
        axis = self.axis(dim)
        steps = np.arange(self.shape[axis], dtype=np.float64) + 0.5
        # From the lowest one in any order of storage, so that they are equal to the last digit.
        centres: NDArray[np.float64] = self.origin[axis] + steps * self.spacing[axis]
        return centres[::-1] if self.is_falling(dim) else centres

    def position(self, dim: AxisLike, edge: Distance) -> Distance:
        """Position in µm at a distance in voxels from the outer edge of the first one.

        Examples
        --------
        >>> Grid((2, 2, 3), (10, 10, 10), orientation="ASL", frame="RAS").position("ml", 1)
        20.0
        """
        axis = self.axis(dim)
        steps = self.shape[axis] - edge if self.is_falling(dim) else edge
        return steps * self.spacing[axis] + self.origin[axis]

    def edges(self, dim: AxisLike) -> tuple[float, float]:
        """Lowest and highest position of the volume along an axis, in µm."""
        axis = self.axis(dim)
        return self.origin[axis], self.origin[axis] + self.extent[axis]

    def voxels(self, dim: AxisLike, positions: NDArray[Any]) -> NDArray[np.float64]:
        """Index of the voxel that contains each position, as whole float64; NaN if outside.

        The voxels are those of `index`.

        Examples
        --------
        >>> grid = Grid((2, 2, 3), (10, 10, 10), orientation="ASL", frame="RAS")
        >>> grid.voxels("ml", np.array([0.0, 29.0, 30.0]))
        array([ 2.,  0., nan])
        """
        axis = self.axis(dim)
        count = self.shape[axis]
        with np.errstate(over="ignore", invalid="ignore"):
            steps = (np.asarray(positions, np.float64) - self.origin[axis]) / self.spacing[axis]
            number = np.floor(np.round(steps, _DIGITS))
        number = np.where((number >= 0) & (number < count), number, np.nan)
        return count - 1 - number if self.is_falling(dim) else number

    def index(self, dim: AxisLike, position: float) -> int:
        """Index of the voxel that contains a position.

        A voxel contains the edge where its coordinates are lowest and not the other one; a position
        within a billionth of a voxel from an edge is on the edge.

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
        dim = axis_name(dim, self.dims)
        voxel = self.voxels(dim, np.array(position)).item()
        if math.isnan(voxel):
            lowest, highest = self.edges(dim)
            raise PositionError(
                f"{dim} position {position:g} µm is outside the volume; {dim} runs from "
                f"{lowest:g} µm up to (not including) {highest:g} µm"
            )
        return int(voxel)

    def matches(self, other: "Grid") -> bool:
        """Whether the voxels of another grid are at the same positions in the same order.

        Positions count as the same up to a thousandth of a voxel over the whole volume: headers in
        single precision are off in the last digits.

        Examples
        --------
        >>> grid = Grid((1, 1, 2), (10, 10, 10))
        >>> grid.matches(Grid((1, 1, 2), (10, 10, 10.000001), (0, 0, 1e-4)))
        True
        >>> grid.matches(Grid((1, 1, 2), (10, 10, 10), (0, 0, 0.1)))
        False
        """
        return (
            self.orientation == other.orientation
            and self.orientation_along_frame == other.orientation_along_frame
            and self.shape == other.shape
            and all(
                abs(a - b) <= SAME * step
                for dim, step in zip(self.dims, self.spacing, strict=True)
                for a, b in zip(self.edges(dim), other.edges(dim), strict=True)
            )
        )

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
            self.position(dim, b if self.is_falling(dim) else a)
            for dim, (a, b, _) in zip(self.dims, box, strict=True)
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
        """Grid of another resolution from the same origin; each length is rounded half to even.

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
        """Grid of the same voxels with other axis order and directions; no coordinate changes.

        Examples
        --------
        >>> grid = Grid((4, 2, 3), (10, 10, 10)).reorient("RAS")
        >>> grid.shape, grid.origin, grid.frame
        ((3, 4, 2), (0.0, 0.0, 0.0), 'PIR')
        >>> grid.coordinates("dv")
        array([15.,  5.])
        """
        axes = self.reorientation_to(orientation).axes
        return Grid(
            _ints(self.shape[a] for a in axes),
            _floats(self.spacing[a] for a in axes),
            _floats(self.origin[a] for a in axes),
            orientation,
            self.frame,
        )

    def in_frame(self, frame: str) -> "Grid":
        """Grid of the same voxels whose coordinates are those of another frame.

        Both frames are 0 at the same place: coordinates that grow the other way are negated.

        Examples
        --------
        >>> grid = Grid((4, 2, 3), (10, 10, 10)).in_frame("RAS")
        >>> grid.orientation, grid.origin, grid.coordinates("dv")
        ('PIR', (-40.0, -20.0, 0.0), array([ -5., -15.]))
        """
        code = _parse_frame(frame)
        # Rounded to a picometre: halves of decimal spacings leave noise in the last digit.
        origin = [
            low if letter in code else round(-(low + extent), 6)
            for low, extent, letter in zip(
                self.origin, self.extent, self.orientation_along_frame, strict=True
            )
        ]
        return replace(self, origin=_floats(origin), frame=code)

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
        >>> grid.reorient("PIL").hemisphere_slice("left", 25)
        slice(2, 5, None)
        """
        cut = self.midline_cut(midline)
        first = (hemisphere == "left") == (self.direction("ml") == "right")
        return slice(0, cut) if first else slice(cut, self.shape[self.axis("ml")])

    def midline_cut(self, midline: float) -> int:
        """Number of voxels along ``ml`` before the midline, in the order of the index."""
        axis = self.axis("ml")
        count = self.shape[axis]
        centres = (midline - self.origin[axis]) / self.spacing[axis] - 0.5
        # Voxels whose coordinates are lower than the midline, and those on it if these are left.
        if self.frame_direction("ml") == "right":
            lower = math.floor(centres + _ON_MIDLINE) + 1
        else:
            lower = math.ceil(centres - _ON_MIDLINE)
        lower = min(max(lower, 0), count)
        return count - lower if self.is_falling("ml") else lower

    @classmethod
    def from_coordinates(
        cls,
        centres: Mapping[str, NDArray[np.float64]],
        frame: str,
        spacing: Mapping[str, float] = MappingProxyType({}),
        falling: Collection[str] = (),
    ) -> "Grid":
        """Grid from voxel centres, as the coordinates of an array are.

        Parameters
        ----------
        centres
            Voxel centres in µm of each axis, in the order of the axes.
        frame
            Directions in which coordinates grow.
        spacing
            µm per voxel where it is known. An axis of a single voxel needs it; along others it
            keeps the spacing exact, of which differences of centres are off in the last digits.
        falling
            Axes of a single voxel that are stored against the frame; of others the centres tell.

        Raises
        ------
        GridError
            If centres are not evenly spaced, or the frame has no such axis.

        Examples
        --------
        >>> centres = {"ap": np.array([5.0, 15.0]), "dv": np.array([5.0]), "ml": np.array([5.0])}
        >>> grid = Grid.from_coordinates(centres, "PIR", {"dv": 10, "ml": 10})
        >>> grid.shape, grid.origin
        ((2, 1, 1), (0.0, 0.0, 0.0))
        """
        code = _parse_frame(frame)
        letters = dict(zip(_dims(code), code, strict=True))
        steps = [_step(dim, values, spacing.get(dim)) for dim, values in centres.items()]
        against = {d for d, v in centres.items() if (v[0] > v[-1] if len(v) > 1 else d in falling)}
        orientation = [OPPOSITE[letters[d]] if d in against else letters[d] for d in centres]
        # Rounded to a picometre: halves of decimal spacings leave noise in the last digit.
        origin = [
            round(min(float(v[0]), float(v[-1])) - s / 2, 6)
            for v, s in zip(centres.values(), steps, strict=True)
        ]
        shape = [len(values) for values in centres.values()]
        return cls(_ints(shape), _floats(steps), _floats(origin), "".join(orientation), code)


def parse_orientation(code: str, name: str = "orientation") -> str:
    """Check the code of an orientation or of a frame.

    Parameters
    ----------
    code
        Three capital letters.
    name
        What the code is called in errors.

    Raises
    ------
    GridError
        If it does not name each anatomical axis once; or is in lower case, as codes are that name
        the corner where the indices start, the opposite directions.

    Examples
    --------
    >>> parse_orientation("PIR")
    'PIR'
    >>> parse_orientation("asr")
    Traceback (most recent call last):
    ...
    refspace.errors.GridError: orientation 'asr' is in lower case, as BrainGlobe names the corner where the indices start: that is 'PIL' here, the directions in which they grow; give 'PIL', or 'ASR' if these are the directions
    """  # noqa: E501
    text = str(code)
    letters = text.upper()
    if sorted(_DIM_OF_LETTER.get(letter, "?") for letter in letters) != ["ap", "dv", "ml"]:
        raise GridError(
            f"{name} {code!r} is not a code of three letters, one of A/P, one of S/I and one "
            f"of L/R, each the direction in which {_GROWS[name]}; the Allen CCF is 'PIR'"
        )
    if text != letters:
        grows = "".join(OPPOSITE[letter] for letter in letters)
        raise GridError(
            f"{name} {code!r} is in lower case, as BrainGlobe names the corner where the indices "
            f"start: that is {grows!r} here, the directions in which they grow; give {grows!r}, or "
            f"{letters!r} if these are the directions"
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


def _parse_frame(code: str) -> str:
    """Check the code of a frame, and put it into the order of x, y and z."""
    letters = parse_orientation(code, "frame")
    order = ("LR", "AP", "S") if "S" in letters else ("AP", "I", "LR")
    return "".join(letter for ends in order for letter in letters if letter in ends)


def _dims(code: str) -> tuple[str, str, str]:
    """Axes of the letters of a code, in their order."""
    a, b, c = (_DIM_OF_LETTER[letter] for letter in code)
    return a, b, c


def _step(dim: str, centres: NDArray[np.float64], known: float | None) -> float:
    """Distance of evenly spaced centres; the known spacing where it agrees with them."""
    if len(centres) < 2:
        if known is None:
            raise GridError(f"{dim} has one voxel and no 'spacing' attribute; give a resolution")
        return float(known)
    measured = float(centres[-1] - centres[0]) / (len(centres) - 1)
    off = centres - (centres[0] + measured * np.arange(len(centres)))
    # Centres may be in single precision.
    if not (measured and (np.abs(off) <= SAME * abs(measured)).all()):
        raise GridError(f"{dim} coordinates are not evenly spaced; resample first")
    measured = abs(measured)
    agrees = known is not None and math.isclose(measured, known, rel_tol=1e-9)
    return float(known) if known is not None and agrees else measured


def direction_letter(dim: str, direction: object) -> str:
    """Letter of a direction along an axis, like ``"P"`` of ``"posterior"``.

    Raises
    ------
    GridError
        If the axis has no such direction.

    Examples
    --------
    >>> direction_letter("ap", "posterior")
    'P'
    """
    for letter, name in DIRECTIONS.items():
        if name == direction and _DIM_OF_LETTER[letter] == dim:
            return letter
    allowed = [name for letter, name in DIRECTIONS.items() if _DIM_OF_LETTER.get(letter) == dim]
    raise GridError(f"{dim} has direction {direction!r}; allowed are {' and '.join(allowed)}")
