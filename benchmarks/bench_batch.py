"""Measure masks of many structures in one pass: by structures, voxels and workers; and AllenSDK's.

    python benchmarks/bench_batch.py --data FOLDER [--work FOLDER] [--only MEASURE ...]

FOLDER holds ``annotation_25.nrrd`` and ``structures_1.json``; without it the phantom serves, and
nothing is wanted of the figures. Every measurement runs in a fresh process; what each of them
includes is in ``benchmarks/README.md``. Only the standard library and `bench_store`, which imports
no more, are imported here: on Linux a new process inherits the peak memory of its parent.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "scripts"))

import allensdk_env
from bench_store import Figures, measured, show, workplace


@dataclass(frozen=True)
class Case:
    """Masks of how many structures of a volume, and the case that it is a multiple of."""

    measure: str
    label: str
    structures: int  # 0: all that have voxels
    factor: int = 1  # how many times as many voxels
    workers: int = 0  # 0: threads
    beside: str = ""
    times: float = 1.0  # the work of that case, for each worker


SCRIPT = "measure_batch.py"
CASES = (
    Case("1", "1 structure", 1),
    Case("10", "10 structures", 10, beside="1", times=10),
    Case("100", "100 structures", 100, beside="1", times=100),
    Case("800", "800 structures", 800, beside="1", times=800),
    Case("8x", "… of 8 × the voxels", 800, factor=8, beside="800", times=8),
    Case("16x", "… of 16 × the voxels", 800, factor=16, beside="800", times=16),
    Case("one worker", "… of 8 × the voxels, 1 worker", 800, factor=8, workers=1),
    Case("two workers", "…, 2 workers", 800, 8, workers=2, beside="one worker", times=0.5),
    Case("all", "all that have voxels", 0),
)
ALL, ALLENSDK = "all", "allensdk"
SAMPLE = 24  # structures that AllenSDK masks
WORKER_MEGABYTES, FASTER = 1000, 10
HEADER = (
    f"{'':32}{'':>9}{'client':>8}{'worker':>8}{'':>7}{'read':>8}{'written':>9}{'':>9}\n"
    f"{'':32}{'s':>9}{'MB':>8}{'MB':>8}{'tasks':>7}{'MB':>8}{'MB':>9}{'× linear':>9}"
)


def row(case: Case, ours: Figures, before: Mapping[str, Figures]) -> tuple[str, dict[str, bool]]:
    """Line of a case, and what is wanted of it."""
    line = (
        f"{case.label:32}{ours['seconds']:9.2f}{ours['megabytes']:8.0f}{ours['worker']:8.0f}"
        f"{ours['tasks']:7.0f}{ours['read']:8.1f}{ours['written']:9.1f}"
    )
    if case.beside in before:
        linear = case.times * before[case.beside]["seconds"]
        line += f"{ours['seconds'] / linear:9.3f}"
    return line, {f"less than {WORKER_MEGABYTES} MB": ours["worker"] < WORKER_MEGABYTES}


def comparison(theirs: Figures, ours: Figures | None) -> tuple[str, dict[str, bool]]:
    """Line on AllenSDK, and what is wanted beside it."""
    line = f"AllenSDK: {theirs['seconds']:.2f} s for each of {theirs['structures']:.0f} structures"
    if ours is None:
        return line, {}
    each = ours["seconds"] / ours["structures"]
    faster = theirs["seconds"] / each
    line += f", {each:.4f} s for each of {ours['structures']:.0f} here: {faster:.0f} ×"
    return line, {f"at least {FASTER} × faster": faster >= FASTER}


def compared(options: argparse.Namespace, work: Path) -> Iterator[tuple[str, dict[str, bool]]]:
    """Make the volumes, and measure; yield lines with what is wanted, as they come."""
    found: dict[str, Figures] = {}
    made: set[int] = set()
    yield HEADER, {}
    for case in CASES:
        if options.only and case.measure not in options.only:
            continue
        for factor in sorted({1, case.factor} - made):
            measured(SCRIPT, "make", options.data or "", work, options.resolution, factor)
            made.add(factor)
        words = case.factor, case.structures, case.workers
        runs = (measured(SCRIPT, "masks", work, *words) for _ in range(options.repeat))
        found[case.measure] = min(runs, key=lambda run: run["seconds"])
        yield row(case, found[case.measure], found)
    if options.data and (not options.only or ALLENSDK in options.only):
        python = allensdk_env.allensdk_python(options)
        theirs = measured(SCRIPT, ALLENSDK, options.data, SAMPLE, python=python)
        yield comparison(theirs, found.get(ALL))


def main(arguments: list[str] | None = None) -> None:
    """Measure everything, print the table, and fail where something wanted is not there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of the real files, for the phantom")
    parser.add_argument("--resolution", type=float, default=100, help="µm of the phantom")
    parser.add_argument("--work", type=Path, help="folder to keep the volumes in: 0.2 GB")
    parser.add_argument("--repeat", type=int, default=1, help="runs, of which the best counts")
    names = [*(case.measure for case in CASES), ALLENSDK]
    parser.add_argument("--only", nargs="+", choices=names, metavar="MEASURE", help=str(names))
    allensdk_env.add_arguments(parser)
    options = parser.parse_args(arguments)
    print(f"{os.cpu_count()} cores, best of {options.repeat}", flush=True)
    passed = True
    with workplace(options.work) as work:
        for line, wanted in compared(options, work):
            passed &= show(line, wanted if options.data else {})
    if not passed:
        raise SystemExit("FAIL: some of the figures are not as wanted")


if __name__ == "__main__":
    main()
