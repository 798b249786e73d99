"""Kernels on blocks of labels: NumPy in, NumPy out.

Annotation volumes are piecewise constant, so the kernels work on runs of equal voxels: whatever is
asked is answered once per run and spread over its voxels. Their cost does not grow with the number
of structures asked for.
"""

from refspace.kernels.components import components, join
from refspace.kernels.contacts import Pairs, count_faces, count_facing, count_pairs, sum_pairs
from refspace.kernels.histograms import RELATIVE_ERROR, histogram_quantiles, is_exact
from refspace.kernels.modes import mode, windows
from refspace.kernels.moments import Moments, empty_moments, measure_moments, merge
from refspace.kernels.run_lengths import (
    Labels,
    count_labels,
    find,
    masks,
    measure,
    relabel,
    run_lengths,
)

__all__ = [
    "RELATIVE_ERROR",
    "Labels",
    "Moments",
    "Pairs",
    "components",
    "count_faces",
    "count_facing",
    "count_labels",
    "count_pairs",
    "empty_moments",
    "find",
    "histogram_quantiles",
    "is_exact",
    "join",
    "masks",
    "measure",
    "measure_moments",
    "merge",
    "mode",
    "relabel",
    "run_lengths",
    "sum_pairs",
    "windows",
]
