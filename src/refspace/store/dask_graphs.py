"""Lazy dask arrays of stored ones, by the one hand-made graph of the store.

From another machine each request takes its time on the way, however little it asks for. Dask
computes as many blocks at once as there are cores, and would wait for each of them. `ReadLayer`
puts the blocks that a result needs, and only those, into groups of requests that are on the way at
the same time. With dask's own `from_array` and `map_blocks` each block is a task of its own.

With dask's array expressions (``DASK_ARRAY__QUERY_PLANNING=True``) an array has no layers, and dask
does not ask which blocks of it a result needs. There:

- `lazy_array` is a `dask.array.map_blocks`. It computes the same, and reads no more blocks; but
  blocks of another machine are requested one by one in each thread, not in groups.
- Dask itself has no ``Array.blocks`` (2026.8), with which `refspace.write_masks` takes blocks of
  the annotation, and its arrays do not convert by `numpy.asarray`, which `DataArray.values` calls.
"""

import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import dask.array
import numpy as np
from dask.highlevelgraph import HighLevelGraph, Layer, MaterializedLayer
from dask.tokenize import tokenize
from numpy.typing import NDArray

from refspace.blockwise.graphs import BlockId
from refspace.blockwise.in_place import in_place
from refspace.blockwise.parts import BlockLayer
from refspace.store.location import map_concurrently
from refspace.store.stored_array import StoredArray

# Requests that are on the way at the same time, of any one group.
_MAX_GROUP = 16
# Of voxels, decoded: what waits for its turn is smaller, because it is compressed.
_MAX_GROUP_BYTES = 128 * 2**20


def lazy_array(array: StoredArray, token: str) -> dask.array.Array:
    """Lazy array of a stored one, with one dask chunk for each block.

    Parameters
    ----------
    array
        What is read.
    token
        Distinguishes the voxels from those of any other array.
    """
    name = f"stored-{tokenize(token, array.array.path)}"
    meta = np.empty((0,) * array.ndim, array.dtype)
    if dask.array.array_expr_enabled():
        return dask.array.map_blocks(
            read_block, array=array, chunks=array.blocks, name=name, meta=meta
        )
    graph = HighLevelGraph({name: ReadLayer(name, array)}, {name: set()})
    return in_place(dask.array.Array(graph, name, array.blocks, meta=meta))


class ReadLayer(BlockLayer):
    """Graph that reads each block of an array, or of a box of its blocks.

    Parameters
    ----------
    name
        Name of the dask array.
    array
        What is read.
    first
        Block of the array that is the first one along each axis; by default all begin with 0.
    numblocks
        Number of blocks along each axis; by default all from there.
    """

    def __init__(
        self,
        name: str,
        array: StoredArray,
        first: BlockId | None = None,
        numblocks: BlockId | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.array = array
        self._first = (0,) * array.ndim if first is None else first
        self._numblocks = tuple(map(len, array.blocks)) if numblocks is None else numblocks

    def part(self, name: str, first: BlockId, numblocks: BlockId) -> "ReadLayer":
        """Graph that reads a box of the blocks."""
        begin = tuple(a + b for a, b in zip(self._first, first, strict=True))
        return ReadLayer(name, self.array, begin, numblocks)

    def _stored(self, key: tuple[Any, ...]) -> list[int]:
        """Block of the stored array that a key stands for."""
        return [a + b for a, b in zip(self._first, key[1:], strict=True)]

    def is_materialized(self) -> bool:
        """Tasks are made when they are needed."""
        return False

    def get_output_keys(self) -> set[Any]:
        """Keys of all blocks."""
        return set(self)

    def __iter__(self) -> Iterator[Any]:
        return ((self.name, *block_id) for block_id in np.ndindex(self._numblocks))

    def __len__(self) -> int:
        return int(np.prod(self._numblocks))

    def __contains__(self, key: object) -> bool:
        if not (isinstance(key, tuple) and key[:1] == (self.name,)):
            return False
        block_id = key[1:]
        inside = zip(block_id, self._numblocks, strict=False)
        return len(block_id) == len(self._numblocks) and all(0 <= i < n for i, n in inside)

    def __getitem__(self, key: object) -> Any:
        if not (isinstance(key, tuple) and key in self):
            raise KeyError(key)
        return (read_block, self._stored(key), self.array)

    def get_dependencies(self, key: object, all_hlg_keys: Collection[Any]) -> set[Any]:
        """Nothing comes before reading."""
        return set()

    def cull(
        self, keys: set[Any], all_hlg_keys: Collection[Any]
    ) -> tuple[Layer, Mapping[Any, set[Any]]]:
        """Graph that reads the blocks that are needed, and what each of its tasks waits for."""
        needed = sorted(key for key in keys if key in self)
        size = group_size(self.array)
        tasks: dict[Any, Any] = {}
        before: dict[Any, set[Any]] = {}
        for first in range(0, len(needed), size):
            group = needed[first : first + size]
            if size == 1:
                tasks[group[0]], before[group[0]] = self[group[0]], set()
                continue
            block_ids = [self._stored(key) for key in group]
            # Named after all that is in it: a scheduler that has two graphs at the same time takes
            # tasks of the same name for the same.
            fetched = f"fetch-{tokenize(self.name, block_ids)}"
            tasks[fetched], before[fetched] = (fetch, self.array, block_ids), set()
            for position, key in enumerate(group):
                tasks[key] = (decode, self.array, block_ids[position], fetched, position)
                before[key] = {fetched}
        return MaterializedLayer(tasks, annotations=self.annotations), before


def group_size(array: StoredArray) -> int:
    """Number of blocks that are requested at the same time."""
    if array.location.local_path is not None:
        return 1
    nbytes = int(np.prod(array.block_shape)) * array.dtype.itemsize
    return max(1, min(_MAX_GROUP, _MAX_GROUP_BYTES // nbytes))


def read_block(block_id: Sequence[int], array: StoredArray) -> NDArray[Any]:
    """Values of a block, without what lies beyond the end of the array."""
    return array.read_block(block_id)


def fetch(array: StoredArray, block_ids: Sequence[Sequence[int]]) -> list[bytes | None]:
    """Contents of the objects that hold some blocks, and beside them what proves these."""
    reads: list[Callable[[], Any]] = [
        functools.partial(array.read_object, block_id) for block_id in block_ids
    ]
    if array.records is not None:
        reads.append(functools.partial(array.records.prefetch, block_ids))
    return map_concurrently(_call, reads)[: len(block_ids)]


def _call(read: Callable[[], Any]) -> Any:
    return read()


def decode(
    array: StoredArray, block_id: Sequence[int], fetched: Sequence[bytes | None], position: int
) -> NDArray[Any]:
    """Values of a block whose object was fetched, at a position among others."""
    return array.cropped(block_id, array.decoded(block_id, fetched[position]))
