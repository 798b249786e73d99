"""Measure conversion into a store, and queries on it, at 10 µm; beside AllenSDK where it fits.

    python benchmarks/bench_store.py --data FOLDER [--resolution 10] [--quick] [--skip-allensdk]

FOLDER holds ``annotation_25.nrrd`` and ``structures_1.json``; without it the phantom serves, and
nothing is wanted of the figures. Every measurement runs in a fresh process; what each of them
includes is in ``benchmarks/README.md``. Only the standard library is imported here: on Linux a new
process inherits the peak memory of the one that started it.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "scripts"))

import allensdk_env

Figures = Mapping[str, float]


@dataclass(frozen=True)
class Query:
    """A query on the store, and how long it may take."""

    name: str
    label: str
    seconds: float = math.inf


QUERIES = (
    Query("open", "opening"),
    Query("counts", "counts of all structures"),
    Query("places", "boxes and centroids of all"),
    Query("cropped mask", "mask of AUDd, cropped", seconds=0.1),
    Query("mask", "mask of AUDd"),
    Query("root mask", "mask of root"),
    Query("many masks", "masks of 12 divisions, cropped"),
    Query("slice image", "coronal slice image"),
    Query("nearest", "2.5 × coarser, nearest, to NRRD"),
    Query("mode", "5 × coarser, mode, to NRRD"),
    Query("ITK-SNAP", "ITK-SNAP export and write"),
    Query("voxel", "structure at a point"),
)
CONVERT = "convert"
MEGABYTES = 1500  # beside the output
SHARE_OF_ALLENSDK = 0.6
ALLENSDK_GIGABYTES = 18  # that a volume at 10 µm needs
HEADER = (
    f"{'':33}{'first':>9}{'best':>9}{'peak':>8}{'output':>8}{'beside':>8}{'blocks':>8}{'read':>8}"
    f"{'AllenSDK':>10}{'faster':>8}\n"
    f"{'':33}{'s':>9}{'s':>9}{'MB':>8}{'MB':>8}{'MB':>8}{'':>8}{'MB':>8}{'s':>10}{'×':>8}"
)


# ----- processes


def measured(script: str, *arguments: object, python: str | Path = sys.executable) -> Figures:
    """Run a measurement in a fresh process, and return what it prints."""
    path = Path(__file__).with_name(script)
    command = [python, "-W", "ignore", path, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def allensdk(options: argparse.Namespace, work: Path) -> Figures:
    """AllenSDK's figures on the same file; none where it is not to be measured, or cannot be."""
    needed = ALLENSDK_GIGABYTES * (10 / options.resolution) ** 3
    available = available_gigabytes()
    if options.skip_allensdk or not options.data:
        reason = "left out by an option" if options.skip_allensdk else "it has no phantom"
    elif available < needed:
        reason = f"it needs {needed:.0f} GB of memory, {available:.0f} GB are available"
    else:
        python = allensdk_env.allensdk_python(options)
        return measured(
            "measure.py", "allensdk", "steps", work, f"{options.resolution:g}", python=python
        )
    print(f"AllenSDK is not measured: {reason}", flush=True)
    return {}


def available_gigabytes() -> float:
    """Memory that may be taken; all that the machine has where the system says no more."""
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        lines = dict(line.split(":") for line in meminfo.read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) / 1e6
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9


# ----- rows


def conversion(ours: Figures, theirs: Figures, megabytes: float) -> tuple[str, dict[str, bool]]:
    """Line on the conversion into a store of some MB, and what is wanted of it."""
    line = f"conversion: {ours['seconds']:.1f} s, peak {ours['megabytes']:.0f} MB"
    wanted = {f"at most {MEGABYTES} MB": ours["megabytes"] <= MEGABYTES}
    if theirs:
        share = ours["seconds"] / (theirs["load"] + theirs["counts"])
        line += f", {share:.0%} of AllenSDK's time"
        wanted[f"at most {SHARE_OF_ALLENSDK:.0%} of it"] = share <= SHARE_OF_ALLENSDK
    return f"{line}; the store has {megabytes:.1f} MB", wanted


def baseline(theirs: Figures) -> str:
    """Line on AllenSDK."""
    return (
        f"AllenSDK: reading {theirs['load']:.1f} s, counting {theirs['counts']:.1f} s, "
        f"mask of AUDd {theirs['mask']:.1f} s, peak {theirs['megabytes']:.0f} MB"
    )


def row(query: Query, ours: Figures, theirs: float | None) -> tuple[str, dict[str, bool]]:
    """Line of a query, and what is wanted of it."""
    beside = ours["megabytes"] - ours["output"]
    line = (
        f"{query.label:33}{ours['first']:9.4f}{ours['best']:9.4f}{ours['megabytes']:8.0f}"
        f"{ours['output']:8.1f}{beside:8.0f}{ours['blocks']:8.0f}{ours['read']:8.2f}"
    )
    line += "" if theirs is None else f"{theirs:10.2f}{theirs / ours['best']:8.0f}"
    wanted = {f"at most {MEGABYTES} MB beside": beside <= MEGABYTES}
    if math.isfinite(query.seconds):
        wanted[f"at most {query.seconds:g} s"] = ours["best"] <= query.seconds
    return line, wanted


def show(line: str, wanted: Mapping[str, bool]) -> bool:
    """Print a line with a word for each thing wanted; say whether all of them are there."""
    words = [f"{'pass' if met else 'FAIL'} ({text})" for text, met in wanted.items()]
    print(f"{line}  {', '.join(words)}".rstrip(), flush=True)
    return all(wanted.values())


# ----- all of it


@contextmanager
def workplace(folder: Path | None) -> Iterator[Path]:
    """Folder that stays, or one for the time being."""
    if folder is None:
        with tempfile.TemporaryDirectory() as temporary:
            yield Path(temporary)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder


def compared(options: argparse.Namespace, work: Path) -> Iterator[tuple[str, dict[str, bool]]]:
    """Make the volume and the store, and measure; yield lines with what is wanted, as they come."""
    resolution = f"{options.resolution:g}"
    annotation, store = (work / f"annotation_{resolution}.{kind}" for kind in ("nrrd", "zarr"))
    measured("measure_store.py", "make", options.data or "", resolution, work)
    theirs = allensdk(options, work)
    if theirs:
        yield baseline(theirs), {}
    if options.only is None or CONVERT in options.only or not store.exists():
        ours = measured(
            "measure_store.py", "convert", annotation, work / "structures_1.json", store
        )
        size = sum(file.stat().st_size for file in store.rglob("*") if file.is_file())
        yield conversion(ours, theirs, size / 1e6)
    yield HEADER, {}
    for query in QUERIES:
        if options.only is None or query.name in options.only:
            ours = measured("measure_store.py", query.name, store, 1 if options.quick else 10)
            yield row(query, ours, theirs.get(query.name))


def main(arguments: list[str] | None = None) -> None:
    """Measure everything, print the table, and fail where something wanted is not there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of the real files, for the phantom")
    parser.add_argument("--resolution", type=float, default=10, help="µm, of the volume made")
    parser.add_argument("--work", type=Path, help="folder to keep the volume and the store in")
    parser.add_argument("--quick", action="store_true", help="repeat queries for 1 s, not for 10 s")
    names = [CONVERT, *(query.name for query in QUERIES)]
    parser.add_argument("--only", nargs="+", choices=names, metavar="MEASURE", help=str(names))
    parser.add_argument("--skip-allensdk", action="store_true", help="measure refspace alone")
    allensdk_env.add_arguments(parser)
    options = parser.parse_args(arguments)
    print(f"{os.cpu_count()} cores", flush=True)
    passed = True
    with workplace(options.work) as work:
        for line, wanted in compared(options, work):
            passed &= show(line, wanted if options.data else {})
    if not passed:
        raise SystemExit("FAIL: some of the figures are not as wanted")


if __name__ == "__main__":
    main()
