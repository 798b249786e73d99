"""Where the voxels of a NIfTI file are: behind the header, or in the other file of a pair."""

import re
from dataclasses import dataclass

from refspace.errors import FormatError
from refspace.formats.beside import beside, file_name
from refspace.formats.encoded_voxels import MAX_DEFLATE_RATIO, Encoding
from refspace.formats.source_file import SourceFile

_PAIR = re.compile(r"(.+)\.(hdr)(\.gz)?", re.IGNORECASE)


@dataclass(frozen=True)
class DataPlace:
    """Where the voxels are, checked against the size of their file.

    Parameters
    ----------
    files
        The file; or those of a pair.
    encoding
        How the file of the voxels is encoded.
    offset
        Position of the voxels in what is decoded of it.
    """

    files: tuple[SourceFile, ...]
    encoding: Encoding
    offset: int


def data_place(
    source: SourceFile, encoding: Encoding, offset: int, nbytes: int, *, is_pair: bool
) -> DataPlace:
    """Where the voxels are that a header describes.

    Parameters
    ----------
    source, encoding
        File of the header, and how it is encoded.
    offset
        Position of the voxels, as stated.
    nbytes
        Size of the decoded voxels.
    is_pair
        Whether the voxels are in another file, which has the same name but for its ending.

    Raises
    ------
    FormatError
        If they are not, or their file is of another size.
    """
    place = DataPlace((source,), encoding, offset)
    if is_pair:
        name = voxel_name(source.path)
        other: Encoding = "gzip" if name.lower().endswith(".gz") else "raw"
        place = DataPlace((source, beside(source, name)), other, offset)
    _check_size(offset + nbytes, place.files[-1].size, place.encoding)
    return place


def voxel_name(path: str) -> str:
    """Name of the file of voxels that belongs to one of a header.

    Raises
    ------
    FormatError
        If its name is not that of a pair.

    Examples
    --------
    >>> voxel_name("/data/T1.hdr"), voxel_name("T1.HDR.gz")
    ('T1.img', 'T1.IMG.gz')
    """
    match = _PAIR.fullmatch(file_name(path))
    if match is None:
        raise FormatError(
            "header and voxels are in two files, but the name of the header does not end in .hdr; "
            "name them like T1.hdr and T1.img, or save both in one .nii or .nii.gz"
        )
    stem, ending, packed = match.groups()
    return f"{stem}.{'IMG' if ending.isupper() else 'img'}{packed or ''}"


def _check_size(needed: int, stored: int, encoding: Encoding) -> None:
    most = stored * (MAX_DEFLATE_RATIO if encoding == "gzip" else 1)
    if needed > most or (encoding == "raw" and needed != stored):
        raise FormatError(
            f"vox_offset, dim and datatype make {needed} bytes, but the file holds {stored} bytes"
            + (f", which can be at most {most}" if encoding == "gzip" else "")
            + "; the file is cut short or its header is wrong: get it again"
        )
