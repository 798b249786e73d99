"""A label index in parts: totals at hand, and rows of chunks that are read when they are asked for.

The index of a very large volume does not fit in memory. Counts, boxes and centroids of whole labels
need its totals alone, and a part of the volume the rows of its own chunks. So its table is stored
in parts, in an order that keeps chunks together that are near each other: box by box, each of 32
chunks along each axis; within one in C order. A part begins and ends anywhere, also within the rows
of a chunk.
"""

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refspace.errors import AnnotationError
from refspace.grid import Reorientation
from refspace.label_index.blocks import BlockLabels, flat_ids, whole_blocks
from refspace.label_index.checks import is_summable
from refspace.label_index.index import LabelIndex, coarse_blocks, whole_chunks
from refspace.label_index.rows import (
    CHUNK,
    COUNT,
    FIELDS,
    LABEL,
    START,
    STOP,
    SUM,
    Chunks,
    as_chunks,
    bounds_of,
)

# Chunks of a box along each axis.
_BOX = 32

CutOut = Callable[[Sequence[int], Sequence[int]], LabelIndex]


def part_order(chunk_ids: NDArray[np.integer[Any]], numblocks: Sequence[int]) -> NDArray[np.int64]:
    """Where chunks come in a table in parts, by their flat ids; equal for no two chunks.

    Examples
    --------
    >>> part_order(np.array([0, 31, 32, 40]), (1, 1, 50)).tolist()
    [0, 31, 32768, 32776]
    >>> part_order(np.array([1, 2]), (2, 2, 1)).tolist()
    [32, 1024]
    """
    box, inside = np.zeros(chunk_ids.shape, np.int64), np.zeros(chunk_ids.shape, np.int64)
    positions = np.unravel_index(chunk_ids, tuple(numblocks))
    for along, count in zip(positions, numblocks, strict=True):
        number, rest = np.divmod(along, _BOX)
        box = box * -(-count // _BOX) + number
        inside = inside * _BOX + rest
    return box * _BOX**3 + inside


def split_table(
    table: NDArray[np.int64], numblocks: Sequence[int], rows: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Table in the order of its parts, each of some number of rows, and `IndexParts.spans`.

    Examples
    --------
    >>> table, spans = split_table(np.array([[0, 1, 2], [7, 7, 7]]), (2, 2, 1), 2)
    >>> table.tolist(), spans.tolist()
    ([[0, 1, 2], [7, 7, 7]], [[0, 1024], [32, 1024]])
    """
    order = part_order(table[CHUNK], numblocks)
    # Stable: the labels of a chunk stay sorted.
    columns = np.argsort(order, kind="stable")
    order = order[columns]
    first = np.arange(0, order.size, rows)
    last = np.minimum(first + rows, order.size) - 1
    return table[:, columns], np.stack((order[first], order[last]))


def large_chunks(chunks: Chunks, cut: Chunks) -> Chunks:
    """Few large chunks, each a union of whole chunks, that are cut where others are.

    They are as few as that allows; and of an array whose sums of indices do not fit an int64, as
    many as it takes for those of each to do so.

    Examples
    --------
    >>> large_chunks(((4, 4), (4, 4, 4), (3, 1, 4)), ((8,), (12,), (3, 5)))
    ((8,), (12,), (3, 5))
    >>> large_chunks(((2**14,) * 4,) * 3, ((2**16,),) * 3)
    ((32768, 32768), (32768, 32768), (32768, 32768))
    """
    shape, ranges = tuple(map(sum, chunks)), 1
    while True:
        large = tuple(_ranges_of(*sizes, ranges) for sizes in zip(chunks, cut, strict=True))
        # The chunks themselves are the most that there can be.
        if is_summable(shape, large) or large == chunks:
            return large
        ranges *= 2


def _ranges_of(sizes: tuple[int, ...], cut: tuple[int, ...], ranges: int) -> tuple[int, ...]:
    """Lengths of ranges of whole chunks along an axis, which are cut at the ends of others."""
    edges = bounds_of(sizes)
    chosen = edges[[len(sizes) * number // ranges for number in range(ranges + 1)]]
    return tuple(np.diff(np.union1d(chosen, bounds_of(cut))).tolist())


@dataclass(frozen=True)
class IndexParts:
    """The parts of the table of a label index, of which those are read that are needed.

    Parameters
    ----------
    shape, chunks
        As those of the index.
    spans
        Where the chunks of the first and the last row of each part come, as `part_order` says;
        shape (2, parts).
    read
        Reads some parts of the table, in their order.
    """

    shape: tuple[int, ...]
    chunks: Chunks
    spans: NDArray[np.int64]
    read: Callable[[Sequence[int]], Iterable[NDArray[np.int64]]]

    def crop(self, start: Sequence[int], stop: Sequence[int]) -> LabelIndex:
        """Index of a part of the array that is made of whole chunks, as `LabelIndex.crop`.

        Raises
        ------
        GridError
            If the part is empty, or cuts a chunk.
        AnnotationError
            If the parts are none of the index of such an array.
        """
        kept = [
            whole_chunks(lengths, *ends)
            for lengths, *ends in zip(self.chunks, start, stop, strict=True)
        ]
        parts = [self._rows(part, kept) for part in self.read(self._parts_with(kept))]
        table = np.concatenate([np.empty((len(FIELDS), 0), np.int64), *parts], axis=1)
        table = table[:, np.lexsort((table[LABEL], table[CHUNK]))]
        shift = np.asarray(start, np.int64)[:, np.newaxis]
        table[SUM] -= shift * table[COUNT]
        table[START] -= shift
        table[STOP] -= shift
        # Not copied once more.
        table.flags.writeable = False
        chunks = tuple(c[k.start : k.stop] for c, k in zip(self.chunks, kept, strict=True))
        return LabelIndex(tuple(b - a for a, b in zip(start, stop, strict=True)), chunks, table)

    @property
    def _numblocks(self) -> tuple[int, ...]:
        return tuple(map(len, self.chunks))

    def _parts_with(self, kept: Sequence[range]) -> list[int]:
        """Parts that have rows of a box of chunks."""
        ids = flat_ids([np.array(along) for along in kept], self._numblocks)
        wanted = np.sort(part_order(ids, self._numblocks))
        first, last = self.spans
        begin = np.searchsorted(wanted, first, side="left")
        parts: list[int] = np.flatnonzero(
            begin < np.searchsorted(wanted, last, side="right")
        ).tolist()
        return parts

    def _rows(self, table: NDArray[np.int64], kept: Sequence[range]) -> NDArray[np.int64]:
        """Rows of a part in a box of chunks, which are numbered within the box."""
        chunk, count = table[CHUNK], math.prod(self._numblocks)
        if ((chunk < 0) | (chunk >= count)).any():
            raise AnnotationError(
                f"a part of the label index has chunks beyond {count}, which is how many there "
                "are; make it again from the voxels"
            )
        positions = np.stack(np.unravel_index(chunk, self._numblocks))
        low = np.array([[along.start] for along in kept])
        high = np.array([[along.stop] for along in kept])
        inside = ((positions >= low) & (positions < high)).all(axis=0)
        rows = table[:, inside]
        rows[CHUNK] = np.ravel_multi_index(
            tuple(positions[:, inside] - low), [len(along) for along in kept]
        )
        return rows


class PartedIndex(LabelIndex):
    """A label index whose totals are at hand, and whose rows are read as they are needed.

    It answers all that a `LabelIndex` does, and is equal to one of the same rows. Counts, extents,
    sums and totals read nothing; `crop` and `labels_in` what they need; `table` and `block_labels`
    all.

    Parameters
    ----------
    shape, chunks
        As for `LabelIndex`.
    coarse
        The same index of a few large chunks.
    cut_out
        Index of a part of the array that is made of whole chunks, between two corners.
    """

    coarse: LabelIndex
    cut_out: CutOut

    def __init__(
        self,
        shape: Sequence[int],
        chunks: Sequence[Sequence[int]],
        coarse: LabelIndex,
        cut_out: CutOut,
    ) -> None:
        object.__setattr__(self, "shape", tuple(map(int, shape)))
        object.__setattr__(self, "chunks", as_chunks(chunks))
        object.__setattr__(self, "coarse", coarse)
        object.__setattr__(self, "cut_out", cut_out)

    @functools.cached_property
    def table(self) -> NDArray[np.int64]:
        """The whole table, of which all parts are read."""
        return self.crop([0] * len(self.shape), self.shape).table

    @functools.cached_property
    def totals(self) -> NDArray[Any]:
        """As of `LabelIndex`."""
        return self.coarse.totals

    def crop(self, start: Sequence[int], stop: Sequence[int]) -> LabelIndex:
        """As of `LabelIndex`, by the parts with rows of these chunks."""
        return self.cut_out(start, stop)

    def labels_in(self, key: tuple[slice | int, ...]) -> BlockLabels:
        """Labels of the chunks of a part of the array, as ``block_labels.crop(key)``.

        Parameters
        ----------
        key
            As for `BlockLabels.crop`.
        """
        blocks = [whole_blocks(sizes, part) for sizes, part in zip(self.chunks, key, strict=True)]
        part = self.crop([start for start, _ in blocks], [stop for _, stop in blocks])
        axes = zip(key, self.shape, blocks, strict=True)
        return part.block_labels.crop(
            tuple(_within(part, n, start) for part, n, (start, _) in axes)
        )

    def coarsen(self, chunks: Sequence[Sequence[int]]) -> LabelIndex:
        """As of `LabelIndex`; lazy, unless the chunks are as large as those of the totals."""
        coarse = as_chunks(chunks)
        if all(
            {*bounds_of(sizes).tolist()} <= {*bounds_of(own).tolist()}
            for sizes, own in zip(coarse, self.coarse.chunks, strict=True)
        ):
            return self.coarse.coarsen(coarse)
        coarse_blocks(self.shape, self.chunks, coarse)  # which must be unions of chunks
        cut_out = functools.partial(_coarser, self.cut_out, coarse)
        return PartedIndex(self.shape, coarse, self.coarse, cut_out)

    def keep_slab(self, axis: int, kept: slice) -> LabelIndex:
        """As of `LabelIndex`; lazy, where the totals are those of the slab and the rest."""
        start, stop, _ = kept.indices(self.shape[axis])
        if not {start, stop} <= {*bounds_of(self.coarse.chunks[axis]).tolist()}:
            return self._whole.keep_slab(axis, kept)
        coarse = self.coarse.keep_slab(axis, kept)
        cut_out = functools.partial(_kept, self.cut_out, axis, (start, stop))
        return PartedIndex(self.shape, self.chunks, coarse, cut_out)

    def reorient(self, reorientation: Reorientation) -> LabelIndex:
        """As of `LabelIndex`; lazy."""
        coarse = self.coarse.reorient(reorientation)
        cut_out = functools.partial(_turned, self.cut_out, reorientation, self.shape)
        return PartedIndex(coarse.shape, reorientation.chunks(self.chunks), coarse, cut_out)

    @property
    def _whole(self) -> LabelIndex:
        """The same index, whose rows are all read."""
        return LabelIndex(self.shape, self.chunks, self.table)

    def __repr__(self) -> str:
        return (
            f"<LabelIndex of {self.shape} voxels in {math.prod(map(len, self.chunks))} chunks: "
            f"{len(self._columns)} labels, in parts>"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.shape, self.chunks, self.coarse, self.cut_out)

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return LabelIndex.__name__, *self._identity


# ----- parts of other indices


def _coarser(
    cut_out: CutOut, chunks: Chunks, start: Sequence[int], stop: Sequence[int]
) -> LabelIndex:
    """Part of an index of larger chunks."""
    axes = zip(chunks, start, stop, strict=True)
    kept = [(sizes, whole_chunks(sizes, a, b)) for sizes, a, b in axes]
    return cut_out(start, stop).coarsen([sizes[k.start : k.stop] for sizes, k in kept])


def _kept(
    cut_out: CutOut,
    axis: int,
    ends: tuple[int, int],
    start: Sequence[int],
    stop: Sequence[int],
) -> LabelIndex:
    """Part of an index of an array that is 0 outside of a slab."""
    a, b = (min(max(end, start[axis]), stop[axis]) - start[axis] for end in ends)
    return cut_out(start, stop).keep_slab(axis, slice(a, b))


def _turned(
    cut_out: CutOut,
    reorientation: Reorientation,
    shape: tuple[int, ...],
    start: Sequence[int],
    stop: Sequence[int],
) -> LabelIndex:
    """Part of the index of a reoriented array, of which the shape before is given."""
    box = {}
    for axis, flipped, a, b in zip(
        reorientation.axes, reorientation.flipped, start, stop, strict=True
    ):
        count = shape[axis]
        box[axis] = (count - b, count - a) if flipped else (a, b)
    before = [box[axis] for axis in range(len(shape))]
    part = cut_out([a for a, _ in before], [b for _, b in before])
    return part.reorient(reorientation)


def _within(part: slice | int, count: int, start: int) -> slice | int:
    """Slice or index along an axis, counted from the start of a part of it."""
    if not isinstance(part, slice):
        return range(count)[part] - start
    begin, end, step = part.indices(count)
    return slice(begin - start, end - start, step)
