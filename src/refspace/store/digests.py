"""What proves a store and says where its parts are, without the libraries that write one."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from refspace.grid import Grid
from refspace.label_index import Chunks, cut_at_midline

FORMAT = 4
"""Of the layout of stores, of atlases and of masks.

From 3 on every object has a record, from 4 on properties of structures are single values.
"""

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


def records_path(path: str) -> str:
    """Path of the table of records of a volume, by that of the volume.

    Examples
    --------
    >>> records_path("s0/annotation")
    'label_index/s0/annotation_objects'
    """
    return f"label_index/{path}_objects"


def index_cells(grid: Grid, blocks: Chunks, midline: float | None) -> Chunks:
    """Chunks of the label index of a level: its blocks, cut at the midline if there is one."""
    return blocks if midline is None else cut_at_midline(grid, blocks, midline)
