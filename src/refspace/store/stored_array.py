"""Arrays of a store, read block by block."""

import itertools
import math
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import dask.array
import numpy as np
import zarr
from numpy.typing import NDArray

from refspace.blockwise.identity import Identity
from refspace.errors import FormatError
from refspace.store.decode import decode_block
from refspace.store.location import Location
from refspace.store.object_stamps import objects_identity

Box = tuple[slice, ...]
"""Part of an array, a slice along each axis."""

BlockId = tuple[int, ...]
"""Index of a block along each axis."""


class StoredArray:
    """Array of a store, read block by block.

    Parameters
    ----------
    location
        The store.
    array
        The array, as zarr opened it.
    whole
        Whether every chunk was written, so that a missing one is a fault and not fill values.
    version
        Distinguishes the store from another one at the same URL at another time. None for one of
        another program, whose objects have versions of their own at best.
    """

    def __init__(
        self,
        location: Location,
        array: "zarr.Array[Any]",
        *,
        whole: bool,
        version: str | None = None,
    ) -> None:
        self.location = location
        self.array = array
        self.whole = whole
        self.version = version
        self.shape = array.shape
        self.ndim = array.ndim
        dtype = np.dtype(array.dtype)
        self.dtype = dtype.newbyteorder("=") if dtype.kind in "uif" else dtype
        if not 0 < math.prod(self.block_shape) * dtype.itemsize < 2**63:
            raise FormatError(
                f"{location.url}: {array.path or 'the array'} has chunks of {self.block_shape}, "
                "which no memory holds; correct its metadata"
            )

    @property
    def block_shape(self) -> tuple[int, ...]:
        """Voxels that one object holds along each axis: those of a shard, or of a chunk."""
        return tuple(self.array.shards or self.array.chunks)

    @property
    def blocks(self) -> tuple[tuple[int, ...], ...]:
        """Lengths of the blocks along each axis."""
        return dask.array.core.normalize_chunks(self.block_shape, self.shape)  # type: ignore[no-any-return]

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
            If it is damaged, or missing where it should not be.
        StoreError
            If it cannot be read.
        """
        key = self.key(block_id)
        return self.decoded(key, self.location.read_cached(key, self.version))

    def decoded(self, key: str, data: bytes | None) -> NDArray[Any]:
        """Values of a block from the content of its object, None if there is no such object.

        Raises
        ------
        FormatError
            As for `block`.
        """
        if data is None:
            return self._filled(key)
        try:
            return self._decode(data)
        except Exception as error:  # whatever codecs raise
            if self.location.local_path is None:
                # What came over a network may have been damaged there, but only this time.
                with suppress(Exception):
                    data = self.location.read(key) or b""
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

    def _filled(self, key: str) -> NDArray[Any]:
        """Values of a block that is not there."""
        if self.whole:
            raise FormatError(
                f"{self.location.url}: chunk {key} is missing; the store is damaged: convert it "
                "again, or copy it again from where it is whole"
            )
        # Without memory of its own: a block may be far larger than the array.
        return np.broadcast_to(self.dtype.type(self.array.fill_value or 0), self.block_shape)

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
        if self.whole:
            return Identity({})

        def keys() -> list[str]:
            return [self.key(block_id) for block_id in np.ndindex(*map(len, self.blocks))]

        metadata = self.array.metadata.to_dict()
        return objects_identity(self.location, self.array.path, metadata, keys)

    def values(self) -> NDArray[Any]:
        """Values of the whole array."""
        values = np.empty(self.shape, self.dtype)
        for block_id, box in self.boxes.items():
            values[box] = self.read_block(block_id)
        return values


def block_boxes(blocks: Sequence[Sequence[int]]) -> dict[BlockId, Box]:
    """Part of the array that each block covers, by block id, in C order."""
    block_ids = itertools.product(*(range(len(sizes)) for sizes in blocks))
    return dict(zip(block_ids, dask.array.core.slices_from_chunks(blocks), strict=True))
