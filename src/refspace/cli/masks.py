"""The command ``masks``: masks of many structures in one pass."""

from typing import TYPE_CHECKING, Any

import click

from refspace.cli.options import (
    choose_regions,
    region_options,
    takes_hemisphere,
    takes_pool,
    takes_space,
)

if TYPE_CHECKING:
    from refspace.reference_space import ReferenceSpace


@click.command()
@takes_space
@takes_hemisphere
@region_options
@click.option("--direct-only", is_flag=True, help="Leave out the structures' descendants.")
@click.option(
    "--output",
    "--out",
    "-o",
    default="masks.zarr",
    show_default=True,
    help="Path or URL of a .zarr store for all masks, or of a folder for a file of each.",
)
@click.option(
    "--format",
    type=click.Choice(["nrrd", "nifti"]),
    default="nrrd",
    show_default=True,
    help="Of the files in a folder.",
)
@click.option("--overwrite", is_flag=True, help="Replace what is there and is something else.")
@takes_pool
def masks(
    space: "ReferenceSpace",
    structures: tuple[str, ...],
    depth: Any,
    structure_set: tuple[int, ...],
    direct_only: bool,
    output: str,
    pool: dict[str, Any],
    **options: Any,
) -> None:
    """Write masks of many structures in one pass: of those named, or all that have voxels.

    Each chunk of the annotation is read once at most, however many structures there are. The same
    command goes on with a run that was stopped, and checks what is there already.
    """
    from refspace.batch import write_masks
    from refspace.cli.options import given_access
    from refspace.cli.progress import BlockProgress

    # What reads a store on another machine writes to one too.
    access = given_access().get("storage_options")
    tree = space.structure_tree
    regions = choose_regions(tree, structures, depth, structure_set, direct_only=direct_only)
    if regions is not None and not (structures or structure_set or depth is not None):
        regions = regions.select([i for i, count in space.total_voxel_map.items() if count])
    with BlockProgress("masking") as progress:
        done = write_masks(
            space, output, regions, **options, **pool, storage_options=access, progress=progress
        )
    what = "blocks" if output.rstrip("/").lower().endswith(".zarr") else "files"
    kept = f", {done.kept} were there" if done.kept else ""
    click.echo(f"wrote {output}: {len(done.structures)} masks, {done.written} {what}{kept}")


COMMANDS = (masks,)
