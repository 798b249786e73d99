"""The header of a TIFF file: all of its directories, checked before a voxel is read."""

import math
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from refspace.errors import FormatError, GridError
from refspace.formats.headers import Form, VolumeHeader
from refspace.formats.intensities import ImageFile, OtherAxis
from refspace.formats.sides import NO_SIDES, StatedSides
from refspace.formats.source_file import SourceFile, is_url
from refspace.formats.spacing import UNSTATED, StatedSpacing
from refspace.formats.tiff import ome, planes
from refspace.formats.tiff.directories import Directories, Page, read_directories
from refspace.formats.tiff.planes import Planes
from refspace.formats.tiff.segments import NONE, PageLayout
from refspace.formats.tiff.voxels import TiffVoxels, opened_whole
from refspace.grid import parse_orientation

# Relative error of pixels per unit, as ImageJ rounds them.
_PRECISION = 1e-5
_SHAPE, _ORIENTATION, _ORIGIN = "refspace_shape", "refspace_orientation", "refspace_origin_um"
_UNORIENTED = (
    "a TIFF file does not say in which directions its axes run, which are those of pages, rows and "
    "columns"
)


def parse_header(
    source: SourceFile, file: BinaryIO, *, is_image: bool = False, geometry: bool = True
) -> VolumeHeader:
    """Parse and check the directories of a TIFF file; no voxel is read.

    They lie anywhere in it, so that a file of another machine is copied as a whole, once.

    Parameters
    ----------
    source, file, is_image, geometry
        As for `HeaderParser`.

    Raises
    ------
    FormatError
        If the file is no volume that `read_tiff` can read, or no image that `read_tiff_image` can.
    MissingDependencyError
        If tifffile is not installed, or a package for the compression.
    OSError
        If the file cannot be read.
    """
    if is_url(source.path):
        with opened_whole(source) as copy:
            directories = read_directories(copy, source.size)
    else:
        directories = read_directories(file, source.size)
    found = planes.settled(_planes(directories))
    if not is_image:
        _refuse_series(found)
    voxels = _voxels(source, directories, found)
    image = _image(voxels, found)
    if not geometry:
        return VolumeHeader(image)
    own = _own(found.own, image.shape)
    return VolumeHeader(
        image,
        _stated(found),
        _forms(own),
        StatedSides.from_fields(own) if own else NO_SIDES,
        found.fault,
        precision=_PRECISION,
        unoriented=_UNORIENTED,
    )


def _planes(directories: Directories) -> Planes:
    text = directories.description
    if ome.is_ome(text):
        return ome.ome_planes(directories)
    if planes.is_imagej(text):
        return planes.imagej_planes(directories)
    if planes.is_shaped(text):
        return planes.shaped_planes(directories)
    return planes.plain_planes(directories)


def _refuse_series(found: Planes) -> None:
    """Refuse several volumes: of labels there is one."""
    others = [f"{axis.length} along {axis.name}" for axis in found.axes if axis.name != "z"]
    if others:
        raise FormatError(f"it holds several volumes, {', '.join(others)}; save the one of labels")


def _image(voxels: TiffVoxels, found: Planes) -> ImageFile:
    """Voxels with their axes: those of planes come after x and y, the fastest first."""
    names = [axis.name for axis in reversed(found.axes)]
    others = [
        OtherAxis(name, n, voxels.shape[n], step=found.step if name == "time" else None)
        for n, name in enumerate(names, 2)
        if name != "z"
    ]
    return ImageFile(voxels, (2 + names.index("z"), 1, 0), tuple(reversed(others)))


def _voxels(source: SourceFile, directories: Directories, found: Planes) -> TiffVoxels:
    """Where the voxels of all planes are."""
    if found.is_run:
        layout, offsets, counts = _run(directories.first, found.count, source.size)
    else:
        used = _used(directories, found)
        layout = used[0].layout
        offsets = np.stack([page.offsets for page in used])
        counts = np.stack([page.counts for page in used])
    if counts.sum(dtype=np.float64) > source.size:
        raise FormatError(
            "its strips or tiles lie over each other; write it anew with the program that made it"
        )
    lengths = (axis.length for axis in reversed(found.axes))
    shape = layout.width, layout.length, *lengths
    return TiffVoxels((source,), shape, layout.dtype, layout, offsets, counts)


def _used(directories: Directories, found: Planes) -> list[Page]:
    """Pages of all planes, which are alike."""
    used: list[Page] = []
    for n in np.asarray(found.pages).tolist():
        page = directories.pages[n]
        if page is None:
            raise FormatError(
                f"page {n} is to be a plane, but is a smaller copy of a page, or a mask; the file "
                "is damaged, get it again"
            )
        if used and page.layout != used[0].layout:
            raise FormatError(
                f"page {n} is {_told(page.layout)}, and the first one {_told(used[0].layout)}; "
                "save a volume whose planes are all alike"
            )
        used.append(page)
    return used


def _told(layout: PageLayout) -> str:
    kind = "tiles" if layout.is_tiled else "strips"
    return (
        f"{layout.width} × {layout.length} of {layout.dtype.name} in {kind} of "
        f"{layout.segment_width} × {layout.segment_length} (compression {layout.compression}, "
        f"predictor {layout.predictor})"
    )


def _run(
    page: Page, count: int, size: int
) -> tuple[PageLayout, NDArray[np.int64], NDArray[np.int64]]:
    """Where planes are that lie one behind the other, of which the first alone has a directory."""
    layout = page.layout
    ends = page.offsets[:-1] + page.counts[:-1]
    is_plain = layout.compression == NONE and layout.predictor == 1 and not layout.is_tiled
    if not is_plain or (ends != page.offsets[1:]).any():
        raise FormatError(
            f"it has one page, but its text says {count}; the file is damaged or cut short, get it "
            "again"
        )
    start = int(page.offsets[0])
    if start + count * layout.nbytes > size:
        raise FormatError(
            f"its text says {count} planes of {layout.nbytes} bytes, but the file has {size}; it "
            "is cut short, get it again"
        )
    # One strip for each plane, and not as the page has them, of which there may be many.
    whole = PageLayout(
        layout.width, layout.length, layout.width, layout.length, False, NONE, 1, layout.dtype
    )
    offsets = start + np.arange(count, dtype=np.int64) * layout.nbytes
    return whole, offsets[:, None], np.full((count, 1), layout.nbytes, np.int64)


# ----- position of the voxels


def _stated(found: Planes) -> StatedSpacing:
    """µm per voxel, where the file states it of all axes."""
    z, y, x = found.lengths
    if z is None or y is None or x is None:
        return UNSTATED
    return StatedSpacing((z, y, x))


def _own(fields: Mapping[str, Any] | None, shape: tuple[int, int, int]) -> Mapping[str, Any]:
    """What refspace has written of a volume of this shape; nothing of one cropped since."""
    if fields is None or fields.get(_SHAPE) != [*shape]:
        return {}
    return fields


def own_fields(
    shape: tuple[int, int, int], orientation: str, origin: tuple[float, ...], sides: StatedSides
) -> dict[str, Any]:
    """What refspace writes of a volume: all that the format has no field for.

    Parameters
    ----------
    shape
        Number of voxels along each axis.
    orientation
        Direction in which the index of each grows.
    origin
        Lowest coordinates along each axis, of a world that grows to the right, anterior, superior.
    sides
        Frame, midline and hemisphere.
    """
    return {
        _SHAPE: [*shape],
        _ORIENTATION: orientation,
        _ORIGIN: [*map(float, origin)],
        **sides.fields,
    }


def _forms(own: Mapping[str, Any]) -> tuple[Form, ...]:
    """Orientation and position, as refspace has written them."""
    if not own:
        return ()
    try:
        orientation = parse_orientation(str(own.get(_ORIENTATION)))
        a, b, c = (float(n) for n in own[_ORIGIN])
    except (GridError, KeyError, TypeError, ValueError) as error:
        raise FormatError(
            "what refspace has written of its position is damaged; correct it, or remove the line "
            "'refspace=' from the text of the first page"
        ) from error
    if not all(map(math.isfinite, (a, b, c))):
        raise FormatError(f"{_ORIGIN} is {[a, b, c]}; it must be three positions in µm")
    return (Form("the text of refspace", orientation, origin=(a, b, c)),)
