"""The command ``aggregate``: statistics of images in structures."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from refspace.cli.columns import given_columns, structures_columns, structures_with
from refspace.cli.completion import complete_files
from refspace.cli.help import examples
from refspace.cli.options import (
    access_options,
    annotation_argument,
    existing_image,
    existing_inputs,
    formulas_option,
    image_warnings,
    in_options,
    is_escaping_formulas,
    is_named,
    is_store,
    open_space,
    refuse_overwriting,
    refuse_structure,
    takes_pool,
    takes_sides,
)
from refspace.cli.outputs import OutputPath, TableOutput, with_table_output
from refspace.cli.regions import (
    RegionChoice,
    by_hemisphere_option,
    direct_only_option,
    hemisphere_option,
    takes_choice,
    tell_separation,
)
from refspace.cli.terminal import echo
from refspace.cli.values import Number, Resolution, commas, shares

if TYPE_CHECKING:
    from refspace.batch import AtlasReference, ImageOptions
    from refspace.grid import Hemisphere
    from refspace.reference_space import ReferenceSpace
    from refspace.structure_tree import StructureTree
    from refspace.types import ImageOrigin

_STATED_HINT = "--image-resolution and --image-orientation say of an image what it does not"
_PLACE_HINT = "--same-grid takes voxel i of an image for voxel i of the annotation"


def _takes_atlas(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an atlas that other processes can open, its structures, and images."""

    @functools.wraps(command)
    def with_atlas(
        annotation: str,
        inputs: tuple[str, ...],
        resolution: Any,
        orientation: str | None,
        override: bool,
        hemisphere: "Hemisphere | None",
        sides: dict[str, Any],
        by_hemisphere: bool,
        access: dict[str, Any],
        **options: Any,
    ) -> None:
        from refspace.batch import AtlasReference

        frame = options.pop("frame")
        file, images = _split(annotation, inputs)
        geometry = {"resolution": resolution, "orientation": orientation, "override": override}
        structures = structures_with(file, given_columns())
        space = open_space(annotation, structures, frame=frame, **geometry, **sides, **access)
        if hemisphere is not None or by_hemisphere:
            tell_separation(space)
        opened = {**geometry, **sides, **access}
        atlas = AtlasReference.from_arguments(
            _url(annotation, space),
            structures=file,
            columns=given_columns(),
            hemisphere=hemisphere,
            **opened,
        )
        atlas = replace(atlas, frame=frame)
        options |= {"by_hemisphere": by_hemisphere, "access": access}
        command(atlas, space.structure_tree, images, **options)

    images_argument = click.argument(
        "inputs",
        nargs=-1,
        required=True,
        metavar="[STRUCTURES] IMAGES...",
        callback=existing_inputs,
        shell_complete=complete_files,
    )
    sided = takes_sides(hemisphere_option(by_hemisphere_option(with_atlas)))
    return annotation_argument(images_argument(structures_columns(access_options(sided))))


def _split(annotation: str, inputs: Sequence[str]) -> tuple[str | None, Sequence[str]]:
    """Structures file and images: the first is one where it is no image by its name."""
    from refspace.formats.names import holds_volume

    if len(inputs) == 1 or is_store(inputs[0]) or holds_volume(inputs[0]):
        return None, inputs
    refuse_structure(inputs[0])
    return inputs[0], inputs[1:]


def _url(annotation: str, space: "ReferenceSpace") -> str:
    """Path or URL at which other processes open an atlas."""
    if not is_named(annotation):
        return annotation
    if space.url is None:
        raise click.UsageError(f"bring it here first: refspace fetch {annotation}")
    return space.url


# What images do not state themselves.
_IMAGE_OPTIONS = (
    click.option(
        "--image-resolution",
        type=Resolution(),
        help="µm per voxel of the images, if not stated; of a pyramid, the level to take.",
    ),
    click.option(
        "--image-override-header",
        "image_override",
        is_flag=True,
        help="Let --image-resolution and --image-orientation overrule headers of files.",
    ),
    click.option(
        "--image-origin",
        type=click.Choice(["corner", "center"]),
        help="What the position of the first voxel is that images state, where their corner is "
        "half a voxel off the annotation's.",
    ),
    click.option("--image-orientation", help="Directions of the images' axes, if not stated."),
    click.option(
        "--same-grid",
        is_flag=True,
        help="Voxel i of an image is voxel i of the annotation, wherever it says that it lies.",
    ),
    click.option("--variable", metavar="NAME", help="Variable, where a zarr group has several."),
)


def _takes_image_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command what images do not state themselves, as ``image_options``."""

    @functools.wraps(command)
    def with_image_options(
        *args: Any,
        variable: str | None,
        same_grid: bool,
        image_orientation: str | None,
        image_resolution: Any,
        image_override: bool,
        image_origin: "ImageOrigin | None",
        access: dict[str, Any],
        **options: Any,
    ) -> None:
        from refspace.batch import ImageOptions

        geometry = image_orientation, image_resolution, image_override, image_origin
        opened = ImageOptions(variable, same_grid, *geometry, access)
        command(*args, image_options=opened, **options)

    for decorate in _IMAGE_OPTIONS:
        with_image_options = decorate(with_image_options)
    return with_image_options


@click.command(
    epilog=examples(
        "refspace aggregate refspace-demo/atlas.zarr refspace-demo/expression.nrrd \\\n"
        "-s Isocortex,TH --quantiles 0.5",
        "refspace aggregate refspace-demo/atlas.zarr refspace-demo/expression.nrrd \\\n"
        "-o means.csv",
    )
)
@_takes_atlas
@takes_choice
@direct_only_option
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
@click.option(
    "--nodata", type=Number(), help="A value of the images that stands for none, like -1."
)
@click.option("--valid-min", type=Number(), help="Value below which none of the images' counts.")
@_takes_image_options
@click.option(
    "--output",
    "--out",
    "-o",
    type=OutputPath("table", urls=True, stdout=True),
    metavar="PATH",
    help="Table to write: a .csv or .tsv file, or a .parquet folder, which may be a URL; - is CSV "
    "on standard output.",
)
@with_table_output
@formulas_option
@click.option(
    "--overwrite", is_flag=True, help="Replace a table that is there and is something else."
)
@takes_pool
def aggregate(
    atlas: "AtlasReference",
    tree: "StructureTree",
    images: Sequence[str],
    choice: RegionChoice,
    direct_only: bool,
    image_options: "ImageOptions",
    output: TableOutput,
    overwrite: bool,
    pool: dict[str, Any],
    **options: Any,
) -> None:
    """Print statistics of images in structures: those named, or all in which there are voxels.

    IMAGES are files of volumes (NRRD, NIfTI, TIFF, MetaImage, MGH or .npy), or images in zarr: a
    store, whose template it is, an OME-Zarr image, or a group that xarray writes; paths or URLs.
    They may be coarser or finer than the annotation, and turned in any way; what is NaN does not
    count. The column covered says which part of each structure has values.

    With --out, the rows go into a table. The same command goes on with a run that was stopped,
    leaves what is in the table, and adds the rows of other images.
    """
    from refspace.errors import GridError

    regions = choice.regions(tree, direct_only=direct_only)
    if regions is None:
        regions = tree.regions(direct_only=direct_only)
    options |= {"regions": regions, "image_options": image_options}
    try:
        with image_warnings():
            if output.path is None:
                with_empty = output.is_piped or bool(choice.structures)
                _print_statistics(atlas, images, output, pool, options, with_empty=with_empty)
            else:
                _write_statistics(
                    atlas, images, output.path, pool, options | {"overwrite": overwrite}
                )
    except GridError as error:
        # It is of an image: the annotation is open by now.
        hints = [_STATED_HINT, *([] if image_options.same_grid else [_PLACE_HINT])]
        text = in_options(str(error), "image-")
        raise click.ClickException("; ".join([text, *hints])) from error
    _tell_unknown_ids(atlas, tree)


def _tell_unknown_ids(atlas: "AtlasReference", tree: "StructureTree") -> None:
    """Tell which ids of the annotation the structures lack, as far as the work has shown."""
    from refspace.cli.unknown import tell_unknown_ids

    opened = atlas.pinned()
    index = opened.open().volume.index
    tell_unknown_ids(opened.labels_read() if index is None else index.counts(), tree.node_ids())


def _write_statistics(
    atlas: "AtlasReference",
    images: Sequence[str],
    output: str,
    pool: dict[str, Any],
    options: dict[str, Any],
) -> None:
    """Write the rows of images to a table, where they are not there yet."""
    from refspace.batch import aggregate_images
    from refspace.cli.progress import BlockProgress

    refuse_overwriting([output], continues=True)
    options = options | {"escape_formulas": is_escaping_formulas()}
    # What reads images on another machine writes to one too.
    access = options["image_options"].storage_options
    with BlockProgress("aggregating", unit="images") as progress:
        done = aggregate_images(
            atlas, images, output, storage_options=access, progress=progress, **options, **pool
        )
    kept = f", {done.kept} were there" if done.kept else ""
    echo(f"wrote {output}: {done.written} images{kept}")


def _print_statistics(
    atlas: "AtlasReference",
    images: Sequence[str],
    output: TableOutput,
    pool: dict[str, Any],
    options: dict[str, Any],
    *,
    with_empty: bool,
) -> None:
    """Print the rows of images, each with the name of its image.

    Parameters
    ----------
    atlas, images
        The atlas and the images.
    output
        As what it is printed.
    pool, options
        Other arguments of `aggregate_images`.
    with_empty
        Whether to print structures without voxels too.
    """
    import pandas as pd

    from refspace.batch.statistics import Image, StatisticsRequest, compute_all, told_of
    from refspace.cli.progress import BlockProgress
    from refspace.cli.tables import emit_table
    from refspace.pools import make_pool

    # With the count, which says whether there are any voxels.
    statistics = options["statistics"]
    names = [*dict.fromkeys((*statistics, "count"))]
    wanted = StatisticsRequest.from_arguments(atlas, **(options | {"statistics": names}))
    rows: dict[str, pd.DataFrame] = {}
    notes: list[str] = []
    with BlockProgress("statistics of the images", unit="images") as progress:
        parts = [Image.from_path(path) for path in dict.fromkeys(images)]
        for outcome in compute_all(wanted, parts, make_pool(**pool), pool["threads"]):
            if outcome.error is not None or outcome.result is None:
                raise _naming(outcome.item.path, outcome.error)
            rows[outcome.item.path] = outcome.result
            progress(len(rows), len(parts))
            told = [in_options(note, "image-") for note in told_of(outcome.result)]
            notes += [f"Warning: {outcome.item.path}: {note}" for note in told]
    for note in notes:
        echo(note, err=True)
    table = pd.concat([rows[part.path] for part in parts]).set_index("structure")
    if not with_empty:
        table = table[table["count"] > 0]
    hidden = [] if "count" in statistics else ["count"]
    emit_table("structures", table.drop(columns=hidden), output, number="{:.5g}")


def _naming(path: str, error: Exception | None) -> Exception:
    """Error about an image, which names it."""
    if error is not None and path not in str(error):
        error.args = (f"{path}: {error}",)
    return error or RuntimeError(path)


COMMANDS = (aggregate,)
