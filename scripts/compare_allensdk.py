"""Compare refspace with AllenSDK on the real annotation, value for value and voxel for voxel.

    python scripts/compare_allensdk.py --data FOLDER [--quick]

FOLDER holds ``annotation_25.nrrd`` (the Allen Mouse CCF of 2017) and ``structures_1.json`` (the
structures of graph 1, with their sets); where it also holds ``structure_graph_1.json``, the nested
form of the same, that is read and compared too. AllenSDK is installed in an environment of its
own; it answers every question of ``allensdk_side.py`` there, then refspace answers them here. One
line per question is printed; the exit status is 1 when any answer differs.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Self

import allensdk_env
import allensdk_side
import numpy as np
from numpy.typing import NDArray

import refspace
from refspace import ReferenceSpace, StructureTree

INTENDED = (
    "downsample: compared with method='allensdk'; the default keeps voxel centres in place",
    "get_slice_image: compared at multiples of the resolution; between them, the voxel that "
    "contains the position; outside and unknown ids have defined results",
    "check_coverage, validate_structures: compared with an int16 domain; AllenSDK's uint8 wraps",
    "masks, slices: labelled and lazy; voxels, shape and dtype are compared",
    "masks: bool; compared as uint8",
    "make_structure_mask([]), has_overlaps([]): AllenSDK raises TypeError; an empty mask, and set",
    "structure_set_ids: AllenSDK's order is that of a Python set; sorted",
    "clean_structures, collect_sets: AllenSDK edits the records it is given",
    "NRRD headers: with geometry",
    "remove_unassigned: AllenSDK keeps the counts of the old tree; counts are of the new one",
    "label 0: outside in masks too; the CCF has no structure whose id is 0",
    "files: a path goes to refspace.open, not to the constructor",
)


# The nested graph names no sets, and so answers these only.
GRAPH = "structure_graph_1.json"
GRAPH_QUESTIONS = (
    *("tree: node_ids", "tree: get_colormap", "tree: get_name_map", "tree: get_id_acronym_map"),
    *("tree: get_ancestor_id_map", "tree: child_ids of all structures"),
    *("tree: descendant_ids of all structures", "tree: export_label_description"),
    *("direct counts of all structures", "total counts of all structures"),
)


class AllenSpace(ReferenceSpace):
    """A reference space that downsamples as AllenSDK does."""

    def downsample(
        self, target_resolution: Any, method: Any = "allensdk", *, upsample: bool = True
    ) -> Self:
        """Take the voxels that AllenSDK takes, which goes to finer resolutions unasked."""
        return super().downsample(target_resolution, method, upsample=upsample)


def differing(theirs: Any, ours: Any) -> str:
    """Say how an answer of refspace differs from AllenSDK's; nothing when it does not."""
    arrays: list[NDArray[Any]] = []
    expected, text = str(theirs["text"]), json.dumps(allensdk_side.encoded(ours, arrays))
    if text != expected:
        together = enumerate(zip(text, expected, strict=False))
        start = next((at for at, (a, b) in together if a != b), 0)
        shown = slice(max(start - 40, 0), start + 80)
        return f"\n    AllenSDK …{expected[shown]}…\n    refspace …{text[shown]}…"
    pairs = [(theirs[f"arr_{index}"], array) for index, array in enumerate(arrays)]
    wrong = sum(np.count_nonzero(their_array != array) for their_array, array in pairs)
    return f": {wrong} of {sum(array.size for array in arrays)} voxels" if wrong else ""


def compare(
    space: ReferenceSpace, questions: dict[str, allensdk_side.Question], answers: Path
) -> int:
    """Ask refspace questions, print how it did, and return the number of differences."""
    differences = 0
    for name, question in questions.items():
        with np.load(allensdk_side.answer_file(answers, name)) as theirs:
            try:
                difference = differing(theirs, question(space))
            except Exception as error:  # one that fails is a difference, and the rest is asked
                difference = f": {type(error).__name__}: {error}"
        differences += bool(difference)
        print(f"{'DIFFERS' if difference else 'ok'}  {name}{difference}", flush=True)
    print(f"{len(questions) - differences} of {len(questions)} answers are AllenSDK's\n")
    return differences


def compare_all(data: Path, answers: Path, quick: bool) -> int:
    """Compare a space constructed as with AllenSDK, and one that refspace opens by itself."""
    annotation = data / allensdk_side.ANNOTATION
    questions = allensdk_side.questions(data, quick)
    nodes = StructureTree.clean_structures(allensdk_side.records(data))
    voxels = refspace.read_nrrd(annotation)
    space = AllenSpace(StructureTree(nodes), voxels, allensdk_side.RESOLUTION)
    differences = compare(space, questions, answers)
    if (data / GRAPH).is_file():
        print(f"The same, of the nested {GRAPH} and the resolution that the volume states:")
        chosen = {name: questions[name] for name in GRAPH_QUESTIONS}
        nested = refspace.open(annotation, structures=data / GRAPH)
        differences += compare(nested, chosen, answers)
    return differences


def main(arguments: list[str] | None = None) -> int:
    """Run the comparison and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the real files")
    slow = "; ".join(allensdk_side.slow_questions())
    parser.add_argument("--quick", action="store_true", help=f"leave out: {slow}")
    allensdk_env.add_arguments(parser)
    options = parser.parse_args(arguments)
    for name in (allensdk_side.ANNOTATION, allensdk_side.STRUCTURES):
        if not (options.data / name).is_file():
            parser.error(
                f"{options.data} has no {name}; get the volume from the Allen archive (ccf_2017), "
                "the structures with their sets by an RMA query of the Allen API (graph 1)"
            )

    python = allensdk_env.allensdk_python(options)
    with tempfile.TemporaryDirectory() as folder:
        side = [python, "-W", "ignore", allensdk_side.__file__, options.data, folder]
        subprocess.run([*side, *["--quick"] * options.quick], check=True)
        differences = compare_all(options.data, Path(folder), options.quick)
    if options.quick:
        print(f"left out: {slow}")
    print("differences that are intended, and not compared:", *INTENDED, sep="\n  ")
    return int(differences > 0)


if __name__ == "__main__":
    sys.exit(main())
