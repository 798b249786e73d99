import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

import refspace
from refspace.errors import FormatError, OntologyError, RemoteError
from refspace.formats.structures import line_tables, parse_structures
from refspace.remote import retry

ITKSNAP = """\
################################################
# ITK-SnAP Label Description File
# File format:
# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL
################################################
    0     0    0    0        0  0  0    "Clear Label"
    1   255    0    0        1  1  1    "Left Amygdala"
   12     0  255  128     0.55  1  0    "Right Amygdala, (deep) "part""

"""
FREESURFER = """\
#$Id: FreeSurferColorLUT.txt
#No. Label Name:                R   G   B   A

0   Unknown                     0   0   0   0
2   Left-Cerebral-White-Matter  245 245 245 0
1035 ctx-lh-insula              255 192 32  0
"""
DSEG = "index\tname\tabbreviation\tcolor\tmapping\n0\tBackground\tbg\t#000000\t0\n" + (
    "3\tCortex, left\tCx-L\t#19aa99\t1\n7\tThalamus\tTh\t#000001\t2\n"
)


def read(text):
    return parse_structures(text.encode(), "labels")


def rows(tree):
    return [(n["id"], n["acronym"], n["name"], n.get("rgb_triplet")) for n in tree.nodes()]


def test_itksnap(tmp_path):
    (tmp_path / "labels.txt").write_bytes(ITKSNAP.replace("\n", "\r\n").encode("utf-8-sig"))
    tree = refspace.read_structures(tmp_path / "labels.txt")
    name = 'Right Amygdala, (deep) "part"'
    assert rows(tree) == [
        (1, "Left Amygdala", "Left Amygdala", [255, 0, 0]),
        (12, name, name, [0, 255, 128]),
    ]
    assert tree.parent_ids([1, 12]) == [None, None]
    assert tree.resolve("Left Amygdala") == [1]


def test_freesurfer():
    assert rows(read(FREESURFER)) == [
        (2, "Left-Cerebral-White-Matter", "Left-Cerebral-White-Matter", [245, 245, 245]),
        (1035, "ctx-lh-insula", "ctx-lh-insula", [255, 192, 32]),
    ]


def test_names_of_a_colour_table_may_have_spaces():
    assert rows(read("5 Gyrus 2 left 1 2 3 0\n")) == [
        (5, "Gyrus 2 left", "Gyrus 2 left", [1, 2, 3])
    ]


def test_bids():
    assert rows(read(DSEG)) == [
        (3, "Cx-L", "Cortex, left", [0x19, 0xAA, 0x99]),
        (7, "Th", "Thalamus", [0, 0, 1]),
    ]


@pytest.mark.parametrize("id_column", ["id", "index", "label", "value", " Index "])
@pytest.mark.parametrize("colours", ["r,g,b", "red,green,blue", "R,G,B"])
def test_columns_have_many_names(id_column, colours):
    table = f'{id_column},name,Acronym,{colours}\n0,Unknown,,0,0,0\n9,"Area, nine",A9,1,2,3\n\n'
    assert rows(read(table)) == [(9, "A9", "Area, nine", [1, 2, 3])]


def test_label_may_be_the_name():
    (row,) = rows(read("index,label\n4,Four\n"))
    assert row[:3] == (4, "Four", "Four")


def test_structures_without_colours_get_some():
    table = "index,name\n" + "".join(f"{i},Area {i}\n" for i in range(300))
    tree = read(table)
    assert {row[3] for row in rows(tree)} == {None}
    colours = tree.get_colormap()
    assert len(set(map(tuple, colours.values()))) == 299
    assert colours == read(table).get_colormap()
    assert all(0 <= part <= 255 for colour in colours.values() for part in colour)


def test_parents_make_a_tree():
    tree = read("id,name,parent\n1,Brain,\n2,Cortex,1\n3,Gyrus,2\n4,Skull,0\n")
    assert tree.descendant_ids([1]) == [[1, 2, 3]]
    assert tree.parent_ids([1, 4]) == [None, None]
    with pytest.raises(OntologyError, match=r"labels: parents are missing.*2 \(parent 8\)"):
        read("id,name,parent\n2,Cortex,8\n")


def test_our_own_itksnap_labels_are_read(tmp_path):
    space = refspace.phantom(resolution=200)
    space.write_itksnap_labels(tmp_path / "a.nrrd", tmp_path / "a.txt")
    tree = refspace.read_structures(tmp_path / "a.txt")
    again = refspace.open(tmp_path / "a.nrrd", structures=tmp_path / "a.txt")
    by_acronym = {n["acronym"]: n["id"] for n in tree.nodes()}
    for node in space.structure_tree.nodes([593, 1121]):
        counts = space.direct_voxel_map[node["id"]]
        assert again.direct_voxel_map[by_acronym[node["acronym"]]] == counts
        assert tree.nodes([by_acronym[node["acronym"]]])[0]["rgb_triplet"] == node["rgb_triplet"]


HOSTILE = {
    "no quotes end": ('1 255 0 0 1 1 1 "A\n', r"line 1 is '1 255.*lines are IDX R G B A VIS MSH"),
    "visibility": ('1 255 0 0 1 2 1 "A"\n', 'line 1 is .* lines are IDX R G B A VIS MSH "LABEL"'),
    "mixed": ('1 255 0 0 1 1 1 "A"\n2 B 1 2 3 0\n', "line 2 is '2 B 1 2 3 0'; lines are IDX"),
    "few numbers": (
        "# c\n1 A 1 2 3 0\n2 Cortex 1 2\n3 B 3 4 5 0\n",
        "line 3 is '2 Cortex 1 2'; lines are id name R G B A",
    ),
    "negative": ("1 A 0 0 0 0\n-1 B 0 0 0 0\n", "line 2 is '-1 B 0 0 0 0'; lines are id name"),
    "colour": (
        '1 256 0 0 1 1 1 "A"\n',
        "line 1: colour is '256'; it must be a whole number from 0 to 255",
    ),
    "twice": ("1 A 0 0 0 0\n\n1 B 0 0 0 0\n", "line 3: id 1 is on line 1 already; give each o"),
    "too large": ("4294967296 A 0 0 0 0\n", "line 1: id is '4294967296'; it must be a whole"),
    "endless": ("9" * 5000 + " A 0 0 0 0\n", r"line 1: id is '9{12}\.\.\.9{13}'; it must be"),
    "no name": ('1 0 0 0 1 1 1 ""\n', "line 1: id 1 has no name; give it one"),
    "background alone": ("0 Unknown 0 0 0 0\n", "names no label but the background"),
    "empty name": ("index,name\n1,A\n2,\n", "line 3: id 2 has no name"),
    "no number": ("index,name\nA,1\n", "line 2: id is 'A'; it must be a whole number"),
    "no whole number": ("index,name\n1.5,A\n", "line 2: id is '1.5'"),
    "other digits": ("index,name\n\u0661,A\n", "line 2: id is '\u0661'"),
    "hex": ("index,name,color\n1,A,#12\n", "line 2: color is '#12'; it must be six hexadecimal"),
    "half a colour": (
        "index,name,r,g,b\n1,A,1,,3\n",
        "line 2: colour is ''; it must be a whole number from 0 to 255",
    ),
    "parent": ("index,name,parent\n1,A,root\n", "line 2: parent is 'root'; it must be a whole"),
    "no labels": ("index,name\n", "names no label|holds no structures"),
    "ragged": ("index,name\n1,A,B\n", "line 2 has 3 cells; the header has 2 columns"),
    "no names": (
        "index,colour\n1,red\n",
        "columns are index, colour; .*index, value or label, and with it name",
    ),
}


@pytest.mark.parametrize(("text", "message"), HOSTILE.values(), ids=HOSTILE)
def test_tables_that_are_none(text, message):
    with pytest.raises(FormatError, match=message) as caught:
        read(text)
    assert str(caught.value).startswith("labels: ")


labels = st.dictionaries(
    st.integers(1, 2**32 - 1),
    st.tuples(
        st.from_regex(re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,10}", re.ASCII), fullmatch=True),
        *[st.integers(0, 255)] * 3,
    ),
    min_size=1,
    max_size=6,
)


@given(labels, st.sampled_from(["itksnap", "freesurfer", "csv", "tsv"]))
def test_all_forms_say_the_same(given_labels, form):
    lines = {
        "itksnap": '{0} {2} {3} {4} 1 1 1 "{1}"',
        "freesurfer": "{0} {1} {2} {3} {4} 0",
        "csv": "{0},{1},{2},{3},{4}",
        "tsv": "{0}\t{1}\t{2}\t{3}\t{4}",
    }
    head = {"csv": ["id,name,r,g,b"], "tsv": ["index\tname\tred\tgreen\tblue"]}.get(form, [])
    rows_of = [lines[form].format(i, *values) for i, values in given_labels.items()]
    found = rows(read("\n".join([*head, *rows_of])))
    assert found == [(i, v[0], v[0], [*v[1:]]) for i, v in given_labels.items()]


_words = st.sampled_from(
    ["A", "b.L", "left", "Left", "Area", "x y", "Été", "A\xa0b", "12", "7", "0", "1.5", "255", '"A']
)
_separators = st.sampled_from([" ", " ", " ", "  ", "\t", "\x1f", "\xa0"])


@st.composite
def _odd_tables(draw):
    """Lines of labels that are mostly alike, and what may be wrong with one of them."""
    words, numbers = draw(st.integers(0, 3)), draw(st.integers(0, 4))
    lines = []
    for label in range(draw(st.integers(1, 5))):
        own = [f"n{label}", *draw(st.lists(_words, min_size=words, max_size=words))]
        rgb = draw(st.lists(st.integers(0, 256).map(str), min_size=numbers, max_size=numbers))
        cells = [str(draw(st.sampled_from([label, label, label, 1]))), *own, *rgb]
        line = draw(_separators).join(cells)
        cut = draw(st.integers(0, len(line)) | st.none())
        lines.append(line if cut is None or draw(st.booleans()) else line[:cut])
    head = draw(st.sampled_from(["", "", "#id name r g b\n", "#No. Label Name: R G B A\n"]))
    return head + "\n".join(lines)


def _outcome(text):
    """What a text is read as: rows of a tree, or the error."""
    try:
        return [sorted(node.items(), key=str) for node in read(text).nodes()]
    except (FormatError, OntologyError) as error:
        return str(error)


@given(_odd_tables())
def test_lines_at_once_are_as_lines_one_by_one(text):
    found = _outcome(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(line_tables, "_columns_at_once", lambda *_: None)
        assert found == _outcome(text)


@pytest.mark.parametrize(
    ("text", "acronym"),
    [
        ("1 Left-Cortex 1 2 3 0\n7 Right-Cortex 4 5 6 0\n", "Left-Cortex"),
        ("1 Gyrus 2 left 1 2 3 0\n7 B 4 5 6 0\n", "Gyrus 2 left"),
        ("1 PC.L Precentral_L 25 5 25 255\n2 PC.R Precentral_R 0 0 0 255\n", "PC.L"),
        ("1 Area 1\n2 Area 2\n", "Area 1"),
        ("1 A 1 2 3\n2 B 4 5 6\n", "A"),
    ],
)
def test_even_tables_are_read_at_once(monkeypatch, text, acronym):
    monkeypatch.delattr(line_tables, "_labelled")
    assert read(text).nodes([1])[0]["acronym"] == acronym


def test_colours_of_records_are_lists_of_their_own():
    tree = read("1 A 1 2 3 0\n2 B 4 5 6 0\n")
    tree.nodes([1])[0]["rgb_triplet"].append(9)
    assert tree.nodes([1, 2])[1]["rgb_triplet"] == [4, 5, 6]
    assert type(tree.nodes([1])[0]["rgb_triplet"]) is list


@given(st.text(max_size=80))
def test_no_text_is_more_than_an_error(text):
    with contextlib.suppress(FormatError, OntologyError):
        assert len(read(text)) > 0


def test_what_cannot_be_read_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(retry, "POLICY", retry.Retry(delay=0))
    with pytest.raises(FileNotFoundError, match=r"nowhere\.csv does not exist"):
        refspace.read_structures(tmp_path / "nowhere.csv")
    with pytest.raises(RemoteError, match=r"http://127\.0\.0\.1:9/a\.csv cannot be read: .*times"):
        refspace.read_structures("http://127.0.0.1:9/a.csv")
    (tmp_path / "b").write_bytes(b"\xff\xfe1")
    with pytest.raises(FormatError, match="b: not text in UTF-8; save it as that, in JSON, CSV"):
        refspace.read_structures(tmp_path / "b")
