import csv
import json
import tempfile
from pathlib import Path

import fsspec
import pytest
from helpers.strategies import families, few
from hypothesis import given
from hypothesis import strategies as st

from refspace.errors import FormatError, OntologyError, RefspaceError
from refspace.formats.structure_output import write_structures
from refspace.formats.structures import read_structures
from refspace.limits import set_limits
from refspace.structure_tree import StructureTree

# One ontology: id, parent, acronym, name, colour, sets. Voxels of BrainGlobe's hold id - 900.
ROWS = [
    (997, None, "root", "root", "FFFFFF", []),
    (1009, 997, "grey", "Basic cell groups, and regions", "BFDAE3", [687527670]),
    (1247, 1009, "AUD", "Auditory areas", "019399", [12, 3]),
    (1011, 1247, "AUDd", 'Dorsal "auditory" area', "019399", [687527945, 12]),
    (1129, 997, "BS", "Brain stem", "000001", []),
]
PARENTS = {i: parent for i, parent, *_ in ROWS}


def path_of(structure):
    return [] if structure is None else [*path_of(PARENTS[structure]), structure]


def expected(*fields):
    return [
        {
            "id": i,
            "acronym": acronym,
            "name": name,
            "rgb_triplet": list(bytes.fromhex(color)),
            "structure_id_path": path_of(i),
            "structure_set_ids": sorted(sets) if "sets" in fields else [],
            "graph_order": order,
            **({"graph_id": 1} if "graph_id" in fields else {}),
        }
        for order, (i, _, acronym, name, color, sets) in enumerate(ROWS)
    ]


def flat():
    """As the Allen Institute's query API serves structures, with all their sets."""
    return [
        {
            "id": i,
            "acronym": acronym,
            "name": name,
            "safe_name": name,
            "atlas_id": None,
            "ontology_id": 1,
            "graph_id": 1,
            "graph_order": order,
            "parent_structure_id": parent,
            "structure_id_path": f"/{'/'.join(map(str, path_of(i)))}/",
            "color_hex_triplet": color,
            "failed": False,
            "structure_sets": [{"id": s, "name": f"set {s}", "description": ""} for s in sets],
        }
        for order, (i, parent, acronym, name, color, sets) in enumerate(ROWS)
    ]


def nested(parent=None):
    """As its structure graph download nests them: no paths, no sets, no graph."""
    return [
        {
            "id": r["id"],
            "acronym": r["acronym"],
            "name": r["name"],
            "color_hex_triplet": r["color_hex_triplet"],
            "graph_order": r["graph_order"],
            "hemisphere_id": 3,
            "parent_structure_id": parent,
            "children": nested(r["id"]),
        }
        for r in flat()
        if r["parent_structure_id"] == parent
    ]


def envelope(msg):
    return {"success": True, "id": 0, "start_row": 0, "num_rows": 5, "total_rows": 5, "msg": msg}


def table(path, rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def allen_csv(path, *left_out):
    """As the Allen Institute's tables, of which spreadsheets stripped the leading zeros."""
    columns = ["id", "acronym", "name", "graph_id", "graph_order", "parent_structure_id"]
    columns += ["structure_id_path", "color_hex_triplet", "failed"]
    rows = [{c: r[c] for c in columns if c not in left_out} for r in flat()]
    for row in rows:
        row["color_hex_triplet"] = row["color_hex_triplet"].lstrip("0")
    return table(path, rows)


def brainglobe_csv(path, value=lambda i: i):
    rows = [
        {
            "identifier": i,
            "parent_identifier": parent,
            "annotation_value": value(i),
            "name": name,
            "abbreviation": acronym,
            "color_hex_triplet": f"#{color}",
            "root_identifier_path": path_of(i),
        }
        for i, parent, acronym, name, color, _ in ROWS
    ]
    return table(path, rows)


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "structures"
        if isinstance(content, list | dict):
            content = json.dumps(content)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


# ----- what is published


@pytest.mark.parametrize("wrap", [envelope, list], ids=["answer", "list"])
def test_flat_records(write, wrap):
    assert read_structures(write(wrap(flat()))).nodes() == expected("graph_id", "sets")


@pytest.mark.parametrize("wrap", [envelope, list, lambda roots: roots[0]])
def test_a_nested_graph(write, wrap):
    assert read_structures(write(wrap(nested()))).nodes() == expected()


def test_a_whole_tree_is_its_own_cleaned_file(write):
    nodes = read_structures(write(flat())).nodes()
    assert read_structures(write(nodes)).nodes() == nodes


def test_records_with_parents_only(write):
    records = [{k: v for k, v in r.items() if k != "structure_id_path"} for r in flat()]
    assert read_structures(write(records)).nodes() == expected("graph_id", "sets")
    records = [{**r, "structure_id_path": None} for r in flat()]
    assert read_structures(write(records)).nodes() == expected("graph_id", "sets")


@pytest.mark.parametrize("left_out", [(), ("parent_structure_id",), ("structure_id_path",)])
def test_allens_table(tmp_path, left_out):
    path = allen_csv(tmp_path / "structure_tree.csv", *left_out)
    assert ",19399," in path.read_text()
    assert read_structures(path).nodes() == expected("graph_id")


def test_brainglobes_table(tmp_path):
    path = brainglobe_csv(tmp_path / "terminology.csv")
    assert '"[997, 1009]"' in path.read_text()
    assert read_structures(path).nodes() == expected()


def test_brainglobes_structures_are_known_by_the_value_of_their_voxels(tmp_path):
    tree = read_structures(brainglobe_csv(tmp_path / "terminology.csv", lambda i: i - 900))
    assert tree.node_ids() == [97, 109, 347, 111, 229]
    assert tree.ancestor_ids(["AUDd"]) == [[111, 347, 109, 97]]
    assert tree.nodes(["AUDd"])[0]["rgb_triplet"] == [1, 147, 153]


def test_brainglobes_structures_without_voxels_keep_their_identifier(tmp_path):
    path = brainglobe_csv(tmp_path / "terminology.csv", lambda i: "" if i == 1129 else i - 900)
    assert read_structures(path).node_ids() == [97, 109, 347, 111, 1129]


def test_other_columns_of_brainglobes_table_may_be_named(tmp_path):
    path = brainglobe_csv(tmp_path / "terminology.csv", lambda i: i - 900)
    nodes = read_structures(path, columns={"acronym": "name"}).nodes()
    assert [node["id"] for node in nodes] == [97, 109, 347, 111, 229]
    assert [node["acronym"] for node in nodes] == [row[3] for row in ROWS]
    nodes = read_structures(path, columns={"id": "identifier"}).nodes()
    assert [node["id"] for node in nodes] == [row[0] for row in ROWS]


def test_brainglobes_values_may_be_identifiers_of_others(tmp_path):
    swapped = {1247: 1011, 1011: 1247}
    path = brainglobe_csv(tmp_path / "terminology.csv", lambda i: swapped.get(i, i))
    tree = read_structures(path)
    assert tree.parents(["AUDd"])[0]["acronym"] == "AUD"
    assert tree.resolve(["AUD", "AUDd"]) == [1011, 1247]


def test_brainglobes_smallest_table(write):
    tree = read_structures(write("identifier,parent_identifier\n1,\n2,1\n"))
    assert tree.parent_ids([1, 2]) == [None, 1]
    assert "rgb_triplet" not in tree.nodes([1])[0]


def test_empty_cells_are_missing_fields(write):
    rows = "id,parent_structure_id,acronym,color_hex_triplet,graph_order\n1,,a,,\n\n2,1,,0,7\n"
    tree = read_structures(write(rows))
    assert tree.nodes([1]) == [
        {"id": 1, "acronym": "a", "structure_set_ids": [], "structure_id_path": [1]}
    ]
    assert tree.nodes([2])[0]["rgb_triplet"] == [0, 0, 0]
    assert tree.nodes([2])[0]["graph_order"] == 7


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_byte_order_mark_is_taken(write, tmp_path, newline):
    mark = b"\xef\xbb\xbf"
    assert len(read_structures(write(mark + json.dumps(flat()).encode()))) == 5
    text = allen_csv(tmp_path / "a.csv").read_text().replace("\n", newline)
    assert read_structures(write(mark + text.encode())).nodes() == expected("graph_id")


def test_where_files_may_lie(tmp_path, monkeypatch):
    text = json.dumps(nested())
    path = tmp_path / "a [1] #2 ü.json"
    path.write_text(text)
    with fsspec.open("memory://atlas/graph.json", "w") as file:
        file.write(text)
    monkeypatch.chdir(tmp_path)
    for place in (path, str(path), path.name, "memory://atlas/graph.json"):
        assert read_structures(place).node_ids() == list(PARENTS)


# ----- what is not


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"missing\.json"):
        read_structures(tmp_path / "missing.json")
    with pytest.raises(FormatError, match="is a folder; give the file of the structures"):
        read_structures(tmp_path)


DEEP = 100_000
HEAD = "id,structure_id_path\n"
DAMAGED = {
    "empty": ("", "empty, or nothing but blanks and comments; a table of structures has more"),
    "number": ("5", "columns are 5; a table"),
    "null": ("null", "columns are null; a table"),
    "empty list": ("[]", "holds no list of structures; give structures or a structure graph"),
    "list of numbers": ([1, 2], "holds no list of structures"),
    "list of lists": ([[]], "holds no list of structures"),
    "records and others": ([*flat(), None], "holds no list of structures"),
    "empty answer": (envelope([]), "holds no list of structures"),
    "text as answer": (envelope("hello"), "holds no list of structures"),
    "failure": (
        {"success": False, "msg": "Unknown model 'Struct'"},
        "the server reported a failure: Unknown model 'Struct'$",
    ),
    "success as text": ({"success": "no", "msg": "half"}, "the server reported a failure: half"),
    "truncated": (json.dumps(envelope(flat()))[:-40], "not valid JSON: .* line 1 column"),
    "trailing": (json.dumps(flat()) + "]", "not valid JSON: Extra data"),
    "NaN": ('[{"id": NaN}]', "holds NaN, which is no JSON number"),
    "infinity": ('[{"id": 1, "x": -Infinity}]', "holds -Infinity, which is no JSON number"),
    "endless number": (f'[{{"id": {"1" * 5000}}}]', "not valid JSON: Exceeds the limit"),
    "key twice": ('[{"id": 1, "name": "a", "id": 2}]', "a structure has the field 'id' twice"),
    "deep lists": ("[" * DEEP + "]" * DEEP, "nested too deeply for an ontology"),
    "deep structures": (
        '{"id":1,"children":[' * DEEP + "]}" * DEEP,
        "nested too deeply for an ontology",
    ),
    "deep and truncated": ('{"id":1,"children":[' * DEEP, "nested too deeply for an ontology"),
    "latin-1": (
        '[{"id": 1, "name": "für"}]'.encode("latin-1"),
        "not text in UTF-8; save it as that, in JSON",
    ),
    "utf-16": (json.dumps(flat()).encode("utf-16"), "not text in UTF-8"),
    "gzip": (
        b"\x1f\x8b\x08\x00" + bytes(20),
        "compressed with gzip, as volumes are; decompress it",
    ),
    "other columns": ("a,b\n1,2\n", "columns are a, b; a table of structures has id, index"),
    "points": ("label,x,y,z\n1,2,3,4\n", "columns are label, x, y, z; a table of structures has"),
    "no ids": ([{"acronym": "a"}], "no record has an id; keys are acronym: give ids, or say"),
    "no object": ("{}", "no record has an id; keys are none"),
    "overflow": ('[{"id": 1e400}]', "record 1: id is inf; it must be a whole number from 0 to"),
    "fraction": ('[{"id": 1.5}]', r"record 1: id is 1\.5; it must be a whole number from 0"),
    "bool id": ('[{"id": 8}, {"id": true}]', "record 2: id is True; it must be a whole number"),
    "negative id": ('[{"id": -1}]', "record 1: id is -1; it must be"),
    "large id": ([{"id": 2**32}], "record 1: id is 4294967296; it must be .* to 4294967295"),
    "one without id": ([{"id": 1}, {"acronym": "a"}], "record 2 has no id; give it one in id"),
    "sets": (
        [{"id": 1, "structure_sets": ["a"]}],
        r"record 1: sets is \['a'\]; it must be a whole",
    ),
    "colour": ([{"id": 1, "color_hex_triplet": "#12345"}], "color is '#12345'; it must be six hex"),
    "cleaned colour": ([{"id": 1, "rgb_triplet": [1, 2]}], r"record 1: color is \[1, 2\]; it must"),
    "acronym": ([{"id": 1, "acronym": ["a"]}], r"record 1: acronym is \['a'\]; it must be a text"),
    "csv no id": ("id,parent_structure_id\n,\n", "holds no structures, only the names of columns"),
    "csv twice": (f"{HEAD}1,/1/\n1,/1/\n", "line 3: id 1 is on line 2 already; give each once"),
    "csv colour": (
        "id,structure_id_path,color_hex_triplet\n1,/1/,blue\n",
        "line 2: color is 'blue'; it must be six hexadecimal digits or three integers",
    ),
    "BrainGlobe value twice": (
        "identifier,parent_identifier,annotation_value\n1,,5\n2,1,5\n",
        "line 3: id 5 is on line 2 already",
    ),
    "no rows": (HEAD, "holds no structures, only the names of columns"),
    "no BrainGlobe rows": ("identifier,parent_identifier\n", "holds no structures, only"),
    "long row": (f"{HEAD}1,/1/,x\n", "line 2 has 3 cells; the header has 2 columns: id, structure"),
    "short row": (f"{HEAD}1,/1/\n2\n", "line 3 has 1 cells; the header has 2 columns"),
    "huge cell": (f"{HEAD}1,{'/1' * 100_000}\n", "not valid CSV: field larger than field limit"),
    "open quote": (f'{HEAD}1,"/1/\n', "not valid CSV: unexpected end of data"),
    "graph order": (
        "id,structure_id_path,graph_order\n1,/1/,1.5\n",
        r"line 2: graph_order is '1\.5'; it must be a whole number",
    ),
}


@pytest.mark.parametrize(("content", "message"), DAMAGED.values(), ids=DAMAGED)
def test_files_that_hold_no_structures(write, content, message):
    path = write(content)
    with pytest.raises(FormatError, match=message) as caught:
        read_structures(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value)) < 500


WRONG = {
    "twice": ([*flat(), flat()[2]], "must be unique; more than once: 1247"),
    "orphan": (flat()[1:], r"missing from the structures: 1009 \(parent 997\), 1129"),
    "child as number": ([{"id": 1, "children": [2]}], "2 is not a record"),
    "children as number": ([{"id": 1, "children": 2}], "structure 1 has children 2; give a list"),
    "csv cycle": ("id,parent_structure_id\n1,2\n2,1\n", "descend from themselves"),
    "csv path": (f"{HEAD}1,/1/\n2,/1/3/\n", "line 3: structure_id_path of id 2 ends in 3"),
    "csv path without itself": (
        f"{HEAD}997,/997/\n8,/997/\n",
        "line 3: structure_id_path of id 8 ends in 997; a path ends in the id itself",
    ),
    "csv path and parent": (
        "id,structure_id_path,parent_structure_id\n1,/1/,\n2,/1/2/,1.0\n3,/1/3/,2\n",
        "line 4: the parent of id 3 is 2, but it is below 1 by structure_id_path; mend one of them",
    ),
    "json path and parent": (
        [
            {"id": 1, "structure_id_path": "/1/"},
            {"id": 2, "structure_id_path": "/2/", "parent_structure_id": 1},
        ],
        "record 2: the parent of id 2 is 1, but it is a root by structure_id_path",
    ),
    "BrainGlobe orphan": (
        "identifier,parent_identifier\n1,\n2,9\n",
        r"missing from the structures: 2 \(parent 9\)",
    ),
}


@pytest.mark.promise("structures form no tree", "one error that lists the offenders")
@pytest.mark.parametrize(("content", "message"), WRONG.values(), ids=WRONG)
def test_structures_that_form_no_tree(write, content, message):
    path = write(content)
    with pytest.raises(OntologyError, match=message) as caught:
        read_structures(path)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.promise("an ontology is larger than any", "it is not parsed")
def test_a_file_larger_than_any_ontology_is_not_read(write):
    padded = json.dumps(flat()).ljust(2**24)
    path = write(padded)
    assert len(read_structures(path)) == 5
    longer = write(padded + " ")
    with pytest.raises(FormatError, match=r"16777217 bytes or more, .* by refspace\.set_limits"):
        read_structures(longer)
    with set_limits(ontology_bytes="17M"):
        assert len(read_structures(longer)) == 5


# ----- writing


def test_a_written_tree_comes_back(tmp_path):
    hostile = 'new\nline, "quotes" \\ </script> ü \u2028'
    tree = StructureTree(
        [*expected("graph_id", "sets"), {"id": 2**32 - 1, "name": hostile, "structure_set_ids": []}]
    )
    path = tmp_path / "structures.json"
    write_structures(path, tree)
    assert read_structures(path).nodes() == tree.nodes()
    # A line for each structure, so that changes show in a diff.
    assert len(path.read_bytes().split(b"\n")) == len(tree) + 3
    assert [p.name for p in tmp_path.iterdir()] == ["structures.json"]


def test_a_tree_that_cannot_be_written_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "structures.json"
    path.write_text("old")
    with pytest.raises(OntologyError, match=r"structure 1 cannot be .* not JSON serializable"):
        write_structures(path, StructureTree([{"id": 1, "weight": {1, 2}}]))
    with pytest.raises(OntologyError, match="surrogates"):
        write_structures(path, StructureTree([{"id": 1, "names": ["\ud800"]}]))
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["structures.json"]
    with pytest.raises(FileNotFoundError, match=r"folder .*missing does not exist"):
        write_structures(tmp_path / "missing" / "structures.json", StructureTree([]))


# ----- properties


def in_file(content):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "structures")
        path.write_bytes(content)
        return read_structures(path)


@few
@given(families())
def test_any_tree_comes_back_from_its_file(family):
    tree = family.tree()
    with tempfile.TemporaryDirectory() as folder:
        write_structures(Path(folder, "structures.json"), tree)
        again = read_structures(Path(folder, "structures.json"))
    assert again.nodes() == tree.nodes()
    assert list(again.graph.edges) == list(tree.graph.edges)


@few
@given(st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
def test_junk_is_a_clear_error(content):
    with pytest.raises(FormatError):
        in_file(content)


@pytest.mark.promise("a file of any format is mutated")
@few
@given(st.data())
def test_a_damaged_file_is_a_tree_or_a_clear_error(data):
    content = bytearray(json.dumps(nested() if data.draw(st.booleans()) else flat()).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        tree = in_file(bytes(content))
    except RefspaceError:
        return
    assert 1 <= len(tree) <= 5


# ----- the real ontology


@pytest.mark.ccf
def test_both_real_files_hold_the_same_tree(ccf_data):
    tree = read_structures(ccf_data / "structures_1.json")
    graph = read_structures(ccf_data / "structure_graph_1.json")
    ids = tree.node_ids()
    assert len(tree) == 1327
    assert ids == graph.node_ids()
    assert tree.descendant_ids(ids) == graph.descendant_ids(ids)
    assert tree.ancestor_ids(ids) == graph.ancestor_ids(ids)
    assert tree.get_colormap() == graph.get_colormap()
    assert tree.get_name_map() == graph.get_name_map()
    assert tree.get_id_acronym_map() == graph.get_id_acronym_map()
    assert [n["graph_order"] for n in tree.nodes()] == [n["graph_order"] for n in graph.nodes()]
    assert tree.descendant_ids([997])[0] == ids


@pytest.mark.ccf
def test_the_real_tree_against_known_answers(ccf_data):
    tree = read_structures(ccf_data / "structures_1.json")
    assert tree.get_structures_by_name(["Dorsal auditory area"]) == [
        {
            "acronym": "AUDd",
            "graph_id": 1,
            "graph_order": 122,
            "id": 1011,
            "name": "Dorsal auditory area",
            "rgb_triplet": [1, 147, 153],
            "structure_id_path": [997, 8, 567, 688, 695, 315, 247, 1011],
            "structure_set_ids": [
                *[12, 112905828, 114512891, 167587189],
                *[184527634, 687527945, 688152357, 691663206],
            ],
        }
    ]
    auditory = tree.parents([1011])[0]
    assert (auditory["id"], auditory["acronym"], auditory["graph_order"]) == (247, "AUD", 121)
    assert tree.get_name_map()[247] == "Auditory areas"
    assert tree.structure_descends_from(385, 247) is False
    assert tree.value_map(lambda x: x["id"], lambda y: y["acronym"])[385] == "VISp"
    observatory = tree.get_structures_by_set_id([514166994])
    assert {n["id"]: n["acronym"] for n in observatory} == {
        **{385: "VISp", 409: "VISl", 402: "VISal", 394: "VISam", 533: "VISpm", 417: "VISrl"}
    }
    assert tree.nodes([12997])[0]["name"] == "Somatosensory areas, layer 6a"
    assert tree.has_overlaps([1011, 247, 385]) == {247}
    assert len(tree.descendant_ids(["Isocortex"])[0]) == 374
    assert max(tree.node_ids()) == 614454277
    assert sum(i > 65535 for i in tree.node_ids()) == 128
    assert str(tree).startswith("root (997)\n├─ grey Basic cell groups")


@pytest.mark.ccf
def test_published_records_make_the_real_tree_as_in_allensdk(ccf_data):
    answer = json.loads((ccf_data / "structures_1.json").read_text(encoding="utf-8"))
    cleaned = StructureTree.clean_structures(answer["msg"])
    tree = StructureTree(cleaned)
    assert tree.nodes() == read_structures(ccf_data / "structures_1.json").nodes()
    assert StructureTree.clean_structures(cleaned) == cleaned


@pytest.mark.parametrize("end", [" 25 5 25 255", " 25 5 25", ""])
def test_pairs_of_names_in_quotes(tmp_path, end):
    path = tmp_path / "labels.txt"
    path.write_text(f'1 "L PCG" "Left precentral"{end}\n2 "R.PCG" "Right precentral"{end}\n')
    nodes = read_structures(path).nodes()
    assert [(n["acronym"], n["name"]) for n in nodes] == [
        ("L PCG", "Left precentral"),
        ("R.PCG", "Right precentral"),
    ]
    assert all(n.get("rgb_triplet") == ([25, 5, 25] if end else None) for n in nodes)


@pytest.mark.parametrize(("one", "other"), [("index", "value"), ("id", "structure_id")])
def test_of_two_columns_of_ids_none_is_guessed(tmp_path, one, other):
    path = tmp_path / "labels.csv"
    path.write_text(f"{one},{other},name\n1,10,A\n2,20.0,B\n")
    with pytest.raises(FormatError, match=f"columns '{one}' and '{other}' may both hold the ids"):
        read_structures(path)
    assert read_structures(path, columns={"id": other}).node_ids() == [10, 20]
    path.write_text(f"{one},{other},name\n10,10,A\n20,20.0,B\n")
    assert read_structures(path).node_ids() == [10, 20]
