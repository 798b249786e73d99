"""Permission to write into a store in the making, for tasks in other processes."""

import os
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from refspace.errors import StoreError
from refspace.store.location import Location
from refspace.store.staging.job import JOB, RUNS, digest

# A task may put a file into the folder of a run while that is removed.
_TRIES, _PAUSE_SECONDS = 20, 0.05


@dataclass(frozen=True)
class WriteLease:
    """Permission to write for the tasks of one run of a job, as long as that run goes on.

    The process that holds the lock may die while its tasks go on elsewhere; another one may go on
    with the job meanwhile, finish it, or begin another job in its place. Each run therefore has a
    name of its own, and ends those before it when it begins.

    On a disk the name is that of a folder, in which tasks write the files that they then rename. A
    run is ended by removing its folder: from then on, no task of it can write or rename. Elsewhere
    a task looks for the object that names the process as the only writer, before it writes. A task
    that has looked already still writes: one object, of the bytes that every run of that job writes
    there. Where objects can be created on condition, it replaces none that another run has written.
    Where they cannot, and another job has begun in its place (``overwrite=True``), readers of that
    object find out, for it is not the one that the index has recorded.

    Within a run a task may be done twice, by a worker that the scheduler took for lost and by
    another one. Both write the same bytes.

    Parameters
    ----------
    location
        Where the job writes.
    job
        Digest of the job; only what a message says depends on it.
    run
        Name of the run; on a disk, the folder that is there while it goes on.
    holder
        Elsewhere, key and content of the object that names the writer while it goes on.
    conditional
        Whether objects are created on the condition that there is none of their name.
    """

    location: Location
    job: str
    run: str
    # It tells who may write, and is in no log.
    holder: tuple[str, bytes] = field(default=("", b""), repr=False)
    conditional: bool = False

    @classmethod
    def new(cls, location: Location, job: str = "") -> "WriteLease":
        """Permission for a run that has yet to begin."""
        return cls(location, job, f"{RUNS}/{secrets.token_hex(8)}")

    def begin(self) -> None:
        """End the runs before this one, and begin it; only for the holder of the lock file."""
        end_runs(self.location)
        Path(self.location.local_path or "", self.run).mkdir(parents=True)

    def check(self) -> None:
        """Make sure that the run goes on, and that its store is reachable from here.

        Raises
        ------
        StoreError
            If the run has ended, another one writes there, or the store cannot be reached.
        """
        if not self._goes_on():
            raise self._refusal()

    def write(self, key: str, data: bytes) -> None:
        """Write an object that appears as a whole or not at all, if the run goes on.

        Raises
        ------
        StoreError
            As for `check`.
        """
        if self.location.local_path is None:
            self.check()
            if self.conditional:
                if self.location.create(key, data):
                    return
                # What is there was written before, or belongs to another run by now.
                self.check()
            self.location.write(key, data)
            return
        with self.file(key) as temporary:
            temporary.write_bytes(data)

    @contextmanager
    def file(self, key: str) -> Iterator[Path]:
        """Write a file under another name, and rename it if the run goes on; only on a disk.

        Yields
        ------
        Path
            Name to write to; it ends like the key.

        Raises
        ------
        StoreError
            As for `check`.
        """
        folder = Path(self.location.local_path or "")
        temporary = folder / self.run / f"{secrets.token_hex(4)}-{Path(key).name}"
        try:
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            # Not the store's own folder, which is gone once its job is.
            for parent in reversed(Path(key).parents[:-1]):
                (folder / parent).mkdir(exist_ok=True)
            temporary.replace(folder / key)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            # A file that was removed on another machine may be "stale", rather than not found.
            if not self._goes_on():
                raise self._refusal() from error
            raise

    def _goes_on(self) -> bool:
        if (folder := self.location.local_path) is None:
            key, content = self.holder
            return self.location.read(key) == content
        return Path(folder, self.run).is_dir()

    def _refusal(self) -> StoreError:
        url, job = self.location.url, self.location.read(JOB)
        if job is None:
            return StoreError(
                f"{socket.gethostname()} sees no store in the making at {url}: "
                "its job was ended, or the folder is not on a disk that all workers share; give "
                "one that is, or a URL like s3://"
            )
        other = "another job" if digest(job) != self.job else "another run of its job"
        return StoreError(f"{url} is written by {other} now")


def end_runs(location: Location) -> None:
    """Refuse from now on whatever tasks would write; only for the holder of the lock file."""
    _remove_for_good(Path(location.local_path or "", RUNS))


def _remove_for_good(runs: Path) -> None:
    """Remove folders into which tasks may be writing."""
    if runs.is_symlink():  # what it names is not ours
        runs.unlink()
    for _ in range(_TRIES):
        if not runs.exists():
            return
        with suppress(OSError):
            shutil.rmtree(runs)
            return
        time.sleep(_PAUSE_SECONDS)
    shutil.rmtree(runs)  # again, to learn why
