"""Opens stores of masks: lazy arrays, and proof of every shard."""

import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import dask.array
import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray

from refspace.errors import FormatError, RefspaceError, StoreError
from refspace.labels import Midline, with_hemispheres
from refspace.store.location import Location, map_concurrently
from refspace.store.masks.layout import FORMAT, PATH
from refspace.store.masks.writing import (
    DIGESTS,
    FIELDS,
    TABLE,
    Shard,
    shards_from_tables,
    unflattened,
)
from refspace.store.metadata import MASKS, metadata_digest
from refspace.store.report import Fault, Report, one_line
from refspace.store.staging import leftover_hint
from refspace.store.stored_array import Box
from refspace.store.zarr_files import ZARR_JSON

_AGAIN = "write the masks again, or copy them again from where they are whole"
# Objects that are proven at the same time.
_GROUP_SIZE = 16


@dataclass(frozen=True)
class StoredMasks:
    """A store of masks, whose metadata are proven.

    Parameters
    ----------
    location
        Where it is.
    group
        The store, as zarr opened it.
    metadata
        What refspace wrote about it.
    """

    location: Location
    group: "zarr.Group"
    metadata: Mapping[str, Any]

    @functools.cached_property
    def array(self) -> Any:
        """The array, over structures and space."""
        return self.group[PATH]

    @functools.cached_property
    def shards(self) -> list[Shard]:
        """Record of each shard."""
        table, digests = self._small(TABLE), self._small(DIGESTS)
        if table.shape != (len(digests), len(FIELDS)) or digests.shape[1:] != (32,):
            raise FormatError(f"{self.location.url}: the table of shards is damaged; {_AGAIN}")
        return shards_from_tables(table, digests)

    def _small(self, path: str) -> NDArray[Any]:
        try:
            return np.asarray(self.group[path][...])  # type: ignore[index]
        except Exception as error:  # whatever zarr and codecs raise
            raise FormatError(
                f"{self.location.url}: {path} cannot be read: {error}; {_AGAIN}"
            ) from error

    @property
    def structures(self) -> list[int]:
        """Ids of the structures."""
        ids: list[int] = self._small("s0/structure").tolist()
        return ids

    @property
    def numblocks(self) -> tuple[int, ...]:
        """Number of blocks along each axis of space."""
        sides = zip(self.array.shape[1:], self.array.chunks[1:], strict=True)
        return tuple(-(-count // size) for count, size in sides)

    @functools.cached_property
    def _data(self) -> dask.array.Array:
        """The array; lazy."""
        return dask.array.from_array(
            _Masks(self.array, self._present),
            chunks=self.array.chunks,
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
        dims = self.array.metadata.dimension_names[-data.ndim :]
        coords: dict[str, Any] = {
            dim: (dim, self._small(f"s0/{dim}"), dict(self.group[f"s0/{dim}"].attrs))
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

    @functools.cached_property
    def _present(self) -> frozenset[tuple[int, ...]]:
        """Group and block of each shard that exists."""
        return frozenset(
            (shard.group, *unflattened(shard.block_id, self.numblocks)) for shard in self.shards
        )

    def report(self, progress: Callable[[int, int], None] | None = None) -> Report:
        """Prove every shard by its digest."""
        faults: list[Fault] = []
        shards = self.shards
        for first in range(0, len(shards), _GROUP_SIZE):
            for own in map_concurrently(self._faults, shards[first : first + _GROUP_SIZE]):
                faults += own
            if progress is not None:
                progress(min(first + _GROUP_SIZE, len(shards)), len(shards))
        return Report(self.location.url, len(shards), tuple(faults), proven=True)

    def _faults(self, shard: Shard) -> list[Fault]:
        key = shard.key(self.numblocks)
        try:
            data = self.location.read(key)
        except RefspaceError as error:
            return [Fault(key, one_line(error, self.location, key))]
        if data is None:
            return [Fault(key, "is missing")]
        same = len(data) == shard.nbytes and hashlib.sha256(data).digest() == shard.sha256
        return [] if same else [Fault(key, "is not what was written")]


@dataclass(frozen=True)
class _Masks:
    """Array, as bool, that requests only shards that exist; all others are False.

    Parameters
    ----------
    array
        The array, as zarr reads it.
    present
        Group and block of each shard that exists.
    """

    array: Any
    present: frozenset[tuple[int, ...]]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.array.shape)

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
        return self._read(box)[inner]

    def _read(self, box: Box) -> NDArray[Any]:
        """Masks in a part of the array; False, without a request, if its one shard is absent."""
        sides = list(zip(box, self.array.shards, strict=True))
        first = tuple(part.start // size for part, size in sides)
        in_one_shard = all(
            part.stop <= (i + 1) * size for (part, size), i in zip(sides, first, strict=True)
        )
        if in_one_shard and first not in self.present:
            return np.zeros([part.stop - part.start for part in box], self.dtype)
        try:
            return np.asarray(self.array[box], bool)
        except Exception as error:  # whatever zarr and codecs raise
            raise FormatError(
                f"{self.array.store_path}: masks cannot be read: {error}; {_AGAIN}"
            ) from error


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
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FormatError(f"{location.url} is no store of masks; {_AGAIN}") from error
    if metadata.get("kind") != MASKS or metadata.get("format") != FORMAT:
        raise FormatError(
            f"{location.url} holds no masks that this version of refspace reads; an atlas opens "
            "with refspace.open"
        )
    if not proven or metadata.get("complete") is not True:
        raise FormatError(f"{location.url}: {ZARR_JSON} is not what was written; {_AGAIN}")
    store = location.zarr_store(contents={ZARR_JSON: root})
    group = zarr.open_group(store, mode="r", zarr_format=3, use_consolidated=True)
    return StoredMasks(location, group, metadata)


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
