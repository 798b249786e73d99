"""Arrays of a store, read block by block."""

import hashlib
import itertools
import json
import math
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import dask.array
import numpy as np
import zarr
from dask.highlevelgraph import HighLevelGraph
from dask.tokenize import tokenize
from numpy.typing import NDArray

from refspace.errors import FormatError
from refspace.store.decode import decode_block
from refspace.store.location import Location
from refspace.store.reading import ReadLayer

Box = tuple[slice, ...]


class StoredArray:
    """Array of a store that reads what is asked of it, and never a voxel that is not there.

    Parameters
    ----------
    location
        The store.
    array
        The array, as zarr opened it.
    whole
        Whether every chunk was written, so that a missing one is a fault and not fill values.
    version
        What tells the store from what may lie at the same URL at another time; its metadata if not
        given.
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
        self.version = version or _digest(array)
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

    def box(self, number: Sequence[int]) -> Box:
        """Part of the array that a block is."""
        sides = zip(number, self.block_shape, self.shape, strict=True)
        return tuple(slice(i * size, min((i + 1) * size, count)) for i, size, count in sides)

    def key(self, number: Sequence[int]) -> str:
        """Name of the object that holds a block."""
        chunk_key: str = self.array.metadata.encode_chunk_key(tuple(number))
        return "/".join(filter(None, (self.array.path, chunk_key)))

    def block(self, number: Sequence[int]) -> NDArray[Any]:
        """Values of a block, those that lie beyond the end of the array too.

        Raises
        ------
        FormatError
            If it is damaged, or missing where it should not be.
        StoreError
            If it cannot be read.
        """
        key = self.key(number)
        return self.decoded(key, self.location.recall(key, self.version))

    def decoded(self, key: str, data: bytes | None) -> NDArray[Any]:
        """Values of a block from the content of its object, None if there is none.

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
                # What came over a network may have been damaged there, and only this time.
                with suppress(Exception):
                    data = self.location.read(key) or b""
                    values = self._decode(data)
                    self.location.keep(key, self.version, data)
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

    def __getitem__(self, key: slice | int | tuple[slice | int, ...]) -> NDArray[Any]:
        keys = key if isinstance(key, tuple) else (key,)
        keys = (*keys, *[slice(None)] * (self.ndim - len(keys)))  # as NumPy completes a key
        rows = [range(count)[part] for part, count in zip(keys, self.shape, strict=True)]
        box = tuple(hull(row) for row in rows)
        values = self._read(box)
        inner = tuple(moved(row, part.start) for row, part in zip(rows, box, strict=True))
        return values[inner]

    def _read(self, box: Box) -> NDArray[Any]:
        """Values of a part of the array."""
        numbers = [
            range(part.start // size, -(-part.stop // size)) if part.start < part.stop else range(0)
            for part, size in zip(box, self.block_shape, strict=True)
        ]
        if all(len(axis) == 1 for axis in numbers):
            number = tuple(axis[0] for axis in numbers)
            return self.block(number)[self._within(box, number)[1]]
        values = np.empty([part.stop - part.start for part in box], self.dtype)
        for number in itertools.product(*numbers):
            there, here = self._within(box, number)
            values[there] = self.block(number)[here]
        return values

    def _within(self, box: Box, number: Sequence[int]) -> tuple[Box, Box]:
        """What a part of the array and a block have in common: in the part, and in the block."""
        there, here = [], []
        for part, i, size in zip(box, number, self.block_shape, strict=True):
            start, stop = max(part.start, i * size), min(part.stop, (i + 1) * size)
            there.append(slice(start - part.start, stop - part.start))
            here.append(slice(start - i * size, stop - i * size))
        return tuple(there), tuple(here)

    def as_dask(self, token: str) -> dask.array.Array:
        """Lazy array, one dask chunk for each block.

        Parameters
        ----------
        token
            What tells the voxels from those of any other array.
        """
        name = f"stored-{tokenize(token, self.array.path)}"
        layer = ReadLayer(name, self)
        return dask.array.Array(
            HighLevelGraph({name: layer}, {name: set()}),
            name,
            self.blocks,
            meta=np.empty((0,) * self.ndim, self.dtype),
        )


def _digest(array: "zarr.Array[Any]") -> str:
    """What its metadata tell of an array that has no version."""
    text = json.dumps(array.metadata.to_dict(), default=str, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def hull(row: range | int) -> slice:
    """Smallest slice that holds some indices."""
    if isinstance(row, int):
        return slice(row, row + 1)
    return slice(min(row[0], row[-1]), max(row[0], row[-1]) + 1) if row else slice(0, 0)


def moved(row: range | int, start: int) -> slice | int:
    """The same indices, counted from a start."""
    if isinstance(row, int):
        return row - start
    stop = row.stop - start
    # A slice that runs down to the first index has no end that is an index.
    return slice(row.start - start, None if stop < 0 else stop, row.step) if row else slice(0)


def boxes(blocks: Sequence[Sequence[int]]) -> dict[tuple[int, ...], Box]:
    """Part of the array that each block is, by its number, in C order."""
    numbers = itertools.product(*(range(len(sizes)) for sizes in blocks))
    return dict(zip(numbers, dask.array.core.slices_from_chunks(blocks), strict=True))
