"""Mutates cases, and has them read in a child process that is started again when it dies."""

import json
import os
import random
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import refspace
from helpers.fuzzing.cases import Case, write_case
from helpers.fuzzing.formats import FORMATS, Format

# Real time of a case, beyond which it hangs: that of the processor is limited to less.
_HANGS = 120
_TESTS = Path(__file__).parents[2]


@dataclass(frozen=True)
class Finding:
    """A case that was not read as it should be.

    Parameters
    ----------
    format
        Name of the format.
    case
        Its files.
    kind
        ``"foreign"``, an error that is not ours; ``"death"`` of the process.
    text
        What was raised, and where.
    """

    format: str
    case: Case = field(repr=False)
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.format}: {self.kind}: {self.text}"


class Reader:
    """A child process that reads cases of a format.

    Parameters
    ----------
    name
        Name of the format, or of a function that reads, as ``module:name``.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._process: subprocess.Popen[str] | None = None
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed with the process

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop()
        self._log.close()

    def read(self, case: Case) -> dict[str, str]:
        """Have a case read: its kind is ``answer``, ``refused``, ``foreign`` or ``death``."""
        process = self._process or self._start()
        assert process.stdin is not None
        folder = Path(tempfile.mkdtemp(prefix="case-"))
        try:
            write_case(case, folder)
            process.stdin.write(f"{folder}\n")
            process.stdin.flush()
            line = self._line(process)
            if line is None:
                return self._death(process)
            found: dict[str, str] = json.loads(line)
            return found
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _start(self) -> subprocess.Popen[str]:
        paths = [str(_TESTS), str(Path(refspace.__path__[0]).parent)]
        # Few arenas: each takes address space, which is what is limited.
        own = {"PYTHONPATH": os.pathsep.join(paths), "MALLOC_ARENA_MAX": "2"}
        process = subprocess.Popen(
            [sys.executable, "-m", "helpers.fuzzing.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, **own, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        assert process.stdin is not None
        process.stdin.write(f"{self.name}\n")
        process.stdin.flush()
        self._process = process
        if self._line(process) is None:
            raise RuntimeError(f"the reader does not start: {self._death(process)['text']}")
        return process

    def _line(self, process: subprocess.Popen[str]) -> str | None:
        """The next line that a process writes; None if it dies or hangs."""
        assert process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            if not selector.select(_HANGS):
                return None
        return process.stdout.readline() or None

    def _death(self, process: subprocess.Popen[str]) -> dict[str, str]:
        hangs = process.poll() is None and not self._has_ended(process)
        self._stop()
        self._log.seek(0)
        last = self._log.read()[-600:]
        why = "hangs" if hangs else f"ended with {process.returncode}"
        return {"kind": "death", "text": f"{why}: {last}"}

    def _has_ended(self, process: subprocess.Popen[str]) -> bool:
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _stop(self) -> None:
        if self._process is None:
            return
        process, self._process = self._process, None
        process.kill()
        process.communicate()


def mutated(format: Format, case: Case, chance: random.Random) -> dict[str, bytes]:
    """A case with some of its files changed, as its format says how."""
    files = dict(case)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        names = [name for name in sorted(files) if format.mutators(name)]
        if not names:
            break
        name = chance.choice(names)
        files[name] = chance.choice(format.mutators(name))(files[name], chance)
    return dict(format.finish(files, chance))


def fuzz(
    name: str, *, seed: int, count: int | None = None, seconds: float | None = None
) -> Iterator[Finding | Counter[str]]:
    """Have mutated cases of a format read; what is found, and last the number of each outcome.

    Parameters
    ----------
    name
        Name of the format.
    seed
        What chance begins with: the same cases come from the same one.
    count, seconds
        Number of cases, or time after which it ends.
    """
    chance = random.Random(f"{name} {seed}")
    format = FORMATS[name]
    seeds = format.seeds()
    ends = None if seconds is None else time.monotonic() + seconds
    counts: Counter[str] = Counter()
    with Reader(name) as reader:
        while (count is None or counts.total() < count) and (
            ends is None or time.monotonic() < ends
        ):
            case = mutated(format, chance.choice(seeds), chance)
            found = reader.read(case)
            counts[found["kind"]] += 1
            if found["kind"] in ("foreign", "death"):
                yield Finding(name, case, found["kind"], found["text"])
    yield counts


def replay(name: str, cases: list[Case]) -> list[Finding]:
    """What is found among cases of a format."""
    findings = []
    with Reader(name) as reader:
        for case in cases:
            found = reader.read(case)
            if found["kind"] in ("foreign", "death"):
                findings.append(Finding(name, case, found["kind"], found["text"]))
    return findings
