"""First bytes of what people have where a zarr store, or its JSON, is expected."""

from refspace.remote.http_responses import is_web_page

# Where the signature of HDF5 may be: MATLAB and others put a block of their own before it.
_HDF5, _HDF5_OFFSETS = b"\x89HDF\r\n\x1a\n", (0, 512, 1024, 2048)
START_BYTES = 2048 + len(_HDF5)
"""How many bytes of a file are looked at."""

_ZIP, _LFS = b"PK\x03\x04", b"version https://git-lfs"


def kind_of_content(start: bytes, name: str = "") -> str | None:
    """What content is that begins like something known, and the way out; None if it is unknown.

    Parameters
    ----------
    start
        Its first bytes.
    name
        Path or URL of the file, whose ending tells the formats within HDF5 apart.

    Examples
    --------
    >>> kind_of_content(b"<!DOCTYPE html><html>")
    'an HTML page: the URL is that of a page, and not of the data'
    """
    if any(start[offset:].startswith(_HDF5) for offset in _HDF5_OFFSETS):
        if name.lower().endswith(".ims"):
            return "an Imaris file: convert it to OME-Zarr, for instance with bioformats2raw"
        return (
            "an HDF5 file: save the volume in it as zarr, NRRD or NIfTI, for instance with h5py "
            "and zarr.save"
        )
    if is_web_page(start):
        return "an HTML page: the URL is that of a page, and not of the data"
    if start.startswith(_ZIP):
        return f"a zip archive: give zip://::{name} if the store is at its root, or unpack it"
    if start.startswith(_LFS):
        return "a pointer of Git LFS, and not the file: get it with git lfs pull"
    return None
