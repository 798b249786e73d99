"""Images aligned with annotations: each voxel of an image with the label at its centre."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import dask.array
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from refspace.blockwise.views import views
from refspace.errors import AnnotationError, GridError
from refspace.grid import Grid
from refspace.label_index import BlockLabels
from refspace.labels import in_frame, infer_grid, is_masked, reorient
from refspace.labels.resampling import take
from refspace.ops.coverage import ImageExtent
from refspace.ops.oblique import ObliqueGrid
from refspace.ops.placement import corner_text, first_corner_offsets, half_voxel_shift, snapped
from refspace.types import AFFINE, ArrayLike, ImageOrigin

_KINDS = "buif"
Place: TypeAlias = Grid | ObliqueGrid
"""Where the voxels of an image are."""


@dataclass(frozen=True)
class Aligned:
    """An image and the labels of its voxels.

    Parameters
    ----------
    image
        Over its leading dims, then the axes of the labels; dask-backed.
    labels
        Annotation on the grid of the image, where both are; dask-backed.
    box
        The part of the annotation that the labels are; None if they are resampled.
    place
        Where these voxels are, in the frame of the annotation.
    """

    image: xr.DataArray
    labels: xr.DataArray
    box: tuple[slice, ...] | None
    place: Place

    def is_beside(self, other: "Aligned") -> bool:
        """Whether the voxels of another image are at the same positions."""
        if isinstance(self.place, Grid):
            return isinstance(other.place, Grid) and self.place.matches(other.place)
        return self.place.matches(other.place)


def as_image(image: ArrayLike, annotation: xr.DataArray, name: str = "image") -> xr.DataArray:
    """Make a DataArray with coordinates of an image.

    Parameters
    ----------
    image
        Array of the annotation's shape, which other axes may come before; or a DataArray over its
        dims and others, with or without coordinates; or a DataArray whose last three axes are
        oblique, with the attribute `AFFINE`.
    annotation
        Volume with coordinates, on whose grid an image without them is.
    name
        What the image is called in errors.

    Returns
    -------
    xarray.DataArray
        The axes of space are its last ones.

    Raises
    ------
    GridError
        If its axes or its shape do not fit.
    AnnotationError
        If it does not hold real numbers.

    Examples
    --------
    >>> from refspace.labels import labelled
    >>> annotation = labelled(np.zeros((1, 1, 2), "u4"), Grid((1, 1, 2), (10, 10, 10)))
    >>> as_image(np.zeros((3, 1, 1, 2)), annotation).dims
    ('dim_0', 'ap', 'dv', 'ml')
    """
    if not isinstance(image, np.ndarray | dask.array.Array | xr.DataArray):
        raise GridError(f"the {name} is a {type(image).__name__}; give an array or a DataArray")
    if is_masked(image.data if isinstance(image, xr.DataArray) and image.chunks else image):
        raise AnnotationError(
            f"the {name} is a masked array; fill what is masked, with NaN for what is no value: "
            ".astype(float).filled(numpy.nan)"
        )
    if image.dtype.kind not in _KINDS:
        hint = ", as the magnitude (numpy.abs) of complex ones" if image.dtype.kind == "c" else ""
        raise AnnotationError(f"the {name} has dtype {image.dtype}; give real numbers{hint}")
    if image.dtype.kind == "f" and image.dtype.itemsize > 8:
        raise AnnotationError(
            f"the {name} has dtype {image.dtype}, and all that is made of images is of double "
            "precision at most; give .astype('float64')"
        )
    dims = annotation.dims
    if isinstance(image, xr.DataArray):
        if is_oblique(image):
            return image
        ordered = _transposed(image, dims, name)
        if set(dims) <= set(ordered.coords):
            return ordered
        image = image.transpose(..., *dims)
    if image.ndim < len(dims) or image.shape[-len(dims) :] != annotation.shape:
        raise GridError(
            f"the {name} has shape {image.shape}; the annotation {annotation.shape}: give one of "
            "that shape, other axes first, or a DataArray with coordinates in µm"
        )
    if not isinstance(image, xr.DataArray):
        before = [f"dim_{n}" for n in range(image.ndim - len(dims))]
        image = xr.DataArray(image, dims=(*before, *dims))
    on_grid: xr.DataArray = image.assign_coords({dim: annotation[dim] for dim in dims})
    return on_grid


def is_oblique(image: xr.DataArray) -> bool:
    """Whether an image is placed by its affine: it has no coordinates along axes of the brain."""
    return AFFINE in image.attrs and image.ndim >= 3 and not {"ap", "dv", "ml"} & {*image.dims}


def _transposed(image: xr.DataArray, dims: Sequence[Hashable], name: str) -> xr.DataArray:
    """Image with the axes of space last, checked."""
    if not set(dims) <= set(image.dims):
        raise GridError(
            f"the {name} has dims {', '.join(map(str, image.dims))}; rename its axes to "
            f"{', '.join(map(str, dims))}, which may come after others"
        )
    stated = [str(dim) for dim in dims if dim in image.coords]
    if stated and len(stated) < len(dims):
        raise GridError(
            f"the {name} has coordinates along {', '.join(stated)} alone; give those of all axes, "
            "or drop them where it is on the grid of the annotation"
        )
    own = [dim for dim in image.dims if dim in dims]
    return image.transpose(..., *own)


def align(
    annotation: xr.DataArray,
    image: xr.DataArray,
    name: str = "image",
    block_labels: BlockLabels | None = None,
) -> Aligned:
    """Give each voxel of an image the label at its centre.

    Parameters
    ----------
    annotation
        Labels with coordinates, dask-backed.
    image
        Image, as `as_image` gives it, on the grid of the annotation or a part of it, or on a
        coarser or finer one, in any orientation. Voxels outside the annotation are left out. Its
        voxels count as on the annotation's grid up to a thousandth of one.
    name
        What the image is called in errors.
    block_labels
        Labels of each block of the annotation, where they are known.

    Raises
    ------
    GridError
        If no voxel of the image is within the annotation.

    Examples
    --------
    >>> from refspace.labels import labelled
    >>> data = dask.array.from_array(np.array([[[5, 7]]], "u4"))
    >>> annotation = labelled(data, Grid((1, 1, 2), (10, 10, 10)))
    >>> finer = labelled(np.array([[[1.0, 2, 3, 4]]]), Grid((1, 1, 4), (10, 10, 5)))
    >>> align(annotation, finer).labels.values
    array([[[5, 5, 7, 7]]], dtype=uint32)
    """
    grid = infer_grid(annotation)
    if is_oblique(image):
        return _align_oblique(annotation, image, name, block_labels)
    image, own = _reoriented(image, grid)
    inside, index = zip(*(_overlap(grid, own, dim, name) for dim in grid.dims), strict=True)
    image = image.isel(dict(zip(grid.dims, inside, strict=True)))
    place = own.crop([cut.start for cut in inside], [cut.stop for cut in inside])
    box = tuple(slice(int(i[0]), int(i[-1]) + 1) for i in index)
    labels = annotation.isel(dict(zip(grid.dims, box, strict=True)))
    if all((np.diff(i) == 1).all() for i in index):
        return Aligned(_chunked_alike(image, labels), labels, box, place)
    data = take(labels.data, [i - i[0] for i in index])
    coords = {dim: image[dim] for dim in grid.dims}
    labels = xr.DataArray(data, coords, grid.dims, annotation.name)
    return Aligned(_chunked_alike(image, labels), labels, None, place)


def _align_oblique(
    annotation: xr.DataArray, image: xr.DataArray, name: str, block_labels: BlockLabels | None
) -> Aligned:
    """Give each voxel of an oblique image the label at its centre; 0 outside of the annotation."""
    grid = infer_grid(annotation)
    whole = ObliqueGrid.from_image(image, grid)
    box = whole.box_within(grid, name)
    place, dims = whole.crop(box), image.dims[-3:]
    image = image.isel(dict(zip(dims, box, strict=True)))
    chunks = image.chunks[-3:] if image.chunks is not None else [(n,) for n in place.shape]
    data = place.labels(annotation, grid, chunks, block_labels)
    labels = xr.DataArray(data, dims=dims, name=annotation.name)
    return Aligned(_chunked_alike(image, labels), labels, None, place)


def image_extent(annotation: xr.DataArray, image: xr.DataArray) -> ImageExtent:
    """Where an image lies on the grid of an annotation, with what of it is outside.

    Parameters
    ----------
    annotation, image
        As for `align`.

    Raises
    ------
    GridError
        As for `align`.
    """
    grid = infer_grid(annotation)
    if is_oblique(image):
        return ObliqueGrid.from_image(image, grid).extent(grid)
    _, own = _reoriented(image, grid)
    index = [_overlap(grid, own, dim, "image")[1] for dim in grid.dims]
    return ImageExtent.from_grids(grid, own, index)


def settle_origin(
    annotation: xr.DataArray, image: xr.DataArray, origin: ImageOrigin | None
) -> tuple[xr.DataArray, str]:
    """Image where its origin is meant, and what is to be told of it: nothing if all is clear.

    Parameters
    ----------
    annotation, image
        As for `align`.
    origin
        What the position is that the image states as the centre of its first voxel: its centre, or
        its corner. Then an image half a voxel off is moved onto the corner of the annotation, and
        one that is there already stays. If not given, it counts as stated.

    Raises
    ------
    GridError
        If there is no such origin.

    Examples
    --------
    >>> from refspace.labels import labelled
    >>> volume = labelled(np.zeros((2, 2, 2)), Grid((2, 2, 2), (10, 10, 10)))
    >>> image = labelled(np.zeros((2, 2, 2)), Grid((2, 2, 2), (10, 10, 10), (-5, -5, -5)))
    >>> settle_origin(volume, image, "corner")[0].ap.values
    array([ 5., 15.])
    """
    if origin not in (None, "center", "corner"):
        raise GridError(f"image_origin is {origin!r}; give 'center' or 'corner'")
    if origin == "center":
        return image, ""
    grid = infer_grid(annotation)
    if is_oblique(image):
        ObliqueGrid.from_image(image, grid)
        return image if origin is None else _with_corner_at_centre(image), ""
    turned, own = _reoriented(image, grid)
    shift = half_voxel_shift(own, grid)
    if origin is None:
        return image, "" if shift is None else _half_voxel_note(own, grid)
    if shift is None:
        if all(abs(n) < 0.25 for n in first_corner_offsets(own, grid)):
            return image, ""
        first = _without_leading(image)
        falling = infer_grid(first).in_frame(grid.frame).is_falling
        shift = tuple(
            -step / 2 if falling(dim) else step / 2
            for dim, step in zip(grid.dims, own.spacing, strict=True)
        )
    moved = {
        dim: (dim, turned[dim].values + by, turned[dim].attrs)
        for dim, by in zip(grid.dims, shift, strict=True)
    }
    return turned.assign_coords(moved), ""


def _with_corner_at_centre(image: xr.DataArray) -> xr.DataArray:
    """Oblique image moved by half a voxel along each of its axes."""
    rows = np.array(image.attrs[AFFINE], np.float64)
    rows[:, 3] += rows[:, :3].sum(axis=1) / 2
    return image.assign_attrs({AFFINE: tuple(map(tuple, rows.tolist()))})


def _half_voxel_note(own: Grid, grid: Grid) -> str:
    return (
        "the image's corner is half a voxel off the annotation's: it is at "
        f"{corner_text(own, grid.dims)}, that of the annotation at {corner_text(grid, grid.dims)}, "
        "as if the position of the first voxel were that of its centre in one file and of its "
        "corner in the other. The image counts as it says; image_origin='corner' moves it onto the "
        "annotation, image_origin='center' is for one that is right"
    )


def _without_leading(image: xr.DataArray) -> xr.DataArray:
    """First volume of an image of several."""
    return image.isel(dict.fromkeys(image.dims[:-3], 0), drop=True)


def _reoriented(image: xr.DataArray, grid: Grid) -> tuple[xr.DataArray, Grid]:
    """Image with the axes, directions and frame of a grid, and where it lies."""
    first = _without_leading(image)
    own = infer_grid(first)
    if (own.orientation, own.frame) == (grid.orientation, grid.frame):
        return image, snapped(own, grid)
    turned = reorient(in_frame(first, grid.frame), grid.orientation)
    flipped = zip(grid.dims, own.reorientation_to(grid.orientation).flipped, strict=True)
    flips = {dim: slice(None, None, -1) for dim, flip in flipped if flip}
    coords = {dim: turned[dim] for dim in grid.dims}
    image = image.transpose(..., *grid.dims).isel(flips).assign_coords(coords)
    return image, snapped(infer_grid(turned), grid)


def _overlap(grid: Grid, own: Grid, dim: str, name: str) -> tuple[slice, NDArray[np.intp]]:
    """Voxels of an image within the annotation along an axis, and the voxels that hold them."""
    index = grid.voxels(dim, own.coordinates(dim))
    inside = np.flatnonzero(~np.isnan(index))
    if not inside.size:
        (low, high), (lowest, highest) = own.edges(dim), grid.edges(dim)
        raise GridError(
            f"the {name} lies elsewhere: its {dim} runs from {low:g} to {high:g} µm, that of the "
            f"annotation from {lowest:g} to {highest:g}; give its coordinates in the same space, "
            "or the bare array where it is on the same grid"
        )
    return slice(int(inside[0]), int(inside[-1]) + 1), index[inside].astype(np.intp)


def _chunked_alike(image: xr.DataArray, labels: xr.DataArray) -> xr.DataArray:
    """Image as a dask array; one that has no chunks gets those of the labels."""
    if image.chunks is not None:
        return image
    if image.variable._in_memory:
        before = [(n,) for n in image.shape[:-3]]
        return image.copy(data=views(image.values, (*before, *labels.data.chunks), "image"))
    sizes = dict(zip(labels.dims, labels.data.chunks, strict=True))
    return image.chunk({dim: sizes.get(dim, 1) for dim in image.dims})
