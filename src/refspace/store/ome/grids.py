"""Where the voxels of an OME-Zarr image are."""

import math
import reprlib
from collections.abc import Mapping, Sequence
from fractions import Fraction

from refspace.errors import FormatError, GridError
from refspace.grid import Grid, parse_orientation, parse_spacing
from refspace.store.ome.images import Axis, Dataset, Multiscale
from refspace.store.ome.transforms import as_float, exactly

# What RFC-4 calls the directions of an orientation code (https://ngff.openmicroscopy.org/rfc/4).
ORIENTATIONS = {
    "P": "anterior-to-posterior",
    "A": "posterior-to-anterior",
    "I": "superior-to-inferior",
    "S": "inferior-to-superior",
    "R": "left-to-right",
    "L": "right-to-left",
}
# Its other names for them. "Cranial" is not among them: anterior in a mouse, superior in man.
_LETTERS = {name: letter for letter, name in ORIENTATIONS.items()} | {
    "rostral-to-caudal": "P",
    "caudal-to-rostral": "A",
    "dorsal-to-ventral": "I",
    "ventral-to-dorsal": "S",
}

_PREFIXES = {
    **{"yocto": -24, "zepto": -21, "atto": -18, "femto": -15, "pico": -12, "nano": -9},
    **{"micro": -6, "milli": -3, "centi": -2, "deci": -1, "": 0, "hecto": 2, "kilo": 3},
    **{"mega": 6, "giga": 9, "tera": 12, "peta": 15, "exa": 18, "zetta": 21, "yotta": 24},
}
# µm of each unit of length, exactly: those that the specification names, and common spellings.
# The parsec is not among them.
_MICROMETRES = {
    **{
        f"{prefix}{metre}": Fraction(10) ** (power + 6)
        for prefix, power in _PREFIXES.items()
        for metre in ("meter", "meters", "metre", "metres")
    },
    **dict.fromkeys(["um", "\N{MICRO SIGN}m", "\N{GREEK SMALL LETTER MU}m"], Fraction(1)),
    **dict.fromkeys(["micron", "microns"], Fraction(1)),
    **{"nm": Fraction(1, 1000), "mm": Fraction(1000), "cm": Fraction(10**4), "m": Fraction(10**6)},
    **{"angstrom": Fraction(1, 10**4), "inch": Fraction(25400), "foot": Fraction(304800)},
    **{"yard": Fraction(914400), "mile": Fraction(1609344000)},
}
# What programs write where they know no lengths.
_OPEN_UNITS = frozenset(
    {"", "pixel", "pixels", "px", "voxel", "voxels", "index", "unit", "units", "none", "null"}
    | {"arbitrary", "a.u.", "au", "arbitrary unit", "dimensionless", "unknown", "1"}
    | {"reference frame"}
)
# A thousand metres. Keeps the coordinates that damaged metadata ask for from overflowing.
_LONGEST = 1e9


def states_lengths(multiscale: Multiscale) -> bool:
    """Whether the axes of space have units of length, and no pixels or nothing.

    Examples
    --------
    >>> level = Dataset("0", (25.0,) * 3, (0.0,) * 3)
    >>> axes = [tuple(Axis(name, "space", unit) for name in "zyx") for unit in ("um", "pixel")]
    >>> [states_lengths(Multiscale("0.5", None, three, (level,))) for three in axes]
    [True, False]
    """
    return all(_length(axis) for axis in multiscale.axes if axis.type == "space")


def dataset_grid(
    multiscale: Multiscale,
    dataset: Dataset,
    shape: Sequence[int],
    *,
    orientation: str | None = None,
    resolution: float | Sequence[float] | None = None,
) -> tuple[Grid, tuple[int, ...]]:
    """Grid of a level of an image, over its axes of space in the order of the array.

    Its coordinates grow with the index, as those of OME-Zarr do.

    A translation is taken as the centre of the first voxel, as OME-Zarr says from version 0.6 on
    (https://ngff.openmicroscopy.org/rfc/5) and leaves open before. A grid's origin is its corner.

    Parameters
    ----------
    multiscale
        The image.
    dataset
        One of its levels.
    shape
        Shape of that level's array.
    orientation
        Direction in which the index of each axis of space grows, like ``"PIR"``, where the axes do
        not state it.
    resolution
        µm per voxel of the image's finest level along each axis of space, where the axes state no
        unit of length.

    Returns
    -------
    grid
        Where the voxels are.
    axes
        Which three axes are those of space; all others have length 1.

    Raises
    ------
    FormatError
        If the array does not have the axes of the image, three of them of space and of a unit of
        length, and all others of length 1.
    GridError
        If orientation or unit are missing, or contradict the arguments.

    Examples
    --------
    >>> axes = [Axis("c", "channel"), *(Axis(name, "space", "millimeter") for name in "zyx")]
    >>> level = Dataset("0", (1.0, 0.025, 0.025, 0.025), (0.0, 0.0, 0.0, 0.0))
    >>> image = Multiscale("0.4", None, tuple(axes), (level,))
    >>> grid, axes = dataset_grid(image, level, (1, 4, 4, 4), orientation="PIR")
    >>> grid.spacing, grid.origin, axes
    ((25.0, 25.0, 25.0), (-12.5, -12.5, -12.5), (1, 2, 3))
    """
    space_axes = _axes_of_space(multiscale.axes, shape)
    code = _orientation_code([multiscale.axes[n] for n in space_axes], orientation)
    units = _units(multiscale, space_axes, resolution)
    spacing = [_micrometres(dataset.scale[n], units[n]) for n in space_axes]
    centre = [_micrometres(dataset.translation[n], units[n]) for n in space_axes]
    # Rounded to a picometre: halves of decimal spacings leave noise in the last digit.
    a, b, c = (round(x - s / 2, 6) for x, s in zip(centre, spacing, strict=True))
    i, j, k = (shape[n] for n in space_axes)
    return Grid((i, j, k), parse_spacing(spacing), (a, b, c), code), space_axes


def _axes_of_space(axes: Sequence[Axis], shape: Sequence[int]) -> tuple[int, ...]:
    names = ", ".join(axis.name for axis in axes)
    if len(shape) != len(axes):
        raise FormatError(f"the image has the axes {names}, its array the shape {tuple(shape)}")
    space_axes = tuple(n for n, axis in enumerate(axes) if axis.type == "space")
    if len(space_axes) != 3:
        raise FormatError(f"of the axes {names}, {len(space_axes)} are of type 'space'; give three")
    long = [
        f"{axis.name} has length {n}"
        for axis, n in zip(axes, shape, strict=True)
        if axis.type != "space" and n != 1
    ]
    if long:
        raise FormatError(
            f"the image is more than one volume: {', '.join(long)}; save one volume by itself"
        )
    return space_axes


def _orientation_code(axes: Sequence[Axis], orientation: str | None) -> str:
    """Orientation code, as the axes state it, or that of the caller where they do not."""
    letters = [_LETTERS.get((axis.orientation or "").lower()) for axis in axes]
    stated = ", ".join(f"{axis.name}: {axis.orientation or 'nothing'}" for axis in axes)
    if orientation is None and None in letters:
        raise GridError(
            f"the axes do not state in which directions they run ({stated}); give orientation=, "
            "three letters like 'PIR', that of the Allen CCF"
        )
    code = "".join(filter(None, letters)) if orientation is None else orientation
    try:
        code = parse_orientation(code)
    except GridError as error:
        raise GridError(f"the axes state {stated}: {error}") from error
    if any(a not in (None, b) for a, b in zip(letters, code, strict=True)):
        raise GridError(
            f"orientation {orientation!r} contradicts the axes, which state {stated}; leave the "
            "orientation out or correct the metadata"
        )
    return code


def _units(
    multiscale: Multiscale, space_axes: Sequence[int], resolution: float | Sequence[float] | None
) -> Mapping[int, Fraction]:
    """µm of each axis' unit; of an axis without one, by the resolution of the finest level."""
    axes, finest = multiscale.axes, multiscale.datasets[0].scale
    units = {n: unit for n in space_axes if (unit := _length(axes[n])) is not None}
    if resolution is None:
        if len(units) < len(space_axes):
            _refuse_without_units([axes[n] for n in space_axes if n not in units])
        return units
    wanted = dict(zip(space_axes, parse_spacing(resolution), strict=True))
    for n, unit in units.items():
        length = _micrometres(finest[n], unit)
        if not math.isclose(length, wanted[n], rel_tol=1e-6):
            raise GridError(
                f"resolution {resolution} contradicts axis {axes[n].name}, which has {length:g} "
                "µm per voxel; leave the resolution out or correct the metadata"
            )
    return {n: units.get(n, exactly(wanted[n]) / exactly(finest[n])) for n in space_axes}


def micrometres_of_unit(unit: str) -> float | None:
    """µm of a unit as programs write it; None if it is none of length.

    Examples
    --------
    >>> micrometres_of_unit("millimeter"), micrometres_of_unit("pixel")
    (1000.0, None)
    """
    exact = _MICROMETRES.get(unit.strip())
    return None if exact is None else as_float(exact)


def _length(axis: Axis) -> Fraction | None:
    """µm of the unit of an axis; None if it has no unit of length."""
    return _MICROMETRES.get((axis.unit or "").strip())


def _refuse_without_units(axes: Sequence[Axis]) -> None:
    """Ask for the resolution that axes leave open."""
    hint = "give resolution=, the µm per voxel of the finest level, like 25"
    for axis in axes:
        unit = (axis.unit or "").strip()
        if unit.lower() not in _OPEN_UNITS:
            raise FormatError(
                f"axis {axis.name} has the unit {reprlib.repr(unit)}, which is none of length; "
                f"write it as OME-Zarr does, like 'micrometer' or 'millimeter', or {hint}"
            )
    names = ", ".join(axis.name for axis in axes)
    units = sorted({(axis.unit or "").strip() for axis in axes} - {""})
    what = f"are in {' and '.join(map(repr, units))}, no length" if units else "have no unit"
    raise GridError(f"the axes {names} {what}; {hint}")


def _micrometres(value: float, unit: Fraction) -> float:
    exact = as_float(exactly(value) * unit)
    if not abs(exact) < _LONGEST:
        raise GridError(
            f"a scale or translation is {value:g}, times {as_float(unit):g} µm; that is no length "
            "in a brain: correct it or the unit"
        )
    # Numbers that a writer divided carry noise in their last digit; 33.3 µm is what it meant.
    decimal = round(exact, 9)
    return decimal if unit != 1 and math.isclose(exact, decimal, rel_tol=1e-14) else exact
