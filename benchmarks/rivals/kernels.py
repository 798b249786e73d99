"""Kernels of refspace: one core, one array in memory."""

import numpy as np

from benchmarks import answers
from benchmarks.measurement import Inputs, Timed
from refspace import kernels


def counts(inputs: Inputs) -> Timed:
    """Voxels of each label."""
    labels = np.load(inputs.path("annotation.npy"))
    return Timed(
        lambda _: kernels.count_labels(labels),
        lambda result: answers.of_integers(dict(zip(*result, strict=True))),
    )


def mask(inputs: Inputs) -> Timed:
    """Mask of structures."""
    labels = np.load(inputs.path("annotation.npy"))
    inside = np.array(inputs.wanted(), labels.dtype)
    ones = np.ones(inside.size, bool)
    return Timed(lambda _: kernels.relabel(labels, inside, ones, np.array(False)), answers.of_array)


def relabel(inputs: Inputs) -> Timed:
    """The annotation with ids numbered from 1."""
    labels = np.load(inputs.path("annotation.npy"))
    nodes = sorted(inputs.nodes(), key=lambda each: each["id"])
    ids = np.array([each["id"] for each in nodes], labels.dtype)
    numbers = np.array([each["graph_order"] + 1 for each in nodes], np.uint16)
    return Timed(
        lambda _: kernels.relabel(labels, ids, numbers, np.array(0, np.uint16)), answers.of_array
    )
