"""Opens labels that other programs wrote: OME-Zarr images, variables as of xarray, bare arrays."""

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import zarr

from refspace.errors import FormatError, GridError
from refspace.grid import Grid, parse_spacing
from refspace.labels import infer_grid, warn_of_odd_resolution
from refspace.store import ome
from refspace.store.contents import only_image
from refspace.store.kept_index import KeptIndex
from refspace.store.location import Location
from refspace.store.nodes import Node, read_node
from refspace.store.ome.values import ome_metadata
from refspace.store.other_formats import missing_store
from refspace.store.own_arrays import stored_array
from refspace.store.placing import AXES, Given, space_axes, space_dims
from refspace.store.stored_array import StoredArray
from refspace.store.stored_atlas import StoredAtlas, StoredLevel
from refspace.store.variables import Variable


def open_foreign(
    location: Location,
    root: bytes | None,
    resolution: float | Sequence[float] | None,
    orientation: str | None,
) -> StoredAtlas:
    """Open labels of any program, where the root is none of a store of ours.

    Parameters
    ----------
    location
        The store.
    root
        Content of its ``zarr.json``, where there is one.
    resolution, orientation
        As for `open_atlas`.

    Raises
    ------
    StoreError, RemoteError
        If there is no store, or it cannot be read.
    FormatError
        If it is damaged, of another format, or holds no labels, or several images.
    GridError
        If its geometry is missing or contradictory.
    """
    location, node = only_image(location, _node(location, root))
    if node.is_array:
        return _open_array(location, node, resolution, orientation)
    return _open_label_image(location, node, resolution, orientation)


def _node(location: Location, root: bytes | None = None) -> Node:
    """Array or group at the root of a store."""
    node = read_node(location, root)
    if node is None:
        raise missing_store(location)
    return node


def _open_array(
    location: Location,
    node: Node,
    resolution: float | Sequence[float] | None,
    orientation: str | None,
) -> StoredAtlas:
    array = node.array()
    if resolution is None:
        _refuse_without_geometry(location.url)
    axes = _volume_axes(location, node, array.shape)
    warn_of_odd_resolution(resolution)
    i, j, k = (array.shape[axis] for axis in axes)
    grid = Grid((i, j, k), parse_spacing(resolution), orientation=orientation or "PIR")
    level = _level("", grid, node, stored_array(location, array), axes)
    return StoredAtlas(location, f"none, zarr {array.metadata.zarr_format}", (level,))


def _level(
    path: str, grid: Grid, node: Node, array: StoredArray, axes: tuple[int, ...]
) -> StoredLevel:
    """Level of an array, whose label index may be kept; an array of ours has its own."""
    if array.records is not None:
        return StoredLevel(path, grid, array, axes)
    kept = KeptIndex(array, axes, node.metadata_digest)
    return StoredLevel(path, grid, kept.read_array, axes, kept)


def _refuse_without_geometry(url: str) -> NoReturn:
    raise GridError(f"{url} is an array without geometry; give its resolution in µm")


def _volume_axes(location: Location, node: Node, shape: Sequence[int]) -> tuple[int, ...]:
    """The three axes of space of an array: by their names, or all but axes of length 1."""
    named = dict(zip(node.dims, range(len(shape)), strict=False))
    is_named = len(named) == len(shape) >= len(AXES)
    axes = tuple(named[d] for d in space_dims(node.dims)) if is_named else space_axes(shape)
    others = [n for axis, n in enumerate(shape) if axis not in axes]
    if len(axes) != len(AXES) or any(n != 1 for n in others):
        raise FormatError(
            f"{location.url} has shape {tuple(shape)}; a volume has three axes, and any others of "
            "length 1"
        )
    return axes


def _open_label_image(
    location: Location,
    group: Node,
    resolution: float | Sequence[float] | None,
    orientation: str | None,
) -> StoredAtlas:
    attributes = group.attributes
    inner = [] if ome.is_label(attributes) else _label_image_urls(location, group, attributes)
    if len(inner) > 1:
        raise FormatError(
            f"{location.url} has several label images; open one of {', '.join(inner)}"
        )
    if inner:
        # Of that, not again those within it: a hostile server could go on for ever.
        location = location.with_url(inner[0])
        group = _node(location)
        if group.is_array:
            return _open_array(location, group, resolution, orientation)
    if "multiscales" not in ome_metadata(group.attributes):
        return _open_variable(location, group, resolution, orientation)
    return _open_levels(location, group, resolution, orientation)


def _open_variable(
    location: Location,
    group: Node,
    resolution: float | Sequence[float] | None,
    orientation: str | None,
) -> StoredAtlas:
    """Labels in a variable of a group, as xarray writes it."""
    variable = Variable.from_group(location, group, None)
    if not variable.node.dims:
        inner = location.with_url(f"{location.url}/{variable.name}")
        return _open_array(inner, _node(inner), resolution, orientation)
    array = _labels(variable.node)
    if variable.is_scaled:
        raise FormatError(f"{location.url}: {variable.name} is scaled, and no array of labels")
    image = variable.image(Given(None, resolution, orientation))
    axes = _volume_axes(location, variable.node, array.shape)
    if {*AXES} - {*image.coords}:
        _refuse_without_geometry(f"{location.url}/{variable.name}")
    grid = infer_grid(image.isel({dim: 0 for dim in image.dims if dim not in AXES}))
    level = _level(array.path, grid, variable.node, stored_array(location, array), axes)
    return StoredAtlas(location, f"none, zarr {array.metadata.zarr_format}", (level,))


def _open_levels(
    location: Location,
    group: Node,
    resolution: float | Sequence[float] | None,
    orientation: str | None,
) -> StoredAtlas:
    attributes = group.attributes
    multiscale = ome.read_multiscale(attributes)
    # Where there are units, a resolution selects one of the levels.
    finest = None if ome.states_lengths(multiscale) else resolution
    nodes = group.arrays_at([dataset.path for dataset in multiscale.datasets])
    levels = []
    for dataset, node in zip(multiscale.datasets, nodes, strict=True):
        array = StoredArray(location, _labels(node))
        grid, axes = ome.dataset_grid(
            multiscale, dataset, array.shape, orientation=orientation, resolution=finest
        )
        levels.append(_level(dataset.path, grid, node, array, axes))
    return StoredAtlas(location, multiscale.version, tuple(levels))


def _label_image_urls(location: Location, group: Node, attributes: Mapping[str, Any]) -> list[str]:
    """URLs of the label images within an image, or within a group of them."""
    url = location.url
    (labels,) = group.nodes_at(["labels"])
    if labels is not None and not labels.is_array:
        url, attributes = f"{url}/labels", labels.attributes
    names = ome.label_names(attributes)
    for name in names:
        # The path of a store may have links, but this one is within another store.
        location.refuse_links(f"{url}/{name}".removeprefix(f"{location.url}/"))
    return [f"{url}/{name}" for name in names]


def _labels(node: Node) -> "zarr.Array[Any]":
    array = node.array()
    if array.dtype.kind not in "uif":
        raise FormatError(f"{node.location.url}: {node.path} is no array of labels")
    return array
