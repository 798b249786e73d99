"""Opening a store: what it holds, without a voxel of it."""

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
from zarr.core.array import Array, AsyncArray
from zarr.core.metadata import ArrayV3Metadata
from zarr.storage import StorePath

from refspace.errors import FormatError, GridError, RefspaceError, StoreError
from refspace.grid import Grid, parse_spacing
from refspace.label_index import FIELDS, LabelIndex
from refspace.labels import labelled
from refspace.remote.kept import trim
from refspace.store import ome
from refspace.store.datatree import find_level
from refspace.store.location import Location, map_concurrently
from refspace.store.metadata import FORMAT, MASKS, index_cells, metadata_digest, voxel_digest
from refspace.store.staging import leftover_hint
from refspace.store.stored_array import StoredArray
from refspace.store.zarr_files import ZARR_JSON, ZARRAY, ZATTRS
from refspace.store.zarr_view import ZarrView

# A brain at 1 µm has blocks of 128³ by the thousand; a million take seconds to name.
_LONGEST, _MOST_BLOCKS = 10**7, 10**7
# There in every store of refspace, and in no other.
OURS = f"label_index/{ZARR_JSON}"
_AGAIN = "convert it again, or copy it again from where it is whole"


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
        Numbers of the spatial axes of the array; any others have the length 1.
    """

    path: str
    grid: Grid
    array: StoredArray
    axes: tuple[int, ...] = (0, 1, 2)


@dataclass(frozen=True)
class StoredAtlas:
    """A store that was opened: an annotation volume at several resolutions, and what it says.

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
        Structures; None in a store that was not written by refspace.
    facts
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
    facts: Mapping[str, Any] | None = None
    arrays: Mapping[str, StoredArray] = field(default_factory=dict)
    _known_centres: dict[Any, list[NDArray[Any]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def provenance(self) -> dict[str, Any]:
        """Where the atlas comes from."""
        return dict((self.facts or {}).get("provenance", {}))

    @property
    def midline(self) -> float | None:
        """Position of the midline along ml in µm; None in a store that does not know of one."""
        midline: float | None = (self.facts or {}).get("midline")
        return midline

    def level(self, resolution: float | Sequence[float] | None) -> int:
        """Number of the level of a resolution in µm; the finest if none is asked for.

        Raises
        ------
        GridError
            If there is no such level.
        """
        return find_level([level.grid for level in self.levels], resolution, self.location.url)

    def volume(self, number: int, name: str = "annotation") -> xr.DataArray:
        """Lazy ``annotation``, ``template`` or ``hemispheres`` of a level, with coordinates."""
        level = self._levels(name)[number]
        self._refuse_huge(level)
        data = level.array.as_dask(self._token(level))
        if data.ndim > 3:
            data = data[tuple(slice(None) if a in level.axes else 0 for a in range(data.ndim))]
        attrs = dict(level.array.array.attrs) if self.facts else {}
        volume = labelled(data, level.grid, name, attrs)
        return volume.assign_coords(self._centres(number, volume)) if self.facts else volume

    def index(self, number: int) -> LabelIndex | None:
        """Label index of a level; None where there is none, or not one of this array.

        Warns
        -----
        UserWarning
            If there is one that must not be trusted.
        """
        level = self.levels[number]
        expected = self._array_facts(level).get("label_index")
        if expected is None:
            return None
        try:
            table = self._small_array(f"label_index/s{number}/table", (len(FIELDS), None))
            if hashlib.sha256(table.tobytes()).hexdigest() != expected:
                raise FormatError("it is the index of another volume")
            cells = index_cells(level.grid, level.array.blocks, self.midline)
            return LabelIndex(level.array.shape, cells, table)
        except RefspaceError as error:
            warnings.warn(
                f"{self.location.url}: the label index of {level.path} is not used: {error}. "
                "Voxels are read instead, which takes longer",
                stacklevel=2,
            )
            return None

    def stored_bytes(self, number: int, name: str = "annotation") -> NDArray[np.int64]:
        """Bytes that each block takes in the store, in C order of their numbers."""
        blocks = self._count(self._levels(name)[number])
        return self._small_array(f"label_index/s{number}/{name}_stored_bytes", (blocks,))

    def block_sha256(self, number: int, name: str = "annotation") -> NDArray[np.uint8]:
        """Digest of the voxels of each block, in C order of their numbers."""
        level = self._levels(name)[number]
        shape = (self._count(level), hashlib.sha256().digest_size)
        digests = self._small_array(f"label_index/s{number}/{name}_sha256", shape, np.uint8)
        array = level.array
        found = voxel_digest(array.shape, array.dtype, array.blocks, digests.tobytes())
        if found != self._array_facts(level).get("voxels"):
            raise FormatError(f"{self.location.url}: the digests of {level.path} are not its own")
        return digests

    # ----- parts

    def _levels(self, name: str) -> tuple[StoredLevel, ...]:
        beside = {"template": self.template, "hemispheres": self.hemispheres}
        return self.levels if name == "annotation" else beside[name]

    def _count(self, level: StoredLevel) -> int:
        """Number of the blocks of a level, without their names."""
        sides = zip(level.array.shape, level.array.block_shape, strict=True)
        return math.prod(-(-count // size) for count, size in sides)

    def _refuse_huge(self, level: StoredLevel) -> None:
        """Refuse what damaged metadata ask for, before the names of its blocks fill the memory."""
        array, blocks = level.array, self._count(level)
        if max(array.shape) > _LONGEST or blocks > _MOST_BLOCKS:
            raise FormatError(
                f"{self.location.url}: {level.path or 'the array'} has the shape {array.shape} in "
                f"{blocks} blocks, which is more than one array can be opened with; store it in "
                "larger chunks or shards, or correct its metadata"
            )

    def _token(self, level: StoredLevel) -> str:
        """What tells the voxels of a level from any others."""
        digest = self._array_facts(level).get("voxels")
        metadata = level.array.array.metadata.to_dict()
        return digest or f"{self.location.url} {json.dumps(metadata, default=str)}"

    def _array_facts(self, level: StoredLevel) -> Mapping[str, str]:
        facts: Mapping[str, str] = (self.facts or {}).get("arrays", {}).get(level.path, {})
        return facts

    def _centres(self, number: int, volume: xr.DataArray) -> dict[str, Any]:
        """Coordinates as they were written, to the last digit."""
        sizes = tuple((str(dim), count) for dim, count in volume.sizes.items())
        if (number, sizes) not in self._known_centres:

            def read(size: tuple[str, int]) -> NDArray[Any]:
                dim, count = size
                return self._small_array(f"s{number}/{dim}", (count,), np.float64)

            # Once for all volumes.
            self._known_centres[number, sizes] = map_concurrently(read, sizes)
        known = zip(sizes, self._known_centres[number, sizes], strict=True)
        return {dim: (dim, centres, volume[dim].attrs) for (dim, _), centres in known}

    def _small_array(
        self, path: str, shape: Sequence[int | None], dtype: Any = np.int64
    ) -> NDArray[Any]:
        """Values of an array, once it is known to be of a shape; None stands for any length."""
        if path not in self.arrays:
            raise FormatError(f"{self.location.url}: there is no {path}; {_AGAIN}")
        array = self.arrays[path]
        fits = len(array.shape) == len(shape) and all(
            n == m or (m is None and n <= _LONGEST) for n, m in zip(array.shape, shape, strict=True)
        )
        if not fits or array.dtype != dtype:
            raise FormatError(f"{self.location.url}: {path} is not what it should be; {_AGAIN}")
        return array[()]


def open_atlas(
    url: str,
    *,
    storage_options: Mapping[str, Any] | None = None,
    resolution: float | Sequence[float] | None = None,
    orientation: str | None = None,
    engine: str = "fsspec",
    chunk_cache: str | os.PathLike[str] | None = None,
) -> StoredAtlas:
    """Open a store written by refspace, or an OME-Zarr label image of anyone.

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
    kept_in = None if chunk_cache is None else Path(chunk_cache).absolute()
    if kept_in is not None:
        trim(kept_in)
    location = Location(url, storage_options or {}, engine, kept_in)
    root = location.read(ZARR_JSON)
    if root is not None and "refspace" in (document := _document(location, root))["attributes"]:
        return _own(location, document, orientation)
    if root is not None and location.read(OURS) is not None:
        # Without a digest that proves anything, it must not pass for a store of others.
        raise FormatError(
            f"{location.url}: what refspace wrote about the store into {ZARR_JSON} is gone; "
            f"{_AGAIN}"
        )
    try:
        return _foreign(location, root, resolution, orientation)
    except (FormatError, GridError) as error:
        named = location.url in str(error)
        raise error if named else type(error)(f"{location.url}: {error}") from error


def _document(location: Location, data: bytes) -> dict[str, Any]:
    """Metadata of a node, as its JSON says."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise FormatError(
            f"{location.url}: {ZARR_JSON} is no JSON ({error}); the store is damaged: {_AGAIN}"
        ) from error
    if not isinstance(document, dict) or document.get("zarr_format") != 3:
        raise FormatError(
            f"{location.url}: {ZARR_JSON} is not the metadata of a zarr node; {_AGAIN}"
        )
    attributes = document.setdefault("attributes", {})
    if not isinstance(attributes, dict):
        raise FormatError(
            f"{location.url}: {ZARR_JSON} has attributes that are no mapping; {_AGAIN}"
        )
    return document


def _own(location: Location, document: Mapping[str, Any], orientation: str | None) -> StoredAtlas:
    """A store of ours, once its metadata is proven to be what was written."""
    attributes = document["attributes"]
    facts = attributes["refspace"]
    _check_facts(location, facts)
    try:
        digest = metadata_digest(document)
    except KeyError as error:
        raise FormatError(f"{location.url}: {ZARR_JSON} has no {error}; {_AGAIN}") from error
    if digest != facts.get("metadata_sha256") or document.get("node_type") != "group":
        raise FormatError(
            f"{location.url}: {ZARR_JSON} is not what was written: it is damaged, or was changed; "
            f"{_AGAIN}"
        )
    arrays = consolidated_arrays(location, document)
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
        facts,
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
        raise FormatError(f"{location.url}: there is no {path}; {_AGAIN}")
    grid, _ = ome.grid_of_level(multiscale, dataset, arrays[path].shape, orientation=orientation)
    return StoredLevel(path, grid, arrays[path])


def _check_facts(location: Location, facts: Any) -> None:
    if not isinstance(facts, dict) or facts.get("complete") is not True:
        raise StoreError(
            f"{location.url} is not complete: the run that wrote it was interrupted; run the same "
            "again to go on with it. What xarray saved of a DataTree opens with "
            "xarray.open_datatree and ReferenceSpace.from_datatree"
        )
    if facts.get("kind") == MASKS:
        raise FormatError(
            f"{location.url} holds masks, and no annotation: open it with refspace.open_masks"
        )
    if facts.get("format") != FORMAT:
        raise FormatError(
            f"{location.url} has format {facts.get('format')!r}; this refspace reads {FORMAT}: "
            "upgrade refspace, or convert the store again"
        )
    arrays = facts.get("arrays")
    digests = arrays.values() if isinstance(arrays, dict) else ()
    mappings = [facts.get("provenance"), arrays, *digests]
    if not all(isinstance(value, dict) for value in mappings):
        raise FormatError(f"{location.url}: its provenance or digests are none; {_AGAIN}")
    midline = facts.get("midline", 0.0)
    if type(midline) not in (int, float) or not math.isfinite(midline):
        raise FormatError(f"{location.url}: its midline is {midline!r}, no position; {_AGAIN}")


def consolidated_arrays(location: Location, document: Mapping[str, Any]) -> dict[str, StoredArray]:
    """Arrays of a store, by path, from the metadata that its root holds."""
    store = location.zarr_store()
    version = document["attributes"]["refspace"]["metadata_sha256"]
    try:
        return {
            path: _own_array(location, StorePath(store, path), node, version)
            for path, node in document["consolidated_metadata"]["metadata"].items()
            if node["node_type"] == "array"
        }
    except Exception as error:  # whatever zarr finds wrong with metadata
        raise FormatError(
            f"{location.url}: {ZARR_JSON} has metadata that is none: {error}"
        ) from error


def _own_array(location: Location, place: StorePath, node: Any, version: str) -> StoredArray:
    metadata = ArrayV3Metadata.from_dict(node)
    if not isinstance(metadata.attributes, dict):
        raise FormatError(f"the attributes of {place.path} are no mapping")
    return StoredArray(location, Array(AsyncArray(metadata, place)), whole=True, version=version)


def _foreign(
    location: Location,
    root: bytes | None,
    resolution: float | Sequence[float] | None,
    orientation: str | None,
) -> StoredAtlas:
    """OME-Zarr label image, or a bare array, of any program."""
    store = location.zarr_store(known={ZARR_JSON: root})
    try:
        node = zarr.open(store, mode="r", zarr_format=2 if root is None else 3)
    except FileNotFoundError as error:
        hint = leftover_hint(location.url, location.storage_options)
        raise StoreError(
            f"there is no zarr store at {location.url}" + (f": {hint}" if hint else "")
        ) from error
    except Exception as error:  # whatever zarr finds wrong with metadata
        raise FormatError(f"{location.url}: cannot be opened: {error}") from error
    if isinstance(node, zarr.Array):
        return _bare(location, node, resolution, orientation)
    return _label_image(location, node, resolution, orientation)


def _bare(
    location: Location,
    array: Any,
    resolution: float | Sequence[float] | None,
    orientation: str | None,
) -> StoredAtlas:
    if resolution is None:
        raise GridError(f"{location.url} is an array without geometry; give its resolution in µm")
    if array.ndim != 3:
        raise FormatError(f"{location.url} has shape {array.shape}; a volume has three axes")
    grid = Grid(array.shape, parse_spacing(resolution), orientation=orientation or "PIR")
    level = StoredLevel("", grid, StoredArray(location, array, whole=False))
    return StoredAtlas(location, f"none, zarr {array.metadata.zarr_format}", (level,))


def _label_image(
    location: Location,
    group: zarr.Group,
    resolution: float | Sequence[float] | None,
    orientation: str | None,
) -> StoredAtlas:
    attributes = dict(group.attrs)
    inner = [] if ome.is_label(attributes) else _label_images(location, group, attributes)
    if len(inner) > 1:
        raise FormatError(
            f"{location.url} has several label images; open one of {', '.join(inner)}"
        )
    if inner:
        place = location.beside(inner[0])
        root = place.read(ZARR_JSON) if group.metadata.zarr_format == 3 else None
        return _foreign(place, root, resolution, orientation)
    multiscale = ome.read_multiscale(attributes)
    # Where there are units, a resolution asks for one of the levels.
    has_units = all(axis.unit for axis in multiscale.axes if axis.type == "space")
    finest = None if has_units else resolution
    _ask_together(location, group, [dataset.path for dataset in multiscale.datasets])
    levels = []
    for dataset in multiscale.datasets:
        array = StoredArray(location, _array(location, group, dataset.path), whole=False)
        grid, axes = ome.grid_of_level(
            multiscale, dataset, array.shape, orientation=orientation, resolution=finest
        )
        levels.append(StoredLevel(dataset.path, grid, array, axes))
    return StoredAtlas(location, multiscale.version, tuple(levels))


def _ask_together(location: Location, group: zarr.Group, paths: Sequence[str]) -> None:
    """Have the metadata of arrays of another machine asked for at once, not one after the other."""
    if isinstance(group.store, ZarrView):
        names = (ZARR_JSON,) if group.metadata.zarr_format == 3 else (ZARRAY, ZATTRS)
        known = group.store.known
        keys = [key for path in paths for name in names if (key := f"{path}/{name}") not in known]
        known.update(location.read_all(keys))


def _label_images(
    location: Location, group: zarr.Group, attributes: Mapping[str, Any]
) -> list[str]:
    """URLs of the label images within an image, or within a group of them."""
    url = location.url
    try:
        labels = group.get("labels")
    except Exception as error:  # whatever zarr finds wrong with metadata
        raise FormatError(f"{url}/labels cannot be opened: {error}") from error
    if isinstance(labels, zarr.Group):
        url, attributes = f"{url}/labels", dict(labels.attrs)
    return [f"{url}/{name}" for name in ome.label_names(attributes)]


def _array(location: Location, group: zarr.Group, path: str) -> Any:
    try:
        array = group[path]
    except Exception as error:  # KeyError, or whatever zarr finds wrong with metadata
        raise FormatError(f"{location.url}: there is no array {path!r}: {error!r}") from error
    if not isinstance(array, zarr.Array) or array.dtype.kind not in "uif":
        raise FormatError(f"{location.url}: {path} is no array of labels")
    return array
