"""Leave to write into a store in the making, for those who do not hold its lock."""

import socket
from dataclasses import dataclass

from refspace.errors import StoreError
from refspace.store.location import Location
from refspace.store.staging.job import JOB, digest


@dataclass(frozen=True)
class Ticket:
    """Names a job, so that a task of it does not write into the store of another.

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
        """Make sure that the job goes on, and that its store is seen from here.

        Raises
        ------
        StoreError
            If it is not so.
        """
        found = self.location.read(JOB)
        if found is None:
            raise StoreError(
                f"{socket.gethostname()} sees no store in the making at {self.location.url}: "
                "its job was ended, or the folder is not on a disk that all workers share; give "
                "one that is, or a URL like s3://"
            )
        if digest(found) != self.job:
            raise StoreError(f"{self.location.url} is written by another job now")
