"""What scipy.ndimage does with the voxels in memory."""

from typing import Any

import numpy as np
from scipy import ndimage

from benchmarks import answers
from benchmarks.measurement import Answer, Inputs, Timed


def _voxels(inputs: Inputs) -> tuple[Any, Any, Any]:
    """Labels, image, and the ids that occur."""
    labels, image = (np.load(inputs.path(name)) for name in ("annotation.npy", "image.npy"))
    return labels, image, np.unique(labels)


def mean(inputs: Inputs) -> Timed:
    """Mean of an image in each label."""
    labels, image, ids = _voxels(inputs)
    return Timed(lambda _: ndimage.mean(image, labels, ids), _answer(ids))


def mean_of_dense(inputs: Inputs) -> Timed:
    """The same, after ids were turned into 0, 1, 2, … by a search, which is part of the work."""
    labels, image, ids = _voxels(inputs)

    def call(_: object) -> Any:
        return ndimage.mean(image, np.searchsorted(ids, labels), np.arange(ids.size))

    return Timed(call, _answer(ids))


def labeled_comprehension(inputs: Inputs) -> Timed:
    """The same by a function of each label's voxels."""
    labels, image, ids = _voxels(inputs)
    return Timed(
        lambda _: ndimage.labeled_comprehension(image, labels, ids, np.mean, float, np.nan),
        _answer(ids),
    )


def _answer(ids: Any) -> Any:
    def answer(means: Any) -> Answer:
        return answers.of_numbers(ids, means)

    return answer


def boxes(inputs: Inputs) -> Timed:
    """Bounding box and centroid of each label, after ids were turned into 0, 1, 2, …."""
    labels = np.load(inputs.path("annotation.npy"))
    ids = np.unique(labels)

    def call(_: object) -> object:
        dense = np.searchsorted(ids, labels).astype(np.int32)
        ones = np.broadcast_to(np.float32(1), labels.shape)
        return (
            ndimage.find_objects(dense),
            ndimage.center_of_mass(ones, dense, np.arange(1, ids.size)),
        )

    return Timed(call)


def nearest(inputs: Inputs) -> Timed:
    """The annotation coarser, by the nearest voxel."""
    labels, ratio = np.load(inputs.path("annotation.npy")), inputs.given["ratio"]
    return Timed(lambda _: ndimage.zoom(labels, 1 / ratio, order=0))
