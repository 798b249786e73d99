"""Voxels in the pages of a TIFF file, read lazily or slab by slab; of each what is asked for."""

import itertools
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import dask.array
import numpy as np
from dask.tokenize import tokenize
from numpy.typing import NDArray

from refspace.blockwise.content_identity import Identity
from refspace.formats.source_file import SourceFile, is_url, naming
from refspace.formats.tiff.segments import PageLayout
from refspace.formats.voxel_files import SLAB_BYTES, VoxelFile, is_never, slab_cuts

_lock = threading.Lock()
# Copies of files of other machines, of which the latest are kept while they are in use.
_copies: dict[SourceFile, BinaryIO] = {}
_MOST_COPIES = 2


@contextmanager
def opened_whole(source: SourceFile) -> Iterator[BinaryIO]:
    """Open a file; one of another machine is copied once, and the copy kept for the next time.

    Raises
    ------
    FormatError
        If it has changed since it was opened first.
    OSError
        If it cannot be read.
    """
    if not is_url(source.path):
        with source.open() as opened:
            yield opened
        return
    with _lock:
        if source not in _copies:
            copy = source.open()
            while len(_copies) >= _MOST_COPIES:
                # Closed, and so removed, when nobody reads from it any more.
                _copies.pop(next(iter(_copies)))
            _copies[source] = copy
        copy = _copies[source]
    with open(copy.name, "rb") as opened:  # noqa: PTH123  # of its own place, for each thread
        yield opened


@dataclass(frozen=True)
class TiffVoxels(VoxelFile):
    """Voxels in pages of one layout.

    The axes are x, y, and then those that lead from plane to plane, the fastest first.

    Parameters
    ----------
    layout
        How pages are stored.
    offsets, counts
        Position and size of each segment: planes × segments of a plane.
    """

    layout: PageLayout
    offsets: NDArray[np.int64] = field(compare=False, repr=False)
    counts: NDArray[np.int64] = field(compare=False, repr=False)

    def lazy(self, kind: str) -> dask.array.Array:
        """Lazy array of the voxels: in blocks of some planes, or in parts of large planes."""
        return dask.array.from_array(
            _Voxels(self),
            chunks=self.block_shape(),
            name=f"{kind}-{tokenize(self.identity, self.shape)}",
            asarray=False,
            meta=np.empty((0,) * len(self.shape), self.native),
        )

    def block_shape(self) -> tuple[int, ...]:
        """Shape of blocks; those of planes that are larger than a block are of whole segments."""
        layout = self.layout
        if layout.nbytes <= 2 * SLAB_BYTES:
            return self.slab_shape()
        columns, rows = layout.width, SLAB_BYTES // (layout.width * self.dtype.itemsize)
        if layout.is_tiled:
            rows = math.isqrt(SLAB_BYTES // self.dtype.itemsize)
            columns = _multiple(rows, layout.segment_width, layout.width)
        rows = _multiple(rows, layout.segment_length, layout.length)
        return (columns, rows, *(1 for _ in self.shape[2:]))

    def slabs(
        self,
        thickness: int,
        is_done: Callable[[slice], bool] = is_never,
        *,
        from_end: bool = False,
    ) -> Iterator[tuple[slice, NDArray[Any]]]:
        """Voxels from the first layer to the last; layers that are done are not read."""
        layers = self.shape[2]
        buffer = np.empty((*self.shape[:2], min(thickness, layers)), self.native, "F")
        for cut in slab_cuts(layers, thickness, from_end=from_end):
            if is_done(cut):
                continue
            slab = buffer[..., : cut.stop - cut.start]
            self.read_into(slab, (slice(0, self.shape[0]), slice(0, self.shape[1]), cut))
            yield cut, slab

    def read(self, box: Sequence[slice]) -> NDArray[Any]:
        """Voxels of a box, in Fortran order.

        Parameters
        ----------
        box
            Slice along each axis, within it and of step 1.

        Raises
        ------
        FormatError
            If they are damaged, or the file has changed since it was opened.
        """
        voxels = np.empty([cut.stop - cut.start for cut in box], self.native, "F")
        self.read_into(voxels, box)
        return voxels

    def read_into(self, voxels: NDArray[Any], box: Sequence[slice]) -> None:
        """Read voxels of a box into an array; see `read`."""
        columns, rows, *leading = box
        with naming(self.path), opened_whole(self.files[0]) as file:
            for place in itertools.product(*(range(cut.start, cut.stop) for cut in leading)):
                within = tuple(n - cut.start for n, cut in zip(place, leading, strict=True))
                plane = int(np.ravel_multi_index(place, self.shape[2:], order="F"))
                self._read_plane(
                    file, voxels[(slice(None), slice(None), *within)].T, plane, rows, columns
                )

    def _read_plane(
        self, file: BinaryIO, target: NDArray[Any], plane: int, rows: slice, columns: slice
    ) -> None:
        """Read a part of a plane into an array of rows and columns."""
        layout = self.layout
        for row in _touched(rows, layout.segment_length):
            for column in _touched(columns, layout.segment_width):
                inner, outer = zip(
                    _overlap(rows, row * layout.segment_length, layout.segment_length),
                    _overlap(columns, column * layout.segment_width, layout.segment_width),
                    strict=True,
                )
                segment = self._segment(file, plane, row, column)
                target[outer] = 0 if segment is None else segment[inner]

    def _segment(self, file: BinaryIO, plane: int, row: int, column: int) -> NDArray[Any] | None:
        """Voxels of a segment; None of one that is left out."""
        index = plane, row * self.layout.columns + column
        count = int(self.counts[index])
        if count == 0:
            return None
        file.seek(int(self.offsets[index]))
        return self.layout.decode(file.read(count), row)


class _Voxels:
    """Array whose voxels are read when they are asked for; it is pickled without them."""

    def __init__(self, file: TiffVoxels) -> None:
        self.file = file
        self.shape = file.shape
        self.ndim = len(file.shape)
        self.dtype = file.native

    def content_identity(self) -> Identity:
        """What tells the voxels from any others."""
        return self.file.content_identity()

    def __getitem__(self, key: Any) -> NDArray[Any]:
        keys = key if isinstance(key, tuple) else (key,)
        keys = (*keys, *(slice(None) for _ in self.shape[len(keys) :]))
        cuts = [_cut(k, length) for k, length in zip(keys, self.shape, strict=True)]
        part: NDArray[Any] = self.file.read([box for box, _ in cuts])[tuple(k for _, k in cuts)]
        return part


def _cut(key: Any, length: int) -> tuple[slice, Any]:
    """Slice of step 1 that holds what a key asks for, and what it asks for within it."""
    if isinstance(key, int | np.integer):
        index = int(key) % length
        return slice(index, index + 1), 0
    if isinstance(key, slice) and key.step in (None, 1):
        start, stop, _ = key.indices(length)
        return slice(start, max(start, stop)), slice(None)
    return slice(0, length), key


def _multiple(wanted: int, step: int, most: int) -> int:
    """Multiple of a step, near a length."""
    return min(max(1, wanted // step) * step, most)


def _touched(cut: slice, step: int) -> range:
    """Segments that a slice of an axis touches."""
    return range(cut.start // step, -(-cut.stop // step)) if cut.stop > cut.start else range(0)


def _overlap(cut: slice, start: int, length: int) -> tuple[slice, slice]:
    """Part of a segment that a slice asks for, and where that is in the slice."""
    low, high = max(cut.start, start), min(cut.stop, start + length)
    return slice(low - start, high - start), slice(low - cut.start, high - cut.start)
