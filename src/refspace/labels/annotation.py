"""Annotation volumes as DataArrays: their dims, coordinates, attributes and dtype."""

from collections.abc import Mapping, Sequence
from typing import Any

import dask.array
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from refspace.blockwise.views import views
from refspace.errors import AnnotationError, GridError
from refspace.grid import Grid, Triple, direction_letter, parse_orientation, parse_spacing
from refspace.labels.plausible import warn_of_odd_resolution
from refspace.types import MAX_LABEL, ArrayLike, Resolution

# In memory, blocks are slabs along the slowest axis: views, large enough to drown dask's overhead.
_SLAB_BYTES = 16 * 2**20
# Directions of an array that does not state them: those of the Allen CCF.
_HOUSE_DIRECTION = {"ap": "posterior", "dv": "inferior", "ml": "right"}
_MICROMETRE = ("micrometer", "micrometre", "micron", "microns", "um", "\u00b5m", "\u03bcm")


def labelled(
    data: ArrayLike,
    grid: Grid,
    name: str = "annotation",
    attrs: Mapping[str, Any] | None = None,
    centres: Mapping[str, NDArray[np.float64]] | None = None,
) -> xr.DataArray:
    """Give an array the dims and coordinates of a grid.

    Parameters
    ----------
    data
        Array of the grid's shape, NumPy or dask.
    grid
        Where the voxels are.
    name
        Name of the result.
    attrs
        Attributes of the result; nothing else is carried over.
    centres
        Voxel centres along each dim, where they were given to the last digit: xarray aligns arrays
        by equal coordinates, and drops what lies at others without a word.

    Returns
    -------
    xarray.DataArray
        The array with float64 voxel centres in µm along each of its dims.

    Examples
    --------
    >>> labelled(np.zeros((2, 3, 4), "u4"), Grid((2, 3, 4), (25, 25, 25))).ap
    <xarray.DataArray 'ap' (ap: 2)> Size: 16B
    array([12.5, 37.5])
    Coordinates:
      * ap       (ap) float64 16B 12.5 37.5
    Attributes:
        long_name:  anterior, posterior
        units:      micrometer
        direction:  posterior
        spacing:    25.0
    """
    known = centres or {dim: grid.coordinates(dim) for dim in grid.dims}
    coords = {dim: (dim, known[dim], axis_attrs(grid, dim)) for dim in grid.dims}
    return xr.DataArray(data, dims=grid.dims, coords=coords, name=name, attrs=dict(attrs or {}))


def axis_attrs(grid: Grid, dim: str) -> dict[str, str | float]:
    """Attributes of a coordinate: what it means, its unit, its direction and its spacing.

    The direction is the one in which coordinates grow. Whether the index grows there too is seen
    from the coordinates, but of a single voxel: ``index_direction`` says so where it does not.
    """
    ends = {"ap": "anterior, posterior", "dv": "superior, inferior", "ml": "left, right"}
    attrs: dict[str, str | float] = {
        "long_name": ends[dim],
        "units": "micrometer",
        "direction": grid.frame_direction(dim),
        "spacing": grid.spacing[grid.axis(dim)],
    }
    return attrs | ({"index_direction": grid.direction(dim)} if grid.is_falling(dim) else {})


def infer_grid(array: xr.DataArray, resolution: Triple | None = None) -> Grid:
    """Grid of a volume with coordinates, as `labelled` gives them.

    Parameters
    ----------
    array
        The volume.
    resolution
        µm per voxel, for axes of a single voxel whose coordinates do not state it.

    Raises
    ------
    GridError
        If the array is not three-dimensional over ap, dv and ml, or its coordinates are not
        evenly spaced micrometres.

    Examples
    --------
    >>> grid = Grid((2, 3, 4), (25, 25, 25))
    >>> infer_grid(labelled(np.zeros(grid.shape, "u4"), grid)) == grid
    True
    """
    if array.ndim != 3:
        raise GridError(f"the array has shape {array.shape}; a volume has the axes ap, dv and ml")
    missing = [str(dim) for dim in array.dims if dim not in array.coords]
    if missing:
        raise GridError(f"{', '.join(missing)} has no coordinates; give a resolution")
    axes = {str(dim): array.coords[dim] for dim in array.dims}
    _check_units(axes)
    known = {} if resolution is None else dict(zip(axes, resolution, strict=True))
    directions = {d: axis.attrs.get("direction", _HOUSE_DIRECTION[d]) for d, axis in axes.items()}
    stored = {d: axis.attrs.get("index_direction", directions[d]) for d, axis in axes.items()}
    return Grid.from_coordinates(
        {dim: np.asarray(axis.values, np.float64) for dim, axis in axes.items()},
        "".join(direction_letter(dim, directions[dim]) for dim in axes),
        known
        | {dim: axis.attrs["spacing"] for dim, axis in axes.items() if "spacing" in axis.attrs},
        [dim for dim in axes if stored[dim] != directions[dim]],
    )


def as_annotation(
    annotation: ArrayLike,
    resolution: Resolution | None,
    *,
    orientation: str | None = None,
) -> xr.DataArray:
    """Make an annotation volume of an array: labelled, chunked, with unsigned structure ids.

    Parameters
    ----------
    annotation
        Three-dimensional NumPy array, dask array, or DataArray over ``ap``, ``dv`` and ``ml``.
    resolution
        µm per voxel; may be left out where the array has coordinates, and must agree with them.
    orientation
        Direction in which the index of each axis grows, for an array without coordinates;
        ``"PIR"``, that of the Allen CCF, if not given.

    Returns
    -------
    xarray.DataArray
        dask-backed, dtype uint8, uint16 or uint32. Arrays in memory are checked here; dask
        arrays of another dtype are checked as they are computed.

    Raises
    ------
    AnnotationError
        If the array has not three axes, or values that are not structure ids: negative,
        fractional, larger than 2**32 - 1, or float32 above 2**24 (where float32 skips integers).
    GridError
        If the geometry is missing or contradictory.

    Examples
    --------
    >>> as_annotation(np.zeros((4, 4, 4), "i8"), 25).dtype
    dtype('uint32')
    """
    if (
        isinstance(annotation, xr.DataArray)
        and annotation.chunks is None
        and not annotation.variable._in_memory
    ):
        # An array that xarray opened without dask would be read as a whole by a look at its data.
        annotation = annotation.chunk()
    data = annotation.data if isinstance(annotation, xr.DataArray) else annotation
    if not isinstance(data, np.ndarray | dask.array.Array):
        raise AnnotationError(
            f"annotation is a {type(annotation).__name__}; give a NumPy array, a dask array or a "
            "DataArray, and open files with refspace.open"
        )
    if is_masked(data):
        raise AnnotationError(
            "annotation is a masked array; fill what is masked, with 0 for outside: .filled(0)"
        )
    if data.ndim != 3 or 0 in data.shape:
        raise AnnotationError(
            f"annotation has shape {data.shape}; a volume has three axes with at least one voxel"
        )
    grid = _grid_for(annotation, resolution, orientation)
    attrs = {"long_name": "structure id"}
    centres = None
    if isinstance(annotation, xr.DataArray) and set(grid.dims) <= set(annotation.coords):
        centres = {dim: np.asarray(annotation[dim], np.float64) for dim in grid.dims}
    return labelled(_chunked(_labels(data)), grid, attrs=attrs, centres=centres)


def _check_units(axes: Mapping[str, xr.DataArray]) -> None:
    for dim, axis in axes.items():
        if dim not in _HOUSE_DIRECTION:
            raise GridError(
                f"the axes are {', '.join(axes)}; rename them to ap, dv and ml in the array's order"
            )
        units = axis.attrs.get("units", "micrometer")
        if units not in _MICROMETRE:
            raise GridError(f"{dim} coordinates are in {units!r}; convert them to micrometer")


def _grid_for(
    annotation: Any, resolution: float | Sequence[float] | None, orientation: str | None
) -> Grid:
    """Grid of the coordinates where there are any, else of what the caller says."""
    spacing = None if resolution is None else parse_spacing(resolution)
    if isinstance(annotation, xr.DataArray):
        _check_units({str(dim): annotation[dim] for dim in annotation.dims})
        stated = [str(dim) for dim in annotation.dims if dim in annotation.coords]
        if len(stated) == annotation.ndim:
            return _stated_grid(annotation, spacing, orientation)
        if stated:
            raise GridError(
                f"the annotation has coordinates along {', '.join(stated)} alone; give those of "
                "all axes, or drop them and give a resolution"
            )
        house = "".join(_HOUSE_DIRECTION[str(dim)][0].upper() for dim in annotation.dims)
    else:
        house = "PIR"
    if spacing is None:
        raise GridError("the annotation has no coordinates; give its resolution in µm, like 25")
    if annotation.size > 1:  # a single voxel is no brain, and may be of any size
        warn_of_odd_resolution(resolution)
    grid = Grid(annotation.shape, spacing, orientation=orientation or house)
    if isinstance(annotation, xr.DataArray) and grid.dims != annotation.dims:
        raise GridError(
            f"orientation {orientation!r} has the axes {', '.join(grid.dims)}; those of the "
            f"annotation are {', '.join(map(str, annotation.dims))}"
        )
    return grid


def _stated_grid(annotation: xr.DataArray, spacing: Triple | None, orientation: str | None) -> Grid:
    grid = infer_grid(annotation, spacing)
    if max(grid.spacing) < 1 and not any("units" in annotation[d].attrs for d in grid.dims):
        raise GridError(
            f"coordinates without units are {grid.spacing} apart, which looks like millimetres; "
            "convert them to µm, or give them the attribute units: micrometer"
        )
    if spacing is not None and not np.allclose(spacing, grid.spacing, rtol=1e-6):
        raise GridError(
            f"resolution {spacing} contradicts the coordinates of the annotation, which are "
            f"{grid.spacing} µm apart; leave the resolution out or correct the coordinates"
        )
    if orientation is not None and parse_orientation(orientation) != grid.orientation:
        raise GridError(
            f"orientation {orientation!r} contradicts the coordinates of the annotation, which "
            f"are {grid.orientation!r}; leave the orientation out or correct the coordinates"
        )
    return grid


def _labels(data: Any) -> Any:
    """Array with an unsigned dtype of at most 32 bits; the check is as lazy as the array."""
    if data.dtype.kind == "u" and data.dtype.itemsize <= 4:
        return data
    if data.dtype.kind not in "uif":
        raise AnnotationError(
            f"annotation has dtype {data.dtype}; structure ids are unsigned integers"
        )
    if isinstance(data, np.ndarray):
        return unsigned_labels(data)
    return data.map_blocks(unsigned_labels, dtype=np.uint32, meta=np.empty((0, 0, 0), np.uint32))


def unsigned_labels(block: NDArray[Any]) -> NDArray[np.uint32]:
    """Convert a block of numbers to uint32 structure ids, refusing what is not one.

    Raises
    ------
    AnnotationError
        Naming the first kind of value that is not a structure id.

    Examples
    --------
    >>> unsigned_labels(np.array([0.0, 997.0]))
    array([  0, 997], dtype=uint32)
    """
    if block.size and block.dtype.kind == "f":
        _check_floats(block)
    # Python numbers: float16 cannot be compared with the largest id.
    low, high = (block.min().item(), block.max().item()) if block.size else (0, 0)
    if low < 0:
        raise AnnotationError(
            f"annotation holds {low}; structure ids are not negative. If they were cast to "
            f"{block.dtype}, read the file as uint32; if negative ids mark a hemisphere, take "
            "their absolute value"
        )
    if high > MAX_LABEL:
        raise AnnotationError(f"annotation holds {high}; structure ids go up to {MAX_LABEL}")
    return block.astype(np.uint32)


def _check_floats(block: NDArray[Any]) -> None:
    if not np.isfinite(block).all():
        raise AnnotationError("annotation holds NaN or infinite values; give integer ids")
    fractions = block != np.trunc(block)
    if fractions.any():
        raise AnnotationError(
            f"annotation holds {block[fractions].flat[0]}; give integer structure ids, and "
            "resample annotations with nearest neighbours only"
        )
    exact = 2 ** (np.finfo(block.dtype).nmant + 1)
    if exact < MAX_LABEL and block.max() >= exact:
        raise AnnotationError(
            f"annotation is {block.dtype} and holds {block.max():.0f}; {block.dtype} skips "
            f"integers above {exact}, so ids there may be wrong: read the file as uint32"
        )


def is_masked(data: object) -> bool:
    """Whether an array, or what a dask array is made of, is a masked array."""
    return isinstance(data, np.ma.MaskedArray) or isinstance(
        getattr(data, "_meta", None), np.ma.MaskedArray
    )


def _chunked(data: Any) -> dask.array.Array:
    """Dask array of an array; one in memory is cut into slabs that are views of it."""
    if isinstance(data, dask.array.Array):
        return data
    slowest = int(np.argmax(np.abs(data.strides)))
    layers = max(1, _SLAB_BYTES * data.shape[slowest] // data.nbytes)
    cut = [layers if axis == slowest else -1 for axis in range(data.ndim)]
    return views(data, dask.array.core.normalize_chunks(cut, data.shape), "annotation")
