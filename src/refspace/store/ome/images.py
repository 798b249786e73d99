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

# Names that zarr gives no node, or that lead elsewhere on some file system: "..", "C:", "\\host".
_UNSAFE_NAME = re.compile(r"^\.*$|[\\:\x00-\x1f]")

Step = tuple[str, list[Fraction]]


@dataclass(frozen=True)
class Axis:
    """An axis of an image.

    Parameters
    ----------
    name
        Any name.
    type
        ``"space"``, ``"time"``, ``"channel"``, something else, or None.
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
        Position of the first voxel along each axis, in the axis' unit.
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
        Version of OME-Zarr, ``"0.4"`` or ``"0.5"``.
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
        versions = [_version(content, "0.5")] * len(images)
    else:
        versions = [_version(image, "0.4") for image in images]
    return [
        _image(image, version, f"multiscales[{i}]")
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
    return [_path(label, f"labels[{i}]") for i, label in enumerate(labels)]


def ome_metadata(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """OME-Zarr's part of attributes: 0.5 keeps it under a key of its own, 0.4 among the others."""
    attributes = json_object(attributes, "the attributes")
    return json_object(attributes["ome"], "ome") if "ome" in attributes else attributes


def json_object(value: object, what: str) -> Mapping[str, Any]:
    """Check that a value is a JSON object."""
    if not isinstance(value, Mapping):
        raise FormatError(f"{what} is {reprlib.repr(value)}; it must be a JSON object")
    return value


def json_array(value: object, what: str) -> list[Any]:
    """Check that a value is a JSON array."""
    if not isinstance(value, list):
        raise FormatError(f"{what} is {reprlib.repr(value)}; it must be a JSON array")
    return value


def _version(content: Mapping[str, Any], expected: str) -> str:
    # 0.4 leaves images that state no version; all others name theirs, each in its own place.
    version = content.get("version", "0.4" if expected == "0.4" else None)
    if version != expected:
        raise FormatError(
            f"the metadata are of OME-Zarr version {reprlib.repr(version)}; 0.4 (under "
            "'multiscales') and 0.5 (under 'ome') are read: convert the image to one of them"
        )
    return expected


def _image(entry: Mapping[str, Any], version: str, where: str) -> Multiscale:
    axes = [
        _axis(axis, f"{where}.axes[{i}]")
        for i, axis in enumerate(json_array(entry.get("axes"), f"{where}.axes"))
    ]
    names = [axis.name for axis in axes]
    if not 2 <= len(axes) <= 5 or len(set(names)) < len(names):
        raise FormatError(f"{where} has the axes {reprlib.repr(names)}; give 2 to 5, each once")
    common = entry.get("coordinateTransformations")
    steps = [] if common is None else _steps(common, len(axes), where)
    levels = json_array(entry.get("datasets"), f"{where}.datasets")
    # Each halves the one before: more than some twenty are of no volume.
    check_limit("levels", len(levels), f"{where} has {len(levels)} datasets")
    datasets = [
        _dataset(dataset, len(axes), steps, f"{where}.datasets[{i}]")
        for i, dataset in enumerate(levels)
    ]
    if not datasets:
        raise FormatError(f"{where} has no datasets; an OME-Zarr image has one at least")
    return Multiscale(version, _text(entry, "name", where), tuple(axes), tuple(datasets))


def _axis(value: Any, where: str) -> Axis:
    axis = json_object(value, where)
    name = _text(axis, "name", where)
    if not name:
        raise FormatError(f"{where} has no name; every axis of an OME-Zarr image has one")
    kind, unit = _text(axis, "type", where), _text(axis, "unit", where)
    return Axis(name, kind, unit, _orientation(axis.get("orientation"), f"{where}.orientation"))


def _orientation(value: Any, where: str) -> str | None:
    """Orientation of an axis: an object of RFC-4 (https://ngff.openmicroscopy.org/rfc/4), or text.

    The RFC defines the type "anatomical" and leaves room for others, which say nothing here.
    """
    if value is None or isinstance(value, str):
        return value
    orientation = json_object(value, where)
    anatomical = orientation.get("type") == "anatomical"
    return _text(orientation, "value", where) if anatomical else None


def _text(entry: Mapping[str, Any], key: str, where: str) -> str | None:
    value = entry.get(key)
    if value is not None and not isinstance(value, str):
        raise FormatError(f"{where}.{key} is {reprlib.repr(value)}; it must be a text")
    return value


def _path(value: Any, where: str) -> str:
    """Path within a group; nothing that could lead out of it."""
    if not isinstance(value, str) or any(map(_UNSAFE_NAME.search, value.split("/"))):
        raise FormatError(
            f"{where} is {reprlib.repr(value)}; it must be a path below the group, like "
            "'s0/annotation'"
        )
    return value


def _dataset(value: Any, count: int, common: Sequence[Step], where: str) -> Dataset:
    """Level of an image: its own transformations are applied first, then those of all levels."""
    dataset = json_object(value, where)
    own = _steps(dataset.get("coordinateTransformations"), count, where)
    if {kind for kind, _ in own} <= {"translation"}:
        raise FormatError(f"{where} has no scale; every level of an OME-Zarr image has one")
    scale, translation = [Fraction(1)] * count, [Fraction(0)] * count
    for kind, values in [*own, *common]:
        if kind == "scale":
            scale = [a * b for a, b in zip(scale, values, strict=True)]
            translation = [a * b for a, b in zip(translation, values, strict=True)]
        elif kind == "translation":
            translation = [a + b for a, b in zip(translation, values, strict=True)]
    lengths, positions = tuple(map(as_float, scale)), tuple(map(as_float, translation))
    if not (all(0 < n < math.inf for n in lengths) and all(map(math.isfinite, positions))):
        raise FormatError(
            f"{where} has scale {lengths} and translation {positions}; scales must be positive, "
            "and all finite"
        )
    return Dataset(_path(dataset.get("path"), f"{where}.path"), lengths, positions)


def _steps(value: Any, count: int, where: str) -> list[Step]:
    """Transformations in the order in which they are applied."""
    where = f"{where}.coordinateTransformations"
    steps: list[Step] = []
    for i, entry in enumerate(json_array(value, where)):
        step = json_object(entry, f"{where}[{i}]")
        kind = step.get("type")
        if kind not in ("scale", "translation", "identity"):
            raise FormatError(
                f"{where}[{i}] has the type {reprlib.repr(kind)}; scale, translation and identity "
                "are read: resample the image to a grid along its axes"
            )
        values = [] if kind == "identity" else _numbers(step.get(kind), count, f"{where}[{i}]")
        steps.append((str(kind), values))
    kinds = [kind for kind, _ in steps]
    if len(set(kinds)) < len(kinds):
        raise FormatError(f"{where} has {reprlib.repr(kinds)}; each is allowed once")
    return steps


def _numbers(value: Any, count: int, where: str) -> list[Fraction]:
    numbers = [_number(v) for v in value] if isinstance(value, list) else []
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise FormatError(f"{where} has {reprlib.repr(value)}; it must have {count} finite numbers")
    return [exactly(number) for number in numbers]


def _number(value: Any) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return as_float(value) if is_number else math.nan


def exactly(number: float) -> Fraction:
    """The decimal that a float is written as: 0.025 mm are 25 µm without noise."""
    return Fraction(repr(float(number)))


def as_float(number: float | Fraction) -> float:
    """Nearest float; infinity where there is none."""
    try:
        return float(number)
    except OverflowError:
        return math.inf
