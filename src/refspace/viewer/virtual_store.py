"""Volumes as OME-Zarr that exists only while it is asked for: each chunk is read when it is wanted.

So one way serves all: a store of refspace or of others, a file, an array in memory, an image that
is painted while it is looked at.
"""

import functools
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numcodecs import Zstd
from numpy.typing import NDArray

from refspace.grid import Grid
from refspace.labels import infer_grid
from refspace.viewer.blocks import BlockCache

# Edge of a chunk: a plane through 64³ costs the browser half the memory of one through 128³.
_EDGE = 64
_CHUNK_PATH = re.compile(r"s(\d{1,2})/c/(\d{1,7})/(\d{1,7})/(\d{1,7})")
_ARRAY_PATH = re.compile(r"s(\d{1,2})/zarr\.json")
# Types of the client, and what others become.
_AS_FLOAT32 = ("float16", "float64", "uint64", "int64")
_COORDINATE_DIGITS = 9


@dataclass(frozen=True)
class VirtualStore:
    """A volume at several resolutions.

    Parameters
    ----------
    name
        Name of the volume.
    levels
        Arrays over ap, dv and ml in any order, with coordinates that grow with the index; the
        finest first.
    cache
        Where decoded blocks are kept.
    """

    name: str
    levels: tuple[xr.DataArray, ...]
    cache: BlockCache

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values as they are served."""
        given = self.levels[0].dtype
        if given.kind == "b":
            return np.dtype(np.uint8)
        return np.dtype(np.float32) if given.name in _AS_FLOAT32 else given.newbyteorder("=")

    @functools.cached_property
    def grids(self) -> tuple[Grid, ...]:
        """Where the voxels of each level are."""
        return tuple(infer_grid(level) for level in self.levels)

    def get(self, path: str) -> tuple[bytes, str] | None:
        """Content of a path of the store, and its media type; None if there is no such path.

        Raises
        ------
        RefspaceError, OSError
            If the volume cannot be read there.
        """
        if path == "zarr.json":
            return _json(self._group())
        if match := _ARRAY_PATH.fullmatch(path):
            level = int(match[1])
            return _json(self._array(level)) if level < len(self.levels) else None
        if match := _CHUNK_PATH.fullmatch(path):
            level, *index = map(int, match.groups())
            chunk = self._chunk(level, index)
            return None if chunk is None else (chunk, "application/octet-stream")
        return None

    def _group(self) -> dict[str, Any]:
        axes = [{"name": dim, "type": "space", "unit": "micrometer"} for dim in self.levels[0].dims]
        datasets = [
            {
                "path": f"s{level}",
                "coordinateTransformations": [
                    {"type": "scale", "scale": list(grid.spacing)},
                    {"type": "translation", "translation": _first_centre(grid)},
                ],
            }
            for level, grid in enumerate(self.grids)
        ]
        scales = [{"name": self.name, "axes": axes, "datasets": datasets}]
        ome = {"version": "0.5", "multiscales": scales}
        return {"zarr_format": 3, "node_type": "group", "attributes": {"ome": ome}}

    def _array(self, level: int) -> dict[str, Any]:
        return {
            "zarr_format": 3,
            "node_type": "array",
            "shape": list(self.levels[level].shape),
            "data_type": self.dtype.name,
            "chunk_grid": {
                "name": "regular",
                "configuration": {"chunk_shape": [_EDGE] * 3},
            },
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": 0,
            "codecs": [
                {"name": "bytes", "configuration": {"endian": "little"}},
                {"name": "zstd", "configuration": {"level": 1, "checksum": False}},
            ],
            "dimension_names": [str(dim) for dim in self.levels[level].dims],
            "attributes": {},
        }

    def _chunk(self, level: int, index: Sequence[int]) -> bytes | None:
        """A chunk, compressed; None if it is beyond the volume."""
        if level >= len(self.levels):
            return None
        shape = self.levels[level].shape
        if any(i >= math.ceil(n / _EDGE) for i, n in zip(index, shape, strict=True)):
            return None
        box = tuple(
            slice(i * _EDGE, min((i + 1) * _EDGE, n)) for i, n in zip(index, shape, strict=True)
        )
        values = self.cache.read(self.levels[level].data, box)
        return _encoded(values, self.dtype)


def _encoded(values: NDArray[Any], dtype: np.dtype[Any]) -> bytes:
    """Values as a whole chunk, filled up with zeros beyond the end of the volume."""
    whole = np.zeros((_EDGE,) * 3, dtype.newbyteorder("<"))
    whole[tuple(slice(n) for n in values.shape)] = values
    return bytes(Zstd(level=1).encode(whole))


def _first_centre(grid: Grid) -> list[float]:
    return [round(float(grid.coordinates(dim)[0]), _COORDINATE_DIGITS) for dim in grid.dims]


def _json(value: Mapping[str, Any]) -> tuple[bytes, str]:
    return json.dumps(value).encode(), "application/json"
