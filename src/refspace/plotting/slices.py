"""Slices in the structures' colours, over the template."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from refspace.plotting import artists
from refspace.plotting.canvas import (
    AxesLike,
    Box,
    add_scale_bar,
    as_given,
    common_box,
    dress,
    make_axes,
)
from refspace.plotting.drawn_regions import DrawnRegions
from refspace.plotting.planes import Cut, Plane, read_planes
from refspace.structure_tree import Regions
from refspace.types import StructuresLike
from refspace.verbs.places import subtree_labels
from refspace.verbs.space import Space

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Opacity of colours over a template.
_OVER_TEMPLATE = 0.5
THIN: dict[str, Any] = {"edgecolor": "0.15", "linewidth": 0.25, "zorder": artists.BORDERS}
LINE: dict[str, Any] = {"edgecolor": "black", "linewidth": 0.5, "zorder": artists.BORDERS}
_THICK: dict[str, Any] = {"edgecolor": "black", "linewidth": 1.0, "zorder": artists.OUTLINES}


def draw_slice(
    space: Space,
    cut: Cut,
    *,
    structures: Regions | None = None,
    outline: StructuresLike = (),
    template: bool | xr.DataArray = True,
    labels: bool = True,
    ax: AxesLike = None,
    **kwargs: Any,
) -> Any:
    """Draw slices; see `SpacePlots.slice`."""
    space, with_template = choose_template(space, template)
    planes, tree = read_planes(space, cut, template=with_template), space.structure_tree
    drawn = (
        DrawnRegions.of_labels(tree, planes)
        if structures is None
        else DrawnRegions.of_regions(tree, structures)
    )
    panels = Panels.make(planes, ax)
    style = {"alpha": _OVER_TEMPLATE if with_template else None, **kwargs}
    view = cut.view
    for axes, plane in panels:
        codes = drawn.codes_of(plane)
        artists.draw_image(axes, drawn.image(codes), view, zorder=artists.FILL, **style)
        if structures is None:
            artists.draw_borders(axes, codes, view, **THIN)
        else:
            artists.draw_borders(axes, plane.labels != 0, view, **THIN)
            artists.draw_borders(axes, codes, view, **LINE)
        if labels:
            artists.draw_names(axes, codes, drawn.names, view)
    panels.outline(space, outline)
    return as_given(panels.axes, single=cut.is_single)


def choose_template(space: Space, template: bool | xr.DataArray) -> tuple[Space, bool]:
    """Space with the template that is to be drawn, and whether there is any.

    Raises
    ------
    GridError
        If the template is on another grid.
    """
    if isinstance(template, xr.DataArray):
        return space.with_volume(space.volume, template), True
    return space, bool(template) and space.template is not None


@dataclass(frozen=True, eq=False)
class Panels:
    """Axes, each with its plane drawn in grey, upright, with letters at its sides.

    Parameters
    ----------
    axes, planes
        As many axes as planes.
    box
        What they show, in µm.
    """

    axes: list["Axes"]
    planes: Sequence[Plane]
    box: Box

    @classmethod
    def make(
        cls,
        planes: Sequence[Plane],
        ax: AxesLike,
        *,
        beside: float = 0.0,
        thickness: float | None = None,
    ) -> "Panels":
        """Panels in given axes, or in new ones; the last has a scale bar.

        Parameters
        ----------
        planes, ax, beside
            As for `make_axes`.
        thickness
            How thick the slices are, in µm, where that is more than a voxel.
        """
        box = common_box(planes)
        axes = make_axes(ax, len(planes), box, beside)
        limits = artists.contrast(planes)
        for one, plane in zip(axes, planes, strict=True):
            artists.draw_underlay(one, plane, limits)
            # Of several panels, of one plane each, there is less room above.
            title = plane.title(with_plane=len(planes) == 1, thickness=thickness)
            dress(one, plane, box, title)
        add_scale_bar(axes[-1], box)
        return cls(axes, planes, box)

    def __iter__(self) -> Any:
        return iter(zip(self.axes, self.planes, strict=True))

    def outline(self, space: Space, structures: StructuresLike) -> None:
        """Draw a line around the union of some structures in each panel."""
        ids = subtree_labels(space, structures, direct_only=False)
        if not ids:
            return
        for axes, plane in self:
            inside = np.isin(plane.labels, np.array(ids, np.int64))
            artists.draw_borders(axes, inside, plane.view, **_THICK)
