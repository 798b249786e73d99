"""Directories of TIFF files: of each page where its strips or tiles are, and how they are stored.

tifffile parses them. They lie anywhere in a file, and a damaged or hostile one may send a parser
around in circles, or to arrays that no memory holds; so it reads through a window of the file that
gives no more than what is there, and not for ever.
"""

import io
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from refspace.errors import FormatError, MissingDependencyError
from refspace.formats.tiff.segments import PageLayout, check_coding
from refspace.limits import check_limit, how_to_raise, limit

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

# tifffile logs what is odd in a file, and Python prints that where nobody listens.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

_TYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8")
_DAMAGED = "the file is damaged or cut short, get it again"
# Bits of NewSubfileType: a page that is a smaller copy of another, or a mask of one.
_REDUCED, _MASK = 1, 4
_RGB = 2
_X_RESOLUTION, _Y_RESOLUTION = 282, 283


@dataclass(frozen=True)
class Page:
    """A page of a file.

    Parameters
    ----------
    layout
        How its voxels are stored.
    offsets, counts
        Position and size in the file of each of its segments, row by row; 0 of one that is left
        out, whose voxels are 0.
    """

    layout: PageLayout
    offsets: NDArray[np.int64]
    counts: NDArray[np.int64]


@dataclass(frozen=True)
class Directories:
    """The pages of a file, and what the first one says of all.

    Parameters
    ----------
    pages
        All of them, in the order of the file; None for a smaller copy of a page, or a mask of one.
    description
        Text of the first page.
    per_unit
        Pixels per unit of length along x and y, as numerator and denominator; None if not stated.
    """

    pages: tuple[Page | None, ...]
    description: str
    per_unit: tuple[tuple[int, int], tuple[int, int]] | None = None

    @property
    def planes(self) -> NDArray[np.int64]:
        """Numbers of the pages that are planes."""
        return np.flatnonzero([page is not None for page in self.pages])

    @property
    def first(self) -> Page:
        """The first page that is a plane."""
        return next(page for page in self.pages if page is not None)


def tifffile() -> Any:
    """Import the package that parses directories.

    Raises
    ------
    MissingDependencyError
        If tifffile is not installed.
    """
    try:
        import tifffile as package
    except ImportError as error:
        raise MissingDependencyError(
            "TIFF files need tifffile, which is not installed: pip install tifffile"
        ) from error
    return package


def read_directories(file: BinaryIO, size: int) -> Directories:
    """Read and check all directories of a file.

    Parameters
    ----------
    file
        The whole file.
    size
        Its size in bytes.

    Raises
    ------
    FormatError
        If they are damaged, go in circles, or state what cannot be read.
    MissingDependencyError
        If a package that reads them is not installed.
    """
    package = tifffile()
    window = _Window(file, size)
    try:
        with package.TiffFile(window, name="") as opened:
            found = _directories(opened, size)
    except (FormatError, MissingDependencyError):
        window.refuse_excess()
        raise
    except Exception as error:  # struct.error, IndexError, TiffFileError and others of the parser
        window.refuse_excess()
        raise FormatError(f"its directories cannot be parsed ({error}); {_DAMAGED}") from error
    window.refuse_excess()
    return found


class _Window(io.RawIOBase):
    """A file to be read within its bounds, and not more of it than metadata may be.

    Beyond that it seems to end, for a parser takes no error for a reason to stop.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size, self._place = file, size, 0
        self._left = limit("metadata_bytes")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = max(0, start + offset)
        return self._place

    def read(self, size: int | None = -1, /) -> bytes:
        there = max(0, self._size - self._place)
        wanted = there if size is None or size < 0 else min(size, there)
        # A byte at least: reads of nothing go on for ever as well.
        self._left -= max(wanted, 1)
        if self._left < 0:
            return b""
        self._file.seek(self._place)
        data = self._file.read(wanted)
        self._place += len(data)
        return data

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def refuse_excess(self) -> None:
        """Refuse a file whose directories are larger than the limit."""
        if self._left < 0:
            raise FormatError(
                f"its directories have more than {limit('metadata_bytes')} bytes, or go in "
                f"circles; {how_to_raise('metadata_bytes')}"
            )


def _directories(opened: Any, size: int) -> Directories:
    pages: list[Page | None] = []
    seen: set[int] = set()
    first: Any = None
    while True:
        try:
            page = opened.pages[len(pages)]
        except IndexError:
            break
        if page.offset in seen:
            raise FormatError(f"its directories go in circles; {_DAMAGED}")
        seen.add(page.offset)
        first = page if first is None else first
        pages.append(_page(page, len(pages), size))
        check_limit("axis_length", len(pages), "it has too many pages")
    if not any(pages):
        raise FormatError(f"it has no page; {_DAMAGED}")
    _refuse_cut_chain(opened)
    return Directories(tuple(pages), str(first.description), _per_unit(first))


def _refuse_cut_chain(opened: Any) -> None:
    """Refuse a file whose last directory points to another one: tifffile passes over it."""
    handle, width = opened.filehandle, opened.tiff.offsetsize
    handle.seek(opened.pages.next_page_offset)
    pointer = handle.read(width)
    if len(pointer) != width or any(pointer):
        raise FormatError(f"one of its directories cannot be found; {_DAMAGED}")


def _page(page: Any, index: int, size: int) -> Page | None:
    if int(page.subfiletype) & (_REDUCED | _MASK):
        return None
    layout = _layout(page, index)
    offsets = np.asarray(page.dataoffsets, np.int64).ravel()
    counts = np.asarray(page.databytecounts, np.int64).ravel()
    needed = layout.rows * layout.columns
    if not len(offsets) == len(counts) == needed:
        raise FormatError(
            f"page {index} has {len(offsets)} strips or tiles, of {needed} that its size makes; "
            f"{_DAMAGED}"
        )
    ends = offsets + counts
    if min(offsets.min(), counts.min(), ends.min()) < 0 or ends.max() > size:
        raise FormatError(
            f"strips or tiles of page {index} lie beyond the end of the file, which has {size} "
            f"bytes; {_DAMAGED}"
        )
    _check_counts(layout, counts, index)
    return Page(layout, offsets, counts)


def _check_counts(layout: PageLayout, counts: NDArray[np.int64], index: int) -> None:
    """Refuse segments of which less can come than is declared."""
    last = layout.rows_stored(layout.rows - 1) * layout.segment_width * layout.dtype.itemsize
    needed = np.full((layout.rows, layout.columns), layout.segment_bytes)
    needed[-1] = last
    short = (counts > 0) & (counts < -(-needed.ravel() // layout.ratio))
    if short.any():
        n = int(short.argmax())
        raise FormatError(
            f"strip or tile {n} of page {index} has {counts[n]} bytes, of which no "
            f"{needed.ravel()[n]} can come; {_DAMAGED}"
        )


def _layout(page: Any, index: int) -> PageLayout:
    samples, depth = int(page.samplesperpixel), int(page.imagedepth)
    if int(page.photometric) == _RGB or samples != 1:
        raise FormatError(
            f"page {index} has {samples} numbers for each pixel, as colours have (RGB); save the "
            "ids of labels, and one channel of an image, as one number for each"
        )
    width, length = int(page.imagewidth), int(page.imagelength)
    if depth != 1 or int(page.tiledepth or 1) != 1 or min(width, length) < 1:
        raise FormatError(
            f"page {index} has {width} × {length} × {depth} pixels; a page is one plane: save one "
            "plane on each"
        )
    for side in (width, length):
        check_limit("axis_length", side, f"page {index} has a side of {side} pixels")
    dtype = _dtype(page, index)
    compression, predictor = int(page.compression), int(page.predictor)
    check_coding(compression, predictor, dtype)
    columns, rows = (width, int(page.rowsperstrip))
    if page.is_tiled:
        columns, rows = int(page.tilewidth), int(page.tilelength)
    if min(columns, rows) < 1:
        raise FormatError(f"strips or tiles of page {index} have {columns} × {rows}; {_DAMAGED}")
    layout = PageLayout(
        width, length, columns, rows, bool(page.is_tiled), compression, predictor, dtype
    )
    what = f"a strip or tile of page {index} has {layout.segment_bytes} bytes"
    check_limit("chunk_bytes", layout.segment_bytes, what)
    return layout


def _dtype(page: Any, index: int) -> np.dtype[Any]:
    # Numbers of 12 bits come as if they had 16.
    bits = None if page.dtype is None else np.dtype(page.dtype).itemsize * 8
    if bits != page.bitspersample or np.dtype(page.dtype).str[1:] not in _TYPES:
        raise FormatError(
            f"page {index} has numbers of {page.bitspersample} bits, sample format "
            f"{int(page.sampleformat)}; save it with integers of 8 to 64 bits, or floats"
        )
    dtype: np.dtype[Any] = np.dtype(page.dtype).newbyteorder(page.parent.byteorder)
    if int(page.fillorder) != 1:
        raise FormatError(f"page {index} has its bits in reversed order; save it without that")
    return dtype


def _per_unit(page: Any) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Pixels per unit of length, as two whole numbers each."""
    found = [page.tags.valueof(code) for code in (_X_RESOLUTION, _Y_RESOLUTION)]
    pairs = [
        (int(value[0]), int(value[1]))
        for value in found
        if isinstance(value, tuple) and len(value) == 2
    ]
    if len(pairs) != 2 or min(map(min, pairs)) <= 0:
        return None
    return pairs[0], pairs[1]
