"""Kernels on blocks of labels: NumPy in, NumPy out.

Annotation volumes are piecewise constant, so the kernels work on runs of equal voxels: whatever is
asked is answered once per run and spread over its voxels. Their cost does not grow with the number
of structures asked for.
"""

from refspace.runs.components import components, join
from refspace.runs.contacts import Pairs, count_faces, count_pairs, facing, sum_pairs
from refspace.runs.histograms import RELATIVE_ERROR, is_exact, quantiles_of
from refspace.runs.labels import Labels, count_labels, find, masks, measure, relabel, runs
from refspace.runs.modes import mode, windows
from refspace.runs.moments import Moments, merge, moments_of, no_moments

__all__ = [
    "RELATIVE_ERROR",
    "Labels",
    "Moments",
    "Pairs",
    "components",
    "count_faces",
    "count_labels",
    "count_pairs",
    "facing",
    "find",
    "is_exact",
    "join",
    "masks",
    "measure",
    "merge",
    "mode",
    "moments_of",
    "no_moments",
    "quantiles_of",
    "relabel",
    "runs",
    "sum_pairs",
    "windows",
]
