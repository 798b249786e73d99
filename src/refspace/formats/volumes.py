"""Volumes in files of any format: the one module that chooses a format, by the ending."""

import os
from dataclasses import replace
from pathlib import Path

import xarray as xr

from refspace.errors import FormatError, GridError
from refspace.formats import nifti, nrrd
from refspace.formats.intensities import ImageFile
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
from refspace.formats.spacing import StatedSpacing, settle_spacing
from refspace.formats.voxel_files import VoxelStream, naming
from refspace.grid import Grid, Triple
from refspace.safe_text import shown
from refspace.types import PathLike, Resolution

OUTPUT_ENDINGS = (".nrrd", ".nii", ".nii.gz")
"""Endings of the names of volumes that are written."""

_NRRD_ENDINGS = (".nrrd", ".nhdr")
# Relative error of lengths in single precision.
_SINGLE = 1e-5
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


def output_ending(path: PathLike) -> str:
    """Ending of the name of a volume to write, checked to be one of a format that is written.

    Raises
    ------
    FormatError
        If it is not among `OUTPUT_ENDINGS`.

    Examples
    --------
    >>> output_ending("sub-01_dseg.nii.gz"), output_ending("mask.nrrd")
    ('.nii.gz', '.nrrd')
    """
    name = Path(path).name
    # The longest, for ".nii.gz" is no ".gz" of anything else.
    for ending in sorted(OUTPUT_ENDINGS, key=len, reverse=True):
        if name.endswith(ending) and name != ending:
            return ending
    raise FormatError(
        f"{shown(os.fspath(path))} does not end in {', '.join(OUTPUT_ENDINGS[:-1])} or "
        f"{OUTPUT_ENDINGS[-1]}; volumes are written as what their names end in"
    )


def is_output(path: PathLike) -> bool:
    """Whether a volume is written as what the name ends in.

    Examples
    --------
    >>> is_output("mask.nrrd"), is_output("masks")
    (True, False)
    """
    try:
        output_ending(path)
    except FormatError:
        return False
    return True


def refuse_override(url: object, override: bool) -> None:
    """Refuse to overrule the header of what is no file with one.

    Raises
    ------
    GridError
        If it is asked for.
    """
    if override:
        raise GridError(
            f"override=True is for headers of NRRD and NIfTI files, and {url} is none; leave it out"
        )


def stated_spacing(path: PathLike) -> StatedSpacing:
    """What the header of a file says of the lengths of its voxels.

    Raises
    ------
    FormatError, GridError, OSError
        As for `read_volume`.
    """
    read = nifti.read_header if _is_nifti(path) else nrrd.read_header
    return read(path).stated


def check_spacing(path: PathLike, spacing: Triple) -> None:
    """Refuse a file whose lengths differ from those of another volume by more than their unit.

    Where a file states no unit, what the caller says of it counts; what another volume says, not.

    Raises
    ------
    GridError
        If they do.
    FormatError, OSError
        As for `read_volume`.
    """
    with naming(os.fspath(path)):
        settle_spacing(replace(stated_spacing(path), is_open=False), spacing, rtol=_SINGLE)


def _is_nifti(path: PathLike) -> bool:
    return Path(path).name.lower().endswith(_NIFTI_ENDINGS)


def read_volume(
    path: PathLike,
    *,
    resolution: Resolution | None = None,
    orientation: str | None = None,
    override: bool = False,
    like: Grid | None = None,
) -> xr.DataArray:
    """Open a file as a lazy volume of labels: NIfTI by its ending, anything else as NRRD.

    Parameters
    ----------
    path, resolution, orientation, override, like
        As for `read_nrrd` and `read_nifti`.
    """
    read = read_nifti if _is_nifti(path) else read_nrrd
    return read(path, resolution=resolution, orientation=orientation, override=override, like=like)


def read_image(
    path: PathLike,
    *,
    resolution: Resolution | None = None,
    orientation: str | None = None,
    override: bool = False,
) -> xr.DataArray:
    """Open a file as a lazy image of intensities: NIfTI by its ending, anything else as NRRD.

    Unlike labels, intensities are scaled as the file says, and may be series or have channels.

    Parameters
    ----------
    path, resolution, orientation, override
        As for `read_nrrd` and `read_nifti`.

    Raises
    ------
    FormatError, GridError, MissingDependencyError, OSError
        As for `read_nrrd_image` and `read_nifti_image`.
    """
    read = read_nifti_image if _is_nifti(path) else read_nrrd_image
    return read(path, resolution=resolution, orientation=orientation, override=override)


def read_voxels(path: PathLike, *, is_image: bool = False) -> xr.DataArray:
    """Open a file as a lazy array, whatever its header says, or not, of where its voxels are.

    Parameters
    ----------
    path
        The file.
    is_image
        Whether it holds intensities, as of `read_image`; else labels, as of `read_volume`.

    Returns
    -------
    xarray.DataArray
        Its axes of space, the last three, are ``i``, ``j`` and ``k``, in the order of the file.

    Raises
    ------
    FormatError, MissingDependencyError, OSError
        As for `read_image` and `read_volume`.
    """
    is_nifti = _is_nifti(path)
    if is_image:
        read_image_header = nifti.read_image_header if is_nifti else nrrd.read_image_header
        image = read_image_header(path, geometry=False)[1]
    else:
        read_header = nifti.read_header if is_nifti else nrrd.read_header
        image = ImageFile(read_header(path, geometry=False))
    name = Path(path).name.partition(".")[0]
    return image.lazy_image("nifti" if is_nifti else "nrrd", None, name)


def stream_image(
    path: PathLike,
    *,
    resolution: Resolution | None = None,
    orientation: str | None = None,
    override: bool = False,
    like: Grid | None = None,
) -> VoxelStream:
    """Open an image of one volume to be read slab by slab.

    Parameters
    ----------
    path, resolution, orientation, override, like
        As for `read_nrrd` and `read_nifti`.

    Raises
    ------
    FormatError, GridError, MissingDependencyError, OSError
        As for `read_image`; FormatError also if there are several volumes.
    """
    stream = stream_nifti_image if _is_nifti(path) else stream_nrrd_image
    return stream(
        path, resolution=resolution, orientation=orientation, override=override, like=like
    )


def stream_volume(
    path: PathLike,
    *,
    resolution: Resolution | None = None,
    orientation: str | None = None,
    override: bool = False,
    like: Grid | None = None,
) -> VoxelStream:
    """Open a file to be read slab by slab.

    Parameters
    ----------
    path, resolution, orientation, override, like
        As for `NrrdStream` and `NiftiStream`.
    """
    stream = NiftiStream if _is_nifti(path) else NrrdStream
    return stream(
        path, resolution=resolution, orientation=orientation, override=override, like=like
    )


def write_volume(path: PathLike, array: xr.DataArray, *, scheduler: str | None = None) -> None:
    """Write a volume with its geometry, in the format of the ending of the name.

    Parameters
    ----------
    path, array, scheduler
        As for `write_nrrd` and `write_nifti`.

    Raises
    ------
    FormatError
        If the ending is not among `OUTPUT_ENDINGS`, and as of these.
    AnnotationError, GridError, MissingDependencyError, OSError
        As of `write_nrrd` and `write_nifti`.
    """
    write = write_nrrd if output_ending(path) == ".nrrd" else write_nifti
    write(path, array, scheduler=scheduler)
