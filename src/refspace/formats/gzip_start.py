"""First bytes of a file that may be compressed by gzip, whatever its name."""

import gzip
import zlib
from typing import BinaryIO, Literal

from refspace.errors import FormatError

GZIP_MAGIC = b"\x1f\x8b"


def read_inflated(file: BinaryIO, size: int) -> tuple[Literal["raw", "gzip"], bytes]:
    """Encoding of a file, and the first bytes of its decoded content.

    Parameters
    ----------
    file
        The file, at its first byte.
    size
        Bytes to read; there are fewer where the file ends before.

    Raises
    ------
    FormatError
        If it is a damaged stream of gzip.

    Examples
    --------
    >>> import io
    >>> read_inflated(io.BytesIO(gzip.compress(b"header")), 4)
    ('gzip', b'head')
    """
    data = file.read(size)
    if not data.startswith(GZIP_MAGIC):
        return "raw", data
    file.seek(0)
    try:
        with gzip.GzipFile(fileobj=file) as stream:
            return "gzip", stream.read(size)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FormatError(f"the gzip data are damaged ({error}); get the file again") from error
