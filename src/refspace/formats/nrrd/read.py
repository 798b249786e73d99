"""Volumes from NRRD files, as lazy arrays and as streams of slabs."""

from pathlib import Path

import xarray as xr

from refspace.errors import GridError
from refspace.formats.directions import resolve_spacing
from refspace.formats.nrrd.header import NrrdHeader, read_header
from refspace.formats.voxel_files import VoxelStream, lazy_voxels, naming
from refspace.grid import Grid, parse_orientation
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
        µm per voxel, one number or three; needed where the header states no spacing, and must
        agree with it where it does. A spacing without a unit is taken as µm.
    orientation
        Direction in which the index of each axis grows, in the order of the file; overrules the
        header. By default the header's space and directions count, or ``"PIR"`` if it states
        neither. Volumes of the Allen CCF, whose headers contradict their voxels, are ``"PIR"``.

    Returns
    -------
    xarray.DataArray
        Named like the file, its axes in the order of the file, the fastest first; dask-backed, in
        slabs along the last. The volume starts at 0 unless the header states an origin in the
        orientation that is used. Then the midline is the one that a key/value pair
        ``refspace_midline_um`` states; or else 0 of the world, where that is within a tenth of the
        extent of the middle, unless it leaves one plane more to the left, half a voxel off; or else
        the middle.

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
        grid = grid_for(header, resolution, orientation)
        midline = midline_for(header, grid)
    name = Path(header.path).stem
    volume = labelled(lazy_voxels(header, "nrrd"), grid, name, header.sides.attrs)
    return volume if midline is None else with_hemispheres(volume, midline)


class NrrdStream(VoxelStream):
    """Voxels of an NRRD file, slab by slab along its last axis, never as a whole.

    Parameters
    ----------
    path, resolution, orientation
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
    ) -> None:
        header = read_header(path)
        with naming(header.path):
            grid = grid_for(header, resolution, orientation)
            super().__init__(header, grid, midline_for(header, grid))


def grid_for(header: NrrdHeader, resolution: Resolution | None, orientation: str | None) -> Grid:
    """Grid of a file, from its header and the arguments of the caller."""
    spacing = resolve_spacing(header.spacing, resolution)
    used = parse_orientation(orientation or _stated_orientation(header))
    # An origin holds only in the orientation that it is stated for.
    origin = header.origin if used == header.orientation else None
    return Grid(header.shape, spacing, origin or (0.0, 0.0, 0.0), used)


def midline_for(header: NrrdHeader, grid: Grid) -> Midline | None:
    """Midline of a file whose grid is in the world that its header states; None of any other."""
    if header.origin is None or header.orientation != grid.orientation:
        return None
    return header.sides.midline(grid)


def _stated_orientation(header: NrrdHeader) -> str:
    if header.space != "LPS" or header.orientation != "LPS":
        return header.orientation or _HOUSE_ORIENTATION
    # Directions along the axes of the file are what programs write that do not know the
    # orientation.
    resolutions = set(header.spacing or ())
    if len(resolutions) == 1 and _CCF_SHAPES.get(resolutions.pop()) == header.shape:
        return _HOUSE_ORIENTATION
    raise GridError(
        "the header says left-posterior-superior with directions along the axes, as files of the "
        "Allen Institute do whose voxels run to posterior, inferior and right; give "
        "orientation='PIR' for such data, or 'LPS' to trust the header"
    )
