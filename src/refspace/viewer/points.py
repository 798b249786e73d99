"""Points as neuroglancer's precomputed annotations: one block of bytes, whatever their number."""

import json
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import dask.array
import numpy as np
from numpy.typing import NDArray

from refspace.errors import AnnotationError
from refspace.grid import Grid
from refspace.ops.positions import (
    in_micrometres,
    is_table,
    position_dims,
    positions_along_axes,
    with_axes_last,
)
from refspace.types import LengthUnit, PointsLike

# More than these the browser draws too slowly; the rest is left out, evenly, and said.
MOST_POINTS = 10**6


@dataclass(frozen=True)
class Points:
    """Points that are shown.

    Parameters
    ----------
    positions
        In µm along ap, dv and ml; shape (n, 3), float64.
    total
        How many there were, with those that are missing, and those left out as too many.
    """

    positions: NDArray[np.float64]
    total: int

    @property
    def note(self) -> str:
        """What is to be told of points that are not shown; empty if all are."""
        shown = len(self.positions)
        return "" if shown == self.total else f"{shown} of {self.total} points are shown"

    def info(self) -> bytes:
        """The file ``info`` of the annotations."""
        low, high = self._bounds()
        dims = ("ap", "dv", "ml")
        spatial = {
            "key": "spatial",
            "grid_shape": [1, 1, 1],
            "chunk_size": (high - low).tolist(),
            "limit": max(len(self.positions), 1),
        }
        value = {
            "@type": "neuroglancer_annotations_v1",
            "dimensions": {dim: [1e-6, "m"] for dim in dims},
            "lower_bound": low.tolist(),
            "upper_bound": high.tolist(),
            "annotation_type": "POINT",
            "properties": [],
            "relationships": [],
            "by_id": {"key": "by_id"},
            "spatial": [spatial],
        }
        return json.dumps(value).encode()

    def block(self) -> bytes:
        """All points: their number, positions as float32, and ids, in little-endian order."""
        count = np.array([len(self.positions)], "<u8").tobytes()
        ids = np.arange(1, len(self.positions) + 1, dtype="<u8").tobytes()
        return count + self.positions.astype("<f4").tobytes() + ids

    def one(self, number: int) -> bytes | None:
        """The point of an id; None if there is none."""
        if not 1 <= number <= len(self.positions):
            return None
        return bytes(self.positions[number - 1].astype("<f4").tobytes())

    def get(self, path: str) -> tuple[bytes, str] | None:
        """Content of a path of the annotations, and its media type; None if there is none."""
        if path == "info":
            return self.info(), "application/json"
        if path == "spatial/0_0_0":
            return self.block(), "application/octet-stream"
        folder, _, number = path.partition("/")
        if folder == "by_id" and number.isascii() and number.isdigit() and len(number) < 10:
            found = self.one(int(number))
            return None if found is None else (found, "application/octet-stream")
        return None

    def _bounds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        if not len(self.positions):
            return np.zeros(3), np.ones(3)
        return self.positions.min(axis=0) - 1, self.positions.max(axis=0) + 1


def read_points(
    points: PointsLike,
    grid: Grid,
    *,
    columns: Sequence[Hashable] | None = None,
    unit: LengthUnit = "um",
) -> Points:
    """Points along ap, dv and ml in µm; those with a missing position are left out.

    Parameters
    ----------
    points, columns, unit
        As for `ReferenceSpace.structure_at`.
    grid
        That of the annotation.

    Raises
    ------
    GridError
        As for `ReferenceSpace.structure_at`.
    AnnotationError
        If no point has a position.

    Examples
    --------
    >>> grid = Grid((2, 2, 2), (10, 10, 10))
    >>> read_points(np.array([[1.0, 2, 3], [np.nan, 0, 0]]), grid).note
    '1 of 2 points are shown'
    """
    dims = position_dims(grid, unit)
    given: Any = points if is_table(points) else with_axes_last(points, dims)
    along: Any = positions_along_axes(given, dims, columns)
    if isinstance(along, dask.array.Array):
        along = np.moveaxis(along.compute(), -1, 0)
    arrays = [np.asarray(axis, np.float64).ravel() for axis in along]
    placed = dict(zip(grid.dims, in_micrometres(arrays, grid, unit), strict=True))
    positions = np.stack([placed[dim] for dim in ("ap", "dv", "ml")], axis=1)
    finite = positions[np.isfinite(positions).all(axis=1)]
    if len(positions) and not len(finite):
        raise AnnotationError(f"none of {len(positions)} points has a position; check the columns")
    step = -(-len(finite) // MOST_POINTS) or 1
    return Points(finite[::step], len(positions))
