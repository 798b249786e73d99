"""Commands that bring images, points and other volumes to a reference space."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from refspace.cli.options import (
    Resolution,
    access_options,
    annotation_argument,
    are_listed,
    by_hemisphere_option,
    choose_regions,
    commas,
    existing,
    existing_image,
    existing_inputs,
    given_access,
    hemisphere_option,
    is_named,
    is_store,
    open_annotation,
    open_space,
    refuse_overwriting,
    region_options,
    shares,
    table_option,
    takes_pool,
    takes_regions,
    takes_space,
)

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import xarray as xr
    from numpy.typing import NDArray

    from refspace.batch import AtlasReference
    from refspace.reference_space import ReferenceSpace
    from refspace.structure_tree import Regions, StructureTree
    from refspace.verbs.comparison import Comparison

_MICROMETRES = {"um": 1.0, "mm": 1000.0}
_STATED_HINT = "--image-resolution and --image-orientation say of an image what it does not"
_PLACE_HINT = "--same-grid takes voxel i of an image for voxel i of the annotation"
# Columns, in their units.
_POINTS = {"points": "points", "density": "density_per_mm3"}
_COMPARED = {
    **{name: name for name in ("voxels", "other_voxels", "common", "dice", "jaccard")},
    **{"volume": "volume_mm3", "other_volume": "other_volume_mm3", "change": "change"},
}


# ----- images


@click.command()
@annotation_argument
@click.argument(
    "inputs", nargs=-1, required=True, metavar="[STRUCTURES] IMAGES...", callback=existing_inputs
)
@access_options
@region_options
@click.option("--direct-only", is_flag=True, help="Leave out the structures' descendants.")
@hemisphere_option
@by_hemisphere_option
@click.option(
    "--statistics",
    default="count,mean,std,min,max",
    show_default=True,
    callback=commas,
    help="Any of count, sum, mean, std, var, min and max.",
)
@click.option("--quantiles", callback=shares, help="Shares, like 0.05,0.5,0.95.")
@click.option(
    "--valid",
    metavar="IMAGE",
    callback=existing_image,
    help="Which voxels of the images count: where this one is not 0.",
)
@click.option("--variable", metavar="NAME", help="Variable, where a zarr group has several.")
@click.option(
    "--same-grid",
    is_flag=True,
    help="Voxel i of an image is voxel i of the annotation, wherever it says that it lies.",
)
@click.option("--image-orientation", help="Directions of the images' axes, if not stated.")
@click.option(
    "--image-resolution",
    type=Resolution(),
    help="µm per voxel of the images, if not stated; of a pyramid, the level to take.",
)
@click.option(
    "--output",
    "--out",
    "-o",
    help="Table to write: a .csv or .tsv file, or a .parquet folder, which may be a URL.",
)
@click.option(
    "--overwrite", is_flag=True, help="Replace a table that is there and is something else."
)
@takes_pool
def aggregate(
    annotation: str,
    inputs: tuple[str, ...],
    resolution: float | Sequence[float] | None,
    orientation: str | None,
    access: dict[str, Any],
    structures: tuple[str, ...],
    depth: Any,
    structure_set: tuple[int, ...],
    direct_only: bool,
    hemisphere: Any,
    statistics: tuple[str, ...],
    output: str | None,
    variable: str | None,
    same_grid: bool,
    image_orientation: str | None,
    image_resolution: float | Sequence[float] | None,
    overwrite: bool,
    pool: dict[str, Any],
    **options: Any,
) -> None:
    """Print statistics of images in structures: those named, or all in which there are voxels.

    IMAGES are NRRD or NIfTI files, or images in zarr: a store, whose template it is, an OME-Zarr
    image, or a group that xarray writes, over ap, dv and ml in µm; paths or URLs. They may be
    coarser or finer than the annotation, and turned in any way; what is NaN does not count.

    With --out, the rows go into a table. The same command goes on with a run that was stopped,
    leaves what is in the table, and adds the rows of other images.
    """
    from refspace.batch import ImageOptions, aggregate_images
    from refspace.cli.progress import BlockProgress
    from refspace.errors import GridError, JobError

    structures_file, images = _split(annotation, inputs)
    access_to_side = access | {"hemisphere": hemisphere}
    atlas, tree = _atlas(annotation, structures_file, resolution, orientation, access_to_side)
    opened = ImageOptions(variable, same_grid, image_orientation, image_resolution, access)
    regions = choose_regions(tree, structures, depth, structure_set, direct_only=direct_only)
    asked = {"regions": regions, "image_options": opened, **options}
    hints = [_STATED_HINT, *([] if same_grid else [_PLACE_HINT])]
    try:
        if output is None:
            _print_statistics(atlas, images, statistics, asked, pool)
            return
        refuse_overwriting([output])
        with BlockProgress("aggregating", unit="images") as progress:
            done = aggregate_images(
                atlas,
                images,
                output,
                statistics=statistics,
                overwrite=overwrite,
                storage_options=access.get("storage_options"),
                progress=progress,
                **asked,
                **pool,
            )
    except (GridError, JobError) as error:
        for hint in hints if isinstance(error, GridError) else ():
            error.add_note(hint)
        raise
    kept = f", {done.kept} were there" if done.kept else ""
    click.echo(f"wrote {output}: {done.written} images{kept}")


def _split(annotation: str, inputs: Sequence[str]) -> tuple[str | None, Sequence[str]]:
    """Structures file and images: the first is one where it is no image by its name."""
    from refspace.batch.images import is_image_file

    if len(inputs) == 1 or is_store(inputs[0]) or is_image_file(inputs[0]):
        return None, inputs
    return inputs[0], inputs[1:]


def _atlas(
    annotation: str,
    structures_file: str | None,
    resolution: Any,
    orientation: Any,
    access: dict[str, Any],
) -> "tuple[AtlasReference, StructureTree]":
    """Reference to an atlas for other processes, and its structures."""
    from refspace.batch import AtlasReference

    hemisphere = access.pop("hemisphere")
    space = open_space(annotation, structures_file, resolution, orientation, **access)
    url = annotation
    if is_named(annotation):
        if space.url is None:
            raise click.UsageError(f"bring it here first: refspace fetch {annotation}")
        url = space.url
    return (
        AtlasReference.from_arguments(
            url,
            structures=structures_file,
            resolution=resolution,
            orientation=orientation,
            hemisphere=hemisphere,
            **access,
        ),
        space.structure_tree,
    )


def _print_statistics(
    atlas: "AtlasReference",
    images: Sequence[str],
    statistics: Sequence[str],
    asked: dict[str, Any],
    pool: dict[str, Any],
) -> None:
    """Print the rows of images, with their names where there are several."""
    import pandas as pd

    from refspace.batch.statistics import Image, StatisticsRequest, compute_all
    from refspace.cli.progress import BlockProgress
    from refspace.cli.tables import write_or_print
    from refspace.pools import make_pool

    # With how many there are, by which the rows are known that have any.
    names = [*dict.fromkeys((*statistics, "count"))]
    wanted = StatisticsRequest.from_arguments(
        atlas, statistics=names, images=asked.pop("image_options"), **asked
    )
    rows: dict[str, pd.DataFrame] = {}
    with BlockProgress("statistics of the images", unit="images") as progress:
        parts = [Image.from_path(path) for path in dict.fromkeys(images)]
        for outcome in compute_all(wanted, parts, make_pool(**pool), pool["threads"]):
            if outcome.error is not None or outcome.result is None:
                raise outcome.error or RuntimeError(outcome.item.path)
            rows[outcome.item.path] = outcome.result
            progress(len(rows), len(parts))
    table = pd.concat([rows[part.path] for part in parts]).set_index("structure")
    if not are_listed():
        table = table[table["count"] > 0]
    hidden = ["image"] * (len(parts) == 1) + ["count"] * ("count" not in statistics)
    write_or_print(table.drop(columns=hidden), None, "{:.5g}")


# ----- points


@click.command()
@takes_space
@click.argument("points_file", metavar="POINTS", type=click.Path(exists=True, dir_okay=False))
@takes_regions
@click.option(
    "--columns",
    metavar="X,Y,Z",
    callback=commas,
    help="Columns of the positions along the annotation's axes; those of their names if not given.",
)
@click.option(
    "--unit",
    type=click.Choice([*_MICROMETRES]),
    default="um",
    show_default=True,
    help="Of the positions.",
)
@by_hemisphere_option
@table_option(
    "--each", help="CSV, TSV or Parquet file to write: POINTS, and where each of them is."
)
@table_option("--output", "-o", help="CSV, TSV or Parquet file to write.")
def points(
    space: "ReferenceSpace",
    regions: "Regions | None",
    points_file: str,
    columns: tuple[str, ...] | None,
    unit: str,
    by_hemisphere: bool,
    each: str | None,
    output: str | None,
) -> None:
    """Print how many points are in structures, and per mm³: those named, or all that have any.

    POINTS is a CSV, TSV or Parquet file with columns ap, dv and ml: positions in µm, in the
    coordinates of the annotation.
    """
    from refspace.cli.progress import Progress
    from refspace.cli.tables import write_or_print
    from refspace.formats.tables import read_table
    from refspace.verbs.tables import long_table

    names = list(columns or space.grid.dims)
    if len(names) != len(space.grid.dims):
        raise click.UsageError(f"--columns names {len(names)} columns; a position has three")
    if each is not None:
        _refuse_taken(points_file)
    with Progress("reading points"):
        table = read_table(points_file, names)
        table *= _MICROMETRES[unit]
    with Progress("looking points up"):
        dataset = space.count_points(
            table, regions, by_hemisphere=by_hemisphere, columns=names
        ).compute()
        codes = None if each is None else space.structure_at(table, regions, columns=names)
    _tell_others(dataset, len(table))
    if each is not None and codes is not None:
        _write_each(each, points_file, space, codes.to_numpy(), regions is not None)
    counted = long_table(dataset, _POINTS)
    if output is None and not are_listed():
        counted = counted[counted["points"] > 0]
    write_or_print(counted, output)


def _refuse_taken(points_file: str) -> None:
    """Refuse a table that has what is to be added to it."""
    from refspace.cli.tables import POINT_COLUMNS
    from refspace.formats.tables import column_names

    taken = [name for name in column_names(points_file) if name in POINT_COLUMNS]
    if taken:
        raise click.UsageError(
            f"{points_file} has columns {', '.join(taken)} already; rename them, then try again"
        )


def _tell_others(counts: "xr.Dataset", total: int) -> None:
    """Say on standard error how many points are in no structure, and why."""
    others = {name: int(v) for name, v in counts.data_vars.items() if not v.dims and int(v)}
    if others:
        where = {name: counts[name].attrs["long_name"].removeprefix("points ") for name in others}
        told = "; ".join(f"{number} {where[name]}" for name, number in others.items())
        click.echo(f"of {total} points: {told}", err=True)


def _write_each(
    each: str,
    points_file: str,
    space: "ReferenceSpace",
    codes: "NDArray[np.int64]",
    asked: bool,
) -> None:
    """Write the table of points, and the structure of each."""
    from refspace.cli.progress import Progress
    from refspace.cli.tables import point_columns
    from refspace.formats.tables import read_parts, table_ending, write_table

    nothing = "unassigned" if asked else "background"

    def parts() -> Iterator["pd.DataFrame"]:
        start = 0
        for part in read_parts(points_file, as_text=table_ending(each) != ".parquet"):
            stop = start + len(part)
            yield part.assign(**point_columns(codes[start:stop], space.structure_tree, nothing))
            start = stop

    with Progress(f"writing {each}"):
        write_table(each, parts())
    click.echo(f"wrote {each}")


# ----- other volumes, and what is wrong with one


@click.command()
@takes_space
@click.argument("other", callback=existing)
@click.option(
    "--other-structures",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False),
    help="Structures of the other annotation, where they are not the same.",
)
@takes_regions
@table_option("--confusion", help="CSV, TSV or Parquet file to write: which ids are at one place.")
@table_option("--output", "-o", help="CSV, TSV or Parquet file to write.")
def compare(
    space: "ReferenceSpace",
    regions: "Regions | None",
    other: str,
    other_structures: str | None,
    confusion: str | None,
    output: str | None,
) -> None:
    """Print what differs between an annotation and another one on the same grid.

    OTHER is a file, the path or URL of a store, or an atlas by name. The table to write has the
    voxels and volumes of structures in both, those asked for or all, and how far they agree.
    """
    from refspace.cli.progress import Progress
    from refspace.cli.tables import write_or_print
    from refspace.formats.tables import write_table
    from refspace.verbs.tables import long_table

    compared = space.compare(_open_other(space, other, other_structures))
    with Progress("comparing"):
        pairs = compared.confusion
    click.echo(str(compared))
    if confusion is not None:
        write_table(confusion, [pairs])
        click.echo(f"wrote {confusion}")
    if output is not None or regions is not None:
        write_or_print(long_table(_compare_regions(compared, regions), _COMPARED), output)


def _compare_regions(compared: "Comparison", regions: "Regions | None") -> "xr.Dataset":
    """Table of the regions that are asked for, each as its own tree has it."""
    if regions is None or are_listed():
        return compared.at(None if regions is None else regions.voxel_labels)
    given = click.get_current_context().params
    other = choose_regions(compared.other_tree, (), given["depth"], given["structure_set"])
    return compared.at(regions, other)


def _open_other(space: "ReferenceSpace", other: str, structures: str | None) -> Any:
    """The other annotation: with structures of its own, or those of the first."""
    given, access = click.get_current_context().params, given_access()
    resolution, orientation = given["resolution"], given["orientation"]
    if is_store(other):
        from refspace.store import open_atlas

        # The level of the first, which must lie on the same grid.
        resolution = space.resolution
        atlas = open_atlas(other, resolution=resolution, orientation=orientation, **access)
        known = bool(atlas.nodes)
    else:
        known = is_named(other)
    if known or structures is not None:
        return open_space(other, structures, resolution, orientation, **access)
    return open_annotation(other, resolution, orientation, **access)


@click.command()
@takes_space
@takes_regions
@click.option(
    "--connectivity", is_flag=True, help="Look for structures in several pieces too; needs scipy."
)
@click.option(
    "--volumes",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False),
    help="Table of published volumes to check: columns structure, and volume in mm³.",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    default=0.1,
    show_default=True,
    help="Relative difference of hemispheres, and of volumes, that is all right.",
)
@click.option(
    "--output",
    "-o",
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for a CSV file of each finding.",
)
@click.pass_context
def validate(
    ctx: click.Context,
    space: "ReferenceSpace",
    regions: "Regions | None",
    connectivity: bool,
    volumes: str | None,
    tolerance: float,
    output: Path | None,
) -> None:
    """Print what is wrong, or odd, with an annotation and its structures.

    The exit status is 1 if the volume holds ids that the structures lack.
    """
    from refspace.cli.progress import Progress
    from refspace.cli.tables import validation_tables
    from refspace.formats.tables import write_table

    published = None if volumes is None else _published(volumes)
    with Progress("validating"):
        found = space.validate(
            regions, connectivity=connectivity, volumes=published, tolerance=tolerance
        )
    click.echo(str(found))
    if output is not None:
        tables = {output / f"{n}.csv": t for n, t in validation_tables(found, space).items()}
        refuse_overwriting(tables)
        output.mkdir(parents=True, exist_ok=True)
        for path, table in tables.items():
            write_table(path, [table])
        click.echo(f"wrote {len(tables)} tables into {output}")
    if not found.ok:
        ctx.exit(1)


def _published(path: str) -> dict[str, float]:
    from refspace.formats.tables import read_table

    table = read_table(path, ["volume"], "structure")
    table = table[table["volume"].notna()]
    return dict(zip(table["structure"].fillna(""), table["volume"], strict=True))


COMMANDS = (aggregate, points, compare, validate)
