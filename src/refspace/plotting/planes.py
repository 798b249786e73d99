"""Planes of a volume as pictures need them: upright, in µm, all that are drawn read at once."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from numbers import Integral
from typing import Any, TypeAlias

import dask
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from refspace.axes import PLANES, axis_name
from refspace.blockwise.bounded import threads_for
from refspace.errors import GridError
from refspace.grid import DIRECTIONS, Grid
from refspace.label_index import BlockLabels
from refspace.ops.positions import check_unit, position_in_micrometres
from refspace.ops.relabel import narrow
from refspace.types import ArrayLike, AxisLike, LengthUnit, StructuresLike
from refspace.verbs.places import bounds, centroid
from refspace.verbs.space import Space
from refspace.verbs.tables import with_hemisphere

# Order of preference for the vertical axis: dv, else ap.
_UPRIGHT = ("dv", "ap", "ml")
# Ends of the axes at the top of a picture, and at its right.
_TOP, _RIGHT = {"dv": "S", "ap": "A", "ml": "R"}, {"ap": "P", "ml": "R"}

PositionsLike: TypeAlias = float | Sequence[float] | NDArray[np.floating] | None
"""Where to cut along an axis: one position or several, or None for the middle."""

LabelsIn: TypeAlias = Callable[[tuple[slice, ...]], BlockLabels | None]
"""What is known of the blocks of a part of a volume."""


@dataclass(frozen=True)
class View:
    """Which axis is cut, and which of the others are across and upright in a picture.

    Superior is at the top, of a horizontal plane anterior; of a sagittal plane anterior is at the
    left. The left side is at the left, also where coordinates grow towards it: pictures of one
    brain are not mirrored because files or atlases count from other corners.

    Parameters
    ----------
    grid
        Where the voxels are.
    cut
        Axis that is cut.

    Examples
    --------
    >>> view = View(Grid((4, 4, 4), (10, 10, 10)), "ml")
    >>> view.columns, view.rows, view.ends("ap"), view.ends("dv")
    ('ap', 'dv', ('A', 'P'), ('I', 'S'))
    """

    grid: Grid
    cut: str

    @property
    def rows(self) -> str:
        """Upright axis."""
        return min({*self.grid.dims} - {self.cut}, key=_UPRIGHT.index)

    @property
    def columns(self) -> str:
        """Axis across."""
        return max({*self.grid.dims} - {self.cut}, key=_UPRIGHT.index)

    def ends(self, dim: str) -> tuple[str, str]:
        """Letters of the ends of an axis in the picture: left and right, or bottom and top."""
        low, high = self._letters(dim)
        return (high, low) if self.is_reversed(dim) else (low, high)

    def is_reversed(self, dim: str) -> bool:
        """Whether coordinates fall to the right, or upwards, in the picture."""
        wanted = (_TOP if dim == self.rows else _RIGHT)[dim]
        return self._letters(dim)[1] != wanted

    def _letters(self, dim: str) -> tuple[str, str]:
        """Letters of the ends where the coordinates are lowest, and highest."""
        high = self.grid.orientation_along_frame[self.grid.axis(dim)]
        return {"A": "P", "P": "A", "S": "I", "I": "S", "L": "R", "R": "L"}[high], high

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Edges of the volume in µm: lowest and highest across, lowest and highest upright."""
        return (*self.grid.edges(self.columns), *self.grid.edges(self.rows))

    def edges(self, dim: str) -> NDArray[np.float64]:
        """Edges of the voxels along an axis in µm, ascending."""
        low, high = self.grid.edges(dim)
        return np.linspace(low, high, self.grid.shape[self.grid.axis(dim)] + 1)

    def image(self, plane: xr.DataArray) -> NDArray[np.generic]:
        """Values of a plane as an image, in which coordinates ascend along both axes."""
        along = plane.transpose(self.rows, self.columns, ...).values
        steps = [-1 if self.grid.is_falling(dim) else 1 for dim in (self.rows, self.columns)]
        image: NDArray[np.generic] = along[:: steps[0], :: steps[1]]
        return image

    def axis_label(self, dim: str) -> str:
        """Label of an axis, which says in which direction its coordinates grow."""
        return f"{dim} [mm] → {DIRECTIONS[self._letters(dim)[1]]}"


@dataclass(frozen=True, eq=False)
class Plane:
    """A plane of a volume, as an image.

    Parameters
    ----------
    view
        How it is seen.
    position
        Where it was asked for, in µm.
    labels
        Labels; coordinates ascend along both axes.
    template
        Intensities, where they are drawn.
    sides
        Hemisphere of each voxel, 1 left and 2 right, where values differ between them.
    """

    view: View
    position: float
    labels: NDArray[np.generic]
    template: NDArray[np.generic] | None = None
    sides: NDArray[np.generic] | None = None

    def title(self, *, with_plane: bool = True, thickness: float | None = None) -> str:
        """What is shown: the plane, its position in mm, and how far from it."""
        cut = self.view.cut
        about = "" if thickness is None else f" ± {thickness / 2000:g}"
        grid = self.view.grid
        # To a tenth of a voxel, and to µm where voxels are larger.
        decimals = max(3, 4 - math.floor(math.log10(grid.spacing[grid.axis(cut)])))
        place = f"{cut} = {round(self.position / 1000, decimals):.12g}{about} mm"
        return f"{PLANES[cut]}, {place}" if with_plane else place


@dataclass(frozen=True)
class Cut:
    """Where planes are cut.

    Parameters
    ----------
    view
        How they are seen.
    positions
        Their positions in µm.
    is_single
        Whether one position was asked for, and no list of them.
    """

    view: View
    positions: tuple[float, ...]
    is_single: bool = True


def choose_cut(
    space: Space,
    axis: AxisLike,
    position: PositionsLike,
    structures: StructuresLike | None = None,
    unit: LengthUnit = "um",
) -> Cut:
    """Planes across an axis.

    Parameters
    ----------
    space
        The space.
    axis
        As `axis_name` takes it.
    position
        Where to cut; if not given, in the middle of the structures, or of the volume. Of structures
        of both hemispheres a sagittal plane cuts the left one in the middle.
    structures
        Ids of structures, each for itself without its descendants.
    unit
        Unit of the position.

    Raises
    ------
    GridError
        If there is no such axis or unit, or no position at all.
    AnnotationError
        If the structures are needed and have no voxel.
    """
    view = View(space.grid, axis_name(axis, space.grid.dims))
    check_unit(unit)
    if position is None:
        return Cut(view, (_middle(space, view.cut, structures),))
    try:
        given = np.atleast_1d(np.asarray(position))
    except ValueError:  # lists of several lengths
        given = np.empty(0)
    if given.ndim != 1 or not given.size or given.dtype.kind not in "uif":
        raise GridError(
            f"position is {str(position)[:60]}; give one along {view.cut}, like "
            f"{_middle(space, view.cut, None):g}, or a list of them"
        )
    positions = [position_in_micrometres(p, view.cut, space.grid, unit) for p in given.tolist()]
    return Cut(view, tuple(positions), np.ndim(position) == 0)


def spread_positions(
    space: Space, axis: AxisLike, count: int, structures: StructuresLike | None = None
) -> NDArray[np.float64]:
    """Positions at equal distances through structures; see `SpacePlots.positions`."""
    if not isinstance(count, Integral) or count < 1:
        raise GridError(f"count is {count!r}; give the number of positions, 1 or more")
    dim = axis_name(axis, space.grid.dims)
    tree = space.structure_tree
    chosen = tree.node_ids() if structures is None else structures
    low, high = bounds(space, chosen).positions[dim]
    return low + (np.arange(count) + 0.5) * (high - low) / int(count)


def _middle(space: Space, dim: str, structures: StructuresLike | None) -> float:
    """Middle of structures along an axis, or of the volume."""
    if structures is None:
        return sum(space.grid.edges(dim)) / 2
    # The middle of both hemispheres is between them, where most structures have no voxel.
    if dim == "ml" and space.volume.hemispheres.volume is None:
        left = with_hemisphere(space, "left")
        ids = set(space.structure_tree.resolve(structures))
        if ids & {*left.label_index.counts()}:
            space = left
    return float(centroid(space, structures, direct_only=True)[dim])


def read_planes(space: Space, cut: Cut, *, template: bool, sides: bool = False) -> list[Plane]:
    """Read planes, all of them at once: no chunk but theirs is read, and each once.

    Parameters
    ----------
    space
        The space.
    cut
        Where they are.
    template, sides
        Whether intensities, and the hemispheres of the voxels, are needed.

    Raises
    ------
    PositionError
        If a position is outside the volume.
    """
    view = cut.view
    indices = [space.grid.index(view.cut, position) for position in cut.positions]
    unique, inverse = np.unique(indices, return_inverse=True)
    volumes = [space.annotation]
    volumes += [space.template] if template and space.template is not None else []
    volumes += [space.hemispheres] if sides else []
    read = _read(volumes, view.cut, unique, space.volume.block_labels_in)
    labels = read.pop(0)
    hemispheres = read.pop() if sides else None
    intensities = read.pop() if read else None
    return [
        Plane(
            view,
            position,
            view.image(labels.isel({view.cut: place})),
            None if intensities is None else view.image(intensities.isel({view.cut: place})),
            None if hemispheres is None else view.image(hemispheres.isel({view.cut: place})),
        )
        for position, place in zip(cut.positions, inverse.tolist(), strict=True)
    ]


def _read(
    volumes: Sequence[xr.DataArray],
    dim: str,
    indices: NDArray[np.intp],
    labels_in: LabelsIn,
) -> list[xr.DataArray]:
    """Planes of volumes at sorted indices, computed together; of the first, labels are known."""
    # Taken block by block: planes apart would read a block that they share once for each.
    known: list[LabelsIn | None] = [labels_in, *[None] * (len(volumes) - 1)]
    parts = dask.compute(
        *(_taken(volume, dim, indices, own) for volume, own in zip(volumes, known, strict=True)),
        num_workers=threads_for(*(volume.data for volume in volumes if volume.chunks is not None)),
    )
    return [
        xr.DataArray(np.concatenate(part, axis=volume.dims.index(dim)), dims=volume.dims)
        for volume, part in zip(volumes, parts, strict=True)
    ]


def _taken(
    volume: xr.DataArray, dim: str, indices: NDArray[np.intp], labels_in: LabelsIn | None
) -> list[ArrayLike]:
    """Planes within each block along an axis that has any."""
    if volume.chunks is None:
        return [volume.isel({dim: indices}).values]
    axis = volume.dims.index(dim)
    ends = np.cumsum((0, *volume.chunks[axis])).tolist()
    parts: list[ArrayLike] = []
    for start, stop in pairwise(ends):
        within = indices[(indices >= start) & (indices < stop)]
        if within.size:
            # No more than the planes that are between: what is known of them spares reads.
            between = slice(int(within[0]), int(within[-1]) + 1)
            within -= between.start
            slab = volume.isel({dim: between})
            key = tuple(between if a == axis else slice(None) for a in range(volume.ndim))
            if labels_in is not None and (known := labels_in(key)) is not None:
                slab = narrow(slab, slab.dtype, attrs={}, block_labels=known)
            block = slab.data
            chunks = tuple((within.size,) if a == axis else c for a, c in enumerate(block.chunks))
            meta = np.empty((0,) * volume.ndim, volume.dtype)
            parts.append(
                block.map_blocks(
                    take_planes, tuple(within.tolist()), axis, chunks=chunks, meta=meta
                )
            )
    return parts


def take_planes(block: NDArray[Any], indices: Sequence[int], axis: int) -> NDArray[Any]:
    """Planes of a block.

    Examples
    --------
    >>> take_planes(np.array([[1, 2, 3]]), (0, 2), 1)
    array([[1, 3]])
    """
    planes: NDArray[Any] = np.take(block, indices, axis)
    return planes
