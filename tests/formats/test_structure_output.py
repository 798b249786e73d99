"""Structures as other programs read them, and as they come back."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.strategies import families, few
from hypothesis import given

from refspace import StructureTree, phantom, read_structures, write_structures
from refspace.errors import FormatError, OntologyError
from refspace.formats.structure_output import ENDINGS, bids_table

HOSTILE = 'a\tb "c" ; d, \\ </x> ü'
NODES = [
    {
        "id": 997,
        "acronym": "root",
        "name": "root",
        "rgb_triplet": [255, 255, 255],
        "graph_id": 1,
        "graph_order": 0,
        "structure_set_ids": [2, 691663206],
        "structure_id_path": [997],
    },
    {
        "id": 65535,
        "acronym": "CTXsp",
        "name": "Cortical subplate, deep",
        "rgb_triplet": [1, 147, 153],
        "graph_id": 1,
        "graph_order": 2,
        "structure_set_ids": [],
        "structure_id_path": [997, 65535],
    },
    {"id": 8, "acronym": "grey", "name": HOSTILE, "structure_id_path": [997, 8]},
    {"id": 12, "acronym": "x", "name": "x", "structure_id_path": [997, 8, 12]},
]
TREE = StructureTree(NODES)
LARGE = StructureTree(
    [*NODES, {"id": 2**32 - 1, "acronym": "max", "structure_id_path": [2**32 - 1]}]
)


def parents(tree):
    return dict(zip(tree.node_ids(), tree.parent_ids(tree.node_ids()), strict=True))


def fields(tree, name):
    return {node["id"]: node.get(name) for node in tree.nodes()}


def test_a_label_table_of_bids(tmp_path):
    write_structures(tmp_path / "atlas_dseg.tsv", LARGE)
    with (tmp_path / "atlas_dseg.tsv").open(newline="") as file:
        rows = [line.rstrip("\n").split("\t") for line in file]
    assert rows == [
        ["index", "name", "abbreviation", "color", "parent"],
        ["997", "root", "root", "#ffffff", "n/a"],
        ["65535", "Cortical subplate, deep", "CTXsp", "#019399", "997"],
        ["8", "a b 'c' ; d, \\ </x> ü", "grey", "n/a", "997"],
        ["12", "x", "x", "n/a", "8"],
        ["4294967295", "max", "max", "n/a", "n/a"],
    ]


def test_csv_and_parquet_have_the_columns_of_the_allen_institute(tmp_path):
    for ending in (".csv", ".parquet"):
        write_structures(tmp_path / f"s{ending}", LARGE)
    with (tmp_path / "s.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[1] == {
        "id": "65535",
        "acronym": "CTXsp",
        "name": "Cortical subplate, deep",
        "parent_structure_id": "997",
        "structure_id_path": "/997/65535/",
        "graph_id": "1",
        "graph_order": "2",
        "color_hex_triplet": "#019399",
        "structure_set_ids": "[]",
    }
    assert rows[0]["structure_set_ids"] == "[2, 691663206]"
    assert rows[4] == dict.fromkeys(rows[1], "") | {
        "id": str(2**32 - 1),
        "acronym": "max",
        "structure_id_path": f"/{2**32 - 1}/",
    }
    table = pd.read_parquet(tmp_path / "s.parquet")
    assert [*table] == [*rows[0]]
    assert table["id"].tolist() == LARGE.node_ids()
    assert table["parent_structure_id"].fillna(-1).tolist() == [-1, 997, 997, 8, -1]
    assert table["structure_set_ids"][0].tolist() == [2, 691663206]
    assert table["name"][2] == HOSTILE


def test_columns_that_no_structure_has_are_left_out(tmp_path):
    tree = StructureTree([{"id": 1, "acronym": "a", "structure_id_path": [1]}])
    write_structures(tmp_path / "s.csv", tree)
    head = (tmp_path / "s.csv").read_text().splitlines()[0]
    assert head == "id,acronym,name,parent_structure_id,structure_id_path"


def test_nested_json_is_the_structure_graph(tmp_path):
    write_structures(tmp_path / "graph.json", TREE, nested=True)
    (root,) = json.loads((tmp_path / "graph.json").read_text())
    assert [child["id"] for child in root["children"]] == [65535, 8]
    assert [child["id"] for child in root["children"][1]["children"]] == [12]
    assert "structure_id_path" not in root
    again = read_structures(tmp_path / "graph.json")
    assert parents(again) == parents(TREE)
    # One a line, so that changes show in a diff.
    lines = (tmp_path / "graph.json").read_text().splitlines()
    assert sum('"id"' in line for line in lines) == len(TREE)


def test_a_label_description_of_itksnap(tmp_path):
    for name in ("s.txt", "s.label"):
        write_structures(tmp_path / name, TREE)
        lines = (tmp_path / name).read_text().splitlines()
        rows = [line for line in lines if not line.startswith("#")]
        assert rows[:3] == [
            '0 0 0 0 0 0 0 "Clear Label"',
            '997 255 255 255 1.0 1 1 "root"',
            '65535 1 147 153 1.0 1 1 "CTXsp"',
        ]
        form = r'\d+ \d+ \d+ \d+ 1\.0 1 1 ".+"'
        assert all(re.fullmatch(form, row) for row in rows[1:])
        again = read_structures(tmp_path / name)
        assert again.node_ids() == TREE.node_ids()
        assert fields(again, "acronym") == fields(TREE, "acronym")
    with pytest.raises(OntologyError, match=r"structure 4294967295 has an id above 65535.* export"):
        write_structures(tmp_path / "large.txt", LARGE)
    assert not (tmp_path / "large.txt").exists()


def test_endings_of_nothing(tmp_path):
    listed = r"\.json, \.csv, \.tsv, \.parquet, \.txt or \.label; structures are written"
    for name in ("s.xlsx", "s", "s.json.gz", ".json"):
        with pytest.raises(FormatError, match=rf"does not end in {listed}"):
            write_structures(tmp_path / name, TREE)
    for ending in set(ENDINGS) - {".json"}:
        with pytest.raises(FormatError, match=r"nested=True is for JSON, and .* is none; leave"):
            write_structures(tmp_path / f"s{ending}", TREE, nested=True)
    write_structures(tmp_path / "S.JSON", TREE)
    assert [path.name for path in tmp_path.iterdir()] == ["S.JSON"]


def test_what_a_table_cannot_hold_leaves_the_file_as_it_was(tmp_path):
    (tmp_path / "s.csv").write_text("old")
    for order in (1.5, "a", True, float("nan")):
        tree = StructureTree([{"id": 1, "graph_order": order, "structure_id_path": [1]}])
        with pytest.raises(OntologyError, match=r"structure 1 has graph_order .*takes integers"):
            write_structures(tmp_path / "s.csv", tree)
    for ending in ENDINGS:
        if ending != ".json":
            with pytest.raises(FileNotFoundError, match="does not exist; make it"):
                write_structures(tmp_path / "no" / f"s{ending}", TREE)
    assert (tmp_path / "s.csv").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["s.csv"]


def test_no_structures(tmp_path):
    tree = StructureTree([])
    assert bids_table(tree).empty
    for ending in ENDINGS:
        write_structures(tmp_path / f"s{ending}", tree)
    assert json.loads((tmp_path / "s.json").read_text()) == []


# ----- and back


@pytest.mark.parametrize("ending", [".json", ".csv", ".tsv", ".parquet"])
@pytest.mark.parametrize("tree", [TREE, LARGE, phantom().structure_tree], ids=["a", "b", "c"])
def test_what_is_written_comes_back(tmp_path, ending, tree):
    write_structures(tmp_path / f"s{ending}", tree)
    again = read_structures(tmp_path / f"s{ending}")
    assert again.node_ids() == tree.node_ids()
    assert parents(again) == parents(tree)
    expected = fields(tree, "acronym")
    assert fields(again, "acronym") == expected
    if ending != ".tsv":
        for name in ("name", "graph_id", "structure_set_ids"):
            called = {i: v or None for i, v in fields(again, name).items()}
            if name == "name":
                called = {i: v if fields(tree, name)[i] else None for i, v in called.items()}
            assert called == {i: v or None for i, v in fields(tree, name).items()}
    stated = {i: rgb for i, rgb in fields(tree, "rgb_triplet").items() if rgb is not None}
    assert {i: fields(again, "rgb_triplet")[i] for i in stated} == stated


@pytest.mark.parametrize("ending", [".json", ".csv", ".tsv", ".parquet"])
@few
@given(families())
def test_any_tree_comes_back(tmp_path_factory, ending, family):
    path = Path(tmp_path_factory.mktemp("any"), f"s{ending}")
    tree = family.tree()
    expected = parents(tree)
    # In a table of labels 0 is the background, unless other structures are within it.
    if ending == ".tsv" and 0 in tree and not tree.child_ids([0])[0]:
        del expected[0]
    if not expected:
        return
    write_structures(path, tree)
    again = read_structures(path)
    assert again.node_ids() == list(expected)
    assert parents(again) == expected


def test_another_program_reads_the_tables(tmp_path):
    write_structures(tmp_path / "s.tsv", LARGE)
    table = pd.read_csv(tmp_path / "s.tsv", sep="\t")
    assert table["index"].tolist() == LARGE.node_ids()
    assert table["parent"].isna().tolist() == [True, False, False, False, True]
    assert table["index"].dtype == np.int64


# Acronyms of which programs think that they are none; in label tables the name would stand for it.
@pytest.mark.parametrize("acronym", ["NA", "nan", "None", "null", "<NA>"])
@pytest.mark.parametrize("ending", ENDINGS)
def test_acronyms_that_look_like_nothing_come_back(tmp_path, acronym, ending):
    node = {"id": 8, "acronym": acronym, "name": "Ambiguous nucleus", "structure_id_path": [8]}
    path = tmp_path / f"a{ending}"
    write_structures(path, StructureTree([node]))
    assert read_structures(path).nodes()[0]["acronym"] == acronym


@pytest.mark.parametrize("node", [{}, {"acronym": ""}, {"acronym": " ", "name": "\t"}])
@pytest.mark.parametrize("ending", [".tsv", ".txt", ".label"])
def test_a_structure_without_a_name_is_called_by_its_id(tmp_path, node, ending):
    path = tmp_path / f"a{ending}"
    write_structures(path, StructureTree([{"id": 12, "structure_id_path": [12], **node}]))
    assert read_structures(path).nodes()[0]["name"] == "12"
