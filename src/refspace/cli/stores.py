"""The commands ``convert`` and ``verify``: making stores, and proving them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from refspace.cli.columns import given_columns, structures_columns, structures_with
from refspace.cli.completion import complete_files
from refspace.cli.help import examples
from refspace.cli.options import (
    annotation_argument,
    geometry_options,
    is_named,
    refuse_overwriting,
    takes_pool,
    takes_sides,
    takes_storage_options,
    tell_unit,
)
from refspace.cli.terminal import echo
from refspace.cli.values import Lengths, key_values

if TYPE_CHECKING:
    from refspace.reference_space import ReferenceSpace


def _checked_target(ctx: click.Context, param: click.Parameter, value: str | None) -> str:
    """Refuse the name of a file for a store, and a store in the place of the structures."""
    structures = str(ctx.params.get("structures_file"))
    if value is None and not ctx.resilient_parsing:
        hint = (
            f"; {structures} is where the structures file belongs"
            if structures.rstrip("/").endswith(".zarr")
            else ""
        )
        raise click.UsageError(
            f"give ANNOTATION, STRUCTURES and TARGET, the store to write, like atlas.zarr{hint}"
        )
    return str(value)


@click.command(
    epilog=examples(
        "refspace convert refspace-demo/annotation.nrrd \\\n"
        "refspace-demo/structures.json brain.zarr",
    )
)
@annotation_argument
@click.argument("structures_file", metavar="STRUCTURES", shell_complete=complete_files)
@structures_columns
@click.argument("target", required=False, callback=_checked_target, metavar="TARGET")
@click.option(
    "--template",
    shell_complete=complete_files,
    help="Intensities on the same grid, in a file or store of their own.",
)
@click.option(
    "--chunks",
    type=Lengths(),
    default=128,
    show_default=True,
    help="Voxels that are compressed together: along each axis, or three with commas.",
)
@click.option("--shards", type=Lengths(), help="Voxels that one file holds: multiples of --chunks.")
@click.option(
    "--memory", default="1 GiB", show_default=True, help="What voxels may take at a time."
)
@takes_sides
@takes_pool
@takes_storage_options
@click.option("--overwrite", is_flag=True, help="Replace what is there of that name.")
@click.option(
    "--provenance",
    metavar="KEY=VALUE",
    multiple=True,
    callback=key_values,
    help="Where the atlas comes from, for the store to keep; any number of times.",
)
def convert(
    annotation: str,
    structures_file: str,
    target: str,
    sides: dict[str, Any],
    pool: dict[str, Any],
    storage_options: dict[str, Any],
    **options: Any,
) -> None:
    """Convert an annotation volume of any size into a zarr store.

    ANNOTATION is a file of a volume (NRRD, NIfTI, TIFF, MetaImage, MGH or .npy), or a zarr array or
    OME-Zarr label image, by path or URL.
    TARGET is the path or URL of the store, like atlas.zarr; it appears there once it is complete.
    The same command goes on with a run that was interrupted.
    """
    from refspace.cli.progress import BlockProgress
    from refspace.cli.unknown import tell_unknown_ids
    from refspace.conversion import convert as convert_atlas
    from refspace.formats.names import OUTPUT_ENDINGS
    from refspace.labels import warn_of_one_side

    if is_named(annotation):
        raise click.UsageError(f"{annotation} becomes a store with 'refspace fetch {annotation}'")
    refuse_overwriting([target])
    if target.lower().endswith((*OUTPUT_ENDINGS, ".csv", ".json", ".h5")):
        raise click.UsageError(f"{target} is the name of a file; a store ends in .zarr")
    tell_unit(annotation, options["resolution"], storage_options)
    options |= sides | {"storage_options": storage_options, "source_options": storage_options}
    structures = structures_with(structures_file, given_columns()) or structures_file
    with BlockProgress("converting") as progress:
        space = convert_atlas(annotation, structures, target, progress=progress, **pool, **options)
    if sides["midline"] is not None:
        warn_of_one_side(space.grid, space.midline)
    # Nothing is done, and so nothing reported, where a store of the same job is there.
    verb = f"{target} was complete" if progress.first is None else f"wrote {target}"
    echo(f"{verb}: {_summary(target, space, storage_options)}, {progress.seconds:.1f} s")
    tell_unknown_ids(space.volume.label_counts, space.structure_tree.node_ids())


def _summary(target: str, space: "ReferenceSpace", storage_options: dict[str, Any]) -> str:
    from refspace.cli.describe import short_text, size_text, stored_bytes
    from refspace.store import open_atlas

    atlas = open_atlas(target, storage_options=storage_options)
    parts = [
        f"{' × '.join(map(str, space.grid.shape))} voxels",
        f"levels of {', '.join(short_text(level.grid.spacing) for level in atlas.levels)} µm",
        f"{len(space.structure_tree)} structures",
        size_text(stored_bytes(atlas)),
        f"digest {(atlas.metadata or {}).get('digest')}",
    ]
    return ", ".join(parts)


@click.command(
    epilog=examples(
        "refspace verify refspace-demo/atlas.zarr",
    )
)
@click.argument("url", metavar="PATH", shell_complete=complete_files)
@geometry_options
@takes_pool
@takes_storage_options
@click.pass_context
def verify(
    ctx: click.Context,
    url: str,
    resolution: float | Sequence[float] | None,
    orientation: str | None,
    pool: dict[str, Any],
    storage_options: dict[str, Any],
) -> None:
    """Verify what is at a path or URL: read all of it, and list what is not as it was written.

    It is a store, of an atlas or of masks, or a table of the command aggregate, .parquet, .csv or
    .tsv. The exit status is 1 if there is any fault.
    """
    from refspace.batch import verify as verify_any
    from refspace.cli.progress import BlockProgress
    from refspace.formats.names import holds_volume

    if Path(url).is_file() and holds_volume(url):
        raise click.UsageError(
            f"{url} is a file of a volume, of which nothing says how it was written; stores and "
            "tables are verified"
        )
    with BlockProgress("verifying") as progress:
        report = verify_any(
            url,
            resolution=resolution,
            orientation=orientation,
            storage_options=storage_options,
            progress=progress,
            **pool,
        )
    echo(str(report))
    if report.faults:
        ctx.exit(1)


COMMANDS = (convert, verify)
