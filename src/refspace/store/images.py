"""Opens images in zarr, those of any program, to be aligned with an annotation."""

import base64
import json
import os
import reprlib
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import xarray as xr

from refspace.errors import FormatError, GridError, StoreError
from refspace.grid import Grid, parse_spacing
from refspace.labels import labelled, warn_of_odd_resolution
from refspace.store import ome
from refspace.store.dask_graphs import lazy_array
from refspace.store.datatree import find_level
from refspace.store.location import Location
from refspace.store.nodes import Node, members_of, read_node
from refspace.store.ome.images import ome_metadata
from refspace.store.own_arrays import stored_array
from refspace.store.read import open_atlas

_AXES = ("ap", "dv", "ml")
_FILL = "_FillValue"
# By which xarray scales values: lazily, so that it would notice late.
_CF_NUMBERS = ("scale_factor", "add_offset")
# Attributes that describe the file, and not the values.
_OF_ZARR = ("_ARRAY_DIMENSIONS",)


def open_image(
    url: str,
    *,
    variable: str | None = None,
    shape: Sequence[int] | None = None,
    resolution: float | Sequence[float] | None = None,
    orientation: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    engine: str = "fsspec",
    chunk_cache: str | os.PathLike[str] | None = None,
) -> xr.DataArray:
    """Open an image: the template of a store, an OME-Zarr image, a variable or a bare array.

    Parameters
    ----------
    url
        Path or URL of the store of an atlas; of an OME-Zarr image, 0.4 or 0.5; of a group with a
        variable over ``ap``, ``dv`` and ``ml``, as xarray writes it; or of an array.
    variable
        Name of the variable, where a group has several.
    shape
        Voxels along each axis of a grid that the image shares voxel by voxel: the position that it
        states itself is then ignored. Of an image of several resolutions, the one of that shape.
    resolution
        µm per voxel of the level to open, the finest if not given; of an image that states no
        unit, that of its finest level.
    orientation
        Direction in which the index of each axis of space grows, where the image does not say.
    storage_options, engine, chunk_cache
        As for `open_atlas`.

    Returns
    -------
    xarray.DataArray
        Lazy. With coordinates in µm, if `shape` is not given and there are any. Dims before the
        three of space are kept.

    Raises
    ------
    FormatError
        If there is no image, or one of several must be chosen.
    GridError
        If its geometry is missing, or there is no level of the resolution.
    StoreError, RemoteError
        As for `open_atlas`.

    Examples
    --------
    >>> import tempfile
    >>> url = tempfile.mkdtemp() + "/image.zarr"
    >>> image = xr.DataArray([[[1.0]]], {"ap": [5.0], "dv": [5.0], "ml": [5.0]}, _AXES, "energy")
    >>> _ = image.to_dataset().to_zarr(url, zarr_format=2)
    >>> open_image(url).name
    'energy'
    """
    cache_folder = None if chunk_cache is None else Path(chunk_cache).absolute()
    location = Location(url, storage_options or {}, engine, cache_folder)
    try:
        return _open(location, variable, shape, resolution, orientation)
    except (FormatError, GridError) as error:
        named = location.url in str(error)
        raise error if named else type(error)(f"{location.url}: {error}") from error


def _open(
    location: Location,
    variable: str | None,
    shape: Sequence[int] | None,
    resolution: float | Sequence[float] | None,
    orientation: str | None,
) -> xr.DataArray:
    node = _node(location)
    if node.is_array:
        data = _stored(location, node.array())
        if shape is not None or resolution is None or data.ndim != 3:
            return xr.DataArray(data, name="image")
        warn_of_odd_resolution(resolution)
        return labelled(
            data,
            Grid(data.shape, parse_spacing(resolution), orientation=orientation or "PIR"),
            "image",
        )
    attributes = node.attributes
    if "refspace" in attributes:
        return _template(location, shape, resolution, orientation)
    if "multiscales" in ome_metadata(attributes):
        return _ome_image(location, node, shape, resolution, orientation)
    return _variable(location, node, variable, located=shape is None)


def _node(location: Location) -> Node:
    """Array or group at the root of a store."""
    node = read_node(location)
    if node is None:
        raise StoreError(f"there is no zarr store at {location.url}")
    return node


def _stored(location: Location, array: Any) -> dask.array.Array:
    """Lazy values of an array, whose errors name its chunks."""
    stored = stored_array(location, array)
    metadata = json.dumps(array.metadata.to_dict(), default=str)
    return lazy_array(stored, f"{location.identity} {stored.version} {metadata}")


# ----- kinds of groups


def _template(
    location: Location,
    shape: Sequence[int] | None,
    resolution: float | Sequence[float] | None,
    orientation: str | None,
) -> xr.DataArray:
    atlas = open_atlas(
        location.url,
        orientation=orientation,
        storage_options=location.storage_options,
        engine=location.engine,
        chunk_cache=location.chunk_cache,
    )
    if not atlas.template:
        raise FormatError(f"{location.url} is a store without a template; give an image")
    grids = [level.grid for level in atlas.template]
    if shape is None:
        return atlas.volume(find_level(grids, resolution, location.url), "template")
    image = atlas.volume(_level_with_shape([grid.shape for grid in grids], shape), "template")
    return image.drop_vars(image.coords)


def _level_with_shape(shapes: Sequence[Sequence[int]], shape: Sequence[int]) -> int:
    """Level whose array has a shape; the finest if no level has it."""
    return next((level for level, own in enumerate(shapes) if (*own,) == (*shape,)), 0)


def _ome_image(
    location: Location,
    group: Node,
    shape: Sequence[int] | None,
    resolution: float | Sequence[float] | None,
    orientation: str | None,
) -> xr.DataArray:
    """Level of an OME-Zarr image; axes that are not of space, like channels, come first."""
    multiscale = ome.read_multiscale(group.attributes)
    space = [n for n, axis in enumerate(multiscale.axes) if axis.type == "space"]
    before = [n for n in range(len(multiscale.axes)) if n not in space]
    nodes = group.arrays_at([dataset.path for dataset in multiscale.datasets])
    arrays = [node.array() for node in nodes]
    names = [axis.name for axis in multiscale.axes]
    if shape is not None:
        level = _level_with_shape([[array.shape[n] for n in space] for array in arrays], shape)
        data = _stored(location, arrays[level])
        return xr.DataArray(data, dims=names, name="image").transpose(
            *(names[n] for n in (*before, *space))
        )
    # In a pyramid with units, a resolution selects one of the levels.
    has_units = all(multiscale.axes[n].unit for n in space)
    grids = []
    for dataset, array in zip(multiscale.datasets, arrays, strict=True):
        # Without the other axes: all volumes along these are on the same grid.
        lengths = [1 if n in before else count for n, count in enumerate(array.shape)]
        finest = None if has_units else resolution
        grid, _ = ome.dataset_grid(
            multiscale, dataset, lengths, orientation=orientation, resolution=finest
        )
        grids.append(grid)
    level = find_level(grids, resolution if has_units else None, location.url)
    data = _stored(location, arrays[level]).transpose(*before, *space)
    first = labelled(data[(0,) * len(before)], grids[level])
    return xr.DataArray(data, first.coords, (*(names[n] for n in before), *first.dims), "image")


def _variable(
    location: Location, group: Node, variable: str | None, *, located: bool
) -> xr.DataArray:
    """Variable of a group as xarray writes it, with the coordinates of its dims and no others."""
    members = members_of(group)
    name = _choose_variable(location, members, variable)
    image, dims = members[name], members[name].dims
    array = image.array()
    if len(dims) != array.ndim or len(set(dims)) < len(dims):
        raise FormatError(f"{location.url}: {name} has {array.ndim} axes, and the dims {dims}")
    coords = {
        dim: _coordinate(members[dim], count)
        for dim, count in zip(dims, array.shape, strict=True)
        if located and dim in members and members[dim].dims == (dim,)
    }
    # Through our own reader: it requests many chunks at once, and names one that is damaged.
    values = (dims, _stored(location, array), _encoded(image, array.dtype, array.fill_value))
    try:
        decoded = xr.decode_cf(xr.Dataset({name: values}, coords))[name]
    except Exception as error:  # whatever xarray makes of attributes that are none
        raise FormatError(f"{location.url}: {name} cannot be decoded: {error!r}") from error
    return decoded if located else decoded.drop_vars(decoded.coords)


def _coordinate(node: Node, count: int) -> xr.Variable:
    """Values of a coordinate: numbers, or the names of what an axis that is none of space has."""
    array = node.array(texts=node.dims[0] not in _AXES)
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


def _choose_variable(location: Location, members: Mapping[str, Node], variable: str | None) -> str:
    """Name of the variable that the caller names, or of the only one that is an image."""
    every = [name for name, node in members.items() if node.dims != (name,)]
    images = [name for name in every if {*_AXES} <= {*members[name].dims}]
    if variable in every or (variable is None and len(images) == 1):
        return variable or images[0]
    if variable is not None:
        raise FormatError(
            f"{location.url} has no variable {variable!r}; it has {', '.join(every) or 'none'}"
        )
    axes = ", ".join(_AXES)
    if images:
        raise FormatError(
            f"{location.url} has several variables over {axes}; choose one with variable= "
            f"(--variable): {', '.join(images)}"
        )
    raise FormatError(
        f"{location.url} is neither an image of OME-Zarr, nor a group of a variable over {axes}; "
        f"its variables are {', '.join(every) or 'none'}"
    )
