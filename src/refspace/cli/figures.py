"""Commands that draw figures: slices, and values by structure on slices."""

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from refspace.cli.options import takes_space, unit_option
from refspace.cli.outputs import OutputPath
from refspace.cli.regions import RegionChoice, resolve, takes_choice
from refspace.cli.terminal import echo

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from refspace.reference_space import ReferenceSpace
    from refspace.types import LengthUnit, StructuresLike

_DIMS = {"coronal": "ap", "horizontal": "dv", "sagittal": "ml"}


def _takes_figure(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command where slices are cut, and what a figure is like."""
    options = (
        click.option(
            "--axis",
            type=click.Choice([*_DIMS, *_DIMS.values()]),
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
            "--panels",
            type=click.IntRange(1, 100),
            help="Number of slices at equal distances, instead.",
        ),
        unit_option,
        click.option("--outline", multiple=True, help="Structures to draw a thick line around."),
        click.option(
            "--template/--no-template", default=True, help="Template beneath the colours."
        ),
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
            "--output", "-o", type=OutputPath("picture"), default=f"{name}.png", show_default=True
        ),
    )

    def give(command: Callable[..., None]) -> Callable[..., None]:
        return functools.reduce(lambda taking, option: option(taking), reversed(options), command)

    return give


@click.command("slice")
@takes_space
@takes_choice
@_takes_figure("slice")
@click.option("--labels/--no-labels", default=True, help="Acronyms, where they fit.")
def slice_(
    space: "ReferenceSpace",
    choice: RegionChoice,
    outline: tuple[str, ...],
    template: bool,
    labels: bool,
    **options: Any,
) -> None:
    """Draw slices in the structures' colours: of all labels, or of the structures named."""
    regions = choice.regions(space.structure_tree)
    draw = functools.partial(
        space.plot.slice,
        structures=regions,
        outline=resolve(space.structure_tree, outline),
        template=template,
        labels=labels,
    )
    members = None if regions is None else regions.structures
    _write_figure(space, draw, members, **options)


@click.command()
@takes_space
@click.option(
    "--values",
    required=True,
    type=click.Path(exists=True, dir_okay=False),
    metavar="TABLE",
    help="CSV, TSV or Parquet file: a column structure, id, acronym or name, and one of values, or "
    "the two left and right.",
)
@click.option("--column", help="Column of the values; 'mean' or 'value', or the only one.")
@click.option("--label", help="Text beside the colour bar; the name of the column if not given.")
@click.option("--cmap", help="Colour map of matplotlib, like viridis.")
@click.option("--vmin", type=float, help="Value where the colours begin.")
@click.option("--vmax", type=float, help="Value where they end.")
@click.option("--labels/--no-labels", default=False, help="Acronyms, where they fit.")
@_takes_figure("heatmap")
def heatmap(
    space: "ReferenceSpace",
    values: str,
    column: str | None,
    label: str | None,
    outline: tuple[str, ...],
    template: bool,
    labels: bool,
    cmap: str | None,
    vmin: float | None,
    vmax: float | None,
    **options: Any,
) -> None:
    """Draw values of structures on slices, as a table has them.

    Regions are hatched whose value is missing; those that are not in the table stay grey.
    """
    from refspace.plotting.heatmaps import structures_with_value
    from refspace.verbs.value_tables import read_values
    from refspace.verbs.values import structure_values

    found = structure_values(space.structure_tree, read_values(values, column))
    colors = {"cmap": _known_cmap(cmap), "vmin": vmin, "vmax": vmax}
    draw = functools.partial(
        space.plot.heatmap,
        found,
        outline=resolve(space.structure_tree, outline),
        template=template,
        labels=labels,
        cbar_kwargs={} if label is None else {"label": label},
        **colors,
    )
    _write_figure(space, draw, structures_with_value(space, found), **options)


def _write_figure(
    space: "ReferenceSpace",
    draw: Callable[..., Any],
    structures: "StructuresLike | None",
    *,
    axis: str,
    position: Sequence[float],
    panels: int | None,
    unit: "LengthUnit",
    width: float | None,
    dpi: float,
    output: str,
) -> None:
    """Draw a figure of slices, and write it."""
    from refspace.cli.progress import Progress
    from refspace.plotting.canvas import paper_figure
    from refspace.plotting.files import save_figure
    from refspace.plotting.planes import choose_cut, spread_positions

    if position and panels is not None:
        raise click.UsageError("give one of --position and --panels")
    dim = _DIMS.get(axis, axis)
    with Progress("drawing"):
        if panels is not None:
            positions = spread_positions(space, dim, panels, structures).tolist()
        elif position:
            positions = [_in_micrometres(space, dim, one, unit) for one in position]
        else:
            positions = [*choose_cut(space, dim, None, structures).positions]
        where = positions if len(positions) > 1 else positions[0]

        def drawing(figure: "Figure") -> None:
            draw(axis=dim, position=where, ax=figure)

        save_figure(output, paper_figure(width, drawing), dpi)
    listed = ", ".join(f"{one:g}" for one in positions)
    echo(f"wrote {output}, cut at {dim} = {listed} µm")


def _known_cmap(name: str | None) -> str | None:
    """Refuse what is no colour map."""
    if name is not None:
        import matplotlib as mpl

        if name not in mpl.colormaps:
            raise click.BadParameter(
                f"matplotlib has no colour map {name!r}; try viridis, cividis, magma or RdBu_r",
                param_hint="--cmap",
            )
    return name


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
