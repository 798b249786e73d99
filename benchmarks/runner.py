"""One interleaved run: way after way of each job, job after job, and then all of it again.

What is measured is appended to a file of lines of JSON at once, so that a run that is cut off
leaves what it has.
"""

import json
import math
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.data import Files, Version
from benchmarks.environments import Environments, MissingEnvironmentError
from benchmarks.jobs import HTTP, REFSPACE, Job, Way
from benchmarks.measurement import Inputs
from benchmarks.server import REPOSITORY, served

_MOST_SECONDS = 300.0  # of one process
_MEMORY = Path("/proc/meminfo")


@dataclass(frozen=True)
class Row:
    """A job at a resolution, with voxels at a medium."""

    job: Job
    files: Files
    medium: str

    @property
    def key(self) -> tuple[str, float, str]:
        """What it is listed by."""
        return self.job.name, self.files.resolution, self.medium


@dataclass(frozen=True)
class Contestant:
    """A way to do a job, by a version of refspace if it is refspace's."""

    way: Way
    version: Version

    @property
    def name(self) -> str:
        """What tables call it."""
        return self.version.name if self.way.name == REFSPACE else self.way.name


@dataclass(frozen=True)
class Budget:
    """How long a run may take.

    Parameters
    ----------
    seconds
        After which no measurement begins.
    rounds
        How often everything is measured, at most.
    calls
        Seconds during which a process repeats its call.
    once
        Seconds of a process from which on it is measured once.
    is_quick
        Whether what is slow is left out.
    """

    seconds: float
    rounds: int
    calls: float
    once: float
    is_quick: bool


@dataclass
class Run:
    """What is measured, and with what.

    Parameters
    ----------
    rows
        What is measured, in order.
    versions
        Versions of refspace; the first is the present one.
    environments
        Pythons of the rivals.
    budget
        How long it may take.
    log
        File that lines of JSON are appended to.
    """

    rows: Sequence[Row]
    versions: Sequence[Version]
    environments: Environments
    budget: Budget
    log: Path
    _taken: dict[tuple[Any, ...], float] = field(default_factory=dict)
    _end: float = math.inf

    def make_environments(self) -> None:
        """Make the environments that rivals need; one that cannot be made is told later."""
        for row in self.rows:
            for contestant in self.contestants(row):
                with suppress(MissingEnvironmentError):
                    self.environments.python(contestant.way.module)

    def start(self) -> None:
        """Start the clock."""
        self._end = time.monotonic() + self.budget.seconds

    def measurements(self) -> Iterator[dict[str, Any]]:
        """Measure, and yield each measurement once it is in the log."""
        with ExitStack() as servers:
            urls: dict[tuple[Path, str], str] = {}
            for number in range(self.budget.rounds):
                for files in dict.fromkeys(row.files for row in self.rows):
                    yield from self._limits(files)
                for row, contestant in self._turn(number):
                    address = self._address(row, urls, servers)
                    yield from self._measure(row, contestant, address, number)

    def _turn(self, number: int) -> Iterator[tuple[Row, Contestant]]:
        """What a round measures, in order; slow rivals once, after the others of their size."""
        for size in dict.fromkeys(row.files for row in self.rows):
            rows = [row for row in self.rows if row.files == size]
            pairs = [(row, each) for row in rows for each in self.contestants(row)]
            yield from (pair for pair in pairs if not _is_slow(*pair))
            if not number:
                yield from (pair for pair in pairs if _is_slow(*pair))

    def contestants(self, row: Row) -> list[Contestant]:
        """Who does a job, refspace in all its versions."""
        found = []
        for way in row.job.at(row.files.resolution, row.medium):
            versions = self.versions if way.name == REFSPACE else self.versions[:1]
            found += [Contestant(way, version) for version in versions]
        return [each for each in found if not (self.budget.is_quick and _is_slow(row, each))]

    def files_needed(self) -> dict[Files, tuple[str, ...]]:
        """Names of files by size, stores left out."""
        needed: dict[Files, dict[str, None]] = {}
        for row in self.rows:
            for contestant in self.contestants(row):
                names = contestant.way.files(row.medium)
                needed.setdefault(row.files, {}).update(dict.fromkeys(names))
        return {files: tuple(names) for files, names in needed.items()}

    # ----- one of them

    def _measure(
        self, row: Row, contestant: Contestant, address: str, number: int
    ) -> Iterator[dict[str, Any]]:
        key = (*row.key, contestant.name)
        if time.monotonic() > self._end:
            return
        if number and not 0 < self._taken.get(key, 0) < self.budget.once:
            return
        start = time.monotonic()
        figures = self._figures(row, contestant, address)
        self._taken[key] = time.monotonic() - start
        if number:
            figures.pop("answer", None)
        name, resolution, medium = row.key
        yield self._logged(
            {
                "job": name,
                "resolution": resolution,
                "medium": medium,
                "way": contestant.way.name,
                "name": contestant.name,
                "took": round(self._taken[key], 2),
                **figures,
            }
        )

    def _figures(self, row: Row, contestant: Contestant, address: str) -> dict[str, Any]:
        way, version = contestant.way, contestant.version
        try:
            python = self.environments.python(way.module)
        except MissingEnvironmentError as error:
            return {"failed": str(error)}
        if short := _lacking(way, row.files):
            return {"failed": short}
        inputs = Inputs(
            str(row.files.folder),
            row.files.resolution,
            "http" if row.medium in HTTP else row.medium,
            address,
            version.store,
            {**row.job.given, **way.given},
            self.budget.calls,
        )
        command = [str(python), "-W", "ignore", "-m", "benchmarks.worker", way.function]
        return self._answered([*command, inputs.to_json()], version)

    def _limits(self, files: Files) -> Iterator[dict[str, Any]]:
        """What the machine can do now, and what each job must."""
        jobs = {row.job.name: row.job for row in self.rows if row.files == files and row.job.work}
        if time.monotonic() > self._end or not jobs:
            return
        asked = {name: (job.work, dict(job.given)) for name, job in jobs.items()}
        version = self.versions[0]
        folder = str(files.folder)
        inputs = Inputs(folder, files.resolution, "disk", folder, version.store)
        command = [str(self.environments.python("ours")), "-W", "ignore", "-m", "benchmarks.work"]
        answer = self._answered([*command, json.dumps(asked), inputs.to_json()], version)
        yield self._logged({"limits": answer, "resolution": files.resolution})

    def _address(self, row: Row, urls: dict[tuple[Path, str], str], servers: ExitStack) -> str:
        if row.medium not in HTTP:
            return str(row.files.folder)
        key = (row.files.folder, row.medium)
        if key not in urls:
            urls[key] = servers.enter_context(served(row.files.folder, HTTP[row.medium]))
        return urls[key]

    def _answered(self, command: Sequence[str], version: Version) -> dict[str, Any]:
        """Figures that a process prints; or why there are none."""
        # Nothing of a run shall be kept, or found, in the cache of who runs it.
        environment = {**version.environment(), "REFSPACE_CACHE": str(self.log.parent / "cache")}
        try:
            done = subprocess.run(
                command,
                env=environment,
                cwd=REPOSITORY,
                capture_output=True,
                text=True,
                timeout=_MOST_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return {"failed": f"it took more than {_MOST_SECONDS:g} s"}
        try:
            answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        except (IndexError, ValueError):
            said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
            return {"failed": said[-1][:300]}
        return answer

    def _logged(self, line: dict[str, Any]) -> dict[str, Any]:
        with self.log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        return line


def _is_slow(row: Row, contestant: Contestant) -> bool:
    """Whether it is a rival that is measured once."""
    way = contestant.way
    return way.name != REFSPACE and bool(way.slow) and row.files.resolution <= way.slow


def rows(sizes: Sequence[Files], jobs: Sequence[Job], media: Sequence[str]) -> list[Row]:
    """What is measured: jobs at all sizes and media that refspace does them at."""
    return [
        Row(job, files, medium)
        for files in sizes
        for job in jobs
        for medium in media
        if any(way.name == REFSPACE for way in job.at(files.resolution, medium))
    ]


def _lacking(way: Way, files: Files) -> str:
    """What is said where memory is too short for AllenSDK; empty where it is not."""
    if way.module != "allensdk" or files.resolution > 10 or not _MEMORY.exists():
        return ""
    lines = dict(line.split(":") for line in _MEMORY.read_text().splitlines())
    available = int(lines["MemAvailable"].split()[0]) / 1e6
    needed = 18 * (10 / files.resolution) ** 3
    if available >= needed:
        return ""
    return f"it needs {needed:.0f} GB of memory, {available:.0f} GB are available"
