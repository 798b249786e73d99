"""Pools, which do the parts of a job: threads of this process, or the workers of a dask cluster."""

from refspace.pools.choosing import make_pool
from refspace.pools.cluster import ClusterPool, connected, local_cluster
from refspace.pools.pool import Outcome, Pool, ThreadPool

__all__ = [
    "ClusterPool",
    "Outcome",
    "Pool",
    "ThreadPool",
    "connected",
    "local_cluster",
    "make_pool",
]
