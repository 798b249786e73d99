"""The server of the viewer: loopback alone, behind a random token, and nothing but what is viewed.

It answers a fixed set of paths, none of which is a path of this machine's files: pages of the
package, neuroglancer's client by a list of its files, and volumes that are made of arrays.
"""

import asyncio
import hmac
import json
import logging
import secrets
import socket
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import tornado.httpserver
import tornado.web

from refspace.errors import RefspaceError, StoreError
from refspace.safe_text import shown
from refspace.viewer.client import MEDIA_TYPES, client_files

Answer = tuple[bytes, str]
"""Content and its media type."""
Source = Callable[[str], Answer | None]
"""Answers the rest of a path; None where there is nothing."""

_HOST = "127.0.0.1"
# Requests that are answered at a time; more wait.
_THREADS = 8
# Notes that the page can still ask for.
_MOST_NOTES = 100
# A state that the client sends is a small JSON.
_MOST_BYTES = 16 * 2**20
# A connection that says nothing, or takes so long to say what it asks, is closed.
_SECONDS = 60
_LOG = logging.getLogger("refspace")


class Server:
    """A server in a thread of its own.

    Parameters
    ----------
    port
        Port of this machine; any that is free if 0.
    connect
        Origins of other machines from which the page may read volumes; none if empty.

    Raises
    ------
    StoreError
        If the port is taken.
    """

    def __init__(self, *, port: int = 0, connect: tuple[str, ...] = ()) -> None:
        self._sources: dict[str, Source] = {}
        self._connect = connect
        self._token = secrets.token_urlsafe(24)
        self._pool = ThreadPoolExecutor(_THREADS, "refspace-viewer")
        self._loop = asyncio.new_event_loop()
        self.notes: list[str] = []
        self._state: dict[str, Any] = {}
        self.is_closed = False
        self._client = client_files()
        try:
            # Bound before the thread starts, so that the URL is known, and a taken port is told.
            self._socket = socket.create_server((_HOST, port))
        except OSError as error:
            self._loop.close()
            raise StoreError(
                f"port {port} of {_HOST} cannot be used: {error.strerror}; give another port, or 0 "
                "for any that is free"
            ) from error
        self._socket.setblocking(False)
        self.port: int = self._socket.getsockname()[1]
        started = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(started,), name="refspace-viewer", daemon=True
        )
        self._thread.start()
        started.wait()

    @property
    def url(self) -> str:
        """URL of the page."""
        return f"http://{_HOST}:{self.port}/{self._token}/"

    def add(self, name: str, source: Source) -> None:
        """Answer paths that begin with a name."""
        self._sources[name] = source

    def show(self, state: Mapping[str, Any]) -> None:
        """Set the state that the page begins with."""
        self._state = dict(state)

    @property
    def state(self) -> dict[str, Any]:
        """State of the viewer, as the page has told it last."""
        return self._state

    def close(self) -> None:
        """Stop, and free the port."""
        if self.is_closed:
            return
        self.is_closed = True
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._pool.shutdown(wait=False, cancel_futures=True)

    # ----- what requests ask

    def allows(self, host: str | None, token: str) -> bool:
        """Whether a request comes to this machine by its own name, and has the token."""
        names = (f"{_HOST}:{self.port}", f"localhost:{self.port}")
        is_ours = host is not None and host.lower() in names
        return is_ours and hmac.compare_digest(token.encode(), self._token.encode())

    def client(self, name: str) -> Answer | None:
        """A file of neuroglancer's client."""
        path = self._client.get(name or "index.html")
        return None if path is None else (path.read_bytes(), MEDIA_TYPES[path.suffix])

    async def answer(self, name: str, path: str) -> Answer | None:
        """What a source has; its errors are noted, and become an answer of status 500."""
        source = self._sources.get(name)
        if source is None:
            return None
        return await asyncio.get_running_loop().run_in_executor(self._pool, source, path)

    def note(self, text: str) -> None:
        """Show a note in the page, and log it; each once."""
        line = shown(" ".join(text.split()))[:500]
        if line not in self.notes and len(self.notes) < _MOST_NOTES:
            self.notes.append(line)
            _LOG.warning("%s", line)

    def policy(self, *, of_client: bool) -> str:
        """What the browser lets the page, or the client in it, do: no request leaves for elsewhere.

        The client compiles code of its own at run time, which its pages and workers must be let.
        """
        connect = " ".join(("'self'", *self._connect))
        code = "'self' 'unsafe-eval'" if of_client else "'self'"
        return (
            f"default-src 'none'; script-src {code}; "
            "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
            f"worker-src 'self' blob:; frame-src 'self'; connect-src {connect} data: blob:; "
            "frame-ancestors 'self'; base-uri 'none'; form-action 'none'"
        )

    def _run(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        application = tornado.web.Application(
            [(r"/([^/]*)/(.*)", _Handler)], log_function=lambda handler: None, owner=self
        )
        server = tornado.httpserver.HTTPServer(
            application,
            max_body_size=_MOST_BYTES,
            idle_connection_timeout=_SECONDS,
            body_timeout=_SECONDS,
        )
        server.add_socket(self._socket)
        self._loop.call_soon(started.set)
        try:
            self._loop.run_forever()
        finally:
            server.stop()
            self._loop.run_until_complete(server.close_all_connections())
            for task in asyncio.all_tasks(self._loop):
                task.cancel()
            self._loop.run_until_complete(asyncio.sleep(0))
            self._loop.close()


@tornado.web.stream_request_body
class _Handler(tornado.web.RequestHandler):
    """One request: ``/TOKEN/NAME/PATH``.

    What it sends is taken once it has shown the token: others cannot fill the memory.
    """

    @property
    def owner(self) -> Server:
        server: Server = self.settings["owner"]
        return server

    def set_default_headers(self) -> None:
        self.clear_header("Server")
        for name, value in (
            (
                "Content-Security-Policy",
                self.owner.policy(of_client="/v/view/" in self.request.path),
            ),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            ("Cross-Origin-Opener-Policy", "same-origin"),
            ("Cache-Control", "no-store"),
        ):
            self.set_header(name, value)

    def initialize(self) -> None:
        """Begin with nothing received."""
        self._body = bytearray()

    def data_received(self, chunk: bytes) -> None:
        """Take a piece of what the client sends."""
        self._body += chunk

    def prepare(self) -> None:
        token = str(self.path_args[0]) if self.path_args else ""
        if not self.owner.allows(self.request.headers.get("Host"), token):
            # Nothing is told to whoever has no token.
            raise tornado.web.HTTPError(404)

    async def get(self, token: str, path: str) -> None:
        name, _, rest = path.partition("/")
        if name == "events":
            await self._events()
            return
        try:
            found = self._own(path) or await self.owner.answer(name, rest)
        except (RefspaceError, OSError, ValueError, MemoryError) as error:
            self.owner.note(f"{name}/{rest}: {error}")
            raise tornado.web.HTTPError(500) from error
        if found is None:
            raise tornado.web.HTTPError(404)
        content, kind = found
        self.set_header("Content-Type", kind)
        await self.finish(content)

    async def head(self, token: str, path: str) -> None:
        await self.get(token, path)

    async def post(self, token: str, path: str) -> None:
        """Take the state of the client; whatever else it sends is of no use here."""
        if path == "state/view":
            try:
                message = json.loads(self._body)
                self.owner.show(dict(message["s"]))
                generation = str(message["g"])
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise tornado.web.HTTPError(400) from error
            self.set_header("Content-Type", "application/json")
            await self.finish(json.dumps({"g": generation}))
        elif path == "action/view":
            await self.finish(b"")
        else:
            raise tornado.web.HTTPError(404)

    def _own(self, path: str) -> Answer | None:
        if path == "":
            return page_file("page.html")
        if path in ("page.js", "page.css"):
            return page_file(path)
        if path == "notes.json":
            return json.dumps(self.owner.notes).encode(), "application/json"
        folder, _, name = path.rpartition("/")
        return self.owner.client(name) if folder == "v/view" else None

    async def _events(self) -> None:
        """Send the state once, and keep the stream open: its end would mean that we are gone."""
        self.set_header("Content-Type", "text/event-stream")
        if not self.get_query_argument("gs", ""):
            event = {"k": "s", "g": "first", "s": self.owner.state}
            self.write(f"data: {json.dumps(event)}\n\n")
        await self.flush()
        self._gone = asyncio.Event()
        await self._gone.wait()

    def on_connection_close(self) -> None:
        if gone := getattr(self, "_gone", None):
            gone.set()

    def log_exception(self, *_: Any) -> None:
        """Say nothing: what users need to know is a note."""

    def write_error(self, status_code: int, **_: Any) -> None:
        self.finish(f"{status_code}\n")


def page_file(name: str) -> Answer:
    """A file of the page."""
    path = Path(__file__).with_name("page") / name
    return path.read_bytes(), MEDIA_TYPES[path.suffix]
