"""Options for what commands write, which refuse what cannot be written before any work is done."""

import functools
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import click

from refspace.errors import FormatError
from refspace.safe_text import shown

if TYPE_CHECKING:
    _ParamType = click.ParamType[Any]
else:
    # Generic from click 8.4 on.
    _ParamType = click.ParamType

Kind: TypeAlias = Literal["table", "volume", "structures", "picture", "label_file", "mesh", "store"]

_STORE = ".zarr"
PIPE = "-"
"""Path of standard output."""
# What ends a name, and is neither a version nor a number: "masks_v1.2" may be a folder.
_ENDING = re.compile(r"\.(?!v?\d)[A-Za-z0-9]+$")


def _table_ending(path: str) -> str:
    from refspace.formats.tables import table_ending

    return table_ending(path)


def _volume_ending(path: str) -> str:
    from refspace.formats.volumes import output_ending

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
    pipe
        Whether it may be ``-``, standard output.
    """

    name = "path"

    def __init__(
        self, *kinds: Kind, folder: bool = False, urls: bool = False, pipe: bool = False
    ) -> None:
        self._kinds, self._folder, self._urls, self._pipe = kinds, folder, urls, pipe

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Refuse an ending of nothing that is written, and a file that has no place."""
        path = os.fspath(value)
        if self._pipe and path == PIPE:
            return path
        kind = self._kind(path)
        if "://" in path:
            if kind != "store" and not self._urls:
                self.fail(
                    f"{path} is a URL; this is written to this machine: give a path", param, ctx
                )
        elif kind not in ("store", None) and not self._urls:
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
        if len(refusals) == 1 and not self._folder:
            raise refusals[0]
        raise FormatError(f"{shown(path)} does not end in {self._listed()}: {self._hint()}")

    def _listed(self) -> str:
        """Endings, as a list for a message."""
        from refspace.formats import meshes, structure_output, tables, volumes

        endings: dict[Kind, tuple[str, ...]] = {
            "table": tables.ENDINGS,
            "volume": volumes.OUTPUT_ENDINGS,
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


def _is_store(path: str) -> bool:
    return path.rstrip("/" + os.sep).lower().endswith(_STORE)


table_option = functools.partial(click.option, type=OutputPath("table"), metavar="FILE")


@dataclass(frozen=True)
class TableOutput:
    """Where a command writes its table, and as what.

    Parameters
    ----------
    path
        File to write; None for standard output.
    form
        What is printed: ``text`` for people, or ``csv`` or ``json`` for programs.
    """

    path: str | None = None
    form: Literal["text", "csv", "json"] = "text"


def takes_table_output(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that prints a table what it may print or write instead, as ``output``."""

    @functools.wraps(command)
    def with_output(
        *args: Any, output: str | None, as_csv: bool, as_json: bool, **options: Any
    ) -> None:
        if sum((output is not None, as_csv, as_json)) > 1:
            raise click.UsageError("give one of --output, --csv and --json")
        is_csv = as_csv or output == PIPE
        chosen = TableOutput(
            path=None if output == PIPE else output,
            form="csv" if is_csv else "json" if as_json else "text",
        )
        command(*args, output=chosen, **options)

    for decorate in (
        click.option(
            "--output",
            "-o",
            type=OutputPath("table", pipe=True),
            metavar="FILE",
            help="CSV, TSV or Parquet file to write; '-' is --csv.",
        ),
        click.option("--csv", "as_csv", is_flag=True, help="Print the table as CSV."),
        click.option("--json", "as_json", is_flag=True, help="Print the table as JSON."),
    ):
        with_output = decorate(with_output)
    return with_output


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
        """Refuse a URL, which would be taken for a folder of that name here."""
        if "://" in str(value):
            self.fail(f"{value} is a URL; this is written to this machine: give a path", param, ctx)
        return super().convert(value, param, ctx)
