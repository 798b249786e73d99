"""Workers of a dask cluster.

A job is not one graph: a graph whose workers keep dying is computed again from its beginning. Every
part of it is a task by itself, few of them are with the scheduler at a time, and what a task leaves
behind is in its result, which the client records.
"""

import asyncio
import itertools
import logging
import queue
import socket
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from refspace.errors import ClusterError, MissingDependencyError
from refspace.pools.pool import Item, Outcome, Pool, Result

if TYPE_CHECKING:
    from distributed import Client, Future

# How often the scheduler is asked how many threads there are: workers come and go.
_RECOUNT_SECONDS = 5.0
# How long to wait for anything before looking whether the scheduler is still there.
_LOOK_SECONDS = 0.5
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
# A worker that died is started again; one that takes long, as on a busy machine, is not given up.
_PATIENCE = {"distributed.deploy.lost-worker-timeout": "1 hour"}
# Each has a level of its own, and says with tracebacks what outcomes and errors say shortly.
_LOGGERS = ("distributed", "distributed.client", "tornado", "tornado.application", "asyncio")


class ClusterPool(Pool):
    """Workers of a dask cluster, wherever they are.

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
    ) -> Iterator[Outcome[Item, Result]]:
        """Do some work on every item, as `Pool.outcomes` says.

        Tasks are named by what they do and by the token, which the dashboard shows.
        """
        suspects: list[Item] = []
        with closing(self._outcomes(work, items, name, token)) as outcomes:
            for outcome in outcomes:
                if _is_killed(outcome):
                    suspects.append(outcome.item)
                else:
                    yield outcome
        # Whose fault it was is known only where nothing else was on the worker.
        for item in suspects:
            yield from map(_explained, self._outcomes(work, [item], name, token))

    def _outcomes(
        self,
        work: Callable[[Item], Result],
        items: Iterable[Item],
        name: str,
        token: Callable[[Item], str],
    ) -> Generator[Outcome[Item, Result], None, None]:
        """Do some work on every item once."""
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
                future, item = running.pop(self._next(ended).key)
                yield self._outcome(future, item)
        finally:
            for future, _ in running.values():
                future.release()

    def _submit(self, work: Callable[[Item], Any], item: Item, key: str) -> "Future[Any]":
        try:
            return self.client.submit(work, item, key=key)
        except Exception as error:  # of a client that is closed
            raise self._gone() from error

    def _next(self, ended: "queue.SimpleQueue[Future[Any]]") -> "Future[Any]":
        """Next task that ends."""
        while True:
            try:
                return ended.get(timeout=_LOOK_SECONDS)
            except queue.Empty:
                self._look()

    def _look(self) -> None:
        """Look whether the scheduler is there; a client that is not connected waits for it."""
        if self.client.status != "running":
            raise self._gone()

    def _outcome(self, future: "Future[Any]", item: Item) -> Outcome[Item, Any]:
        try:
            return Outcome(item, future.result())
        except Exception as error:
            # Asked afterwards, for a result may be lost, and the work on it done again and killed.
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


def _is_killed(outcome: Outcome[Any, Any]) -> bool:
    from distributed import KilledWorker

    return isinstance(outcome.error, KilledWorker)


def _explained(outcome: Outcome[Item, Result]) -> Outcome[Item, Result]:
    if not _is_killed(outcome):
        return outcome
    error = ClusterError("each worker that did it died; give them more memory")
    return Outcome(outcome.item, error=error)


class _Room:
    """How many tasks may be with the scheduler: twice as many as there are threads.

    Parameters
    ----------
    pool
        The cluster.
    """

    def __init__(self, pool: ClusterPool) -> None:
        self._pool = pool
        self._count, self._asked = 0, -_RECOUNT_SECONDS

    def count(self) -> int:
        """Count the threads, not too often."""
        self._pool._look()
        if time.monotonic() - self._asked >= _RECOUNT_SECONDS:
            try:
                threads = sum(self._pool.client.nthreads().values())
            except Exception as error:  # whatever a lost connection raises
                raise self._pool._gone() from error
            # One at least, for which a cluster that grows with its work starts a worker.
            self._count, self._asked = max(4, 2 * threads), time.monotonic()
        return self._count


@contextmanager
def connected(address: str) -> "Iterator[Client]":
    """Client of the scheduler at an address.

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
            # First, for a client that finds no scheduler cannot be closed without a wait.
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
    """Client of worker processes of this machine, which end with the ``with`` block.

    Parameters
    ----------
    workers
        How many processes, of one thread each.

    Raises
    ------
    MissingDependencyError
        If distributed is not installed.
    """
    distributed = _distributed()
    import dask

    options = {
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
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


def _dashboard_port() -> int:
    """The usual port, or any where somebody has that."""
    with socket.socket() as probe:
        return 0 if probe.connect_ex(("127.0.0.1", _DASHBOARD_PORT)) == 0 else _DASHBOARD_PORT


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what dask says of its own to itself."""
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
            "clusters need dask.distributed; install it with: pip install 'refspace[cluster]'"
        ) from error
    return distributed
