"""The commands ``export``: an atlas, or a part of it, in files for other programs."""

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import click

from refspace.cli.columns import given_columns, structures_columns, structures_with
from refspace.cli.completion import complete_atlas
from refspace.cli.help import WholeSentences, examples
from refspace.cli.ontology import open_structures, resolution_option
from refspace.cli.options import (
    access_options,
    annotation_argument,
    checked_orientation,
    open_annotation,
    open_space,
    refuse_overwriting,
    structures_argument,
    takes_pool,
    takes_space,
)
from refspace.cli.outputs import OutputPath, overwrite_option
from refspace.cli.terminal import echo
from refspace.cli.values import Lengths

# Meshes for a browser are of the coarsest level that is no coarser, in µm.
_MESH_RESOLUTION = 50

if TYPE_CHECKING:
    from refspace.reference_space import ReferenceSpace
    from refspace.types import Resolution as ResolutionLike


@click.group(cls=WholeSentences)
def export() -> None:
    """Write files for other programs."""


@export.command(
    epilog=examples(
        "refspace export structures refspace-demo/atlas.zarr -o dseg.tsv",
        "refspace export structures refspace-demo/structures.json --nested \\\n-o nested.json",
    )
)
@click.argument("source", shell_complete=complete_atlas)
@structures_columns
@access_options
@resolution_option
@click.option("--nested", is_flag=True, help="JSON with the structures within their parents.")
@click.option(
    "--output",
    "--out",
    "-o",
    type=OutputPath("structures"),
    required=True,
    help=".json, .csv, .tsv (a label table of BIDS), .parquet, or .txt or .label (ITK-SNAP).",
)
@overwrite_option
def structures(
    source: str,
    access: dict[str, Any],
    resolution: "ResolutionLike | None",
    nested: bool,
    output: str,
) -> None:
    """Write structures as the ending of the name says.

    SOURCE is a structures file, the path or URL of a store with structures of its own, or an atlas
    by name.
    """
    from refspace.formats.structure_output import write_structures

    refuse_overwriting([output])
    tree = open_structures(source, access, resolution)
    write_structures(output, tree, nested=nested)
    echo(f"wrote {output}: {len(tree)} structures")


@export.command(
    epilog=examples(
        "refspace export volume refspace-demo/atlas.zarr --label-table \\\n-o atlas_dseg.nii.gz",
    )
)
@annotation_argument
@structures_argument
@structures_columns
@access_options
@click.option(
    "--label-table",
    is_flag=True,
    help="Name the labels in a .tsv file of BIDS beside the volume, called as it is.",
)
@click.option(
    "--output",
    "--out",
    "-o",
    type=OutputPath("volume"),
    required=True,
    help="An .nrrd, .nii, .nii.gz, .mha, .mhd, .tif or .tiff file, like atlas_dseg.nii.gz.",
)
@overwrite_option
def volume(
    annotation: str,
    structures_file: str | None,
    access: dict[str, Any],
    label_table: bool,
    output: str,
    **geometry: Any,
) -> None:
    """Write the annotation as a volume, in the format of the ending.

    Ids stay as they are. STRUCTURES are needed for --label-table alone, and not for a store that
    has its own.
    """
    from refspace.cli.progress import Progress
    from refspace.formats.volumes import write_volume

    if label_table:
        structures = structures_with(structures_file, given_columns())
        _write_with_table(open_space(annotation, structures, **geometry, **access), output)
        return
    if structures_file is not None:
        raise click.UsageError("STRUCTURES are for --label-table; leave them out, or give it")
    refuse_overwriting([output])
    labels = open_annotation(annotation, **geometry, **access)
    with Progress("writing the volume"):
        write_volume(output, labels)
    echo(f"wrote {output}")


def _write_with_table(space: "ReferenceSpace", output: str) -> None:
    """Write the annotation of a space, and the table of its labels."""
    from refspace.cli.progress import Progress
    from refspace.cli.unknown import telling_unknown_ids
    from refspace.verbs.files import label_table_path

    table = label_table_path(output)
    refuse_overwriting([output, table])
    with telling_unknown_ids(space) as noted, Progress("writing the volume"):
        noted.write_annotation(output, label_table=table)
    echo(f"wrote {output} and {table}")


@export.command(
    epilog=examples(
        "refspace export ome-zarr refspace-demo/atlas.zarr -o atlas.ome.zarr",
    )
)
@takes_space
@click.option(
    "--output",
    "--out",
    "-o",
    type=OutputPath("store"),
    required=True,
    help="Path or URL of the store, like atlas.ome.zarr.",
)
@click.option(
    "--version",
    type=click.Choice(["0.5", "0.4"]),
    default="0.5",
    show_default=True,
    help="Of OME-Zarr: 0.4 for programs that do not know the later one.",
)
@click.option(
    "--order",
    "order",
    metavar="XYZ",
    callback=checked_orientation,
    default="SPL",
    show_default=True,
    help="Directions in which z, y and x grow. In ITK's, SPL, positions are right in every "
    "program; PIR has the coronal slices of the CCF along z.",
)
@click.option(
    "--no-index",
    "with_index",
    flag_value=False,
    default=True,
    help="Leave out the property 'index', by which napari finds names: with napari-ome-zarr 0.8 to "
    "0.10 it cannot open labels that have it.",
)
@click.option(
    "--chunks",
    type=Lengths(),
    default=128,
    show_default=True,
    help="Voxels that are compressed together: along each axis, or three with commas.",
)
@click.option("--shards", type=Lengths(), help="Voxels that one file holds: multiples of --chunks.")
@click.option("--overwrite", is_flag=True, help="Replace what is there of that name.")
@takes_pool
def ome_zarr(
    space: "ReferenceSpace",
    output: str,
    order: str,
    pool: dict[str, Any],
    **options: Any,
) -> None:
    """Write a plain OME-Zarr image for any program: the template, with the annotation as labels.

    The annotation is labels/annotation in it, with the names and colours of its structures; without
    a template it is the image too. The same command goes on with one that was interrupted.
    'refspace convert' makes the stores that the other commands need.
    """
    from refspace.cli.options import given_access
    from refspace.cli.progress import BlockProgress
    from refspace.cli.unknown import tell_unknown_ids

    # What reads a store on another machine writes to one too.
    options["storage_options"] = given_access().get("storage_options")
    with BlockProgress("exporting") as progress:
        space.to_ome_zarr(output, orientation=order, progress=progress, **options, **pool)
    echo(f"{output} was complete" if progress.first is None else f"wrote {output}")
    if (index := space.volume.index) is not None:
        tell_unknown_ids(index.counts(), space.structure_tree.node_ids())


@export.command(
    epilog=examples(
        "refspace export itksnap refspace-demo/atlas.zarr labels.nii.gz labels.txt",
    )
)
@takes_space
@click.argument("labels_volume", type=OutputPath("volume"))
@click.argument("labels_txt", type=OutputPath("label_file"))
@click.option(
    "--header", is_flag=True, help="Begin with a comment and a clear label, as ITK-SNAP does."
)
@overwrite_option
def itksnap(space: "ReferenceSpace", labels_volume: str, labels_txt: str, header: bool) -> None:
    """Write a volume and a label description for ITK-SNAP.

    The volume is NIfTI where its name ends in .nii or .nii.gz, and NRRD where it ends in .nrrd.
    Structures are numbered from 1 where an id is above 65 535.
    """
    from refspace.cli.progress import Progress
    from refspace.cli.unknown import telling_unknown_ids

    with telling_unknown_ids(space) as space, Progress("exporting labels"):
        space.write_itksnap_labels(labels_volume, labels_txt, itksnap_header=header)
    echo(f"wrote {labels_volume} and {labels_txt}")


@export.command(
    epilog=examples(
        "refspace export neuroglancer refspace-demo/atlas.zarr \\\n"
        "--url https://host/atlas.zarr -o look"
    )
)
@takes_space
@click.option(
    "--output",
    "--out",
    "-o",
    type=click.Path(file_okay=False),
    default="neuroglancer",
    show_default=True,
    help="Folder to write, to be hosted beside the store.",
)
@click.option(
    "--url", help="URL at which the store is, or will be; its own if it is opened by one."
)
@click.option(
    "--folder-url", help="URL at which the folder will be; beside the store if not given."
)
@click.option("--meshes", is_flag=True, help="Write surfaces of all structures too.")
@overwrite_option
@takes_pool
def neuroglancer(
    space: "ReferenceSpace",
    output: str,
    url: str | None,
    folder_url: str | None,
    meshes: bool,
    pool: dict[str, Any],
) -> None:
    """Write a state for neuroglancer, and names of segments, to host beside a store.

    Any neuroglancer shows it then, by what is printed at the end of its address. The server of both
    must allow CORS. 'refspace view' needs none of this.
    """
    from refspace.viewer.export import FILES, write_neuroglancer

    refuse_overwriting([output, *(Path(output, name) for name in FILES)])
    store = url or (space.url if space.url and "://" in space.url else None)
    if store is None:
        raise click.UsageError("give --url, the URL at which the store will be")
    folder = folder_url or f"{store.rstrip('/').rpartition('/')[0]}/{PurePosixPath(output).name}"
    link = write_neuroglancer(space, output, store, folder, with_meshes=meshes)
    if meshes:
        _write_meshes(space, output, pool)
    echo(f"wrote {output}\nadd {link} to the address of a neuroglancer")


def _write_meshes(space: "ReferenceSpace", output: str, pool: dict[str, Any]) -> None:
    """Write meshes of what is labelled, at a coarse level that still shows small structures."""
    from refspace.batch import write_meshes
    from refspace.cli.progress import BlockProgress

    coarse = [level for level in space.levels if min(level.resolution) <= _MESH_RESOLUTION]
    level = coarse[-1] if coarse else space
    having_voxels = [i for i, count in level.direct_voxel_map.items() if count]
    regions = level.structure_tree.regions(having_voxels, direct_only=True)
    with BlockProgress("meshing", "meshes") as progress:
        folder = f"{output}/meshes"
        write_meshes(level, folder, regions, format="neuroglancer", progress=progress, **pool)


COMMANDS = (export,)
