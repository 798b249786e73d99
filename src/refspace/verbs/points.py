"""Structures of points, and points of structures."""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from dask.base import is_dask_collection

from refspace.errors import GridError
from refspace.labels import HEMISPHERES
from refspace.ops import point_counts
from refspace.ops.point_labels import MISSING, OUTSIDE, VoxelLookup, look_up_table
from refspace.ops.positions import (
    check_unit,
    is_table,
    positions_along_axes,
    refuse_all_outside,
    with_axes_last,
)
from refspace.structure_tree import RegionsLike
from refspace.types import LengthUnit, PointsLike
from refspace.verbs.regions import region_names
from refspace.verbs.shapes import region_measures
from refspace.verbs.space import Space
from refspace.verbs.tables import region_table, with_hemisphere

_ATTRS = {
    "long_name": "structure",
    "flag_values": [0, OUTSIDE, MISSING],
    "flag_meanings": "no_structure outside missing",
}
_OTHERS = {
    "unassigned": "points in voxels of no region",
    "outside": "points outside the volume",
    "missing": "points with a position that is NaN or infinite",
    "no_hemisphere": "points of regions in neither hemisphere",
}


def structure_at(
    space: Space,
    points: PointsLike,
    regions: RegionsLike | None = None,
    *,
    columns: Sequence[Hashable] | None = None,
    unit: LengthUnit = "um",
) -> Any:
    """Structure of the voxel that holds each of many points.

    Of points in memory no more than the blocks that hold any are read, each once; and none that
    is known to be of one region. Of lazy points each partition is looked up for itself: the
    blocks that it touches are read once for each partition.

    Parameters
    ----------
    points
        Positions in µm, in the coordinates of the annotation. An array of shape (n, 3), NumPy
        or dask, with x, y and z of its frame: ap, dv, ml of the Allen CCF; ml, ap, dv of a NIfTI
        file, in whatever order its voxels are stored. Or a DataArray with a dim of length 3, whose
        labels are ``ap``, ``dv`` and ``ml``, or ``x``, ``y`` and ``z``, in any order, or which has
        none. Or a table, of pandas or dask, with columns of these names.
    regions
        As for `relabel`, where other regions are asked for than the labels themselves. A point in
        several regions is in the nearest.
    columns
        Columns of the table that hold the positions along x, y and z of the frame; along the axes
        of the array where the unit is a voxel.
    unit
        Unit of the positions: ``"um"``, ``"mm"``, or ``"voxel"``, which counts the annotation's
        own voxels, as cellfinder does: from i up to i + 1 is in the voxel of index i along the
        axis, whichever way that runs. Positions in µm that all lie near a corner of the volume,
        or near 0, are probably in another unit; a warning says so.

    Returns
    -------
    xarray.DataArray, pandas.Series or dask.dataframe.Series
        int64: the label of the region, an integer from 1, where texts are numbered as `relabel`
        does; 0 where there is none, -1 where the point is outside the volume, -2 where a
        position is NaN or infinite. Of an array a DataArray over ``point``, or over the other
        dims of a DataArray, lazy. Of a table a Series with its index, lazy if the table is.
        Attributes ``flag_values`` and ``flag_meanings`` say what the codes mean, ``regions``
        which texts are numbered.

    Raises
    ------
    GridError
        If the points have another shape, other columns, or are no real numbers; if it is not
        known how many there are in a dask array; or if there is no such unit.
    OntologyError, StructureNotFoundError
        As for `relabel`.

    Examples
    --------
    >>> import refspace
    >>> space = refspace.phantom(resolution=200)
    >>> points = np.array([[5100, 1500, 3300], [0, 0, 0], [-5, 0, 0]])
    >>> space.structure_at(points).values
    array([577,   0,  -1])
    >>> space.structure_at(points, ["Isocortex", "TH"]).values
    array([315,   0,  -1])
    >>> space.structure_at([[25, 7, 16], [0, 0, 0]], unit="voxel").values
    array([577,   0])
    """
    lookup, attrs = _lookup(space, unit), dict[str, Any](_ATTRS)
    if regions is not None:
        chosen = space.structure_tree.regions(regions)
        table = np.array(sorted(chosen.label_voxels().items()), np.int64).reshape(-1, 2).T
        lookup = replace(lookup, codes=table)
        attrs |= region_names(chosen)
    if is_table(points):
        return _look_up_table(points, lookup, columns, attrs)
    points = with_axes_last(points, lookup.dims)
    if any(map(math.isnan, points.shape)):
        raise GridError(
            "it is not known how many points there are; call compute_chunk_sizes() of the "
            "array first, or give the table that it comes from"
        )
    *dims, axis = points.dims
    coords = {name: c for name, c in points.coords.items() if axis not in c.dims}
    codes = lookup.look_up(positions_along_axes(points, lookup.dims, columns))
    return xr.DataArray(codes, coords, dims, "structure", attrs)


def count_points(
    space: Space,
    points: PointsLike,
    regions: RegionsLike | None = None,
    *,
    by_hemisphere: bool = False,
    columns: Sequence[Hashable] | None = None,
    unit: LengthUnit = "um",
) -> xr.Dataset:
    """Number and density of points in structures, as a table.

    Parameters
    ----------
    points, columns, unit
        As for `structure_at`.
    regions
        As for `relabel`; all structures with their subtrees if not given.
    by_hemisphere
        Whether to count the hemispheres apart. A point is in that of its voxel.

    Returns
    -------
    xarray.Dataset
        Over ``structure``, and ``hemisphere`` if asked for, lazy: ``points``, how many are in
        the region; ``density``, points per mm³ of the region, NaN where it has no voxels. What
        is in no region are numbers for themselves: ``unassigned``, points in voxels of no
        region; ``outside`` the volume; and ``missing``, those with a position that is NaN or
        infinite. Of hemispheres, ``no_hemisphere``: points in voxels of regions that are in
        neither.

    Raises
    ------
    PositionError
        If the points are in memory, and all of them outside the volume.
    GridError, OntologyError, StructureNotFoundError
        As for `structure_at`.

    Examples
    --------
    >>> import refspace
    >>> space = refspace.phantom(resolution=200)
    >>> cells = np.array([[5100, 1500, 3300], [5200, 1500, 3300], [0, 0, 0]])
    >>> table = space.count_points(cells, ["Isocortex", "SSp", "TH"]).compute()
    >>> table.points.values, int(table.unassigned)
    (array([2, 2, 0]), 1)
    """
    chosen = space.structure_tree.regions(regions)
    members = chosen.structures
    # Labels of no region are all one: where there are only such, nothing is read.
    lookup = replace(_lookup(space, unit), codes=np.stack((members, members)))
    if by_hemisphere:
        lookup = replace(lookup, hemispheres=space.hemispheres.data.rechunk(space.volume.chunks))
    if not is_table(points):
        points = with_axes_last(points, lookup.dims)
    positions = positions_along_axes(points, lookup.dims, columns)
    refuse_all_outside(positions, space.grid, unit)
    codes = lookup.look_up(positions)
    found, others = point_counts.count_points(
        codes, chosen, [*HEMISPHERES.values()] if by_hemisphere else [0]
    )
    spaces = [with_hemisphere(space, side) for side in HEMISPHERES] if by_hemisphere else [space]
    density = point_counts.densities(found, [region_measures(each, chosen)[1] for each in spaces])
    dims: Any = ("structure", "hemisphere")
    if not by_hemisphere:
        dims, found, density = "structure", found[:, 0], density[:, 0]
    variables = {"points": (dims, found), "density": (dims, density, {"units": "mm-3"})}
    rest = {name: ((), number, {"long_name": _OTHERS[name]}) for name, number in others.items()}
    if not by_hemisphere:
        return region_table(chosen, variables | rest, space.volume.hemispheres.attrs)
    table = region_table(chosen, variables | rest, space.volume.hemispheres.separation)
    return table.assign_coords(hemisphere=[*HEMISPHERES])


def _lookup(space: Space, unit: LengthUnit) -> VoxelLookup:
    """Look-up of the labels of voxels that hold positions in a unit."""
    check_unit(unit)
    return VoxelLookup(space.grid, space.annotation.data, space.block_labels, unit=unit)


def _look_up_table(
    points: Any, lookup: VoxelLookup, columns: Sequence[Hashable] | None, attrs: Mapping[str, Any]
) -> Any:
    """Codes of the points of a table, as a Series."""
    if not is_dask_collection(points):
        return look_up_table(points, lookup, columns, attrs)
    positions_along_axes(points, lookup.dims, columns)  # raises where they are no positions
    meta = pd.Series([], dtype=np.int64, name="structure")
    return points.map_partitions(
        look_up_table, lookup.shared, columns, attrs, "synchronous", meta=meta
    )
