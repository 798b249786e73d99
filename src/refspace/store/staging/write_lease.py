"""Permission to write into a store in the making, for tasks in other processes."""

import socket
from dataclasses import dataclass

from refspace.errors import StoreError
from refspace.store.location import Location
from refspace.store.staging.job import JOB, digest


@dataclass(frozen=True)
class WriteLease:
    """Permission to write for the tasks of one job, as long as that job goes on.

    The process that holds the lock may die while its tasks go on elsewhere; another one may finish
    the store meanwhile, or begin a new one in its place.

    Parameters
    ----------
    location
        Where the job writes.
    job
        Digest of the job.
    """

    location: Location
    job: str

    def check(self) -> None:
        """Make sure that the job goes on, and that its store is reachable from here.

        Raises
        ------
        StoreError
            If the job has ended, another one writes there, or the store cannot be reached.
        """
        job = self.location.read(JOB)
        if job is None:
            raise StoreError(
                f"{socket.gethostname()} sees no store in the making at {self.location.url}: "
                "its job was ended, or the folder is not on a disk that all workers share; give "
                "one that is, or a URL like s3://"
            )
        if digest(job) != self.job:
            raise StoreError(f"{self.location.url} is written by another job now")
