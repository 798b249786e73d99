"""Blocks of a stored array as tasks of dask: those that are asked for, several at a time.

From another machine each request takes its time on the way, whatever it asks for. Dask computes as
many blocks at once as there are cores, and would wait for each of them. Here the blocks that a
result needs, and no others, are put together into requests that are on the way at the same time.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from dask.highlevelgraph import Layer, MaterializedLayer
from dask.tokenize import tokenize
from numpy.typing import NDArray

if TYPE_CHECKING:
    from refspace.store.stored_array import StoredArray

_MOST_TOGETHER = 16
# Of voxels, decoded: what waits for its turn is smaller, because it is compressed.
_BYTES_TOGETHER = 128 * 2**20


class ReadLayer(Layer):  # type: ignore[misc]  # dask is annotated in part
    """Graph that reads each block of an array.

    Parameters
    ----------
    name
        Name of the dask array.
    array
        What is read.
    """

    def __init__(self, name: str, array: "StoredArray") -> None:
        super().__init__()
        self.name = name
        self.array = array
        self._numbers = tuple(map(len, array.blocks))

    def is_materialized(self) -> bool:
        """Tasks are made when they are asked for."""
        return False

    def get_output_keys(self) -> set[Any]:
        """Keys of all blocks."""
        return set(self)

    def __iter__(self) -> Iterator[Any]:
        return ((self.name, *number) for number in np.ndindex(self._numbers))

    def __len__(self) -> int:
        return int(np.prod(self._numbers))

    def __contains__(self, key: object) -> bool:
        if not (isinstance(key, tuple) and key[:1] == (self.name,)):
            return False
        number = key[1:]
        inside = zip(number, self._numbers, strict=False)
        return len(number) == len(self._numbers) and all(0 <= i < n for i, n in inside)

    def __getitem__(self, key: Any) -> Any:
        if key not in self:
            raise KeyError(key)
        return (read_block, self.array, list(key[1:]))

    def get_dependencies(self, key: Any, all_hlg_keys: Collection[Any]) -> set[Any]:
        """Nothing comes before reading."""
        return set()

    def cull(
        self, keys: set[Any], all_hlg_keys: Collection[Any]
    ) -> tuple[Layer, Mapping[Any, set[Any]]]:
        """Graph that reads the blocks that are needed, and what each of its tasks waits for."""
        needed = sorted(key for key in keys if key in self)
        size = together(self.array)
        tasks: dict[Any, Any] = {}
        before: dict[Any, set[Any]] = {}
        for first in range(0, len(needed), size):
            group = needed[first : first + size]
            if len(group) == 1:
                tasks[group[0]], before[group[0]] = self[group[0]], set()
                continue
            numbers = [list(key[1:]) for key in group]
            # Of a name for all that is in it: a scheduler that has two graphs at the same time
            # takes tasks of the same name for the same.
            fetched = f"fetch-{tokenize(self.name, numbers)}"
            tasks[fetched], before[fetched] = (fetch, self.array, numbers), set()
            for place, key in enumerate(group):
                tasks[key] = (decode, self.array, numbers[place], fetched, place)
                before[key] = {fetched}
        return MaterializedLayer(tasks, annotations=self.annotations), before


def together(array: "StoredArray") -> int:
    """How many blocks are asked for at the same time."""
    if array.location.local_path is not None:
        return 1
    nbytes = int(np.prod(array.block_shape)) * array.dtype.itemsize
    return max(1, min(_MOST_TOGETHER, _BYTES_TOGETHER // nbytes))


def read_block(array: "StoredArray", number: Sequence[int]) -> NDArray[Any]:
    """Values of a block, without what lies beyond the end of the array."""
    return _inside(array, number, array.block(number))


def fetch(array: "StoredArray", numbers: Sequence[Sequence[int]]) -> list[bytes | None]:
    """Contents of the objects that hold some blocks."""
    return array.location.recall_all([array.key(number) for number in numbers], array.version)


def decode(
    array: "StoredArray", number: Sequence[int], fetched: Sequence[bytes | None], place: int
) -> NDArray[Any]:
    """Values of a block whose object was fetched."""
    return _inside(array, number, array.decoded(array.key(number), fetched[place]))


def _inside(array: "StoredArray", number: Sequence[int], block: NDArray[Any]) -> NDArray[Any]:
    sides = zip(array.shape, number, array.block_shape, strict=True)
    return block[tuple(slice(min(size, n - i * size)) for n, i, size in sides)]
