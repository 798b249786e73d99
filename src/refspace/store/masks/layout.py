"""How masks of many structures lie in a store: an array over structures and space."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refspace.grid import Grid
from refspace.labels import axis_attrs
from refspace.store import ome
from refspace.store.metadata import Draft

PATH = "s0/mask"
FORMAT = 1

DTYPE = np.dtype(np.uint8)
# Decoded: some readers take a shard as a whole.
_SHARD_BYTES = 2**28


@dataclass(frozen=True)
class MaskLayout:
    """Masks of structures over one grid.

    Parameters
    ----------
    grid
        Where the voxels are.
    chunk_shape
        Voxels of a block along each axis of space: a chunk holds a mask within one.
    nodes
        The structure of each mask, as `StructureTree.nodes` gives them.
    """

    grid: Grid
    chunk_shape: tuple[int, int, int]
    nodes: Sequence[Mapping[str, Any]]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return len(self.nodes), *self.grid.shape

    @property
    def per_shard(self) -> int:
        """How many structures' masks a shard holds, in one block."""
        return max(1, min(len(self.nodes), _SHARD_BYTES // math.prod(self.chunk_shape)))

    @property
    def facts(self) -> dict[str, Any]:
        """What tells it from other layouts, as JSON values."""
        return {
            "shape": list(self.shape),
            "spacing": list(self.grid.spacing),
            "origin": list(self.grid.origin),
            "orientation": self.grid.orientation,
            "chunks": list(self.chunk_shape),
            "per_shard": self.per_shard,
        }

    def draft(self, coordinates: Mapping[str, NDArray[np.float64]]) -> Draft:
        """All of the store but its voxels, and what is known of these."""
        draft, dims = Draft(), ("structure", *self.grid.dims)
        draft.put_array(
            PATH,
            self.shape,
            DTYPE,
            dims,
            {"long_name": "inside the structure", "coordinates": "acronym name"},
            chunks=(1, *self.chunk_shape),
            shards=(self.per_shard, *self.chunk_shape),
        )
        ids = np.array([node["id"] for node in self.nodes], np.int64)
        draft.put("s0/structure", ids, ["structure"], {"long_name": "structure id"})
        for field in ("acronym", "name"):
            texts = np.array([str(node.get(field) or "") for node in self.nodes], object)
            draft.put(f"s0/{field}", texts, ["structure"])
        for dim in self.grid.dims:
            draft.put(f"s0/{dim}", coordinates[dim], [dim], axis_attrs(self.grid, dim))
        return draft

    @property
    def described(self) -> dict[str, Any]:
        """Metadata of OME-Zarr."""
        return ome.mask_attributes(PATH, self.grid, self.nodes)
