"""Arrays and values of hand-made graphs: the one module that knows how dask holds a graph.

A graph is a dict of tasks. The key of a block of an array is ``(name, *block_id)``; a task is a
tuple of a function and its arguments, in which keys stand for what they compute. See
https://docs.dask.org/en/stable/spec.html.

Dask holds graphs in two ways. By default, arrays are layers of a `HighLevelGraph`. With array
expressions (``DASK_ARRAY__QUERY_PLANNING=True``, read when `dask.array` is first imported) an array
is an expression, which dask rewrites before it becomes tasks. Both are served here. With
expressions:

- The tasks of an array stay as they are; dask rewrites only what comes before and after them. What
  they depend on is optimized and made into tasks when the array is built, not when it is computed.
  This reads nothing, but takes time for every block of what comes before.
- Slices of an array do not reach through it to the arrays that it depends on. No more is computed,
  as schedulers follow keys.
- A value is a `Delayed`, which has no expression. Dask warns when one is computed in one call with
  an array (`dask.compute(value, array)`); computed apart, neither warns.
- Arrays of unknown size, as of the rows of a lazy table, cannot be computed by themselves: dask
  2026.8 joins blocks by `rechunk`, which needs to know how large they are. What is counted in them
  can be computed.
- Arrays of dask 2026.8 do not convert to NumPy: `DataArray.values` of a lazy one gives no numbers.
  Call `DataArray.compute` first.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import dask.array
import numpy as np
import numpy.typing as npt
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph
from dask.tokenize import tokenize

BlockId: TypeAlias = tuple[int, ...]
"""Index of a block along each axis."""

Task: TypeAlias = tuple[Any, ...]
"""Key of what is computed elsewhere, or a function and its arguments."""

Tasks: TypeAlias = dict[Any, Any]
"""Graph: what computes each key."""


def array_from_tasks(
    name: str,
    tasks: Tasks,
    dependencies: Sequence[dask.array.Array | Delayed],
    chunks: Sequence[Sequence[float]],
    dtype: npt.DTypeLike,
) -> dask.array.Array:
    """Array whose blocks are computed by tasks.

    Parameters
    ----------
    name
        Name of the array, as `name_from_inputs` makes it: a word, a hyphen and a token.
    tasks
        Task of each block, whose key is ``(name, *block_id)``, and of what they need.
    dependencies
        Arrays and values whose keys occur in the tasks.
    chunks
        Sizes of the blocks along each axis; NaN where they are not known.
    dtype
        Type of the elements.

    Examples
    --------
    >>> data = dask.array.from_array(np.array([1, 2, 3]), chunks=2)
    >>> name = name_from_inputs("negated", data.name)
    >>> tasks = {(name, i): (np.negative, (data.name, i)) for i in range(2)}
    >>> array_from_tasks(name, tasks, [data], data.chunks, data.dtype).compute()
    array([-1, -2, -3])
    """
    sizes = tuple(map(tuple, chunks))
    meta = np.empty((0,) * len(chunks), dtype)
    if dask.array.array_expr_enabled():
        return _expression(name, _with_tasks_of(dependencies) | tasks, sizes, meta)
    graph = HighLevelGraph.from_collections(name, tasks, dependencies=dependencies)
    return dask.array.Array(graph, name, sizes, meta=meta)


def value_from_tasks(
    name: str, tasks: Tasks, dependencies: Sequence[dask.array.Array | Delayed]
) -> Delayed:
    """Lazy value that one of the tasks computes.

    Parameters
    ----------
    name
        Key of the task that computes it.
    tasks
        That task, and those of what it needs.
    dependencies
        Arrays and values whose keys occur in the tasks.

    Examples
    --------
    >>> data = dask.array.from_array(np.array([1, 2, 3]), chunks=3)
    >>> value_from_tasks("total", {"total": (np.sum, (data.name, 0))}, [data]).compute()
    np.int64(6)
    """
    if dask.array.array_expr_enabled():
        # A HighLevelGraph has no layer for an expression.
        tasks, dependencies = _with_tasks_of(dependencies) | tasks, ()
    graph = HighLevelGraph.from_collections(name, tasks, dependencies=dependencies)
    return Delayed(name, graph)


def shared_value(prefix: str, value: object) -> Delayed:
    """Value that is sent to workers once, on which many tasks depend.

    Dask does not look into it: arrays within are those of the value, not part of the graph.

    Examples
    --------
    >>> shared_value("threshold", 5).compute()
    5
    """
    name = name_from_inputs(prefix, value)
    return value_from_tasks(name, {name: value}, ())


def name_from_inputs(prefix: str, *inputs: Any) -> str:
    """Name of what is computed from some inputs: the same for the same ones, in every process.

    Dask takes two arrays of one name for the same array: inputs must be all that the values depend
    on, the functions included.

    Examples
    --------
    >>> name_from_inputs("mask", 385) == name_from_inputs("mask", 385)
    True
    """
    return f"{prefix}-{tokenize(*inputs)}"


# ----- array expressions


def _expression(
    name: str, tasks: Tasks, chunks: tuple[tuple[float, ...], ...], meta: npt.NDArray[Any]
) -> dask.array.Array:
    """Array of tasks as dask's expression for a graph that it shall take as it is."""
    # Private names of dask, imported only where they are needed: no public function makes an array
    # of tasks.
    from dask._collections import new_collection
    from dask.array._array_expr._io import FromGraph

    # Without a token of its own, dask would hash all tasks and the arrays in them for one. The list
    # of keys to rename is empty, as all have the right name.
    prefix, _, token = name.rpartition("-")
    array: dask.array.Array = new_collection(
        FromGraph(tasks, meta, chunks, [], prefix, _determ_token=token)
    )
    return array


def _with_tasks_of(dependencies: Sequence[dask.array.Array | Delayed]) -> Tasks:
    """Tasks of all that tasks depend on, under the keys that these use."""
    tasks: Tasks = {}
    for each in dependencies:
        if isinstance(each, Delayed):
            tasks |= dict(each.dask)
            continue
        optimized: Any = each.optimize()
        tasks |= dict(optimized.dask)
        if optimized.name != each.name:
            # Dask renames what it optimizes.
            for block_id in np.ndindex(each.numblocks):
                tasks[each.name, *block_id] = (optimized.name, *block_id)
    return tasks
