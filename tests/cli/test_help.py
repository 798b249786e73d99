"""Help texts: whole sentences in 80 columns, and examples that run as they are printed."""

import hashlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from helpers import allen_replay, brainglobe_replay
from helpers.servers import Server

import refspace
from refspace.cli import main
from refspace.cli.options import takes_storage_options
from refspace.cli.outputs import LocalFolder, OutputPath
from refspace.formats.tables import write_table
from refspace.samples.measurements import cells, expression
from refspace.verbs.tables import statistics_table

FETCH = "refspace fetch "
# Those that take seconds: pictures, many meshes; and what takes replays of hosts.
VIEW = "refspace view "
LONG = (FETCH, VIEW, "refspace demo", "refspace mesh refspace-demo/atlas.zarr --depth")
ATLAS = (
    *("annotation.nrrd", "structures.json", "atlas.zarr", "expression.nrrd", "cells.csv"),
    "expression.csv",
)

# What another program could have written.
PLAIN = "plain.ome.zarr"


def commands(
    group: click.Group = main, words: tuple[str, ...] = ()
) -> Iterator[tuple[str, click.Command]]:
    """All commands, groups among them, by what is typed for them."""
    yield " ".join(words), group
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*words, name))
        else:
            yield " ".join((*words, name)), command


COMMANDS = dict(commands())


# Those that reach nothing: a sample brain, and completion for a shell.
WITHOUT_URLS = {"demo", "completion"}


@pytest.mark.parametrize(
    "words", [w for w, c in COMMANDS.items() if not isinstance(c, click.Group)]
)
def test_every_command_that_takes_a_url_takes_storage_options(words: str) -> None:
    options = {option for param in COMMANDS[words].params for option in param.opts}
    assert ("--storage-option" in options) == (words not in WITHOUT_URLS)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("anon=true", True),
        ("anon=false", False),
        ("timeout=30", 30),
        ("rate=0.5", 0.5),
        ("profile=null", None),
        ('client_kwargs={"region_name": "eu"}', {"region_name": "eu"}),
        ("key=a=b", "a=b"),
        ("key=0123", "0123"),
        ("key=123456", "123456"),
        ("secret=1e5", "1e5"),
        ("token=anon", "anon"),
        ('profile="1"', "1"),
        ("endpoint_url=http://127.0.0.1:9000", "http://127.0.0.1:9000"),
        ("empty=", ""),
    ],
)
def test_storage_options_have_types(text: str, value: object) -> None:
    found = {}

    @click.command()
    @takes_storage_options
    def show(storage_options: dict[str, object]) -> None:
        found.update(storage_options)

    result = CliRunner().invoke(show, ["--storage-option", text])
    assert result.exit_code == 0, result.output
    assert found == {text.partition("=")[0]: value}
    assert type(found[text.partition("=")[0]]) is type(value)


def run(words: str) -> Result:
    return CliRunner().invoke(main, shlex.split(words), prog_name="refspace")


def examples_of(words: str) -> list[str]:
    """Examples in a help text, as they are printed: a backslash goes on in the next line."""
    text = run(f"{words} --help").stdout.partition("Examples:\n")[2]
    joined = re.sub(r"\\\n\s*", "", text)
    return [line.strip() for line in joined.splitlines() if line.strip().startswith("refspace ")]


EXAMPLES = [example for words in COMMANDS for example in examples_of(words)]


@pytest.mark.parametrize("words", COMMANDS)
def test_help_fits_80_columns_and_is_in_sentences(words: str) -> None:
    result = run(f"{words} --help")
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "..." not in re.sub(r"\b[A-Z]+\.\.\.|\[[A-Z]+\]\.\.\.", "", result.stdout)
    command = COMMANDS[words]
    assert (command.help or "").strip().split("\n\n")[0].endswith(".")
    for option in command.params:
        if isinstance(option, click.Option):
            assert (option.help or "").endswith("."), option.opts
    assert isinstance(command, click.Group) or examples_of(words), f"{words} has no example"


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with what examples take of that which ``refspace demo`` writes."""
    folder = tmp_path_factory.mktemp("quick")
    (folder / "refspace-demo").mkdir()
    files = [folder / "refspace-demo" / name for name in ATLAS]
    space = refspace.phantom(200)
    refspace.write_nrrd(files[0], space.annotation)
    refspace.write_structures(files[1], space.structure_tree)
    refspace.convert(*files[:2], files[2])
    space.to_ome_zarr(folder / PLAIN)
    refspace.write_nrrd(files[3], expression(space.grid))
    write_table(files[4], [cells(space.grid)])
    statistics = space.aggregate(expression(space.grid)).compute()
    write_table(files[5], [statistics_table(statistics, ["mean", "max"]).reset_index()])
    return folder


@pytest.mark.parametrize("example", [e for e in EXAMPLES if not e.startswith(LONG)])
def test_examples_run_as_printed(
    example: str, quick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = example.removeprefix("refspace ")
    monkeypatch.chdir(quick)
    result = run(f"{words} --overwrite" if "overwrite" in parameters(words) else words)
    assert result.exit_code == 0, result.output
    assert not result.stdout.startswith("Usage")


def parameters(words: str) -> set[str]:
    """Names of the options of the command of an example."""
    first, second, *_ = words.split()
    command = COMMANDS.get(f"{first} {second}") or COMMANDS[first]
    return {str(param.name) for param in command.params}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder in which ``refspace demo`` was run."""
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = run("demo --resolution 200")
    assert result.exit_code == 0, result.output
    assert all((folder / "refspace-demo" / name).exists() for name in ATLAS)
    refspace.phantom(200).to_ome_zarr(folder / PLAIN)
    return folder


def contents(folder: Path) -> dict[str, str]:
    """Digest of each file."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.slow
@pytest.mark.parametrize("example", [e for e in EXAMPLES if not e.startswith((FETCH, VIEW))])
def test_examples_replace_nothing(
    example: str, demo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = example.removeprefix("refspace ")
    monkeypatch.chdir(demo)
    before = contents(demo)
    result = run(words)
    assert result.exit_code == 0, result.output
    after = contents(demo)
    assert {path: after[path] for path in before} == before
    if after == before:
        return
    # Again: what is there stays as it is, whether the command refuses or goes on.
    again = run(words)
    if again.exit_code:
        assert "give --overwrite to replace" in again.stderr
    else:
        assert re.search(r'was complete|were there|"was_there": true', again.stdout), again.output
    assert {path: contents(demo)[path] for path in after} == after
    replaced = run(f"{words} --overwrite")
    assert replaced.exit_code == 0, replaced.output


def test_every_command_that_writes_files_can_be_told_to_replace_them() -> None:
    kinds = (OutputPath, LocalFolder)
    for words, command in COMMANDS.items():
        if any(isinstance(param.type, kinds) for param in command.params):
            assert "overwrite" in {str(param.name) for param in command.params}, words


def test_examples_of_fetch_run_as_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = brainglobe_replay.write_bucket(tmp_path / "bucket")
    (bucket / "atlases" / brainglobe_replay.NAME).rename(bucket / "atlases/allen_mouse_100um")
    (bucket / "atlases/last_versions.conf").write_text("[atlases]\nallen_mouse_100um = 1.2\n")
    monkeypatch.setenv("REFSPACE_BRAINGLOBE", str(bucket))
    monkeypatch.setenv("REFSPACE_CACHE", str(tmp_path / "cache"))
    with Server(allen_replay.replay(allen_replay.sample())) as server:
        monkeypatch.setenv("REFSPACE_ALLEN_HOST", server.url)
        monkeypatch.setenv("REFSPACE_ALLEN_ARCHIVE", server.url + allen_replay.ARCHIVE)
        for example in (e for e in EXAMPLES if e.startswith(FETCH)):
            result = run(example.removeprefix("refspace "))
            assert result.exit_code == 0, result.output
    here = run("list --here")
    assert len(here.stdout.splitlines()) == 3
