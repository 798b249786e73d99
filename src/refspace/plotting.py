"""Pictures of slices, drawn with matplotlib (the ``plot`` extra)."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask
import numpy as np
from numpy.typing import NDArray

from refspace.axes import PLANES
from refspace.errors import FormatError, MissingDependencyError
from refspace.files import atomic_write
from refspace.grid import Grid
from refspace.reference_space import ReferenceSpace
from refspace.safe_text import shown
from refspace.types import AxisLike, PathLike, StructuresLike

try:
    from matplotlib.backend_bases import FigureCanvasBase
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure
except ImportError as error:  # pragma: no cover: the test environment has it
    raise MissingDependencyError(
        "pictures need matplotlib; install it with: pip install 'refspace[plot]'"
    ) from error

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Order of preference for the vertical axis: dv, else ap. Superior, or anterior, is at the top.
_UPRIGHT = ("dv", "ap", "ml")
_UP = ("superior", "anterior")


def plot_slice(
    space: ReferenceSpace,
    axis: AxisLike,
    position: float,
    *,
    outline: StructuresLike = (),
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw a slice in the structures' colours, upright, with their borders and axes in mm.

    Parameters
    ----------
    space
        The reference space.
    axis, position
        Axis and position of the slice, as for `ReferenceSpace.get_slice_image`.
    outline
        Structures that get a white outline.
    ax
        Axes to draw into; by default those of a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        Axes with the picture; their figure is ``ax.figure``.

    Examples
    --------
    >>> import refspace
    >>> ax = plot_slice(refspace.phantom(resolution=200), "ap", 7000, outline="VISp")
    >>> ax.get_title()
    'coronal, ap = 7 mm'
    """
    if ax is None:
        ax = Figure(figsize=(8, 6), layout="constrained").add_subplot()
    image = space.get_slice_image(axis, position)
    rows, columns = sorted(map(str, image.dims[:2]), key=_UPRIGHT.index)
    (cut,) = set(space.grid.dims) - {rows, columns}
    plane = {cut: space.grid.index(cut, position)}
    inside = space.make_structure_mask(outline).isel(plane)
    # Computed together, so that each chunk is read once.
    image, labels, inside = dask.compute(image, space.annotation.isel(plane), inside)
    edges = {dim: _edges(space.grid, dim) for dim in (rows, columns)}
    extent = (*edges[columns][[0, -1]], *edges[rows][[-1, 0]])
    ax.imshow(image.transpose(rows, columns, "rgb"), extent=extent, interpolation="nearest")
    for area, color, width in ((labels, "#0006", 0.3), (inside, "w", 1.2)):
        values = area.transpose(rows, columns).values
        lines = _borders(values, edges[rows], edges[columns], colors=color, linewidths=width)
        ax.add_collection(lines)
    _name_axes(ax, space.grid, rows, columns)
    ax.set_title(f"{PLANES[cut]}, {cut} = {position / 1000:g} mm")
    return ax


def save_slice(
    path: PathLike,
    space: ReferenceSpace,
    axis: AxisLike,
    position: float,
    *,
    outline: StructuresLike = (),
) -> None:
    """Write the picture of `plot_slice` to a file, in the format of its ending.

    Parameters
    ----------
    path
        File to write, like ``slice.png``; it appears only when it is complete.
    space, axis, position, outline
        As for `plot_slice`.

    Raises
    ------
    FormatError
        If matplotlib knows no format of that ending.

    Examples
    --------
    >>> import refspace, tempfile
    >>> path = Path(tempfile.mkdtemp(), "slice.png")
    >>> save_slice(path, refspace.phantom(resolution=400), "ap", 7000)
    >>> path.exists()
    True
    """
    picture_ending(path)
    figure = plot_slice(space, axis, position, outline=outline).figure
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=150, bbox_inches="tight")  # type: ignore[union-attr]


def picture_ending(path: PathLike) -> str:
    """Ending of the name of a picture, checked to be one of a format of matplotlib.

    Raises
    ------
    FormatError
        If it is not.

    Examples
    --------
    >>> picture_ending("slice.PNG")
    '.png'
    """
    formats = FigureCanvasBase.get_supported_filetypes()
    ending = Path(path).suffix.lower()
    if ending.removeprefix(".") not in formats:
        raise FormatError(
            f"{shown(os.fspath(path))} does not end in .{', .'.join(formats)}; pictures are "
            "written as what their names end in"
        )
    return ending


def _edges(grid: Grid, dim: str) -> NDArray[np.float64]:
    """Edges of the voxels along an axis, in mm."""
    numbers = np.arange(grid.shape[grid.axis(dim)] + 1, dtype=np.float64)
    return grid.position(dim, numbers) / 1000


def _borders(
    labels: NDArray[Any], y: NDArray[np.float64], x: NDArray[np.float64], **style: Any
) -> LineCollection:
    """Lines along the pixel edges between different labels."""
    row, column = np.nonzero(labels[1:] != labels[:-1])
    height = y[row + 1]
    segments = [np.stack((x[column], height, x[column + 1], height), axis=1)]
    row, column = np.nonzero(labels[:, 1:] != labels[:, :-1])
    side = x[column + 1]
    segments.append(np.stack((side, y[row], side, y[row + 1]), axis=1))
    return LineCollection(list(np.concatenate(segments).reshape(-1, 2, 2)), **style)


def _name_axes(ax: "Axes", grid: Grid, rows: str, columns: str) -> None:
    ax.set_xlabel(f"{columns} [mm] → {grid.direction(columns)}")
    ax.set_ylabel(f"{rows} [mm] → {grid.direction(rows)}")
    if grid.direction(rows) in _UP:
        ax.invert_yaxis()
