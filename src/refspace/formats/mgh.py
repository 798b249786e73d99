"""MGH and MGZ files, volumes of FreeSurfer: their headers are parsed by nibabel, which is optional.

Source of the format: https://surfer.nmr.mgh.harvard.edu/fswiki/FsTutorial/MghFormat. All numbers
are big-endian; a MGZ file is a MGH file that is compressed by gzip. Behind the voxels may be
parameters of the scan, which are of no concern here.
"""

import math
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from refspace.errors import FormatError, GridError
from refspace.formats.affines import (
    form_from_affine,
    nibabel,
    positive_spacing,
    single_micrometres,
)
from refspace.formats.encoded_voxels import MAX_DEFLATE_RATIO, EncodedVoxels
from refspace.formats.gzip_start import read_inflated
from refspace.formats.headers import Form, VolumeHeader
from refspace.formats.intensities import ImageFile, OtherAxis
from refspace.formats.source_file import SourceFile
from refspace.formats.spacing import UNSTATED, StatedSpacing
from refspace.formats.volume_format import VolumeFormat
from refspace.limits import limit

# The voxels begin there; most of what is before is not in use.
_DATA_OFFSET = 284
_TYPES = {0: ">u1", 1: ">i4", 3: ">f4", 4: ">i2", 10: ">u2"}
# µm per unit: lengths are in mm.
_SCALE = 1e3
# Directions are cosines in single precision, of rotations that were computed.
_NOISE = 1e-6
_LARGEST = 1e9
_SINGLE = 1e-5
_DAMAGED = "the file is damaged, get it again"


def parse_header(
    source: SourceFile, file: BinaryIO, *, is_image: bool = False, geometry: bool = True
) -> VolumeHeader:
    """Parse and check the header of a MGH or MGZ file; no voxel is read.

    Parameters
    ----------
    source, file, is_image, geometry
        As for `HeaderParser`.

    Raises
    ------
    FormatError
        If the file is of no such format, is damaged, or holds several volumes of labels.
    MissingDependencyError
        If nibabel is not installed.
    OSError
        If the file cannot be read.
    """
    encoding, start = read_inflated(file, _DATA_OFFSET)
    header = _parse(start)
    shape, frames, dtype = _shape(header), int(header["dims"][3]), _dtype(header)
    if frames > 1 and not is_image:
        raise FormatError(
            f"it holds {frames} frames; a volume of labels has one: save the one that is wanted"
        )
    nbytes = math.prod(shape) * frames * dtype.itemsize
    _check_size(_DATA_OFFSET + nbytes, source.size, encoding)
    others = (OtherAxis("frame", 3, frames),) if frames > 1 else ()
    voxels = EncodedVoxels(
        (source,),
        (*shape, *(other.length for other in others)),
        dtype,
        encoding,
        data_offset=0 if encoding == "gzip" else _DATA_OFFSET,
        skipped=_DATA_OFFSET if encoding == "gzip" else 0,
        trailing=True,
    )
    stated, forms, fault = _geometry_or_fault(header, shape) if geometry else (UNSTATED, (), None)
    return VolumeHeader(
        ImageFile(voxels, others=others),
        stated,
        forms,
        fault=fault,
        precision=_SINGLE,
        unoriented="the header says that its directions are not known (goodRASFlag)",
    )


def _parse(start: bytes) -> Any:
    """Fields of the header, as they stand there."""
    package = nibabel("MGH")
    if len(start) < _DATA_OFFSET or int.from_bytes(start[:4], "big") != 1:
        raise FormatError(
            f"not a MGH file: it {f'starts with {start[:20]!r}' if start else 'is empty'}; check "
            "what was saved"
        )
    fields = package.freesurfer.mghformat.MGHHeader.template_dtype
    # Not as nibabel's header, which puts its own directions where they are not known.
    record = np.frombuffer(start.ljust(fields.itemsize, b"\0"), fields, 1)[0]
    return record


def _shape(header: Any) -> tuple[int, int, int]:
    lengths = [int(n) for n in header["dims"]]
    if min(lengths) < 1:
        raise FormatError(f"the header states lengths of {lengths}; each is 1 at least: {_DAMAGED}")
    a, b, c, _ = lengths
    return a, b, c


def _dtype(header: Any) -> np.dtype[Any]:
    code = int(header["type"])
    if code not in _TYPES:
        raise FormatError(
            f"type {code} is not supported; save it with uchar, short, ushort, int or float "
            "(mri_convert --out_data_type)"
        )
    return np.dtype(_TYPES[code])


def _check_size(needed: int, stored: int, encoding: str) -> None:
    is_gzip = encoding == "gzip"
    most = stored * (MAX_DEFLATE_RATIO if is_gzip else 1)
    if needed > most or (not is_gzip and stored - needed > limit("header_bytes")):
        raise FormatError(
            f"lengths and type make {needed} bytes with the header, but the file holds {stored} "
            f"bytes{f', which can be at most {most}' if is_gzip else ''}; the file is cut short or "
            "its header is wrong: get it again"
        )


# ----- position of the voxels


def _geometry_or_fault(
    header: Any, shape: tuple[int, int, int]
) -> tuple[StatedSpacing, tuple[Form, ...], str | None]:
    """What a header states of the position of the voxels, or else what is wrong with it."""
    try:
        if int(header["goodRASFlag"]) <= 0:
            return _spacing(header), (), None
        form = form_from_affine(_affine(header, shape), "directions", _SCALE, shape, noise=_NOISE)
    except GridError as error:
        return UNSTATED, (), str(error)
    return StatedSpacing(form.spacing), (form,), None


def _spacing(header: Any) -> StatedSpacing:
    """Spacing of a volume whose directions are not known; it may not be stated either."""
    delta = header["delta"]
    if not ((delta > 0) & (delta < _LARGEST)).all():
        return UNSTATED
    lengths = [single_micrometres(float(n), _SCALE, "delta") for n in delta]
    return StatedSpacing(positive_spacing(lengths))


def _affine(header: Any, shape: tuple[int, int, int]) -> NDArray[np.float64]:
    """Affine to RAS+ in mm: the header states the directions, and the position of the middle.

    The middle is that of the volume's corners, of which the first is at the first voxel's centre.
    """
    cosines, delta, middle = (_decimals(header[name]) for name in ("Mdc", "delta", "Pxyz_c"))
    if not all((np.abs(numbers) < _LARGEST).all() for numbers in (cosines, delta, middle)):
        raise FormatError(f"the directions hold numbers that are no lengths; {_DAMAGED}")
    affine = np.eye(4)
    affine[:3, :3] = cosines.T * delta
    affine[:3, 3] = middle - affine[:3, :3] @ np.array(shape) / 2
    return affine


def _decimals(numbers: Any) -> NDArray[np.float64]:
    """Numbers in single precision, as they are meant: 0.8 and not 0.800000011920929."""
    return np.array([float(str(n)) for n in numbers.ravel()]).reshape(numbers.shape)


MGH = VolumeFormat("mgh", parse_header)
