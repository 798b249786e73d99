"""Structures of points, and points of structures."""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pandas as pd
import xarray as xr
from dask.base import is_dask_collection

from refspace.errors import GridError, OntologyError
from refspace.labels import HEMISPHERES
from refspace.ops import point_counts
from refspace.ops.code_texts import CodeTexts, look_up_texts
from refspace.ops.point_labels import MISSING, OUTSIDE, VoxelLookup, look_up_table
from refspace.ops.positions import (
    check_unit,
    is_position,
    is_table,
    position_dims,
    position_in_micrometres,
    positions_along_axes,
    refuse_all_outside,
    with_axes_last,
)
from refspace.structure_tree import Regions, RegionsLike, StructureTree
from refspace.types import LengthUnit, PointsLike, StructureField
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
    points: PointsLike | Sequence[float],
    regions: RegionsLike | None = None,
    *,
    as_: StructureField = "id",
    columns: Sequence[Hashable] | None = None,
    unit: LengthUnit = "um",
) -> Any:
    """Structure of the voxel that holds a position, or each of many points.

    Of points in memory no more than the blocks that hold any are read, each once; and none that
    is known to be of one region. Of lazy points each partition is looked up for itself: the
    blocks that it touches are read once for each partition.

    Parameters
    ----------
    points
        Positions in µm, in the coordinates of the annotation. One position: a tuple, list or array
        of x, y and z, as below. Or an array of shape (n, 3), NumPy
        or dask, with x, y and z of its frame: ap, dv, ml of the Allen CCF; ml, ap, dv of a NIfTI
        file, in whatever order its voxels are stored. Or a DataArray with a dim of length 3, whose
        labels are ``ap``, ``dv`` and ``ml``, or ``x``, ``y`` and ``z``, in any order, or which has
        none. Or a table, of pandas or dask, with columns of these names.
    regions
        As for `relabel`, where other regions are asked for than the labels themselves. A point in
        several regions is in the nearest.
    as_
        What to return of a structure: its ``"id"``, ``"acronym"`` or ``"name"``.
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
        which texts are numbered. With ``as_``, texts: those of regions that have texts for labels
        are these; of a structure without an acronym or name, or a label that the tree lacks, the
        digits of the id; empty where there is no structure.
    int or str
        Of one position, computed at once.

    Raises
    ------
    PositionError
        If one position is outside the volume.
    OntologyError
        If regions that a mapping numbers are to have acronyms or names.
    GridError
        If the points have another shape, other columns, or are no real numbers; if it is not
        known how many there are in a dask array; or if there is no such unit.
    OntologyError, StructureNotFoundError
        As for `relabel`.

    Examples
    --------
    >>> import refspace
    >>> space = refspace.phantom(resolution=200)
    >>> space.structure_at((5100, 1500, 3300)), space.structure_at((5.1, 1.5, 3.3), unit="mm")
    (577, 577)
    >>> space.structure_at((5100, 1500, 3300), as_="name")
    'Primary somatosensory area, upper limb, layer 4'
    >>> points = np.array([[5100, 1500, 3300], [0, 0, 0], [-5, 0, 0]])
    >>> space.structure_at(points).values
    array([577,   0,  -1])
    >>> space.structure_at(points, ["Isocortex", "TH"]).values
    array([315,   0,  -1])
    >>> space.structure_at(points, "beryl", as_="acronym").values.tolist()
    ['SSp-ul', '', '']
    >>> space.structure_at([[25, 7, 16], [0, 0, 0]], unit="voxel").values
    array([577,   0])
    """
    if as_ not in get_args(StructureField):
        raise OntologyError(f"as_ is {as_!r}; give 'id', 'acronym' or 'name'")
    check_unit(unit)
    if is_position(points):
        return _at_position(space, points, regions, as_, columns, unit)
    lookup, attrs = _lookup(space, unit), dict[str, Any](_ATTRS)
    chosen = None if regions is None else space.structure_tree.regions(regions)
    texts = None if as_ == "id" else _texts(space.structure_tree, chosen, as_)
    if chosen is not None:
        table = np.array(sorted(chosen.label_voxels().items()), np.int64).reshape(-1, 2).T
        lookup = replace(lookup, codes=table)
        attrs |= region_names(chosen)
    if is_table(points):
        return _look_up_table(points, lookup, columns, attrs, texts)
    points = with_axes_last(points, lookup.dims)
    if any(map(math.isnan, points.shape)):
        raise GridError(
            "it is not known how many points there are; call compute_chunk_sizes() of the "
            "array first, or give the table that it comes from"
        )
    *dims, axis = points.dims
    coords = {name: c for name, c in points.coords.items() if axis not in c.dims}
    codes = lookup.look_up(positions_along_axes(points, lookup.dims, columns))
    structures = xr.DataArray(codes, coords, dims, "structure", attrs)
    return structures if texts is None else texts.of_array(structures)


def _at_position(
    space: Space,
    position: Any,
    regions: RegionsLike | None,
    as_: StructureField,
    columns: Sequence[Hashable] | None,
    unit: LengthUnit,
) -> int | str:
    """Structure at one position, which must be in the volume."""
    for dim, along in zip(position_dims(space.grid, unit), position, strict=True):
        # Raises outside, and where it is no number.
        space.grid.index(dim, position_in_micrometres(float(along), dim, space.grid, unit))
    point = np.asarray([position], np.float64)
    found = structure_at(space, point, regions, as_=as_, columns=columns, unit=unit)
    value: int | str = found.values[0].item()
    return value


def _texts(tree: StructureTree, regions: Regions | None, field: StructureField) -> CodeTexts:
    """Acronym or name of each code that points may have."""
    if regions is not None and regions.are_numbered:
        numbered = zip(regions.voxel_labels, regions.labels, strict=True)
        return CodeTexts.from_mapping(field, {i: str(label) for i, label in numbered})
    if regions is not None and not regions.acronyms and len(regions):
        raise OntologyError(
            f"as_ is {field!r}, but the labels of these regions are the numbers of a mapping; map "
            "structures to texts, or leave as_ out"
        )
    ids = tree.node_ids() if regions is None else regions.voxel_labels
    called = {node["id"]: node.get(field) for node in tree.nodes(ids)}
    return CodeTexts.from_mapping(field, {i: str(text or i) for i, text in called.items() if i})


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
    lookup = VoxelLookup(space.grid, space.annotation.data, unit=unit)
    if space.volume.is_indexed_in_parts:
        return replace(lookup, labels_in=space.volume.block_labels_in)
    return replace(lookup, block_labels=space.block_labels)


def _look_up_table(
    points: Any,
    lookup: VoxelLookup,
    columns: Sequence[Hashable] | None,
    attrs: Mapping[str, Any],
    texts: CodeTexts | None,
) -> Any:
    """Codes of the points of a table, or their texts, as a Series."""
    if not is_dask_collection(points):
        if texts is not None:
            return look_up_texts(points, lookup, columns, texts)
        return look_up_table(points, lookup, columns, attrs)
    positions_along_axes(points, lookup.dims, columns)  # raises where they are no positions
    if texts is not None:
        return points.map_partitions(
            look_up_texts,
            lookup.shared,
            columns,
            texts,
            "synchronous",
            meta=texts.of_series(pd.Series([1], dtype=np.int64)).iloc[:0],
        )
    meta = pd.Series([], dtype=np.int64, name="structure")
    return points.map_partitions(
        look_up_table, lookup.shared, columns, attrs, "synchronous", meta=meta
    )
