"""What proves a store and says where its parts are, without the libraries that write one."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refspace.grid import Grid
from refspace.label_index import Chunks, cut_at_midline, large_chunks

FORMAT = 5
"""Of the layout of stores, of atlases and of masks.

From 3 on every object has a record, from 4 on properties of structures are single values, from 5 on
large tables are in parts.
"""

INDEX, INDEX_TOTALS, INDEX_PARTS = "label_index", "label_index_totals", "label_index_parts"
"""Digests of the label index of a volume: that of its table; of one in parts, of its totals, and of
where its parts are and their records."""

# Kind of a store of refspace that holds masks; that of an atlas has no name.
MASKS = "masks"


def metadata_digest(document: Mapping[str, Any]) -> str:
    """Digest of the root's metadata, without attributes that other programs have added."""
    attributes = document["attributes"]
    own = {k: v for k, v in attributes["refspace"].items() if k != "metadata_sha256"}
    return json_digest([attributes["ome"], own, document["consolidated_metadata"]])


def json_digest(value: object) -> str:
    """sha256 of a value's canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def array_sha256(*arrays: NDArray[Any]) -> str:
    """sha256 of the values of arrays, one after the other."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def records_path(path: str) -> str:
    """Path of the table of records of the objects of an array, by that of the array.

    Examples
    --------
    >>> records_path("s0/annotation"), records_path("label_index/s0/table")
    ('label_index/s0/annotation_objects', 'label_index/s0/table_objects')
    """
    return f"label_index/{path.removeprefix('label_index/')}_objects"


def is_in_root(path: str) -> bool:
    """Whether the root proves an array whatever its size: a table of records of such a table.

    Examples
    --------
    >>> is_in_root("label_index/s0/annotation_objects")
    False
    >>> is_in_root("label_index/s0/annotation_objects_objects")
    True
    """
    return path.endswith("_objects_objects")


def index_cells(grid: Grid, blocks: Chunks, midline: float | None) -> Chunks:
    """Chunks of the label index of a level: its blocks, cut at the midline if there is one."""
    return blocks if midline is None else cut_at_midline(grid, blocks, midline)


def total_cells(grid: Grid, cells: Chunks, midline: float | None) -> Chunks:
    """Chunks of the totals of a label index of some chunks: few, cut at the midline as it is."""
    whole = tuple((count,) for count in grid.shape)
    return large_chunks(cells, index_cells(grid, whole, midline))
