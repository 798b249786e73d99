"""A case: files that are read together, and how they are kept in one file."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

Case = Mapping[str, bytes]
"""Content of files by their path in a folder."""


def packed(case: Case) -> bytes:
    """All files of a case in one, which is the same every time."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in sorted(case):
            entry = zipfile.ZipInfo(name)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, case[name])
    return buffer.getvalue()


def unpacked(data: bytes) -> dict[str, bytes]:
    """The files of a case."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_case(case: Case, folder: Path) -> None:
    """Write the files of a case into a folder."""
    for name, data in case.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def read_case(folder: Path) -> dict[str, bytes]:
    """The files of a folder, as a case."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
