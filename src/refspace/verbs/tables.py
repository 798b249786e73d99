"""Tables with a row for each region, as datasets and as data frames."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dask.array
import numpy as np
import pandas as pd
import xarray as xr

from refspace.grid import Hemisphere
from refspace.labels import HEMISPHERES
from refspace.structure_tree import Regions
from refspace.verbs.space import Space

# Attributes of results that say which hemisphere they are of, and what tells the two apart.
_SIDES = ("hemisphere", "hemispheres_from", "midline", "midline_units", "midline_from")


def region_table(
    regions: Regions, variables: Mapping[str, Any], attrs: Mapping[str, Any] | None = None
) -> xr.Dataset:
    """Dataset over ``structure``, with coordinates ``acronym`` and ``name`` where there are any.

    Parameters
    ----------
    regions
        The regions, a row for each.
    variables
        As `xarray.Dataset` takes them: dims, values, attributes.
    attrs
        Attributes of the dataset.
    """
    columns = regions.columns()
    coords = {name: ("structure", column) for name, column in columns.items()}
    return xr.Dataset(variables, coords, attrs)


def stack_hemispheres(space: Space, verb: Callable[[Space], xr.Dataset]) -> xr.Dataset:
    """Table of each hemisphere beside the other, over ``structure``, ``hemisphere`` and the rest.

    Its attributes say what tells the two apart. Computed as a whole, the two read each chunk once:
    what they share is one task.

    Parameters
    ----------
    space
        The space of both hemispheres.
    verb
        Makes a table of the space of one.
    """
    tables = [verb(with_hemisphere(space, side)) for side in HEMISPHERES]
    variables = {
        name: stack_arrays([table[name] for table in tables], "hemisphere") for name in tables[0]
    }
    stacked = xr.Dataset(variables, attrs=space.volume.hemispheres.separation)
    stacked = stacked.assign_coords(hemisphere=pd.Index([*HEMISPHERES]))
    return stacked.transpose("structure", "hemisphere", ...)


def stack_arrays(arrays: Sequence[xr.DataArray], dim: str) -> xr.DataArray:
    """Arrays of the same dims and coordinates, one beside the other along a new first dim.

    Parameters
    ----------
    arrays
        The arrays, all lazy or all in memory. Coordinates and attributes are those of the first.
    dim
        Name of the new dim.

    Examples
    --------
    >>> line = xr.DataArray([1, 2], dims="ml")
    >>> stack_arrays([line, line + 2], "hemisphere").values.tolist()
    [[1, 2], [3, 4]]
    """
    # `xarray.concat` looks for a common type in a way that dask's array expressions do not have.
    first = arrays[0]
    stack = np.stack if first.chunks is None else dask.array.stack
    data = stack([array.data for array in arrays])
    return xr.DataArray(data, first.coords, (dim, *first.dims), first.name, first.attrs)


def with_hemisphere(space: Space, side: Hemisphere) -> Space:
    """Space of one hemisphere."""
    return space.with_volume(space.volume.hemisphere(side), space.template)


def long_table(dataset: xr.Dataset, columns: Mapping[str, str]) -> pd.DataFrame:
    """Rows by structure, and by any other dims: what names them comes first.

    Parameters
    ----------
    dataset
        Over ``structure``, and maybe other dims; in memory.
    columns
        Variables, and what their columns are called.

    Returns
    -------
    pandas.DataFrame
        Indexed by structure; what the dataset says of hemispheres is in its `attrs`.
    """
    named = dataset[list(columns)].rename(columns)
    others = [str(dim) for dim in named.dims if dim != "structure"]
    table = named.to_dataframe(dim_order=["structure", *others]).reset_index()
    beside = [name for name in ("region", "acronym", "name") if name in table]
    # Other coordinates, as of channels, between the dims and the values.
    coords = [n for n in table if n not in {"structure", *beside, *others, *columns.values()}]
    order = [*beside, *others, *coords, *columns.values()]
    table = table.set_index("structure")[order]
    # pandas keeps them in Parquet files.
    table.attrs = {name: dataset.attrs[name] for name in _SIDES if name in dataset.attrs}
    return table


def statistics_table(dataset: xr.Dataset, statistics: Sequence[str]) -> pd.DataFrame:
    """Rows of statistics, with a column for each quantile, like ``q0.05``; ``covered`` at last."""
    names = [*statistics]
    if "quantiles" in dataset:
        for level, values in zip(
            dataset["quantile"].values, dataset["quantiles"].transpose("quantile", ...), strict=True
        ):
            names.append(f"q{level:.15g}")
            dataset = dataset.assign({names[-1]: values.drop_vars("quantile")})
    return long_table(dataset, {name: name for name in (*names, "covered")})
