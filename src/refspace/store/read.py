"""Opens a store: its metadata, and lazy arrays of what it holds; no voxel is read."""

import hashlib
import json
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray

from refspace.errors import (
    FormatError,
    GridError,
    RefspaceError,
    StoreError,
    StoreReplacedError,
)
from refspace.grid import Grid, parse_spacing
from refspace.label_index import FIELDS, LabelIndex
from refspace.labels import Midline, labelled, resolve_midline, warn_of_odd_resolution
from refspace.labels.midline import STATED_BY_STORE
from refspace.remote.chunk_cache import trim
from refspace.store import ome
from refspace.store.dask_graphs import lazy_array
from refspace.store.datatree import find_level
from refspace.store.location import Location, map_concurrently
from refspace.store.metadata import MASKS, index_cells
from refspace.store.nodes import Node, read_node
from refspace.store.own_arrays import (
    REPAIR,
    arrays_of_store,
    check_digest,
    check_format,
    read_document,
    stored_array,
)
from refspace.store.record_table import RecordTable
from refspace.store.staging import leftover_hint
from refspace.store.stored_array import StoredArray
from refspace.store.zarr_files import ZARR_JSON

# Every store of refspace has it, and no other.
INDEX_JSON = f"label_index/{ZARR_JSON}"


@dataclass(frozen=True)
class StoredLevel:
    """One resolution of a stored volume.

    Parameters
    ----------
    path
        Path of the array in its group.
    grid
        Where the voxels are.
    array
        The voxels.
    axes
        Which axes of the array are those of space; any others have the length 1.
    """

    path: str
    grid: Grid
    array: StoredArray
    axes: tuple[int, ...] = (0, 1, 2)


@dataclass(frozen=True)
class StoredAtlas:
    """An opened store: an annotation volume at several resolutions, with its metadata.

    Parameters
    ----------
    location
        The store.
    version
        Version of OME-Zarr.
    levels
        The annotation, the finest resolution first.
    template
        The template at the same resolutions, where there is one.
    hemispheres
        The hemispheres at the same resolutions, where they are a volume.
    nodes
        Structures; None for a store that refspace has not written.
    metadata
        What refspace wrote about the store: provenance, digests.
    arrays
        All arrays of a store of ours, by path.
    """

    location: Location
    version: str
    levels: tuple[StoredLevel, ...]
    template: tuple[StoredLevel, ...] = ()
    hemispheres: tuple[StoredLevel, ...] = ()
    nodes: Sequence[Mapping[str, Any]] | None = None
    metadata: Mapping[str, Any] | None = None
    arrays: Mapping[str, StoredArray] = field(default_factory=dict)
    _read_centres: dict[Any, list[NDArray[Any]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def states_geometry(self) -> bool:
        """Whether the store says where its voxels are; a bare array, without a path, does not."""
        return bool(self.levels[0].path)

    @property
    def provenance(self) -> dict[str, Any]:
        """Where the atlas comes from."""
        return dict((self.metadata or {}).get("provenance", {}))

    @property
    def midline(self) -> float | None:
        """Position of the midline along ml in µm; None if the store does not state it."""
        midline: float | None = (self.metadata or {}).get("midline")
        return midline

    @property
    def line(self) -> Midline:
        """The midline, of whatever level: as the store states it, else the middle of the finest."""
        stated, source = self.midline, (self.metadata or {}).get("midline_from", STATED_BY_STORE)
        return resolve_midline(
            None, None if stated is None else Midline(stated, str(source)), self.levels[0].grid
        )

    def level(self, resolution: float | Sequence[float] | None) -> int:
        """Level of a resolution in µm; the finest if None.

        Raises
        ------
        GridError
            If there is no such level.
        """
        return find_level([level.grid for level in self.levels], resolution, self.location.url)

    def volume(self, level: int, name: str = "annotation") -> xr.DataArray:
        """Lazy ``annotation``, ``template`` or ``hemispheres`` of a level, with coordinates."""
        stored = self._levels(name)[level]
        data = lazy_array(stored.array, self._token(stored))
        if data.ndim > 3:
            data = data[tuple(slice(None) if a in stored.axes else 0 for a in range(data.ndim))]
        attrs = dict(stored.array.array.attrs) if self.metadata else {}
        volume = labelled(data, stored.grid, name, attrs)
        return volume.assign_coords(self._centres(level, volume)) if self.metadata else volume

    def index(self, level: int) -> LabelIndex | None:
        """Label index of a level; None if there is no index, or it is one of another array.

        Warns
        -----
        UserWarning
            If there is an index that must not be trusted.
        """
        stored = self.levels[level]
        expected = self._array_metadata(stored).get("label_index")
        if expected is None:
            return None
        try:
            table = self._small_array(f"label_index/s{level}/table", (len(FIELDS), None))
            if hashlib.sha256(table.tobytes()).hexdigest() != expected:
                raise FormatError("it is the index of another volume")
            cells = index_cells(stored.grid, stored.array.blocks, self.midline)
            return LabelIndex(stored.array.shape, cells, table)
        except StoreReplacedError:
            raise  # nor are its voxels those that were asked for
        except RefspaceError as error:
            warnings.warn(
                f"{self.location.name}: the label index of {stored.path} is not used: {error}. "
                "Voxels are read instead, which takes longer",
                stacklevel=2,
            )
            return None

    def stored_bytes(self, level: int, name: str = "annotation") -> NDArray[np.int64]:
        """Bytes that each block takes in the store, in C order of the blocks."""
        records = self._levels(name)[level].array.records
        assert isinstance(records, RecordTable)
        return records.stored_bytes

    # ----- arrays and digests

    def _levels(self, name: str) -> tuple[StoredLevel, ...]:
        beside = {"template": self.template, "hemispheres": self.hemispheres}
        return self.levels if name == "annotation" else beside[name]

    def _count(self, level: StoredLevel) -> int:
        """Number of blocks of a level, without a list of them."""
        sides = zip(level.array.shape, level.array.block_shape, strict=True)
        return math.prod(-(-count // size) for count, size in sides)

    def _token(self, level: StoredLevel) -> str:
        """Token that distinguishes the voxels of a level from any others."""
        digest = self._array_metadata(level).get("voxels")
        metadata = level.array.array.metadata.to_dict()
        return digest or f"{self.location.identity} {json.dumps(metadata, default=str)}"

    def _array_metadata(self, level: StoredLevel) -> Mapping[str, str]:
        metadata: Mapping[str, str] = (self.metadata or {}).get("arrays", {}).get(level.path, {})
        return metadata

    def _centres(self, level: int, volume: xr.DataArray) -> dict[str, Any]:
        """Coordinates as they were written, to the last digit."""
        sizes = tuple((str(dim), count) for dim, count in volume.sizes.items())
        if (level, sizes) not in self._read_centres:

            def read(size: tuple[str, int]) -> NDArray[Any]:
                dim, count = size
                return self._small_array(f"s{level}/{dim}", (count,), np.float64)

            # Once for all volumes.
            self._read_centres[level, sizes] = map_concurrently(read, sizes)
        pairs = zip(sizes, self._read_centres[level, sizes], strict=True)
        return {dim: (dim, centres, volume[dim].attrs) for (dim, _), centres in pairs}

    def _small_array(
        self, path: str, shape: Sequence[int | None], dtype: Any = np.int64
    ) -> NDArray[Any]:
        """Values of an array, once its shape is checked; None stands for any length."""
        if path not in self.arrays:
            raise FormatError(f"{self.location.url}: there is no {path}; {REPAIR}")
        array = self.arrays[path]
        fits = len(array.shape) == len(shape) and all(
            n == m or m is None for n, m in zip(array.shape, shape, strict=True)
        )
        if not fits or array.dtype != dtype:
            raise FormatError(f"{self.location.url}: {path} is not what it should be; {REPAIR}")
        return array.values()


def open_atlas(
    url: str,
    *,
    storage_options: Mapping[str, Any] | None = None,
    resolution: float | Sequence[float] | None = None,
    orientation: str | None = None,
    engine: str = "fsspec",
    chunk_cache: str | os.PathLike[str] | None = None,
) -> StoredAtlas:
    """Open a store written by refspace, or an OME-Zarr label image of any other program.

    Parameters
    ----------
    url
        Path or URL.
    storage_options
        What fsspec needs to reach it.
    resolution
        µm per voxel of the finest level, for a store that states no unit.
    orientation
        Direction in which the index of each axis grows, for a store that does not state it.
    engine
        What reads from other machines: ``"fsspec"`` or ``"obstore"``.
    chunk_cache
        Folder for copies of what is read from other machines.

    Raises
    ------
    StoreError
        If there is no store, or an incomplete one.
    RemoteError
        If it cannot be reached.
    FormatError
        If it is damaged, or no annotation volume.
    GridError
        If its geometry is missing or contradictory.
    """
    cache_folder = None if chunk_cache is None else Path(chunk_cache).absolute()
    if cache_folder is not None:
        trim(cache_folder)
    location = Location(url, storage_options or {}, engine, cache_folder)
    root = location.read(ZARR_JSON)
    if root is not None and "refspace" in (document := read_document(location, root))["attributes"]:
        return _open_own(location, document, orientation)
    if root is not None and location.read(INDEX_JSON) is not None:
        # Without its digests it proves nothing, and must not pass for another program's store.
        raise FormatError(
            f"{location.url}: what refspace wrote about the store into {ZARR_JSON} is gone; "
            f"{REPAIR}"
        )
    try:
        return _open_foreign(location, root, resolution, orientation)
    except (FormatError, GridError) as error:
        named = location.url in str(error)
        raise error if named else type(error)(f"{location.url}: {error}") from error


def _open_own(
    location: Location, document: Mapping[str, Any], orientation: str | None
) -> StoredAtlas:
    """Open a store of refspace, once its metadata is proven to be what was written."""
    attributes = document["attributes"]
    metadata = attributes["refspace"]
    _check_metadata(location, metadata)
    check_digest(location, document)
    arrays = arrays_of_store(location, document)
    first, *others = ome.read_multiscales(attributes)
    levels, *beside = (
        tuple(
            _own_level(location, arrays, multiscale, dataset, orientation)
            for dataset in multiscale.datasets
        )
        for multiscale in (first, *others)
    )
    named = {image.name: stored for image, stored in zip(others, beside, strict=True)}
    return StoredAtlas(
        location,
        "0.5",
        levels,
        named.get("template", ()),
        named.get("hemispheres", ()),
        ome.nodes_from_label(attributes),
        metadata,
        arrays,
    )


def _own_level(
    location: Location,
    arrays: Mapping[str, StoredArray],
    multiscale: ome.Multiscale,
    dataset: ome.Dataset,
    orientation: str | None,
) -> StoredLevel:
    path = dataset.path
    if path not in arrays:
        raise FormatError(f"{location.url}: there is no {path}; {REPAIR}")
    grid, _ = ome.dataset_grid(multiscale, dataset, arrays[path].shape, orientation=orientation)
    return StoredLevel(path, grid, arrays[path])


def _check_metadata(location: Location, metadata: Any) -> None:
    if not isinstance(metadata, dict) or metadata.get("complete") is not True:
        raise StoreError(
            f"{location.url} is not complete: the run that wrote it was interrupted; run the same "
            "again to go on with it. What xarray saved of a DataTree opens with "
            "xarray.open_datatree and ReferenceSpace.from_datatree"
        )
    if metadata.get("kind") == MASKS:
        raise FormatError(
            f"{location.url} holds masks, and no annotation: open it with refspace.open_masks"
        )
    check_format(location, metadata)
    arrays = metadata.get("arrays")
    digests = arrays.values() if isinstance(arrays, dict) else ()
    mappings = [metadata.get("provenance"), metadata.get("objects"), arrays, *digests]
    if not all(isinstance(value, dict) for value in mappings):
        raise FormatError(f"{location.url}: its provenance or digests are none; {REPAIR}")
    midline = metadata.get("midline", 0.0)
    if type(midline) not in (int, float) or not math.isfinite(midline):
        raise FormatError(f"{location.url}: its midline is {midline!r}, no position; {REPAIR}")


def _open_foreign(
    location: Location,
    root: bytes | None,
    resolution: float | Sequence[float] | None,
    orientation: str | None,
) -> StoredAtlas:
    """OME-Zarr label image, or a bare array, of any program."""
    node = _node(location, root)
    if node.is_array:
        return _open_array(location, node.array(), resolution, orientation)
    return _open_label_image(location, node, resolution, orientation)


def _node(location: Location, root: bytes | None = None) -> Node:
    """Array or group at the root of a store."""
    node = read_node(location, root)
    if node is None:
        hint = leftover_hint(location.url, location.storage_options)
        raise StoreError(
            f"there is no zarr store at {location.url}" + (f": {hint}" if hint else "")
        )
    return node


def _open_array(
    location: Location,
    array: Any,
    resolution: float | Sequence[float] | None,
    orientation: str | None,
) -> StoredAtlas:
    if resolution is None:
        raise GridError(f"{location.url} is an array without geometry; give its resolution in µm")
    if array.ndim != 3:
        raise FormatError(f"{location.url} has shape {array.shape}; a volume has three axes")
    warn_of_odd_resolution(resolution)
    grid = Grid(array.shape, parse_spacing(resolution), orientation=orientation or "PIR")
    level = StoredLevel("", grid, stored_array(location, array))
    return StoredAtlas(location, f"none, zarr {array.metadata.zarr_format}", (level,))


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
            return _open_array(location, group.array(), resolution, orientation)
    return _open_levels(location, group, resolution, orientation)


def _open_levels(
    location: Location,
    group: Node,
    resolution: float | Sequence[float] | None,
    orientation: str | None,
) -> StoredAtlas:
    attributes = group.attributes
    multiscale = ome.read_multiscale(attributes)
    # Where there are units, a resolution selects one of the levels.
    has_units = all(axis.unit for axis in multiscale.axes if axis.type == "space")
    finest = None if has_units else resolution
    nodes = group.arrays_at([dataset.path for dataset in multiscale.datasets])
    levels = []
    for dataset, node in zip(multiscale.datasets, nodes, strict=True):
        array = StoredArray(location, _labels(node))
        grid, axes = ome.dataset_grid(
            multiscale, dataset, array.shape, orientation=orientation, resolution=finest
        )
        levels.append(StoredLevel(dataset.path, grid, array, axes))
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
