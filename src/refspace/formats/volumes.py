"""Volumes in files of any format: the one module that chooses a format, by the content."""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

import xarray as xr

from refspace.errors import FormatError, GridError, RefspaceError
from refspace.formats.headers import VolumeHeader
from refspace.formats.metaimage import METAIMAGE, write_metaimage
from refspace.formats.mgh import MGH
from refspace.formats.nifti import NIFTI, write_nifti
from refspace.formats.npy import NPY
from refspace.formats.nrrd import NRRD, write_nrrd
from refspace.formats.recognise import describe_foreign, read_start, recognise
from refspace.formats.source_file import is_url, opened_source
from refspace.formats.spacing import StatedSpacing
from refspace.formats.tiff import TIFF, TIFF_ENDINGS, write_tiff
from refspace.formats.volume_format import Given, VolumeFormat
from refspace.formats.voxel_files import VoxelStream
from refspace.grid import Grid
from refspace.remote.objects import read_url
from refspace.safe_text import shown
from refspace.signatures import START_BYTES, is_zip
from refspace.types import PathLike, Resolution

_FORMATS = {form.name: form for form in (NRRD, NIFTI, MGH, METAIMAGE, TIFF, NPY)}
# Endings of names, and what files of them are whose content says nothing.
_ENDINGS = {
    **dict.fromkeys((".nrrd", ".nhdr"), "nrrd"),
    **dict.fromkeys((".nii", ".nii.gz", ".hdr", ".img", ".hdr.gz", ".img.gz"), "nifti"),
    **dict.fromkeys((".mgh", ".mgz", ".mgh.gz"), "mgh"),
    **dict.fromkeys((".tif", ".tiff", ".btf", ".tf8"), "tiff"),
    **dict.fromkeys((".mha", ".mhd"), "metaimage"),
    ".npy": "npy",
}
# Of files that cannot be read, which are opened to say what they are.
_UNREAD = (".h5", ".hdf5", ".ims", ".mnc", ".czi", ".nd2", ".lif", ".dcm", ".png", ".jpg", ".mat")
# Metadata of a store: who gives one of these means the folder that it is in.
_OF_ZARR = ("zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata")
# ITK does not recognise them in capitals; of others it does, but not in mixed letters.
_METAIMAGE = (".mha", ".mhd")
_WRITERS: dict[tuple[str, ...], Callable[..., None]] = {
    (".nrrd",): write_nrrd,
    (".nii", ".nii.gz"): write_nifti,
    _METAIMAGE: write_metaimage,
    TIFF_ENDINGS: write_tiff,
}
OUTPUT_ENDINGS = tuple(ending for endings in _WRITERS for ending in endings)
"""Endings of the names of volumes that are written."""
# Relative error of lengths in single precision.
_SINGLE = 1e-5


def is_volume_file(path: PathLike) -> bool:
    """Whether a path or URL is that of a file, rather than of a store.

    Of this machine it is, if there is a file that is no zip archive and no metadata of a store,
    whatever its name; or nothing, and the name ends like one. Of a URL the name decides. Of one of
    HTTP that ends like neither, as of a download by number, the first bytes do.

    Examples
    --------
    >>> is_volume_file("annotation_25.nrrd"), is_volume_file("s3://bucket/MNI152.NII.GZ")
    (True, True)
    >>> is_volume_file("atlas.zarr"), is_volume_file("https://host/atlas.zarr?key=7")
    (False, False)
    """
    if is_url(path):
        url = urlsplit(os.fspath(path))
        return _is_named_like_one(url.path) or _begins_like_one(url)
    local = Path(path)
    with suppress(OSError):
        if local.is_file() and local.name not in _OF_ZARR:
            with local.open("rb") as file:
                return not is_zip(read_start(file))
    return not local.is_dir() and _is_named_like_one(os.fspath(path))


def holds_volume(path: PathLike) -> bool:
    """Whether a file is of a format of volumes, read or not, rather than a table or a text.

    Examples
    --------
    >>> holds_volume("annotation_25.nrrd"), holds_volume("structures.json")
    (True, False)
    """
    if _is_named_like_one(urlsplit(os.fspath(path)).path if is_url(path) else os.fspath(path)):
        return True
    if is_url(path) or not Path(path).is_file():
        return False
    with Path(path).open("rb") as file:
        return recognise(read_start(file)) is not None


def _is_named_like_one(name: str) -> bool:
    return name.lower().endswith((*_ENDINGS, *_UNREAD))


def _begins_like_one(url: SplitResult) -> bool:
    """Whether a URL of HTTP whose name says nothing leads to a file that can be read."""
    if url.scheme not in ("http", "https") or ".zarr" in url.path or not url.path.strip("/"):
        return False
    with suppress(OSError, RefspaceError):
        return recognise(read_url(url.geturl(), limit=START_BYTES)) is not None
    return False


def output_ending(path: PathLike) -> str:
    """Ending of the name of a volume to write, in lower case, checked to be one that is written.

    Raises
    ------
    FormatError
        If it is not among `OUTPUT_ENDINGS`.

    Examples
    --------
    >>> output_ending("sub-01_dseg.nii.gz"), output_ending("MASK.NRRD")
    ('.nii.gz', '.nrrd')
    """
    name = Path(path).name
    # The longest, for ".nii.gz" is no ".gz" of anything else.
    for ending in sorted(OUTPUT_ENDINGS, key=len, reverse=True):
        forms = (ending,) if ending in _METAIMAGE else (ending, ending.upper())
        if name.endswith(forms) and name not in forms:
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
            f"override=True is for headers of files of volumes, and {url} is none; leave it out"
        )


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
    named = [name for ending, name in _ENDINGS.items() if lowered.endswith(ending)]
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
) -> VoxelStream:
    """Open a file of one volume to be read slab by slab.

    Parameters
    ----------
    path, resolution, orientation, override, like
        As for `read_nrrd`.
    is_image
        Whether it holds intensities; else labels.

    Raises
    ------
    FormatError, GridError, MissingDependencyError, OSError
        As for `read_volume`; FormatError also if there are several volumes.
    """
    form, header = open_header(path, is_image=is_image)
    given = Given(resolution, orientation, override, like)
    return form.stream(header, given, is_image=is_image)


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
