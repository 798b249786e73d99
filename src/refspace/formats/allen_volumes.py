"""Volumes of the Allen Institute's mouse brains, known by their shape and the µm per voxel.

Their headers state lengths without a unit, in µm, where other programs write mm; and the directions
left, posterior, superior, while the voxels run to posterior, inferior and right.
"""

from collections.abc import Sequence

import numpy as np

ORIENTATION = "PIR"
# The adult brain in µm, at any resolution: annotations of 2011 to 2017, templates, masks.
_EXTENT = (8000, 11400, 13200)
# Shapes of the volumes of the CCF by µm per voxel.
_CCF_SHAPES: dict[float, tuple[int, int, int]] = {
    10: (1320, 800, 1140),
    25: (528, 320, 456),
    50: (264, 160, 228),
    100: (132, 80, 114),
}
# Grids of gene expression (energy, density, intensity, and their annotation), by the age of the
# brain: E11.5, E13.5, E15.5, E18.5, P4, P14, P28, and P56 or adult.
_GRID_SHAPES: dict[tuple[int, int, int], float] = {
    (70, 75, 40): 80,
    (89, 109, 69): 100,
    (94, 132, 65): 120,
    (67, 43, 40): 140,
    (77, 43, 50): 160,
    (68, 40, 50): 200,
    (73, 41, 53): 200,
    (67, 41, 58): 200,
}


def has_allen_extent(shape: Sequence[int], numbers: Sequence[float]) -> bool:
    """Whether voxels of lengths without a unit are those of such a volume in µm.

    The axes of the adult brain may be in any order.

    Examples
    --------
    >>> has_allen_extent((456, 320, 528), (25, 25, 25))
    True
    >>> has_allen_extent((67, 41, 58), (200, 200, 200)), has_allen_extent((67, 41, 58), (1, 1, 1))
    (True, False)
    """
    extents = sorted(n * number for n, number in zip(shape, numbers, strict=True))
    is_adult = np.allclose(extents, _EXTENT, rtol=1e-6, atol=0)
    return bool(is_adult) or _is_grid(shape, numbers)


def is_allen_volume(shape: Sequence[int], spacing: Sequence[float] | None) -> bool:
    """Whether a volume is one of the CCF, or a grid, in the Institute's order of axes.

    Parameters
    ----------
    shape
        Number of voxels along each axis.
    spacing
        µm per voxel; None if not known.

    Examples
    --------
    >>> is_allen_volume((528, 320, 456), (25, 25, 25))
    True
    >>> is_allen_volume((456, 320, 528), (25, 25, 25))
    False
    """
    resolutions = set(spacing or ())
    if len(resolutions) != 1:
        return False
    is_ccf = _CCF_SHAPES.get(next(iter(resolutions))) == tuple(shape)
    return is_ccf or _is_grid(shape, spacing or ())


def _is_grid(shape: Sequence[int], numbers: Sequence[float]) -> bool:
    a, b, c = shape
    return set(numbers) == {_GRID_SHAPES.get((a, b, c))}
