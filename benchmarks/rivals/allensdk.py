"""What AllenSDK does with the voxels in memory."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nrrd
import numpy as np
from allensdk.core.reference_space import ReferenceSpace
from allensdk.core.structure_tree import StructureTree

from benchmarks import answers
from benchmarks.measurement import Answer, Inputs, Timed
from benchmarks.rivals.numpy import box


def _space(inputs: Inputs, labels: Any) -> Any:
    return ReferenceSpace(StructureTree(inputs.nodes()), labels, [inputs.resolution] * 3)


def _labels(inputs: Inputs) -> Any:
    """The voxels in the order in which `nrrd.read`, by which AllenSDK reads them, returns them."""
    return np.asfortranarray(np.load(inputs.path("annotation.npy")))


def _in_memory(inputs: Inputs) -> Any:
    return _space(inputs, _labels(inputs))


def _of_file(inputs: Inputs) -> Any:
    return _space(inputs, nrrd.read(str(inputs.path("annotation.nrrd")))[0])


def _ids(inputs: Inputs) -> list[int]:
    wanted = inputs.given["structures"]
    return [each["id"] for each in inputs.nodes() if each["acronym"] in wanted]


def load(inputs: Inputs) -> Timed:
    """Voxels of the file in memory, and the structures."""
    return Timed(lambda _: _of_file(inputs).annotation, answers.of_array)


def file_to_mask(inputs: Inputs) -> Timed:
    """The first mask of a file."""
    ids = _ids(inputs)
    return Timed(lambda _: _of_file(inputs).make_structure_mask(ids), answers.of_array)


def file_to_counts(inputs: Inputs) -> Timed:
    """Voxels of every structure, of a file."""

    def call(_: object) -> Any:
        space = _of_file(inputs)
        return space.direct_voxel_map, space.total_voxel_map

    return Timed(call, lambda result: answers.of_integers(result[1]))


def counts(inputs: Inputs) -> Timed:
    """Voxels of every structure, with its descendants."""
    labels = _labels(inputs)
    return Timed(
        lambda space: (space.direct_voxel_map, space.total_voxel_map),
        lambda result: answers.of_integers(result[0]),
        lambda: _space(inputs, labels),
    )


def mask(inputs: Inputs) -> Timed:
    """Mask of structures; in their box, cut out of it."""
    space, ids = _in_memory(inputs), _ids(inputs)

    def call(_: object) -> Any:
        inside = space.make_structure_mask(ids)
        return inside[box(inside)] if inputs.given["crop"] else inside

    return Timed(call, answers.of_array)


def some_masks(inputs: Inputs) -> Timed:
    """Masks of some structures of many, one after the other; writing them is not timed."""
    space, nodes = _in_memory(inputs), inputs.nodes()
    step = max(1, len(nodes) // inputs.given["measured"])
    ids = [each["id"] for each in nodes[::step]][: inputs.given["measured"]]
    return Timed(lambda _: [int(mask.sum()) for _, mask in space.many_structure_masks(ids)])


def slice_image(inputs: Inputs) -> Timed:
    """Coloured slice across an axis."""
    space, axis = _in_memory(inputs), inputs.given["axis"]
    position = (space.annotation.shape[axis] * 4 // 9 + 0.25) * inputs.resolution
    return Timed(lambda _: space.get_slice_image(axis, position), answers.of_array)


def downsample(inputs: Inputs) -> Timed:
    """The annotation coarser."""
    space, target = _in_memory(inputs), [inputs.resolution * inputs.given["ratio"]] * 3
    return Timed(lambda _: space.downsample(target).annotation, answers.of_array)


def itksnap(inputs: Inputs) -> Timed:
    """Renumbered volume and label descriptions of ITK-SNAP, as files."""
    labels = _labels(inputs)
    folder = tempfile.TemporaryDirectory()
    files = str(Path(folder.name, "labels.nrrd")), str(Path(folder.name, "labels.txt"))

    def answer(_: object) -> Answer:
        return answers.of_array(nrrd.read(files[0])[0])

    def figures(_: object) -> Mapping[str, float]:
        return {"written": Path(files[0]).stat().st_size / 1e6}

    return Timed(
        lambda space: space.write_itksnap_labels(*files),
        answer,
        lambda: _space(inputs, labels),
        figures,
        folder.cleanup,
    )
