"""Measure queries on a store behind an HTTP server that answers each request late.

    python benchmarks/bench_remote.py [--data FOLDER] [--milliseconds 50] [--engine fsspec obstore]

FOLDER holds ``annotation_25.nrrd`` and ``structures_1.json``; without it the phantom serves, and
nothing is wanted of the figures. Beside each time stands what latency alone would take: the number
of requests that must wait for one another, times the latency.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1] / "tests"
# Rounds of requests: the root then the coordinates, the label index, the chunks.
ROUNDS = {"opening": 2, "counts of all structures": 1, "mask of AUDd, cropped": 1}
USUAL = "mask of AUDd, xarray and np.isin"
REPEATS = 7
MOST_SECONDS, MOST_TIMES_IDEAL = 1.0, 2.0


def serve(folder: str, seconds: float) -> None:
    """Serve a folder until the standard input ends; each answer takes its time."""
    sys.path.append(str(TESTS))
    from helpers.serving import Fault, Server

    with Server(folder, lambda request: Fault(seconds=seconds)) as server:
        print(server.url, flush=True)
        sys.stdin.read()


@contextmanager
def served(folder: Path, seconds: float) -> Iterator[str]:
    """URL of a folder behind a server in a process of its own."""
    command = [sys.executable, __file__, "--serve", str(folder), str(seconds)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.communicate()


def best(ask: Callable[[], Any]) -> float:
    """Seconds of the fastest call."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        ask()
        times.append(time.perf_counter() - start)
    return min(times)


def measure(url: str, engine: str) -> dict[str, float]:
    """Best seconds of each query; after the first call, so that nothing is imported any more."""
    import numpy as np
    import xarray as xr

    import refspace

    def opened() -> Any:
        return refspace.open(url, engine=engine)

    def usual() -> Any:
        annotation = xr.open_zarr(url, group="s0", chunks={}).annotation
        return annotation.data.map_blocks(np.isin, ids, dtype=bool).sum().compute()

    space = opened()
    ids = space.structure_tree.descendant_ids(["AUDd"])[0]
    times = {"opening": best(opened)}
    spaces = iter([opened() for _ in range(REPEATS)])
    times["counts of all structures"] = best(lambda: next(spaces).voxel_counts())
    times["mask of AUDd, cropped"] = best(
        lambda: space.make_structure_mask("AUDd", crop=True).compute()
    )
    if engine == "fsspec":
        times[USUAL] = best(usual)
    return times


def row(name: str, engine: str, seconds: float, latency: float) -> tuple[str, bool]:
    """Line of a query, and whether it is as fast as wanted."""
    line = f"{name:34}{engine:10}{seconds * 1e3:8.0f}"
    if name not in ROUNDS:
        return line, True
    ideal = ROUNDS[name] * latency
    passed = seconds <= min(MOST_SECONDS, MOST_TIMES_IDEAL * ideal)
    return f"{line}{ideal * 1e3:8.0f}{seconds / ideal:8.2f}  {'pass' if passed else 'FAIL'}", passed


def make_store(data: Path | None, folder: str) -> Path:
    """Store of the real annotation, or of the phantom."""
    import refspace

    store = Path(folder, "atlas.zarr")
    if data is None:
        refspace.phantom(resolution=100).to_zarr(store, chunks=64)
    else:
        refspace.convert(data / "annotation_25.nrrd", data / "structures_1.json", store)
    return store


def main(arguments: list[str] | None = None) -> None:
    """Measure everything, print the table, and fail where something wanted is not there."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of the real files, for the phantom")
    parser.add_argument("--milliseconds", type=float, default=50, help="latency of each request")
    parser.add_argument("--engine", nargs="+", default=["fsspec", "obstore"])
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve:
        serve(options.serve[0], float(options.serve[1]))
        return
    if options.measure:
        print(json.dumps(measure(*options.measure)))
        return
    latency, passed = options.milliseconds / 1e3, True
    print(f"{'':34}{'engine':10}{'ms':>8}{'ideal':>8}{'times':>8}")
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(options.data, folder)
        for engine in options.engine:
            with served(store, latency) as url:
                command = [sys.executable, "-W", "ignore", __file__, "--measure", url, engine]
                done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
            for name, seconds in json.loads(done.stdout).items():
                line, met = row(name, engine, seconds, latency)
                passed &= met or options.data is None
                print(line, flush=True)
    if not passed:
        raise SystemExit("FAIL: some of the figures are not as wanted")


if __name__ == "__main__":
    main()
