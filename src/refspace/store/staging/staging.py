"""Stores in the making, wherever they are."""

import errno
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from refspace.errors import (
    ClusterError,
    JobError,
    MissingDependencyError,
    RefspaceError,
    RemoteError,
    StoreError,
)
from refspace.store.location import Location
from refspace.store.staging.job import RECORD, canonical, finished_job, seal, unseal
from refspace.store.staging.local import LocalPlace
from refspace.store.staging.place import RESUME, Place
from refspace.store.staging.remote import RemotePlace
from refspace.store.staging.ticket import Ticket

_RECORD_NAME = re.compile(r"[A-Za-z0-9._-]+")


class Staging:
    """A store in the making, as `open_staging` yields it.

    Parameters
    ----------
    place
        Where it is written.
    """

    def __init__(self, place: Place) -> None:
        self._place = place

    @property
    def work(self) -> str:
        """Path or URL of the group to write to."""
        return self._place.work

    @property
    def storage_options(self) -> Mapping[str, Any]:
        """What fsspec needs to reach it."""
        return self._place.storage_options

    @property
    def finished(self) -> bool:
        """Whether the store is complete already, of the very same job: there is nothing to do."""
        return self._place.finished

    @property
    def ticket(self) -> Ticket:
        """Leave to write to it, for tasks in other processes."""
        return Ticket(Location(self.work, self.storage_options), self._place.digest)

    def recorded(self) -> dict[str, bytes]:
        """Payloads of the records that an interrupted run of the same job has left, by name.

        Records that are damaged, or that are none, are passed over.
        """
        opened = ((name, unseal(name, record)) for name, record in sorted(self._place.records()))
        return {name: payload for name, payload in opened if payload is not None}

    def record(self, name: str, payload: bytes, files: Sequence[str] = ()) -> None:
        """Note for good that a part of the work is done. Threads may do so at the same time.

        Parameters
        ----------
        name
            Name of the record: letters, digits, and ``._-``.
        payload
            What `recorded` will return for it.
        files
            Keys of what was written, relative to `work`. They are on the disk before the record is.

        Raises
        ------
        StoreError
            If the name has other characters.
        """
        if not _RECORD_NAME.fullmatch(name):
            raise StoreError(f"{name!r} is no name for a record; use letters, digits and . _ -")
        self._place.put(name + RECORD, seal(name, payload), files)

    def commit(self, root: bytes) -> None:
        """Let the store appear, complete.

        Parameters
        ----------
        root
            Root metadata (``zarr.json``). Its attributes hold, as ``refspace``, ``complete: true``
            and as ``job`` what `job_digest` returns.

        Raises
        ------
        StoreError
            If that is not so, if the store is complete already, or if something has taken its name
            meanwhile.
        """
        if not self._place.writing:
            raise StoreError(f"{self.work}: there is nothing to commit; the store is complete")
        if finished_job(root) != self._place.digest:
            raise StoreError("the root metadata must say complete: true, and the job's digest")
        self._place.commit(root)


@contextmanager
def open_staging(
    target: str,
    *,
    job: Mapping[str, Any],
    resume: bool = False,
    overwrite: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> Iterator[Staging]:
    """Write a store that appears whole or not at all. One writer at a time.

    When the block raises, or ends without a commit, what it wrote is removed. It is kept, to be
    resumed, when the process is interrupted (``KeyboardInterrupt``, ``SystemExit``) or killed; and,
    if any of it is recorded, when what is wrong will pass: a full disk, a network or a cluster that
    is gone, some parts of a job that failed.

    Parameters
    ----------
    target
        Path or URL of the store; the folder that is to hold it must exist.
    job
        JSON values by name that tell this job from others. Only the same job is resumed.
    resume
        Whether to go on with an interrupted run. Without one, the job starts anew.
    overwrite
        Whether a store of that name is replaced, once the new one is complete (other than on a
        file system: at once), and an unfinished one discarded, unless it is resumed.
    storage_options
        What fsspec needs to reach the target.

    Yields
    ------
    Staging
        Where to write, and its journal.

    Raises
    ------
    FileNotFoundError
        If the folder that is to hold the store does not exist.
    LockedError
        If another process is writing the store.
    StoreError
        If the target exists, or is no store; if an unfinished run is in the way, or is another
        job; if there is no space left.

    Examples
    --------
    >>> import json, tempfile
    >>> from pathlib import Path
    >>> from refspace.store.staging import job_digest
    >>> target, job = Path(tempfile.mkdtemp(), "atlas.zarr"), {"source": "annotation.nrrd"}
    >>> facts = {"complete": True, "job": job_digest(job)}
    >>> with open_staging(str(target), job=job) as staging:
    ...     _ = Path(staging.work, "voxels").write_bytes(b"997")
    ...     staging.record("voxels", b"3 bytes", ["voxels"])
    ...     staging.commit(json.dumps({"attributes": {"refspace": facts}}).encode())
    >>> sorted(path.name for path in target.iterdir())
    ['voxels', 'zarr.json']
    """
    place = _place(target, storage_options, canonical(job), overwrite)
    with ExitStack() as stack:
        try:
            stack.enter_context(place.locked())
            place.begin(resume=resume)
            yield Staging(place)
            _abandon(place)
        except (KeyboardInterrupt, SystemExit) as stop:
            if place.writing:
                place.keep(stop)
            raise
        except BaseException as error:
            full = _no_space(error, place)  # before it makes room
            told = full or error
            if place.writing and _will_pass(error) and _is_worth_keeping(place):
                place.keep(told)
            else:
                _abandon(place, told)
            if full is not None:
                raise full from error
            raise


def leftover_hint(target: str, storage_options: Mapping[str, Any] | None = None) -> str | None:
    """What an interrupted run has left where a store is missing, and what to do; None if nothing.

    Parameters
    ----------
    target
        Path or URL of the store.
    storage_options
        What fsspec needs to reach it.

    Examples
    --------
    >>> leftover_hint("no/such/atlas.zarr") is None
    True
    """
    # What reads the store may need no package for what would write it.
    with suppress(OSError, MissingDependencyError):
        if found := _place(target, storage_options, b"", overwrite=False).leftover():
            return f"{found}; run it again with {RESUME}"
    return None


def _place(
    target: str, storage_options: Mapping[str, Any] | None, job: bytes, overwrite: bool
) -> Place:
    location = Location(target, storage_options or {})
    if (path := location.local_path) is None:
        return RemotePlace(location, job, overwrite)
    # Through a symbolic link, to what it names.
    return LocalPlace(path.resolve(), job, overwrite)


def _abandon(place: Place, error: BaseException | None = None) -> None:
    """Remove unfinished work, if there is any; a failure to do so does not hide the error."""
    try:
        if place.writing:
            place.abandon()
    except Exception as fault:
        if error is None:
            raise
        error.add_note(f"what was written to {place.work} could not be removed: {fault}")


def _will_pass(error: BaseException) -> bool:
    """Whether the same job may succeed at another time, with what is done already."""
    if isinstance(error, RefspaceError):
        return isinstance(error, RemoteError | ClusterError | JobError)
    return isinstance(error, OSError)


def _is_worth_keeping(place: Place) -> bool:
    """Whether anything is recorded, or nobody can tell."""
    try:
        return any(True for _ in place.records())
    except Exception:  # of a network that is gone
        return True


def _no_space(error: BaseException, place: Place) -> StoreError | None:
    if not isinstance(error, OSError) or error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return None
    full = StoreError(f"no space left {place.space()}; make room, or give another place")
    full.errno = error.errno
    return full
