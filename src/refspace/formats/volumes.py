"""Volumes in files of any format: the one module that chooses a format, by the ending."""

import os
from pathlib import Path

import xarray as xr

from refspace.formats.nifti import (
    NiftiStream,
    read_nifti,
    read_nifti_image,
    stream_nifti_image,
    write_nifti,
)
from refspace.formats.nrrd import (
    NrrdStream,
    read_nrrd,
    read_nrrd_image,
    stream_nrrd_image,
    write_nrrd,
)
from refspace.formats.voxel_files import VoxelStream
from refspace.types import PathLike, Resolution

_NRRD_ENDINGS = (".nrrd", ".nhdr")
_NIFTI_ENDINGS = (".nii", ".nii.gz", ".hdr", ".img", ".hdr.gz", ".img.gz")


def is_volume_file(path: PathLike) -> bool:
    """Whether a path has the ending of a file format of volumes, and is no URL.

    Examples
    --------
    >>> is_volume_file("annotation_25.nrrd"), is_volume_file("MNI152.NII.GZ")
    (True, True)
    >>> is_volume_file("atlas.zarr"), is_volume_file("s3://bucket/atlas.nii.gz")
    (False, False)
    """
    name = os.fspath(path).lower()
    return name.endswith((*_NRRD_ENDINGS, *_NIFTI_ENDINGS)) and "://" not in name


def _is_nifti(path: PathLike) -> bool:
    return Path(path).name.lower().endswith(_NIFTI_ENDINGS)


def read_volume(
    path: PathLike,
    *,
    resolution: Resolution | None = None,
    orientation: str | None = None,
) -> xr.DataArray:
    """Open a file as a lazy volume of labels: NIfTI by its ending, anything else as NRRD.

    Parameters
    ----------
    path, resolution, orientation
        As for `read_nrrd` and `read_nifti`.
    """
    read = read_nifti if _is_nifti(path) else read_nrrd
    return read(path, resolution=resolution, orientation=orientation)


def read_image(
    path: PathLike,
    *,
    resolution: Resolution | None = None,
    orientation: str | None = None,
) -> xr.DataArray:
    """Open a file as a lazy image of intensities: NIfTI by its ending, anything else as NRRD.

    Unlike labels, intensities are scaled as the file says, and may be series or have channels.

    Parameters
    ----------
    path, resolution, orientation
        As for `read_nrrd` and `read_nifti`.

    Raises
    ------
    FormatError, GridError, MissingDependencyError, OSError
        As for `read_nrrd_image` and `read_nifti_image`.
    """
    read = read_nifti_image if _is_nifti(path) else read_nrrd_image
    return read(path, resolution=resolution, orientation=orientation)


def stream_image(
    path: PathLike,
    *,
    resolution: Resolution | None = None,
    orientation: str | None = None,
) -> VoxelStream:
    """Open an image of one volume to be read slab by slab.

    Parameters
    ----------
    path, resolution, orientation
        As for `read_nrrd` and `read_nifti`.

    Raises
    ------
    FormatError, GridError, MissingDependencyError, OSError
        As for `read_image`; FormatError also if there are several volumes.
    """
    stream = stream_nifti_image if _is_nifti(path) else stream_nrrd_image
    return stream(path, resolution=resolution, orientation=orientation)


def stream_volume(
    path: PathLike,
    *,
    resolution: Resolution | None = None,
    orientation: str | None = None,
) -> VoxelStream:
    """Open a file to be read slab by slab.

    Parameters
    ----------
    path, resolution, orientation
        As for `read_nrrd` and `read_nifti`.
    """
    stream = NiftiStream if _is_nifti(path) else NrrdStream
    return stream(path, resolution=resolution, orientation=orientation)


def write_volume(path: PathLike, array: xr.DataArray, *, scheduler: str | None = None) -> None:
    """Write a volume with its geometry: NIfTI by the ending of the name, anything else as NRRD.

    Parameters
    ----------
    path, array, scheduler
        As for `write_nrrd` and `write_nifti`.
    """
    write = write_nifti if _is_nifti(path) else write_nrrd
    write(path, array, scheduler=scheduler)
