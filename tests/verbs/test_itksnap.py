import re
import shlex

import pandas as pd
import pytest
from helpers.strategies import families, few
from hypothesis import given
from hypothesis import strategies as st

from refspace import StructureTree, read_structures
from refspace.formats.itksnap import COLUMNS, renumber, write_label_description

HEADER = """\
# ITK-SNAP label description
#   IDX  -R-  -G-  -B-  -A-  VIS  MSH  LABEL
0 0 0 0 0 0 0 "Clear Label"
"""
ROW = re.compile(r'(\d+) (\d+) (\d+) (\d+) ([\d.e-]+) ([01]) ([01]) "([^"]*)"')


def table(*labels, ids=None):
    ids = range(1, len(labels) + 1) if ids is None else ids
    values = {"IDX": list(ids), "-A-": 1.0, "VIS": 1, "MSH": 1, "LABEL": list(labels)}
    return pd.DataFrame({"-R-": 1, "-G-": 2, "-B-": 3, **values})


def written(tmp_path, *args, **kwargs):
    write_label_description(tmp_path / "labels.txt", *args, **kwargs)
    return (tmp_path / "labels.txt").read_bytes().decode()


@pytest.fixture
def tree():
    return StructureTree(
        [
            {"id": 997, "acronym": "root", "name": "root", "rgb_triplet": [255, 255, 255]},
            {
                "id": 496345664,
                "acronym": "LGd-sh",
                "name": "Dorsal lateral geniculate, shell",
                "rgb_triplet": [255, 128, 9],
                "structure_id_path": [997, 496345664],
            },
        ]
    )


def test_a_small_tree_to_the_byte(tmp_path, tree):
    description = tree.export_label_description(
        {"LGd-sh": 0.25}, exclude_label_vis=[997], exclude_mesh_vis=["LGd-sh"]
    )
    assert written(tmp_path, description) == (
        '997 255 255 255 1.0 0 1 "root"\n496345664 255 128 9 0.25 1 0 "LGd-sh"\n'
    )


def test_the_header_of_itksnap(tmp_path, tree):
    description = tree.export_label_description(label_key="name")
    assert written(tmp_path, description, itksnap_header=True) == (
        f'{HEADER}997 255 255 255 1.0 1 1 "root"\n'
        '496345664 255 128 9 1.0 1 1 "Dorsal lateral geniculate, shell"\n'
    )


def test_no_labels(tmp_path):
    nothing = StructureTree([]).export_label_description()
    assert written(tmp_path, nothing) == ""
    assert written(tmp_path, nothing, itksnap_header=True) == HEADER
    assert renumber(nothing)[1] == {}


@pytest.mark.parametrize(
    ("label", "text"),
    [
        ('the "shell"', "the 'shell'"),
        ("two\nlines", "two lines"),
        ("two\r\nlines", "two  lines"),
        ("tab\tand\x0b\x0c\x1c\x85\u2028more", "tab and     more"),
        ("couche IV\u00e9 'x'", "couche IV\u00e9 'x'"),
        ("a\\", "a\\"),
        ("", ""),
        (7, "7"),
    ],
)
def test_labels_stay_on_their_line_and_in_their_quotes(tmp_path, label, text):
    assert written(tmp_path, table(label)) == f'1 1 2 3 1.0 1 1 "{text}"\n'


def test_other_columns_and_their_order_do_not_matter(tmp_path):
    columns = [*reversed(COLUMNS)]
    shuffled = table("a", "b").loc[:, columns].assign(volume=3.5)
    before = shuffled.copy()
    assert written(tmp_path, shuffled) == '1 1 2 3 1.0 1 1 "a"\n2 1 2 3 1.0 1 1 "b"\n'
    pd.testing.assert_frame_equal(shuffled, before)


def test_renumber_goes_by_label(tmp_path):
    described = table("b", "B", "a10", "a9", "é", "a", ids=[5, 70000, 0, 2**32 - 1, 9, 8])
    before = described.copy()
    ordered, numbers = renumber(described)
    assert ordered["LABEL"].tolist() == ["a10", "B", "a", "a9", "b", "é"]
    # 0 is outside, and stays 0.
    assert ordered["IDX"].tolist() == [0, 1, 2, 3, 4, 5]
    assert numbers == {0: 0, 70000: 1, 8: 2, 2**32 - 1: 3, 5: 4, 9: 5}
    assert ordered.index.tolist() == [0, 1, 2, 3, 4, 5]
    assert list(ordered) == list(described)
    pd.testing.assert_frame_equal(described, before)


def test_renumber_keeps_the_order_of_equal_labels():
    assert renumber(table("x", "a", "x", ids=[9, 3, 5]))[1] == {3: 1, 9: 2, 5: 3}


def test_renumber_sorts_numbers_as_numbers():
    assert renumber(table(10, 9, 100, ids=[1, 2, 3]))[1] == {2: 1, 1: 2, 3: 3}


@few
@given(families(), st.data())
def test_renumbered_tables_hold_the_same_labels(family, data):
    letters = st.text("abAB-1", min_size=1, max_size=3)
    labels = {i: data.draw(letters) for i in family.parents}
    description = family.tree().export_label_description().assign(LABEL=list(labels.values()))
    ordered, numbers = renumber(description)
    first = 0 if 0 in labels else 1
    assert list(numbers.values()) == ordered["IDX"].tolist() == [*range(first, first + len(labels))]
    assert {labels[old] for old in numbers} == set(labels.values())
    assert [labels[old] for old in numbers] == ordered["LABEL"].tolist()
    assert ordered["LABEL"].tolist()[1 - first :] == sorted(labels[i] for i in labels if i)
    colors = family.tree().get_colormap()
    assert ordered[["-R-", "-G-", "-B-"]].to_numpy().tolist() == [colors[old] for old in numbers]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("itksnap")


@few
@given(
    labels=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), max_size=4),
    header=st.booleans(),
)
def test_any_label_is_one_row_of_eight_words(folder, labels, header):
    text = written(folder, table(*labels), itksnap_header=header)
    rows = text.removeprefix(HEADER if header else "").split("\n")
    assert rows.pop() == ""
    assert len(rows) == len(labels)
    for number, row in enumerate(rows, start=1):
        assert ROW.fullmatch(row)
        assert len(shlex.split(row.replace("\\", "/"))) == 8
        assert row.startswith(f"{number} 1 2 3 1.0 1 1 ")
        assert len(row.splitlines()) == 1
        assert len(ROW.fullmatch(row)[8]) == len(labels[number - 1])


@pytest.mark.ccf
def test_the_real_tree(tmp_path, ccf_data):
    tree = read_structures(ccf_data / "structures_1.json")
    ordered, numbers = renumber(tree.export_label_description())
    rows = written(tmp_path, ordered).splitlines()
    assert len(rows) == len(numbers) == 1327
    assert rows[numbers[1011] - 1] == f'{numbers[1011]} 1 147 153 1.0 1 1 "AUDd"'
