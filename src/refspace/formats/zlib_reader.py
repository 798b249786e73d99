"""A bare zlib stream (RFC 1950) as a file: Python has one for gzip alone."""

import io
import zlib
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

# Compressed bytes that are read at a time.
_PIECE_BYTES = 2**16


class ZlibReader(io.RawIOBase):
    """Decoded bytes of a zlib stream; never more are inflated than are asked for.

    Parameters
    ----------
    compressed
        File, at the first byte of the stream.

    Examples
    --------
    >>> ZlibReader.buffered(io.BytesIO(zlib.compress(b"voxels"))).read()
    b'voxels'
    """

    def __init__(self, compressed: BinaryIO) -> None:
        self._compressed, self._inflate = compressed, zlib.decompressobj()

    @classmethod
    def buffered(cls, compressed: BinaryIO) -> io.BufferedReader:
        """The same, whose reads of any size are cheap."""
        return io.BufferedReader(cls(compressed), _PIECE_BYTES)

    def readable(self) -> bool:
        """Whether it can be read."""
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        """Inflate into a buffer.

        Raises
        ------
        EOFError
            If the stream is cut short.
        zlib.error
            If it is damaged.
        """
        room = memoryview(buffer)
        while not self._inflate.eof:
            piece = self._inflate.unconsumed_tail or self._compressed.read(_PIECE_BYTES)
            if not piece:
                raise EOFError("the stream ends before its end marker")
            if data := self._inflate.decompress(piece, len(room)):
                room[: len(data)] = data
                return len(data)
        return 0
