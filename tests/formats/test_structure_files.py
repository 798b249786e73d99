"""Structures as people have them: each kind of file, and what it is read as."""

import contextlib
import io
import json
import re
import struct

import numpy as np
import pandas as pd
import pytest
from helpers.strategies import families, few
from hypothesis import given
from hypothesis import strategies as st

import refspace
from refspace.errors import FormatError, OntologyError, RefspaceError
from refspace.formats.structures import parse_structures, xml_records
from refspace.limits import set_limits
from refspace.structure_tree import StructureTree


def read(content, **options):
    data = content if isinstance(content, bytes) else content.encode()
    return parse_structures(data, "file", **options)


def dump(content):
    return read(json.dumps(content))


def rows(tree):
    return [(n["id"], n.get("acronym"), n.get("name"), n.get("rgb_triplet")) for n in tree.nodes()]


def parents(tree):
    ids = tree.node_ids()
    return dict(zip(ids, tree.parent_ids(ids), strict=True))


# ----- numbers, empty cells, parents

BRAIN = {10: None, 20: 10, 30: 20, 40: 10}


@pytest.mark.parametrize("number", ["{}", "{}.0", "{}.", " {} ", "{}.00"])
def test_whole_numbers_in_any_form(number):
    lines = [
        f"{number.format(i)},s{i},{'' if p is None else number.format(p)}" for i, p in BRAIN.items()
    ]
    tree = read("\n".join(["id,name,parent_structure_id", *lines]))
    assert parents(tree) == BRAIN


@pytest.mark.parametrize("empty", ["", "n/a", "NA", "nan", "NaN", "N/A", "None", "null", " ", "-1"])
@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_what_stands_for_no_parent(empty, delimiter):
    lines = [[str(i), f"s{i}", empty if p is None else str(p)] for i, p in BRAIN.items()]
    text = "\n".join(delimiter.join(line) for line in [["ID", "Name", "parent"], *lines])
    assert parents(read(text)) == BRAIN


@pytest.mark.parametrize("empty", ["", "n/a", "NA", "nan", "N/A"])
def test_empty_cells_of_a_table_of_labels(empty):
    cells = f"index\tname\tabbreviation\tcolor\n4\tFour\t{empty}\t#010203\n5\tFive\tV\t{empty}\n"
    assert rows(read(cells)) == [(4, "Four", "Four", [1, 2, 3]), (5, "V", "Five", None)]


@pytest.mark.parametrize("none", [0, "0", 0.0, -1, "-1", None, ""])
def test_a_parent_of_0_is_none_unless_there_is_such_a_structure(none):
    records = [{"id": 5, "acronym": "a", "parent_structure_id": none}]
    records.append({"id": 6, "acronym": "b", "parent_structure_id": 5.0})
    assert parents(dump(records)) == {5: None, 6: 5}
    with_root = [{"id": 0, "acronym": "void", "parent_structure_id": None}, *records]
    expected = 0 if none in (0, "0") else None
    assert parents(dump(with_root)) == {0: None, 5: expected, 6: 5}


def test_a_structure_0_of_a_table_is_kept_where_others_descend_from_it():
    assert parents(read("id,name,parent\n0,universe,\n3,brain,0\n")) == {0: None, 3: 0}
    assert parents(read("id,name,parent\n0,Background,\n3,brain,\n")) == {3: None}


PATHS = ["[997, 8, 56]", "/997/8/56/", "[997   8  56]", "(997, 8, 56)", "997/8/56", "[997. 8. 56.]"]


@pytest.mark.parametrize("path", [*PATHS, "997|8|56", " /997/8/56/ "])
def test_paths_in_any_form(path):
    shorter = [re.sub(r"\D*56\.?", "", path), re.sub(r"\D*8\D+56\.?", "", path)]
    lines = [f'{i};"{p}"' for i, p in zip((56, 8, 997), [path, *shorter], strict=True)]
    tree = read("\n".join(["id;structure_id_path", *lines]))
    assert tree.ancestor_ids([56]) == [[56, 8, 997]]


def test_a_path_counts_before_a_parent_and_a_parent_where_there_is_no_path():
    table = "id,structure_id_path,parent_structure_id\n1,/1/,\n2,,1.0\n3,/1/3/,1\n"
    assert parents(read(table)) == {1: None, 2: 1, 3: 1}


# ----- colours

COLOURS = [
    "#0a141e",
    "0a141eff",
    "#0A141E80",
    "[10, 20, 30]",
    "[10 20 30]",
    "10 20 30",
    "(10,20,30)",
]


@pytest.mark.parametrize("colour", [c for c in COLOURS if c != "0a141eff"])
@pytest.mark.parametrize("column", ["color", "rgb_triplet", "color_hex_triplet", "colour", "rgb"])
def test_colours_in_any_form(colour, column):
    assert rows(read(f'id,name,{column}\n3,c,"{colour}"\n'))[0][3] == [10, 20, 30]


def test_colours_that_were_taken_for_numbers():
    table = "id,name,parent_id,color_hex_triplet\n1,a,,19399.0\n2,b,1,\n3,c,1,000001.0\n"
    assert [row[3] for row in rows(read(table))] == [[1, 0x93, 0x99], None, [0, 0, 1]]


@pytest.mark.parametrize("parent", ["parent_structure_id", "parent", "parent_id", "ParentID"])
@pytest.mark.parametrize("colours", ["red,green,blue", "R,G,B", "r,g,b", "Red, Green, Blue"])
@pytest.mark.parametrize("short", ["acronym", "abbr", "abbreviation", "Short Name"])
def test_colours_and_acronyms_beside_any_parent(parent, colours, short):
    tree = read(f"{short},id,{parent},{colours},name\nr,1,,1,2,3,root\nx,2,1,4.0,5,6,leaf\n")
    assert rows(tree) == [(1, "r", "root", [1, 2, 3]), (2, "x", "leaf", [4, 5, 6])]
    assert parents(tree) == {1: None, 2: 1}


# ----- names of columns

NAMED = [
    ("region_id", "region_name", "abbr"),
    ("structure_id", "structure_name", "acronym"),
    ("labelIndex", "safe_name", "abbrev"),
    ("idx", "name", "short"),
    ("value", "label", "abbreviation"),
    ("index", "full name", "short_name"),
    ("ID", "structure.name", "ABBR"),
]


@pytest.mark.parametrize("names", NAMED, ids="/".join)
@pytest.mark.parametrize("form", ["csv", "semicolons", "json", "parquet"])
def test_names_of_columns(names, form):
    if form == "json" and names[0] in ("idx", "value", "index"):
        return
    table = pd.DataFrame([[7, " Left part ", "Lp"], [9, "Right, part", "Rp"]], columns=names)
    content = {
        "csv": lambda: table.to_csv(),  # with a column without a name, the index
        "semicolons": lambda: table.to_csv(sep=";", index=False),
        "json": lambda: table.to_json(orient="records"),
        "parquet": lambda: table.to_parquet(),
    }[form]()
    assert [row[:3] for row in rows(read(content))] == [
        (7, "Lp", "Left part"),
        (9, "Rp", "Right, part"),
    ]


def test_the_plainest_name_counts():
    table = "index,id,safe_name,name,label\n0,8,safe,,label\n1,9,safe,plain,label\n"
    assert [row[:3] for row in rows(read(table))] == [(8, "safe", "safe"), (9, "plain", "plain")]


def test_columns_that_the_caller_names():
    table = "number,what,mother,code,paint\n5,Five,,V,#010101\n6,Six,5,VI,\n"
    columns = {"id": "number", "name": "what", "parent": "MOTHER", "acronym": "code"}
    tree = read(table, columns=columns | {"color": "paint"})
    assert rows(tree) == [(5, "V", "Five", [1, 1, 1]), (6, "VI", "Six", None)]
    assert parents(tree) == {5: None, 6: 5}
    # Fields by any of their names, and instead of what is found by itself.
    table = "id,label,name\n1,30,a\n2,40,b\n"
    assert rows(read(table, columns={"structure_id": "label"}))[0][:3] == (30, "a", "a")
    records = json.dumps([{"index": 1, "name": "a"}])
    assert read(records, columns={"id": "index"}).node_ids() == [1]


WRONG_COLUMNS = {
    "field": (
        "id,name\n1,a\n",
        {"weight": "id"},
        "columns= has a field 'weight'; fields are id, n",
    ),
    "column": (
        "id,name\n1,a\n",
        {"acronym": "abc"},
        "no column 'abc' for acronym; there are id, n",
    ),
    "no names": ("1 Cortex\n", {"id": "label"}, "has no names of columns; leave columns= away"),
    "twice": ("id,name,name\n1,a,b\n", {}, "two columns are called 'name'; give each its own name"),
}


@pytest.mark.parametrize(
    ("content", "columns", "message"), WRONG_COLUMNS.values(), ids=WRONG_COLUMNS
)
def test_columns_that_are_none(content, columns, message):
    with pytest.raises(FormatError, match=message):
        read(content, columns=columns)


# ----- above the header

HEADERS = {
    "comments": "# made by us\n#\n\nid,name\n",
    "comment as header": "# made by us\n# id,name\n",
    "sharp header": "#id,name\n",
    "separator": "sep=,\nid,name\n",
    "byte order mark": "\ufeffid,name\n",
    "quoted": '"id","name"\n',
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_what_stands_above_a_table(header):
    text = f"{header}7,Cortex\n8,\n"
    line = text.count("\n")
    with pytest.raises(FormatError, match=f"line {line}: id 8 has no name"):
        read(text)
    assert rows(read(text.replace("8,", '8,"Two\nlines"'))) == [
        (7, "Cortex", "Cortex", None),
        (8, "Two\nlines", "Two\nlines", None),
    ]


def test_a_table_without_names_of_columns():
    assert rows(read("# ours\n1,Left part,1,2,3\n# more\n2,Right,4,5,6\n")) == [
        (1, "Left part", "Left part", [1, 2, 3]),
        (2, "Right", "Right", [4, 5, 6]),
    ]
    assert [row[:2] for row in rows(read("1;Left, part\n2;Right\n"))] == [
        (1, "Left, part"),
        (2, "Right"),
    ]
    with pytest.raises(FormatError, match="first line has 4 cells, and names no columns; a table"):
        read("1,a,b,c\n")


# ----- look-up tables

LINES = {
    "id name": ("1 Left part\n 22\tRight_part 2\n", ["Left part", "Right_part 2"], None),
    "quoted": ('1 "Left part"\n22 "Right, part"\n', ["Left part", "Right, part"], None),
    "quoted with colours": ('1 "Left 5" 1 2 3 0\n22 "R" 4 5 6 0\n', ["Left 5", "R"], "rgb"),
    "opacity": ("1 Left 1 2 3 255\n22 Right 4 5 6 255\n", ["Left", "Right"], "rgb"),
    "opacity as a part": ("1 Left 1 2 3 1.0\n22 Right 4 5 6 0.5\n", ["Left", "Right"], "rgb"),
    "no opacity": ("1 Left part 1 2 3\n22 Right 4 5 6\n", ["Left part", "Right"], "rgb"),
    "numbers in names": ("1 Area 17 1 2 3\n22 Insula 4 5 6\n", ["Area 17", "Insula"], "rgb"),
    "only numbers differ": ("1 Area 17 1 2 3\n22 Area 18 4 5 6\n", ["Area 17", "Area 18"], "rgb"),
    "stated without opacity": (
        "# id name R G B\n1 Area 17 1 2 3\n22 Zone 3 4 5 6\n",
        ["Area 17", "Zone 3"],
        "rgb",
    ),
    "header without a sharp": (
        "index name R G B A\n1 Left part 1 2 3 0\n22 Right 4 5 6 0\n",
        ["Left part", "Right"],
        "rgb",
    ),
    "ITK-SNAP without quotes": (
        "1 1 2 3 1 1 1 Left part\n22 4 5 6 1 1 1 R\n",
        ["Left part", "R"],
        "rgb",
    ),
}


@pytest.mark.parametrize(("text", "names", "colours"), LINES.values(), ids=LINES)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_lines(text, names, colours, newline):
    tree = read(text.replace("\n", newline))
    assert tree.node_ids() == [1, 22]
    assert [row[2] for row in rows(tree)] == names
    expected = [[1, 2, 3], [4, 5, 6]] if colours else [None, None]
    assert [row[3] for row in rows(tree)] == expected


PAIRS = {
    "header": "# index short long R G B A\n1 LP Left_part 1 2 3 255\n2 RP Right_part 4 5 6 255\n",
    # As MRtrix ships: no header, label 0 without a short name, and one region by two long names.
    "MRtrix": "# Look-up table\n\n0   ???  Unknown  0 0 0 0\n\n1  LP  Left_part 1 2 3 255\n"
    "1 LP Left_part-Proper  1 2 3 255\n2  RP  Right_part 4  5 6   255\n",
}


@pytest.mark.parametrize("text", PAIRS.values(), ids=PAIRS)
def test_short_and_long_names(text):
    assert rows(read(text)) == [
        (1, "LP", "Left_part", [1, 2, 3]),
        (2, "RP", "Right_part", [4, 5, 6]),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "1 Left Cortex 1 2 3 0\n2 Right Cortex 1 2 3 0\n",
        "1 Left Cortex 1 2 3 0\n2 Right Thalamus 1 2 3 0\n",
        "#No. Label Name:  R G B A\n1 TH Thalamus 1 2 3 0\n2 CX Cortex 1 2 3 0\n",
    ],
)
def test_names_of_two_words_are_no_short_and_long_ones(text):
    assert all(acronym == name and " " in name for _, acronym, name, _ in rows(read(text)))


@pytest.mark.parametrize("colour", ["1 2 3 255", "1 2 3"])
def test_a_label_that_is_there_once_more_by_a_longer_name(colour):
    text = f"1 Left-Thalamus {colour}\n1 Left-Thalamus-Proper {colour}\n2 Pons {colour}\n"
    assert [row[2] for row in rows(read(text))] == ["Left-Thalamus", "Pons"]
    with pytest.raises(FormatError, match="line 2: id 1 is on line 1 already"):
        read(text.replace("1 2 3", "1 2 4", 1))
    # As tables that join labels have them, without colours.
    with pytest.raises(FormatError, match="line 2: id 1 is on line 1 already"):
        read(text.replace(colour, ""))


def test_one_label_with_two_names_is_refused():
    with pytest.raises(FormatError, match="line 2: id 1 is on line 1 already"):
        read("1 LP Left_part 1 2 3 255\n1 LQ Left_part 1 2 3 255\n")


# ----- XML


def fsl(kind, labels, extra=""):
    inner = "".join(f'<label index="{i}" x="1" y="2" z="3">{name}</label>' for i, name in labels)
    header = f"<header><name>A</name><type>{kind}</type></header>" if kind else ""
    return (
        f'<?xml version="1.0"?>{extra}\n<atlas version="1.0">{header}<data>\n{inner}</data></atlas>'
    )


@pytest.mark.parametrize(
    ("kind", "shift"),
    [("Label", 0), ("Probabilistic", 1), ("Probabalistic", 1), ("Statistic", 1), (" label ", 0)],
)
def test_fsl(kind, shift):
    """FSL's label images hold indices of atlases of type Label, and of others indices plus one."""
    tree = read(fsl(kind, [(3, "Frontal &amp; Pole"), (7, " Insula ")]))
    assert rows(tree) == [
        (3 + shift, "Frontal & Pole", "Frontal & Pole", None),
        (7 + shift, "Insula", "Insula", None),
    ]


def test_fsl_numbers_probabilities_from_0_and_labels_the_background_so():
    assert read(fsl("Probabilistic", [(0, "Pole"), (1, "Insula")])).node_ids() == [1, 2]
    assert read(fsl("Label", [(0, "Unclassified"), (1, "Insula")])).node_ids() == [1]


def test_spm():
    labels = "<label><index>2001</index><name>Precentral_L</name></label>"
    labels += "<label><index>2002</index><name>Precentral_R</name></label>"
    tree = read(f"<atlas><data>{labels}</data></atlas>")
    assert [row[:2] for row in rows(tree)] == [(2001, "Precentral_L"), (2002, "Precentral_R")]


def allen_xml(node):
    inner = "".join(map(allen_xml, node["children"]))
    parent = "" if node["parent_structure_id"] is None else node["parent_structure_id"]
    return (
        f"<structure><id>{node['id']}</id><acronym>&quot;{node['acronym']}&quot;</acronym>"
        f"<name>&quot;{node['name']}&quot;</name><graph-order>{node['graph_order']}</graph-order>"
        f"<color-hex-triplet>{node['color_hex_triplet']}</color-hex-triplet>"
        f"<parent-structure-id>{parent}</parent-structure-id>"
        f"<children>\n{inner}</children></structure>"
    )


def test_allens_graph_in_xml_says_what_it_says_in_json():
    def node(tree, record, above=None):
        inner = [node(tree, child, record["id"]) for child in tree.children([record["id"]])[0]]
        colour = "{:02X}{:02X}{:02X}".format(*record["rgb_triplet"])
        kept = {k: record[k] for k in ("id", "acronym", "name", "graph_order")}
        own = {"color_hex_triplet": colour, "parent_structure_id": above, "children": inner}
        return kept | own

    tree = refspace.phantom(resolution=1000).structure_tree
    root = node(tree, tree.nodes([997])[0])
    xml = f"<Response success='true' num_rows='1'>{allen_xml(root)}</Response>"
    assert read(xml).nodes() == dump({"success": True, "msg": [root]}).nodes()
    assert len(read(xml)) == len(tree)


def test_allens_records_in_xml():
    """As its query API serves them: one beside the other, with parents or paths."""
    inner = "".join(
        f"<structure><id>{i}</id><acronym>&quot;s{i}&quot;</acronym>"
        f"<parent-structure-id>{p or ''}</parent-structure-id></structure>"
        for i, p in BRAIN.items()
    )
    xml = f"<Response success='true'><structures>{inner}</structures></Response>"
    assert parents(read(xml)) == BRAIN
    path = "<structure-id-path>/1/2/</structure-id-path>"
    xml = f"<a><b><id>1</id><name>x</name></b><b><id>2</id><name>y</name>{path}</b></a>"
    assert parents(read(xml)) == {1: None, 2: 1}


def test_labels_in_each_other_with_attributes():
    """As the files that come with the Waxholm atlas of the rat."""
    xml = (
        '<milf version="1.1"><structure><label abbreviation="Br" color="#ffffff" id="1000" '
        'name="Brain"><label abbreviation="Cx" color="#0a0b0c" id="5" name="Cortex"/></label>'
        "</structure></milf>"
    )
    tree = read(xml)
    assert rows(tree) == [(1000, "Br", "Brain", [255] * 3), (5, "Cx", "Cortex", [10, 11, 12])]
    assert parents(tree) == {1000: None, 5: 1000}


DEEP = "<structure><id>1</id><name>a</name><children>"
ENTITY = '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]>'
HOSTILE_XML = {
    "entities": (fsl("Label", [(1, "&b;")], ENTITY), "has a document type or entities, which no"),
    "files": (
        fsl("Label", [(1, "&b;")], '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/hostname">]>'),
        "has a document type or entities",
    ),
    "a DTD elsewhere": (
        fsl("Label", [(1, "a")], '<!DOCTYPE a SYSTEM "http://127.0.0.1:9/a.dtd">'),
        "has a document type or entities",
    ),
    "unknown entity": (fsl("Label", [(1, "&b;")]), "not valid XML: undefined entity"),
    "deep": (DEEP * 10_000, "nested too deeply for an ontology"),
    "truncated": (fsl("Label", [(1, "a")])[:-9], "not valid XML: unclosed token: line 3"),
    "encoding": ('<?xml version="1.0" encoding="x-none"?><a/>', "not valid XML: unknown encoding"),
    "no type": (fsl("", [(1, "a")]), "line 3: the header states no type; of Label, labels are the"),
    "index": (fsl("Label", [("1e3", "a")]), "line 3: index is '1e3'; it must be a whole number"),
    "twice": (fsl("Label", [(1, "a"), (1, "b")]), "line 3: id 1 is on line 3 already"),
    "no labels": ("<atlas><data/></atlas>", "an atlas in XML without a label"),
    "no index": ("<atlas><data><label>a</label></data></atlas>", "line 1: a label has no index"),
    "something else": (
        "<opml><head/><body><outline/></body></opml>",
        "XML whose root is 'opml', with head, body in it; of XML, atlases of FSL",
    ),
    "error": (
        "<Error><Code>NoSuchKey</Code><Message>The key does not exist.</Message></Error>",
        r"the server reported a failure: NoSuchKey: The key does not exist\.$",
    ),
    "Allen's error": (
        "<Response success='false'><msg>no such graph</msg></Response>",
        "the server reported a failure: no such graph$",
    ),
}


@pytest.mark.promise("XML declares entities, or is nested without end")
@pytest.mark.parametrize(("text", "message"), HOSTILE_XML.values(), ids=HOSTILE_XML)
def test_xml_that_is_none(text, message):
    with pytest.raises(FormatError, match=message) as caught:
        read(text)
    assert len(str(caught.value)) < 400


def test_xml_has_a_bounded_number_of_elements(monkeypatch):
    assert 100_000 < xml_records._MOST_ELEMENTS < 10**6
    monkeypatch.setattr(xml_records, "_MOST_ELEMENTS", 1000)
    with pytest.raises(FormatError, match="file: has more than 1000 elements, too many"):
        read("<a>" + "<b/>" * 1000 + "</a>")


def test_xml_in_another_encoding():
    text = fsl("Label", [(1, "Köln")]).replace('"1.0"?', '"1.0" encoding="latin-1"?')
    assert rows(read(text.encode("latin-1")))[0][2] == "Köln"


# ----- hierarchies of other programs

SIIBRA = {
    "@id": "minds/core/parcellationatlas/v1.0.0/1",
    "@type": "siibra/parcellation/v0.0.1",
    "name": "Some parcellation",
    "regions": [
        {
            "name": "cerebral cortex",
            "labelIndex": None,
            "rgb": [1, 2, 3],
            "children": [
                {"name": "Area hOc1", "labelIndex": 8, "rgb": [190, 132, 147], "children": []},
                {"name": "Area 44", "labelIndex": 2, "children": []},
            ],
        },
        {"name": "brainstem", "labelIndex": 30, "children": []},
    ],
}


def test_siibra():
    tree = dump(SIIBRA)
    # A group has no voxels, and gets a number that no label has.
    assert rows(tree) == [
        (31, "cerebral cortex", "cerebral cortex", [1, 2, 3]),
        (8, "Area hOc1", "Area hOc1", [190, 132, 147]),
        (2, "Area 44", "Area 44", None),
        (30, "brainstem", "brainstem", None),
    ]
    assert parents(tree) == {31: None, 8: 31, 2: 31, 30: None}
    without = json.loads(json.dumps(SIIBRA).replace("labelIndex", "other"))
    with pytest.raises(FormatError, match="of siibra that states no labels; give the map of it"):
        dump(without)
    del without["@type"]
    with pytest.raises(FormatError, match="no record has an id; keys are name, other, rgb: give"):
        dump(without)


def test_labels_of_a_map_of_siibra():
    sides = [{"volume": 0, "label": 7, "fragment": f"{side} hemisphere"} for side in "lr"]
    indices = {f"Area 1 - {entry['fragment']}": [entry] for entry in sides}
    content = {"@type": "siibra/map/v0.0.1", "indices": indices | {"Pons": [{"label": 8}]}}
    assert [row[:3] for row in rows(dump(content))] == [
        (7, "Area 1", "Area 1"),
        (8, "Pons", "Pons"),
    ]
    indices["Pons"] = [{"volume": 0}]
    with pytest.raises(FormatError, match="record 2 has no id; give it one in id"):
        dump(content | {"indices": indices})


def test_records_line_by_line():
    records = [{"id": 0, "graph_order": -1, "name": "universe"}, {"id": 5, "name": "a}"}]
    text = "\n".join(json.dumps(record | {"parent_structure_id": None}) for record in records)
    nodes = read(text + "\n").nodes()
    assert [node.get("graph_order") for node in nodes] == [-1, None]
    assert [node["id"] for node in nodes] == [0, 5]
    with pytest.raises(FormatError, match="not valid JSON: Extra data: line 2"):
        read(text[:-3] + "}")


NESTED = {"id": 997, "acronym": "root", "name": "root", "color_hex_triplet": "FFFFFF"}
NESTED["children"] = [{"id": 8, "acronym": "grey", "name": "Grey", "children": []}]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda root: root,
        lambda root: [root],
        lambda root: {"msg": [root]},
        lambda root: {"msg": root},
        lambda root: {"success": True, "id": 0, "msg": [root]},
        lambda root: {"data": [root]},
        lambda root: {"data": {"structures": [root]}},
        lambda root: {"structures": [root]},
    ],
)
def test_envelopes(wrap):
    assert parents(dump(wrap(NESTED))) == {997: None, 8: 997}


def test_brainglobes_structures():
    nodes = [
        {"acronym": "root", "id": 997, "name": "root", "structure_id_path": [997]},
        {"acronym": "grey", "id": 8, "name": "Grey", "structure_id_path": [997, 8]},
    ]
    nodes = [node | {"rgb_triplet": [node["id"] % 255, 2, 3]} for node in nodes]
    found = dump(nodes).nodes()
    assert found == [node | {"structure_set_ids": []} for node in nodes]


def test_a_mapping_from_labels():
    expected = [(1, "Left", "Left"), (20, "Right", "Right")]
    assert [row[:3] for row in rows(dump({"1": "Left", "20": "Right"}))] == expected
    assert [row[:3] for row in rows(dump({"1": {"name": "Left"}, "20": {"name": "Right"}}))] == (
        expected
    )


# ----- what pandas makes of our nodes, and of AllenSDK's


def published(family):
    """Records as AllenSDK's ``StructureTree`` has them."""
    return [{k: record[k] for k in sorted(record)} | {"graph_id": 1} for record in family.records()]


@few
@given(families(), st.sampled_from([",", "\t", ";"]), st.booleans())
def test_what_pandas_writes_of_nodes_reads_back(family, delimiter, index):
    nodes = StructureTree(published(family)).nodes()
    text = pd.DataFrame(nodes).to_csv(sep=delimiter, index=index)
    assert read(text).nodes() == nodes


@few
@given(families())
def test_what_pandas_writes_of_nodes_with_holes_reads_back(family):
    records = published(family)
    for record in records[::2]:
        for field in ("graph_order", "rgb_triplet", "acronym", "graph_id"):
            del record[field]
    nodes = StructureTree(records).nodes()
    assert read(pd.DataFrame(nodes).to_csv()).nodes() == nodes


@pytest.mark.parametrize("form", ["csv", "parquet", "json"])
def test_what_pandas_writes_of_the_phantom_reads_back(form):
    nodes = refspace.phantom(resolution=1000).structure_tree.nodes()
    table = pd.DataFrame(nodes)
    content = {
        "csv": lambda: table.to_csv(),
        "parquet": lambda: table.to_parquet(),
        "json": lambda: table.to_json(orient="records"),
    }[form]()
    assert read(content).nodes() == nodes


def test_acronyms_that_look_like_missing_cells_come_back():
    nodes = [
        {"id": 1, "acronym": "NA", "name": "nan", "rgb_triplet": [1, 2, 3]},
        {"id": 2, "acronym": "null", "name": "n/a", "rgb_triplet": [1, 2, 3]},
    ]
    tree = StructureTree([node | {"structure_set_ids": []} for node in nodes])
    assert read(pd.DataFrame(tree.nodes()).to_csv()).nodes() == tree.nodes()


def test_what_numpy_prints_reads_back():
    nodes = refspace.phantom(resolution=1000).structure_tree.nodes()
    lists = ("structure_id_path", "rgb_triplet", "structure_set_ids")
    printed = [n | {k: np.array(n[k], dtype=np.int64) for k in lists} for n in nodes]
    assert read(pd.DataFrame(printed).to_csv()).nodes() == nodes


# ----- Parquet


def test_a_small_parquet_file_that_is_large():
    file = io.BytesIO()
    pd.DataFrame({"id": np.zeros(10**5, np.int64), "name": "a"}).to_parquet(file)
    assert len(file.getvalue()) < 10**4
    expected = pytest.raises(FormatError, match=r"file: it states \d+ bytes, 200000 cells, of at")
    with set_limits(ontology_bytes="128k"), expected:
        read(file.getvalue())


def test_damaged_parquet():
    data = pd.DataFrame({"id": [1, 2], "name": ["a", "b"]}).to_parquet()
    with pytest.raises(FormatError, match="no Parquet that can be read: "):
        read(data[:-1])
    with pytest.raises(FormatError, match="no Parquet that can be read: "):
        read(b"PAR1" + struct.pack("<I", 2**31) + b"PAR1")
    for place in range(4, len(data), 7):
        damaged = bytearray(data)
        damaged[place] ^= 0x55
        with contextlib.suppress(RefspaceError):
            assert len(read(bytes(damaged))) <= 2


# ----- what is no table

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"
SECRET = "never to be shown " * 50
OTHERS = {
    "page": ("<!DOCTYPE html><html><body>404</body></html>", "an HTML page, not a table"),
    "page with a comment": ("\n<!-- x --><HTML lang='en'>", "an HTML page, not a table"),
    "XHTML": ('<?xml version="1.0"?><!DOCTYPE html PUBLIC "a">', "an HTML page, not a table"),
    "Git LFS": (POINTER, "a Git LFS pointer, .* git lfs pull"),
    "git-annex": ("/annex/objects/SHA256E-s5--0.json\n", "a git-annex pointer"),
    "Excel": (b"PK\x03\x04" + bytes(30), "a ZIP archive or an Excel workbook; .* as CSV"),
    "old Excel": (b"\xd0\xcf\x11\xe0" + bytes(30), "an Excel workbook; save the sheet as CSV"),
    "volume": (b"NRRD0004\ntype: uint8\n", "a volume in NRRD, and no table"),
    "binary": ("id,name\n1,a\0b\n", "no text, but binary"),
    "index alone": (
        json.dumps([{"index": 1, "name": SECRET}]),
        "no record has an id; keys are index",
    ),
    "many keys": (
        json.dumps([{f"k{i}": SECRET for i in range(99)}]),
        "keys are k0, .* and 87 more",
    ),
    "long keys": (json.dumps([{"k" * 10**5: 1}]), "keys are k{29}…: give ids"),
    "failure": (
        json.dumps({"success": False, "msg": SECRET}),
        "the server reported a failure: nev",
    ),
    "failure with a list": (json.dumps({"success": False, "msg": [SECRET]}), "reported a failure"),
    "long line": ("1 A 1 2 3 0\n2 " + SECRET + "\n", "line 2 is '2 never"),
    "long cell": (f"id,name\n{SECRET},a\n", "line 2: id is 'never to be .*; it must be a whole n"),
    "long record": (json.dumps([{"id": SECRET}]), "record 1: id is 'never to be .*; it must be"),
    "many columns": (",".join(f"c{i}" for i in range(500)) + "\n", "columns are c0, .* 488 more"),
}


@pytest.mark.parametrize(("content", "message"), OTHERS.values(), ids=OTHERS)
def test_what_is_no_table_is_named_and_never_shown(content, message):
    with pytest.raises(FormatError, match=message) as caught:
        read(content)
    assert len(str(caught.value)) < 500


def test_blanks_in_long_texts_take_no_time():
    for cell in ("rgb" + " " * 10**5 + "x", "[" + " " * 10**5 + "x", "(" + "1 " * 10**4 + "x"):
        with pytest.raises(FormatError, match="line 2: color is"):
            read(f'id,name,color\n1,a,"{cell}"\n')


@given(
    st.lists(
        st.sampled_from(
            [*"{}[]<>\"'#,;|/\t\n -.0128aR", "id", "name", "label", "structure_id_path", "n/a"]
        ),
        max_size=40,
    ).map("".join)
)
def test_no_text_is_more_than_an_error(text):
    with contextlib.suppress(FormatError, OntologyError):
        assert len(read(text)) > 0


KEYS = ["id", "acronym", "name", "safe_name", "parent_structure_id", "structure_id_path", "rgb"]
KEYS += ["children", "graph_order", "structure_set_ids", "identifier", "parent_identifier", "red"]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 9)
    | st.floats()
    | st.sampled_from(["", "1", "/1/2/"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner),
    max_leaves=6,
)


@few
@given(
    st.lists(st.dictionaries(st.sampled_from(KEYS), VALUES), min_size=1, max_size=4)
    | st.dictionaries(st.sampled_from([*KEYS, "msg", "data", "regions", "@type", "1"]), VALUES)
)
def test_no_record_is_more_than_an_error(records):
    with contextlib.suppress(RefspaceError):
        assert len(read(json.dumps(records))) > 0


def test_any_number_of_keys_takes_little_time():
    with pytest.raises(FormatError, match=r"no record has an id; keys are k0, .* and 199988 more"):
        dump([{f"k{i}": 0 for i in range(200_000)}])


def test_an_ontology_has_a_limit_in_xml_too():
    text = fsl("Label", [(1, "a")]).ljust(2**16 + 1)
    with set_limits(ontology_bytes="64k"), pytest.raises(FormatError, match="65537 bytes or more"):
        read(text)
