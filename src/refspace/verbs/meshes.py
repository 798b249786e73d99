"""Surfaces of structures, as meshes of triangles."""

import numpy as np
import xarray as xr

from refspace import kernels
from refspace.errors import GridError
from refspace.formats.meshes import Mesh
from refspace.labels import infer_grid
from refspace.ops.surface import find_surface
from refspace.types import StructuresLike
from refspace.verbs.grids import crop, reorient
from refspace.verbs.masks import make_structure_mask
from refspace.verbs.space import Space

SMOOTHING = 4
_MOST_SMOOTHING = 10


def mesh(
    space: Space,
    structure_ids: StructuresLike,
    *,
    direct_only: bool = False,
    smoothing: int = SMOOTHING,
) -> Mesh:
    """Surface of the union of some structures, by marching cubes on their smoothed mask.

    Parameters
    ----------
    structure_ids
        The structures.
    direct_only
        Whether to leave out their descendants.
    smoothing
        How many times the mask is averaged with its neighbours, 0 to 10. It makes steps of voxels
        smaller, and takes nothing away: the surface always passes between the centres of voxels
        inside and outside.

    Returns
    -------
    Mesh
        Vertices in µm of the frame, in the order of its x, y and z: ap, dv and ml in the Allen
        CCF, as in Allen's published meshes. Closed, also at the ends of the volume, and the same
        whatever the chunks and the order of storage; its volume is that of the voxels to 0.2 %.
        It is computed now, from the chunks of the bounding box alone, at the resolution of the
        space: ``space.downsample(100).mesh(…)`` is coarser. Memory grows with the surface and not
        with the box.

    Raises
    ------
    StructureNotFoundError, AnnotationError
        As for `bounds`.
    GridError
        If there is no such smoothing.
    MissingDependencyError
        If scikit-image is not installed.

    Examples
    --------
    >>> import refspace
    >>> space = refspace.phantom(resolution=200)
    >>> mesh = space.mesh("VISp")
    >>> mesh.is_closed
    True
    >>> voxels = space.total_voxel_map[385] * space.grid.voxel_volume
    >>> bool(abs(mesh.volume / voxels - 1) < 0.002)
    True
    """
    check_smoothing(smoothing)
    return mesh_from_mask(cropped_mask(space, structure_ids, direct_only=direct_only), smoothing)


def cropped_mask(
    space: Space, structure_ids: StructuresLike, *, direct_only: bool = False
) -> xr.DataArray:
    """Mask of some structures within their bounding box, along the frame and in its order; lazy.

    Raises
    ------
    StructureNotFoundError, AnnotationError
        As for `bounds`.
    """
    ids = space.structure_tree.resolve(structure_ids)
    part = crop(space, ids, direct_only=direct_only)
    return make_structure_mask(reorient(part, space.grid.frame), ids, direct_only)


def mesh_from_mask(mask: xr.DataArray, smoothing: int, scheduler: str | None = None) -> Mesh:
    """Surface of a mask that lies along its frame, computed now.

    Parameters
    ----------
    mask
        What `cropped_mask` gives.
    smoothing
        As for `mesh`.
    scheduler
        Scheduler of dask that computes it; by default the one in use.

    Raises
    ------
    MissingDependencyError
        If scikit-image is not installed.
    """
    grid = infer_grid(mask)
    surface = find_surface(mask, smoothing, scheduler)
    centres = kernels.fit_surface(surface, grid.shape)
    # Along the frame no axis is mirrored, and triangles keep their orientation.
    columns = [grid.position(dim, centres[:, axis] + 0.5) for axis, dim in enumerate(grid.dims)]
    vertices = np.stack(columns, axis=1)
    normals = kernels.vertex_normals(vertices, surface.faces)
    return Mesh(vertices, normals, surface.faces, surface.faces)


def check_smoothing(smoothing: int) -> None:
    """Refuse a smoothing that is none.

    Raises
    ------
    GridError
        If it is not a whole number from 0 to 10.
    """
    if smoothing not in range(_MOST_SMOOTHING + 1):
        raise GridError(
            f"smoothing is {smoothing!r}; give how many times the mask is averaged with its "
            f"neighbours, 0 to {_MOST_SMOOTHING}"
        )
