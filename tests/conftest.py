"""Fixtures of tests alone, and the marks that come with them."""

from collections.abc import Iterator

import pytest
from distributed import Client
from helpers.clusters import cluster_of
from helpers.servers import S3, seaweed

# What a test needs is its kind: nobody has to remember the mark.
MARKS = {"cluster": "cluster", "s3": "s3", "ccf_data": "ccf", "ccf_store": "ccf"}


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark a test by the fixtures that its arguments name."""
    for name in MARKS.keys() & set(getattr(item, "fixturenames", ())):
        item.add_marker(MARKS[name])


@pytest.fixture(scope="session")
def cluster() -> Iterator[Client]:
    """Client of two worker processes of one thread each; tests leave it as it was."""
    with cluster_of(2) as client:
        yield client


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """A real S3 server, which starts slowly; each test writes under names of its own."""
    with seaweed(tmp_path_factory.mktemp("seaweed")) as server:
        yield server


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody answers, wait for half a second alone."""
    monkeypatch.setattr("refspace.pools.cluster._CONNECT_SECONDS", 0.5)
