"""Opens the staging area of a store, and keeps or discards it when writing ends."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from refspace.errors import (
    ClusterError,
    JobError,
    MissingDependencyError,
    RefspaceError,
    RemoteError,
    StoreError,
    WriteError,
)
from refspace.safe_text import shown
from refspace.store.location import Location
from refspace.store.staging.job import (
    JOURNAL,
    RECORD,
    canonical,
    checksummed,
    finished_job,
    verified_payload,
)
from refspace.store.staging.local import LocalStagingArea
from refspace.store.staging.remote import RemoteStagingArea
from refspace.store.staging.staging_area import RESUME, StagingArea
from refspace.store.staging.write_lease import WriteLease
from refspace.store.zarr_files import ZARR_JSON

_RECORD_NAME = re.compile(r"[A-Za-z0-9._-]+")


class Staging:
    """A store in the making, as `open_staging` yields it.

    Parameters
    ----------
    area
        Where it is written.
    """

    def __init__(self, area: StagingArea) -> None:
        self._area = area

    @property
    def work(self) -> str:
        """Path or URL of the group to write to."""
        return self._area.work

    @property
    def storage_options(self) -> Mapping[str, Any]:
        """What fsspec needs to reach it."""
        return self._area.storage_options

    @property
    def finished(self) -> bool:
        """Whether the store is complete already, of the very same job: there is nothing to do."""
        return self._area.finished

    @property
    def lease(self) -> WriteLease:
        """Permission to write to it, for tasks in other processes."""
        return self._area.lease

    def recorded(self) -> dict[str, bytes]:
        """Payloads of the records that an interrupted run of the same job has left, by name.

        Damaged records are left out, and those of any other job.
        """
        records = sorted(self._area.records())
        job = self._area.digest
        payloads = {name: verified_payload(job, name, record) for name, record in records}
        return {name: payload for name, payload in payloads.items() if payload is not None}

    def record(self, name: str, payload: bytes, files: Sequence[str] = ()) -> None:
        """Record durably that a part of the work is done. Threads may do so at the same time.

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
        self._area.put(name + RECORD, checksummed(self._area.digest, name, payload), files)

    def complete(self, objects: Mapping[str, bytes], voxels: Collection[str]) -> None:
        """Write all that is not voxels, and let the store appear.

        Parameters
        ----------
        objects
            Metadata, coordinates and tables, by key; the root metadata among them.
        voxels
            Keys of the objects that were written before. On a file system, all others are removed:
            a killed run has left them.
        """
        location = Location(self.work, self.storage_options)
        folder = location.local_path
        # A process that holds a lock file is the writer until it ends; any other one looks.
        write = location.write if folder is not None else self.lease.write
        beside_root = {key: data for key, data in objects.items() if key != self._area.root_key}
        for key, data in beside_root.items():
            write(key, data)
        there = location.keys()
        if missing := sorted({*beside_root, *voxels} - there):
            raise StoreError(
                f"{self.work} has lost {len(missing)} of its objects while it was written, like "
                f"{missing[0]}; see who else writes or removes there, then run the same again"
            )
        if folder is not None:
            for key in there.difference(objects, voxels):
                if not key.startswith(JOURNAL):
                    (folder / key).unlink()
        self.commit(objects[self._area.root_key])

    def commit(self, root: bytes) -> None:
        """Let the store appear, complete.

        Parameters
        ----------
        root
            Root metadata. Its attributes hold, as ``refspace`` (of a plain store for other programs
            as ``refspace_export``), ``complete: true`` and as ``job`` what `job_digest` returns.

        Raises
        ------
        StoreError
            If that is not so, if the store is complete already, or if something has taken its name
            or its lock meanwhile.
        """
        if not self._area.writing:
            raise StoreError(f"{self.work}: there is nothing to commit; the store is complete")
        if finished_job(root) != self._area.digest:
            raise StoreError("the root metadata must say complete: true, and the job's digest")
        self._area.commit(root)


@contextmanager
def open_staging(
    target: str,
    *,
    job: Mapping[str, Any],
    resume: bool = False,
    overwrite: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    doubt: str | None = None,
    root_key: str = ZARR_JSON,
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
    doubt
        Why another run of this job may be one of other voxels. Then no run goes on with another:
        one that is unfinished is discarded, with a warning, and one that is interrupted leaves
        nothing.
    root_key
        Key of the root metadata: ``zarr.json``, or ``.zattrs`` of a store of zarr v2.

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
        job.
    WriteError
        If there is no space left, or no right to write.

    Examples
    --------
    >>> import json, tempfile
    >>> from pathlib import Path
    >>> from refspace.store.staging import job_digest
    >>> target, job = Path(tempfile.mkdtemp(), "atlas.zarr"), {"source": "annotation.nrrd"}
    >>> metadata = {"complete": True, "job": job_digest(job)}
    >>> with open_staging(str(target), job=job) as staging:
    ...     _ = Path(staging.work, "voxels").write_bytes(b"997")
    ...     staging.record("voxels", b"3 bytes", ["voxels"])
    ...     staging.commit(json.dumps({"attributes": {"refspace": metadata}}).encode())
    >>> sorted(path.name for path in target.iterdir())
    ['voxels', 'zarr.json']
    """
    area = _area(target, storage_options, canonical(job), overwrite, root_key)
    area.doubt = doubt
    with ExitStack() as stack:
        try:
            stack.enter_context(area.locked())
            area.begin(resume=resume and doubt is None)
            yield Staging(area)
            _discard(area)
        except (KeyboardInterrupt, SystemExit) as stop:
            if area.writing and doubt is None:
                area.leave_for_resume(stop)
            else:
                _discard(area, stop)
            raise
        except BaseException as error:
            explained = area.explain(error)  # before it makes room
            raised = explained or error
            stays = doubt is None and _will_pass(error)
            if area.writing and stays and _is_worth_keeping(area):
                area.leave_for_resume(raised)
            else:
                _discard(area, raised)
            if explained is not None:
                raise explained from error
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
    # The package that writes to it may be missing where the store is only read.
    with suppress(OSError, MissingDependencyError):
        if leftover := _area(target, storage_options, b"", overwrite=False).leftover():
            return f"{leftover}; run it again with {RESUME}"
    return None


def _area(
    target: str,
    storage_options: Mapping[str, Any] | None,
    job: bytes,
    overwrite: bool,
    root_key: str = ZARR_JSON,
) -> StagingArea:
    location = Location(target, storage_options or {})
    if (path := location.local_path) is None:
        return RemoteStagingArea(location, job, overwrite, root_key)
    # Through a symbolic link, to what it names.
    return LocalStagingArea(path.resolve(), job, overwrite, root_key)


def _discard(area: StagingArea, error: BaseException | None = None) -> None:
    """Remove unfinished work, if there is any; a failure to do so does not hide the error."""
    try:
        if area.writing:
            area.discard()
    except Exception as fault:
        if error is None:
            raise
        error.add_note(shown(f"what was written to {area.work} could not be removed: {fault}"))


def _will_pass(error: BaseException) -> bool:
    """Whether the same job may succeed at another time, with what is done already."""
    if isinstance(error, RefspaceError):
        return isinstance(error, RemoteError | ClusterError | JobError | WriteError)
    return isinstance(error, OSError)


def _is_worth_keeping(area: StagingArea) -> bool:
    """Whether anything is recorded, or the records cannot be read."""
    try:
        return any(True for _ in area.records())
    except Exception:  # of a network that is gone
        return True
