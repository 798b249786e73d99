"""Tables in files: what is written is read again, and what is no table is told."""

import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from refspace.errors import FormatError, MissingDependencyError
from refspace.formats import tables
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


def test_parts_are_one_table(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_ROWS_PER_PART", 3)
    write_table(path, (CELLS[start : start + 2] for start in (0, 2)))
    once = path.read_bytes()
    parts = list(read_parts(path, as_text=True))
    assert [len(part) for part in parts] == ([4] if path.suffix == ".parquet" else [3, 1])
    write_table(path, parts)
    if path.suffix != ".parquet":
        assert path.read_bytes() == once
    (whole,) = read_parts(path, as_text=False)
    assert whole["dv"].dtype == np.int64
    np.testing.assert_allclose(whole["ap"], CELLS["ap"])


def test_texts_are_kept_as_they_were_written(tmp_path: Path) -> None:
    text = "id,note\n007,NA\n1.50,\n"
    (tmp_path / "a.csv").write_text(text)
    write_table(tmp_path / "b.csv", read_parts(tmp_path / "a.csv", as_text=True))
    assert (tmp_path / "b.csv").read_text() == text


def test_a_table_without_rows(path: Path) -> None:
    write_table(path, [CELLS[:0]])
    assert read_table(path, ["dv"]).shape == (0, 1)
    assert [len(part) for part in read_parts(path, as_text=True)] == [0]


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
