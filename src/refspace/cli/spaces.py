"""Commands on one reference space: counts, masks, other resolutions and formats."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from refspace.cli.columns import given_columns, structures_columns, structures_with
from refspace.cli.help import examples
from refspace.cli.options import (
    Opening,
    access_options,
    annotation_argument,
    formulas_option,
    open_annotation,
    open_space,
    refuse_overwriting,
    sides_options,
    structures_argument,
    takes_opening,
    takes_pool,
    takes_sides,
    takes_space,
)
from refspace.cli.outputs import (
    OutputPath,
    TableOutput,
    is_overwriting,
    names_option,
    overwrite_option,
    takes_table_output,
)
from refspace.cli.regions import (
    RegionChoice,
    by_hemisphere_option,
    direct_only_option,
    hemisphere_option,
    refuse_empty,
    resolve,
    structures_option,
    takes_choice,
    takes_hemisphere,
    tell_separation,
    within,
)
from refspace.cli.terminal import echo
from refspace.cli.values import Resolution

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from refspace.grid import Hemisphere
    from refspace.labels import Method
    from refspace.reference_space import ReferenceSpace
    from refspace.structure_tree.file_names import FileNames


@click.command(
    epilog=examples(
        "refspace counts refspace-demo/atlas.zarr -s Isocortex,TH --by-hemisphere",
        "refspace counts refspace-demo/atlas.zarr --depth 5 -o counts.csv",
        "refspace counts refspace-demo/annotation.nrrd \\\nrefspace-demo/structures.json --csv",
    )
)
@takes_opening
@hemisphere_option
@sides_options
@takes_choice
@by_hemisphere_option
@takes_table_output
@formulas_option
def counts(
    opening: Opening,
    hemisphere: "Hemisphere | None",
    choice: RegionChoice,
    by_hemisphere: bool,
    output: TableOutput,
) -> None:
    """Print the voxels and volume of structures: those named, or all that have any."""
    from refspace.cli.tables import chosen_rows, emit_table
    from refspace.cli.unknown import tell_unknown_ids

    stored = None
    if opening.is_plain and hemisphere is None and not by_hemisphere:
        from refspace.cli.stored import stored_counts

        stored = stored_counts(opening.annotation, opening.resolution, **opening.access)
    if stored is None:
        space = within(opening.space(), hemisphere)
        tree, regions = space.structure_tree, choice.regions(space.structure_tree)
        table = _counted(space, by_hemisphere=by_hemisphere)
        labels: Mapping[int, int] = space.volume.label_counts
    else:
        tree, regions = stored.tree, choice.regions(stored.tree)
        table, labels = stored.table(), stored.labels
    tell_unknown_ids(labels, tree.node_ids())
    table = chosen_rows(table, () if regions is None else regions.voxel_labels)
    if output.is_for_people and not choice.structures:
        table = table[table["total"] > 0]
    emit_table("structures", table, output)


def _counted(space: "ReferenceSpace", *, by_hemisphere: bool) -> "pd.DataFrame":
    """Table of the voxels of all structures, which may take a pass over the volume."""
    from refspace.cli.progress import Progress
    from refspace.cli.tables import counts_table

    if by_hemisphere:
        tell_separation(space)
    with Progress("counting voxels"):
        return counts_table(space.voxel_counts(by_hemisphere=by_hemisphere))


@click.command(
    epilog=examples(
        "refspace mask refspace-demo/atlas.zarr -s VISp,MOp --names acronym",
        "refspace mask refspace-demo/atlas.zarr -s VISp,MOp -o both.nii.gz --crop",
        "refspace mask refspace-demo/atlas.zarr -s Isocortex --dry-run",
    )
)
@takes_space
@takes_hemisphere
@structures_option(required=True)
@direct_only_option
@click.option("--crop", is_flag=True, help="Write the bounding box of each mask alone.")
@click.option("--dry-run", is_flag=True, help="Print how much would be read, and write nothing.")
@click.option(
    "--output",
    "--out",
    "-o",
    type=OutputPath(
        "volume",
        folder=True,
        elsewhere={".zarr": "'refspace masks' writes a store of masks; a file ends in .nrrd"},
    ),
    default="masks",
    show_default=True,
    metavar="PATH",
    help="Folder for a mask of each structure; or for one of them all a file that ends in .nrrd, "
    ".nii, .nii.gz, .mha, .mhd, .tif or .tiff.",
)
@names_option
@overwrite_option
def mask(
    space: "ReferenceSpace",
    structures: tuple[str, ...],
    direct_only: bool,
    crop: bool,
    dry_run: bool,
    output: str,
    names: "FileNames",
) -> None:
    """Write masks of structures as files of volumes."""
    from refspace.cli.progress import Progress
    from refspace.cli.unknown import telling_unknown_ids
    from refspace.files import make_folder
    from refspace.formats.names import is_output
    from refspace.structure_tree.file_names import file_stems

    ids = resolve(space.structure_tree, structures)
    target = Path(output)
    groups = {target: ids}
    if not is_output(target):
        stems = file_stems(space.structure_tree.nodes(), names)
        groups = {target / f"{stems[i]}.nrrd": [i] for i in ids}
    if not dry_run:
        refuse_overwriting(groups)
    if not (crop or dry_run):
        # Before anything is written, as for --crop, which looks for the voxels itself.
        refuse_empty(space, groups.values(), direct_only=direct_only)
    with telling_unknown_ids(space) as noted:
        parts = dict.fromkeys(groups, noted)
        if crop:
            # Before anything is written, so that a structure without voxels leaves nothing behind.
            with Progress("looking for the structures"):
                parts = {
                    path: noted.crop(group, direct_only=direct_only)
                    for path, group in groups.items()
                }
        for path, group in groups.items():
            if dry_run:
                echo(f"{path}: {parts[path].plan(group, direct_only)}")
                continue
            if path != target:
                make_folder(target)
            _write_mask(path, parts[path], group, direct_only)


def _write_mask(
    path: Path, space: "ReferenceSpace", structures: list[int], direct_only: bool
) -> None:
    """Write the mask of some structures to a file."""
    from refspace.cli.progress import Progress
    from refspace.formats.volumes import write_volume

    count = len(structures)
    with Progress(f"masking {structures[0]}" if count == 1 else f"masking {count} structures"):
        write_volume(path, space.make_structure_mask(structures, direct_only))
    echo(f"wrote {path}")


@click.command(
    epilog=examples(
        "refspace downsample refspace-demo/atlas.zarr --to 400 -o coarse.nrrd",
        "refspace downsample refspace-demo/atlas.zarr --to 400 --method mode \\\n-o coarse.zarr",
    )
)
@annotation_argument
@structures_argument
@structures_columns
@click.option("--to", "target", type=Resolution(), required=True, help="Resolution to go to.")
@click.option(
    "--method",
    type=click.Choice(["nearest", "mode", "corner", "allensdk"]),
    default="nearest",
    show_default=True,
    help="Voxel at the centre, the most frequent label, the voxel at the corner where the index "
    "begins (as Allen published its volumes), or the voxels that AllenSDK takes.",
)
@click.option(
    "--output",
    "--out",
    "-o",
    type=OutputPath("volume", "store"),
    default="downsampled.nrrd",
    show_default=True,
    help="A file that ends in .nrrd, .nii, .nii.gz, .mha, .mhd, .tif or .tiff; or a .zarr store, "
    "which may be a URL.",
)
@click.option(
    "--upsample", is_flag=True, help="Go to a finer resolution, which adds voxels but no detail."
)
@overwrite_option
@access_options
@takes_sides
@takes_pool
def downsample(
    annotation: str,
    structures_file: str | None,
    sides: dict[str, Any],
    target: float | Sequence[float],
    method: "Method",
    upsample: bool,
    output: str,
    pool: dict[str, Any],
    access: dict[str, Any],
    **geometry: Any,
) -> None:
    """Write the annotation at another resolution, or a whole store at another one.

    What is written states the midline: that of the annotation, or the one that is given.

    A store has the STRUCTURES that are given, or those of the store that it is made of. The same
    command goes on with a store, or a file of NRRD or NIfTI, that was interrupted.
    """
    from refspace.cli.progress import BlockProgress
    from refspace.labels import downsample as downsample_labels

    refuse_overwriting([output])
    if output.rstrip("/").lower().endswith(".zarr"):
        structures = structures_with(structures_file, given_columns())
        pool |= {"storage_options": access.get("storage_options"), "overwrite": is_overwriting()}
        space = open_space(annotation, structures, **geometry, **sides, **access)
        with BlockProgress("downsampling") as progress:
            coarse = space.downsample(target, method, upsample=upsample)
            coarse.to_zarr(output, progress=progress, **pool)
        if progress.first is None:
            echo(f"{output} was complete")
            return
    else:
        if sides["hemispheres"] is not None:
            raise click.UsageError(
                f"{output} has no room for --hemispheres; give the name of a .zarr store"
            )
        volume = _with_midline(open_annotation(annotation, **geometry, **access), sides["midline"])
        labels = downsample_labels(volume, target, method, upsample=upsample)
        _write_downsampled(labels, output, **pool)
    echo(f"wrote {output}")


def _with_midline(volume: "xr.DataArray", midline: float | None) -> "xr.DataArray":
    """Volume that states the midline that is given, or else its own."""
    from refspace.labels import Midline, infer_grid, warn_of_one_side, with_hemispheres

    if midline is None:
        return volume
    given = Midline.from_value(midline)
    warn_of_one_side(infer_grid(volume), given.position)
    return with_hemispheres(volume, given)


def _write_downsampled(volume: "xr.DataArray", output: str, *, threads: Any, client: Any) -> None:
    """Write a volume at another resolution, some layers of which are a part of the work."""
    from refspace.batch.volume_file import write_volume_file
    from refspace.cli.progress import BlockProgress
    from refspace.pools import make_pool

    with BlockProgress("downsampling", "parts") as progress:
        write_volume_file(output, volume, pool=make_pool(threads, client), progress=progress)


COMMANDS = (counts, mask, downsample)
