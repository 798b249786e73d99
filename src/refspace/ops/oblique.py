"""Images whose axes are oblique: where the centres of their voxels are in an annotation."""

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dask.array
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from refspace.errors import GridError
from refspace.grid import SAME, Grid
from refspace.label_index import BlockLabels
from refspace.ops.coverage import ImageExtent
from refspace.ops.point_labels import VoxelLookup
from refspace.types import AFFINE, BACKGROUND

# Directions in which the world of the affine grows.
_WORLD = "RAS"
# Voxels along an edge of the blocks in which labels are looked up: the positions of one are in
# memory at a time, 24 bytes for each voxel.
_BLOCK = 128


@dataclass(frozen=True, eq=False)
class ObliqueGrid:
    """Where the voxels of an image are whose axes are oblique, in the frame of an annotation.

    Parameters
    ----------
    shape
        Number of voxels along each axis.
    matrix
        What a step along each axis of the image adds to the coordinates, as columns; a row for each
        axis of the annotation.
    first
        Centre of the first voxel.
    """

    shape: tuple[int, ...]
    matrix: NDArray[np.float64]
    first: NDArray[np.float64]

    @classmethod
    def from_image(cls, image: xr.DataArray, grid: Grid) -> "ObliqueGrid":
        """Place of an image that states its affine, in the frame of an annotation's grid.

        Raises
        ------
        GridError
            If that is no affine of a volume.
        """
        try:
            rows = np.asarray(image.attrs[AFFINE], np.float64)
        except (TypeError, ValueError):
            rows = np.empty(0)
        given = " ".join(str(image.attrs[AFFINE]).split())
        is_one = rows.shape == (3, 4) and np.isfinite(rows).all()
        if not is_one or not np.linalg.det(rows[:, :3]):
            raise GridError(
                f"the attribute {AFFINE} is {given}; give three rows of four numbers "
                "that lead from indices to positions in RAS+, in µm"
            )
        world = Grid(grid.shape, grid.spacing, orientation=_WORLD)
        signs = [1 if grid.frame_direction(d) == world.direction(d) else -1 for d in grid.dims]
        turned = rows[[world.axis(dim) for dim in grid.dims]] * np.reshape(signs, (3, 1))
        return cls(image.shape[-3:], turned[:, :3], turned[:, 3])

    def centres(self, index: NDArray[Any]) -> NDArray[np.float64]:
        """Positions at indices, which are along the last axis."""
        positions: NDArray[np.float64] = index @ self.matrix.T + self.first
        return positions

    def indices(self, positions: NDArray[Any]) -> NDArray[np.float64]:
        """Indices, as floats, at positions, which are along the last axis."""
        index: NDArray[np.float64] = (positions - self.first) @ np.linalg.inv(self.matrix).T
        return index

    @property
    def corners(self) -> NDArray[np.float64]:
        """Positions of the eight outer corners."""
        return self.centres(_corners(np.full(3, -0.5), np.array(self.shape) - 0.5))

    def crop(self, box: Sequence[slice]) -> "ObliqueGrid":
        """Place of a part of the image."""
        start, stop = np.array([(cut.start, cut.stop) for cut in box]).T
        return ObliqueGrid(tuple((stop - start).tolist()), self.matrix, self.centres(start))

    def box_within(self, grid: Grid, name: str) -> tuple[slice, ...]:
        """Voxels of the image that may have their centre within an annotation.

        Raises
        ------
        GridError
            If there are none.
        """
        low, high = np.array([grid.edges(dim) for dim in grid.dims]).T
        index = self.indices(_corners(low, high))
        start = np.ceil(index.min(axis=0) - SAME).clip(0).astype(int)
        stop = np.minimum(np.floor(index.max(axis=0) + SAME).astype(int) + 1, self.shape)
        if (start >= stop).any():
            sides = zip(grid.dims, self.corners.min(axis=0), self.corners.max(axis=0), strict=True)
            lies = ", ".join(f"{dim} from {a:g} to {b:g}" for dim, a, b in sides)
            edges = ", ".join("{} from {:g} to {:g}".format(d, *grid.edges(d)) for d in grid.dims)
            raise GridError(
                f"the {name} lies elsewhere: it has {lies} µm, the annotation {edges}; give its "
                "affine in the same space, or the bare array where it is on the same grid"
            )
        return tuple(slice(a, b) for a, b in zip(start.tolist(), stop.tolist(), strict=True))

    def matches(self, other: object) -> bool:
        """Whether the voxels of another place are the same, to a thousandth of one."""
        if not isinstance(other, ObliqueGrid) or self.shape != other.shape:
            return False
        return bool((np.abs(self.indices(other.corners - self.corners + self.first)) <= SAME).all())

    def extent(self, grid: Grid) -> ImageExtent:
        """Where the image lies on the grid of an annotation: the box of its corners."""
        low, high = self.corners.min(axis=0).tolist(), self.corners.max(axis=0).tolist()
        ratio = abs(np.linalg.det(self.matrix)) / np.prod(grid.spacing)
        inverse = np.linalg.inv(self.matrix) / np.reshape(self.shape, (3, 1))
        offset = 0.5 / np.array(self.shape) - inverse @ self.first
        shares = np.column_stack((inverse, offset))
        return ImageExtent(
            grid.dims, tuple(low), tuple(high), float(ratio), False, tuple(map(tuple, shares))
        )

    def labels(
        self,
        annotation: xr.DataArray,
        grid: Grid,
        chunks: Sequence[Sequence[int]],
        block_labels: BlockLabels | None,
    ) -> dask.array.Array:
        """Label at the centre of each voxel, 0 outside; lazy, and each block looked up for itself.

        Parameters
        ----------
        annotation, grid
            Labels, dask-backed, and their grid.
        chunks
            Chunks of the image, which are cut further where they are large.
        block_labels
            Labels of each block of the annotation, where they are known.
        """
        lookup = VoxelLookup(grid, annotation.data, block_labels)
        order = [grid.axis(dim) for dim in lookup.dims]
        place = ObliqueGrid(self.shape, self.matrix[order], self.first[order])
        cut = [[min(_BLOCK, n - s) for n in sizes for s in range(0, n, _BLOCK)] for sizes in chunks]
        codes = lookup.look_up(_all_centres(place, cut))
        dtype = annotation.dtype
        labels: dask.array.Array = codes.map_blocks(
            functools.partial(_inside, kind=dtype), dtype=dtype, meta=np.empty((0,) * 3, dtype)
        )
        return labels


def _corners(low: NDArray[Any], high: NDArray[Any]) -> NDArray[np.float64]:
    """Corners of a box."""
    return np.array([*itertools.product(*zip(low, high, strict=True))], np.float64)


def _all_centres(place: ObliqueGrid, chunks: Sequence[Sequence[int]]) -> dask.array.Array:
    """Centres of all voxels, lazy; the last axis has the three coordinates."""
    axes = [
        dask.array.arange(n, chunks=(tuple(sizes),), dtype=np.float64)
        for n, sizes in zip(place.shape, chunks, strict=True)
    ]
    centres: dask.array.Array = dask.array.map_blocks(
        functools.partial(_centres_of_block, place=place),
        *dask.array.meshgrid(*axes, indexing="ij", sparse=True),
        new_axis=3,
        chunks=(*map(tuple, chunks), (3,)),
        dtype=np.float64,
        meta=np.empty((0,) * 4),
    )
    return centres


# ----- tasks


def _centres_of_block(
    i: NDArray[Any], j: NDArray[Any], k: NDArray[Any], place: ObliqueGrid
) -> NDArray[np.float64]:
    """Centres of the voxels of a block."""
    centres = np.empty((i.size, j.size, k.size, 3))
    for row, (a, b, c) in enumerate(place.matrix):
        centres[..., row] = i * a + j * b + (k * c + place.first[row])
    return centres


def _inside(codes: NDArray[np.int64], kind: np.dtype[Any]) -> NDArray[Any]:
    """Labels of codes; that of the background where no voxel is."""
    return np.where(codes < 0, BACKGROUND, codes).astype(kind)
