"""Measure what it costs to prove every object that is read, side by side in one process.

    python benchmarks/bench_proof.py [--data FOLDER] [--work FOLDER] [--repeat N]

FOLDER holds ``annotation_25.nrrd`` and ``structures_1.json``; without it the phantom serves, and
nothing is wanted of the figures. Each task is done with the proof and without it in turn, from
opening the store on; of either, the least processor time counts, which other work on the machine
disturbs less than the time that passes.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import refspace
from refspace.store.stored_array import StoredArray

WANTED = 1.05


def stores(data: Path | None, work: Path, resolution: float) -> tuple[Path, Path]:
    """Store of an atlas and store of masks, made once."""
    atlas, masks = work / "atlas.zarr", work / "masks.zarr"
    if not atlas.exists():
        if data is None:
            refspace.phantom(resolution=resolution).to_zarr(atlas, chunks=64)
        else:
            refspace.convert(data / "annotation_25.nrrd", data / "structures_1.json", atlas)
    if not masks.exists():
        refspace.write_masks(atlas, masks)
    return atlas, masks


def tasks(atlas: Path, masks: Path) -> dict[str, Callable[[], object]]:
    """What is done, by name."""

    def mask(structure: str, **options: bool) -> object:
        return refspace.open(atlas).make_structure_mask(structure, **options).sum().compute()

    return {
        "opening": lambda: refspace.open(atlas),
        "counts of all structures": lambda: refspace.open(atlas).total_voxel_map,
        "mask of VISp, cropped": lambda: mask("VISp", crop=True),
        "mask of Isocortex": lambda: mask("Isocortex"),
        "every voxel": lambda: refspace.open(atlas).annotation.max().compute(),
        "opening masks": lambda: refspace.open_masks(str(masks)),
        "sum of 16 masks": lambda: refspace.open_masks(str(masks))[:16].sum().compute(),
    }


@contextmanager
def unproven() -> Iterator[None]:
    """Read as if there were no records."""
    with mock.patch.object(StoredArray, "_proven", lambda self, block_id, data: data):
        yield


def processor_seconds(task: Callable[[], object]) -> float:
    """Time that all threads of this process take for a task."""
    begin = time.process_time()
    task()
    return time.process_time() - begin


def main() -> None:
    """Measure every task, and print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--repeat", type=int, default=15)
    parser.add_argument("--resolution", type=float, default=50, help="of the phantom")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made = stores(options.data, options.work or Path(folder), options.resolution)
        print(f"{'':28}{'unproven':>10}{'proven':>10}{'ratio':>8}")
        for name, task in tasks(*made).items():
            task()  # what is imported and cached once
            pairs = []
            for _ in range(options.repeat):
                with unproven():
                    before = processor_seconds(task)
                pairs.append((before, processor_seconds(task)))
            without, proven = map(min, zip(*pairs, strict=True))
            ratio = proven / without
            verdict = ("pass" if ratio <= WANTED else "FAIL") if options.data else ""
            print(f"{name:28}{without:10.4f}{proven:10.4f}{ratio:8.3f}  {verdict}")


if __name__ == "__main__":
    main()
