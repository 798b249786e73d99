"""Values by structure, as pictures and viewers show them: a number for each label and side."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any, TypeAlias, cast

import numpy as np
import pandas as pd
import xarray as xr

from refspace.errors import AnnotationError
from refspace.labels import HEMISPHERES
from refspace.ops.paint import split_values
from refspace.structure_tree import RegionsLike, StructureTree
from refspace.verbs.regions import region_indices
from refspace.verbs.value_tables import frame_values


@dataclass(frozen=True)
class StructureValues:
    """A number for each of some labels of an annotation, or one for each side of them.

    Parameters
    ----------
    left, right
        Values of the voxels of each hemisphere by their label. NaN is a value that is missing;
        labels that are not there have none.
    is_sided
        Whether values are of each hemisphere. Otherwise both are the same.
    name, units
        What the values are, like ``"cell density"``, and their unit; empty where not known.
    regions
        Label of the region whose value each label has: that of a structure is its id.

    Examples
    --------
    >>> StructureValues({1: 2.0}, {1: 4.0}, True, "density", "mm-3").label
    'density [mm-3]'
    """

    left: Mapping[int, float]
    right: Mapping[int, float]
    is_sided: bool = False
    name: str = ""
    units: str = ""
    regions: Mapping[int, int] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Name and unit, for an axis or a legend."""
        return (
            f"{self.name} [{self.units}]" if self.name and self.units else self.name or self.units
        )

    @property
    def limits(self) -> tuple[float, float]:
        """Lowest and highest value; 0 and 1 where no value is finite.

        Examples
        --------
        >>> StructureValues({1: 2.0, 5: math.nan}, {1: 4.0}).limits
        (2.0, 4.0)
        """
        values = [*self.left.values(), *self.right.values()]
        finite = [value for value in values if math.isfinite(value)]
        return (min(finite), max(finite)) if finite else (0.0, 1.0)


ValuesOfStructures: TypeAlias = (
    StructureValues | Mapping[Any, float] | pd.Series | pd.DataFrame | xr.DataArray | xr.Dataset
)
"""Values by structure: what `structure_values` takes."""


def structure_values(
    tree: StructureTree,
    values: ValuesOfStructures,
    *,
    variable: str | None = None,
    regions: RegionsLike | None = None,
) -> StructureValues:
    """Values of structures as one for each label, whatever they are given as.

    Parameters
    ----------
    tree
        The structures.
    values
        A mapping or pandas Series from ids, acronyms or names to numbers; a DataFrame of such rows
        with one column, or with the columns ``left`` and ``right``, or with a column
        ``hemisphere``; a DataArray over ``structure``, and maybe ``hemisphere``; or a Dataset of
        those, as of `aggregate` and `count_points`. A structure without a value of its own has that
        of the nearest structure above it that has one. NaN says that a value is missing.
    variable
        Variable of a Dataset, or column of a DataFrame; ``mean`` if not given, or the only one.
    regions
        As for `paint`, where values are those of other regions than subtrees of structures.

    Returns
    -------
    StructureValues
        The values.

    Raises
    ------
    AnnotationError
        If they are not numbers of structures, or several for one.
    StructureNotFoundError, OntologyError
        As for `paint`.

    Examples
    --------
    >>> import refspace
    >>> tree = refspace.phantom(resolution=400).structure_tree
    >>> density = pd.DataFrame({"left": [1.0], "right": [2.5]}, index=["VISp"])
    >>> found = structure_values(tree, density)
    >>> found.left[593], found.right[593]  # VISp1
    (1.0, 2.5)
    """
    if isinstance(values, StructureValues):
        return values
    array = _one_array(values, variable)
    keys, numbers = split_values(array)
    others = [str(dim) for dim in numbers.dims[:-1] if dim != "hemisphere"]
    if others:
        raise AnnotationError(
            f"values have the dim {others[0]} of {numbers.sizes[others[0]]}; choose one of them, "
            f"like values.isel({others[0]}=0)"
        )
    keys = [_key(key) for key in keys]
    chosen = tree.regions(tree.resolve(keys) if regions is None else regions)
    # A value for each region, in their order.
    places = {region: i for i, region in enumerate(region_indices(tree, keys, chosen))}
    labels = {i: places[r] for i, r in chosen.nearest_region.items() if r in places}
    sides = [
        {label: row[place] for label, place in labels.items()} for row in _sides(numbers, len(keys))
    ]
    is_sided = "hemisphere" in numbers.dims
    name, units = _described(array)
    owners = {i: chosen.voxel_labels[region] for i, region in chosen.nearest_region.items()}
    nearest = {label: owners[label] for label in labels}
    return StructureValues(sides[0], sides[1], is_sided, name, units, nearest)


def _one_array(values: Any, variable: str | None) -> Any:
    """Values as a mapping, a Series, or a DataArray over structure and maybe hemisphere."""
    if isinstance(values, xr.Dataset):
        values = values[_variable(values, variable)]
    elif isinstance(values, pd.DataFrame):
        return frame_values(values, variable)
    elif isinstance(values, pd.Series) and isinstance(values.index, pd.MultiIndex):
        return frame_values(values.to_frame("value" if values.name is None else values.name))
    if not isinstance(values, xr.DataArray):
        return values
    kept = ("structure", "hemisphere")
    return values.squeeze([dim for dim, n in values.sizes.items() if n == 1 and dim not in kept])


def _variable(values: xr.Dataset, variable: str | None) -> str:
    names = [str(name) for name, array in values.items() if "structure" in array.dims]
    if variable is None:
        variable = "mean" if "mean" in names or len(names) != 1 else names[0]
    if variable not in names:
        raise AnnotationError(
            f"the dataset has no variable {variable!r} of structures; choose one of "
            f"{', '.join(names) or 'none'}, like values['{names[0] if names else 'mean'}']"
        )
    return variable


def _key(key: Any) -> Any:
    """A structure as it was given; ids from tables with missing cells are floats."""
    if isinstance(key, float | np.floating) and float(key).is_integer():
        return int(key)
    if isinstance(key, str | Integral):
        return key
    raise AnnotationError(f"there is a value of {key!r}; give ids, acronyms or names of structures")


def _sides(numbers: xr.DataArray, count: int) -> list[list[float]]:
    """Values of left and right, each in the order of the structures."""
    if "hemisphere" not in numbers.dims:
        row = numbers.astype(np.float64).values.tolist()
        return [row, row]
    named = [str(side) for side in numbers.coords.get("hemisphere", xr.DataArray([])).values]
    if not {*named} <= {*HEMISPHERES} or len({*named}) != len(named) or not named:
        raise AnnotationError(
            f"the coordinate hemisphere holds {', '.join(named)[:80] or 'nothing'}; give left and "
            "right"
        )
    table = dict(zip(named, numbers.transpose("hemisphere", "structure").values, strict=True))
    missing = np.full(count, np.nan)
    rows = [np.asarray(table.get(side, missing), np.float64) for side in HEMISPHERES]
    return [cast("list[float]", row.tolist()) for row in rows]


def _described(values: Any) -> tuple[str, str]:
    """Name and unit, where they are stated."""
    attrs = getattr(values, "attrs", {})
    name = attrs.get("long_name") or getattr(values, "name", None) or ""
    return str(name), str(attrs.get("units") or "")
