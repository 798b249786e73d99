"""Measure refspace and AllenSDK side by side on the real annotation, on this machine.

    python benchmarks/bench_allensdk.py --data FOLDER [--quick]

FOLDER holds ``annotation_25.nrrd`` and ``structures_1.json``. Every measurement runs in a fresh
process, first AllenSDK's, then that of refspace; what each of them includes is in
``benchmarks/README.md``. Only the standard library is imported here: on Linux a new process
inherits the peak memory of the one that started it.
"""

import argparse
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "scripts"))

import allensdk_env


@dataclass(frozen=True)
class Case:
    """What is measured, and what is wanted of it."""

    measure: str
    label: str
    target: float = 0.0  # AllenSDK's seconds over ours, at least
    memory_target: float = 0.0  # our megabytes over AllenSDK's, at most
    slow: bool = False  # AllenSDK is measured once


@dataclass(frozen=True)
class Cost:
    """Time, and peak memory of the process."""

    seconds: float
    megabytes: float


CASES = (
    Case("file to mask", "from file to first mask", memory_target=1.0, slow=True),
    Case("counts", "counts of all structures", target=10),
    Case("mask", "mask of Isocortex", target=20, slow=True),
    Case("slice image", "slice image"),
    Case("downsample", "downsample to 75 µm"),
    Case("ITK-SNAP", "ITK-SNAP export and write", target=40, slow=True),
)
HEADER = (
    f"{'':27}{'AllenSDK':>18}{'refspace':>18}{'faster':>9}{'memory':>8}\n"
    f"{'':27}{'s':>9}{'MB':>9}{'s':>9}{'MB':>9}{'×':>9}{'×':>8}"
)


def best(python: Path, library: str, measure: str, data: Path, repeat: int) -> Cost:
    """Measure in fresh processes; the shortest time and the smallest peak count."""
    script = Path(__file__).with_name("measure.py")
    command: list[str | Path] = [python, "-W", "ignore", script, library, measure, data]
    costs = []
    for _ in range(repeat):
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        costs.append(Cost(**json.loads(done.stdout.splitlines()[-1])))
    return Cost(min(cost.seconds for cost in costs), min(cost.megabytes for cost in costs))


def row(case: Case, theirs: Cost, ours: Cost) -> str:
    """Return the line of a case, with a word for each of its targets."""
    faster = theirs.seconds / ours.seconds
    memory = ours.megabytes / theirs.megabytes
    cells = "".join(f"{cost.seconds:9.3f}{cost.megabytes:9.0f}" for cost in (theirs, ours))
    words = []
    if case.target:
        words.append(f"{verdict(faster >= case.target)} (at least {case.target:g} × faster)")
    if case.memory_target:
        words.append(
            f"{verdict(memory <= case.memory_target)} (at most {case.memory_target:g} × the memory)"
        )
    return f"{case.label:27}{cells}{faster:9.1f}{memory:8.2f}  {', '.join(words)}".rstrip()


def verdict(passed: bool) -> str:
    """Return the word for a target."""
    return "pass" if passed else "FAIL"


def main(arguments: list[str] | None = None) -> None:
    """Measure every case and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the real files")
    parser.add_argument("--quick", action="store_true", help="measure everything once only")
    names = [case.measure for case in CASES]
    parser.add_argument("--only", nargs="+", choices=names, metavar="MEASURE", help=str(names))
    allensdk_env.add_arguments(parser)
    options = parser.parse_args(arguments)
    python = allensdk_env.allensdk_python(options)
    repeat = 1 if options.quick else 3
    print(f"{os.cpu_count()} cores, best of {repeat}; AllenSDK's slow ones once\n{HEADER}")
    for case in CASES:
        if options.only and case.measure not in options.only:
            continue
        again = 1 if case.slow else repeat
        theirs = best(python, "allensdk", case.measure, options.data, again)
        ours = best(Path(sys.executable), "refspace", case.measure, options.data, repeat)
        print(row(case, theirs, ours), flush=True)


if __name__ == "__main__":
    main()
