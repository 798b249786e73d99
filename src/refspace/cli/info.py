"""The command ``info``: what a file, a folder, a store or an atlas is."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from refspace.cli.completion import complete_atlas
from refspace.cli.help import examples
from refspace.cli.options import (
    access_options,
    frame_option,
    geometry_options,
    is_named,
    override_option,
    takes_sides,
)
from refspace.cli.terminal import echo, echo_json
from refspace.errors import FormatError, RefspaceError

_TABLES = (".csv", ".tsv", ".parquet")
_STRUCTURES = (*_TABLES, ".json", ".xml", ".txt", ".label", ".lut", ".ctbl")
_MESHES = (".obj", ".ply", ".stl", ".glb")


@click.command(
    epilog=examples(
        "refspace info refspace-demo/atlas.zarr",
        "refspace info refspace-demo/annotation.nrrd --frame RAS",
        "refspace info refspace-demo/cells.csv",
        "refspace info refspace-demo/structures.json --json",
    )
)
@click.argument("url", metavar="PATH", shell_complete=complete_atlas)
@geometry_options
@override_option
@frame_option
@access_options
@takes_sides
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def info(
    url: str,
    resolution: float | Sequence[float] | None,
    orientation: str | None,
    override: bool,
    frame: str | None,
    sides: dict[str, Any],
    as_json: bool,
    access: dict[str, Any],
) -> None:
    """Describe a file, a folder, a store or an atlas.

    PATH is a path or URL: of a store of an atlas, of images or of masks; of a file of a volume, a
    table, structures or a mesh; of a folder of BrainGlobe; or the name of an atlas, as 'refspace
    list' prints it. No voxel is read. Of --hemispheres it says whether they fit.
    """
    geometry: dict[str, Any] = {"resolution": resolution, "orientation": orientation}
    path, beside = _located(url, resolution)
    if path is None:
        details, text = beside
        echo_json(details) if as_json else echo(text)
        return
    details, text, unknown = _describe(path, geometry, override, frame, sides, access)
    echo_json(details) if as_json else echo(text)
    if unknown is not None:
        from refspace.cli.unknown import tell_unknown_ids

        tell_unknown_ids(*unknown)


def _describe(
    url: str,
    geometry: dict[str, Any],
    override: bool,
    frame: str | None,
    sides: dict[str, Any],
    access: dict[str, Any],
) -> tuple[dict[str, Any], str, tuple[Mapping[int, int], list[int]] | None]:
    """Facts, as text too; and labels and ids of structures, which may differ."""
    if (other := _other_file(url)) is not None:
        return *other, None
    from refspace.formats.names import is_volume_file, refuse_override

    if is_volume_file(url):
        return *_volume(url, geometry, override, frame, sides, access), None
    refuse_override(url, override)
    return _store(url, geometry, frame, sides, access)


def _volume(
    url: str,
    geometry: dict[str, Any],
    override: bool,
    frame: str | None,
    sides: dict[str, Any],
    access: dict[str, Any],
) -> tuple[dict[str, Any], str]:
    """Facts about a file of a volume: as of labels, or else as of an image."""
    from refspace.cli.describe_file import describe_file, format_file_description
    from refspace.formats.volume_format import Given
    from refspace.formats.volumes import open_header

    options = access.get("storage_options")
    given = Given(**geometry, override=override)
    try:
        form, header = open_header(url, storage_options=options)
        details = describe_file(url, header, form.stream(header, given), frame=frame, **sides)
    except FormatError as refusal:
        from refspace.cli.describe_other import describe_image

        try:
            form, header = open_header(url, is_image=True, storage_options=options)
            return describe_image(url, form.image(header, given))
        except RefspaceError:
            raise refusal from None
    return details, format_file_description(details)


def _store(
    url: str,
    geometry: dict[str, Any],
    frame: str | None,
    sides: dict[str, Any],
    access: dict[str, Any],
) -> tuple[dict[str, Any], str, tuple[Mapping[int, int], list[int]] | None]:
    """Facts about what is in zarr: an atlas, labels, masks or an image."""
    from refspace.cli.describe import describe, format_description, label_counts, structure_ids
    from refspace.store import open_atlas

    try:
        atlas = open_atlas(url, **geometry, **access)
    except FormatError as refusal:
        from refspace.cli.describe_other import describe_masks

        try:
            return *describe_masks(url, **access), None
        except RefspaceError:
            return *_image(url, geometry, access, refusal), None
    if atlas.metadata is None and atlas.levels[0].array.dtype.kind == "f":
        return *_image(url, geometry, access), None
    details = describe(atlas, frame=frame, **sides)
    counts = label_counts(atlas)
    unknown = None if counts is None else (counts, structure_ids(atlas))
    return details, format_description(details), unknown


def _image(
    url: str,
    geometry: dict[str, Any],
    access: dict[str, Any],
    refusal: FormatError | None = None,
) -> tuple[dict[str, Any], str]:
    """Facts about an image in zarr; where it is none, what else was refused is what to say."""
    from refspace.cli.describe_other import describe_image
    from refspace.store.images import open_image

    try:
        return describe_image(url, open_image(url, **geometry, **access))
    except RefspaceError as error:
        raise refusal or error from None


def _other_file(url: str) -> tuple[dict[str, Any], str] | None:
    """Facts about a file of this machine that holds no voxels; None of any other."""
    path = Path(url)
    ending = path.suffix.lower()
    if "://" in url or not path.is_file() or ending not in (*_STRUCTURES, *_MESHES):
        return None
    from refspace.cli import describe_other

    if ending in _MESHES:
        return describe_other.describe_mesh(url)
    from refspace.formats.structures import read_structures

    try:
        tree = read_structures(url)
        # A table of anything else may have numbers too, but nothing below anything.
        is_flat = max(len(node["structure_id_path"]) for node in tree.nodes()) == 1
    except RefspaceError:
        if ending in _TABLES:
            return describe_other.describe_table(url)
        raise
    if is_flat and ending in _TABLES and _has_values(url):
        return describe_other.describe_table(url)
    return describe_other.describe_structures(url, tree)


def _has_values(url: str) -> bool:
    """Whether a table has columns that commands write beside structures."""
    from refspace.formats.tables import column_names

    ours = {"total", "direct", "voxels", "points", "mean", "covered", "volume_mm3", "image"}
    return bool(ours & {*column_names(url)})


# ----- atlases by name


def _located(url: str, resolution: Any) -> tuple[str | None, Any]:
    """Path or URL of what a text names; or, where nothing is here to look at, what is known."""
    if not is_named(url):
        _refuse_nothing(url)
        return url, None
    from refspace.sources.listing import atlas_rows
    from refspace.sources.locating import locate

    source, request, store = locate(url, resolution=resolution)
    if store.exists():
        return str(store), None
    name = request.name.partition("@")[0]
    base = request.options.get("base")
    rows = atlas_rows(source, **({} if base is None else {"base": base}))
    rows = [row for row in rows if row["name"] == name]
    here = [row for row in rows if row["here"] is not None]
    if len(here) == 1 and here[0]["here"].endswith(".zarr"):
        return str(here[0]["here"]), None
    return None, _named(source, name, rows)


def _refuse_nothing(url: str) -> None:
    """Refuse what is no path of anything, but may mean an atlas."""
    if "://" in url or Path(url).exists():
        return
    from refspace.sources.locating import suggestion

    if (meant := suggestion(url)) is not None:
        raise click.UsageError(f"there is no file, store or atlas {url}: {meant}")


def _named(source: str, name: str, rows: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], str]:
    """What the list of a source says of an atlas."""
    from refspace.cli.describe_other import format_rows
    from refspace.errors import SourceError

    if not rows:
        raise SourceError(f"{source} has no {name!r}; 'refspace list {source}' says what it has")
    details = {"url": f"{source}:{name}", "kind": "atlas", "versions": [dict(r) for r in rows]}
    lengths = [row["resolution"] for row in rows if row["resolution"] is not None]
    texts = [f"{r:g}" if isinstance(r, int | float) else ",".join(map(str, r)) for r in lengths]
    first = rows[0]
    here = first["here"] or f"no; 'refspace fetch {source}:{name}' brings it"
    facts = {
        "version": first["version"] or "none stated",
        "resolution": f"{' or '.join(dict.fromkeys(texts)) or 'not stated'} µm",
        "species": first["species"] or "not known before it is opened",
        "here": here,
    }
    return details, format_rows(f"{source}:{name}: atlas of the source {source}", facts)


COMMANDS = (info,)
