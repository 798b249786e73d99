"""Volumes from NRRD files in slabs, for those that are larger than memory."""

import gzip
import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refspace.errors import FormatError
from refspace.formats.nrrd.header import naming, read_header
from refspace.formats.nrrd.read import check_end, fill, grid_for, naming_damage


class NrrdStream:
    """Voxels of an NRRD file, slab by slab along its last axis, never as a whole.

    Parameters
    ----------
    path, resolution, orientation
        As for `read_nrrd`.

    Raises
    ------
    FormatError, GridError, OSError
        As for `read_nrrd`.

    Examples
    --------
    >>> import tempfile
    >>> from refspace.formats.nrrd import write_nrrd
    >>> path = tempfile.mkdtemp() + "/annotation.nrrd"
    >>> write_nrrd(path, np.arange(8, dtype="u4").reshape(2, 2, 2))
    >>> stream = NrrdStream(path, resolution=25)
    >>> [slab.ravel(order="F").tolist() for _, slab in stream.slabs(1)]
    [[0, 4, 2, 6], [1, 5, 3, 7]]
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        resolution: float | Sequence[float] | None = None,
        orientation: str | None = None,
    ) -> None:
        self.header = read_header(path)
        with naming(self.header.path):
            self.grid = grid_for(self.header, resolution, orientation)
        self.dtype = self.header.dtype.newbyteorder("=")

    @property
    def identity(self) -> dict[str, Any]:
        """What tells the file from others, and from itself once it has changed."""
        header = self.header
        return {"path": header.path, "bytes": header.file_bytes, "mtime_ns": header.mtime_ns}

    def slab_bytes(self, thickness: int) -> int:
        """Size of a slab of some layers in memory."""
        return self.header.nbytes * min(thickness, self.header.shape[2]) // self.header.shape[2]

    def slabs(
        self, thickness: int, skip: Callable[[slice], bool] = lambda _: False
    ) -> Iterator[tuple[slice, NDArray[Any]]]:
        """Read the file from its first layer to its last.

        The last slab comes only when the whole stream has proven to be sound.

        Parameters
        ----------
        thickness
            Layers of each slab.
        skip
            Tells of layers whether they are not wanted; they are read over.

        Yields
        ------
        layers
            Where the slab is along the last axis.
        slab
            Its voxels, in Fortran order. The memory is used again for the next one.
        """
        layers = self.header.shape[2]
        cuts = [slice(a, min(a + thickness, layers)) for a in range(0, layers, thickness)]
        wanted = [not skip(cut) for cut in cuts]
        if not any(wanted):
            return
        buffer = np.empty((*self.header.shape[:2], min(thickness, layers)), self.header.dtype, "F")
        with naming(self.header.path), Path(self.header.path).open("rb") as file:
            self._refuse_changed(file)
            with naming_damage(), self._decoded(file) as stream:
                for cut, want in zip(cuts, wanted, strict=True):
                    slab = buffer[..., : cut.stop - cut.start]
                    missing = fill(stream, slab)
                    if missing:
                        missing += self.slab_bytes(1) * (layers - cut.stop)
                    if missing or cut.stop == layers:
                        check_end(stream, self.header, missing)
                    if want:
                        yield cut, slab.astype(self.dtype, copy=False)

    def _refuse_changed(self, file: io.BufferedReader) -> None:
        status = os.fstat(file.fileno())
        if (status.st_size, status.st_mtime_ns) != (self.header.file_bytes, self.header.mtime_ns):
            raise FormatError("the file has changed since it was opened; read it again")

    def _decoded(
        self, file: io.BufferedReader
    ) -> AbstractContextManager[io.BufferedReader | gzip.GzipFile]:
        file.seek(self.header.data_offset)
        return nullcontext(file) if self.header.encoding == "raw" else gzip.GzipFile(fileobj=file)
