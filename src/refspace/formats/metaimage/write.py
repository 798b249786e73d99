"""Volumes written to MetaImage files, computed and compressed slab by slab."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import xarray as xr

from refspace.errors import FormatError
from refspace.files import atomic_write
from refspace.formats.beside import is_plain_name
from refspace.formats.directions import millimetres, world_vectors
from refspace.formats.metaimage.fields import DATA_FILE
from refspace.formats.metaimage.position import SPACE
from refspace.formats.sides import StatedSides
from refspace.formats.voxel_output import (
    COMPRESSION_LEVEL,
    Voxels,
    check_output,
    pieces,
    refuse_unplaced,
)
from refspace.grid import OPPOSITE, Grid
from refspace.labels import infer_grid
from refspace.types import PathLike

_TYPES = {
    "bool": "MET_UCHAR",
    "uint8": "MET_UCHAR",
    "int8": "MET_CHAR",
    "uint16": "MET_USHORT",
    "int16": "MET_SHORT",
    "uint32": "MET_UINT",
    "int32": "MET_INT",
    "uint64": "MET_ULONG_LONG",
    "int64": "MET_LONG_LONG",
    "float32": "MET_FLOAT",
    "float64": "MET_DOUBLE",
}
# Digits of the largest file; the size is known once all is compressed, behind what states it.
_WIDTH = 20


def write_metaimage(
    path: PathLike,
    array: xr.DataArray,
    *,
    compression_level: int = COMPRESSION_LEVEL,
    scheduler: str | None = None,
) -> None:
    """Write a volume to a MetaImage file, compressed, with its geometry.

    Lazy arrays are computed slab by slab along their last axis, each chunk once; where chunks span
    all of that axis, the slab is the volume. The file appears whole or not at all.

    Parameters
    ----------
    path
        File to write, in an existing folder: ending in ``.mha``, or in ``.mhd`` for a header whose
        voxels are in the file beside it of the same name, ending in ``.zraw``.
    array
        Three-dimensional DataArray of integers, booleans (written as 0 and 1) or floats, with
        coordinates: they become directions, spacing and offset in mm, left-posterior-superior, as
        ITK takes them. Its frame, its midline, and the hemisphere that a mask is of, go in as
        ``refspace_frame``, ``refspace_midline_um``, in µm to the right, and
        ``refspace_hemisphere``.
    compression_level
        1 (fast) to 9 (small).
    scheduler
        Scheduler of dask that computes lazy arrays, like ``"synchronous"``; by default the one in
        use.

    Raises
    ------
    AnnotationError
        If the array has not three axes, or a type that the format lacks.
    FormatError
        If the name has another ending or cannot stand in a header, or the level is out of range.
    GridError
        If there are no coordinates to take the geometry from.
    OSError
        If the folder does not exist or the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from refspace.labels import labelled
    >>> mask = labelled(np.zeros((4, 4, 4), np.uint8), Grid((4, 4, 4), (25, 25, 25)))
    >>> write_metaimage(tempfile.mkdtemp() + "/mask.mha", mask)
    """
    target = Path(path)
    voxels = _voxel_file(target)
    refuse_unplaced(array)
    check_output(array.shape, array.dtype, compression_level, "MetaImage", _TYPES)
    grid = infer_grid(array)
    sides = StatedSides.from_array(array, grid)
    how: tuple[Any, ...] = (array.data, compression_level, scheduler)
    if voxels is None:
        with atomic_write(target) as temporary, temporary.open("wb") as file:
            file.write(_header(grid, array.dtype, sides, "LOCAL", 0))
            size = _write_voxels(file, *how)
            file.seek(0)
            file.write(_header(grid, array.dtype, sides, "LOCAL", size))
        return
    with _both(target, voxels) as (header, data):
        with data.open("wb") as file:
            size = _write_voxels(file, *how)
        header.write_bytes(_header(grid, array.dtype, sides, voxels.name, size))


def _voxel_file(target: Path) -> Path | None:
    """File of the voxels beside a header; None where they are in the file itself."""
    if target.suffix == ".mha":
        return None
    if target.suffix != ".mhd":
        raise FormatError(f"{target} does not end in .mha or .mhd; give a name that does")
    voxels = target.with_suffix(".zraw")
    # ITK takes any name that begins so for a list of files.
    if not is_plain_name(voxels.name) or voxels.name.startswith("LIST"):
        raise FormatError(
            f"{voxels.name!r} cannot stand in a header as the name of the file of the voxels; give "
            "a name of letters, digits and spaces, or one ending in .mha"
        )
    return voxels


@contextmanager
def _both(header: Path, voxels: Path) -> Iterator[tuple[Path, Path]]:
    """Temporary names of two files that appear both or not at all, the header last."""
    was_there = voxels.exists()
    try:
        with atomic_write(header) as first, atomic_write(voxels) as second:
            yield first, second
    except BaseException:
        if not was_there:
            with suppress(OSError):  # it would hide why
                voxels.unlink()
        raise


def _write_voxels(file: BinaryIO, data: Voxels, level: int, scheduler: str | None) -> int:
    """Write voxels as one zlib stream, and return its size."""
    compressor, size = zlib.compressobj(level), 0
    for piece in pieces(data, scheduler):
        size += file.write(compressor.compress(piece))
    return size + file.write(compressor.flush())


def _header(grid: Grid, dtype: np.dtype[Any], sides: StatedSides, name: str, size: int) -> bytes:
    """Lines of a header, as long for one size as for another."""
    vectors, centre = world_vectors(grid, SPACE)
    fields = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "True",
        "CompressedDataSize": str(size).rjust(_WIDTH),
        "TransformMatrix": " ".join(f"{n:.0f}" for n in (np.sign(vectors) + 0.0).ravel()),
        "Offset": _line(centre),
        "CenterOfRotation": "0 0 0",
        # As ITK derives it: the sides that the axes come from.
        "AnatomicalOrientation": "".join(OPPOSITE[letter] for letter in grid.orientation),
        "ElementSpacing": _line(np.array(grid.spacing)),
        "DistanceUnits": "mm",
        "DimSize": " ".join(map(str, grid.shape)),
        **{key: str(stated) for key, stated in sides.fields.items()},
        "ElementType": _TYPES[dtype.name],
        DATA_FILE: name,
    }
    return "".join(f"{key} = {stated}\n" for key, stated in fields.items()).encode()


def _line(micrometres: np.ndarray[Any, np.dtype[np.float64]]) -> str:
    """Lengths in mm."""
    return " ".join(repr(float(n)) for n in millimetres(micrometres))
