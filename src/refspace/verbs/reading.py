"""Images from wherever they are: files, stores and arrays, on this machine and on others."""

import os
from collections.abc import Mapping
from typing import Any

import dask.array
import numpy as np
import xarray as xr

from refspace.errors import AnnotationError, GridError
from refspace.formats.names import is_volume_file, refuse_override
from refspace.formats.volumes import read_image_file
from refspace.grid import Grid, parse_spacing
from refspace.labels import labelled, warn_of_odd_resolution
from refspace.store.images import open_image
from refspace.types import AFFINE, ArrayLike, ImageLike, PathLike, Resolution


def read_image(
    image: ImageLike,
    *,
    resolution: Resolution | None = None,
    orientation: str | None = None,
    override: bool = False,
    variable: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    engine: str = "fsspec",
    chunk_cache: PathLike | None = None,
) -> xr.DataArray:
    """Open an image of intensities, lazily, whatever it is in; no voxel is read.

    Parameters
    ----------
    image
        Path or URL of a file: NRRD, NIfTI, MGH, TIFF, MetaImage or ``.npy``, which is recognised by
        its content. Or of an image in zarr: OME-Zarr, a variable of a group that xarray wrote, a
        bare array, or the template of a store. Or an array, whose last three axes are those of
        space.
    resolution
        µm per voxel, one number or three in the order of the axes; needed where the image does not
        state it. Of a pyramid in zarr, that of the level to open.
    orientation
        Direction in which the index of each axis of space grows, like ``"PIR"``; needed where the
        image does not state it.
    override
        Whether both overrule what the header of a file states.
    variable
        Name of the variable, where a group in zarr has several.
    storage_options, engine, chunk_cache
        As for `refspace.open`. Files are read by fsspec.

    Returns
    -------
    xarray.DataArray
        Lazy. Values are scaled as the file says. The axes of space are the last three, ``ap``,
        ``dv`` and ``ml`` in the order in which they are stored, with coordinates in µm; those of
        channels, times and others come first. Of an image whose axes are oblique, those of space
        are ``i``, ``j`` and ``k``, without coordinates, and the attribute ``affine_to_ras_um``
        leads from indices to positions in RAS+.

    Raises
    ------
    FormatError
        If it is damaged, or of a format that is not read: the message names it.
    GridError
        If the geometry is missing or contradictory.
    MissingDependencyError
        If a package that reads the format is not installed.
    StoreError
        If nothing is there.
    RemoteError
        If it cannot be reached.

    Examples
    --------
    >>> image = read_image(np.zeros((2, 5, 4, 3), "f4"), resolution=25, orientation="PIR")
    >>> image.dims, image.ap.values[:2]
    (('dim_0', 'ap', 'dv', 'ml'), array([12.5, 37.5]))
    """
    if not isinstance(image, str | os.PathLike):
        refuse_override("the image", override)
        return _placed(image, resolution, orientation)
    if is_volume_file(image):
        return read_image_file(
            image,
            resolution=resolution,
            orientation=orientation,
            override=override,
            storage_options=storage_options,
        )
    refuse_override(os.fspath(image), override)
    return open_image(
        os.fspath(image),
        variable=variable,
        resolution=resolution,
        orientation=orientation,
        storage_options=storage_options,
        engine=engine,
        chunk_cache=chunk_cache,
    )


def _placed(
    image: ArrayLike, resolution: Resolution | None, orientation: str | None
) -> xr.DataArray:
    """Array with coordinates, its own or those of what the caller says."""
    if isinstance(image, xr.DataArray):
        is_placed = AFFINE in image.attrs or {*image.dims[-3:]} <= {*image.coords}
        if is_placed and (resolution is not None or orientation is not None):
            raise GridError(
                "the image has coordinates of its own; leave out resolution and orientation, or "
                "drop the coordinates"
            )
        if is_placed:
            return image
    data = image.data if isinstance(image, xr.DataArray) else image
    if not isinstance(data, np.ndarray | dask.array.Array) or data.ndim < 3 or 0 in data.shape:
        raise AnnotationError(
            f"the image is {_described(data)}; give an array of three axes of space, which others "
            "may precede"
        )
    if resolution is None:
        raise GridError("the array does not state its voxels' size; give resolution=, like 25")
    if orientation is None:
        raise GridError(
            "the array does not state in which directions its axes run; give orientation=, three "
            "letters like 'PIR'"
        )
    warn_of_odd_resolution(resolution)
    i, j, k = data.shape[-3:]
    grid = Grid((i, j, k), parse_spacing(resolution), orientation=orientation)
    first = labelled(data[(0,) * (data.ndim - 3)], grid)
    before = [
        str(image.dims[n]) if isinstance(image, xr.DataArray) else f"dim_{n}"
        for n in range(data.ndim - 3)
    ]
    return xr.DataArray(data, first.coords, (*before, *first.dims))


def _described(data: object) -> str:
    return f"of shape {data.shape}" if hasattr(data, "shape") else f"a {type(data).__name__}"
