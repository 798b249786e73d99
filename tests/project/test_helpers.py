"""The server that tests download from does what a good server does."""

import http.client
from contextlib import closing

import pytest
from helpers.serving import Fault, Server


@pytest.fixture
def server(tmp_path):
    (tmp_path / "site" / "b").mkdir(parents=True)
    (tmp_path / "site" / "b" / "a.json").write_bytes(b"0123456789")
    (tmp_path / "secret").write_bytes(b"secret")
    with Server(tmp_path / "site") as server:
        yield server


def ask(server, path="/b/a.json", method="GET", **headers):
    """Status, headers and body; both requests of a pair on one connection."""
    address = server.url.removeprefix("http://")
    with closing(http.client.HTTPConnection(address, timeout=5)) as connection:
        for _ in range(2):
            connection.request(method, path, headers=headers)
            with connection.getresponse() as answer:
                found = answer.status, answer.headers, answer.read()
    return found


@pytest.mark.parametrize(
    ("asked", "status", "told", "body"),
    [
        ("bytes=2-4", 206, "bytes 2-4/10", b"234"),
        ("bytes=7-", 206, "bytes 7-9/10", b"789"),
        ("bytes=7-99", 206, "bytes 7-9/10", b"789"),
        ("bytes=-2", 206, "bytes 8-9/10", b"89"),
        ("bytes=-99", 206, "bytes 0-9/10", b"0123456789"),
        ("bytes=10-", 416, "bytes */10", b""),
        ("bytes=-0", 416, "bytes */10", b""),
        ("bytes=4-2", 200, None, b"0123456789"),
        ("bytes=1-2,4-5", 200, None, b"0123456789"),
        ("lines=1-2", 200, None, b"0123456789"),
    ],
)
def test_ranges(server, asked, status, told, body):
    found, headers, content = ask(server, Range=asked)
    assert (found, headers["Content-Range"], content) == (status, told, body)
    assert headers["Content-Length"] == str(len(body))
    assert [request.range for request in server.requests] == [asked, asked]


def test_versions(server):
    status, headers, _ = ask(server)
    assert status == 200
    assert headers["Accept-Ranges"] == "bytes"
    assert ask(server, Range="bytes=2-", **{"If-Range": headers["ETag"]})[0] == 206
    assert ask(server, Range="bytes=2-", **{"If-Range": '"other"'})[0] == 200


def test_heads(server):
    status, headers, body = ask(server, method="HEAD", Range="bytes=2-")
    assert (status, headers["Content-Length"], body) == (200, "10", b"")
    assert headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("path", ["/none", "/b", "/../secret", "/%2e%2e/secret"])
def test_nothing_else_is_sent(server, path):
    assert ask(server, path)[0] == 404


def test_it_goes_away_and_comes_back(server):
    url = server.url
    server.stop()
    with pytest.raises(ConnectionRefusedError):
        ask(server)
    server.start()
    assert server.url == url
    assert ask(server)[0] == 200


def test_resets(server):
    server.faults = lambda request: Fault(reset=True)
    with pytest.raises(ConnectionResetError):
        ask(server)
    server.faults = lambda request: Fault(reset=True, truncate=4)
    with pytest.raises(ConnectionResetError):
        ask(server)
    assert server.ended()[-1].sent == 4
