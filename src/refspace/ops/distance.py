"""Distances to the border of a mask."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from refspace.errors import MissingDependencyError

# Peak of a transform, measured: 55, of which scipy's places of the nearest voxels take most.
BYTES_PER_VOXEL = 60


def signed_distance(mask: xr.DataArray, spacing: Sequence[float]) -> xr.DataArray:
    """Distance from each voxel to the nearest on the other side of a mask's border; one task.

    Parameters
    ----------
    mask
        Not 0 inside; all beyond its ends is outside.
    spacing
        µm per voxel along each axis.

    Returns
    -------
    xarray.DataArray
        float32, µm between the centres of the voxels: positive inside, negative outside. -inf where
        there is no inside.

    Raises
    ------
    MissingDependencyError
        If scipy is not installed.

    Examples
    --------
    >>> import dask.array
    >>> mask = xr.DataArray(dask.array.from_array(np.array([0, 0, 1, 1, 1], "u1")))
    >>> signed_distance(mask, [10]).values
    array([-20., -10.,  10.,  20.,  10.], dtype=float32)
    """
    _edt()  # missing now, rather than when it is computed
    data = mask.data.rechunk(mask.shape).map_blocks(
        functools.partial(_signed_distance, spacing=tuple(spacing)),
        dtype=np.float32,
        meta=np.empty((0,) * mask.ndim, np.float32),
    )
    attrs = {"units": "micrometer", "long_name": "distance to the border, negative outside"}
    return xr.DataArray(data, mask.coords, mask.dims, "distance", attrs)


def _signed_distance(mask: NDArray[Any], spacing: tuple[float, ...]) -> NDArray[np.float32]:
    """Distances of a whole volume, in memory."""
    inside = np.pad(mask != 0, 1)
    # One plane more on each side is enough: of the voxels outside the volume, those next to it are
    # the nearest.
    here = (slice(1, -1),) * mask.ndim
    distance: NDArray[np.float32] = _edt()(inside, spacing)[here].astype(np.float32)
    if not mask.any():
        return np.full(mask.shape, -np.inf, np.float32)
    outside = ~inside[here]
    distance -= _edt()(outside, spacing).astype(np.float32)
    return distance


def _edt() -> Any:
    """Distance transform of scipy, which is an extra."""
    try:
        from scipy.ndimage import distance_transform_edt
    except ImportError as error:
        raise MissingDependencyError(
            "distances need scipy; install it with: pip install scipy"
        ) from error
    return distance_transform_edt
