"""Intensities in files of voxels: stored numbers become values, over space and other axes.

Labels are read by stricter rules, in `voxel_files`: an id is neither scaled nor one of a series.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import dask.array
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from refspace.errors import FormatError
from refspace.formats.directions import Affine
from refspace.formats.voxel_files import VoxelFile, VoxelStream
from refspace.grid import Grid
from refspace.labels import Midline, labelled
from refspace.types import AFFINE

# Axes of space of which nothing is known.
_INDICES = ("i", "j", "k")


@dataclass(frozen=True)
class Scaling:
    """Values that stored numbers stand for: number × slope + intercept.

    Parameters
    ----------
    slope, intercept
        As a header states them; those of values that are stored as they are if not given.
    """

    slope: float = 1.0
    intercept: float = 0.0

    @property
    def is_identity(self) -> bool:
        """Whether values are stored as they are."""
        return (self.slope, self.intercept) == (1, 0)

    def dtype(self, stored: np.dtype[Any]) -> np.dtype[Any]:
        """Dtype of the values: the smallest float that holds them to single precision.

        Examples
        --------
        >>> Scaling(0.5).dtype(np.dtype("i2")), Scaling(0.5).dtype(np.dtype("i4"))
        (dtype('float32'), dtype('float64'))
        """
        if self.is_identity:
            return stored
        single = np.finfo(np.float32)
        if stored.kind in "iu" and stored.itemsize <= 2:
            ends = np.array([np.iinfo(stored).min, np.iinfo(stored).max], np.float64)
            largest = np.abs(ends * self.slope + self.intercept).max()
            if largest <= single.max and abs(self.slope) >= single.tiny:
                return np.dtype(np.float32)
        return np.dtype(np.float64)

    def values(self, stored: NDArray[Any]) -> NDArray[Any]:
        """Values of stored numbers.

        Examples
        --------
        >>> Scaling(0.5, -1).values(np.array([0, 3], "i2"))
        array([-1. ,  0.5], dtype=float32)
        """
        if self.is_identity:
            return stored
        values = np.empty_like(stored, self.dtype(stored.dtype))
        # Layer by layer, in double precision also where single is kept: what is large may cancel.
        layers = [...] if stored.ndim < 3 else [(..., layer) for layer in range(stored.shape[-1])]
        for layer in layers:
            exact = np.multiply(stored[layer], self.slope, dtype=np.float64)
            exact += self.intercept
            values[layer] = exact
        return values


@dataclass(frozen=True)
class OtherAxis:
    """An axis of an image that is none of space.

    Parameters
    ----------
    name
        What it is called: ``"time"``, ``"channel"`` or another dim.
    axis
        Which axis of the voxels it is.
    length
        Number of volumes along it.
    start, step
        Seconds at the first volume, and from one to the next; None where none are stated.
    """

    name: str
    axis: int
    length: int
    start: float = 0.0
    step: float | None = None

    @property
    def coords(self) -> dict[str, Any]:
        """Coordinate along the axis, in seconds; none if the file states none."""
        if self.step is None:
            return {}
        # Rounded to a picosecond: 3 × 0.1 is 0.30000000000000004.
        seconds = np.round(self.start + np.arange(self.length) * self.step, 12)
        return {self.name: (self.name, seconds, {"units": "s"})}


@dataclass(frozen=True)
class ImageFile:
    """The voxels of a file, and what they stand for: labels, or an image of intensities.

    Parameters
    ----------
    voxels
        The voxels, with all axes of the file that have more than one voxel, or are of space.
    space
        Which axes of the voxels are those of space, in the order in which the volume has them.
    others
        The other axes, in the order of the file.
    scaling
        What the stored numbers stand for.
    """

    voxels: VoxelFile
    space: tuple[int, int, int] = (0, 1, 2)
    others: tuple[OtherAxis, ...] = ()
    scaling: Scaling = Scaling()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along each axis of space."""
        i, j, k = (self.voxels.shape[axis] for axis in self.space)
        return i, j, k

    def lazy_image(self, kind: str, place: Grid | Affine | None, name: str) -> xr.DataArray:
        """Lazy image: its other axes, then those of space, with coordinates where these have any.

        Parameters
        ----------
        kind
            Name of the format.
        place
            Where the voxels of each of its volumes are: along the axes of a grid; or oblique, by an
            affine to RAS+, which is kept as an attribute; or left open. Where there is no grid, the
            axes of space are called i, j and k.
        name
            Name of the result.
        """
        data = self.values(kind)
        coords: dict[str, Any] = {}
        dims, attrs = _INDICES, {}
        if isinstance(place, Grid):
            dims = place.dims
            first = labelled(data[(0,) * len(self.others)], place)
            coords |= {dim: first[dim] for dim in dims}
        elif place is not None:
            attrs = {AFFINE: place}
        for other in self.others:
            coords |= other.coords
        image = xr.DataArray(
            data, coords, (*(other.name for other in self.others), *dims), name, attrs
        )
        if not self.scaling.is_identity:
            scale = {"scale_factor": self.scaling.slope, "add_offset": self.scaling.intercept}
            image.encoding = {"dtype": self.voxels.native, **scale}
        return image

    def values(self, kind: str) -> dask.array.Array:
        """Lazy values: the other axes, then those of space.

        Parameters
        ----------
        kind
            Name of the format.
        """
        stored = self.voxels.lazy(kind)
        if not self.scaling.is_identity:
            dtype = self.scaling.dtype(stored.dtype)
            meta = np.empty((0,) * stored.ndim, dtype)
            stored = stored.map_blocks(self.scaling.values, dtype=dtype, meta=meta)
        wanted = (*(other.axis for other in self.others), *self.space)
        values: dask.array.Array = stored.transpose(wanted)
        return values

    def stream(self, grid: Grid, midline: Midline | None = None) -> VoxelStream:
        """Values slab by slab.

        Parameters
        ----------
        grid
            Where the voxels are, in the order in which the volume has the axes.
        midline
            As for `VoxelStream`.

        Raises
        ------
        FormatError
            If the image is no single volume.
        """
        refuse_others(self.voxels.path, self.others)
        order = "".join(grid.orientation[self.space.index(axis)] for axis in range(3))
        return _ScaledStream(self, grid.reorient(order), midline, grid)


class _ScaledStream(VoxelStream):
    """Stream of values instead of stored numbers."""

    def __init__(
        self, image: ImageFile, grid: Grid, midline: Midline | None, volume_grid: Grid
    ) -> None:
        super().__init__(image.voxels, grid, midline, volume_grid)
        self._scaling = image.scaling
        self.dtype = image.scaling.dtype(image.voxels.native)

    def values(self, slab: NDArray[Any]) -> NDArray[Any]:
        """Values of a slab."""
        return self._scaling.values(slab)

    def slab_bytes(self, thickness: int) -> int:
        """Size in memory of a slab of some layers: of stored numbers, and of their values."""
        stored = super().slab_bytes(thickness)
        if self._scaling.is_identity:
            return stored
        return stored + stored * self.dtype.itemsize // self.voxels.dtype.itemsize


def refuse_others(path: str, others: Iterable[OtherAxis]) -> None:
    """Refuse an image of several volumes where a single one is needed."""
    along = ", ".join(f"{other.length} along {other.name}" for other in others)
    if along:
        raise FormatError(f"{path}: holds several volumes, {along}; save the one that is wanted")
