"""Images in which each voxel has the value of its region."""

from collections.abc import Mapping
from typing import Any

import dask.array
import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from refspace.errors import AnnotationError, GridError

STRUCTURE = "structure"


def split_values(
    values: Mapping[Any, float] | pd.Series | xr.DataArray,
) -> tuple[list[Any], xr.DataArray]:
    """Structures that have a value, and the values.

    Parameters
    ----------
    values
        A mapping or pandas Series from structures to numbers, or a DataArray over ``structure``.

    Returns
    -------
    structures
        Their ids, acronyms or names.
    values
        Floats, over ``structure`` last.

    Raises
    ------
    AnnotationError
        If they are not real numbers, or it is not known of which structures.

    Examples
    --------
    >>> structures, numbers = split_values({"VISp": 1, 315: 2.5})
    >>> structures, numbers.values
    (['VISp', 315], array([1. , 2.5]))
    """
    if isinstance(values, xr.DataArray):
        if STRUCTURE not in values.dims or STRUCTURE not in values.coords:
            raise AnnotationError(
                f"values have dims {', '.join(map(str, values.dims)) or 'none'} and coordinates "
                f"{', '.join(map(str, values.coords)) or 'none'}; a dim 'structure' and its "
                "coordinate must say whose they are"
            )
        floats = values.astype(_float(values.dtype))
        return values[STRUCTURE].values.tolist(), floats.transpose(..., STRUCTURE)
    if isinstance(values, Mapping) and not isinstance(values, xr.Dataset):
        values = pd.Series(list(values.values()), pd.Index(list(values), dtype=object))
        if values.empty:
            values = values.astype(np.float64)
    if not isinstance(values, pd.Series):
        raise AnnotationError(
            f"values are a {type(values).__name__}; give a mapping or a pandas Series from "
            "structures to numbers, or a DataArray over 'structure'"
        )
    numbers = values.to_numpy(_float(values.dtype), na_value=np.nan)
    return values.index.tolist(), xr.DataArray(numbers, dims=STRUCTURE, name=values.name)


def _float(dtype: Any) -> np.dtype[Any]:
    """Type of the image of values of a type."""
    if dtype.kind not in "buif":
        raise AnnotationError(
            f"values have dtype {dtype}; give real numbers, and NaN where there is none"
        )
    if not isinstance(dtype, np.dtype) or dtype.kind != "f":
        return np.dtype(np.float64)
    return dtype.newbyteorder("=")


def paint(values: xr.DataArray, codes: xr.DataArray) -> xr.DataArray:
    """Image of values.

    Parameters
    ----------
    values
        Floats, over ``structure`` last, NumPy or dask.
    codes
        For each voxel 0, which is NaN in the image, or the position of its value, counted from 1;
        dask-backed.

    Returns
    -------
    xarray.DataArray
        Over the other dims of the values, then those of the codes; lazy.

    Raises
    ------
    GridError
        If both share a dim.

    Examples
    --------
    >>> codes = xr.DataArray(dask.array.from_array(np.array([0, 2, 1], "u1")), dims="ml")
    >>> paint(xr.DataArray([5.0, 7.0], dims="structure"), codes).values
    array([nan,  7.,  5.])
    """
    before = values.dims[:-1]
    if shared := {*map(str, before)} & {*map(str, codes.dims)}:
        raise GridError(f"values have the dim {', '.join(sorted(shared))} of the volume; rename it")
    table = values.data
    if not isinstance(table, dask.array.Array):
        # An image each, so that no block is larger than those of one.
        table = dask.array.from_array(table, chunks=(*(1,) * len(before), -1))
    table = table.rechunk({table.ndim - 1: -1})
    axes = tuple(range(table.ndim + codes.ndim))
    lead, row, space = axes[: len(before)], axes[len(before)], axes[table.ndim :]
    data = dask.array.blockwise(
        _painted,
        (*lead, *space),
        table,
        (*lead, row),
        codes.data,
        space,
        dtype=table.dtype,
        meta=np.empty((0,) * (len(lead) + len(space)), table.dtype),
        concatenate=True,
    )
    # Values of one hemisphere say so by a coordinate; that of the volume is of each voxel.
    own = {
        coord: c
        for coord, c in values.coords.items()
        if {*c.dims} <= {*before} and (coord in before or coord not in codes.coords)
    }
    name = "values" if values.name is None else values.name
    return xr.DataArray(data, {**codes.coords, **own}, (*before, *codes.dims), name, values.attrs)


def _painted(table: NDArray[Any], codes: NDArray[Any]) -> NDArray[Any]:
    """Values of the voxels of a block."""
    nothing = np.full((*table.shape[:-1], 1), np.nan, table.dtype)
    return np.concatenate((nothing, table), axis=-1)[..., codes]
