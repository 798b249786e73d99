"""Stamps of objects: whatever tells one version of an object from another."""

import time
from pathlib import Path

import fsspec
import pytest
from helpers.serving import Fault, Server

from refspace.errors import RemoteError
from refspace.remote import retry, stamps
from refspace.remote.stamps import (
    file_stamp,
    folder_stamps,
    listed_stamps,
    object_stamp,
    object_stamps,
)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(retry, "POLICY", retry.Retry(2, 0.01))


def test_two_changes_of_a_file_in_one_moment(tmp_path):
    path = tmp_path / "a"
    found = set()
    for number in range(9):
        path.write_bytes(bytes([number]))
        found.add(file_stamp(path))
    assert len(found) == 9


def test_times_without_fractions(tmp_path, monkeypatch):
    """File systems that count in seconds, and clocks that are ahead."""
    path, slept = tmp_path / "a", []
    path.write_bytes(b"1")
    status = path.stat()

    class Coarse:
        st_size = 1
        st_mtime_ns = st_ctime_ns = status.st_mtime_ns // 10**9 * 10**9

    monkeypatch.setattr(time, "sleep", slept.append)
    now = Coarse.st_ctime_ns + 10**9
    monkeypatch.setattr(time, "time_ns", lambda: now)
    assert stamps._until_settled(Coarse) == 10**9
    monkeypatch.setattr(time, "time_ns", lambda: now - 2 * 10**9)
    assert stamps._until_settled(Coarse) == 0


def test_hidden_files_are_left_out(tmp_path):
    for name in ("0/0", "0/.DS_Store", ".git/config", "zarr.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"1")
    assert folder_stamps(tmp_path).keys() == {"0/0", "zarr.json"}
    assert listed_stamps(f"local://{tmp_path}").keys() == {"0/0", "zarr.json"}
    assert folder_stamps(tmp_path / "none") == {}


def test_web_servers():
    files = {"a/0": b"1", "a/1": b"2"}
    with Server(files) as server:
        assert listed_stamps(server.url, "a") is None
        found = object_stamps(server.url, ["a/0", "a/1", "a/2"])
        assert found.keys() == {"a/0", "a/1"}
        assert all(found.values())
        assert {request.method for request in server.requests} <= {"HEAD", "GET"}
        # Each is asked for again, whatever was answered before.
        files["a/0"] = b"3"
        assert object_stamp(server.url, "a/0") != found["a/0"]
        assert object_stamp(f"{server.url}/a/1") == found["a/1"]
        server.faults = lambda request: Fault(status=503)
        with pytest.raises(RemoteError, match="a/0 cannot be reached: HTTP status 503"):
            object_stamps(server.url, ["a/0"])
    # A server that is gone has not lost its objects.
    with pytest.raises(RemoteError, match="a/0 cannot be reached"):
        object_stamps(server.url, ["a/0"])


class Unlisted:
    """A file system that lists nothing."""

    error: Exception = PermissionError("no right")

    def invalidate_cache(self):
        pass

    def find(self, path, detail):
        raise self.error

    def info(self, path):
        raise self.error


def test_what_cannot_be_listed(monkeypatch):
    monkeypatch.setattr(stamps, "file_system", lambda url, options: (Unlisted(), "bucket"))
    assert listed_stamps("s3://bucket") is None
    Unlisted.error = ValueError("broken")
    with pytest.raises(RemoteError, match="cannot be listed: ValueError: broken"):
        listed_stamps("s3://bucket")
    with pytest.raises(RemoteError, match="cannot be reached: ValueError: broken"):
        object_stamp("s3://bucket", "a")


def test_memory():
    fs = fsspec.filesystem("memory")
    fs.pipe("/stamps/a/0", b"1")
    before = listed_stamps("memory://stamps", "a")
    fs.pipe("/stamps/a/0", b"2")
    after = listed_stamps("memory://stamps", "a")
    assert before.keys() == after.keys() == {"0"}
    assert before != after
    with pytest.raises(FileNotFoundError, match="memory://stamps/b does not exist"):
        object_stamp("memory://stamps", "b")


@pytest.mark.s3
def test_buckets(s3):
    fs = fsspec.filesystem("s3", **s3.writer)
    for key in ("0", "1/2"):
        fs.pipe(f"atlases/stamps/a/{key}", b"1")
    found = [listed_stamps("s3://atlases/stamps", "a", s3.writer, e) for e in ("fsspec", "obstore")]
    assert found[0].keys() == found[1].keys() == {"0", "1/2"}
    assert all([*found[0].values(), *found[1].values()])
    assert listed_stamps("s3://atlases/stamps/a", "", s3.writer, "obstore") == found[1]
    # Who may read and not list asks for each object.
    assert listed_stamps("s3://atlases/stamps", "a", s3.reader) is None
    for engine in ("fsspec", "obstore"):
        keys = ["a/0", "a/1/2", "a/3"]
        assert object_stamps("s3://atlases/stamps", keys, s3.writer, engine).keys() == {*keys[:2]}


def test_files_that_are_gone(tmp_path):
    with pytest.raises(FileNotFoundError):
        file_stamp(Path(tmp_path, "none"))
