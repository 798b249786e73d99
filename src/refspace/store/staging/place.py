"""What local and remote places of a store in the making have in common."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from refspace.errors import StoreError
from refspace.store.staging.job import differences, digest

RESUME = "the same command or call"
"""What continues an unfinished run."""

OVERWRITE = "--overwrite (Python: overwrite=True)"
"""What replaces a store, or discards an unfinished one."""


class Place(ABC):
    """Where a store is written.

    Parameters
    ----------
    work
        Path or URL of the group to write to.
    job
        Canonical JSON of the job.
    overwrite
        Whether what is there may be replaced.
    """

    def __init__(self, work: str, job: bytes, overwrite: bool) -> None:
        self.work = work
        self.storage_options: Mapping[str, Any] = {}
        self.job = job
        self.digest = digest(job)
        self.overwrite = overwrite
        self.finished = False
        # Whether there is unfinished work, and it is ours.
        self.writing = False

    @abstractmethod
    def locked(self) -> AbstractContextManager[None]:
        """Keep other writers out."""

    @abstractmethod
    def begin(self, *, resume: bool) -> None:
        """Refuse, or find what there is to resume, or start anew."""

    @abstractmethod
    def records(self) -> Iterator[tuple[str, bytes]]:
        """Names and contents of what looks like a record."""

    @abstractmethod
    def put(self, name: str, data: bytes, files: Sequence[str] = ()) -> None:
        """Add a file to the journal, once the files of the store that it speaks of are safe."""

    @abstractmethod
    def commit(self, root: bytes) -> None:
        """Write the root metadata, and let the store appear."""

    @abstractmethod
    def keep(self, stop: BaseException) -> None:
        """Leave unfinished work to be resumed, and note how."""

    @abstractmethod
    def abandon(self) -> None:
        """Remove unfinished work."""

    @abstractmethod
    def leftover(self) -> str | None:
        """What an interrupted run has left."""

    @abstractmethod
    def space(self) -> str:
        """Where space is short, and what became of an old store."""

    def refuse_other_job(self, found: bytes | None) -> None:
        """Refuse to resume what was begun with other arguments."""
        if found != self.job:
            raise StoreError(
                f"the unfinished conversion in {self.work} is another job: "
                f"{differences(found, self.job)}; continue it with what it was begun with, "
                f"or discard it with {OVERWRITE}"
            )

    def unfinished(self) -> str:
        """Why not to start anew."""
        return (
            f"an unfinished conversion lies in {self.work}; "
            f"continue it with {RESUME}, or discard it with {OVERWRITE}"
        )


def exists(target: str) -> str:
    """Why not to replace a store."""
    return f"{target} exists; give another name, or replace it with {OVERWRITE}"


def foreign(target: str) -> str:
    """Why never to replace what is no store: nobody shall lose a folder to a typing error."""
    return (
        f"{target} exists, is not empty and is no zarr store: it is never overwritten; "
        "give another name"
    )
