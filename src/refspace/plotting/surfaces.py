"""Surfaces of structures in three dimensions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from mpl_toolkits.mplot3d.art3d import Poly3DCollection
from numpy.typing import NDArray

from refspace.plotting.canvas import FONT_SIZE, SINGLE_COLUMN
from refspace.types import Resolution, StructuresLike
from refspace.verbs.grids import downsample
from refspace.verbs.meshes import mesh
from refspace.verbs.slices import MAGENTA
from refspace.verbs.space import Space

if TYPE_CHECKING:
    from mpl_toolkits.mplot3d.axes3d import Axes3D

# Voxels along the longest axis at most, if no resolution is given: matplotlib is slow.
_MOST_VOXELS = 140
_CONTEXT = (0.6, 0.6, 0.6, 0.06)
# Directions in a picture that is seen from the right, the back and below: across, inwards, upwards.
_AXES = ("ml", "ap", "dv")
_TOWARDS = {"ml": "R", "ap": "A", "dv": "S"}
# From the left, the front and above, where it is brightest.
_VIEW = {"elev": 20.0, "azim": 135.0}
_LIGHT = np.array([-0.6, 0.35, 0.72])
_DARKEST = 0.45


def draw_surface(
    space: Space,
    structures: StructuresLike,
    *,
    resolution: Resolution | None = None,
    context: StructuresLike | None = None,
    ax: "Axes3D | None" = None,
    **kwargs: Any,
) -> "Axes3D":
    """Draw surfaces; see `SpacePlots.surface`."""
    tree = space.structure_tree
    ids = tree.resolve(structures)
    around = _roots(space) if context is None else tree.resolve(context)
    coarse = _coarser(space, resolution)
    colormap = tree.get_colormap()
    surfaces = [_Surface.of(coarse, [i], _opaque(colormap.get(i, MAGENTA))) for i in ids]
    surfaces += [_Surface.of(coarse, around, _CONTEXT)] if around else []
    ax = _new_axes() if ax is None else ax
    # One collection: matplotlib hides what is behind something else within one alone.
    triangles = np.concatenate([surface.triangles for surface in surfaces])
    colors = np.concatenate([surface.colors for surface in surfaces])
    # The axes are a square in the middle of the figure, of which the brain fills more.
    style = {
        "facecolors": colors,
        "linewidths": 0.0,
        "antialiaseds": False,
        "clip_on": False,
        **kwargs,
    }
    ax.add_collection3d(Poly3DCollection(triangles, **style), autolim=False)
    _dress(ax, space, triangles)
    return ax


def _opaque(color: Sequence[float]) -> tuple[float, float, float, float]:
    red, green, blue = (value / 255 for value in color)
    return red, green, blue, 1.0


def _roots(space: Space) -> list[int]:
    """The whole brain: roots of the tree that have voxels."""
    tree, voxels = space.structure_tree, space.total_voxel_map
    parents = tree.parent_ids(tree.node_ids())
    return [
        i
        for i, parent in zip(tree.node_ids(), parents, strict=True)
        if parent is None and voxels[i]
    ]


def _coarser(space: Space, resolution: Resolution | None) -> Space:
    """Space at the resolution at which it is drawn."""
    if resolution is None:
        factor = math.ceil(max(space.grid.shape) / _MOST_VOXELS)
        resolution = [step * factor for step in space.resolution]
        if factor == 1:
            return space
    coarse = downsample(space, resolution)
    # Small, and needed for every surface: it is read once.
    labels = coarse.volume.labels
    return coarse.with_volume(
        replace(coarse.volume, labels=labels.copy(data=labels.data.persist()))
    )


@dataclass(frozen=True, eq=False)
class _Surface:
    """Triangles in the order of the axes of the picture, shape (n, 3, 3), and their colours."""

    triangles: NDArray[np.float64]
    colors: NDArray[np.float64]

    @classmethod
    def of(
        cls, space: Space, structures: Sequence[int], color: tuple[float, float, float, float]
    ) -> "_Surface":
        """Surface of the union of structures in a colour, shaded unless it is see-through."""
        surface = mesh(space, structures)
        order = [space.grid.frame_dims.index(dim) for dim in _AXES]
        triangles = surface.vertices[:, order][surface.face_vertices]
        normals = surface.vertex_normals[:, order][surface.face_normals].mean(axis=1)
        normals *= [-1 if _is_reversed(space, dim) else 1 for dim in _AXES]
        lengths = np.linalg.norm(normals, axis=1, keepdims=True)
        light = (normals / np.maximum(lengths, 1e-12)) @ (_LIGHT / np.linalg.norm(_LIGHT))
        colors = np.tile(color, (len(triangles), 1))
        if color[3] == 1:
            colors[:, :3] *= (_DARKEST + (1 - _DARKEST) * np.clip(light, 0, 1))[:, None]
        return cls(triangles, colors)


def _is_reversed(space: Space, dim: str) -> bool:
    """Whether coordinates fall towards where the axis of the picture goes."""
    grid = space.grid
    return grid.orientation_along_frame[grid.axis(dim)] != _TOWARDS[dim]


def _new_axes() -> "Axes3D":
    import matplotlib.pyplot as plt

    # Without a layout, for which everything would be drawn twice.
    figure = plt.figure(figsize=(SINGLE_COLUMN, SINGLE_COLUMN * 0.8))
    return figure.add_axes((0.0, 0.0, 1.0, 1.0), projection="3d")


def _dress(ax: "Axes3D", space: Space, triangles: NDArray[np.float64]) -> None:
    """Turn axes upright, at one scale, and name their ends."""
    low, high = triangles.min(axis=(0, 1)), triangles.max(axis=(0, 1))
    middle = (low + high) / 2
    for axis, dim in enumerate(_AXES):
        set_limits = (ax.set_xlim, ax.set_ylim, ax.set_zlim)[axis]
        ends = (high[axis], low[axis]) if _is_reversed(space, dim) else (low[axis], high[axis])
        set_limits(*ends)
        if dim == "dv":
            continue
        # The end that is nearer in the first view, on the floor: there nothing is behind.
        end, letter = (ends[0], "L") if dim == "ml" else (ends[1], "A")
        place = np.append(middle[:2], high[2] if _is_reversed(space, "dv") else low[2])
        place[axis] = end + (end - middle[axis]) * 0.08
        ax.text(*place, letter, fontsize=FONT_SIZE, ha="center", va="center")
    ax.set_box_aspect(high - low, zoom=1.4)
    ax.view_init(**_VIEW)
    ax.set_axis_off()
