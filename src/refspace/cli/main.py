"""Commands. What they need is imported when they run, so that ``--help`` answers at once."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from refspace.cli.options import (
    Resolution,
    annotation_argument,
    refuse_overwriting,
    resolve,
    structures_option,
    takes_space,
)
from refspace.errors import RefspaceError
from refspace.version import __version__

if TYPE_CHECKING:
    from refspace.reference_space import ReferenceSpace

# A name that ends so is meant as a file, not as a folder, even where only .nrrd can be written.
_VOLUME_ENDINGS = (".nrrd", ".nhdr", ".nii", ".gz", ".zarr")
_DIMS = {"coronal": "ap", "horizontal": "dv", "sagittal": "ml"}


class _Commands(click.Group):
    """Group that shows the library's errors as one line."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise
        except (RefspaceError, OSError) as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="refspace")
def main() -> None:
    """Brain reference spaces: an annotation volume and the tree of its structures.

    ANNOTATION is an NRRD file; STRUCTURES is a structure graph, as JSON or CSV. 'refspace demo'
    makes both to try the other commands with.
    """


@main.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default="refspace-demo")
@click.option(
    "--resolution",
    type=Resolution(),
    default=50,
    show_default=True,
    help="µm per voxel of the sample brain, 10 or more.",
)
def demo(folder: Path, resolution: Any) -> None:
    """Show the main job on a synthetic brain, and write what comes out into FOLDER."""
    from refspace.cli.demo import run_demo

    run_demo(folder, resolution)


@main.command("slice")
@takes_space
@click.option(
    "--axis",
    type=click.Choice([*_DIMS, *_DIMS.values()]),
    default="coronal",
    show_default=True,
    help="Plane of the slice, or the axis that it cuts.",
)
@click.option("--position", type=float, help="Where to cut, in µm; the middle if not given.")
@click.option("--outline", multiple=True, help="Structures to draw a line around.")
@click.option(
    "--output", "-o", type=click.Path(dir_okay=False), default="slice.png", show_default=True
)
def slice_(
    space: "ReferenceSpace",
    axis: str,
    position: float | None,
    outline: tuple[str, ...],
    output: str,
) -> None:
    """Write the picture of a slice in the structures' colours."""
    from refspace.cli.progress import Progress
    from refspace.plotting import save_slice

    dim = _DIMS.get(axis, axis)
    if position is None:
        number = space.grid.axis(dim)
        position = space.grid.origin[number] + space.grid.extent[number] / 2
    ids = resolve(space.structure_tree, outline)
    with Progress("drawing the slice"):
        save_slice(output, space, dim, position, outline=ids)
    click.echo(f"wrote {output}, cut at {dim} = {position:g} µm")


@main.command()
@takes_space
@structures_option()
@click.option("--output", "-o", type=click.Path(dir_okay=False), help="CSV file to write.")
def counts(space: "ReferenceSpace", structures: tuple[str, ...], output: str | None) -> None:
    """Print the voxels and volume of structures: those given, or all that have any."""
    from refspace.cli.progress import Progress
    from refspace.cli.tables import counts_table, format_table, warn_of_unknown
    from refspace.files import replacing

    ids = resolve(space.structure_tree, structures)
    with Progress("counting voxels"):
        dataset = space.voxel_counts()
    table = counts_table(dataset, ids)
    warn_of_unknown(dataset)
    if output is None:
        click.echo(format_table(table))
        return
    with replacing(output) as temporary:
        table.to_csv(temporary)
    click.echo(f"wrote {output}")


@main.command()
@takes_space
@structures_option(required=True)
@click.option("--direct-only", is_flag=True, help="Leave out the structures' descendants.")
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    default="masks",
    show_default=True,
    help="Folder for a mask of each structure, or an .nrrd file for one mask of them all.",
)
def mask(
    space: "ReferenceSpace", structures: tuple[str, ...], direct_only: bool, output: Path
) -> None:
    """Write masks of structures as NRRD files."""
    from refspace.cli.progress import Progress
    from refspace.formats.nrrd import write_nrrd

    ids = resolve(space.structure_tree, structures)
    groups = {output: ids}
    if output.suffix.lower() not in _VOLUME_ENDINGS:
        output.mkdir(parents=True, exist_ok=True)
        groups = {output / f"structure_{i}.nrrd": [i] for i in ids}
    for path, group in groups.items():
        with Progress(f"masking {', '.join(map(str, group))}"):
            write_nrrd(path, space.make_structure_mask(group, direct_only))
        click.echo(f"wrote {path}")


@main.command()
@annotation_argument
@click.option("--to", "target", type=Resolution(), required=True, help="Resolution to go to.")
@click.option(
    "--method",
    type=click.Choice(["nearest", "mode", "allensdk"]),
    default="nearest",
    show_default=True,
    help="Voxel at the centre, the most frequent label, or the voxels that AllenSDK takes.",
)
@click.option(
    "--output", "-o", type=click.Path(dir_okay=False), default="downsampled.nrrd", show_default=True
)
def downsample(
    annotation: str, resolution: Any, orientation: Any, target: Any, method: Any, output: str
) -> None:
    """Write the annotation at another resolution."""
    from refspace.cli.progress import Progress
    from refspace.formats.nrrd import read_nrrd, write_nrrd
    from refspace.ops import resample
    from refspace.volume import as_annotation

    refuse_overwriting([annotation], [output])
    volume = as_annotation(
        read_nrrd(annotation, resolution=resolution, orientation=orientation), None
    )
    with Progress("downsampling"):
        write_nrrd(output, resample.downsample(volume, target, method))
    click.echo(f"wrote {output}")


@main.group()
def export() -> None:
    """Write files for other programs."""


@export.command()
@takes_space
@click.argument("labels_nrrd", type=click.Path(dir_okay=False))
@click.argument("labels_txt", type=click.Path(dir_okay=False))
@click.option(
    "--header", is_flag=True, help="Begin with a comment and a clear label, as ITK-SNAP does."
)
def itksnap(space: "ReferenceSpace", labels_nrrd: str, labels_txt: str, header: bool) -> None:
    """Write a volume and a label description for ITK-SNAP.

    Structures are numbered from 1 where an id is above 65 535.
    """
    from refspace.cli.progress import Progress

    with Progress("exporting labels"):
        space.write_itksnap_labels(labels_nrrd, labels_txt, itksnap_header=header)
    click.echo(f"wrote {labels_nrrd} and {labels_txt}")
