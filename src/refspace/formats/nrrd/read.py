"""Volumes from NRRD files, and where their voxels are."""

from collections.abc import Mapping
from typing import Any

import xarray as xr

from refspace.formats.itk_headers import grid_and_midline
from refspace.formats.nrrd.header import parse_header
from refspace.formats.volume_format import Given, VolumeFormat
from refspace.grid import Grid
from refspace.types import PathLike, Resolution


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
        Path or URL of a file, encoding gzip or raw. Its data are in it, or in the file beside it
        that it names; names that lead out of the folder are refused. Axes of one voxel may come
        beside those of space.
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


NRRD = VolumeFormat("nrrd", parse_header, place=grid_and_midline)
