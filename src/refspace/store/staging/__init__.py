"""Writing a store that appears whole or not at all, and resuming an interrupted run.

On a file system a store ``X.zarr`` is written beside its final name, and renamed at the end::

    .X.zarr.lock, .X.zarr.lock.json   held while there is a writer; its name
    .X.zarr.partial/                  the store in the making, with its journal in .refspace/
    .X.zarr.old/                      the store that it replaces, for the instant of the renames

The unfinished folder is *ready* when its root metadata says so and its job is gone from the
journal: all is on the disk, and only the renames are missing. A run that is killed leaves one of
these states, and the next one repairs it:

=======  =====  ==========  ============================================================
X.zarr   old    partial     what the next run does
=======  =====  ==========  ============================================================
any      none   unfinished  goes on with it, refuses, or discards it, by its options
any      none   ready       renames it, if it is to resume that very job
none     there  ready       renames it, removes the old one
none     there  not ready   moves the old one back
there    there  any         removes the old one
=======  =====  ==========  ============================================================

Tasks of a cluster may outlive the run that sent them. A run has a folder under ``.refspace/runs/``,
which goes when the run ends or another one begins, and then no task of it writes: see `WriteLease`.

Any other file system that fsspec knows cannot rename a folder: there objects are written in
place, the root metadata last; without it there is no store yet. The journal, and an object that
names the writer (see `Holder`), are under ``X.zarr/.refspace/``.
"""

from refspace.store.staging.holder import Holder, exclusive
from refspace.store.staging.job import EXPORT, JOURNAL, job_digest
from refspace.store.staging.recorder import Recorder
from refspace.store.staging.staging import Staging, leftover_hint, open_staging
from refspace.store.staging.write_lease import WriteLease, end_runs

__all__ = [
    "EXPORT",
    "JOURNAL",
    "Holder",
    "Recorder",
    "Staging",
    "WriteLease",
    "end_runs",
    "exclusive",
    "job_digest",
    "leftover_hint",
    "open_staging",
]
