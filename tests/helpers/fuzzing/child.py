"""Reads cases in a process with limits, as a script: a folder on each line in, a result out.

The first line names the format, or a function as ``module:name``. A process that takes too much
memory gets a `MemoryError`; one that takes too much time is killed by the system, and whoever
started it sees that.
"""

import contextlib
import importlib
import json
import resource
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Memory beyond what the process has once everything is imported.
HEADROOM = 2**30
# CPU time of a case; a good one takes a tenth of a second.
SECONDS = 20


def main() -> None:
    """Read cases until there are no more."""
    out = sys.stdout
    sys.stdout = sys.stderr
    import dask

    dask.config.set(scheduler="synchronous")
    warnings.simplefilter("ignore")
    read = reader(sys.stdin.readline().strip())
    limit_memory()
    print("ready", file=out, flush=True)
    for line in sys.stdin:
        limit_time()
        print(json.dumps(outcome(read, Path(line.strip()))), file=out, flush=True)


def reader(name: str) -> Callable[[Path], Any]:
    """What reads a case."""
    module, _, function = name.partition(":")
    if function:
        named: Callable[[Path], Any] = getattr(importlib.import_module(module), function)
        return named
    from helpers.fuzzing.formats import FORMATS

    return FORMATS[name].read


def outcome(read: Callable[[Path], Any], folder: Path) -> dict[str, str]:
    """What becomes of a case: an answer, a refusal, or an error that is not ours."""
    from refspace.errors import RefspaceError

    try:
        read(folder)
    except (RefspaceError, FileNotFoundError) as error:
        return {"kind": "refused", "text": f"{type(error).__name__}: {ascii(str(error))[:300]}"}
    except BaseException as error:
        frame = error.__traceback__
        while frame is not None and frame.tb_next is not None:
            frame = frame.tb_next
        place = f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}" if frame else ""
        text = f"{type(error).__name__}: {ascii(str(error))[:200]} ({place})"
        return {"kind": "foreign", "text": text}
    return {"kind": "answer", "text": ""}


def limit_memory() -> None:
    """Let this process have so much memory more, and no files of the size of a disk."""
    with contextlib.suppress(FileNotFoundError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + HEADROOM
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_FSIZE, (HEADROOM, HEADROOM))


def limit_time() -> None:
    """Let this process have so much time for what comes next."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime) + SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))


if __name__ == "__main__":
    main()
