"""Structures, sets and named regions as tables of pandas."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refspace.errors import OntologyError
from refspace.structure_tree import records as rec
from refspace.structure_tree.colors import node_color
from refspace.structure_tree.named_regions import NAMED, ids_of_regions, members, set_names
from refspace.structure_tree.simple_tree import SimpleTree


def structures_frame(tree: SimpleTree, ids: Sequence[int]) -> pd.DataFrame:
    """Table with a row for each of some structures, as `StructureTree.to_dataframe` has it.

    Parameters
    ----------
    tree
        The structures.
    ids
        Ids of some of them, in the order of the rows.
    """
    nodes = [tree.records[i] for i in ids]
    paths = [tuple(node["structure_id_path"]) for node in nodes]
    columns = {
        **{field: _texts([node.get(field) for node in nodes]) for field in ("acronym", "name")},
        "parent": pd.array([path[-2] if len(path) > 1 else None for path in paths], "Int64"),
        "depth": pd.array([len(path) - 1 for path in paths], "int64"),
        "color": _texts([_hex(node_color(node)) for node in nodes]),
        "path": _objects(paths),
        "sets": _objects([tuple(rec.elements(node, "structure_set_ids")) for node in nodes]),
    }
    return pd.DataFrame(columns, index=pd.Index(list(ids), dtype="int64", name="id"))


def sets_frame(tree: SimpleTree) -> pd.DataFrame:
    """Table of the sets of structures of a tree, as `StructureTree.sets` has it."""
    found, names = members(tree), set_names(tree)
    called = {regions.structure_set: name for name, regions in NAMED.items()}
    columns = {
        "name": _texts([names.get(set_id) for set_id in found]),
        "structures": pd.array([len(ids) for ids in found.values()], "int64"),
        "regions": _texts([called.get(set_id) for set_id in found]),
    }
    return pd.DataFrame(columns, index=pd.Index(list(found), dtype="int64", name="id"))


def named_regions_frame(tree: SimpleTree) -> pd.DataFrame:
    """Table of the regions with a name, as `StructureTree.named_regions` has it."""
    columns = {
        "regions": pd.array([_count(tree, name) for name in NAMED], "int64"),
        "description": _texts([regions.description for regions in NAMED.values()]),
        "source": _texts([regions.source for regions in NAMED.values()]),
    }
    return pd.DataFrame(columns, index=pd.Index(list(NAMED), dtype=object, name="name"))


def _count(tree: SimpleTree, name: str) -> int:
    """Number of regions with a name; 0 where a tree has none."""
    try:
        return len(ids_of_regions(tree, name))
    except OntologyError:
        return 0


def _hex(color: Sequence[int]) -> str:
    red, green, blue = color
    return f"#{red:02X}{green:02X}{blue:02X}"


def _texts(values: Iterable[object]) -> NDArray[Any]:
    return _objects(["" if value is None else str(value) for value in values])


def _objects(values: Sequence[object]) -> NDArray[Any]:
    # One by one: of tuples of one length, NumPy would make columns.
    column = np.empty(len(values), object)
    for row, value in enumerate(values):
        column[row] = value
    return column
