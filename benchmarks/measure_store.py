"""One measurement on a store, in a process of its own.

    python measure_store.py make DATA RESOLUTION WORK
    python measure_store.py convert ANNOTATION STRUCTURES STORE
    python measure_store.py QUERY STORE SECONDS

``bench_store.py`` starts it and reads the line of JSON that it prints.
"""

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from measure import peak_megabytes
from numpy.typing import NDArray

import refspace
from refspace.store.stored_array import StoredArray

DIVISIONS = ("Isocortex", "OLF", "HPF", "CTXsp", "STR", "PAL", "TH", "HY", "MB", "P", "MY", "CB")
MOST_CALLS = 20


# ----- queries: what each returns is the bytes of its output in memory; files take none


def counts(space: refspace.ReferenceSpace, folder: Path) -> int:
    """Voxels of every structure, with its descendants."""
    space.total_voxel_map  # noqa: B018
    return 0


def places(space: refspace.ReferenceSpace, folder: Path) -> int:
    """Bounding box and centroid of every structure that has voxels."""
    for structure, voxels in space.total_voxel_map.items():
        if voxels:
            space.bounds(structure)
            space.centroid(structure)
    return 0


def cropped_mask(space: refspace.ReferenceSpace, folder: Path) -> int:
    """Mask of a small structure, in its box."""
    return _nbytes(space.make_structure_mask("AUDd", crop=True))


def mask(space: refspace.ReferenceSpace, folder: Path) -> int:
    """The same in the whole volume."""
    return _nbytes(space.make_structure_mask("AUDd"))


def root_mask(space: refspace.ReferenceSpace, folder: Path) -> int:
    """Mask of the largest structure of all."""
    return _nbytes(space.make_structure_mask("root"))


def many_masks(space: refspace.ReferenceSpace, folder: Path) -> int:
    """Masks of the major divisions, each in its box, one after the other."""
    return max(_nbytes(space.make_structure_mask(name, crop=True)) for name in DIVISIONS)


def slice_image(space: refspace.ReferenceSpace, folder: Path) -> int:
    """Coloured coronal slice through the middle."""
    return _nbytes(space.get_slice_image("ap", space.grid.extent[0] / 2))


def nearest(space: refspace.ReferenceSpace, folder: Path) -> int:
    """Volume 2.5 times as coarse, from 10 to 25 µm, to a file."""
    return _written(space, 2.5, "nearest", folder)


def mode(space: refspace.ReferenceSpace, folder: Path) -> int:
    """Volume 5 times as coarse, from 10 to 50 µm, to a file."""
    return _written(space, 5, "mode", folder)


def itksnap(space: refspace.ReferenceSpace, folder: Path) -> int:
    """Volume and label descriptions for ITK-SNAP, to files."""
    space.write_itksnap_labels(folder / "labels.nrrd", folder / "labels.txt")
    return 0


def voxel(space: refspace.ReferenceSpace, folder: Path) -> int:
    """Structure at a point: in the middle of the volume."""
    middle = {dim: space.annotation[dim][n // 2] for dim, n in space.annotation.sizes.items()}
    return _nbytes(space.annotation.sel(middle))


def _nbytes(lazy: Any) -> int:
    return np.asarray(lazy).nbytes


def _written(space: refspace.ReferenceSpace, ratio: float, method: Any, folder: Path) -> int:
    coarse = space.downsample([step * ratio for step in space.resolution], method)
    refspace.write_nrrd(folder / "annotation.nrrd", coarse.annotation)
    return 0


QUERIES = {
    "counts": counts,
    "places": places,
    "cropped mask": cropped_mask,
    "mask": mask,
    "root mask": root_mask,
    "many masks": many_masks,
    "slice image": slice_image,
    "nearest": nearest,
    "mode": mode,
    "ITK-SNAP": itksnap,
    "voxel": voxel,
}


# ----- measuring


def query(name: str, store: str, seconds: str) -> dict[str, float]:
    """Time a query again and again, each time on a space just opened; opening is one, too."""
    opener, calls, output = refspace.open, list[float](), 0
    with tempfile.TemporaryDirectory() as folder, counted_reads() as reads:
        while not calls or (sum(calls) < float(seconds) and len(calls) < MOST_CALLS):
            space = None if name == "open" else opener(store)
            reads.clear()
            start = time.perf_counter()
            if space is None:
                opener(store)
            else:
                output = QUERIES[name](space, Path(folder))
            calls.append(time.perf_counter() - start)
    return {"first": calls[0], "best": min(calls), "output": output / 1e6, **summary(reads)}


@contextmanager
def counted_reads() -> Iterator[list[tuple[StoredArray, Sequence[int]]]]:
    """Note which blocks of which arrays are read; their sizes are looked up off the clock."""
    reads: list[tuple[StoredArray, Sequence[int]]] = []
    read = StoredArray.block

    def noted(array: StoredArray, block_id: Sequence[int]) -> NDArray[Any]:
        reads.append((array, block_id))
        return read(array, block_id)

    StoredArray.block = noted  # type: ignore[assignment, method-assign]
    try:
        yield reads
    finally:
        StoredArray.block = read  # type: ignore[method-assign]


def summary(reads: list[tuple[StoredArray, Sequence[int]]]) -> dict[str, float]:
    """Blocks of the annotation that were read, and MB of all that was, as stored."""
    blocks = sum(array.array.basename == "annotation" for array, _ in reads)
    stored = sum(array.location.size(array.key(block_id)) for array, block_id in reads)
    return {"blocks": blocks, "read": stored / 1e6}


def convert(annotation: str, structures: str, store: str) -> dict[str, float]:
    """Time the conversion of a file into a store."""
    converter = refspace.convert  # imports are not timed
    start = time.perf_counter()
    converter(annotation, structures, store, memory="1 GiB", overwrite=True)
    return {"seconds": time.perf_counter() - start}


def make(data: str, resolution: str, work: str) -> dict[str, float]:
    """Refine the real annotation, or draw the phantom where there is none, and write its files."""
    annotation = Path(work, f"annotation_{resolution}.nrrd")
    structures = Path(work, "structures_1.json")
    if not data:
        space = refspace.phantom(resolution=float(resolution))
        refspace.write_structures(structures, space.structure_tree)
    else:
        shutil.copyfile(Path(data, structures.name), structures)
        path = Path(data, "annotation_25.nrrd")
        space = refspace.open(path, structures=structures, resolution=25)
        space = space.downsample(float(resolution), upsample=True)
    if not annotation.exists():
        refspace.write_nrrd(annotation, space.annotation)
    return {}


def main(command: str, *arguments: str) -> None:
    """Measure, and print the result."""
    commands = {"make": make, "convert": convert}
    known = command in commands
    result = commands[command](*arguments) if known else query(command, *arguments)
    print(json.dumps({**result, "megabytes": peak_megabytes()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
