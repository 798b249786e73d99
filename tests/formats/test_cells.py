"""Columns of cells are read all at once as they are cell by cell."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

import refspace
from refspace.errors import FormatError
from refspace.formats.structures import cells as columns
from refspace.formats.structures import fields
from refspace.formats.structures.cells import NOT_STATED, Places, RecordColumns
from refspace.limits import set_limits

NUMBERS = st.one_of(
    st.sampled_from(["7", " 8", "9.0", "-1", "", "x", "4294967296", "00000000001", "٣", "1\n"]),
    st.integers(-2, 2**33),
    st.sampled_from([7.0, 7.5, math.nan, True]),
    st.integers(0, 2**32).map(str),
)
NOTHING = st.sampled_from([None, NOT_STATED])


def _one_by_one(cells):
    return [c if c is None or c is NOT_STATED else fields.whole_number(c) for c in cells]


@given(st.lists(st.one_of(NUMBERS, NOTHING)))
def test_whole_numbers_are_those_of_each_cell(cells):
    where = Places("line", range(2, len(cells) + 2))
    try:
        expected = _one_by_one(cells)
    except ValueError:
        first = next(n for n, c in enumerate(cells) if _fails(c))
        with pytest.raises(FormatError, match=rf"^line {first + 2}: id is "):
            columns.whole_numbers(cells, where, "id")
    else:
        assert columns.whole_numbers(cells, where, "id") == expected


def _fails(cell):
    try:
        _one_by_one([cell])
    except ValueError:
        return True
    return False


@given(st.lists(st.one_of(NUMBERS, NOTHING, st.sampled_from(["n/a", "NA ", "None"]))))
def test_missing_cells_are_those_of_each_cell(cells):
    found = columns.without_missing(cells, fields.MISSING_TEXTS)
    expected = [None if fields.is_missing(cell) else cell for cell in cells]
    assert list(map(repr, found)) == list(map(repr, expected))


@given(st.lists(st.tuples(*[st.sampled_from([7, 8, None, NOT_STATED])] * 3)))
def test_the_first_that_holds_something(rows):
    found = columns.first_of([*zip(*rows, strict=True)], len(rows)) if rows else []
    for row, cell in zip(rows, found, strict=True):
        values = [c for c in row if c is not None and c is not NOT_STATED]
        nothing = None if None in row else NOT_STATED
        assert cell is (values[0] if values else nothing)


def test_columns_of_records():
    records = RecordColumns([{"id": 8, "name": None}, {"id": 9, "code": 1}])
    assert list(records) == ["id", "name", "code"]
    assert len(records) == 3
    assert records["code"] == [NOT_STATED, 1]
    with pytest.raises(KeyError):
        records["parent"]


@pytest.mark.slow
@pytest.mark.parametrize("separator", [",", "\t"])
def test_a_table_of_a_million_rows(tmp_path, separator):
    rows = 10**6
    table = tmp_path / "labels.csv"
    lines = (f"{i}{separator}S{i}{separator}{i // 10 or ''}" for i in range(1, rows + 1))
    table.write_text("\n".join([separator.join(("id", "acronym", "parent_id")), *lines]))
    with set_limits(ontology_bytes="256M"):
        tree = refspace.read_structures(table)
    assert len(tree) == rows
    assert tree["S123456"]["structure_id_path"] == [1, 12, 123, 1234, 12345, 123456]
    assert len(tree.descendant_ids([1])[0]) == 1 + 10 + 100 + 1000 + 10**4 + 10**5 + 1
    table.write_text(table.read_text() + f"\n7{separator}again{separator}")
    with set_limits(ontology_bytes="256M"), pytest.raises(FormatError, match=r"id 7 is on line 8"):
        refspace.read_structures(table)
