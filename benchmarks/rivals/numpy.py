"""What NumPy does with the voxels in memory."""

from typing import Any

import numpy as np

from benchmarks import answers
from benchmarks.measurement import Inputs, Timed
from benchmarks.points import random_points


def _labels(inputs: Inputs) -> Any:
    return np.load(inputs.path("annotation.npy"))


def counts(inputs: Inputs) -> Timed:
    """Voxels of each label, by `np.unique`."""
    labels = _labels(inputs)
    return Timed(
        lambda _: np.unique(labels, return_counts=True),
        lambda result: answers.of_integers(dict(zip(*result, strict=True))),
    )


def mask(inputs: Inputs) -> Timed:
    """Mask of structures, by `np.isin`; in their box, cut out of it."""
    labels, ids = _labels(inputs), np.array(inputs.wanted(), np.uint32)

    def call(_: object) -> Any:
        inside = np.isin(labels, ids)
        return inside[box(inside)] if inputs.given.get("crop") else inside

    return Timed(call, answers.of_array)


def box(inside: Any) -> tuple[slice, ...]:
    """Bounding box of a mask."""
    slices = []
    for axis in range(inside.ndim):
        others = tuple(each for each in range(inside.ndim) if each != axis)
        (found,) = np.nonzero(inside.any(axis=others))
        slices.append(slice(found[0], found[-1] + 1))
    return tuple(slices)


def some_masks(inputs: Inputs) -> Timed:
    """Masks of some structures of many, each by `np.isin`, one after the other."""
    labels, nodes = _labels(inputs), inputs.nodes()
    step = max(1, len(nodes) // inputs.given["measured"])
    chosen = [each["id"] for each in nodes[::step]][: inputs.given["measured"]]
    ids = [[n["id"] for n in nodes if each in n["structure_id_path"]] for each in chosen]
    return Timed(lambda _: [int(np.isin(labels, each).sum()) for each in ids])


def slice_image(inputs: Inputs) -> Timed:
    """Coloured slice across an axis, by a table of colours that is searched."""
    labels, axis = _labels(inputs), inputs.given["axis"]
    nodes = sorted(inputs.nodes(), key=lambda each: each["id"])
    ids = np.array([0, *(each["id"] for each in nodes)])
    colours = np.array([(0, 0, 0), *(each["rgb_triplet"] for each in nodes)], np.uint8)
    index = labels.shape[axis] * 4 // 9
    return Timed(
        lambda _: colours[np.searchsorted(ids, labels.take(index, axis))], answers.of_array
    )


def relabel(inputs: Inputs) -> Timed:
    """Ids numbered from 1, by a search in the sorted ids."""
    labels = _labels(inputs)
    nodes = sorted(inputs.nodes(), key=lambda each: each["id"])
    ids = np.array([0, *(each["id"] for each in nodes)], labels.dtype)
    numbers = np.array([0, *(each["graph_order"] + 1 for each in nodes)], np.uint32)
    return Timed(lambda _: numbers[np.searchsorted(ids, labels)], answers.of_array)


def relabel_loop(inputs: Inputs) -> Timed:
    """Ids numbered from 1, by a loop over those that occur."""
    labels = _labels(inputs)
    numbers = {each["id"]: each["graph_order"] + 1 for each in inputs.nodes()}
    occurring = [each for each in np.unique(labels).tolist() if each]

    def call(_: object) -> Any:
        result = np.zeros(labels.shape, np.uint32)
        for structure in occurring:
            result[labels == structure] = numbers[structure]
        return result

    return Timed(call, answers.of_array)


def structure_at(inputs: Inputs) -> Timed:
    """Structures of many points, by indexing."""
    labels = _labels(inputs)
    extent = [length * inputs.resolution for length in labels.shape]
    points = random_points(extent, inputs.given["count"])
    return Timed(
        lambda _: labels[tuple((points // inputs.resolution).astype(np.intp).T)], answers.of_array
    )


def structure_at_each(inputs: Inputs) -> Timed:
    """Structures of 1/100 of the points, each looked up for itself."""
    labels = _labels(inputs)
    extent = [length * inputs.resolution for length in labels.shape]
    points = random_points(extent, inputs.given["count"] // 100)

    def look_up(point: Any) -> int:
        return int(labels[tuple(int(each / inputs.resolution) for each in point)])

    return Timed(lambda _: [look_up(point) for point in points])
