"""Transformations of OME-Zarr as scales and translations along the axes, or refused."""

import math
import reprlib
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from refspace.errors import FormatError
from refspace.store.ome.values import json_array, json_object

Step = tuple[str, list[Fraction]]

# An image has two or three. Exact fractions grow with each.
_MOST_STEPS = 32
_DEEPEST = 4
# Coordinate system of SpatialData that every element lies in unless it is moved out.
_COMMON_SYSTEM = "global"
_READ = "scale, translation and identity are read, and sequences of them"


def compose(
    steps: Sequence[Step], count: int, first: Fraction
) -> tuple[list[Fraction], list[Fraction]]:
    """Scale and translation that several steps amount to.

    Parameters
    ----------
    steps
        Scales and translations, in the order in which they are applied.
    count
        Number of axes.
    first
        Where the centre of the first voxel is before the first step: at 0, or at a half.
    """
    scale, translation = [Fraction(1)] * count, [first] * count
    for kind, values in steps:
        if kind == "scale":
            scale = [a * b for a, b in zip(scale, values, strict=True)]
            translation = [a * b for a, b in zip(translation, values, strict=True)]
        elif kind == "translation":
            translation = [a + b for a, b in zip(translation, values, strict=True)]
    return scale, translation


def read_steps(value: object, axes: Sequence[str], where: str) -> list[Step]:
    """Transformations in the order in which they are applied.

    Parameters
    ----------
    value
        List of them, as JSON has it.
    axes
        Names of the axes of the image.
    where
        What has the list, for errors.

    Raises
    ------
    FormatError
        If they are damaged, or do more than to scale and to move along the axes.
    """
    where = f"{where}.coordinateTransformations"
    entries = json_array(value, where)
    steps: list[Step] = []
    for i, entry in enumerate(entries):
        steps += _flattened(json_object(entry, f"{where}[{i}]"), axes, f"{where}[{i}]", 0)
        _refuse_many(len(steps), where)
    kinds = [str(entry.get("type")) for entry in entries]
    if len(set(kinds)) < len(kinds):
        raise FormatError(f"{where} has {reprlib.repr(kinds)}; each is allowed once")
    return steps


def steps_to_system(value: object, axes: Sequence[str], where: str) -> list[Step]:
    """Transformations that all levels have in common, in the order in which they are applied.

    OME-Zarr applies them one after the other. SpatialData lists one for each coordinate system that
    the image lies in, by the name of the system; of these, one is chosen.

    Raises
    ------
    FormatError
        As for `read_steps`; or if there are several systems, and none is the common one.
    """
    entries = json_array(value, f"{where}.coordinateTransformations")
    systems = [_system(entry, "output") for entry in entries]
    if not any(systems):
        return read_steps(value, axes, where)
    chosen = systems.index(_COMMON_SYSTEM) if _COMMON_SYSTEM in systems else 0
    if len(systems) > 1 and systems[chosen] != _COMMON_SYSTEM:
        raise FormatError(
            f"{where} lies in the coordinate systems {reprlib.repr(systems)}, none of which is "
            f"{_COMMON_SYSTEM!r}; save the image with one of them"
        )
    return read_steps([entries[chosen]], axes, where)


def system_of(transformations: object) -> str | None:
    """Name of the coordinate system that transformations lead to; None if they do not say."""
    last = transformations[-1] if isinstance(transformations, list) and transformations else None
    return _system(last, "output")


def _system(entry: Any, end: str) -> str | None:
    """Name of the coordinate system at an end of a transformation."""
    system = entry.get(end) if isinstance(entry, Mapping) else None
    name = system.get("name") if isinstance(system, Mapping) else system
    return name if isinstance(name, str) else None


def _axes_of_system(entry: Mapping[str, Any], end: str) -> list[str] | None:
    """Names of the axes at an end of a transformation, where it lists them."""
    system = entry.get(end)
    axes = system.get("axes") if isinstance(system, Mapping) else None
    if not isinstance(axes, list):
        return None
    return [str(axis.get("name")) if isinstance(axis, Mapping) else str(axis) for axis in axes]


def _flattened(step: Mapping[str, Any], axes: Sequence[str], where: str, depth: int) -> list[Step]:
    """Scales and translations that a transformation consists of."""
    kind = step.get("type")
    if kind == "identity":
        return [("identity", [])]
    if kind in ("scale", "translation"):
        return [(str(kind), _numbers(step.get(kind), len(axes), where))]
    if kind == "sequence" and depth < _DEEPEST:
        return _sequence(step, axes, where, depth)
    if kind == "affine" and "affine" in step:
        return _diagonal(step, axes, where)
    raise FormatError(
        f"{where} has the type {reprlib.repr(kind)}; {_READ}: resample the image to a grid along "
        "its axes"
    )


def _sequence(step: Mapping[str, Any], axes: Sequence[str], where: str, depth: int) -> list[Step]:
    where = f"{where}.transformations"
    steps: list[Step] = []
    for i, entry in enumerate(json_array(step.get("transformations"), where)):
        inner = json_object(entry, f"{where}[{i}]")
        steps += _flattened(inner, axes, f"{where}[{i}]", depth + 1)
        _refuse_many(len(steps), where)
    return steps


def _diagonal(step: Mapping[str, Any], axes: Sequence[str], where: str) -> list[Step]:
    """Scale and translation of an affine matrix that neither turns nor shears."""
    count = len(axes)
    rows = json_array(step["affine"], f"{where}.affine")
    if len(rows) not in (count, count + 1):
        raise FormatError(f"{where}.affine has {len(rows)} rows; it must have {count}")
    matrix = [_numbers(row, count + 1, f"{where}.affine[{i}]") for i, row in enumerate(rows)]
    order = _row_order(step, axes, where)
    scale = [matrix[row][column] for column, row in enumerate(order)]
    others = [
        matrix[row][k] for column, row in enumerate(order) for k in range(count) if k != column
    ]
    if any(others) or matrix[count:] not in ([], [[Fraction(0)] * count + [Fraction(1)]]):
        raise FormatError(
            f"{where} has an affine that turns, shears or exchanges axes; {_READ}: resample the "
            "image to a grid along its axes"
        )
    return [("scale", scale), ("translation", [matrix[row][count] for row in order])]


def _row_order(step: Mapping[str, Any], axes: Sequence[str], where: str) -> list[int]:
    """Row of a matrix for each axis: rows are axes of the output, which may have another order."""
    output, source = _axes_of_system(step, "output"), _axes_of_system(step, "input")
    if source not in (None, [*axes]) or (output is not None and sorted(output) != sorted(axes)):
        raise FormatError(
            f"{where} leads from the axes {reprlib.repr(source)} to {reprlib.repr(output)}, of an "
            f"image of {', '.join(axes)}; save it over the same axes"
        )
    return [*range(len(axes))] if output is None else [output.index(axis) for axis in axes]


def _refuse_many(count: int, where: str) -> None:
    if count > _MOST_STEPS:
        raise FormatError(f"{where} has more than {_MOST_STEPS} steps; save it as one of each kind")


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
