"""Volumes from NRRD files, as lazy arrays and as streams of slabs."""

from pathlib import Path
from typing import Any

import xarray as xr

from refspace.errors import GridError
from refspace.formats.directions import WORLD, Affine, settle_tilt, tilted_affine
from refspace.formats.nrrd.header import NrrdHeader, read_header, read_image_header
from refspace.formats.spacing import (
    grid_like,
    refuse_fault,
    scaled_origin,
    settle_orientation,
    settle_spacing,
    spacing_like,
)
from refspace.formats.voxel_files import VoxelStream, lazy_voxels, naming
from refspace.grid import Grid
from refspace.labels import Midline, labelled, with_hemispheres
from refspace.types import PathLike, Resolution

_HOUSE_ORIENTATION = "PIR"
# Shapes of the volumes of the Allen CCF by µm per voxel. Their headers state
# left-posterior-superior along the axes of the file, while the voxels run to posterior, inferior
# and right.
_CCF_SHAPES: dict[float, tuple[int, int, int]] = {
    10: (1320, 800, 1140),
    25: (528, 320, 456),
    50: (264, 160, 228),
    100: (132, 80, 114),
}


def read_nrrd(
    path: PathLike,
    *,
    resolution: Resolution | None = None,
    orientation: str | None = None,
    override: bool = False,
    like: Grid | None = None,
) -> xr.DataArray:
    """Open a three-dimensional NRRD file as a lazy volume.

    Only the header is read. Raw data are mapped into memory. A gzip stream has no random access:
    the first block that is computed inflates all voxels, which stay in memory as long as the array.
    Another process inflates them again, once for all of its tasks. Computed blocks are read-only
    views of the voxels.

    Parameters
    ----------
    path
        Local file with attached data, encoding gzip or raw.
    resolution
        µm per voxel, one number or three. Needed where the header states no spacing; where it
        states one with its unit, it must agree. Where it states none, it counts. If it is not given
        either, lengths in an anatomical space are mm, as ITK, SimpleITK and Slicer write them, with
        a warning; except in volumes of the Allen Institute's mouse brain, known by shape and
        spacing, which are in µm. Without an anatomical space they are µm, as AllenSDK writes them.
    orientation
        Direction in which the index of each axis grows, in the order of the file; it must agree
        with the header. By default the header's space and directions count, or ``"PIR"`` if it
        states neither. Volumes of the Allen CCF, whose headers contradict their voxels, are
        ``"PIR"``.
    override
        Whether `resolution` and `orientation` overrule what the header states. Its origin is scaled
        as the spacing is; where that has no single factor, or the orientation is another one, the
        volume starts at 0.
    like
        Where the voxels of another volume are that is stored in the same order, as a template is:
        it fills what the header leaves open.

    Returns
    -------
    xarray.DataArray
        Named like the file, its axes in the order of the file, the fastest first; dask-backed, in
        slabs along the last. Coordinates are those of the header's world in µm, in any order of
        storage: they grow to the right, anterior and superior, or as the frame has it from which
        `write_nrrd` wrote the file. The midline is the one that a key/value pair
        ``refspace_midline_um`` states; or else 0 of the world, where that is within a tenth of the
        extent of the middle, unless it leaves one plane more to the left, half a voxel off; or else
        the middle. Where the header states no anatomical space, or another orientation is used,
        coordinates grow with the index, from 0.

    Raises
    ------
    FormatError
        If the file is damaged, unsafe or uses a feature that is not supported. Faults in the data
        raise when they are computed.
    GridError
        If the geometry is missing, oblique, contradictory or ambiguous.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from refspace.formats.nrrd import write_nrrd
    >>> path = tempfile.mkdtemp() + "/annotation.nrrd"
    >>> grid = Grid((4, 2, 3), (25, 25, 25))
    >>> write_nrrd(path, labelled(np.ones(grid.shape, "u4"), grid))
    >>> annotation = read_nrrd(path)
    >>> annotation.dims, annotation.ml.values
    (('ap', 'dv', 'ml'), array([12.5, 37.5, 62.5]))
    """
    header = read_header(path)
    with naming(header.path):
        grid = grid_for(header, resolution, orientation, override, like)
        midline = midline_for(header, grid)
    name = Path(header.path).stem
    volume = labelled(lazy_voxels(header, "nrrd"), grid, name, header.sides.attrs)
    return volume if midline is None else with_hemispheres(volume, midline)


def read_nrrd_image(
    path: PathLike,
    *,
    resolution: Resolution | None = None,
    orientation: str | None = None,
    override: bool = False,
) -> xr.DataArray:
    """Open an NRRD file as a lazy image: with all of its axes.

    Parameters
    ----------
    path, resolution, orientation, override
        As for `read_nrrd`.

    Returns
    -------
    xarray.DataArray
        As of `read_nrrd`. Axes that are none of space come first: ``time``, with coordinates in
        seconds where the header states them, ``channel``, and others by their number, ``dim_5``.
        The axes of space are those that have a direction, or else are of the kind ``domain`` or
        ``space``, or else have a spacing. Where they are oblique, they are as of
        `read_nifti_image`.

    Raises
    ------
    FormatError
        As for `read_nrrd`, but for other axes; if the header does not say which axes are those of
        space, or if the values are complex.
    GridError, OSError
        As for `read_nrrd`.

    Examples
    --------
    >>> import tempfile
    >>> import nrrd
    >>> import numpy as np
    >>> path = tempfile.mkdtemp() + "/channels.nrrd"
    >>> header = {"kinds": ["list", "domain", "domain", "domain"], "spacings": [np.nan, 25, 25, 25]}
    >>> nrrd.write(path, np.zeros((2, 5, 4, 3), "f4"), header)
    >>> read_nrrd_image(path).sizes
    Frozen({'channel': 2, 'ap': 5, 'dv': 4, 'ml': 3})
    """
    header, image = read_image_header(path)
    with naming(header.path):
        place: Grid | Affine | None = _affine(header, resolution, orientation, override)
        if place is None:
            place = grid_for(header, resolution, orientation, override)
    return image.lazy_image("nrrd", place, Path(header.path).stem)


def stream_nrrd_image(
    path: PathLike,
    *,
    resolution: Resolution | None = None,
    orientation: str | None = None,
    override: bool = False,
    like: Grid | None = None,
) -> VoxelStream:
    """Values of an image of one volume, slab by slab along its last axis, never as a whole.

    Parameters
    ----------
    path, resolution, orientation, override, like
        As for `read_nrrd`.

    Raises
    ------
    FormatError, GridError, OSError
        As for `read_nrrd_image`; FormatError also if there are several volumes.
    """
    header, image = read_image_header(path)
    with naming(header.path):
        grid = grid_for(header, resolution, orientation, override, like)
    return image.stream(grid)


class NrrdStream(VoxelStream):
    """Voxels of an NRRD file, slab by slab along its last axis, never as a whole.

    Parameters
    ----------
    path, resolution, orientation, override, like
        As for `read_nrrd`.

    Raises
    ------
    FormatError, GridError, OSError
        As for `read_nrrd`.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from refspace.formats.nrrd import write_nrrd
    >>> path = tempfile.mkdtemp() + "/annotation.nrrd"
    >>> write_nrrd(path, np.arange(8, dtype="u4").reshape(2, 2, 2))
    >>> stream = NrrdStream(path, resolution=25)
    >>> [slab.ravel(order="F").tolist() for _, slab in stream.slabs(1)]
    [[0, 4, 2, 6], [1, 5, 3, 7]]
    """

    def __init__(
        self,
        path: PathLike,
        *,
        resolution: Resolution | None = None,
        orientation: str | None = None,
        override: bool = False,
        like: Grid | None = None,
    ) -> None:
        header = read_header(path)
        with naming(header.path):
            grid = grid_for(header, resolution, orientation, override, like)
            super().__init__(header, grid, midline_for(header, grid))


def grid_for(
    header: NrrdHeader,
    resolution: Resolution | None,
    orientation: str | None,
    override: bool = False,
    like: Grid | None = None,
) -> Grid:
    """Grid of a file, from its header and the arguments of the caller."""
    refuse_fault(header.fault, resolution, orientation, override, like)
    if like is not None:
        if override or not _states_orientation(header):
            if not override and (grid := _grid_on(header, like)) is not None:
                return grid
            how: dict[str, Any] = {"override": override, "path": header.path}
            return grid_like(header.shape, header.stated, like, **how)
        resolution = spacing_like(header.stated, header.orientation or _HOUSE_ORIENTATION, like)
    spacing, factor = settle_spacing(header.stated, resolution, override=override, path=header.path)
    used = _orientation(header, orientation, override)
    # World and origin hold only in the orientation that they are stated for.
    if used != header.orientation:
        return Grid(header.shape, spacing, orientation=used)
    settle_tilt(header.deviation, orientation, header.orientation, header.path)
    origin = scaled_origin(header.origin or (0.0, 0.0, 0.0), factor, header.path)
    grid = Grid(header.shape, spacing, origin, used, WORLD)
    return header.sides.in_frame(grid)


def _affine(
    header: NrrdHeader,
    resolution: Resolution | None,
    orientation: str | None,
    override: bool,
) -> Affine | None:
    """Affine of a file whose axes are oblique; None of others, and where they are overruled."""
    if tilted_affine(header.affine, header.deviation, 1) is None:
        return None
    if _orientation(header, orientation, override) != header.orientation:
        return None
    _, factor = settle_spacing(header.stated, resolution, override=override, path=header.path)
    return tilted_affine(header.affine, header.deviation, factor)


def _grid_on(header: NrrdHeader, like: Grid) -> Grid | None:
    """Grid that a header states that may be wrong, where it lies on that of another volume.

    None where it does not: then the header is not believed.
    """
    if header.orientation is None or header.origin is None:
        return None
    wanted = like.reorient(header.orientation).spacing
    try:
        spacing, factor = settle_spacing(header.stated, wanted, path=header.path)
    except GridError:
        return None
    origin = scaled_origin(header.origin, factor, header.path)
    grid = header.sides.in_frame(Grid(header.shape, spacing, origin, header.orientation, WORLD))
    lies_on = grid.in_frame(like.frame).reorient(like.orientation).matches(like)
    return grid if lies_on else None


def midline_for(header: NrrdHeader, grid: Grid) -> Midline | None:
    """Midline of a file whose grid is in the world that its header states; None of any other."""
    if header.origin is None or header.orientation != grid.orientation:
        return None
    return header.sides.midline(grid)


def _orientation(header: NrrdHeader, orientation: str | None, override: bool) -> str:
    if header.orientation is None:
        return settle_orientation([], orientation) or _HOUSE_ORIENTATION
    if not _is_ambiguous(header):
        used = settle_orientation([header.orientation], orientation, override=override)
        return used or header.orientation
    if (given := settle_orientation([], orientation)) is not None:
        return given
    if _is_ccf(header):
        return _HOUSE_ORIENTATION
    raise GridError(
        "the header says left-posterior-superior with directions along the axes, as files of the "
        "Allen Institute do whose voxels run to posterior, inferior and right; give "
        "orientation='PIR' for such data, or 'LPS' to trust the header"
    )


def _is_ambiguous(header: NrrdHeader) -> bool:
    """Whether directions are along the axes of the file in left-posterior-superior.

    That is what programs write that do not know the orientation; none that does not knows a tilt.
    """
    return header.space == "LPS" == header.orientation and header.affine is None


def _is_ccf(header: NrrdHeader) -> bool:
    resolutions = set(header.spacing or ())
    return len(resolutions) == 1 and _CCF_SHAPES.get(resolutions.pop()) == header.shape


def _states_orientation(header: NrrdHeader) -> bool:
    """Whether a header says in which order the voxels are, or its file is known by its shape."""
    return header.orientation is not None and (not _is_ambiguous(header) or _is_ccf(header))
