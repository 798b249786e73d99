"""Parts of a job, done a few at a time."""

import itertools
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Outcome(Generic[Item, Result]):
    """What became of a part of a job.

    Parameters
    ----------
    item
        The part.
    result
        What the work on it returned; None if it failed.
    error
        Why it failed; None if it did not.
    """

    item: Item
    result: Result | None = None
    error: Exception | None = None


class Pool(ABC):
    """Does work on many items, a few at a time.

    Work and items are sent to other processes by some pools: work is a function of a module, or a
    `functools.partial` of one, and both are small.
    """

    is_local: bool
    """Whether the work is done in this process, and so may share its memory."""

    @abstractmethod
    def outcomes(
        self,
        work: Callable[[Item], Result],
        items: Iterable[Item],
        *,
        name: str,
        token: Callable[[Item], str],
    ) -> Iterator[Outcome[Item, Result]]:
        """Do some work on every item, and yield what became of each as it ends.

        Items are taken when there is room for them. An item whose work raises does not stop the
        others. When the caller stops asking, what has not begun is given up.

        Parameters
        ----------
        work
            What is to be done with an item.
        items
            The items, as many as there may be.
        name
            What the work is called, like ``"mask"``: letters and digits.
        token
            What tells the work on an item from any other of that name, to the content.

        Raises
        ------
        ClusterError
            If the workers are gone for good.
        """

    def results(
        self,
        work: Callable[[Item], Result],
        items: Iterable[Item],
        *,
        name: str,
        token: Callable[[Item], str],
    ) -> Iterator[tuple[Item, Result]]:
        """Do some work on every item; the first failure is raised.

        Parameters
        ----------
        work, items, name, token
            As for `outcomes`.
        """
        for outcome in self.outcomes(work, items, name=name, token=token):
            if outcome.error is not None:
                raise outcome.error
            yield outcome.item, outcome.result  # type: ignore[misc]  # there is no error


class ThreadPool(Pool):
    """Threads of this process.

    Parameters
    ----------
    threads
        How many; as many as there are cores if not given.

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
    ) -> Iterator[Outcome[Item, Result]]:
        """Do some work on every item, as `Pool.outcomes` says."""
        running: dict[Future[Result], Item] = {}
        left = iter(items)
        with ThreadPoolExecutor(self.threads) as executor:
            try:
                while True:
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
