"""Layout and metadata of a store: arrays, coordinates, tables, and the digests of all of them."""

import hashlib
import json
import math
import operator
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import zarr
from numcodecs import Blosc
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec
from zarr.core.buffer import Buffer
from zarr.errors import ZarrUserWarning
from zarr.storage import MemoryStore

from refspace.errors import GridError
from refspace.grid import Grid
from refspace.label_index import FIELDS, Chunks, LabelIndex, split_table
from refspace.labels import HEMISPHERES_ATTRS, Midline, axis_attrs, resolve_midline
from refspace.labels.midline import STATED_BY_STORE
from refspace.store.described_array import described_array
from refspace.store.digests import (
    INDEX,
    INDEX_PARTS,
    INDEX_TOTALS,
    array_sha256,
    is_in_root,
    metadata_digest,
    records_path,
)
from refspace.store.location import Location
from refspace.store.object_records import ObjectRecord, table_of
from refspace.store.pyramid import level_grids
from refspace.store.stored_array import StoredArray
from refspace.store.tables import structures_dataset
from refspace.store.zarr_files import ZARR_JSON
from refspace.warning_filters import warnings_filtered

Triple = tuple[int, int, int]

# With its checksum, so that a flipped bit raises; without a shuffle, which makes labels larger.
_LABEL_CODEC = ZstdCodec(level=5, checksum=True)
_CODEC_V2 = Blosc(cname="zstd", clevel=5, shuffle=Blosc.SHUFFLE)
# Columns of the label index of a part, 12 MB: nearly all stores have one part.
_PART_ROWS = 2**17
# Blocks whose records are one object, 2.6 MB, and else the blocks of a part along each axis: a part
# of space meets few of those. Their records in turn are one object, half a megabyte for 4 × 10⁸.
_MOST_RECORDS, _RECORDS_SIDE = 2**16, 32
_ATTRS: dict[str, dict[str, Any]] = {
    "annotation": {"long_name": "structure id"},
    "template": {"long_name": "intensity of the template"},
    "hemispheres": dict(HEMISPHERES_ATTRS),
}


@dataclass(frozen=True)
class Layout:
    """Arrays of a store.

    Parameters
    ----------
    grids
        Grid of each level, the finest first.
    chunk_shape
        Voxels that are compressed together, along each axis.
    shard_shape
        Voxels that an object holds where it holds many chunks.
    dtypes
        Type of ``annotation``, and of ``template`` and ``hemispheres`` where there are any.
    midline
        Position of the midline along ml in µm; None if the store does not state it.
    midline_from
        How the midline came to be known, in words.
    """

    grids: tuple[Grid, ...]
    chunk_shape: Triple
    shard_shape: Triple | None
    dtypes: Mapping[str, np.dtype[Any]]
    midline: float | None = None
    midline_from: str = STATED_BY_STORE

    is_indexed: ClassVar[bool] = True
    """Whether the store has an index of the labels of each chunk."""

    zarr_format: ClassVar[Literal[2, 3]] = 3
    """Format of zarr."""

    @property
    def block_shape(self) -> Triple:
        """Voxels that an object holds along each axis."""
        return self.shard_shape or self.chunk_shape

    @property
    def metadata(self) -> dict[str, Any]:
        """The layout as JSON values, which equal layouts have in common."""
        grid = self.grids[0]
        return {
            "shape": list(grid.shape),
            "spacing": list(grid.spacing),
            "origin": list(grid.origin),
            "orientation": grid.orientation,
            "chunks": list(self.chunk_shape),
            "shards": list(self.shard_shape) if self.shard_shape else None,
            "dtypes": {name: dtype.name for name, dtype in self.dtypes.items()},
        } | ({} if self.midline is None else {"midline": self.midline})

    def paths(self, name: str) -> list[tuple[str, Grid]]:
        """Path and grid of the levels of a volume."""
        return [(f"s{level}/{name}", grid) for level, grid in enumerate(self.grids)]

    def dims(self, grid: Grid) -> tuple[str, ...]:
        """Names of the dims of the arrays on a grid."""
        return grid.dims

    def attrs(self, name: str) -> dict[str, Any]:
        """Attributes of the arrays of a volume."""
        return _ATTRS[name]


def store_layout(
    grid: Grid,
    dtypes: Mapping[str, np.dtype[Any]],
    *,
    chunks: int | Sequence[int] = 128,
    shards: int | Sequence[int] | None = None,
    midline: Midline | None = None,
) -> Layout:
    """Arrays of a store of some volumes on one grid.

    Raises
    ------
    GridError
        If chunks or shards are no lengths, or shards are no multiples of chunks.
    """
    chunk_shape = _lengths("chunks", chunks)
    shard_shape = None if shards is None else _lengths("shards", shards)
    if shard_shape and any(s % c for s, c in zip(shard_shape, chunk_shape, strict=True)):
        raise GridError(f"shards {shard_shape} are no multiples of chunks {chunk_shape}; give some")
    grids = level_grids(grid, shard_shape or chunk_shape)
    native = {name: dtype.newbyteorder("=") for name, dtype in dtypes.items()}
    fitted = _fitted(grid.shape, chunk_shape, shard_shape)
    line = resolve_midline(None, midline, grid)
    return Layout(tuple(grids), *fitted, native, line.position, line.source)


def _fitted(
    shape: Triple, chunk_shape: Triple, shard_shape: Triple | None
) -> tuple[Triple, Triple | None]:
    """Chunks and shards no larger than the volume: they are compressed at their full size."""
    a, b, c = map(min, chunk_shape, shape)
    if shard_shape is None:
        return (a, b, c), None
    wanted = [shard // chunk for shard, chunk in zip(shard_shape, chunk_shape, strict=True)]
    i, j, k = (min(w, -(-n // size)) for w, n, size in zip(wanted, shape, (a, b, c), strict=True))
    return (a, b, c), (i * a, j * b, k * c)


def _lengths(name: str, value: int | Sequence[int]) -> Triple:
    try:
        values: Any = [value] * 3 if np.ndim(value) == 0 else value
        a, b, c = map(operator.index, values)
    except (TypeError, ValueError) as error:
        raise GridError(f"{name} are {value!r}; give one number of voxels, or three") from error
    if min(a, b, c) < 1:
        raise GridError(f"{name} are {value!r}; give at least one voxel along each axis")
    return a, b, c


class Draft:
    """Everything in a store except its voxels, in memory until it is written as a whole.

    Parameters
    ----------
    zarr_format
        Format of zarr.
    """

    def __init__(self, zarr_format: Literal[2, 3] = 3) -> None:
        self._format = zarr_format
        self._buffers: dict[str, Buffer] = {}
        # Objects whose records are in a table.
        self._in_tables: set[str] = set()
        self._root = zarr.open_group(MemoryStore(self._buffers), mode="w", zarr_format=zarr_format)

    def put_array(
        self,
        path: str,
        shape: Sequence[int],
        dtype: np.dtype[Any],
        dims: Sequence[str],
        attrs: Mapping[str, Any],
        *,
        chunks: Sequence[int],
        shards: Sequence[int] | None,
    ) -> None:
        """Add the metadata of a large array, whose voxels are written elsewhere."""
        options: dict[str, Any] = {"compressors": [_LABEL_CODEC], "dimension_names": list(dims)}
        if self._format == 2:
            # zarr v2 has no names of dims; all its readers know this codec.
            encoding = {"name": "v2", "separator": "/"}
            options = {"compressors": [_CODEC_V2], "chunk_key_encoding": encoding}
        self._root.create_array(
            path,
            shape=tuple(shape),
            dtype=dtype,
            chunks=tuple(chunks),
            shards=None if shards is None else tuple(shards),
            fill_value=0,
            attributes=dict(attrs),
            **options,
        )

    def put(
        self,
        path: str,
        values: NDArray[Any],
        dims: Sequence[str],
        attrs: Mapping[str, Any] | None = None,
        *,
        parts: Sequence[int] | None = None,
    ) -> None:
        """Add a small array, as one chunk, or in parts of some length along each axis."""
        dtype = str if values.dtype.kind in "UO" else values.dtype
        array = self._root.create_array(
            path,
            shape=values.shape,
            dtype=dtype,
            chunks=tuple(max(1, n) for n in (parts or values.shape)),
            compressors=[_LABEL_CODEC],
            fill_value="" if dtype is str else 0,
            dimension_names=list(dims),
            attributes=dict(attrs or {}),
            config={"write_empty_chunks": True},
        )
        if values.size:
            array[...] = values

    def take_records(self, path: str) -> NDArray[np.uint8]:
        """Records of the objects of an array, which the root then does not have.

        Returns
        -------
        ndarray
            uint8 of the shape of its grid of chunks and the length of a record.
        """
        array: Any = self._root[path]
        grid = tuple(-(-n // size) for n, size in zip(array.shape, array.chunks, strict=True))
        keys = [f"{path}/{array.metadata.encode_chunk_key(each)}" for each in np.ndindex(grid)]
        self._in_tables.update(keys)
        table = table_of(ObjectRecord.of(self._buffers[key].to_bytes()) for key in keys)
        return table.reshape(*grid, -1)

    def put_group(self, path: str, attributes: Mapping[str, Any]) -> None:
        """Add attributes to a group, which may be there already."""
        self._root.require_group(path).attrs.update(attributes)

    def finish(self, attributes: Mapping[str, Any]) -> dict[str, bytes]:
        """Objects of everything but the voxels, with a record of each; the root's metadata last."""
        return _with_records(self.objects(attributes), self._in_tables)

    def objects(self, attributes: Mapping[str, Any]) -> dict[str, bytes]:
        """Objects of everything but the voxels.

        Parameters
        ----------
        attributes
            Those of the root.
        """
        self._root.attrs.update(attributes)
        # Consolidated metadata makes a store readable where nothing can be listed.
        with warnings_filtered("ignore", ZarrUserWarning):
            zarr.consolidate_metadata(self._root.store)
        return {key: data.to_bytes() for key, data in self._buffers.items()}


class Skeleton(Draft):
    """Everything in the store of an atlas except its voxels.

    Parameters
    ----------
    layout
        Its arrays.
    """

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout.zarr_format)
        self.layout = layout
        for name, dtype in layout.dtypes.items():
            for path, grid in layout.paths(name):
                self.put_array(
                    path,
                    grid.shape,
                    dtype,
                    layout.dims(grid),
                    layout.attrs(name),
                    chunks=layout.chunk_shape,
                    shards=layout.shard_shape,
                )

    def array_at(self, location: Location, path: str) -> StoredArray:
        """Array of this metadata whose voxels are written to a location."""
        draft: Any = self._root[path]
        return StoredArray(location, described_array(draft.metadata, path))

    def put_coordinates(self, coordinates: Mapping[str, NDArray[np.float64]]) -> None:
        """Add the voxel centres of every level: of the finest, the user's where there are any."""
        for level, grid in enumerate(self.layout.grids):
            for dim in grid.dims:
                own = coordinates.get(dim) if level == 0 else None
                values = grid.coordinates(dim) if own is None else own
                self.put(f"s{level}/{dim}", values, [dim], axis_attrs(grid, dim))


def _with_records(objects: dict[str, bytes], in_tables: Collection[str]) -> dict[str, bytes]:
    """Objects with a record of each in the root's metadata, and its digest; the root last.

    The root has no record of objects that have one in a table.
    """
    document = json.loads(objects.pop(ZARR_JSON))
    metadata = document["attributes"]["refspace"]
    metadata["objects"] = {
        k: ObjectRecord.of(data).to_json() for k, data in objects.items() if k not in in_tables
    }
    metadata["metadata_sha256"] = metadata_digest(document)
    return {**objects, ZARR_JSON: json.dumps(document).encode()}


def put_structures(skeleton: Skeleton, nodes: Sequence[Mapping[str, Any]]) -> None:
    """Add the ontology as columns."""
    for name, column in structures_dataset(nodes).variables.items():
        skeleton.put(f"structures/{name}", column.values, [str(dim) for dim in column.dims])


def put_records(skeleton: Skeleton, path: str, records: NDArray[np.uint8]) -> None:
    """Add the records of the objects of an array.

    Parameters
    ----------
    skeleton
        What they are added to.
    path
        Path of the array.
    records
        Rows of `table_of`, in the shape of the grid of objects.
    """
    attrs = {"bytes": ["0-7: length, little-endian", "8-39: sha256"]}
    table, blocks = records_path(path), records.shape[:-1]
    of_whole = is_in_root(table) or math.prod(blocks) <= _MOST_RECORDS
    parts = blocks if of_whole else tuple(min(n, _RECORDS_SIDE) for n in blocks)
    # The grids of two tables in a group have other shapes, and so other dims.
    dims = [f"{path.rpartition('/')[2]}_{axis}" for axis in range(len(blocks))]
    skeleton.put(table, records, [*dims, "byte"], attrs, parts=(*parts, records.shape[-1]))
    if parts != blocks:
        put_records(skeleton, table, skeleton.take_records(table))


def put_index(skeleton: Skeleton, level: str, index: LabelIndex, coarse: Chunks) -> dict[str, str]:
    """Add the label index of a level, and return the digests that prove it.

    Parameters
    ----------
    skeleton
        What it is added to.
    level
        Name of the level.
    index
        The index.
    coarse
        Large chunks: of an index in parts there are totals for each of them.
    """
    attrs, path = {"fields": list(FIELDS)}, f"label_index/{level}"
    table = index.table
    if table.shape[1] <= _PART_ROWS:
        skeleton.put(f"{path}/table", table, ["field", "row"], attrs)
        return {INDEX: array_sha256(table)}
    table, spans = split_table(table, [len(sizes) for sizes in index.chunks], _PART_ROWS)
    parts = len(FIELDS), _PART_ROWS
    skeleton.put(f"{path}/table", table, ["field", "row"], attrs, parts=parts)
    records = skeleton.take_records(f"{path}/table")
    put_records(skeleton, f"{path}/table", records)
    skeleton.put(f"{path}/spans", spans, ["end", "part"])
    totals = index.coarsen(coarse).table
    skeleton.put(f"{path}/totals", totals, ["field", "total"], attrs)
    return {INDEX_TOTALS: array_sha256(totals), INDEX_PARTS: array_sha256(spans, records)}


def array_digest(
    shape: Sequence[int],
    dtype: np.dtype[Any],
    blocks: Sequence[Sequence[int]],
    records: NDArray[np.uint8],
) -> str:
    """Digest of an array of a store, from the records of its blocks.

    Parameters
    ----------
    shape, dtype, blocks
        Shape and type of the array, and the lengths of its blocks along each axis.
    records
        Records of the blocks in C order, as `table_of` gives them.
    """
    description = [list(map(int, shape)), dtype.name, [list(map(int, sizes)) for sizes in blocks]]
    return hashlib.sha256(json.dumps(description).encode() + records.tobytes()).hexdigest()
