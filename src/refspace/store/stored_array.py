"""Arrays of a store, read block by block."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import dask.array
import numpy as np
import zarr
from dask.tokenize import tokenize
from numpy.typing import NDArray

from refspace.errors import FormatError, StoreError
from refspace.store.location import Location

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
    """

    def __init__(self, location: Location, array: "zarr.Array[Any]", *, whole: bool) -> None:
        self.location = location
        self.array = array
        self.whole = whole
        self.shape = array.shape
        self.ndim = array.ndim
        dtype = np.dtype(array.dtype)
        self.dtype = dtype.newbyteorder("=") if dtype.kind in "uif" else dtype

    @property
    def block_shape(self) -> tuple[int, ...]:
        """Voxels that one object holds along each axis: those of a shard, or of a chunk."""
        return tuple(self.array.shards or self.array.chunks)

    @property
    def blocks(self) -> tuple[tuple[int, ...], ...]:
        """Lengths of the blocks along each axis."""
        return dask.array.core.normalize_chunks(self.block_shape, self.shape)  # type: ignore[no-any-return]

    def key(self, number: Sequence[int]) -> str:
        """Name of the object that holds a block."""
        chunk_key: str = self.array.metadata.encode_chunk_key(tuple(number))
        return "/".join(filter(None, (self.array.path, chunk_key)))

    def __getitem__(self, key: slice | int | tuple[slice | int, ...]) -> NDArray[Any]:
        try:
            values = np.asarray(self.array[key])
        except Exception as error:  # whatever codecs and file systems raise
            raise self._fault(key, error) from error
        if self.whole:
            self._refuse_holes(key, values)
        return values.astype(self.dtype, copy=False)

    def as_dask(self, token: str) -> dask.array.Array:
        """Lazy array, one dask chunk for each block.

        Parameters
        ----------
        token
            What tells the voxels from those of any other array.
        """
        return dask.array.from_array(
            self,
            chunks=self.block_shape,
            name=f"stored-{tokenize(token, self.array.path)}",
            asarray=False,
            # Slices and integers alone are read in place; other keys apply to the block.
            fancy=False,
            inline_array=True,
            meta=np.empty((0,) * self.ndim, self.dtype),
        )

    def _touched(self, key: Any) -> Iterator[tuple[int, ...]]:
        """Numbers of the blocks that a key of slices and integers touches."""
        keys = key if isinstance(key, tuple) else (key,)
        keys = (*keys, *[slice(None)] * (self.ndim - len(keys)))  # as NumPy completes a key
        ranges = []
        for part, count, size in zip(keys, self.shape, self.block_shape, strict=True):
            rows = range(count)[part]
            picked = rows if isinstance(rows, range) else range(rows, rows + 1)
            ranges.append(range(picked[0] // size, picked[-1] // size + 1) if picked else range(0))
        return itertools.product(*ranges)

    def _refuse_holes(self, key: Any, values: NDArray[Any]) -> None:
        """Tell a block that was not found from one of fill values: zarr gives both as the same."""
        touched = list(self._touched(key))
        filled = self.array.fill_value
        # One look at the first voxel spares most blocks the look at all of them.
        if len(touched) == 1 and (values.flat[0] != filled or (values != filled).any()):
            return
        for number in touched:
            self._refuse_hole(number)

    def _refuse_hole(self, number: Sequence[int]) -> None:
        if not self.location.exists(self.key(number)):
            raise FormatError(
                f"{self.location.url}: chunk {self.key(number)} is missing; the store is damaged: "
                "convert it again, or copy it again from where it is whole"
            )

    def _fault(self, key: Any, error: Exception) -> Exception:
        """Error that names the block; found by reading those that were touched one by one."""
        numbers = list(self._touched(key))
        names = [self.key(number) for number in numbers]
        name = names[0] if len(names) == 1 else f"one of {', '.join(names[:4])}"
        text = f"{self.location.url}: chunk {name} cannot be read: {error}"
        if isinstance(error, OSError):
            return StoreError(text)
        return FormatError(
            f"{text}; the store is damaged, 'refspace verify' lists what is wrong with it"
        )


def boxes(blocks: Sequence[Sequence[int]]) -> dict[tuple[int, ...], Box]:
    """Part of the array that each block is, by its number, in C order."""
    numbers = itertools.product(*(range(len(sizes)) for sizes in blocks))
    return dict(zip(numbers, dask.array.core.slices_from_chunks(blocks), strict=True))
