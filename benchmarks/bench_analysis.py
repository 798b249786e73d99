"""Measure statistics over regions and look-ups of points beside the usual ways to get them.

    python benchmarks/bench_analysis.py --data FOLDER [--large] [--quick] [--only MEASURE ...]

FOLDER holds ``annotation_25.nrrd`` and ``structures_1.json``; without it the phantom serves, and
nothing is wanted of the figures. Every measurement runs in a fresh process; what each of them
includes is in ``benchmarks/README.md``. Only the standard library and `bench_store`, which imports
no more, are imported here: on Linux a new process inherits the peak memory of its parent.
"""

import argparse
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from bench_store import Figures, measured


@dataclass(frozen=True)
class Case:
    """What is measured, what it is measured beside, and what it needs beyond refspace."""

    measure: str
    label: str
    beside: str = ""  # the measure whose work this does
    factor: float = 1.0  # how much more work that is
    needs: str = ""


SCRIPT = "measure_analysis.py"
CASES = (
    Case("mean", "mean of all structures"),
    Case("in memory", "… labels in memory too", "mean"),
    Case("seven", "seven statistics"),
    Case("median", "… and medians"),
    Case("out of core", "seven statistics, image in zarr"),
    Case("large", "… of a volume 15.6 × as large"),
    Case("ndimage.mean", "scipy.ndimage.mean", "mean", needs="scipy"),
    Case("ndimage.mean, dense", "… of dense labels", "mean", needs="scipy"),
    Case("labeled_comprehension", "… labeled_comprehension", "mean", needs="scipy"),
    Case("flox", "xarray groupby, flox", "mean", needs="flox"),
    Case("nilearn", "nilearn NiftiLabelsMasker", "mean", needs="nilearn"),
    Case("structure_at", "structure_at, 10 million points"),
    Case("count_points", "count_points, 10 million points"),
    Case("indexing", "NumPy indexing, volume in memory", "structure_at"),
    Case("one by one", "one look-up each, of 1/100", "structure_at", factor=100),
)
USUAL = ("ndimage.mean", "labeled_comprehension", "flox", "nilearn")
LARGE = "large"
AT_LEAST, POINTS_SECONDS, LARGE_MEGABYTES = 5.0, 5.0, 1500


def row(case: Case, figures: Figures, before: Mapping[str, Figures]) -> str:
    """Line of a case: seconds, peak memory, and how many times as long as refspace takes."""
    line = f"{case.label:36}{figures['seconds']:9.2f}{figures['megabytes']:9.0f}"
    if case.beside in before:
        ratio = case.factor * figures["seconds"] / before[case.beside]["seconds"]
        line += f"{ratio:9.1f}"
    return line


def verdicts(found: Mapping[str, Figures]) -> list[str]:
    """What is wanted of the figures, as far as they were measured."""
    lines = []
    usual = [found[name]["seconds"] for name in USUAL if name in found]
    if usual and "mean" in found:
        ratio = min(usual) / found["mean"]["seconds"]
        word = "pass" if ratio >= AT_LEAST else "FAIL"
        lines.append(f"{word}: {ratio:.1f} × the fastest of the usual ways (at least {AT_LEAST:g})")
    if "structure_at" in found:
        seconds = found["structure_at"]["seconds"]
        word = "pass" if seconds < POINTS_SECONDS else "FAIL"
        lines.append(f"{word}: points in {seconds:.1f} s (less than {POINTS_SECONDS:g})")
    if LARGE in found:
        megabytes = found[LARGE]["megabytes"]
        word = "pass" if megabytes < LARGE_MEGABYTES else "FAIL"
        lines.append(f"{word}: peak {megabytes:.0f} MB (less than {LARGE_MEGABYTES})")
    return lines


def main(arguments: list[str] | None = None) -> None:
    """Measure every case and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of the real files")
    parser.add_argument("--resolution", type=float, default=100, help="µm of the phantom")
    parser.add_argument("--quick", action="store_true", help="measure everything once only")
    names = [case.measure for case in CASES]
    parser.add_argument("--only", nargs="+", choices=names, metavar="MEASURE", help=str(names))
    parser.add_argument("--large", action="store_true", help="also at 10 µm: 6 GB on the disk")
    options = parser.parse_args(arguments)
    repeat = 1 if options.quick else 3
    print(f"{os.cpu_count()} cores, best of {repeat}\n{'':36}{'s':>9}{'MB':>9}{'× ours':>9}")
    with tempfile.TemporaryDirectory() as work:
        measured(SCRIPT, "make", options.data or "phantom", work, options.resolution)
        found: dict[str, Figures] = {}
        for case in CASES:
            if options.only and case.measure not in options.only:
                continue
            if case.measure == LARGE:
                if not options.large:
                    continue
                measured(SCRIPT, "make-large", work)
            if case.needs and find_spec(case.needs) is None:
                print(f"{case.label:36}not measured: {case.needs} is not installed")
                continue
            runs = [measured(SCRIPT, case.measure, work) for _ in range(repeat)]
            found[case.measure] = min(runs, key=lambda run: run["seconds"])
            print(row(case, found[case.measure], found), flush=True)
    if options.data:
        print("\n".join(verdicts(found)))


if __name__ == "__main__":
    main()
