"""Retries: when to try a failed request again, how often, and how long to wait."""

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

from refspace.safe_text import shown

_LOG = logging.getLogger("refspace")
# Too many requests, and the responses of overloaded servers and gateways. 509, "bandwidth limit
# exceeded", is in no standard, but in use.
TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504, 509})
_TRANSIENT = (ConnectionError, TimeoutError, asyncio.TimeoutError, http.client.HTTPException)
# Broken connections as aiohttp, fsspec, botocore and obstore raise them. By name, because these
# libraries may not be installed, and importing one to compare classes would cost its import time.
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
    """A policy of retries: the number of attempts and the time between them.

    Parameters
    ----------
    attempts
        Number of attempts in all.
    delay
        Seconds before the second attempt. Each further one waits twice as long, times a random
        factor of 0.5 to 1.5, so that many clients do not come back at the same moment.
    longest
        Most seconds to wait, even where a server asks for more.

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
        """Call a function until it succeeds, fails for good, or there are no attempts left.

        Raises
        ------
        Exception
            The error of the last attempt, or the first one that a retry cannot help.
        """
        for failures in range(1, self.attempts):
            try:
                return attempt()
            except Exception as error:
                if not is_transient(error):
                    raise
                self.wait(failures, error)
        return attempt()

    def wait(self, failures: int, error: BaseException) -> None:
        """Wait after a failed attempt, longer with the number of failures so far."""
        seconds = self.delay * 2 ** (failures - 1) * random.uniform(0.5, 1.5)
        seconds = min(max(seconds, _retry_after(error)), self.longest)
        _LOG.info("attempt %d failed (%s); again in %.1f s", failures, shown(repr(error)), seconds)
        time.sleep(seconds)


# One policy for everything that is read; tests that break connections set a faster one.
POLICY = Retry()


def is_transient(error: BaseException) -> bool:
    """Whether a retry may help: status 429 and 5xx, broken connections, bodies cut short.

    Examples
    --------
    >>> is_transient(ConnectionResetError()), is_transient(FileNotFoundError())
    (True, False)
    """
    status = http_status(error)
    if status is not None:
        return status in TRANSIENT_STATUS
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, BaseException):
        return is_transient(error.reason)
    cause = error.__cause__
    for failure in (error, cause):
        if isinstance(failure, socket.gaierror):
            # EAI_AGAIN: the name server did not respond. Any other code: there is no such host.
            return failure.errno == socket.EAI_AGAIN
    has_known_name = any(kind.__name__ in _TRANSIENT_NAMES for kind in type(error).__mro__)
    return (
        has_known_name
        or isinstance(error, _TRANSIENT)
        or (cause is not None and is_transient(cause))
    )


def http_status(error: BaseException) -> int | None:
    """HTTP status that an error of any library reports; None if it reports no status."""
    if type(error).__module__.startswith("obstore"):
        # obstore states the status in the message, and in no attribute.
        match = re.search(r"status code: (\d{3})", str(error))
        return int(match[1]) if match else None
    response = getattr(error, "response", None)
    if isinstance(response, dict):  # botocore's
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        status = getattr(error, "status", None) or getattr(error, "code", None)
    try:
        return int(status)
    except (TypeError, ValueError):
        return None


def _retry_after(error: BaseException) -> float:
    """Seconds to wait that the server's header Retry-After states; 0 without one."""
    headers = getattr(error, "headers", None) or {}
    try:
        return float(headers.get("Retry-After", 0))
    except (TypeError, ValueError, AttributeError):  # the header may hold a date
        return 0.0
