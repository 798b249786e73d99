"""Arguments that commands share."""

import functools
import json
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from refspace.cli.columns import given_columns, structures_columns, structures_with
from refspace.cli.completion import complete_atlas, complete_files
from refspace.cli.outputs import STDOUT, files_of, refuse_existing
from refspace.cli.terminal import echo
from refspace.cli.values import Resolution, key_values
from refspace.safe_text import shown

# Where a command notes that it is to escape formulas.
_ESCAPING = "refspace.escape_formulas"
_OUTPUTS = ("output", "labels_volume", "labels_txt", "each", "confusion")
_INPUTS = (
    *("annotation", "structures_file", "template", "image", "valid", "points_file"),
    *("other", "other_structures", "volumes", "hemispheres", "source", "values"),
)


if TYPE_CHECKING:
    import xarray as xr

    from refspace import types
    from refspace.reference_space import ReferenceSpace
    from refspace.structure_tree import StructureTree

# ----- what is read


def is_store(text: str) -> bool:
    """Whether a path or URL is meant as a zarr store, rather than as a file."""
    # Late: array libraries come with both, for which no other command should wait.
    from refspace.formats.names import is_volume_file
    from refspace.store.zarr_files import is_zarr_folder

    path = Path(text)
    if "://" in text:
        return not is_volume_file(text)
    return path.suffix.lower() == ".zarr" or is_zarr_folder(path)


def is_named(text: str) -> bool:
    """Whether a text is an atlas of a source: by its name, like allen:ccf_2017, or its folder."""
    if Path(text).is_dir():
        from refspace.sources.brainglobe_bucket import find_atlas

        return find_atlas(text) is not None
    if ":" not in text or "://" in text:
        return False
    from refspace.sources.source import parse_spec

    return parse_spec(text) is not None


def existing(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Refuse what is neither a file nor a store; opening a store shows whether it exists."""
    if ctx.resilient_parsing:
        return value  # a shell completes the command: nothing is to be looked at
    if "://" in value or Path(value).is_file() or is_store(value) or is_named(value):
        return value
    _refuse_name_of_none(value)
    raise click.BadParameter(
        f"{value} {_why_not(value)}; give a file of a volume (NRRD, NIfTI, TIFF, MetaImage, MGH or "
        ".npy) or a zarr store, by path or URL, or an atlas by name, like allen:ccf_2017"
    )


def existing_image(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Refuse what is neither a file nor in zarr."""
    if value is None or ctx.resilient_parsing or "://" in value:
        return value
    if Path(value).is_file() or is_store(value):
        return value
    raise click.BadParameter(
        f"{value} {_why_not(value)}; give a file of a volume (NRRD, NIfTI, TIFF, MetaImage, MGH or "
        ".npy) or an image in zarr, by path or URL"
    )


def existing_inputs(
    ctx: click.Context, param: click.Parameter, value: tuple[str, ...]
) -> tuple[str, ...]:
    """Refuse a single image that does not exist; of several, the job lists those that fail."""
    if len(value) == 1:
        existing_image(ctx, param, value[0])
    return value


def _why_not(path: str) -> str:
    if not Path(path).is_dir():
        return "is a pipe or device, and no file" if Path(path).exists() else "does not exist"
    from refspace.store import Location
    from refspace.store.other_formats import what_is_there

    return f"is a folder, and no zarr store{what_is_there(Location(path))}"


def _refuse_name_of_none(text: str) -> None:
    """Refuse what may mean an atlas, and is the name of none."""
    if Path(text).exists():
        return
    from refspace.sources.locating import suggestion

    if (meant := suggestion(text)) is not None:
        raise click.BadParameter(f"there is no file, store or atlas {text}: {meant}")


def geometry_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command what a volume may not state of itself."""
    for decorate in (
        click.option("--orientation", help="Directions of the axes, like PIR, if not stated."),
        click.option(
            "--resolution",
            type=Resolution(),
            help="µm per voxel, like 25 or 10,20,20, if not stated; of a store, the level to take.",
        ),
    ):
        command = decorate(command)
    return command


override_option = click.option(
    "--override-header",
    "override",
    is_flag=True,
    help="Let --resolution and --orientation overrule what the header of a file states.",
)


def checked_orientation(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> str | None:
    """Refuse what is no code of directions, before anything is opened."""
    if value is None or ctx.resilient_parsing:
        return value
    from refspace.errors import GridError
    from refspace.grid import parse_orientation

    try:
        return parse_orientation(value, "frame" if param.name == "frame" else "orientation")
    except GridError as error:
        raise click.BadParameter(str(error)) from error


frame_option = click.option(
    "--frame",
    metavar="XYZ",
    callback=checked_orientation,
    help="Directions in which coordinates grow along x, y and z, like PIR (Allen) or RAS (NIfTI): "
    "of positions given, printed and written. Those of the annotation if not given.",
)


def _one_separation(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    """Refuse a midline beside a volume of hemispheres."""
    other = {"midline": "hemispheres", "hemispheres": "midline"}[str(param.name)]
    if value is not None and ctx.params.get(other) is not None:
        raise click.UsageError("give one of --midline and --hemispheres")
    return existing_image(ctx, param, value) if param.name == "hemispheres" else value


def sides_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that needs a side what tells the hemispheres apart."""
    for decorate in (
        click.option(
            "--hemispheres",
            metavar="VOLUME",
            callback=_one_separation,
            help="File or store that says which hemisphere each voxel is in: 1 left, 2 right, 0 "
            "neither.",
        ),
        click.option(
            "--midline",
            type=float,
            callback=_one_separation,
            help="Position along ml in µm that separates the hemispheres, whatever the annotation "
            "states.",
        ),
    ):
        command = decorate(command)
    return command


def takes_sides(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command what tells the hemispheres apart, as ``sides``: arguments of `open_space`."""

    @functools.wraps(command)
    def with_sides(
        *args: Any, midline: float | None, hemispheres: str | None, **options: Any
    ) -> None:
        command(*args, sides={"midline": midline, "hemispheres": hemispheres}, **options)

    return sides_options(with_sides)


def annotation_argument(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an annotation volume and its geometry."""
    argument = click.argument("annotation", callback=existing, shell_complete=complete_atlas)
    return argument(geometry_options(override_option(frame_option(command))))


def access_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command what reaching a store on another machine may need, as ``access``."""

    @functools.wraps(command)
    def with_access(
        storage_option: dict[str, str], engine: str | None, chunk_cache: str | None, **options: Any
    ) -> None:
        command(access=given_access(), **options)

    for decorate in (
        click.option(
            "--chunk-cache", metavar="FOLDER", help="Keep copies of what other machines send."
        ),
        click.option(
            "--engine",
            type=click.Choice(["fsspec", "obstore"]),
            help="What reads from other machines; fsspec if not given.",
        ),
        click.option(
            "--storage-option",
            metavar="KEY=VALUE",
            multiple=True,
            callback=key_values,
            help="What fsspec needs to reach a URL, like anon=true; any number of times.",
        ),
    ):
        with_access = decorate(with_access)
    return with_access


def given_access() -> dict[str, Any]:
    """What reaching a store on another machine needs, as the command was given it."""
    given = click.get_current_context().params
    access = {
        "storage_options": {key: _value(text) for key, text in given["storage_option"].items()},
        "engine": given["engine"],
        "chunk_cache": given["chunk_cache"],
    }
    return {key: value for key, value in access.items() if value}


def _value(text: str) -> Any:
    """Value of a text in JSON, or else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _structures_file(
    ctx: click.Context, param: click.Parameter, value: tuple[str, ...]
) -> str | None:
    """The structures file, if there is one; structures themselves are asked for by an option."""
    for word in value:
        refuse_structure(word)
    if len(value) > 1:
        raise click.UsageError(f"there is an argument too many: {value[1]}")
    return value[0] if value else None


def refuse_structure(word: str) -> None:
    """Refuse the acronym or id of a structure in the place of a structures file."""
    ctx = click.get_current_context()
    if ctx.resilient_parsing or "://" in word or Path(word).suffix or Path(word).exists():
        return
    options = {option.name: option.opts for option in ctx.command.params}
    names = options.get("structures") or options.get("outline")
    if names is not None:
        flag = min(names, key=len)
        raise click.UsageError(
            f"{word} is no file of structures; to ask for a structure, give {flag} {word}"
        )


unit_option = click.option(
    "--unit",
    type=click.Choice(["um", "mm", "voxel"]),
    default="um",
    show_default=True,
    help="Of positions; voxels are the annotation's own, as cellfinder counts them.",
)

# Any number of them, so that it may be left out before other arguments.
structures_argument = click.argument(
    "structures_file",
    nargs=-1,
    metavar="[STRUCTURES]",
    callback=_structures_file,
    shell_complete=complete_files,
)


@dataclass(frozen=True)
class Opening:
    """What a command was asked to open, before it is.

    Parameters
    ----------
    annotation
        The store, file or atlas.
    structures
        Structures, or their file, where they are named.
    geometry
        What says where the voxels are: arguments of `open_space`.
    sides
        What tells the hemispheres apart, likewise.
    access
        What reaching a store on another machine needs, likewise.
    """

    annotation: str
    structures: "StructureTree | str | None"
    geometry: Mapping[str, Any]
    sides: Mapping[str, Any]
    access: Mapping[str, Any]

    def space(self) -> "ReferenceSpace":
        """The space."""
        return open_space(
            self.annotation, self.structures, **self.geometry, **self.sides, **self.access
        )

    @property
    def resolution(self) -> "types.Resolution | None":
        """µm per voxel that were asked for."""
        resolution: types.Resolution | None = self.geometry["resolution"]
        return resolution

    @property
    def is_plain(self) -> bool:
        """Whether it is what a store says, with nothing said against it."""
        given = {**self.geometry, **self.sides, "structures": self.structures}
        del given["resolution"]
        return not any(given.values())


def takes_space(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the reference space of a store, or of an annotation and its structures."""

    @functools.wraps(command)
    def with_space(opening: Opening, **options: Any) -> None:
        command(opening.space(), **options)

    return takes_opening(with_space)


def takes_opening(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command what makes the reference space that `takes_space` gives, as ``opening``."""

    @functools.wraps(command)
    def with_opening(
        annotation: str,
        structures_file: str | None,
        resolution: "types.Resolution | None",
        orientation: str | None,
        override: bool,
        frame: str | None,
        access: dict[str, Any],
        # Of commands that need a side, which have `sides_options`.
        midline: float | None = None,
        hemispheres: str | None = None,
        **options: Any,
    ) -> None:
        if not options.get("dry_run"):
            refuse_overwriting(options[name] for name in _OUTPUTS if options.get(name))
        geometry = {"resolution": resolution, "orientation": orientation, "override": override}
        opening = Opening(
            annotation,
            structures_with(structures_file, given_columns()),
            {**geometry, "frame": frame},
            {"midline": midline, "hemispheres": hemispheres},
            access,
        )
        command(opening=opening, **options)

    taking = access_options(with_opening)
    # Where a command has columns of its own, as those of points, one option takes both.
    if all(param.name != "columns" for param in getattr(command, "__click_params__", ())):
        taking = structures_columns(taking)
    return annotation_argument(structures_argument(taking))


def open_space(
    annotation: str,
    structures: "StructureTree | str | None",
    resolution: "types.Resolution | None",
    orientation: str | None,
    override: bool = False,
    *,
    frame: str | None = None,
    midline: float | None = None,
    hemispheres: str | None = None,
    **access: Any,
) -> "ReferenceSpace":
    """Open an atlas by name, a store, or a file of a volume and its structures.

    Its coordinates are those of the frame, and the midline is given in it.
    """
    from refspace.reference_space.opening import separated

    geometry = {"resolution": resolution, "orientation": orientation, "override": override}
    sides: dict[str, Any] = {"midline": midline, "hemispheres": hemispheres}
    if frame is None:
        return _open(annotation, structures, **geometry, **sides, **access)
    space = _open(annotation, structures, **geometry, **access)
    return separated(space.in_frame(frame), **sides)


def _open(
    annotation: str, structures: "StructureTree | str | None", **how: Any
) -> "ReferenceSpace":
    """Open a space in its own frame."""
    from refspace import reference_space, sources

    if is_named(annotation) or is_store(annotation):
        return sources.open(annotation, structures=structures, **how)
    if structures is None:
        raise click.UsageError(
            f"{annotation} names no structures: give a structures file after it (JSON or CSV), or "
            "a store that 'refspace convert' has made of both"
        )
    tell_unit(annotation, how["resolution"], how.get("storage_options"))
    return reference_space.open(annotation, structures=structures, **how)


def tell_unit(
    path: str,
    resolution: "types.Resolution | None",
    storage_options: "Mapping[str, Any] | None" = None,
) -> None:
    """Say what the lengths of a file are taken for that states no unit, where that is certain.

    Where it is doubtful, the library warns.
    """
    from refspace.formats.names import is_volume_file
    from refspace.formats.volumes import stated_spacing

    if resolution is None and is_volume_file(path):
        stated = stated_spacing(path, storage_options)
        if stated.notice == "note":
            echo(f"{path} states no unit: its lengths are taken as {stated.assumed}", err=True)


def open_annotation(
    annotation: str,
    resolution: "types.Resolution | None",
    orientation: str | None,
    override: bool = False,
    *,
    frame: str | None = None,
    **access: Any,
) -> "xr.DataArray":
    """Open the annotation of a store, or of a file; the midline that it states comes with it."""
    from refspace.labels import in_frame

    labels = _annotation(annotation, resolution, orientation, override, **access)
    return labels if frame is None else in_frame(labels, frame)


def _annotation(
    annotation: str,
    resolution: "types.Resolution | None",
    orientation: str | None,
    override: bool,
    **access: Any,
) -> "xr.DataArray":
    """Open an annotation in its own frame."""
    from refspace.formats.names import refuse_override
    from refspace.formats.volumes import read_volume
    from refspace.labels import as_annotation, stated_midline, with_hemispheres
    from refspace.store import open_atlas

    if is_named(annotation):
        space = open_space(annotation, None, resolution, orientation, override, **access)
        return space.annotation
    if not is_store(annotation):
        options = access.get("storage_options")
        tell_unit(annotation, resolution, options)
        volume = read_volume(
            annotation,
            resolution=resolution,
            orientation=orientation,
            override=override,
            storage_options=options,
        )
        midline = stated_midline(volume)
    else:
        refuse_override(annotation, override)
        atlas = open_atlas(annotation, resolution=resolution, orientation=orientation, **access)
        volume, midline = atlas.volume(atlas.level(resolution)), atlas.line
    labels = as_annotation(volume, None)
    return labels if midline is None else with_hemispheres(labels, midline)


# ----- what is written


def refuse_overwriting(outputs: Iterable[str | Path], *, continues: bool = False) -> None:
    """Stop a command that would write over what it reads, into it, or twice to one file.

    It does so too where a file is there which the command was not told to replace.

    Parameters
    ----------
    outputs
        What is to be written.
    continues
        Whether the job looks itself at what is there, and goes on with it.
    """
    named_outputs = [Path(path) for path in outputs if os.fspath(path) != STDOUT]
    _refuse_inputs(file for path in named_outputs for file in (path, *files_of(path)[1:]))
    if not continues:
        refuse_existing(named_outputs)


def _refuse_inputs(outputs: Iterable[Path]) -> None:
    """Stop a command that would write over what it reads, into it, or twice to one file."""
    given = click.get_current_context().params
    named = [given[name] for name in _INPUTS if given.get(name)]
    inputs = {Path(path).resolve() for path in (*named, *given.get("inputs", ()))}
    taken = set(inputs)
    for path in outputs:
        real = path.resolve()
        if real in taken:
            raise click.UsageError(f"{path} would be overwritten; give another name to write to")
        if not inputs.isdisjoint(real.parents):
            raise click.UsageError(f"{path} lies in what is read; give another name to write to")
        taken.add(real)


def _note_formulas(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    ctx.meta[_ESCAPING] = value


formulas_option = click.option(
    "--escape-formulas",
    is_flag=True,
    expose_value=False,
    callback=_note_formulas,
    help="In CSV and TSV, write names that a spreadsheet would take for formulas with an "
    "apostrophe before them.",
)


def is_escaping_formulas() -> bool:
    """Whether the command was given ``--escape-formulas``; not where it has no such option."""
    ctx = click.get_current_context(silent=True)
    return ctx is not None and bool(ctx.meta.get(_ESCAPING))


# ----- who does the work


def takes_pool(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command what does its work, as ``pool``: arguments of functions that run jobs."""

    @functools.wraps(command)
    def with_pool(
        *args: Any,
        scheduler: str | None,
        workers: int | None,
        threads: int | None,
        **options: Any,
    ) -> None:
        if sum(choice is not None for choice in (scheduler, workers, threads)) > 1:
            raise click.UsageError("give one of --scheduler, --workers and --threads")
        if scheduler is None and workers is None:
            command(*args, pool={"threads": threads, "client": None}, **options)
            return
        from refspace.pools import connected, local_cluster

        cluster = local_cluster(workers or 1) if scheduler is None else connected(scheduler)
        with cluster as client:
            # Without bokeh there is none.
            if client.dashboard_link:
                echo(f"dashboard: {client.dashboard_link}", err=True)
            command(*args, pool={"threads": None, "client": client}, **options)

    for decorate in (
        click.option(
            "--threads",
            type=click.IntRange(min=1),
            help="Threads of this process that do the work; as many as cores if not given.",
        ),
        click.option(
            "--workers",
            type=click.IntRange(min=1),
            help="Processes of this machine that do the work, instead.",
        ),
        click.option(
            "--scheduler",
            metavar="ADDRESS",
            help="Scheduler of a dask cluster whose workers do the work, like tcp://host:8786.",
        ),
    ):
        with_pool = decorate(with_pool)
    return with_pool


# ----- what errors say

# Arguments that messages name as Python has them, and options do too.
_GIVE_STRUCTURES = "give structures=, a tree or the path of a structures file"
_PYTHON_ARGUMENT = re.compile(
    r"\b(orientation|resolution|unit|variable|midline|hemispheres|image_origin)=('[^']*')?"
)


_COLUMNS_ARGUMENT = re.compile(r"\bcolumns=\{'(\w+)': '([^']*)'\}")
# Those that are never of an image.
_UNPREFIXED = ("unit", "variable", "midline", "hemispheres", "image_origin")


def in_options(message: str, prefix: str = "") -> str:
    """Message that names options, where it named arguments of Python.

    Parameters
    ----------
    message
        The message.
    prefix
        Beginning of the names of these options, like ``image-``.

    Examples
    --------
    >>> in_options("give orientation='PIR', or resolution=")
    "give --orientation 'PIR', or --resolution"
    """

    def option(match: "re.Match[str]") -> str:
        name, value = match.groups()
        prefixed = name.replace("_", "-") if name in _UNPREFIXED else f"{prefix}{name}"
        return f"--{prefixed} {value}" if value else f"--{prefixed}"

    message = message.replace("same_grid=True", "--same-grid")
    message = message.replace("quantiles=0.5", "--quantiles 0.5")
    message = message.replace("tree.sets() lists", "'refspace tree --sets' lists")
    message = message.replace(_GIVE_STRUCTURES, "give a structures file after it")
    for argument, flag in (("override=True", "override-header"), ("upsample=True", "upsample")):
        message = message.replace(argument, f"--{prefix}{flag}")
    message = _COLUMNS_ARGUMENT.sub(r"--columns \1=\2", message).replace("columns=", "--columns")
    message = message.replace("storage_options={'anon': True}", "--storage-option anon=true")
    return _PYTHON_ARGUMENT.sub(option, message)


def show_warning(message: Warning | str, *_: Any, prefix: str = "") -> None:
    """Show a warning without the line of code that it comes from, which is of no use to users.

    Parameters
    ----------
    message
        The warning.
    prefix
        As for `in_options`.
    """
    # In the place of a progress line, where there is one.
    start = "\r\033[K" if sys.stderr.isatty() else ""
    text = in_options(" ".join(str(message).split()), prefix)
    click.echo(f"{start}Warning: {shown(text)}", err=True)


def show_each_once() -> Callable[..., None]:
    """Make a function that shows warnings, but none that it has shown.

    Python's own filter forgets what it has let through, as soon as a library changes filters.
    """
    shown: set[str] = set()

    def show(message: Warning | str, *_: Any) -> None:
        if str(message) not in shown:
            shown.add(str(message))
            show_warning(message)

    return show


@contextmanager
def image_warnings() -> Iterator[None]:
    """Have warnings name the options of images: the annotation is open by now."""
    with warnings.catch_warnings():
        show = functools.partial(show_warning, prefix="image-")
        warnings.showwarning = show
        yield
