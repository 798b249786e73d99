"""Which pool a job uses: threads of this process, or the workers of a dask cluster."""

import operator
import sys
from typing import TYPE_CHECKING, SupportsIndex

import dask

from refspace.errors import SourceError
from refspace.pools.cluster import ClusterPool
from refspace.pools.pool import Pool, ThreadPool

if TYPE_CHECKING:
    from distributed import Client as Client

# Values of dask's setting ``scheduler`` with which dask itself uses an active client.
_LETS_CLIENT = (None, "distributed", "dask.distributed")


def make_pool(threads: int | None = None, client: "Client | None" = None) -> Pool:
    """Make the pool that a job uses, from the arguments that its caller gave.

    With neither, the pool is that of the active client, which `dask.compute` would use too: the
    default client of this process, or within a task of dask the client of its worker. A job within
    a task uses the whole cluster, as a computation of dask within a task does, and lends its own
    thread meanwhile: ``client.submit(refspace.write_masks, …)`` is as fast as the plain call.
    Without an active client the pool has as many threads as the machine has cores.

    Parameters
    ----------
    threads
        Number of threads of this process.
    client
        Client of a dask cluster, whose workers do the work.

    Raises
    ------
    SourceError
        If both are given, the number is no number of threads, or the client is none whose tasks
        can be waited for.

    Examples
    --------
    >>> make_pool(threads=3).threads
    3
    """
    if threads is not None and client is not None:
        raise SourceError(
            f"threads is {threads} and client is {client}, and a job uses one of them; give "
            "threads for threads of this process, or client for the workers of a dask cluster"
        )
    if threads is not None:
        return ThreadPool(_thread_count(threads))
    if client is not None:
        return ClusterPool(_usable_client(client))
    client = _active_client()
    return ThreadPool() if client is None else ClusterPool(client)


def _thread_count(threads: object) -> int:
    if not isinstance(threads, SupportsIndex) or operator.index(threads) < 1:
        raise SourceError(f"threads is {threads!r}; give a number of threads, 1 or more")
    return operator.index(threads)


def _usable_client(client: "Client") -> "Client":
    """Client that was given, if a job can use it: anything may be given."""
    distributed = sys.modules.get("distributed")
    if distributed is None or not isinstance(client, distributed.Client):
        raise SourceError(f"client is {client!r}; give a distributed.Client")
    if client.asynchronous:
        raise SourceError(
            f"client is {client!r}, which is asynchronous, and a job waits for its tasks; give a "
            "distributed.Client without asynchronous=True"
        )
    return client


def _active_client() -> "Client | None":
    """Client that dask itself would use now; None if it would use threads."""
    # Where distributed is not imported there is no client, and importing it takes long.
    if (distributed := sys.modules.get("distributed")) is None:
        return None
    if dask.config.get("scheduler", None) not in _LETS_CLIENT:
        return None
    try:
        client: Client = distributed.get_client()
    except ValueError:  # there is none
        return None
    # A client whose connection is lost counts: its job fails, and does not move to this machine.
    # An asynchronous one does not: a job waits for its tasks in the thread of its caller.
    if client.status in ("closing", "closed") or client.asynchronous:
        return None
    return client
