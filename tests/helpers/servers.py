"""Real servers for tests: nginx, an S3 server, and a proxy that breaks what passes through it."""

import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from helpers.serving import Faults, Server

_SECONDS = 60


def program(name: str) -> str:
    """Path of a server's program; without it the test is skipped."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name, path=_PATHS)
    return found or pytest.skip(f"{name} is not installed")


_PATHS = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))


class Proxy(Server):
    """What another server has, with faults.

    Parameters
    ----------
    upstream
        URL of the other server, without a slash at the end.
    faults
        As for `Server`.
    """

    def __init__(self, upstream: str, faults: Faults = ()) -> None:
        super().__init__({}, faults)
        self.upstream = upstream

    def content(self, path: str) -> bytes | None:
        """Content of a file of the other server; None if there is none."""
        try:
            with urllib.request.urlopen(f"{self.upstream}{path}") as answer:
                data: bytes = answer.read()
        except urllib.error.HTTPError:
            return None
        return data


@contextmanager
def nginx(folder: Path, work: Path, *, cors: bool = False) -> Iterator[str]:
    """URL at which nginx serves a folder: ranges, and no listing; to any page, where asked for."""
    port = free_ports(1)[0]
    config = work / "nginx.conf"
    header = "add_header Access-Control-Allow-Origin *;" if cors else ""
    config.write_text(
        f"""
        daemon off; master_process off; user root;
        pid {work}/nginx.pid; error_log {work}/error.log;
        events {{ worker_connections 256; }}
        http {{
            access_log {work}/access.log;
            client_body_temp_path {work}/body; proxy_temp_path {work}/proxy;
            fastcgi_temp_path {work}/fastcgi; uwsgi_temp_path {work}/uwsgi;
            scgi_temp_path {work}/scgi;
            server {{ listen 127.0.0.1:{port}; root {folder}; autoindex off; {header} }}
        }}
        """
    )
    with _running([program("nginx"), "-c", str(config), "-p", str(work)], work, port):
        yield f"http://127.0.0.1:{port}"


@dataclass(frozen=True)
class S3:
    """A running S3 server: everybody may read, who knows the key may write and list."""

    endpoint: str

    @property
    def writer(self) -> dict[str, Any]:
        """Storage options of s3fs with the key."""
        return {"key": "writer", "secret": "very-secret", "endpoint_url": self.endpoint}

    @property
    def reader(self) -> dict[str, Any]:
        """Storage options of s3fs without an account."""
        return {"anon": True, "endpoint_url": self.endpoint}


@contextmanager
def seaweed(work: Path) -> Iterator[S3]:
    """A real S3 server, with the bucket ``atlases``."""
    identities = [
        {"name": "anonymous", "actions": ["Read"]},
        {
            "name": "writer",
            "credentials": [{"accessKey": "writer", "secretKey": "very-secret"}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        },
    ]
    (work / "s3.json").write_text(json.dumps({"identities": identities}))
    ports = free_ports(8)
    names = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc")
    names = (*names, "filer.port", "filer.port.grpc", "s3.port", "s3.port.grpc")
    command = [program("weed"), "server", "-s3", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    command += [f"-{name}={port}" for name, port in zip(names, ports, strict=True)]
    command += [f"-dir={work}", f"-s3.config={work}/s3.json"]
    # Fixed ports of what is not asked for: two servers at once would not start.
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0"]
    command += ["-master.telemetry=false", "-master.volumeSizeLimitMB=64", "-volume.max=20"]
    with _running(command, work, ports[6]):
        server = S3(f"http://127.0.0.1:{ports[6]}")
        _make_bucket(server)
        yield server


def _make_bucket(server: S3) -> None:
    import s3fs

    deadline = time.monotonic() + _SECONDS
    while True:
        try:
            s3fs.S3FileSystem(**server.writer, skip_instance_cache=True).mkdir("atlases")
            return
        except Exception:
            # It answers before its parts have found each other.
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on.

    Below those that systems give to whoever calls a server: other tests do that all the time.
    """
    ports: list[int] = []
    while len(ports) < count:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in ports:
                ports.append(port)
    return ports


@contextmanager
def _running(command: Sequence[str], work: Path, port: int) -> Iterator[None]:
    """Run a server until the block ends; it has begun when its port answers."""
    with (work / "output.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=work)
    try:
        _await(process, port, work)
        yield
    finally:
        # Asked to end, an S3 server takes half a minute; what it has is of no more use.
        process.kill()
        process.wait()


def _await(process: subprocess.Popen[bytes], port: int, work: Path) -> None:
    deadline = time.monotonic() + _SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                text = (work / "output.log").read_text(errors="replace")
                pytest.fail(f"the server did not start: {text[-2000:]}")
            time.sleep(0.1)
