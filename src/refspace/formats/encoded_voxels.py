"""Voxels behind a header as one run of bytes, raw or compressed: read lazily or slab by slab.

Most formats have this in common once a header is read. The voxels may be larger than memory, and
the file damaged, hostile, or another one since its header was read.
"""

import functools
import gzip
import io
import math
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal, TypeAlias

import dask.array
import numpy as np
from dask.tokenize import tokenize
from numpy.typing import NDArray

from refspace.blockwise.content_identity import Identity
from refspace.errors import FormatError
from refspace.formats.source_file import naming
from refspace.formats.voxel_files import VoxelFile, is_never, slab_cuts
from refspace.formats.zlib_reader import ZlibReader
from refspace.limits import limit

Encoding: TypeAlias = Literal["raw", "gzip", "zlib"]
# Pieces of 128 KiB stay in the cache: 309 MB inflate in 0.56 s. Larger ones are not faster.
_PIECE_BYTES = 2**17
# Deflate stores at most 258 bytes in two bits (RFC 1951), so no stream grows more than 1032 times.
MAX_DEFLATE_RATIO = 1032

_Decoded: TypeAlias = gzip.GzipFile | io.BufferedReader


@dataclass(frozen=True)
class EncodedVoxels(VoxelFile):
    """Voxels that are one run of bytes in a file.

    Parameters
    ----------
    encoding
        ``"raw"``, ``"gzip"``, or ``"zlib"`` (a bare stream of RFC 1950).
    data_offset
        Position in the file at which the voxels begin, or the stream that holds them.
    skipped
        Bytes before the voxels in a stream.
    trailing
        Whether some more bytes, of no concern here, may follow the voxels.
    """

    encoding: Encoding
    data_offset: int
    skipped: int = 0
    trailing: bool = False

    def lazy(self, kind: str) -> dask.array.Array:
        """Lazy array of the voxels, in slabs along the last axes."""
        voxels = _Voxels(self)
        return dask.array.from_array(
            voxels,
            chunks=self.slab_shape(),
            name=f"{kind}-{tokenize(self.identity)}",
            asarray=False,
            meta=np.empty((0,) * voxels.ndim, voxels.dtype),
        )

    def slabs(
        self,
        thickness: int,
        is_done: Callable[[slice], bool] = is_never,
        *,
        from_end: bool = False,
    ) -> Iterator[tuple[slice, NDArray[Any]]]:
        """Voxels from the first layer to the last; the last slab once the stream is checked."""
        layers = self.shape[2]
        cuts = slab_cuts(layers, thickness, from_end=from_end)
        wanted = [not is_done(cut) for cut in cuts]
        if not any(wanted):
            return
        buffer = np.empty((*self.shape[:2], min(thickness, layers)), self.dtype, "F")
        with (
            naming(self.path),
            self.files[-1].open() as opened,
            _decoded(opened, self) as stream,
        ):
            for cut, want in zip(cuts, wanted, strict=True):
                slab = buffer[..., : cut.stop - cut.start]
                missing = _fill(stream, slab)
                if missing:
                    missing += self.nbytes // layers * (layers - cut.stop)
                if missing or cut.stop == layers:
                    _check_end(stream, self, missing)
                if want:
                    yield cut, slab


class _Voxels:
    """Array whose voxels are read at first use; it is pickled without them.

    A gzip stream has no random access: the first block inflates all voxels, for all blocks.
    """

    def __init__(self, file: EncodedVoxels) -> None:
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
def _cached_voxels(file: EncodedVoxels) -> _Voxels:
    """Voxels of a file in another process, where all tasks of the process share them."""
    return _Voxels(file)


def _read_voxels(file: EncodedVoxels) -> NDArray[Any]:
    """Read voxels into an array of native byte order, Fortran order and read-only."""
    with naming(file.path), file.files[-1].open() as opened:
        flat = _mapped(opened, file) if file.encoding == "raw" else _inflated(opened, file)
    if not file.dtype.isnative:
        # In place: a swapped copy would double the memory.
        flat = flat.byteswap(inplace=True).view(file.native)
    voxels: NDArray[Any] = flat.reshape(file.shape, order="F")
    voxels.flags.writeable = False
    return voxels


def _mapped(opened: BinaryIO, file: EncodedVoxels) -> NDArray[Any]:
    # Mode "c", copy on write: only a byte swap writes, and that never reaches the file.
    shape, offset = (math.prod(file.shape),), file.data_offset
    return np.asarray(np.memmap(opened, file.dtype, mode="c", offset=offset, shape=shape))


def _inflated(opened: BinaryIO, file: EncodedVoxels) -> NDArray[Any]:
    """Inflate all voxels, and never more bytes than the header declares."""
    flat = np.empty(math.prod(file.shape), file.dtype)
    with _decoded(opened, file) as stream:
        missing = _fill(stream, flat)
        _check_end(stream, file, missing)
    return flat


def _gzip(opened: BinaryIO) -> gzip.GzipFile:
    return gzip.GzipFile(fileobj=opened)


_OPEN: dict[str, Callable[[BinaryIO], Any]] = {
    "raw": nullcontext,
    "gzip": _gzip,
    "zlib": ZlibReader.buffered,
}


@contextmanager
def _decoded(opened: BinaryIO, file: EncodedVoxels) -> Iterator[_Decoded]:
    """Stream positioned at the first voxel; all faults of gzip become one error."""
    opened.seek(file.data_offset)
    try:
        with _OPEN[file.encoding](opened) as stream:
            left = file.skipped
            while left and (piece := stream.read(min(left, _PIECE_BYTES))):
                left -= len(piece)
            yield stream
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FormatError(
            f"the {file.encoding} data are damaged ({error}); get the file again"
        ) from error


def _fill(stream: _Decoded, voxels: NDArray[Any]) -> int:
    """Read voxels into an array, and return the number of bytes that the stream was short of."""
    room = voxels.reshape(-1, order="A").view(np.uint8).data
    while room and (count := stream.readinto(room[:_PIECE_BYTES])):
        room = room[count:]
    return len(room)


def _is_short(stream: _Decoded) -> bool:
    """Whether what is left in a stream is no more than a header may be."""
    left = limit("header_bytes")
    while left > 0 and (piece := stream.read(_PIECE_BYTES)):
        left -= len(piece)
    return left > 0


def _check_end(stream: _Decoded, file: EncodedVoxels, missing: int) -> None:
    """Check that a stream has as many bytes as the header declares, and the right checksums."""
    # gzip compares the checksum of a member only when it is read past its end.
    excess = bool(stream.read(1)) and not (file.trailing and _is_short(stream))
    if missing or excess:
        held = f"more than {file.nbytes}" if excess else str(file.nbytes - missing)
        raise FormatError(
            f"the header declares {file.nbytes} bytes, but the {file.encoding} data hold "
            f"{held}; the file is damaged or its header is wrong: get it again"
        )
