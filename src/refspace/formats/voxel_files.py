"""Voxels in a file behind a header, raw or gzip, in Fortran order: read lazily or slab by slab.

NRRD and NIfTI have this in common once a header is read. The voxels may be larger than memory, and
the file damaged, hostile, or another one since its header was read.
"""

import functools
import gzip
import io
import itertools
import math
import os
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
from dask.tokenize import tokenize
from numpy.typing import NDArray

from refspace.blockwise.identity import Identity
from refspace.errors import FormatError, GridError
from refspace.grid import Grid
from refspace.labels import Midline
from refspace.remote.stamps import settled_status

# Size of a block. Blocks are whole layers of the slowest axis: contiguous in the file, and views of
# the array that was read.
_SLAB_BYTES = 16 * 2**20
# Pieces of 128 KiB stay in the cache: 309 MB inflate in 0.56 s. Larger ones are not faster.
_PIECE_BYTES = 2**17
# Deflate stores at most 258 bytes in two bits (RFC 1951), so no stream grows more than 1032 times.
MAX_DEFLATE_RATIO = 1032

_Decoded = io.BufferedReader | gzip.GzipFile


@dataclass(frozen=True)
class VoxelFile:
    """Position, shape, dtype and encoding of the voxels in a file.

    Parameters
    ----------
    path
        Absolute path of the file.
    file_bytes, mtime_ns, ctime_ns
        Its size, and the times of the last change of its content and of its metadata: the latter is
        not for programs to set.
    shape
        Number of voxels along each axis, the fastest in the file first: three, but for images that
        have other axes than those of space.
    dtype
        Dtype of the voxels as stored, with its byte order.
    encoding
        ``"raw"`` or ``"gzip"``.
    data_offset
        Position in the file at which the voxels begin, or the gzip stream that holds them.
    skipped
        Bytes before the voxels in a gzip stream.
    """

    path: str
    file_bytes: int
    mtime_ns: int
    ctime_ns: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    encoding: str
    data_offset: int
    skipped: int = 0

    @property
    def nbytes(self) -> int:
        """Size of the decoded voxels."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def native(self) -> np.dtype[Any]:
        """Dtype of the voxels once they are read."""
        return self.dtype.newbyteorder("=")

    @property
    def identity(self) -> dict[str, Any]:
        """Path, size and times of last change: different for any other file, and after a change."""
        times = {"mtime_ns": self.mtime_ns, "ctime_ns": self.ctime_ns}
        return {"path": self.path, "bytes": self.file_bytes, **times}

    def content_identity(self) -> Identity:
        """What tells the file from any other, once it is made sure that it is as it was opened.

        Raises
        ------
        FormatError
            If it has changed since.
        OSError
            If it is gone.
        """
        status = settled_status(self.path)
        with naming(self.path):
            _refuse_changed(status, self)
        return Identity(self.identity)


@contextmanager
def naming(path: str) -> Iterator[None]:
    """Put the path before the message of an error about a file."""
    try:
        yield
    except (FormatError, GridError) as error:
        error.args = (f"{path}: {error}",)
        raise


# ----- the whole file, at first use


def lazy_voxels(file: VoxelFile, kind: str) -> dask.array.Array:
    """Lazy array of the voxels of a file, in slabs along the last axes.

    Parameters
    ----------
    file
        The file.
    kind
        Name of its format.
    """
    voxels = _Voxels(file)
    return dask.array.from_array(
        voxels,
        chunks=_slab_shape(file),
        name=f"{kind}-{tokenize(file.identity)}",
        asarray=False,
        meta=np.empty((0,) * voxels.ndim, voxels.dtype),
    )


def _slab_shape(file: VoxelFile) -> tuple[int, ...]:
    """Shape of the blocks of a file: whole layers, as many as fit."""
    room = _SLAB_BYTES // (file.dtype.itemsize * math.prod(file.shape[:2]))
    counts = []
    for length in file.shape[2:]:
        counts.append(min(length, max(1, room)))
        room //= length
    return (*file.shape[:2], *counts)


class _Voxels:
    """Array whose voxels are read at first use; it is pickled without them.

    A gzip stream has no random access: the first block inflates all voxels, for all blocks.
    """

    def __init__(self, file: VoxelFile) -> None:
        self.file = file
        self.shape = file.shape
        self.ndim = len(file.shape)
        self.dtype = file.native
        self._lock = threading.Lock()
        self._voxels: NDArray[Any] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _cached_voxels, (self.file,)

    def content_identity(self) -> Identity:
        """What tells the voxels from any others."""
        return self.file.content_identity()

    def __getitem__(self, key: Any) -> NDArray[Any]:
        # Threads that compute blocks at the same time read the file once.
        with self._lock:
            if self._voxels is None:
                self._voxels = _read_voxels(self.file)
        part: NDArray[Any] = self._voxels[key]
        return part


@functools.lru_cache(maxsize=1)
def _cached_voxels(file: VoxelFile) -> _Voxels:
    """Voxels of a file in another process, where all tasks of the process share them."""
    return _Voxels(file)


def _read_voxels(file: VoxelFile) -> NDArray[Any]:
    """Read voxels into an array of native byte order, Fortran order and read-only."""
    with naming(file.path), Path(file.path).open("rb") as opened:
        _refuse_changed(os.fstat(opened.fileno()), file)
        flat = _mapped(opened, file) if file.encoding == "raw" else _inflated(opened, file)
    if not file.dtype.isnative:
        # In place: a swapped copy would double the memory.
        flat = flat.byteswap(inplace=True).view(file.native)
    voxels: NDArray[Any] = flat.reshape(file.shape, order="F")
    voxels.flags.writeable = False
    return voxels


def _refuse_changed(status: os.stat_result, file: VoxelFile) -> None:
    there = status.st_size, status.st_mtime_ns, status.st_ctime_ns
    if there != (file.file_bytes, file.mtime_ns, file.ctime_ns):
        raise FormatError("the file has changed since it was opened; read it again")


def _mapped(opened: io.BufferedReader, file: VoxelFile) -> NDArray[Any]:
    # Mode "c", copy on write: only a byte swap writes, and that never reaches the file.
    shape, offset = (math.prod(file.shape),), file.data_offset
    return np.asarray(np.memmap(opened, file.dtype, mode="c", offset=offset, shape=shape))


def _inflated(opened: io.BufferedReader, file: VoxelFile) -> NDArray[Any]:
    """Inflate all voxels, and never more bytes than the header declares."""
    flat = np.empty(math.prod(file.shape), file.dtype)
    with _decoded(opened, file) as stream:
        missing = _fill(stream, flat)
        _check_end(stream, file, missing)
    return flat


@contextmanager
def _decoded(opened: io.BufferedReader, file: VoxelFile) -> Iterator[_Decoded]:
    """Stream positioned at the first voxel; all faults of gzip become one error."""
    opened.seek(file.data_offset)
    raw = file.encoding == "raw"
    try:
        with nullcontext(opened) if raw else gzip.GzipFile(fileobj=opened) as stream:
            left = file.skipped
            while left and (piece := stream.read(min(left, _PIECE_BYTES))):
                left -= len(piece)
            yield stream
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FormatError(f"the gzip data are damaged ({error}); get the file again") from error


def _fill(stream: _Decoded, voxels: NDArray[Any]) -> int:
    """Read voxels into an array, and return the number of bytes that the stream was short of."""
    room = voxels.reshape(-1, order="A").view(np.uint8).data
    while room and (count := stream.readinto(room[:_PIECE_BYTES])):
        room = room[count:]
    return len(room)


def _check_end(stream: _Decoded, file: VoxelFile, missing: int) -> None:
    """Check that a stream has as many bytes as the header declares, and the right checksums."""
    # gzip compares the checksum of a member only when it is read past its end.
    excess = bool(stream.read(1))
    if missing or excess:
        held = f"more than {file.nbytes}" if excess else str(file.nbytes - missing)
        raise FormatError(
            f"the header declares {file.nbytes} bytes, but the {file.encoding} data hold "
            f"{held}; the file is damaged or its header is wrong: get it again"
        )


# ----- slab by slab


class VoxelStream:
    """Voxels of a file, slab by slab along their last axis, never as a whole.

    Parameters
    ----------
    header
        Header of the file.
    grid
        Grid of its voxels.
    midline
        Midline, where the file states a world or the midline itself.
    """

    def __init__(self, header: VoxelFile, grid: Grid, midline: Midline | None = None) -> None:
        self.header, self.grid, self.midline = header, grid, midline
        self.dtype = header.native

    def content_identity(self) -> Identity:
        """What tells the voxels from any others, as of the file."""
        return self.header.content_identity()

    def values(self, slab: NDArray[Any]) -> NDArray[Any]:
        """What the stored numbers of a slab stand for."""
        return slab

    def slab_bytes(self, thickness: int) -> int:
        """Size in memory of a slab of some layers."""
        return self.header.nbytes * min(thickness, self.header.shape[2]) // self.header.shape[2]

    def slabs(
        self,
        thickness: int,
        is_done: Callable[[slice], bool] = lambda _: False,
        *,
        from_end: bool = False,
    ) -> Iterator[tuple[slice, NDArray[Any]]]:
        """Read the file from its first layer to its last.

        The last slab comes only once the whole stream has been checked.

        Parameters
        ----------
        thickness
            Layers of each slab.
        is_done
            Whether layers are not wanted any more; they are read, and left out.
        from_end
            Whether the file is cut from its end, so that the first slab may be a thinner one.

        Yields
        ------
        layers
            Slice of the slab along the last axis.
        slab
            Its voxels, in Fortran order. Its memory is used again for the next slab.
        """
        layers = self.header.shape[2]
        first = layers % thickness if from_end else 0
        bounds = [*([0] if first else []), *range(first, layers, thickness), layers]
        cuts = [slice(a, b) for a, b in itertools.pairwise(bounds)]
        wanted = [not is_done(cut) for cut in cuts]
        if not any(wanted):
            return
        buffer = np.empty((*self.header.shape[:2], min(thickness, layers)), self.header.dtype, "F")
        with naming(self.header.path), Path(self.header.path).open("rb") as opened:
            _refuse_changed(os.fstat(opened.fileno()), self.header)
            with _decoded(opened, self.header) as stream:
                for cut, want in zip(cuts, wanted, strict=True):
                    slab = buffer[..., : cut.stop - cut.start]
                    missing = _fill(stream, slab)
                    if missing:
                        missing += self.slab_bytes(1) * (layers - cut.stop)
                    if missing or cut.stop == layers:
                        _check_end(stream, self.header, missing)
                    if want:
                        yield cut, self.values(slab).astype(self.dtype, copy=False)
