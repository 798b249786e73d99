"""Run as a script, this is a writer that is killed: see `main`."""

import errno
import hashlib
import itertools
import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import fsspec
import pytest

import refspace
from refspace.errors import (
    ClusterError,
    FormatError,
    JobError,
    LockedError,
    RemoteError,
    StoreError,
    WriteError,
)
from refspace.remote.retry import Retry
from refspace.store import Location, verify_store
from refspace.store.staging import WriteLease, job_digest, leftover_hint, open_staging
from refspace.store.staging.job import JOURNAL, checksummed, verified_payload

JOB = {"source": "annotation.nrrd", "grid": {"shape": [8, 8, 8], "spacing": 25.0}, "chunks": 4}
OTHER = {**JOB, "grid": {"shape": [8, 8, 9], "spacing": 25.0}, "chunks": 2}
UNFINISHED = (
    r"^an unfinished conversion lies in .*X\.zarr(\.partial)?; continue it with the same "
    r"command or call, or discard it with --overwrite \(Python: overwrite=True\)$"
)
EXISTS = (
    r"X\.zarr exists; give another name, or replace it with --overwrite "
    r"\(Python: overwrite=True\)$"
)


# ----- a small writer


def metadata(job, version=0):
    facts = {"complete": True, "job": job_digest(job)}
    return json.dumps({"attributes": {"refspace": facts}, "version": version}).encode()


def payload(unit):
    return hashlib.sha256(f"payload {unit}".encode()).digest()


class Sink:
    """Files of a store, whether local or not."""

    def __init__(self, url, options=None):
        self.fs, self.path = fsspec.core.url_to_fs(url, **(options or {}))

    def write(self, key, data):
        self.fs.makedirs(f"{self.path}/{key}".rpartition("/")[0], exist_ok=True)
        self.fs.pipe_file(f"{self.path}/{key}", data)

    def tree(self):
        self.fs.invalidate_cache()
        found = {path: self.fs.cat_file(path) for path in self.fs.find(self.path)}
        return {path.partition("X.zarr/")[2]: data for path, data in found.items()}


def convert(target, *, job=JOB, version=0, units=5, pause=0.0, threads=0, options=None, **how):
    """Write units of two files each, and tell which ones; None if there was nothing to do."""
    with open_staging(str(target), job=job, storage_options=options, **how) as staging:
        if staging.finished:
            return None
        recorded = staging.recorded()
        assert recorded == {name: payload(name) for name in recorded}
        sink = Sink(staging.work, staging.storage_options)

        def write(unit):
            keys = [f"s0/{name}/c/{unit % 3}/{unit}" for name in ("annotation", "template")]
            for key in keys:
                sink.write(key, f"{version} {key}".encode())
            time.sleep(pause)
            staging.record(f"unit-{unit}", payload(f"unit-{unit}"), keys)

        missing = [unit for unit in range(units) if f"unit-{unit}" not in recorded]
        if threads:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(write, missing))
        else:
            for unit in missing:
                write(unit)
        staging.commit(metadata(job, version))
    return [f"unit-{unit}" for unit in missing]


def expected(*, job=JOB, version=0, units=5):
    keys = [f"s0/{n}/c/{u % 3}/{u}" for n in ("annotation", "template") for u in range(units)]
    return {key: f"{version} {key}".encode() for key in keys} | {
        "zarr.json": metadata(job, version)
    }


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def tree(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def interrupt(target, *, job=JOB, error=KeyboardInterrupt, units=2, **how):
    """Write some units, then stop."""
    with open_staging(str(target), job=job, **how) as staging:
        for unit in range(units):
            Sink(staging.work, staging.storage_options).write(f"s0/{unit}", b"voxels")
            staging.record(f"unit-{unit}", payload(f"unit-{unit}"), [f"s0/{unit}"])
        raise error


def is_complete(target):
    """Whether a store is there, and whole."""
    return target.is_dir() and tree(target) in (expected(version=0), expected(version=1))


@pytest.fixture
def target(tmp_path):
    return tmp_path / "X.zarr"


@pytest.fixture
def bucket():
    """URL of a store in memory."""
    url = f"memory://{os.urandom(4).hex()}/X.zarr"
    yield url
    sink = Sink(url.removesuffix("/X.zarr"))
    if sink.fs.exists(sink.path):
        sink.fs.rm(sink.path, recursive=True)


def objects(url):
    return Sink(url).tree()


# ----- a store appears whole


def test_a_new_store(target):
    with open_staging(str(target), job=JOB) as staging:
        assert not staging.finished
        assert staging.recorded() == {}
        assert staging.storage_options == {}
        assert Path(staging.work) == target.with_name(".X.zarr.partial")
        assert not target.exists()
        Path(staging.work, "voxels").write_bytes(b"997")
        staging.record("unit", b"payload", ["voxels"])
        staging.commit(metadata(JOB))
        assert tree(target) == {"voxels": b"997", "zarr.json": metadata(JOB)}
    assert names(target.parent) == ["X.zarr"]
    assert names(target) == ["voxels", "zarr.json"]


def test_a_store_is_replaced(target):
    convert(target, version=0)
    with pytest.raises(StoreError, match=EXISTS):
        convert(target, version=1)
    assert tree(target) == expected(version=0)
    assert len(convert(target, version=1, overwrite=True)) == 5
    assert tree(target) == expected(version=1)
    assert names(target.parent) == ["X.zarr"]


@pytest.mark.parametrize("spelling", ["X.zarr/", "./X.zarr", "../{0}/X.zarr", "file://{1}/X.zarr/"])
def test_spellings_of_a_path(target, monkeypatch, spelling):
    monkeypatch.chdir(target.parent)
    convert(spelling.format(target.parent.name, target.parent))
    assert tree(target) == expected()
    assert names(target.parent) == ["X.zarr"]


@pytest.mark.parametrize("old", [True, False])
def test_a_symbolic_link_stays_and_its_target_is_replaced(tmp_path, old):
    for folder in ("disk", "home"):
        (tmp_path / folder).mkdir()
    real, link = tmp_path / "disk" / "X.zarr", tmp_path / "home" / "Y.zarr"
    link.symlink_to(real)
    if old:
        convert(real, version=0)
    convert(link, version=1, overwrite=old)
    assert link.is_symlink()
    assert tree(real) == expected(version=1)
    assert names(tmp_path / "disk") == ["X.zarr"]
    assert names(tmp_path / "home") == ["Y.zarr"]


def test_an_empty_folder_is_replaced_and_a_store_of_zarr_v2(target):
    target.mkdir()
    with pytest.raises(StoreError, match=EXISTS):
        convert(target)
    convert(target, overwrite=True)
    for path in target.iterdir():
        path.rename(target / {"zarr.json": ".zgroup"}.get(path.name, path.name))
    convert(target, version=1, overwrite=True)
    assert tree(target) == expected(version=1)


def test_many_threads_record(target):
    convert(target, units=40, threads=8)
    assert tree(target) == expected(units=40)


# ----- tasks that outlive their run


@pytest.fixture(params=["disk", "memory"])
def place(request, target, bucket):
    return str(target) if request.param == "disk" else bucket


def lease_of(staging):
    """Permission to write, as a task gets it."""
    return pickle.loads(pickle.dumps(staging.lease))


def test_a_lease_writes_for_the_run(place):
    with open_staging(place, job=JOB) as staging:
        lease = lease_of(staging)
        for data in (b"997", b"8", b""):
            lease.write("s0/voxels/c/1", data)
            lease.write("facts", data)
        lease.check()
        staging.commit(metadata(JOB))
    found = Sink(place).tree()
    assert found == {"s0/voxels/c/1": b"", "facts": b"", "zarr.json": metadata(JOB)}


def interrupted(place):
    """Lease of a run that was stopped when it had recorded a unit."""
    with suppress(KeyboardInterrupt), open_staging(place, job=JOB) as staging:
        lease = lease_of(staging)
        lease.write("s0/voxels", b"997")
        staging.record("unit", b"payload", ["s0/voxels"])
        raise KeyboardInterrupt
    # On a disk, as long as no other run has begun, what its tasks write is in nobody's way.
    if Location(place).local_path is not None:
        lease.check()
    return lease


def refused(lease, message):
    """Whether a lease lets nothing be written any more."""
    for attempt in (lease.check, lambda: lease.write("s0/voxels", b"late")):
        with pytest.raises(StoreError, match=message):
            attempt()
    return True


@pytest.mark.promise("a task writes after its run has ended", "it writes nothing")
@pytest.mark.parametrize(
    ("job", "how", "message"),
    [
        (JOB, {"resume": True}, r"X\.zarr(\.partial)? is written by another run of its job now$"),
        (JOB, {"overwrite": True}, r"is written by another run of its job now$"),
        (OTHER, {"overwrite": True}, r"is written by another job now$"),
    ],
)
def test_the_next_run_ends_the_lease_of_the_one_before(place, job, how, message):
    lease = interrupted(place)
    with open_staging(place, job=job, **how) as staging:
        assert refused(lease, message)
        lease_of(staging).write("s0/voxels", b"8")
        assert refused(lease, message)
        assert staging.recorded() == ({"unit": b"payload"} if "resume" in how else {})
        assert Location(staging.work).read("s0/voxels") == b"8"
        staging.commit(metadata(job))
    assert refused(lease, "sees no store in the making at .*: its job was ended, or the folder is")
    assert Sink(place).tree() == {"s0/voxels": b"8", "zarr.json": metadata(job)}


@pytest.mark.parametrize("end", ["commit", "discard"])
def test_an_end_ends_the_lease(place, end):
    with open_staging(place, job=JOB) as staging:
        lease = lease_of(staging)
        if end == "commit":
            staging.commit(metadata(JOB))
            assert refused(lease, "sees no store in the making at ")
    assert refused(lease, "sees no store in the making at ")
    assert bool(Sink(place).tree()) == (end == "commit")


@pytest.mark.promise("a task writes after its run has ended")
@pytest.mark.parametrize("end", ["resume", "commit", "discard"])
def test_a_file_that_is_half_written_when_its_run_ends(target, end):
    """Between the look at the lease and the renaming there is no gap."""
    lease = interrupted(str(target))

    def another_run():
        with open_staging(str(target), job=JOB, resume=True) as staging:
            assert (Path(staging.work) / "s0/voxels").read_bytes() == b"997"
            if end == "commit":
                staging.commit(metadata(JOB))
            elif end == "resume":
                raise KeyboardInterrupt

    message = "is written by another run" if end == "resume" else "sees no store in the making"
    with ExitStack() as stack:
        stack.enter_context(lease.file("s0/voxels")).write_bytes(b"late")
        with suppress(KeyboardInterrupt):
            another_run()
        with pytest.raises(StoreError, match=message):
            stack.close()
    with pytest.raises(StoreError, match=message):
        lease.write("s1/voxels", b"late")
    left = {"resume": [".X.zarr.partial"], "commit": ["X.zarr"], "discard": []}[end]
    assert names(target.parent) == left
    for name in left:
        # What was recorded is as it was.
        assert (target.parent / name / "s0/voxels").read_bytes() == b"997"
        assert not (target.parent / name / "s1").exists()


@pytest.mark.parametrize("conditional", [True, False])
def test_elsewhere_a_task_that_has_looked_at_its_lease_still_writes(
    bucket, monkeypatch, conditional
):
    """One object; and on condition none that another run has written."""
    check, data = WriteLease.check, b"997"
    with open_staging(bucket, job=JOB) as staging:
        lease = replace(lease_of(staging), conditional=conditional)
        Location(bucket).remove(".refspace/holder.json")

    def check_and_wait(self):
        monkeypatch.undo()
        with suppress(KeyboardInterrupt), open_staging(bucket, job=JOB, resume=True) as staging:
            staging.lease.write("s0/voxels", b"8")
            raise KeyboardInterrupt

    monkeypatch.setattr(WriteLease, "check", check_and_wait)
    with (
        pytest.raises(StoreError, match="another run of its job") if conditional else nullcontext()
    ):
        lease.write("s0/voxels", data)
    assert Location(bucket).read("s0/voxels") == (b"8" if conditional else b"997")
    assert WriteLease.check is check
    assert refused(lease, "is written by another run of its job now")


def test_a_write_that_fails_in_a_run_that_goes_on(target, monkeypatch):
    with open_staging(str(target), job=JOB) as staging:
        lease = lease_of(staging)
        monkeypatch.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="No space left") as caught:
            lease.write("s0/voxels", b"997")
        assert caught.value.errno == errno.ENOSPC
        monkeypatch.undo()
        # Nothing is left of it.
        assert list(Path(staging.work, staging.lease.run).iterdir()) == []


def test_a_run_is_ended_while_a_task_puts_files_into_its_folder(target, monkeypatch):
    lease = interrupted(str(target))
    rmdir, late = os.rmdir, itertools.count()

    def busy(path, **kwargs):
        if Path(path).name == Path(lease.run).name and next(late) < 3:
            (target.with_name(".X.zarr.partial") / lease.run / "late").touch()
        rmdir(path, **kwargs)

    monkeypatch.setattr(os, "rmdir", busy)
    with open_staging(str(target), job=JOB, resume=True):
        assert refused(lease, "another run of its job")
    assert next(late) == 4


# ----- what is never replaced


def test_a_missing_folder(target):
    for missing in (target / "Y.zarr", target / "a" / "Y.zarr"):
        message = r"^folder .*X\.zarr(/a)? does not exist; make it, then try again$"
        with pytest.raises(FileNotFoundError, match=message):
            convert(missing, overwrite=True)
    assert names(target.parent) == []


@pytest.mark.parametrize("how", [{}, {"overwrite": True}, {"resume": True, "overwrite": True}])
def test_files_and_other_folders(target, how):
    target.write_text("thesis")
    with pytest.raises(StoreError, match=r"X\.zarr is a file; give the name of a folder"):
        convert(target, **how)
    assert target.read_text() == "thesis"
    target.unlink()
    (target / "thesis").mkdir(parents=True)
    message = r"X\.zarr exists, is not empty and is no zarr store: it is never overwritten; give"
    with pytest.raises(StoreError, match=message):
        convert(target, **how)
    with pytest.raises(StoreError, match=message.replace("X\\.zarr", str(target.parent))):
        convert(target.parent, **how)
    assert names(target.parent) == ["X.zarr"]
    assert names(target) == ["thesis"]


def test_the_root_of_all_folders():
    with pytest.raises(StoreError, match=r"^/ exists, is not empty and is no zarr store"):
        convert("/", overwrite=True)


def test_what_appears_in_the_meantime_is_not_replaced(target):
    def other(staging):
        target.mkdir()
        (target / "zarr.json").write_bytes(b"{}")
        staging.commit(metadata(JOB))

    with pytest.raises(StoreError, match=EXISTS), open_staging(str(target), job=JOB) as staging:
        other(staging)
    assert tree(target) == {"zarr.json": b"{}"}
    assert names(target.parent) == ["X.zarr"]


# ----- what fails leaves no trace


@pytest.mark.parametrize("error", [ValueError, FormatError, GeneratorExit, StoreError])
@pytest.mark.parametrize("old", [True, False])
def test_a_failure_leaves_everything_as_it_was(target, error, old):
    if old:
        convert(target)
    with pytest.raises(error):
        interrupt(target, error=error, overwrite=old)
    assert names(target.parent) == (["X.zarr"] if old else [])
    assert not old or tree(target) == expected()


def test_a_failure_of_a_resumed_run_leaves_no_trace(target):
    with pytest.raises(KeyboardInterrupt):
        interrupt(target)
    with pytest.raises(ValueError, match="disk on fire"):
        interrupt(target, resume=True, error=ValueError("disk on fire"))
    assert names(target.parent) == []


def test_a_block_that_ends_without_commit(target):
    with open_staging(str(target), job=JOB) as staging:
        Path(staging.work, "voxels").write_bytes(b"997")
    assert names(target.parent) == []


@pytest.mark.parametrize("step", range(3))
def test_a_rename_that_fails_is_taken_back(target, monkeypatch, step):
    convert(target)
    steps = itertools.count()
    rename = Path.rename

    def refuse(self, new):
        if next(steps) == step:
            raise PermissionError(f"cannot rename {self}")
        return rename(self, new)

    monkeypatch.setattr(Path, "rename", refuse)
    if step == 2:  # there are but two renames
        convert(target, version=1, overwrite=True)
    else:
        with pytest.raises(PermissionError, match="cannot rename"):
            convert(target, version=1, overwrite=True)
    assert tree(target) == expected(version=int(step == 2))
    assert names(target.parent) == ["X.zarr"]


def refuse_to_remove(path, **kwargs):
    if not kwargs.get("ignore_errors"):
        raise PermissionError("a file is open")


def test_what_cannot_be_removed_does_not_hide_the_error(target, monkeypatch):
    monkeypatch.setattr("shutil.rmtree", refuse_to_remove)
    with pytest.raises(ValueError, match="disk on fire") as caught:
        interrupt(target, error=ValueError("disk on fire"))
    (note,) = caught.value.__notes__
    assert note.endswith(r"X.zarr.partial could not be removed: a file is open")
    monkeypatch.undo()
    # What is left is no work to be resumed, and does not stand in the way.
    assert leftover_hint(str(target)) is None
    assert len(convert(target)) == 5
    assert names(target.parent) == ["X.zarr"]


def test_what_is_being_removed_does_not_pass_for_a_store(target, monkeypatch):
    removed = []
    rmtree = shutil.rmtree

    def check(path, **kwargs):
        assert not (path / "zarr.json").exists()
        if path.name != "runs":
            removed.append(path.name)
        rmtree(path, **kwargs)

    convert(target)
    with pytest.raises(KeyboardInterrupt):
        interrupt(target, overwrite=True)
    monkeypatch.setattr(shutil, "rmtree", check)
    convert(target, version=1, overwrite=True)
    assert removed == [".X.zarr.partial", ".refspace", ".X.zarr.old"]


def test_what_cannot_be_removed_after_a_block_without_commit(target, monkeypatch):
    with (
        pytest.raises(PermissionError, match="a file is open") as caught,
        open_staging(str(target), job=JOB),
    ):
        monkeypatch.setattr("shutil.rmtree", refuse_to_remove)
    assert "could not be removed" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    "root",
    [
        b"",
        b"\xff",
        b"[]",
        b'{"attributes": {"refspace": {"complete": true}}}',
        metadata(OTHER),
        metadata(JOB).replace(b"true", b"1"),
    ],
)
def test_a_root_that_does_not_say_complete(target, root):
    def commit():
        with open_staging(str(target), job=JOB) as staging:
            staging.commit(root)

    with pytest.raises(StoreError, match="must say complete: true, and the job's digest"):
        commit()
    assert names(target.parent) == []


@pytest.mark.parametrize("name", ["", "a/b", "a\\b", "ü", "a\n", "..\0"])
def test_names_of_records(target, name):
    with open_staging(str(target), job=JOB) as staging:
        with pytest.raises(StoreError, match="is no name for a record; use letters, digits"):
            staging.record(name, b"")
        for allowed in (".", "..", "job.json", "A-z_0.9", "job"):
            staging.record(allowed, allowed.encode())
        assert staging.recorded() == {
            allowed: allowed.encode() for allowed in (".", "..", "job.json", "A-z_0.9", "job")
        }


def test_a_file_that_was_not_written_is_not_recorded(target):
    with open_staging(str(target), job=JOB) as staging:
        with pytest.raises(FileNotFoundError, match="voxels"):
            staging.record("unit", b"", ["voxels"])
        assert staging.recorded() == {}


# ----- no space left


def full(*args, **kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("old", [True, False])
def test_no_space_in_the_block(target, old):
    if old:
        convert(target)
    left = "; the old store is untouched" if old else ""
    message = (
        rf"^no space left on /\S* \([\d,]+ bytes free\) for .*X\.zarr{left}; "
        "make room, or give another place"
    )
    with pytest.raises(WriteError, match=message) as caught:
        interrupt(target, error=OSError(errno.ENOSPC, "No space left"), overwrite=old)
    assert caught.value.errno == errno.ENOSPC
    assert isinstance(caught.value.__cause__, OSError)
    assert names(target.parent) == [".X.zarr.partial"] + ["X.zarr"] * old
    assert not old or tree(target) == expected()
    left_to_do = None if old else ["unit-2", "unit-3", "unit-4"]
    assert convert(target, resume=True, overwrite=old) == left_to_do


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError("gone"),
        RemoteError("gone"),
        ClusterError("gone"),
        JobError("failed", {"unit": "why"}),
    ],
)
@pytest.mark.parametrize("units", [0, 2])
def test_what_will_pass_keeps_what_is_recorded(target, bucket, error, units):
    for place in (str(target), bucket):
        with pytest.raises(type(error)) as caught:
            interrupt(place, error=error, units=units)
        if units:
            assert caught.value.__notes__[-1].endswith("continue it with the same command or call")
            assert convert(place, resume=True) == ["unit-2", "unit-3", "unit-4"]
    if not units:
        assert names(target.parent) == []
        assert objects(bucket) == {}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_device_that_is_full(target):
    def write():
        with open_staging(str(target), job=JOB), Path("/dev/full").open("wb", buffering=0) as file:
            file.write(b"voxels")

    with pytest.raises(WriteError, match="no space left"):
        write()
    assert names(target.parent) == []


@pytest.mark.promise(
    "a disk is full",
    "an error that names the path; what is done stays, the old store too",
)
@pytest.mark.parametrize("step", range(12))
@pytest.mark.parametrize("call", ["os.fsync", "pathlib.Path.mkdir", "pathlib.Path.write_bytes"])
def test_no_space_anywhere(target, monkeypatch, call, step):
    convert(target)
    steps = itertools.count()
    module, _, name = call.rpartition(".")
    place = os if module == "os" else Path
    before = getattr(place, name)

    def some(*args, **kwargs):
        return full() if next(steps) == step else before(*args, **kwargs)

    monkeypatch.setattr(place, name, some)
    errors = []
    try:
        convert(target, version=1, overwrite=True)
    except WriteError as error:
        errors.append((error.errno, str(error)))
    if next(steps) <= step or (name, step) == ("write_bytes", 0):
        # There are fewer such calls, or it was the one that notes who writes.
        assert not errors
    else:
        ((code, text),) = errors
        assert code == errno.ENOSPC
        assert "no space left" in text
        assert "the old store is untouched" in text
    assert tree(target) == expected(version=0 if errors else 1)
    # What is recorded is kept: with some room it is done.
    monkeypatch.undo()
    if convert(target, version=1, resume=True, overwrite=True) is not None:
        assert tree(target) == expected(version=1)
    assert names(target.parent) == ["X.zarr"]


# ----- interrupted, and resumed


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_run_is_kept_and_resumed(target, stop):
    with pytest.raises(stop) as caught:
        interrupt(target, error=stop)
    assert names(target.parent) == [".X.zarr.partial"]
    (note,) = caught.value.__notes__
    lies = rf"lies in {target.with_name('.X.zarr.partial')}"
    assert note == f"what is done {lies}; continue it with the same command or call"
    hint = f"an unfinished conversion {lies}; run it again with the same command or call"
    assert leftover_hint(str(target)) == hint
    with open_staging(str(target), job=JOB, resume=True) as staging:
        assert staging.recorded() == {n: payload(n) for n in ("unit-0", "unit-1")}
        assert tree(Path(staging.work, "s0")) == {"0": b"voxels", "1": b"voxels"}
        staging.commit(metadata(JOB))
    assert names(target.parent) == ["X.zarr"]
    assert leftover_hint(str(target)) is None


def ready(target, *, job=JOB, version=0):
    """Leave what a run leaves that is killed before its renames."""
    convert(target.with_name("Y.zarr"), job=job, version=version)
    target.with_name("Y.zarr").rename(target.with_name(".X.zarr.partial"))


def aside(target):
    """Leave what a run leaves that is killed between its renames."""
    convert(target, job=OTHER)
    target.rename(target.with_name(".X.zarr.old"))


def test_killed_before_the_only_rename(target):
    ready(target)
    assert "an unfinished conversion lies in" in leftover_hint(str(target))
    with pytest.raises(StoreError, match=UNFINISHED):
        convert(target)
    with pytest.raises(StoreError, match="is another job: what its job was cannot be read; cont"):
        convert(target, job=OTHER, resume=True)
    assert convert(target, version=1, resume=True) is None
    assert tree(target) == expected()
    ready(target)
    target.rename(target.with_name("Z.zarr"))
    assert len(convert(target, version=1, overwrite=True)) == 5
    assert tree(target) == expected(version=1)
    assert names(target.parent) == ["X.zarr", "Z.zarr"]


def test_killed_before_the_first_rename(target):
    convert(target, job=OTHER)
    ready(target)
    with pytest.raises(StoreError, match=EXISTS):
        convert(target, resume=True)
    assert tree(target) == expected(job=OTHER)
    assert convert(target, version=1, resume=True, overwrite=True) is None
    assert tree(target) == expected()
    assert names(target.parent) == ["X.zarr"]


@pytest.mark.parametrize("how", [{}, {"resume": True}])
def test_killed_between_the_renames(target, how):
    aside(target)
    ready(target)
    if how:
        assert convert(target, version=1, **how) is None
    else:
        with pytest.raises(StoreError, match=EXISTS):
            convert(target, version=1)
    assert tree(target) == expected()
    assert names(target.parent) == ["X.zarr"]


def test_an_old_store_without_a_new_one_is_moved_back(target):
    aside(target)
    with pytest.raises(StoreError, match=EXISTS):
        convert(target)
    assert tree(target) == expected(job=OTHER)
    assert names(target.parent) == ["X.zarr"]


@pytest.mark.parametrize("present", [True, False])
def test_the_remains_of_an_old_store_are_removed(target, present):
    aside(target)
    if present:
        convert(target.with_name("Y.zarr"))
        target.with_name("Y.zarr").rename(target)
        assert leftover_hint(str(target)) is None
    else:
        target.with_name(".X.zarr.old").joinpath("zarr.json").unlink()
    assert (convert(target, resume=True) is None) == present
    assert tree(target) == expected()
    assert names(target.parent) == ["X.zarr"]


@pytest.mark.parametrize("step", range(2))
def test_interrupted_at_a_rename(target, monkeypatch, step):
    convert(target, job=OTHER)
    steps = itertools.count()
    rename = Path.rename

    def stop(self, new):
        if next(steps) == step:
            raise KeyboardInterrupt
        return rename(self, new)

    monkeypatch.setattr(Path, "rename", stop)
    with pytest.raises(KeyboardInterrupt) as caught:
        convert(target, version=1, overwrite=True)
    monkeypatch.undo()
    if step == 0:
        assert "continue it with the same" in caught.value.__notes__[0]
        assert tree(target) == expected(job=OTHER)
    else:
        # Readers shall not miss it until somebody resumes.
        assert not hasattr(caught.value, "__notes__")
        assert tree(target) == expected(version=1)
        assert names(target.parent) == ["X.zarr"]
    assert convert(target, resume=True, overwrite=True) is None
    assert tree(target) == expected(version=1)
    assert names(target.parent) == ["X.zarr"]


def test_interrupted_after_the_commit(target, bucket):
    def commit(url):
        with open_staging(url, job=JOB) as staging:
            staging.commit(metadata(JOB))
            raise KeyboardInterrupt

    for url in (str(target), bucket):
        with pytest.raises(KeyboardInterrupt) as caught:
            commit(url)
        assert not hasattr(caught.value, "__notes__")
    assert names(target.parent) == ["X.zarr"]
    assert objects(bucket) == {"zarr.json": metadata(JOB)}


def test_an_old_store_as_a_reader_meets_it(target):
    assert leftover_hint(str(target)) is None
    convert(target)
    target.rename(target.with_name(".X.zarr.old"))
    assert leftover_hint(f"file://{target}") == (
        f"an interrupted conversion has moved the store to {target.with_name('.X.zarr.old')}; "
        "run it again with the same command or call"
    )


def test_an_unfinished_run_is_in_the_way_unless_discarded(target):
    with pytest.raises(KeyboardInterrupt):
        interrupt(target)
    with pytest.raises(StoreError, match=UNFINISHED):
        convert(target)
    assert names(target.parent) == [".X.zarr.partial"]
    assert len(convert(target, overwrite=True)) == 5
    assert tree(target) == expected()
    assert names(target.parent) == ["X.zarr"]


def test_another_job_is_not_resumed(target):
    with pytest.raises(KeyboardInterrupt):
        interrupt(target, job={**OTHER, "version": 1})
    message = (
        r"^the unfinished conversion in .*X\.zarr\.partial is another job: chunks is 2 there, "
        r"4 here, grid\.shape is \[8, 8, 9\] there, \[8, 8, 8\] here, version is 1 there, missing "
        r"here; continue it with what it was begun with, or discard it with --overwrite "
        r"\(Python: overwrite=True\)$"
    )
    with pytest.raises(StoreError, match=message):
        convert(target, resume=True)
    assert names(target.parent) == [".X.zarr.partial"]
    assert len(convert(target, resume=True, overwrite=True)) == 5
    assert is_complete(target)


@pytest.mark.parametrize("text", [b"", b"\xff", b"[1]", b"{", b"[" * 100_000])
def test_a_job_that_cannot_be_read(target, text):
    with pytest.raises(KeyboardInterrupt):
        interrupt(target)
    target.with_name(".X.zarr.partial").joinpath(".refspace/job.json").write_bytes(text)
    with pytest.raises(StoreError, match="is another job: what its job was cannot be read; cont"):
        convert(target, resume=True)
    assert names(target.parent) == [".X.zarr.partial"]


def test_long_values_of_another_job_are_cut(target):
    with pytest.raises(KeyboardInterrupt):
        interrupt(target, job={"ids": list(range(1000))})
    with pytest.raises(StoreError, match=r"ids is \[0, 1[^;]*… there, missing here;") as caught:
        convert(target, job={}, resume=True)
    assert len(str(caught.value)) < 400 + len(str(target))


def test_nothing_to_resume_starts_anew(target):
    assert len(convert(target, resume=True)) == 5
    assert tree(target) == expected()


def test_the_same_job_is_not_done_twice(target):
    convert(target)
    assert convert(target, version=1, resume=True) is None
    with open_staging(str(target), job=JOB, resume=True) as staging:
        assert staging.finished
        assert staging.work == str(target)
        with pytest.raises(StoreError, match="there is nothing to commit; the store is complete"):
            staging.commit(metadata(JOB))
    assert tree(target) == expected()
    with pytest.raises(StoreError, match=EXISTS):
        convert(target, job=OTHER, resume=True)
    assert len(convert(target, job=OTHER, resume=True, overwrite=True)) == 5
    assert tree(target) == expected(job=OTHER)
    assert names(target.parent) == ["X.zarr"]


def test_resuming_needs_leave_to_replace(target):
    convert(target, job=OTHER)
    with pytest.raises(KeyboardInterrupt):
        interrupt(target, overwrite=True)
    with pytest.raises(StoreError, match=EXISTS):
        convert(target, resume=True)
    with pytest.raises(KeyboardInterrupt):
        interrupt(target, resume=True, overwrite=True)
    assert convert(target, resume=True, overwrite=True) == ["unit-2", "unit-3", "unit-4"]
    assert names(target.parent) == ["X.zarr"]


def test_a_second_run_that_was_interrupted_is_dropped_where_the_job_is_done(target):
    convert(target)
    with pytest.raises(KeyboardInterrupt):
        interrupt(target, overwrite=True)
    assert convert(target, resume=True) is None
    assert names(target.parent) == ["X.zarr"]


def test_the_unfinished_run_of_another_job_stays_where_the_job_is_done(target):
    convert(target)
    with pytest.raises(KeyboardInterrupt):
        interrupt(target, job=OTHER, overwrite=True)
    assert convert(target, resume=True) is None
    assert names(target.parent) == [".X.zarr.partial", "X.zarr"]


@pytest.mark.promise("what a stopped conversion recorded is damaged or lost", "it is done again")
def test_damaged_and_foreign_records_are_passed_over(target):
    with pytest.raises(KeyboardInterrupt):
        interrupt(target, units=5)
    journal = target.with_name(".X.zarr.partial") / ".refspace"
    record = (journal / "unit-0.record").read_bytes()
    (journal / "unit-1.record").write_bytes(record)
    (journal / "unit-2.record").write_bytes(b"")
    (journal / "unit-3.record").write_bytes(record[:-1])
    (journal / "foreign.record").write_bytes(b"x" * 100)
    (journal / ".unit-0.0123abcd.partial.record").write_bytes(record)
    (journal / "notes.txt").write_bytes(b"x")
    assert convert(target, resume=True) == ["unit-1", "unit-2", "unit-3"]
    assert names(target.parent) == ["X.zarr"]


# ----- on the disk before it is said


def test_what_is_recorded_is_on_the_disk_before(target, monkeypatch):
    inodes = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: inodes.append(os.fstat(descriptor).st_ino))
    with open_staging(str(target), job=JOB) as staging:
        work = Path(staging.work)
        inodes.clear()
        Sink(str(work)).write("s0/c/0/1", b"voxels")
        staging.record("unit", b"payload", ["s0/c/0/1"])
        journal = work / ".refspace"
        paths = ["s0/c/0/1", "s0/c/0", "s0/c", "s0", "."]
        synced = [(work / path).stat().st_ino for path in paths]
        assert inodes[0] == synced[0]
        assert set(inodes[:-2]) == set(synced)
        assert inodes[-2:] == [p.stat().st_ino for p in (journal / "unit.record", journal)]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_what_is_renamed_is_on_the_disk_before(target, monkeypatch):
    convert(target)
    synced, renamed = {}, []
    rename = Path.rename

    def sync(descriptor):
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        synced[path] = names(path) if path.is_dir() else path.read_bytes()

    def check(self, new):
        if self.name == ".X.zarr.partial":
            for path in self.rglob("*"):
                assert path.is_dir() or synced[path] == path.read_bytes()
            folders = [self, *(path for path in self.rglob("*") if path.is_dir())]
            assert [synced[path] for path in folders] == [names(path) for path in folders]
            assert names(self) == ["s0", "zarr.json"]
            synced.clear()
        renamed.append(self.name)
        return rename(self, new)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "rename", check)
    convert(target, version=1, overwrite=True)
    assert renamed == ["X.zarr", ".X.zarr.partial"]
    assert synced == {target.parent: [".X.zarr.lock", ".X.zarr.lock.json", ".X.zarr.old", "X.zarr"]}


# ----- one writer at a time


@pytest.mark.promise(
    "two writers want the same store or table",
    "the second is told who writes; both never succeed",
)
def test_a_second_thread_is_refused_at_once(target):
    message = (
        rf"^{target} is being written by process {os.getpid()} on \S+, since \d{{4}}-\d\d-\d\dT"
        r"\d\d:\d\d:\d\d\+00:00; wait until that has ended, or end it$"
    )
    with ThreadPoolExecutor(1) as pool, open_staging(str(target), job=JOB):
        for how in ({}, {"resume": True}, {"overwrite": True}):
            with pytest.raises(LockedError, match=message):
                pool.submit(convert, target, **how).result(timeout=10)
            with pytest.raises(LockedError, match=message):
                convert(target, **how)
        target.with_name(".X.zarr.lock.json").write_bytes(b"{")
        with pytest.raises(LockedError, match="is being written by another process; wait"):
            convert(target)
        target.with_name(".X.zarr.lock.json").unlink()
        with pytest.raises(LockedError, match="is being written by another process; wait"):
            convert(target)
        assert names(target.parent) == [".X.zarr.lock", ".X.zarr.partial"]
    assert names(target.parent) == []


def test_threads_take_turns(target):
    inside, most, times = [], [], []

    def attempt(_):
        try:
            with open_staging(str(target), job=JOB):
                inside.append(1)
                most.append(len(inside))
                times.append(1)
                inside.pop()
        except LockedError:
            time.sleep(0.001)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(attempt, range(100)))
    assert max(most) == 1
    assert times
    assert names(target.parent) == []


# ----- killed (in processes of their own: see `main`)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What became of the writers of every scenario."""
    if not hasattr(os, "fork"):
        pytest.skip("needs fork and kill")
    command = [sys.executable, __file__, tmp_path_factory.mktemp("killed")]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=200)
    return json.loads(run.stdout)


@pytest.mark.promise(
    "a writer is killed at any step",
    "a store is whole or absent; the same command ends with the same bytes",
)
@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["new", "replace", "remote"])
def test_killed_at_every_step(outcomes, scenario):
    outcome = outcomes[scenario]
    assert isinstance(outcome, dict), outcome
    assert outcome["steps"] > 30
    # Runs that were killed late had something to spare the ones that resumed them.
    assert outcome["spared"] > outcome["steps"] / 2
    if scenario == "replace":
        assert 1 <= outcome["missing"] <= 3


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["random", "turns", "second"])
def test_several_processes(outcomes, scenario):
    assert outcomes[scenario] == "well"


STEPS = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "open")


def die_before(step):
    """Kill this process before it changes the disk for the nth time."""
    steps = itertools.count()

    def watch(event, args):
        writes = event != "open" or (args[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if event in STEPS and writes and next(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def child(step, *args, **kwargs):
    """Convert in a process that is killed at a step. Whether it was."""
    if (pid := os.fork()) == 0:
        die_before(step)
        try:
            convert(*args, **kwargs)
            os._exit(0)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def records(folder):
    """Names of the records of a run that can be resumed."""
    if not (folder / ".refspace" / "job.json").exists():
        return set()
    return {p.name.removesuffix(".record") for p in folder.glob(".refspace/unit*.record")}


def kill_at_every_step(folder, *, replace):
    outcome = {"steps": 0, "spared": 0, "missing": 0}
    old = folder / "old.zarr"
    convert(old, job=OTHER, units=2)
    for step in itertools.count():
        # The second death is that of a run that resumes, or discards, what the first has left.
        for second, how in ((10**9, "resume"), (step % 23, ("resume", "overwrite")[step % 2])):
            target = folder / f"{step}-{second}-{how}" / "X.zarr"
            target.parent.mkdir()
            if replace:
                shutil.copytree(old, target)
            if not child(step, target, version=1, units=2, overwrite=replace):
                return outcome
            check_reader(target, outcome, replace=replace)
            leave = {"overwrite": replace or how == "overwrite"}
            child(second, target, version=1, units=2, resume=how == "resume", **leave)
            check_reader(target, outcome, replace=replace)
            unfinished = target.with_name(".X.zarr.partial")
            recorded, committing = records(unfinished), (unfinished / "zarr.json").exists()
            redone = convert(target, version=1, units=2, resume=True, **leave)
            assert not (committing and redone)
            assert recorded.isdisjoint(redone or [])
            assert tree(target) == expected(version=1, units=2)
            assert names(target.parent) == ["X.zarr"]
            outcome["steps"] += second == 10**9
            outcome["spared"] += 2 - len(redone or [])


def check_reader(target, outcome, *, replace):
    """Old, or new, or none and a hint where it is; never a part."""
    if (aside := target.with_name(".X.zarr.old")).joinpath("zarr.json").exists():
        assert tree(aside) == expected(job=OTHER, units=2)
    if target.exists():
        old = expected(job=OTHER, units=2) if replace else None
        assert tree(target) in (old, expected(version=1, units=2))
    elif replace:
        outcome["missing"] += 1
        assert "lies in" in leftover_hint(str(target))


def kill_remote_at_every_step(folder):
    """The same where there are no renames, and the dead process is known by its number."""
    outcome = {"steps": 0, "spared": 0}
    options = {"path": str(folder), "target_protocol": "file"}
    for step in itertools.count():
        for old in (False, True):
            url = f"dir://{step}-{old}/X.zarr"
            (folder / f"{step}-{old}").mkdir()
            if old:
                convert(url, job=OTHER, units=2, options=options)
            if not child(step, url, version=1, units=2, options=options, overwrite=old) and old:
                return outcome
            sink = Sink(url, options)
            whole = expected(job=OTHER, units=2) if old else {}
            found = sink.tree()
            if found.get("zarr.json") == metadata(JOB, 1):
                assert expected(version=1, units=2).items() <= found.items()
            elif "zarr.json" in found:
                assert whole.items() <= found.items()
            recorded = records(folder / f"{step}-{old}" / "X.zarr")
            redone = convert(url, version=1, units=2, options=options, resume=True, overwrite=old)
            assert recorded.isdisjoint(redone or [])
            assert sink.tree() == expected(version=1, units=2)
            outcome["steps"] += 1
            outcome["spared"] += 2 - len(redone or [])


def kill_at_random_times(folder):
    clock = random.Random(20171109)
    for turn in range(5):
        target = folder / str(turn) / "X.zarr"
        partial = target.with_name(".X.zarr.partial")
        target.parent.mkdir()
        if (pid := os.fork()) == 0:
            convert(target, units=40, pause=0.005, threads=4)
            os._exit(0)
        while len(records(partial)) < turn * 7:
            time.sleep(0.001)
        time.sleep(clock.uniform(0, 0.01))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        recorded = records(partial)
        assert turn * 7 <= len(recorded) < 40
        redone = convert(target, units=40, resume=True, threads=4)
        assert sorted([*recorded, *redone]) == sorted(f"unit-{unit}" for unit in range(40))
        assert tree(target) == expected(units=40)
        assert names(target.parent) == ["X.zarr"]
    return "well"


def take_turns(folder):
    """Processes that try to write, while none may find another one writing."""

    def attempts():
        until, turns = time.monotonic() + 0.5, 0
        while time.monotonic() < until or not turns:
            try:
                with open_staging(str(folder / "X.zarr"), job=JOB):
                    (folder / "inside").touch(exist_ok=False)
                    (folder / "inside").unlink()
                    turns += 1
            except LockedError:
                time.sleep(0.0005)

    for _ in range(4):
        if os.fork() == 0:
            try:
                attempts()
                os._exit(0)
            except BaseException:
                os._exit(1)
    assert [os.wait()[1] for _ in range(4)] == [0] * 4
    assert names(folder) == []
    return "well"


def refuse_a_second(folder):
    """A process is refused while another one writes, until that is killed."""
    target = folder / "X.zarr"
    if (pid := os.fork()) == 0:
        with open_staging(str(target), job=JOB):
            time.sleep(60)
    while not target.with_name(".X.zarr.partial").exists():
        time.sleep(0.001)
    with pytest.raises(LockedError, match=rf"X\.zarr is being written by process {pid} on "):
        convert(target)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert names(folder) == [".X.zarr.lock", ".X.zarr.lock.json", ".X.zarr.partial"]
    assert len(convert(target, overwrite=True)) == 5
    assert names(folder) == ["X.zarr"]
    return "well"


def main(folder):
    """Writers that are killed; forked, since starting an interpreter takes too long."""
    os.fsync = lambda descriptor: None  # nobody cuts the power
    scenarios = {
        "new": partial(kill_at_every_step, replace=False),
        "replace": partial(kill_at_every_step, replace=True),
        "remote": kill_remote_at_every_step,
        "random": kill_at_random_times,
        "turns": take_turns,
        "second": refuse_a_second,
    }
    outcomes = {}
    for name, scenario in scenarios.items():
        (folder / name).mkdir()
        try:
            outcomes[name] = scenario(folder / name)
        except Exception:
            outcomes[name] = traceback.format_exc()
    sys.stdout.write(json.dumps(outcomes))


# ----- other file systems


def test_remote_a_store_appears_with_its_root(bucket):
    with open_staging(bucket + "/", job=JOB) as staging:
        assert staging.work == bucket
        journal = ["holder.json", "job.json"]
        assert sorted(objects(bucket)) == [f".refspace/{name}" for name in journal]
        Sink(staging.work).write("s0/voxels", b"997")
        staging.record("unit", b"payload", ["s0/voxels"])
        assert ".refspace/unit.record" in objects(bucket)
        assert staging.recorded() == {"unit": b"payload"}
        staging.commit(metadata(JOB))
    assert objects(bucket) == {"s0/voxels": b"997", "zarr.json": metadata(JOB)}
    with pytest.raises(StoreError, match=EXISTS):
        convert(bucket)
    assert convert(bucket, resume=True) is None
    assert len(convert(bucket, overwrite=True)) == 5
    assert objects(bucket) == expected()


def test_remote_refusals(bucket):
    prefix = bucket.removesuffix("/X.zarr")
    Sink(bucket).write("thesis/page", b"1")
    for url in (bucket, prefix):
        with pytest.raises(StoreError, match="is no zarr store: it is never overwritten; give"):
            convert(url, overwrite=True)
    with pytest.raises(StoreError, match="page is a file; give the name of a folder"):
        convert(f"{bucket}/thesis/page", overwrite=True)
    assert objects(bucket) == {"thesis/page": b"1"}
    Sink(bucket).write(".zgroup", b"{}")
    with pytest.raises(StoreError, match=EXISTS):
        convert(bucket)
    assert len(convert(bucket, overwrite=True)) == 5
    assert objects(bucket) == expected()


@pytest.mark.parametrize("commit", [True, False])
def test_remote_failures_leave_nothing(bucket, commit):
    if commit:
        with pytest.raises(ValueError, match="fire"):
            interrupt(bucket, error=ValueError("fire"))
    else:
        with open_staging(bucket, job=JOB) as staging:
            Sink(staging.work).write("s0/voxels", b"997")
    assert objects(bucket) == {}
    with pytest.raises(WriteError, match=rf"^no space left for {bucket}; make room, or") as caught:
        interrupt(bucket, error=OSError(errno.EDQUOT, "Quota exceeded"))
    assert caught.value.errno == errno.EDQUOT
    assert convert(bucket, resume=True) == ["unit-2", "unit-3", "unit-4"]


def test_remote_an_interrupted_run_is_resumed(bucket):
    assert leftover_hint(bucket) is None
    with pytest.raises(KeyboardInterrupt) as caught:
        interrupt(bucket)
    (note,) = caught.value.__notes__
    assert note.startswith(f"what is done lies in {bucket}; continue it with the same")
    assert leftover_hint(bucket) == (
        f"an unfinished conversion lies in {bucket}; run it again with the same command or call"
    )
    with pytest.raises(StoreError, match=UNFINISHED):
        convert(bucket)
    with pytest.raises(StoreError, match="is another job: chunks is 4 there, 2 here, grid"):
        convert(bucket, job=OTHER, resume=True)
    with pytest.raises(KeyboardInterrupt):
        interrupt(bucket, resume=True)
    assert convert(bucket, resume=True) == ["unit-2", "unit-3", "unit-4"]
    assert "s0/template/c/2/2" in objects(bucket)
    assert not any(key.startswith(".refspace") for key in objects(bucket))
    assert leftover_hint(bucket) is None


@pytest.mark.promise("two writers want the same store or table")
def test_remote_a_second_writer_is_refused(bucket):
    message = (
        rf"^{bucket} is being written by process {os.getpid()} on \S+, since \S+; wait until that "
        rf"has ended, or end it; if that process is gone, remove {bucket}/.refspace/holder.json "
        "and try again$"
    )
    with open_staging(bucket, job=JOB):
        for how in ({}, {"resume": True}, {"overwrite": True}):
            with pytest.raises(LockedError, match=message):
                convert(bucket, **how)
    assert objects(bucket) == {}


@pytest.mark.skipif(os.name == "nt", reason="there signal 0 ends a process")
@pytest.mark.parametrize("holder", ["dead", "elsewhere", "damaged", "odd"])
def test_remote_who_holds_a_store(bucket, holder):
    with open_staging(bucket, job=JOB):
        who = json.loads(objects(bucket)[".refspace/holder.json"])
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    who["pid"] = 10**30 if holder == "odd" else gone.pid
    who["host"] += "-2" if holder == "elsewhere" else ""
    text = b"{" if holder == "damaged" else json.dumps(who).encode()
    Sink(bucket).write(".refspace/holder.json", text)
    if holder == "dead":
        assert len(convert(bucket)) == 5
        assert objects(bucket) == expected()
    else:
        with pytest.raises(LockedError, match="if that process is gone, remove memory://"):
            convert(bucket, resume=True)
        assert objects(bucket) == {".refspace/holder.json": text}


def overtaking(monkeypatch, bucket, *, conditional):
    """Have another writer's object replace the one that names a writer, once it is written."""
    fs = type(Sink(bucket).fs)
    pipe, overtaken = fs.pipe_file, []

    def write(self, path, value, mode="overwrite"):
        pipe(self, path, value, mode=mode if conditional else "overwrite")
        if path.endswith("holder.json") and (conditional or mode == "overwrite") and not overtaken:
            overtaken.append(path)
            pipe(self, path, value.replace(b'"token": "', b'"token": "other'))

    monkeypatch.setattr(fs, "pipe_file", write)


@pytest.mark.parametrize("conditional", [True, False])
def test_remote_of_two_that_come_together_the_last_one_writes(bucket, monkeypatch, conditional):
    overtaking(monkeypatch, bucket, conditional=conditional)
    with pytest.raises(LockedError, match="is being written by process"):
        convert(bucket)
    # It is the other's now.
    assert list(objects(bucket)) == [".refspace/holder.json"]


def test_remote_a_lock_that_is_lost(bucket):
    """What another writer has begun is left alone."""
    lock = f"{bucket}/.refspace/holder.json"

    def lose(owner):
        with open_staging(bucket, job=JOB) as staging:
            staging.lease.write("s0/voxels", b"997")
            sink = Sink(bucket)
            sink.fs.rm(lock)
            if owner:
                Sink(bucket).write(".refspace/holder.json", owner)
            staging.commit(metadata(JOB))

    with pytest.raises(LockedError, match=rf"{lock} was removed while this process was writing"):
        lose(None)
    left = {".refspace/job.json", "s0/voxels"}
    assert set(objects(bucket)) == left
    with pytest.raises(StoreError, match=UNFINISHED):
        convert(bucket)
    assert len(convert(bucket, overwrite=True)) == 5
    Sink(bucket).fs.rm(bucket, recursive=True)
    with pytest.raises(LockedError, match=r"is being written by another process; wait until"):
        lose(b"another writer")
    assert set(objects(bucket)) == {*left, ".refspace/holder.json"}


def test_remote_objects_that_are_lost_while_a_store_is_written(bucket):
    def lose():
        with open_staging(bucket, job=JOB) as staging:
            for number in range(3):
                staging.lease.write(f"s0/{number}", b"voxels")
            Sink(bucket).fs.rm([f"{bucket}/s0/0", f"{bucket}/s0/2"])
            staging.complete({"zarr.json": metadata(JOB)}, [f"s0/{n}" for n in range(3)])

    with pytest.raises(StoreError, match=r"has lost 2 of its objects .*, like s0/0; see who else"):
        lose()
    assert objects(bucket) == {}


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (FileExistsError("there"), False),
        (ValueError("no such mode"), None),
        (ConnectionResetError("gone"), ConnectionResetError),
    ],
)
def test_objects_on_condition(bucket, monkeypatch, error, outcome):
    location = Location(bucket)
    assert location.create("a/b", b"1") is True
    assert location.create("a/b", b"2") is False
    # As by an attempt whose answer was lost.
    assert location.create("a/b", b"1") is True
    assert location.read("a/b") == b"1"
    location.remove("a/b")
    location.remove("a/b")
    assert location.read("a/b") is None

    def fail(self, path, value, **kwargs):
        raise error

    monkeypatch.setattr(type(Sink(bucket).fs), "pipe_file", fail)
    monkeypatch.setattr("refspace.remote.retry.POLICY", Retry(attempts=2, delay=0))
    if isinstance(outcome, type):
        with pytest.raises(outcome):
            location.create("a/c", b"1")
    else:
        assert location.create("a/c", b"1") is outcome


def test_remote_places_that_cannot_be_written(bucket, monkeypatch):
    def refuse(self, path, value, **kwargs):
        raise NotImplementedError("read only")

    monkeypatch.setattr(type(Sink(bucket).fs), "pipe_file", refuse)
    message = rf"^{bucket} cannot be written to: NotImplementedError: read only; give a folder, or"
    with pytest.raises(StoreError, match=message):
        convert(bucket)
    monkeypatch.setattr(type(Sink(bucket).fs), "pipe_file", full)
    with pytest.raises(WriteError, match="no space left"):
        convert(bucket)


if __name__ == "__main__":
    main(Path(sys.argv[1]))


def test_names_with_brackets_and_stars_are_no_patterns():
    """What is removed is of this store, not of others whose names the pattern would fit."""
    space = refspace.phantom(resolution=400)
    for name in ("a1.zarr", "a[1].zarr", "a*.zarr"):
        space.to_zarr(f"memory://patterns/{name}", chunks=32)
    space.to_zarr("memory://patterns/a*.zarr", chunks=32, overwrite=True)
    space.to_zarr("memory://patterns/a[1].zarr", chunks=16, overwrite=True)
    for name in ("a1.zarr", "a[1].zarr", "a*.zarr"):
        assert verify_store(f"memory://patterns/{name}").faults == ()
        keys = Location(f"memory://patterns/{name}").keys()
        assert not [key for key in keys if key.startswith(JOURNAL)]


@pytest.mark.promise("a record is of another job", "it is passed over")
def test_records_of_another_job_are_none():
    """The same names and payloads, but of another source."""
    record = checksummed("job of one", "s0-annotation-0", b"records")
    assert verified_payload("job of one", "s0-annotation-0", record) == b"records"
    assert verified_payload("job of another", "s0-annotation-0", record) is None
    assert verified_payload("job of one", "s0-annotation-1", record) is None
