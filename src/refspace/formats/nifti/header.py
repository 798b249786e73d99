"""The header of a NIfTI file, parsed and checked before a voxel is read."""

import math
from collections.abc import Sequence
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from refspace.errors import FormatError, GridError
from refspace.formats.affines import (
    form_from_affine,
    nibabel,
    positive_spacing,
    single_micrometres,
)
from refspace.formats.encoded_voxels import EncodedVoxels
from refspace.formats.gzip_start import read_inflated
from refspace.formats.headers import Form, VolumeHeader
from refspace.formats.intensities import ImageFile, OtherAxis, Scaling
from refspace.formats.nifti.data import data_place
from refspace.formats.nifti.extensions import MAX_EXTENSION_BYTES, stated_sides
from refspace.formats.sides import NO_SIDES, StatedSides
from refspace.formats.source_file import SourceFile
from refspace.formats.spacing import UNSTATED, StatedSpacing
from refspace.grid import Triple

# Magic of headers whose voxels are in another file, .img.
_PAIRS = {1: b"ni1\0", 2: b"ni2\0"}
# Bytes of a header by version. Between it and the voxels there are only the extensions.
_HEADER_BYTES = {1: 348, 2: 540}
# µm per unit of length, by its code: 1 metre, 2 mm, 3 µm. Programs read code 0, unknown, as mm.
_UNITS = {0: 1e3, 1: 1e6, 2: 1e3, 3: 1.0}
_UNIT_BITS = 7
_TYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8")
# Of what is no real number, by its code: what can be saved instead.
_OTHER_TYPES = {
    **dict.fromkeys((32, 1792, 2048), ": of complex numbers the magnitude (numpy.abs)"),
    **dict.fromkeys((128, 2304), ": of colours (RGB) one channel, or the grey level"),
}
# Seconds per unit of time, by its code. Codes from 32 on are of spectra: Hz, ppm and rad/s.
_SECONDS = {8: 1.0, 16: 1e-3, 24: 1e-6}
_TIME_BITS, _SPECTRAL = 56, 32
# A quaternion is stored without its first number, which is computed as the root of a difference. In
# single precision, a half turn comes out up to 2.5e-4 off its axis.
_NOISE = {"qform": 1e-3}
# In any unit longer than lengths may be. Larger numbers would overflow what is computed of an
# affine.
_LARGEST = 1e9
# Relative error of lengths in single precision.
_SINGLE = 1e-5
_DAMAGED = "the file is damaged, get it again"


def parse_header(
    source: SourceFile, file: BinaryIO, *, is_image: bool = False, geometry: bool = True
) -> VolumeHeader:
    """Parse and check the header of a NIfTI file; no voxel is read.

    Parameters
    ----------
    source, file, is_image, geometry
        As for `HeaderParser`.

    Raises
    ------
    FormatError
        If the file is no three-dimensional volume that `read_nifti` can read. Of an image only what
        holds no real numbers, as complex ones and colours, is of no use.
    MissingDependencyError
        If nibabel is not installed.
    OSError
        If the file cannot be read.
    """
    encoding, data = read_inflated(file, max(_HEADER_BYTES.values()))
    version, header, is_pair = _parse(data, source.path)
    lengths, dtype = _lengths(header), _dtype(header)
    if not is_image:
        _refuse_series(header, lengths)
        _refuse_scaled(header)
    offset = _offset(header, 0 if is_pair else _HEADER_BYTES[version])
    nbytes = math.prod(lengths) * dtype.itemsize
    place = data_place(source, encoding, offset, nbytes, is_pair=is_pair)
    others = _others(header, lengths)
    voxels = EncodedVoxels(
        place.files,
        (*lengths[:3], *(other.length for other in others)),
        dtype,
        place.encoding,
        # In a compressed file, the header is part of the stream.
        data_offset=0 if place.encoding == "gzip" else offset,
        skipped=offset if place.encoding == "gzip" else 0,
    )
    stated, forms, fault = (
        _geometry_or_fault(header, lengths[:3]) if geometry else (UNSTATED, (), None)
    )
    return VolumeHeader(
        ImageFile(voxels, others=others, scaling=_scaling(header)),
        stated,
        forms,
        _sides(file, MAX_EXTENSION_BYTES if is_pair else offset, version) if geometry else NO_SIDES,
        fault,
        precision=_SINGLE,
        unoriented="the header has no sform or qform",
    )


def _sides(file: BinaryIO, end: int, version: int) -> StatedSides:
    """What a header extension states of hemispheres; none goes on beyond an end."""
    file.seek(0)
    start = read_inflated(file, min(end, MAX_EXTENSION_BYTES))[1]
    order: Literal["little", "big"] = (
        "little" if int.from_bytes(start[:4], "little") == _HEADER_BYTES[version] else "big"
    )
    return stated_sides(start[_HEADER_BYTES[version] :], order)


def _parse(data: bytes, path: str) -> tuple[int, Any, bool]:
    """Version, header, and whether it is of a pair, from the first bytes of a file."""
    package = nibabel()
    # A header begins with its own length, in the byte order of all that follows.
    lengths = {int.from_bytes(data[:4], order) for order in ("little", "big")}
    versions = [v for v, length in _HEADER_BYTES.items() if length in lengths]
    if not versions and path.lower().endswith((".img", ".img.gz")):
        raise FormatError("these are the voxels of a pair of files; give the .hdr file beside them")
    if not versions or len(data) < _HEADER_BYTES[versions[0]]:
        raise FormatError(
            f"not a NIfTI file: it {f'starts with {data[:20]!r}' if data else 'is empty'}; check "
            "what was saved"
        )
    (version,) = versions
    kind = {1: package.Nifti1Header, 2: package.Nifti2Header}[version]
    # Unchecked: nibabel would correct fields that look wrong, with an entry in its log.
    header = kind(data[: _HEADER_BYTES[version]], check=False)
    magic = bytes(header["magic"].item())[:3] + b"\0"
    if magic == _PAIRS[version]:
        return version, header, True
    if magic != b"n+%d\0" % version:
        raise FormatError(
            f"the header's magic is {header['magic'].item()!r}, not that of NIfTI-{version} (a "
            "file of ANALYZE 7.5 states no orientation); save the volume as NIfTI"
        )
    return version, header, False


def _lengths(header: Any) -> tuple[int, ...]:
    """Voxels along each axis that is in use, of three at least."""
    count, *lengths = (int(n) for n in header["dim"])
    used = lengths[: max(count, 0)]
    if not 3 <= count <= 7 or min(used) < 1:
        raise FormatError(
            f"dim is {[count, *lengths]}; a volume has three dimensions, and others may follow: "
            "save one that has"
        )
    return tuple(used)


def _refuse_series(header: Any, lengths: Sequence[int]) -> None:
    """Refuse several volumes: of labels there is one."""
    if any(n != 1 for n in lengths[3:]):
        raise FormatError(
            f"dim is {[int(n) for n in header['dim']]}; a volume has three dimensions, and any "
            "others of length 1: save one volume of it"
        )


def _dtype(header: Any) -> np.dtype[Any]:
    code = int(header["datatype"])
    types = {int(nibabel().nifti1.data_type_codes[np.dtype(t).type]): t for t in _TYPES}
    if code not in types:
        raise FormatError(
            f"datatype {code} is not supported; save it with integers of 8 to 64 bits, float or "
            f"double{_OTHER_TYPES.get(code, '')}"
        )
    dtype = np.dtype(types[code]).newbyteorder(header.endianness)
    if int(header["bitpix"]) != dtype.itemsize * 8:
        raise FormatError(f"datatype {code} has bitpix {int(header['bitpix'])}; {_DAMAGED}")
    return dtype


def _scaling(header: Any) -> Scaling:
    """What the stored numbers stand for."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    # By the format a slope of 0 means no scaling; slopes that are not finite are ignored, as
    # elsewhere.
    if not math.isfinite(slope) or slope == 0:
        return Scaling()
    if math.isnan(intercept) and slope == 1:
        return Scaling()
    if not math.isfinite(intercept):
        raise FormatError(
            f"scl_slope is {slope:g}, and scl_inter {intercept:g}, which is no number to add; "
            f"{_DAMAGED}"
        )
    return Scaling(slope, intercept)


def _refuse_scaled(header: Any) -> None:
    """Refuse voxels that are scaled to other values: a label is an id, not a measurement."""
    if not _scaling(header).is_identity:
        slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
        raise FormatError(
            f"voxels are scaled by scl_slope {slope:g} and scl_inter {intercept:g}; save the "
            "volume with the values that they stand for, as integers and without scaling"
        )


def _others(header: Any, lengths: Sequence[int]) -> tuple[OtherAxis, ...]:
    """Axes after those of space, along which there is more than one volume."""
    code = int(header["xyzt_units"]) & _TIME_BITS
    names = ("time" if code < _SPECTRAL else "frequency", "channel", "dim_6", "dim_7")
    step = _decimal(header["pixdim"][4]) * _SECONDS.get(code, math.nan)
    start = _decimal(header["toffset"]) * _SECONDS.get(code, math.nan)
    times = (start, step) if math.isfinite(start) and 0 < step < math.inf else (0.0, None)
    long = [n for n, length in enumerate(lengths[3:]) if length > 1]
    return tuple(
        OtherAxis(names[n], axis, lengths[3 + n], *(times if n == 0 else ()))
        for axis, n in enumerate(long, 3)
    )


def _offset(header: Any, least: int) -> int:
    """Position of the voxels in their file: at least so many bytes from its start."""
    offset = float(header["vox_offset"])
    if not (math.isfinite(offset) and offset >= least and offset == int(offset)):
        raise FormatError(f"vox_offset is {offset}; voxels start behind the header: {_DAMAGED}")
    return int(offset)


# ----- position of the voxels


def _geometry_or_fault(
    header: Any, shape: Sequence[int]
) -> tuple[StatedSpacing, tuple[Form, ...], str | None]:
    """What a header states of the position of the voxels, or else what is wrong with it."""
    try:
        return *_geometry(header, shape), None
    except GridError as error:
        return UNSTATED, (), str(error)


def _geometry(header: Any, shape: Sequence[int]) -> tuple[StatedSpacing, tuple[Form, ...]]:
    """Spacing, and the statements on the position of the voxels."""
    code = int(header["xyzt_units"]) & _UNIT_BITS
    if code not in _UNITS:
        raise FormatError(f"xyzt_units is {int(header['xyzt_units'])}, of no unit; {_DAMAGED}")
    scale = _UNITS[code]
    forms: list[Form] = []
    # The sform counts before the qform, as in other programs.
    for name, get in (("sform", header.get_sform), ("qform", header.get_qform)):
        if int(header[f"{name}_code"]) > 0:
            affine = _affine(get, name)
            is_first = not forms
            forms.append(
                form_from_affine(affine, name, scale, shape, noise=_NOISE.get(name))
                if is_first
                else _compared_form(affine, name)
            )
    # The vectors of a qform are computed from pixdim, which itself has no noise of rotations.
    if forms and forms[0].name == "sform":
        spacing = forms[0].spacing
    else:
        spacing = _pixdim(header, scale, is_stated=bool(code or forms))
    assumed = None if code else "millimetres, as programs read NIfTI files"
    return StatedSpacing(spacing, assumed, is_open=not (code or forms)), tuple(forms)


def _pixdim(header: Any, scale: float, *, is_stated: bool) -> Triple | None:
    """Spacing in the field for it; None where that is as programs leave it who do not know."""
    numbers = [abs(float(n)) for n in header["pixdim"][1:4]]
    if not is_stated and set(numbers) <= {0.0, 1.0}:
        return None
    return positive_spacing([single_micrometres(n, scale, "pixdim") for n in numbers])


def _affine(get: Any, name: str) -> NDArray[np.float64]:
    try:
        affine = np.asarray(get(), np.float64)
    except Exception as error:  # HeaderDataError, ValueError and others of nibabel
        raise FormatError(f"the {name} cannot be read ({error}); {_DAMAGED}") from error
    if not (np.abs(affine) < _LARGEST).all():
        raise FormatError(
            f"the {name} {affine.tolist()} has numbers that are no lengths; {_DAMAGED}"
        )
    return affine


def _compared_form(affine: NDArray[np.float64], name: str) -> Form:
    """The second form, of which only the directions are compared with the first.

    It is often oblique, the position in the scanner, beside a first one in a standard space.
    """
    letters = nibabel().aff2axcodes(affine)
    return Form(name, "".join(letter or "?" for letter in letters))


def _decimal(value: Any) -> float:
    """Number in single precision, as it is meant: 0.8 and not 0.800000011920929."""
    return float(str(value)) if isinstance(value, np.float32) else float(value)
