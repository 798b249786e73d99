"""Summaries as text for a terminal and as tables of Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.jobs import JOBS, REFSPACE, Job
from benchmarks.results import Summary

Row = Mapping[str, Any]
_JOBS = {job.name: job for job in JOBS}
# Jobs of the table in the README: each of the real annotation at 25 µm.
_SHOWN = (
    ("file to mask", "file", "from the file to the first mask"),
    ("counts", "memory", "voxels of all structures"),
    ("mask of Isocortex", "memory", "mask of Isocortex"),
    ("coronal slice", "memory", "coloured slice"),
    ("ITK-SNAP export", "memory", "ITK-SNAP export, written"),
)


# ----- for a terminal


def progress(line: Mapping[str, Any]) -> str:
    """Line that says what was measured, without its time: answers are compared first."""
    if "limits" in line:
        return f"measured the limits of the machine, {line['resolution']:g} µm"
    where = f"{line['job']}, {line['resolution']:g} µm, {line['medium']}"
    if "failed" in line:
        return f"NOT measured: {line['name']}: {where}: {line['failed']}"
    return f"measured {line['name']}: {where}"


def text(summary: Summary) -> str:
    """All figures, row by row."""
    lines = [*_about(summary), ""]
    for row in summary["rows"]:
        lines += [_heading(row), *_ways(row)]
        for each in row["wanted"]:
            word = "pass" if each["met"] else "FAIL"
            lines.append(f"    {word}: {each['text']}: {each['value']:g} of {each['bound']:g}")
        lines.append("")
    return "\n".join([*lines, *_before_and_after_lines(summary)])


def _about(summary: Summary) -> list[str]:
    machine = ", ".join(summary["machine"].values())
    versions = ", ".join(f"{name} {version}" for name, version in summary["versions"].items())
    speeds = [
        f"at {size} µm the codec decodes {each['codec']:.3g} GB/s, "
        f"memory is filled with {each['memset']:.3g} GB/s"
        for size, each in summary["speeds"].items()
    ]
    return [machine, versions, *speeds]


def _heading(row: Row) -> str:
    place = f"{row['job']}, {row['resolution']:g} µm, {row['medium']}"
    limit = "" if row["limit"] is None else f": the limit is {seconds(row['limit'])}"
    return place + limit


def _ways(row: Row) -> list[str]:
    lines = [
        f"    {'':30}{'seconds':>10}{'first':>10}{'processor':>10}{'peak MB':>9}{'beyond':>8}"
        f"{'× ours':>9}{'× limit':>9}  runs"
    ]
    ours = next((w for w in row["ways"] if w["name"] == REFSPACE and "failed" not in w), None)
    for way in row["ways"]:
        if "failed" in way:
            lines.append(f"    {way['name']:30}  not measured: {way['failed']}")
            continue
        ratio = f"{way['seconds'] / ours['seconds']:9.3g}" if ours else f"{'':9}"
        limit = f"{way['seconds'] / row['limit']:9.3g}" if row["limit"] else f"{'':9}"
        words = [f"  {way['runs']}"]
        if "agrees" in way:
            words.append("" if way["agrees"] else "WRONG: its answer is not that of the others")
        if "requests" in way:
            words.append(f"{way['requests']:g} requests")
        lines.append(
            f"    {way['name']:30}{way['seconds']:10.4g}{way['first']:10.4g}"
            f"{way['processor']:10.4g}{way['peak']:9.0f}{way['beyond']:8.0f}{ratio}{limit}"
            + "  ".join(word for word in words if word)
        )
    return lines


def listed(jobs: Iterable[Job]) -> str:
    """Names of jobs, and who does them."""
    return "\n".join(f"{job.name}: {', '.join(way.name for way in job.ways)}" for job in jobs)


# ----- Markdown


def jobs_table() -> str:
    """What each job includes, and who does it."""
    rows = [(job.name, job.about, ", ".join(way.name for way in job.ways)) for job in JOBS]
    return table(("job", "what is timed", "by"), rows)


def remarks_list() -> str:
    """What must be known of some ways."""
    remarks = {f"{way.name}: {way.remark}": None for job in JOBS for way in job.ways if way.remark}
    return "\n".join(f"- {each}" for each in remarks)


def machine_line(summary: Summary) -> str:
    """Sentence on what was measured, where, and with what."""
    machine = summary["machine"]
    brain = {"mouse": "the Allen CCF 2017", "sample": "the sample brain"}[summary["brain"]]
    versions = ", ".join(f"{name} {version}" for name, version in summary["versions"].items())
    return (
        f"Measured on {machine['date']} with {brain}: {machine['processor']}, {machine['cores']} "
        f"cores, {machine['memory']}; Python {machine['python']}, {versions}."
    )


def all_tables(summary: Summary) -> str:
    """A table for each resolution and group of jobs, with what is not as wanted below."""
    parts = [machine_line(summary)]
    sizes = dict.fromkeys(row["resolution"] for row in summary["rows"])
    for size in sizes:
        parts.append(f"## {size:g} µm")
        rows = [row for row in summary["rows"] if row["resolution"] == size]
        for group in dict.fromkeys(_JOBS[row["job"]].group for row in rows):
            inside = [row for row in rows if _JOBS[row["job"]].group == group]
            parts += [f"### {group}", _group_table(inside)]
    return "\n\n".join(parts)


def _group_table(rows: Sequence[Row]) -> str:
    cells = []
    for row in rows:
        ours = next((way for way in row["ways"] if way["name"] == REFSPACE), None)
        label = f"{row['job']} ({row['medium']})"
        if ours is None or "failed" in ours:
            cells.append((label, "not measured", "", "", ""))
            continue
        limit = "" if row["limit"] is None else times(ours["seconds"] / row["limit"])
        cells.append((label, _time(ours), limit, memory(ours["peak"]), _beside(row, ours)))
    return table(("", "refspace", "of the limit", "memory", "others"), cells)


def _time(way: Row) -> str:
    if way["first"] > 1.5 * way["seconds"]:
        return f"{seconds(way['seconds'])} (first {seconds(way['first'])})"
    return seconds(way["seconds"])


def _beside(row: Row, ours: Row) -> str:
    others = [way for way in row["ways"] if "failed" not in way and way["name"] != REFSPACE]
    named = sorted(others, key=lambda way: float(way["seconds"]))
    return ", ".join(
        f"{way['name']} {seconds(way['seconds'])} ({times(way['seconds'] / ours['seconds'])})"
        + ("" if way.get("agrees", True) else ", another answer")
        for way in named
    )


def readme_table(summary: Summary) -> str:
    """Some jobs beside AllenSDK."""
    cells = []
    for name, medium, label in _SHOWN:
        for row in summary["rows"]:
            if (row["job"], row["resolution"], row["medium"]) == (name, 25, medium):
                ways = {way["name"]: way for way in row["ways"] if "failed" not in way}
                theirs, ours = ways.get("AllenSDK"), ways.get(REFSPACE)
                if theirs and ours:
                    ratio = times(theirs["seconds"] / ours["seconds"])
                    cells.append(
                        (label, seconds(theirs["seconds"]), seconds(ours["seconds"]), ratio)
                    )
    return table(("25 µm", "AllenSDK", "refspace", "faster"), cells)


def before_and_after(summary: Summary) -> str:
    """Times and memory of two versions, job by job; empty where one was measured."""
    if len(summary["refspace"]) < 2:
        return ""
    after, before = summary["refspace"]
    cells = []
    for row in summary["rows"]:
        ways = {way["name"]: way for way in row["ways"] if "failed" not in way}
        if before in ways and after in ways:
            old, new = ways[before], ways[after]
            cells.append(
                (
                    _heading({**row, "limit": None}),
                    *(f"{seconds(each['seconds'])}, {memory(each['peak'])}" for each in (old, new)),
                    times(old["seconds"] / new["seconds"]),
                    times(old["first"] / new["first"]),
                    "" if row["limit"] is None else times(new["seconds"] / row["limit"]),
                )
            )
    return table(("", before, "now", "faster", "first call", "of the limit"), cells)


def _before_and_after_lines(summary: Summary) -> list[str]:
    found = before_and_after(summary)
    return [found] if found else []


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Table of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |".replace("|  |", "| |") for line in lines)


def seconds(value: float) -> str:
    """Time with its unit."""
    if value >= 1:
        return f"{value:.3g} s"
    return f"{value * 1e3:.2g} ms" if value < 0.1 else f"{value:.2g} s"


def times(ratio: float) -> str:
    """Ratio with two digits, or all that it has before the point."""
    return f"{ratio:.0f} ×" if ratio >= 10 else f"{ratio:.2g} ×"


def memory(megabytes: float) -> str:
    """Memory with its unit."""
    return f"{megabytes / 1e3:.2g} GB" if megabytes >= 1000 else f"{megabytes:.0f} MB"
