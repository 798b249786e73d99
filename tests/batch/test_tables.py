"""Tables of images: rows of users are never removed, and proof names whatever is not as written."""

import shutil

import dask.dataframe
import pandas as pd
import pyarrow.parquet as pq
import pytest
from helpers.commands import run
from helpers.files import contents

import refspace
from refspace.batch import aggregate_images
from refspace.batch.sealing import sealed, unsealed
from refspace.batch.tables import is_table, verify_table
from refspace.batch.text_table import TableRecord
from refspace.errors import FormatError, StoreError
from refspace.formats.tables import ParquetFile, parquet_bytes, read_table, write_table

NAMES = ["a.nrrd", "b.nrrd", "c.nrrd"]
ENDINGS = [".parquet", ".csv", ".tsv"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An atlas and images; not to be changed."""
    folder = tmp_path_factory.mktemp("tables")
    space = refspace.phantom(resolution=400)
    space.to_zarr(folder / "atlas.zarr")
    for number, name in enumerate(NAMES):
        values = space.annotation.copy(data=space.annotation.data % 7 + number)
        refspace.write_nrrd(folder / name, values.astype("f4"))
    return folder


def aggregate(folder, out, names=NAMES, regions=("TH", "CP"), **how):
    paths = [folder / name for name in names]
    return aggregate_images(folder / "atlas.zarr", paths, out, [*regions], **how)


def parts(out):
    return sorted(out.glob("part-*"))


def record(out):
    (path,) = out.with_name(f".{out.name}.parts").iterdir()
    return path


# ----- rows of users


def edited(path, how):
    """Change a file of rows as a user would, with pandas or pyarrow."""
    table = pq.read_table(path)
    more = table.slice(0, 1)
    if how == "pandas":
        rows = pd.concat([pd.read_parquet(path), more.to_pandas()])
        rows.to_parquet(path, index=False)
    elif how == "rows":  # and all metadata stay
        pq.write_table(type(table).from_batches([*table.to_batches(), *more.to_batches()]), path)
    else:
        described = table.schema.metadata[b"refspace"].replace(b"a.nrrd", b"x.nrrd")
        changed = {**table.schema.metadata, b"refspace": described}
        pq.write_table(table.replace_schema_metadata(changed), path)
    return path.read_bytes()


@pytest.mark.promise("a table is edited, or another program's")
@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("how", ["pandas", "rows", "record"])
def test_a_part_that_was_edited_is_left_alone(folder, tmp_path, how, overwrite):
    out = tmp_path / "t.parquet"
    aggregate(folder, out, NAMES[:1])
    (path,) = parts(out)
    mine = edited(path, how)
    for regions in (["TH", "CP"], ["TH"]):
        with pytest.raises(StoreError, match=r"not as it was written here: .*; it is left as it"):
            aggregate(folder, out, regions=regions, overwrite=overwrite)
    assert {*out.iterdir()} == {path, out / "record.parquet"}
    assert path.read_bytes() == mine


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["more.parquet", "part-0.parquet", "2026/more.parquet", "a.csv"])
def test_files_of_others_stay(folder, tmp_path, name, overwrite):
    out = tmp_path / "t.parquet"
    aggregate(folder, out)
    before = {path.name for path in out.iterdir()}
    (out / name).parent.mkdir(exist_ok=True)
    (out / name).write_bytes(b"mine")
    with pytest.raises(StoreError, match=f"has {name}, which is none of its files: it is left"):
        aggregate(folder, out, regions=["TH"], overwrite=overwrite)
    assert (out / name).read_bytes() == b"mine"
    assert before <= {path.name for path in out.iterdir()}


def test_a_record_with_rows_is_left_alone(folder, tmp_path):
    out = tmp_path / "t.parquet"
    aggregate(folder, out)
    shutil.copy(parts(out)[0], out / "record.parquet")
    with pytest.raises(StoreError, match=r"has rows in record\.parquet"):
        aggregate(folder, out, overwrite=True)


def test_a_damaged_part_of_no_image_of_the_job(folder, tmp_path):
    out = tmp_path / "t.parquet"
    aggregate(folder, out)
    before = out / parts(out)[0].name
    damaged = [name for name in NAMES if str(folder / name) in pd.read_parquet(before)["image"][0]]
    before.write_bytes(before.read_bytes()[:-9])
    others = [name for name in NAMES if name not in damaged]
    with pytest.raises(StoreError, match="is damaged, and is of no image of this job: it is left"):
        aggregate(folder, out, others)
    assert aggregate(folder, out).written == 1
    assert not refspace.verify(out).faults


@pytest.mark.promise("a table is edited, or another program's")
@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("ending", [".csv", ".tsv"])
def test_a_text_table_that_was_edited_is_left_alone(folder, tmp_path, ending, overwrite):
    out = tmp_path / f"t{ending}"
    aggregate(folder, out)
    mine = out.read_bytes() + b"mine\n"
    out.write_bytes(mine)
    for regions in (["TH", "CP"], ["TH"]):
        with pytest.raises(StoreError, match=r"was changed since: it is left as it is; move it"):
            aggregate(folder, out, regions=regions, overwrite=overwrite)
    assert out.read_bytes() == mine


@pytest.mark.parametrize("ending", ENDINGS)
def test_overwriting_replaces_a_table_of_another_job(folder, tmp_path, ending):
    out = tmp_path / f"t{ending}"
    aggregate(folder, out)
    assert aggregate(folder, out, NAMES[:2], ["TH"], overwrite=True).written == 2
    assert not refspace.verify(out).faults
    assert refspace.verify(out).blocks == 2


# ----- records


@pytest.mark.promise("a part of a table is damaged")
@pytest.mark.parametrize("damage", ["flip", "cut"])
def test_a_line_of_a_record_that_is_damaged(folder, tmp_path, damage):
    """The others still count, and no rows are lost."""
    out = tmp_path / "t.csv"
    aggregate(folder, out)
    whole, path = out.read_bytes(), record(out)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[1] = {"flip": lines[1].replace(b"b.nrrd", b"B.nrrd"), "cut": lines[1][:50] + b"\n"}[
        damage
    ]
    path.write_bytes(b"".join(lines))
    assert "has 1 damaged lines; run the job again" in str(refspace.verify(out))
    # Rows whose line was lost stay, in a run of others too; then they are made again.
    done = aggregate(folder, out, [NAMES[0]])
    assert (done.written, done.kept) == (0, 1)
    assert out.read_bytes() == whole
    assert not refspace.verify(out).faults
    done = aggregate(folder, out)
    assert (done.written, done.kept) == (1, 2)
    assert out.read_bytes() == whole
    assert aggregate(folder, out).kept == 3


def flipped(data, step):
    """A file with a bit of another, for one byte after the other; another bit each time."""
    for n, position in enumerate(range(0, len(data), step)):
        changed = bytearray(data)
        changed[position] ^= 1 << n % 8
        yield bytes(changed)


@pytest.mark.promise(
    "the record of a table is damaged",
    "verify names it; the next run makes it again, and ends with the same bytes",
)
@pytest.mark.parametrize("ending", [".parquet", ".csv"])
def test_every_flipped_bit_of_a_record_is_found(folder, tmp_path, ending):
    out = tmp_path / f"t{ending}"
    aggregate(folder, out)
    path = out / "record.parquet" if ending == ".parquet" else record(out)
    before, whole = contents(tmp_path), path.read_bytes()
    for data in flipped(whole, len(whole) // 150):
        path.write_bytes(data)
        assert [fault.key for fault in verify_table(out).faults] == [path.name]
    for data in (*flipped(whole, len(whole) // 5), whole[:-1], whole + b"\n"):
        path.write_bytes(data)
        aggregate(folder, out)
        assert contents(tmp_path) == before


@pytest.mark.promise("the record of a table is damaged")
@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines[1:],
        lambda lines: lines[:-1],
        lambda lines: lines[2:],
        lambda lines: lines[::-1],
        lambda lines: [*lines, lines[0]],
        lambda lines: [lines[0].replace(b", ", b",  "), *lines[1:]],
    ],
)
def test_lines_of_a_record_that_are_lost_or_exchanged(folder, tmp_path, change):
    out = tmp_path / "t.csv"
    aggregate(folder, out)
    whole, path = contents(tmp_path), record(out)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(change(lines)))
    assert [fault.key for fault in verify_table(out).faults] == [path.name]
    aggregate(folder, out)
    assert contents(tmp_path) == whole


def test_rows_whose_line_of_the_record_is_lost_stay(folder, tmp_path):
    """Whatever a run adds, which knows nothing of their images."""
    out = tmp_path / "t.csv"
    aggregate(folder, out)
    whole = out.read_bytes()
    aggregate(folder, out, NAMES[:2], overwrite=True)
    lines = record(out).read_bytes().splitlines(keepends=True)
    record(out).write_bytes(lines[1])
    aggregate(folder, out, NAMES[2:])
    assert out.read_bytes() == whole


def test_a_record_of_another_kind(folder, tmp_path):
    line = {"job": "1", "image": "a", "identity": "2", "table": "3", "sha256": "4"}
    assert TableRecord.from_bytes(sealed(line)) is None  # where its rows are, it does not say
    placed = sealed({**line, "start": 0, "stop": 9, "lines": 1})
    assert TableRecord.from_bytes(placed) is not None
    assert TableRecord.from_bytes(placed, "5") is None


@pytest.mark.parametrize("line", [b"", b"1", b"[]", b"{}", b'{"seal": 1}', b"[" * 10**5])
def test_lines_that_are_no_records(line):
    assert unsealed(line) is None


def test_lines_that_lack_a_key():
    assert unsealed(sealed({"job": "1"}), ["job"]) == {"job": "1"}
    assert unsealed(sealed({"job": "1"}), ["image"]) is None
    assert unsealed(sealed({"job": 1}), ["job"]) is None


def test_names_with_line_breaks_and_quotes(folder, tmp_path):
    name = 'a "b"\n, c.nrrd'
    shutil.copy(folder / "a.nrrd", tmp_path / name)
    shutil.copy(folder / "b.nrrd", tmp_path / "b.nrrd")
    out = tmp_path / "t.csv"
    paths = [tmp_path / name, tmp_path / "b.nrrd"]
    aggregate_images(folder / "atlas.zarr", paths, out, ["TH", "CP"])
    assert not refspace.verify(out).faults
    out.write_text(out.read_text().replace("CP", "cp", 1))
    faults = [str(fault) for fault in refspace.verify(out).faults]
    printable = str(paths[0]).replace("\n", "\\n")
    assert f"{printable}: its rows are not as they were written" in faults


def test_names_that_are_escaped(folder, tmp_path, monkeypatch):
    """In the table, and not in the record."""
    monkeypatch.chdir(tmp_path)
    names = ["=1+1.nrrd", "b.nrrd", "@sum.nrrd"]
    for name, source in zip(names, NAMES, strict=True):
        shutil.copy(folder / source, name)

    def run_again():
        aggregate_images(folder / "atlas.zarr", names, "t.csv", ["TH"], escape_formulas=True)

    run_again()
    before, path = contents(tmp_path), record(tmp_path / "t.csv")
    assert b"\n'=1+1.nrrd," in before["t.csv"]
    assert not verify_table("t.csv").faults
    lines = path.read_bytes().splitlines(keepends=True)
    for n in range(3):
        path.write_bytes(b"".join(lines[:n] + lines[n + 1 :]))
        assert [fault.key for fault in verify_table("t.csv").faults] == [path.name]
        run_again()
        assert contents(tmp_path) == before


# ----- proof


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_whole_table_is_proven(folder, tmp_path, ending):
    out, told = tmp_path / f"t{ending}", []
    aggregate(folder, out)
    report = refspace.verify(out, progress=lambda *n: told.append(n))
    assert str(report) == f"{out}: the rows of each of 3 images are proven to be as written"
    assert told[-1] == (3, 3)
    result = run("verify", out)
    assert (result.exit_code, result.stdout) == (0, f"{report}\n")


def test_what_proof_names_in_parquet(folder, tmp_path):
    out = tmp_path / "t.parquet"
    aggregate(folder, out)
    first, second, third = parts(out)
    first.unlink()
    edited(second, "pandas")
    third.write_bytes(third.read_bytes()[:-7])
    (out / "mine.parquet").write_bytes(b"")
    assert [str(fault) for fault in refspace.verify(out).faults] == [
        f"{second.name}: is not as it was written: it has no record, as if another program had "
        "written it",
        f"{third.name}: is damaged",
        f"{first.name}: is missing",
        "mine.parquet: was not written here",
    ]
    assert run("verify", out).exit_code == 1


@pytest.mark.promise("a bit is flipped in the rows of a table", "verify names the file")
@pytest.mark.parametrize("bit", [0, 3])
def test_every_flipped_bit_of_a_part_is_found(folder, tmp_path, bit):
    out = tmp_path / "t.parquet"
    aggregate(folder, out, NAMES[:1])
    (path,) = parts(out)
    whole = path.read_bytes()
    for position in range(0, len(whole), 37):
        data = bytearray(whole)
        data[position] ^= 1 << bit
        path.write_bytes(data)
        assert [fault.key for fault in verify_table(out).faults] == [path.name]


@pytest.mark.promise("a bit is flipped in the rows of a table")
def test_every_flipped_bit_of_a_text_table_is_found(folder, tmp_path):
    out = tmp_path / "t.csv"
    aggregate(folder, out)
    whole = out.read_bytes()
    for data in flipped(whole, len(whole) // 100):
        out.write_bytes(data)
        assert str(verify_table(out).faults[0]).startswith(f"{out.name}: is not as it was writt")


@pytest.mark.promise("a part of a table is damaged")
def test_bytes_of_a_part_that_hold_no_rows(folder, tmp_path):
    """By statistics of a file others skip its rows, and pyarrow does not look at them here."""
    out = tmp_path / "t.parquet"
    aggregate(folder, out)
    whole, path = contents(out), parts(out)[0]
    data = path.read_bytes()
    statistics = pq.read_metadata(path).row_group(0).column(0).statistics
    rows, least = pq.read_table(path), statistics.min.encode()
    at = data.rindex(least, 0, data.index(b"pandas")) + len(least) - 1
    path.write_bytes(data[:at] + b"~" + data[at + 1 :])
    damaged = pq.read_metadata(path).row_group(0).column(0).statistics
    assert damaged.min == statistics.min[:-1] + "~"
    assert pq.read_table(path).equals(rows)
    assert str(verify_table(out).faults[0]) == f"{path.name}: is damaged"
    assert aggregate(folder, out).written == 1
    assert contents(out) == whole


def test_what_a_kill_leaves_beside_a_table_is_named_and_removed(folder, tmp_path):
    out = tmp_path / "t.csv"
    aggregate(folder, out)
    whole, kept = contents(tmp_path), record(out)
    left = [kept.with_name(f"table-{16 * '0'}.jsonl"), kept.with_name(".part.0123abcd.partial.csv")]
    for path in left:
        path.write_bytes(kept.read_bytes())
    assert {fault.key for fault in verify_table(out).faults} == {path.name for path in left}
    aggregate(folder, out)
    assert contents(tmp_path) == whole
    kept.with_name("mine").mkdir()
    assert [*map(str, verify_table(out).faults)] == ["mine: was not written here, or is damaged"]


def test_tables_of_runs_that_were_stopped(folder, tmp_path):
    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    for ending in (".parquet", ".csv"):
        out = tmp_path / f"t{ending}"
        with pytest.raises(KeyboardInterrupt):
            aggregate(folder, out, progress=stop)
        if ending == ".parquet":
            assert str(refspace.verify(out).faults[0]).startswith("record.parquet: is missing")
        else:
            with pytest.raises(StoreError, match="there is no table at"):
                refspace.verify(out)
        aggregate(folder, out, NAMES[:2])
        with pytest.raises(KeyboardInterrupt):
            aggregate(folder, out, progress=lambda done, total: stop(done - 1, total))
        assert "a run that was stopped" in str(refspace.verify(out)) or "a run was stopped" in str(
            refspace.verify(out)
        )
        aggregate(folder, out)
        assert not refspace.verify(out).faults


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda t: t.replace("CP", "cp", 1), "a.nrrd: its rows are not as they were written"),
        (lambda t: t + "mine,1\n", "mine: its rows were not written here"),
        (lambda t: t + "\n", ": its rows were not written here"),
        (lambda t: "\n".join(t.splitlines()[:-2]) + "\n", "c.nrrd: its rows are missing"),
    ],
)
def test_what_proof_names_in_text(folder, tmp_path, change, fault):
    out = tmp_path / "t.csv"
    aggregate(folder, out)
    out.write_text(change(out.read_text()))
    stray = record(out).with_name("stray")
    stray.write_bytes(b"\xff")
    faults = [str(each) for each in refspace.verify(out).faults]
    assert faults[0] == "t.csv: is not as it was written, or was not written here"
    assert faults[1].endswith(fault)
    assert faults[2:] == ["stray: was not written here, or is damaged"]


def test_text_that_is_none(folder, tmp_path):
    out = tmp_path / "t.csv"
    out.write_bytes(b"\x00\xff")
    assert len(refspace.verify(out).faults) == 1


@pytest.mark.parametrize("ending", ENDINGS)
def test_there_is_no_table(tmp_path, ending):
    with pytest.raises(StoreError, match="there is no"):
        refspace.verify(tmp_path / f"t{ending}")
    (tmp_path / f"u{ending}").mkdir()
    with pytest.raises(StoreError, match="there is no"):
        refspace.verify(tmp_path / f"u{ending}")


def test_names_of_tables(folder):
    assert is_table("t.PARQUET/")
    assert not refspace.verify(folder / "atlas.zarr").faults


# ----- other readers


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # dask's
def test_others_read_a_table_in_parquet(folder, tmp_path):
    """The file of the record has no rows; checksums of pages are there to be verified."""
    out = tmp_path / "t.parquet"
    aggregate(folder, out)
    table = pq.read_table(out, page_checksum_verification=True)
    assert table.num_rows == 6
    # Dask takes the parts in another order, and numbers the rows of each anew.
    by_dask, by_pandas = (
        each.sort_values(["image", "structure"], ignore_index=True)
        for each in (dask.dataframe.read_parquet(out).compute(), pd.read_parquet(out))
    )
    pd.testing.assert_frame_equal(by_dask, by_pandas, check_dtype=False)
    path = tmp_path / "counts.parquet"
    write_table(path, [pd.DataFrame({"structure": [385], "voxels": [7.0]})])
    data = bytearray(path.read_bytes())
    position = bytes(data).index(b"\x1c\x40")  # of 7.0, as float64
    data[position] ^= 1
    path.write_bytes(data)
    with pytest.raises(FormatError, match=r"counts\.parquet is no table that can be read"):
        read_table(path, ["voxels"])


def test_metadata_of_others():
    data = parquet_bytes(pd.DataFrame({"a": [1.5, None]}), lambda digest: digest)
    file = ParquetFile.read(data)
    assert file.metadata == file.digest
    assert ParquetFile.read(file.without_rows({})).metadata == {}
