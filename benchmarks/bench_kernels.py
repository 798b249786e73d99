"""Measure the kernels against plain NumPy, on the phantom or on the real annotation.

    python benchmarks/bench_kernels.py [--resolution 50] [--data FOLDER]

One core, one array in memory. Every result is compared with NumPy's before its time is believed.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import refspace
from refspace import kernels

ISOCORTEX = 315

Kernel = Callable[[], Sequence[NDArray[Any]]]


def open_space(options: argparse.Namespace) -> refspace.ReferenceSpace:
    """Return the real annotation where a folder is given, else the phantom."""
    if options.data is None:
        return refspace.phantom(resolution=options.resolution)
    structures = options.data / "structures_1.json"
    return refspace.open(options.data / "annotation_25.nrrd", structures=structures, resolution=25)


def compared(space: refspace.ReferenceSpace) -> dict[str, tuple[Kernel, Kernel]]:
    """Return, for each task, NumPy's way and that of the kernels."""
    block = np.ascontiguousarray(space.annotation)
    inside = np.sort(space.structure_tree.descendant_ids([ISOCORTEX])[0]).astype(block.dtype)
    ids = np.unique(block)[1:]
    numbers = np.arange(1, ids.size + 1, dtype=np.uint16)
    ones, zero = np.ones(inside.size, bool), np.array(False)

    def loop() -> list[NDArray[Any]]:
        result = np.zeros(block.shape, np.uint16)
        for structure, number in dict(zip(ids, numbers, strict=True)).items():
            result[block == structure] = number
        return [result]

    return {
        "counts, np.unique": (
            lambda: np.unique(block, return_counts=True),
            lambda: kernels.count_labels(block),
        ),
        "mask of Isocortex, np.isin": (
            lambda: [np.isin(block, inside)],
            lambda: [kernels.relabel(block, inside, ones, zero)],
        ),
        "renumbering, loop over a dict": (
            loop,
            lambda: [kernels.relabel(block, ids, numbers, np.array(0, np.uint16))],
        ),
    }


def measured(kernel: Kernel, repeat: int) -> tuple[float, Sequence[NDArray[Any]]]:
    """Return the shortest time of some calls, and the result."""
    seconds = []
    for _ in range(repeat):
        start = time.perf_counter()
        result = kernel()
        seconds.append(time.perf_counter() - start)
    return min(seconds), result


def main(arguments: list[str] | None = None) -> None:
    """Measure every kernel and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--resolution", type=float, default=50, help="µm, of the phantom")
    parser.add_argument("--data", type=Path, help="folder of the real files, for the phantom")
    parser.add_argument("--repeat", type=int, default=3, help="calls of a kernel; the best counts")
    options = parser.parse_args(arguments)
    space = open_space(options)
    print(f"{space.annotation.size:,} voxels, best of {options.repeat}; NumPy once")
    print(f"{'':31}{'NumPy s':>9}{'kernel s':>9}{'faster ×':>10}")
    for name, (plain, kernel) in compared(space).items():
        slow, expected = measured(plain, 1)
        fast, result = measured(kernel, options.repeat)
        for one, other in zip(expected, result, strict=True):
            np.testing.assert_array_equal(one, other, err_msg=name)
        print(f"{name:31}{slow:9.3f}{fast:9.3f}{slow / fast:10.1f}", flush=True)


if __name__ == "__main__":
    main()
