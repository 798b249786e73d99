"""Which format a file is of, by its first bytes: names of files may say anything.

What is known and not read is named, with a way out.
"""

import re
import zlib
from typing import BinaryIO

from refspace.safe_text import shown

# Bytes that tell: the magic of DICOM comes after 128, that of NIfTI-1 after 344.
START_BYTES = 2048
_GZIP = b"\x1f\x8b"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# Keys of MetaImage; files begin with any of them.
_META_KEY = re.compile(rb"\s*(ObjectType|NDims|Comment|ObjectSubType)\s*=")
# Length of the header of NIfTI by version; it is the first number of the file, in either order.
_NIFTI_LENGTHS = (348, 540)

_CONVERT = "convert it with the program that wrote it to NRRD, NIfTI or zarr"
_LATER = "unpack it first"
# Files that people give, by what they begin with: what they are, and the way out.
_FOREIGN: tuple[tuple[bytes, str, str], ...] = (
    (
        b"\x89HDF\r\n\x1a\n",
        "an HDF5 file (Imaris .ims, MINC 2, ilastik and others write such)",
        "read the dataset with h5py, and save it as NRRD, TIFF or zarr",
    ),
    (b"CDF", "a NetCDF or MINC 1 file", "open it with xarray or mnc2nii, and give that"),
    (b"version https://git-lfs", "a pointer of Git LFS, not the file itself", "run: git lfs pull"),
    (b"MATLAB 5.0", "a MATLAB file", "save the volume from MATLAB with niftiwrite"),
    (b"# vtk DataFile", "a VTK file", _CONVERT),
    (b"ZISRAWFILE", "a Zeiss CZI file", "convert it with bioformats2raw to OME-Zarr"),
    (b"\xda\xce\xbe\x0a", "a Nikon ND2 file", "convert it with bioformats2raw to OME-Zarr"),
    (b"\x89PNG", "a PNG picture", "give a volume: a stack of pictures as one TIFF file"),
    (b"\xff\xd8\xff", "a JPEG picture, whose values are not the original ones", "give a volume"),
    (b"BZh", "compressed by bzip2", _LATER),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", _LATER),
    (b"\xfd7zXZ", "compressed by xz", _LATER),
    (b"%PDF", "a PDF document", "give a volume"),
)
_ZIP = b"PK\x03\x04"


def is_zip(start: bytes) -> bool:
    """Whether a file is a zip archive, which may be a store of zarr."""
    return start.startswith(_ZIP)


def recognise(start: bytes) -> str | None:
    r"""Name of the format of a file that can be read; None of any other.

    Parameters
    ----------
    start
        Its first `START_BYTES`.

    Examples
    --------
    >>> recognise(b"NRRD0005\ntype: uint"), recognise(b"II*\0"), recognise(b"<html>")
    ('nrrd', 'tiff', None)
    """
    inflated = _inflated(start)
    if start.startswith(b"NRRD"):
        return "nrrd"
    if start.startswith(b"\x93NUMPY"):
        return "npy"
    if start.startswith(_TIFF):
        return "tiff"
    if _META_KEY.match(start):
        return "metaimage"
    if {int.from_bytes(inflated[:4], order) for order in ("little", "big")} & {*_NIFTI_LENGTHS}:
        return "nifti"
    if _is_mgh(inflated):
        return "mgh"
    return None


def _is_mgh(start: bytes) -> bool:
    """Whether a file begins like one of FreeSurfer: version 1, four lengths and a type."""
    numbers = [int.from_bytes(start[n : n + 4], "big") for n in range(0, 24, 4)]
    return len(start) >= 284 and numbers[0] == 1 and min(numbers[1:5]) > 0 and numbers[5] < 11


def describe_foreign(start: bytes) -> str:
    r"""What a file is that cannot be read, and the way out, in words.

    Parameters
    ----------
    start
        Its first `START_BYTES`.

    Examples
    --------
    >>> describe_foreign(b"\x89PNG")
    'is a PNG picture; give a volume: a stack of pictures as one TIFF file'
    """
    if not start:
        return "is empty; get it again"
    for magic, what, way_out in _FOREIGN:
        if start.startswith(magic):
            return f"is {what}; {way_out}"
    if start[128:132] == b"DICM":
        return "is a DICOM file; convert the series with dcm2niix, and give its .nii.gz"
    if is_zip(start):
        return "is a zip archive (NumPy's .npz is one); unpack it first"
    if start.startswith(_GZIP):
        return f"is compressed by gzip, and within it {describe_foreign(_inflated(start) or b'?')}"
    return _describe_text(start)


def _describe_text(start: bytes) -> str:
    text = start.decode("utf-8-sig", "replace").lstrip()
    lowered = text[:200].lower()
    if lowered.startswith(("<!doctype html", "<html")):
        return "is an HTML page; its URL is that of a page and not of the data, or wants a login"
    if text.startswith("<"):
        return "is XML; give a volume, and the structures after it"
    if text.startswith(("{", "[")):
        return "is JSON; give a volume, and the structures after it"
    return (
        f"starts with {shown(repr(start[:20]))}, like no format that is read: NRRD, NIfTI, MGH, "
        "MetaImage, TIFF, .npy; check what was saved"
    )


def _inflated(start: bytes) -> bytes:
    """First bytes of what is compressed by gzip; the bytes themselves, if they are not."""
    if not start.startswith(_GZIP):
        return start
    try:
        return zlib.decompressobj(wbits=31).decompress(start, START_BYTES)
    except zlib.error:
        return b""


def read_start(file: BinaryIO) -> bytes:
    """First bytes of a file, which is left where it was."""
    start = file.read(START_BYTES)
    file.seek(0)
    return start
