"""Pictures of a space, one call each: ``space.plot.slice(…)``."""

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from refspace.axes import axis_name
from refspace.errors import MissingDependencyError
from refspace.plotting.planes import PositionsLike, choose_cut, spread_positions
from refspace.structure_tree import RegionsLike
from refspace.types import LengthUnit, PointsLike, Resolution, StructuresLike
from refspace.verbs.space import Space
from refspace.verbs.values import ValuesOfStructures, structure_values

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase
    from mpl_toolkits.mplot3d.axes3d import Axes3D

    AxesLike: TypeAlias = Axes | Sequence[Axes] | NDArray[np.object_] | FigureBase | None


class SpacePlots:
    """Pictures of a space with matplotlib, which is loaded when the first is drawn.

    What is drawn is upright: superior at the top, of horizontal slices anterior; of sagittal ones
    anterior is at the left. Letters name the sides. Along the axes are the coordinates of the
    space, in µm, so that anything else can be drawn on top. Figures are as wide as a column of
    print, 89 mm, or as two, 180 mm.

    Parameters
    ----------
    space
        The space.

    Examples
    --------
    >>> import refspace
    >>> refspace.phantom(resolution=400).plot
    <plots of a reference space: colors, heatmap, points, positions, slice, surface>
    """

    def __init__(self, space: Space) -> None:
        self._space = space

    def __repr__(self) -> str:
        names = [name for name in dir(self) if not name.startswith("_")]
        return f"<plots of a reference space: {', '.join(names)}>"

    def slice(
        self,
        axis: int | str = "coronal",
        position: PositionsLike = None,
        *,
        structures: RegionsLike | None = None,
        outline: StructuresLike = (),
        template: bool | xr.DataArray = True,
        labels: bool = True,
        unit: LengthUnit = "um",
        ax: "AxesLike" = None,
        **kwargs: Any,
    ) -> Any:
        """Draw slices in the structures' colours over the template, with borders and acronyms.

        Parameters
        ----------
        axis
            ``"coronal"``, ``"horizontal"`` or ``"sagittal"``, or the axis that is cut, as for
            `get_slice_image`.
        position
            Where to cut; the voxel that contains it is shown. Several positions become panels of
            one scale. If not given, the middle of the structures, or of the volume.
        structures
            Regions to colour, as for `relabel`, each as a whole and with a line around it; every
            label for itself if not given. Regions that are called by texts have colours of a
            palette.
        outline
            Structures that get a thick line around them.
        template
            Whether to draw the template beneath, where there is one; or another one, on the same
            grid. Black and white are its percentiles 1 and 99.5 within the brain.
        labels
            Whether to write acronyms into the regions where they fit, at 5 to 7 points.
        unit
            Unit of the position, as for `count_points`.
        ax
            Axes to draw into, one for each position, or a figure; a new figure if not given.
        **kwargs
            For `matplotlib.axes.Axes.imshow`, which draws the colours, like ``alpha=1``.

        Returns
        -------
        matplotlib.axes.Axes or ndarray of Axes
            The axes, one for each position.

        Raises
        ------
        PositionError
            If a position is outside the volume.
        GridError
            If there is no such axis or unit, or another number of axes than of positions.
        OntologyError, StructureNotFoundError, AnnotationError
            As for `relabel`; or if the structures have no voxel, and no position is given.
        MissingDependencyError
            If matplotlib is not installed.

        Examples
        --------
        >>> import refspace
        >>> space = refspace.phantom(resolution=200)
        >>> ax = space.plot.slice("coronal", 7000, outline="VISp")
        >>> ax.get_title()
        'coronal, ap = 7 mm'
        >>> space.plot.slice("sagittal", [3000, 4000], structures=["CP", "TH"]).shape
        (2,)
        """
        _need_matplotlib()
        from refspace.plotting.slices import draw_slice

        tree = self._space.structure_tree
        regions = None if structures is None else tree.regions(structures)
        members = None if regions is None else regions.structures
        return draw_slice(
            self._space,
            choose_cut(self._space, axis, position, members, unit),
            structures=regions,
            outline=outline,
            template=template,
            labels=labels,
            ax=ax,
            **kwargs,
        )

    def heatmap(
        self,
        values: ValuesOfStructures,
        axis: int | str = "coronal",
        position: PositionsLike = None,
        *,
        outline: StructuresLike = (),
        template: bool | xr.DataArray = True,
        labels: bool = False,
        add_colorbar: bool = True,
        cbar_kwargs: Mapping[str, Any] | None = None,
        ax: "AxesLike" = None,
        **kwargs: Any,
    ) -> Any:
        """Draw values of structures on slices, each region in the colour of its value.

        Regions whose value is NaN are hatched; those that have none show the template, or grey.

        Parameters
        ----------
        values
            A number for each of some structures: a mapping, or a pandas Series; a DataFrame with
            the columns ``left`` and ``right``, drawn on their sides; or what `aggregate` and
            `count_points` return, also by hemisphere. Those above a structure hold for it where it
            has none of its own, as for `paint`.
        axis, position, outline, template, ax
            As for `slice`; the position in µm. The middle is that of the structures with a value.
        labels
            Whether to write acronyms into the regions where they fit.
        add_colorbar, cbar_kwargs
            Whether to draw a colour bar, labelled with the name and unit of the values, and its
            options.
        **kwargs
            For `matplotlib.axes.Axes.imshow`, like ``cmap``, ``norm``, ``vmin`` and ``vmax``. If
            not given, colours run over all values, also of regions that are not shown: `viridis`,
            or where values have both signs `RdBu_r` with white for 0.

        Returns
        -------
        matplotlib.axes.Axes or ndarray of Axes
            The axes, one for each position.

        Raises
        ------
        AnnotationError, OntologyError, StructureNotFoundError
            As for `paint`, or if there is no value at all.
        PositionError, GridError, MissingDependencyError
            As for `slice`.

        Examples
        --------
        >>> import pandas as pd
        >>> import refspace
        >>> space = refspace.phantom(resolution=200)
        >>> density = pd.DataFrame({"left": [5, 2.5], "right": [4, None]}, index=["VISp", "TH"])
        >>> ax = space.plot.heatmap(density, cbar_kwargs={"label": "cells per mm³"})
        >>> ax.get_title("left"), ax.get_title("right")
        ('L', 'R')
        """
        _need_matplotlib()
        from refspace.plotting.heatmaps import draw_heatmap, structures_with_value

        found = structure_values(self._space.structure_tree, values)
        members = structures_with_value(self._space, found) if position is None else None
        return draw_heatmap(
            self._space,
            found,
            choose_cut(self._space, axis, position, members),
            outline=outline,
            template=template,
            labels=labels,
            add_colorbar=add_colorbar,
            cbar_kwargs=cbar_kwargs,
            ax=ax,
            **kwargs,
        )

    def points(
        self,
        points: PointsLike,
        axis: int | str = "coronal",
        position: PositionsLike = None,
        *,
        thickness: float | None = None,
        columns: Sequence[Hashable] | None = None,
        outline: StructuresLike = (),
        template: bool | xr.DataArray = True,
        unit: LengthUnit = "um",
        ax: "AxesLike" = None,
        **kwargs: Any,
    ) -> Any:
        """Draw points on slices.

        Parameters
        ----------
        points, columns, unit
            As for `structure_at`.
        axis, position, outline, template, ax
            As for `slice`. The middle is that of the points.
        thickness
            Thickness of the slice in µm, half of it on each side: points in it are drawn. If not
            given all points are, projected onto the slice.
        **kwargs
            For `matplotlib.axes.Axes.scatter`. Sizes ``s`` and colours ``c`` may be given for each
            of all points, or name a column of the table.

        Returns
        -------
        matplotlib.axes.Axes or ndarray of Axes
            The axes, one for each position.

        Raises
        ------
        GridError, PositionError
            As for `structure_at` and `slice`; or if the thickness is none.
        MissingDependencyError
            As for `slice`.

        Examples
        --------
        >>> import refspace
        >>> space = refspace.phantom(resolution=200)
        >>> cells = np.array([[7000, 1500, 3300], [7050, 1500, 3300], [9000, 1500, 3300]])
        >>> ax = space.plot.points(cells, "coronal", 7000, thickness=200, color="crimson")
        >>> ax.get_title()
        'coronal, ap = 7 ± 0.1 mm'
        >>> len(ax.collections[-1].get_offsets())
        2
        """
        _need_matplotlib()
        from refspace.plotting.scatters import draw_points, middle_of, read_points, with_columns

        found = read_points(self._space, points, columns, unit)
        if position is None:
            position, unit = middle_of(found, axis_name(axis, self._space.grid.dims)), "um"
        return draw_points(
            self._space,
            found,
            choose_cut(self._space, axis, position, unit=unit),
            thickness=thickness,
            outline=outline,
            template=template,
            ax=ax,
            **with_columns(points, kwargs),
        )

    def positions(
        self, axis: int | str, count: int, structures: StructuresLike | None = None
    ) -> NDArray[np.float64]:
        """Positions at equal distances through structures, to cut at.

        Parameters
        ----------
        axis
            As for `slice`.
        count
            Number of positions.
        structures
            The structures; all of them if not given.

        Returns
        -------
        ndarray
            Positions in µm along the axis.

        Raises
        ------
        GridError
            If there is no such axis, or the count is none.
        StructureNotFoundError, AnnotationError
            As for `bounds`.

        Examples
        --------
        >>> import refspace
        >>> space = refspace.phantom(resolution=200)
        >>> space.plot.positions("coronal", 3, "TH")
        array([5800., 6600., 7400.])
        """
        return spread_positions(self._space, axis, count, structures)

    def colors(self, background: str | None = None) -> dict[str, Any]:
        """Colours of the structures, for the pictures of xarray: of labels of any size, exact.

        Parameters
        ----------
        background
            Colour of the label 0, like ``"white"`` or ``"none"``; black if not given. Labels that
            no structure has are magenta.

        Returns
        -------
        dict
            ``cmap``, ``norm`` and ``add_colorbar``, as keyword arguments of `DataArray.plot`.

        Raises
        ------
        MissingDependencyError
            If matplotlib is not installed.

        Examples
        --------
        >>> import refspace
        >>> space = refspace.phantom(resolution=400)
        >>> plane = space.annotation.sel(ap=7000, method="nearest")
        >>> mesh = plane.plot(**space.plot.colors(background="white"))
        """
        _need_matplotlib()
        from refspace.plotting.label_colors import label_colors

        return label_colors(self._space.structure_tree, background)

    def surface(
        self,
        structures: StructuresLike,
        *,
        resolution: Resolution | None = None,
        context: StructuresLike | None = None,
        ax: "Axes3D | None" = None,
        **kwargs: Any,
    ) -> "Axes3D":
        """Draw the surfaces of structures in three dimensions, each in its colour.

        Parameters
        ----------
        structures
            The structures, each a surface.
        resolution
            µm per voxel of which surfaces are made, as for `downsample`; if not given, that of the
            space or a coarser one, with 140 voxels along the longest axis.
        context
            Structures that are drawn around them, see-through; the whole brain if not given, and
            none if empty.
        ax
            Axes of three dimensions; those of a new figure if not given. ``ax.view_init`` turns
            them.
        **kwargs
            For `mpl_toolkits.mplot3d.art3d.Poly3DCollection`.

        Returns
        -------
        mpl_toolkits.mplot3d.axes3d.Axes3D
            The axes: ml across, ap inwards, dv upwards, in µm.

        Raises
        ------
        StructureNotFoundError, AnnotationError
            As for `mesh`.
        GridError
            As for `downsample`.
        MissingDependencyError
            If matplotlib or scikit-image is not installed.

        Examples
        --------
        >>> import refspace
        >>> space = refspace.phantom(resolution=400)
        >>> ax = space.plot.surface(["HPF", "TH"])
        """
        _need_matplotlib()
        from refspace.plotting.surfaces import draw_surface

        return draw_surface(
            self._space, structures, resolution=resolution, context=context, ax=ax, **kwargs
        )


def plot(space: Space) -> SpacePlots:
    """Pictures: slices, values by structure, points, surfaces; see `SpacePlots`.

    Examples
    --------
    >>> import refspace
    >>> ax = refspace.phantom(resolution=400).plot.slice("sagittal")
    >>> ax.get_title("left"), ax.get_title("right")
    ('A', 'P')
    """
    return SpacePlots(space)


def _need_matplotlib() -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            "pictures need matplotlib; install it with: pip install 'refspace[plot]'"
        ) from error
