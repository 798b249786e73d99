"""Statistics of images over regions."""

import math
import numbers
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from refspace.errors import AnnotationError, GridError
from refspace.formats.names import is_volume_file
from refspace.formats.volumes import read_voxels
from refspace.grid import Grid
from refspace.kernels import RELATIVE_ERROR, is_exact
from refspace.ops import aggregate as ops
from refspace.ops.align import Aligned, align, as_image, image_extent, settle_origin
from refspace.ops.coverage import ImageExtent, measured_regions, overlap_note, with_warning
from refspace.store.images import open_image
from refspace.structure_tree import Regions, RegionsLike
from refspace.types import AFFINE, ImageLike, ImageOrigin, PathLike
from refspace.verbs.reading import read_image
from refspace.verbs.shapes import label_totals
from refspace.verbs.space import Space
from refspace.verbs.tables import region_table, stack_hemispheres

DEFAULT_STATISTICS = ("count", "mean", "std", "min", "max")
_SAME_UNITS = ("sum", "mean", "std", "min", "max", "quantiles")
# Attribute of a table that says what is to be told of the origin of its image.
ORIGIN_NOTE = "note_of_origin"
_LONG_NAMES = {
    "count": "number of valid voxels of the image",
    "sum": "sum",
    "mean": "mean",
    "std": "standard deviation",
    "var": "variance",
    "min": "smallest value",
    "max": "largest value",
    "quantiles": "quantiles",
    "covered": "part of the volume that valid voxels of the image cover",
}


def aggregate(
    space: Space,
    image: ImageLike,
    regions: RegionsLike | None = None,
    *,
    statistics: str | Sequence[str] = DEFAULT_STATISTICS,
    quantiles: float | Sequence[float] = (),
    by_hemisphere: bool = False,
    valid: ImageLike | None = None,
    nodata: float | None = None,
    valid_min: float | None = None,
    ddof: float = 0,
    same_grid: bool = False,
    image_origin: ImageOrigin | None = None,
) -> xr.Dataset:
    """Statistics of an image in each region, and how much of each the image covers.

    All of them come out of one pass: each chunk of the image is read once, and of a store only
    where a chunk may hold one of the regions.

    Parameters
    ----------
    image
        Real numbers, of which NaN does not count. A DataArray with coordinates in µm, on the grid
        of the annotation or on a coarser or finer one of the same space, turned in any way: each
        voxel counts in the structure that is at its centre. Or an array of the annotation's shape,
        or the path or URL of a file or of an image in zarr, as for `refspace.read_image`. Dims
        before the three of space (channel, time, subject) are kept. An image whose axes are oblique
        has others in their place, and the attribute ``affine_to_ras_um``: three rows of four
        numbers, from indices to positions in RAS+ (that of a file has its own).
    regions
        The regions, as `StructureTree.regions` makes them, or what it makes them of; all structures
        with their subtrees if not given.
    statistics
        Any of ``"count"`` (of valid voxels), ``"sum"``, ``"mean"``, ``"std"``, ``"var"``,
        ``"min"`` and ``"max"``.
    quantiles
        Levels from 0 to 1, as 0.5 for the median.
    by_hemisphere
        Whether to keep the hemispheres apart. Of one alone, ask ``space.hemisphere(…)``.
    valid
        Which voxels of the image count, where it is not 0: an array like the image, which may lack
        its leading dims.
    nodata
        A value of the image that stands for none, like -1. Where it is stored as scaled integers,
        that of them next to it.
    valid_min
        Value of the image below which none counts.
    ddof
        What is taken from the count in the denominator of ``std`` and ``var``.
    same_grid
        Whether voxel i of the image, and of `valid`, is voxel i of the annotation, whatever
        position it states.
    image_origin
        What the position of the first voxel is that the image states: that of its ``"center"``, or
        of its ``"corner"``, as where origins of ITK or ANTs are of another convention than the
        annotation's. An image whose corner is half a voxel off the annotation's is moved onto it by
        the latter. If not given, the centre, with a warning of such an image.

    Returns
    -------
    xarray.Dataset
        Over ``structure``, ``hemisphere`` if asked for, and the leading dims of the image, lazy; a
        variable for each statistic, and ``quantiles`` over ``quantile`` too. Compute it as a whole:
        each variable for itself is a pass. NaN where there is no valid voxel. ``covered`` is the
        part of each region's volume, from 0 to 1, that valid voxels of the image cover; NaN of a
        region without voxels. For this the annotation is read beyond the image too, where it has no
        label index and the image is smaller or coarser.

    Notes
    -----
    All is computed in double precision, and to within these errors:

    - ``count`` is exact. ``sum`` of integers of any size is exact below 2**85, and then rounded to
      float64 once, as ``min`` and ``max`` are; ``mean`` is its quotient. Those of floats are summed
      pairwise: the error is below 1e-14 of the sum of the absolute values.
    - ``var`` and ``std`` are those of the deviations from the true mean, by the corrected two-pass
      algorithm, and merged over chunks and structures by its update: the error is below 1e-12 of
      the variance, however far from 0 the values are, as integers beyond 2**53 too. Squares below
      1e-308 are lost, and beyond 1.8e308 they are infinite: scale an image whose spread is below
      1e-150 or beyond 1e150.
    - A quantile is a value that occurs (``inverted_cdf`` of `numpy.quantile`), to within its
      attribute ``relative_error``, 1/256, for all that a float can be; exact for integers of up to
      16 bits.

    Warns
    -----
    UserWarning
        When it is computed, if the image covers less than half of the regions' bounding box. At
        once, if its corner is half a voxel off the annotation's along each axis.

    Raises
    ------
    GridError
        If the image lies elsewhere, or its axes, shape or dtype do not fit.
    StructureNotFoundError, OntologyError
        As for `StructureTree.regions`.
    AnnotationError
        If there is no such statistic, a quantile is not a level from 0 to 1, or `nodata` or
        `valid_min` is no number.

    Examples
    --------
    >>> import refspace
    >>> space = refspace.phantom(resolution=200)
    >>> depth = space.annotation.dv.broadcast_like(space.annotation)
    >>> table = space.aggregate(depth, ["Isocortex", "TH"], statistics=["mean", "max"])
    >>> table["mean"].round().values, table["max"].values
    (array([2528., 4162.]), array([6100., 5300.]))
    >>> space.aggregate(depth, "TH", statistics="mean", by_hemisphere=True)["mean"].dims
    ('structure', 'hemisphere')
    >>> upper = depth.isel(dv=slice(0, 20))
    >>> space.aggregate(upper, ["Isocortex", "TH"]).covered.values.round(2)
    array([0.86, 0.41])
    """
    options = StatisticsOptions.from_arguments(
        space.structure_tree.regions(regions),
        statistics,
        quantiles,
        ddof=ddof,
        nodata=nodata,
        valid_min=valid_min,
    )
    table = statistics_of_image(
        space,
        image,
        options,
        ImagePlace(same_grid, image_origin),
        valid=valid,
        by_hemisphere=by_hemisphere,
    )
    if told := table.attrs.pop(ORIGIN_NOTE, ""):
        warnings.warn(told, stacklevel=2)
    if "note" not in table:
        return table
    covered = table["covered"]
    told = covered.copy(data=with_warning(covered.data, table["note"].data))
    return table.assign(covered=told).drop_vars("note")


@dataclass(frozen=True)
class StatisticsOptions:
    """What is asked of an image, checked.

    Parameters
    ----------
    regions
        The regions.
    statistics, quantiles, ddof, nodata, valid_min
        As for `aggregate`.
    """

    regions: Regions
    statistics: tuple[str, ...]
    quantiles: tuple[float, ...]
    ddof: float = 0
    nodata: float | None = None
    valid_min: float | None = None

    @classmethod
    def from_arguments(
        cls,
        regions: Regions,
        statistics: str | Sequence[str],
        quantiles: float | Sequence[float] = (),
        *,
        ddof: float = 0,
        nodata: float | None = None,
        valid_min: float | None = None,
    ) -> "StatisticsOptions":
        """Check the arguments of `aggregate`.

        Raises
        ------
        AnnotationError
            As for `aggregate`.
        """
        return cls(
            regions,
            tuple(_names(statistics)),
            tuple(_quantile_levels(quantiles)),
            _checked_ddof(ddof),
            _number("nodata", nodata),
            _number("valid_min", valid_min),
        )

    def missing(self, step: float) -> ops.Missing | None:
        """Which values of an image do not count, beside NaN; None if all do."""
        if self.nodata is None and self.valid_min is None:
            return None
        return ops.Missing(self.nodata, step, self.valid_min)


@dataclass(frozen=True)
class ImagePlace:
    """What is said of the place of an image, beside what it states itself.

    Parameters
    ----------
    same_grid, image_origin
        As for `aggregate`.
    """

    same_grid: bool = False
    image_origin: ImageOrigin | None = None


def statistics_of_image(
    space: Space,
    image: ImageLike,
    options: StatisticsOptions,
    place: ImagePlace = ImagePlace(),
    *,
    valid: ImageLike | None = None,
    by_hemisphere: bool = False,
) -> xr.Dataset:
    """Statistics as `aggregate` returns them, which do not warn.

    A variable ``note`` says what is to be told of the image's place, where it is not known already
    that all is well; the attribute `ORIGIN_NOTE`, what is known to be told of its origin.

    Parameters
    ----------
    image, valid, by_hemisphere
        As for `aggregate`.
    options
        What is asked.
    place
        What is said of its place.
    """
    values = _read_image(space, image, "image", place.same_grid)
    _check_names(values, options.statistics, by_hemisphere)
    values, told = settle_origin(space.annotation, values, place.image_origin)
    counted = None
    if valid is not None:
        counted = _read_image(space, valid, "validity mask", place.same_grid)
        counted, _ = settle_origin(space.annotation, counted, place.image_origin)
    extent = image_extent(space.annotation, values)
    step = abs(float(values.encoding.get("scale_factor", 0)))

    def verb(one: Space) -> xr.Dataset:
        return _aggregate(one, values, counted, extent, options, options.missing(step))

    table = stack_hemispheres(space, verb) if by_hemisphere else verb(space)
    table = table.assign_attrs(_named(image) | ({ORIGIN_NOTE: told} if told else {}))
    if extent.is_everywhere:
        return table
    totals = label_totals(space, options.regions)
    note = overlap_note(totals, options.regions, space.grid, extent)
    return table.assign(note=((), note))


def _named(image: ImageLike) -> dict[str, str]:
    """Attribute that says which image a table is of, where it has a name."""
    if isinstance(image, str | os.PathLike):
        return {"image": os.fspath(image)}
    name = image.name if isinstance(image, xr.DataArray) else None
    return {} if name is None else {"image": str(name)}


def _aggregate(
    space: Space,
    image: xr.DataArray,
    valid: xr.DataArray | None,
    extent: ImageExtent,
    options: StatisticsOptions,
    missing: ops.Missing | None,
) -> xr.Dataset:
    aligned, counted = _with_labels(space, image, valid)
    measures = None
    if not extent.is_everywhere:
        totals = label_totals(space, options.regions)
        measures = measured_regions(totals, options.regions, space.grid)
    labels = space.volume.block_labels_in(aligned.box) if aligned.box else None
    variables = ops.aggregate(
        aligned,
        options.regions,
        options.statistics,
        extent,
        quantiles=options.quantiles,
        valid=counted,
        missing=missing,
        ddof=options.ddof,
        block_labels=labels,
        measures=measures,
    )
    table = region_table(options.regions, _described(variables, aligned.image))
    if options.quantiles:
        table = table.assign_coords(quantile=[*options.quantiles])
    before = [str(dim) for dim in aligned.image.dims[:-3]]
    coords = {n: c for n, c in aligned.image.coords.items() if {*c.dims} <= {*before}}
    return table.assign_coords(coords).assign_attrs(space.volume.hemispheres.attrs)


# ----- images


def _read_image(space: Space, image: ImageLike, name: str, same_grid: bool) -> xr.DataArray:
    """Image with its place, of an array or a file."""
    if isinstance(image, str | os.PathLike):
        image = _opened(image, space.grid, same_grid)
    if same_grid and isinstance(image, xr.DataArray):
        image = without_position(image, space.grid.dims)
    return as_image(image, space.annotation, name)


def _opened(path: PathLike, grid: Grid, same_grid: bool) -> xr.DataArray:
    """Image at a path or URL; with its place, unless it is to be ignored."""
    if not same_grid:
        return read_image(path)
    if is_volume_file(path):
        return read_voxels(path, is_image=True)
    return open_image(os.fspath(path), shape=grid.shape)


def without_position(image: xr.DataArray, dims: Sequence[str]) -> xr.DataArray:
    """Image whose last axes are those of an annotation, in their order, without coordinates.

    Parameters
    ----------
    image
        The image; its axes are the annotation's by name, wherever they stand, or its last ones.
    dims
        Axes of the annotation.

    Examples
    --------
    >>> image = xr.DataArray(np.zeros((2, 3, 4)), {"z": [5.0, 15.0]}, ("z", "y", "x"))
    >>> without_position(image, ("ap", "dv", "ml")).sizes
    Frozen({'ap': 2, 'dv': 3, 'ml': 4})
    """
    named = set(dims) <= set(image.dims)
    own = [dim for dim in image.dims if dim in dims] if named else [*image.dims[-len(dims) :]]
    turned = image.transpose(..., *own)
    before = {name for name, c in image.coords.items() if set(c.dims).isdisjoint(own)}
    renamed: xr.DataArray = turned.drop_vars({*image.coords} - before).rename(
        dict(zip(own, dims, strict=True))
    )
    return renamed.drop_attrs(deep=False) if AFFINE in image.attrs else renamed


def _with_labels(
    space: Space, image: xr.DataArray, valid: xr.DataArray | None
) -> tuple[Aligned, xr.DataArray | None]:
    """Image and its labels, and which of its voxels count."""
    aligned = align(space.annotation, image, block_labels=space.block_labels)
    if valid is None:
        return aligned, None
    mask = align(space.annotation, valid, "validity mask")
    counted, before = mask.image, aligned.image.dims[:-3]
    if not mask.is_beside(aligned) or not {*counted.dims[:-3]} <= {*before}:
        raise GridError(
            f"the validity mask has {dict(counted.sizes)}, the image "
            f"{dict(aligned.image.sizes)} within the annotation; give one on the grid of the "
            "image, whose other dims are some of the image's"
        )
    if counted.dims[:-3]:
        counted = counted.broadcast_like(
            aligned.image.isel(dict.fromkeys(aligned.image.dims[-3:], 0))
        )
        counted = counted.transpose(*aligned.image.dims)
    return aligned, counted


def _check_names(image: xr.DataArray, statistics: Sequence[str], by_hemisphere: bool) -> None:
    """Refuse leading dims that leave nothing, or would take the names of what comes out."""
    before = image.dims[:-3]
    empty = [str(dim) for dim in before if not image.sizes[dim]]
    if empty:
        raise GridError(f"the image has no values along {', '.join(empty)}; give at least one")
    taken = {"structure", "acronym", "name", "quantile", "quantiles", "covered", *statistics}
    taken |= {"hemisphere"} if by_hemisphere else set()
    along = [name for name, coord in image.coords.items() if {*coord.dims} <= {*before}]
    clash = sorted(taken.intersection(map(str, (*before, *along))))
    if clash:
        raise GridError(
            f"the image has a dim or coordinate called {', '.join(clash)}, as the table has; "
            "rename it"
        )


# ----- what is asked for


def _number(name: str, value: float | None) -> float | None:
    """Number, or None where NaN is given: that never counts."""
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise AnnotationError(f"{name}= is {value!r}; give a number, like -1") from error
    if isinstance(value, numbers.Integral) and abs(number) >= 2**53:
        # A float would stand for its neighbours too.
        return int(value)
    return None if math.isnan(number) else number


def _checked_ddof(ddof: float) -> float:
    try:
        number = float(ddof)
    except (TypeError, ValueError):
        number = -1.0
    if not 0 <= number < np.inf:
        raise AnnotationError(f"ddof is {ddof!r}; give 0, or 1 for the variance of a sample")
    return number


def _names(statistics: str | Sequence[str]) -> list[str]:
    names = [statistics] if isinstance(statistics, str) else list(statistics)
    unknown = [name for name in names if name not in ops.STATISTICS]
    if unknown:
        raise AnnotationError(
            f"there is no statistic {unknown[0]!r}; choose from {', '.join(ops.STATISTICS)}, or "
            "give quantiles=0.5 for the median"
        )
    return list(dict.fromkeys(names))


def _quantile_levels(quantiles: float | Sequence[float]) -> list[float]:
    try:
        levels = np.atleast_1d(np.asarray(quantiles, np.float64)).ravel().tolist()
    except (TypeError, ValueError):
        levels = [np.nan]
    if not all(0 <= level <= 1 for level in levels):
        raise AnnotationError(f"quantiles are {quantiles!r}; give shares from 0 to 1, like 0.5")
    return levels


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
