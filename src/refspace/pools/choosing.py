"""Pools from what a caller says of them."""

from typing import TYPE_CHECKING

from refspace.pools.cluster import ClusterPool
from refspace.pools.pool import Pool, ThreadPool

if TYPE_CHECKING:
    from distributed import Client as Client


def pool_of(threads: int | None = None, client: "Client | None" = None) -> Pool:
    """Pool of threads, or of the workers that a client of dask has.

    Parameters
    ----------
    threads
        Number of threads; as many as there are cores if not given.
    client
        Client of a dask cluster, whose workers do the work instead.

    Examples
    --------
    >>> pool_of(threads=3).threads
    3
    """
    return ThreadPool(threads) if client is None else ClusterPool(client)
