"""Answers of downsampling by mode, alike for all that is right, however ties were broken."""

from typing import Any

import numpy as np

from benchmarks.measurement import Answer, Inputs

_SLABS = 8  # coarse slabs of the middle, of which voters are counted


def of_coarse(coarse: Any, inputs: Inputs) -> Answer:
    """Answer of a coarse volume: how many fine voxels have the label of their coarse one.

    A label that is not the most frequent has fewer voters. Those of whole coarse voxels in some
    slabs in the middle are counted.
    """
    ratio = int(inputs.given["ratio"])
    labels = np.load(inputs.path("annotation.npy"), mmap_mode="r")
    coarse = np.asarray(coarse)
    whole = [n // ratio for n in labels.shape]
    start = max(0, whole[0] // 2 - _SLABS // 2)
    stop = min(whole[0], start + _SLABS)
    fine = np.asarray(labels[start * ratio : stop * ratio, : whole[1] * ratio, : whole[2] * ratio])
    chosen = coarse[start:stop, : whole[1], : whole[2]]
    for axis in range(3):
        chosen = np.repeat(chosen, ratio, axis)
    return {"digest": f"{int((chosen == fine).sum())} of {fine.size} voxels"}
