"""One measurement of one library, in a process of its own.

    python measure.py LIBRARY MEASURE DATA

``bench_allensdk.py`` starts it, with each library's own Python, and reads the line of JSON that it
prints: seconds, and the peak of the resident memory of the whole process in MB. It needs nothing
but the library and what that depends on.
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
ISOCORTEX = 315

Timed = Callable[[], object]


def classes(library: str) -> tuple[Any, Any]:
    """Import the two classes of a library."""
    trees, spaces = (import_module(name) for name in LIBRARIES[library])
    return trees.StructureTree, spaces.ReferenceSpace


def new_space(library: str, data: Path, annotation: Any) -> Any:
    """Return the ReferenceSpace of a library around an annotation."""
    structure_tree, reference_space = classes(library)
    structures = json.loads((data / "structures_1.json").read_text())["msg"]
    tree = structure_tree(structure_tree.clean_structures(structures))
    return reference_space(tree, annotation, [25, 25, 25])


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
        return lambda: mask(new_space(library, data, data / ANNOTATION))
    return lambda: mask(loaded_space(library, data))


def main(library: str, measure: str, data: Path) -> None:
    """Measure, and print the result."""
    timed = prepared(library, measure, data)
    start = time.perf_counter()
    timed()
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kB; bytes on macOS
    megabytes = peak / (1e6 if sys.platform == "darwin" else 1e3)
    print(json.dumps({"seconds": seconds, "megabytes": megabytes}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
