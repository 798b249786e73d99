"""Decompressors that never make more bytes than are expected.

A frame may hold a thousand times its size, or say so. What it says is compared with what is
expected before memory is taken; one that does not say is inflated as a stream, up to one byte more.
"""

import bz2
import lzma
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numcodecs.blosc
import numcodecs.lz4
import numcodecs.zstd
import numpy as np
from numpy.typing import NDArray

Bytes = bytes | memoryview | NDArray[np.uint8]

# How much more than its input an encoder may make, whatever it is: blosc, zlib, lz4 and zstd add
# less than a hundredth, bzip2 a hundredth and 600 bytes; gzip holds the name of a file too.
_GROWTH, _SLACK = 50, 2**16
# Of an .xz stream: the dictionary of its highest preset takes 65 MiB.
_LZMA_MEMORY = 96 * 2**20
_GZIP_BITS, _ZLIB_BITS = 31, 15
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_BLOSC_HEADER, _LZ4_HEADER = 16, 4


class SizeError(ValueError):
    """Content that is larger or smaller than it must be."""


@dataclass(frozen=True)
class Size:
    """Bytes that are expected.

    Parameters
    ----------
    most
        Number of bytes.
    exact
        Whether it must be that number; else it may be less.
    """

    most: int
    exact: bool = True

    def encoded(self) -> "Size":
        """Most bytes that a compressor makes of that many."""
        return Size(self.most + self.most // _GROWTH + _SLACK, exact=False)

    def check(self, count: int, what: str) -> int:
        """Refuse another number of bytes, and return the number."""
        if count > self.most or (self.exact and count != self.most):
            bound = "" if self.exact else " at most"
            raise SizeError(f"{what} {count} bytes, where{bound} {self.most} are expected")
        return count


class Decompressor(Protocol):
    """Function that undoes a compressor."""

    def __call__(self, data: Bytes, size: Size) -> Bytes:
        """Content of a frame, of an expected size."""


# ----- formats that state the size


def unpack_zstd(data: Bytes, size: Size) -> Bytes:
    """Content of a frame of zstd.

    Raises
    ------
    SizeError
        If it is of another size, or says so.
    """
    stated = zstd_content_size(bytes(data[:18]))
    if stated is None and not size.exact:
        raise SizeError("the zstd frame does not state its size, which nothing else tells")
    # zstd itself holds frames to their word, and to the room that there is.
    content = np.empty(size.most if stated is None else size.check(stated, _says("zstd")), np.uint8)
    numcodecs.zstd.decompress(data, content)
    return content


def zstd_content_size(start: bytes) -> int | None:
    """Bytes that a zstd frame says it decompresses to; None if it does not say.

    Layout: RFC 8878, section 3.1.1.1.

    Parameters
    ----------
    start
        First 18 bytes of the frame, or all of a shorter one.

    Raises
    ------
    ValueError
        If it is no such frame.

    Examples
    --------
    >>> zstd_content_size(numcodecs.zstd.compress(bytes(1000)))
    1000
    """
    if start[:4] != _ZSTD_MAGIC or len(start) < 6:
        raise ValueError("it is no zstd frame")
    flags = start[4]
    single = flags >> 5 & 1
    first = 5 + (1 - single) + (0, 1, 2, 4)[flags & 3]
    length = (single, 2, 4, 8)[flags >> 6]
    if not length:
        return None
    field = start[first : first + length]
    if len(field) < length:
        raise ValueError("the zstd frame ends within its header")
    return int.from_bytes(field, "little") + (256 if length == 2 else 0)


def unpack_blosc(data: Bytes, size: Size) -> Bytes:
    """Content of a buffer of blosc, whose header of 16 bytes states both of its sizes.

    Raises
    ------
    SizeError
        If it is of another size.
    """
    if len(data) < _BLOSC_HEADER:
        raise ValueError("the blosc buffer ends within its header")
    stated, _, stored = (int.from_bytes(bytes(data[i : i + 4]), "little") for i in (4, 8, 12))
    if stored != len(data):
        raise SizeError(f"the blosc buffer says that it takes {stored} bytes; it has {len(data)}")
    content = np.empty(size.check(stated, _says("blosc")), np.uint8)
    if stated:
        numcodecs.blosc.decompress(data, content)
    return content


def unpack_lz4(data: Bytes, size: Size) -> Bytes:
    """Content of a block of LZ4 behind its size in four bytes, as numcodecs writes it.

    Raises
    ------
    SizeError
        If it is of another size.
    """
    if len(data) < _LZ4_HEADER:
        raise ValueError("the lz4 block ends within its header")
    stated = int.from_bytes(bytes(data[:_LZ4_HEADER]), "little")
    content = np.empty(size.check(stated, _says("lz4")), np.uint8)
    if stated:
        numcodecs.lz4.decompress(data, content)
    return content


def _says(what: str) -> str:
    return f"the {what} frame announces"


# ----- streams, which do not


def unpack_gzip(data: Bytes, size: Size) -> Bytes:
    """Content of gzip members, one after the other."""
    return _streamed(data, size, "gzip", lambda: zlib.decompressobj(_GZIP_BITS))


def unpack_zlib(data: Bytes, size: Size) -> Bytes:
    """Content of a zlib stream."""
    return _streamed(data, size, "zlib", lambda: zlib.decompressobj(_ZLIB_BITS))


def unpack_bz2(data: Bytes, size: Size) -> Bytes:
    """Content of bzip2 streams, one after the other."""
    return _streamed(data, size, "bz2", bz2.BZ2Decompressor)


def unpack_lzma(data: Bytes, size: Size) -> Bytes:
    """Content of an ``.xz`` or ``.lzma`` stream, which does not need more memory than it should."""
    return _streamed(data, size, "lzma", lambda: lzma.LZMADecompressor(memlimit=_LZMA_MEMORY))


def _streamed(data: Bytes, size: Size, name: str, start: Callable[[], Any]) -> Bytes:
    """Content of streams one after the other, of which no more than one byte too many is made."""
    pieces: list[bytes] = []
    left = bytes(data)
    made = 0
    while left:
        stream = start()
        piece: bytes = stream.decompress(left, size.most + 1 - made)
        made += len(piece)
        pieces.append(piece)
        if made > size.most:
            raise SizeError(f"the {name} stream holds more than the {size.most} bytes expected")
        if not stream.eof:
            raise ValueError(f"the {name} stream is cut short")
        # Zeros pad some files.
        left = stream.unused_data.lstrip(b"\0")
    size.check(made, f"the {name} stream holds")
    return b"".join(pieces)


def check_no_options(options: Mapping[str, Any]) -> None:
    """Accept any configuration: decompressors need none."""


def check_lzma(options: Mapping[str, Any]) -> None:
    """Refuse streams of LZMA without a header: what they need of memory, metadata would state."""
    if options.get("format", lzma.FORMAT_XZ) == lzma.FORMAT_RAW:
        raise ValueError("lzma of the format RAW is not read")


DECOMPRESSORS: Mapping[str, Decompressor] = {
    "zstd": unpack_zstd,
    "blosc": unpack_blosc,
    "lz4": unpack_lz4,
    "gzip": unpack_gzip,
    "zlib": unpack_zlib,
    "bz2": unpack_bz2,
    "lzma": unpack_lzma,
}
"""Decompressors by the names that numcodecs has for them."""
