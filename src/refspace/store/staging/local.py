"""Staging area on a file system: a folder beside the store's final name, renamed at the end."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from refspace.errors import LockedError, StoreError, WriteError
from refspace.files import atomic_write, exclusive_lock, refuse_link, write_error
from refspace.store.location import Location
from refspace.store.staging.job import (
    JOB,
    JOURNAL,
    RECORD,
    finished_job,
    in_use,
    lock_owner,
)
from refspace.store.staging.staging_area import (
    RESUME,
    StagingArea,
    refuse_existing,
    refuse_foreign,
)
from refspace.store.staging.write_lease import end_runs
from refspace.store.zarr_files import NODE_FILES, ZARR_JSON, is_zarr_folder


class LocalStagingArea(StagingArea):
    """A folder, with a lock file beside it while there is a writer.

    Parameters
    ----------
    target
        Final name of the store, links resolved; its parent must exist.
    job
        Canonical JSON of the job.
    overwrite
        Whether a store of that name may be replaced.
    root_key
        As for `StagingArea`.
    """

    def __init__(
        self, target: Path, job: bytes, overwrite: bool, root_key: str = ZARR_JSON
    ) -> None:
        self._target = target
        self._folder, self._old, self._lock, self._lock_owner = (
            target.parent / f".{target.name}.{ending}"
            for ending in ("partial", "old", "lock", "lock.json")
        )
        self._journal = self._folder / JOURNAL
        super().__init__(Location(str(self._folder)), job, overwrite, root_key)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock file, which the system releases when the process ends, even if killed."""
        if not (parent := self._target.parent).is_dir():
            raise FileNotFoundError(f"folder {parent} does not exist; make it, then try again")
        self._refuse_foreign()
        for path in (self._folder, self._old, self._lock_owner):
            refuse_link(path)
        with exclusive_lock(self._lock, self._refusal):
            try:
                # Only for the message that other writers get: it may be missing, or out of date.
                with suppress(OSError):
                    self._lock_owner.write_bytes(lock_owner())
                yield
            finally:
                with suppress(OSError):
                    self._lock_owner.unlink()

    def _refusal(self) -> LockedError:
        return LockedError(in_use(str(self._target), self._read_lock_owner()))

    def _read_lock_owner(self) -> bytes | None:
        with suppress(OSError):
            return self._lock_owner.read_bytes()
        return None

    # ----- the beginning

    def begin(self, *, resume: bool) -> None:
        """Repair what a killed run has left; then refuse, go on with it, or start anew."""
        self._recover()
        if resume and finished_job(_read(self._target / self.root_key)) == self.digest:
            self._finish()
            return
        self._refuse_existing()
        unfinished = self._is_unfinished()
        if unfinished and self.begins_anew(_read(self._folder / JOB)):
            self._start()
            return
        if unfinished and not (resume or self.overwrite):
            self.refuse_unfinished()
        if unfinished and resume:
            self._resume()
        else:
            self._start()

    def _recover(self) -> None:
        """Finish the renames of a run that was killed, or take them back."""
        if not self._old.exists():
            return
        if not self._target.exists() and self._is_ready():
            self._publish()
        elif not self._target.exists() and is_zarr_folder(self._old):
            self._old.rename(self._target)
        else:
            _remove(self._old)

    def _finish(self) -> None:
        # The store is complete: a second run of the job that was interrupted has nothing to add.
        if self._is_ours():
            _remove(self._folder)
        self.work, self.finished = str(self._target), True

    def _resume(self) -> None:
        if not self._is_ours():
            if self.overwrite:
                self._start()
                return
            self.refuse_other_job(_read(self._folder / JOB))
        for path in self._folder.rglob("*"):
            refuse_link(path)
        if self._is_ready():
            self._publish()
            self._finish()
        else:
            self.writing = True
            self.lease.begin()

    def _is_ours(self) -> bool:
        """Whether the folder belongs to this job, or is left of one that was being removed."""
        if (self._folder / JOB).exists():
            return _read(self._folder / JOB) == self.job
        return finished_job(_read(self._folder / self.root_key)) in (None, self.digest)

    def _start(self) -> None:
        _remove(self._folder)
        self.writing = True
        self._journal.mkdir(parents=True)
        self.lease.begin()
        self.put(Path(JOB).name, self.job)
        _sync(self._folder)
        _sync(self._target.parent)

    def _refuse_existing(self) -> None:
        self._refuse_foreign()
        if self._target.exists() and not self.overwrite:
            refuse_existing(str(self._target), self.doubt)

    def _refuse_foreign(self) -> None:
        if not self._target.exists():
            return
        if not self._target.is_dir():
            raise StoreError(f"{self._target} is a file; give the name of a folder for the store")
        if not is_zarr_folder(self._target) and any(self._target.iterdir()):
            refuse_foreign(str(self._target))

    # ----- the journal

    def records(self) -> Iterator[tuple[str, bytes]]:
        """Names and contents of the files that may be records."""
        for path in self._journal.glob(f"*{RECORD}"):
            yield path.name.removesuffix(RECORD), path.read_bytes()

    def put(self, name: str, data: bytes, files: Sequence[str] = ()) -> None:
        """Add a file to the journal, once the files that it records are on the disk."""
        folders = {self._folder / parent for key in files for parent in Path(key).parents}
        for path in [*(self._folder / key for key in files), *sorted(folders)]:
            _sync(path)
        with atomic_write(self._journal / name, through_links=False) as temporary:
            temporary.write_bytes(data)
        _sync(self._journal)

    # ----- the end

    def commit(self, root: bytes) -> None:
        """Bring all to the disk, then rename."""
        self._refuse_existing()
        end_runs(self.lease.location)
        new = self._journal / self.root_key
        new.write_bytes(root)
        new.replace(self._folder / self.root_key)
        for path in [*self._folder.rglob("*"), self._folder]:
            _sync(path)
        # From here on the work is ready.
        (self._folder / JOB).unlink()
        self._publish()

    def _publish(self) -> None:
        """Give the folder, which is ready, its final name."""
        if self._journal.exists():
            shutil.rmtree(self._journal)
        _sync(self._folder)
        if self._target.exists():
            self._target.rename(self._old)
        self._folder.rename(self._target)
        _sync(self._target.parent)
        _remove(self._old)
        self.writing = False

    def leave_for_resume(self, stop: BaseException) -> None:
        """Leave unfinished work to be resumed, and add a note that says how."""
        self._recover()
        if self._is_unfinished():
            stop.add_note(f"what is done lies in {self._folder}; continue it with {RESUME}")

    def discard(self) -> None:
        """Put things back as they were."""
        if self._old.exists() and not self._target.exists():
            self._old.rename(self._target)
        _remove(self._folder)

    def _is_ready(self) -> bool:
        """Whether all is written, and only the renames are missing."""
        root = _read(self._folder / self.root_key)
        return not (self._folder / JOB).exists() and finished_job(root) is not None

    def _is_unfinished(self) -> bool:
        """Whether there is work to resume; any other folder was about to be removed."""
        return (self._folder / JOB).exists() or self._is_ready()

    # ----- for messages

    def leftover(self) -> str | None:
        """What an interrupted run has left."""
        if self._is_unfinished():
            return f"an unfinished conversion lies in {self._folder}"
        if self._old.exists() and not self._target.exists():
            return f"an interrupted conversion has moved the store to {self._old}"
        return None

    def explain(self, error: BaseException) -> WriteError | None:
        """Why nothing can be written, and what became of an old store, if an error is of that."""
        is_there = self._target.exists()
        return write_error(error, self._target, "the old store is untouched" if is_there else "")


def _remove(folder: Path) -> None:
    """Remove a store; its metadata first, so that what is left does not look like a store."""
    if not folder.exists():
        return
    if (folder / JOURNAL).is_symlink():  # what it names is not ours
        (folder / JOURNAL).unlink()
    for key in (*NODE_FILES, JOB):
        (folder / key).unlink(missing_ok=True)
    end_runs(Location(str(folder)))
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():  # again, to learn why
        shutil.rmtree(folder)


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _sync(path: Path) -> None:
    """Wait until a file, or the list of a folder's files, is on the disk."""
    if os.name == "nt" and path.is_dir():
        return  # Windows has no such call
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
