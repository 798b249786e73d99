"""Commands that draw figures: slices, and values by structure on slices."""

import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import click

from refspace.axes import AXIS_NAMES, axis_name
from refspace.cli.completion import complete_structures
from refspace.cli.help import examples
from refspace.cli.options import takes_space, unit_option
from refspace.cli.outputs import OutputPath, overwrite_option
from refspace.cli.regions import RegionChoice, resolve, takes_choice
from refspace.cli.terminal import echo

if TYPE_CHECKING:
    from refspace.reference_space import ReferenceSpace
    from refspace.types import LengthUnit, StructuresLike


@dataclass(frozen=True)
class FigureRequest:
    """What a figure of slices is to be like, as a command was given it.

    Parameters
    ----------
    axis, position, panels, unit
        Where slices are cut: at positions, or so many at equal distances.
    outline, with_template, labels
        What is drawn with the colours.
    width, dpi, output
        Size in mm, pixels per inch, and the file.
    """

    axis: str
    position: tuple[float, ...]
    panels: int | None
    unit: "LengthUnit"
    outline: tuple[str, ...]
    with_template: bool
    labels: bool
    width: float | None
    dpi: float
    output: str

    def write(
        self,
        space: "ReferenceSpace",
        draw: Callable[..., Any],
        structures: Callable[[], "StructuresLike | None"],
    ) -> None:
        """Draw a figure, and write it.

        Parameters
        ----------
        space
            The space.
        draw
            Method of `SpacePlots`.
        structures
            Says in the middle of which structures slices are cut if no position was given.
        """
        from refspace.cli.progress import Progress
        from refspace.plotting.canvas import paper_figure
        from refspace.plotting.files import save_figure

        drawing = functools.partial(
            draw,
            axis=axis_name(self.axis),
            outline=resolve(space.structure_tree, self.outline),
            template=self.with_template,
            labels=self.labels,
        )
        with Progress("drawing"):
            positions = self._positions(space, structures)
            where = positions if len(positions) > 1 else positions[0]
            figure = paper_figure(self.width, lambda figure: drawing(position=where, ax=figure))
            save_figure(self.output, figure, self.dpi)
        listed = ", ".join(f"{one:g}" for one in positions)
        echo(f"wrote {self.output}, cut at {axis_name(self.axis)} = {listed} µm")

    def _positions(
        self, space: "ReferenceSpace", structures: Callable[[], "StructuresLike | None"]
    ) -> list[float]:
        """Positions in µm."""
        from refspace.plotting.planes import choose_cut, spread_positions

        if self.position and self.panels is not None:
            raise click.UsageError("give one of --position and --panels")
        dim = axis_name(self.axis)
        if self.panels is not None:
            return [*map(float, spread_positions(space, dim, self.panels, structures()))]
        if self.position:
            return [_in_micrometres(space, dim, one, self.unit) for one in self.position]
        return [*choose_cut(space, dim, None, structures()).positions]


def _figure_options(name: str, *, labels: bool) -> tuple[Callable[..., Any], ...]:
    """Options of where slices are cut, and of what a figure is like."""
    return (
        click.option(
            "--axis",
            type=click.Choice(AXIS_NAMES, case_sensitive=False),
            default="coronal",
            show_default=True,
            help="Plane of the slices, or the axis that they cut.",
        ),
        click.option(
            "--position",
            type=float,
            multiple=True,
            help="Where to cut, once for each slice; in the middle if not given.",
        ),
        click.option(
            "--panels", type=click.IntRange(1, 100), help="So many slices at equal distances."
        ),
        unit_option,
        click.option(
            "--outline",
            multiple=True,
            shell_complete=complete_structures,
            help="Structures to draw a thick line around.",
        ),
        click.option(
            "--template/--no-template",
            "with_template",
            default=True,
            help="Template beneath the colours.",
        ),
        click.option("--labels/--no-labels", default=labels, help="Acronyms, where they fit."),
        click.option(
            "--width",
            type=click.FloatRange(10, 1000),
            help="Width of the figure in mm; 89 for one slice, 180 for several, if not given.",
        ),
        click.option(
            "--dpi",
            type=click.FloatRange(10, 2400),
            default=300,
            show_default=True,
            help="Pixels per inch; PDF and SVG keep lines and texts whole.",
        ),
        click.option(
            "--output",
            "--out",
            "-o",
            type=OutputPath("picture"),
            default=f"{name}.png",
            show_default=True,
            help="A .png, .pdf, .svg or .jpg file, or another one that matplotlib writes.",
        ),
        overwrite_option,
    )


def _takes_figure(
    name: str, *, labels: bool
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command where slices are cut, and what a figure is like, as ``figure``."""
    options = _figure_options(name, labels=labels)[::-1]
    names = [field.name for field in fields(FigureRequest)]

    def give(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def with_figure(*args: Any, **given: Any) -> None:
            request = FigureRequest(**{field: given.pop(field) for field in names})
            command(*args, figure=request, **given)

        return functools.reduce(lambda taking, option: option(taking), options, with_figure)

    return give


@click.command(
    "slice",
    epilog=examples(
        "refspace slice refspace-demo/atlas.zarr --position 8000 --outline VISp",
        "refspace slice refspace-demo/atlas.zarr --axis horizontal -s TH,CP \\\n-o horizontal.pdf",
        "refspace slice refspace-demo/atlas.zarr --panels 6 --depth 5 -o panels.svg",
    ),
)
@takes_space
@takes_choice
@_takes_figure("slice", labels=True)
def slice_(space: "ReferenceSpace", choice: RegionChoice, figure: FigureRequest) -> None:
    """Draw slices in the structures' colours: of all labels, or of the structures named."""
    regions = choice.regions(space.structure_tree)
    draw = functools.partial(space.plot.slice, structures=regions)
    figure.write(space, draw, lambda: None if regions is None else regions.structures)


@click.command(
    epilog=examples(
        "refspace heatmap refspace-demo/atlas.zarr \\\n--values refspace-demo/expression.csv",
        "refspace heatmap refspace-demo/atlas.zarr --position 8900 \\\n"
        "--values refspace-demo/expression.csv --column max -o max.pdf",
    )
)
@takes_space
@click.option(
    "--values",
    required=True,
    type=click.Path(exists=True),
    metavar="TABLE",
    help="CSV, TSV or Parquet file: a column structure, id, acronym or name, and one of values, or "
    "the two left and right.",
)
@click.option(
    "--column", help="Column of the values; if not given mean, density or value, or the only one."
)
@click.option("--label", help="Text beside the colour bar; the name of the column if not given.")
@click.option("--cmap", help="Colour map of matplotlib, like viridis.")
@click.option("--vmin", type=float, help="Value where the colours begin.")
@click.option("--vmax", type=float, help="Value where they end.")
@_takes_figure("heatmap", labels=False)
def heatmap(
    space: "ReferenceSpace",
    values: str,
    column: str | None,
    label: str | None,
    cmap: str | None,
    vmin: float | None,
    vmax: float | None,
    figure: FigureRequest,
) -> None:
    """Draw values of structures on slices, as a table has them.

    Regions are hatched whose value is missing; those that are not in the table stay grey.
    """
    from refspace.plotting.canvas import check_cmap, plain_text
    from refspace.plotting.heatmaps import structures_with_value
    from refspace.verbs.value_tables import read_values
    from refspace.verbs.values import structure_values

    found = structure_values(space.structure_tree, read_values(values, column))
    draw = functools.partial(
        space.plot.heatmap,
        found,
        cbar_kwargs={} if label is None else {"label": plain_text(label)},
        cmap=None if cmap is None else check_cmap(cmap),
        vmin=vmin,
        vmax=vmax,
    )
    figure.write(space, draw, lambda: structures_with_value(space, found))


def _in_micrometres(
    space: "ReferenceSpace", dim: str, position: float, unit: "LengthUnit"
) -> float:
    """Position of a slice in µm, with a warning where it seems to be in another unit."""
    from refspace.labels import is_near
    from refspace.ops.positions import position_in_micrometres

    if unit == "um" and is_near(position, dim, space.grid):
        length = space.grid.extent[space.grid.axis(dim)]
        warnings.warn(
            f"--position {position:g} is near the edge of the volume or near 0, taken as µm of "
            f"{length:g} along {dim}; is it in voxels or mm? Give --unit voxel or --unit mm",
            stacklevel=2,
        )
    return position_in_micrometres(position, dim, space.grid, unit)


COMMANDS = (slice_, heatmap)
