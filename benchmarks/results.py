"""Summary of a run: medians, limits, who agrees, and whether what is wanted is there."""

import json
import os
import platform
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.comparison import dissenters
from benchmarks.jobs import HTTP, JOBS, MEDIA, Job, Wanted

Line = Mapping[str, Any]
Summary = dict[str, Any]
"""``machine``, ``versions``, ``refspace`` (names of its versions), ``brain``, ``speeds`` and
``rows``: a job at a resolution and medium each, with its ``ways``, ``limit`` and ``wanted``."""

_JOBS = {job.name: job for job in JOBS}
_WAYS = {(job.name, way.name): way for job in JOBS for way in job.ways}
_FIGURES = ("before", "peak", "output", "read", "requests", "written", "stored", "worker")
_DIGITS = 3
_SAID = {
    "seconds": "time",
    "first": "first call",
    "processor": "processor's time",
    "peak": "peak memory",
    "beyond": "memory beyond the output",
}


def machine() -> dict[str, str]:
    """What is measured on, and when."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    return {
        "processor": models[0] if models else platform.machine(),
        "cores": str(os.cpu_count()),
        "memory": f"{memory:.0f} GB",
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
    }


def read_log(path: Path) -> list[Line]:
    """Lines of a log, but for a last one that is not whole."""
    *lines, last = path.read_text(encoding="utf-8").split("\n")
    if last:
        with suppress(ValueError):
            return [*map(json.loads, lines), json.loads(last)]
    return [*map(json.loads, lines)]


def summary(lines: Sequence[Line]) -> Summary:
    """Summary of the lines of a log, or of several of one code: the first says of what."""
    begun, *rest = lines
    measured = [line for line in rest if "job" in line]
    limits = [line for line in rest if "limits" in line and "failed" not in line["limits"]]
    keys = dict.fromkeys((line["job"], line["resolution"], line["medium"]) for line in measured)
    order = [job.name for job in JOBS]
    rows = [
        _row(
            _JOBS[name],
            (resolution, medium),
            [each for each in measured if _key(each) == (name, resolution, medium)],
            [each["limits"] for each in limits if each["resolution"] == resolution],
            begun["brain"] == "mouse",
        )
        for name, resolution, medium in sorted(
            keys, key=lambda key: (-key[1], order.index(key[0]), MEDIA.index(key[2]))
        )
        if name in _JOBS
    ]
    return {**begun, "speeds": _speeds(limits), "rows": rows}


def _key(line: Line) -> tuple[str, float, str]:
    return line["job"], line["resolution"], line["medium"]


def _speeds(limits: Iterable[Line]) -> dict[str, dict[str, float]]:
    """Median speeds by resolution, in GB per second."""
    by_size: dict[str, list[Line]] = {}
    for line in limits:
        by_size.setdefault(f"{line['resolution']:g}", []).append(line["limits"]["speeds"])
    return {
        size: {name: _median([each[name] / 1e9 for each in found]) for name in found[0]}
        for size, found in by_size.items()
    }


# ----- rows


def _row(
    job: Job,
    place: tuple[float, str],
    lines: Sequence[Line],
    limits: Sequence[Line],
    is_real: bool,
) -> dict[str, Any]:
    resolution, medium = place
    names = list(dict.fromkeys(line["name"] for line in lines))
    given = {line["name"]: line["answer"] for line in lines if "answer" in line}
    answers = {name: given[name] for name in names if name in given}
    wrong = dissenters(answers)
    ways = []
    for name in names:
        found = _way(job, [line for line in lines if line["name"] == name])
        if len(answers) > 1 and name in answers:
            found["agrees"] = name not in wrong
        ways.append(found)
    limit = _limit(job, medium, limits)
    row = {"job": job.name, "resolution": resolution, "medium": medium, "limit": limit,
           "ways": ways}  # fmt: skip
    applying = [
        each for each in job.wanted if resolution in each.resolutions and medium in each.media
    ]
    judged = [_judged(each, row) for each in applying] if is_real else []
    return {**row, "wanted": [each for each in judged if each]}


def _way(job: Job, lines: Sequence[Line]) -> dict[str, Any]:
    """Medians of one way: of the first call of each process, and of the best of each."""
    good = [line for line in lines if "failed" not in line]
    found: dict[str, Any] = {"name": lines[0]["name"]}
    if not good:
        return {**found, "failed": lines[-1]["failed"]}
    way = _WAYS.get((job.name, lines[0]["way"]))
    factor = way.factor if way else 1
    found |= {
        "runs": len(good),
        "calls": max(len(line["seconds"]) for line in good),
        "first": _median([factor * line["seconds"][0] for line in good]),
        "seconds": _median([factor * min(line["seconds"]) for line in good]),
        "processor": _median([factor * min(line["processor"]) for line in good]),
        "beyond": _median([line["peak"] - line["output"] for line in good]),
    }
    for figure in _FIGURES:
        if all(figure in line for line in good):
            found[figure] = _median([line[figure] for line in good])
    return found


def _limit(job: Job, medium: str, limits: Sequence[Line]) -> float | None:
    """Seconds that the job must take: median over the rounds; None where that is not known."""
    seconds = []
    for each in limits:
        work, speeds = each["work"].get(job.name), each["speeds"]
        if work and medium in ("disk", *HTTP):
            waiting = work["rounds"] * HTTP.get(medium, 0) / 1e3
            copied = work["decoded"] / speeds["codec"] + work["written"] / speeds["memset"]
            seconds.append(waiting + copied)
    return _median(seconds) if seconds and max(seconds) > 0 else None


def _judged(wanted: Wanted, row: Mapping[str, Any]) -> dict[str, Any] | None:
    """Whether refspace's figure is as wanted; None where one of them was not measured."""
    by_name = {way["name"]: way for way in row["ways"] if "failed" not in way}
    ours = by_name.get("refspace")
    unit = "MB" if wanted.figure in ("peak", "beyond") else "s"
    if ours is None:
        return None
    if not wanted.beside:
        bound, text = wanted.at_most, f"{wanted.at_most:g} {unit}"
    elif wanted.beside == "limit":
        if row["limit"] is None:
            return None
        bound, text = wanted.at_most * row["limit"], f"{wanted.at_most:g} × the limit"
    elif wanted.beside in by_name:
        other = by_name[wanted.beside][wanted.figure]
        bound, text = wanted.at_most * other, f"{wanted.at_most:g} × {wanted.beside}"
    else:
        return None
    value = ours[wanted.figure]
    said = f"{_SAID[wanted.figure]} at most {text}"
    return {"text": said, "value": value, "bound": _rounded(bound), "met": value <= bound}


def _median(values: Sequence[float]) -> float:
    return _rounded(statistics.median(values))


def _rounded(value: float) -> float:
    """With so many digits that a table needs."""
    return float(f"{value:.{_DIGITS}g}")


def to_json(found: Summary) -> str:
    """Text of a summary: a line for each way, so that versions of it compare well."""
    rows = found["rows"]
    head = json.dumps({key: value for key, value in found.items() if key != "rows"}, indent=1)
    lines = []
    for row in rows:
        ways = ",\n   ".join(json.dumps(way, ensure_ascii=False) for way in row["ways"])
        rest = json.dumps({k: v for k, v in row.items() if k != "ways"}, ensure_ascii=False)
        lines.append(f'{rest[:-1]}, "ways": [\n   {ways}]}}')
    listed = ",\n  ".join(lines)
    return f'{head[:-2]},\n "rows": [\n  {listed}]\n}}\n'
