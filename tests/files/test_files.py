import os
import threading

import pytest
from helpers.files import names

from refspace.files import atomic_write


def interrupted(target, text, error):
    """Replace a file, but fail before the end."""
    with atomic_write(target) as temporary:
        if text is not None:
            temporary.write_text(text)
        raise error


def test_a_new_file(tmp_path):
    target = tmp_path / "notes.txt"
    with atomic_write(target) as temporary:
        temporary.write_text("new")
        assert not target.exists()
        assert temporary.parent == tmp_path
    assert target.read_text() == "new"
    assert names(tmp_path) == ["notes.txt"]


def test_a_file_is_replaced_when_the_block_ends(tmp_path):
    target = tmp_path / "notes.txt"
    target.write_text("old")
    with atomic_write(str(target)) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert names(tmp_path) == ["notes.txt"]


@pytest.mark.promise(
    "a file is written and the writer fails",
    "the old file stays, and nothing beside it",
)
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
@pytest.mark.parametrize("begun", ["half", None])
@pytest.mark.parametrize("old", ["old", None])
def test_a_failure_leaves_everything_as_it_was(tmp_path, error, begun, old):
    target = tmp_path / "notes.txt"
    if old:
        target.write_text(old)
    with pytest.raises(error):
        interrupted(target, begun, error)
    assert names(tmp_path) == (["notes.txt"] if old else [])
    assert not old or target.read_text() == old


def test_a_block_that_writes_nothing_replaces_nothing(tmp_path):
    target = tmp_path / "notes.txt"
    target.write_text("old")
    with pytest.raises(FileNotFoundError, match="partial"), atomic_write(target):
        pass
    assert target.read_text() == "old"
    assert names(tmp_path) == ["notes.txt"]


def test_a_missing_folder(tmp_path):
    target = tmp_path / "missing" / "notes.txt"
    message = r"folder .*missing does not exist; make it, then try again"
    with pytest.raises(FileNotFoundError, match=message), atomic_write(target):
        pytest.fail("the block must not run")
    assert not target.parent.exists()


def test_a_file_as_folder(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileNotFoundError, match=r"folder .*file does not exist"):
        atomic_write(tmp_path / "file" / "notes.txt").__enter__()


def test_a_folder_is_not_replaced(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"), atomic_write(tmp_path / "folder") as temporary:
        temporary.write_text("new")
    assert names(tmp_path) == ["folder"]


def test_a_rename_that_is_refused(tmp_path, monkeypatch):
    def refuse(self, target):
        raise PermissionError(f"cannot rename to {target}")

    target = tmp_path / "notes.txt"
    target.write_text("old")
    monkeypatch.setattr(type(target), "replace", refuse)
    with pytest.raises(PermissionError, match="cannot rename"), atomic_write(target) as temporary:
        temporary.write_text("new")
    assert target.read_text() == "old"
    assert names(tmp_path) == ["notes.txt"]


@pytest.mark.parametrize("name", ["a.nrrd", "a.nii.gz", "a", ".hidden", "a b.ü"])
def test_the_temporary_name_keeps_the_ending_and_is_hidden(tmp_path, name):
    target = tmp_path / name
    with atomic_write(target) as temporary:
        assert temporary.suffix in (target.suffix, ".partial")
        assert temporary.name.startswith(".")
        assert temporary != target
        temporary.touch()
    assert names(tmp_path) == [name]


def test_a_relative_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with atomic_write("notes.txt") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "notes.txt").read_text() == "new"


def test_what_is_renamed_was_written_to_the_disk_before(tmp_path, monkeypatch):
    target = tmp_path / "notes.txt"
    synced = []

    def fsync(descriptor):
        synced.append((os.fstat(descriptor).st_size, target.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    with atomic_write(target) as temporary:
        temporary.write_text("whole")
    assert synced == [(5, False)]


def test_writers_at_the_same_time_do_not_mix(tmp_path):
    target = tmp_path / "notes.txt"
    start = threading.Barrier(8)

    def write(letter):
        with atomic_write(target) as temporary:
            start.wait(timeout=10)
            temporary.write_text(letter * 100_000)

    threads = [threading.Thread(target=write, args=(letter,)) for letter in "abcdefgh"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    text = target.read_text()
    assert len(text) == 100_000
    assert len(set(text)) == 1
    assert names(tmp_path) == ["notes.txt"]


def test_a_symbolic_link_stays_and_its_target_is_replaced(tmp_path):
    target, link = tmp_path / "target.txt", tmp_path / "link.txt"
    target.write_text("old")
    link.symlink_to(target)
    with atomic_write(link) as temporary:
        temporary.write_text("new")
    assert link.is_symlink()
    assert target.read_text() == "new"


def test_what_is_no_regular_file_is_left_alone(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "."):
        with (
            pytest.raises(FileExistsError, match="is a folder or device; give the name of a file"),
            atomic_write(tmp_path / name) as temporary,
        ):
            temporary.write_text("never")
    assert [path.is_fifo() for path in tmp_path.iterdir()] == [True]
