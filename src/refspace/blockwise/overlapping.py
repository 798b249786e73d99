"""Functions of blocks and the ends of the blocks before them, as cells across their edges need."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import dask.array
import numpy as np
from numpy.typing import NDArray

from refspace.blockwise.graphs import BlockId, Task, Tasks, array_from_tasks, name_from_inputs
from refspace.blockwise.in_place import in_place
from refspace.blockwise.sources import UNKNOWN, block_shape, block_source, constant_block


def map_with_ends(
    function: Callable[[NDArray[Any], BlockId], NDArray[Any]],
    data: dask.array.Array,
    before: Sequence[Sequence[int]],
    chunks: Sequence[Sequence[int]],
    sole: NDArray[np.int64],
) -> dask.array.Array:
    """Array of what a function makes of each block and of the voxels before it; lazy.

    Each block is computed once. What others need of it is copied, so that a whole block is kept no
    longer than it takes to compute its own part of the result. `dask.array.overlap` copies blocks
    twice, and keeps them meanwhile.

    Parameters
    ----------
    function
        Called with the voxels and the id of the block.
    data
        Labels.
    before
        Along each axis, how many voxels each block needs of the one before; 0 for the first.
    chunks
        Sizes of the blocks of the result along each axis: as many as `data` has.
    sole
        Label of each block, as `sole_labels` gives it.

    Examples
    --------
    >>> data = dask.array.from_array(np.arange(6), chunks=2)
    >>> lazy = map_with_ends(
    ...     lambda block, block_id: block[:1], data, [(0, 1, 2)], [(1, 1, 1)], np.full(3, -1)
    ... )
    >>> lazy.compute()
    array([0, 1, 2])
    """
    name = name_from_inputs("with-ends", data.name, function, before, chunks, sole)
    tasks: Tasks = {}
    for block_id in np.ndindex(data.numblocks):
        needed = [counts[i] for counts, i in zip(before, block_id, strict=True)]
        ends: dict[tuple[int, ...], Task] = {}
        for steps in itertools.product(*((0, 1) if count else (0,) for count in needed)):
            if any(steps):
                other = tuple(i - step for i, step in zip(block_id, steps, strict=True))
                taken = [count if step else 0 for count, step in zip(needed, steps, strict=True)]
                ends[steps] = _end(name, tasks, data, other, taken, sole)
        own = block_source(data, block_id, sole)
        joined = (_joined, own, needed, [*ends], [*ends.values()])
        tasks[name, *block_id] = (function, joined, list(block_id))
    array = array_from_tasks(name, tasks, [data], chunks, data.dtype)
    return in_place(array, data, in_order=True)


def _end(
    name: str,
    tasks: Tasks,
    data: dask.array.Array,
    block_id: BlockId,
    counts: Sequence[int],
    sole: NDArray[np.int64],
) -> Task:
    """Key or task of the last voxels of a block along some axes, of all along the others."""
    if sole[block_id] != UNKNOWN:
        sizes = block_shape(data.chunks, block_id)
        shape = tuple(count or size for count, size in zip(counts, sizes, strict=True))
        return constant_block, shape, int(sole[block_id]), data.dtype.str
    key = (f"{name}-end", *block_id, *(int(count > 0) for count in counts))
    tasks[key] = (_last, (data.name, *block_id), list(counts))
    return key


# ----- tasks


def _last(block: NDArray[Any], counts: Sequence[int]) -> NDArray[Any]:
    """Copy of the last voxels of a block along each axis, of all where none are counted."""
    part = tuple(
        slice(n - count if count else 0, n) for count, n in zip(counts, block.shape, strict=True)
    )
    return block[part].copy()


def _joined(
    block: NDArray[Any],
    counts: Sequence[int],
    steps: Sequence[Sequence[int]],
    ends: Sequence[NDArray[Any]],
) -> NDArray[Any]:
    """Block with voxels of those before it: one block back along the axes of each step."""
    if not ends:
        return block
    shape = [count + size for count, size in zip(counts, block.shape, strict=True)]
    if not any(any(part.strides) for part in (block, *ends)):
        first = block.flat[0]
        if all(part.flat[0] == first for part in ends):
            return np.broadcast_to(first, shape)
    whole = np.empty(shape, block.dtype)
    for step, part in zip(([0] * block.ndim, *steps), (block, *ends), strict=True):
        sides = zip(step, counts, strict=True)
        whole[tuple(slice(0, count) if back else slice(count, None) for back, count in sides)] = (
            part
        )
    return whole
