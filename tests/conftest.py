"""Fixtures of tests alone, and the marks that come with them."""

import os
from collections.abc import Iterator

import dask
import pytest
from distributed import Client
from helpers.clusters import local_workers
from helpers.servers import S3, seaweed

# Marks that follow from what a test needs, so that none is forgotten.
MARKS = {
    "cluster": "cluster",
    "own_cluster": "cluster",
    "s3": "s3",
    "ccf_data": "ccf",
    "ccf_store": "ccf",
}


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark a test by the fixtures that its arguments name."""
    for name in MARKS.keys() & set(getattr(item, "fixturenames", ())):
        item.add_marker(MARKS[name])


@pytest.fixture(autouse=True)
def settings_of_dask() -> Iterator[None]:
    """No test leaves a scheduler set: it would be that of all later tests, and of their workers."""
    before = dask.config.get("scheduler", None)
    yield
    assert dask.config.get("scheduler", None) is before


@pytest.fixture(scope="session")
def cluster() -> Iterator[Client]:
    """Client of two worker processes of one thread each; tests leave it as it was."""
    with local_workers(2) as client:
        yield client


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """A real S3 server, which starts slowly; each test writes under names of its own."""
    with seaweed(tmp_path_factory.mktemp("seaweed")) as server:
        yield server


@pytest.fixture
def no_threads() -> Iterator[None]:
    """Small arrays are computed in this thread: others cost more than they save."""
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.fixture(scope="module")
def no_sync() -> Iterator[None]:
    """Not to wait for the disk: what a power cut leaves is tested where stores are staged."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        yield


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for an answer for half a second alone."""
    monkeypatch.setattr("refspace.pools.cluster._CONNECT_SECONDS", 0.5)
