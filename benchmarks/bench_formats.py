"""Measure conversion from files of each format: time, and memory beside what imports take.

    python benchmarks/bench_formats.py [--resolution 25] [--work FOLDER]

The sample brain, finer than it is, is written as NRRD, NIfTI, MetaImage, TIFF and .npy by refspace
(.npy by NumPy), and each file is converted into a store by a fresh process. At 10 µm it has 1.2
billion voxels. Times are compared with that of NRRD.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ENDINGS = (".nrrd", ".nii.gz", ".mha", ".tif", ".npy")
MEGABYTES = 1000  # beside imports and the output, at any size
_WRITE = """
import sys
import numpy as np
import refspace
from refspace.formats.volumes import write_volume
folder, resolution = sys.argv[1], float(sys.argv[2])
space = refspace.phantom(resolution=max(resolution, 100))
refspace.write_structures(f"{folder}/structures.json", space.structure_tree)
if resolution < 100:
    space = space.downsample(resolution, upsample=True)
labels = space.annotation.astype(np.uint16)
for ending in sys.argv[3:]:
    if ending != ".npy":
        write_volume(f"{folder}/a{ending}", labels)
        continue
    shape = labels.shape
    file = np.lib.format.open_memmap(f"{folder}/a.npy", "w+", np.uint16, shape)
    labels.data.store(file) if labels.chunks else file.__setitem__(..., labels.values)
"""
_CONVERT = """
import json, resource, sys, time
import refspace
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
folder, ending, resolution = sys.argv[1], sys.argv[2], float(sys.argv[3])
given = {".tif": {}, ".npy": {"resolution": resolution, "orientation": "PIR"}}.get(ending, {})
refspace.convert, refspace.read_structures
before, start = peak(), time.perf_counter()
refspace.convert(
    f"{folder}/a{ending}", f"{folder}/structures.json", f"{folder}/a.zarr", overwrite=True, **given
)
print(json.dumps({"seconds": time.perf_counter() - start, "megabytes": peak() - before}))
"""


def run(script: str, *arguments: object) -> str:
    """Run a script in a fresh process, and return the last line that it prints."""
    command = [sys.executable, "-W", "ignore", "-c", script, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return (done.stdout.splitlines() or [""])[-1]


def main(arguments: list[str] | None = None) -> int:
    """Write, convert and compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--resolution", type=float, default=25)
    parser.add_argument("--work", type=Path)
    options = parser.parse_args(arguments)
    failures = 0
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        run(_WRITE, folder, options.resolution, *ENDINGS)
        print(f"{'':10}{'file MB':>9}{'s':>8}{'of NRRD':>9}{'MB beside imports':>19}")
        first = 0.0
        for ending in ENDINGS:
            figures = json.loads(run(_CONVERT, folder, ending, options.resolution))
            first = first or figures["seconds"]
            size = Path(folder, f"a{ending}").stat().st_size / 1e6
            is_bounded = figures["megabytes"] <= MEGABYTES
            failures += not is_bounded
            print(
                f"{ending:10}{size:9.1f}{figures['seconds']:8.1f}{figures['seconds'] / first:8.2f}×"
                f"{figures['megabytes']:19.0f}  {'pass' if is_bounded else 'FAIL'}",
                flush=True,
            )
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
