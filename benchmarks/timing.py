"""Time, memory and requests of calls in this process."""

import resource
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.measurement import Inputs, Timed

_MOST_CALLS = 20
_TOO_LONG = 5.0  # seconds: such a call is not made again in the same process
REQUESTS = "requests-so-far"
"""Path at which the server of a benchmark says how many requests it had."""


def measured(timed: Timed, inputs: Inputs) -> dict[str, Any]:
    """Call once, and again while there is time; figures of the first call and of all.

    Parameters
    ----------
    timed
        What is called.
    inputs
        How long calls are repeated, and where the server is, if there is one.

    Returns
    -------
    dict
        ``seconds`` and ``processor`` of each call; ``peak`` (MB) up to the end of the first call,
        and ``before`` it; ``read`` (MB from files) and ``requests`` of the first call; ``output``
        (MB of the result, if it is an array); and the answer.
    """
    try:
        return _measured(timed, inputs)
    finally:
        timed.close()


def _measured(timed: Timed, inputs: Inputs) -> dict[str, Any]:
    figures: dict[str, Any] = {"before": peak_megabytes()}
    begun = _costs(inputs)
    given = timed.fresh()
    first, result = _call(timed.call, given)
    figures |= {
        "peak": peak_megabytes(),
        "output": _megabytes(result),
        **{name: after - begun[name] for name, after in _costs(inputs).items()},
    }
    if timed.answer is not None:
        figures["answer"] = timed.answer(result)
    if timed.extra is not None:
        figures |= timed.extra(result)
    calls = [first]
    del result, given
    while first[0] < _TOO_LONG and len(calls) < _MOST_CALLS and _goes_on(calls, inputs):
        given = timed.fresh()
        calls.append(_call(timed.call, given)[0])
        del given
    seconds, processor = (list(each) for each in zip(*calls, strict=True))
    return {**figures, "seconds": seconds, "processor": processor}


def _megabytes(result: Any) -> float:
    """Memory of an array of NumPy; 0 of anything else, such as what is lazy."""
    # Not imported: some rivals have none.
    is_array = type(result).__module__ == "numpy" and hasattr(result, "nbytes")
    return result.nbytes / 1e6 if is_array else 0.0


def _goes_on(calls: list[tuple[float, float]], inputs: Inputs) -> bool:
    """Whether to call again: for some time, and once at least."""
    return len(calls) < 2 or sum(seconds for seconds, _ in calls) < inputs.seconds


def _call(call: Callable[[Any], Any], given: Any) -> tuple[tuple[float, float], Any]:
    start, processor = time.perf_counter(), _processor_seconds()
    result = call(given)
    return (time.perf_counter() - start, _processor_seconds() - processor), result


def _processor_seconds() -> float:
    """Time of all threads, and of processes that were started and have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def peak_megabytes() -> float:
    """Peak of the resident memory of this process, or of the largest that it started."""
    scale = 1 if sys.platform == "darwin" else 1024  # KiB; bytes on macOS
    each = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(who).ru_maxrss for who in each) * scale / 1e6


def _costs(inputs: Inputs) -> dict[str, float]:
    costs = {}
    status = Path("/proc/self/io")
    if status.exists():
        costs["read"] = int(status.read_text().split()[1]) / 1e6
    if inputs.medium == "http":
        with urllib.request.urlopen(inputs.at(REQUESTS)) as answer:
            costs["requests"] = float(answer.read())
    return costs
