"""Volumes in files of any format: the one module that chooses a format, by the content."""

from collections.abc import Callable, Mapping
from typing import Any

import xarray as xr

from refspace.errors import FormatError
from refspace.formats.headers import VolumeHeader
from refspace.formats.metaimage import METAIMAGE, write_metaimage
from refspace.formats.mgh import MGH
from refspace.formats.names import ENDINGS, METAIMAGE_ENDINGS, output_ending
from refspace.formats.nifti import NIFTI, nifti_head, write_nifti
from refspace.formats.npy import NPY
from refspace.formats.nrrd import NRRD, nrrd_head, write_nrrd
from refspace.formats.recognise import describe_foreign, read_start, recognise
from refspace.formats.source_file import opened_source
from refspace.formats.spacing import StatedSpacing
from refspace.formats.tiff import TIFF, TIFF_ENDINGS, write_tiff
from refspace.formats.volume_format import Given, VolumeFormat
from refspace.formats.voxel_files import VoxelStream
from refspace.formats.voxel_output import VoxelFileHead
from refspace.grid import Grid
from refspace.types import PathLike, Resolution

_FORMATS = {form.name: form for form in (NRRD, NIFTI, MGH, METAIMAGE, TIFF, NPY)}
_WRITERS: dict[tuple[str, ...], Callable[..., None]] = {
    (".nrrd",): write_nrrd,
    (".nii", ".nii.gz"): write_nifti,
    METAIMAGE_ENDINGS: write_metaimage,
    TIFF_ENDINGS: write_tiff,
}
# Relative error of lengths in single precision.
_SINGLE = 1e-5


def open_header(
    path: PathLike,
    *,
    is_image: bool = False,
    geometry: bool = True,
    storage_options: Mapping[str, Any] | None = None,
) -> tuple[VolumeFormat, VolumeHeader]:
    """Recognise a file by its content, and read its header; no voxel is read.

    Parameters
    ----------
    path
        Path or URL.
    is_image, geometry
        As for `HeaderParser`.
    storage_options
        What fsspec needs to reach a URL.

    Raises
    ------
    FormatError
        If it is damaged, or of no format that is read; the message names what it is.
    MissingDependencyError
        If a package that reads it is not installed.
    OSError
        If it cannot be read.
    """
    with opened_source(path, storage_options) as (source, file):
        form = _recognised(read_start(file), source.path)
        return form, form.parse(source, file, is_image=is_image, geometry=geometry)


def _recognised(start: bytes, path: str) -> VolumeFormat:
    if (name := recognise(start)) is not None:
        return _FORMATS[name]
    told = describe_foreign(start, path)
    lowered = path.lower()
    # A damaged file: what its format says of it tells more.
    named = [name for ending, name in ENDINGS.items() if lowered.endswith(ending)]
    if named and "like no format" in told:
        return _FORMATS[named[0]]
    raise FormatError(told)


def stated_spacing(
    path: PathLike, storage_options: Mapping[str, Any] | None = None
) -> StatedSpacing:
    """What the header of a file says of the lengths of its voxels.

    Raises
    ------
    FormatError, GridError, OSError
        As for `read_volume`.
    """
    return open_header(path, storage_options=storage_options)[1].stated


def read_volume(
    path: PathLike,
    *,
    resolution: Resolution | None = None,
    orientation: str | None = None,
    override: bool = False,
    like: Grid | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> xr.DataArray:
    """Open a file as a lazy volume of labels, of the format that its content is of.

    Parameters
    ----------
    path, resolution, orientation, override, like, storage_options
        As for `read_nrrd`.

    Raises
    ------
    FormatError, GridError, MissingDependencyError, OSError
        As for `open_header` and `read_nrrd`.
    """
    form, header = open_header(path, storage_options=storage_options)
    return form.labels(header, Given(resolution, orientation, override, like))


def read_image_file(
    path: PathLike,
    *,
    resolution: Resolution | None = None,
    orientation: str | None = None,
    override: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> xr.DataArray:
    """Open a file as a lazy image of intensities, of the format that its content is of.

    Unlike labels, intensities are scaled as the file says, and may be series or have channels.

    Parameters
    ----------
    path, resolution, orientation, override, storage_options
        As for `read_nrrd`.

    Raises
    ------
    FormatError, GridError, MissingDependencyError, OSError
        As for `open_header` and `read_nrrd_image`.
    """
    form, header = open_header(path, is_image=True, storage_options=storage_options)
    return form.image(header, Given(resolution, orientation, override))


def read_voxels(
    path: PathLike,
    *,
    is_image: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> xr.DataArray:
    """Open a file as a lazy array, whatever its header says, or not, of where its voxels are.

    Parameters
    ----------
    path
        Path or URL.
    is_image
        Whether it holds intensities, as of `read_image_file`; else labels, as of `read_volume`.
    storage_options
        What fsspec needs to reach a URL.

    Returns
    -------
    xarray.DataArray
        Its axes of space, the last three, are ``i``, ``j`` and ``k``, in the order in which the
        volume has them.

    Raises
    ------
    FormatError, MissingDependencyError, OSError
        As for `open_header`.
    """
    form, header = open_header(
        path, is_image=is_image, geometry=False, storage_options=storage_options
    )
    return form.voxels(header)


def stream_volume(
    path: PathLike,
    *,
    is_image: bool = False,
    resolution: Resolution | None = None,
    orientation: str | None = None,
    override: bool = False,
    like: Grid | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> VoxelStream:
    """Open a file of one volume to be read slab by slab.

    Parameters
    ----------
    path, resolution, orientation, override, like, storage_options
        As for `read_nrrd`.
    is_image
        Whether it holds intensities; else labels.

    Raises
    ------
    FormatError, GridError, MissingDependencyError, OSError
        As for `read_volume`; FormatError also if there are several volumes.
    """
    form, header = open_header(path, is_image=is_image, storage_options=storage_options)
    given = Given(resolution, orientation, override, like)
    return form.stream(header, given, is_image=is_image)


def volume_head(path: PathLike, array: xr.DataArray) -> VoxelFileHead | None:
    """What the file of a volume has before its voxels; None if they cannot be made part by part.

    Parameters
    ----------
    path, array
        As for `write_volume`, which raises the same.
    """
    heads = {".nrrd": nrrd_head, ".nii": nifti_head, ".nii.gz": nifti_head}
    make = heads.get(output_ending(path))
    return None if make is None else make(path, array)


def write_volume(path: PathLike, array: xr.DataArray, *, scheduler: str | None = None) -> None:
    """Write a volume with its geometry, in the format of the ending of the name.

    Parameters
    ----------
    path, array, scheduler
        As for `write_nrrd`, `write_nifti`, `write_metaimage` and `write_tiff`.

    Raises
    ------
    FormatError
        If the ending is not among `OUTPUT_ENDINGS`, and as of these.
    AnnotationError, GridError, MissingDependencyError, OSError
        As of these.
    """
    ending = output_ending(path)
    write = next(write for endings, write in _WRITERS.items() if ending in endings)
    write(path, array, scheduler=scheduler)
