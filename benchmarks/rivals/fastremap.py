"""What fastremap does with the voxels in memory."""

import fastremap
import numpy as np

from benchmarks import answers
from benchmarks.measurement import Inputs, Timed


def counts(inputs: Inputs) -> Timed:
    """Voxels of each label."""
    labels = np.load(inputs.path("annotation.npy"))
    return Timed(
        lambda _: fastremap.unique(labels, return_counts=True),
        lambda result: answers.of_integers(dict(zip(*result, strict=True))),
    )


def mask(inputs: Inputs) -> Timed:
    """Mask of structures: the other labels are set to 0, and what is left is compared."""
    labels, ids = np.load(inputs.path("annotation.npy")), inputs.wanted()
    return Timed(lambda _: fastremap.mask_except(labels, ids) != 0, answers.of_array)


def relabel(inputs: Inputs) -> Timed:
    """Ids numbered from 1."""
    labels = np.load(inputs.path("annotation.npy"))
    numbers = {each["id"]: each["graph_order"] + 1 for each in inputs.nodes()}
    return Timed(lambda _: fastremap.remap(labels, {0: 0, **numbers}), answers.of_array)
