"""The server: loopback, a token, a fixed set of paths; whatever else is asked for is not found."""

import http.client
import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from urllib.parse import urlsplit

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import refspace
from refspace.errors import AnnotationError, FormatError, MissingDependencyError, StoreError
from refspace.viewer import client
from refspace.viewer.server import Server

HTML = b"<!doctype html>"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    server.add("data", {"chunk": (b"voxels", "application/octet-stream")}.get)

    def damaged(path: str) -> None:
        raise FormatError(f"chunk {path} is damaged")

    server.add("damaged", damaged)
    server.show({"layers": []})
    yield server
    server.close()


def ask(
    server: Server, path: str, method: str = "GET", host: str | None = None, body: bytes = b""
) -> tuple[int, bytes, dict[str, str]]:
    """Answer to a path, which is sent as it is: no client tidies it up."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.putrequest(method, path, skip_host=True)
    connection.putheader("Host", host or f"127.0.0.1:{server.port}")
    if method not in ("GET", "HEAD", "OPTIONS"):
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body or None)
    answer = connection.getresponse()
    found = answer.status, answer.read(), dict(answer.getheaders())
    connection.close()
    return found


def token(server: Server) -> str:
    return urlsplit(server.url).path.strip("/")


def test_what_is_served(server: Server) -> None:
    for path, begins in (("", HTML), ("data/chunk", b"voxels"), ("v/view/", HTML)):
        status, body, headers = ask(server, f"/{token(server)}/{path}")
        assert (status, body[: len(begins)]) == (200, begins)
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "Access-Control-Allow-Origin" not in headers
        assert "Server" not in headers


def test_it_listens_on_loopback_alone(server: Server) -> None:
    names = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    for address in names - {"127.0.0.1"}:
        if not address.startswith("127."):
            with pytest.raises(OSError, match=r"refused|timed out"):
                socket.create_connection((address, server.port), timeout=1)


@pytest.mark.promise("a page of another site asks the viewer's server", "it is answered nothing")
@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "[::1]", "localhost"])
def test_another_host_is_refused(server: Server, host: str) -> None:
    # A name that an attacker points to this machine (DNS rebinding).
    assert ask(server, server.url.partition(str(server.port))[2], host=host)[0] == 404


@pytest.mark.parametrize("wrong", ["", "x", "%C3%A9", "%00", "a" * 5000])
def test_without_the_token_there_is_nothing(server: Server, wrong: str) -> None:
    assert ask(server, f"/{wrong}/data/chunk")[0] in (400, 404)
    assert ask(server, "/")[0] == 404


@pytest.mark.promise("the viewer's server is asked for a file of the machine", "it has none")
@pytest.mark.parametrize(
    "path",
    [
        *("../../etc/passwd", "v/view/../../../etc/passwd", "v/view/%2e%2e/server.py"),
        *("v/view//etc/passwd", "v/view/..%2f..%2fserver.py", "page.html/../server.py"),
        *(
            "v/view/main.js.map",
            "v/other/index.html",
            "server.py",
            "page/page.py",
            "%00",
            "v/view/\\",
        ),
        *("data/", "data/chunk/", "data//chunk", "data/../damaged/x", "nothing", "state/view"),
    ],
)
def test_other_paths_are_not_found(server: Server, path: str) -> None:
    assert ask(server, f"/{token(server)}/{path}")[0] in (400, 404)


@given(
    st.text(
        st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="#?"), max_size=60
    )
)
def test_no_path_is_one_of_the_machine(server: Server, path: str) -> None:
    status, body, _ = ask(server, f"/{token(server)}/{path}")
    is_known = path.strip("/") in ("", "page.js", "page.css", "notes.json") or path.startswith(
        "v/view/"
    )
    assert status in ((200, 404, 500) if is_known or path.startswith("damaged/") else (400, 404))
    assert b"root:" not in body


@pytest.mark.parametrize(
    "method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW"]
)
def test_other_methods_are_refused(server: Server, method: str) -> None:
    assert ask(server, f"/{token(server)}/data/chunk", method)[0] in (400, 404, 405, 501)


def test_a_range_is_answered_whole(server: Server) -> None:
    request = urllib.request.Request(
        f"{server.url}data/chunk", headers={"Range": f"bytes=0-{10**30}"}
    )
    with urllib.request.urlopen(request) as answer:
        assert (answer.status, answer.read()) == (200, b"voxels")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"s": 1, "g": 2}', b"[" * 100_000, b"\xff"])
def test_states_that_are_none(server: Server, body: bytes) -> None:
    assert ask(server, f"/{token(server)}/state/view", "POST", body=body)[0] == 400
    assert server.state == {"layers": []}


def test_nothing_is_taken_of_who_has_no_token(server: Server) -> None:
    # Refused after the head of the request: else anybody fills the memory.
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        head = f"POST /x/state/view HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
        connection.sendall(f"{head}Content-Length: 1000000\r\n\r\n".encode())
        assert connection.recv(12) == b"HTTP/1.1 404"


def test_a_view_that_fails_leaves_no_server() -> None:
    space, before = refspace.phantom(resolution=400), servers()
    with pytest.raises(AnnotationError, match=r"limits are 5 and 1"):
        space.view(values={"TH": 1}, limits=(5, 1), browser=False)
    assert servers() == before


def servers() -> int:
    return sum(thread.name == "refspace-viewer" for thread in threading.enumerate())


def test_errors_are_told_once_and_without_traces(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        status, body, _ = ask(server, f"/{token(server)}/damaged/<b>")
        assert (status, body) == (500, b"500\n")
    told = [note for note in server.notes if "<b>" in note]
    assert told == ["damaged/<b>: chunk <b> is damaged"]
    assert json.loads(ask(server, f"/{token(server)}/notes.json")[1]) == server.notes


def test_a_port_that_is_taken(server: Server) -> None:
    with pytest.raises(StoreError, match=r"cannot be used: .* give another port"):
        Server(port=server.port)


def test_a_closed_server_is_gone() -> None:
    server = Server()
    url = server.url
    server.close()
    server.close()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(url, timeout=2)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"pip install neuroglancer"):
        refspace.phantom(resolution=400).view(browser=False)


def test_the_view_in_a_notebook_and_its_end() -> None:
    space = refspace.phantom(resolution=400)
    view = space.view(structures="TH", points=np.array([[5000.0, 4000, 5000]]), browser=False)
    assert f'href="{view.url}"' in view._repr_html_()
    assert repr(view) == f"<View {view.url}>"
    assert "549" in view.state["layers"][0]["segments"]
    view.close()
    assert "closed" in repr(view)
