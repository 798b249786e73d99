"""The ontology as columns, for users who read a store with xarray alone."""

import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from refspace.errors import OntologyError
from refspace.structure_tree import records as rec
from refspace.structure_tree.colors import node_color

MISSING = -1
"""Stands for the parent of a root, and for a graph order that a structure does not have."""


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

    Raises
    ------
    OntologyError
        If a column of integers would hold anything else.

    Examples
    --------
    >>> nodes = [{"id": 8, "acronym": "grey", "structure_id_path": [997, 8]}]
    >>> structures_dataset(nodes).parent_id.sel(structure=8).item()
    997
    """
    set_ids = [
        {_integer(node, "structure_set_ids", i) for i in rec.elements(node, "structure_set_ids")}
        for node in nodes
    ]
    sets = sorted(set().union(*set_ids))
    members = [[i in own for i in sets] for own in set_ids]
    colors = [node_color(node) for node in nodes]
    rows = "structure"
    return xr.Dataset(
        {
            "parent_id": (rows, np.array([_parent(node) for node in nodes], np.int64)),
            "graph_order": (rows, _orders(nodes)),
            "acronym": (rows, _strings(nodes, "acronym")),
            "name": (rows, _strings(nodes, "name")),
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
    return path[-2] if len(path) > 1 else MISSING


def _orders(nodes: Sequence[Mapping[str, Any]]) -> NDArray[np.int64]:
    pairs = [(node, node.get("graph_order")) for node in nodes]
    orders = [MISSING if n is None else _integer(node, "graph_order", n) for node, n in pairs]
    return np.array(orders, np.int64)


def _integer(node: Mapping[str, Any], field: str, value: Any) -> int:
    # Tables make floats of integers where some are missing.
    is_number = isinstance(value, int | np.integer) or (
        isinstance(value, float) and value.is_integer()
    )
    if not (is_number and -(2**63) <= value < 2**63):
        raise OntologyError(
            f"structure {node['id']} has {field} {reprlib.repr(value)}; a store takes integers "
            "of 64 bits"
        )
    return int(value)


def _strings(nodes: Sequence[Mapping[str, Any]], field: str) -> NDArray[Any]:
    return np.array([str(node.get(field) or "") for node in nodes], object)
