"""Options for what commands write, which refuse what cannot be written before any work is done."""

import functools
import os
import re
from collections.abc import Callable
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
    """

    name = "path"

    def __init__(self, *kinds: Kind, folder: bool = False, urls: bool = False) -> None:
        self._kinds, self._folder, self._urls = kinds, folder, urls

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Refuse an ending of nothing that is written, and a file that has no place."""
        path = os.fspath(value)
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
