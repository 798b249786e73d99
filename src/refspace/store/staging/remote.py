"""Staging area where folders cannot be renamed: written in place, root metadata last."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from refspace.errors import StoreError, WriteError
from refspace.files import write_error
from refspace.remote.objects import file_system
from refspace.safe_text import shown
from refspace.store.location import Location
from refspace.store.staging.holder import Holder
from refspace.store.staging.job import (
    JOB,
    JOURNAL,
    LOCK_OWNER,
    RECORD,
    finished_job,
)
from refspace.store.staging.staging_area import (
    RESUME,
    StagingArea,
    refuse_existing,
    refuse_foreign,
)
from refspace.store.zarr_files import NODE_FILES, ZARR_JSON


class RemoteStagingArea(StagingArea):
    """A prefix of a file system that fsspec knows.

    Parameters
    ----------
    location
        Where the store will be.
    job
        Canonical JSON of the job.
    overwrite
        Whether a store that is there may be replaced.
    root_key
        As for `StagingArea`.
    """

    def __init__(
        self, location: Location, job: bytes, overwrite: bool, root_key: str = ZARR_JSON
    ) -> None:
        super().__init__(location, job, overwrite, root_key)
        self._location = location
        self._holder = Holder(location)
        self._fs, path = file_system(location.url, location.storage_options)
        self._path = path.rstrip("/")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Write an object that names this process: the only lock that object stores allow."""
        self._refuse_foreign()
        try:
            self._holder.acquire()
            self.lease = self._holder.lease(self.digest)
            yield
        finally:
            self._holder.release()

    # ----- the beginning

    def begin(self, *, resume: bool) -> None:
        """Refuse, or go on with an unfinished run, or start anew."""
        finished, job = finished_job(self._location.read(self.root_key)), self._location.read(JOB)
        unfinished = finished is None and job is not None
        if resume and finished == self.digest:
            self._remove(self._journal())
            self.finished = True
        elif resume and unfinished and (job == self.job or not self.overwrite):
            self.refuse_other_job(job)
            self.writing = True
        else:
            self._refuse_existing(unfinished and not self.begins_anew(job))
            self.writing = True
            self.discard()
            self.lease.write(JOB, self.job)

    def _refuse_existing(self, unfinished: bool) -> None:
        if self.overwrite:
            return
        if unfinished:
            self.refuse_unfinished()
        if not self._keys().isdisjoint(NODE_FILES):
            refuse_existing(self.work, self.doubt)

    def _refuse_foreign(self) -> None:
        if self._fs.isfile(self._path):
            raise StoreError(f"{self.work} is a file; give the name of a folder for the store")
        keys = self._keys()
        # A journal alone is left by a run that was killed while it removed a store.
        if keys and keys.isdisjoint(NODE_FILES) and not any(map(_is_journal, keys)):
            refuse_foreign(self.work)

    # ----- the journal

    def records(self) -> Iterator[tuple[str, bytes]]:
        """Names and contents of the files that may be records."""
        for key in self._journal():
            if key.endswith(RECORD) and (data := self._location.read(key)) is not None:
                yield key.removeprefix(f"{JOURNAL}/").removesuffix(RECORD), data

    def put(self, name: str, data: bytes, files: Sequence[str] = ()) -> None:
        """Add an object to the journal; what an object store has accepted is safe."""
        self.lease.write(f"{JOURNAL}/{name}", data)

    # ----- the end

    def commit(self, root: bytes) -> None:
        """Write the root metadata, then remove the journal.

        Whoever is the writer after that has been all the time: another one begins when the store is
        complete, and of two that meet here none succeeds before the other one knows.
        """
        self._holder.check()
        if not (self.lease.conditional and self._location.create(self.root_key, root)):
            # What is there is of one that has lost its lock, or this process has.
            self._holder.check()
            self._location.write(self.root_key, root)
        self._holder.check()
        # From here on the store is complete: readers ignore the rest of a journal.
        self.writing = False
        self._remove(self._journal())
        self._holder.release()

    def leave_for_resume(self, stop: BaseException) -> None:
        """Leave unfinished work to be resumed, and add a note that says how."""
        stop.add_note(shown(f"what is done lies in {self.work}; continue it with {RESUME}"))

    def discard(self) -> None:
        """Remove everything but the lock; the metadata first, which make it a store."""
        keys = self._keys() - {LOCK_OWNER}
        for part in (keys.intersection(NODE_FILES), keys.difference(NODE_FILES)):
            # What was listed is of this writer, or older, if it is the writer still.
            if self._holder.holds():
                self._remove(part)

    # ----- for messages

    def leftover(self) -> str | None:
        """What an interrupted run has left."""
        if (
            self._location.read(JOB) is None
            or finished_job(self._location.read(self.root_key)) is not None
        ):
            return None
        return f"an unfinished conversion lies in {self.work}"

    def explain(self, error: BaseException) -> WriteError | None:
        """Why nothing can be written, if an error is of that."""
        return write_error(error, self.work)

    # ----- objects

    def _keys(self) -> set[str]:
        self._fs.invalidate_cache()
        return self._location.keys()

    def _journal(self) -> set[str]:
        return set(filter(_is_journal, self._keys())) - {LOCK_OWNER}

    def _remove(self, keys: set[str]) -> None:
        self._location.remove_keys(keys)


def _is_journal(key: str) -> bool:
    return key.startswith(f"{JOURNAL}/")
