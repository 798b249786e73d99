"""Opens images in zarr, those of any program, to be aligned with an annotation."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dask.array
import xarray as xr
import zarr

from refspace.errors import FormatError, GridError, StoreError
from refspace.grid import Grid, parse_spacing
from refspace.labels import labelled, warn_of_odd_resolution
from refspace.store import ome
from refspace.store.dask_graphs import lazy_array
from refspace.store.datatree import find_level
from refspace.store.location import Location
from refspace.store.ome.images import ome_metadata
from refspace.store.read import open_atlas
from refspace.store.stored_array import StoredArray
from refspace.store.zarr_files import ZARR_JSON

_AXES = ("ap", "dv", "ml")


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
    node = _node(location)
    if isinstance(node, zarr.Array):
        data = _stored(location, node)
        if shape is not None or resolution is None or data.ndim != 3:
            return xr.DataArray(data, name="image")
        warn_of_odd_resolution(resolution)
        return labelled(
            data,
            Grid(data.shape, parse_spacing(resolution), orientation=orientation or "PIR"),
            "image",
        )
    attributes = dict(node.attrs)
    if "refspace" in attributes:
        return _template(location, shape, resolution, orientation)
    if "multiscales" in ome_metadata(attributes):
        try:
            return _ome_image(location, node, shape, resolution, orientation)
        except (FormatError, GridError) as error:
            named = location.url in str(error)
            raise error if named else type(error)(f"{location.url}: {error}") from error
    return _variable(location, node, variable, located=shape is None)


def _node(location: Location) -> Any:
    """Array or group at the root of a store."""
    root = location.read(ZARR_JSON)
    store = location.zarr_store(contents={ZARR_JSON: root})
    try:
        return zarr.open(store, mode="r", zarr_format=2 if root is None else 3)
    except FileNotFoundError as error:
        raise StoreError(f"there is no zarr store at {location.url}") from error
    except Exception as error:  # whatever zarr finds wrong with metadata
        raise FormatError(f"{location.url}: cannot be opened: {error}") from error


def _stored(location: Location, array: Any) -> dask.array.Array:
    """Lazy values of an array, whose errors name its chunks."""
    metadata = json.dumps(array.metadata.to_dict(), default=str)
    return lazy_array(StoredArray(location, array, whole=False), f"{location.identity} {metadata}")


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
    group: zarr.Group,
    shape: Sequence[int] | None,
    resolution: float | Sequence[float] | None,
    orientation: str | None,
) -> xr.DataArray:
    """Level of an OME-Zarr image; axes that are not of space, like channels, come first."""
    multiscale = ome.read_multiscale(dict(group.attrs))
    space = [n for n, axis in enumerate(multiscale.axes) if axis.type == "space"]
    before = [n for n in range(len(multiscale.axes)) if n not in space]
    arrays = [_array(location, group, dataset.path) for dataset in multiscale.datasets]
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


def _array(location: Location, group: zarr.Group, path: str) -> Any:
    try:
        array = group[path]
    except Exception as error:  # KeyError, or whatever zarr finds wrong with metadata
        raise FormatError(f"{location.url}: there is no array {path!r}: {error!r}") from error
    if not isinstance(array, zarr.Array):
        raise FormatError(f"{location.url}: {path} is a group, and no array")
    return array


def _variable(
    location: Location, group: zarr.Group, variable: str | None, *, located: bool
) -> xr.DataArray:
    """Variable of a group as xarray writes it."""
    consolidated = getattr(group.metadata, "consolidated_metadata", None) is not None
    try:
        dataset = xr.open_zarr(group.store, consolidated=consolidated, decode_cf=False, chunks=None)
    except Exception as error:  # whatever xarray and zarr raise of what is no dataset
        raise FormatError(
            f"{location.url} is neither an image of OME-Zarr, nor a group that xarray opens: "
            f"{error!r}"
        ) from error
    name = _choose_variable(location, dataset, variable)
    raw = dataset[[name]]
    # Through our own reader: it requests many chunks at once, and names one that is damaged.
    raw[name] = raw[name].copy(data=_stored(location, group[name]))
    image: xr.DataArray = xr.decode_cf(raw)[name]
    return image if located else image.drop_vars(image.coords)


def _choose_variable(location: Location, dataset: xr.Dataset, variable: str | None) -> str:
    """Name of the variable that the caller names, or of the only one that is an image."""
    every = [str(name) for name in dataset.data_vars]
    images = [name for name in every if {*_AXES} <= {*dataset[name].dims}]
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
