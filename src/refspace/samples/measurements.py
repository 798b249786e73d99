"""Made-up measurements in the space of the sample brain: an image, and a table of cells."""

import numpy as np
import pandas as pd
import xarray as xr

from refspace.grid import Grid
from refspace.labels import labelled

# Centre of the signal, in the primary visual area of both hemispheres: µm, ml from the midline.
_CENTRE = {"ap": 8900.0, "dv": 1400.0, "ml": 2500.0}
_WIDTH = 900.0
# Section that was lost: its first and last position along ap.
_LOST = (7400.0, 7600.0)


def expression(grid: Grid, resolution: float = 200) -> xr.DataArray:
    """Expression of a gene: high in the visual cortex, noisy, NaN where a section was lost.

    Parameters
    ----------
    grid
        Grid of the brain.
    resolution
        µm per voxel of the image; 200, as of the Allen Institute's grids of expression.

    Returns
    -------
    xarray.DataArray
        float32, in memory, the same every time.

    Examples
    --------
    >>> import refspace
    >>> expression(refspace.phantom(resolution=100).grid).shape
    (66, 40, 57)
    """
    coarse = grid.resample(resolution)
    image = labelled(np.zeros(coarse.shape), coarse, "expression")
    offsets = {"ap": image.ap, "dv": image.dv, "ml": abs(image.ml - grid.middle)}
    squared = sum((offsets[dim] - centre) ** 2 for dim, centre in _CENTRE.items())
    noise = np.random.default_rng(seed=0).gamma(2, 3, coarse.shape)
    image = image + noise + 100 * np.exp(-squared / (2 * _WIDTH**2))
    is_measured = (image.ap < _LOST[0]) | (image.ap > _LOST[1])
    result: xr.DataArray = image.where(is_measured).astype(np.float32).assign_attrs(units="a.u.")
    return result


def cells(grid: Grid, count: int = 20_000) -> pd.DataFrame:
    """Positions of cells: most in and around the right visual cortex, some outside the volume.

    Parameters
    ----------
    grid
        Grid of the brain.
    count
        Number of cells.

    Returns
    -------
    pandas.DataFrame
        Columns ``ap``, ``dv`` and ``ml`` in µm, the same every time.

    Examples
    --------
    >>> import refspace
    >>> cells(refspace.phantom(resolution=100).grid, 3).round().values.tolist()[0]
    [8979.0, 1317.0, 8603.0]
    """
    centre = [_CENTRE["ap"], _CENTRE["dv"], grid.middle + _CENTRE["ml"]]
    points = np.random.default_rng(seed=0).normal(centre, 0.7 * _WIDTH, (count, 3))
    return pd.DataFrame(points, columns=["ap", "dv", "ml"])
