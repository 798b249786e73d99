"""Names of files of volumes, and whether a path or URL is that of one rather than of a store.

No library that reads or makes arrays is needed to tell.
"""

import os
from contextlib import suppress
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from refspace.errors import FormatError, GridError, RefspaceError
from refspace.formats.endings import ending_error
from refspace.formats.recognise import read_start, recognise
from refspace.formats.source_file import is_url
from refspace.remote.objects import read_url
from refspace.signatures import START_BYTES, is_zip
from refspace.types import PathLike

# Endings of names, and what files of them are whose content says nothing.
ENDINGS = {
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
METAIMAGE_ENDINGS = (".mha", ".mhd")
OUTPUT_ENDINGS = (".nrrd", ".nii", ".nii.gz", *METAIMAGE_ENDINGS, ".tif", ".tiff")
"""Endings of the names of volumes that are written."""


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
    return name.lower().endswith((*ENDINGS, *_UNREAD))


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
        forms = (ending,) if ending in METAIMAGE_ENDINGS else (ending, ending.upper())
        if name.endswith(forms) and name not in forms:
            return ending
    raise ending_error(path, OUTPUT_ENDINGS, "volumes are written as what their names end in")


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
