"""Axes of a figure in print size: panels, letters of the sides, scale bar, colour bar."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure, FigureBase
from matplotlib.font_manager import FontProperties
from matplotlib.ticker import FuncFormatter
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar
from numpy.typing import NDArray

from refspace.errors import GridError, SettingError
from refspace.plotting.planes import Plane
from refspace.safe_text import shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

AxesLike: TypeAlias = Union["Axes", "NDArray[np.object_]", Sequence["Axes"], FigureBase, None]
"""Axes to draw into, one for each panel, or a figure to make them in; a new figure if None."""

# Widths of a column of print, and of two, in inches.
SINGLE_COLUMN, DOUBLE_COLUMN = 89 / 25.4, 180 / 25.4
FONT_SIZE = 7.0
_MOST_IN_A_ROW = 4
_MARGIN = 0.02
# Inches of a panel for the line above it, and for what is below all panels.
# Of what is at the side: a colour bar and its label.
BAR_WIDTH = 0.6
_HEADER, _FOOTER, _GAP = 0.2, 0.25, 0.08

Box: TypeAlias = tuple[float, float, float, float]


def make_axes(ax: AxesLike, count: int, box: Box, beside: float = 0.0) -> list["Axes"]:
    """Axes for some panels: those that are given, or new ones.

    Parameters
    ----------
    ax
        Axes, or a figure.
    count
        Number of panels.
    box
        What they show: left, right, bottom and top.
    beside
        Inches that something else takes at the side of a new figure.

    Raises
    ------
    GridError
        If another number of axes is given.
    """
    if ax is None:
        import matplotlib.pyplot as plt

        width = SINGLE_COLUMN if count == 1 else DOUBLE_COLUMN
        figure = plt.figure(figsize=(width, width), layout="compressed")
        axes = _panels(figure, count)
        fit_height(figure, count, box, beside)
        return axes
    if isinstance(ax, FigureBase):
        return _panels(ax, count)
    axes = [*np.asarray(ax, object).flat]
    if len(axes) != count:
        raise GridError(f"there are {len(axes)} axes for {count} positions; give one for each")
    return axes


def _panels(figure: FigureBase, count: int) -> list["Axes"]:
    columns = in_a_row(count)
    grid = figure.subplots(-(-count // columns), columns, squeeze=False)
    for unused in grid.flat[count:]:
        unused.remove()
    return [*grid.flat[:count]]


def in_a_row(count: int) -> int:
    """Number of panels in a row."""
    rows = -(-count // _MOST_IN_A_ROW)
    return -(-count // rows)


def fit_height(figure: Figure, count: int, box: Box, beside: float = 0.0) -> None:
    """Give a figure the height that its panels need at its width.

    Parameters
    ----------
    figure
        The figure.
    count
        Number of panels.
    box
        What each shows.
    beside
        Inches at the side that are taken, as by a colour bar.
    """
    columns = in_a_row(count)
    width = (figure.get_figwidth() - beside) / columns - _GAP
    panel = max(width, 0.3) * abs((box[3] - box[2]) / (box[1] - box[0])) + _HEADER
    rows = -(-count // columns)
    figure.set_figheight(rows * (panel + _GAP) + _FOOTER)


def paper_figure(width: float | None, draw: Callable[[Figure], object]) -> Figure:
    """Figure of a width in print, and of the height that what is drawn into it needs.

    Parameters
    ----------
    width
        Width in mm; that of one column for one panel, and of two for several, if not given.
    draw
        Draws panels into the figure.
    """
    figure = Figure(layout="compressed")
    draw(figure)
    bars = [ax for ax in figure.axes if ax.get_label() == "<colorbar>"]
    panels = [ax for ax in figure.axes if ax not in bars]
    column = SINGLE_COLUMN if len(panels) == 1 else DOUBLE_COLUMN
    figure.set_figwidth(column if width is None else width / 25.4)
    box = (*panels[0].get_xlim(), *panels[0].get_ylim())
    fit_height(figure, len(panels), box, BAR_WIDTH if bars else 0.0)
    return figure


def as_given(axes: list["Axes"], *, single: bool) -> Any:
    """Axes as they are returned: one for one position, an array for several."""
    if single:
        return axes[0]
    array = np.empty(len(axes), object)
    array[:] = axes
    return array


# ----- what is shown


def common_box(planes: Sequence[Plane]) -> Box:
    """Box of what is in any plane, in µm, with a margin: the same scale for all panels."""
    inside = np.any([np.asarray(plane.labels) != 0 for plane in planes], axis=0)
    view = planes[0].view
    if not inside.any():
        return view.extent
    box: list[float] = []
    for dim, axis in ((view.columns, 0), (view.rows, 1)):
        (where,) = np.nonzero(inside.any(axis=axis))
        box += view.edges(dim)[[where[0], where[-1] + 1]].tolist()
    margin = _MARGIN * max(box[1] - box[0], box[3] - box[2])
    return box[0] - margin, box[1] + margin, box[2] - margin, box[3] + margin


def dress(ax: "Axes", plane: Plane, box: Box, title: str) -> None:
    """Turn axes upright, name the sides and the position, and hide what a figure has no use for."""
    view = plane.view
    for set_limits, ends, dim in (
        (ax.set_xlim, box[:2], view.columns),
        (ax.set_ylim, box[2:], view.rows),
    ):
        set_limits(*(ends[::-1] if view.is_reversed(dim) else ends))
    ax.set_aspect("equal")
    ax.set_xlabel(view.axis_label(view.columns), fontsize=FONT_SIZE)
    ax.set_ylabel(view.axis_label(view.rows), fontsize=FONT_SIZE)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(FuncFormatter(_millimetres))
    ax.tick_params(labelsize=FONT_SIZE)
    ax.set_axis_off()
    left, right = view.ends(view.columns)
    for text, place in ((left, "left"), (title, "center"), (right, "right")):
        ax.set_title(text, loc=place, fontsize=FONT_SIZE, pad=2.0)  # type: ignore[arg-type]


def _millimetres(position: float, _: Any) -> str:
    return f"{position / 1000:g}"


def add_scale_bar(ax: "Axes", box: Box) -> None:
    """Draw a scale bar of a round length below axes, at the right."""
    length = round_length((box[1] - box[0]) / 4)
    label = f"{length / 1000:g} mm" if length >= 1000 else f"{length:g} µm"
    bar = AnchoredSizeBar(
        ax.transData,
        length,
        label,
        loc="upper right",
        bbox_to_anchor=(1.0, 0.0),
        bbox_transform=ax.transAxes,
        pad=0.1,
        borderpad=0.1,
        sep=2,
        frameon=False,
        color=mpl.rcParams["text.color"],
        size_vertical=0.0,
        fontproperties=FontProperties(size=FONT_SIZE),
    )
    (line,) = bar.size_bar.get_children()
    line.set_linewidth(1.2)
    ax.add_artist(bar)


def round_length(most: float) -> float:
    """Longest length of 1, 2 or 5 times a power of ten up to one.

    Examples
    --------
    >>> round_length(2500), round_length(700), round_length(0.15)
    (2000.0, 500.0, 0.1)
    """
    power = 10.0 ** np.floor(np.log10(most))
    return float(max(step * power for step in (1, 2, 5) if step * power <= most * (1 + 1e-9)))


def draw_colorbar(axes: Sequence["Axes"], image: "AxesImage", label: str, **options: Any) -> None:
    """Draw a colour bar beside panels."""
    how: dict[str, Any] = {"shrink": 0.8, "aspect": 20, "pad": 0.02}
    figure = axes[0].get_figure()
    assert figure is not None
    bar = figure.colorbar(image, ax=list(axes), **(how | {"label": label} | options))
    bar.ax.tick_params(labelsize=FONT_SIZE, width=0.5, length=2)
    bar.ax.yaxis.label.set_fontsize(FONT_SIZE)
    bar.ax.xaxis.label.set_fontsize(FONT_SIZE)
    bar.outline.set_linewidth(0.5)


def plain_text(text: str) -> str:
    r"""Text of others as it stands: on one line, and a dollar begins no formula.

    Examples
    --------
    >>> print(plain_text("price [$]\nper mm"))
    price [\$] per mm
    """
    return " ".join(shown(text).split()).replace("$", r"\$")[:80]


def check_cmap(name: str) -> str:
    """Name of a colour map of matplotlib.

    Raises
    ------
    SettingError
        If there is none of that name.
    """
    if name not in mpl.colormaps:
        raise SettingError(
            f"matplotlib has no colour map {name!r}; try viridis, cividis, magma or RdBu_r"
        )
    return name
