"""Layout of a store of masks: one array over structures and space."""

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

# As in all files of masks; in Python they are bool.
DTYPE = np.dtype(np.uint8)
# Decoded: some readers hold a shard as a whole.
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
        """Number of structures whose masks of one block a shard holds."""
        return max(1, min(len(self.nodes), _SHARD_BYTES // math.prod(self.chunk_shape)))

    @property
    def metadata(self) -> dict[str, Any]:
        """The layout as JSON values, which equal layouts have in common."""
        return {
            "shape": list(self.shape),
            "spacing": list(self.grid.spacing),
            "origin": list(self.grid.origin),
            "orientation": self.grid.orientation,
            "frame": self.grid.frame,
            "chunks": list(self.chunk_shape),
            "per_shard": self.per_shard,
        }

    def draft(self, coordinates: Mapping[str, NDArray[np.float64]]) -> Draft:
        """Everything in the store except its voxels and the table of its shards."""
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
            names = np.array([str(node.get(field) or "") for node in self.nodes], object)
            draft.put(f"s0/{field}", names, ["structure"])
        for dim in self.grid.dims:
            draft.put(f"s0/{dim}", coordinates[dim], [dim], axis_attrs(self.grid, dim))
        return draft

    @property
    def numblocks(self) -> tuple[int, ...]:
        """Number of blocks along each axis of space."""
        sides = zip(self.grid.shape, self.chunk_shape, strict=True)
        return tuple(-(-count // size) for count, size in sides)

    @property
    def ome_metadata(self) -> dict[str, Any]:
        """Metadata of OME-Zarr."""
        return ome.mask_attributes(PATH, self.grid, self.nodes)
