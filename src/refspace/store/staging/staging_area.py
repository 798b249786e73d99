"""Where a store is written until it is complete: what local and remote areas have in common."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NoReturn

from refspace.errors import StoreError, WriteError
from refspace.store.location import Location
from refspace.store.staging.job import differences, digest
from refspace.store.staging.write_lease import WriteLease
from refspace.store.zarr_files import ZARR_JSON

RESUME = "the same command or call"
"""What continues an unfinished run."""

OVERWRITE = "--overwrite (Python: overwrite=True)"
"""What replaces a store, or discards an unfinished one."""


class StagingArea(ABC):
    """Where a store is written until it is complete.

    Parameters
    ----------
    location
        The group to write to.
    job
        Canonical JSON of the job.
    overwrite
        Whether what is there may be replaced.
    root_key
        Key of the metadata that make it a complete store: those written last.
    """

    doubt: str | None = None
    """Why another run of this job may be one of other voxels, so that none goes on with it."""

    def __init__(
        self, location: Location, job: bytes, overwrite: bool, root_key: str = ZARR_JSON
    ) -> None:
        self.root_key = root_key
        self.work = location.url
        self.storage_options: Mapping[str, Any] = location.storage_options
        self.job = job
        self.digest = digest(job)
        # Begins with the writing.
        self.lease = WriteLease.new(location, self.digest)
        self.overwrite = overwrite
        self.finished = False
        # Whether there is unfinished work, and this process is its writer.
        self.writing = False

    @abstractmethod
    def locked(self) -> AbstractContextManager[None]:
        """Keep other writers out."""

    @abstractmethod
    def begin(self, *, resume: bool) -> None:
        """Refuse, or go on with an unfinished run, or start anew."""

    @abstractmethod
    def records(self) -> Iterator[tuple[str, bytes]]:
        """Names and contents of the files that may be records."""

    @abstractmethod
    def put(self, name: str, data: bytes, files: Sequence[str] = ()) -> None:
        """Add a file to the journal, once the files of the store that it records are safe."""

    @abstractmethod
    def commit(self, root: bytes) -> None:
        """Write the root metadata, and let the store appear."""

    @abstractmethod
    def leave_for_resume(self, stop: BaseException) -> None:
        """Leave unfinished work to be resumed, and add a note that says how."""

    @abstractmethod
    def discard(self) -> None:
        """Remove unfinished work."""

    @abstractmethod
    def leftover(self) -> str | None:
        """What an interrupted run has left."""

    @abstractmethod
    def explain(self, error: BaseException) -> WriteError | None:
        """Why nothing can be written, and what became of an old store, if an error is of that."""

    def refuse_other_job(self, job: bytes | None) -> None:
        """Refuse to resume what was begun with other arguments."""
        if job != self.job:
            raise StoreError(
                f"the unfinished conversion in {self.work} is another job: "
                f"{differences(job, self.job)}; continue it with what it was begun with, "
                f"or discard it with {OVERWRITE}"
            )

    def begins_anew(self, job: bytes | None) -> bool:
        """Whether unfinished work is of this job, but cannot be gone on with; tell so if it is."""
        if self.doubt is None or job != self.job:
            return False
        warnings.warn(
            f"the unfinished conversion in {self.work} is not continued, but begun anew: whether "
            f"its voxels are the same cannot be proven: {self.doubt}",
            stacklevel=2,
        )
        return True

    def refuse_unfinished(self) -> NoReturn:
        """Refuse to start anew over unfinished work."""
        raise StoreError(
            f"an unfinished conversion lies in {self.work}; "
            f"continue it with {RESUME}, or discard it with {OVERWRITE}"
        )


def refuse_existing(target: str, doubt: str | None = None) -> NoReturn:
    """Refuse to replace a store, which may be one of the same job if there is a doubt."""
    unsure = f", and cannot be proven to hold the same voxels: {doubt}" if doubt else ""
    raise StoreError(f"{target} exists{unsure}; give another name, or replace it with {OVERWRITE}")


def refuse_foreign(target: str) -> NoReturn:
    """Refuse to replace what is no store, ever: a typing error must not cost anyone a folder."""
    raise StoreError(
        f"{target} exists, is not empty and is no zarr store: it is never overwritten; "
        "give another name"
    )
