"""Pools: a function called on many items, a few at a time, and threads that do so."""

import itertools
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Outcome(Generic[Item, Result]):
    """Result or error of the work on one item.

    Parameters
    ----------
    item
        The item.
    result
        What the work returned; None if it failed.
    error
        Why it failed; None if it did not.
    """

    item: Item
    result: Result | None = None
    error: Exception | None = None


class Pool(ABC):
    """Calls a function on many items, a few at a time.

    Some pools send function and items to other processes: the function is one of a module, or a
    `functools.partial` of one, and both are small.
    """

    is_local: bool
    """Whether the work runs in this process, and so may share its memory."""

    @abstractmethod
    def outcomes(
        self,
        work: Callable[[Item], Result],
        items: Iterable[Item],
        *,
        name: str,
        token: Callable[[Item], str],
    ) -> Generator[Outcome[Item, Result], None, None]:
        """Call `work` on every item, and yield the outcome of each as it ends.

        Items are taken when there is room for them. An item whose work raises does not stop the
        others. When the generator is closed, work in flight ends first, and no other begins: the
        caller may then remove what the work writes. A caller that can fail while it holds the
        generator closes it by itself (`contextlib.closing`), for a traceback keeps it alive.

        Parameters
        ----------
        work
            Function of an item.
        items
            The items, as many as there may be.
        name
            Name of the work, like ``"mask"``: letters and digits.
        token
            Text that differs between any two pieces of work of that name, down to the content.

        Raises
        ------
        ClusterError
            If the scheduler is gone.
        """

    def results(
        self,
        work: Callable[[Item], Result],
        items: Iterable[Item],
        *,
        name: str,
        token: Callable[[Item], str],
    ) -> Generator[tuple[Item, Result], None, None]:
        """Call `work` on every item, and yield items with their results; raise the first failure.

        Parameters
        ----------
        work, items, name, token
            As for `outcomes`.
        """
        with closing(self.outcomes(work, items, name=name, token=token)) as outcomes:
            for outcome in outcomes:
                if outcome.error is not None:
                    raise outcome.error
                yield outcome.item, outcome.result  # type: ignore[misc]  # there is no error


class ThreadPool(Pool):
    """Threads of this process.

    Parameters
    ----------
    threads
        Number of threads; as many as there are cores if not given.

    Examples
    --------
    >>> pool = ThreadPool(2)
    >>> sorted(pool.results(abs, [-2, 3], name="size", token=str))
    [(-2, 2), (3, 3)]
    """

    is_local = True

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads or os.cpu_count() or 1

    def outcomes(
        self,
        work: Callable[[Item], Result],
        items: Iterable[Item],
        *,
        name: str,
        token: Callable[[Item], str],
    ) -> Generator[Outcome[Item, Result], None, None]:
        """Call `work` on every item, as `Pool.outcomes` does."""
        running: dict[Future[Result], Item] = {}
        left = iter(items)
        # The executor waits at its end for the threads that are at work.
        with ThreadPoolExecutor(self.threads) as executor:
            try:
                while True:
                    # Twice as many as threads: none waits for the caller to take a result.
                    for item in itertools.islice(left, 2 * self.threads - len(running)):
                        running[executor.submit(work, item)] = item
                    if not running:
                        return
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in [future for future in running if future in done]:
                        yield _outcome(running.pop(future), future)
            finally:
                for future in running:
                    future.cancel()


def _outcome(item: Item, future: Future[Result]) -> Outcome[Item, Result]:
    error = future.exception()
    if error is None:
        return Outcome(item, future.result())
    if not isinstance(error, Exception):  # an interruption
        raise error
    return Outcome(item, error=error)
