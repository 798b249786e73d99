"""Reductions: one value of all blocks, or one for each block of an image's leading axes.

Each block is measured by a task of its own, so that no more of it is kept than what was measured.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dask.array
import numpy as np
import numpy.typing as npt
from dask.delayed import Delayed
from numpy.typing import NDArray

from refspace.blockwise.graphs import (
    BlockId,
    Task,
    Tasks,
    array_from_tasks,
    name_from_inputs,
    value_from_tasks,
)
from refspace.blockwise.sources import block_shape

# Blocks whose measurements are merged at a time, so that few are in memory.
_MERGED_TOGETHER = 8


def reduce_blocks(
    prefix: str,
    measure: Callable[..., Any],
    arguments: Mapping[BlockId, Sequence[Any]],
    arrays: Sequence[dask.array.Array],
    gather: Callable[[list[Any]], Any],
) -> Delayed:
    """Gather what is measured of each block into one value; lazy.

    Parameters
    ----------
    prefix
        What the tasks are called.
    measure
        Called with the arguments of each block.
    arguments
        What these are: keys or tasks of voxels, and whatever else it needs.
    arrays
        Arrays whose keys are among the arguments.
    gather
        Called with a list of all that `measure` returned, in the order of the arguments.

    Examples
    --------
    >>> data = dask.array.from_array(np.array([1, 2, 3]), chunks=2)
    >>> keys = {(i,): [(data.name, i)] for i in range(2)}
    >>> reduce_blocks("total", np.sum, keys, [data], sum).compute()
    np.int64(6)
    """
    names = [array.name for array in arrays]
    name = name_from_inputs(prefix, names, measure, arguments, gather)
    tasks: Tasks = {
        (f"measured-{name}", *block_id): (measure, *needed)
        for block_id, needed in arguments.items()
    }
    tasks[name] = (gather, list(tasks))
    return value_from_tasks(name, tasks, arrays)


def array_from_value(
    value: Delayed,
    function: Callable[[Any], NDArray[Any]],
    shape: Sequence[int],
    dtype: npt.DTypeLike,
) -> dask.array.Array:
    """Lazy array of one block that a function makes of a lazy value.

    Examples
    --------
    >>> from refspace.blockwise.graphs import shared_value
    >>> array_from_value(shared_value("pair", [3, 4]), np.array, (2,), np.int64).compute()
    array([3, 4])
    """
    name = name_from_inputs("table", value.key, function)
    tasks = {(name, *(0,) * len(shape)): (function, value.key)}
    return array_from_tasks(name, tasks, [value], [(count,) for count in shape], dtype)


# ----- images with leading axes


def reduce_images(
    prefix: str,
    sources: Mapping[BlockId, Task],
    labels: dask.array.Array,
    images: Sequence[dask.array.Array],
    *,
    measure: Callable[..., Any],
    merge: Callable[[list[Any]], Any],
    finish: Callable[..., Any],
    shared: object,
) -> dask.array.Array:
    """Reduce labelled images over the three axes of space; lazy.

    Parameters
    ----------
    prefix
        What the tasks are called.
    sources
        Key or task of the labels of each block of space that matters.
    labels
        Array of these labels.
    images
        An image, and whatever is measured with it; chunked in space as the labels are. The image
        may have leading axes: each of their blocks is reduced for itself. The others have the same
        ones, or none.
    measure
        Called with the labels of a block, and the same block of each image.
    merge
        Called with a list of some that were measured, or merged.
    finish
        Called with what all were merged into, None of no blocks; with what is shared; and with the
        number of images in the block of the leading axes.
    shared
        What `finish` needs, which is no tuple and no list; sent to workers once.

    Returns
    -------
    dask.array.Array
        What `finish` returns: one object for each block of the leading axes, of which
        `array_from_objects` makes numbers.
    """
    arrays, image = [labels, *images], images[0]
    inputs = [array.name for array in arrays], sources, measure, merge, finish, shared
    name = name_from_inputs(prefix, *inputs)
    tasks: Tasks = {f"{name}-shared": shared}
    for lead in np.ndindex(image.numblocks[:-3]):
        keys: list[Any] = []
        for block_id, source in sources.items():
            blocks = [
                (each.name, *(lead if each.ndim == image.ndim else ()), *block_id)
                for each in images
            ]
            keys.append((f"{name}-block", *lead, *block_id))
            tasks[keys[-1]] = (measure, source, *blocks)
        count = math.prod(block_shape(image.chunks[:-3], lead))
        merged = _merge_in_groups(tasks, (f"{name}-merge", *lead), keys, merge)
        tasks[name, *lead] = (finish, merged, f"{name}-shared", count)
    ones = [(1,) * count for count in image.numblocks[:-3]]
    return array_from_tasks(name, tasks, arrays, ones, object)


def _merge_in_groups(
    tasks: Tasks, prefix: tuple[Any, ...], keys: list[Any], merge: Callable[..., Any]
) -> Any:
    """Add tasks that merge what some compute, few at a time; key of the last, None of no keys."""
    depth = 0
    while len(keys) > 1:
        groups = [keys[i : i + _MERGED_TOGETHER] for i in range(0, len(keys), _MERGED_TOGETHER)]
        keys = [(*prefix, depth, index) for index in range(len(groups))]
        tasks |= {key: (merge, group) for key, group in zip(keys, groups, strict=True)}
        depth += 1
    return keys[0] if keys else None


def array_from_objects(
    objects: dask.array.Array,
    function: Callable[..., NDArray[Any]],
    chunks: Sequence[Sequence[int]],
    dtype: npt.DTypeLike,
    beside: dask.array.Array | None = None,
) -> dask.array.Array:
    """Array of numbers made of an array of objects, as `reduce_images` gives it; lazy.

    Parameters
    ----------
    objects
        An object for each block of the leading axes.
    function
        Called with an object, and with the sizes of its block along the leading axes; then with
        what is beside the objects, if that is given.
    chunks
        Sizes of the blocks of the result: one block along the first axis, then those of the leading
        axes, then one block along every other.
    dtype
        Type of the result.
    beside
        Array of one block that the function needs for each object.
    """
    others = [] if beside is None else [(beside.name, *(0,) * beside.ndim)]
    name = name_from_inputs("statistic", objects.name, function, others)
    leading = chunks[1 : 1 + objects.ndim]
    after = (0,) * (len(chunks) - 1 - objects.ndim)
    tasks: Tasks = {
        (name, 0, *lead, *after): (
            function,
            (objects.name, *lead),
            block_shape(leading, lead),
            *others,
        )
        for lead in np.ndindex(objects.numblocks)
    }
    dependencies = [objects] if beside is None else [objects, beside]
    return array_from_tasks(name, tasks, dependencies, chunks, dtype)
