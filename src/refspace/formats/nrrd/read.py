"""Volumes from NRRD files, and where their voxels are."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import xarray as xr

from refspace.errors import GridError
from refspace.formats import headers
from refspace.formats.directions import WORLD
from refspace.formats.headers import Form, VolumeHeader
from refspace.formats.nrrd.header import NrrdHeader, parse_header
from refspace.formats.spacing import scaled_origin, settle_orientation, settle_spacing
from refspace.formats.volume_format import Given, VolumeFormat
from refspace.grid import Grid
from refspace.labels import Midline
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
    storage_options: Mapping[str, Any] | None = None,
) -> xr.DataArray:
    """Open a three-dimensional NRRD file as a lazy volume.

    Only the header is read. Raw data are mapped into memory. A gzip stream has no random access:
    the first block that is computed inflates all voxels, which stay in memory as long as the array.
    Another process inflates them again, once for all of its tasks. Computed blocks are read-only
    views of the voxels.

    Parameters
    ----------
    path
        Path or URL of a file with attached data, encoding gzip or raw.
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
    storage_options
        What fsspec needs to reach a URL. The header of a file of another machine is read from its
        first bytes; the first block that is computed copies the whole file.

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
    >>> from refspace.labels import labelled
    >>> path = tempfile.mkdtemp() + "/annotation.nrrd"
    >>> grid = Grid((4, 2, 3), (25, 25, 25))
    >>> write_nrrd(path, labelled(np.ones(grid.shape, "u4"), grid))
    >>> annotation = read_nrrd(path)
    >>> annotation.dims, annotation.ml.values
    (('ap', 'dv', 'ml'), array([12.5, 37.5, 62.5]))
    """
    return NRRD.read(path, Given(resolution, orientation, override, like), storage_options)


def read_nrrd_image(
    path: PathLike,
    *,
    resolution: Resolution | None = None,
    orientation: str | None = None,
    override: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> xr.DataArray:
    """Open an NRRD file as a lazy image: with all of its axes.

    Parameters
    ----------
    path, resolution, orientation, override, storage_options
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
    return NRRD.read_image(path, Given(resolution, orientation, override), storage_options)


def grid_and_midline(
    header: VolumeHeader,
    resolution: Resolution | None,
    orientation: str | None,
    override: bool = False,
    like: Grid | None = None,
) -> tuple[Grid, Midline | None]:
    """Grid and midline of a file, from its header and the arguments of the caller."""
    if header.fault is None:
        is_doubtful = _is_ambiguous(header) and not _is_ccf(header)
        grid = _grid_on(header, like) if like and is_doubtful and not override else None
        if grid is not None:
            return grid, header.sides.midline(grid)
        header = replace(header, forms=_believed_forms(header, orientation, is_alone=like is None))
        if not header.forms and like is None:
            orientation = orientation or _HOUSE_ORIENTATION
    return headers.grid_and_midline(header, resolution, orientation, override, like)


def _believed_forms(
    header: VolumeHeader, orientation: str | None, *, is_alone: bool
) -> tuple[Form, ...]:
    """Statements of a header on its position, without one that contradicts the voxels.

    Parameters
    ----------
    header
        The header.
    orientation
        What the caller says.
    is_alone
        Whether no other volume says where the voxels are.
    """
    if not _is_ambiguous(header):
        return header.forms
    if (given := settle_orientation([], orientation)) is not None:
        return tuple(form for form in header.forms if form.orientation == given)
    if _is_ccf(header):
        return (Form("the volumes of the Allen CCF", _HOUSE_ORIENTATION),)
    if not is_alone:
        return ()
    raise GridError(
        "the header says left-posterior-superior with directions along the axes, as files of the "
        "Allen Institute do whose voxels run to posterior, inferior and right; give "
        "orientation='PIR' for such data, or 'LPS' to trust the header"
    )


def _grid_on(header: VolumeHeader, like: Grid) -> Grid | None:
    """Grid that a header states that may be wrong, where it lies on that of another volume.

    None where it does not: then the header is not believed.
    """
    (form,) = header.forms
    if form.origin is None:
        return None
    wanted = like.reorient(form.orientation).spacing
    try:
        spacing, factor = settle_spacing(header.stated, wanted, path=header.path)
    except GridError:
        return None
    origin = scaled_origin(form.origin, factor, header.path)
    grid = header.sides.in_frame(Grid(header.shape, spacing, origin, form.orientation, WORLD))
    lies_on = grid.in_frame(like.frame).reorient(like.orientation).matches(like)
    return grid if lies_on else None


def _is_ambiguous(header: VolumeHeader) -> bool:
    """Whether directions are along the axes of the file in left-posterior-superior.

    That is what programs write that do not know the orientation; none that does not knows a tilt.
    """
    is_in_lps = isinstance(header, NrrdHeader) and header.space == "LPS"
    return is_in_lps and [(form.orientation, form.affine) for form in header.forms] == [
        ("LPS", None)
    ]


def _is_ccf(header: VolumeHeader) -> bool:
    resolutions = set(header.stated.spacing or ())
    return len(resolutions) == 1 and _CCF_SHAPES.get(resolutions.pop()) == header.shape


NRRD = VolumeFormat("nrrd", parse_header, place=grid_and_midline)
