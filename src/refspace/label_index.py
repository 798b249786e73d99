"""Which labels each chunk of an annotation holds, how many voxels of each, and where.

A `LabelIndex` is measured one chunk at a time, while a volume is written, and then answers without
reading a voxel: how many voxels structures have, between which corners they lie, and which blocks
can hold them.
"""

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refspace import runs
from refspace.errors import AnnotationError, GridError

FIELDS = (
    "chunk", "label", "count", "start_0", "start_1", "start_2",
    "stop_0", "stop_1", "stop_2", "sum_0", "sum_1", "sum_2",
)  # fmt: skip
_MAX_LABEL = 2**32 - 1
# Verdicts on a block: none of its voxels is asked for, all are, or only reading it can tell.
OUT, IN, MIXED = range(3)
_CHUNK, _LABEL, _COUNT = range(3)
_START, _STOP, _SUM = slice(3, 6), slice(6, 9), slice(9, 12)

Chunks = tuple[tuple[int, ...], ...]
Corner = tuple[int, int, int]


def chunk_rows(block: runs.Labels, number: int, offset: Sequence[int]) -> NDArray[np.int64]:
    """Rows of one chunk in the table of a `LabelIndex`.

    Parameters
    ----------
    block
        Voxels of the chunk, three-dimensional.
    number
        Flat number of the chunk, in C order.
    offset
        Index of its first voxel in the whole array, along each axis.

    Returns
    -------
    ndarray
        A column per label, sorted; the rows are `FIELDS`.

    Examples
    --------
    >>> chunk_rows(np.array([[[7, 7, 9]]], "u4"), 4, (0, 0, 100)).T
    array([[  4,   7,   2,   0,   0, 100,   1,   1, 102,   0,   0, 201],
           [  4,   9,   1,   0,   0, 102,   1,   1, 103,   0,   0, 102]])
    """
    labels, counts, start, stop, sums = runs.measure(block)
    shift = np.asarray(offset, np.int64)
    rows = np.empty((len(FIELDS), labels.size), np.int64)
    rows[_CHUNK], rows[_LABEL], rows[_COUNT] = number, labels, counts
    rows[_START], rows[_STOP] = (start + shift).T, (stop + shift).T
    rows[_SUM] = (sums + counts[:, np.newaxis] * shift).T
    return rows


@dataclass(frozen=True, eq=False)
class _Value:
    """Base of values with arrays: equal, hashed and pickled by their fields, not their caches."""

    @cached_property
    def _identity(self) -> tuple[Any, ...]:
        return tuple(
            hashlib.sha256(value.tobytes()).hexdigest() if isinstance(value, np.ndarray) else value
            for value in self._fields()
        )

    def _fields(self) -> tuple[Any, ...]:
        return tuple(getattr(self, field.name) for field in fields(self))

    def __reduce__(self) -> tuple[Any, ...]:
        # Unpickled arrays can be written to: a value made anew freezes them again.
        return type(self), self._fields()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Value) and self.__dask_tokenize__() == other.__dask_tokenize__()

    def __hash__(self) -> int:
        return hash(self.__dask_tokenize__())

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return type(self).__name__, *self._identity


@dataclass(frozen=True, eq=False, repr=False)
class LabelIndex(_Value):
    """Voxel counts, bounding boxes and coordinate sums of the labels of each chunk.

    Parameters
    ----------
    shape
        Voxels of the array along each of its three axes.
    chunks
        Sizes of the chunks along each axis.
    table
        Integers of shape (12, rows), a column per label and chunk, sorted by chunk, then label.
        The rows are `FIELDS`: flat number of the chunk in C order, label, number of voxels,
        half-open bounding box in indices of the whole array, and sums of these indices.

    Raises
    ------
    GridError
        If the chunks do not make up the shape.
    AnnotationError
        If no array has such a table.

    Examples
    --------
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
        object.__setattr__(self, "chunks", _sizes(self.chunks))
        _check_chunks(self.shape, self.chunks)
        table = np.asarray(self.table)
        if table.ndim != 2 or len(table) != len(FIELDS) or table.dtype.kind not in "iu":
            raise AnnotationError(
                f"a label index is a table of integers of shape ({len(FIELDS)}, rows), not "
                f"{table.dtype} of shape {table.shape}"
            )
        object.__setattr__(self, "table", _frozen(table, np.int64))
        _check_table(self.table, self.chunks)

    @classmethod
    def from_rows(
        cls,
        shape: Sequence[int],
        chunks: Sequence[Sequence[int]],
        parts: Iterable[NDArray[np.int64]],
    ) -> "LabelIndex":
        """Index from the rows of its chunks, in any order, as `chunk_rows` gives them."""
        table = np.concatenate([np.empty((len(FIELDS), 0), np.int64), *parts], axis=1)
        order = np.lexsort((table[_LABEL], table[_CHUNK]))
        return cls(tuple(shape), _sizes(chunks), table[:, order])

    def __repr__(self) -> str:
        return (
            f"<LabelIndex of {self.shape} voxels in {math.prod(map(len, self.chunks))} chunks: "
            f"{len(self._columns)} labels in {self.table.shape[1]} rows>"
        )

    @cached_property
    def _totals(self) -> NDArray[np.int64]:
        """The table of the array as one chunk: a column per label."""
        return self.coarsen([[count] for count in self.shape]).table

    @cached_property
    def _columns(self) -> dict[int, int]:
        """Where each label is in `_totals`."""
        return {label: column for column, label in enumerate(self._totals[_LABEL].tolist())}

    def _of(self, labels: Iterable[int]) -> NDArray[np.int64]:
        """Columns of `_totals` of those labels that occur, each once."""
        columns = sorted({self._columns[label] for label in labels if label in self._columns})
        return self._totals[:, columns]

    def counts(self) -> dict[int, int]:
        """Number of voxels of each label, background included; the labels ascend."""
        return dict(zip(self._columns, self._totals[_COUNT].tolist(), strict=True))

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
        found = self._of(labels)
        if not found.size:
            return None
        return _corner(found[_START].min(axis=1)), _corner(found[_STOP].max(axis=1))

    def coordinate_sums(self, labels: Iterable[int]) -> tuple[int, Corner]:
        """Number of voxels that have one of some labels, and the sums of their indices, exact.

        Divided, they are the centroid: the mean index, which is the centre of its voxel.
        """
        found = self._of(labels)
        return int(found[_COUNT].sum()), _corner(found[_SUM].sum(axis=1))

    @cached_property
    def block_labels(self) -> "BlockLabels":
        """Labels of each chunk; crop them as the array is cropped."""
        numbers = np.arange(math.prod(map(len, self.chunks)) + 1)
        indptr = np.searchsorted(self.table[_CHUNK], numbers)
        return BlockLabels(self.chunks, indptr, self.table[_LABEL].astype(np.uint32))

    def coarsen(self, chunks: Sequence[Sequence[int]]) -> "LabelIndex":
        """Index over larger chunks, each of them a union of whole ones.

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
        >>> rows = [chunk_rows(np.full((1, 1, 2), 7, "u4"), n, (0, 0, 2 * n)) for n in range(3)]
        >>> index = LabelIndex.from_rows((1, 1, 6), ((1,), (1,), (2, 2, 2)), rows)
        >>> index.coarsen(((1,), (1,), (4, 2))).table[:3]
        array([[0, 1],
               [7, 7],
               [4, 2]])
        """
        coarse = _sizes(chunks)
        _check_chunks(self.shape, coarse)
        numbers = []
        for axis, (fine, larger) in enumerate(zip(self.chunks, coarse, strict=True)):
            cuts, new_cuts = _bounds(fine), _bounds(larger)
            if not np.isin(new_cuts, cuts).all():
                raise GridError(
                    f"chunks of {larger} voxels cut chunks of {fine} voxels along axis {axis}; "
                    "give unions of whole chunks"
                )
            numbers.append(np.searchsorted(new_cuts, cuts[:-1], side="right") - 1)
        larger_of = np.ravel_multi_index(np.ix_(*numbers), [len(larger) for larger in coarse])
        table = self.table.copy()
        table[_CHUNK] = larger_of.ravel()[table[_CHUNK]]
        return LabelIndex(self.shape, coarse, _merged(table))


@dataclass(frozen=True, eq=False, repr=False)
class BlockLabels(_Value):
    """Labels that may occur in each block of an array: all that do, and perhaps more.

    Parameters
    ----------
    chunks
        Sizes of the blocks along each axis; any number of axes.
    indptr
        Where the labels of each block begin in `labels`, in C order of the blocks, and the end.
    labels
        Labels of all blocks, one block after the other, sorted within each; at least one each.

    Examples
    --------
    >>> labels = BlockLabels(((2,), (4, 4)), np.array([0, 2, 3]), np.array([7, 9, 9]))
    >>> labels.shape, labels.of((0, 0))
    ((1, 2), array([7, 9], dtype=uint32))
    >>> labels.verdicts([9])
    array([[2, 1]], dtype=int8)
    """

    chunks: Chunks
    indptr: NDArray[np.int64]
    labels: NDArray[np.uint32]

    def __post_init__(self) -> None:
        object.__setattr__(self, "chunks", _sizes(self.chunks))
        object.__setattr__(self, "indptr", _frozen(self.indptr, np.int64))
        object.__setattr__(self, "labels", _frozen(self.labels, np.uint32))
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
    def _numbers(self) -> NDArray[np.intp]:
        """Flat number of each block."""
        return np.arange(math.prod(self.shape)).reshape(self.shape)

    def of(self, block: tuple[int, ...]) -> NDArray[np.uint32]:
        """Labels that may occur in a block, sorted."""
        number = int(self._numbers[block])
        return self.labels[self.indptr[number] : self.indptr[number + 1]]

    def verdicts(self, ids: Sequence[int] | NDArray[np.integer[Any]]) -> NDArray[np.int8]:
        """Whether the voxels of each block have one of some ids, as far as can be told unread.

        Parameters
        ----------
        ids
            Labels, whether they occur or not.

        Returns
        -------
        ndarray
            For each block `OUT` (no voxel does), `IN` (all do) or `MIXED` (it must be read).
        """
        asked = np.isin(self.labels, np.asarray(ids, np.int64))
        hits = np.add.reduceat(asked, self.indptr[:-1], dtype=np.int64)
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
        numbers = self._numbers[tuple(blocks for blocks, _ in parts)].ravel()
        lengths = np.diff(self.indptr)[numbers]
        indptr = np.concatenate(([0], np.cumsum(lengths)))
        # Distance of each label from where it was, spread over the labels of its block.
        moved = np.repeat(self.indptr[numbers] - indptr[:-1], lengths)
        chunks = tuple(sizes for _, sizes in parts if sizes is not None)
        return BlockLabels(chunks, indptr, self.labels[moved + np.arange(moved.size)])


def _crop_axis(
    sizes: tuple[int, ...], part: slice | int
) -> tuple[slice | int, tuple[int, ...] | None]:
    """Blocks that a slice or an index meets along an axis, and their sizes, as dask cuts them."""
    bounds = _bounds(sizes)
    if not isinstance(part, slice):
        index = range(bounds[-1])[part]
        return int(np.searchsorted(bounds, index, side="right")) - 1, None
    start, stop, step = part.indices(bounds[-1])
    if step != 1:
        raise GridError(f"{part} has steps of {step}; give a slice without")
    if stop <= start:
        return slice(0, 1), (0,)
    first = int(np.searchsorted(bounds, start, side="right")) - 1
    last = int(np.searchsorted(bounds, stop, side="left"))
    inner = np.clip(bounds[first : last + 1], start, stop)
    return slice(first, last), tuple(np.diff(inner).tolist())


def _merged(table: NDArray[np.int64]) -> NDArray[np.int64]:
    """Table in which rows of the same chunk and label are one, sorted."""
    table = table[:, np.lexsort((table[_LABEL], table[_CHUNK]))]
    first = np.flatnonzero(np.diff(table[: _LABEL + 1], prepend=-1).any(axis=0))
    merged = table[:, first]
    merged[_COUNT] = np.add.reduceat(table[_COUNT], first)
    merged[_START] = np.minimum.reduceat(table[_START], first, axis=1)
    merged[_STOP] = np.maximum.reduceat(table[_STOP], first, axis=1)
    merged[_SUM] = np.add.reduceat(table[_SUM], first, axis=1)
    return merged


def _sizes(chunks: Sequence[Sequence[int]]) -> Chunks:
    return tuple(tuple(map(int, sizes)) for sizes in chunks)


def _bounds(sizes: Sequence[int]) -> NDArray[np.int64]:
    """Voxels at which the chunks along an axis begin, and the end."""
    return np.concatenate(([0], np.cumsum(sizes, dtype=np.int64)))


def _corner(values: NDArray[np.int64]) -> Corner:
    a, b, c = values.tolist()
    return a, b, c


def _frozen(values: NDArray[Any], dtype: type[np.generic]) -> NDArray[Any]:
    """Copy that cannot be written to."""
    copy = np.array(values, dtype, order="C")
    copy.flags.writeable = False
    return copy


# ----- what a table must be to be believed


def _check_chunks(shape: tuple[int, ...], chunks: Chunks) -> None:
    """Refuse chunks that do not make up an array, and arrays whose sums an int64 cannot hold."""
    smallest = [min(sizes, default=0) for sizes in chunks]
    if len(shape) != 3 or tuple(map(sum, chunks)) != shape or min(smallest) < 1:
        raise GridError(
            f"chunks of {chunks} do not make up an array of {shape}; give three axes, "
            "chunks of at least one voxel, and all voxels"
        )
    if math.prod(shape) * max(shape) >= 2**62:
        raise GridError(f"an array of {shape} is too large: sums of its indices may pass 2**63")


def _check_table(table: NDArray[np.int64], chunks: Chunks) -> None:
    """Refuse a table that no array has."""
    number, label, count = table[: _COUNT + 1]
    chunk_count = math.prod(map(len, chunks))
    _refuse(table, (number < 0) | (number >= chunk_count), f"there are {chunk_count} chunks")
    _refuse(table, (label < 0) | (label > _MAX_LABEL), "labels are 0 to 2**32 - 1")
    unsorted = np.diff((number << 32) + label) <= 0
    _refuse(table[:, 1:], unsorted, "rows are sorted by chunk, then label, and none comes twice")
    low, high = _corners(chunks)
    start, stop = table[_START], table[_STOP]
    outside = (start < low[:, number]) | (start >= stop) | (stop > high[:, number])
    _refuse(table, np.logical_or.reduce(outside), "its box is empty or leaves the chunk")
    sides = stop - start
    volume = sides.prod(axis=0)
    _refuse(table, (count < 1) | (count > volume), "it has no voxel, or more than its box")
    _refuse(table, _impossible(table, volume // sides), "no voxels in its box have such sums")
    _check_chunk_totals(table, low, high)


def _refuse(table: NDArray[np.int64], bad: NDArray[np.bool_], rule: str) -> None:
    if bad.any():
        number, label = table[: _LABEL + 1, int(bad.argmax())].tolist()
        raise AnnotationError(
            f"the label index cannot be true for label {label} of chunk {number}: {rule}; "
            "make it again from the voxels"
        )


def _corners(chunks: Chunks) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First voxel and end of each chunk, in C order; shape (3, chunks)."""
    bounds = [_bounds(sizes) for sizes in chunks]
    low = np.meshgrid(*(b[:-1] for b in bounds), indexing="ij")
    high = np.meshgrid(*(b[1:] for b in bounds), indexing="ij")
    return np.stack(low).reshape(3, -1), np.stack(high).reshape(3, -1)


def _impossible(table: NDArray[np.int64], plane: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether no voxels that touch every face of the box have such sums.

    The least sum has one voxel on the far face, and all others in planes filled from the near one;
    `plane` is the number of voxels in a plane of the box across each axis.
    """
    others = table[_COUNT] - 1
    near, far = table[_START], table[_STOP] - 1
    full, rest = np.divmod(others, plane)
    filled = plane * (full * (full - 1) // 2) + rest * full
    least = far + others * near + filled
    most = near + others * far - filled
    impossible: NDArray[np.bool_] = ((table[_SUM] < least) | (table[_SUM] > most)).any(axis=0)
    return impossible


def _check_chunk_totals(
    table: NDArray[np.int64], low: NDArray[np.int64], high: NDArray[np.int64]
) -> None:
    """Refuse rows of a chunk that do not add up to its voxels."""
    sizes = (high - low).prod(axis=0)
    truth = np.vstack((sizes, sizes * (low + high - 1) // 2)).T
    totals = np.zeros_like(truth)
    np.add.at(totals, table[_CHUNK], np.vstack((table[_COUNT], table[_SUM])).T)
    wrong = (totals != truth).any(axis=1)
    if wrong.any():
        number = int(wrong.argmax())
        raise AnnotationError(
            f"the label index has {totals[number, 0]} voxels in chunk {number}, which has "
            f"{sizes[number]}, or sums of other voxels; make it again from the voxels"
        )
