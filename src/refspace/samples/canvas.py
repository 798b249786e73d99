"""The canvas of the phantom: voxels, and the brushes that paint organs on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from refspace.samples.ontology import STRUCTURE_ID
from refspace.samples.shapes import clip, square, surface_depth
from refspace.types import BACKGROUND

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from refspace.samples.parcels import Parcel, Tract
    from refspace.samples.shapes import Floats

    Mask = NDArray[np.bool_]

Point: TypeAlias = tuple[float, float, float]
Box: TypeAlias = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]

# In place of an acronym, for voxels that become empty again.
NO_STRUCTURE = "background"


@dataclass(frozen=True)
class Slab:
    """Voxels of one half of the brain and their labels.

    `ap`, `dv` and `x` (the distance from the midline) are voxel centres in µm, shaped to broadcast
    against each other; `labels` is the (ap, dv, x) array that is painted in place.
    """

    ap: Floats
    dv: Floats
    x: Floats
    labels: NDArray[np.uint32]

    @classmethod
    def from_axes(cls, ap: Floats, dv: Floats, x: Floats, labels: NDArray[np.uint32]) -> Slab:
        """Slab over increasing 1-D positions along each axis."""
        return cls(ap[:, None, None], dv[None, :, None], x[None, None, :], labels)

    def crop(self, box: Box) -> Slab | None:
        """Return the voxels inside `box`, as a view on the labels; None without any."""
        axes = (self.ap.ravel(), self.dv.ravel(), self.x.ravel())
        ap, dv, x = (_window(axis, limits) for axis, limits in zip(axes, box, strict=True))
        if min(ap.stop - ap.start, dv.stop - dv.start, x.stop - x.start) == 0:
            return None
        return Slab.from_axes(axes[0][ap], axes[1][dv], axes[2][x], self.labels[ap, dv, x])

    def offsets(self, centre: Point) -> tuple[Floats, Floats, Floats]:
        """Offsets of the voxels from `centre`, per axis."""
        return self.ap - centre[0], self.dv - centre[1], self.x - centre[2]

    def depth(self, centre: Point, radii: Point, *, squareness: float = 0.0) -> Floats:
        """Depth below an ellipsoid's surface in µm, to first order; negative outside."""
        return surface_depth(self.offsets(centre), radii, squareness=squareness)

    def paint(self, acronym: str, where: Mask) -> None:
        """Give the voxels of `where` to a structure, or to `NO_STRUCTURE`."""
        label = BACKGROUND if acronym == NO_STRUCTURE else STRUCTURE_ID[acronym]
        self.paint_labels(np.uint32(label), where)

    def paint_labels(self, labels: NDArray[np.uint32] | np.uint32, where: Mask) -> None:
        """Write `labels` on the voxels of `where`."""
        np.copyto(self.labels, labels, where=where)

    def paint_shells(self, depth: Floats, shells: Iterable[tuple[str, float]], where: Mask) -> None:
        """Paint nested sheets: each structure takes the voxels deeper than its depth in µm."""
        for acronym, above in shells:
            self.paint(acronym, where & (depth > above))

    def paint_parcels(self, parcels: Iterable[Parcel], where: Mask) -> None:
        """Share the voxels of `where` among `parcels`: each goes to the nearest in its measure."""
        if not where.any():
            return
        nearest = np.full(self.labels.shape, np.inf)
        labels = np.zeros(self.labels.shape, np.uint32)
        for parcel in parcels:
            ap, dv, x = (
                o / r for o, r in zip(self.offsets(parcel.centre), parcel.radii, strict=True)
            )
            distance = square(ap) + square(dv) + square(x)
            closer = distance < nearest
            np.copyto(nearest, distance, where=closer)
            np.copyto(labels, np.uint32(STRUCTURE_ID[parcel.acronym]), where=closer)
        self.paint_labels(labels, where)

    def paint_tract(self, tract: Tract) -> None:
        """Paint a tube along a line of points, on tissue only."""
        for start, end in zip(tract.points[:-1], tract.points[1:], strict=True):
            part = self.crop(_box_around((start, end), margin=tract.radius))
            if part is not None:
                near = part.squared_distance(start, end) < tract.radius * tract.radius
                part.paint(tract.acronym, near & (part.labels > 0))

    def squared_distance(self, start: Point, end: Point) -> Floats:
        """Squared distance from the straight piece from `start` to `end`."""
        step = [b - a for a, b in zip(start, end, strict=True)]
        ap, dv, x = self.offsets(start)
        reach = step[0] * step[0] + step[1] * step[1] + step[2] * step[2]
        along = clip((ap * step[0] + dv * step[1] + x * step[2]) / reach, 0.0, 1.0)
        return (
            square(ap - along * step[0])
            + square(dv - along * step[1])
            + square(x - along * step[2])
        )


def _window(positions: Floats, limits: tuple[float, float]) -> slice:
    """Slice of the increasing `positions` that are within `limits`."""
    low, high = np.searchsorted(positions, limits[0]), np.searchsorted(positions, limits[1])
    return slice(int(low), int(high))


def _box_around(points: Sequence[Point], *, margin: float) -> Box:
    ap, dv, x = (
        (min(values) - margin, max(values) + margin) for values in zip(*points, strict=True)
    )
    return ap, dv, x
