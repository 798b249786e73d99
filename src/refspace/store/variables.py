"""Variables of groups of zarr, as xarray writes them."""

import base64
import json
import reprlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dask.array
import numpy as np
import xarray as xr
import zarr

from refspace.errors import FormatError
from refspace.store.contents import named_inside
from refspace.store.dask_graphs import lazy_array
from refspace.store.location import Location
from refspace.store.nodes import Node, members_of
from refspace.store.own_arrays import stored_array
from refspace.store.placing import AXES, Given, placed, space_last

_FILL = "_FillValue"
# By which xarray scales values: lazily, so that it would notice late.
_CF_NUMBERS = ("scale_factor", "add_offset")
# Attributes that describe the file, and not the values.
_OF_ZARR = ("_ARRAY_DIMENSIONS",)


@dataclass(frozen=True)
class Variable:
    """A variable of a group.

    Parameters
    ----------
    location
        The store.
    name
        Its name.
    node
        Its array.
    members
        All arrays of the group, among them its coordinates.
    """

    location: Location
    name: str
    node: Node
    members: Mapping[str, Node]

    @classmethod
    def from_group(cls, location: Location, group: Node, name: str | None) -> "Variable":
        """Variable of a name, or the only one that may be an image.

        Raises
        ------
        FormatError
            If there is none, or one of several must be chosen.
        """
        members = _members(location, group)
        name = _choose(location, group, members, name)
        return cls(location, name, members[name], members)

    @property
    def is_scaled(self) -> bool:
        """Whether its numbers stand for others."""
        return any(key in self.node.attributes for key in _CF_NUMBERS)

    def dims(self, shape: Sequence[int]) -> tuple[str, ...]:
        """Names of its dims; made-up ones where it has none."""
        dims = self.node.dims or tuple(f"dim_{n}" for n in range(len(shape)))
        if len(dims) != len(shape) or len(set(dims)) < len(dims):
            raise FormatError(
                f"{self.location.url}: {self.name} has {len(shape)} axes, and the dims {dims}"
            )
        return dims

    def image(self, given: Given) -> xr.DataArray:
        """Lazy values as xarray decodes them, with the coordinates of the dims and no others.

        Raises
        ------
        FormatError
            If it is damaged.
        GridError
            If its geometry is missing or contradictory.
        """
        array = self.node.array()
        dims = self.dims(array.shape)
        located = given.shape is None
        coords = self._coordinates(dims, array.shape) if located else {}
        values = (
            dims,
            lazy_values(self.location, array),
            _encoded(self.node, array.dtype, array.fill_value),
        )
        try:
            decoded = xr.decode_cf(xr.Dataset({self.name: values}, coords))[self.name]
        except Exception as error:  # whatever xarray makes of attributes that are none
            raise FormatError(
                f"{self.location.url}: {self.name} cannot be decoded: {error!r}"
            ) from error
        if located:
            return placed(decoded, given)
        unplaced = decoded.drop_vars(decoded.coords)
        return unplaced if {*AXES} <= {*dims} else space_last(unplaced)

    def _coordinates(self, dims: Sequence[str], shape: Sequence[int]) -> dict[str, xr.Variable]:
        members = self.members
        return {
            dim: _coordinate(members[dim], count)
            for dim, count in zip(dims, shape, strict=True)
            if dim in members and members[dim].dims == (dim,)
        }


def lazy_values(location: Location, array: "zarr.Array[Any]") -> dask.array.Array:
    """Lazy values of an array, whose errors name its chunks."""
    stored = stored_array(location, array)
    metadata = json.dumps(array.metadata.to_dict(), default=str)
    return lazy_array(stored, f"{location.identity} {stored.version} {metadata}")


def _members(location: Location, group: Node) -> dict[str, Node]:
    try:
        return members_of(group)
    except FormatError as error:
        raise FormatError(f"{error}{named_inside(location, group)}") from error


def _choose(
    location: Location, group: Node, members: Mapping[str, Node], variable: str | None
) -> str:
    """Name of the variable that the caller names, or of the only one that is an image."""
    every = [name for name, node in members.items() if node.dims != (name,)]
    volumes = [name for name in every if _rank(members[name]) >= len(AXES)]
    images = [name for name in volumes if {*AXES} <= {*members[name].dims}] or volumes
    if variable in every or (variable is None and len(images) == 1):
        return variable or images[0]
    if variable is not None:
        raise FormatError(
            f"{location.url} has no variable {variable!r}; it has {', '.join(every) or 'none'}"
        )
    axes = ", ".join(AXES)
    if images:
        what = f"over {axes}" if {*AXES} <= {*members[images[0]].dims} else "of three axes or more"
        raise FormatError(
            f"{location.url} has several variables {what}; choose one with variable= "
            f"(--variable): {', '.join(images)}"
        )
    raise FormatError(
        f"{location.url} is neither an image of OME-Zarr, nor a group of a variable over {axes}; "
        f"its variables are {', '.join(every) or 'none'}{named_inside(location, group)}"
    )


def _rank(node: Node) -> int:
    shape = (node.document or {}).get("shape")
    return len(shape) if isinstance(shape, list) else 0


# ----- as xarray encodes it


def _coordinate(node: Node, count: int) -> xr.Variable:
    """Values of a coordinate: numbers, or the names of what an axis that is none of space has."""
    array = node.array(texts=node.dims[0] not in AXES)
    if array.shape != (count,):
        raise FormatError(
            f"{node.location.url}: {node.path} has the shape {array.shape}, where the variable has "
            f"{count}"
        )
    values = stored_array(node.location, array).values()
    return xr.Variable(node.dims, values, _encoded(node, array.dtype, array.fill_value))


def _encoded(node: Node, dtype: np.dtype[Any], fill: Any) -> dict[str, Any]:
    """Attributes by which xarray decodes values that it encoded.

    In zarr v2 the fill value stands for what is missing; in v3 an attribute does, whose floats are
    eight bytes in base64 (xarray's documentation, "Zarr encoding specification").
    """
    attributes = {key: value for key, value in node.attributes.items() if key not in _OF_ZARR}
    for key in _CF_NUMBERS:
        if not isinstance(attributes.get(key, 0), int | float):
            raise FormatError(
                f"{node.location.url}: {node.path} has the {key} "
                f"{reprlib.repr(attributes[key])}, which is no number"
            )
    if node.zarr_format == 2:
        return attributes if fill is None else {**attributes, _FILL: fill}
    if _FILL in attributes and dtype.kind == "f":
        try:
            (value,) = struct.unpack("<d", base64.b64decode(attributes[_FILL]))
        except (TypeError, ValueError, struct.error) as error:
            raise FormatError(
                f"{node.location.url}: {node.path} has the {_FILL} {attributes[_FILL]!r}, which is "
                "no float in base64"
            ) from error
        attributes[_FILL] = value
    return attributes
