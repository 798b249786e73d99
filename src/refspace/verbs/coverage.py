"""What structures cover of a domain: the checks of a set of structures."""

from collections.abc import Callable, Iterator
from typing import Any, Literal, Protocol, overload

import numpy as np
import xarray as xr

from refspace.ops.relabel import coverage
from refspace.structure_tree import StructureTree
from refspace.types import ArrayLike, StructuresLike
from refspace.verbs.images import aggregate
from refspace.verbs.masks import make_structure_mask
from refspace.verbs.space import Space
from refspace.verbs.tables import stack_arrays


@overload
def check_coverage(
    space: Space,
    structure_ids: StructuresLike,
    domain_mask: ArrayLike,
    *,
    per_structure: Literal[False] = False,
) -> xr.DataArray: ...


@overload
def check_coverage(
    space: Space,
    structure_ids: StructuresLike,
    domain_mask: ArrayLike,
    *,
    per_structure: Literal[True],
) -> xr.Dataset: ...


def check_coverage(
    space: Space,
    structure_ids: StructuresLike,
    domain_mask: ArrayLike,
    *,
    per_structure: bool = False,
) -> xr.DataArray | xr.Dataset:
    """Compare the union of some structures with the domain that they should cover.

    Parameters
    ----------
    structure_ids
        The structures, with their descendants.
    domain_mask
        Array of the annotation's shape, not 0 in the domain. Of a space of one hemisphere, what it
        says of the other is left out.
    per_structure
        Whether to say how much of each structure is missing or in excess, instead of where.

    Returns
    -------
    xarray.DataArray or xarray.Dataset
        int8: 1 where a voxel of the domain is missing, -1 where one is in excess, else 0; lazy. Or
        a lazy table over ``structure``, of subtrees: ``missing``, voxels of the domain that belong
        to the structure and are not covered; ``excess``, voxels of the structure that are covered
        beyond the domain; and ``missing_unassigned``, voxels of the domain that belong to no
        structure.

    Raises
    ------
    GridError
        If the domain has another shape or place.

    Examples
    --------
    >>> import refspace
    >>> space = refspace.phantom(resolution=200)
    >>> cortex = space.make_structure_mask("Isocortex")
    >>> int(space.check_coverage("VISp", cortex).min())  # the rest is missing, none in excess
    0
    >>> table = space.check_coverage("VISp", cortex, per_structure=True).compute()
    >>> table.missing.sel(structure=[385, 247]).values  # none of VISp, all of AUD
    array([  0, 694])
    """
    covered = make_structure_mask(space, structure_ids)
    compared = space.volume.within(coverage(covered, domain_mask))
    return _coverage_table(space, compared) if per_structure else compared


def _coverage_table(space: Space, compared: xr.DataArray) -> xr.Dataset:
    """How much of each structure is missing, and how much is in excess."""
    kinds = stack_arrays([compared == 1, compared == -1], "kind")
    sums = aggregate(space, kinds, statistics="sum")["sum"].astype(np.int64)
    missing, excess = sums.isel(kind=0), sums.isel(kind=1)
    roots = [i for i, path in space.structure_tree.get_ancestor_id_map().items() if len(path) == 1]
    # Array expressions have neither xarray's sums nor selections by a list.
    in_roots = (missing.data * np.isin(missing["structure"], roots)).sum()
    unassigned = xr.DataArray((compared.data == 1).sum() - in_roots)
    variables = {"missing": missing, "excess": excess, "missing_unassigned": unassigned}
    return xr.Dataset({name: v.assign_attrs(units="voxels") for name, v in variables.items()})


class ChecksCoverage(Protocol):
    """A space with a method that checks coverage, which a subclass may have replaced."""

    @property
    def structure_tree(self) -> StructureTree:
        """The structures."""
        ...

    @property
    def check_coverage(self) -> Callable[..., xr.DataArray | xr.Dataset]:
        """What `check_coverage` does."""
        ...


def validate_structures(
    space: ChecksCoverage,
    structure_ids: StructuresLike,
    domain_mask: ArrayLike,
    *,
    per_structure: bool = False,
) -> list[Any]:
    """Check that some structures cover a domain, each part of it once.

    Parameters
    ----------
    structure_ids, domain_mask, per_structure
        As for `check_coverage`.

    Returns
    -------
    list
        Ids among the structures that are ancestors of others among them, and the result of
        `check_coverage`.

    Examples
    --------
    >>> import refspace
    >>> space = refspace.phantom(resolution=200)
    >>> cortex = space.make_structure_mask("Isocortex")
    >>> space.validate_structures(["Isocortex", "VISp"], cortex)[0]
    {315}
    """
    if isinstance(structure_ids, Iterator):
        structure_ids = list(structure_ids)  # asked twice
    overlaps = space.structure_tree.has_overlaps(structure_ids)
    # The method and not the function of this module, with AllenSDK's arguments alone unless more is
    # wanted: one that a subclass wrote for AllenSDK knows no others.
    options = {"per_structure": True} if per_structure else {}
    return [overlaps, space.check_coverage(structure_ids, domain_mask, **options)]
