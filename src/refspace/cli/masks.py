"""The command ``masks``: masks of many structures in one pass."""

from typing import TYPE_CHECKING, Any

import click

from refspace.cli.help import examples
from refspace.cli.options import takes_pool, takes_space
from refspace.cli.outputs import OutputPath, names_option
from refspace.cli.regions import (
    RegionChoice,
    direct_only_option,
    takes_choice,
    takes_hemisphere,
    tell_empty,
)
from refspace.cli.terminal import echo

if TYPE_CHECKING:
    from refspace.reference_space import ReferenceSpace


_ONE_FILE = dict.fromkeys(
    (".nrrd", ".nii", ".nii.gz", ".mha", ".mhd", ".tif", ".tiff"),
    "'refspace mask' writes one file; give the name of a folder, or of a .zarr store",
)


@click.command(
    epilog=examples(
        "refspace masks refspace-demo/atlas.zarr --depth 5 -o masks.zarr",
        "refspace masks refspace-demo/atlas.zarr -s VISp,MOp -o areas --names acronym",
    )
)
@takes_space
@takes_hemisphere
@takes_choice
@direct_only_option
@click.option(
    "--output",
    "--out",
    "-o",
    type=OutputPath("store", folder=True, urls=True, elsewhere=_ONE_FILE),
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
@names_option
@click.option("--overwrite", is_flag=True, help="Replace what is there and is something else.")
@takes_pool
def masks(
    space: "ReferenceSpace",
    choice: RegionChoice,
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
    from refspace.cli.unknown import telling_unknown_ids

    # What reads a store on another machine writes to one too.
    access = given_access().get("storage_options")
    tree = space.structure_tree
    regions = choice.regions(tree, direct_only=direct_only)
    if regions is None and direct_only:
        having_voxels = [i for i, count in space.total_voxel_map.items() if count]
        regions = tree.regions(having_voxels, direct_only=True)
    if regions is not None:
        tell_empty(space, [int(label) for label in regions.labels], direct_only=direct_only)
    with telling_unknown_ids(space) as noted, BlockProgress("masking") as progress:
        done = write_masks(
            noted, output, regions, **options, **pool, storage_options=access, progress=progress
        )
    what = "blocks" if output.rstrip("/").lower().endswith(".zarr") else "files"
    kept = f", {done.kept} were there" if done.kept else ""
    echo(f"wrote {output}: {len(done.structures)} masks, {done.written} {what}{kept}")


COMMANDS = (masks,)
