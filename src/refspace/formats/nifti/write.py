"""Volumes written to NIfTI files, computed and compressed slab by slab."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from refspace.errors import FormatError
from refspace.files import atomic_write
from refspace.formats.affines import nibabel
from refspace.formats.directions import world_vectors
from refspace.formats.nifti.extensions import comment_extension
from refspace.formats.sides import StatedSides
from refspace.formats.voxel_output import (
    COMPRESSION_LEVEL,
    VoxelFileHead,
    check_output,
    refuse_unplaced,
    write_voxels,
)
from refspace.grid import Grid
from refspace.labels import infer_grid
from refspace.types import PathLike

_TYPES = (
    *("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"),
    *("float32", "float64"),
)
# In capitals too, but not in mixed letters, which ITK does not recognise.
_ENDINGS = (".nii", ".nii.gz", ".NII", ".NII.GZ")
# Code of millimetres, which every program understands; many ignore the code.
_MILLIMETRE = 2
# Code for coordinates aligned to another file, here the atlas. The scanner's are 1.
_ALIGNED = 2
# NIfTI-1 stores the length of an axis as a 16-bit integer.
_LONGEST = 2**15 - 1


def write_nifti(
    path: PathLike,
    array: xr.DataArray,
    *,
    compression_level: int = COMPRESSION_LEVEL,
    scheduler: str | None = None,
) -> None:
    """Write a volume to a NIfTI file, with its geometry.

    Lazy arrays are computed slab by slab along their last axis, each chunk once; where chunks span
    all of that axis, the slab is the volume. The file appears whole or not at all. It is NIfTI-1,
    or NIfTI-2 if a side is longer than 32767 voxels.

    Parameters
    ----------
    path
        File to write, ending in ``.nii`` or ``.nii.gz``, in an existing folder.
    array
        Three-dimensional DataArray of integers, booleans (written as 0 and 1) or floats, with
        coordinates: they become the sform and the qform, in mm. Its midline, in µm to the right,
        and the hemisphere that a mask is of, become a header extension, a comment in JSON.
    compression_level
        1 (fast) to 9 (small), of ``.nii.gz``.
    scheduler
        Scheduler of dask that computes lazy arrays, like ``"synchronous"``; by default the one in
        use.

    Raises
    ------
    AnnotationError
        If the array has not three axes, or a type that the format lacks.
    FormatError
        If the name has another ending or the level is out of range.
    GridError
        If there are no coordinates to take the geometry from.
    MissingDependencyError
        If nibabel is not installed.
    OSError
        If the folder does not exist or the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from refspace.labels import labelled
    >>> mask = labelled(np.zeros((4, 4, 4), np.uint8), Grid((4, 4, 4), (25, 25, 25)))
    >>> write_nifti(tempfile.mkdtemp() + "/mask.nii.gz", mask)
    """
    head = nifti_head(path, array, compression_level)
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        write_voxels(file, head, array.data, scheduler)


def nifti_head(
    path: PathLike, array: xr.DataArray, compression_level: int = COMPRESSION_LEVEL
) -> VoxelFileHead:
    """What a file has before its voxels, checked as `write_nifti` does.

    Parameters
    ----------
    path, array, compression_level
        As for `write_nifti`.
    """
    target = Path(path)
    if not target.name.endswith(_ENDINGS):
        raise FormatError(f"{target} does not end in .nii or .nii.gz; give a name that does")
    refuse_unplaced(array)
    data = array.data
    check_output(data.shape, data.dtype, compression_level, "NIfTI", _TYPES)
    grid = infer_grid(array)
    head = _header(grid, data.dtype, comment_extension(StatedSides.from_array(array, grid)))
    if target.suffix.lower() == ".gz":
        return VoxelFileHead(b"", head, compression_level)
    return VoxelFileHead(head, None)


def _header(grid: Grid, dtype: np.dtype[Any], extension: bytes) -> bytes:
    """Header, and what lies between it and the voxels."""
    package = nibabel()
    kind = package.Nifti1Header if max(grid.shape) <= _LONGEST else package.Nifti2Header
    header = kind(endianness="<")
    vectors, centre = world_vectors(grid, "RAS")
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = vectors.T / 1000, centre / 1000
    header.set_data_shape(grid.shape)
    header.set_data_dtype(np.uint8 if dtype.kind == "b" else dtype.newbyteorder("="))
    header.set_sform(affine, code=_ALIGNED)
    header.set_qform(affine, code=_ALIGNED)
    header["xyzt_units"] = _MILLIMETRE
    header["scl_slope"], header["scl_inter"] = 1, 0
    # Written twice: vox_offset is the length of the header, which is known once it is made.
    head: bytes = header.binaryblock + extension
    header["vox_offset"] = len(head)
    head = header.binaryblock + extension
    return head
