"""Volumes from NIfTI files, as lazy arrays and as streams of slabs."""

from pathlib import Path

import xarray as xr

from refspace.errors import GridError
from refspace.formats.directions import resolve_spacing
from refspace.formats.nifti.header import NiftiHeader, read_header
from refspace.formats.voxel_files import VoxelStream, lazy_voxels, naming
from refspace.grid import Grid, parse_orientation
from refspace.labels import Midline, labelled, with_hemispheres
from refspace.types import PathLike, Resolution

# Relative error of lengths in single precision.
_SINGLE = 1e-5


def read_nifti(
    path: PathLike,
    *,
    resolution: Resolution | None = None,
    orientation: str | None = None,
) -> xr.DataArray:
    """Open a three-dimensional NIfTI file as a lazy volume.

    Only the header is read, by nibabel (``pip install 'refspace[nifti]'``). Voxels are read as by
    `read_nrrd`: mapped into memory, or inflated once, at first use.

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
        way. The midline is the one that a header extension of refspace states; or else 0 of the
        world, where that is within a tenth of the extent of the middle, unless it leaves one plane
        more to the left, half a voxel off; or else the middle. Where `orientation` overrules the
        header, the volume starts at 0.

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
        grid, midline = grid_and_midline(header, resolution, orientation)
    name = Path(header.path).name.removesuffix(".gz").removesuffix(".nii")
    volume = labelled(lazy_voxels(header, "nifti"), grid, name, header.sides.attrs)
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
        path: PathLike,
        *,
        resolution: Resolution | None = None,
        orientation: str | None = None,
    ) -> None:
        header = read_header(path)
        with naming(header.path):
            super().__init__(header, *grid_and_midline(header, resolution, orientation))


def grid_and_midline(
    header: NiftiHeader, resolution: Resolution | None, orientation: str | None
) -> tuple[Grid, Midline | None]:
    """Grid and midline of a file, from its header and the arguments of the caller."""
    spacing = resolve_spacing(header.spacing, resolution, _SINGLE)
    if resolution is not None:
        # Both agree within single precision; the caller's number has no rounding of the header's.
        spacing = resolve_spacing(None, resolution)
    used = parse_orientation(orientation or _stated_orientation(header))
    form = header.forms[0] if header.forms else None
    # An origin holds only in the orientation that it is stated for.
    if form is None or form.origin is None or form.orientation != used:
        return Grid(header.shape, spacing, orientation=used), None
    grid = Grid(header.shape, spacing, form.origin, used)
    return grid, header.sides.midline(grid)


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
