"""Measure refspace beside its rivals: ``python -m benchmarks``.

    python -m benchmarks [--data FOLDER] [--only JOB …] [--sizes UM …] [--quick]
    python -m benchmarks --against COMMIT --data FOLDER

Every job is done by refspace and by what people use for it, in turn, each time in a fresh process;
results are compared before times are believed; ``benchmarks/README.md`` says what jobs include.
Only the standard library is imported here: on Linux a new process inherits the peak memory of the
one that started it.
"""

import argparse
import fnmatch
import json
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from benchmarks import data, pages, report, results
from benchmarks.environments import Environments
from benchmarks.jobs import BRIEF, JOBS, MEDIA
from benchmarks.runner import Budget, Row, Run, rows
from benchmarks.server import REPOSITORY

_REAL_SIZES, _SAMPLE_SIZES = (25.0, 10.0, 100.0), (100.0,)
_BRIEFLY = 100.0  # µm: of what is so coarse few jobs are measured beside what is finer
FULL = Budget(seconds=25 * 60, rounds=5, calls=0.5, once=10.0, is_quick=False)
QUICK = Budget(seconds=8 * 60, rounds=2, calls=0.3, once=5.0, is_quick=True)


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure refspace beside what else people use, in one interleaved run.",
        epilog="python -m benchmarks --data FOLDER --against HEAD~1 --only 'mask*' --sizes 10",
    )
    add = parser.add_argument
    add(
        "--data",
        type=Path,
        metavar="FOLDER",
        help="folder with annotation_25.nrrd and structures_1.json; the sample brain without it",
    )
    add("--only", nargs="+", metavar="JOB", help="jobs, by names or patterns")
    add(
        "--sizes",
        nargs="+",
        type=float,
        metavar="UM",
        help="resolutions (default: 25, 10, and 100 briefly; 100 of the sample brain)",
    )
    add(
        "--media",
        nargs="+",
        choices=MEDIA,
        default=list(MEDIA),
        metavar="MEDIUM",
        help=f"where voxels are: {', '.join(MEDIA)}",
    )
    add("--against", metavar="COMMIT", help="measure the code of a commit beside the present one")
    add("--quick", action="store_true", help="at most 8 minutes: fewer jobs and rounds")
    add("--minutes", type=float, help="after so many no measurement begins (default: 25; quick: 8)")
    add("--rounds", type=int, help="how often everything is measured (default: 5; quick: 2)")
    add(
        "--work",
        type=Path,
        default=REPOSITORY / ".benchmarks",
        metavar="FOLDER",
        help="keeps data, environments and logs (default: %(default)s); 25 GB for 10 µm",
    )
    add(
        "--env-folder",
        type=Path,
        metavar="FOLDER",
        help="keeps the rivals' environments (default: environments in --work)",
    )
    add("--here", action="store_true", help="expect all rivals in this Python; install nothing")
    add("--out", type=Path, metavar="FILE", help="write the summary as JSON")
    add(
        "--publish",
        action="store_true",
        help="write the summary to benchmarks/results, and its tables into the pages",
    )
    add("--from-log", nargs="+", type=Path, metavar="FILE", help="measure nothing: summarise logs")
    add("--list", action="store_true", help="list the jobs, and who does them")
    return parser.parse_args(given)  # fmt: skip


def chosen_rows(options: argparse.Namespace) -> list[Row]:
    """Jobs, sizes and media that are asked for; an unknown job is an error that lists all."""
    names = [job.name for job in JOBS]
    for pattern in options.only or ():
        if not fnmatch.filter(names, pattern):
            raise SystemExit(f"--only {pattern!r} is no job; there are: {', '.join(names)}")
    sizes = options.sizes or (_SAMPLE_SIZES if options.data is None else _REAL_SIZES)
    found = []
    for size in sizes:
        is_brief = options.quick or (size >= _BRIEFLY and min(sizes) < size)
        patterns = options.only or (BRIEF if is_brief else ("*",))
        jobs = [job for job in JOBS if any(fnmatch.fnmatch(job.name, each) for each in patterns)]
        found += rows([data.Files(options.work, size, options.data)], jobs, options.media)
    return found


def main(given: Sequence[str] | None = None) -> int:
    """Measure, print, and write; 1 where something that is wanted is not there."""
    options = arguments(given)
    if options.publish and options.only:
        raise SystemExit("--publish replaces all published figures: leave out --only")
    if options.list:
        print(report.listed(JOBS))
        return 0
    if options.from_log:
        logs = [results.read_log(path) for path in options.from_log]
        return finish(results.summary([line for log in logs for line in log]), options)
    run = prepared(options)
    begun = {
        "machine": results.machine(),
        "versions": run.environments.versions(),
        "refspace": [version.name for version in run.versions],
        "brain": "sample" if options.data is None else "mouse",
    }
    lines = [begun]
    run.log.write_text(json.dumps(begun) + "\n", encoding="utf-8")
    with suppress(KeyboardInterrupt):  # what is measured is summarised
        for line in run.measurements():
            lines.append(line)
            print(report.progress(line), flush=True)
    return finish(results.summary(lines), options)


def prepared(options: argparse.Namespace) -> Run:
    """The run that is asked for, with environments and files made.

    The time that files take counts; environments are made before the clock starts.
    """
    options.work.mkdir(parents=True, exist_ok=True)
    versions = [data.present()]
    if options.against:
        versions.append(data.earlier(options.against, options.work))
    run = Run(
        chosen_rows(options),
        versions,
        Environments(None if options.here else options.env_folder or options.work / "environments"),
        budget(options),
        options.work / f"{time.strftime('%Y-%m-%dT%H%M%S')}.jsonl",
    )
    run.make_environments()
    run.start()
    for files, names in run.files_needed().items():
        files.make(names, versions)
    return run


def budget(options: argparse.Namespace) -> Budget:
    """How long the run may take."""
    usual = QUICK if options.quick else FULL
    seconds = usual.seconds if options.minutes is None else 60 * options.minutes
    return replace(usual, seconds=seconds, rounds=options.rounds or usual.rounds)


def finish(summary: results.Summary, options: argparse.Namespace) -> int:
    """Print the summary, and write it where it is asked for."""
    print(report.text(summary))
    out = options.out
    if options.publish:
        out = pages.RESULTS / f"{summary['brain']}.json"
    if out:
        out.write_text(results.to_json(summary), encoding="utf-8")
    if options.publish:
        pages.update()
    return int(any(not each["met"] for row in summary["rows"] for each in row["wanted"]))


if __name__ == "__main__":
    sys.exit(main())
