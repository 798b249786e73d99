"""Shapes of regions: boxes, surfaces, neighbours, distances."""

import functools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import dask.array
import numpy as np
import xarray as xr
from dask.delayed import Delayed

from refspace.blockwise.bounded import bounded
from refspace.blockwise.graphs import shared_value
from refspace.blockwise.reduction import array_from_value
from refspace.errors import GridError
from refspace.ops import totals
from refspace.ops.contacts import Contacts, contacts
from refspace.ops.distance import BYTES_PER_VOXEL, signed_distance
from refspace.structure_tree import Regions, RegionsLike
from refspace.types import StructuresLike
from refspace.verbs.grids import crop
from refspace.verbs.masks import make_structure_mask
from refspace.verbs.space import Space
from refspace.verbs.tables import region_table, stack_hemispheres

if TYPE_CHECKING:
    import networkx as nx


def region_properties(
    space: Space, regions: RegionsLike | None = None, *, by_hemisphere: bool = False
) -> xr.Dataset:
    """Size and place of many regions, as a table.

    Parameters
    ----------
    regions
        As for `relabel`; all structures with their subtrees if not given.
    by_hemisphere
        Whether to measure the hemispheres apart; attributes say what tells them apart.

    Returns
    -------
    xarray.Dataset
        Over ``structure``, and ``hemisphere`` if asked for: ``voxels``; ``volume`` in mm³; and in
        µm ``ap_min``, ``ap_max``, the outer edges of the bounding box, and ``ap_centroid``, the
        mean position, and so on for ``dv`` and ``ml``: NaN of regions without voxels. Lazy, and all
        of it in one pass; from the label index, without reading a voxel, where there is one.

    Raises
    ------
    OntologyError, StructureNotFoundError
        As for `relabel`.

    Examples
    --------
    >>> import refspace
    >>> space = refspace.phantom(resolution=200)
    >>> table = space.region_properties(["VISp", "TH"]).compute()
    >>> table.dv_min.values, table.dv_max.values
    (array([ 600., 2800.]), array([2600., 5400.]))
    """
    chosen = space.structure_tree.regions(regions)
    if by_hemisphere:
        return stack_hemispheres(space, lambda side: _properties(side, chosen))
    return _properties(space, chosen)


def _properties(space: Space, regions: Regions) -> xr.Dataset:
    rows = region_measures(space, regions)
    counts, volumes, *places = (
        bounded(row, space.annotation.data) for row in (rows[0].astype(np.int64), *rows[1:])
    )
    variables: dict[str, Any] = {
        "voxels": ("structure", counts),
        "volume": ("structure", volumes, {"units": "mm3"}),
    }
    parts = [f"{dim}_{part}" for dim in space.grid.dims for part in ("min", "max", "centroid")]
    for name, row in zip(parts, places, strict=True):
        variables[name] = ("structure", row, {"units": "micrometer"})
    return region_table(regions, variables, space.volume.hemispheres.attrs)


def region_measures(space: Space, regions: Regions) -> dask.array.Array:
    """Rows of `ops.totals.region_properties`, lazy: from the label index where there is one."""
    measure = functools.partial(
        totals.region_properties, regions=regions.without_names(), grid=space.grid
    )
    table = label_totals(space, regions)
    return array_from_value(table, measure, (11, len(regions)), np.float64)


def label_totals(space: Space, regions: Regions) -> Delayed:
    """Totals of the labels of regions, lazy: from the label index where there is one."""
    index = space.volume.index
    if index is not None:
        return shared_value("totals", index.totals)
    ids = regions.structures.tolist()
    return totals.label_totals(space.annotation, space.block_labels, ids)


# ----- surfaces


def surface_area(space: Space, regions: RegionsLike | None = None) -> xr.DataArray:
    """Area of the border of many regions: of the voxel faces to anything else.

    The ends of the volume are borders too, and so is the midline in a space of one hemisphere. The
    area is exact for the voxels, whose faces are steps: of the smooth surface that they sample it
    is 1.5 times the area if that runs in all directions alike, and √3 times at worst.

    Parameters
    ----------
    regions
        As for `relabel`; all structures with their subtrees if not given.

    Returns
    -------
    xarray.DataArray
        mm² over ``structure``; regions may overlap. Lazy: one pass for all regions, which reads no
        block that is known to hold none of them.

    Raises
    ------
    OntologyError, StructureNotFoundError
        As for `relabel`.

    Examples
    --------
    >>> import refspace
    >>> space = refspace.phantom(resolution=200)
    >>> areas = space.surface_area(["Isocortex", "VISp"]).compute()
    >>> bool(areas.sel(structure=315) > areas.sel(structure=385))
    True
    """
    chosen = space.structure_tree.regions(regions)
    counted = contacts(space.annotation, space.block_labels, chosen.structures.tolist())
    measure = functools.partial(
        Contacts.surfaces, regions=chosen.without_names(), spacing=space.grid.spacing
    )
    surfaces = array_from_value(counted, measure, (len(chosen),), np.float64)
    surfaces = bounded(surfaces, space.annotation.data)
    attrs = {"units": "mm2", "long_name": "area of voxel faces to anything else"}
    attrs |= space.volume.hemispheres.attrs
    return region_table(chosen, {"surface_area": ("structure", surfaces, attrs)})["surface_area"]


def adjacency(space: Space, regions: RegionsLike | None = None) -> "nx.Graph[Any]":
    """Which regions border on which.

    The first call reads the volume once and counts the faces between all labels, which are
    remembered: other regions, or another tree, read nothing.

    Parameters
    ----------
    regions
        As for `relabel`; each structure without its descendants if not given. Voxels of several
        regions are those of the nearest: of a structure and its parent, the parent has what is
        left.

    Returns
    -------
    networkx.Graph
        A node for each region that has voxels: its label, with attributes ``acronym`` and ``name``
        (where the regions are structures) and ``volume`` in mm³. An edge between regions that share
        voxel faces, with their ``area`` in mm². What is outside is no node.

    Raises
    ------
    OntologyError, StructureNotFoundError
        As for `relabel`.

    Examples
    --------
    >>> import refspace
    >>> space = refspace.phantom(resolution=200)
    >>> graph = space.adjacency(space.structure_tree.regions(depth=2))
    >>> sorted(graph.nodes[i]["acronym"] for i in graph[512])  # the neighbours of CB
    ['AQ', 'BS', 'CH', 'V4', 'cbf']
    """
    tree = space.structure_tree
    chosen = tree.regions(direct_only=True) if regions is None else tree.regions(regions)
    found, grid = space.contacts, space.grid
    region_index = chosen.region_index(found.labels)
    is_inside = region_index >= 0
    voxels = np.zeros(len(chosen), np.int64)
    np.add.at(voxels, region_index[is_inside], found.voxels[is_inside])
    # Late: a tenth of what opening a space would wait for.
    import networkx as nx

    graph: nx.Graph[Any] = nx.Graph()
    for region in np.flatnonzero(voxels).tolist():
        names = (
            {"acronym": chosen.acronyms[region], "name": chosen.names[region]}
            if chosen.acronyms
            else {}
        )
        volume = float(voxels[region] * grid.voxel_volume)
        graph.add_node(chosen.labels[region], **names, volume=volume)
    for one, other, area in found.between(chosen, grid.spacing):
        graph.add_edge(chosen.labels[one], chosen.labels[other], area=area)
    return graph


# ----- distances


def distance(
    space: Space,
    structure_ids: StructuresLike,
    *,
    direct_only: bool = False,
    pad: float | Sequence[float] = 0,
    max_bytes: int = 4 * 2**30,
) -> xr.DataArray:
    """Distance of voxels to the border of the union of some structures.

    It is that from the centre of a voxel to the nearest centre on the other side of the border: at
    least a voxel's width.

    Parameters
    ----------
    structure_ids
        The structures.
    direct_only
        Whether to leave out their descendants.
    pad
        µm around the bounding box, as for `crop`.
    max_bytes
        Memory that the transform may take.

    Returns
    -------
    xarray.DataArray
        float32, µm: positive inside, negative outside, over the padded bounding box; what is beyond
        the ends of the volume counts as outside. Lazy, of one chunk: a transform is of a whole.

    Raises
    ------
    StructureNotFoundError, AnnotationError
        As for `bounds`.
    GridError
        If the transform would take more memory than it may, or as for `crop`.
    MissingDependencyError
        If scipy is not installed.

    Examples
    --------
    >>> import refspace
    >>> space = refspace.phantom(resolution=200)
    >>> depth = space.hemisphere("left").distance("TH", pad=400)
    >>> round(float(depth.max()))  # in its middle
    980
    """
    ids = space.structure_tree.resolve(structure_ids)
    part = crop(space, ids, pad=pad, direct_only=direct_only)
    needed = math.prod(part.grid.shape) * BYTES_PER_VOXEL
    if needed > max_bytes:
        raise GridError(
            f"distances over {part.grid.shape} voxels take {needed / 2**30:.1f} GiB, more than "
            f"the {max_bytes / 2**30:.1f} GiB of max_bytes; downsample first, take one "
            "hemisphere or a smaller pad, or allow more"
        )
    mask = make_structure_mask(part, ids, direct_only)
    found = signed_distance(mask, part.resolution)
    return found.assign_attrs(structure_ids=ids, **space.volume.hemispheres.attrs)
