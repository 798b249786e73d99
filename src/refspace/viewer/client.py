"""Where neuroglancer's client for browsers is: the files that its package ships."""

import importlib.util
from pathlib import Path

from refspace.errors import MissingDependencyError

MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".wasm": "application/wasm",
}


def client_files() -> dict[str, Path]:
    """Files of neuroglancer's client by name.

    Raises
    ------
    MissingDependencyError
        If the package is not installed.
    """
    # Found, and not imported: its Python side is not needed.
    spec = importlib.util.find_spec("neuroglancer")
    if spec is None or spec.origin is None:
        raise MissingDependencyError(
            "the viewer needs the package neuroglancer: pip install 'refspace[viewer]'"
        )
    folder = Path(spec.origin).with_name("static") / "client"
    files = {path.name: path for path in folder.glob("*") if path.suffix in MEDIA_TYPES}
    if "index.html" not in files:
        raise MissingDependencyError(
            f"{folder} has no web client; install neuroglancer from PyPI: pip install "
            "--force-reinstall neuroglancer"
        )
    return files
