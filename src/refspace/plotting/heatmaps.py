"""Values by structure on slices: a colour for each region, hatched where a value is missing."""

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import xarray as xr
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.patches import Patch
from numpy.typing import NDArray

from refspace import kernels
from refspace.errors import AnnotationError, SettingError
from refspace.plotting import artists
from refspace.plotting.canvas import (
    BAR_WIDTH,
    FONT_SIZE,
    AxesLike,
    as_given,
    check_cmap,
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
    # Before there are panels: none are left behind where colours are at fault.
    cmap, norm = _color_mapping(values, {key: kwargs.get(key) for key in _MAPPING})
    style = {key: value for key, value in kwargs.items() if key not in _MAPPING}
    panels = Panels.make(planes, ax, beside=BAR_WIDTH if add_colorbar else 0.0)
    style |= {"cmap": cmap, "norm": norm}
    view = cut.view
    images, hatched = [], []
    for axes, plane in panels:
        shown, missing, regions = _images(plane, values, norm)
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
        options = {"extend": _extend(values, norm)} | dict(cbar_kwargs or {})
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
    plane: Plane, values: StructureValues, norm: Normalize
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
    shown = _within_reach(shown, norm)
    masked: NDArray[np.float64] = np.ma.masked_array(shown, ~has_value | missing)
    return masked, missing, np.where(has_value, regions, 0)


def _color_mapping(values: StructureValues, given: Mapping[str, Any]) -> tuple[str, Normalize]:
    """Colour map and norm: what is given, or else what fits the values.

    Raises
    ------
    SettingError
        If there is no such colour map, or the colours end before they begin.
    """
    cmap, vmin, vmax = given["cmap"], given["vmin"], given["vmax"]
    if isinstance(cmap, str):
        check_cmap(cmap)
    if given["norm"] is not None:
        return cmap or _SEQUENTIAL, _scaled_norm(values, given["norm"], vmin, vmax)
    low, high = _bounds(values, vmin, vmax)
    # White is 0, unless both ends are told.
    is_signed = low < 0 < high and (vmin is None or vmax is None or vmin == -vmax)
    if is_signed:
        asked = [abs(bound) for bound in (vmin, vmax) if bound is not None]
        high = max(asked or (-low, high))
        low = -high
    return cmap or (_DIVERGING if is_signed else _SEQUENTIAL), Normalize(low, high)


def _scaled_norm(
    values: StructureValues, given: Any, vmin: float | None, vmax: float | None
) -> Normalize:
    """Norm whose open ends are those of all values: of the first panel, matplotlib would take."""
    norm: Any = ScalarMappable(norm=given).norm
    if isinstance(given, str):
        norm.vmin, norm.vmax = vmin, vmax
    elif not (vmin is None and vmax is None):
        raise SettingError("there is a norm beside vmin or vmax; give these to the norm")
    norm.autoscale_None(np.array(_finite(values)))
    return cast("Normalize", norm)


def _bounds(values: StructureValues, vmin: float | None, vmax: float | None) -> tuple[float, float]:
    """Where colours begin and end."""
    low, high = values.limits
    if low == high:
        around = abs(low) / 10 or 0.1
        low, high = low - around, high + around
    bounds = (low if vmin is None else float(vmin), high if vmax is None else float(vmax))
    if not bounds[0] < bounds[1]:
        raise SettingError(
            f"colours would run from {bounds[0]:g} to {bounds[1]:g}; give a vmin below vmax, both "
            f"where the values, from {values.limits[0]:g} to {values.limits[1]:g}, are beyond one"
        )
    return bounds


def _finite(values: StructureValues) -> list[float]:
    """All values that are finite."""
    return [v for side in (values.left, values.right) for v in side.values() if np.isfinite(v)]


def _extend(values: StructureValues, norm: Normalize) -> str:
    """Ends of the colour bar beyond which there are values."""
    every = np.array([*values.left.values(), *values.right.values()])
    below = norm.vmin is not None and bool((every < norm.vmin).any())
    above = norm.vmax is not None and bool((every > norm.vmax).any())
    return {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}[below, above]


def _within_reach(shown: NDArray[np.float64], norm: Normalize) -> NDArray[np.float64]:
    """Values of which infinite ones are just beyond the ends: matplotlib draws no others."""
    if norm.vmin is None or norm.vmax is None:
        return shown
    below, above = np.nextafter(norm.vmin, -np.inf), np.nextafter(norm.vmax, np.inf)
    reached: NDArray[np.float64] = np.where(
        np.isinf(shown), np.where(shown < 0, below, above), shown
    )
    return reached


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
