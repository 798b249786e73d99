"""How many voxels structures have."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from refspace.structure_tree import StructureTree
from refspace.types import BACKGROUND
from refspace.verbs.space import Space
from refspace.verbs.tables import stack_hemispheres


def direct_voxel_counts(space: Space) -> dict[int, int]:
    """Number of voxels that hold each structure's own id: `direct_voxel_map`.

    Examples
    --------
    >>> import refspace
    >>> space = refspace.phantom(resolution=200)
    >>> space.direct_voxel_counts() == space.direct_voxel_map
    True
    """
    return space.direct_voxel_map


def total_voxel_counts(space: Space) -> dict[int, int]:
    """Number of voxels of each structure's subtree: `total_voxel_map`.

    Examples
    --------
    >>> import refspace
    >>> space = refspace.phantom(resolution=200)
    >>> left, right = (space.hemisphere(h).total_voxel_counts()[385] for h in ("left", "right"))
    >>> left + right == space.total_voxel_counts()[385]
    True
    """
    return space.total_voxel_map


def voxel_counts(space: Space, *, by_hemisphere: bool = False) -> xr.Dataset:
    """Voxels and volume of every structure, as a table.

    Counts come from the label index of a store. Of anything else they take one pass over the
    volume, made on the first call and remembered.

    Parameters
    ----------
    by_hemisphere
        Whether to count the hemispheres apart.

    Returns
    -------
    xarray.Dataset
        Over ``structure`` (ids, with coordinates ``acronym`` and ``name``), and ``hemisphere`` if
        asked for: ``direct``, voxels that hold the structure's own id; ``total``, those of its
        subtree; ``volume``, that of its subtree in mm³. Attributes ``unknown_ids`` and
        ``unknown_voxels``: ids that the volume holds and the tree does not know, and how many
        voxels hold each; ``hemisphere``, where the space is of one; and, wherever sides matter,
        ``hemispheres_from``, and the ``midline`` in µm with ``midline_from``, how it is known.

    Examples
    --------
    >>> import refspace
    >>> space = refspace.phantom(resolution=200)
    >>> counts = space.voxel_counts()
    >>> bool(counts.total.sel(structure=315) > counts.direct.sel(structure=315))
    True
    >>> sides = space.voxel_counts(by_hemisphere=True).total.sel(structure=315)
    >>> int(sides.sum()) == int(counts.total.sel(structure=315))
    True
    """
    unknown = unknown_voxels(space)
    # Not variables: a second dim would cross every table made of the dataset with it.
    attrs = {"unknown_ids": [*unknown], "unknown_voxels": [*unknown.values()]}
    if by_hemisphere:
        return stack_hemispheres(space, voxel_counts).assign_attrs(attrs)
    tree, nodes = space.structure_tree, space.structure_tree.nodes()
    ids, counted = tree.node_ids(), space.direct_voxel_map
    direct = np.array([counted[i] for i in ids], np.int64)
    total = tree.total(direct)
    volume_attrs = {"units": "mm3", "long_name": "volume of the subtree"}
    return xr.Dataset(
        {
            "direct": ("structure", direct, {"long_name": "voxels of the structure itself"}),
            "total": ("structure", total, {"long_name": "voxels of the subtree"}),
            "volume": ("structure", total * space.grid.voxel_volume, volume_attrs),
        },
        coords={
            "structure": np.array(ids, np.int64),
            "acronym": ("structure", _column(nodes, "acronym")),
            "name": ("structure", _column(nodes, "name")),
        },
        attrs=attrs | space.volume.hemispheres.attrs,
    )


def _column(nodes: Sequence[Mapping[str, Any]], field: str) -> list[str]:
    return [str(node.get(field) or "") for node in nodes]


def unknown_voxels(space: Space) -> dict[int, int]:
    """Number of voxels of each label that the tree does not know."""
    counts = space.volume.label_counts
    tree = space.structure_tree
    return {i: n for i, n in counts.items() if i != BACKGROUND and i not in tree}


def remove_unassigned(space: Space, update_self: bool = True) -> list[dict[str, Any]]:
    """Structures that have voxels, themselves or in their subtree.

    Parameters
    ----------
    update_self
        Whether `structure_tree` becomes the tree of these structures; maps and counts are then of
        these alone.

    Returns
    -------
    list of dict
        The structures, in the order of the tree.

    Examples
    --------
    >>> import refspace
    >>> space = refspace.phantom(resolution=200)
    >>> assigned = space.remove_unassigned()
    >>> 12997 in space.structure_tree  # 'Somatosensory areas, layer 6a' has no voxels
    False
    """
    totals = space.total_voxel_map
    assigned = space.structure_tree.filter_nodes(lambda node: totals[node["id"]] > 0)
    if update_self:
        space.structure_tree = StructureTree(assigned)
    return assigned
