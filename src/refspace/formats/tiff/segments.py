"""Strips and tiles of TIFF files: how a page is cut into them, and their bytes become voxels.

Decoded here, because tifffile inflates whatever a stream holds. Nothing is decoded beyond the size
that the file declares for a segment.
"""

import lzma
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refspace.errors import FormatError, MissingDependencyError

# Codes of compression that other code needs; adobe's and the older one of the same stream.
NONE, DEFLATE = 1, 8
_LZW, _PACKBITS, _LZMA = 5, 32773, 34925
# Of zstd there are two codes: of libtiff and of some programs.
_ZSTD = (50000, 34926)
_NAMES = {6: "JPEG", 7: "JPEG", 34712: "JPEG 2000", 33003: "JPEG 2000", 33005: "JPEG 2000"}
_NAMES |= {50001: "WebP", 50002: "JPEG XL", 34887: "LERC", 2: "CCITT", 3: "fax", 4: "fax"}
# How many times its size a stream may grow: deflate, and PackBits (128 of 2 bytes), by their
# definitions; LZW has codes of 12 bits for at most 4096 bytes; the others have no such bound.
_RATIOS = {NONE: 1, DEFLATE: 1032, 32946: 1032, _PACKBITS: 64, _LZW: 4096}
_UNBOUNDED = 2**20
# A dictionary of LZMA may be 4 GiB; presets take at most 64 MiB.
_LZMA_MEMORY = 2**28
_DAMAGED = "the file is damaged, get it again"


@dataclass(frozen=True)
class PageLayout:
    """How the voxels of a page are stored.

    Parameters
    ----------
    width, length
        Columns and rows of the page, the lengths of x and y.
    segment_width, segment_length
        Columns and rows of a segment: a tile, or a strip of whole rows.
    is_tiled
        Whether segments are tiles, which are stored whole where they reach over the edge.
    compression, predictor
        Codes of the format.
    dtype
        Dtype of the voxels, with its byte order.
    """

    width: int
    length: int
    segment_width: int
    segment_length: int
    is_tiled: bool
    compression: int
    predictor: int
    dtype: np.dtype[Any]

    @property
    def columns(self) -> int:
        """Number of segments side by side."""
        return -(-self.width // self.segment_width)

    @property
    def rows(self) -> int:
        """Number of segments one below the other."""
        return -(-self.length // self.segment_length)

    @property
    def nbytes(self) -> int:
        """Size of the page, decoded."""
        return self.width * self.length * self.dtype.itemsize

    @property
    def segment_bytes(self) -> int:
        """Size of a whole segment, decoded."""
        return self.segment_width * self.segment_length * self.dtype.itemsize

    @property
    def ratio(self) -> int:
        """How many times its stored size a segment may be."""
        return _RATIOS.get(self.compression, _UNBOUNDED)

    def rows_stored(self, row: int) -> int:
        """Rows of the segments in a row of them."""
        rest = self.length - row * self.segment_length
        return self.segment_length if self.is_tiled else min(self.segment_length, rest)

    def decode(self, data: bytes, row: int) -> NDArray[Any]:
        """Voxels of a segment, in native byte order.

        Parameters
        ----------
        data
            Its bytes in the file.
        row
            Which row of segments it is in.

        Raises
        ------
        FormatError
            If it is damaged, or holds more than a segment.
        MissingDependencyError
            If a package that decodes it is not installed.
        """
        shape = self.rows_stored(row), self.segment_width
        needed = math.prod(shape) * self.dtype.itemsize
        raw = _decompressed(data, self.compression, max(needed, self.segment_bytes))
        if len(raw) < needed:
            raise FormatError(
                f"a strip or tile holds {len(raw)} bytes instead of {needed}; {_DAMAGED}"
            )
        # Some programs store the last strip as long as the others.
        return _UNPREDICT[self.predictor](np.frombuffer(raw[:needed], np.uint8), shape, self.dtype)


def check_coding(compression: int, predictor: int, dtype: np.dtype[Any]) -> None:
    """Refuse what cannot be decoded.

    Raises
    ------
    FormatError
        If it is a compression for pictures, or nothing known.
    MissingDependencyError
        If a package that decodes it is not installed.
    """
    if compression not in _DECODERS:
        name = _NAMES.get(compression, f"number {compression}")
        raise FormatError(
            f"its compression, {name}, is not read; save it without compression or with deflate "
            "(zip)"
        )
    if compression in (_LZW, *_ZSTD):
        _imagecodecs(compression)
    if predictor not in _UNPREDICT or (predictor == 3 and dtype.kind != "f"):
        raise FormatError(
            f"its predictor, number {predictor}, is not read of {dtype.name}; save it without one"
        )


# ----- compression: each decoder is given the bytes, and the most that may come of them


def _decompressed(data: bytes, compression: int, most: int) -> bytes:
    try:
        raw = _DECODERS[compression](data, most)
    except (zlib.error, lzma.LZMAError, EOFError, RuntimeError, ValueError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"a strip or tile is damaged ({error}); get the file again") from error
    if len(raw) > most:
        raise FormatError(f"a strip or tile holds more than its {most} bytes; {_DAMAGED}")
    return raw


def _stored(data: bytes, most: int) -> bytes:
    # Programs round the size of what is not compressed up.
    return data[:most]


def _inflated(data: bytes, most: int) -> bytes:
    return zlib.decompressobj().decompress(data, most + 1)


def _unpacked_lzma(data: bytes, most: int) -> bytes:
    return lzma.LZMADecompressor(memlimit=_LZMA_MEMORY).decompress(data, most + 1)


def _unpacked_bits(data: bytes, most: int) -> bytes:
    """PackBits: a count, and then as many bytes, or one byte that often."""
    pieces, size, place = [], 0, 0
    while place < len(data) and size <= most:
        count = data[place]
        if count < 128:
            piece = data[place + 1 : place + 2 + count]
            place += 2 + count
        else:
            # 128 itself does nothing.
            piece = data[place + 1 : place + 2] * (257 - count) if count > 128 else b""
            place += 2 if count > 128 else 1
        pieces.append(piece)
        size += len(piece)
    return b"".join(pieces)


def _imagecodecs(compression: int) -> Any:
    try:
        import imagecodecs as package
    except ImportError as error:
        name = "LZW" if compression == _LZW else "zstd"
        raise MissingDependencyError(
            f"it is compressed by {name}, which needs a package that is not installed: "
            "pip install imagecodecs; or save it with deflate (zip)"
        ) from error
    return package


def _unpacked_lzw(data: bytes, most: int) -> bytes:
    return bytes(_imagecodecs(_LZW).lzw_decode(data, out=most))


def _unpacked_zstd(data: bytes, most: int) -> bytes:
    return bytes(_imagecodecs(_ZSTD[0]).zstd_decode(data, out=most))


_DECODERS: dict[int, Callable[[bytes, int], bytes]] = {
    NONE: _stored,
    **dict.fromkeys((DEFLATE, 32946), _inflated),
    _LZW: _unpacked_lzw,
    _PACKBITS: _unpacked_bits,
    _LZMA: _unpacked_lzma,
    **dict.fromkeys(_ZSTD, _unpacked_zstd),
}


# ----- predictors: rows are stored as differences


def _as_stored(
    raw: NDArray[np.uint8], shape: tuple[int, int], dtype: np.dtype[Any]
) -> NDArray[Any]:
    return raw.view(dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _from_differences(
    raw: NDArray[np.uint8], shape: tuple[int, int], dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Each number is the difference to the one before it; also of floats, as integers."""
    unsigned = np.dtype(f"u{dtype.itemsize}")
    numbers = _as_stored(raw, shape, unsigned.newbyteorder(dtype.byteorder))
    sums = np.cumsum(numbers, axis=1, dtype=unsigned)
    return sums.view(dtype.newbyteorder("="))


def _from_float_differences(
    raw: NDArray[np.uint8], shape: tuple[int, int], dtype: np.dtype[Any]
) -> NDArray[Any]:
    """All first bytes of a row, then all second ones, the highest first; each the difference."""
    rows, columns = shape
    sums = np.cumsum(raw.reshape(rows, -1), axis=1, dtype=np.uint8)
    swapped = sums.reshape(rows, dtype.itemsize, columns).swapaxes(1, 2)
    numbers = np.ascontiguousarray(swapped).view(dtype.newbyteorder(">"))
    return numbers.reshape(shape).astype(dtype.newbyteorder("="))


_UNPREDICT: dict[
    int, Callable[[NDArray[np.uint8], tuple[int, int], np.dtype[Any]], NDArray[Any]]
] = {1: _as_stored, 2: _from_differences, 3: _from_float_differences}
