"""Commands that bring points and other volumes to a reference space, and validate one."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from refspace.cli.columns import (
    columns_option,
    named_columns,
    positions_or_structures,
    structures_with,
)
from refspace.cli.completion import complete_atlas
from refspace.cli.help import examples
from refspace.cli.options import (
    existing,
    formulas_option,
    given_access,
    is_named,
    is_store,
    open_annotation,
    open_space,
    refuse_overwriting,
    sides_options,
    takes_space,
    unit_option,
)
from refspace.cli.outputs import (
    Form,
    LocalFolder,
    TableOutput,
    overwrite_option,
    table_option,
    takes_form,
    takes_table_output,
)
from refspace.cli.regions import (
    RegionChoice,
    by_hemisphere_option,
    takes_choice,
    tell_separation,
)
from refspace.cli.terminal import echo
from refspace.safe_text import shown

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import xarray as xr
    from numpy.typing import NDArray

    from refspace.grid import Hemisphere
    from refspace.reference_space import ReferenceSpace
    from refspace.structure_tree import Regions, StructureTree
    from refspace.types import LengthUnit

_SIDES: tuple["Hemisphere", ...] = ("left", "right")
# Columns, in their units.
_POINTS = {"points": "points", "density": "density_per_mm3"}
_COMPARED = {
    **{name: name for name in ("voxels", "other_voxels", "common", "dice", "jaccard")},
    **{"volume": "volume_mm3", "other_volume": "other_volume_mm3", "change": "change"},
}


# ----- points


@click.command(
    epilog=examples(
        "refspace points refspace-demo/atlas.zarr refspace-demo/cells.csv --depth 5",
        "refspace points refspace-demo/atlas.zarr refspace-demo/cells.csv \\\n"
        "--each where.csv --by-hemisphere -o points.csv",
    )
)
@takes_space
@click.argument("points_file", metavar="POINTS", type=click.Path(exists=True, dir_okay=False))
@takes_choice
@click.option(
    "--columns",
    metavar="X,Y,Z",
    multiple=True,
    callback=positions_or_structures,
    help="Columns of the positions along x, y and z of the frame, if not called so; or, like "
    "id=region_id, those of STRUCTURES, once more.",
)
@unit_option
@by_hemisphere_option
@sides_options
@table_option(
    "--each", help="CSV, TSV or Parquet file to write: POINTS, and where each of them is."
)
@takes_table_output
@formulas_option
def points(
    space: "ReferenceSpace",
    choice: RegionChoice,
    points_file: str,
    columns: tuple[str, ...] | None,
    unit: "LengthUnit",
    by_hemisphere: bool,
    each: str | None,
    output: TableOutput,
) -> None:
    """Print how many points are in structures, and per mm³: those named, or all that have any.

    POINTS is a CSV, TSV or Parquet file with columns ap, dv and ml, or x, y and z of the frame:
    positions in µm, in the coordinates of the annotation. With --unit voxel they are indices of its
    voxels, along the axes in the order that the file has them.
    """
    from refspace.cli.progress import Progress
    from refspace.cli.tables import emit_table
    from refspace.formats.tables import column_names, read_table
    from refspace.ops.positions import axis_names, position_dims
    from refspace.verbs.tables import long_table

    regions = choice.regions(space.structure_tree)
    dims = position_dims(space.grid, unit)
    names = list(columns or axis_names(column_names(points_file), dims))
    if len(names) != len(dims):
        raise click.UsageError(f"--columns names {len(names)} columns; a position has three")
    asked: dict[str, Any] = {"columns": names, "unit": unit}
    if each is not None:
        _refuse_taken(points_file, by_hemisphere=by_hemisphere)
    if by_hemisphere:
        tell_separation(space)
    with Progress("reading points"):
        table = read_table(points_file, names)
    with Progress("looking points up"):
        dataset = space.count_points(table, regions, by_hemisphere=by_hemisphere, **asked).compute()
        codes = None if each is None else space.structure_at(table, regions, **asked)
    _print_others(dataset, len(table))
    _refuse_none_inside(space, dataset, table, asked)
    if each is not None and codes is not None:
        sides = _sides(space, table, regions, asked) if by_hemisphere else {}
        _write_each(each, points_file, space, codes.to_numpy(), sides, regions is not None)
        echo(f"wrote {each}", err=output.is_piped)
    counted = long_table(dataset, _POINTS)
    if output.is_for_people and not choice.structures:
        counted = counted[counted["points"] > 0]
    emit_table("structures", counted, output)


def _refuse_none_inside(
    space: "ReferenceSpace", counts: "xr.Dataset", table: "pd.DataFrame", asked: dict[str, Any]
) -> None:
    """Stop where all points are outside: of the volume, or where it holds 0."""
    if int(counts["points"].sum()) or not len(table):
        return
    if bool((space.structure_at(table, **asked) <= 0).all()):
        raise click.ClickException(
            f"none of {len(table)} points is in a structure; check --unit and --columns, and that "
            "they are in the coordinates of the annotation"
        )


def _sides(
    space: "ReferenceSpace",
    table: "pd.DataFrame",
    regions: "Regions | None",
    asked: dict[str, Any],
) -> dict[str, "NDArray[np.bool_]"]:
    """Which points are in structures of each hemisphere."""
    return {
        side: space.hemisphere(side).structure_at(table, regions, **asked).to_numpy() > 0
        for side in _SIDES
    }


def _refuse_taken(points_file: str, *, by_hemisphere: bool) -> None:
    """Refuse a table that has what is to be added to it."""
    from refspace.cli.tables import POINT_COLUMNS
    from refspace.formats.tables import column_names

    added = {*POINT_COLUMNS, *(["hemisphere"] if by_hemisphere else [])}
    taken = [name for name in column_names(points_file) if name in added]
    if taken:
        raise click.UsageError(
            f"{points_file} has columns {', '.join(taken)} already; rename them, then try again"
        )


def _print_others(counts: "xr.Dataset", total: int) -> None:
    """Say on standard error how many points are in no structure, and why."""
    others = {name: int(v) for name, v in counts.data_vars.items() if not v.dims and int(v)}
    if others:
        where = {name: counts[name].attrs["long_name"].removeprefix("points ") for name in others}
        parts = "; ".join(f"{number} {where[name]}" for name, number in others.items())
        echo(f"of {total} points: {parts}", err=True)


def _write_each(
    each: str,
    points_file: str,
    space: "ReferenceSpace",
    codes: "NDArray[np.int64]",
    sides: dict[str, "NDArray[np.bool_]"],
    in_regions: bool,
) -> None:
    """Write the table of points, and the structure or region of each, and its hemisphere."""
    import numpy as np

    from refspace.cli.progress import Progress
    from refspace.cli.tables import point_columns, save_table
    from refspace.formats.tables import read_parts, table_ending

    # Outside some regions there are structures too; outside all structures there is background.
    nothing = "unassigned" if in_regions else "background"

    def parts() -> Iterator["pd.DataFrame"]:
        start = 0
        for part in read_parts(points_file, as_text=table_ending(each) != ".parquet"):
            stop = start + len(part)
            columns = point_columns(codes[start:stop], space.structure_tree, nothing)
            if sides:
                isin = [inside[start:stop] for inside in sides.values()]
                columns["hemisphere"] = np.select(isin, [*sides], "")
            yield part.assign(**columns)
            start = stop

    with Progress(f"writing {each}"):
        save_table(each, parts())


# ----- other volumes, and what is wrong with one


@click.command(
    epilog=examples(
        "refspace compare refspace-demo/atlas.zarr refspace-demo/annotation.nrrd",
        "refspace compare refspace-demo/atlas.zarr refspace-demo/annotation.nrrd \\\n"
        "--depth 5 -o dice.csv",
    )
)
@takes_space
@click.argument("other", callback=existing, shell_complete=complete_atlas)
@click.option(
    "--other-structures",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False),
    help="Structures of the other annotation, where they are not the same.",
)
@columns_option(
    "--other-columns", callback=named_columns, help="As --columns, of the other structures."
)
@click.option(
    "--same-grid",
    is_flag=True,
    help="Voxel i of one is voxel i of the other, wherever they say that they lie.",
)
@takes_choice
@table_option("--confusion", help="CSV, TSV or Parquet file to write: which ids are at one place.")
@takes_table_output
@formulas_option
def compare(
    space: "ReferenceSpace",
    choice: RegionChoice,
    other: str,
    other_structures: str | None,
    other_columns: dict[str, str],
    same_grid: bool,
    confusion: str | None,
    output: TableOutput,
) -> None:
    """Print what differs between an annotation and another one on the same grid.

    OTHER is a file, the path or URL of a store, or an atlas by name. The table to write has the
    voxels and volumes of structures in both, those asked for or all, and how far they agree.
    """
    from refspace.cli.progress import Progress
    from refspace.cli.tables import emit_table, save_table
    from refspace.verbs.tables import long_table

    regions = choice.regions(space.structure_tree)
    open_other = _open_other_voxels if same_grid else _open_other
    structures = structures_with(other_structures, other_columns, "--other-columns")
    compared = space.compare(open_other(space, other, structures), same_grid=same_grid)
    with Progress("comparing"):
        pairs = compared.confusion
    # A table that goes to another program has standard output for itself.
    echo(str(compared), err=output.is_piped)
    if confusion is not None:
        save_table(confusion, [pairs])
        echo(f"wrote {confusion}", err=output.is_piped)
    if not output.is_for_people or regions is not None:
        if choice.structures and regions is not None:
            # By their ids, of which each tree has its own subtrees.
            table = compared.at(regions.voxel_labels)
        else:
            table = compared.at(regions, choice.regions(compared.other_tree))
        emit_table("structures", long_table(table, _COMPARED), output)


def _open_other_voxels(
    space: "ReferenceSpace", other: str, structures: "StructureTree | str | None"
) -> Any:
    """The other annotation, whatever it says of where its voxels are: only the shape counts."""
    from refspace.formats.structures import read_structures
    from refspace.reference_space import ReferenceSpace
    from refspace.store import open_atlas
    from refspace.verbs.comparison import voxels_on

    if is_named(other):
        return _open_other(space, other, structures)
    if not is_store(other):
        if structures is None:
            return other
        tree = read_structures(structures) if isinstance(structures, str) else structures
        return ReferenceSpace(tree, voxels_on(space.grid, other))
    access = given_access()
    atlas = open_atlas(other, resolution=space.resolution, **access)
    shapes = [level.grid.shape for level in atlas.levels]
    level = shapes.index(space.grid.shape) if space.grid.shape in shapes else 0
    if structures is None and not atlas.structures:
        return atlas.volume(level)
    return open_space(other, structures, atlas.levels[level].grid.spacing, None, **access)


def _open_other(
    space: "ReferenceSpace", other: str, structures: "StructureTree | str | None"
) -> Any:
    """The other annotation: with structures of its own, or those of the first."""
    given, access = click.get_current_context().params, given_access()
    resolution, orientation = given["resolution"], given["orientation"]
    override, frame = given["override"], given["frame"]
    if is_store(other):
        from refspace.store import open_atlas

        # The level of the first, which must lie on the same grid.
        resolution = space.resolution
        atlas = open_atlas(other, resolution=resolution, orientation=orientation, **access)
        known = bool(atlas.structures)
    else:
        known = is_named(other)
    if known or structures is not None:
        return open_space(
            other, structures, resolution, orientation, override, frame=frame, **access
        )
    return open_annotation(other, resolution, orientation, override, frame=frame, **access)


@click.command(
    epilog=examples(
        "refspace validate refspace-demo/atlas.zarr",
        "refspace validate refspace-demo/atlas.zarr --depth 5 -o findings",
    )
)
@takes_space
@takes_choice
@sides_options
@click.option(
    "--connectivity", is_flag=True, help="Look for structures in several pieces too; needs scipy."
)
@click.option(
    "--volumes",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False),
    help="Table of published volumes to check, as 'counts -o' writes it: columns structure, and "
    "volume_mm3 or volume, in mm³.",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    default=0.1,
    show_default=True,
    help="Relative difference of hemispheres, and of volumes, that is all right.",
)
@formulas_option
@click.option(
    "--output",
    "--out",
    "-o",
    metavar="FOLDER",
    type=LocalFolder(),
    help="Folder for a CSV file of each finding.",
)
@takes_form
@overwrite_option
@click.pass_context
def validate(
    ctx: click.Context,
    space: "ReferenceSpace",
    choice: RegionChoice,
    connectivity: bool,
    volumes: str | None,
    tolerance: float,
    output: Path | None,
    form: Form,
) -> None:
    """Print what is wrong, or odd, with an annotation and its structures.

    The exit status is 1 if the volume holds ids that the structures lack.
    """
    from refspace.cli.progress import Progress
    from refspace.cli.tables import FINDINGS, print_tables, save_table, validation_tables
    from refspace.files import make_folder

    if output is not None:
        refuse_overwriting(output / f"{name}.csv" for name in FINDINGS)

    regions = choice.regions(space.structure_tree)
    published = None if volumes is None else _published(volumes)
    tell_separation(space)
    with Progress("validating"):
        found = space.validate(
            regions, connectivity=connectivity, volumes=published, tolerance=tolerance
        )
    is_piped = form != "text"
    echo(str(found), err=is_piped)
    tables = validation_tables(found, space)
    if is_piped:
        print_tables(tables, "finding", form)
    if output is not None:
        make_folder(output)
        for name, table in tables.items():
            save_table(output / f"{name}.csv", [table])
        echo(f"wrote {len(tables)} tables into {output}", err=is_piped)
    if not found.ok:
        ctx.exit(1)


def _published(path: str) -> dict[str, float]:
    """Volumes in mm³ by structure; those of hemispheres apart are added."""
    from refspace.errors import FormatError
    from refspace.formats.tables import column_names, read_table

    columns = column_names(path)
    volume = next((name for name in ("volume_mm3", "volume") if name in columns), "volume")
    parts = ["hemisphere"] if "hemisphere" in columns else []
    table = read_table(path, [volume], "structure", *parts)
    table = table[table[volume].notna()]
    table = table.assign(structure=["" if i is None else str(i) for i in table["structure"]])
    twice = table[table.duplicated(["structure", *parts])]
    if len(twice):
        raise FormatError(
            f"{path} has several volumes of structure {shown(twice['structure'].iloc[0])}; give one"
        )
    return {
        str(i): float(v) for i, v in table.groupby("structure", sort=False)[volume].sum().items()
    }


COMMANDS = (points, compare, validate)
