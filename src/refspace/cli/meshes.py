"""The command ``mesh``: surfaces of structures, in one file or as a job of many."""

from collections.abc import Sequence
from pathlib import Path
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
    from refspace.batch.meshes import MeshFormat
    from refspace.formats.meshes import Mesh
    from refspace.reference_space import ReferenceSpace
    from refspace.structure_tree import Regions


@click.command(
    epilog=examples(
        "refspace mesh refspace-demo/atlas.zarr -s VISp,TH -o areas.glb",
        "refspace mesh refspace-demo/atlas.zarr --depth 3 -o meshes --format ply",
    )
)
@takes_space
@takes_hemisphere
@takes_choice
@direct_only_option
@click.option(
    "--union", is_flag=True, help="Write one surface of all structures together, to a file."
)
@click.option(
    "--smoothing",
    type=click.IntRange(0, 10),
    default=4,
    show_default=True,
    help="How many times the mask is averaged with its neighbours.",
)
@click.option(
    "--output",
    "--out",
    "-o",
    type=OutputPath("mesh", folder=True, urls=True),
    default="meshes",
    show_default=True,
    metavar="PATH",
    help="An .obj, .ply, .stl or .glb file with a mesh of each structure, or path or URL of a "
    "folder for a file of each.",
)
@click.option(
    "--format",
    type=click.Choice(["obj", "ply", "stl", "glb", "neuroglancer"]),
    help="Of the files in a folder: obj if not given; neuroglancer for what that shows.",
)
@names_option
@click.option("--overwrite", is_flag=True, help="Replace what is in a folder and something else.")
@takes_pool
def mesh(
    space: "ReferenceSpace",
    choice: RegionChoice,
    direct_only: bool,
    union: bool,
    output: str,
    **options: Any,
) -> None:
    """Write surfaces of structures as meshes of triangles, in µm: of those named, or of all.

    A file has a mesh of each structure, of its acronym and colour where the format has these. To a
    folder each is written by itself: the same command goes on with a run that was stopped, and
    checks what is there already. --resolution takes a coarser level of a store.
    """
    from refspace.cli.unknown import telling_unknown_ids

    regions = choice.regions(space.structure_tree, direct_only=direct_only)
    if regions is None and direct_only:
        having_voxels = [i for i, count in space.direct_voxel_map.items() if count]
        regions = space.structure_tree.regions(having_voxels, direct_only=True)
    if regions is not None:
        tell_empty(space, list(map(int, regions.labels)), direct_only=direct_only, what="meshes")
    is_file = Path(output).suffix.lower() in _endings() and not Path(output).is_dir()
    with telling_unknown_ids(space) as noted:
        if is_file:
            _write_file(noted, regions, union, output, options)
        elif union:
            raise click.UsageError("--union makes one mesh; give a file for it by --output")
        else:
            _write_folder(noted, regions, output, options)


def _endings() -> Sequence[str]:
    from refspace.formats.meshes import ENDINGS

    return ENDINGS


def _write_file(
    space: "ReferenceSpace",
    regions: "Regions | None",
    union: bool,
    output: str,
    options: dict[str, Any],
) -> None:
    """Write the meshes of some structures to one file."""
    from refspace.cli.progress import BlockProgress
    from refspace.formats.meshes import write_mesh

    if regions is None:
        raise click.UsageError(
            f"{output} is one file, and all structures are many; name some by --structures, or "
            "give a folder"
        )
    if "://" in output:
        raise click.UsageError(f"{output} is a URL; files are written to this machine: give a path")
    if options["format"]:
        raise click.UsageError(f"--format is for a folder; {output} is what its name ends in")
    groups, colors = _groups(space, regions, union)
    meshes: dict[str, Mesh] = {}
    with BlockProgress("meshing", "meshes") as progress:
        for name, members in groups.items():
            progress(len(meshes), len(groups))
            meshes[name] = space.mesh(members, direct_only=True, smoothing=options["smoothing"])
        write_mesh(meshes, output, colors=colors)
        progress(len(meshes), len(groups))
    triangles = sum(len(each.face_vertices) for each in meshes.values())
    echo(f"wrote {output}: {len(meshes)} meshes, {triangles} triangles")


def _groups(
    space: "ReferenceSpace", regions: "Regions", union: bool
) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    """Labels of the voxels of each mesh, and its colour, by name; without those of nothing.

    A union is called as the first of its structures.
    """
    from refspace.structure_tree.colors import node_color

    counts, tree = space.volume.label_counts, space.structure_tree
    groups: dict[str, list[int]] = {}
    colors: dict[str, list[int]] = {}
    for index, label in enumerate(map(int, regions.labels)):
        members = [i for i in regions.structures_in(index).tolist() if i and counts.get(i)]
        if not members:
            continue
        (node,) = tree.nodes([label])
        name = str(node.get("acronym") or label)
        if union and groups:
            name = next(iter(groups))
        elif name in groups:  # of several structures
            name = str(label)
        groups[name] = [*groups.get(name, ()), *members]
        colors.setdefault(name, node_color(node))
    return groups, colors


def _write_folder(
    space: "ReferenceSpace", regions: "Regions | None", output: str, options: dict[str, Any]
) -> None:
    """Write the meshes of structures to a file each, as a job."""
    from refspace.batch import write_meshes
    from refspace.cli.options import given_access
    from refspace.cli.progress import BlockProgress

    pool = options.pop("pool")
    form: MeshFormat = options.pop("format") or "obj"
    # What reads a store on another machine writes to one too.
    access = given_access().get("storage_options")
    with BlockProgress("meshing", "meshes") as progress:
        done = write_meshes(
            space,
            output,
            regions,
            format=form,
            storage_options=access,
            progress=progress,
            **options,
            **pool,
        )
    kept = f", {done.kept} were there" if done.kept else ""
    echo(f"wrote {output}: {len(done.structures)} meshes, {done.written} files{kept}")


COMMANDS = (mesh,)
