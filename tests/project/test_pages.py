"""Pages of the documentation: what is no doctest in them runs too, and links lead somewhere."""

import os
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from helpers import allen_replay, brainglobe_replay
from helpers.abc_replay import abc_files
from helpers.pages import DOCS, README, ROOT, blocks, pages
from helpers.serving import Server

import refspace
from refspace.cli import main
from refspace.formats.itksnap import write_label_description
from refspace.labels import labelled


@pytest.mark.slow
def test_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (commands,) = blocks(DOCS / "howto/commands.md", "bash")
    for line in commands.splitlines():
        result = CliRunner().invoke(main, shlex.split(line)[1:])
        assert result.exit_code == 0, f"{line}\n{result.output}"
    names = {"slice_coronal.png", "thalamus.png", "half.nrrd", "labels.nrrd", "labels.txt"}
    names |= {"AUDd.nrrd", "again.zarr/zarr.json", "cells_per_area.csv"}
    names |= {"masks/structure_385.nrrd", "masks/structure_549.nrrd"}
    folder = tmp_path / "refspace-demo"
    assert names <= {str(path.relative_to(folder)) for path in folder.rglob("*")}


def code_of(page: str) -> list[str]:
    """Blocks of Python that show no results."""
    return [block for block in blocks(DOCS / page, "python") if ">>>" not in block]


def test_atlases_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REFSPACE_CACHE", str(tmp_path / "cache"))
    space = refspace.phantom(200)
    # The hosts, small.
    folder = brainglobe_replay.write_bucket(tmp_path / "bucket")
    found = [path for path in folder.rglob("*") if path.is_file()]
    paths = {path: f"/{path.relative_to(folder)}" for path in found}
    name = brainglobe_replay.NAME
    files = {
        url.replace(name, "allen_mouse_25um"): path.read_bytes() for path, url in paths.items()
    }
    files[allen_replay.QUERY.format(1)] = allen_replay.answer(
        allen_replay.records(space.structure_tree)
    )
    annotation = f"{allen_replay.ARCHIVE}/annotation/ccf_2017/annotation_25.nrrd"
    files[annotation] = allen_replay.nrrd(space.annotation.values, 25)
    files |= abc_files(space)
    brainglobe_replay.write_bucket(tmp_path / "FOLDER/brainglobe-atlasapi")
    refspace.write_nifti("atlas.nii.gz", space.annotation)
    write_label_description(Path("labels.txt"), space.structure_tree.export_label_description())
    with Server(files) as server:
        for variable in ("ALLEN_HOST", "BRAINGLOBE", "ABC"):
            monkeypatch.setenv(f"REFSPACE_{variable}", server.url)
        monkeypatch.setenv("REFSPACE_ALLEN_ARCHIVE", server.url + allen_replay.ARCHIVE)
        codes = code_of("howto/atlases.md") + code_of("brainglobe.md")
        lines = [line for code in codes for line in code.splitlines() if line.startswith("space")]
        assert len(lines) == 7
        for line in lines:
            names: dict[str, Any] = {"refspace": refspace}
            exec(line.replace("NAME", name), names)
            left = names["space"].hemisphere("left").voxel_counts()
            assert left.direct.sel(structure=385) == space.hemisphere("left").direct_voxel_map[385]


def test_files_that_are_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    refspace.write_structures("structure_graph_1.json", refspace.phantom(400).structure_tree)
    grid = refspace.Grid((4, 4, 4), (25, 25, 25))
    refspace.write_nrrd("annotation_25.nrrd", labelled(np.full(grid.shape, 385, "u4"), grid))
    names: dict[str, Any] = {"refspace": refspace}
    (code,) = code_of("howto/own_files.md")
    opening, constructing = code.strip().split("\n\n")
    for lines in (opening, constructing):
        names.pop("space", None)
        exec(lines, names)
        assert names["space"].total_voxel_map[315] == 64


def test_setup_commands_are_the_first_two_blocks() -> None:
    demo, tests = blocks(README, "bash")
    assert demo.rstrip().endswith("refspace demo")
    assert tests.rstrip().endswith("-m pytest -n auto")
    assert os.linesep not in demo.strip()


def test_every_public_name_is_in_the_reference() -> None:
    listed = re.findall(r"^   (\w+)$", (DOCS / "reference/api.rst").read_text("utf-8"), re.M)
    assert {*refspace.__all__, "open"} - {"RefspaceError"} == {*listed}


def test_the_readme_is_short() -> None:
    assert len(README.read_bytes()) <= 6000


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.M | re.S)
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    missing = [link for link in links if "://" not in link and not is_there(page, link)]
    assert missing == []


def is_there(page: Path, link: str) -> bool:
    """Whether the file that a link names exists, and has the heading, if it names one."""
    path, _, anchor = link.partition("#")
    target = page.parent / path if path else page
    return target.exists() and (not anchor or anchor in anchors(target))


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as readers of Markdown make them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.M)
    words = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {word.replace(" ", "-") for word in words}
