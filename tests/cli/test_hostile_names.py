"""Names and provenance of whoever made an atlas: no terminal gets their control characters."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import run

import refspace
from refspace.cli.progress import FetchProgress, Progress
from refspace.errors import JobError, OntologyError, RefspaceError, StructureNotFoundError

pytestmark = pytest.mark.usefixtures("no_sync", "no_threads")

# Titles of windows, cleared screens, hidden lines, text from right to left, further lines.
HOSTILE = (
    "\x1b]0;owned\x07",
    "\x1b[2J\x1b[1;1H",
    "CP\rroot",
    "a\u202egnp.exe",
    "b\u2066c\u2069",
    "d\u2028e\u2029f\u0085g",
    "\x9b31m\x7f\x00",
    "h\ni: all is well",
)
# Whatever stands in the output, but for the ends of lines.
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


@pytest.fixture(scope="module")
def nodes():
    root = {"id": 1, "acronym": "root", "name": "root", "structure_id_path": [1]}
    return [root] + [
        {
            "id": n,
            "acronym": f"{text}{n}",
            "name": f"{text} {n}",
            "structure_id_path": [1, n],
            "rgb_triplet": [n, n, n],
            "structure_set_ids": [7],
        }
        for n, text in enumerate(HOSTILE, 2)
    ]


@pytest.fixture(scope="module")
def space(nodes):
    voxels = np.zeros((12, 10, 8), "u4")
    voxels[1:-1, 1:-1, 1:-1] = np.arange(10 * 8 * 6).reshape(10, 8, 6) % (len(nodes) + 2)
    provenance = {f"key{text}": text for text in HOSTILE}
    tree = refspace.StructureTree(nodes)
    volume = refspace.ReferenceSpace(tree, voxels, 100).volume
    return refspace.ReferenceSpace.from_volume(tree, volume, provenance=provenance)


@pytest.fixture(scope="module")
def folder(space, nodes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    space.to_zarr(folder / "atlas.zarr")
    refspace.write_structures(folder / "structures.json", space.structure_tree)
    refspace.write_nrrd(folder / "annotation.nrrd", space.annotation)
    refspace.write_nrrd(folder / "image.nrrd", space.annotation.astype("f4"))
    other = space.annotation.copy()
    other[5:] = 2
    refspace.write_nrrd(folder / "other.nrrd", other)
    (folder / "points.csv").write_text("ap,dv,ml\n350,350,350\n0,0,0\n450,450,450\n")
    names = "\n".join(f'"{text}",1.5' for text in HOSTILE[:4])
    (folder / "volumes.csv").write_text(f"structure,volume\n{names}\n", encoding="utf-8")
    return folder


COMMANDS = [
    "info atlas.zarr",
    "info atlas.zarr --json",
    "verify atlas.zarr",
    "counts atlas.zarr",
    "counts annotation.nrrd structures.json --by-hemisphere",
    "counts atlas.zarr -s 2,3,4,5,6,7,8,9",
    "counts atlas.zarr -s \x1b]0;owned\x07",
    "counts atlas.zarr -s CP\rrooo",
    "counts atlas.zarr --structure-set 7",
    "points atlas.zarr points.csv",
    "points atlas.zarr points.csv --columns \x1b[2J,a,b",
    "compare atlas.zarr other.nrrd",
    "compare atlas.zarr other.nrrd --depth 1",
    "validate atlas.zarr",
    "validate atlas.zarr --connectivity --depth 1",
    "validate atlas.zarr --volumes volumes.csv",
    "aggregate atlas.zarr image.nrrd",
    "aggregate atlas.zarr image.nrrd \x1b[2J.nrrd",
    "mask atlas.zarr -s 2 --dry-run",
    "mask atlas.zarr -s 2,3 -o {out}/masks",
    "mask atlas.zarr -s \x1b[2J2",
    "slice atlas.zarr -o {out}/slice.png --outline 2",
    "downsample atlas.zarr {out}/coarse.nrrd --resolution 200",
    "export itksnap atlas.zarr {out}/labels.nrrd {out}/labels.txt",
    "convert annotation.nrrd structures.json {out}/new.zarr --provenance a\x1b=\x1b[2J",
    "convert annotation.nrrd structures.json {out}/new\x1b[2J.zarr",
    "info missing\x1b]0;owned\x07.zarr",
    "verify missing\u202e.zarr",
    "fetch allen:\x1b[2J --resolution 25",
    "fetch \x1b[2J:ccf",
    "counts missing\x07.nrrd structures.json",
    "slice atlas.zarr --axis \x1b[2J",
    "\x1b[2J",
    "info atlas.zarr --storage-option \x1b[2J",
]


@pytest.mark.promise("a name holds control characters")
@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_prints_control_characters(command, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    words = [word.format(out=tmp_path) if "{out}" in word else word for word in command.split(" ")]
    result = run(*words)
    assert result.exit_code in (0, 1, 2), result.output
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert CONTROL.search(result.stdout + result.stderr) is None
    assert "\ni: all is well" not in result.output
    if "--json" in words:
        assert set(HOSTILE) <= set(json.loads(result.stdout)["provenance"].values())


def test_names_are_shown_escaped(folder):
    shown = run("counts", folder / "atlas.zarr", "-s", "2,4,5").stdout
    assert r"\x1b]0;owned\x07" in shown
    assert r"CP\rroot" in shown
    assert r"a\u202egnp.exe" in shown
    assert r"provenance, keya\u202egnp.exe" in run("info", folder / "atlas.zarr").stdout


def test_reports_and_drawings_are_safe_to_print(space, folder):
    tree = space.structure_tree
    other = refspace.read_nrrd(folder / "other.nrrd")
    texts = [repr(tree), str(tree), tree._repr_html_(), repr(space)]
    texts += [str(space.validate()), str(space.validate(depth_regions(tree)))]
    texts += [str(space.compare(other)), str(tree.regions()), repr(tree.regions())]
    for text in texts:
        assert CONTROL.search(text) is None


def depth_regions(tree):
    return tree.regions(depth=1)


def test_messages_are_safe_to_print(space):
    for name in ("\x1b[2J", "a\u202e", "\ud83e"):
        with pytest.raises(StructureNotFoundError) as caught:
            space.make_structure_mask(name)
        assert CONTROL.search(str(caught.value)) is None
        str(caught.value).encode()
    error = JobError("some\x1b failed", {"\x1b[2J": "it \u202e is"})
    error.add_note("more \x07")
    assert CONTROL.search(str(error) + "".join(error.__notes__)) is None
    assert str(error).count("\n") == 1


def test_progress_and_logs_are_safe_to_print(capsys):
    with Progress("writing \x1b[2J"):
        pass
    with FetchProgress("fetching \x1b]0;owned\x07") as progress:
        progress("\x1b[2J.nrrd", 1, 2)
        progress._handler.emit(_record("waiting for \x07"))
    assert CONTROL.search(capsys.readouterr().err) is None


def _record(message):
    import logging

    return logging.LogRecord("refspace", logging.INFO, "", 0, message, (), None)


# ----- lone surrogates


@pytest.mark.promise("a text is no text (half a character)", "an error with the remedy")
@pytest.mark.parametrize("field", ["name", "acronym", "safe_name"])
def test_halves_of_characters_are_refused(field, tmp_path):
    node = {"id": 5, "structure_id_path": [5], "acronym": "a", "name": "n", field: "x\ud83e"}
    with pytest.raises(OntologyError, match=rf"structure 5 has {field} .* lone surrogate"):
        refspace.StructureTree([node])
    path = tmp_path / "structures.json"
    path.write_text(json.dumps([node]))
    if field != "safe_name":  # which is no field that is kept
        with pytest.raises(OntologyError, match="lone surrogate"):
            refspace.read_structures(path)


def test_provenance_with_halves_of_characters_is_refused(space, tmp_path):
    for provenance in ({"source": "\udcff"}, {"\ud83e": "x"}, {"a": ["\ud83e"]}):
        with pytest.raises(RefspaceError, match="provenance"):
            refspace.convert(
                space.annotation, space.structure_tree, tmp_path / "a.zarr", provenance=provenance
            )
    assert [*tmp_path.iterdir()] == []


def test_paths_that_are_no_text(space, folder, tmp_path):
    name = b"annotation\xff\x1b.nrrd"
    path = Path(str(tmp_path), name.decode("utf-8", "surrogateescape"))
    path.write_bytes((folder / "annotation.nrrd").read_bytes())
    stored = refspace.convert(path, space.structure_tree, tmp_path / "a.zarr")
    source = stored.provenance["source"]
    assert source.endswith(r"annotation\udcff\x1b.nrrd")
    assert refspace.verify_store(tmp_path / "a.zarr").faults == ()
    for words in (
        ["info", path],
        ["counts", path, folder / "structures.json"],
        ["info", f"{path}.missing"],
        ["info", f"{path}.zarr"],
        ["convert", path, folder / "structures.json", f"{path}.zarr"],
        ["verify", f"{path}.zarr"],
        ["aggregate", tmp_path / "a.zarr", path, "-o", tmp_path / "table.csv"],
        ["aggregate", tmp_path / "a.zarr", path, "-o", tmp_path / "table.parquet"],
        ["aggregate", tmp_path / "a.zarr", path],
    ):
        result = run(*words)
        assert result.exit_code in (0, 1, 2)
        assert result.exception is None or isinstance(result.exception, SystemExit), (
            words,
            result.exception,
        )


# ----- formulas


@pytest.fixture(scope="module")
def formulas(tmp_path_factory):
    folder = tmp_path_factory.mktemp("formulas")
    names = ["=1+1", "+1", "-x", "@SUM(A1)", "\t=1", "\r=1", "\uff1d1", "-1.5e3", "plain"]
    nodes = [
        {"id": n, "acronym": name, "name": f"{name}n", "structure_id_path": [n]}
        for n, name in enumerate(names, 1)
    ]
    voxels = np.arange(1, 217, dtype="u4").reshape(6, 6, 6) % 5
    space = refspace.ReferenceSpace(refspace.StructureTree(nodes), voxels, 10)
    space.to_zarr(folder / "atlas.zarr")
    refspace.write_nrrd(folder / "image.nrrd", space.annotation.astype("f4"))
    refspace.write_nrrd(folder / "other.nrrd", space.annotation)
    (folder / "points.csv").write_text('ap,dv,ml,=note\n5,5,5,"=2"\n15,15,15,-3\n')
    return folder


FORMULA = re.compile("^[=+\\-@\t\r\uff1d]")


@pytest.mark.promise("a name begins like a formula", "it is escaped in CSV and TSV on request")
@pytest.mark.parametrize(
    "command",
    [
        "counts atlas.zarr -o {out}/t{ending}",
        "points atlas.zarr points.csv -o {out}/t{ending}",
        "points atlas.zarr points.csv --each {out}/t{ending}",
        "compare atlas.zarr other.nrrd -o {out}/t{ending}",
        "compare atlas.zarr other.nrrd --confusion {out}/t{ending}",
        "validate atlas.zarr -o {out}/findings",
        "aggregate atlas.zarr image.nrrd -o {out}/t{ending}",
    ],
)
@pytest.mark.parametrize("ending", [".csv", ".tsv"])
def test_formulas_are_escaped_on_request(command, ending, formulas, tmp_path, monkeypatch):
    import csv

    monkeypatch.chdir(formulas)

    def cells(out, *options):
        out.mkdir()
        words = [word.format(out=out, ending=ending) for word in command.split(" ")]
        result = run(*words, *options)
        assert result.exit_code in (0, 1), result.output
        files = [*out.glob("t.*"), *out.glob("findings/*.csv")]
        assert files
        found = []
        for file in files:
            separator = "\t" if file.suffix == ".tsv" else ","
            with file.open(encoding="utf-8", newline="") as text:
                found += [cell for row in csv.reader(text, delimiter=separator) for cell in row]
        return found

    plain, escaped = cells(tmp_path / "plain"), cells(tmp_path / "safe", "--escape-formulas")

    def is_number(text):
        return re.fullmatch(r"[+-]?[\d.]+(e[+-]?\d+)?", text) is not None

    dangerous = [cell for cell in plain if FORMULA.match(cell) and not is_number(cell)]
    assert dangerous or "--confusion" in command  # which has ids alone
    assert not [cell for cell in escaped if FORMULA.match(cell) and not is_number(cell)]
    assert [cell.removeprefix("'") for cell in escaped] == plain
    assert not any("\r" in cell for cell in plain)


def test_tables_are_escaped_as_a_whole(formulas, tmp_path):
    job = [formulas / "atlas.zarr", [formulas / "image.nrrd"], tmp_path / "t.csv"]
    refspace.aggregate_images(*job, escape_formulas=True)
    assert "\n" in (tmp_path / "t.csv").read_text()
    with pytest.raises(RefspaceError, match="another job"):
        refspace.aggregate_images(*job)
    assert refspace.aggregate_images(*job, escape_formulas=True).kept == 1


def test_parquet_says_what_is_text(formulas, tmp_path):
    import pandas as pd

    pytest.importorskip("pyarrow")
    job = [formulas / "atlas.zarr", [formulas / "image.nrrd"], tmp_path / "t.parquet"]
    refspace.aggregate_images(*job, escape_formulas=True)
    assert refspace.aggregate_images(*job).kept == 1
    assert "=1+1" in set(pd.read_parquet(tmp_path / "t.parquet")["acronym"])
