"""A web server for tests: it sends files correctly, logs requests, and fails on command."""

import hashlib
import mimetypes
import os
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

_PIECE = 2**16


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request; several at once where that makes sense.

    Parameters
    ----------
    status
        Status to answer with, instead of the file.
    headers
        Headers to add or replace; one that is None is left out. A redirect has ``Location``.
    body
        Content to send instead of the file's: wrong bytes, a web page.
    truncate
        Bytes of the body after which the connection is closed; the declared length stays.
    reset
        Whether it is reset (RST) there, or before the answer if ``truncate`` is None.
    ranges
        Whether a range that is asked for is sent, rather than the whole file.
    seconds
        How long the answer takes to begin.
    pace
        Seconds after every ``piece`` bytes of the body.
    piece
        Bytes that are sent at a time.
    """

    status: int | None = None
    headers: Mapping[str, str | None] = field(default_factory=dict)
    body: bytes | None = None
    truncate: int | None = None
    reset: bool = False
    ranges: bool = True
    seconds: float = 0
    pace: float = 0
    piece: int = _PIECE


PAGE = b"<!DOCTYPE html><html><body>Please log in.</body></html>"
HTML = Fault(body=PAGE, headers={"Content-Type": "text/html"})
RESET = Fault(reset=True)
NO_RANGES = Fault(ranges=False)


@dataclass
class Request:
    """A request, logged when it comes; its status is known before the answer begins."""

    method: str
    path: str
    """As it was sent, with its query."""
    range: str | None
    headers: Mapping[str, str]
    started: float
    status: int = 0
    sent: int = 0
    """Bytes of the body."""
    ended: float | None = None


Faults = Iterable[Fault | None] | Callable[[Request], Fault | None]


class Server:
    """HTTP server of a folder, or of a mapping from paths to contents.

    Parameters
    ----------
    files
        Folder; or contents by path, with or without the first slash, and with the query where that
        matters (percent-encoding undone).
    faults
        What goes wrong: one fault (or None) for each request as they come, or a function of the
        request. Requests beyond the end of the list go well. May be set later.

    Examples
    --------
    >>> import urllib.request
    >>> with Server({"a.txt": b"voxels"}, [Fault(truncate=3), None]) as server:
    ...     with urllib.request.urlopen(f"{server.url}/a.txt") as answer:
    ...         half = answer.read(3)
    ...     with urllib.request.urlopen(f"{server.url}/a.txt") as answer:
    ...         whole = answer.read()
    >>> half, whole, [request.status for request in server.requests]
    (b'vox', b'voxels', [200, 200])
    """

    def __init__(
        self, files: str | os.PathLike[str] | Mapping[str, bytes], faults: Faults = ()
    ) -> None:
        self.files = files
        self.requests: list[Request] = []
        self._port = 0
        self._lock = threading.Lock()
        self._noted = threading.Condition(self._lock)
        self._connections: set[socket.socket] = set()
        self.faults = faults

    @property
    def faults(self) -> Callable[[Request], Fault | None]:
        """What goes wrong with a request."""
        return self._faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        if callable(faults):
            self._faults = faults
        else:
            rest = iter(faults)
            self._faults = lambda request: next(rest, None)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.stop()

    def start(self) -> None:
        """Listen; after a stop, on the same port again."""
        handler = type("Handler", (_Handler,), {"site": self})
        self._http = _Http(("127.0.0.1", self._port), handler)
        self._port = self._http.server_address[1]
        poll = {"poll_interval": 0.01}
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs=poll, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Go away: refuse connections, and break those that are open. Again is harmless."""
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()
        with self._lock:
            for connection in self._connections:
                _shut(connection)

    @property
    def url(self) -> str:
        """Where it listens, without a slash at the end."""
        return f"http://127.0.0.1:{self._port}"

    def paths(self, method: str = "GET") -> list[str]:
        """Paths that were asked for, in order, percent-encoding undone."""
        return [unquote(request.path) for request in self.requests if request.method == method]

    def ended(self) -> list[Request]:
        """Requests, once the answers to all of them have ended.

        A client has its answer a moment before the server has noted what it sent, and when.
        """
        with self._noted:
            if not self._noted.wait_for(self._all_ended, timeout=60):
                raise TimeoutError("an answer does not end")
            return list(self.requests)

    def _all_ended(self) -> bool:
        return all(request.ended is not None for request in self.requests)

    # ----- for the handler

    def log(self, request: Request) -> Fault:
        """Note a request, and what shall go wrong with it."""
        with self._lock:
            self.requests.append(request)
            return self._faults(request) or Fault()

    def note_end(self, request: Request) -> None:
        """Note that the answer to a request has ended."""
        with self._noted:
            request.ended = time.monotonic()
            self._noted.notify_all()

    def content(self, path: str) -> bytes | None:
        """Content of a file; None if there is none."""
        whole = unquote(path)
        bare = unquote(urlsplit(path).path)
        if isinstance(self.files, Mapping):
            names = (whole, whole.lstrip("/"), bare, bare.lstrip("/"))
            return next((self.files[name] for name in names if name in self.files), None)
        root = Path(self.files).resolve()
        file = (root / bare.lstrip("/")).resolve()
        return file.read_bytes() if file.is_relative_to(root) and file.is_file() else None

    def connected(self, connection: socket.socket) -> None:
        """Note a connection."""
        with self._lock:
            self._connections.add(connection)

    def disconnected(self, connection: socket.socket) -> None:
        """Forget a connection."""
        with self._lock:
            self._connections.discard(connection)


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients of tests go away as they like."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and body are two packets: do not wait for the first one's acknowledgement.
    disable_nagle_algorithm = True
    site: Server

    def setup(self) -> None:
        super().setup()
        self.site.connected(self.connection)

    def finish(self) -> None:
        self.site.disconnected(self.connection)
        super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def _answer(self) -> None:
        request = Request(
            self.command, self.path, self.headers["Range"], dict(self.headers), time.monotonic()
        )
        fault = self.site.log(request)
        try:
            time.sleep(fault.seconds)
            if fault.reset and fault.truncate is None:
                self._reset()
            else:
                self._send(request, fault)
        except OSError:
            self.close_connection = True
        finally:
            self.site.note_end(request)

    def _send(self, request: Request, fault: Fault) -> None:
        status, headers, body = self._plain(request, fault)
        request.status = status
        headers = {"Content-Length": str(len(body)), **headers, **fault.headers}
        self.send_response(status)
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, value)
        if "Content-Length" not in headers or headers["Content-Length"] is None:
            self.close_connection = True
        self.end_headers()
        if request.method != "HEAD":
            self._send_body(request, body, fault)

    def _plain(self, request: Request, fault: Fault) -> tuple[int, dict[str, str | None], bytes]:
        """Status, headers and body."""
        kind = mimetypes.guess_type(urlsplit(self.path).path)[0] or "application/octet-stream"
        content = fault.body if fault.body is not None else self.site.content(self.path)
        if fault.status is not None:
            return fault.status, {"Content-Type": "text/plain"}, fault.body or b"as was asked for\n"
        if content is None:
            return 404, {"Content-Type": "text/plain"}, b"there is no such file\n"
        etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        headers: dict[str, str | None] = {"Content-Type": kind, "ETag": etag}
        if not fault.ranges:
            return 200, headers, content
        headers["Accept-Ranges"] = "bytes"
        current = self.headers["If-Range"] in (None, fault.headers.get("ETag", etag))
        asked = _range(request.range, len(content))
        if request.method != "GET" or asked is None or not current:
            return 200, headers, content
        first, last = asked
        if first > last:
            return 416, {"Content-Range": f"bytes */{len(content)}"}, b""
        headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        return 206, headers, content[first : last + 1]

    def _send_body(self, request: Request, body: bytes, fault: Fault) -> None:
        end = len(body) if fault.truncate is None else min(fault.truncate, len(body))
        for start in range(0, end, fault.piece):
            self.wfile.write(body[start : min(start + fault.piece, end)])
            request.sent = min(start + fault.piece, end)
            time.sleep(fault.pace)
        if fault.reset:
            # What was sent shall arrive, and only then the reset.
            time.sleep(0.05)
            self._reset()
        elif end < len(body):
            self.close_connection = True
            _shut(self.connection)

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # Closed behind the socket's back: everything else would say a polite goodbye first.
        self.site.disconnected(self.connection)
        os.close(self.connection.detach())


def _range(text: str | None, size: int) -> tuple[int, int] | None:
    """First and last byte of a single range, the last before the first if there are none of it;
    None for what is no single range, which a server ignores."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", text or "")
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        count = min(int(last), size)
        return (size - count, size - 1) if count else (1, 0)
    if last and int(last) < int(first):
        return None
    return (int(first), min(int(last or size), size - 1)) if int(first) < size else (1, 0)


def _shut(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
