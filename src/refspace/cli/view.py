"""The command ``view``: an atlas, images, values and points in the browser."""

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from refspace.cli.columns import given_columns, positions_or_structures, structures_with
from refspace.cli.completion import complete_structures
from refspace.cli.help import examples
from refspace.cli.options import (
    access_options,
    annotation_argument,
    existing_image,
    is_store,
    open_space,
    takes_sides,
    unit_option,
)
from refspace.cli.terminal import echo
from refspace.cli.values import Resolution

if TYPE_CHECKING:
    import pandas as pd

    from refspace.grid import Grid
    from refspace.types import LengthUnit

# Of the annotation: arguments of `open_space`.
_GEOMETRY = ("resolution", "orientation", "override", "frame")


def _split(
    ctx: click.Context, param: click.Parameter, value: tuple[str, ...]
) -> tuple[str | None, tuple[str, ...]]:
    """Structures file and images: the first is one where it is no image by its name or content."""
    from refspace.formats.names import holds_volume

    structures, images = None, value
    if ctx.resilient_parsing:
        return None, ()
    if value and not is_store(value[0]) and not holds_volume(value[0]):
        structures, images = value[0], value[1:]
    for image in images:
        existing_image(ctx, param, image)
    return structures, images


@click.command(
    epilog=examples(
        "refspace view refspace-demo/atlas.zarr",
        "refspace view refspace-demo/atlas.zarr refspace-demo/expression.nrrd \\\n"
        "--points refspace-demo/cells.csv --structure VISp",
        "refspace view refspace-demo/atlas.zarr \\\n"
        "--values refspace-demo/density.csv --variable density_per_mm3",
    )
)
@annotation_argument
@click.argument("inputs", nargs=-1, metavar="[STRUCTURES] [IMAGES]...", callback=_split)
@click.option(
    "--values",
    "values_file",
    metavar="TABLE",
    type=click.Path(exists=True, dir_okay=False),
    help="CSV, TSV or Parquet file of values by structure, as 'refspace aggregate' writes it; "
    "columns left and right are those of the hemispheres.",
)
@click.option("--variable", help="Column of TABLE; mean if not given, or the only one of numbers.")
@click.option("--limits", type=float, nargs=2, help="Values of the ends of the colour map.")
@click.option(
    "--points",
    "points_file",
    metavar="TABLE",
    type=click.Path(exists=True, dir_okay=False),
    help="CSV, TSV or Parquet file of points, as 'refspace points' takes it.",
)
@click.option(
    "--columns",
    metavar="X,Y,Z",
    multiple=True,
    callback=positions_or_structures,
    help="Columns of the points along x, y and z of the frame, if not called so; or, like "
    "id=region_id, those of STRUCTURES, once more.",
)
@unit_option
@click.option(
    "--structure",
    "structures",
    multiple=True,
    shell_complete=complete_structures,
    help="Structure that is highlighted at first, with its subtree; any number of times.",
)
@click.option("--opacity", type=click.FloatRange(0, 1), help="Of the annotation.")
@click.option(
    "--image-resolution", type=Resolution(), help="µm per voxel of IMAGES, if not stated."
)
@click.option("--image-orientation", help="Directions of the axes of IMAGES, if not stated.")
@click.option("--no-browser", is_flag=True, help="Print the URL, and open no browser.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Any that is free if 0.")
@takes_sides
@access_options
def view(
    annotation: str,
    inputs: tuple[str | None, tuple[str, ...]],
    values_file: str | None,
    variable: str | None,
    points_file: str | None,
    columns: Sequence[str] | None,
    unit: "LengthUnit",
    sides: dict[str, Any],
    access: dict[str, Any],
    **options: Any,
) -> None:
    """Show an atlas in the browser, until Ctrl-C.

    The annotation is in the ontology's colours, over the template and IMAGES, with a tree of
    structures; values of structures are a colour map. It is served to this machine alone.
    """
    from refspace.cli.progress import Progress

    structures_file, images = inputs
    tree = structures_with(structures_file, given_columns())
    geometry = {name: options.pop(name) for name in _GEOMETRY}
    space = open_space(annotation, tree, **geometry, **sides, **access)
    shown: dict[str, Any] = {}
    if values_file is not None:
        from refspace.verbs.value_tables import read_values

        shown["values"] = read_values(values_file, variable)
    if points_file is not None:
        table, names = _points(points_file, space.grid, columns, unit)
        shown |= {"points": table, "columns": names, "unit": unit}
    of_images = {name: options.pop(f"image_{name}") for name in ("resolution", "orientation")}
    with Progress("opening"):
        viewer = space.view(
            list(images),
            structures=options.pop("structures") or None,
            browser=not options.pop("no_browser"),
            image_options={**of_images, **access},
            storage_options=access.get("storage_options"),
            **shown,
            **options,
        )
    # To be stopped is how it ends.
    with viewer, suppress(KeyboardInterrupt):
        echo(f"{viewer.url}\nCtrl-C ends it")
        viewer.wait()


def _points(
    path: str, grid: "Grid", columns: Sequence[str] | None, unit: "LengthUnit"
) -> tuple["pd.DataFrame", list[str]]:
    """Table of points, and the names of its columns of positions."""
    from refspace.formats.tables import column_names, read_table
    from refspace.ops.positions import axis_names, position_dims

    dims = position_dims(grid, unit)
    names = list(columns or axis_names(column_names(path), dims))
    if len(names) != len(dims):
        raise click.UsageError(f"--columns names {len(names)} columns; a position has three")
    return read_table(path, names), names


COMMANDS = (view,)
