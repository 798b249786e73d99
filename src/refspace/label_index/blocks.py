"""Block labels: the labels that each block of an array may hold, for reads that skip blocks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refspace.errors import AnnotationError, GridError
from refspace.grid import Reorientation
from refspace.label_index.array_value import ArrayValue, frozen
from refspace.label_index.rows import Chunks, as_chunks, bounds_of
from refspace.types import BACKGROUND, MAX_LABEL

# Verdicts on a block for a set of labels: no voxel has one of them, all have one, or the block must
# be read.
OUT, IN, MIXED = range(3)
# Of a label, as many as `MAX_LABEL` has.
_LABEL_BITS = 32


@dataclass(frozen=True, eq=False, repr=False)
class BlockLabels(ArrayValue):
    """Labels that may occur in each block of an array: all that do occur, and perhaps more.

    A crop keeps the labels of the blocks that it cuts, so they are an upper bound. The answers stay
    right: a label too many costs a read, and changes no result.

    Parameters
    ----------
    chunks
        Sizes of the blocks along each axis; any number of axes.
    indptr
        Where the labels of each block begin in `labels`, in C order of the blocks, and the end: the
        layout of a sparse matrix in CSR form.
    labels
        Labels of all blocks, one block after the other, sorted within each; at least one each.
    counts
        How many voxels of its block each has; None where that is not known.
    boxes
        Where in the array the voxels of each are, within its block: half-open, of shape (2, axes,
        labels), first where they start, then where they stop. None where that is not known.

    Examples
    --------
    >>> labels = BlockLabels(((2,), (4, 4)), np.array([0, 2, 3]), np.array([7, 9, 9]))
    >>> labels.shape, labels.in_block((0, 0))
    ((1, 2), array([7, 9], dtype=uint32))
    >>> labels.verdicts([9])
    array([[2, 1]], dtype=int8)
    """

    chunks: Chunks
    indptr: NDArray[np.int64]
    labels: NDArray[np.uint32]
    counts: NDArray[np.int64] | None = None
    boxes: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "chunks", as_chunks(self.chunks))
        object.__setattr__(self, "indptr", frozen(self.indptr, np.int64))
        object.__setattr__(self, "labels", frozen(self.labels, np.uint32))
        for name, shape in (("counts", ()), ("boxes", (2, len(self.chunks)))):
            values = getattr(self, name)
            if values is None:
                continue
            object.__setattr__(self, name, frozen(values, np.int64))
            if values.shape != (*shape, self.labels.size):
                raise AnnotationError(
                    f"{name} have the shape {values.shape}; give {(*shape, self.labels.size)}, for "
                    "each of the labels"
                )
        blocks = math.prod(self.shape)
        ends = self.indptr[[0, -1]].tolist() if self.indptr.size == blocks + 1 else None
        if ends != [0, self.labels.size] or (np.diff(self.indptr) < 1).any():
            raise AnnotationError(
                f"indptr does not deal {self.labels.size} labels out to {blocks} blocks; "
                "give where the labels of each begin, at least one each, and the end"
            )

    def __repr__(self) -> str:
        return f"<BlockLabels of {self.shape} blocks: {self.labels.size} labels in all>"

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of blocks along each axis."""
        return tuple(map(len, self.chunks))

    @cached_property
    def _block_ids(self) -> NDArray[np.intp]:
        """Flat id of each block, in C order."""
        return np.arange(math.prod(self.shape)).reshape(self.shape)

    def in_block(self, block_id: tuple[int, ...]) -> NDArray[np.uint32]:
        """Labels that may occur in a block, sorted."""
        flat = int(np.ravel_multi_index(block_id, self.shape))
        return self.labels[self.indptr[flat] : self.indptr[flat + 1]]

    def verdicts(self, ids: Sequence[int] | NDArray[np.integer[Any]]) -> NDArray[np.int8]:
        """Whether the voxels of each block have one of some labels, as far as the labels say.

        Parameters
        ----------
        ids
            Labels, whether they occur or not.

        Returns
        -------
        ndarray
            For each block `OUT` (no voxel has one), `IN` (all have one) or `MIXED` (it must be
            read).
        """
        # int64, in which no label wraps: uint32 would turn -1 into a label.
        is_hit = np.isin(self.labels, np.asarray(ids, np.int64))
        hits = np.add.reduceat(is_hit, self.indptr[:-1], dtype=np.int64)
        verdicts = np.where(hits == np.diff(self.indptr), IN, MIXED)
        return np.where(hits == 0, OUT, verdicts).astype(np.int8).reshape(self.shape)

    def crop(self, key: tuple[slice | int, ...]) -> "BlockLabels":
        """Labels of the blocks of a part of the array.

        Parameters
        ----------
        key
            For each axis a slice of step 1, or an index, which drops the axis.

        Returns
        -------
        BlockLabels
            Its blocks are those of ``array[key]`` where ``array`` is a dask array.

        Raises
        ------
        GridError
            If a slice has steps.

        Examples
        --------
        >>> labels = BlockLabels(((2,), (4, 4)), np.array([0, 2, 3]), np.array([7, 9, 9]))
        >>> labels.crop((1, slice(3, 6))).chunks
        ((1, 2),)
        """
        parts = [_crop_axis(sizes, part) for sizes, part in zip(self.chunks, key, strict=True)]
        chunks = tuple(sizes for _, sizes in parts if sizes is not None)
        # Not out of an array of all blocks, of which there may be many.
        block_ids = flat_ids([blocks for blocks, _ in parts], self.shape)
        if self.boxes is None:
            return self.take(chunks, block_ids)
        ranges = [_range(part, sum(sizes)) for part, sizes in zip(key, self.chunks, strict=True)]
        start, stop = np.array([(part.start, part.stop) for part in ranges]).T[..., np.newaxis]
        size = np.maximum(stop - start, 0)
        indptr, rows = _rows(self.indptr, block_ids)
        boxes = self.boxes[..., rows]
        indptr, kept = _keep(indptr, ((boxes[0] < stop) & (boxes[1] > start)).all(axis=0))
        axes = [axis for axis, part in enumerate(key) if isinstance(part, slice)]
        boxes = (boxes[:, axes][..., kept] - start[axes]).clip(0, size[axes])
        return BlockLabels(chunks, indptr, self.labels[rows[kept]], boxes=boxes)

    def reorient(self, reorientation: Reorientation) -> "BlockLabels":
        """Labels of the blocks of the reoriented array."""
        chunks = reorientation.chunks(self.chunks)
        indptr, rows = _rows(self.indptr, reorientation.apply(self._block_ids))
        counts = None if self.counts is None else self.counts[rows]
        return BlockLabels(
            chunks, indptr, self.labels[rows], counts, self._turned(reorientation, rows)
        )

    def _turned(
        self, reorientation: Reorientation, rows: NDArray[np.intp]
    ) -> NDArray[np.int64] | None:
        """Boxes of some rows in the reoriented array."""
        if self.boxes is None:
            return None
        axes = list(reorientation.axes)
        start, stop = self.boxes[:, axes][..., rows]
        flipped = np.array(reorientation.flipped)[:, np.newaxis]
        ends = np.array([[sum(self.chunks[axis])] for axis in axes])
        # Along a flipped axis of n voxels, index i becomes n - 1 - i.
        boxes = np.where(flipped, ends - stop, start), np.where(flipped, ends - start, stop)
        return np.stack(boxes)

    def take(self, chunks: Chunks, block_ids: NDArray[np.intp]) -> "BlockLabels":
        """Labels of some blocks, which need not be next to each other, without counts and boxes.

        Parameters
        ----------
        chunks
            Sizes of the new blocks along each axis.
        block_ids
            Flat index of the old block of each new one, in C order; one may serve several times.

        Examples
        --------
        >>> labels = BlockLabels(((2,), (4, 4)), np.array([0, 2, 3]), np.array([7, 9, 9]))
        >>> labels.take(((2,), (4, 4)), np.array([1, 1])).labels
        array([9, 9], dtype=uint32)
        """
        indptr, rows = _rows(self.indptr, block_ids)
        return BlockLabels(chunks, indptr, self.labels[rows])

    def keep_slab(self, axis: int, kept: slice) -> "BlockLabels":
        """Labels of the array that is 0 outside of a slab, its blocks cut at the slab's ends.

        Parameters
        ----------
        axis
            Axis across the slab.
        kept
            Range of indices along that axis that keep their labels; it may be empty.

        Examples
        --------
        >>> labels = BlockLabels(((2,), (4, 4)), np.array([0, 2, 3]), np.array([7, 9, 9]))
        >>> half = labels.keep_slab(1, slice(0, 2))
        >>> half.chunks, half.labels.tolist()
        (((2,), (2, 2, 4)), [7, 9, 0, 0])
        """
        length = sum(self.chunks[axis])
        start, stop, _ = kept.indices(length)
        edges = bounds_of(self.chunks[axis])
        cut = np.unique(np.concatenate((edges, (start, stop))))
        chunks = (*self.chunks[:axis], tuple(np.diff(cut).tolist()), *self.chunks[axis + 1 :])
        old = np.searchsorted(edges, cut[:-1], side="right") - 1
        block_ids = np.take(self._block_ids, old, axis)
        is_kept = np.broadcast_to(
            _along((cut[:-1] >= start) & (cut[:-1] < stop), axis, block_ids.ndim), block_ids.shape
        )
        # One block more, of 0 alone, from which all that is not kept is taken.
        extended = BlockLabels(
            ((1,) * (len(self.indptr)),),
            np.append(self.indptr, self.labels.size + 1),
            np.append(self.labels, np.uint32(BACKGROUND)),
        )
        outside = len(self.indptr) - 1
        return extended.take(chunks, np.where(is_kept, block_ids, outside))

    def coarsen(self, chunks: Sequence[Sequence[int]]) -> "BlockLabels":
        """Labels of larger blocks, or of other ones: all that may occur in blocks that they meet.

        Parameters
        ----------
        chunks
            Sizes of the new blocks along each axis.

        Examples
        --------
        >>> labels = BlockLabels(((2,), (4, 4)), np.array([0, 2, 3]), np.array([7, 9, 9]))
        >>> labels.coarsen(((2,), (8,))).labels
        array([7, 9], dtype=uint32)
        """
        coarse = as_chunks(chunks)
        if coarse == self.chunks:
            return self
        axes = [_blocks_met(*sizes) for sizes in zip(self.chunks, coarse, strict=True)]
        old = flat_ids([old for _, old in axes], self.shape)
        new = flat_ids([new for new, _ in axes], tuple(map(len, coarse)))
        starts, lengths = self.indptr[old], np.diff(self.indptr)[old]
        labels = self.labels[_ranges(starts, lengths)]
        # One number for a block and a label, so that all blocks are sorted in one go.
        keys = (np.repeat(new, lengths) << _LABEL_BITS) + labels
        # np.unique takes four times as long where hardly any occurs twice.
        keys.sort()
        keys = keys[np.flatnonzero(np.diff(keys, prepend=-1))]
        blocks = math.prod(map(len, coarse))
        indptr = np.searchsorted(keys, np.arange(blocks + 1) << _LABEL_BITS)
        return BlockLabels(coarse, indptr, (keys & MAX_LABEL).astype(np.uint32))

    def with_label(self, label: int) -> "BlockLabels":
        """Add a label that may be in any block.

        Examples
        --------
        >>> labels = BlockLabels(((2,), (4, 4)), np.array([0, 2, 3]), np.array([7, 9, 9]))
        >>> labels.with_label(9).labels.tolist(), labels.with_label(0).labels.tolist()
        ([7, 9, 9], [0, 7, 9, 0, 9])
        """
        starts = self.indptr[:-1]
        lacks = ~np.logical_or.reduceat(self.labels == label, starts)
        below = np.add.reduceat(self.labels < label, starts, dtype=np.int64)
        labels = np.insert(self.labels, (starts + below)[lacks], label)
        indptr = self.indptr + bounds_of(lacks)
        return BlockLabels(self.chunks, indptr, labels)


def _along(values: NDArray[Any], axis: int, ndim: int) -> NDArray[Any]:
    """Values along one of several axes."""
    return values.reshape(tuple(-1 if a == axis else 1 for a in range(ndim)))


def _rows(
    indptr: NDArray[np.int64], block_ids: NDArray[np.intp]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the labels of some blocks begin, and the end; and which of all labels they are."""
    block_ids = block_ids.ravel()
    lengths = np.diff(indptr)[block_ids]
    return bounds_of(lengths), _ranges(indptr[block_ids], lengths)


def _keep(
    indptr: NDArray[np.int64], kept: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Where the labels of blocks begin of which only some are kept; and which are.

    A block of which none would be, as one outside of a part, keeps all of its labels.
    """
    lengths, left = np.diff(indptr), np.add.reduceat(kept, indptr[:-1], dtype=np.int64)
    is_empty = left == 0
    return bounds_of(np.where(is_empty, lengths, left)), kept | np.repeat(is_empty, lengths)


def _range(part: slice | int, length: int) -> range:
    """Indices along an axis that a slice or an index selects."""
    if isinstance(part, slice):
        return range(*part.indices(length))
    index = range(length)[part]
    return range(index, index + 1)


def _ranges(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions of several stretches, one after the other."""
    ends = np.cumsum(lengths)
    shift = np.repeat(starts - (ends - lengths), lengths)
    return shift + np.arange(shift.size)


def flat_ids(indices: Sequence[NDArray[np.intp]], shape: tuple[int, ...]) -> NDArray[np.intp]:
    """Flat ids of the blocks at all combinations of indices along the axes, in C order."""
    flat = np.zeros(1, np.intp)
    for along, count in zip(indices, shape, strict=True):
        flat = (flat[:, np.newaxis] * count + along).ravel()
    return flat


def _blocks_met(
    sizes: tuple[int, ...], others: tuple[int, ...]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pairs of other blocks along an axis and the blocks that each of them meets."""
    bounds, edges = bounds_of(sizes), bounds_of(others)
    start, stop = edges[:-1], edges[1:]
    # As in `_crop_axis`: an empty block meets the first.
    is_empty = start == stop
    first = np.where(is_empty, 0, np.searchsorted(bounds, start, side="right") - 1)
    last = np.where(is_empty, 1, np.searchsorted(bounds, stop, side="left"))
    counts = last - first
    return np.repeat(np.arange(counts.size), counts), _ranges(first, counts)


def _crop_axis(
    sizes: tuple[int, ...], part: slice | int
) -> tuple[NDArray[np.intp], tuple[int, ...] | None]:
    """Blocks along an axis that a slice or an index selects from, and their sizes after the cut.

    An empty slice has one block of no voxels, as in dask.
    """
    bounds = bounds_of(sizes)
    if not isinstance(part, slice):
        index = range(bounds[-1])[part]
        return np.searchsorted(bounds, [index], side="right") - 1, None
    start, stop, step = part.indices(bounds[-1])
    if step != 1:
        raise GridError(f"{part} has steps of {step}; give a slice without")
    if stop <= start:
        return np.arange(1), (0,)
    first = int(np.searchsorted(bounds, start, side="right")) - 1
    last = int(np.searchsorted(bounds, stop, side="left"))
    inner = np.clip(bounds[first : last + 1], start, stop)
    return np.arange(first, last), tuple(np.diff(inner).tolist())


def whole_blocks(sizes: tuple[int, ...], part: slice | int) -> tuple[int, int]:
    """Where the blocks begin along an axis that a slice or an index selects from, and end.

    Examples
    --------
    >>> whole_blocks((4, 4, 4), slice(5, 6)), whole_blocks((4, 4, 4), -1)
    ((4, 8), (8, 12))
    """
    bounds, (blocks, _) = bounds_of(sizes), _crop_axis(sizes, part)
    return int(bounds[blocks[0]]), int(bounds[blocks[-1] + 1])
