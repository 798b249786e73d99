"""Parts of volumes, in which the blocks outside of them do not count."""

from collections.abc import Mapping

import dask.array
import xarray as xr

from refspace.blockwise import parts


def crop_volume(volume: xr.DataArray, box: Mapping[str, slice]) -> xr.DataArray:
    """Part of a volume, like ``volume.isel(box)``; lazy.

    Of an array of a store the blocks outside of the part are not even listed, of which there may be
    hundreds of millions.

    Parameters
    ----------
    volume
        The volume.
    box
        Slices without steps, by dim.

    Examples
    --------
    >>> import numpy as np
    >>> crop_volume(xr.DataArray(np.arange(6), dims="ml"), {"ml": slice(3, 5)}).values
    array([3, 4])
    """
    if not isinstance(volume.data, dask.array.Array):
        return volume.isel(box)
    data = parts.crop(volume.data, [box.get(str(dim), slice(None)) for dim in volume.dims])
    coords = volume.coords.to_dataset().isel(box, missing_dims="ignore").coords
    return xr.DataArray(data, coords, volume.dims, volume.name, volume.attrs)
