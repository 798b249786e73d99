"""Completion in shells: of files, atlases by name, and structures; and the command ``completion``.

What completes is quick and silent: it reads JSON and imports no array library, and where anything
is wrong it knows nothing.
"""

import csv
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    ShellComplete,
    add_completion_class,
    get_completion_class,
)

from refspace.cli.help import examples

_SHELLS = ("bash", "zsh", "fish")
_VARIABLE = "_REFSPACE_COMPLETE"
_PROGRAM = "refspace"
# Larger files would keep a user waiting; those of the CCF have about 1 MB.
_MOST_BYTES = 2**26
_ACRONYMS = ("acronym", "abbreviation", "abbr", "abbrev")
_NAMES = ("name", "safe_name", "label_name")
# Arguments that name an atlas, and those that name its structures.
_ATLASES, _STRUCTURES = ("annotation", "source", "url"), ("structures_file",)


def complete_files(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Files and folders, as the shell finds them."""
    return [CompletionItem(incomplete, type="file")]


def complete_atlas(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Files, and atlases of sources by their names."""
    return [*_silently(_atlas_names, incomplete), CompletionItem(incomplete, type="file")]


def complete_source(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Names of sources."""
    return [item for item in _silently(_sources) if item.value.startswith(incomplete)]


def complete_structures(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Acronyms of the structures of the atlas that the command names, with commas between them."""
    before, comma, last = incomplete.rpartition(",")
    found: dict[str, str] = {}
    for acronym, name in _silently(_structures, ctx):
        if acronym.lower().startswith(last.lower()) and "," not in acronym:
            found.setdefault(acronym, name)
    return [CompletionItem(f"{before}{comma}{a}", help=name) for a, name in found.items()]


def _silently(find: Any, *words: Any) -> list[Any]:
    """What a function finds; nothing where it fails, for a shell would show the error."""
    try:
        return list(find(*words))
    except Exception:  # whatever a damaged file causes
        return []


# ----- sources and atlases


def _sources() -> Iterator[CompletionItem]:
    from refspace.sources.source import describe_source, source_names

    for name in source_names():
        yield CompletionItem(name, help=describe_source(name))


def _atlas_names(incomplete: str) -> Iterator[CompletionItem]:
    """Atlases that can be listed without a request, once a source is written."""
    source, colon, _ = incomplete.partition(":")
    if not source.isalnum():
        return
    from refspace.sources.listing import atlas_rows
    from refspace.sources.source import source_names

    names = [name for name in source_names() if name.startswith(source)]
    if not colon:
        yield from (CompletionItem(f"{name}:") for name in names)
        return
    rows = atlas_rows(source, here=source == "brainglobe")
    for value in dict.fromkeys(f"{row['source']}:{row['name']}" for row in rows):
        if value.startswith(incomplete):
            yield CompletionItem(value)


# ----- structures


def _structures(ctx: click.Context) -> Iterator[tuple[str, str]]:
    """Acronyms and names of the structures of the atlas that a command line has so far."""
    given = ctx.params
    files = [given[name] for name in _STRUCTURES if given.get(name)]
    atlases = [given[name] for name in _ATLASES if given.get(name)]
    # Before the value of an option, click has only looked at options, and kept the rest.
    for path in [*files, *atlases, *reversed(ctx.args)]:
        text = path if isinstance(path, str) else path[0]
        found = list(_structures_of(text))
        if found:
            yield from found
            return


def _structures_of(text: str) -> Iterator[tuple[str, str]]:
    path = Path(text)
    if path.is_dir():
        yield from _structures_in(_json(path / "zarr.json"))
    elif path.suffix.lower() == ".json":
        yield from _structures_in(_json(path))
    elif path.suffix.lower() in (".csv", ".tsv"):
        yield from _rows(path)
    elif ":" in text and "://" not in text:
        from refspace.sources.locating import locate

        ctx = click.get_current_context(silent=True)
        resolution = None if ctx is None else ctx.params.get("resolution")
        yield from _structures_of(str(locate(text, resolution=resolution)[2]))


def _json(path: Path) -> Any:
    return json.loads(_read(path))


def _read(path: Path) -> str:
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size > _MOST_BYTES:
            return ""
        return file.read(_MOST_BYTES).decode("utf-8-sig")


def _structures_in(value: Any) -> Iterator[tuple[str, str]]:
    """Acronyms in JSON of any form, in its order."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            acronym, name = (_first(value, names) for names in (_ACRONYMS, _NAMES))
            if acronym:
                yield acronym, name
            waiting += [v for v in reversed(value.values()) if isinstance(v, dict | list)]
        elif isinstance(value, list):
            waiting += reversed(value)


def _rows(path: Path) -> Iterator[tuple[str, str]]:
    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    for row in csv.DictReader(_read(path).splitlines(), delimiter=separator):
        if acronym := _first({str(key).lower(): value for key, value in row.items()}, _ACRONYMS):
            yield acronym, _first(row, _NAMES)


def _first(values: Any, names: Sequence[str]) -> str:
    texts = (values[name] for name in names if isinstance(values.get(name), str))
    return next((text for text in texts if text.isprintable()), "")


# ----- the shells


class _Bash(BashComplete):
    """Completion in bash, which takes the parts of allen:ccf_2017 for words of their own."""

    def get_completion_args(self) -> tuple[list[str], str]:
        """Words of the command line, and the last one as far as it is written."""
        args, incomplete = super().get_completion_args()
        self._before = ""
        if incomplete == ":" and args:
            self._before, incomplete = f"{args.pop()}:", ""
        elif len(args) > 1 and args[-1] == ":":
            self._before, args = f"{args[-2]}:", args[:-2]
        return args, f"{self._before}{incomplete}"

    def format_completion(self, item: CompletionItem) -> str:
        """Line for the shell: what is to take the place of the last of its words."""
        item.value = item.value.removeprefix(self._before)
        return super().format_completion(item)


add_completion_class(_Bash, "bash")


@click.command(epilog=examples("refspace completion bash", "refspace completion fish"))
@click.argument("shell", type=click.Choice(_SHELLS), required=False)
def completion(shell: str | None) -> None:
    """Print what makes a shell complete commands.

    It completes commands, options, files, atlases by name, and acronyms of structures. SHELL is
    that of the environment if it is not given. One line installs it:

    \b
      bash: echo 'eval "$(refspace completion bash)"' >> ~/.bashrc
      zsh:  echo 'eval "$(refspace completion zsh)"' >> ~/.zshrc
      fish: refspace completion fish > ~/.config/fish/completions/refspace.fish
    """  # noqa: D301
    name = shell or Path(os.environ.get("SHELL", "")).name
    kind: type[ShellComplete] | None = get_completion_class(name) if name in _SHELLS else None
    if kind is None:
        raise click.UsageError(f"the shell {name!r} is not known; give one of {', '.join(_SHELLS)}")
    # What is printed does not depend on the commands.
    with suppress(BrokenPipeError):
        click.echo(kind(click.Command(_PROGRAM), {}, _PROGRAM, _VARIABLE).source())


COMMANDS = (completion,)
