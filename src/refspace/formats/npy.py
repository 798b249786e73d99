"""Arrays of NumPy in .npy files: numbers alone, of which nothing is known but their shape.

Source of the format: NumPy's NEP 1. `numpy.lib.format` parses the header, as literals. What would
be unpickled is refused.
"""

import math
from collections.abc import Sequence
from typing import Any, BinaryIO, NoReturn

import numpy as np

from refspace.errors import FormatError, GridError
from refspace.formats import headers
from refspace.formats.encoded_voxels import EncodedVoxels
from refspace.formats.headers import VolumeHeader
from refspace.formats.intensities import ImageFile, OtherAxis
from refspace.formats.source_file import SourceFile
from refspace.formats.volume_format import VolumeFormat
from refspace.grid import Grid
from refspace.labels import Midline
from refspace.safe_text import shown
from refspace.types import Resolution
from refspace.warning_filters import warnings_filtered

# Longer headers are of structured dtypes; NumPy's parser is not safe with any length.
_MOST_HEADER_BYTES = 10_000
_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_LARGEST_ITEM = 8
_LONGEST_AXIS = 10**12


def parse_header(
    source: SourceFile, file: BinaryIO, *, is_image: bool = False, geometry: bool = True
) -> VolumeHeader:
    """Parse and check the header of a .npy file; no voxel is read.

    The axes of space are the last three, once axes of one voxel are left out at either end. Others
    come before them, ``dim_0`` and so on by their place; those of one voxel are left out too.

    Parameters
    ----------
    source, file, is_image, geometry
        As for `HeaderParser`.

    Raises
    ------
    FormatError
        If the file is damaged, or holds no array of real numbers of three axes at least; of labels
        there are three.
    OSError
        If the file cannot be read.
    """
    shape, is_fortran, dtype = _parse(file)
    kept = _kept_axes(shape, is_image=is_image)
    if len(kept) > 3 and not is_image:
        raise FormatError(
            f"the array has shape {shape}; a volume of labels has three axes, and any others of "
            "length 1: save one volume of it"
        )
    _check_size(math.prod(shape) * dtype.itemsize, source.size - file.tell())
    # Axes of the file from its fastest on, each by its place in the array.
    order = kept if is_fortran else kept[::-1]
    i, j, k = (order.index(axis) for axis in kept[-3:])
    others = tuple(OtherAxis(f"dim_{axis}", order.index(axis), shape[axis]) for axis in kept[:-3])
    voxels = EncodedVoxels(
        (source,), tuple(shape[axis] for axis in order), dtype, "raw", file.tell()
    )
    return VolumeHeader(ImageFile(voxels, (i, j, k), others))


def grid_and_midline(
    header: VolumeHeader,
    resolution: Resolution | None,
    orientation: str | None,
    override: bool = False,
    like: Grid | None = None,
) -> tuple[Grid, Midline | None]:
    """Grid of an array, as the caller says; a midline is not known."""
    if like is None and (resolution is None or orientation is None):
        raise GridError(
            "a .npy file says neither how large its voxels are nor in which directions its axes "
            "run; give resolution=, the µm per voxel, and orientation=, the directions in which "
            f"the indices grow, like 'PIR', in the order of the array's axes {header.shape}"
        )
    return headers.grid_and_midline(header, resolution, orientation, override, like)


def _parse(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether the first axis is the fastest, and dtype; the file is left at the voxels."""
    try:
        version = np.lib.format.read_magic(file)
        # Version 3 is for names of fields alone.
        if version not in _READERS:
            raise ValueError(f"version {version} of the format is for structured arrays")
        with warnings_filtered("ignore", UserWarning):  # of headers that Python 2 wrote
            shape, is_fortran, dtype = _READERS[version](file, max_header_size=_MOST_HEADER_BYTES)
    except Exception as error:  # ValueError, RecursionError and others of the parsers
        reason = shown(repr(str(error).partition("\n")[0][:200]))
        raise FormatError(
            f"the .npy header cannot be parsed: {reason}; save the array again, by numpy.save"
        ) from error
    return _checked_shape(shape), is_fortran, _checked_dtype(dtype)


def _checked_shape(shape: Sequence[int]) -> tuple[int, ...]:
    if max(shape, default=0) > _LONGEST_AXIS:
        raise FormatError(
            "the array has an axis that is longer than any file can be; the file is damaged, get "
            "it again"
        )
    if len(shape) < 3 or min(shape) < 1 or any(isinstance(n, bool) for n in shape):
        raise FormatError(
            f"the array has shape {shown(str(tuple(shape))[:200])}; a volume has three axes of one "
            "voxel at least: of a single slice, save array[numpy.newaxis]"
        )
    return tuple(shape)


def _checked_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    if dtype.kind == "c":
        raise FormatError("the values are complex; save their magnitude (numpy.abs)")
    if dtype.kind not in "uif" or dtype.itemsize > _LARGEST_ITEM:
        raise FormatError(
            f"the array has dtype {shown(str(dtype)[:60])}, which is not read; save integers or "
            "floats of at most 64 bits"
        )
    return dtype


def _kept_axes(shape: Sequence[int], *, is_image: bool) -> tuple[int, ...]:
    """Axes that are read: the last three are those of space, the others have several voxels.

    Examples
    --------
    >>> _kept_axes((1, 8, 6, 4, 1), is_image=True), _kept_axes((2, 3, 1, 6, 4), is_image=True)
    ((1, 2, 3), (0, 1, 2, 3, 4))
    """
    inner = [*range(len(shape))]
    while len(inner) > 3 and 1 in (shape[inner[0]], shape[inner[-1]]):
        inner = inner[1:] if shape[inner[0]] == 1 else inner[:-1]
    long = tuple(axis for axis in inner if shape[axis] > 1)
    if len(long) == 3 < len(inner):
        if is_image:
            _refuse_ambiguous(shape)
        return long  # labels are one volume, of which there is no other
    others = (axis for axis in inner[:-3] if shape[axis] > 1)
    return (*others, *inner[-3:])


def _refuse_ambiguous(shape: Sequence[int]) -> NoReturn:
    raise FormatError(
        f"the array has shape {shape}; it may be one volume, or several of a single plane: save it "
        "without its axes of length 1, or open it by numpy.load and give the array, whose last "
        "three axes are those of space"
    )


def _check_size(needed: int, stored: int) -> None:
    if needed != stored:
        raise FormatError(
            f"shape and dtype make {needed} bytes, but the file holds {stored} of data; the file "
            "is cut short or its header is wrong: get it again"
        )


NPY = VolumeFormat("npy", parse_header, place=grid_and_midline)
