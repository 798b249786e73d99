"""Arrays of a store, read block by block."""

import functools
import itertools
import json
import math
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol

import numpy as np
import zarr
from numpy.typing import NDArray

from refspace.blockwise.content_identity import Identity
from refspace.errors import FormatError, RefspaceError, StoreReplacedError
from refspace.limits import check_limit
from refspace.store.boxes import BlockId, Box, block_boxes, block_lengths, common_box, within
from refspace.store.decode import block_decoder, decode_block
from refspace.store.location import Location
from refspace.store.object_records import ObjectRecord, Records
from refspace.store.object_stamps import objects_identity
from refspace.store.zarr_files import ZARR_JSON

_REPAIR = "write it again, or copy it again from where it is whole"


class Indexed(Protocol):
    """What was noted of the objects of an array when a label index was made of it."""

    def is_as_indexed(self, block_id: Sequence[int], data: bytes | None) -> bool:
        """Whether an object is the one that was indexed, or the index is not in use."""


class StoredArray:
    """Array of a store, read block by block.

    Parameters
    ----------
    location
        The store.
    array
        The array, as zarr opened it.
    records
        What proves each of its objects, in a store of ours: every one was written, so that a
        missing one is a fault and not fill values. None for one of another program.
    version
        Distinguishes the store from another one at the same URL at another time: of a store of
        ours, the digest of its root metadata. None for one of another program, whose objects have
        versions of their own at best.
    indexed
        What was noted of the objects of an array of another program when a label index was made of
        it, where results are made by that index: another object then belongs to no such result.
    """

    def __init__(
        self,
        location: Location,
        array: "zarr.Array[Any]",
        *,
        records: Records | None = None,
        version: str | None = None,
        indexed: "Indexed | None" = None,
    ) -> None:
        self.location = location
        self.array = array
        self.records = records
        self.version = version
        self.indexed = indexed
        self.shape = array.shape
        self.ndim = array.ndim
        self.dtype = native_dtype(array)
        refuse_huge(location, array)

    @property
    def path(self) -> str:
        """Path of the array in the store; empty for one that is its root."""
        return str(self.array.path)

    @property
    def block_shape(self) -> tuple[int, ...]:
        """Voxels that one object holds along each axis: those of a shard, or of a chunk."""
        return tuple(self.array.shards or self.array.chunks)

    @property
    def blocks(self) -> tuple[tuple[int, ...], ...]:
        """Lengths of the blocks along each axis."""
        return block_lengths(self.shape, self.block_shape)

    @property
    def boxes(self) -> dict[BlockId, Box]:
        """Part of the array that each block covers; empty for an array without voxels."""
        return block_boxes(self.blocks) if all(self.shape) else {}

    def box(self, block_id: Sequence[int]) -> Box:
        """Part of the array that a block covers."""
        sides = zip(block_id, self.block_shape, self.shape, strict=True)
        return tuple(slice(i * size, min((i + 1) * size, count)) for i, size, count in sides)

    def key(self, block_id: Sequence[int]) -> str:
        """Name of the object that holds a block."""
        chunk_key: str = self.array.metadata.encode_chunk_key(tuple(block_id))
        return "/".join(filter(None, (self.array.path, chunk_key)))

    def block(self, block_id: Sequence[int]) -> NDArray[Any]:
        """Values of a whole block, also where it extends beyond the end of the array.

        Raises
        ------
        FormatError
            If it is damaged, is another one than was written, or is missing where it should not be.
        StoreReplacedError
            If another store has taken the place of the one that was opened.
        StoreError
            If it cannot be read.
        """
        return self.decoded(block_id, self.read_object(block_id))

    @functools.cached_property
    def most_bytes(self) -> int:
        """Most bytes that an object may have which holds a block."""
        return block_decoder(self.array).most_bytes

    def read_object(self, block_id: Sequence[int]) -> bytes | None:
        """Content of the object that holds a block, not yet proven; None if it is missing."""
        return self.location.read_cached(self.key(block_id), self.version, self.most_bytes)

    def decoded(self, block_id: Sequence[int], data: bytes | None) -> NDArray[Any]:
        """Values of a block from the content of its object, None if there is no such object.

        Raises
        ------
        FormatError, StoreReplacedError
            As for `block`.
        """
        key = self.key(block_id)
        if self.records is not None:
            return self._decoded(key, self._proven(block_id, data))
        if self.indexed is not None:
            data = self._as_indexed(block_id, data)
        # Without memory of its own: a block may be far larger than the array.
        fill = np.broadcast_to(self.dtype.type(self.array.fill_value or 0), self.block_shape)
        return fill if data is None else self._decoded(key, data)

    def content(self, block_id: Sequence[int]) -> bytes:
        """Content of the object that holds a block, proven; only of an array with records.

        Raises
        ------
        FormatError, StoreReplacedError, StoreError
            As for `block`.
        """
        return self._proven(block_id, self.read_object(block_id))

    def _proven(self, block_id: Sequence[int], data: bytes | None) -> bytes:
        """Content of the object of a block, once it is proven to be what was written."""
        key = self.key(block_id)
        try:
            record = self._record(block_id)
        except RefspaceError:
            self._refuse_if_replaced()
            raise
        if not record.proves(data) and self.location.local_path is None:
            # What came over a network may have been damaged there, but only this time; a copy on
            # this machine may be torn.
            data = self.location.read(key, self.most_bytes)
            if record.proves(data):
                self.location.put_in_cache(key, self.version, data)
        if data is None or not record.proves(data):
            self._refuse_if_replaced()
            what = "missing" if data is None else "not the one that was written"
            raise FormatError(
                f"{self.location.url}: chunk {key} is {what}; the store is damaged: {_REPAIR}; "
                "'refspace verify' lists what is wrong with it"
            )
        return data

    def _as_indexed(self, block_id: Sequence[int], data: bytes | None) -> bytes | None:
        """Content of the object of a block, once it is known to be the one that was indexed."""
        assert self.indexed is not None
        if self.indexed.is_as_indexed(block_id, data):
            return data
        key = self.key(block_id)
        if self.location.local_path is None:
            data = self.location.read(key, self.most_bytes)  # as above
            if self.indexed.is_as_indexed(block_id, data):
                self.location.put_in_cache(key, self.version, data)
                return data
        raise StoreReplacedError(
            f"{self.location.url}: chunk {key} is not the one of which the label index was made: "
            "the image has changed since; open it again, and index it again: "
            "'refspace index --overwrite' (Python: write_index(…, overwrite=True))"
        )

    def _record(self, block_id: Sequence[int]) -> ObjectRecord:
        assert self.records is not None
        return self.records.record(tuple(block_id))

    def _refuse_if_replaced(self) -> None:
        """Tell a store that was replaced beneath an open handle from one that is damaged."""
        if self.version is None:
            return
        if root_digest(self.location.read(ZARR_JSON)) != self.version:
            raise StoreReplacedError(
                f"{self.location.url} is not the store that was opened: it was replaced or removed "
                "since, or is being written; open it again"
            )

    def _decoded(self, key: str, data: bytes) -> NDArray[Any]:
        """Values of a block from the content of its object."""
        try:
            return self._decode(data)
        except Exception as error:  # whatever codecs raise
            if self.location.local_path is None:
                # As above, for a store that proves nothing.
                with suppress(Exception):
                    data = self.location.read(key, self.most_bytes) or b""
                    values = self._decode(data)
                    self.location.put_in_cache(key, self.version, data)
                    return values
            raise FormatError(
                f"{self.location.url}: chunk {key} cannot be read: {error}; the store is "
                "damaged, 'refspace verify' lists what is wrong with it"
            ) from error

    def _decode(self, data: bytes) -> NDArray[Any]:
        if not data:  # to zarr a shard of no bytes is one of fill values
            raise ValueError("the file is empty")
        return decode_block(self.array, data).astype(self.dtype, copy=False)

    def read_block(self, block_id: Sequence[int]) -> NDArray[Any]:
        """Values of a block, without what lies beyond the end of the array."""
        return self.cropped(block_id, self.block(block_id))

    def cropped(self, block_id: Sequence[int], block: NDArray[Any]) -> NDArray[Any]:
        """The part of a whole block that lies within the array."""
        return block[tuple(slice(part.stop - part.start) for part in self.box(block_id))]

    def content_identity(self) -> Identity:
        """What tells the content of the array, as it is now, from any other.

        An array of ours needs no look at its objects: its name in a graph is made of the digests of
        its voxels, and reads prove each object. Of another program's, all objects are looked up.
        """
        if self.records is not None:
            return Identity({})

        def keys() -> list[str]:
            return [self.key(block_id) for block_id in np.ndindex(*map(len, self.blocks))]

        metadata = self.array.metadata.to_dict()
        return objects_identity(self.location, self.array.path, metadata, keys)

    def values(self) -> NDArray[Any]:
        """Values of the whole array."""
        return self.read_box(tuple(slice(0, count) for count in self.shape))

    def read_box(self, box: Box) -> NDArray[Any]:
        """Values of a part of the array."""
        values = np.empty([part.stop - part.start for part in box], self.dtype)
        for block_id in self.block_ids(box):
            whole = self.box(block_id)
            common = common_box(whole, box)
            values[within(common, box)] = self.read_block(block_id)[within(common, whole)]
        return values

    def block_ids(self, box: Box) -> list[BlockId]:
        """Blocks that a part of the array has voxels in."""
        sides = zip(box, self.block_shape, strict=True)
        return list(
            itertools.product(*(range(p.start // size, -(-p.stop // size)) for p, size in sides))
        )


def native_dtype(array: "zarr.Array[Any]") -> np.dtype[Any]:
    """Type of the values of an array as they are in memory."""
    dtype = np.dtype(array.dtype)
    return dtype.newbyteorder("=") if dtype.kind in "uif" else dtype


def refuse_huge(
    location: Location, array: "zarr.Array[Any]", *, is_read_in_parts: bool = False
) -> None:
    """Refuse the size that damaged metadata state, before a list of blocks fills the memory.

    Parameters
    ----------
    location, array
        The array, and the store that it is in.
    is_read_in_parts
        Whether it is no volume but a table of which only parts are read, so that it may be long.

    Raises
    ------
    FormatError
        If no memory holds a block.
    LimitError
        If there are more blocks, or voxels along an axis, than is allowed.
    """
    what = f"{location.url}: {array.path or 'the array'}"
    block_shape = array.shards or array.chunks
    if not 0 < math.prod(block_shape) * native_dtype(array).itemsize < 2**63:
        raise FormatError(
            f"{what} has chunks of {tuple(block_shape)}, which no memory holds; correct its "
            "metadata"
        )
    longest = max(array.shape, default=0)
    if not is_read_in_parts:
        check_limit(
            "axis_length",
            longest,
            f"{what} has the shape {array.shape}, and {longest} voxels along an axis",
        )
    sides = zip(array.shape, block_shape, strict=True)
    count = math.prod(-(-n // size) for n, size in sides)
    check_limit("blocks", count, f"{what} has the shape {array.shape} in {count} chunks or shards")


def root_digest(root: bytes | None) -> str | None:
    """Digest that the root metadata of a store of ours state of themselves; None if there is none.

    Examples
    --------
    >>> root_digest(b'{"attributes": {"refspace": {"metadata_sha256": "0a"}}}')
    '0a'
    >>> root_digest(None) is root_digest(b"{}") is None
    True
    """
    with suppress(ValueError, KeyError, TypeError, RecursionError):
        return str(json.loads(root or b"")["attributes"]["refspace"]["metadata_sha256"])
    return None
