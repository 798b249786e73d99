"""Dask clusters for tests: in processes that are killed when wanted, and ended for sure."""

import multiprocessing
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import dask
import psutil
import pytest
from distributed import Client, LocalCluster

from helpers.servers import free_ports

SECONDS = 60


@contextmanager
def local_workers(workers: int) -> Iterator[Client]:
    """Client of worker processes of one thread each; the scheduler is in this process."""
    with (
        # Killed workers are started again, however busy the machine is.
        dask.config.set({"distributed.deploy.lost-worker-timeout": "1 hour"}),
        # Port 0: other tests have clusters at the same time.
        LocalCluster(workers, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def worker_pids(client: Client) -> list[int]:
    """Processes that the workers of `local_workers` are now, once they have come up."""
    nannies = client.cluster.workers.values()
    return [nanny.pid for nanny in nannies if nanny.pid and nanny.status.name == "running"]


class Killer:
    """Kills a worker whenever some more parts of a job are done.

    It goes by no clock: on a busy machine a worker may take longer to come up, or to do one part,
    than any time between two kills, and a part that has died on several workers is given up.

    Parameters
    ----------
    pids
        What tells the processes that the workers are now.
    parts
        How many parts are done in between.
    """

    def __init__(self, pids: Callable[[], Sequence[int]], parts: int) -> None:
        self._pids, self._parts, self._left = pids, parts, parts
        self.killed: list[int] = []

    def progress(self, *_: object) -> None:
        """Take notice of a part that is done, as what a job calls then."""
        self._left -= 1
        if self._left > 0:
            return
        # Never the last one: what starts workers gives up on those that die while they start.
        if len(alive := sorted(set(self._pids()).difference(self.killed))) > 1:
            time.sleep(random.uniform(0, 0.05))  # at any moment of its work
            self.killed.append(random.choice(alive))
            with suppress(ProcessLookupError):
                os.kill(self.killed[-1], signal.SIGKILL)
            self._left = self._parts


# ----- processes of their own, as on other machines


# Processes are forked from one that has imported what they need: a kill soon after the start then
# meets work, and not two seconds of imports.
_FORKING = multiprocessing.get_context("forkserver")
_FORKING.set_forkserver_preload(
    [
        *("refspace.conversion", "refspace.batch", "refspace.pools.cluster", "distributed", "s3fs"),
        *("pytest", "hypothesis.extra.numpy", "dask.array", "ngff_zarr", "ome_zarr.reader"),
    ]
)


class Job:
    """A function of a test module at work in a process of its own.

    Parameters
    ----------
    work
        The function.
    words
        Its arguments, as text.
    """

    def __init__(self, work: Callable[..., None], *words: object) -> None:
        self._process = _FORKING.Process(target=work, args=tuple(map(str, words)))
        self._process.start()

    def poll(self) -> int | None:
        """Exit status; of a process that was killed, minus the signal; None before the end."""
        return self._process.exitcode

    def wait(self, seconds: float) -> int:
        """Exit status, once the process has ended."""
        self._process.join(seconds)
        if (status := self.poll()) is None:
            raise TimeoutError(f"the process has not ended within {seconds} s")
        return status

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()


def ended_before(job: Job, is_there: Callable[[], bool], *, pause: float = 0.05) -> bool:
    """Whether a job ends before it has come somewhere; False once it is there.

    Parameters
    ----------
    job
        The job.
    is_there
        Looks at what the job has done: how far it is depends on no clock, hence on no machine.
    pause
        Seconds from one look to the next.
    """
    deadline = time.monotonic() + 300
    while job.poll() is None:
        # Files come and go meanwhile.
        with suppress(OSError, ValueError):
            if is_there():
                return False
        if time.monotonic() > deadline:
            raise TimeoutError("the process has come nowhere within 300 s")
        time.sleep(pause)
    return True


class Process:
    """A command that runs until the block ends, with all that it starts.

    Parameters
    ----------
    words
        The command.
    log
        File that takes what it says.
    """

    def __init__(self, words: Sequence[str], log: Path) -> None:
        self.words, self.log = list(words), log

    def __enter__(self) -> "Process":
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.words,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a group of its own, which ends together
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """End all of it at once, as a power cut does."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(SECONDS)

    def is_running(self) -> bool:
        """Whether the command has not ended."""
        return self._process.poll() is None

    def worker_pids(self) -> list[int]:
        """Processes that the workers which it started are now."""
        with suppress(psutil.NoSuchProcess):
            children = psutil.Process(self._process.pid).children(recursive=True)
            return [child.pid for child in children if _is_spawned(child)]
        return []


def _is_spawned(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return any("spawn_main" in word for word in process.cmdline())
    return False


class Scheduler(Process):
    """A scheduler that listens at ``address``.

    Parameters
    ----------
    work
        Folder for what it says.
    port
        Where it listens; anywhere free if not given.
    """

    def __init__(self, work: Path, port: int | None = None) -> None:
        self.port = port or free_ports(1)[0]
        self.address = f"tcp://127.0.0.1:{self.port}"
        words = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", self.address]
        super().__init__([*words, "--no-dashboard", "--no-show"], work / "scheduler.log")

    def __enter__(self) -> "Scheduler":
        super().__enter__()
        deadline = time.monotonic() + SECONDS
        while True:
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return self
            if not self.is_running() or time.monotonic() > deadline:
                self.kill()
                pytest.fail(f"the scheduler did not start: {self.log.read_text()[-2000:]}")
            time.sleep(0.05)


class Workers(Process):
    """Worker processes of one thread each.

    Parameters
    ----------
    address
        That of their scheduler.
    work
        Folder for what they say, and for their own files.
    count
        How many.
    """

    def __init__(self, address: str, work: Path, count: int = 2) -> None:
        words = [sys.executable, "-m", "distributed.cli.dask_worker", address]
        words += ["--nworkers", str(count), "--nthreads", "1", "--no-dashboard"]
        words += ["--local-directory", str(work), "--death-timeout", str(SECONDS)]
        super().__init__(words, work / "workers.log")


@contextmanager
def started_cluster(work: Path, workers: int = 2) -> Iterator[tuple[Scheduler, Workers]]:
    """A scheduler and its workers, each in processes of their own."""
    with Scheduler(work) as scheduler, Workers(scheduler.address, work, workers) as started:
        yield scheduler, started
