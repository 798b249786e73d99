"""The ontology as columns, for those who read a store with xarray alone."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

NONE = -1
"""What stands for a parent, or a number, that a structure has not."""


def structures_dataset(nodes: Sequence[Mapping[str, Any]]) -> xr.Dataset:
    """Ontology as columns over ``structure``, the ids.

    Parameters
    ----------
    nodes
        Structures, as `StructureTree.nodes` gives them.

    Returns
    -------
    xarray.Dataset
        ``parent_id`` and ``graph_order`` (-1 where there is none), ``acronym``, ``name``, ``rgb``
        (over ``channel`` too), and ``in_set`` over ``structure_set``, the ids of the sets.

    Examples
    --------
    >>> nodes = [{"id": 8, "acronym": "grey", "structure_id_path": [997, 8]}]
    >>> structures_dataset(nodes).parent_id.sel(structure=8).item()
    997
    """
    sets = sorted({i for node in nodes for i in node.get("structure_set_ids") or ()})
    members = [[i in (node.get("structure_set_ids") or ()) for i in sets] for node in nodes]
    colors = [node.get("rgb_triplet") or (0, 0, 0) for node in nodes]
    rows = "structure"
    return xr.Dataset(
        {
            "parent_id": (rows, np.array([_parent(node) for node in nodes], np.int64)),
            "graph_order": (rows, _integers(nodes, "graph_order")),
            "acronym": (rows, _texts(nodes, "acronym")),
            "name": (rows, _texts(nodes, "name")),
            "rgb": ((rows, "channel"), np.array(colors, np.uint8).reshape(len(nodes), 3)),
            "in_set": (
                (rows, "structure_set"),
                np.array(members, bool).reshape(len(nodes), len(sets)),
            ),
        },
        coords={
            rows: np.array([node["id"] for node in nodes], np.int64),
            "structure_set": np.array(sets, np.int64),
        },
    )


def _parent(node: Mapping[str, Any]) -> int:
    path = node["structure_id_path"]
    return path[-2] if len(path) > 1 else NONE


def _integers(nodes: Sequence[Mapping[str, Any]], field: str) -> NDArray[np.int64]:
    values = [node.get(field) for node in nodes]
    return np.array([NONE if value is None else value for value in values], np.int64)


def _texts(nodes: Sequence[Mapping[str, Any]], field: str) -> NDArray[Any]:
    return np.array([str(node.get(field) or "") for node in nodes], object)
