"""OME-XML in TIFF files: which page is which plane, and how long a voxel is.

Source of the format: https://docs.openmicroscopy.org/ome-model/latest/ome-tiff/specification.html.
It is read as a stream, and of it what is needed alone: a text may be long, and say anything.
Definitions of entities, which may expand without an end, are refused.
"""

import math
from collections.abc import Mapping
from typing import Any
from xml.parsers import expat

import numpy as np
from numpy.typing import NDArray

from refspace.errors import FormatError
from refspace.formats.tiff.directories import Directories
from refspace.formats.tiff.planes import SECONDS, UNITS, Axis, Planes, in_micrometres
from refspace.safe_text import shown

_ORDERS = ("XYZCT", "XYZTC", "XYCTZ", "XYCZT", "XYTCZ", "XYTZC")
_NAMES = {"Z": "z", "C": "channel", "T": "time"}
_DAMAGED = "the file is damaged, get it again"
_SHOWN = 40


def is_ome(text: str) -> bool:
    r"""Whether a text is OME-XML.

    Examples
    --------
    >>> is_ome("<?xml version='1.0'?><OME></OME>\n"), is_ome("<svg></svg>")
    (True, False)
    """
    return text.startswith("<") and text[-20:].rstrip("\0 \r\n\t").endswith("OME>")


def ome_planes(directories: Directories) -> Planes:
    """Planes of an OME-TIFF file.

    Raises
    ------
    FormatError
        If its XML is damaged or hostile, has several images, leaves planes out, or says that they
        are in other files.
    """
    reader = _Reader(len(directories.pages))
    reader.parse(directories.description)
    if reader.pixels is None:
        raise FormatError(f"its OME-XML has no image; {_DAMAGED}")
    pixels = reader.pixels
    order = pixels.get("DimensionOrder", "")
    if order not in _ORDERS:
        raise FormatError(f"its OME-XML has the DimensionOrder {_quoted(order)}; {_DAMAGED}")
    # From the slowest to the fastest; X and Y are within a plane.
    names = order[:1:-1]
    lengths = [_whole(pixels, f"Size{name}", least=1) for name in names]
    axes = tuple(Axis(_NAMES[name], n) for name, n in zip(names, lengths, strict=True))
    pages = _pages(reader.data, names, lengths, directories)
    fault, sizes = None, [_length(pixels, name) for name in "ZYX"]
    bad = [name for name, size in zip("ZYX", sizes, strict=True) if size == 0]
    if bad:
        fault = f"its OME-XML has a PhysicalSize{bad[0]} that is no length"
    return Planes(
        axes,
        pages,
        lengths=(sizes[0] or None, sizes[1] or None, sizes[2] or None),
        step=_step(pixels),
        fault=fault,
    )


class _Reader:
    """Reads what is needed of OME-XML.

    Parameters
    ----------
    pages
        Number of pages, which bounds what is kept.
    """

    def __init__(self, pages: int) -> None:
        self._most, self._images = pages, 0
        self._uuids: set[str] = set()
        self._text: str | None = None
        self.pixels: dict[str, str] | None = None
        self.data: list[dict[str, str]] = []

    def parse(self, text: str) -> None:
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._refuse
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        try:
            parser.Parse(text.rstrip("\0"), True)
        except (expat.ExpatError, ValueError) as error:
            if isinstance(error, FormatError):
                raise
            raise FormatError(f"its OME-XML cannot be parsed ({error}); {_DAMAGED}") from error

    def _refuse(self, *_: Any) -> None:
        raise FormatError("its OME-XML defines a document type, which is not read; save it without")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        local = name.rpartition(" ")[2]
        if local == "BinaryOnly":
            raise FormatError(
                "its OME-XML is in another file; save the volume as one OME-TIFF file"
            )
        if local == "Image":
            self._images += 1
            if self._images > 1:
                raise FormatError(
                    "its OME-XML has several images; save the one that is wanted in a file"
                )
        if local == "OME" and "UUID" in attributes:
            self._note(attributes["UUID"])
        if local == "Pixels":
            self.pixels = attributes
        if local == "TiffData":
            self._check_count()
            self.data.append(attributes)
        self._text = "" if local == "UUID" else None

    def _check_count(self) -> None:
        if len(self.data) >= self._most:
            raise FormatError(
                f"its OME-XML tells of more parts than there are pages, {self._most}; {_DAMAGED}"
            )

    def _characters(self, text: str) -> None:
        if self._text is not None:
            self._text = (self._text + text)[: _SHOWN * 4]

    def _end(self, name: str) -> None:
        if self._text is not None:
            self._note(self._text)
            self._text = None

    def _note(self, uuid: str) -> None:
        """Note of which file something is; all of it must be in one."""
        self._uuids.add(uuid.strip().lower())
        if len(self._uuids) > 1:
            raise FormatError(
                "its OME-XML says that planes are in other files, which are not read; save the "
                "volume as one OME-TIFF file"
            )


def _pages(
    data: list[dict[str, str]], names: str, lengths: list[int], directories: Directories
) -> NDArray[np.int64]:
    """Page of each plane.

    Parameters
    ----------
    data
        Attributes of what the XML says of runs of planes.
    names, lengths
        Letters and lengths of the axes, the slowest first.
    directories
        The pages that there are.
    """
    planes, there = math.prod(lengths), len(directories.pages)
    if planes > there:
        raise FormatError(
            f"its OME-XML has {planes} planes, but there are {there} pages; the file is cut short, "
            "or its planes are in several files: save them in one"
        )
    pages = np.full(planes, -1, np.int64)
    for run in data or [{}]:
        first = 0
        for name, length in zip(names, lengths, strict=True):
            first = first * length + _whole(run, f"First{name}", 0, most=length - 1)
        page = _whole(run, "IFD", 0, most=there - 1)
        # By the format: one plane where a page is named, or else all.
        default = 1 if "IFD" in run else planes
        count = _whole(run, "PlaneCount", _whole(run, "NumPlanes", default))
        count = min(count, planes - first)
        if page + count > there:
            raise FormatError(f"its OME-XML names pages that are not there; {_DAMAGED}")
        pages[first : first + count] = np.arange(page, page + count)
    if pages.min() < 0:
        raise FormatError(
            f"its OME-XML leaves out {int((pages < 0).sum())} of {planes} planes; {_DAMAGED}"
        )
    return pages


def _whole(
    fields: Mapping[str, str],
    name: str,
    default: int | None = None,
    *,
    least: int = 0,
    most: int = 10**9,
) -> int:
    text = fields.get(name)
    if text is None and default is not None:
        return default
    if text is None or not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise FormatError(f"its OME-XML has {name} {_quoted(text or '')}; {_DAMAGED}")
    if not least <= int(text) <= most:
        raise FormatError(f"its OME-XML has {name} {_quoted(text)}, beyond {most}; {_DAMAGED}")
    return int(text)


def _length(pixels: Mapping[str, str], axis: str) -> float | None:
    """µm per voxel; None if not stated in a unit of length, and 0 of what is no length."""
    text = pixels.get(f"PhysicalSize{axis}")
    scale = UNITS.get(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
    if text is None or scale is None:
        return None
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return in_micrometres(value if value > 0 else None, scale) or 0.0


def _step(pixels: Mapping[str, str]) -> float | None:
    """Seconds between times."""
    scale = SECONDS.get(pixels.get("TimeIncrementUnit", "s"))
    try:
        step = float(pixels["TimeIncrement"]) * (scale or math.nan)
    except (KeyError, ValueError):
        return None
    return step if 0 < step < math.inf else None


def _quoted(text: str) -> str:
    return repr(shown(text[:_SHOWN]))
