"""The questions of the comparison, and AllenSDK's answers to them.

Each question is a function of a ``ReferenceSpace``; both libraries have one, with the same names
on it, so every question is written once. ``compare_allensdk.py`` imports this file and asks
refspace; run as a script, in an environment where only AllenSDK is installed, it asks AllenSDK:

    python allensdk_side.py DATA ANSWERS [--quick]
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import nrrd
import numpy as np
from numpy.typing import NDArray

ANNOTATION = "annotation_25.nrrd"
STRUCTURES = "structures_1.json"
RESOLUTION = [25, 25, 25]

Question = Callable[[Any], Any]

NOWHERE = 999_999_999  # no structure has this id
V1_LAYERS = [593, 821, 721, 778, 33, 305]
OBSERVATORY = [385, 394, 402, 409, 533, 425]
MASKS = {
    "Isocortex, 374 structures": [315],
    "hippocampal formation": [1089],
    "fiber tracts": [1009],
    "ventricular systems": [73],
    "VISp": [385],
    "AUDd": [1011],
    "tspd, a leaf": [1051],
    "SS6a, without voxels": [12997],
    "ccb, id 484682516": [484682516],
    "FRP6b, 67 voxels, id 526322264": [526322264],
    "Su3, the largest id, 614454277": [614454277],
    "areas of the Brain Observatory": OBSERVATORY,
    "a structure, its ancestor, and itself again": [385, 669, 385],
}
DIRECT_MASKS = {
    "root": [997],
    "Isocortex, without voxels of its own": [315],
    "layers of VISp": V1_LAYERS,
    "small and large ids": [512, 1009, 614454277, 12997],
}
TARGETS = [
    [75, 75, 75],
    [100, 100, 100],
    [50, 50, 50],
    [33, 33, 33],
    [40, 60, 110],
    [25, 100, 20],
]
LABELS = {
    "alphas": {315: 0.5, 997: 0.0},
    "exclude_label_vis": [997, 8],
    "exclude_mesh_vis": [997],
    "label_key": "name",
}


def records(data: Path) -> Any:
    """Return the flat records of the structures, fresh: AllenSDK edits those it is given."""
    return json.loads((data / STRUCTURES).read_text())["msg"]


def sorted_sets(nodes: Any) -> Any:
    """Return nodes with their sets in order; AllenSDK leaves the order of a Python ``set``."""
    return [node | {"structure_set_ids": sorted(node["structure_set_ids"])} for node in nodes]


def raises(error: type[Exception], question: Question, space: Any) -> str:
    """Demand that a question ends in that error, of both libraries."""
    try:
        question(space)
    except error:
        return error.__name__
    raise AssertionError(f"no {error.__name__} was raised")


def tree(method: str, *arguments: Any, **options: Any) -> Question:
    """Ask for a method of the tree."""
    return lambda space: getattr(space.structure_tree, method)(*arguments, **options)


def tree_of_all(method: str) -> Question:
    """Ask for a method of the tree, for all structures at once."""
    return lambda space: getattr(space.structure_tree, method)(space.structure_tree.node_ids())


def by_property(method: str, field: str) -> Question:
    """Ask for all structures, backwards, by one of their fields."""

    def question(space: Any) -> Any:
        values = [node[field] for node in reversed(space.structure_tree.nodes())]
        return getattr(space.structure_tree, method)(values)

    return question


def clean(data: Path, **options: Any) -> Question:
    """Ask for cleaned records."""
    return lambda space: sorted_sets(
        space.structure_tree.clean_structures(records(data), **options)
    )


def collected_sets(space: Any) -> Any:
    """Collect the sets of a record; AllenSDK writes their ids into it, refspace returns them."""
    record = {"id": 1, "structure_set_ids": [3, 1], "structure_sets": [{"id": 2}, {"id": 1}]}
    returned = space.structure_tree.collect_sets(record)
    ids: Any = returned or record["structure_set_ids"]
    return sorted(ids)


def transformed(space: Any) -> Any:
    """Apply the functions that clean a colour and a path."""
    transforms = space.structure_tree.data_transforms()
    return [
        transforms["color_hex_triplet"]("019399"),
        transforms["structure_id_path"]("/997/8/"),
    ]


def descents(space: Any) -> Any:
    """Ask for every twentieth structure whether it descends from each other one."""
    ids = space.structure_tree.node_ids()
    descends = space.structure_tree.structure_descends_from
    return [[descends(child, parent) for parent in ids] for child in ids[::20]]


def callbacks(space: Any) -> Any:
    """Apply the functions that a tree was built with."""
    nodes = space.structure_tree.nodes()
    return [
        [space.structure_tree.node_id_cb(node), space.structure_tree.parent_id_cb(node)]
        for node in nodes
    ]


def mask(ids: list[int], **options: Any) -> Question:
    """Ask for a mask."""
    return lambda space: space.make_structure_mask(ids, **options)


def written_masks(space: Any) -> Any:
    """Write two masks with the callback of the class, and read their voxels back."""
    with tempfile.TemporaryDirectory() as folder:
        write = partial(type(space).check_and_write, folder)
        ids = list(space.many_structure_masks([385, 1097], write))
        paths = sorted(Path(folder).iterdir())
        return ids, [path.name for path in paths], [nrrd.read(str(path))[0] for path in paths]


def coverage(method: str) -> Question:
    """Compare VISp with the visual areas, and the visual areas with VISp.

    The domain is int16, for AllenSDK's difference of uint8 wraps where the structure exceeds it.
    """

    def question(space: Any) -> Any:
        for ids, domain_ids in (([385], [669]), ([669], [385])):
            domain = np.asarray(space.make_structure_mask(domain_ids)).astype(np.int16)
            answer = getattr(space, method)(ids, domain)
            overlaps, difference = ([], answer) if method == "check_coverage" else answer
            yield overlaps, np.asarray(difference).astype(np.int16)

    return lambda space: list(question(space))


def image(axis: int, index: int, **options: Any) -> Question:
    """Ask for the image of a slice, at a multiple of the resolution; -1 is the last slice."""

    def question(space: Any) -> Any:
        position = range(space.annotation.shape[axis])[index] * RESOLUTION[axis]
        return space.get_slice_image(axis, position, **options)

    return question


def painted(space: Any) -> Any:
    """Ask for an image in colours of one's own."""
    colours = {0: [9, 8, 7]} | {i: [i % 256, 1, 2] for i in space.structure_tree.node_ids()}
    return space.get_slice_image(0, 5000, colours)


def downsampled(target: list[int], question: Question) -> Question:
    """Ask a downsampled space."""
    return lambda space: question(space.downsample(target))


def grid(space: Any) -> Any:
    """Ask for voxels and resolution."""
    return space.annotation, [float(size) for size in space.resolution]


def removed(space: Any) -> Any:
    """Remove the structures without voxels from the tree itself."""
    structures = space.remove_unassigned()
    return sorted_sets(structures), space.structure_tree.node_ids()


def written_labels(space: Any, **options: Any) -> Any:
    """Write both ITK-SNAP files, and read the voxels and the bytes back.

    The NRRD header is not compared: refspace writes the geometry that AllenSDK leaves out.
    """
    with tempfile.TemporaryDirectory() as folder:
        annotation, labels = Path(folder, "annotation.nrrd"), Path(folder, "labels.txt")
        space.write_itksnap_labels(str(annotation), str(labels), **options)
        return nrrd.read(str(annotation))[0], labels.read_bytes().decode()


def exported(**options: Any) -> Question:
    """Ask for the arrays of the ITK-SNAP export."""
    return lambda space: space.export_itksnap_labels(**options)


def tree_questions(data: Path) -> dict[str, Question]:
    """Return the questions about the ontology."""
    methods = (
        *("nodes", "node", "get_structures_by_id", "has_overlaps"),
        *("parent_ids", "parent_id", "parents", "parent", "child_ids", "children"),
        *("ancestor_ids", "ancestors", "descendant_ids", "descendants"),
    )
    maps = (
        *("node_ids", "nodes", "get_colormap", "get_name_map", "get_id_acronym_map"),
        *("get_ancestor_id_map", "get_structure_sets", "whitelist", "renames"),
        "export_label_description",
    )
    unknown = ("parent_ids", "parents", "child_ids", "children", "ancestor_ids", "descendant_ids")
    return {
        **{f"tree: {method}": tree(method) for method in maps},
        **{f"tree: {method} of all structures": tree_of_all(method) for method in methods},
        **{
            f"tree: {method} of an unknown id is a KeyError": partial(
                raises, KeyError, tree(method, [NOWHERE])
            )
            for method in unknown
        },
        "tree: nodes of an unknown id": tree("nodes", [997, NOWHERE, 385]),
        "tree: nodes of no id": tree("nodes", []),
        "tree: get_structures_by_name": by_property("get_structures_by_name", "name"),
        "tree: get_structures_by_acronym": by_property("get_structures_by_acronym", "acronym"),
        "tree: an unknown acronym is a KeyError": partial(
            raises, KeyError, tree("get_structures_by_acronym", ["nowhere"])
        ),
        "tree: get_structures_by_set_id": tree("get_structures_by_set_id", [514166994]),
        "tree: get_structures_by_set_id, several": tree("get_structures_by_set_id", [12, 3]),
        "tree: get_structures_by_set_id, unknown": tree("get_structures_by_set_id", [NOWHERE]),
        "tree: structure_descends_from": descents,
        "tree: has_overlaps, none": tree("has_overlaps", OBSERVATORY),
        "tree: has_overlaps, some": tree("has_overlaps", [385, 669, 1011, 997]),
        "tree: filter_nodes": tree("filter_nodes", lambda node: node["graph_order"] % 7 == 0),
        "tree: value_map": tree(
            "value_map", lambda node: node["acronym"], lambda node: node["structure_id_path"]
        ),
        "tree: value_map of a value met twice is a RuntimeError": partial(
            raises, RuntimeError, tree("value_map", lambda node: node["graph_id"], str)
        ),
        "tree: nodes_by_property": tree("nodes_by_property", "graph_order", [5, 3, 5]),
        "tree: nodes_by_property, functions": tree(
            "nodes_by_property",
            lambda node: -node["graph_order"],
            [-5, -3],
            lambda node: node["rgb_triplet"],
        ),
        "tree: node_id_cb, parent_id_cb": callbacks,
        "tree: export_label_description, options": tree("export_label_description", **LABELS),
        "tree: clean_structures": clean(data),
        "tree: clean_structures, options": clean(
            data,
            whitelist=["id", "name", "structure_set_ids", "safe_name"],
            data_transforms={"name": str.upper},
            renames={"name": "title"},
        ),
        "tree: collect_sets": collected_sets,
        "tree: data_transforms": transformed,
        "tree: hex_to_rgb": lambda space: [
            space.structure_tree.hex_to_rgb(colour) for colour in ("#019399", "ffFF00", (1, 2, 3))
        ],
        "tree: path_to_list": lambda space: [
            space.structure_tree.path_to_list(path) for path in ("/997/8/", "997/8", "", [997, 8])
        ],
    }


def space_questions() -> dict[str, Question]:
    """Return the questions about voxels."""
    return {
        "annotation and resolution": grid,
        "direct counts of all structures": lambda space: space.direct_voxel_map,
        "total counts of all structures": lambda space: space.total_voxel_map,
        "remove_unassigned, tree kept": lambda space: sorted_sets(space.remove_unassigned(False)),
        "remove_unassigned at 100 µm": downsampled([100, 100, 100], removed),
        **{f"mask of {name}": mask(ids) for name, ids in MASKS.items()},
        **{
            f"mask of {name}, direct only": mask(ids, direct_only=True)
            for name, ids in DIRECT_MASKS.items()
        },
        "mask of an unknown id is a KeyError": partial(raises, KeyError, mask([NOWHERE])),
        "many_structure_masks": lambda space: list(space.many_structure_masks([385, 1097])),
        "many_structure_masks, check_and_write": written_masks,
        "check_coverage": coverage("check_coverage"),
        "validate_structures": coverage("validate_structures"),
        **{
            f"slice image, axis {axis}, slice {index}": image(axis, index)
            for axis in range(3)
            for index in (0, 100, 201, 302, -1)
        },
        "slice image, own colours": painted,
        **{f"downsample to {target} µm": downsampled(target, grid) for target in TARGETS},
        "slice image at 75 µm": downsampled(
            [75, 75, 75], lambda space: space.get_slice_image(1, 3750)
        ),
        "counts at 75 µm": downsampled([75, 75, 75], lambda space: space.total_voxel_map),
        "ITK-SNAP export at 100 µm": downsampled([100, 100, 100], exported()),
        "ITK-SNAP export at 100 µm, options": downsampled(
            [100, 100, 100], exported(label_description_kwargs=LABELS)
        ),
        "ITK-SNAP files at 100 µm": downsampled([100, 100, 100], written_labels),
        "ITK-SNAP export at 25 µm, uint32": exported(id_type=np.uint32),
        "ITK-SNAP files at 25 µm, uint32": partial(written_labels, id_type=np.uint32),
    }


def slow_questions() -> dict[str, Question]:
    """Return the questions that AllenSDK takes one to two minutes for, each."""
    return {
        "mask of root, 1327 structures": mask([997]),
        "ITK-SNAP export at 25 µm": exported(),
        "ITK-SNAP files at 25 µm": written_labels,
    }


def questions(data: Path, quick: bool) -> dict[str, Question]:
    """Return all questions by name, without the slow ones where it has to be quick."""
    return tree_questions(data) | space_questions() | ({} if quick else slow_questions())


def encoded(value: Any, arrays: list[NDArray[Any]]) -> Any:
    """Turn an answer into JSON that keeps types and order, and put its arrays aside.

    NumPy numbers become those of Python, lazy and labelled arrays plain ones, and of a data
    frame's types the kinds are kept: on these the versions of the libraries underneath differ.
    The fields of a node are named, so their order says nothing.
    """
    match value:
        case {"id": _}:
            return {"node": {field: encoded(value[field], arrays) for field in sorted(value)}}
        case dict():
            return {"dict": [[encoded(part, arrays) for part in item] for item in value.items()]}
        case list() | tuple():
            return {type(value).__name__: [encoded(part, arrays) for part in value]}
        case set() | frozenset():
            return {"set": sorted(value)}
        case np.generic():
            return value.item()
        case _ if hasattr(value, "columns"):
            kinds = [value[name].dtype.kind for name in value.columns]
            columns = [[name, value[name].tolist()] for name in value.columns]
            return {"table": columns, "kinds": kinds, "index": value.index.tolist()}
        case _ if hasattr(value, "__array__"):
            array = np.asarray(value)
            # Masks of refspace are bool, 0 and 1 as uint8 for AllenSDK.
            arrays.append(array.view(np.uint8) if array.dtype == bool else array)
            return {"array": str(arrays[-1].dtype), "shape": list(arrays[-1].shape)}
        case _:
            return value


def answer_file(folder: Path, name: str) -> Path:
    """Return the file that keeps the answer to a question."""
    return folder / f"{''.join(c if c.isalnum() else '_' for c in name)}.npz"


def main(data: Path, answers: Path, quick: bool) -> None:
    """Ask AllenSDK every question, and keep each answer in a file."""
    # Imported here: refspace's side uses this file where AllenSDK is not installed.
    tree = import_module("allensdk.core.structure_tree").StructureTree
    reference_space = import_module("allensdk.core.reference_space").ReferenceSpace
    nodes = sorted_sets(tree.clean_structures(records(data)))
    annotation, _ = nrrd.read(str(data / ANNOTATION))
    space = reference_space(tree(nodes), annotation, RESOLUTION)
    for name, question in questions(data, quick).items():
        start = time.perf_counter()
        arrays: list[NDArray[Any]] = []
        text = json.dumps(encoded(question(space), arrays))
        print(f"AllenSDK {time.perf_counter() - start:7.2f} s  {name}", flush=True)
        np.savez_compressed(answer_file(answers, name), *arrays, text=np.array(text))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), "--quick" in sys.argv[3:])
