"""Where the parts of a job are done: in threads of this process, or on workers of dask."""

from refspace.pools.choosing import pool_of
from refspace.pools.cluster import ClusterPool, connected, local_cluster
from refspace.pools.pool import Outcome, Pool, ThreadPool

__all__ = ["ClusterPool", "Outcome", "Pool", "ThreadPool", "connected", "local_cluster", "pool_of"]
