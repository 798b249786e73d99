"""Fixtures of tests alone."""

from collections.abc import Iterator

import pytest
from distributed import Client
from helpers.clusters import cluster_of


@pytest.fixture(scope="session")
def cluster() -> Iterator[Client]:
    """Client of two worker processes of one thread each; tests leave it as it was."""
    with cluster_of(2) as client:
        yield client
