"""Which images a group of OME-Zarr holds, as its attributes say."""

import math
import re
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from refspace.errors import FormatError
from refspace.limits import check_limit
from refspace.store.ome.transforms import (
    Step,
    as_float,
    compose,
    read_steps,
    steps_to_system,
    system_of,
)
from refspace.store.ome.values import (
    json_array,
    json_object,
    json_text,
    ome_metadata,
    path_within,
)

# A version, or one on the way to it: "0.6.dev4", "0.6rc0", "0.5-dev-spatialdata".
_VERSION = re.compile(r"0\.([1-6])(?:\.?(?:dev|rc|a|b)\d*|-[\w.-]{1,40})?")
_BEFORE_LENGTHS = ("0.1", "0.2", "0.3")
# Axes of all images before version 0.3.
_FIRST_AXES = ("t", "c", "z", "y", "x")
_TYPES = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}
# Key of attributes that SpatialData adds, and what it adds to versions.
_SPATIALDATA = ("spatialdata_attrs", "-spatialdata")


@dataclass(frozen=True)
class Axis:
    """An axis of an image.

    Parameters
    ----------
    name
        Any name.
    type
        ``"space"``, ``"time"``, ``"channel"``, something else, or None. Where it is not stated, the
        names x, y, z, t and c say it.
    unit
        Unit of its coordinates as written; None if not stated.
    orientation
        Direction in which its coordinates grow as written, like ``"left-to-right"``; None if not
        stated.
    """

    name: str
    type: str | None = None
    unit: str | None = None
    orientation: str | None = None


@dataclass(frozen=True)
class Dataset:
    """An array of an image: one level of its pyramid.

    Parameters
    ----------
    path
        Path of the array from the group; it never leads out of the group.
    scale
        Distance between voxels along each axis, in the axis' unit; positive.
    translation
        Position of the centre of the first voxel along each axis, in the axis' unit.
    """

    path: str
    scale: tuple[float, ...]
    translation: tuple[float, ...]


@dataclass(frozen=True)
class Multiscale:
    """An image: a pyramid of arrays.

    Parameters
    ----------
    version
        Version of OME-Zarr, from ``"0.1"`` to ``"0.6"``, whatever way to it is stated.
    name
        Its name; None if it has none.
    axes
        Its axes, in the order of the arrays'.
    datasets
        Its levels, at least one, the finest first.
    """

    version: str
    name: str | None
    axes: tuple[Axis, ...]
    datasets: tuple[Dataset, ...]


def read_multiscale(attributes: Mapping[str, Any], *, name: str | None = None) -> Multiscale:
    """Image that a group holds: the first, or that of a name.

    Parameters
    ----------
    attributes
        Attributes of the group.
    name
        Name of the image, where the group holds several.

    Raises
    ------
    FormatError
        If there is no such image, or the metadata are damaged or of another version.

    Examples
    --------
    >>> level = {"path": "s0", "coordinateTransformations": [{"type": "scale", "scale": [25, 25]}]}
    >>> axes = [{"name": "dv", "type": "space"}, {"name": "ml", "type": "space"}]
    >>> image = {"name": "plane", "axes": axes, "datasets": [level]}
    >>> read_multiscale({"ome": {"version": "0.5", "multiscales": [image]}}).datasets
    (Dataset(path='s0', scale=(25.0, 25.0), translation=(0.0, 0.0)),)
    """
    images = read_multiscales(attributes)
    if name is None:
        return images[0]
    for image in images:
        if image.name == name:
            return image
    names = ", ".join(repr(image.name) for image in images)
    raise FormatError(f"there is no image {name!r}; the group holds {names}")


def read_multiscales(attributes: Mapping[str, Any]) -> list[Multiscale]:
    """All images that a group holds, at least one, in their order.

    Raises
    ------
    FormatError
        If there are none, or the metadata are damaged or of another version.
    """
    content = ome_metadata(attributes)
    if "multiscales" not in content:
        raise FormatError("the group has no 'multiscales', so it is no image of OME-Zarr")
    entries = json_array(content["multiscales"], "multiscales")
    if not entries:
        raise FormatError("multiscales is empty; an OME-Zarr image has one entry at least")
    check_limit("levels", len(entries), f"multiscales has {len(entries)} entries")
    images = [json_object(entry, f"multiscales[{i}]") for i, entry in enumerate(entries)]
    if "ome" in attributes:
        versions = [_version(content, "0.5", "0.6")] * len(images)
    else:
        versions = [_version(image, "0.4", *_BEFORE_LENGTHS) for image in images]
    return [
        _image(image, version, _first_centre(attributes, image), f"multiscales[{i}]")
        for i, (image, version) in enumerate(zip(images, versions, strict=True))
    ]


def is_label(attributes: Mapping[str, Any]) -> bool:
    """Whether a group says of its image that it is a label image.

    Examples
    --------
    >>> is_label({"ome": {"version": "0.5", "image-label": {}}})
    True
    """
    return "image-label" in ome_metadata(attributes)


def label_names(attributes: Mapping[str, Any]) -> list[str]:
    """Paths of the label images in a group of labels; none if it is no such group.

    Raises
    ------
    FormatError
        If the list is damaged, or a path leads out of the group.

    Examples
    --------
    >>> label_names({"ome": {"version": "0.5", "labels": ["annotation"]}})
    ['annotation']
    """
    labels = json_array(ome_metadata(attributes).get("labels", []), "labels")
    return [path_within(label, f"labels[{i}]") for i, label in enumerate(labels)]


def _version(content: Mapping[str, Any], *expected: str) -> str:
    # 0.4 leaves images that state no version; all others name theirs, each in its own place.
    stated = content.get("version", "0.4" if "0.4" in expected else None)
    known = _VERSION.fullmatch(stated) if isinstance(stated, str) else None
    version = f"0.{known[1]}" if known else None
    if version is not None and str(stated).endswith(_SPATIALDATA[1]):
        # Whichever version it is on the way to: the layout is that of the place.
        version = expected[0]
    if version not in expected:
        raise FormatError(
            f"the metadata are of OME-Zarr version {reprlib.repr(stated)}; 0.4 and before (under "
            "'multiscales'), 0.5 and 0.6 (under 'ome') are read: convert the image to one of them"
        )
    return version


def _first_centre(attributes: Mapping[str, Any], image: Mapping[str, Any]) -> Fraction:
    """Where the centre of the first voxel is before any transformation, in voxels.

    SpatialData counts from the corner, as its documentation says of pixels: "the pixel (0, 0) has
    its center at (0.5, 0.5)".
    """
    key, suffix = _SPATIALDATA
    stated = (ome_metadata(attributes).get("version"), image.get("version"))
    is_spatialdata = key in attributes or any(str(v).endswith(suffix) for v in stated)
    return Fraction(1, 2) if is_spatialdata else Fraction(0)


def _image(entry: Mapping[str, Any], version: str, first: Fraction, where: str) -> Multiscale:
    if version in _BEFORE_LENGTHS and "coordinateTransformations" in _first_level(entry):
        version = "0.4"  # whatever it says: only from there on images have them
    axes = _axes(entry, version, where)
    names = [axis.name for axis in axes]
    if not 2 <= len(axes) <= 5 or len(set(names)) < len(names):
        raise FormatError(f"{where} has the axes {reprlib.repr(names)}; give 2 to 5, each once")
    levels = json_array(entry.get("datasets"), f"{where}.datasets")
    # Each halves the one before: more than some twenty are of no volume.
    check_limit("levels", len(levels), f"{where} has {len(levels)} datasets")
    if not levels:
        raise FormatError(f"{where} has no datasets; an OME-Zarr image has one at least")
    name = json_text(entry, "name", where)
    if version in _BEFORE_LENGTHS:
        return Multiscale(version, name, axes, (_level_without_lengths(levels[0], axes, where),))
    common = entry.get("coordinateTransformations")
    # Of 0.6, they lead from the system of the levels, which is that of the axes, to others.
    steps = steps_to_system(common, names, where) if common is not None and version < "0.6" else []
    datasets = [
        _dataset(level, names, steps, first, f"{where}.datasets[{i}]")
        for i, level in enumerate(levels)
    ]
    return Multiscale(version, name, axes, tuple(datasets))


def _level_without_lengths(level: Any, axes: Sequence[Axis], where: str) -> Dataset:
    """The finest level of an image before 0.4, whose metadata state no lengths.

    By how much the others are coarser is not stated either.
    """
    where = f"{where}.datasets[0]"
    path = path_within(json_object(level, where).get("path"), f"{where}.path")
    return Dataset(path, (1.0,) * len(axes), (0.0,) * len(axes))


def _first_level(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """Entry of the finest level; an empty one in place of what is damaged."""
    levels = entry.get("datasets")
    first = levels[0] if isinstance(levels, list) and levels else None
    return first if isinstance(first, Mapping) else {}


def _axes(entry: Mapping[str, Any], version: str, where: str) -> tuple[Axis, ...]:
    if version == "0.6":
        where, axes = _axes_of_levels(entry, where)
    elif version in ("0.1", "0.2"):
        axes = [*_FIRST_AXES]
    else:
        where, axes = f"{where}.axes", json_array(entry.get("axes"), f"{where}.axes")
    return tuple(_axis(axis, version, f"{where}[{i}]") for i, axis in enumerate(axes))


def _axes_of_levels(entry: Mapping[str, Any], where: str) -> tuple[str, list[Any]]:
    """Axes of the coordinate system that the levels of an image of 0.6 lie in.

    Source: https://ngff.openmicroscopy.org/0.6/, "multiscales": its "intrinsic" system.
    """
    name = system_of(_first_level(entry).get("coordinateTransformations"))
    where = f"{where}.coordinateSystems"
    systems = json_array(entry.get("coordinateSystems"), where)
    for i, value in enumerate(systems):
        system = json_object(value, f"{where}[{i}]")
        if system.get("name") == name or (name is None and len(systems) == 1):
            return f"{where}[{i}].axes", json_array(system.get("axes"), f"{where}[{i}].axes")
    raise FormatError(
        f"{where} lacks {reprlib.repr(name)}, the coordinate system of the levels; correct it"
    )


def _axis(value: Any, version: str, where: str) -> Axis:
    # Before 0.4, an axis is its name.
    is_name = isinstance(value, str) and version in _BEFORE_LENGTHS
    axis = json_object({"name": value} if is_name else value, where)
    name = json_text(axis, "name", where)
    if not name:
        raise FormatError(f"{where} has no name; every axis of an OME-Zarr image has one")
    kind, unit = json_text(axis, "type", where), json_text(axis, "unit", where)
    kind = _TYPES.get(name.lower()) if kind is None else kind
    unit = None if version in _BEFORE_LENGTHS else unit  # of which length, it does not say
    return Axis(name, kind, unit, _orientation(axis.get("orientation"), f"{where}.orientation"))


def _orientation(value: Any, where: str) -> str | None:
    """Orientation of an axis: an object of RFC-4 (https://ngff.openmicroscopy.org/rfc/4), or text.

    The RFC defines the type "anatomical" and leaves room for others, which say nothing here.
    """
    if value is None or isinstance(value, str):
        return value
    orientation = json_object(value, where)
    anatomical = orientation.get("type") == "anatomical"
    return json_text(orientation, "value", where) if anatomical else None


def _dataset(
    value: Any, axes: Sequence[str], common: Sequence[Step], first: Fraction, where: str
) -> Dataset:
    """Level of an image: its own transformations are applied first, then those of all levels."""
    dataset = json_object(value, where)
    own = read_steps(dataset.get("coordinateTransformations"), axes, where)
    if {kind for kind, _ in own} <= {"translation"}:
        raise FormatError(f"{where} has no scale; every level of an OME-Zarr image has one")
    scale, translation = compose([*own, *common], len(axes), first)
    lengths, positions = tuple(map(as_float, scale)), tuple(map(as_float, translation))
    if not (all(0 < n < math.inf for n in lengths) and all(map(math.isfinite, positions))):
        raise FormatError(
            f"{where} has scale {lengths} and translation {positions}; scales must be positive, "
            "and all finite"
        )
    return Dataset(path_within(dataset.get("path"), f"{where}.path"), lengths, positions)
