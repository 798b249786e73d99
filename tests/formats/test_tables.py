"""Tables in files: what is written is read again, and what is no table is told."""

import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refspace.errors import FormatError, MissingDependencyError
from refspace.formats import table_parts, tables
from refspace.formats.tables import (
    column_names,
    read_parts,
    read_table,
    table_ending,
    write_table,
)

CELLS = pd.DataFrame(
    {
        "name": ["a, b", 'say "c"', "", "µ"],
        "ap": [1.25, np.nan, -3e5, 0.1],
        "dv": [1, 2, 3, 4],
        "ml": [0.5, np.inf, 2.0, 1 / 3],
    }
)


@pytest.fixture(params=tables.ENDINGS)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / f"cells{request.param}"


def test_what_is_written_is_read_again(path: Path) -> None:
    write_table(path, [CELLS])
    assert column_names(path) == ["name", "ap", "dv", "ml"]
    table = read_table(path, ["ml", "ap", "dv"], "name")
    assert list(table) == ["ml", "ap", "dv", "name"]
    assert (table.dtypes[["ml", "ap", "dv"]] == np.float64).all()
    for name in ("ml", "ap", "dv"):
        np.testing.assert_allclose(table[name], CELLS[name], rtol=1e-15)
    assert table["name"].fillna("").tolist() == CELLS["name"].tolist()


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of a few rows, which pyarrow writes too."""
    monkeypatch.setattr(tables, "_ROWS_PER_PART", 3)
    monkeypatch.setattr(table_parts, "_ROWS_PER_PART", 3)
    monkeypatch.setattr(table_parts, "_BLOCK_BYTES", 64)
    monkeypatch.setattr(table_parts, "_MANY_ROWS", 1)


@pytest.fixture(params=["pyarrow", "pandas"])
def installed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What reads and writes text: pandas alone, or pyarrow too."""
    if request.param == "pandas":
        for module in (tables, table_parts):
            monkeypatch.setattr(module, "has_pyarrow", lambda: False)
    return request.param


@pytest.mark.usefixtures("small_parts", "installed")
def test_parts_are_one_table(path: Path) -> None:
    write_table(path, (CELLS[start : start + 2] for start in (0, 2)))
    once = path.read_bytes()
    parts = list(read_parts(path, as_text=True))
    assert len(parts) > 1
    assert sum(map(len, parts)) == 4
    write_table(path, parts)
    if path.suffix != ".parquet":
        assert path.read_bytes() == once
    typed = pd.concat(read_parts(path, as_text=False))
    assert typed["dv"].dtype == ("int64[pyarrow]" if path.suffix == ".parquet" else np.int64)
    np.testing.assert_allclose(typed["ap"].astype(float), CELLS["ap"])


# What parsers of text may take for different things.
SIGNS = [
    "a",
    "1",
    "",
    '"',
    ",",
    "\n",
    "\r",
    "\r\n",
    " ",
    "\t",
    '"a,b"',
    '"a""b"',
    "\ufeff",
    "\0",
    "é",
]


def rows_or_error(parts: Callable[[], Iterator[pd.DataFrame]]) -> object:
    """Columns and rows of a table, or the kind of error."""
    try:
        found = list(parts())
    except (FormatError, ValueError, pd.errors.ParserWarning) as error:
        return isinstance(error, Exception)
    rows = [row for part in found for row in part.astype(object).to_numpy().tolist()]
    return [*found[0]], rows


def test_between_parts_warnings_are_those_of_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "_ROWS_PER_PART", 1)
    (tmp_path / "a.csv").write_text("a,b\n1,2\n3,4\n")
    parts = read_parts(tmp_path / "a.csv", as_text=False)
    next(parts)
    with pytest.warns(pd.errors.ParserWarning):
        warnings.warn("of another table", pd.errors.ParserWarning, stacklevel=1)
    assert len(list(parts)) == 1
    (tmp_path / "b.csv").write_text("a,b\n1,2,3\n")
    with pytest.raises(FormatError, match="Length of header or names does not match"):
        list(read_parts(tmp_path / "b.csv", as_text=False))


@given(st.sampled_from(["", "a,b\n", "a,a\n"]), st.lists(st.sampled_from(SIGNS), max_size=16))
def test_pyarrow_reads_what_pandas_reads(head: str, signs: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = Path(folder, "a.csv")
        path.write_bytes((head + "".join(signs)).encode())
        patch.setattr(table_parts, "_BLOCK_BYTES", 8)
        found = rows_or_error(lambda: read_parts(path, as_text=True))
        patch.setattr(tables, "has_pyarrow", lambda: False)
        assert found == rows_or_error(lambda: read_parts(path, as_text=True))


CELLS_OF_KINDS = {
    "text": st.text(st.sampled_from('ab,"\n\r\té '), max_size=4),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "float64": st.floats(),
    "float32": st.floats(width=32),
    "bool": st.booleans(),
    "Int64": st.none() | st.integers(-(2**63), 2**63 - 1),
    "boolean": st.none() | st.booleans(),
    "object": st.none() | st.integers(-9, 9) | st.sampled_from([0.5, True, "a", 2**70]),
}


@st.composite
def frames(draw: st.DrawFn) -> pd.DataFrame:
    """Tables of a few columns of any kind."""
    rows = draw(st.integers(1, 5))
    columns = {}
    for number, kind in enumerate(draw(st.lists(st.sampled_from([*CELLS_OF_KINDS]), min_size=1))):
        values = draw(st.lists(CELLS_OF_KINDS[kind], min_size=rows, max_size=rows))
        columns[f"c{number}"] = pd.Series(values, dtype=str if kind == "text" else kind)
    return pd.DataFrame(columns)


@given(frames(), st.sampled_from([".csv", ".tsv"]))
def test_pyarrow_writes_what_pandas_writes(rows: pd.DataFrame, ending: str) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = Path(folder, f"a{ending}")
        patch.setattr(table_parts, "_MANY_ROWS", 1)
        write_table(path, [rows, rows])
        found = path.read_bytes()
        patch.setattr(table_parts, "has_pyarrow", lambda: False)
        write_table(path, [rows, rows])
        assert found == path.read_bytes()


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize(
    ("cells", "dtype"),
    [
        (["1", "2", "3", "4"], "int64"),
        (["1", "2", "3", "4.5"], "float64"),
        (["1", "2", "3", ""], "float64"),
        (["1", "2", "3", "x"], "str"),
        (["True", "False", "True", "False"], "bool"),
        (["True", "False", "True", "NA"], "boolean"),
        (["True", "False", "True", "1"], "str"),
        (["NA", "NA", "NA", "x"], "str"),
        (["NA", "NA", "NA", ""], "float64"),
        (["1", "2", "3", str(2**64 - 1)], "str"),
        (["1", "2", "3", str(2**70)], "str"),
        ([str(2**60 + 1), "2", "3", ""], "Int64"),
        ([str(2**60 + 1), "", "3", "4"], "Int64"),
        (["", "2", "3", str(-(2**63))], "Int64"),
        (["", "2", "3", str(2**63 + 1)], "str"),
        ([str(2**63 + 1), "2", "3", ""], "str"),
        (["1e300", "2", "3", ""], "float64"),
    ],
)
def test_a_column_has_one_type_in_all_parts(tmp_path: Path, cells: list[str], dtype: str) -> None:
    (tmp_path / "a.csv").write_text("\n".join(["n,value", *(f"1,{cell}" for cell in cells)]))
    parts = list(read_parts(tmp_path / "a.csv", as_text=False))
    assert [len(part) for part in parts] == [3, 1]
    expected = pd.Series([], dtype=str).dtype if dtype == "str" else dtype
    assert [part["value"].dtype for part in parts] == [expected] * 2
    write_table(tmp_path / "b.parquet", parts)
    values = pd.read_parquet(tmp_path / "b.parquet")["value"]
    texts = ["" if pd.isna(value) else str(value) for value in values]
    numbers = [cell.replace("NA", "") for cell in cells]
    if dtype == "float64":
        numbers = [str(float(cell)) if cell else "" for cell in numbers]
    assert texts == numbers


@pytest.mark.parametrize(
    ("cells", "dtype"),
    [
        ([str(2**60 + 1), ""], "Int64"),
        ([str(-(2**53) - 1), ""], "Int64"),
        ([str(2**64 - 1), ""], "str"),
        ([str(2**70), "1"], "str"),
        ([str(2**70), ""], "str"),
    ],
)
def test_no_digit_of_a_large_number_is_lost(tmp_path: Path, cells: list[str], dtype: str) -> None:
    """Names of columns may be there twice."""
    text = "\n".join(["id,id", *(f"{cell},{cell}" for cell in cells)])
    (tmp_path / "a.csv").write_text(text)
    write_table(tmp_path / "b.parquet", read_parts(tmp_path / "a.csv", as_text=False))
    rows = pq.read_table(tmp_path / "b.parquet").to_pylist()
    made = str if dtype == "str" else int
    expected = [made(cell) if cell else None for cell in cells]
    assert [[*row.values()] for row in rows] == [[value, value] for value in expected]


@pytest.mark.usefixtures("small_parts")
def test_types_of_parquet_stay(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "id": pd.Series([2**60 + 1, None, 3, 4], dtype="Int64"),
            "whole": [1.0, 2.0, np.nan, 4.0],
            "when": pd.array(
                ["2026-01-01", "2026-01-02T10:00", None, "2026-01-04"], dtype="datetime64[us]"
            ),
            "kind": pd.Categorical(["a", 'b, "c"', "a", None]),
            "is_in": [True, False, True, True],
            "list": [[1], [2, 3], [], [4]],
        }
    ).set_index("id")
    frame.to_parquet(tmp_path / "a.parquet")
    write_table(tmp_path / "b.parquet", read_parts(tmp_path / "a.parquet", as_text=False))
    whole = pd.read_parquet(tmp_path / "b.parquet")
    assert whole["id"].dtype == np.float64  # as pandas reads whole numbers of which one is missing
    pd.testing.assert_frame_equal(whole.drop(columns="id"), frame.reset_index(drop=True))
    write_table(tmp_path / "b.csv", read_parts(tmp_path / "a.parquet", as_text=True))
    assert (tmp_path / "b.csv").read_text().splitlines() == [
        "whole,when,kind,is_in,list,id",
        "1.0,2026-01-01 00:00:00.000000,a,True,[1],1152921504606846977",
        '2.0,2026-01-02 10:00:00.000000,"b, ""c""",False,"[2, 3]",',
        ",,a,True,[],3",
        "4.0,2026-01-04 00:00:00.000000,,True,[4],4",
    ]


@pytest.mark.usefixtures("installed")
def test_texts_are_kept_as_they_were_written(tmp_path: Path) -> None:
    text = "id,note\n007,NA\n1.50,\n"
    (tmp_path / "a.csv").write_text(text)
    write_table(tmp_path / "b.csv", read_parts(tmp_path / "a.csv", as_text=True))
    assert (tmp_path / "b.csv").read_text() == text


def test_a_table_without_rows(path: Path) -> None:
    write_table(path, [CELLS[:0]])
    assert read_table(path, ["dv"]).shape == (0, 1)
    parts = list(read_parts(path, as_text=True))
    assert list(parts[0]) == list(CELLS)
    assert {len(part) for part in parts} == {0}


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("\ufeffap,dv\n1,2\n", encoding="utf-8")
    assert read_table(tmp_path / "a.csv", ["ap"]).values.tolist() == [[1]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ap,dv\n1,2\n", "a.csv has no column ml; its columns are ap, dv"),
        ("ap;dv;ml\n1;2;3\n", "a.csv has no column ap; its columns are ap;dv;ml"),
        ("ap,ml,ap,dv\n1,2,3,4\n", "a.csv has several columns ap; its columns are ap, ml, ap, dv"),
        ("ap,dv,ml\n1,2,3\n4,five,6\n", "column dv holds 'five' in row 2 below the header; give a"),
        ("ap,dv,ml\n1,2,\n4,5,1 mm\n", "column ml holds '1 mm' in row 2 below the header"),
        ("", "a.csv is no table that can be read: No columns to parse"),
        ('ap,dv,ml\n1,"2,3\n', "a.csv is no table that can be read: Error tokenizing data"),
        ("ap,dv,ml\n1,\xff,3\n", "a.csv is no table that can be read: 'utf-8' codec"),
    ],
)
def test_what_is_no_table_of_numbers(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "a.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(FormatError) as error:
        read_table(tmp_path / "a.csv", ["ap", "dv", "ml"])
    assert said in str(error.value)


@pytest.mark.usefixtures("installed")
def test_rows_with_more_cells_than_columns(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("ap,dv\n1,2,3\n")
    with pytest.raises(FormatError, match=r"a\.csv is no table that can be read: Length of header"):
        list(read_parts(tmp_path / "a.csv", as_text=True))


def test_what_is_no_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_text("ap,dv\n")
    with pytest.raises(FormatError, match=r"a\.parquet is no table that can be read: Parquet"):
        read_table(path, ["ap"])
    pd.DataFrame({"ap": ["1", "x"]}).to_parquet(path)
    with pytest.raises(FormatError, match="column ap holds 'x' in row 2 below the header"):
        read_table(path, ["ap"])


def test_damage_within_parquet_is_no_fault_of_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pd.DataFrame({"ap": np.arange(50.0)}).to_parquet(path)
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + b"\xff\x00\x91" + whole[place + 3 :])
        # pyarrow raises OSError without a number for some of it.
        with suppress(FormatError):
            read_table(path, ["ap"])
        with suppress(FormatError):
            column_names(path)


def test_missing_cells_of_parquet_are_nan(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pd.DataFrame({"ap": pd.array([1, None], "Int64")}).to_parquet(path)
    np.testing.assert_array_equal(read_table(path, ["ap"])["ap"], [1, np.nan])


def test_a_table_appears_whole_or_not_at_all(path: Path) -> None:
    write_table(path, [CELLS])
    before = path.read_bytes()

    def failing():
        yield CELLS
        raise KeyError("x")

    with pytest.raises(KeyError):
        write_table(path, failing())
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("name", ["a.csv.gz", "a.txt", "a", "parquet"])
def test_other_endings_are_refused(name: str) -> None:
    with pytest.raises(FormatError, match=rf"{name} does not end in \.csv, \.tsv or \.parquet"):
        table_ending(name)


def test_parquet_needs_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for use in (table_ending, column_names, lambda path: write_table(path, [CELLS])):
        with pytest.raises(MissingDependencyError, match=r"pip install pyarrow"):
            use(tmp_path / "a.parquet")
    assert table_ending("a.tsv") == ".tsv"
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_table(tmp_path / "a.csv", ["ap"])
