"""HTTP server that answers each request late: ``python -m benchmarks.server FOLDER SECONDS``."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.timing import REQUESTS

REPOSITORY = Path(__file__).resolve().parents[1]
TESTS = REPOSITORY / "tests"


def serve(folder: str, seconds: float) -> None:
    """Serve a folder until the standard input ends, and print the URL; each answer takes a time."""
    sys.path.append(str(TESTS))
    from helpers.serving import Fault, Request, Server

    class Counting(Server):
        def content(self, path: str) -> bytes | None:
            if path == f"/{REQUESTS}":
                return str(sum(each.path != path for each in self.requests)).encode()
            return super().content(path)

    def late(request: Request) -> Fault:
        return Fault(seconds=0 if request.path == f"/{REQUESTS}" else seconds)

    with Counting(folder, late) as server:
        print(server.url, flush=True)
        sys.stdin.read()


@contextmanager
def served(folder: Path, milliseconds: float) -> Iterator[str]:
    """URL of a folder behind a server in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.server", str(folder), str(milliseconds / 1e3)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.communicate()


if __name__ == "__main__":
    serve(sys.argv[1], float(sys.argv[2]))
