"""Verbs that bring images and regions together: statistics of images, and of coverage."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, overload

import numpy as np
import xarray as xr

from refspace.errors import AnnotationError, GridError
from refspace.formats.volumes import read_volume
from refspace.grid import Hemisphere
from refspace.kernels import RELATIVE_ERROR, is_exact
from refspace.ops.aggregate import STATISTICS, aggregate
from refspace.ops.align import Aligned, align, as_image
from refspace.ops.relabel import coverage
from refspace.reference_space.parcelling import Parcelling
from refspace.reference_space.tables import table_of
from refspace.structure_tree import Level

_DEFAULT = ("count", "mean", "std", "min", "max")
_SAME_UNITS = ("sum", "mean", "std", "min", "max", "quantiles")
_LONG_NAMES = {
    "count": "number of valid voxels of the image",
    "sum": "sum",
    "mean": "mean",
    "std": "standard deviation",
    "var": "variance",
    "min": "smallest value",
    "max": "largest value",
    "quantiles": "quantiles",
}


class Aggregating(Parcelling):
    """Statistics of images over regions, and what structures cover."""

    def aggregate(
        self,
        image: Any,
        structures: Any = None,
        *,
        statistics: str | Sequence[str] = _DEFAULT,
        quantiles: float | Sequence[float] = (),
        level: Level | None = None,
        structure_set: int | Sequence[int] | None = None,
        direct_only: bool = False,
        hemisphere: Hemisphere | None = None,
        valid: Any = None,
        ddof: float = 0,
    ) -> xr.Dataset:
        """Statistics of an image in each structure.

        All of them come out of one pass: each chunk of the image is read once, and of a store only
        where a chunk may hold one of the regions.

        Parameters
        ----------
        image
            Real numbers, of which NaN does not count. A DataArray with coordinates in µm, on the
            grid of the annotation or on a coarser or finer one of the same space, turned in any
            way: each voxel counts in the structure that is at its centre. Or an array of the
            annotation's shape, or the path of an NRRD or NIfTI file. Dims before the three of space
            (channel, time, subject) are kept.
        structures, level, structure_set, direct_only
            The regions, as for `parcellation`; all structures with their subtrees if not given.
        statistics
            Any of ``"count"`` (of valid voxels), ``"sum"``, ``"mean"``, ``"std"``, ``"var"``,
            ``"min"`` and ``"max"``.
        quantiles
            Shares from 0 to 1, as 0.5 for the median.
        hemisphere
            ``"left"`` or ``"right"``, where only what lies there is to count.
        valid
            Which voxels of the image count, where it is not 0: an array like the image, which may
            lack its leading dims.
        ddof
            What is taken from the count in the denominator of ``std`` and ``var``.

        Returns
        -------
        xarray.Dataset
            Over ``structure`` and the leading dims of the image, lazy; a variable for each
            statistic, and ``quantiles`` over ``quantile`` too. Compute it as a whole: each variable
            for itself is a pass. NaN where there is no valid voxel. A quantile is a value that is
            there (``inverted_cdf`` of `numpy.quantile`), to within its attribute
            ``relative_error``, 1/256; exact for integers of up to 16 bits.

        Raises
        ------
        GridError
            If the image lies elsewhere, or its axes, shape or dtype do not fit.
        StructureNotFoundError, OntologyError
            As for `parcellation`.
        AnnotationError
            If there is no such statistic, or a quantile is no share.

        Examples
        --------
        >>> import refspace
        >>> space = refspace.phantom(resolution=200)
        >>> depth = space.annotation.dv.broadcast_like(space.annotation)
        >>> table = space.aggregate(depth, ["Isocortex", "TH"], statistics=["mean", "max"])
        >>> table["mean"].round().values, table["max"].values
        (array([2528., 4162.]), array([6100., 5300.]))
        """
        regions = self.parcellation(
            structures, level=level, structure_set=structure_set, direct_only=direct_only
        )
        names, shares = _names(statistics), _shares(quantiles)
        side = self._part(hemisphere)
        mask = None if valid is None else self._image(valid, "validity mask")
        values = self._image(image, "image")
        _check_names(values, names)
        aligned, counted = side._with_labels(values, mask)
        known = side._block_labels
        variables = aggregate(
            aligned,
            regions,
            names,
            quantiles=shares,
            valid=counted,
            ddof=_checked_ddof(ddof),
            block_labels=known.crop(aligned.box) if known is not None and aligned.box else None,
        )
        table = table_of(regions, _described(variables, aligned.image))
        if shares:
            table = table.assign_coords(quantile=list(shares))
        before = [str(dim) for dim in aligned.image.dims[:-3]]
        coords = {n: c for n, c in aligned.image.coords.items() if {*c.dims} <= {*before}}
        attrs = {} if hemisphere is None else {"hemisphere": hemisphere}
        return table.assign_coords(coords).assign_attrs(attrs)

    # ----- coverage

    @overload
    def check_coverage(
        self,
        structure_ids: Any,
        domain_mask: Any,
        *,
        hemisphere: Hemisphere | None = None,
        per_structure: Literal[False] = False,
    ) -> xr.DataArray: ...

    @overload
    def check_coverage(
        self,
        structure_ids: Any,
        domain_mask: Any,
        *,
        hemisphere: Hemisphere | None = None,
        per_structure: Literal[True],
    ) -> xr.Dataset: ...

    def check_coverage(
        self,
        structure_ids: Any,
        domain_mask: Any,
        *,
        hemisphere: Hemisphere | None = None,
        per_structure: bool = False,
    ) -> xr.DataArray | xr.Dataset:
        """Compare the union of some structures with the domain that they should cover.

        Parameters
        ----------
        structure_ids
            The structures, with their descendants.
        domain_mask
            Array of the annotation's shape, not 0 in the domain.
        hemisphere
            ``"left"`` or ``"right"``, where the two are to be compared there alone.
        per_structure
            Whether to say how much of each structure is missing or in excess, instead of where.

        Returns
        -------
        xarray.DataArray or xarray.Dataset
            int8: 1 where a voxel of the domain is missing, -1 where one is in excess, else 0; lazy.
            Or a lazy table over ``structure``, of subtrees: ``missing``, voxels of the domain that
            belong to the structure and are not covered; ``excess``, voxels of the structure that
            are covered beyond the domain; and ``missing_unassigned``, voxels of the domain that
            belong to no structure.

        Raises
        ------
        GridError
            If the domain has another shape or place, or there is no such hemisphere.

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
        covered = self.make_structure_mask(structure_ids, hemisphere=hemisphere)
        compared = coverage(covered, domain_mask)
        if hemisphere is not None:
            compared = self._only(compared, hemisphere)
        return self._coverage_table(compared) if per_structure else compared

    def _coverage_table(self, compared: xr.DataArray) -> xr.Dataset:
        """How much of each structure is missing, and how much is in excess."""
        kinds = xr.concat([compared == 1, compared == -1], "kind")
        sums = self.aggregate(kinds, statistics="sum")["sum"].astype(np.int64)
        missing, excess = sums.isel(kind=0), sums.isel(kind=1)
        roots = [
            i for i, above in self.structure_tree.get_ancestor_id_map().items() if above[1:] == []
        ]
        unassigned = (compared == 1).sum() - missing.sel(structure=roots).sum()
        variables = {"missing": missing, "excess": excess, "missing_unassigned": unassigned}
        return xr.Dataset({name: v.assign_attrs(units="voxels") for name, v in variables.items()})

    def validate_structures(
        self,
        structure_ids: Any,
        domain_mask: Any,
        *,
        hemisphere: Hemisphere | None = None,
        per_structure: bool = False,
    ) -> list[Any]:
        """Check that some structures cover a domain, each part of it once.

        Parameters
        ----------
        structure_ids, domain_mask, hemisphere, per_structure
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
        overlaps = self.structure_tree.has_overlaps(structure_ids)
        # As AllenSDK calls it where nothing else is asked for: subclasses may not know of more.
        given: dict[str, Any] = {} if hemisphere is None else {"hemisphere": hemisphere}
        given |= {"per_structure": True} if per_structure else {}
        return [overlaps, self.check_coverage(structure_ids, domain_mask, **given)]

    # ----- images

    def _image(self, image: Any, name: str) -> xr.DataArray:
        """Image with coordinates, of whatever was given."""
        if isinstance(image, str | os.PathLike):
            image = read_volume(image)
        return as_image(image, self._annotation, name)

    def _with_labels(
        self, image: xr.DataArray, valid: xr.DataArray | None
    ) -> tuple[Aligned, xr.DataArray | None]:
        """Image and its labels, and which of its voxels count."""
        aligned = align(self._annotation, image)
        if valid is None:
            return aligned, None
        counted = align(self._annotation, valid, "validity mask").image
        before = aligned.image.dims[:-3]
        if counted.shape[-3:] != aligned.image.shape[-3:] or not {*counted.dims[:-3]} <= {*before}:
            raise GridError(
                f"the validity mask has {dict(counted.sizes)}, the image "
                f"{dict(aligned.image.sizes)} within the annotation; give one on the grid of the "
                "image, whose other dims are some of the image's"
            )
        if counted.dims[:-3]:
            counted = counted.broadcast_like(aligned.image.isel(dict.fromkeys(self._grid.dims, 0)))
            counted = counted.transpose(*aligned.image.dims)
        return aligned, counted


def _check_names(image: xr.DataArray, statistics: Sequence[str]) -> None:
    """Refuse leading dims that leave nothing, or would take the names of what comes out."""
    before = image.dims[:-3]
    empty = [str(dim) for dim in before if not image.sizes[dim]]
    if empty:
        raise GridError(f"the image has no values along {', '.join(empty)}; give at least one")
    taken = {"structure", "acronym", "name", "quantile", "quantiles", *statistics}
    along = [name for name, coord in image.coords.items() if {*coord.dims} <= {*before}]
    clash = sorted(taken.intersection(map(str, (*before, *along))))
    if clash:
        raise GridError(
            f"the image has a dim or coordinate called {', '.join(clash)}, as the table has; "
            "rename it"
        )


def _checked_ddof(ddof: Any) -> float:
    try:
        number = float(ddof)
    except (TypeError, ValueError):
        number = -1.0
    if not 0 <= number < np.inf:
        raise AnnotationError(f"ddof is {ddof!r}; give 0, or 1 for the variance of a sample")
    return number


def _names(statistics: str | Sequence[str]) -> list[str]:
    names = [statistics] if isinstance(statistics, str) else list(statistics)
    unknown = [name for name in names if name not in STATISTICS]
    if unknown:
        raise AnnotationError(
            f"there is no statistic {unknown[0]!r}; choose from {', '.join(STATISTICS)}, or give "
            "quantiles=0.5 for the median"
        )
    return list(dict.fromkeys(names))


def _shares(quantiles: float | Sequence[float]) -> list[float]:
    try:
        shares = np.atleast_1d(np.asarray(quantiles, np.float64)).ravel().tolist()
    except (TypeError, ValueError):
        shares = [np.nan]
    if not all(0 <= share <= 1 for share in shares):
        raise AnnotationError(f"quantiles are {quantiles!r}; give shares from 0 to 1, like 0.5")
    return shares


def _described(
    variables: Mapping[str, tuple[tuple[str, ...], Any]], image: xr.DataArray
) -> dict[str, tuple[tuple[str, ...], Any, dict[str, Any]]]:
    """Variables with what they mean."""
    described = {}
    for name, (dims, values) in variables.items():
        attrs: dict[str, Any] = {"long_name": _LONG_NAMES[name]}
        if name in _SAME_UNITS and "units" in image.attrs:
            attrs["units"] = image.attrs["units"]
        if name == "quantiles":
            attrs["relative_error"] = 0.0 if is_exact(image.dtype) else RELATIVE_ERROR
        described[name] = dims, values, attrs
    return described
