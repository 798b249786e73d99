"""What is drawn on a plane: template, borders of regions, their names, hatching."""

from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.backend_bases import RendererBase
from matplotlib.font_manager import FontProperties
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.patheffects import Stroke
from matplotlib.text import Text
from matplotlib.textpath import TextPath
from matplotlib.transforms import Bbox, IdentityTransform
from numpy.typing import NDArray

from refspace.plotting.canvas import FONT_SIZE
from refspace.plotting.label_places import Piece, connected_pieces, place_in
from refspace.plotting.planes import Plane, View
from refspace.safe_text import shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Grey of the brain where there is no template; of a region whose value is missing.
_BRAIN, MISSING = 0.84, 0.75
# Shares of the intensities in the brain that are black, and white.
_CONTRAST = (1.0, 99.5)
# Sizes of a name that are tried, in points, and how much room there is around it.
_SIZES, _AROUND = (FONT_SIZE, 6.0, 5.0), 1.0
_HATCH = "//////"

# Pixels of a plane lie over one another: the underlay, values and colours, lines, names.
UNDERLAY, FILL, HATCHED, BORDERS, OUTLINES, NAMES, POINTS = 0.0, 1.0, 1.2, 1.5, 1.6, 3.0, 2.0


def contrast(planes: Sequence[Plane]) -> tuple[float, float]:
    """Intensities that are black and white in all of some planes: percentiles within the brain."""
    inside = [
        np.asarray(plane.template)[plane.labels != 0]
        for plane in planes
        if plane.template is not None
    ]
    values = np.concatenate(inside).astype(np.float64) if inside else np.empty(0)
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    low, high = np.percentile(values, _CONTRAST).tolist()
    return (low, high) if high > low else (low, low + 1.0)


def draw_underlay(ax: "Axes", plane: Plane, limits: tuple[float, float]) -> None:
    """Draw the template, or else the brain in grey; outside nothing is drawn."""
    if plane.template is None:
        grey = np.full(plane.labels.shape, _BRAIN)
    else:
        scaled = (np.asarray(plane.template, np.float64) - limits[0]) / (limits[1] - limits[0])
        grey = np.clip(np.nan_to_num(scaled), 0, 1)
    image = np.repeat(grey[..., None], 4, axis=-1)
    image[..., 3] = plane.labels != 0
    draw_image(ax, image, plane.view, zorder=UNDERLAY)


def draw_image(ax: "Axes", image: NDArray[Any], view: View, **options: Any) -> Any:
    """Draw an image of a plane whose coordinates ascend, voxel for voxel."""
    # "none" is "nearest" on a screen, and leaves the voxels as they are in PDF and SVG.
    how: dict[str, Any] = {"extent": view.extent, "origin": "lower", "interpolation": "none"}
    return ax.imshow(image, **(how | options))


# ----- lines


def border_segments(
    codes: NDArray[Any], x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Lines along the edges of pixels between different codes, as long as they run straight.

    Parameters
    ----------
    codes
        Image of codes, shape (rows, columns).
    x, y
        Edges of its columns and rows.

    Returns
    -------
    ndarray
        Ends of the lines, shape (lines, 2, 2).

    Examples
    --------
    >>> border_segments(np.array([[1, 1], [2, 2]]), np.array([0, 5, 10]), np.array([0, 1, 2]))
    array([[[ 0,  1],
            [10,  1]]])
    """
    row, start, stop = _true_runs(codes[1:] != codes[:-1])
    level = y[row + 1]
    across = np.stack((x[start], level, x[stop], level), axis=1)
    column, start, stop = _true_runs((codes[:, 1:] != codes[:, :-1]).T)
    level = x[column + 1]
    upright = np.stack((level, y[start], level, y[stop]), axis=1)
    return np.concatenate((across, upright)).reshape(-1, 2, 2)


def _true_runs(mask: NDArray[np.bool_]) -> tuple[NDArray[np.intp], ...]:
    """Row, start and stop of each run of True along the rows of a mask."""
    padded = np.zeros((mask.shape[0], mask.shape[1] + 2), np.int8)
    padded[:, 1:-1] = mask
    changes = np.diff(padded, axis=1)
    row, start = np.nonzero(changes == 1)
    return row, start, np.nonzero(changes == -1)[1]


def draw_borders(ax: "Axes", codes: NDArray[Any], view: View, **style: Any) -> PathPatch:
    """Draw lines between the regions of an image."""
    segments = border_segments(codes, view.edges(view.columns), view.edges(view.rows))
    # One path: a collection would take seconds for the many lines of a slice.
    steps = np.tile([Path.MOVETO, Path.LINETO], len(segments))
    path = Path(segments.reshape(-1, 2), steps)
    lines = PathPatch(path, facecolor="none", capstyle="projecting", **style)
    # Limits are those of the panel, whatever is drawn.
    ax.add_artist(lines)
    return lines


def draw_hatching(ax: "Axes", mask: NDArray[np.bool_], view: View) -> PathPatch | None:
    """Draw pixels as hatched: there is something, of which nothing is known."""
    x, y = view.edges(view.columns), view.edges(view.rows)
    row, start, stop = _true_runs(mask)
    if not row.size:
        return None
    left, right, bottom, top = x[start], x[stop], y[row], y[row + 1]
    corners = [(left, bottom), (right, bottom), (right, top), (left, top), (left, bottom)]
    vertices = np.stack([np.stack(corner, axis=1) for corner in corners], axis=1).reshape(-1, 2)
    steps = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY]
    path = Path(vertices, np.tile(steps, row.size))
    patch = PathPatch(path, zorder=HATCHED, **HATCH_STYLE)
    ax.add_artist(patch)
    return patch


HATCH_STYLE: Mapping[str, Any] = {
    "facecolor": str(MISSING),
    "edgecolor": "0.35",
    "hatch": _HATCH,
    "hatch_linewidth": 0.4,
    "linewidth": 0.0,
}


# ----- names


class RegionNames(Artist):
    """Names of regions, each within its region wherever it fits at the size of the figure.

    Where they fit depends on the scale, which is known when the figure is drawn: of a figure that
    is larger, or zoomed into, more is named. Each connected piece of a region has its name at most
    once, with nothing of it outside, so that no name lies over another.

    Parameters
    ----------
    pieces
        Connected pieces of the regions.
    names
        Name of each code.
    view
        How the plane is seen.
    """

    def __init__(self, pieces: Sequence[Piece], names: Mapping[int, str], view: View) -> None:
        super().__init__()
        self.set_zorder(NAMES)
        self.set_in_layout(False)
        self._pieces = [piece for piece in pieces if names.get(piece.code)]
        self._names, self._view = names, view

    def draw(self, renderer: RendererBase) -> None:
        """Draw the names that fit."""
        if not self.get_visible() or self.axes is None or self.get_figure() is None:
            return
        for name, size, x, y in self.placed():
            left, bottom, *_ = _ink(name, size)
            scale = float(renderer.points_to_pixels(1.0))  # type: ignore[arg-type]
            for style in _HALO, _INK:
                text = Text(x - left * scale, y - bottom * scale, name, size=size, **style)
                text.set_figure(self.get_figure(root=True))  # type: ignore[arg-type]
                text.set_transform(IdentityTransform())
                text.set_parse_math(False)
                text.draw(renderer)
        self.stale = False

    def placed(self) -> list[tuple[str, float, float, float]]:
        """Names that fit at the present scale: name, size in points, and where its ink begins."""
        figure = self.get_figure(root=True)
        assert figure is not None
        assert self.axes is not None
        found = []
        visible = self.axes.bbox
        for piece in self._pieces:
            name = self._names[piece.code]
            corners = self._corners(piece)
            if not Bbox(corners).overlaps(visible):
                continue
            for size in _SIZES:
                if (start := self._place(piece, corners, name, size * figure.dpi / 72)) is not None:
                    found.append((name, size, *start))
                    break
        return found

    def _place(
        self, piece: Piece, corners: NDArray[np.float64], name: str, pixels: float
    ) -> tuple[float, float] | None:
        """Where the ink of a name begins on the screen; None where it does not fit."""
        _, _, width, height = _ink(name, pixels)
        margin = 2 * _AROUND * pixels / FONT_SIZE
        # Pixels of the screen for one of the piece; negative along a reversed axis.
        step = (corners[1] - corners[0]) / piece.mask.shape[::-1]
        box = [
            (size + margin) / abs(s) for size, s in zip((height, width), step[::-1], strict=True)
        ]
        if (centre := place_in(piece.mask, *box)) is None:
            return None
        x, y = corners[0] + step * centre[::-1]
        return float(x - width / 2), float(y - height / 2)

    def _corners(self, piece: Piece) -> NDArray[np.float64]:
        """First and last corner of the box of a piece on the screen."""
        assert self.axes is not None
        rows, columns = piece.mask.shape
        x, y = self._edges
        ends = [piece.column, piece.column + columns], [piece.row, piece.row + rows]
        corners = self.axes.transData.transform(np.stack((x[ends[0]], y[ends[1]]), axis=1))
        return np.asarray(corners, np.float64)

    @cached_property
    def _edges(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return self._view.edges(self._view.columns), self._view.edges(self._view.rows)


_INK: Mapping[str, Any] = {"color": "black"}
# Beneath the text, which stays a text in PDF and SVG: effects would draw it as an outline.
_HALO: Mapping[str, Any] = {
    "color": "white",
    "path_effects": [Stroke(linewidth=1.4, foreground="white", alpha=0.75)],
}


def _ink(name: str, size: float) -> tuple[float, float, float, float]:
    """Left, bottom, width and height of the ink of a text."""
    left, bottom, width, height = _ink_of_100(name)
    return left * size / 100, bottom * size / 100, width * size / 100, height * size / 100


@lru_cache(maxsize=4096)
def _ink_of_100(name: str) -> tuple[float, float, float, float]:
    # As the text itself is drawn, for which a dollar begins no formula.
    plain = name.replace("$", r"\$")
    box = TextPath((0, 0), plain, size=100, prop=FontProperties(), usetex=False).get_extents()
    return float(box.x0), float(box.y0), float(box.width), float(box.height)


def draw_names(
    ax: "Axes", codes: NDArray[Any], names: Mapping[int, str], view: View
) -> RegionNames:
    """Draw the names of regions where they fit."""
    named = np.where(np.isin(codes, [code for code, name in names.items() if name]), codes, 0)
    safe = {code: shown(name).replace("\n", " ")[:40] for code, name in names.items()}
    artist = RegionNames(connected_pieces(named), safe, view)
    ax.add_artist(artist)
    return artist
