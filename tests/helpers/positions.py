"""Where voxels are in the world, as other programs say and as arrays do."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from hypothesis import strategies as st

# Directions in which the indices of three axes grow.
orientations = st.permutations(["AP", "SI", "LR"]).flatmap(
    lambda axes: st.tuples(*map(st.sampled_from, axes)).map("".join)
)
_AXES = {"L": (0, -1), "R": (0, 1), "P": (1, -1), "A": (1, 1), "I": (2, -1), "S": (2, 1)}


def directions_in_ras(orientation: str) -> np.ndarray:
    """Unit vector of each axis in RAS+, as columns."""
    matrix = np.zeros((3, 3))
    for axis, letter in enumerate(orientation):
        world, sign = _AXES[letter]
        matrix[world, axis] = sign
    return matrix


def ras(array: xr.DataArray, index: Sequence[int]) -> list[float]:
    """Position of a voxel in µm of RAS+, from coordinates in that frame."""
    at = {str(dim): float(array[dim][n]) for dim, n in zip(array.dims, index, strict=True)}
    return [at["ml"], at["ap"], at["dv"]]


def sitk_ras(image: Any, index: Sequence[int]) -> list[float]:
    """Position of a voxel of SimpleITK's in µm of RAS+."""
    left, posterior, superior = image.TransformIndexToPhysicalPoint([int(n) for n in index])[:3]
    return [-1000 * left, -1000 * posterior, 1000 * superior]
