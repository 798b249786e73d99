"""What is in a folder."""

from pathlib import Path


def names(folder: Path) -> list[str]:
    """Names of what a folder holds."""
    return sorted(path.name for path in folder.iterdir())


def contents(folder: Path) -> dict[str, bytes]:
    """Content of all files below a folder, by path."""
    files = (path for path in Path(folder).rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def journal(partial: Path) -> list[Path]:
    """Records in the journal of an unfinished store.

    Those that are being written, or were when their writer was killed, have names with a dot in
    front: nothing is recorded by them.
    """
    return sorted((partial / ".refspace").glob("[!.]*.record"))
