"""What tinybrain does with the voxels in memory."""

import numpy as np
import tinybrain

from benchmarks.measurement import Inputs, Timed
from benchmarks.votes import of_coarse


def mode(inputs: Inputs) -> Timed:
    """The annotation coarser, by the most frequent label."""
    # In C order it gives other labels than the most frequent ones.
    labels = np.asfortranarray(np.load(inputs.path("annotation.npy")))
    ratio = (int(inputs.given["ratio"]),) * 3
    return Timed(
        lambda _: tinybrain.downsample_segmentation(labels, ratio)[0],
        lambda coarse: of_coarse(coarse, inputs),
    )
