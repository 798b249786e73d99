"""Volumes from NRRD files, read when they are computed."""

import gzip
import io
import math
import os
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import dask.array
import numpy as np
import xarray as xr
from dask.tokenize import tokenize
from numpy.typing import NDArray

from refspace.errors import FormatError, GridError
from refspace.formats.nrrd.header import NrrdHeader, naming, read_header
from refspace.grid import Grid, Triple, parse_orientation, spacing_of
from refspace.volume import labelled

# Blocks are whole layers of the slowest axis: contiguous in the file, and views of what was read.
_SLAB_BYTES = 16 * 2**20
# Pieces of 128 KiB stay in the cache: 309 MB inflate in 0.56 s. Larger ones are not faster.
_PIECE_BYTES = 2**17

_HOUSE_ORIENTATION = "PIR"
# Volumes of the Allen CCF by µm per voxel. Their headers claim left-posterior-superior along the
# axes of the file; the voxels run to posterior, inferior and right.
_CCF_SHAPES: dict[float, tuple[int, int, int]] = {
    10: (1320, 800, 1140),
    25: (528, 320, 456),
    50: (264, 160, 228),
    100: (132, 80, 114),
}


def read_nrrd(
    path: str | os.PathLike[str],
    *,
    resolution: float | Sequence[float] | None = None,
    orientation: str | None = None,
) -> xr.DataArray:
    """Open a three-dimensional NRRD file as a lazy volume.

    Only the header is read. Raw data are mapped into memory. A gzip stream has no random access:
    the first block that is computed inflates all of it, once, and the voxels are kept as long as
    the array lives; another process reads the file again, for every task that it is sent. Computed
    blocks are read-only views of the voxels.

    Parameters
    ----------
    path
        Local file with attached data, encoding gzip or raw.
    resolution
        µm per voxel, one number or three; needed where the header states no spacing, and must
        agree with it where it does. A spacing without a unit is taken as µm.
    orientation
        Direction in which the index of each axis grows, in the order of the file; overrules the
        header. By default the header's space and directions count, or ``"PIR"`` where it has
        none. Volumes of the Allen CCF, whose headers contradict their voxels, are ``"PIR"``.

    Returns
    -------
    xarray.DataArray
        Named like the file, its axes in the order of the file, the fastest first; dask-backed, in
        slabs along the last. The volume starts at 0 unless the header states an origin in the
        orientation that is used.

    Raises
    ------
    FormatError
        If the file is damaged, unsafe or uses a feature that is not supported. Faults in the data
        show when they are computed.
    GridError
        If the geometry is missing, oblique, contradictory or ambiguous.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> from refspace.formats.nrrd import write_nrrd
    >>> path = tempfile.mkdtemp() + "/annotation.nrrd"
    >>> grid = Grid((4, 2, 3), (25, 25, 25))
    >>> write_nrrd(path, labelled(np.ones(grid.shape, "u4"), grid))
    >>> annotation = read_nrrd(path)
    >>> annotation.dims, annotation.ml.values
    (('ap', 'dv', 'ml'), array([12.5, 37.5, 62.5]))
    """
    header = read_header(path)
    with naming(header.path):
        grid = grid_for(header, resolution, orientation)
    voxels = _Voxels(header)
    layer_bytes = voxels.dtype.itemsize * math.prod(header.shape[:2])
    data = dask.array.from_array(
        voxels,
        chunks=(-1, -1, max(1, _SLAB_BYTES // layer_bytes)),
        name=f"nrrd-{tokenize(header.path, header.file_bytes, header.mtime_ns)}",
        asarray=False,
        meta=np.empty((0, 0, 0), voxels.dtype),
    )
    return labelled(data, grid, Path(header.path).stem)


def grid_for(
    header: NrrdHeader, resolution: float | Sequence[float] | None, orientation: str | None
) -> Grid:
    """Grid of a file, from its header and what the caller says."""
    spacing = _agreed_spacing(header.spacing, resolution)
    used = parse_orientation(orientation or _stated_orientation(header))
    # An origin has a meaning only in the space that it is given in.
    origin = header.origin if used == header.orientation else None
    return Grid(header.shape, spacing, origin or (0.0, 0.0, 0.0), used)


def _agreed_spacing(stated: Triple | None, resolution: float | Sequence[float] | None) -> Triple:
    if resolution is None:
        if stated is None:
            raise GridError("the header states no spacing; give resolution=, the µm per voxel")
        return stated
    given = spacing_of(resolution)
    if stated is not None and not np.allclose(given, stated, rtol=1e-6, atol=0):
        raise GridError(
            f"resolution {given} contradicts the header, whose voxels are {stated} µm apart; "
            "leave the resolution out or correct the file"
        )
    return stated or given


def _stated_orientation(header: NrrdHeader) -> str:
    if header.space != "LPS" or header.orientation != "LPS":
        return header.orientation or _HOUSE_ORIENTATION
    # Index axes along world axes are what programs write that know of no orientation.
    resolutions = set(header.spacing or ())
    if len(resolutions) == 1 and _CCF_SHAPES.get(resolutions.pop()) == header.shape:
        return _HOUSE_ORIENTATION
    raise GridError(
        "the header says left-posterior-superior with directions along the axes, as files of the "
        "Allen Institute do whose voxels run to posterior, inferior and right; give "
        "orientation='PIR' for such data, or 'LPS' to trust the header"
    )


class _Voxels:
    """Array whose voxels are read from the file at first use; pickles without them."""

    ndim = 3

    def __init__(self, header: NrrdHeader) -> None:
        self.header = header
        self.shape = header.shape
        self.dtype = header.dtype.newbyteorder("=")
        self._lock = threading.Lock()
        self._voxels: NDArray[Any] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.header,)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        with self._lock:
            if self._voxels is None:
                self._voxels = _read_voxels(self.header)
        part: NDArray[Any] = self._voxels[key]
        return part


def _read_voxels(header: NrrdHeader) -> NDArray[Any]:
    """Voxels in native byte order, Fortran order and read-only."""
    with Path(header.path).open("rb") as file, naming(header.path):
        status = os.fstat(file.fileno())
        if (status.st_size, status.st_mtime_ns) != (header.file_bytes, header.mtime_ns):
            raise FormatError("the file has changed since it was opened; read it again")
        flat = _mapped(file, header) if header.encoding == "raw" else _inflated(file, header)
    if not header.dtype.isnative:
        flat = flat.byteswap(inplace=True).view(header.dtype.newbyteorder("="))
    voxels: NDArray[Any] = flat.reshape(header.shape, order="F")
    voxels.flags.writeable = False
    return voxels


def _mapped(file: BinaryIO, header: NrrdHeader) -> NDArray[Any]:
    # "c": writing, which only a byte swap does, never reaches the file.
    shape, offset = (math.prod(header.shape),), header.data_offset
    return np.asarray(np.memmap(file, header.dtype, mode="c", offset=offset, shape=shape))


def _inflated(file: BinaryIO, header: NrrdHeader) -> NDArray[Any]:
    """All voxels, never more bytes than the header declares."""
    flat = np.empty(math.prod(header.shape), header.dtype)
    file.seek(header.data_offset)
    with naming_damage(), gzip.GzipFile(fileobj=file) as stream:
        missing = fill(stream, flat)
        check_end(stream, header, missing)
    return flat


@contextmanager
def naming_damage() -> Iterator[None]:
    """Turn what goes wrong with a gzip stream into one error."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FormatError(f"the gzip data are damaged ({error}); get the file again") from error


def fill(stream: io.BufferedReader | gzip.GzipFile, voxels: NDArray[Any]) -> int:
    """Read voxels, and return the number of bytes that the stream had not."""
    room = voxels.reshape(-1, order="A").view(np.uint8).data
    while room and (count := stream.readinto(room[:_PIECE_BYTES])):
        room = room[count:]
    return len(room)


def check_end(stream: io.BufferedReader | gzip.GzipFile, header: NrrdHeader, missing: int) -> None:
    """Check that a stream has as many bytes as the header declares, and the right sums."""
    # Reading past the end also checks the sums of the last member.
    excess = bool(stream.read(1))
    if missing or excess:
        held = f"more than {header.nbytes}" if excess else str(header.nbytes - missing)
        raise FormatError(
            f"the header declares {header.nbytes} bytes, but the {header.encoding} data hold "
            f"{held}; the file is damaged or its header is wrong: get it again"
        )
