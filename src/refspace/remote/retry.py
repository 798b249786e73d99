"""Trying again where a network or a server fails for the moment."""

import asyncio
import http.client
import logging
import random
import re
import socket
import time
import urllib.error
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

_LOG = logging.getLogger("refspace")
# Too many requests, and what gateways and servers answer when they are overburdened.
TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504, 509})
_TRANSIENT = (ConnectionError, TimeoutError, asyncio.TimeoutError, http.client.HTTPException)
# Errors of libraries that may not be installed, by name: what they raise when a connection breaks.
_TRANSIENT_NAMES = frozenset(
    {
        "ClientPayloadError",
        "ClientConnectionError",
        "ServerDisconnectedError",
        "ClientOSError",
        "FSTimeoutError",
        "ResponseStreamingError",
        "IncompleteReadError",
        "EndpointConnectionError",
        "ConnectionClosedError",
        "ReadTimeoutError",
        "ConnectTimeoutError",
        "SlowDown",
        "GenericError",  # of obstore: all that is neither a missing object nor a missing right
    }
)
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Retry:
    """How often something is tried, and how long is waited between.

    Parameters
    ----------
    attempts
        How often in all.
    delay
        Seconds before the second attempt; each further one waits twice as long, give or take half.
    longest
        Most seconds that are ever waited, whatever a server asks for.

    Examples
    --------
    >>> policy = Retry(attempts=3, delay=0)
    >>> answers = iter([ConnectionResetError("reset by peer"), b"voxels"])
    >>> def read():
    ...     answer = next(answers)
    ...     if isinstance(answer, Exception):
    ...         raise answer
    ...     return answer
    >>> policy.run(read)
    b'voxels'
    """

    attempts: int = 5
    delay: float = 0.5
    longest: float = 30.0

    def run(self, attempt: Callable[[], _Result]) -> _Result:
        """Result of the first attempt that does not fail for the moment only.

        Raises
        ------
        Exception
            That of the last attempt, or of one that trying again cannot help.
        """
        for number in range(1, self.attempts):
            try:
                return attempt()
            except Exception as error:
                if not is_transient(error):
                    raise
                self.wait(number, error)
        return attempt()

    def wait(self, number: int, error: BaseException) -> None:
        """Wait after a failed attempt, the first of which is number 1."""
        seconds = self.delay * 2 ** (number - 1) * random.uniform(0.5, 1.5)
        seconds = min(max(seconds, _asked_for(error)), self.longest)
        _LOG.info("attempt %d failed (%r); again in %.1f s", number, error, seconds)
        time.sleep(seconds)


# One policy for all that is read; a test that breaks connections puts a faster one here.
POLICY = Retry()


def is_transient(error: BaseException) -> bool:
    """Whether trying again may help: 429 and 5xx, connections that break, bodies cut short.

    Examples
    --------
    >>> is_transient(ConnectionResetError()), is_transient(FileNotFoundError())
    (True, False)
    """
    status = status_of(error)
    if status is not None:
        return status in TRANSIENT_STATUS
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, BaseException):
        return is_transient(error.reason)
    cause = error.__cause__
    for found in (error, cause):
        if isinstance(found, socket.gaierror):
            # A name that nobody knows stays so, unlike one that nobody could be asked for.
            return found.errno == socket.EAI_AGAIN
    named = any(kind.__name__ in _TRANSIENT_NAMES for kind in type(error).__mro__)
    return named or isinstance(error, _TRANSIENT) or (cause is not None and is_transient(cause))


def status_of(error: BaseException) -> int | None:
    """HTTP status that an error reports, whichever library raised it; None if it reports none."""
    if type(error).__module__.startswith("obstore"):
        # It has the status in its text alone.
        told = re.search(r"status code: (\d{3})", str(error))
        return int(told[1]) if told else None
    response = getattr(error, "response", None)
    if isinstance(response, dict):  # botocore's
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        status = getattr(error, "status", None) or getattr(error, "code", None)
    try:
        return int(status)
    except (TypeError, ValueError):
        return None


def _asked_for(error: BaseException) -> float:
    """Seconds that a server asks to wait; 0 if it does not."""
    headers = getattr(error, "headers", None) or {}
    try:
        return float(headers.get("Retry-After", 0))
    except (TypeError, ValueError, AttributeError):  # it may be a date
        return 0.0
