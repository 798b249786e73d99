"""One measurement of one library, in a process of its own.

    python measure.py LIBRARY MEASURE DATA [RESOLUTION]

``bench_allensdk.py`` and ``bench_store.py`` start it, with each library's own Python, and read the
line of JSON that it prints: seconds, and the peak of the resident memory of the whole process in
MB. It needs nothing but the library and what that depends on.
"""

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import nrrd
import numpy as np

LIBRARIES = {
    "allensdk": ("allensdk.core.structure_tree", "allensdk.core.reference_space"),
    "refspace": ("refspace", "refspace"),
}
ANNOTATION = "annotation_25.nrrd"
ISOCORTEX, AUDD = 315, 1011

Timed = Callable[[], object]


def classes(library: str) -> tuple[Any, Any]:
    """Import the two classes of a library."""
    trees, spaces = (import_module(name) for name in LIBRARIES[library])
    return trees.StructureTree, spaces.ReferenceSpace


def new_space(library: str, data: Path, annotation: Any, resolution: float = 25) -> Any:
    """Return the ReferenceSpace of a library around an annotation."""
    structure_tree, reference_space = classes(library)
    structures = json.loads((data / "structures_1.json").read_text())["msg"]
    tree = structure_tree(structure_tree.clean_structures(structures))
    return reference_space(tree, annotation, [resolution] * 3)


def opened_space(data: Path) -> Any:
    """Return refspace's lazy space of the file."""
    opener, structures = import_module("refspace").open, data / "structures_1.json"
    return opener(data / ANNOTATION, structures=structures, resolution=25)


def loaded_space(library: str, data: Path) -> Any:
    """Return a space around the decoded voxels, the same array in memory for both libraries."""
    return new_space(library, data, nrrd.read(str(data / ANNOTATION))[0])


def mask(space: Any) -> object:
    """Mask Isocortex; a lazy mask is computed by ``asarray``, here and in all that follows."""
    return np.asarray(space.make_structure_mask([ISOCORTEX]))


def counts(space: Any) -> object:
    """Count direct and total voxels of all structures."""
    return space.direct_voxel_map, space.total_voxel_map


def downsample(space: Any) -> object:
    """Downsample to 75 µm."""
    return np.asarray(space.downsample([75, 75, 75]).annotation)


def slice_image(space: Any) -> object:
    """Colour a horizontal slice."""
    return np.asarray(space.get_slice_image(1, 5000))


def itksnap(space: Any) -> object:
    """Renumber the structures for ITK-SNAP, and write volume and label descriptions."""
    with tempfile.TemporaryDirectory() as folder:
        files = str(Path(folder, "annotation.nrrd")), str(Path(folder, "labels.txt"))
        return space.write_itksnap_labels(*files)


VERBS = {
    "counts": counts,
    "mask": mask,
    "slice image": slice_image,
    "downsample": downsample,
    "ITK-SNAP": itksnap,
}


def prepared(library: str, measure: str, data: Path) -> Timed:
    """Do what is not timed, and return what is."""
    if measure != "file to mask":
        space = loaded_space(library, data)
        return lambda: VERBS[measure](space)
    classes(library)  # imports are not timed
    if library == "refspace":
        return lambda: mask(opened_space(data))
    return lambda: mask(loaded_space(library, data))


def steps(library: str, data: Path, resolution: float) -> dict[str, float]:
    """Time what is done with a volume that takes too long to be loaded for each measurement."""
    classes(library)
    started = time.perf_counter()
    annotation = nrrd.read(str(data / f"annotation_{resolution:g}.nrrd"))[0]
    space = new_space(library, data, annotation, resolution)
    loaded = time.perf_counter()
    counts(space)
    counted = time.perf_counter()
    np.asarray(space.make_structure_mask([AUDD]))
    masked = time.perf_counter()
    return {"load": loaded - started, "counts": counted - loaded, "mask": masked - counted}


def cost(library: str, measure: str, data: Path) -> dict[str, float]:
    """Time what is to be timed."""
    timed = prepared(library, measure, data)
    start = time.perf_counter()
    timed()
    return {"seconds": time.perf_counter() - start}


def peak_megabytes() -> float:
    """Peak of the resident memory of this process."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB; bytes on macOS
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e6


def main(library: str, measure: str, data: str, resolution: str = "25") -> None:
    """Measure, and print the result."""
    if measure == "steps":
        result = steps(library, Path(data), float(resolution))
    else:
        result = cost(library, measure, Path(data))
    print(json.dumps({**result, "megabytes": peak_megabytes()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
