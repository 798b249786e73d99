"""Volumes from NIfTI files."""

from collections.abc import Mapping
from typing import Any

import xarray as xr

from refspace.formats.nifti.header import parse_header
from refspace.formats.volume_format import Given, VolumeFormat
from refspace.grid import Grid
from refspace.types import PathLike, Resolution


def read_nifti(
    path: PathLike,
    *,
    resolution: Resolution | None = None,
    orientation: str | None = None,
    override: bool = False,
    like: Grid | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> xr.DataArray:
    """Open a three-dimensional NIfTI file as a lazy volume.

    Only the header is read, by nibabel (``pip install nibabel``). Voxels are read as by
    `read_nrrd`: mapped into memory, or inflated once, at first use.

    Parameters
    ----------
    path
        Path or URL of a file, NIfTI-1 or NIfTI-2, ``.nii`` or ``.nii.gz``; or of the header of a
        pair, ``.hdr``, whose voxels are beside it.
    resolution
        µm per voxel, one number or three; must agree with what the header states. Lengths without a
        unit are mm, as other programs read them, unless they are the resolution's in another unit.
        A header without a unit, sform and qform states nothing.
    orientation
        Direction in which the index of each axis grows, in the order of the file; must agree with
        the header's sform or qform. By default the sform counts, or else the qform.
    override
        Whether `resolution` and `orientation` overrule what the header states, as for `read_nrrd`.
        Scans of rodents often have headers of ten times their size; others have the identity as
        their affine.
    like
        Where the voxels of another volume are that is stored in the same order, as a template is:
        it fills what the header leaves open.
    storage_options
        As for `read_nrrd`.

    Returns
    -------
    xarray.DataArray
        Named like the file, its axes in the order of the file, the fastest first; dask-backed, in
        slabs along the last. Coordinates are those of the header's world in µm, in any order of
        storage: they grow to the right, anterior and superior, or as the frame has it from which
        `write_nifti` wrote the file. The midline is the one that a header extension of refspace
        states; or else 0 of the world, where that is within a tenth of the extent of the middle,
        unless it leaves one plane more to the left, half a voxel off; or else the middle. Where
        `orientation` overrules the header, coordinates grow with the index, from 0.

    Raises
    ------
    FormatError
        If the file is damaged, unsafe or uses a feature that is not supported, like scaled voxels.
        Faults in the voxels raise when they are computed.
    GridError
        If the geometry is missing, oblique, contradictory or ambiguous.
    MissingDependencyError
        If nibabel is not installed.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from refspace.formats.nifti import write_nifti
    >>> from refspace.labels import labelled
    >>> path = tempfile.mkdtemp() + "/annotation.nii.gz"
    >>> grid = Grid((4, 2, 3), (1000, 1000, 1000), (-2000, -3000, 0), "RAS")
    >>> write_nifti(path, labelled(np.ones(grid.shape, "u2"), grid))
    >>> annotation = read_nifti(path)
    >>> annotation.dims, annotation.ml.values
    (('ml', 'ap', 'dv'), array([-1500.,  -500.,   500.,  1500.]))
    >>> annotation.hemisphere.values.tolist()
    ['left', 'left', 'right', 'right']
    """
    return NIFTI.read(path, Given(resolution, orientation, override, like), storage_options)


def read_nifti_image(
    path: PathLike,
    *,
    resolution: Resolution | None = None,
    orientation: str | None = None,
    override: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> xr.DataArray:
    """Open a NIfTI file as a lazy image: with its values, and all of its axes.

    Parameters
    ----------
    path, resolution, orientation, override, storage_options
        As for `read_nifti`.

    Returns
    -------
    xarray.DataArray
        As of `read_nifti`, but with the values that ``scl_slope`` and ``scl_inter`` make of the
        stored numbers: float32 of integers of up to 16 bits, else float64; numbers that are not
        scaled are as they are stored. Axes after those of space come first, where they have more
        than one volume: ``time``, with coordinates in seconds where the header states a unit of
        time (``frequency`` of spectra), ``channel``, ``dim_6`` and ``dim_7``. Of an image whose
        axes are oblique, those of space are ``i``, ``j`` and ``k``, without coordinates, and the
        attribute ``affine_to_ras_um`` leads from their indices to the header's world in µm.

    Raises
    ------
    FormatError
        As for `read_nifti`, but for scaled voxels and series; if the values are complex or colours.
    GridError, MissingDependencyError, OSError
        As for `read_nifti`.

    Examples
    --------
    >>> import tempfile
    >>> import nibabel
    >>> import numpy as np
    >>> path = tempfile.mkdtemp() + "/series.nii.gz"
    >>> series = nibabel.Nifti1Image(np.linspace(0, 1, 48).reshape(4, 3, 2, 2), np.eye(4))
    >>> series.set_data_dtype(np.int16)
    >>> series.header.set_xyzt_units("mm", "sec")
    >>> nibabel.save(series, path)
    >>> image = read_nifti_image(path)
    >>> image.dims, image.dtype, image.time.values, round(float(image.max()), 4)
    (('time', 'ml', 'ap', 'dv'), dtype('float32'), array([0., 1.]), 1.0)
    """
    return NIFTI.read_image(path, Given(resolution, orientation, override), storage_options)


NIFTI = VolumeFormat("nifti", parse_header)
