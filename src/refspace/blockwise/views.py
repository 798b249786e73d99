"""Arrays in memory as dask arrays, whose blocks are views."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dask.array
import numpy as np
from dask.base import tokenize
from numpy.typing import NDArray

# Parts of an array that are hashed at the same time.
_HASHED_BYTES = 16 * 2**20


def _digests(data: NDArray[Any]) -> list[bytes]:
    """Digests of the parts of an array, in memory order: dask's own token would copy it into C."""
    flat = data.ravel(order="K").view(np.uint8)
    parts = [flat[i : i + _HASHED_BYTES] for i in range(0, flat.size, _HASHED_BYTES)]
    # Of the time that it takes to build a result over 308 MB in memory, nearly all: 0.2 s at once.
    with ThreadPoolExecutor() as pool:
        return list(
            pool.map(lambda part: hashlib.sha1(part, usedforsecurity=False).digest(), parts)
        )


def views(data: NDArray[Any], chunks: Sequence[Sequence[int]], name: str) -> dask.array.Array:
    """Dask array whose blocks are views of an array in memory.

    Parameters
    ----------
    data
        The array.
    chunks
        Sizes of the blocks along each axis.
    name
        What the blocks are called in the graph.

    Examples
    --------
    >>> views(np.arange(5), ((3, 2),), "numbers").blocks[1].compute()
    array([3, 4])
    """
    name = f"{name}-{tokenize(_digests(data), data.dtype, data.shape, data.strides, chunks)}"
    # dask.array.from_array would copy the array, and into C order.
    parts = dask.array.core.slices_from_chunks(chunks)
    keys = [(name, *index) for index in np.ndindex(*map(len, chunks))]
    blocks = {key: data[part] for key, part in zip(keys, parts, strict=True)}
    return dask.array.Array(blocks, name, chunks, dtype=data.dtype)
