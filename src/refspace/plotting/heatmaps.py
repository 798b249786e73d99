"""Values by structure on slices: a colour for each region, hatched where a value is missing."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.colors import Normalize
from matplotlib.image import AxesImage
from matplotlib.patches import Patch
from numpy.typing import NDArray

from refspace import kernels
from refspace.errors import AnnotationError
from refspace.plotting import artists
from refspace.plotting.canvas import (
    BAR_WIDTH,
    FONT_SIZE,
    AxesLike,
    as_given,
    draw_colorbar,
    plain_text,
)
from refspace.plotting.drawn_regions import names_of
from refspace.plotting.planes import Cut, Plane, read_planes
from refspace.plotting.slices import LINE, THIN, Panels, choose_template
from refspace.types import StructuresLike
from refspace.verbs.space import Space
from refspace.verbs.values import StructureValues

# Of values that grow from one end, and of those of both signs; both for all eyes.
_SEQUENTIAL, _DIVERGING = "viridis", "RdBu_r"
_MAPPING = ("cmap", "norm", "vmin", "vmax")


def draw_heatmap(
    space: Space,
    values: StructureValues,
    cut: Cut,
    *,
    outline: StructuresLike = (),
    template: bool | xr.DataArray = True,
    labels: bool = False,
    add_colorbar: bool = True,
    cbar_kwargs: Mapping[str, Any] | None = None,
    ax: AxesLike = None,
    **kwargs: Any,
) -> Any:
    """Draw values on slices; see `SpacePlots.heatmap`."""
    space, with_template = choose_template(space, template)
    planes = read_planes(space, cut, template=with_template, sides=values.is_sided)
    panels = Panels.make(planes, ax, beside=BAR_WIDTH if add_colorbar else 0.0)
    style = kwargs | _color_mapping(values, {key: kwargs.get(key) for key in _MAPPING})
    view = cut.view
    images, hatched = [], []
    for axes, plane in panels:
        shown, missing, regions = _images(plane, values)
        image = artists.draw_image(axes, shown, view, zorder=artists.FILL, **style)
        images.append(image)
        hatched.append(artists.draw_hatching(axes, missing, view))
        artists.draw_borders(axes, plane.labels != 0, view, **THIN)
        artists.draw_borders(axes, regions, view, **LINE)
        if labels:
            artists.draw_names(axes, regions, names_of(space.structure_tree, regions), view)
    panels.outline(space, outline)
    if any(patch is not None for patch in hatched):
        _explain_hatching(panels)
    if add_colorbar:
        options = {"extend": _extend(values, images[0])} | dict(cbar_kwargs or {})
        draw_colorbar(panels.axes, images[0], **({"label": plain_text(values.label)} | options))
    return as_given(panels.axes, single=cut.is_single)


def structures_with_value(space: Space, values: StructureValues) -> list[int] | None:
    """Structures that have a value and voxels; None where there are none, for the middle of all.

    Raises
    ------
    AnnotationError
        If there is no value at all, also none that is missing.
    """
    if not values.left:
        raise AnnotationError("there is no value of any structure; give at least one")
    finite = {
        label
        for side in (values.left, values.right)
        for label, value in side.items()
        if np.isfinite(value)
    }
    voxels = space.label_index.counts()
    return [i for i in finite if voxels.get(i) and i in space.structure_tree] or None


def _images(
    plane: Plane, values: StructureValues
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.int64]]:
    """Values of the pixels of a plane, which are missing, and the region of each."""
    labels = np.array(sorted(values.left), np.int64)
    ids = labels.tolist()
    place = kernels.find(np.asarray(plane.labels).astype(np.int64), labels)
    left, right = (
        np.array([*(side[i] for i in ids), np.nan])[place] for side in (values.left, values.right)
    )
    shown, has_value = left, place < labels.size
    if plane.sides is not None:
        shown = np.where(plane.sides == 2, right, left)
        has_value &= plane.sides != 0
    regions = np.array([*(values.regions.get(i, i) for i in ids), 0], np.int64)[place]
    missing = has_value & np.isnan(shown)
    masked: NDArray[np.float64] = np.ma.masked_array(shown, ~has_value | missing)
    return masked, missing, np.where(has_value, regions, 0)


def _color_mapping(values: StructureValues, given: Mapping[str, Any]) -> dict[str, Any]:
    """Colour map and norm: what is given, or else what fits the values."""
    low, high = values.limits
    norm, vmin, vmax = given["norm"], given["vmin"], given["vmax"]
    is_signed = low < 0 < high and norm is None and given["cmap"] is None
    cmap = given["cmap"] or (_DIVERGING if is_signed else _SEQUENTIAL)
    if norm is not None:
        return {"cmap": cmap}
    if is_signed:
        # White is 0.
        asked = [abs(bound) for bound in (vmin, vmax) if bound is not None]
        high = max(asked or (-low, high))
        low = -high
    bounds = (low if vmin is None else vmin, high if vmax is None else vmax)
    return {"cmap": cmap, "norm": Normalize(*bounds), "vmin": None, "vmax": None}


def _extend(values: StructureValues, image: AxesImage) -> str:
    """Ends of the colour bar beyond which there are values."""
    low, high = values.limits
    vmin, vmax = image.get_clim()
    below, above = low < vmin, high > vmax
    return {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}[below, above]


def _explain_hatching(panels: Panels) -> None:
    """Say below the first panel what hatching means."""
    panels.axes[0].legend(
        handles=[Patch(label="no value", **artists.HATCH_STYLE)],
        loc="upper left",
        bbox_to_anchor=(0.0, 0.0),
        frameon=False,
        fontsize=FONT_SIZE,
        borderpad=0.1,
        borderaxespad=0.1,
        handlelength=1.4,
    )
