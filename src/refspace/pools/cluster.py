"""A pool of the workers of a dask cluster, and clients of clusters.

A job is not one dask graph, for a graph whose workers keep dying is computed again from its
beginning. Each part of a job is a task of its own, the scheduler has few of them at a time, and the
client records what each task returns.
"""

import asyncio
import functools
import itertools
import logging
import queue
import socket
import time
from collections.abc import Callable, Container, Generator, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

from refspace.errors import ClusterError, MissingDependencyError
from refspace.limits import chosen_limits, limits_of_task
from refspace.pools.pool import Item, Outcome, Pool, Result

if TYPE_CHECKING:
    from distributed import Client, Future

# Workers come and go: their threads are counted again this often.
_RECOUNT_SECONDS = 5.0
# After this long without news, look whether the scheduler is still there.
_LOOK_SECONDS = 0.5
# After this long without news, look whether anybody does the work.
_WAIT_SECONDS = 5.0
_CONNECT_SECONDS = 10
_DASHBOARD_PORT = 8787
# Ctrl-C reaches every process of a terminal; the client ends the workers.
_WORKER_SETUP = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
# Memory that is freed and taken again stays with a worker, up to 32 MB: dask has all of it go back
# to the system, and a pass with 839 masks takes 42 s then, for 24 s (of which 17 s page faults).
_WORKER_MEMORY = {
    f"distributed.nanny.pre-spawn-environ.MALLOC_{kind}_THRESHOLD_": 2**25
    for kind in ("MMAP", "TRIM")
}
# A worker that died is started again; wait for one that takes long, as on a busy machine.
_PATIENCE = {"distributed.deploy.lost-worker-timeout": "1 hour"}
_LOG = logging.getLogger("refspace")
# Each has a level of its own, and logs with tracebacks what outcomes and errors say in a line.
_LOGGERS = ("distributed", "distributed.client", "tornado", "tornado.application", "asyncio")


class ClusterPool(Pool):
    """Workers of a dask cluster, wherever they are.

    If a worker dies, its tasks are rescheduled. Limits that are set in this process hold in them.

    Parameters
    ----------
    client
        Client of its scheduler.
    """

    is_local = False

    def __init__(self, client: "Client") -> None:
        self.client = client

    def outcomes(
        self,
        work: Callable[[Item], Result],
        items: Iterable[Item],
        *,
        name: str,
        token: Callable[[Item], str],
    ) -> Generator[Outcome[Item, Result], None, None]:
        """Call `work` on every item, as `Pool.outcomes` does.

        Tasks are named by the name and the token, which the dashboard shows.
        """
        suspects: list[Item] = []
        with _lent_thread():
            with closing(self._outcomes(work, items, name, token)) as outcomes:
                for outcome in outcomes:
                    if _is_killed(outcome):
                        suspects.append(outcome.item)
                    else:
                        yield outcome
            # Alone on its worker, a task that dies again is the one that kills it.
            for item in suspects:
                yield from map(_explained, self._outcomes(work, [item], name, token))

    def _outcomes(
        self,
        work: Callable[[Item], Result],
        items: Iterable[Item],
        name: str,
        token: Callable[[Item], str],
    ) -> Generator[Outcome[Item, Result], None, None]:
        """Call `work` once on every item."""
        ended: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()
        running: dict[str, tuple[Future[Any], Item]] = {}
        left, room = iter(items), _Room(self)
        try:
            while True:
                for item in itertools.islice(left, max(0, room.count() - len(running))):
                    future = self._submit(work, item, f"{name}-{token(item)}")
                    running[future.key] = future, item
                    future.add_done_callback(ended.put)
                if not running:
                    return
                future, item = running.pop(self._next(running, ended).key)
                yield self._outcome(future, item)
        except (GeneratorExit, Exception):
            # Of the caller, or where items come from: what the work writes may be removed next.
            self._await_end(running, ended)
            raise
        finally:
            for future, _ in running.values():
                future.release()

    def _submit(self, work: Callable[[Item], Any], item: Item, key: str) -> "Future[Any]":
        limits = chosen_limits()
        task = functools.partial(_with_limits, work, limits) if limits else work
        try:
            return self.client.submit(task, item, key=key)
        except Exception as error:  # of a client that is closed
            raise self._gone() from error

    def _await_end(
        self,
        running: "dict[str, tuple[Future[Any], Item]]",
        ended: "queue.SimpleQueue[Future[Any]]",
    ) -> None:
        """Wait for the tasks in flight, of which dask can stop none that runs."""
        with suppress(ClusterError):
            # Without workers nothing runs.
            while running and self.count_threads():
                with suppress(queue.Empty):
                    future, _ = running.pop(ended.get(timeout=_LOOK_SECONDS).key)
                    future.release()

    def count_threads(self) -> int:
        """Count the threads of all workers."""
        return sum(self._asked(self.client.nthreads).values())

    def _asked(self, question: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
        """Answer of the scheduler."""
        self.check_connection()
        try:
            return question()
        except Exception as error:  # whatever a lost connection raises
            raise self._gone() from error

    def _next(
        self, running: "Container[str]", ended: "queue.SimpleQueue[Future[Any]]"
    ) -> "Future[Any]":
        """Wait for the next task that ends; say so, once, where no worker has taken any."""
        began: float | None = time.monotonic()
        while True:
            try:
                return ended.get(timeout=_LOOK_SECONDS)
            except queue.Empty:
                self.check_connection()
            if began is not None and time.monotonic() - began >= _WAIT_SECONDS:
                began = None if self._tell_idle(running) else time.monotonic()

    def _tell_idle(self, running: "Container[str]") -> bool:
        """Say that a job waits for workers, if it does; whether it was said."""
        threads = self.count_threads()
        processing = self._asked(self.client.processing)
        if any(key in running for keys in processing.values() for key in keys):
            return False
        address = self.client.scheduler.address
        why = f"its {threads} threads do other work" if threads else "it has none"
        _LOG.warning("waiting for workers of %s: %s", address, why)
        return True

    def check_connection(self) -> None:
        """Raise if the scheduler is gone; a client that is not connected would wait for it."""
        if self.client.status != "running":
            raise self._gone()

    def _outcome(self, future: "Future[Any]", item: Item) -> Outcome[Item, Any]:
        try:
            return Outcome(item, future.result())
        except Exception as error:
            # The status after the call: a lost result is computed again, which may kill the worker.
            if future.status != "error":
                raise self._gone() from error
            return Outcome(item, error=error)
        finally:
            future.release()

    def _gone(self) -> ClusterError:
        return ClusterError(
            "the scheduler of the cluster is gone; start another one, then run the same again: "
            "what is done is not done again"
        )


def _with_limits(work: Callable[[Item], Result], limits: Mapping[str, int], item: Item) -> Result:
    """Do the work of a task within the limits of its client."""
    with limits_of_task(limits):
        return work(item)


def _is_killed(outcome: Outcome[Any, Any]) -> bool:
    from distributed import KilledWorker

    return isinstance(outcome.error, KilledWorker)


def _explained(outcome: Outcome[Item, Result]) -> Outcome[Item, Result]:
    if not _is_killed(outcome):
        return outcome
    error = ClusterError("each worker that did it died; give them more memory")
    return Outcome(outcome.item, error=error)


class _Room:
    """Number of tasks that the scheduler may have: twice the number of threads.

    Parameters
    ----------
    pool
        The cluster.
    """

    def __init__(self, pool: ClusterPool) -> None:
        self._pool = pool
        self._count, self._counted_at = 0, -_RECOUNT_SECONDS

    def count(self) -> int:
        """Count the tasks, from a recent number of threads."""
        self._pool.check_connection()
        if time.monotonic() - self._counted_at >= _RECOUNT_SECONDS:
            # Some without workers too: for them an adaptive cluster starts its first worker.
            self._count = max(4, 2 * self._pool.count_threads())
            self._counted_at = time.monotonic()
        return self._count


def _lent_thread() -> AbstractContextManager[Any]:
    """Within a task of dask, lend its thread to other tasks while this one waits for them.

    A worker of one thread would else wait for itself for ever.
    """
    from distributed import get_worker, worker_client

    try:
        get_worker()
    except ValueError:  # no task
        return nullcontext()
    lent: AbstractContextManager[Any] = worker_client()
    return lent


@contextmanager
def connected(address: str) -> "Iterator[Client]":
    """Open a client of the scheduler at an address.

    Parameters
    ----------
    address
        Like ``tcp://host:8786``.

    Raises
    ------
    ClusterError
        If there is none.
    MissingDependencyError
        If distributed is not installed.
    """
    distributed = _distributed()
    with _quiet():
        try:
            # Before there is a client: one that finds no scheduler takes long to close.
            asyncio.run(_greet(address))
            client = distributed.Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:
            raise ClusterError(
                f"there is no scheduler at {address}: {error}; give the address that 'dask "
                "scheduler' prints, like tcp://host:8786"
            ) from error
        with client:
            yield client


async def _greet(address: str) -> None:
    from distributed import Security, rpc

    security = Security().get_connection_args("client")
    server = rpc(address, timeout=_CONNECT_SECONDS, connection_args=security)
    try:
        identity = await asyncio.wait_for(server.identity(), _CONNECT_SECONDS)
    except TimeoutError:
        raise TimeoutError(f"no answer in {_CONNECT_SECONDS} s") from None
    finally:
        await server.close_rpc()
    if identity["type"] != "Scheduler":
        raise ValueError(f"it is a {identity['type'].lower()}")


@contextmanager
def local_cluster(workers: int) -> "Iterator[Client]":
    """Start worker processes on this machine, which end with the ``with`` block.

    Scheduler and workers run what they are sent. They listen on this machine alone, and talk to
    those alone who have the key that this process makes for them: no other user of the machine.

    Parameters
    ----------
    workers
        Number of processes, of one thread each.

    Raises
    ------
    MissingDependencyError
        If distributed is not installed, or cryptography, which makes keys.
    """
    distributed = _distributed()
    import dask

    security = _temporary_security()
    options = {
        "host": "127.0.0.1",
        "security": security,
        "n_workers": workers,
        "threads_per_worker": 1,
        "dashboard_address": f"127.0.0.1:{_dashboard_port()}",
        "silence_logs": logging.CRITICAL,
        "preload": [_WORKER_SETUP],
    }
    with (
        _quiet(),
        dask.config.set(_WORKER_MEMORY | _PATIENCE),
        distributed.LocalCluster(**options) as cluster,
        distributed.Client(cluster, security=security, set_as_default=False) as client,
    ):
        yield client


def _temporary_security() -> Any:
    """Key and certificate of a cluster, which are in the memory of its processes alone."""
    try:
        return _distributed().Security.temporary()
    except ImportError as error:
        raise MissingDependencyError(
            "a cluster of this machine needs cryptography, so that nobody else can use it; install "
            "it with: pip install cryptography"
        ) from error


def _dashboard_port() -> int:
    """The usual port of a dashboard, or 0 (any) where that is taken."""
    with socket.socket() as probe:
        return 0 if probe.connect_ex(("127.0.0.1", _DASHBOARD_PORT)) == 0 else _DASHBOARD_PORT


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence dask's own loggers."""
    levels = {logger: logger.level for logger in map(logging.getLogger, _LOGGERS)}
    for logger in levels:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)


def _distributed() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise MissingDependencyError(
            "clusters need dask.distributed; install it with: pip install 'dask[distributed]'"
        ) from error
    return distributed
