"""Opens stores of masks: lazy arrays, and proof of every shard."""

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import dask.array
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from refspace.errors import FormatError, RefspaceError, StoreError
from refspace.labels import Midline, with_hemispheres
from refspace.store.digests import MASKS, metadata_digest
from refspace.store.location import Location
from refspace.store.masks.layout import DTYPE, PATH
from refspace.store.masks.shard_reader import ShardReader
from refspace.store.masks.writing import (
    FIELDS,
    RECORDS,
    TABLE,
    Shard,
    shards_from_tables,
    unflattened,
)
from refspace.store.object_records import RECORD_BYTES, KnownRecords, ObjectRecord
from refspace.store.own_arrays import arrays_of_store, check_format
from refspace.store.prove import object_faults, stray_faults
from refspace.store.report import Fault, Report
from refspace.store.staging import leftover_hint
from refspace.store.stored_array import StoredArray
from refspace.store.zarr_files import ZARR_JSON

_AGAIN = "write the masks again, or copy them again from where they are whole"
# Structures, and the axes of space.
_NDIM = 4


@dataclass(frozen=True)
class StoredMasks:
    """A store of masks, whose metadata are proven.

    Parameters
    ----------
    location
        Where it is.
    arrays
        Its arrays by path: that of the masks, and small ones, each proven by its record.
    metadata
        What refspace wrote about it.
    """

    location: Location
    arrays: Mapping[str, StoredArray]
    metadata: Mapping[str, Any]

    @property
    def array(self) -> StoredArray:
        """The array, over structures and space, in blocks that are shards."""
        return self.arrays[PATH]

    @functools.cached_property
    def shards(self) -> list[Shard]:
        """Record of each shard."""
        table, records = self._small(TABLE), self._small(RECORDS)
        if table.shape != (len(records), len(FIELDS)) or records.shape[1:] != (RECORD_BYTES,):
            raise FormatError(f"{self.location.url}: the table of shards is damaged; {_AGAIN}")
        return shards_from_tables(table, records)

    def _small(self, path: str) -> NDArray[Any]:
        if path not in self.arrays:
            raise FormatError(f"{self.location.url}: there is no {path}; {_AGAIN}")
        return self.arrays[path].values()

    @functools.cached_property
    def structures(self) -> list[int]:
        """Ids of the structures."""
        ids: list[int] = self._small("s0/structure").tolist()
        return ids

    @property
    def numblocks(self) -> tuple[int, ...]:
        """Number of blocks along each axis of space."""
        return tuple(map(len, self.array.blocks[1:]))

    @functools.cached_property
    def _data(self) -> dask.array.Array:
        """The array; lazy."""
        records = {
            (shard.group, *unflattened(shard.block_id, self.numblocks)): shard.record
            for shard in self.shards
        }
        array = StoredArray(
            self.location,
            self.array.array,
            records=KnownRecords(records),
            version=self.array.version,
        )
        chunks = self.array.array.chunks
        return dask.array.from_array(
            _Masks(ShardReader(array, frozenset(records))),
            chunks=chunks,
            name=f"masks-{self.metadata['metadata_sha256']}",
            asarray=False,
            meta=np.empty((0,) * self.array.ndim, bool),
        )

    def volume(self) -> xr.DataArray:
        """Masks over ``structure`` and the axes of space; lazy."""
        names = {
            name: ("structure", self._small(f"s0/{name}").astype(object))
            for name in ("acronym", "name")
        }
        return self._labelled(self._data, names)

    def mask(self, structure: int) -> xr.DataArray:
        """Mask of one of the structures; lazy."""
        return self._labelled(self._data[self.structures.index(structure)], {})

    def _labelled(self, data: dask.array.Array, names: Mapping[str, Any]) -> xr.DataArray:
        """Array with the coordinates of its dims, and the names of its structures."""
        dims = _dims(self.array)[-data.ndim :]
        coords: dict[str, Any] = {
            dim: (dim, self._small(f"s0/{dim}"), dict(self.arrays[f"s0/{dim}"].array.attrs))
            for dim in dims
        }
        sides = dict(self.metadata["provenance"].get("sides") or {})
        attrs = {"long_name": "inside the structure", **(sides if "hemisphere" in sides else {})}
        array = xr.DataArray(data, {**coords, **names}, dims, "mask", attrs)
        if "midline" not in sides:
            return array
        midline = Midline.from_value(sides["midline"], str(sides["midline_from"]))
        volume = array if array.ndim == 3 else array.isel(structure=0, drop=True)
        return array.assign_coords(hemisphere=with_hemispheres(volume, midline)["hemisphere"])

    def report(self, progress: Callable[[int, int], None] | None = None) -> Report:
        """Prove every file: small ones and shards by their records; and find strays."""
        objects = {key: ObjectRecord.from_json(v) for key, v in self.metadata["objects"].items()}
        faults = list(object_faults(self.location, objects))
        damaged = {fault.key for fault in faults}
        records: dict[str, ObjectRecord] = {}
        if damaged.isdisjoint(self.arrays[path].key((0, 0)) for path in (TABLE, RECORDS)):
            records = {shard.key(self.numblocks): shard.record for shard in self.shards}
            faults += object_faults(self.location, records, progress)
            faults += stray_faults(self.location, {ZARR_JSON, *objects, *records})
        else:
            faults.append(Fault(PATH, "its shards cannot be proven: their records are damaged"))
        return Report(self.location.url, len(records), tuple(faults), proven=True)


def _dims(array: StoredArray) -> list[str]:
    """Names of the axes of an array, as far as they have any."""
    names = getattr(array.array.metadata, "dimension_names", None) or ()
    return [name for name in names if isinstance(name, str)]


@dataclass(frozen=True)
class _Masks:
    """Array, as bool, that requests only shards that exist; all others are False.

    Parameters
    ----------
    shards
        Reads them.
    """

    shards: ShardReader

    @property
    def shape(self) -> tuple[int, ...]:
        return self.shards.array.shape

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(bool)

    def __getitem__(self, key: tuple[slice | int, ...]) -> NDArray[Any]:
        rows = [range(count)[part] for part, count in zip(key, self.shape, strict=True)]
        box = tuple(_bounding_slice(row) for row in rows)
        inner = tuple(_shifted(row, part.start) for row, part in zip(rows, box, strict=True))
        return self.shards.read_box(box)[inner]


def _bounding_slice(row: range | int) -> slice:
    """Smallest slice that holds some indices."""
    if isinstance(row, int):
        return slice(row, row + 1)
    return slice(min(row[0], row[-1]), max(row[0], row[-1]) + 1) if row else slice(0, 0)


def _shifted(row: range | int, start: int) -> slice | int:
    """The same indices, counted from a start."""
    if isinstance(row, int):
        return row - start
    stop = row.stop - start
    # A slice that runs down to the first index has no end that is an index.
    return slice(row.start - start, None if stop < 0 else stop, row.step) if row else slice(0)


def is_mask_store(location: Location) -> bool:
    """Whether a store says that it holds masks."""
    try:
        root = json.loads(location.read(ZARR_JSON) or b"")
        return bool(root["attributes"]["refspace"]["kind"] == MASKS)
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def open_stored_masks(
    url: str, storage_options: Mapping[str, Any] | None = None, engine: str = "fsspec"
) -> StoredMasks:
    """Open a store of masks.

    Raises
    ------
    StoreError
        If there is no store, or an incomplete one.
    FormatError
        If it is damaged, or holds something else.
    """
    location = Location(url, storage_options or {}, engine)
    root = location.read(ZARR_JSON)
    if root is None:
        hint = leftover_hint(url, storage_options)
        raise StoreError(
            f"there is no store of masks at {location.url}" + (f": {hint}" if hint else "")
        )
    try:
        document = json.loads(root)
        metadata = document["attributes"]["refspace"]
        proven = metadata_digest(document) == metadata["metadata_sha256"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FormatError(f"{location.url} is no store of masks; {_AGAIN}") from error
    if metadata.get("kind") != MASKS:
        raise FormatError(f"{location.url} holds no masks; an atlas opens with refspace.open")
    check_format(location, metadata)
    if not proven or metadata.get("complete") is not True:
        raise FormatError(f"{location.url}: {ZARR_JSON} is not what was written; {_AGAIN}")
    arrays = arrays_of_store(location, document)
    _check_arrays(location, metadata, arrays)
    return StoredMasks(location, arrays, metadata)


def _check_arrays(
    location: Location, metadata: Mapping[str, Any], arrays: Mapping[str, StoredArray]
) -> None:
    """Refuse metadata that describe no masks, whatever their digest."""
    masks = arrays.get(PATH)
    dims = [] if masks is None else _dims(masks)
    small = {f"s0/{name}" for name in (*dims, "acronym", "name")} | {TABLE, RECORDS}
    provenance = metadata.get("provenance")
    if (
        masks is None
        or masks.array.shards is None
        or masks.dtype != DTYPE
        or len(dims) != masks.ndim
        or masks.ndim != _NDIM
        or dims[0] != "structure"
        or not small <= {*arrays}
        or any(arrays[f"s0/{dim}"].shape != (n,) for dim, n in zip(dims, masks.shape, strict=True))
        or not isinstance(provenance, dict)
        or not isinstance(provenance.get("sides") or {}, dict)
    ):
        raise FormatError(f"{location.url}: {ZARR_JSON} does not describe masks; {_AGAIN}")


def open_masks(
    url: str, *, storage_options: Mapping[str, Any] | None = None, engine: str = "fsspec"
) -> xr.DataArray:
    """Open masks of many structures, as `refspace.write_masks` writes them.

    Parameters
    ----------
    url
        Path or URL of the store.
    storage_options
        What fsspec needs to reach it.
    engine
        What reads from other machines: ``"fsspec"`` or ``"obstore"``.

    Returns
    -------
    xarray.DataArray
        bool, True inside; lazy, dims ``structure`` and those of the annotation, with ids, acronyms
        and names along ``structure`` and µm along the others. What is outside in all of a block is
        not read. As of a mask of `ReferenceSpace.make_structure_mask`, the coordinate
        ``hemisphere`` states the midline, and the attribute ``hemisphere`` the one they are of.

    Raises
    ------
    StoreError
        If there is no such store, or it is not complete.
    FormatError
        If it is damaged, or holds something else.

    Examples
    --------
    >>> import refspace, tempfile
    >>> url = tempfile.mkdtemp() + "/masks.zarr"
    >>> _ = refspace.write_masks(refspace.phantom(resolution=400), url, ["VISp", "TH"])
    >>> masks = open_masks(url)
    >>> masks.dims, masks.sel(structure=385).acronym.item()
    (('structure', 'ap', 'dv', 'ml'), 'VISp')
    """
    try:
        return open_stored_masks(url, storage_options, engine).volume()
    except RefspaceError:
        raise
    except Exception as error:  # whatever zarr and xarray find wrong with what metadata say
        raise FormatError(f"{url} is no store of masks that opens: {error}; {_AGAIN}") from error
