"""Volumes written to NRRD files, computed and compressed slab by slab."""

from pathlib import Path
from typing import Any

import dask.array
import nrrd
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from refspace.errors import FormatError
from refspace.files import atomic_write
from refspace.formats.directions import millimetres, world_vectors
from refspace.formats.sides import NO_SIDES, StatedSides
from refspace.formats.voxel_output import (
    COMPRESSION_LEVEL,
    VoxelFileHead,
    check_output,
    write_voxels,
)
from refspace.grid import Grid
from refspace.labels import infer_grid
from refspace.types import PathLike

_TYPES = {"bool": "uint8", "float32": "float", "float64": "double"} | {
    name: name for bits in (8, 16, 32, 64) for name in (f"int{bits}", f"uint{bits}")
}
_SPACE_NAMES = {"LPS": "left-posterior-superior", "RAS": "right-anterior-superior"}


def write_nrrd(
    path: PathLike,
    array: xr.DataArray | dask.array.Array | NDArray[Any],
    *,
    compression_level: int = COMPRESSION_LEVEL,
    scheduler: str | None = None,
) -> None:
    """Write a volume to an NRRD file, gzip-encoded, with its geometry.

    Lazy arrays are computed slab by slab along their last axis, each chunk once; where chunks span
    all of that axis, the slab is the volume. The file appears whole or not at all.

    Parameters
    ----------
    path
        File to write, ending in ``.nrrd``, in an existing folder.
    array
        Three-dimensional array of integers, booleans (written as 0 and 1) or floats. The axis
        directions, spacing and origin of a DataArray go into the header, in mm as ITK takes them,
        with the unit stated; a bare array has none. Its frame, its midline, and the hemisphere that
        a mask is of, go in as key/value pairs ``refspace_frame``, ``refspace_midline_um``, in µm to
        the right, and ``refspace_hemisphere``.
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
        If the name does not end in ``.nrrd`` or the level is out of range.
    GridError
        If a DataArray has no coordinates to take the geometry from.
    OSError
        If the folder does not exist or the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> write_nrrd(tempfile.mkdtemp() + "/mask.nrrd", np.zeros((4, 4, 4), np.uint8))
    """
    head = nrrd_head(path, array, compression_level)
    data = array.data if isinstance(array, xr.DataArray) else array
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        write_voxels(file, head, data, scheduler)


def nrrd_head(
    path: PathLike,
    array: xr.DataArray | dask.array.Array | NDArray[Any],
    compression_level: int = COMPRESSION_LEVEL,
) -> VoxelFileHead:
    """What a file has before its voxels, checked as `write_nrrd` does.

    Parameters
    ----------
    path, array, compression_level
        As for `write_nrrd`.
    """
    target = Path(path)
    if target.suffix.lower() != ".nrrd":
        raise FormatError(f"{target} does not end in .nrrd; give a name that does")
    data = array.data if isinstance(array, xr.DataArray) else array
    check_output(data.shape, data.dtype, compression_level, "NRRD", _TYPES)
    geometry: dict[str, str] = {}
    sides = NO_SIDES
    if isinstance(array, xr.DataArray):
        grid = infer_grid(array)
        geometry, sides = _geometry(grid), StatedSides.from_array(array, grid)
    header = _header(data.shape, data.dtype, geometry, sides)
    return VoxelFileHead(header, b"", compression_level)


def _header(
    shape: tuple[int, ...], dtype: np.dtype[Any], geometry: dict[str, str], sides: StatedSides
) -> bytes:
    fields = {"type": _TYPES[dtype.name], "dimension": "3"}
    if "space" in geometry:  # the format wants it before the other fields of the space
        fields["space"] = geometry["space"]
    fields |= {"sizes": nrrd.format_number_list(shape)} | geometry
    if dtype.itemsize > 1:
        fields["endian"] = "little"
    fields |= {"kinds": "domain domain domain", "encoding": "gzip"}
    lines = [f"{name}: {value}\n" for name, value in fields.items()]
    lines += [f"{name}:={value}\n" for name, value in sides.fields.items()]
    return "".join(["NRRD0005\n", *lines, "\n"]).encode("ascii")


def _geometry(grid: Grid) -> dict[str, str]:
    """Fields of the position of the voxels.

    The space is left-posterior-superior, as in ITK. A grid along the axes of that very space is
    written in right-anterior-superior: programs that do not know the orientation write
    left-posterior-superior along the axes of the file, so that no reader can trust it.
    """
    space = "RAS" if grid.orientation == "LPS" else "LPS"
    directions, origin = world_vectors(grid, space)
    return {
        "space": _SPACE_NAMES[space],
        # ITK reads no unit, and means mm.
        "space directions": nrrd.format_matrix(millimetres(directions)),
        "space origin": nrrd.format_vector(millimetres(origin)),
        "space units": '"mm" "mm" "mm"',
    }
