"""Downloads that meet every fault end as the right file, or as one clear error."""

import errno
import hashlib
import io
import json
import logging
import os
import random
import shutil
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass

import pytest
from helpers.files import names
from helpers.profiles import examples
from helpers.serving import HTML, NO_RANGES, RESET, Fault, Server
from hypothesis import given
from hypothesis import strategies as st

from refspace.errors import RemoteError, WriteError
from refspace.limits import set_limits
from refspace.remote import download as module
from refspace.remote import http_responses, intake, partial, retry
from refspace.remote.download import Record, download, read_record

CONTENT = random.Random(0).randbytes(300_000)
OTHER = random.Random(1).randbytes(300_000)
NAME = "annotation_25.nrrd"


@dataclass(frozen=True)
class Room:
    """What `shutil.disk_usage` says."""

    free: int


def digest(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    """Not to wait, neither between attempts nor for the disk; small pieces."""
    monkeypatch.setattr(retry, "POLICY", retry.Retry(delay=0, longest=0))
    monkeypatch.setattr(os, "fsync", lambda file: None)
    monkeypatch.setattr(module, "_PIECE_BYTES", 10_000)
    monkeypatch.setattr(partial, "_SYNC_BYTES", 20_000)
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def server():
    with Server({NAME: CONTENT}) as server:
        yield server


def url_of(server):
    return f"{server.url}/{NAME}"


def ranges(server):
    return [request.range for request in server.requests]


def interrupted(server, target, count, **how):
    """Leave the first bytes of a file, as an interrupted process does."""

    def stop(name, done, total):
        if done >= count:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(url_of(server), target, progress=stop, **how)
    server.requests.clear()
    return target.with_name(f".{target.name}.part").stat().st_size


# ----- a good server


def test_a_file_comes_once(server, tmp_path):
    target = tmp_path / "new" / "folder" / NAME
    calls = []
    record = download(url_of(server), target, progress=lambda *call: calls.append(call))
    assert target.read_bytes() == CONTENT
    assert names(target.parent) == [f".{NAME}.json", NAME]
    assert record.url == url_of(server)
    assert (record.sha256, record.bytes) == (digest(CONTENT), len(CONTENT))
    assert record.etag
    assert record.time.endswith("+00:00")
    assert calls[-1] == (NAME, len(CONTENT), len(CONTENT))
    assert [done for _, done, _ in calls] == sorted(done for _, done, _ in calls)
    server.stop()
    assert download(url_of(server), str(target)) == record == read_record(target)
    assert server.paths() == [f"/{NAME}"]
    headers = server.requests[0].headers
    assert headers["Accept-Encoding"] == "identity"
    assert headers["User-Agent"].startswith("refspace/")


@pytest.mark.parametrize("content", [b"", b"1"])
def test_small_files(tmp_path, content):
    with Server({"a": content}) as server:
        assert download(f"{server.url}/a", tmp_path / "a").bytes == len(content)
    assert (tmp_path / "a").read_bytes() == content


def untrusted(target, content=CONTENT, **fields):
    """Put a file there, with a record or without."""
    target.write_bytes(content)
    if fields:
        record = {"sha256": digest(CONTENT), "bytes": len(CONTENT), "etag": None, "time": ""}
        target.with_name(f".{NAME}.json").write_text(json.dumps(record | fields))


@pytest.mark.promise("a download in the cache is damaged")
def test_a_file_that_is_not_what_its_record_says_is_not_trusted(server, tmp_path):
    target = tmp_path / NAME
    for fields in ({}, {"url": "http://other/"}, {"url": url_of(server), "bytes": 5}):
        untrusted(target, OTHER, **fields)
        download(url_of(server), target)
        assert target.read_bytes() == CONTENT
    for text in ("", "[]", "{}", "null", '{"url": 1}'):
        target.write_bytes(OTHER)
        target.with_name(f".{NAME}.json").write_text(text)
        download(url_of(server), target)
        assert target.read_bytes() == CONTENT
    assert len(server.requests) == 8


def test_a_short_file_is_not_trusted(server, tmp_path):
    target = tmp_path / NAME
    download(url_of(server), target)
    target.write_bytes(CONTENT[:-1])
    assert read_record(target) is None
    download(url_of(server), target)
    assert target.read_bytes() == CONTENT


def test_a_file_put_there_by_hand_is_taken_for_its_digest(server, tmp_path):
    target = tmp_path / NAME
    target.write_bytes(CONTENT)
    server.stop()
    record = download(url_of(server), target, sha256=digest(CONTENT).upper())
    assert record == read_record(target)
    target.write_bytes(OTHER)
    target.with_name(f".{NAME}.json").unlink()
    with pytest.raises(RemoteError, match=f"put the file with sha256 .* at {tmp_path}"):
        download(url_of(server), target, sha256=digest(CONTENT))
    assert target.read_bytes() == OTHER


def test_a_known_digest_tells_files_whatever_their_url(server, tmp_path):
    target = tmp_path / NAME
    first = download(url_of(server), target, sha256=digest(CONTENT))
    assert download("https://host.invalid/a", target, sha256=digest(CONTENT)) == first
    with pytest.raises(RemoteError, match=r"host\.invalid cannot be reached"):
        download("https://host.invalid/a", target)


def test_refresh(server, tmp_path):
    target = tmp_path / NAME
    download(url_of(server), target)
    server.files = {NAME: OTHER}
    download(url_of(server), target)
    assert target.read_bytes() == CONTENT
    download(url_of(server), target, refresh=True)
    assert target.read_bytes() == OTHER
    download(url_of(server), target, refresh=True, sha256=digest(OTHER))
    assert len(server.requests) == 2
    server.stop()
    with pytest.raises(RemoteError):
        download(url_of(server), target, refresh=True)
    assert target.read_bytes() == OTHER
    assert read_record(target)


def test_sizes_that_are_known(server, tmp_path):
    with pytest.raises(RemoteError, match=r"has 300000 bytes, not 5; it is another file"):
        download(url_of(server), tmp_path / NAME, nbytes=5)
    assert names(tmp_path) == []
    download(url_of(server), tmp_path / NAME, nbytes=len(CONTENT))
    server.stop()
    download(url_of(server), tmp_path / NAME, nbytes=len(CONTENT))
    with pytest.raises(RemoteError, match="cannot be reached"):
        download(url_of(server), tmp_path / NAME, nbytes=5)


@pytest.mark.promise(
    "a password or key is in a URL or in options",
    "it is in no error, record or repr",
)
@pytest.mark.parametrize("user", ["user:secret", "user", ":secret", ""])
def test_passwords_are_kept_nowhere(server, tmp_path, user):
    url = url_of(server).replace("//", f"//{user}@")
    with pytest.raises(RemoteError, match="holds a user's name or password") as caught:
        download(url, tmp_path / NAME)
    assert "secret" not in str(caught.value)
    assert names(tmp_path) == []


def test_an_interruption_says_that_it_goes_on(server, tmp_path):
    def interrupt(name, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        download(url_of(server), tmp_path / NAME, progress=interrupt)
    assert caught.value.__notes__ == [f"what came of {NAME} is kept; asked again, it goes on"]
    assert download(url_of(server), tmp_path / NAME).bytes == len(CONTENT)


def test_a_check_that_fails_keeps_nothing(server, tmp_path):
    def check(path):
        assert path.read_bytes() == CONTENT
        raise ValueError("no ontology")

    with pytest.raises(ValueError, match="no ontology"):
        download(url_of(server), tmp_path / NAME, check=check)
    assert names(tmp_path) == []


# ----- faults that pass


@pytest.mark.parametrize(
    "faults",
    [
        [Fault(status=status, headers={"Retry-After": "0"})]
        for status in (408, 425, 429, 500, 502, 503, 504)
    ]
    + [
        [RESET],
        [Fault(truncate=0)],
        [Fault(truncate=123_456)],
        [Fault(truncate=123_456, reset=True)],
        [Fault(truncate=1), Fault(truncate=1), Fault(status=503), RESET, Fault(truncate=9)],
        [Fault(truncate=50_000, headers={"ETag": None})],
        [Fault(truncate=50_000, headers={"ETag": 'W/"weak"'})],
    ],
)
@pytest.mark.parametrize("known", [True, False])
def test_faults_that_pass(server, tmp_path, faults, known):
    server.faults = faults
    download(url_of(server), tmp_path / NAME, sha256=digest(CONTENT) if known else None)
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert len(server.requests) == len(faults) + 1
    assert names(tmp_path) == [f".{NAME}.json", NAME]


def test_progress_resets_the_count_of_failures(server, tmp_path):
    server.faults = lambda request: Fault(truncate=20_000)
    download(url_of(server), tmp_path / NAME)
    assert len(server.requests) == 15
    assert ranges(server) == [None, *(f"bytes={n}-" for n in range(20_000, 300_000, 20_000))]
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_a_server_that_never_gets_further_is_given_up(server, tmp_path):
    server.faults = lambda request: Fault(truncate=50_000, ranges=False)
    with pytest.raises(RemoteError, match="the connection ended after 50000 of 300000 bytes, 5 t"):
        download(url_of(server), tmp_path / NAME)
    assert len(server.requests) == 5
    server.faults = ()
    server.requests.clear()
    download(url_of(server), tmp_path / NAME)
    assert ranges(server) == ["bytes=50000-"]
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_what_a_server_asks_to_wait_is_waited(server, tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr(retry.time, "sleep", waits.append)
    monkeypatch.setattr(retry, "POLICY", retry.Retry(delay=0, longest=30))
    server.faults = [Fault(status=429, headers={"Retry-After": "7"})]
    download(url_of(server), tmp_path / NAME)
    assert waits.count(7.0) == 1


def test_a_server_without_ranges_begins_again(server, tmp_path, caplog):
    caplog.set_level(logging.INFO, "refspace")
    server.faults = [Fault(truncate=100_000, ranges=False), NO_RANGES]
    download(url_of(server), tmp_path / NAME)
    assert ranges(server) == [None, "bytes=100000-"]
    assert server.requests[-1].status == 200
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert f"{url_of(server)} comes from its beginning" in caplog.text


@pytest.mark.parametrize(
    "content_range", ["bytes 0-299999/300000", "bytes 100000-299999/300001", "voxels", None]
)
def test_parts_that_were_not_asked_for_are_not_put_together(server, tmp_path, content_range):
    server.faults = [Fault(truncate=100_000), Fault(headers={"Content-Range": content_range})]
    download(url_of(server), tmp_path / NAME)
    assert ranges(server) == [None, "bytes=100000-", None]
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_a_part_of_a_file_whose_length_is_not_said(server, tmp_path):
    headers = {"Content-Range": "bytes 100000-299999/*"}
    server.faults = [Fault(truncate=100_000), Fault(headers=headers)]
    download(url_of(server), tmp_path / NAME)
    assert ranges(server) == [None, "bytes=100000-"]
    assert (tmp_path / NAME).read_bytes() == CONTENT


@pytest.mark.promise("a download is interrupted, slow, cut or changes midway")
def test_a_file_that_changes_midway_is_not_put_together(server, tmp_path):
    interrupted(server, tmp_path / NAME, 90_000)
    server.files = {NAME: OTHER}
    server.faults = [Fault(truncate=100_000)]
    download(url_of(server), tmp_path / NAME)
    assert (tmp_path / NAME).read_bytes() == OTHER
    assert ranges(server) == ["bytes=90000-", "bytes=100000-"]
    assert [request.status for request in server.requests] == [200, 206]


def test_a_server_that_ignores_if_range_is_found_out(server, tmp_path):
    interrupted(server, tmp_path / NAME, 100_000)
    server.files = {NAME: OTHER}
    old = json.loads((tmp_path / f".{NAME}.part.json").read_text())["version"]
    # It takes the old version for its own, but names the new one.
    server.faults = [Fault(headers={"ETag": old}), None]
    download(url_of(server), tmp_path / NAME, sha256=digest(OTHER))
    assert ranges(server) == ["bytes=100000-", None]
    assert (tmp_path / NAME).read_bytes() == OTHER


# ----- interruptions


def test_an_interrupted_download_goes_on(server, tmp_path):
    assert interrupted(server, tmp_path / NAME, 123_000) == 130_000
    assert names(tmp_path) == [f".{NAME}.part", f".{NAME}.part.json"]
    calls = []
    download(url_of(server), tmp_path / NAME, progress=lambda *call: calls.append(call))
    assert ranges(server) == ["bytes=130000-"]
    assert server.requests[0].headers["If-Range"].startswith('"')
    assert calls[0] == (NAME, 140_000, 300_000)
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert names(tmp_path) == [f".{NAME}.json", NAME]


def test_a_file_that_was_complete_is_not_asked_for_again(server, tmp_path):
    def stop(path):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(url_of(server), tmp_path / NAME, check=stop)
    server.stop()
    download(url_of(server), tmp_path / NAME)
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_a_part_of_another_url_is_not_taken(server, tmp_path):
    interrupted(server, tmp_path / NAME, 100_000)
    with Server({"b": OTHER}) as other:
        download(f"{other.url}/b", tmp_path / NAME)
        assert ranges(other) == [None]
    assert (tmp_path / NAME).read_bytes() == OTHER


@pytest.mark.parametrize("headers", [{"ETag": None}, {"ETag": 'W/"weak"'}])
def test_a_part_without_a_version_is_only_taken_with_a_digest(server, tmp_path, headers):
    server.faults = lambda request: Fault(headers=headers)
    for sha256, asked in [(None, None), (digest(CONTENT), "bytes=100000-")]:
        interrupted(server, tmp_path / NAME, 100_000, sha256=sha256)
        download(url_of(server), tmp_path / NAME, sha256=sha256)
        assert ranges(server) == [asked]
        assert (tmp_path / NAME).read_bytes() == CONTENT
        (tmp_path / NAME).unlink()


def test_the_time_of_the_last_change_tells_versions_too(server, tmp_path):
    when = "Wed, 01 Nov 2017 00:00:00 GMT"
    server.faults = lambda request: Fault(headers={"ETag": None, "Last-Modified": when})
    interrupted(server, tmp_path / NAME, 100_000)
    assert download(url_of(server), tmp_path / NAME).etag == when
    assert server.requests[0].headers["If-Range"] == when


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"safe": "x"}', '{"safe": -5}'])
def test_a_part_with_damaged_facts_is_not_taken(server, tmp_path, text):
    interrupted(server, tmp_path / NAME, 100_000)
    (tmp_path / f".{NAME}.part.json").write_text(text)
    download(url_of(server), tmp_path / NAME)
    assert ranges(server) == [None]
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_what_killed_writers_leave_is_removed(server, tmp_path):
    remains = tmp_path / f"..{NAME}.part.0a1b2c3d.partial.json"
    remains.touch()
    download(url_of(server), tmp_path / NAME)
    assert not remains.exists()


def test_a_part_longer_than_the_file(server, tmp_path):
    interrupted(server, tmp_path / NAME, 200_000)
    server.files = {NAME: CONTENT[:150_000]}
    facts = tmp_path / f".{NAME}.part.json"
    etag = f'"{digest(CONTENT[:150_000])[:16]}"'
    facts.write_text(json.dumps(json.loads(facts.read_text()) | {"version": etag}))
    download(url_of(server), tmp_path / NAME)
    assert [request.status for request in server.requests] == [416, 200]
    assert (tmp_path / NAME).read_bytes() == CONTENT[:150_000]


def test_no_space_left(server, tmp_path, monkeypatch):
    append = partial.PartialDownload.append

    def full(self, piece):
        if self.size >= 100_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        append(self, piece)

    monkeypatch.setattr(partial.PartialDownload, "append", full)
    with pytest.raises(
        WriteError, match=rf"^no space left on .* for {tmp_path / NAME}; "
    ) as raised:
        download(url_of(server), tmp_path / NAME)
    assert raised.value.errno == errno.ENOSPC
    assert raised.value.__cause__.__notes__ == [
        f"this was on the way from {url_of(server)} to {tmp_path / NAME}"
    ]
    monkeypatch.undo()
    download(url_of(server), tmp_path / NAME)
    assert ranges(server) == [None, "bytes=100000-"]
    assert (tmp_path / NAME).read_bytes() == CONTENT


# ----- wrong content


@pytest.mark.promise("a download is not what its digest says", "it is not kept")
def test_a_wrong_digest_keeps_nothing(server, tmp_path):
    with pytest.raises(RemoteError) as raised:
        download(url_of(server), tmp_path / NAME, sha256=digest(OTHER))
    text = str(raised.value)
    assert text.startswith(f"{url_of(server)}: the file that came has another content: sha256 ")
    assert f"{digest(OTHER)} expected, {digest(CONTENT)} got" in text
    assert "changed on the server, or on the way by a proxy" in text
    assert f"put the right file at {tmp_path / NAME}" in text
    assert names(tmp_path) == []
    assert len(server.requests) == 1


@pytest.mark.promise("a download is not what its digest says")
def test_a_wrong_digest_leaves_an_old_file_alone(server, tmp_path):
    untrusted(tmp_path / NAME, OTHER)
    with pytest.raises(RemoteError, match="another content"):
        download(url_of(server), tmp_path / NAME, sha256="0" * 64)
    assert (tmp_path / NAME).read_bytes() == OTHER


def test_a_wrong_part_is_replaced_once(server, tmp_path):
    interrupted(server, tmp_path / NAME, 100_000)
    part = tmp_path / f".{NAME}.part"
    part.write_bytes(b"x" * 100_000)
    download(url_of(server), tmp_path / NAME, sha256=digest(CONTENT))
    assert ranges(server) == ["bytes=100000-", None]
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_a_wrong_part_and_a_wrong_file(server, tmp_path):
    interrupted(server, tmp_path / NAME, 100_000)
    with pytest.raises(RemoteError, match="another content"):
        download(url_of(server), tmp_path / NAME, sha256=digest(OTHER))
    assert ranges(server) == ["bytes=100000-", None]
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "fault",
    [
        HTML,
        Fault(body=HTML.body),
        Fault(body=b"\n<HTML><head>"),
        Fault(body=b"<?xml version='1.0'?><html>", headers={"Content-Type": "text/html; a=b"}),
    ],
)
def test_web_pages_are_refused(server, tmp_path, fault):
    server.faults = [fault]
    with pytest.raises(RemoteError, match="answers with a web page where a file should be"):
        download(url_of(server), tmp_path / NAME)
    assert names(tmp_path) == []


def test_a_web_page_that_is_wanted(tmp_path):
    with Server({"a.html": HTML.body}) as server:
        download(f"{server.url}/a.html", tmp_path / "a.html")
    assert (tmp_path / "a.html").read_bytes() == HTML.body


def test_encoded_answers(server, tmp_path):
    server.faults = lambda request: Fault(headers={"Content-Encoding": "gzip"})
    with pytest.raises(RemoteError, match="sends it encoded as gzip, though it was asked not to"):
        download(url_of(server), tmp_path / NAME)
    assert names(tmp_path) == []
    # Of such a file, servers say it for what it is.
    download(url_of(server), tmp_path / "annotation.nii.gz")
    assert (tmp_path / "annotation.nii.gz").read_bytes() == CONTENT


def test_answers_of_unknown_length(server, tmp_path):
    server.faults = lambda request: Fault(headers={"Content-Length": None})
    with pytest.raises(RemoteError, match="does not say how long the file is"):
        download(url_of(server), tmp_path / NAME)
    assert names(tmp_path) == []
    download(url_of(server), tmp_path / NAME, sha256=digest(CONTENT))
    (tmp_path / NAME).unlink()
    with pytest.raises(RemoteError, match="more comes than the 5 bytes that were announced"):
        download(url_of(server), tmp_path / NAME, nbytes=5)
    download(url_of(server), tmp_path / NAME, nbytes=len(CONTENT))
    assert (tmp_path / NAME).read_bytes() == CONTENT


# ----- what cannot be had


@pytest.mark.parametrize("status", [404, 410])
def test_missing_files(server, tmp_path, status):
    server.faults = [Fault(status=status)]
    with pytest.raises(FileNotFoundError, match=rf"{NAME}: there is no such file .*{status} "):
        download(url_of(server), tmp_path / NAME)
    assert len(server.requests) == 1
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("status", "text", "count"),
    [
        (401, "access is denied .HTTP status 401 Unauthorized.", 1),
        (403, "access is denied .HTTP status 403 Forbidden.", 1),
        (400, "the server answers with HTTP status 400 Bad Request; try again later", 1),
        (204, "the server answers with HTTP status 204", 1),
        (503, "answers with HTTP status 503 Service Unavailable, 5 times; try again later", 5),
    ],
)
def test_statuses_that_end_it(server, tmp_path, status, text, count):
    server.faults = lambda request: Fault(status=status)
    with pytest.raises(RemoteError, match=text):
        download(url_of(server), tmp_path / NAME)
    assert len(server.requests) == count
    assert names(tmp_path) == []


def test_a_host_out_of_reach(server, tmp_path):
    server.stop()
    with pytest.raises(RemoteError) as raised:
        download(
            url_of(server),
            tmp_path / NAME,
            sha256=digest(CONTENT),
            remedies=["name another host by host="],
        )
    host = server.url.removeprefix("http://")
    assert str(raised.value) == (
        f"{host} cannot be reached: [Errno 111] Connection refused, 5 times. To have "
        f"{url_of(server)}: connect to the internet, and try again; or put the file with sha256 "
        f"{digest(CONTENT)} at {tmp_path / NAME}; or name another host by host="
    )


def test_a_name_that_is_not_known(tmp_path):
    with pytest.raises(RemoteError, match=r"^host\.invalid cannot be reached: .*connect to the in"):
        download("https://host.invalid/a", tmp_path / "a")


def test_a_server_that_speaks_no_tls(server, tmp_path):
    with pytest.raises(RemoteError, match=r"cannot be reached: .*SSL"):
        download(url_of(server).replace("http:", "https:"), tmp_path / NAME)


def test_certificates_are_named(server, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise module.urllib.error.URLError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed")

    monkeypatch.setattr(module.urllib.request.OpenerDirector, "open", refuse)
    with pytest.raises(RemoteError, match="name the certificates of your network by SSL_CERT_FILE"):
        download(url_of(server), tmp_path / NAME)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://host/a",
        "a.nrrd",
        "http://",
        "data:,a",
        "",
        "//host/a",
        "http://[::1",
        "http://host:x/",
        "http://host:99999/",
        "http://host/a b",
        "http://host/ä",
    ],
)
def test_other_urls(tmp_path, url):
    with pytest.raises(RemoteError, match="is no URL of a file; give one that begins http://"):
        download(url, tmp_path / "a")
    assert names(tmp_path) == []


@pytest.mark.parametrize("place", ["file:///etc/passwd", "ftp://host/a", "data:,a"])
def test_redirects_to_other_schemes(server, tmp_path, place):
    server.faults = [Fault(status=302, headers={"Location": place})]
    with pytest.raises(RemoteError, match=f"redirects to where no file can .*{place}"):
        download(url_of(server), tmp_path / NAME)
    assert names(tmp_path) == []


def test_redirects_on_the_web(server, tmp_path):
    with Server({"a": OTHER}, [Fault(status=302, headers={"Location": url_of(server)})]) as first:
        download(f"{first.url}/a", tmp_path / "a")
        assert read_record(tmp_path / "a").url == f"{first.url}/a"
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_a_proxy_of_the_environment_is_used(server, tmp_path, monkeypatch):
    with Server({"http://archive.invalid/a": OTHER}) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        download("http://archive.invalid/a", tmp_path / "a")
        assert proxy.paths() == ["http://archive.invalid/a"]
    assert (tmp_path / "a").read_bytes() == OTHER


# ----- kills and several processes

KILLED = """
import os, sys, threading
from refspace.remote import download as module, partial, retry
retry.POLICY = retry.Retry(delay=0, longest=0)
module._PIECE_BYTES, partial._SYNC_BYTES = 10_000, 30_000
url, target, count, sha256 = sys.argv[1:]
def kill(name, done, total):
    if done >= int(count):
        os.kill(os.getpid(), 9)
module.download(url, target, sha256=sha256 or None, progress=kill)
"""


def run(code, *words):
    process = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=False
    )
    assert process.returncode in (0, -9), process.stderr
    return process.returncode


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("known", [True, False])
def test_killed_downloads_go_on(server, tmp_path, seed, known):
    chance = random.Random(f"{seed} {known}")
    sha256 = digest(CONTENT) if known else ""
    target = tmp_path / NAME
    kills = sorted(chance.randrange(40_000, 290_000) for _ in range(3))
    for kill in kills:
        assert run(KILLED, url_of(server), target, kill, sha256) == -9
        assert not target.exists()
    # Nothing beyond what was safe may be trusted: a power cut leaves anything there.
    safe = json.loads((tmp_path / f".{NAME}.part.json").read_text())["safe"]
    with (tmp_path / f".{NAME}.part").open("rb+") as part:
        part.seek(safe)
        part.write(b"\0" * 50_000)
    assert kills[-1] - safe < 40_000
    assert run(KILLED, url_of(server), target, 10**9, sha256) == 0
    assert target.read_bytes() == CONTENT
    assert ranges(server)[-1] == f"bytes={safe}-"
    assert server.ended()[-1].sent == len(CONTENT) - safe
    assert names(tmp_path) == [f".{NAME}.json", NAME]


STOPPED_AT_EVERY_STEP = """
import os, sys
from pathlib import Path
from refspace.remote import download as module, partial, retry
retry.POLICY = retry.Retry(delay=0, longest=0)
module._PIECE_BYTES, partial._SYNC_BYTES = 100_000, 100_000
url, other, folder = sys.argv[1:]

def child(target, stop, **how):
    pid = os.fork()
    if pid == 0:
        steps = 0
        def watch(event, args):
            nonlocal steps
            written = event in ("os.rename", "os.remove", "os.truncate", "open")
            if written and folder in str(args[0]):
                steps += 1
                if steps == stop:
                    os._exit(9)
        sys.addaudithook(watch)
        module.download(url, target, **how)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

stop, code = 0, 9
while code == 9:
    stop += 1
    target = Path(folder, str(stop), "a")
    module.download(other, target)
    code = child(target, stop, refresh=True)
    record = module.read_record(target)
    if record and record.url == url:
        assert target.read_bytes() == Path(folder, "expected").read_bytes(), stop
    assert child(target, None) == 0
    assert target.read_bytes() == Path(folder, "expected").read_bytes(), stop
    assert module.read_record(target).url == url
    left = {path.name for path in target.parent.iterdir()}
    # The last may stay where only the removal of what is of no use any more was stopped.
    assert {".a.json", "a"} <= left <= {".a.json", "a", ".a.lock", ".a.part.json"}, left
print(stop)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_stop_at_any_step_leaves_what_the_next_run_completes(tmp_path):
    (tmp_path / "expected").write_bytes(CONTENT)
    with Server({"a": CONTENT, "b": OTHER}) as server:
        words = [f"{server.url}/a", f"{server.url}/b", str(tmp_path)]
        process = subprocess.run(
            [sys.executable, "-c", STOPPED_AT_EVERY_STEP, *words],
            capture_output=True,
            text=True,
            check=False,
        )
    assert process.returncode == 0, process.stderr
    assert int(process.stdout) > 10


def test_two_processes_download_once(server, tmp_path):
    server.faults = lambda request: Fault(seconds=0.2, pace=0.05)
    words = [sys.executable, "-c", KILLED, url_of(server), str(tmp_path / NAME), str(10**9), ""]
    processes = [subprocess.Popen(words) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert server.paths() == [f"/{NAME}"]
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert names(tmp_path) == [f".{NAME}.json", NAME]


def test_threads_download_once(server, tmp_path, caplog):
    caplog.set_level(logging.INFO, "refspace")
    server.faults = lambda request: Fault(seconds=0.2)
    records: list[Record] = []
    threads = [
        threading.Thread(target=lambda: records.append(download(url_of(server), tmp_path / NAME)))
        for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.requests) == 1
    assert len(set(records)) == 1
    assert "waiting for another process that is downloading" in caplog.text


# ----- whatever happens

FAULTS = st.one_of(
    st.none(),
    st.builds(Fault, status=st.sampled_from([429, 500, 503, 403, 416])),
    st.builds(
        Fault,
        truncate=st.none() | st.integers(0, 300_000),
        reset=st.booleans(),
        ranges=st.booleans(),
        headers=st.sampled_from(
            [
                {},
                {"ETag": None},
                {"ETag": '"other"'},
                {"Content-Range": "bytes 0-299999/300000"},
                {"Content-Range": "bytes 5-299999/300000"},
            ]
        ),
    ),
    st.just(HTML),
    st.just(Fault(body=OTHER)),
    st.just(Fault(body=CONTENT[:100_000])),
)


@pytest.mark.promise(
    "a download is interrupted, slow, cut or changes midway",
    "it goes on or begins again, and is never put together from two",
)
@examples(60)
@given(faults=st.lists(FAULTS, max_size=8))
def test_any_faults_end_in_the_right_file_or_one_error(tmp_path_factory, faults):
    target = tmp_path_factory.mktemp("any") / NAME
    with Server({NAME: CONTENT}, faults) as server:
        for _ in range(len(faults) + 1):
            try:
                download(url_of(server), target, sha256=digest(CONTENT))
            except RemoteError:
                assert not target.exists()
            else:
                break
    assert target.read_bytes() == CONTENT
    assert names(target.parent) == [f".{NAME}.json", NAME]


HONEST = st.one_of(
    st.none(),
    st.builds(Fault, status=st.sampled_from([429, 500, 503, 403])),
    st.builds(
        Fault,
        truncate=st.none() | st.integers(0, 300_000),
        reset=st.booleans(),
        ranges=st.booleans(),
        headers=st.sampled_from([{}, {"ETag": None}]),
    ),
)


@pytest.mark.promise("a download is interrupted, slow, cut or changes midway")
@examples(60)
@given(faults=st.lists(HONEST, max_size=8), changes=st.sets(st.integers(0, 8), max_size=2))
def test_without_a_digest_contents_are_never_mixed(tmp_path_factory, faults, changes):
    """A file that changes on an honest server between requests is one or the other."""
    target = tmp_path_factory.mktemp("any") / NAME
    rest = iter(faults)

    def fault(request):
        if len(server.requests) in changes:
            server.files = {NAME: OTHER}
        return next(rest, None)

    with Server({NAME: CONTENT}, fault) as server:
        for _ in range(len(faults) + 1):
            try:
                download(url_of(server), target)
            except RemoteError:
                assert not target.exists()
            else:
                break
    assert target.read_bytes() in (CONTENT, OTHER)


# ----- more than there should be


@pytest.mark.promise(
    "a body is longer than announced, or than the disk has room for",
    "an error, and nothing is kept",
)
def test_bodies_longer_than_announced(server, tmp_path, monkeypatch):
    # A library that reads past the end that was announced, or a server that states two lengths.
    monkeypatch.setattr(http_responses, "content_length", lambda headers: len(CONTENT) - 1)
    with pytest.raises(RemoteError, match=r"more comes than the 299999 bytes that were announced"):
        download(url_of(server), tmp_path / NAME)
    assert names(tmp_path) == []


def test_bodies_of_unknown_length_have_a_limit(server, tmp_path):
    server.faults = lambda request: Fault(headers={"Content-Length": None})
    with (
        set_limits(download_bytes=200_000),
        pytest.raises(RemoteError, match=r"has \d+ bytes, of at most 200000; .*download_bytes"),
    ):
        download(url_of(server), tmp_path / NAME, sha256=digest(CONTENT))
    assert names(tmp_path) == []
    server.faults = lambda request: None
    with set_limits(download_bytes=299_999), pytest.raises(RemoteError, match="has 300000 bytes, "):
        download(url_of(server), tmp_path / NAME)
    assert len(server.requests) == 2


@pytest.mark.promise("a body is longer than announced, or than the disk has room for")
def test_disks_without_room(server, tmp_path, monkeypatch):
    monkeypatch.setattr(intake, "_STEP_BYTES", 2**16)
    free = iter([10**9, 10**9, 10**9, 2**26 - 1])
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Room(next(free)))
    with pytest.raises(RemoteError, match=rf"{tmp_path} has room for 0; make room, or name a fold"):
        download(url_of(server), tmp_path / NAME)
    assert names(tmp_path) == []
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Room(2**26 + len(CONTENT) - 1))
    with pytest.raises(RemoteError, match=r"300000 bytes are to come, .* has room for 299999; mak"):
        download(url_of(server), tmp_path / NAME)
    assert names(tmp_path) == []
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Room(2**26 + len(CONTENT)))
    download(url_of(server), tmp_path / NAME)
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_no_redirect_leads_from_https_to_http():
    request = urllib.request.Request("https://host.invalid/a")
    redirect = http_responses._WebOnly().redirect_request
    with pytest.raises(urllib.error.HTTPError, match="is not allowed"):
        redirect(request, io.BytesIO(), 302, "Found", {}, "http://host.invalid/a")
    assert redirect(request, io.BytesIO(), 302, "Found", {}, "https://host.invalid/b")
    plain = urllib.request.Request("http://host.invalid/a")
    assert redirect(plain, io.BytesIO(), 302, "Found", {}, "http://host.invalid/b")
