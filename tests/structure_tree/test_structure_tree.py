import contextlib
import copy
import pickle
import re
from html.parser import HTMLParser

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from helpers.strategies import families, few
from hypothesis import given
from hypothesis import strategies as st

from refspace.errors import (
    MissingFieldError,
    NotUniqueError,
    OntologyError,
    RefspaceError,
    StructureNotFoundError,
)
from refspace.structure_tree import SimpleTree, StructureTree
from refspace.structure_tree.colors import made_up_color


def structure(path, acronym, name, rgb=(1, 2, 3), sets=()):
    return {
        "id": path[-1],
        "acronym": acronym,
        "name": name,
        "rgb_triplet": list(rgb),
        "structure_id_path": list(path),
        "structure_set_ids": list(sets),
    }


def bare(**parents):
    """Records with nothing but ids and parents: ``bare(_1=None, _2=1)``."""
    return [{"id": int(i[1:]), "parent_structure_id": p} for i, p in parents.items()]


# Two trees; fibre tracts stand before the cerebrum, against depth-first order.
RECORDS = [
    structure([997], "root", "root", (255, 255, 255)),
    structure([997, 8], "grey", "Basic cell groups and regions", (191, 218, 227), [7]),
    structure([997, 1009], "fiber tracts", "fiber tracts", (204, 204, 204)),
    structure([997, 8, 567], "CH", "Cerebrum", (176, 240, 255), [7, 2]),
    structure([997, 8, 567, 385], "VISp", "Primary visual area", (8, 133, 140), [2]),
    structure([997, 8, 567, 409], "VISl", "Lateral visual area", (8, 133, 140), [2, 9]),
    structure([997, 8, 496345664], "LGd-sh", "Dorsal lateral geniculate, shell"),
    structure([304325711], "retina", "retina", (127, 46, 126), [9]),
]
IDS = [997, 8, 1009, 567, 385, 409, 496345664, 304325711]


@pytest.fixture
def tree():
    return StructureTree(RECORDS)


# ----- AllenSDK's interface


def test_node_ids_and_nodes_keep_the_given_order(tree):
    assert tree.node_ids() == IDS
    assert tree.nodes() == RECORDS
    assert len(tree) == 8
    assert 385 in tree
    assert np.uint32(385) in tree
    assert 386 not in tree


def test_nodes_of_ids_follow_the_request(tree):
    assert tree.nodes([385, 997, 385]) == [RECORDS[4], RECORDS[0], RECORDS[4]]
    assert tree.nodes([]) == []


@pytest.mark.parametrize("method", ["nodes", "node", "get_structures_by_id"])
def test_a_missing_id_gives_none(tree, method):
    assert getattr(tree, method)([5, 8, np.int64(2**40), -1]) == [None, RECORDS[1], None, None]


def test_parents(tree):
    assert tree.parent_ids([385, 997, 8]) == [567, None, 997]
    assert tree.parents([385, 997]) == [RECORDS[3], None]
    assert tree.parent_id([385]) == [567]
    assert tree.parent([385]) == [RECORDS[3]]


def test_children(tree):
    assert tree.child_ids([567, 997, 385]) == [[385, 409], [8, 1009], []]
    assert tree.children([567, 385]) == [[RECORDS[4], RECORDS[5]], []]


def test_ancestors_include_the_structure_and_go_up(tree):
    assert tree.ancestor_ids([385, 997]) == [[385, 567, 8, 997], [997]]
    assert tree.ancestors([8, 997]) == [[RECORDS[1], RECORDS[0]], [RECORDS[0]]]


def test_descendants_include_the_structure_and_go_depth_first(tree):
    assert tree.descendant_ids([997, 385]) == [[997, 8, 567, 385, 409, 496345664, 1009], [385]]
    assert tree.descendants([567]) == [[RECORDS[3], RECORDS[4], RECORDS[5]]]


@pytest.mark.parametrize(
    "method",
    [
        *("parent_ids", "parents", "child_ids", "children", "ancestor_ids", "ancestors"),
        *("descendant_ids", "descendants", "has_overlaps", "resolve"),
    ],
)
def test_an_unknown_structure_is_a_key_error(tree, method):
    with pytest.raises(KeyError, match=r"no structure has acronym, name or id 5$"):
        getattr(tree, method)([8, 5])


def test_results_do_not_lead_back_into_the_tree(tree):
    tree.nodes([8])[0]["name"] = "changed"
    tree.nodes()[1]["name"] = "changed"
    tree.filter_nodes(bool)[1]["name"] = "changed"
    tree.descendant_ids([8])[0].append(1)
    tree.ancestor_ids([8])[0].append(1)
    tree.node_ids().append(1)
    tree.child_ids([8])[0].append(1)
    tree.get_ancestor_id_map()[8].append(1)
    assert tree.nodes() == RECORDS
    assert tree.node_ids() == IDS
    assert tree.descendant_ids([567]) == [[567, 385, 409]]
    assert tree.get_ancestor_id_map()[8] == [8, 997]
    assert tree.child_ids([8]) == [[567, 496345664]]


def test_lists_of_a_returned_structure_are_copies(tree):
    tree.nodes([385])[0]["structure_id_path"].clear()
    tree.parents([385])[0]["structure_set_ids"].clear()
    assert tree.nodes([385])[0]["structure_id_path"] == [997, 8, 567, 385]
    assert tree.nodes([567])[0]["structure_set_ids"] == [7, 2]


def test_a_voxel_of_an_annotation_names_a_structure(tree):
    annotation = xr.DataArray(np.array([385, 997], np.uint32), dims="ap")
    assert tree.resolve(annotation[0]) == [385]
    assert tree.resolve([annotation[1], annotation.values[0]]) == [997, 385]
    assert tree.resolve(np.array(385)) == [385]
    assert tree.resolve([annotation.chunk()[0]]) == tree.resolve(annotation.chunk()[0]) == [385]
    assert tree.nodes([annotation[0], np.uint32(5)])[1] is None


def test_relations_do_not_hang_on_the_records(tree):
    tree.nodes([385])[0]["structure_id_path"].clear()
    assert tree.ancestor_ids([385]) == [[385, 567, 8, 997]]
    assert tree.descendant_ids([567]) == [[567, 385, 409]]


def test_filter_nodes_keeps_the_order(tree):
    assert tree.filter_nodes(lambda node: len(node["structure_id_path"]) == 1) == [
        RECORDS[0],
        RECORDS[7],
    ]
    assert tree.filter_nodes(lambda node: False) == []


def test_value_map(tree):
    acronyms = tree.value_map(lambda node: node["id"], lambda node: node["acronym"])
    assert list(acronyms.items())[4] == (385, "VISp")
    with pytest.raises(RuntimeError, match=r"\(8, 133, 140\) belongs to more than one node"):
        tree.value_map(lambda node: tuple(node["rgb_triplet"]), lambda node: node["id"])


def test_nodes_by_property(tree):
    assert tree.nodes_by_property("acronym", ["CH", "root"]) == [RECORDS[3], RECORDS[0]]
    assert tree.nodes_by_property("acronym", ["CH"], lambda node: node["id"]) == [567]
    assert tree.nodes_by_property(lambda node: node["name"].upper(), ["CEREBRUM"]) == [RECORDS[3]]
    assert tree.nodes_by_property("acronym", []) == []


def test_nodes_by_property_where_it_fails(tree):
    with pytest.raises(StructureNotFoundError, match=r"has acronym 'Ch'; did you mean CH\?"):
        tree.nodes_by_property("acronym", ["root", "Ch"])
    with pytest.raises(MissingFieldError, match="nodes have no weight: 997, 8, 1009, 567, 385 and"):
        tree.nodes_by_property("weight", [5])
    twice = StructureTree([structure([1], "a", "same"), structure([2], "b", "same")])
    with pytest.raises(NotUniqueError, match=r"^name 'same' belongs to several structures, 1, 2;"):
        twice.nodes_by_property("name", ["same"])


def test_what_several_structures_share_disturbs_only_who_asks_for_it():
    records = [
        structure([1], "root", "root"),
        structure([1, 2], "CA1", "left"),
        structure([1, 3], "CA1", "right"),
    ]
    tree = StructureTree(records)
    assert tree.get_structures_by_acronym(["root"])[0]["id"] == 1
    assert tree.nodes_by_property("acronym", ["root"])[0]["id"] == 1
    assert [node["id"] for node in tree.get_structures_by_name(["right", "left"])] == [3, 2]
    with pytest.raises(NotUniqueError, match=r"^acronym 'CA1' belongs to several structures, 2, 3"):
        tree.get_structures_by_acronym(["root", "CA1"])
    with pytest.raises(StructureNotFoundError, match="'CA1' names several structures, 2, 3; give"):
        tree.resolve("CA1")


def test_blanks_around_acronyms_and_names():
    tree = StructureTree([structure([1], " root", "root\t"), structure([1, 2], "A ", " L  area ")])
    for text in ("A", "A ", " A", "L  area", " L  area"):
        assert tree.resolve(text) == [2]
    assert tree.get_structures_by_acronym(["A", "root "])[1] == tree.nodes([1])[0]
    assert tree.get_structures_by_name("L  area")[0]["name"] == " L  area "
    with pytest.raises(StructureNotFoundError, match="did you mean L  area"):
        tree.resolve("L area")


def test_structures_by_name_and_acronym(tree):
    assert tree.get_structures_by_name(["Cerebrum", "root"]) == [RECORDS[3], RECORDS[0]]
    assert tree.get_structures_by_name("Cerebrum") == [RECORDS[3]]
    assert tree.get_structures_by_acronym(("VISp",)) == [RECORDS[4]]
    assert tree.get_structures_by_acronym("VISp") == [RECORDS[4]]
    with pytest.raises(KeyError, match="no structure has name 'CH'"):
        tree.get_structures_by_name(["CH"])
    with pytest.raises(KeyError, match="no structure has acronym 'Cerebrum'"):
        tree.get_structures_by_acronym(["Cerebrum"])


def test_structures_by_set(tree):
    assert tree.get_structures_by_set_id([7]) == [RECORDS[1], RECORDS[3]]
    assert tree.get_structures_by_set_id([9, 7]) == [RECORDS[i] for i in (1, 3, 5, 7)]
    assert tree.get_structures_by_set_id(9) == [RECORDS[5], RECORDS[7]]
    assert tree.get_structures_by_set_id([4]) == []
    assert tree.get_structure_sets() == {2, 7, 9}


def test_maps(tree):
    assert tree.get_colormap()[385] == [8, 133, 140]
    assert tree.get_name_map()[567] == "Cerebrum"
    assert tree.get_id_acronym_map()["VISp"] == 385
    assert tree.get_ancestor_id_map() == {i: tree.ancestor_ids([i])[0] for i in IDS}
    assert [list(tree.get_colormap()), list(tree.get_name_map())] == [IDS, IDS]


@pytest.mark.parametrize(
    ("method", "field"),
    [
        ("get_name_map", "name"),
        *[("get_id_acronym_map", "acronym"), ("export_label_description", "acronym")],
    ],
)
def test_a_map_says_which_structures_lack_its_field(method, field):
    tree = StructureTree(bare(_1=None, _2=1))
    with pytest.raises(KeyError, match=f"structures have no {field}: 1, 2; add it"):
        getattr(tree, method)()


@pytest.mark.parametrize("method", ["get_structures_by_name", "get_structures_by_acronym"])
def test_look_ups_without_the_field(method):
    with pytest.raises(MissingFieldError, match=r"^structures have no \w+: 1; add it"):
        getattr(StructureTree([{"id": 1}]), method)(["x"])


def test_structure_descends_from(tree):
    assert tree.structure_descends_from(385, 997) is True
    assert tree.structure_descends_from(385, 385) is True
    assert tree.structure_descends_from(997, 385) is False
    assert tree.structure_descends_from(385, 409) is False
    assert tree.structure_descends_from(385, 304325711) is False
    assert tree.structure_descends_from("VISp", "Cerebrum") is True
    assert tree.structure_descends_from(385, 5) is False
    with pytest.raises(KeyError, match="no structure has acronym, name or id 5"):
        tree.structure_descends_from(5, 997)
    with pytest.raises(KeyError, match="did you mean CH"):
        tree.structure_descends_from(385, "ch")


def test_has_overlaps(tree):
    assert tree.has_overlaps([385, 409]) == set()
    assert tree.has_overlaps([385, "CH", 997, 304325711]) == {567, 997}
    assert tree.has_overlaps([385, 385]) == set()
    assert tree.has_overlaps([]) == set()


def test_total(tree):
    totals = tree.total([1, 10, 100, 1000, 2**40, 5, 7, 3])
    assert totals.dtype == np.int64
    assert totals.tolist() == [2**40 + 1123, 2**40 + 1022, 100, 2**40 + 1005, 2**40, 5, 7, 3]
    with pytest.raises(ValueError, match="size 1 into shape"):
        tree.total([1])


# ----- naming structures


@pytest.mark.parametrize(
    "name",
    [385, np.int16(385), np.uint32(385), "VISp", np.str_("VISp"), "Primary visual area", "385"],
)
@pytest.mark.parametrize("wrap", [lambda n: n, lambda n: [n], lambda n: (n,), lambda n: {n}])
def test_every_way_to_name_a_structure(tree, name, wrap):
    named = wrap(name)
    assert tree.resolve(named) == [385]
    assert all(type(i) is int for i in tree.resolve(named))
    assert tree.nodes(named) == [RECORDS[4]]
    assert tree.parent_ids(named) == [567]
    assert tree.parents(named) == [RECORDS[3]]
    assert tree.child_ids(named) == tree.children(named) == [[]]
    assert tree.ancestor_ids(named) == [[385, 567, 8, 997]]
    assert tree.descendant_ids(named) == [[385]]
    assert tree.descendants(named) == [[RECORDS[4]]]
    assert tree.has_overlaps(named) == set()
    hidden = tree.export_label_description(exclude_label_vis=named, exclude_mesh_vis=named)
    assert hidden["VIS"].tolist() == hidden["MSH"].tolist() == [1, 1, 1, 1, 0, 1, 1, 1]


@pytest.mark.parametrize(
    "named",
    [
        np.array([8, 385]),
        np.array([8, 385], np.uint32),
        np.array(["grey", "VISp"]),
        np.array([8, "VISp"], object),
        pd.Series([8, 385]),
        pd.Series(["grey", "VISp"]),
        ["8", "Primary visual area"],
        range(8, 386, 377),
        {8: "keys", 385: "count"},
        (i for i in (8, 385)),
    ],
    ids=lambda named: type(named).__name__,
)
def test_collections_of_structures(tree, named):
    assert tree.resolve(named) == [8, 385]


def test_an_acronym_goes_before_a_name_and_a_name_before_digits():
    tree = StructureTree(
        [
            structure([1], "2", "a"),
            structure([2], "b", "3"),
            structure([3], "c", "2"),
            structure([4], "d", "b"),
        ]
    )
    assert tree.resolve(["2", "3", "b", "4"]) == [1, 2, 2, 4]
    assert tree.resolve([2, 3]) == [2, 3]


def test_a_text_that_names_several_structures_is_refused():
    tree = StructureTree([structure([i], f"a{i}", "layer 1") for i in range(7)])
    message = "'layer 1' names several structures, 0, 1, 2, 3, 4 and 2 more; give one id"
    with pytest.raises(StructureNotFoundError, match=message):
        tree.resolve("layer 1")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("VISP", "; did you mean VISp or VISl?"),
        ("cerebrun", "; did you mean Cerebrum?"),
        ("primary visual", "; did you mean Primary visual area?"),
        ("xyz", ""),
        ("", ""),
        ("12345", ""),
        ("1" * 5000, ""),
        ("²", ""),
    ],
)
def test_did_you_mean(tree, text, hint):
    with pytest.raises(StructureNotFoundError) as caught:
        tree.resolve([8, text])
    assert str(caught.value).startswith(f"no structure has acronym, name or id {text!r}{hint}")
    assert hint or str(caught.value).endswith("'")


@pytest.mark.parametrize("nothing", [None, 1.5, float("nan"), [385.0], [None], [[385]], -385])
def test_what_names_no_structure(tree, nothing):
    with pytest.raises(StructureNotFoundError, match="no structure has acronym, name or id"):
        tree.resolve(nothing)


# ----- records of other trees


def test_a_simple_tree_asks_its_callbacks():
    nodes = [{"key": 5, "up": 6}, {"key": 6, "up": None}, {"key": 7, "up": 6}]
    tree = SimpleTree(nodes, lambda node: node["key"], lambda node: node["up"])
    assert tree.node_ids() == [5, 6, 7]
    assert tree.descendant_ids([6]) == [[6, 5, 7]]
    assert tree.nodes([7, 1]) == [nodes[2], None]
    assert tree.parents([7, 6]) == [nodes[1], None]
    assert [tree.node_id_cb(node) for node in tree.nodes()] == [5, 6, 7]
    assert [tree.parent_id_cb(node) for node in tree.nodes()] == [6, None, 6]
    with pytest.raises(StructureNotFoundError, match=r"there is no node 1; node_ids\(\) lists all"):
        tree.child_ids([1])
    with pytest.raises(OntologyError, match="more than once: 5"):
        SimpleTree([*nodes, nodes[0]], lambda node: node["key"], lambda node: node["up"])


def test_a_parent_and_a_path_describe_the_same_tree():
    by_parent = StructureTree(bare(_3=2, _1=None, _2=1))
    by_text = StructureTree(
        [{"id": i, "structure_id_path": p} for i, p in ((3, "/1/2/3/"), (1, "/1/"), (2, "/1/2/"))]
    )
    by_array = StructureTree(
        [{"id": p[-1], "structure_id_path": np.array(p)} for p in ([1, 2, 3], [1], [1, 2])]
    )
    nested = StructureTree([{"id": 1, "children": [{"id": 2, "children": [{"id": 3}]}]}])
    assert by_parent.nodes([3])[0]["structure_id_path"] == [1, 2, 3]
    assert list(by_text.graph.edges) == list(by_array.graph.edges) == list(by_parent.graph.edges)
    assert list(nested.graph.edges) == [(1, 2), (2, 3)]
    assert nested.nodes([3]) == [{"id": 3, "structure_id_path": [1, 2, 3]}]


def test_an_empty_list_is_an_empty_tree():
    tree = StructureTree([])
    assert tree.node_ids() == tree.nodes() == tree.resolve([]) == []
    assert tree.get_colormap() == tree.get_name_map() == tree.get_ancestor_id_map() == {}
    assert tree.get_structure_sets() == tree.has_overlaps([]) == set()
    assert tree.total([]).tolist() == []
    assert tree.export_label_description().shape == (0, 8)
    assert "0 structures" in repr(tree)
    assert "0 structures" in tree._repr_html_()
    assert str(tree)


@pytest.mark.parametrize("first", [0, 2**32 - 1, "7", " 7 ", np.uint32(7)])
def test_ids_that_are_allowed(first):
    assert StructureTree([{"id": first}]).node_ids() == [int(first)]


DEEP = {"id": 0}
for _level in range(1, 100_000):
    DEEP = {"id": _level, "children": [DEEP]}
CIRCULAR: dict = {"id": 1}
CIRCULAR["children"] = [CIRCULAR]
LONG_CYCLE = [{"id": i, "parent_structure_id": (i + 1) % 2000} for i in range(2000)]
LONG_CHAIN = [{"id": i, "parent_structure_id": i - 1 if i else None} for i in range(2000)]
TWO = [{"id": 1, "structure_id_path": [1]}, {"id": 2, "structure_id_path": [1, 2]}]

BAD_TREES = {
    "duplicate": ([*TWO, TWO[0], TWO[1]], "must be unique; more than once: 1, 2$"),
    "orphan": (bare(_1=None, _2=9), r"missing from the structures: 2 \(parent 9\); give whole"),
    "seven orphans": (
        [{"id": i, "parent_structure_id": 99} for i in range(7)],
        r"0 \(parent 99\), .*, 4 \(parent 99\) and 2 more",
    ),
    "own parent": (bare(_1=1), "descend from themselves: 1; mend a parent"),
    "cycle of two": (bare(_1=2, _2=1), "descend from themselves: (2, 1|1, 2);"),
    "cycle of two beside a tree": (bare(_5=None, _1=2, _2=1), "themselves: (2, 1|1, 2);"),
    "cycle of paths": (
        [{"id": 1, "structure_id_path": [2, 1]}, {"id": 2, "structure_id_path": [1, 2]}],
        "descend from themselves",
    ),
    "long cycle": (LONG_CYCLE, "descend from themselves: .* and 1995 more;"),
    "long chain": (LONG_CHAIN, "nested deeper than 100 levels"),
    "deeply nested": ([DEEP], "nested deeper than 100 levels"),
    "child of itself": ([CIRCULAR], "nested deeper than 100 levels"),
    "no id": ([{}], "None is not a structure id; ids are integers from 0 to 4294967295, never"),
    "float id": ([{"id": 997.0}], "997.0 is not a structure id; .*, never floats"),
    "numpy float id": ([{"id": np.float32(997)}], "is not a structure id"),
    "NaN id": ([{"id": float("nan")}], "nan is not a structure id"),
    "bool id": ([{"id": True}], "True is not a structure id"),
    "numpy bool id": ([{"id": np.True_}], "True_? is not a structure id"),
    "text id": ([{"id": "VISp"}], "'VISp' is not a structure id"),
    "other digits": ([{"id": "٣"}], "'٣' is not a structure id"),
    "endless digits": ([{"id": "1" * 5000}], r"'1+\.\.\.1+' is not a structure id"),
    "list id": ([{"id": [1]}], r"\[1\] is not a structure id"),
    "negative id": ([{"id": -1}], "structure id -1 is out of range; ids go from 0 to 4294967295"),
    "large id": ([{"id": 2**32}], "structure id 4294967296 is out of range"),
    "NaN parent": ([{"id": 1, "parent_structure_id": float("nan")}], "nan is not a structure id"),
    "float parent": (bare(_1=None, _2=1.0), "1.0 is not a structure id"),
    "fraction in a path": ([{"id": 1, "structure_id_path": [1.5]}], "1.5 is not a structure id"),
    "NaN in a path": ([{"id": 1, "structure_id_path": [float("nan"), 1]}], "nan is not a struct"),
    "bool in a path": ([{"id": 1, "structure_id_path": [True]}], "True is not a structure id"),
    "words in a path": ([{"id": 1, "structure_id_path": "/a/1/"}], "'a' is not a structure id"),
    "number as path": ([{"id": 1, "structure_id_path": 1}], "1 is not a structure path; give ids"),
    "path of another": (
        [*TWO, {"id": 3, "structure_id_path": [1, 4]}],
        "structure_id_path contradicts the parents' paths: 3$",
    ),
    "path that leaves out a level": (
        [*TWO, {"id": 3, "structure_id_path": [2, 3]}],
        "contradicts the parents' paths: 3$",
    ),
    "children as text": ([{"id": 1, "children": "ab"}], "structure 1 has children 'ab'; give a"),
    "children as number": ([{"id": 1, "children": 5}], "structure 1 has children 5; give a list"),
    "child as number": ([{"id": 1, "children": [2]}], "2 is not a record; give dicts with an id"),
    "numbers": ([1, 2], "1 is not a record; give dicts with an id each"),
    "one record": ({"id": 1}, "'id' is not a record"),
    "None": ([None], "None is not a record"),
    "colour by name": ([{"id": 1, "rgb_triplet": "red"}], "'red' is not a colour; give six"),
    "large colour": ([{"id": 1, "rgb_triplet": [1, 2, 300]}], r"\[1, 2, 300\] is not a colour"),
    "acronym": ([{"id": 1, "acronym": ["x"]}], "the acronym of structure 1 is no text"),
    "name": ([{"id": 1, "name": {"en": "x"}}], "the name of structure 1 is no text"),
}


@pytest.mark.parametrize(("records", "message"), BAD_TREES.values(), ids=BAD_TREES)
def test_structures_that_form_no_tree(records, message):
    with pytest.raises(OntologyError, match=message) as caught:
        StructureTree(records)
    assert isinstance(caught.value, ValueError)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("sets", [5, "12", {"id": 3}])
def test_sets_that_are_no_list(sets):
    with pytest.raises(OntologyError, match=r"1 has structure_set_ids .*; give a list"):
        StructureTree([{"id": 1, "structure_set_ids": sets}]).get_structure_sets()


def test_given_records_are_left_as_they_are():
    given = [
        {"id": "1", "structure_id_path": "/1/", "rgb_triplet": (1, 2, 3), "structure_set_ids": [3]},
        {"id": np.int64(2), "structure_id_path": [1, 2], "structure_sets": [{"id": 5}]},
        {"id": 3, "children": []},
    ]
    before = copy.deepcopy(given)
    StructureTree(given)
    StructureTree.clean_structures(given)
    nested = [{"id": 1, "children": [{"id": 2, "structure_sets": [{"id": 3}], "children": []}]}]
    nested_before = copy.deepcopy(nested)
    StructureTree(nested)
    StructureTree.clean_structures(nested)
    assert given == before
    assert nested == nested_before


# ----- cleaning


PUBLISHED = {
    "id": 1011,
    "acronym": "AUDd",
    "name": "Dorsal auditory area",
    "safe_name": "Dorsal auditory area",
    "atlas_id": None,
    "graph_id": 1,
    "graph_order": 122,
    "structure_id_path": "/997/1011/",
    "color_hex_triplet": "019399",
    "structure_set_ids": [12],
    "structure_sets": [{"id": 99, "name": "b"}, {"id": 3, "name": "a"}, {"id": 12}],
}
CLEANED = {
    "id": 1011,
    "acronym": "AUDd",
    "name": "Dorsal auditory area",
    "graph_id": 1,
    "graph_order": 122,
    "structure_id_path": [997, 1011],
    "rgb_triplet": [1, 147, 153],
    "structure_set_ids": [3, 12, 99],
}


def test_clean_structures():
    assert StructureTree.clean_structures([PUBLISHED]) == [CLEANED]
    assert StructureTree.clean_structures([CLEANED]) == [CLEANED]
    assert StructureTree.clean_structures([]) == []


def test_clean_structures_with_other_rules():
    cleaned = StructureTree.clean_structures(
        [PUBLISHED],
        whitelist=["id", "name", "color_hex_triplet"],
        data_transforms={"name": str.upper},
        renames={"name": "label"},
    )
    assert cleaned == [{"id": 1011, "label": "DORSAL AUDITORY AREA", "color_hex_triplet": "019399"}]
    assert StructureTree.clean_structures([PUBLISHED], whitelist=["id"]) == [{"id": 1011}]


def test_the_rules_of_cleaning_are_copies():
    StructureTree.whitelist().append("more")
    StructureTree.renames()["name"] = "label"
    StructureTree.data_transforms().clear()
    assert StructureTree.clean_structures([PUBLISHED]) == [CLEANED]


def test_null_fields_stay_null():
    cleaned = StructureTree.clean_structures(
        [
            {"id": 1, "structure_id_path": None, "parent_structure_id": None, "name": None},
            {"id": 2, "structure_id_path": "", "parent_structure_id": 1, "color_hex_triplet": None},
        ]
    )
    tree = StructureTree(cleaned)
    assert tree.parent_ids([1, 2]) == [None, 1]
    assert tree.nodes([1])[0]["name"] is None
    assert tree.nodes([2])[0]["rgb_triplet"] is None


def test_the_parts_of_cleaning():
    assert StructureTree.path_to_list("/997/8/") == [997, 8]
    assert StructureTree.path_to_list((997, "8")) == [997, 8]
    assert StructureTree.path_to_list([997.0, np.float64(8)]) == [997, 8]
    assert {type(i) for i in StructureTree.path_to_list([997.0, np.int8(8)])} == {int}
    assert StructureTree.path_to_list("") == []
    assert StructureTree.collect_sets({"structure_sets": [{"id": 9}, {"id": 4}]}) == [4, 9]
    assert StructureTree.collect_sets({"structure_sets": None}) == []


@pytest.mark.parametrize(
    ("color", "rgb"),
    [
        ("019399", [1, 147, 153]),
        ("#019399", [1, 147, 153]),
        ("19399", [1, 147, 153]),
        ("ff", [0, 0, 255]),
        ("0", [0, 0, 0]),
        (" BFdae3 ", [191, 218, 227]),
        ((1, 2, 255), [1, 2, 255]),
        ((153.0, 0.0, 255.0), [153, 0, 255]),
        (np.array([1, 2, 3], np.uint8), [1, 2, 3]),
    ],
)
def test_colors(color, rgb):
    assert StructureTree.hex_to_rgb(color) == rgb


@pytest.mark.parametrize(
    "color",
    [
        *["", "#", "#fff", "GGGGGG", "0x0102", "1234567", "12345678", "٣٣٣٣٣٣", "red", None, 5],
        *[
            [1, 2],
            [1, 2, 3, 4],
            [1, 2, 256],
            [-1, 2, 3],
            [0.5, 0.5, 0.5],
            [float("inf"), 0, 0],
            [float("nan"), 0, 0],
            ["1", "2", "3"],
        ],
    ],
)
def test_bad_colors(color):
    message = "is not a colour; give six hexadecimal digits or three integers from 0 to 255"
    with pytest.raises(OntologyError, match=message):
        StructureTree.hex_to_rgb(color)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"structure_sets": 5}, "structure 1 has structure_sets 5; give a list"),
        ({"structure_sets": [5]}, "5 is not a record"),
        ({"structure_sets": [{"name": "x"}]}, "None is not a structure id"),
        ({"structure_set_ids": [1.5]}, "1.5 is not a structure id"),
        ({"structure_set_ids": "12"}, "structure 1 has structure_set_ids '12'; give a list"),
        ({"color_hex_triplet": "blue"}, "'blue' is not a colour"),
    ],
)
def test_records_that_cannot_be_cleaned(record, message):
    with pytest.raises(OntologyError, match=message):
        StructureTree.clean_structures([{"id": 1, **record}])


# ----- the graph


def test_the_graph_is_frozen_and_carries_the_fields(tree):
    assert type(tree.graph) is nx.DiGraph
    assert nx.is_frozen(tree.graph)
    assert list(tree.graph) == IDS
    assert set(tree.graph.edges) == {
        *[(997, 8), (997, 1009), (8, 567), (567, 385), (567, 409), (8, 496345664)]
    }
    assert tree.graph.nodes[385] == RECORDS[4]
    with pytest.raises(nx.NetworkXError, match="Frozen graph"):
        tree.graph.add_edge(997, 304325711)


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, copy.copy, lambda t: pickle.loads(pickle.dumps(t))]
)
def test_a_copy_is_the_same_tree(tree, copied):
    other = copied(tree)
    assert type(other) is StructureTree
    assert other.nodes() == tree.nodes()
    assert list(other.graph.edges) == list(tree.graph.edges)
    assert nx.is_frozen(other.graph)
    assert other.descendant_ids(IDS) == tree.descendant_ids(IDS)
    assert other.resolve(["VISp", "Cerebrum"]) == [385, 567]
    assert [other.node_id_cb(node) for node in other.nodes()] == IDS
    assert [other.parent_id_cb(node) for node in other.nodes()] == other.parent_ids(IDS)


# ----- showing


def test_print_draws_the_tree(tree):
    assert str(tree).splitlines() == [
        "root (997)",
        "├─ grey Basic cell groups and regions (8)",
        "│  ├─ CH Cerebrum (567) … 2 below",
        "│  └─ LGd-sh Dorsal lateral geniculate, shell (496345664)",
        "└─ fiber tracts (1009)",
        "retina (304325711)",
    ]
    assert repr(tree) == ("<StructureTree of 8 structures: root (997), retina (304325711)>")


def test_print_of_a_large_tree_is_short_and_in_order():
    ids = [i * 2654435761 % 2**32 for i in range(1, 200)]
    tree = StructureTree([{"id": 5}, *({"id": i, "structure_id_path": [5, i]} for i in ids)])
    *lines, last = str(tree).splitlines()
    assert [int(line.split("(")[1][:-1]) for line in lines] == [5, *ids[:39]]
    assert last == "… and 160 more structures"
    deep = StructureTree([{"id": i, "structure_id_path": range(i + 1)} for i in range(100)])
    assert str(deep).splitlines() == ["(0)", "└─ (1)", "   └─ (2) … 97 below"]


class Tags(HTMLParser):
    """The tags of a page, and its text."""

    def __init__(self, page):
        super().__init__()
        self.open, self.seen, self.text = [], [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_the_notebook_shows_every_structure(tree):
    page = Tags(tree._repr_html_())
    assert page.open == []
    assert {tag for tag, _ in page.seen} == {"b", "details", "summary", "span", "div"}
    shown = [int(i) for i in re.findall(r"\((\d+)\)", page.text)]
    assert shown == [997, 8, 567, 385, 409, 496345664, 1009, 304325711]
    assert {"style": "color:rgb(8,133,140)"} in [attrs for _, attrs in page.seen]


HOSTILE = "<script>alert('1')</script>\"&amp;\n\r\x1b[2J\u2028\u202e</summary>"


@pytest.mark.promise("a name holds control characters", "it is shown as text")
def test_hostile_names_are_shown_as_text():
    tree = StructureTree([structure([1], "a", HOSTILE), structure([1, 2], HOSTILE, "b")])
    page = Tags(tree._repr_html_())
    assert page.open == []
    assert "script" not in {tag for tag, _ in page.seen}
    assert page.text.count("<script>alert('1')</script>\"&amp;") == 2
    lines = str(tree).split("\n")
    assert len(lines) == 2
    assert all(line.isprintable() for line in [*lines, repr(tree)])


def test_structures_without_names_are_shown_by_id():
    tree = StructureTree([{"id": 1, "acronym": None}, {"id": 2, "name": 5}])
    assert str(tree).splitlines() == ["(1)", "5 (2)"]
    assert Tags(tree._repr_html_()).text.endswith("structures\u25a0 (1)\u25a0 5 (2)")


# ----- colours

# Of these ids on every machine and in every version: stores and files hold them.
MADE_UP = {1: [200, 46, 215], 2: [66, 85, 175], 997: [114, 91, 170], 2**32 - 1: [195, 206, 79]}


def test_made_up_colours_stay_as_they_are():
    assert {i: made_up_color(i) for i in MADE_UP} == MADE_UP
    tree = StructureTree([{"id": i} for i in reversed(MADE_UP)])
    assert tree.get_colormap() == MADE_UP
    assert not any("rgb_triplet" in node for node in tree.nodes())
    again = StructureTree([{"id": 997, "rgb_triplet": None}, {"id": 1, "rgb_triplet": [0, 0, 0]}])
    assert again.get_colormap() == {997: MADE_UP[997], 1: [0, 0, 0]}


def test_made_up_colours_are_told_apart():
    colours = np.array([made_up_color(i) for i in range(1, 2**16)])
    assert len(np.unique(colours, axis=0)) == 2**16 - 1
    assert colours.min() >= 0
    assert colours.max() <= 255
    # Of neighbours, by more than what one overlooks; none is black, white or grey.
    assert np.abs(np.diff(colours, axis=0)).sum(axis=1).min() > 60
    assert (colours.max(axis=1) - colours.min(axis=1)).min() > 60


def test_colours_are_made_up_wherever_they_are_needed():
    tree = StructureTree([{"id": 2, "acronym": "a"}, {"id": 1, "rgb_triplet": [7, 8, 9]}])
    assert "rgb(66,85,175)" in tree._repr_html_()
    # Of published records that were not cleaned, they are those published.
    records = [{"id": 2, "color_hex_triplet": "19399"}, {"id": 1, "color_hex_triplet": "blue"}]
    assert StructureTree(records).get_colormap() == {2: [1, 147, 153], 1: MADE_UP[1]}
    tree = StructureTree([{"id": 2, "acronym": "a"}])
    table = tree.export_label_description()
    assert table[["-R-", "-G-", "-B-"]].values.tolist() == [MADE_UP[2]]


# ----- ITK-SNAP's table


def test_export_label_description(tree):
    table = tree.export_label_description(
        alphas={385: 0.5, "CH": 0}, exclude_label_vis=[997], exclude_mesh_vis={8, "VISp"}
    )
    assert list(table) == ["IDX", "-R-", "-G-", "-B-", "-A-", "VIS", "MSH", "LABEL"]
    assert [table[c].dtype.kind for c in table] == [*"iiiifii", table["LABEL"].dtype.kind]
    assert table["IDX"].tolist() == IDS
    assert table["LABEL"].tolist() == [record["acronym"] for record in RECORDS]
    assert table["-A-"].tolist() == [1, 1, 1, 0, 0.5, 1, 1, 1]
    assert table["VIS"].tolist() == [0, 1, 1, 1, 1, 1, 1, 1]
    assert table["MSH"].tolist() == [1, 0, 1, 1, 0, 1, 1, 1]
    assert table.iloc[4, 1:4].tolist() == [8, 133, 140]


def test_export_label_description_by_another_field(tree):
    assert tree.export_label_description(label_key="name")["LABEL"][3] == "Cerebrum"
    with pytest.raises(KeyError, match="structures have no weight: 997, 8, 1009, 567, 385 and 3"):
        tree.export_label_description(label_key="weight")


@pytest.mark.parametrize("nothing", [(), [], np.array([], int), None])
def test_export_label_description_that_hides_nothing(tree, nothing):
    table = tree.export_label_description({}, nothing, nothing)
    assert table["VIS"].all()
    assert table["MSH"].all()


def test_export_label_description_passes_over_structures_that_were_removed(tree):
    options = {"alphas": {5: 0.1, "CH": 0.5}, "exclude_label_vis": [5], "exclude_mesh_vis": 5}
    table = tree.export_label_description(**options).set_index("IDX")
    assert table.loc[567, "-A-"] == 0.5
    assert table[["VIS", "MSH"]].to_numpy().all()
    with pytest.raises(StructureNotFoundError, match="'nowhere'"):
        tree.export_label_description(exclude_label_vis=["nowhere"])


def test_structure_0_can_be_hidden():
    tree = StructureTree([structure([0], "a", "a")])
    assert tree.export_label_description(exclude_label_vis=0)["VIS"].tolist() == [0]


# ----- properties


@few
@given(families())
def test_relations_match_recursion(family):
    tree = family.tree()
    ids = list(family.parents)
    assert tree.node_ids() == ids
    assert tree.parent_ids(ids) == list(family.parents.values())
    assert tree.child_ids(ids) == [family.children(i) for i in ids]
    assert tree.descendant_ids(ids) == [family.subtree(i) for i in ids]
    assert tree.ancestor_ids(ids) == [family.upwards(i) for i in ids]
    assert tree.nodes() == family.records()


@few
@given(families())
def test_relations_match_networkx(family):
    tree = family.tree()
    for i in tree.node_ids():
        assert {i, *nx.descendants(tree.graph, i)} == set(tree.descendant_ids([i])[0])
        assert {i, *nx.ancestors(tree.graph, i)} == set(tree.ancestor_ids([i])[0])
        assert tree.graph.nodes[i] == tree.nodes([i])[0]


@few
@given(families())
def test_every_subtree_is_an_interval_of_the_preorder(family):
    preorder = family.preorder()
    tree = family.tree()
    for i in family.parents:
        subtree = tree.descendant_ids([i])[0]
        start = preorder.index(i)
        assert preorder[start : start + len(subtree)] == subtree


@few
@given(families(), st.data())
def test_totals_match_sums(family, data):
    direct = {i: data.draw(st.integers(-(2**40), 2**40)) for i in family.parents}
    totals = family.tree().total(list(direct.values()))
    assert totals.tolist() == [sum(direct[j] for j in family.subtree(i)) for i in family.parents]


@few
@given(families(), st.data())
def test_overlaps_match_pairs(family, data):
    chosen = data.draw(st.lists(st.sampled_from(list(family.parents))))
    tree = family.tree()
    expected = {a for a in chosen for b in chosen if a != b and a in family.upwards(b)}
    assert tree.has_overlaps(chosen) == expected
    assert {a for a in chosen for b in chosen if a != b and tree.structure_descends_from(b, a)} == (
        expected
    )


@few
@given(families())
def test_all_ways_to_write_a_tree_read_the_same(family):
    records = family.records()
    fields = [{k: v for k, v in r.items() if k != "structure_id_path"} for r in records]
    by_parent = [{**r, "parent_structure_id": family.parents[r["id"]]} for r in fields]

    def nested(r):
        inner = [nested(fields[list(family.parents).index(i)]) for i in family.children(r["id"])]
        return {**r, "children": inner}

    roots = [nested(r) for r in fields if family.parents[r["id"]] is None]
    in_preorder = family.tree().nodes(family.preorder())
    assert StructureTree(StructureTree.clean_structures(by_parent)).nodes() == records
    assert StructureTree(StructureTree.clean_structures(roots)).nodes() == in_preorder


@few
@given(families())
def test_cleaning_is_pure_and_idempotent(family):
    records = family.records()
    before = copy.deepcopy(records)
    cleaned = StructureTree.clean_structures(records)
    assert records == before
    assert cleaned == records
    assert StructureTree.clean_structures(cleaned) == cleaned


@few
@given(families())
def test_sets_match_a_loop(family):
    records, tree = family.records(), family.tree()
    for chosen in ([0], [1, 11], [10, 11], []):
        expected = [r for r in records if set(chosen) & set(r["structure_set_ids"])]
        assert tree.get_structures_by_set_id(chosen) == expected
    assert tree.get_structure_sets() == {s for r in records for s in r["structure_set_ids"]}


@pytest.mark.promise("structures form no tree")
@few
@given(families(), st.data())
def test_a_broken_tree_is_always_one_clear_error(family, data):
    """Give a structure a wrong parent: itself, one of its descendants, or none that exists."""
    victim = data.draw(st.sampled_from(list(family.parents)))
    wrong = data.draw(st.sampled_from([*family.subtree(victim), -1, "x", 0.5, True]))
    parents = {**family.parents, victim: wrong}
    with pytest.raises(OntologyError):
        StructureTree([{"id": i, "parent_structure_id": p} for i, p in parents.items()])


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 5) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
record_fields = ["id", "structure_id_path", "parent_structure_id", "children", "rgb_triplet"]
record_fields += ["color_hex_triplet", "acronym", "name", "structure_set_ids", "structure_sets"]
junk = st.lists(
    st.fixed_dictionaries({"id": st.integers(0, 3)}).flatmap(
        lambda r: st.dictionaries(st.sampled_from(record_fields), anything).map(
            lambda f: {**r, **f}
        )
    )
    | anything,
    max_size=4,
)


@few
@given(junk)
def test_junk_is_a_tree_or_a_clear_error(records):
    for make in (StructureTree, StructureTree.clean_structures):
        with contextlib.suppress(RefspaceError):
            assert len(make(records)) >= len(records)
    with contextlib.suppress(RefspaceError):
        tree = StructureTree(records)
        assert Tags(tree._repr_html_()).open == []
        assert str(tree).count("\n") <= len(tree)


# ----- some of many regions


@given(families(8), st.data())
def test_selected_regions_have_their_structures(family, data):
    tree = family.tree()
    regions = tree.regions()
    labels = data.draw(st.lists(st.sampled_from(regions.labels), unique=True))
    chosen = regions.select(labels)
    assert chosen.labels == tuple(labels)
    assert len(chosen) == len(labels)
    assert chosen.indptr.dtype == chosen.members.dtype == np.int64
    for region, label in enumerate(labels):
        expected = regions.structures_in(regions.labels.index(label))
        np.testing.assert_array_equal(chosen.structures_in(region), expected)
    # Of all regions together nothing is said any more.
    with pytest.raises(OntologyError, match=r"; give regions as StructureTree\.regions makes them"):
        _ = chosen.nearest_region
    assert chosen.overlapping == chosen.uncovered == ()
    assert repr(chosen) in (f"<Regions: {len(chosen)} regions>", "<Regions: 1 region>")
    # Values of some are those that all of them have.
    ids = np.array(sorted(tree.node_ids()))
    values = np.arange(ids.size) + 1.0
    every = dict(zip(regions.labels, regions.reduce(ids, values).tolist(), strict=True))
    assert chosen.reduce(ids, values).tolist() == [every[label] for label in labels]


def test_selected_regions_keep_their_names():
    records = [structure((1,), "a", "one"), structure((1, 2), "b", "two")]
    regions = StructureTree(records).regions()
    chosen = regions.select([2])
    assert (chosen.acronyms, chosen.names) == (("b",), ("two",))
    named = StructureTree(records).regions({"b": "mine", "a": "yours"})
    chosen = named.select(["yours"])
    assert (chosen.labels, chosen.acronyms, chosen.names) == (("yours",), (), ())
    assert chosen.structures_in(0).tolist() == named.structures_in(1).tolist()
    assert len(regions.select([])) == 0
    assert regions.select([]).columns()["structure"].dtype == np.int64
    with pytest.raises(OntologyError, match=r"^no region is labelled 3, x; the labels are 1, 2$"):
        regions.select([2, 3, "x"])


# ----- values of regions


def test_values_of_regions_with_other_axes():
    """What is reduced may have axes before that of the structures."""
    tree = StructureTree(
        {"id": i, "structure_id_path": path, "acronym": f"s{i}", "name": f"structure {i}"}
        for i, path in ((1, [1]), (2, [1, 2]), (3, [1, 3]))
    )
    regions = tree.regions([1, 2])
    values = np.arange(12).reshape(2, 2, 3)
    found = regions.reduce(np.array([1, 2, 3]), values)
    np.testing.assert_array_equal(found[..., 0], values.sum(axis=-1))
    np.testing.assert_array_equal(found[..., 1], values[..., 1])
    assert str(regions) == str(tree.regions([1, 2]))


@pytest.mark.parametrize(("chosen", "count"), [([2], "1 region"), ([2, 3], "2 regions")])
def test_regions_that_were_selected_report_their_number_alone(chosen, count):
    """Which structures are in several of them, or in none, is not known of them."""
    tree = StructureTree(
        {"id": i, "structure_id_path": path, "acronym": f"s{i}", "name": f"structure {i}"}
        for i, path in ((1, [1]), (2, [1, 2]), (3, [1, 3]))
    )
    regions = tree.regions([1, 2, 3]).select(chosen)
    assert (str(regions), repr(regions)) == (count, f"<Regions: {count}>")


def test_labels_are_of_one_kind():
    tree = StructureTree(
        {"id": i, "structure_id_path": [i], "acronym": f"s{i}", "name": f"structure {i}"}
        for i in (1, 2)
    )
    with pytest.raises(OntologyError, match="labelled by integers and texts; give one or the"):
        tree.regions({1: "one", 2: 2})


def test_only_the_upper_levels_of_a_drawing_are_open():
    tree = StructureTree(
        {
            "id": i,
            "structure_id_path": [*range(1, i + 1)],
            "acronym": f"s{i}",
            "name": f"structure {i}",
        }
        for i in range(1, 8)
    )
    drawn = tree._repr_html_()
    assert drawn.count("<details open ") == 3
    assert drawn.count("<details ") == 6
