"""Gzip streams of parts that are compressed apart, in any order and in any process.

The stream has one member, for some readers take no more than the first. Each part is a run of whole
blocks of it, which refers to nothing in the parts before.
"""

import functools
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import BinaryIO, TypeAlias

Bytes: TypeAlias = bytes | memoryview

# Without a time, so that the same voxels are the same bytes.
_START = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
# Block of nothing that is marked as the last one.
_LAST_BLOCK = b"\x03\x00"
# Polynomial of CRC-32, its bits reversed, and the power 0 in the same order.
_POLYNOMIAL, _ONE = 0xEDB88320, 1 << 31


@dataclass(frozen=True)
class VoxelPart:
    """Part of what a file holds.

    Parameters
    ----------
    data
        Its bytes, as the file has them.
    length
        Bytes that they stand for, where they are compressed.
    crc
        CRC-32 of these.
    """

    data: bytes
    length: int = 0
    crc: int = 0


def deflated(pieces: Iterable[Bytes], level: int) -> VoxelPart:
    """Compress a part.

    Parameters
    ----------
    pieces
        Its bytes.
    level
        Level of compression.
    """
    compressor = zlib.compressobj(level, wbits=-zlib.MAX_WBITS)
    blocks, length, crc = [], 0, 0
    for piece in pieces:
        blocks.append(compressor.compress(piece))
        length += len(piece)
        crc = zlib.crc32(piece, crc)
    # To the end of a byte, where the next part may follow.
    blocks.append(compressor.flush(zlib.Z_SYNC_FLUSH))
    return VoxelPart(b"".join(blocks), length, crc)


def write_gzip(file: BinaryIO, parts: Iterable[VoxelPart]) -> None:
    """Write parts as one gzip stream.

    Parameters
    ----------
    file
        File to write to.
    parts
        The parts, in their order.

    Examples
    --------
    >>> import gzip, io
    >>> file = io.BytesIO()
    >>> write_gzip(file, [deflated([b"whole "], 3), deflated([b"brain"], 3)])
    >>> gzip.decompress(file.getvalue())
    b'whole brain'
    """
    file.write(_START)
    length, crc = 0, 0
    for part in parts:
        file.write(part.data)
        length, crc = length + part.length, joined_crc(crc, part.crc, part.length)
    file.write(_LAST_BLOCK + crc.to_bytes(4, "little") + (length % 2**32).to_bytes(4, "little"))


def joined_crc(first: int, second: int, length: int) -> int:
    """CRC-32 of two texts, one behind the other, from those of each.

    Parameters
    ----------
    first, second
        CRC-32 of each.
    length
        Bytes of the second.

    Examples
    --------
    >>> joined_crc(zlib.crc32(b"whole "), zlib.crc32(b"brain"), 5) == zlib.crc32(b"whole brain")
    True
    """
    return _product(_power(8 * length), first) ^ second


def _product(one: int, other: int) -> int:
    """Product of two polynomials over the field of two elements, modulo that of CRC-32."""
    product, bit = 0, _ONE
    while bit:
        if one & bit:
            product ^= other
        other = other >> 1 ^ (_POLYNOMIAL if other & 1 else 0)
        bit >>= 1
    return product


@functools.lru_cache(maxsize=64)
def _power(exponent: int) -> int:
    """The polynomial x to a power, by squares."""
    power, square = _ONE, _ONE >> 1
    while exponent:
        if exponent & 1:
            power = _product(square, power)
        square = _product(square, square)
        exponent >>= 1
    return power
