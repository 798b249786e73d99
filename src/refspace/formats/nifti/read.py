"""Volumes from NIfTI files, as lazy arrays and as streams of slabs."""

from pathlib import Path
from typing import Any

import xarray as xr

from refspace.errors import GridError
from refspace.formats.directions import WORLD, Affine, settle_tilt, tilted_affine
from refspace.formats.nifti.header import NiftiHeader, read_header, read_image_header
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

# Relative error of lengths in single precision.
_SINGLE = 1e-5


def read_nifti(
    path: PathLike,
    *,
    resolution: Resolution | None = None,
    orientation: str | None = None,
    override: bool = False,
    like: Grid | None = None,
) -> xr.DataArray:
    """Open a three-dimensional NIfTI file as a lazy volume.

    Only the header is read, by nibabel (``pip install 'refspace[nifti]'``). Voxels are read as by
    `read_nrrd`: mapped into memory, or inflated once, at first use.

    Parameters
    ----------
    path
        Local file, NIfTI-1 or NIfTI-2, ``.nii`` or ``.nii.gz``.
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
    >>> path = tempfile.mkdtemp() + "/annotation.nii.gz"
    >>> grid = Grid((4, 2, 3), (1000, 1000, 1000), (-2000, -3000, 0), "RAS")
    >>> write_nifti(path, labelled(np.ones(grid.shape, "u2"), grid))
    >>> annotation = read_nifti(path)
    >>> annotation.dims, annotation.ml.values
    (('ml', 'ap', 'dv'), array([-1500.,  -500.,   500.,  1500.]))
    >>> annotation.hemisphere.values.tolist()
    ['left', 'left', 'right', 'right']
    """
    header = read_header(path)
    with naming(header.path):
        grid, midline = grid_and_midline(header, resolution, orientation, override, like)
    volume = labelled(lazy_voxels(header, "nifti"), grid, _name(header), header.sides.attrs)
    return volume if midline is None else with_hemispheres(volume, midline)


def read_nifti_image(
    path: PathLike,
    *,
    resolution: Resolution | None = None,
    orientation: str | None = None,
    override: bool = False,
) -> xr.DataArray:
    """Open a NIfTI file as a lazy image: with its values, and all of its axes.

    Parameters
    ----------
    path, resolution, orientation, override
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
    header, image = read_image_header(path)
    with naming(header.path):
        place: Grid | Affine | None = _affine(header, resolution, orientation, override)
        if place is None:
            place, _ = grid_and_midline(header, resolution, orientation, override)
    return image.lazy_image("nifti", place, _name(header))


def stream_nifti_image(
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
        As for `read_nifti`.

    Raises
    ------
    FormatError, GridError, MissingDependencyError, OSError
        As for `read_nifti_image`; FormatError also if there are several volumes.
    """
    header, image = read_image_header(path)
    with naming(header.path):
        grid, _ = grid_and_midline(header, resolution, orientation, override, like)
    return image.stream(grid)


def _name(header: NiftiHeader) -> str:
    return Path(header.path).name.removesuffix(".gz").removesuffix(".nii")


class NiftiStream(VoxelStream):
    """Voxels of a NIfTI file, slab by slab along its last axis, never as a whole.

    Parameters
    ----------
    path, resolution, orientation, override, like
        As for `read_nifti`.

    Raises
    ------
    FormatError, GridError, MissingDependencyError, OSError
        As for `read_nifti`.
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
            super().__init__(
                header, *grid_and_midline(header, resolution, orientation, override, like)
            )


def grid_and_midline(
    header: NiftiHeader,
    resolution: Resolution | None,
    orientation: str | None,
    override: bool = False,
    like: Grid | None = None,
) -> tuple[Grid, Midline | None]:
    """Grid and midline of a file, from its header and the arguments of the caller."""
    refuse_fault(header.fault, resolution, orientation, override, like)
    if like is not None:
        if override or not header.forms:
            how: dict[str, Any] = {"override": override, "path": header.path, "rtol": _SINGLE}
            return grid_like(header.shape, header.stated, like, **how), None
        resolution = spacing_like(header.stated, header.forms[0].orientation, like)
    spacing, factor = settle_spacing(
        header.stated, resolution, override=override, path=header.path, rtol=_SINGLE
    )
    used = _orientation(header, orientation, override)
    form = header.forms[0] if header.forms else None
    # An origin holds only in the orientation that it is stated for.
    if form is None or form.origin is None or form.orientation != used:
        return Grid(header.shape, spacing, orientation=used), None
    settle_tilt(form.deviation, orientation, form.orientation, header.path)
    origin = scaled_origin(form.origin, factor, header.path)
    grid = header.sides.in_frame(Grid(header.shape, spacing, origin, used, WORLD))
    return grid, header.sides.midline(grid)


def _affine(
    header: NiftiHeader,
    resolution: Resolution | None,
    orientation: str | None,
    override: bool,
) -> Affine | None:
    """Affine of a file whose axes are oblique; None of others, and where they are overruled."""
    form = header.forms[0] if header.forms else None
    if form is None or tilted_affine(form.affine, form.deviation, 1) is None:
        return None
    if _orientation(header, orientation, override) != form.orientation:
        return None
    _, factor = settle_spacing(
        header.stated, resolution, override=override, path=header.path, rtol=_SINGLE
    )
    return tilted_affine(form.affine, form.deviation, factor)


def _orientation(header: NiftiHeader, orientation: str | None, override: bool) -> str:
    stated = [form.orientation for form in header.forms]
    used = settle_orientation(stated, orientation, override=override)
    if used is not None:
        return used
    listed = " and ".join(f"{form.name} {form.orientation}" for form in header.forms)
    raise GridError(
        (
            f"the header has two orientations, {listed}"
            if listed
            else "the header has no sform or qform"
        )
        + "; give orientation=, the directions in which the indices grow, like 'RAS'"
    )
