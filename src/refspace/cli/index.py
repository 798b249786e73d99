"""The command ``index``: a label index of an image that another program wrote."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from refspace.cli.completion import complete_atlas
from refspace.cli.help import examples
from refspace.cli.options import (
    access_options,
    existing,
    geometry_options,
    is_named,
    is_store,
    refuse_overwriting,
    takes_pool,
)
from refspace.cli.terminal import echo, echo_json

if TYPE_CHECKING:
    from refspace.batch import IndexWritten


@click.command(
    epilog=examples(
        "refspace index plain.ome.zarr",
        "refspace index plain.ome.zarr --out plain.label_index --json",
    )
)
@click.argument("annotation", callback=existing, shell_complete=complete_atlas)
@geometry_options
@click.option(
    "--output",
    "--out",
    "-o",
    "output",
    metavar="FILE",
    help="Path or URL of a file for the index, to give to others; beside the image if not given, "
    "or else in the cache.",
)
@click.option(
    "--from",
    "published",
    metavar="FILE",
    help="Path or URL of an index that others have made: keep that, once it is proven to be of "
    "the image, instead of reading all of it.",
)
@click.option(
    "--memory", default="1 GiB", show_default=True, help="What chunks may take at a time."
)
@access_options
@takes_pool
@click.option("--overwrite", is_flag=True, help="Make it again, and replace what is there.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def index(
    annotation: str,
    resolution: float | Sequence[float] | None,
    orientation: str | None,
    output: str | None,
    published: str | None,
    memory: str,
    access: dict[str, Any],
    pool: dict[str, Any],
    overwrite: bool,
    as_json: bool,
) -> None:
    """Index the labels of an image that another program wrote, so that others read less of it.

    ANNOTATION is the path or URL of an OME-Zarr label image or an array of zarr, or an atlas of
    BrainGlobe by name. All of it is read once. From then on each command that opens it finds the
    index beside the image or in the cache, makes sure that it is still of this image, and reads
    the chunks alone that matter. The same command goes on with a run that was interrupted.
    """
    from refspace.batch import write_index
    from refspace.cli.progress import BlockProgress

    if output is not None and "://" not in output:
        refuse_overwriting([output], continues=True)
    if access.get("chunk_cache"):
        raise click.UsageError("each chunk is read once, and no copy is kept: leave --chunk-cache")
    if not is_named(annotation) and not is_store(annotation):
        raise click.UsageError(
            f"{annotation} is a file: 'refspace convert' makes a store of it, with an index"
        )
    url, stated = _image(annotation, resolution, access)
    with BlockProgress("indexing", "chunks") as progress:
        written = write_index(
            url,
            output,
            published=published,
            resolution=None if is_named(annotation) else resolution,
            orientation=orientation or stated,
            overwrite=overwrite,
            memory=memory,
            progress=progress,
            **access,
            **pool,
        )
    echo_json(asdict(written)) if as_json else echo(_text(written))


def _image(annotation: str, resolution: Any, access: dict[str, Any]) -> tuple[str, str | None]:
    """URL of the image of an annotation, and its orientation where its atlas states it."""
    if not is_named(annotation):
        return annotation, None
    from refspace.sources.brainglobe import annotation_image
    from refspace.sources.locating import locate

    source, request, store = locate(annotation, resolution=resolution, **access)
    if source != "brainglobe" or store.exists():
        raise click.UsageError(
            f"{annotation} is read from a store in the cache, which has an index: "
            f"'refspace fetch {annotation}' makes it"
        )
    return annotation_image(request)


def _text(written: "IndexWritten") -> str:
    from refspace.cli.describe import size_text

    verb = f"{written.place} was complete" if written.was_there else f"wrote {written.place}"
    where = "" if written.where == "there" else f", {written.where}"
    missing = f" ({written.missing} not stored)" if written.missing else ""
    return (
        f"{verb}{where}: {written.chunks} chunks{missing} of {written.levels} levels, "
        f"{written.labels} labels, {size_text(written.nbytes)}"
    )


COMMANDS = (index,)
