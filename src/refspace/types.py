"""Names for what parameters take, and what holds for every label and every oblique image."""

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, Union

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

# Attribute of an image whose axes are oblique: three rows of four numbers, which lead from the
# indices along its last three axes to the centres of its voxels in RAS+, in µm.
AFFINE = "affine_to_ras_um"

PathLike: TypeAlias = str | os.PathLike[str]
"""Path of a file or folder; where a function says so, a URL too."""

Resolution: TypeAlias = float | Sequence[float]
"""µm per voxel: one number for all axes, or one for each."""

# Unions of names, not of types: array libraries are imported only where arrays are made. A union
# that is written as one string could not be joined with None.
StructureLike: TypeAlias = Union[int, str, "np.integer[Any]"]
"""A structure, by id, acronym or name."""

StructuresLike: TypeAlias = Union[
    StructureLike, Iterable[StructureLike], "NDArray[Any]", "xr.DataArray"
]
"""One structure or several."""

ArrayLike: TypeAlias = Union["NDArray[Any]", "dask.array.Array", "xr.DataArray"]
"""An array of voxels, in memory or lazy."""

ImageLike: TypeAlias = Union[ArrayLike, PathLike]
"""An array of voxels, or the path of a file of them."""

ImageOrigin: TypeAlias = Literal["center", "corner"]
"""What the position that an image states as the centre of its first voxel is of that voxel."""

AxisLike: TypeAlias = int | str
"""An axis: ``ap``, ``dv`` or ``ml``; its number; or its plane, like ``coronal``."""

LengthUnit: TypeAlias = Literal["um", "mm", "voxel"]
"""Unit of positions; in voxels, i is anywhere in the voxel of index i, in the file's own order."""

PointsLike: TypeAlias = Union[ArrayLike, "pd.DataFrame", Sequence[Sequence[float]]]
"""Positions in µm: an array with an axis of three, or a table with a column for each axis."""

StructureField: TypeAlias = Literal["id", "acronym", "name"]
"""What a structure is called by."""
