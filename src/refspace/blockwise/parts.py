"""Parts of lazy arrays, for which no block outside of them is so much as listed.

Where an array of dask is sliced, dask still lists the keys of all its blocks when the slice is
computed: a second for a million blocks, however few are needed. An array whose layer can make the
layer of a part is sliced here so that its other blocks do not count.
"""

from abc import abstractmethod
from collections.abc import Sequence

import dask.array
import numpy as np
from dask.highlevelgraph import HighLevelGraph, Layer

from refspace.blockwise.graphs import BlockId, name_from_inputs


class BlockLayer(Layer):  # type: ignore[misc]  # dask is annotated in part
    """Layer of an array without dependencies, which can make the layer of some of its blocks."""

    @abstractmethod
    def part(self, name: str, first: BlockId, numblocks: BlockId) -> "BlockLayer":
        """Layer of a box of blocks.

        Parameters
        ----------
        name
            Name of the array of these blocks.
        first
            First of them along each axis; it has the key ``(name, 0, …)``.
        numblocks
            Number of them along each axis.
        """


def crop(data: dask.array.Array, box: Sequence[slice]) -> dask.array.Array:
    """Part of an array; its values, and its chunks, are those of ``data[box]``.

    Parameters
    ----------
    data
        The array.
    box
        A slice without steps along each axis.

    Examples
    --------
    >>> crop(dask.array.from_array(np.arange(6), chunks=2), [slice(3, 5)]).compute()
    array([3, 4])
    """
    box = tuple(box)
    layer = None if dask.array.array_expr_enabled() else data.dask.layers.get(data.name)
    if not isinstance(layer, BlockLayer):
        return data[box]
    first, chunks, inner = [], [], []
    for sizes, along in zip(data.chunks, box, strict=True):
        edges = np.concatenate(([0], np.cumsum(sizes)))
        start, stop, _ = along.indices(int(edges[-1]))
        if stop <= start:
            return data[box]
        begin = int(np.searchsorted(edges, start, side="right")) - 1
        end = int(np.searchsorted(edges, stop))
        first.append(begin)
        chunks.append(sizes[begin:end])
        inner.append(slice(start - int(edges[begin]), stop - int(edges[begin])))
    numblocks = tuple(map(len, chunks))
    if numblocks == data.numblocks:
        return data[box]
    name = name_from_inputs("part", data.name, first, numblocks)
    graph = HighLevelGraph({name: layer.part(name, tuple(first), numblocks)}, {name: set()})
    blocks = dask.array.Array(graph, name, tuple(chunks), meta=data._meta)
    return blocks[tuple(inner)]
