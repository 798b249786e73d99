"""Volumes from NIfTI files, read when they are computed."""

import os
from collections.abc import Sequence
from pathlib import Path

import xarray as xr

from refspace.errors import GridError
from refspace.formats.directions import agreed_spacing
from refspace.formats.nifti.header import NiftiHeader, read_header
from refspace.formats.voxel_files import VoxelStream, lazy_voxels, naming
from refspace.grid import Grid, parse_orientation
from refspace.labels import labelled, with_hemispheres

# Of lengths that are stored with single precision.
_SINGLE = 1e-5


def read_nifti(
    path: str | os.PathLike[str],
    *,
    resolution: float | Sequence[float] | None = None,
    orientation: str | None = None,
) -> xr.DataArray:
    """Open a three-dimensional NIfTI file as a lazy volume.

    Only the header is read, by nibabel (``pip install 'refspace[nifti]'``). Voxels are read as by
    `read_nrrd`: mapped into memory, or inflated at first use, once.

    Parameters
    ----------
    path
        Local file, NIfTI-1 or NIfTI-2, ``.nii`` or ``.nii.gz``.
    resolution
        µm per voxel, one number or three; must agree with what the header states. A header that
        states no unit means millimetres.
    orientation
        Direction in which the index of each axis grows, in the order of the file; overrules the
        header. By default the header's sform counts, or else its qform.

    Returns
    -------
    xarray.DataArray
        Named like the file, its axes in the order of the file, the fastest first; dask-backed, in
        slabs along the last. Coordinates are those of the header's world in µm: positive to the
        right, anterior and superior where the axis runs there, and negated where it runs the other
        way. If the world's 0 lies within the volume from left to right, it is the midline. Where
        `orientation` overrules the header, the volume starts at 0.

    Raises
    ------
    FormatError
        If the file is damaged, unsafe or uses a feature that is not supported, like scaled voxels.
        Faults in the voxels show when they are computed.
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
        grid, midline = placed_by(header, resolution, orientation)
    name = Path(header.path).name.removesuffix(".gz").removesuffix(".nii")
    volume = labelled(lazy_voxels(header, "nifti"), grid, name)
    return volume if midline is None else with_hemispheres(volume, midline)


class NiftiStream(VoxelStream):
    """Voxels of a NIfTI file, slab by slab along its last axis, never as a whole.

    Parameters
    ----------
    path, resolution, orientation
        As for `read_nifti`.

    Raises
    ------
    FormatError, GridError, MissingDependencyError, OSError
        As for `read_nifti`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        resolution: float | Sequence[float] | None = None,
        orientation: str | None = None,
    ) -> None:
        header = read_header(path)
        with naming(header.path):
            super().__init__(header, *placed_by(header, resolution, orientation))


def placed_by(
    header: NiftiHeader, resolution: float | Sequence[float] | None, orientation: str | None
) -> tuple[Grid, float | None]:
    """Grid and midline of a file, from its header and what the caller says."""
    spacing = agreed_spacing(header.spacing, resolution, _SINGLE)
    if resolution is not None:
        spacing = agreed_spacing(None, resolution)
    used = parse_orientation(orientation or _stated_orientation(header))
    form = header.forms[0] if header.forms else None
    # An origin has a meaning only in the space that it is given in.
    if form is None or form.origin is None or form.orientation != used:
        return Grid(header.shape, spacing, orientation=used), None
    grid = Grid(header.shape, spacing, form.origin, used)
    centres = grid.coordinates("ml")
    # Not within the first voxel or the last: there it is an edge at which a file was begun.
    return grid, 0.0 if centres[0] < 0 < centres[-1] else None


def _stated_orientation(header: NiftiHeader) -> str:
    stated = {form.orientation for form in header.forms}
    if len(stated) == 1:
        return stated.pop()
    listed = " and ".join(f"{form.name} {form.orientation}" for form in header.forms)
    raise GridError(
        (
            f"the header has two orientations, {listed}"
            if listed
            else "the header has no sform or qform"
        )
        + "; give orientation=, the directions in which the indices grow, like 'RAS'"
    )
