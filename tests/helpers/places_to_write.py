"""Places where nothing can be written: full, read-only, and without the right to."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_NOBODY = 65534


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of a few bytes; skips where none can be made."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        made = subprocess.run(mount, check=False, capture_output=True)
    except OSError:
        pytest.skip("there is no mount")
    if made.returncode:
        pytest.skip("may not mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@contextmanager
def full_disk(folder: Path) -> Iterator[Path]:
    """A file system on which folders and files can be made, but there is no room for bytes."""
    with small_disk(folder, "64k") as disk:
        with (disk / "filling").open("wb", buffering=0) as file:
            while True:
                try:
                    file.write(bytes(4096))
                except OSError:
                    break
        yield disk


@contextmanager
def read_only_disk(folder: Path) -> Iterator[Path]:
    """A file system that takes no changes."""
    with small_disk(folder, "64k") as disk:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        yield disk


@contextmanager
def forbidden_folder(folder: Path) -> Iterator[Path]:
    """A folder to which this process may not write."""
    folder.mkdir()
    folder.chmod(0o555)
    is_root = os.geteuid() == 0
    try:
        if is_root:  # who may everything
            os.seteuid(_NOBODY)
        yield folder
    finally:
        if is_root:
            os.seteuid(0)
        folder.chmod(0o755)


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that everybody may read, other than those that pytest makes."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
