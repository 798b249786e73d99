"""Volumes written to TIFF files, computed and compressed some pages at a time."""

import json
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from refspace.errors import FormatError
from refspace.files import atomic_write
from refspace.formats.directions import WORLD
from refspace.formats.sides import StatedSides
from refspace.formats.tiff.directories import tifffile
from refspace.formats.tiff.header import own_fields
from refspace.formats.tiff.planes import OWN_KEY
from refspace.formats.voxel_files import SLAB_BYTES
from refspace.formats.voxel_output import COMPRESSION_LEVEL, Voxels, check_output, refuse_unplaced
from refspace.grid import Grid
from refspace.labels import infer_grid
from refspace.types import PathLike

TIFF_ENDINGS = (".tif", ".tiff")
_TYPES = ("bool", "uint8", "uint16", "uint32", "float32")
# A file with offsets of 32 bits ends there; what is not voxels needs some room.
_LARGEST, _ROOM = 2**32, 2**25
# Computed at once: enough for all cores to have work.
_PART_BYTES = 2**26
# Of a page that is compressed, strips of about as many bytes.
_STRIP_BYTES = 2**18
_NO_UNIT = 1


def write_tiff(
    path: PathLike,
    array: xr.DataArray,
    *,
    compression_level: int = COMPRESSION_LEVEL,
    scheduler: str | None = None,
) -> None:
    """Write a volume to a TIFF file that ImageJ reads, with its resolution.

    Lazy arrays are computed along their first axis, each chunk once; where chunks span all of that
    axis, all of the volume is computed at once. The file appears whole or not at all. It is
    compressed with deflate (zip), and of classic TIFF; of BigTIFF, which Fiji's Bio-Formats reads
    and ImageJ alone does not, where the voxels have more than 4 GB.

    Parameters
    ----------
    path
        File to write, ending in ``.tif`` or ``.tiff``, in an existing folder.
    array
        Three-dimensional DataArray with coordinates, of uint8, uint16, uint32 or float32, or of
        booleans (written as 0 and 1). Its first axis becomes that of pages, ImageJ's slices. The
        spacing goes into ImageJ's fields, in µm; the orientation, position, frame, midline and the
        hemisphere that a mask is of into a line of its text, ``refspace=``, which `read_tiff`
        understands. ImageJ shows uint32 as floats, exact up to 16 777 216.
    compression_level
        1 (fast) to 9 (small).
    scheduler
        Scheduler of dask that computes lazy arrays, like ``"synchronous"``; by default the one in
        use.

    Raises
    ------
    AnnotationError
        If the array has not three axes, or a type that ImageJ's format lacks.
    FormatError
        If the name has another ending or the level is out of range.
    GridError
        If there are no coordinates to take the geometry from.
    MissingDependencyError
        If tifffile is not installed.
    OSError
        If the folder does not exist or the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from refspace.labels import labelled
    >>> mask = labelled(np.zeros((4, 4, 4), np.uint8), Grid((4, 4, 4), (25, 25, 25)))
    >>> write_tiff(tempfile.mkdtemp() + "/mask.tif", mask)
    """
    target = Path(path)
    if not target.name.lower().endswith(TIFF_ENDINGS):
        raise FormatError(f"{target} does not end in .tif or .tiff; give a name that does")
    refuse_unplaced(array)
    data = array.data
    check_output(data.shape, data.dtype, compression_level, "TIFF of ImageJ", _TYPES)
    grid = infer_grid(array)
    text = _description(grid, StatedSides.from_array(array, grid))
    package = tifffile()
    with atomic_write(target) as temporary:
        is_big = data.nbytes > _LARGEST - _ROOM
        with package.TiffWriter(temporary, bigtiff=is_big, byteorder="<") as file:
            _write(file, data, grid, text, compression_level, scheduler)


def _write(
    file: Any, data: Voxels, grid: Grid, text: str, level: int, scheduler: str | None
) -> None:
    dtype = np.dtype(np.uint8) if data.dtype == bool else data.dtype.newbyteorder("<")
    _, y, x = grid.spacing
    row_bytes = data.shape[2] * dtype.itemsize
    options = {
        "photometric": "minisblack",
        "compression": "zlib",
        "compressionargs": {"level": level},
        "rowsperstrip": min(data.shape[1], max(1, _STRIP_BYTES // row_bytes)),
        "resolution": (_per_unit(x), _per_unit(y)),
        "resolutionunit": _NO_UNIT,
        "software": False,
        "metadata": None,
    }
    for n, page in enumerate(_pages(data, dtype, scheduler)):
        file.write(page, description=text if n == 0 else None, **options)


def _per_unit(length: float) -> tuple[int, int]:
    """Pixels per µm, as a fraction of whole numbers of 32 bits.

    Examples
    --------
    >>> _per_unit(25.0), _per_unit(33.3)
    ((1, 25), (10, 333))
    """
    exact = Fraction(repr(length))
    if max(exact.numerator, exact.denominator) >= _LARGEST:
        exact = exact.limit_denominator(10**5)
    return exact.denominator, exact.numerator


def _pages(data: Voxels, dtype: np.dtype[Any], scheduler: str | None) -> Iterator[NDArray[Any]]:
    """Pages of a volume, along its first axis."""
    bounds = _bounds(data, 0, SLAB_BYTES)
    thickest = max(stop - start for start, stop in pairwise(bounds))
    # Its memory is used again for the next pages.
    slab = np.empty((thickest, *data.shape[1:]), dtype)
    for start, stop in pairwise(bounds):
        _compute_into(slab[: stop - start], data[start:stop], scheduler)
        yield from slab[: stop - start]


def _compute_into(slab: NDArray[Any], data: Voxels, scheduler: str | None) -> None:
    """Compute some pages: dask holds twice what it computes at once, so not all of them."""
    for start, stop in pairwise(_bounds(data, 1, _PART_BYTES)):
        part = data[:, start:stop]
        if isinstance(part, dask.array.Array):
            part = part.compute(scheduler=scheduler)
        slab[:, start:stop] = part


def _bounds(data: Voxels, axis: int, least: int) -> list[int]:
    """Places along an axis between which whole chunks lie, of some bytes at least."""
    count = data.shape[axis]
    layer_bytes = data.nbytes // count
    lengths = data.chunks[axis] if isinstance(data, dask.array.Array) else [1] * count
    bounds, stop = [0], 0
    for length in lengths:
        stop += length
        if stop == count or (stop - bounds[-1]) * layer_bytes >= least:
            bounds.append(stop)
    return bounds


def _description(grid: Grid, sides: StatedSides) -> str:
    """Text of ImageJ: lines of names and values."""
    slices = grid.shape[0]
    own = own_fields(grid.shape, grid.orientation, grid.in_frame(WORLD).origin, sides)
    lines = [
        "ImageJ=1.54f",
        f"images={slices}",
        f"slices={slices}",
        "unit=um",
        f"spacing={grid.spacing[0]!r}",
        "loop=false",
        # On one line, and in ASCII, as the format has texts.
        f"{OWN_KEY}={json.dumps(own)}",
    ]
    return "\n".join(lines) + "\n"
