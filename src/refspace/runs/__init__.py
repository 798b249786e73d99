"""Kernels on blocks of labels: NumPy in, NumPy out.

Annotation volumes are piecewise constant, so the kernels work on runs of equal voxels: whatever is
asked is answered once per run and spread over its voxels. Their cost does not grow with the number
of structures asked for.
"""

from refspace.runs.labels import Labels, count_labels, find, measure, relabel, runs
from refspace.runs.modes import mode, windows

__all__ = ["Labels", "count_labels", "find", "measure", "mode", "relabel", "runs", "windows"]
