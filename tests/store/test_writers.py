"""Two writers of one store on an object store: never do both succeed, and what stands is whole."""

import itertools
import json
import random
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from helpers.turns import take_turns

from refspace.errors import LockedError, StoreError
from refspace.store import Location
from refspace.store.staging import exclusive, job_digest, open_staging
from refspace.store.staging.job import LOCK_OWNER, lock_owner

JOB, OTHER = {"source": "annotation.nrrd"}, {"source": "other.nrrd"}
NUMBERS = itertools.count()
BLOCKS = ("s0/0", "s0/1")


def root(job, version):
    facts = {"complete": True, "job": job_digest(job)}
    return json.dumps({"attributes": {"refspace": facts}, "version": version}).encode()


def write(url, version, job=JOB, **how):
    """Write a store, each object of which tells who wrote it."""
    with open_staging(url, job=job, **how) as staging:
        for key in BLOCKS:
            staging.lease.write(key, str(version).encode())
            staging.record(key.replace("/", "-"), b"", [key])
        objects = {"facts": str(version).encode(), "zarr.json": root(job, version)}
        staging.complete(objects, BLOCKS)
    return version


def expected(version, job=JOB):
    text = str(version).encode()
    return dict.fromkeys((*BLOCKS, "facts"), text) | {"zarr.json": root(job, version)}


def objects(url):
    location = Location(url)
    return {key: location.read(key) for key in location.keys()}  # noqa: SIM118


def dead_holder():
    """What a process leaves that was killed while it held a lock."""
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    return json.dumps({**json.loads(lock_owner()), "pid": gone.pid}).encode()


def orders(requests, *, sparse):
    """Orders of turns: with one or two changes of turns at every place, and others.

    Quick tests take one change at every second place, and a few others.
    """
    for first in range(0, requests, 2 if sparse else 1):
        yield [0] * first, [1] * 99
    draw = random.Random(15)
    for _ in range(10 if sparse else 150):
        yield [0] * draw.randrange(requests), draw.choices([0, 1], k=2 * requests)
    if not sparse:
        for first, second in itertools.product(range(0, requests, 2), range(1, requests, 5)):
            yield [0] * first, [1] * second


@pytest.fixture(params=[True, pytest.param(False, marks=pytest.mark.slow)], ids=["few", "all"])
def interleavings(request, urls):
    """Orders of turns of two writers; of the first of which all that it asks for is known."""
    return list(orders(count_requests(urls), sparse=request.param))


@pytest.fixture
def urls():
    """Makes URLs of stores in memory, of which each takes the place of the one before."""
    prefix = f"/writers-{next(NUMBERS)}/"

    def clear():
        for path in [path for path in MemoryFileSystem.store if path.startswith(prefix)]:
            del MemoryFileSystem.store[path]

    def make():
        for number in itertools.count():
            clear()
            yield f"memory:/{prefix}{number}/X.zarr"

    yield make()
    clear()


def count_requests(urls):
    (writer,) = take_turns([partial(write, next(urls), 0)], [])
    assert writer.result == 0
    return writer.requests


def test_a_writer_alone(urls):
    """What the others are compared with."""
    assert count_requests(urls) < 45


@pytest.mark.promise("two writers want the same store or table")
@pytest.mark.parametrize("before", ["nothing", "dead", "dead twice"])
def test_of_two_that_come_together_one_succeeds(urls, interleavings, before):
    dead, second = dead_holder(), dead_holder()
    for start, rest in interleavings:
        url = next(urls)
        if before != "nothing":
            Location(url).write(LOCK_OWNER, dead)
        if before == "dead twice":
            be_killed_while_taking_over(url, second)
            assert len(objects(url)) == 2
        works = [partial(write, url, version) for version in (0, 1)]
        writers = take_turns(works, [*start, *rest])
        (winner,) = [writer.result for writer in writers if writer.error is None]
        (error,) = [writer.error for writer in writers if writer.error is not None]
        assert isinstance(error, LockedError | StoreError), repr(error)
        assert objects(url) == expected(winner)


def be_killed_while_taking_over(url, owner):
    """Leave what a process leaves that is killed when it was about to take the place of another."""

    def stop(self):
        raise ZeroDivisionError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("refspace.store.staging.holder.lock_owner", lambda: owner)
        patch.setattr("refspace.store.staging.holder.Holder._write", stop)
        patch.setattr("refspace.store.staging.holder.Holder.release", lambda self: None)
        with pytest.raises(ZeroDivisionError):
            write(url, 2)


def test_of_two_that_overwrite_one_comes_after_the_other(urls, interleavings):
    for start, rest in interleavings:
        url = next(urls)
        write(url, 2)
        jobs = (JOB, OTHER)
        works = [partial(write, url, n, job, overwrite=True) for n, job in enumerate(jobs)]
        writers = take_turns(works, [*start, *rest])
        assert any(writer.error is None for writer in writers)
        assert all(isinstance(w.error, StoreError | None) for w in writers), writers[0].error
        assert objects(url) in [
            expected(w.result, job) for w, job in zip(writers, jobs, strict=True) if not w.error
        ]


@pytest.mark.parametrize("job", [JOB, OTHER], ids=["same", "other"])
def test_a_writer_whose_lock_was_removed_does_not_succeed(urls, interleavings, job):
    """As by somebody who takes it for dead; what stands is that of the other one."""
    for start, rest in interleavings:
        url = next(urls)
        steal = partial(Location(url).remove, LOCK_OWNER)
        works = [partial(write, url, 0), partial(write, url, 1, job, overwrite=True)]
        first, second = take_turns(works, [*start, steal, *rest])
        # One after the other, or one alone.
        done = [w.result for w in (first, second) if w.error is None]
        errors = [w.error for w in (first, second) if w.error is not None]
        assert all(isinstance(error, StoreError) for error in errors), errors
        there = objects(url)
        # What the first may leave in the journal is no part of the store.
        there = {key: data for key, data in there.items() if not key.startswith(".refspace/")}
        if done == [0] and "zarr.json" not in there:
            # The second came after it, had begun to replace it, and failed.
            assert second.error is not None
        elif done:
            assert there == expected(done[-1], (JOB, job)[done[-1]])


@pytest.mark.parametrize("before", ["nothing", "dead"])
def test_without_conditions_never_do_both_succeed(urls, interleavings, before):
    dead = dead_holder()
    for start, rest in interleavings:
        url = next(urls)
        if before == "dead":
            Location(url).write(LOCK_OWNER, dead)
        works = [partial(write, url, version) for version in (0, 1)]
        writers = take_turns(works, [*start, *rest], conditional=False)
        done = [writer.result for writer in writers if writer.error is None]
        assert len(done) <= 1
        if done:
            there = objects(url)
            assert {k: data for k, data in there.items() if k[0] != "."} == expected(done[0])


# ----- a real server


@pytest.mark.promise("two writers want the same store or table")
def test_on_s3_one_of_many_is_the_writer(s3):
    location = Location("s3://atlases/writers/X.zarr", s3.writer)
    for number in range(5):
        key, inside, errors = f"holder-{number}.json", [], []
        start = threading.Barrier(6)

        def write(key=key, start=start, inside=inside, errors=errors):
            start.wait()
            try:
                with exclusive(location, key) as holder:
                    inside.append(holder)
                    # All others have been refused before the first of them leaves.
                    start.wait()
            except LockedError as error:
                errors.append(error)
                start.wait()

        with ThreadPoolExecutor(6) as pool:
            for future in [pool.submit(write) for _ in range(6)]:
                future.result()
        (holder,) = inside
        assert holder.conditional
        assert len(errors) == 5
        assert "is being written by process" in str(errors[0])
    assert location.keys() == set()


def test_on_s3_a_store_has_one_writer(s3):
    url, options = "s3://atlases/writers/Y.zarr", s3.writer
    place, how = Location(url, options), {"storage_options": options}

    def second(lease):
        with open_staging(url, job=OTHER, overwrite=True, **how) as staging:
            staging.lease.write("s0/0", b"1")
            for attempt in (lease.check, lambda: lease.write("s0/1", b"0")):
                with pytest.raises(StoreError, match="is written by another job now"):
                    attempt()
            # Somebody takes it for dead, too.
            place.remove(LOCK_OWNER)
            staging.commit(root(OTHER, 1))

    def first():
        with open_staging(url, job=JOB, **how) as staging:
            staging.lease.write("s0/0", b"0")
            with pytest.raises(LockedError, match="is being written by process"):
                write(url, 1, OTHER, overwrite=True, **how)
            # Somebody takes it for dead.
            place.remove(LOCK_OWNER)
            with pytest.raises(LockedError, match="was removed while this process was writing"):
                second(staging.lease)
            place.write(LOCK_OWNER, lock_owner())
            staging.commit(root(JOB, 0))

    with pytest.raises(LockedError, match="is being written by process"):
        first()
    # Of neither is there a store.
    assert place.read("zarr.json") is None
    place.remove(LOCK_OWNER)
    assert write(url, 2, overwrite=True, **how) == 2
    there = {key: place.read(key) for key in place.keys()}  # noqa: SIM118
    assert there == expected(2)
