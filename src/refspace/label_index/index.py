"""The label index: voxel counts, bounding boxes and coordinate sums of the labels of each chunk.

A `LabelIndex` is measured chunk by chunk while a volume is written. Afterwards it answers without
reading a voxel: counts, bounding boxes and centroids of structures, and the blocks that may hold
them.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refspace.errors import AnnotationError, GridError
from refspace.grid import Reorientation
from refspace.label_index.array_value import ArrayValue, frozen
from refspace.label_index.blocks import BlockLabels
from refspace.label_index.checks import check_chunks, check_table, is_summable
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
    exact_totals,
    merge_rows,
)
from refspace.types import BACKGROUND

Corner = tuple[int, int, int]


@dataclass(frozen=True, eq=False, repr=False)
class LabelIndex(ArrayValue):
    """Voxel counts, bounding boxes and coordinate sums of the labels of each chunk.

    Parameters
    ----------
    shape
        Voxels of the array along each of its three axes.
    chunks
        Sizes of the chunks along each axis.
    table
        Integers of shape (12, rows), a column per label and chunk, sorted by chunk, then label.
        The rows are `FIELDS`: flat index of the chunk in C order, label, number of voxels,
        half-open bounding box in indices of the whole array, and sums of these indices.

    Raises
    ------
    GridError
        If the chunks do not make up the shape.
    AnnotationError
        If no array has such a table.

    Examples
    --------
    >>> from refspace.label_index import chunk_rows
    >>> voxels = np.array([[[7, 7, 9, 9, 9]]], "u4")
    >>> parts = [chunk_rows(voxels[..., :3], 0, (0, 0, 0)), chunk_rows(voxels[..., 3:], 1, (0, 0, 3))]
    >>> index = LabelIndex.from_rows((1, 1, 5), ((1,), (1,), (3, 2)), parts)
    >>> index
    <LabelIndex of (1, 1, 5) voxels in 2 chunks: 2 labels in 3 rows>
    >>> index.counts()
    {7: 2, 9: 3}
    >>> index.extent([9])
    ((0, 0, 2), (1, 1, 5))
    >>> index.coordinate_sums([7, 9]), index.coordinate_sums([997])
    ((5, (0, 0, 10)), (0, (0, 0, 0)))
    """  # noqa: E501

    shape: tuple[int, ...]
    chunks: Chunks
    table: NDArray[np.int64]

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(map(int, self.shape)))
        object.__setattr__(self, "chunks", as_chunks(self.chunks))
        check_chunks(self.shape, self.chunks)
        table = np.asarray(self.table)
        if table.ndim != 2 or len(table) != len(FIELDS) or table.dtype.kind not in "iu":
            raise AnnotationError(
                f"a label index is a table of integers of shape ({len(FIELDS)}, rows), not "
                f"{table.dtype} of shape {table.shape}"
            )
        object.__setattr__(self, "table", frozen(table, np.int64))
        check_table(self.table, self.chunks)

    @classmethod
    def from_rows(
        cls,
        shape: Sequence[int],
        chunks: Sequence[Sequence[int]],
        parts: Iterable[NDArray[np.int64]],
    ) -> "LabelIndex":
        """Index from the rows of its chunks, in any order, as `chunk_rows` gives them."""
        table = np.concatenate([np.empty((len(FIELDS), 0), np.int64), *parts], axis=1)
        # Chunks are measured in parallel and end in any order; sorted by chunk, the rows of each
        # are one interval, and equal indices have equal tables.
        order = np.lexsort((table[LABEL], table[CHUNK]))
        table = table[:, order]
        # Not copied once more: tables have some hundred MB.
        table.flags.writeable = False
        return cls(tuple(shape), as_chunks(chunks), table)

    def __repr__(self) -> str:
        return (
            f"<LabelIndex of {self.shape} voxels in {math.prod(map(len, self.chunks))} chunks: "
            f"{len(self._columns)} labels in {self.table.shape[1]} rows>"
        )

    @cached_property
    def totals(self) -> NDArray[Any]:
        """Table of the array as one chunk: a column per label, sorted; the rows are `FIELDS`.

        Of an array whose sums of indices may not fit an int64, it is of Python's integers.

        Examples
        --------
        >>> from refspace.label_index import chunk_rows
        >>> rows = [chunk_rows(np.full((1, 1, 2), 7, "u4"), n, (0, 0, 2 * n)) for n in range(3)]
        >>> LabelIndex.from_rows((1, 1, 6), ((1,), (1,), (2, 2, 2)), rows).totals.T
        array([[ 0,  7,  6,  0,  0,  0,  1,  1,  6,  0,  0, 15]])
        """
        # Counts, boxes and sums merge exactly, so the totals are as if measured at once.
        whole = tuple((count,) for count in self.shape)
        if is_summable(self.shape, whole):
            return self.coarsen(whole).table
        return exact_totals(self.table)

    @cached_property
    def _columns(self) -> dict[int, int]:
        """Column of each label in `totals`."""
        return {label: column for column, label in enumerate(self.totals[LABEL].tolist())}

    def _select(self, labels: Iterable[int]) -> NDArray[Any]:
        """Columns of `totals` for the labels that occur, each once."""
        columns = sorted({self._columns[label] for label in labels if label in self._columns})
        return self.totals[:, columns]

    def counts(self) -> dict[int, int]:
        """Number of voxels of each label, background included; the labels ascend."""
        return dict(zip(self._columns, self.totals[COUNT].tolist(), strict=True))

    def extent(self, labels: Iterable[int]) -> tuple[Corner, Corner] | None:
        """Bounding box of all voxels that have one of some labels.

        Parameters
        ----------
        labels
            Labels, whether they occur or not.

        Returns
        -------
        start, stop
            Corners of the box, half open, in voxel indices; None where no label occurs.
        """
        totals = self._select(labels)
        if not totals.size:
            return None
        return _corner(totals[START].min(axis=1)), _corner(totals[STOP].max(axis=1))

    def coordinate_sums(self, labels: Iterable[int]) -> tuple[int, Corner]:
        """Number of voxels that have one of some labels, and the sums of their indices, exact.

        The sums divided by the number are the centroid, in indices: an index is the centre of a
        voxel.
        """
        totals = self._select(labels)
        return int(totals[COUNT].sum()), _corner(totals[SUM].sum(axis=1))

    @cached_property
    def block_labels(self) -> "BlockLabels":
        """Labels of each chunk; crop them as the array is cropped."""
        chunk_ids = np.arange(math.prod(map(len, self.chunks)) + 1)
        indptr = np.searchsorted(self.table[CHUNK], chunk_ids)
        labels, boxes = (
            self.table[LABEL].astype(np.uint32),
            np.stack((self.table[START], self.table[STOP])),
        )
        return BlockLabels(self.chunks, indptr, labels, self.table[COUNT], boxes)

    def coarsen(self, chunks: Sequence[Sequence[int]]) -> "LabelIndex":
        """Merge chunks into larger ones, each a union of whole chunks.

        Parameters
        ----------
        chunks
            Sizes of the larger chunks along each axis.

        Raises
        ------
        GridError
            If the new chunks cut old ones.

        Examples
        --------
        >>> from refspace.label_index import chunk_rows
        >>> rows = [chunk_rows(np.full((1, 1, 2), 7, "u4"), n, (0, 0, 2 * n)) for n in range(3)]
        >>> index = LabelIndex.from_rows((1, 1, 6), ((1,), (1,), (2, 2, 2)), rows)
        >>> index.coarsen(((1,), (1,), (4, 2))).table[:3]
        array([[0, 1],
               [7, 7],
               [4, 2]])
        """
        coarse = as_chunks(chunks)
        coarse_ids = coarse_blocks(self.shape, self.chunks, coarse)
        flat_ids = np.ravel_multi_index(np.ix_(*coarse_ids), [len(larger) for larger in coarse])
        table = self.table.copy()
        table[CHUNK] = flat_ids.ravel()[table[CHUNK]]
        return LabelIndex(self.shape, coarse, merge_rows(table))

    def crop(self, start: Sequence[int], stop: Sequence[int]) -> "LabelIndex":
        """Cut out a part of the array that is made of whole chunks.

        Parameters
        ----------
        start, stop
            Corners of the part, half open, in voxel indices.

        Returns
        -------
        LabelIndex
            In indices of the part.

        Raises
        ------
        GridError
            If the part is empty, or cuts a chunk.

        Examples
        --------
        >>> from refspace.label_index import chunk_rows
        >>> rows = [chunk_rows(np.full((1, 1, 2), 7, "u4"), n, (0, 0, 2 * n)) for n in range(3)]
        >>> index = LabelIndex.from_rows((1, 1, 6), ((1,), (1,), (2, 2, 2)), rows)
        >>> part = index.crop((0, 0, 2), (1, 1, 6))
        >>> part.counts(), part.extent([7])
        ({7: 4}, ((0, 0, 0), (1, 1, 4)))
        """
        kept = [
            whole_chunks(lengths, *ends)
            for lengths, *ends in zip(self.chunks, start, stop, strict=True)
        ]
        parts = tuple(slice(chunks.start, chunks.stop) for chunks in kept)
        table = self._take(self._chunk_ids[parts])
        shift = np.asarray(start, np.int64)[:, np.newaxis]
        table[START] -= shift
        table[STOP] -= shift
        table[SUM] -= shift * table[COUNT]
        chunks = tuple(c[part] for c, part in zip(self.chunks, parts, strict=True))
        return LabelIndex(tuple(b - a for a, b in zip(start, stop, strict=True)), chunks, table)

    def keep_slab(self, axis: int, kept: slice) -> "LabelIndex":
        """Index of the array that is 0 outside of a slab of whole chunks.

        Parameters
        ----------
        axis
            Axis across the slab.
        kept
            Range of indices along that axis that keep their labels; it may be empty.

        Raises
        ------
        GridError
            If the slab cuts a chunk.

        Examples
        --------
        >>> from refspace.label_index import chunk_rows
        >>> rows = [chunk_rows(np.full((1, 1, 2), 7, "u4"), n, (0, 0, 2 * n)) for n in range(3)]
        >>> index = LabelIndex.from_rows((1, 1, 6), ((1,), (1,), (2, 2, 2)), rows)
        >>> left = index.keep_slab(2, slice(0, 2))
        >>> left.counts(), left.extent([0])
        ({0: 4, 7: 2}, ((0, 0, 2), (1, 1, 6)))
        """
        start, stop, _ = kept.indices(self.shape[axis])
        kept_chunks = whole_chunks(self.chunks[axis], start, stop) if start < stop else range(0)
        is_kept = np.zeros(self._chunk_ids.shape, bool)
        is_kept[(slice(None),) * axis + (slice(kept_chunks.start, kept_chunks.stop),)] = True
        inside = self.table[:, is_kept.ravel()[self.table[CHUNK]]]
        outside = self._background_rows(np.flatnonzero(~is_kept))
        return LabelIndex.from_rows(self.shape, self.chunks, [inside, outside])

    def _background_rows(self, chunk_ids: NDArray[np.intp]) -> NDArray[np.int64]:
        """Rows of chunks that hold 0 alone."""
        rows = np.zeros((len(FIELDS), chunk_ids.size), np.int64)
        positions = np.unravel_index(chunk_ids, self._chunk_ids.shape)
        edges = [bounds_of(sizes) for sizes in self.chunks]
        start = np.stack([ends[i] for ends, i in zip(edges, positions, strict=True)])
        stop = np.stack([ends[i + 1] for ends, i in zip(edges, positions, strict=True)])
        count = (stop - start).prod(axis=0)
        rows[CHUNK], rows[LABEL], rows[COUNT] = chunk_ids, BACKGROUND, count
        rows[START], rows[STOP] = start, stop
        # Along each axis the mean index of a box is half of its first and last together.
        rows[SUM] = (start + stop - 1) * count // 2
        return rows

    def reorient(self, reorientation: Reorientation) -> "LabelIndex":
        """Index of the reoriented array.

        Examples
        --------
        >>> from refspace.label_index import chunk_rows
        >>> rows = [chunk_rows(np.array([[[7, 7, 9]]], "u4"), 0, (0, 0, 0))]
        >>> index = LabelIndex.from_rows((1, 1, 3), ((1,), (1,), (3,)), rows)
        >>> index.reorient(Reorientation((2, 0, 1), (True, False, False))).extent([7])
        ((1, 0, 0), (3, 1, 1))
        """
        axes = list(reorientation.axes)
        table = self._take(reorientation.apply(self._chunk_ids))
        start, stop, sums = (table[rows][axes] for rows in (START, STOP, SUM))
        ends = np.array([self.shape[axis] for axis in axes])[:, np.newaxis]
        flipped = np.array(reorientation.flipped)[:, np.newaxis]
        # Along a flipped axis of n voxels, index i becomes n - 1 - i.
        table[START] = np.where(flipped, ends - stop, start)
        table[STOP] = np.where(flipped, ends - start, stop)
        table[SUM] = np.where(flipped, (ends - 1) * table[COUNT] - sums, sums)
        return LabelIndex(tuple(ends.ravel().tolist()), reorientation.chunks(self.chunks), table)

    @property
    def _chunk_ids(self) -> NDArray[np.int64]:
        """Flat id of each chunk, in C order."""
        shape = tuple(map(len, self.chunks))
        return np.arange(math.prod(shape)).reshape(shape)

    def _take(self, chunk_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Table of some chunks, whose new ids are their positions in the array of ids."""
        new_ids = np.full(math.prod(map(len, self.chunks)), -1)
        new_ids[chunk_ids.ravel()] = np.arange(chunk_ids.size)
        table = self.table[:, new_ids[self.table[CHUNK]] >= 0]
        table[CHUNK] = new_ids[table[CHUNK]]
        return table[:, np.lexsort((table[LABEL], table[CHUNK]))]


def coarse_blocks(
    shape: tuple[int, ...], chunks: Chunks, coarse: Chunks
) -> list[NDArray[np.int64]]:
    """Which larger chunk along each axis has each chunk.

    Raises
    ------
    GridError
        If the larger ones are no unions of whole chunks.
    """
    check_chunks(shape, coarse)
    coarse_ids = []
    for axis, (fine, larger) in enumerate(zip(chunks, coarse, strict=True)):
        cuts, new_cuts = bounds_of(fine), bounds_of(larger)
        if not np.isin(new_cuts, cuts).all():
            raise GridError(
                f"chunks of {larger} voxels cut chunks of {fine} voxels along axis {axis}; "
                "give unions of whole chunks"
            )
        coarse_ids.append(np.searchsorted(new_cuts, cuts[:-1], side="right") - 1)
    return coarse_ids


def whole_chunks(lengths: Sequence[int], start: int, stop: int) -> range:
    """Indices of the chunks between two voxels along an axis.

    Raises
    ------
    GridError
        If there are none, or one is cut.
    """
    ends = bounds_of(lengths)
    if not (start < stop and {start, stop} <= {*ends.tolist()}):
        raise GridError(
            f"from {start} to {stop} is no union of whole chunks, which have {tuple(lengths)} "
            "voxels; give the ends of chunks"
        )
    return range(*np.searchsorted(ends, (start, stop)).tolist())


def _corner(values: NDArray[Any]) -> Corner:
    a, b, c = values.tolist()
    return a, b, c
