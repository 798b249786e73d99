"""First bytes of files that people have where a volume or a store is expected: what they are.

What is known and not read is named, with the way out.
"""

# Where the signature of HDF5 may be: MATLAB and others put a block of their own before it.
_HDF5, _HDF5_OFFSETS = b"\x89HDF\r\n\x1a\n", (0, 512, 1024, 2048)
START_BYTES = 2048 + len(_HDF5)
"""How many bytes of a file are looked at."""

_ZIP = b"PK\x03\x04"
_DICOM, _DICOM_OFFSET = b"DICM", 128
# How web pages begin, after blanks and a byte order mark, and in how many bytes.
_PAGE_STARTS = (b"<!doctype html", b"<html")
_BLANK = b"\xef\xbb\xbf \t\r\n"
_PAGE_HEAD = 256
_TO_ZARR = "convert it to OME-Zarr, for instance with bioformats2raw"
_UNPACK = "unpack it first"
# What files are that begin so, and the way out.
_KINDS: tuple[tuple[bytes, str, str], ...] = (
    (b"version https://git-lfs", "a pointer of Git LFS, and not the file", "run git lfs pull"),
    (b"/annex/objects/", "a pointer of git-annex, and not the file", "run git annex get"),
    (b"CDF", "a NetCDF or MINC 1 file", "open it with xarray or mnc2nii, and give that"),
    (b"MATLAB 5.0", "a MATLAB file", "save the volume from MATLAB with niftiwrite"),
    (b"# vtk DataFile", "a VTK file", "save it as NRRD, NIfTI or MetaImage, as ITK does"),
    (b"ZISRAWFILE", "a Zeiss CZI file", _TO_ZARR),
    (b"\xda\xce\xbe\x0a", "a Nikon ND2 file", _TO_ZARR),
    (b"\x89PNG", "a PNG picture", "give a volume, like a stack of pictures as one TIFF file"),
    (b"\xff\xd8\xff", "a JPEG picture, without the original values", "give a volume"),
    (b"BZh", "compressed by bzip2", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", _UNPACK),
    (b"\xfd7zXZ", "compressed by xz", _UNPACK),
    (b"%PDF", "a PDF document", "give a volume"),
)


def kind_of_content(start: bytes, name: str = "") -> str | None:
    """What content is that begins like something known, and the way out; None if it is unknown.

    Parameters
    ----------
    start
        Its first `START_BYTES`.
    name
        Path or URL of the file, whose ending tells the formats within HDF5 apart.

    Examples
    --------
    >>> kind_of_content(b"<!DOCTYPE html><html>")
    'an HTML page: the URL is that of a page and not of the data, or wants a login'
    """
    if any(start[offset:].startswith(_HDF5) for offset in _HDF5_OFFSETS):
        return _kind_of_hdf5(name)
    if is_web_page(start):
        return "an HTML page: the URL is that of a page and not of the data, or wants a login"
    if is_zip(start):
        return f"a zip archive: give zip://::{name} if a store is at its root, or unpack it"
    if start[_DICOM_OFFSET:].startswith(_DICOM):
        return "a DICOM file: convert the series with dcm2niix, and give its .nii.gz"
    kinds = (f"{what}: {way_out}" for magic, what, way_out in _KINDS if start.startswith(magic))
    return next(kinds, None)


def _kind_of_hdf5(name: str) -> str:
    if name.lower().endswith(".ims"):
        return f"an Imaris file: {_TO_ZARR}"
    return (
        "an HDF5 file: save the volume in it as zarr, NRRD or NIfTI, for instance with h5py and "
        "zarr.save"
    )


def is_zip(start: bytes) -> bool:
    """Whether content is a zip archive, which may be a store of zarr."""
    return start.startswith(_ZIP)


def is_markup(start: bytes) -> bool:
    """Whether content begins like HTML or XML."""
    return start[:_PAGE_HEAD].lstrip(_BLANK).startswith(b"<")


def is_web_page(start: bytes) -> bool:
    """Whether content begins like HTML.

    Examples
    --------
    >>> is_web_page(b" <!DOCTYPE html><html>"), is_web_page(b"NRRD0004")
    (True, False)
    """
    return start[:_PAGE_HEAD].lstrip(_BLANK).lower().startswith(_PAGE_STARTS)
