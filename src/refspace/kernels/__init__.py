"""Kernels on blocks of labels: NumPy in, NumPy out.

Annotation volumes are piecewise constant, so the kernels work on runs of equal voxels: a result is
computed once per run and spread over its voxels. Their cost grows with the number of runs, not with
the number of structures. On 77 million voxels of the mouse brain, one core, a mask takes 0.32 s and
a count 0.24 s; the same kernels in numba would take 0.18 s and 0.16 s, but numba alone is a
dependency of 210 MB.

A block comes in any memory order. Runs follow memory, so each kernel transposes a block in Fortran
order (as NRRD and NIfTI files have it), works along memory, and transposes the result back: both
are views, while walking across memory would copy the block first.
"""

from refspace.kernels.components import components, join
from refspace.kernels.contacts import Pairs, count_faces, count_facing, count_pairs, sum_pairs
from refspace.kernels.histograms import RELATIVE_ERROR, histogram_quantiles, is_exact
from refspace.kernels.memory import keep_freed_memory
from refspace.kernels.modes import mode, windows
from refspace.kernels.moments import Moments, empty_moments, measure_moments, merge
from refspace.kernels.run_lengths import (
    Labels,
    count_labels,
    find,
    mask,
    masks,
    measure,
    relabel,
    run_lengths,
)
from refspace.kernels.surfaces import (
    SURFACE_METHOD,
    SurfacePart,
    block_surface,
    enclosed_volume,
    fit_surface,
    join_surfaces,
    vertex_normals,
)

__all__ = [
    "RELATIVE_ERROR",
    "SURFACE_METHOD",
    "Labels",
    "Moments",
    "Pairs",
    "SurfacePart",
    "block_surface",
    "components",
    "count_faces",
    "count_facing",
    "count_labels",
    "count_pairs",
    "empty_moments",
    "enclosed_volume",
    "find",
    "fit_surface",
    "histogram_quantiles",
    "is_exact",
    "join",
    "join_surfaces",
    "mask",
    "masks",
    "measure",
    "measure_moments",
    "merge",
    "mode",
    "relabel",
    "run_lengths",
    "sum_pairs",
    "vertex_normals",
    "windows",
]

keep_freed_memory()
