"""Names for what parameters take, and the two numbers that hold for every label."""

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import dask.array
    import numpy as np
    import pandas as pd
    import xarray as xr
    from numpy.typing import NDArray

# Label of what lies outside the brain, whatever structure may have it as its id.
BACKGROUND = 0
# Structure ids are unsigned integers of at most 32 bits.
MAX_LABEL = 2**32 - 1

PathLike: TypeAlias = str | os.PathLike[str]
"""Path of a file or folder; where a function says so, a URL too."""

Resolution: TypeAlias = float | Sequence[float]
"""µm per voxel: one number for all axes, or one for each."""

StructureLike: TypeAlias = "int | str | np.integer"
"""A structure, by id, acronym or name."""

StructuresLike: TypeAlias = "StructureLike | Iterable[StructureLike] | NDArray | xr.DataArray"
"""One structure or several."""

ArrayLike: TypeAlias = "NDArray | dask.array.Array | xr.DataArray"
"""An array of voxels, in memory or lazy."""

ImageLike: TypeAlias = "ArrayLike | PathLike"
"""An array of voxels, or the path of a file of them."""

PointsLike: TypeAlias = "ArrayLike | pd.DataFrame | Sequence[Sequence[float]]"
"""Positions in µm: an array with an axis of three, or a table with a column for each axis."""
