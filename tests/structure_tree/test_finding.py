"""Looking into a tree: one structure, tables, search, sets, regions with a name, drawings."""

import copy
import pickle
import re
from importlib import resources

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from helpers.strategies import families, few
from hypothesis import given
from hypothesis import strategies as st

import refspace
from refspace.errors import OntologyError, StructureNotFoundError
from refspace.samples.ontology import STRUCTURES
from refspace.structure_tree import SimpleTree, StructureTree


@pytest.fixture(scope="module")
def tree() -> StructureTree:
    return StructureTree(STRUCTURES)


def named(*rows: tuple[int, int | None, str | None, str | None]) -> StructureTree:
    fields = ("id", "parent_structure_id", "acronym", "name")
    return StructureTree([dict(zip(fields, row, strict=True)) for row in rows])


# Acronyms that are digits, capitals that differ, one acronym twice, and none.
ODD = named(
    (1, None, "root", "whole brain"),
    (2, 1, "7", "Area seven"),
    (7, 1, "CA1", "Field CA1 (dorsal)"),
    (8, 1, "CA1", "Field CA1 (ventral)"),
    (9, 7, "ca2", "Fibre tract, layer 2/3"),
    (10, 7, None, None),
)

# ----- a mapping


@few
@given(families())
def test_a_tree_is_a_mapping_from_ids(family):
    tree = family.tree()
    records = {record["id"]: record for record in family.records()}
    assert list(tree) == list(records)
    assert len(tree) == len(records)
    for i, record in records.items():
        assert tree[i] == tree[f"a{i}"] == tree[f"structure {i}"] == tree[np.uint32(i)] == record
        for key in (i, f"a{i}", f"structure {i}", str(i), np.int64(i), xr.DataArray(i)):
            assert key in tree
        assert f"b{i}" not in tree
    assert [i for i in range(50) if i in tree] == [i for i in range(50) if i in records]


def test_a_record_does_not_lead_back_into_the_tree(tree):
    tree["VISp"]["structure_id_path"].append(0)
    assert tree["VISp"]["structure_id_path"][-1] == 385


@pytest.mark.parametrize("key", ["VISq", 12, -1, 2**70, "", "12", True, 385.0, None, ["VISp"], ()])
def test_what_is_no_structure(tree, key):
    assert key not in tree
    with pytest.raises(KeyError) as caught:
        tree[key]
    assert isinstance(caught.value, StructureNotFoundError)


def test_what_is_asked_wrongly_is_told(tree):
    with pytest.raises(StructureNotFoundError, match="did you mean VIS or VISp or VISl"):
        tree["VISq"]
    with pytest.raises(
        StructureNotFoundError, match=r"\['VISp', 'TH'\] is not one structure; node"
    ):
        tree[["VISp", "TH"]]


def test_an_acronym_of_several_is_there_and_asked_about():
    assert "CA1" in ODD
    with pytest.raises(StructureNotFoundError, match="names several structures, 7, 8; give one id"):
        ODD["CA1"]
    assert ODD["7"]["id"] == 2  # the acronym, as resolve takes it
    assert ODD[7]["acronym"] == "CA1"


def test_simple_trees_are_mappings_too():
    records = [{"id": 4, "up": None}, {"id": 3, "up": 4}]
    simple = SimpleTree(records, lambda r: r["id"], lambda r: r["up"])
    assert list(simple) == [4, 3]
    assert simple[3] == records[1]
    with pytest.raises(StructureNotFoundError):
        simple[5]


# ----- the table


@few
@given(families())
def test_the_table_says_what_the_tree_does(family):
    tree = family.tree()
    table = tree.to_dataframe()
    assert table.index.tolist() == list(family.parents)
    assert table.index.name == "id"
    graph = nx.DiGraph()
    graph.add_nodes_from(family.parents)
    graph.add_edges_from((p, i) for i, p in family.parents.items() if p is not None)
    roots = [i for i, degree in graph.in_degree if not degree]
    depths = {
        i: d
        for root in roots
        for i, d in nx.single_source_shortest_path_length(graph, root).items()
    }
    for i, parent in family.parents.items():
        row = table.loc[i]
        assert (pd.isna(row["parent"]) and parent is None) or row["parent"] == parent
        assert row["depth"] == depths[i]
        assert row["path"] == tuple(family.upwards(i)[::-1])
        assert row["sets"] == tuple(sorted({i % 3, 10 + i % 2}))
        assert row["color"] == "#{:02X}{:02X}{:02X}".format(*tree.get_colormap()[i])
        assert (row["acronym"], row["name"]) == (f"a{i}", f"structure {i}")


def test_the_table_of_what_has_no_names():
    table = ODD.to_dataframe()
    assert table.loc[10, ["acronym", "name"]].tolist() == ["", ""]
    assert table.dtypes[["parent", "depth"]].astype(str).tolist() == ["Int64", "int64"]
    empty = StructureTree([]).to_dataframe()
    assert empty.columns.tolist() == table.columns.tolist()
    assert empty.empty


# ----- search


def has_words(record, words):
    """What a search without misspellings finds, in plain words."""
    text = f"{record['acronym']} {record['name']}".lower()
    singular = [w[:-1] if len(w) > 4 and w.endswith("s") else w for w in words]
    return all(word in text for word in singular)


@pytest.mark.parametrize(
    "query", ["visual area", "layer 2/3", "AREAS visual", "ca", "nucle thal", "2/3", "tracts", "i"]
)
def test_all_words_are_there(tree, query):
    found = tree.search(query)
    words = query.lower().split()
    assert set(found.index) == {n["id"] for n in tree.nodes() if has_words(n, words)}
    order = ["exact", "acronym", "words", "beginnings", "parts"]
    ranks = [order.index(match) for match in found["match"]]
    assert ranks == sorted(ranks)


@pytest.mark.parametrize(
    ("query", "first", "match"),
    [
        ("VISp", 385, "exact"),
        ("visp", 385, "exact"),
        (" Primary Visual Area ", 385, "exact"),
        ("385", 385, "exact"),
        ("AUDd4", 678, "exact"),
        ("area visual primary", 385, "words"),
        ("prim vis are", 385, "beginnings"),
        ("halamu", 549, "parts"),
        ("primry visual", 385, "spelling"),
        ("Isocrtex", 315, "spelling"),
        ("fibre tracts", 1009, "spelling"),
    ],
)
def test_the_best_match_is_first(tree, query, first, match):
    found = tree.search(query)
    assert (found.index[0], found["match"].iloc[0]) == (first, match)


@few
@given(families(), st.data())
def test_what_a_structure_is_called_finds_it_first(family, data):
    tree = family.tree()
    i = data.draw(st.sampled_from(list(family.parents)))
    for query in (f"a{i}", f"structure {i}", f"STRUCTURE  {i}"):
        assert tree.search(query).index[0] == i
    assert i in tree.search(str(i)).index


def test_a_word_that_occurs_is_not_taken_for_another(tree):
    # "primary" is nowhere beside "thalamus", though each is there.
    assert tree.search("primary thalamus").empty
    assert tree.search("qqqqq").empty
    assert tree.search("99999").empty


def test_search_of_odd_texts():
    assert ODD.search("7").index[0] in (2, 7)
    assert set(ODD.search("7").index) >= {2, 7}
    assert ODD.search("2/3").index.tolist() == [9]
    assert ODD.search("(ventral)").index.tolist() == [8]
    assert ODD.search("field ca1").index.tolist() == [7, 8]
    assert ODD.search("10").index.tolist() == [10]
    assert ODD.search("[").empty
    assert ODD.search("a" * 10_000).empty


def test_patterns(tree):
    wanted = [n["id"] for n in tree.nodes() if re.search("^vis.?p[0-9]", n["acronym"], re.I)]
    found = tree.search("^vis.?p[0-9]", regex=True)
    assert found.index.tolist() == wanted
    assert set(found["match"]) == {"acronym"}
    assert tree.search(re.compile("^visp[0-9]")).empty
    assert tree.search("layer 2/3$", regex=True)["match"].unique().tolist() == ["name"]
    assert tree.search("^38[5]$", regex=True)["match"].to_dict() == {385: "id"}


def test_searches_that_are_refused(tree):
    for nothing in ("", "  "):
        with pytest.raises(OntologyError, match=r"there is no word in '.*'; give one to look for"):
            tree.search(nothing)
    with pytest.raises(OntologyError, match=r"'\(vis' is no regular expression \(.*\); put a back"):
        tree.search("(vis", regex=True)


def test_a_limit_keeps_the_first(tree):
    whole = tree.search("layer")
    pd.testing.assert_frame_equal(tree.search("layer", limit=3), whole.iloc[:3])
    assert whole.columns.tolist() == ["match", *tree.to_dataframe().columns]


# ----- sets


@few
@given(families())
def test_sets_are_counted(family):
    table = family.tree().sets()
    sets = [s for i in family.parents for s in {i % 3, 10 + i % 2}]
    assert table["structures"].to_dict() == {s: sets.count(s) for s in sorted(set(sets))}
    # Of whatever ontology this is, set 2 has no name.
    assert set(table["name"]) == {""}


def test_sets_of_the_allen_institute_have_names():
    records = [
        {"id": 1, "graph_id": 1, "structure_set_ids": [2, 167587189, 5]},
        {"id": 2, "graph_id": 1, "structure_set_ids": [2]},
    ]
    table = StructureTree(records).sets()
    assert table.reset_index().values.tolist() == [
        [2, "Mouse - Coarse", 2, ""],
        [5, "", 1, ""],
        [167587189, "Brain - Summary Structures", 1, "summary"],
    ]
    assert StructureTree([]).sets().empty


def test_regions_of_sets_by_name(tree):
    by_id = tree.regions(structure_set=687527670)
    for name in (
        "Brain - Major Divisions",
        "brain - major divisions ",
        ["Brain - Major Divisions"],
    ):
        assert tree.regions(structure_set=name).labels == by_id.labels
    assert tree.regions("divisions").labels == by_id.labels
    with pytest.raises(
        OntologyError, match="no structure is in set Brain; the sets of this tree are"
    ):
        tree.regions(structure_set="Brain")


# ----- regions with a name


def published(name):
    path = resources.files("refspace.structure_tree").joinpath(f"data/{name}.csv")
    return pd.read_csv(str(path), index_col="id", keep_default_na=False)["acronym"].to_dict()


def test_published_tables():
    assert [len(published(name)) for name in ("beryl", "cosmos")] == [306, 10]
    assert list(published("cosmos").values()) == [
        *("Isocortex", "OLF", "HPF", "CTXsp", "CNU", "TH", "HY", "MB", "HB", "CB")
    ]


@pytest.mark.parametrize("name", ["beryl", "Cosmos", " BERYL "])
def test_parcellations_are_those_structures_that_are_here(tree, name):
    regions = tree.regions(name)
    wanted = [i for i in published(name.strip().lower()) if i in tree]
    assert list(regions.labels) == wanted
    assert not regions.overlapping
    for i in tree:
        above = [label for label in tree.ancestor_ids(i)[0] if label in wanted]
        found = regions.nearest_region.get(i)
        assert above == ([] if found is None else [regions.labels[found]])


def test_regions_with_a_name_are_listed(tree):
    table = tree.named_regions()
    for name, count in table["regions"].items():
        assert len(tree.regions(name)) == count > 0
    assert table.loc["beryl", "source"].startswith("International Brain Laboratory")
    assert "MIT" in table.loc["cosmos", "source"]
    assert ODD.named_regions()["regions"].to_dict() == {
        **{"leaves": 4, "summary": 0, "divisions": 0, "observatory": 0, "beryl": 0, "cosmos": 0}
    }


def test_regions_of_another_ontology_are_refused():
    with pytest.raises(
        OntologyError, match=r"'beryl' are 306 .* another one \(it has none of them\)"
    ):
        named((997, None, "root", "root")).regions("beryl")
    with pytest.raises(
        OntologyError, match=r"another one \(different: 7 \(CA1 here\)\); give struc"
    ):
        ODD.regions("beryl")
    human = named((315, None, "FL", "Frontal lobe"), (549, 315, "TH", "Thalamus"))
    with pytest.raises(OntologyError, match=r"different: 315 \(FL here\)"):
        human.regions("cosmos")
    with pytest.raises(
        OntologyError, match=r"'summary' are the structures of set 167587189, and no"
    ):
        human.regions("summary")


def test_a_structure_that_is_called_like_regions():
    odd = named((1, None, "root", "root"), (2, 1, "Leaves", "leaves"), (3, 2, "x", "y"))
    assert odd.regions("leaves").labels == (3,)
    assert odd.regions(["leaves"]).labels == odd.regions([2]).labels == (2,)


# ----- drawings


def plain_lines(family, structure, depth):
    """Structures with their level, and how many are hidden below each."""

    def lines(i, level):
        inner = (
            [] if level == depth else [x for c in family.children(i) for x in lines(c, level + 1)]
        )
        hidden = len(family.subtree(i)) - 1 if level == depth else 0
        return [(i, level, hidden), *inner]

    return lines(structure, 0)


@few
@given(families(), st.one_of(st.none(), st.integers(0, 4)))
def test_drawings(family, depth):
    tree = family.tree()
    drawn = tree.show(depth=depth).splitlines()
    wanted = [x for root in family.children(None) for x in plain_lines(family, root, depth)]
    assert len(drawn) == len(wanted)
    for line, (i, level, hidden) in zip(drawn, wanted, strict=True):
        guides, label = line[: 3 * level], line[3 * level :]
        below = f" … {hidden} below" if hidden else ""
        assert label == f"a{i} structure {i} ({i}){below}"
        assert re.fullmatch("(?:│  |   )*(?:├─ |└─ )" if level else "", guides)
    # Each guide goes on in the line below, or ends there.
    for line, following in zip(drawn, [*drawn[1:], ""], strict=True):
        for place, letter in enumerate(line):
            if letter in "├│" and place % 3 == 0 and set(line[:place]) <= set("├─│ └"):
                assert following[place] in "├│└"


def test_drawings_show_themselves(tree):
    drawing = tree.show("VISp", counts={"VISp": 7, 593: 2.5, 821: np.nan})
    assert repr(drawing) == str(drawing) == drawing
    assert drawing.splitlines()[:4] == [
        "    7  VISp Primary visual area (385)",
        "2.500  ├─ VISp1 Primary visual area, layer 1 (593)",
        "       ├─ VISp2/3 Primary visual area, layer 2/3 (821)",
        "       ├─ VISp4 Primary visual area, layer 4 (721)",
    ]
    series = pd.Series({"VISp": 7.0})
    assert (
        tree.show("VISp", depth=0, counts=series) == "7  VISp Primary visual area (385) … 6 below"
    )
    assert tree.show(["TH", "HY"], depth=0).count("\n") == 1
    assert pickle.loads(pickle.dumps(drawing)) == copy.copy(drawing) == drawing


def test_drawings_are_cut_at_a_width(tree):
    for width in (20, 40):
        lines = tree.show(depth=3, width=width).splitlines()
        assert max(map(len, lines)) == width
        assert any("… " in line and line.endswith(" below") for line in lines)


@pytest.mark.parametrize("depth", [-1, True, -0.5])
def test_what_is_no_depth_of_a_drawing(tree, depth):
    with pytest.raises(OntologyError, match="give a number of levels, 0 or more"):
        tree.show(depth=depth)


def test_what_is_no_structure_of_a_drawing(tree):
    with pytest.raises(StructureNotFoundError):
        tree.show("nowhere")
    with pytest.raises(StructureNotFoundError):
        tree.show("TH", counts={"nowhere": 1})


# ----- the real ontology


@pytest.mark.ccf
def test_parcellations_of_the_real_ontology(ccf_data):
    tree = refspace.read_structures(ccf_data / "structure_graph_1.json")
    for name, count, outside in (("beryl", 306, 400), ("cosmos", 10, 233)):
        regions = tree.regions(name)
        assert dict(zip(regions.labels, regions.acronyms, strict=True)) == published(name)
        assert (len(regions), len(regions.overlapping), len(regions.uncovered)) == (
            count,
            0,
            outside,
        )


@pytest.mark.ccf
def test_sets_of_the_real_ontology(ccf_data):
    table = refspace.read_structures(ccf_data / "structures_1.json").sets()
    assert table.loc[514166994].tolist() == [
        *("Allen Brain Observatory targeted structure set", 6, "observatory")
    ]
    assert "" not in table["name"].tolist()
