"""Opens images in zarr, those of any program, to be aligned with an annotation."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import xarray as xr

from refspace.errors import FormatError, GridError
from refspace.labels import labelled
from refspace.store import ome
from refspace.store.contents import named_inside, only_image
from refspace.store.levels import find_level
from refspace.store.location import Location
from refspace.store.nodes import Node, read_node
from refspace.store.ome.values import ome_metadata
from refspace.store.other_formats import missing_store
from refspace.store.placing import Given, placed, space_axes
from refspace.store.read import open_atlas
from refspace.store.variables import Variable, lazy_values


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
        Path or URL of the store of an atlas; of an OME-Zarr image up to 0.6, or of the group of
        one alone that bioformats2raw writes, a plate or a well; of a group with a variable of three
        dims or more, as xarray writes it; or of an array.
    variable
        Name of the variable, where a group has several.
    shape
        Voxels along each axis of a grid that the image shares voxel by voxel: the position that it
        states itself is then ignored. Of an image of several resolutions, the one of that shape.
    resolution
        µm per voxel of the level to open, the finest if not given; of an image that states no
        unit of length, that of its finest level.
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
    >>> centres = {"ap": [5.0], "dv": [5.0], "ml": [5.0]}
    >>> image = xr.DataArray([[[1.0]]], centres, [*centres], "energy")
    >>> _ = image.to_dataset().to_zarr(url, zarr_format=2)
    >>> open_image(url).name
    'energy'
    """
    cache_folder = None if chunk_cache is None else Path(chunk_cache).absolute()
    location = Location(url, storage_options or {}, engine, cache_folder)
    try:
        return _open(location, variable, Given(shape, resolution, orientation))
    except (FormatError, GridError) as error:
        named = location.url in str(error)
        raise error if named else type(error)(f"{location.url}: {error}") from error


def _open(location: Location, variable: str | None, given: Given) -> xr.DataArray:
    node = read_node(location)
    if node is None:
        raise missing_store(location)
    location, node = only_image(location, node)
    if node.is_array:
        return _array(location, node, given)
    attributes = node.attributes
    if "refspace" in attributes:
        return _template(location, given)
    if "multiscales" in ome_metadata(attributes):
        return _ome_image(location, node, given)
    if variable is None and ome.label_names(attributes):
        raise FormatError(f"{location.url} is no image{named_inside(location, node)}")
    return Variable.from_group(location, node, variable).image(given)


def _array(location: Location, node: Node, given: Given) -> xr.DataArray:
    """Array without a group, with a position if the caller gives it one."""
    data = lazy_values(location, node.array())
    if len({*node.dims}) == data.ndim:
        image = xr.DataArray(data, dims=node.dims, name="image")
    else:
        space = space_axes(data.shape)
        order = (*(n for n in range(data.ndim) if n not in space), *space)
        image = xr.DataArray(data.transpose(order), name="image")
    if given.shape is not None or given.resolution is None or data.ndim < 3:
        return image
    # As for arrays in memory, the order of the Allen CCF is that of an array which states none.
    return placed(image, replace(given, orientation=given.orientation or "PIR"))


# ----- kinds of groups


def _template(location: Location, given: Given) -> xr.DataArray:
    atlas = open_atlas(
        location.url,
        orientation=given.orientation,
        storage_options=location.storage_options,
        engine=location.engine,
        chunk_cache=location.chunk_cache,
    )
    if not atlas.template:
        raise FormatError(f"{location.url} is a store without a template; give an image")
    grids = [level.grid for level in atlas.template]
    if given.shape is None:
        return atlas.volume(find_level(grids, given.resolution, location.url), "template")
    shapes = [grid.shape for grid in grids]
    image = atlas.volume(_level_with_shape(shapes, given.shape), "template")
    return image.drop_vars(image.coords)


def _level_with_shape(shapes: Sequence[Sequence[int]], shape: Sequence[int]) -> int:
    """Level whose array has a shape; the finest if no level has it."""
    return next((level for level, own in enumerate(shapes) if (*own,) == (*shape,)), 0)


def _ome_image(location: Location, group: Node, given: Given) -> xr.DataArray:
    """Level of an OME-Zarr image; axes that are not of space, like channels, come first."""
    multiscale = ome.read_multiscale(group.attributes)
    space = [n for n, axis in enumerate(multiscale.axes) if axis.type == "space"]
    before = [n for n in range(len(multiscale.axes)) if n not in space]
    nodes = group.arrays_at([dataset.path for dataset in multiscale.datasets])
    arrays = [node.array() for node in nodes]
    names = [axis.name for axis in multiscale.axes]
    if given.shape is not None:
        level = _level_with_shape(
            [[array.shape[n] for n in space] for array in arrays], given.shape
        )
        data = lazy_values(location, arrays[level])
        return xr.DataArray(data, dims=names, name="image").transpose(
            *(names[n] for n in (*before, *space))
        )
    # In a pyramid with units, a resolution selects one of the levels.
    has_units = ome.states_lengths(multiscale)
    grids = []
    for dataset, array in zip(multiscale.datasets, arrays, strict=True):
        # Without the other axes: all volumes along these are on the same grid.
        lengths = [1 if n in before else count for n, count in enumerate(array.shape)]
        finest = None if has_units else given.resolution
        grid, _ = ome.dataset_grid(
            multiscale, dataset, lengths, orientation=given.orientation, resolution=finest
        )
        grids.append(grid)
    level = find_level(grids, given.resolution if has_units else None, location.url)
    data = lazy_values(location, arrays[level]).transpose(*before, *space)
    first = labelled(data[(0,) * len(before)], grids[level])
    return xr.DataArray(data, first.coords, (*(names[n] for n in before), *first.dims), "image")
