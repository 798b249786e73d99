"""Command that brings atlases to this machine."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from refspace.cli.completion import complete_atlas
from refspace.cli.help import examples
from refspace.cli.options import takes_storage_options
from refspace.cli.regions import resolve
from refspace.cli.terminal import echo
from refspace.cli.values import Resolution, key_values

if TYPE_CHECKING:
    from refspace.sources.source import Request

_TEMPLATES = ("average_template", "ara_nissl")


@click.command(
    epilog=examples(
        "refspace fetch allen ccf_2017 --resolution 100",
        "refspace fetch brainglobe allen_mouse_100um",
    )
)
@click.argument("source", shell_complete=complete_atlas)
@click.argument("atlas", required=False)
@click.option("--resolution", type=Resolution(), help="µm per voxel, where there are several.")
@click.option(
    "--template",
    is_flag=False,
    flag_value=_TEMPLATES[0],
    type=click.Choice(_TEMPLATES),
    help="Allen: intensities too; the average template if none is named.",
)
@click.option("--masks", multiple=True, help="Allen: published masks of structures.")
@click.option("--meshes", multiple=True, help="Allen: published meshes of structures.")
@click.option("--host", help="Allen: URL of the API.")
@click.option("--archive", help="Allen: URL of the archive's folder of the CCF.")
@click.option("--graph-id", type=int, help="Allen: number of the structure graph.")
@click.option("--refresh", is_flag=True, help="Download and convert again what is there.")
@click.option(
    "-O",
    "--option",
    "more",
    metavar="KEY=VALUE",
    multiple=True,
    callback=key_values,
    help="What else the source understands; any number of times.",
)
@takes_storage_options
def fetch(
    source: str,
    atlas: str | None,
    resolution: float | Sequence[float] | None,
    masks: tuple[str, ...],
    meshes: tuple[str, ...],
    refresh: bool,
    more: dict[str, Any],
    storage_options: dict[str, Any],
    **options: Any,
) -> None:
    """Bring an atlas to this machine, as a store in the cache.

    SOURCE is allen, brainglobe, abc, or that of another package, and ATLAS one that it has:
    'refspace fetch allen ccf_2017 --resolution 25', 'refspace fetch brainglobe allen_mouse_25um'.
    Both can be written as one, as in allen:ccf_2017; so they can stand for an ANNOTATION of the
    other commands. The cache is the folder that REFSPACE_CACHE names, or else the user's.

    'refspace list' says which atlases there are.
    """
    from refspace.cli.progress import FetchProgress
    from refspace.sources.locating import locate
    from refspace.sources.opening import fetch as fetch_atlas

    spec = source if atlas is None else f"{source}:{atlas}"
    given = {name: value for name, value in options.items() if value is not None} | more
    if storage_options:
        given["storage_options"] = storage_options
    how = {"resolution": resolution, "refresh": refresh, **given}
    name, _, store = locate(spec, **how)
    if (masks or meshes) and name != "allen":
        raise click.UsageError(f"{name} publishes no masks and meshes of structures; allen does")
    was_there = store.exists() and not refresh
    with FetchProgress(f"fetching {spec}") as progress:
        space = fetch_atlas(spec, progress=progress, **how)
        request = locate(spec, progress=progress, **how)[1]
        files = list(_files_of_structures(request, space.structure_tree, masks, meshes))
    for file, size in progress.downloads.items():
        echo(f"downloaded {file}: {_size(size)}")
    _report(store, progress.seconds, was_there)
    for path, there in files:
        _report(path, None, there)


def _files_of_structures(
    request: "Request", tree: Any, masks: tuple[str, ...], meshes: tuple[str, ...]
) -> Iterator[tuple[Path, bool]]:
    """Paths of the masks and meshes that are wanted, and whether they were there already."""
    if not (masks or meshes):
        return
    from refspace.sources.allen import AllenFiles, check_resolution, check_version

    hosts = (request.options.get("host"), request.options.get("archive"))
    files = AllenFiles(request.cache, *hosts, request.progress)
    version, resolution = check_version(request.name), check_resolution(request.resolution)
    for number in resolve(tree, masks):
        there = _is_cached(request, files.mask_url(version, resolution, number))
        yield files.structure_mask(version, resolution, number), there
    for number in resolve(tree, meshes):
        there = _is_cached(request, files.mesh_url(version, number))
        yield files.structure_mesh(version, number), there


def _is_cached(request: "Request", url: str) -> bool:
    from refspace.remote.download import read_record

    return not request.cache.refresh and read_record(request.cache.path(url)) is not None


def _report(path: Path, seconds: float | None, was_there: bool) -> None:
    """Say where something is, how large it is, and how long it took."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    details = [_size(sum(file.stat().st_size for file in files))]
    if was_there:
        details.append("was there already")
    elif seconds is not None:
        details.append(f"{seconds:.1f} s")
    echo(f"{path}: {', '.join(details)}")


def _size(count: int) -> str:
    from refspace.cli.describe import size_text

    return size_text(count)


COMMANDS = (fetch,)
