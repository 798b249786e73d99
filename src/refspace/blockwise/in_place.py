"""Arrays whose blocks are written straight into the result when all of them are computed.

Dask computes all blocks of an array, keeps them, and copies them into one array in the end. For the
mask of a whole brain at 10 µm that copy took longer than everything before it, and as much memory
again as the result. Here each block is copied into its place as soon as it is computed, by the
thread that computed it, and then dropped.

This is done where the array itself is asked for: ``numpy.asarray``, ``DataArray.values``,
``compute`` and ``load``, also of several arrays at once. What dask does with an array before that,
it does as ever: slices, sums and whatever else is made of it are plain arrays of dask, made of the
same blocks.

Threads share the result. What is sent to another process leaves the result behind, and returns the
blocks; these are then joined as dask does it.
"""

import itertools
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import dask.array
import numpy as np
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer
from numpy.typing import NDArray

from refspace.blockwise.bounded import BoundedArray, as_kind
from refspace.blockwise.graphs import Tasks, name_from_inputs


def in_place(
    array: dask.array.Array, *made_of: dask.array.Array, in_order: bool = False
) -> dask.array.Array:
    """The same lazy array, whose blocks are written straight into the result.

    Parameters
    ----------
    array
        Numbers or truth values.
    *made_of
        Arrays of which a block is held for each of its blocks: where these are large, few threads
        compute them.
    in_order
        Whether each block is placed after the one before it, in C order. Where blocks need parts of
        those before them, dask then computes them in this order, and keeps few of them; by itself
        it begins in many places. Blocks are computed at the same time all the same, and a part of
        the array needs no blocks outside of it.

    Returns
    -------
    dask.array.Array
        With the graph and the name of the array. An array of one block, or of blocks of unknown
        sizes, comes back as it is.

    Examples
    --------
    >>> array = in_place(dask.array.arange(5, chunks=2))
    >>> array.compute(), type(array + 1) is dask.array.Array
    (array([0, 1, 2, 3, 4]), True)
    """
    # Array expressions have a way of their own to be computed.
    if dask.array.array_expr_enabled() or array.npartitions < 2 or np.isnan(array.size):
        return array
    placed = as_kind(_InPlaceArray, array, *made_of)
    placed.in_order = in_order
    return placed


def filled_block(shape: Sequence[int], value: NDArray[Any]) -> NDArray[Any]:
    """Block of one value, or row of values, in the memory of one.

    Blocks of 0 that a task makes so are not computed for a result that is written in place.

    Examples
    --------
    >>> filled_block((2, 2), np.array(True))
    array([[ True,  True],
           [ True,  True]])
    """
    return np.broadcast_to(value, shape)


class _Optimizer:
    """Optimizes graphs of arrays as dask does, after it let results be written in place.

    It equals dask's own: dask optimizes graphs of different optimizers apart from each other, and
    what they share would be computed twice.
    """

    def __call__(self, dsk: Any, keys: Any, **kwargs: Any) -> Any:
        if isinstance(dsk, HighLevelGraph):
            dsk = _write_in_place(dsk)
        return dask.array.Array.__dask_optimize__(dsk, keys, **kwargs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Optimizer) or other == dask.array.Array.__dask_optimize__

    def __hash__(self) -> int:
        return hash(dask.array.Array.__dask_optimize__)


class _InPlaceArray(BoundedArray):
    """Array whose blocks are written straight into the result."""

    __dask_optimize__ = _Optimizer()
    # Whether the blocks are placed one after the other.
    in_order = False

    def __dask_postcompute__(self) -> tuple[Any, tuple[Any, ...]]:
        join, arguments = super().__dask_postcompute__()
        return _Join(self.name, self.chunks, self.dtype, join, arguments, self.in_order), ()


@dataclass(frozen=True)
class _Join:
    """Joins all blocks of an array, as dask does it; says which array that is.

    Parameters
    ----------
    name, chunks, dtype
        Those of the array.
    join, arguments
        What dask joins blocks by.
    in_order
        Whether each block is placed after the one before it.
    """

    name: str
    chunks: tuple[tuple[int, ...], ...]
    dtype: np.dtype[Any]
    join: Any
    arguments: tuple[Any, ...]
    in_order: bool

    def __call__(self, blocks: Any) -> Any:
        return self.join(blocks, *self.arguments)


class _Result:
    """Array that the tasks of one process write blocks into.

    Parameters
    ----------
    chunks, dtype
        Those of the array.
    """

    def __init__(self, chunks: Sequence[Sequence[int]], dtype: np.dtype[Any]) -> None:
        self._edges = [np.cumsum((0, *sizes)).tolist() for sizes in chunks]
        self._dtype = dtype
        self._lock = threading.Lock()
        self._array: NDArray[Any] | None = None

    def array(self) -> NDArray[Any]:
        """The array; memory is taken when it is first asked for."""
        with self._lock:
            if self._array is None:
                # Zeros that the system makes as they are touched: parts that nothing else is
                # written to take neither time nor memory.
                self._array = np.zeros([edges[-1] for edges in self._edges], self._dtype)
            return self._array

    def place(self, block_id: Sequence[int], block: NDArray[Any]) -> NDArray[Any] | None:
        """Write a block to its place; None, as nothing is left to be joined."""
        sides = zip(self._edges, block_id, strict=True)
        self.array()[tuple(slice(edges[i], edges[i + 1]) for edges, i in sides)] = block
        return None

    def joined(self, blocks: Any, join: _Join) -> Any:
        """The array, once all blocks are in their places.

        It is given away: a graph that was optimized once, and is computed again, writes to another.
        """
        array = self.array()
        with self._lock:
            self._array = None
        return array

    def __reduce__(self) -> tuple[Any, ...]:
        return _Elsewhere, ()


class _Elsewhere:
    """Stands for a result in the memory of another process: blocks are returned, and joined."""

    def place(self, block_id: Sequence[int], block: NDArray[Any]) -> NDArray[Any] | None:
        """The block itself."""
        return block

    def joined(self, blocks: Any, join: _Join) -> Any:
        """All blocks as one array."""
        return join(blocks)


def _write_in_place(graph: HighLevelGraph) -> HighLevelGraph:
    """Graph whose joins of whole arrays are replaced."""
    layers, dependencies = dict(graph.layers), dict(graph.dependencies)
    for key, join in _joins(graph):
        result, placed = _Result(join.chunks, join.dtype), name_from_inputs("place", key)
        zeros = _zero_blocks(graph.layers[join.name])
        tasks: Tasks = {
            (placed, *block_id): (_place, result, list(block_id), (join.name, *block_id))
            for block_id in np.ndindex(*map(len, join.chunks))
            if (join.name, *block_id) not in zeros
        }
        if join.in_order:
            tasks |= _in_turns(tasks)
        blocks = np.empty(tuple(map(len, join.chunks)), object)
        for block_id in np.ndindex(blocks.shape):
            blocks[block_id] = zeros.get((join.name, *block_id), (placed, *block_id))
        layers[placed], dependencies[placed] = MaterializedLayer(tasks), {join.name}
        joined = {key: (_joined, result, blocks.tolist(), join)}
        layers[key], dependencies[key] = MaterializedLayer(joined), {placed}
    return HighLevelGraph(layers, dependencies)


def _in_turns(tasks: Tasks) -> Tasks:
    """Tasks that place blocks one after the other, but for the first, and what they wait for."""
    turned: Tasks = {}
    for before, key in itertools.pairwise(tasks):
        turn = (f"{key[0]}-turn", *key[1:])
        turned[turn] = (_pass_turn, before)
        turned[key] = (*tasks[key], turn)
    return turned


def _zero_blocks(layer: Any) -> Tasks:
    """Tasks of the blocks that are 0, which a new result is anyway."""
    if not isinstance(layer, MaterializedLayer):
        return {}
    return {
        key: task
        for key, task in layer.items()
        if isinstance(task, tuple) and task[0] is filled_block and _has_no_bit(task[2])
    }


def _joins(graph: HighLevelGraph) -> Iterator[tuple[str, _Join]]:
    """Keys of the tasks of a graph that join whole arrays, and what they do."""
    for key, layer in graph.layers.items():
        if isinstance(layer, MaterializedLayer) and len(layer) == 1 and key in layer:
            join = getattr(layer[key], "func", None)
            if isinstance(join, _Join) and join.name in graph.layers:
                yield key, join


# ----- tasks


def _place(
    result: _Result | _Elsewhere, block_id: Sequence[int], block: NDArray[Any], turn: None = None
) -> NDArray[Any] | None:
    return result.place(block_id, block)


def _pass_turn(before: NDArray[Any] | None) -> None:
    """Nothing, once a block is placed: the next one waits for this.

    Another process returns the block itself, which is not to be sent to the next one's worker.
    """


def _joined(result: _Result | _Elsewhere, blocks: Any, join: _Join) -> Any:
    return result.joined(blocks, join)


def _has_no_bit(value: NDArray[Any]) -> bool:
    """Whether a value is 0, and not the negative one."""
    return not any(np.asarray(value).tobytes())
