"""Tables with a row for each structure, as datasets."""

from collections.abc import Mapping
from typing import Any

import xarray as xr

from refspace.structure_tree import Parcellation


def table_of(
    regions: Parcellation, variables: Mapping[str, Any], attrs: Mapping[str, Any] | None = None
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
