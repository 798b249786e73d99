"""Options for what commands write, which refuse what cannot be written before any work is done."""

import functools
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import click
from click.shell_completion import CompletionItem

from refspace.errors import FormatError
from refspace.safe_text import shown

if TYPE_CHECKING:
    _ParamType = click.ParamType[Any]
else:
    # Generic from click 8.4 on.
    _ParamType = click.ParamType

Kind: TypeAlias = Literal["table", "volume", "structures", "picture", "label_file", "mesh", "store"]

STDOUT = "-"
"""Name of standard output, where a file could be."""
_STORE = ".zarr"
# Where a command notes that it may replace what is there.
_OVERWRITING = "refspace.overwriting"
# Headers of MetaImage, whose voxels are in a file beside them.
_HEADER_ALONE, _VOXELS_BESIDE = ".mhd", ".zraw"
# What ends a name, and is neither a version nor a number: "masks_v1.2" may be a folder.
_ENDING = re.compile(r"\.(?!v?\d)[A-Za-z0-9]+$")


def _table_ending(path: str) -> str:
    from refspace.formats.tables import table_ending

    return table_ending(path)


def _volume_ending(path: str) -> str:
    from refspace.formats.names import output_ending

    return output_ending(path)


def _structures_ending(path: str) -> str:
    from refspace.formats.structure_output import structures_ending

    return structures_ending(path)


def _picture_ending(path: str) -> str:
    from refspace.plotting.files import picture_ending

    return picture_ending(path)


def _mesh_ending(path: str) -> str:
    from refspace.formats.meshes import mesh_ending

    return mesh_ending(path)


def _store_ending(path: str) -> str:
    if not path.rstrip("/").lower().endswith(_STORE):
        raise FormatError(f"{shown(path)} does not end in {_STORE}; give a store a name that does")
    return _STORE


def _any_ending(path: str) -> str:
    # What is written does not depend on it.
    return Path(path).suffix


# Late imports: of the rooms that write what is asked for, and of no others.
_CHECKS: dict[Kind, Callable[[str], str]] = {
    "table": _table_ending,
    "volume": _volume_ending,
    "structures": _structures_ending,
    "picture": _picture_ending,
    "label_file": _any_ending,
    "mesh": _mesh_ending,
    "store": _store_ending,
}


class OutputPath(_ParamType):
    """Path of what a command writes, by the ending of its name.

    Parameters
    ----------
    *kinds
        What it may be; the ending says which.
    folder
        Whether a name without an ending is a folder for several files.
    urls
        Whether it may be on another machine, and not only a store.
    stdout
        Whether ``-`` stands for standard output.
    elsewhere
        Endings that another command writes, and what to say of it.
    """

    name = "path"

    def __init__(
        self,
        *kinds: Kind,
        folder: bool = False,
        urls: bool = False,
        stdout: bool = False,
        elsewhere: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._kinds, self._folder, self._urls, self._stdout = kinds, folder, urls, stdout
        self._elsewhere = elsewhere

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Refuse an ending of nothing that is written, and a file that has no place."""
        path = os.fspath(value)
        if (ctx is not None and ctx.resilient_parsing) or (path == STDOUT and self._stdout):
            return path
        kind = self._kind(path)
        if "://" in path:
            if kind != "store" and not self._urls:
                self.fail(
                    f"{path} is a URL; this is written to this machine: give a path", param, ctx
                )
        elif kind is None:
            if Path(path).is_file():
                self.fail(f"{path} is a file; give the name of a folder", param, ctx)
        elif kind != "store" and not self._urls:
            self._refuse_no_place(Path(path), param, ctx)
        return path

    def _kind(self, path: str) -> Kind | None:
        """What is to be written; None for a folder."""
        if self._folder and (path.endswith(("/", os.sep)) or Path(path).is_dir()):
            return "store" if "store" in self._kinds and _is_store(path) else None
        refusals = []
        for kind in self._kinds:
            try:
                _CHECKS[kind](path)
            except FormatError as error:
                refusals.append(error)
            else:
                return kind
        if self._folder and not _ENDING.search(path):
            return None
        for ending, hint in self._elsewhere.items():
            if path.rstrip("/").lower().endswith(ending):
                raise FormatError(f"{shown(path)} ends in {ending}: {hint}")
        if len(refusals) == 1 and not self._folder:
            raise refusals[0]
        raise FormatError(f"{shown(path)} does not end in {self._listed()}: {self._hint()}")

    def _listed(self) -> str:
        """Endings, as a list for a message."""
        from refspace.formats import meshes, names, structure_output, tables

        endings: dict[Kind, tuple[str, ...]] = {
            "table": tables.ENDINGS,
            "volume": names.OUTPUT_ENDINGS,
            "structures": structure_output.ENDINGS,
            "mesh": meshes.ENDINGS,
            "store": (_STORE,),
        }
        *first, last = [ending for kind in self._kinds for ending in endings[kind]]
        return f"{', '.join(first)} or {last}" if first else last

    def _hint(self) -> str:
        if self._folder:
            return "give a name that does, or one without an ending for a folder"
        return "give a name that does"

    def _refuse_no_place(
        self, path: Path, param: click.Parameter | None, ctx: click.Context | None
    ) -> None:
        if path.is_dir():
            self.fail(f"{path} is a folder; give the name of a file", param, ctx)
        if not (folder := path.resolve().parent).is_dir():
            raise FileNotFoundError(f"folder {folder} does not exist; make it, then try again")

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Files and folders, as the shell finds them."""
        return [CompletionItem(incomplete, type="file")]


def _is_store(path: str) -> bool:
    return path.rstrip("/" + os.sep).lower().endswith(_STORE)


names_option = click.option(
    "--names",
    type=click.Choice(["id", "acronym"]),
    default="id",
    show_default=True,
    help="What files in a folder are named by: structure_385 or VISp. Signs that file names cannot "
    "have become _, and where acronyms are then alike, the id follows.",
)

# ----- tables

table_option = functools.partial(click.option, type=OutputPath("table"), metavar="FILE")


Form: TypeAlias = Literal["text", "csv", "json"]
"""What a table is printed as: for people, or for programs."""


@dataclass(frozen=True)
class TableOutput:
    """Where a command writes its table, and as what.

    Parameters
    ----------
    path
        File to write, or a table on another machine; None for standard output.
    form
        What is printed.
    """

    path: str | None = None
    form: Form = "text"

    @property
    def is_for_people(self) -> bool:
        """Whether it is printed for people, who want no rows of nothing."""
        return self.path is None and self.form == "text"

    @property
    def is_piped(self) -> bool:
        """Whether a program reads standard output, where nothing but the table belongs."""
        return self.path is None and self.form != "text"


def _checked_form(as_csv: bool, as_json: bool) -> Form:
    if as_csv and as_json:
        raise click.UsageError("give one of --csv and --json")
    return "csv" if as_csv else "json" if as_json else "text"


def takes_form(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that prints tables what it prints them as, as ``form``."""

    @functools.wraps(command)
    def with_form(*args: Any, as_csv: bool, as_json: bool, **options: Any) -> None:
        command(*args, form=_checked_form(as_csv, as_json), **options)

    for form in ("json", "csv"):
        option = click.option(
            f"--{form}",
            f"as_{form}",
            is_flag=True,
            help=f"Print the table as {form.upper()}, for another program.",
        )
        with_form = option(with_form)
    return with_form


def with_table_output(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command with --output what it prints its table as, and both as one ``output``."""

    @functools.wraps(command)
    def with_output(*args: Any, output: str | None, form: Form, **options: Any) -> None:
        if output is not None and form != "text":
            raise click.UsageError("give one of --output, --csv and --json")
        chosen = TableOutput(None, "csv") if output == STDOUT else TableOutput(output, form)
        command(*args, output=chosen, **options)

    return takes_form(with_output)


def takes_table_output(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that prints a table what it may print or write instead, as ``output``.

    It gets --output, --csv, --json and --overwrite. `refspace.cli.tables.emit_table` heeds them.
    """
    option = click.option(
        "--output",
        "--out",
        "-o",
        type=OutputPath("table", stdout=True),
        metavar="FILE",
        help="Write a CSV, TSV or Parquet file; - is CSV on standard output.",
    )
    return option(with_table_output(overwrite_option(command)))


# ----- what is there already


def _note_overwrite(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    ctx.meta[_OVERWRITING] = value


overwrite_option = click.option(
    "--overwrite",
    is_flag=True,
    expose_value=False,
    callback=_note_overwrite,
    help="Replace what is there of that name.",
)


def is_overwriting() -> bool:
    """Whether the command was given ``--overwrite``."""
    ctx = click.get_current_context()
    return bool(ctx.meta.get(_OVERWRITING) or ctx.params.get("overwrite"))


def refuse_existing(paths: Iterable[str | Path]) -> None:
    """Stop a command that would replace files which it was not told to, before it does anything.

    Stores and folders are not looked at: what writes into them knows what is its own there.

    Parameters
    ----------
    paths
        The files.
    """
    if is_overwriting():
        return
    there = [file for path in paths for file in files_of(path) if os.path.lexists(file)]
    if there:
        others = f" and {len(there) - 1} others" if len(there) > 1 else ""
        verb = "exist" if others else "exists"
        raise click.ClickException(
            f"{there[0]}{others} {verb}; give --overwrite to replace what is there, or another name"
        )


def files_of(path: str | Path) -> list[Path]:
    """Files that are written for one of that name: MetaImage may have its voxels in another.

    Examples
    --------
    >>> [file.name for file in files_of("brain.mhd")], files_of("masks.zarr")
    (['brain.mhd', 'brain.zraw'], [])
    """
    text = os.fspath(path)
    if text == STDOUT or "://" in text or _is_store(text) or Path(text).is_dir():
        return []
    file = Path(text)
    beside = [file.with_suffix(_VOXELS_BESIDE)] if file.suffix.lower() == _HEADER_ALONE else []
    return [file, *beside]


class LocalFolder(click.Path):
    """Folder that a command writes several files into."""

    def __init__(self) -> None:
        super().__init__(file_okay=False, path_type=Path)

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Any:
        """Refuse a URL, which would be taken for a folder of that name, and the name of a file."""
        ending = _ENDING.search(str(value))
        if ending and not Path(value).is_dir():
            self.fail(
                f"{value} is the name of a file; give that of a folder, like {Path(value).stem}",
                param,
                ctx,
            )
        if "://" in str(value):
            self.fail(f"{value} is a URL; this is written to this machine: give a path", param, ctx)
        return super().convert(value, param, ctx)
