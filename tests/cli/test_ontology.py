"""The commands that show the structures of an atlas, and what names of sets other commands take."""

import io
import json
import shlex
from pathlib import Path

import pandas as pd
import pytest
from click.testing import Result
from helpers import commands

import refspace


@pytest.fixture(scope="module")
def space() -> refspace.ReferenceSpace:
    return refspace.phantom(400)


@pytest.fixture(scope="module")
def atlas(space: refspace.ReferenceSpace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Atlas as a store and a structures file; not to be changed."""
    folder = tmp_path_factory.mktemp("atlas")
    refspace.write_structures(folder / "structures.json", space.structure_tree)
    space.to_zarr(folder / "atlas.zarr", chunks=20)
    return folder


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*words: object, code: int = 0) -> Result:
    result = commands.run(*words)
    assert result.exit_code == code, result.output
    return result


SOURCES = pytest.mark.parametrize("source", ["structures.json", "atlas.zarr"])


# ----- tree


@SOURCES
@pytest.mark.parametrize("words", [[], ["VIS"], ["VIS", "--depth", 1], ["Thalamus", "--depth", 0]])
def test_tree_draws(atlas: Path, space: refspace.ReferenceSpace, source: str, words: list) -> None:
    found = run("tree", atlas / source, *words).stdout
    depth = words[2] if words[1:] else 2
    expected = space.structure_tree.show(words[0] if words else None, depth=depth)
    assert found == f"{expected}\n"


def test_counts_stand_before_structures(atlas: Path, space: refspace.ReferenceSpace) -> None:
    lines = run("tree", atlas / "atlas.zarr", "VIS", "--depth", 1, "--counts").stdout.splitlines()
    assert lines[0].endswith("VIS Visual areas (669)")
    for line in lines:
        number, structure = int(line.split()[0]), int(line.split("(")[1].split(")")[0])
        assert number == space.total_voxel_map[structure]


@pytest.mark.parametrize("how", [["--csv"], ["-o", "-"], ["-o", "table.csv"], ["-o", "table.tsv"]])
def test_tables_of_structures_are_read_again(
    atlas: Path, space: refspace.ReferenceSpace, how: list
) -> None:
    result = run("tree", atlas / "structures.json", *how)
    path = Path(how[-1])
    if how[-1] in ("--csv", "-"):
        path = Path("piped.csv")
        path.write_text(result.stdout, encoding="utf-8")
    again, tree = refspace.read_structures(path), space.structure_tree
    assert again.to_dataframe().equals(tree.to_dataframe())


def test_table_of_a_part_with_counts(atlas: Path, space: refspace.ReferenceSpace) -> None:
    printed = run("tree", atlas / "atlas.zarr", "TH", "--counts", "--csv").stdout
    table = pd.read_csv(io.StringIO(printed), index_col="id", keep_default_na=False)
    assert table.index.tolist() == space.structure_tree.descendant_ids("TH")[0]
    assert table["total"].to_dict() == {i: space.total_voxel_map[i] for i in table.index}
    assert table["direct"].to_dict() == {i: space.direct_voxel_map[i] for i in table.index}
    assert table.loc[549, "volume_mm3"] == pytest.approx(table.loc[549, "total"] * 0.4**3)
    shallow = run("tree", atlas / "atlas.zarr", "TH", "--depth", 1, "--csv").stdout
    assert len(shallow.splitlines()) == 2 + len(space.structure_tree.child_ids("TH")[0])


def test_json_of_structures(atlas: Path, space: refspace.ReferenceSpace) -> None:
    rows = json.loads(run("tree", atlas / "structures.json", "--json").stdout)["structures"]
    table = space.structure_tree.to_dataframe()
    assert [row["id"] for row in rows] == table.index.tolist()
    assert rows[0]["parent"] is None
    assert [tuple(row["path"]) for row in rows] == table["path"].tolist()
    assert [tuple(row["sets"]) for row in rows] == table["sets"].tolist()


def test_sets(atlas: Path) -> None:
    assert run("tree", atlas / "atlas.zarr", "--sets").stdout.splitlines() == [
        "       set  structures  name",
        " 167587189         137  Brain - Summary Structures (summary)",
        " 514166994           6  Allen Brain Observatory targeted structure set (observatory)",
        " 687527670          12  Brain - Major Divisions (divisions)",
        " 687527945          31  Mouse Connectivity - Summary",
    ]
    rows = json.loads(run("tree", atlas / "atlas.zarr", "--sets", "--json").stdout)["sets"]
    assert rows[1] == {
        "id": 514166994,
        "name": "Allen Brain Observatory targeted structure set",
        "structures": 6,
        "regions": "observatory",
    }
    Path("plain.csv").write_text("id,name\n1,one\n")
    assert run("tree", "plain.csv", "--sets").stdout == "the structures are in no sets\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["structures.json", "--counts"],
            "--counts needs voxels, and .* is a structures file; give",
        ),
        (["structures.json", "VISq"], "no structure has acronym, name or id 'VISq'; did you mean"),
        (["atlas.zarr", "VIS", "--sets"], "--sets is of the whole tree; give no STRUCTURE"),
        (["structures.json", "--csv", "--json"], "give one of --csv and --json"),
        (["structures.json", "-o", "x.txt"], "x.txt does not end in .csv, .tsv or .parquet"),
        (["atlas.zarr", "--columns", "id=x"], "--columns is of a structures file, and"),
        (["nothing.json"], "nothing.json does not exist"),
    ],
)
def test_trees_that_are_refused(atlas: Path, words: list, message: str) -> None:
    source, *others = words
    result = commands.run("tree", atlas / source, *others)
    assert result.exit_code
    lines = result.stderr.splitlines()
    assert pd.Series([lines[-1]]).str.contains(message).all(), lines


# ----- search


@SOURCES
def test_search_lists_the_best_first(
    atlas: Path, space: refspace.ReferenceSpace, source: str
) -> None:
    found = space.structure_tree.search("visual area")
    lines = run("search", atlas / source, "visual", "area").stdout.splitlines()
    assert [int(line.split()[0]) for line in lines[:-1]] == found.index[:20].tolist()
    assert lines[3] == " 385  VISp      Primary visual area"
    assert lines[-1] == f"… and {len(found) - 20} more; --limit {len(found)} lists all"
    assert (
        len(run("search", atlas / source, "visual", "area", "--limit", 3).stdout.splitlines()) == 4
    )


def test_tables_of_what_is_found_are_whole(atlas: Path, space: refspace.ReferenceSpace) -> None:
    found = space.structure_tree.search("^VIS", regex=True)
    words = ["search", atlas / "atlas.zarr", "--regex", "^VIS"]
    table = pd.read_csv(io.StringIO(run(*words, "--csv").stdout), keep_default_na=False)
    assert table["id"].tolist() == found.index.tolist()
    assert set(table["match"]) == {"acronym"}
    assert len(json.loads(run(*words, "--json", "--limit", 2).stdout)["structures"]) == 2
    run(*words, "-o", "found.parquet")
    assert pd.read_parquet("found.parquet")["id"].tolist() == found.index.tolist()


def test_search_by_spelling_is_told(atlas: Path) -> None:
    result = run("search", atlas / "structures.json", "hipocampus")
    assert "Hippocampal formation" in result.stdout
    assert result.stderr == "no structure has all of 'hipocampus'; these are spelled like it\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["qqqq"], "no structure matches 'qqqq'; try fewer words, or parts of them"),
        (["--regex", "qq$"], "no structure matches 'qq$'; 'refspace tree' shows all"),
        (["--regex", "("], "is no regular expression"),
        ([" "], "there is no word in ' '; give one to look for"),
    ],
)
def test_nothing_is_found(atlas: Path, words: list, message: str) -> None:
    result = run("search", atlas / "structures.json", *words, code=1)
    assert message in result.stderr
    assert result.stdout == ""


def test_hostile_names_stay_on_their_lines() -> None:
    records = [{"id": 1, "acronym": "a\x1b[2J\nb", "name": "evil\n=1+1"}]
    Path("evil.json").write_text(json.dumps(records))
    for words in (["tree", "evil.json"], ["search", "evil.json", "evil"]):
        printed = run(*words).stdout
        assert printed.count("\n") == 1
        assert "\x1b" not in printed
        assert "\x1b" not in run(*words, "--csv").stdout + run(*words, "--json").stdout


# ----- sets and regions by name, of any command


@pytest.mark.parametrize(
    ("name", "regions"),
    [
        ("beryl", "beryl"),
        ("Cosmos", "cosmos"),
        ("brain - major divisions", "divisions"),
        (687527670, "divisions"),
    ],
)
def test_counts_of_regions_with_a_name(
    atlas: Path, space: refspace.ReferenceSpace, name: object, regions: str
) -> None:
    run("counts", atlas / "atlas.zarr", "--structure-set", name, "-o", "counts.csv")
    table = pd.read_csv("counts.csv")
    assert table["structure"].tolist() == list(space.structure_tree.regions(regions).labels)


def test_sets_that_are_not_there(atlas: Path) -> None:
    result = run("counts", atlas / "atlas.zarr", "--structure-set", "berly", code=1)
    assert "no structure is in set berly; the sets of this tree are 167587189" in result.stderr
    assert result.stderr.endswith("'refspace tree --sets' lists them\n")


@pytest.mark.parametrize("command", ["tree", "search"])
def test_examples_of_the_help_run_as_printed(atlas: Path, command: str) -> None:
    Path("refspace-demo").symlink_to(atlas)
    printed = run(command, "--help").stdout
    assert max(map(len, printed.splitlines())) <= 80
    examples = [line for line in printed.splitlines() if line.startswith("    refspace ")]
    assert len(examples) >= 3
    for line in examples:
        assert run(*shlex.split(line)[1:]).stdout
