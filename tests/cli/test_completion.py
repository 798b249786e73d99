"""Completion in shells: of commands, files, atlases by name, and acronyms."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete, get_completion_class
from helpers.commands import run

import refspace
from refspace.cli import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("atlas")
    space = refspace.phantom(400)
    space.to_zarr(folder / "atlas.zarr")
    refspace.write_nrrd(folder / "annotation.nrrd", space.annotation)
    for ending in ("json", "csv", "tsv"):
        refspace.write_structures(folder / f"structures.{ending}", space.structure_tree)
    (folder / "damaged.json").write_text('{"acronym": "VISp", ')
    return folder


def completed(*words: object) -> list[str]:
    """Values for the last of some words."""
    *args, incomplete = map(str, words)
    shell = ShellComplete(main, {}, "refspace", "_REFSPACE_COMPLETE")
    return [item.value for item in shell.get_completions(args, incomplete)]


def test_commands_and_options() -> None:
    assert completed("co") == ["compare", "completion", "convert", "counts"]
    assert completed("export", "ome") == ["ome-zarr"]
    assert completed("slice", "x.zarr", "--axis", "s") == ["sagittal"]
    assert "--structures" in completed("counts", "x.zarr", "--str")


def test_acronyms_of_stores_and_files(folder: Path) -> None:
    tree = refspace.phantom(400).structure_tree
    expected = {n["acronym"] for n in tree.nodes() if n["acronym"].lower().startswith("visp")}
    assert "VISp" in expected
    for words in (["atlas.zarr"], ["annotation.nrrd", "structures.json"]):
        paths = [folder / word for word in words]
        for typed in ("VISp", "visp"):
            assert {*completed("counts", *paths, "-s", typed)} == expected
    for source in ("structures.json", "structures.csv"):
        assert {*completed("tree", folder / source, "VISp")} == expected
    assert completed("mask", folder / "atlas.zarr", "-s", "TH,MOp2") == ["TH,MOp2/3"]
    assert "TH" in completed("slice", folder / "atlas.zarr", "--outline", "")


def test_files_are_left_to_the_shell() -> None:
    shell = ShellComplete(main, {}, "refspace", "_REFSPACE_COMPLETE")
    for words in (["info"], ["counts"], ["convert", "x.nrrd"], ["counts", "x.zarr", "-o"]):
        assert "file" in {item.type for item in shell.get_completions(words, "some")}, words


def test_atlases_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("REFSPACE_CACHE", str(tmp_path))
    assert completed("info", "allen:ccf_201")[:3] == [f"allen:ccf_201{n}" for n in (5, 6, 7)]
    assert completed("list", "al") == ["allen"]


def test_nothing_is_said_of_what_is_damaged(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for atlas in (folder / "damaged.json", folder / "nothing.zarr", folder, "allen:", "a:b", "\0"):
        assert completed("counts", atlas, "-s", "V") == []
    assert capfd.readouterr() == ("", "")


def test_completion_needs_no_array_library(folder: Path) -> None:
    code = (
        "import sys; from refspace.cli import main\n"
        "try: main(prog_name='refspace')\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'xarray', 'dask', 'pandas', 'networkx', 'zarr'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    words = ["refspace", "counts", str(folder / "atlas.zarr"), "-s", "VISpm"]
    environment = {
        **os.environ,
        "_REFSPACE_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert "plain,VISpm" in done.stdout.splitlines()


def test_words_with_a_colon_in_bash(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Bash takes the parts of allen:ccf_2017 for three words, and replaces the last."""
    monkeypatch.setenv("REFSPACE_CACHE", str(tmp_path))
    kind = get_completion_class("bash")
    assert kind is not None
    for words, number in (("refspace info allen : ccf_201", 4), ("refspace info allen :", 3)):
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(number))
        shown = kind(main, {}, "refspace", "_REFSPACE_COMPLETE").complete().splitlines()
        assert shown[0] == "plain,ccf_2015"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_are_printed(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run("completion", shell)
    assert result.exit_code == 0
    assert "_REFSPACE_COMPLETE" in result.stdout
    monkeypatch.setenv("SHELL", f"/bin/{shell}")
    assert run("completion").stdout == result.stdout
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=result.stdout, text=True, check=True)


def test_an_unknown_shell_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    result = run("completion")
    assert result.exit_code == 2
    assert "the shell 'tcsh' is not known; give one of bash, zsh, fish" in result.stderr
