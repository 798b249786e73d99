"""Volumes in stores that complete another one: what they leave open is as of that."""

from collections.abc import Mapping, Sequence
from typing import Any

import xarray as xr

from refspace.errors import GridError
from refspace.grid import Grid
from refspace.labels import labelled
from refspace.store.read import open_atlas
from refspace.store.stored_atlas import StoredAtlas


def open_like(
    url: str,
    grid: Grid,
    names: Sequence[str] = ("annotation",),
    storage_options: Mapping[str, Any] | None = None,
) -> xr.DataArray:
    """Open the volume of a store that belongs to a grid; lazy.

    Parameters
    ----------
    url
        Path or URL.
    grid
        Where the voxels of the other volume are: it fills what the store leaves open.
    names
        Names of the volume, the first that is there.
    storage_options
        As for `open_atlas`.

    Raises
    ------
    StoreError, RemoteError, FormatError, GridError
        As for `open_atlas`; a statement of the store that contradicts the grid is no error yet.
    """
    open_ones: dict[str, Any] = {"orientation": grid.orientation, "resolution": grid.spacing}
    # The first that is enough: what is stated and differs would be a contradiction.
    for given in ([], ["orientation"], ["orientation", "resolution"], ["resolution"]):
        try:
            geometry = {argument: open_ones[argument] for argument in given}
            atlas = open_atlas(url, storage_options=storage_options, **geometry)
        except GridError as error:
            refused = error
        else:
            return _volume(atlas, grid, names)
    raise refused


def _volume(atlas: StoredAtlas, grid: Grid, names: Sequence[str]) -> xr.DataArray:
    """Level of the shape of a grid; of a bare array, on the grid itself."""
    name = next(name for name in names if name == "annotation" or getattr(atlas, name))
    same = sorted(grid.shape)
    shapes = [sorted(level.grid.shape) for level in atlas.levels]
    volume = atlas.volume(shapes.index(same) if same in shapes else 0, name)
    if atlas.states_geometry or volume.shape != grid.shape:
        return volume
    return labelled(volume.data, grid, name, volume.attrs)
