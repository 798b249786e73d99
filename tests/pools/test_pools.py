"""Pools: threads and the workers of a cluster do the same, and what is lost costs only itself."""

import asyncio
import itertools
import math
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import dask
import psutil
import pytest
from distributed import Client, Security, get_worker
from distributed.comm import CommClosedError
from helpers.clusters import (
    Killer,
    Scheduler,
    Workers,
    local_workers,
    started_cluster,
    worker_pids,
)

from refspace.errors import ClusterError, MissingDependencyError, SourceError
from refspace.limits import limit, set_limits
from refspace.pools import ClusterPool, Pool, ThreadPool, connected, local_cluster, make_pool
from refspace.pools import cluster as cluster_module

SCRIPTS_ENV = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


@pytest.fixture(params=["threads", pytest.param("cluster", marks=pytest.mark.cluster)])
def pool(request: pytest.FixtureRequest) -> Pool:
    """Pool that does two things at a time."""
    if request.param == "threads":
        return ThreadPool(2)
    return ClusterPool(request.getfixturevalue("cluster"))


@pytest.fixture
def own_cluster() -> Iterator[Client]:
    """Client of two workers that may be killed, and that no other test has given work to."""
    with local_workers(2) as client:
        yield client


def square(number: int) -> int:
    if number < 0:
        raise ValueError(f"{number} is negative")
    return number**2


def outcomes(pool: Pool, work, items, token=str) -> dict:
    """Result or error of each item."""
    found = list(pool.outcomes(work, items, name="work", token=token))
    return {outcome.item: outcome.error or outcome.result for outcome in found}


# ----- what both do


def test_outcomes_are_those_of_a_loop(pool: Pool) -> None:
    assert outcomes(pool, square, range(50)) == {number: number**2 for number in range(50)}
    assert outcomes(pool, square, []) == {}


def test_limits_hold_in_workers(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client's environment is not that of its workers."""
    for name in ("levels", "blocks"):
        monkeypatch.delenv(f"REFSPACE_MAX_{name.upper()}", raising=False)
    with set_limits(levels="1k"):
        assert outcomes(pool, limit, ["levels", "blocks"]) == {"levels": 1024, "blocks": 10**7}
    assert outcomes(pool, limit, ["levels"]) == {"levels": 32}


def test_limits_go_with_tasks() -> None:
    """As a scheduler would get them: small, and only where there are any."""

    class Recorder:
        def submit(self, task: Any, item: str, *, key: str) -> tuple[bytes, str]:
            return pickle.dumps(task), item

    pool = ClusterPool(Recorder())  # type: ignore[arg-type]
    sent = {None: pool._submit(limit, "levels", "a")}
    with set_limits(levels=9):
        sent[9] = pool._submit(limit, "levels", "a")
        with set_limits(blocks=3):
            sent["both"] = pool._submit(limit, "blocks", "a")
    assert pickle.loads(sent[None][0]) is limit
    assert [pickle.loads(task)(item) for task, item in sent.values()] == [32, 9, 3]
    assert max(len(task) for task, _ in sent.values()) < 300


def test_a_failure_stops_nothing_else(pool: Pool) -> None:
    found = outcomes(pool, square, [3, -1, 2, -5, 4])
    assert {item: str(result) for item, result in found.items()} == {
        3: "9",
        -1: "-1 is negative",
        2: "4",
        -5: "-5 is negative",
        4: "16",
    }
    assert isinstance(found[-1], ValueError)


def test_results_stop_at_the_first_failure(pool: Pool) -> None:
    results = pool.results(square, iter([-1, *range(100)]), name="work", token=str)
    with pytest.raises(ValueError, match="-1 is negative"):
        dict(results)


def test_a_failure_is_no_failure_of_the_next_run(pool: Pool) -> None:
    for _ in range(2):
        assert str(outcomes(pool, square, [-1])[-1]) == "-1 is negative"


def test_items_are_taken_when_there_is_room(pool: Pool) -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        while True:
            taken += 1
            yield taken

    ended = pool.outcomes(square, items(), name="work", token=str)
    for done in range(1, 30):
        next(ended)
        assert taken < done + 4
    ended.close()


def touch(folder: Path, number: int) -> None:
    (folder / str(number)).touch()
    time.sleep(0.2)


def test_what_nobody_asks_for_is_given_up(pool: Pool, tmp_path: Path) -> None:
    ended = pool.outcomes(partial(touch, tmp_path), range(100), name="touch", token=str)
    next(ended)
    ended.close()
    time.sleep(0.5)
    begun = len(list(tmp_path.iterdir()))
    assert begun <= 5
    time.sleep(0.5)
    assert len(list(tmp_path.iterdir())) == begun


def linger(folder: Path, number: int) -> None:
    """Leave a file at the end, a while after others can tell that it has begun."""
    (folder / f"{number}-begun").touch()
    time.sleep(0 if number == 0 else 1)
    (folder / str(number)).touch()


@pytest.mark.parametrize("kind", ["outcomes", "results"])
def test_what_is_in_flight_ends_before_the_pool_is_left(
    pool: Pool, tmp_path: Path, kind: str
) -> None:
    """As of a caller that fails, and then removes what the work has written."""
    call = {"outcomes": pool.outcomes, "results": pool.results}[kind]
    ended = call(partial(linger, tmp_path), range(100), name="linger", token=str)

    def fail() -> None:
        with closing(ended):
            next(ended)
            while len(list(tmp_path.glob("*-begun"))) < 2:
                time.sleep(0.01)
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fail()
    left = {path.name for path in tmp_path.iterdir()}
    assert len(left) >= 4  # two that began, and ended
    time.sleep(1.2)
    assert {path.name for path in tmp_path.iterdir()} == left


def fail_first(folder: Path, number: int) -> None:
    if number == 0:
        raise ValueError("first")
    linger(folder, number)


def test_a_failure_is_raised_when_nothing_is_in_flight(pool: Pool, tmp_path: Path) -> None:
    results = pool.results(partial(fail_first, tmp_path), range(100), name="fail", token=str)
    with pytest.raises(ValueError, match="first"):
        list(results)
    left = {path.name for path in tmp_path.iterdir()}
    time.sleep(1.2)
    assert {path.name for path in tmp_path.iterdir()} == left


def items_of_a_damaged_file(folder: Path) -> Iterator[int]:
    yield 1
    while not (folder / "1-begun").exists():
        time.sleep(0.01)
    raise ValueError("damaged")


def test_what_is_in_flight_ends_where_items_cannot_be_made(pool: Pool, tmp_path: Path) -> None:
    """The first has begun, and lingers; the second cannot be read from a file."""
    items = items_of_a_damaged_file(tmp_path)
    with pytest.raises(ValueError, match="damaged"):
        outcomes(pool, partial(linger, tmp_path), items)
    assert (tmp_path / "1").exists()


# ----- threads


def test_as_many_threads_as_cores() -> None:
    assert ThreadPool().threads == os.cpu_count()
    assert make_pool(threads=3).threads == 3


def interrupted(number: int) -> None:
    raise KeyboardInterrupt


def test_an_interruption_is_no_failure() -> None:
    with pytest.raises(KeyboardInterrupt):
        outcomes(ThreadPool(1), interrupted, range(9))


# ----- which pool a job uses


@pytest.fixture
def active(cluster: Client) -> Iterator[Client]:
    """A default client, as a user's is."""
    with Client(cluster.scheduler.address) as client:
        yield client


def client_of(pool: Pool) -> Client | None:
    return pool.client if isinstance(pool, ClusterPool) else None


def test_an_active_client_is_used(active: Client) -> None:
    assert client_of(make_pool()) is active
    assert isinstance(make_pool(threads=2), ThreadPool)


def test_without_a_client_there_are_threads() -> None:
    assert isinstance(make_pool(), ThreadPool)


def test_the_last_of_two_clients_is_active(active: Client, cluster: Client) -> None:
    assert client_of(make_pool(client=cluster)) is cluster
    with Client(cluster.scheduler.address) as later:
        assert client_of(make_pool()) is later
        with active.as_current():
            assert client_of(make_pool()) is active
    assert client_of(make_pool()) is active


def test_a_closed_client_is_not_active(cluster: Client) -> None:
    # dask goes on asking for a cluster when the current client is closed.
    with dask.config.set(scheduler=None):
        client = Client(cluster.scheduler.address)
        with client.as_current():
            client.close()
            assert isinstance(make_pool(), ThreadPool)
        assert isinstance(make_pool(), ThreadPool)


def test_a_client_that_has_lost_its_scheduler_stays_active(tmp_path: Path) -> None:
    """A job that was meant for a cluster does not run here without a word."""
    with Scheduler(tmp_path) as scheduler, Client(scheduler.address) as client:
        scheduler.kill()
        deadline = time.monotonic() + 30
        while client.status == "running":
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert client.status == "connecting"
        with pytest.raises(ClusterError, match="the scheduler of the cluster is gone"):
            outcomes(make_pool(), square, [1])


@pytest.mark.parametrize("scheduler", ["threads", "synchronous"])
def test_the_scheduler_that_dask_is_set_to(active: Client, scheduler: str) -> None:
    with dask.config.set(scheduler=scheduler):
        assert isinstance(make_pool(), ThreadPool)
    with dask.config.set(scheduler="distributed"):
        assert client_of(make_pool()) is active


def test_both_are_an_error(cluster: Client) -> None:
    with pytest.raises(SourceError) as caught:
        make_pool(threads=2, client=cluster)
    assert str(caught.value) == (
        f"threads is 2 and client is {cluster}, and a job uses one of them; give threads for "
        "threads of this process, or client for the workers of a dask cluster"
    )


@pytest.mark.parametrize("threads", [0, -1, 2.5, "two", math.nan])
def test_numbers_that_are_none_of_threads(threads: Any) -> None:
    with pytest.raises(SourceError) as caught:
        make_pool(threads=threads)
    assert str(caught.value) == f"threads is {threads!r}; give a number of threads, 1 or more"


@pytest.mark.parametrize("client", ["tcp://127.0.0.1:8786", 3, Client])
def test_clients_that_cannot_be_used(client: Any) -> None:
    with pytest.raises(SourceError, match=r"; give a distributed\.Client$"):
        make_pool(client=client)


def test_an_asynchronous_client() -> None:
    async def refused() -> None:
        async with Client(processes=False, asynchronous=True, dashboard_address=":0") as client:
            assert isinstance(make_pool(), ThreadPool)
            with pytest.raises(SourceError, match="asynchronous, and a job waits"):
                make_pool(client=client)

    asyncio.run(refused())


def test_looking_for_a_client_imports_nothing() -> None:
    code = "import sys, refspace.pools as p; p.make_pool(); assert 'distributed' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env=SCRIPTS_ENV, timeout=60)


def meet(folder: Path, number: int) -> int:
    """Process that does it, once another one has come too: one that is quick cannot do it all.

    Alone it goes on after a while, so that a test fails and does not hang.
    """
    (folder / str(os.getpid())).touch()
    deadline = time.monotonic() + 30
    while len(list(folder.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    return os.getpid()


def job_in_a_task(work: Callable[[int], int], count: int) -> list[int]:
    """Processes of the parts of a job, and of the task that runs it."""
    return [os.getpid(), *outcomes(make_pool(), work, range(count)).values()]


def test_a_job_in_a_task_uses_the_cluster(own_cluster: Client, tmp_path: Path) -> None:
    job = own_cluster.submit(job_in_a_task, partial(meet, tmp_path), 6, pure=False)
    one, *others = job.result(timeout=120)
    assert {one, *others} == set(others) == set(worker_pids(own_cluster))


def test_jobs_in_all_tasks_do_not_wait_for_each_other(own_cluster: Client, tmp_path: Path) -> None:
    """More jobs than threads, each of which needs a thread for its parts."""
    jobs = own_cluster.map(partial(job_in_a_task, process), [5, 6, 7, 8], pure=False)
    assert [len(found) for found in own_cluster.gather(jobs)] == [6, 7, 8, 9]
    # Each worker has its one thread again.
    found = outcomes(ClusterPool(own_cluster), partial(meet, tmp_path), range(6))
    assert set(found.values()) == set(worker_pids(own_cluster))


# ----- tasks


def own_key(number: int) -> str:
    return str(get_worker().get_current_task())


def test_keys_say_what_is_done(cluster: Client) -> None:
    found = outcomes(make_pool(client=cluster), own_key, [1, 2], token="a{}b".format)
    assert found == {1: "work-a1b", 2: "work-a2b"}


def test_tasks_are_forgotten(own_cluster: Client) -> None:
    outcomes(ClusterPool(own_cluster), square, [*range(20), -1])
    deadline = time.monotonic() + 30
    while tasks := own_cluster.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)):
        assert time.monotonic() < deadline, tasks
        time.sleep(0.05)


def process(number: int) -> int:
    time.sleep(0.05)
    return os.getpid()


def test_all_workers_work(own_cluster: Client, tmp_path: Path) -> None:
    found = outcomes(ClusterPool(own_cluster), partial(meet, tmp_path), range(6))
    assert set(found.values()) == set(worker_pids(own_cluster))


# ----- what is lost


def die(folder: Path, number: int) -> int:
    """Kill the worker; for 1, at the first try."""
    if number == 0 or (number == 1 and not (folder / "tried").exists()):
        (folder / "tried").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.02)
    return number


def test_who_kills_its_worker_fails_alone(own_cluster: Client, tmp_path: Path) -> None:
    found = outcomes(ClusterPool(own_cluster), partial(die, tmp_path), range(12))
    error = found.pop(0)
    assert isinstance(error, ClusterError)
    assert str(error) == "each worker that did it died; give them more memory"
    assert found == {number: number for number in range(1, 12)}


def slow(number: int) -> int:
    time.sleep(0.1)
    return number


@pytest.mark.slow
def test_workers_are_killed_again_and_again(own_cluster: Client) -> None:
    killer = Killer(lambda: worker_pids(own_cluster), parts=10)
    while len(killer.killed) < 2:
        found, pool = {}, ClusterPool(own_cluster)
        for item, result in pool.results(slow, range(60), name="slow", token=str):
            found[item] = result
            killer.progress()
        assert found == {number: number for number in range(60)}


@pytest.mark.cluster
def test_a_lost_scheduler_is_an_error_at_once(tmp_path: Path) -> None:
    with started_cluster(tmp_path) as (scheduler, _), connected(scheduler.address) as client:
        ended = ClusterPool(client).outcomes(slow, itertools.count(), name="slow", token=str)
        next(ended)
        scheduler.kill()
        began = time.monotonic()
        with pytest.raises(ClusterError, match="the scheduler of the cluster is gone; start anoth"):
            list(ended)
        assert time.monotonic() - began < 20
        with pytest.raises(ClusterError, match="is gone"):
            outcomes(ClusterPool(client), slow, [1])


@pytest.mark.cluster
def test_a_job_that_waits_for_workers_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, where there are none; not where the work takes long."""
    monkeypatch.setattr(cluster_module, "_WAIT_SECONDS", 0.2)
    work = partial(begin_and_wait, tmp_path)
    with (
        Scheduler(tmp_path) as scheduler,
        connected(scheduler.address) as client,
        ThreadPoolExecutor(1) as thread,
    ):
        found = thread.submit(outcomes, ClusterPool(client), work, range(3))
        with pytest.raises(TimeoutError):
            found.result(3)
        assert caplog.messages == [f"waiting for workers of {scheduler.address}: it has none"]
        with Workers(scheduler.address, tmp_path, 1):
            while not list(tmp_path.glob("*-begun")):
                time.sleep(0.05)
            time.sleep(1.5)
            (tmp_path / "go").touch()
            assert found.result(60) == {number: number for number in range(3)}
    assert len(caplog.messages) == 1


@pytest.mark.cluster
def test_a_scheduler_that_is_lost_while_it_is_asked_who_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def lost() -> None:
        raise CommClosedError("the connection was lost")

    monkeypatch.setattr(cluster_module, "_WAIT_SECONDS", 0)
    with local_workers(1) as client:
        monkeypatch.setattr(client, "processing", lost)
        with pytest.raises(ClusterError, match="the scheduler of the cluster is gone"):
            outcomes(ClusterPool(client), wait_a_second, [1])


def wait_a_second(number: int) -> int:
    time.sleep(1)
    return number


def begin_and_wait(folder: Path, number: int) -> int:
    """Say that it has begun, and wait until it may go on."""
    (folder / f"{number}-begun").touch()
    deadline = time.monotonic() + 60
    while not (folder / "go").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    return number


@pytest.mark.cluster
def test_workers_that_come_later_do_the_work(tmp_path: Path) -> None:
    work = partial(begin_and_wait, tmp_path)
    with Scheduler(tmp_path) as scheduler, connected(scheduler.address) as client:
        found: dict = {}
        thread = threading.Thread(
            target=lambda: found.update(outcomes(ClusterPool(client), work, range(9)))
        )
        thread.start()
        with Workers(scheduler.address, tmp_path, 1) as first:
            while not list(tmp_path.glob("*-begun")):
                time.sleep(0.05)
            first.kill()
        assert thread.is_alive()
        assert found == {}
        (tmp_path / "go").touch()
        with Workers(scheduler.address, tmp_path):
            thread.join(60)
    assert found == {number: number for number in range(9)}


@pytest.mark.cluster
def test_a_closed_client() -> None:
    with local_workers(1) as client:
        pass
    with pytest.raises(ClusterError, match="the scheduler of the cluster is gone"):
        outcomes(ClusterPool(client), square, [1])


# ----- where there is no scheduler


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("tcp://127.0.0.1:1", ""),
        ("foo://bar", "unknown address scheme 'foo'"),
    ],
)
def test_no_scheduler(address: str, why: str) -> None:
    with pytest.raises(ClusterError) as caught, connected(address):
        pass
    assert str(caught.value).startswith(f"there is no scheduler at {address}: {why}")
    assert str(caught.value).endswith(
        "the address that 'dask scheduler' prints, like tcp://host:8786"
    )


@pytest.mark.usefixtures("impatient")
def test_a_server_of_another_kind() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(ClusterError, match=r"no answer in 0\.5 s"), connected(address):
            pass


def test_the_address_of_a_worker(cluster: Client) -> None:
    address = next(iter(cluster.scheduler_info()["workers"]))
    with pytest.raises(ClusterError, match="it is a worker"), connected(address):
        pass


def test_no_distributed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    for context in (connected("tcp://127.0.0.1:8786"), local_cluster(2)):
        with (
            pytest.raises(MissingDependencyError, match=r"pip install .dask\[distributed\]"),
            context,
        ):
            pass


# ----- a cluster of this machine


def test_no_cryptography(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    message = r"nobody else can use it; install it with: pip install cryptography"
    with pytest.raises(MissingDependencyError, match=message), local_cluster(1):
        pass


def other_user(address: str, security: Security | None) -> Client:
    """Client of whoever finds out where a process listens."""
    return Client(address, security=security, timeout=5, set_as_default=False)


@pytest.mark.promise(
    "somebody else on the machine looks for a cluster of --workers",
    "TLS lets in only who has its key",
)
@pytest.mark.cluster
@pytest.mark.parametrize("key", ["none", "own"])
def test_nobody_else_can_use_it(key: str) -> None:
    with local_cluster(1) as client:
        (worker,) = client.scheduler_info()["workers"]
        for address in (client.scheduler.address, worker):
            assert address.startswith("tls://127.0.0.1:")
            security = Security.temporary() if key == "own" else None
            plain = address.replace("tls://", "tcp://")
            with pytest.raises((OSError, TypeError)):
                other_user(address if security else plain, security)
        assert client.submit(square, 3).result() == 9


@pytest.mark.cluster
def test_it_listens_on_this_machine_alone() -> None:
    with local_cluster(1):
        family = [psutil.Process(), *psutil.Process().children(recursive=True)]
        found = [place for each in family for place in each.net_connections("inet")]
    assert {place.laddr.ip for place in found if place.status == "LISTEN"} == {"127.0.0.1"}


@pytest.mark.cluster
def test_failures_are_told_once(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with local_cluster(2) as client:
        assert client.dashboard_link.startswith("http://127.0.0.1:")
        with local_cluster(1) as other:
            assert other.dashboard_link != client.dashboard_link
        found = outcomes(ClusterPool(client), square, range(-2, 3))
        assert isinstance(outcomes(ClusterPool(client), partial(die, tmp_path), [0])[0], OSError)
    assert [str(found[number]) for number in (-2, -1)] == ["-2 is negative", "-1 is negative"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.cluster
def test_workers_keep_some_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")
    for name in names:  # clusters of other tests leave theirs in the environment
        monkeypatch.delenv(name, raising=False)
    with local_cluster(1) as client:
        for name in names:
            assert list(client.run(os.getenv, name).values()) == [str(2**25)]


JOB = """
import sys, time
{before}
from refspace.pools import local_cluster, make_pool

def wait(number):
    time.sleep(0.1)

if __name__ == "__main__":
    with local_cluster(2) as client:
        pool, times = make_pool(client=client), range({count})
        for _ in pool.outcomes(wait, times, name="wait", token=str):
            print("done", flush=True)
"""


def job(tmp_path: Path, count: int, before: str = "") -> subprocess.Popen:
    script = tmp_path / "job.py"
    script.write_text(JOB.format(count=count, before=before))
    return subprocess.Popen(
        [sys.executable, "-W", "error", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=SCRIPTS_ENV,
        start_new_session=True,
    )


@pytest.mark.cluster
def test_without_bokeh(tmp_path: Path) -> None:
    output, errors = job(tmp_path, 1, "sys.modules['bokeh'] = None").communicate(timeout=60)
    assert (output, errors) == ("done\n", "")


@pytest.mark.cluster
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_worker_outlives_its_client(number: signal.Signals, tmp_path: Path) -> None:
    with job(tmp_path, 1000) as client:
        assert client.stdout.readline() == "done\n"
        workers = psutil.Process(client.pid).children(recursive=True)
        # Ctrl-C reaches every process of the terminal.
        (os.killpg if number == signal.SIGINT else os.kill)(client.pid, number)
        _, errors = client.communicate(timeout=30)
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert [worker for worker in alive if worker.status() != psutil.STATUS_ZOMBIE] == []
    if number == signal.SIGINT:
        assert errors.count("Traceback") == 1
        assert errors.endswith("KeyboardInterrupt\n")
