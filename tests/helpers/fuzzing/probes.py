"""What a child process is to survive: readers that do what their names say."""

import os
from pathlib import Path


def answer(folder: Path) -> bytes:
    """Read the one file."""
    return (folder / "a").read_bytes()


def take_memory(folder: Path) -> bytes:
    """Take more memory than there may be."""
    return bytes(3 * 2**30)


def die(folder: Path) -> None:
    """End the process as a fault of memory does."""
    os.abort()


def fall(folder: Path) -> None:
    """Die of one content."""
    if answer(folder) == b"die":
        os.abort()


def leave(folder: Path) -> None:
    """End the process as a program does."""
    raise SystemExit(0)
