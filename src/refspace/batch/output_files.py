"""Files of a job, one of each structure: their names, checksums, and who may write them.

Their folder holds, beside them::

    FOLDER/.refspace/NAME.json                a file's checksum, and what it was made of
    FOLDER/.refspace/runs/0123456789abcdef/   files that are being written
"""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from refspace.batch.sealing import sealed, unsealed
from refspace.errors import LockedError, StoreError
from refspace.files import exclusive_lock, make_folder, refuse_link
from refspace.store import Location
from refspace.store.masks import write_whole
from refspace.store.staging import WriteLease, end_runs, exclusive

JOURNAL = ".refspace"


@dataclass(frozen=True)
class OutputFile:
    """A file that holds what was made of a structure.

    Parameters
    ----------
    structure
        Id of the structure.
    name
        Name of the file in its folder.
    identity
        Digest that distinguishes its content from any other; empty where nothing does.
    """

    structure: int
    name: str
    identity: str

    @property
    def record(self) -> str:
        """Name of the object that holds its checksum."""
        return f"{JOURNAL}/{self.name}.json"


def is_proven(location: Location, file: OutputFile) -> bool:
    """Whether a file is there whose checksum matches that of the same content."""
    if (recorded := recorded_digest(location, file)) is None:
        return False
    data = location.read(file.name)
    return data is not None and hashlib.sha256(data).hexdigest() == recorded


def recorded_digest(location: Location, file: OutputFile) -> str | None:
    """Checksum that a file of the same content was recorded to have; None without a record."""
    record = unsealed(location.read(file.record) or b"", ("identity", "sha256"))
    if record is None or not file.identity or record["identity"] != file.identity:
        return None
    return str(record["sha256"])


def record_digest(location: Location, file: OutputFile, digest: str) -> None:
    """Record the checksum of a file that is whole."""
    record = {"identity": file.identity, "sha256": digest}
    write_whole(location, file.record, sealed(record))


@contextmanager
def exclusive_folder(
    location: Location, what: str, unfinished: "re.Pattern[str]", *, instead: str = ""
) -> Iterator[WriteLease]:
    """Hold the lock of the folder; permission to write for tasks.

    Parameters
    ----------
    location
        The folder.
    what
        What is written, for messages, like ``"masks"``.
    unfinished
        Names that `atomic_write` gives to files, and to their records, while it writes them.
    instead
        What else may be given in the place of a folder, for a message.

    Raises
    ------
    LockedError
        If another process writes there.
    StoreError
        If it is a file, or has a symbolic link in the place of what is written.
    """
    folder = location.local_path
    if folder is None:
        with exclusive(location) as holder:
            yield holder.lease()
        return
    if folder.exists() and not folder.is_dir():
        raise StoreError(f"{folder} is a file; give the name of a folder for the {what}{instead}")
    journal = folder / JOURNAL
    if not folder.parent.is_dir():
        raise FileNotFoundError(f"folder {folder.parent} does not exist; make it, then try again")
    refuse_link(journal)
    make_folder(journal)
    message = f"another process writes {what} to {folder}; wait until that has ended, or end it"
    with exclusive_lock(journal / "lock", lambda: LockedError(message)):
        _remove_leftovers(folder, unfinished)
        lease = WriteLease.new(location)
        lease.begin()
        try:
            yield lease
        finally:
            end_runs(location)


def _remove_leftovers(folder: Path, unfinished: "re.Pattern[str]") -> None:
    """Remove what a kill has left of files that were being written: only names of ours."""
    for parent in (folder, folder / JOURNAL):
        for path in parent.iterdir():
            if unfinished.fullmatch(path.name) and path.is_file() and not path.is_symlink():
                path.unlink()
