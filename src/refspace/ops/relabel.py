"""Labels replaced by values: masks, coverage of a domain, narrower integers, colours."""

from collections.abc import Mapping, Sequence
from typing import Any

import dask.array
import numpy as np
import numpy.typing as npt
import xarray as xr
from numpy.typing import NDArray

from refspace import kernels
from refspace.blockwise.in_place import in_place
from refspace.blockwise.relabel import relabel_blocks, values_of_labels
from refspace.errors import GridError
from refspace.label_index import BlockLabels
from refspace.labels import infer_grid, turn_onto
from refspace.structure_tree import StructureTree
from refspace.types import ArrayLike

Color = str | Sequence[float]


def relabel(
    annotation: xr.DataArray,
    values: Mapping[int, float],
    default: float,
    *,
    dtype: npt.DTypeLike,
    name: str,
    attrs: Mapping[str, Any],
    block_labels: BlockLabels | None = None,
) -> xr.DataArray:
    """Replace every label by a value.

    Parameters
    ----------
    annotation
        Labels, dask-backed, with any dims.
    values
        Value of each label that has one.
    default
        Value of every other label.
    dtype
        Type of the result.
    name, attrs
        Name and attributes of the result; those of the annotation are not carried over.
    block_labels
        Labels of each block of the annotation, where they are known; blocks that become one value
        are then not read.

    Returns
    -------
    xarray.DataArray
        Lazy, with the dims, coordinates and chunks of the annotation.

    Examples
    --------
    >>> volume = xr.DataArray(dask.array.from_array(np.array([0, 8, 9], "u4")), dims="ml")
    >>> relabel(volume, {8: 1.5}, np.nan, dtype="f4", name="depth", attrs={}).values
    array([nan, 1.5, nan], dtype=float32)
    """
    table = _table(annotation, values, np.asarray(default, dtype))
    data = _spread(annotation.data, table, block_labels)
    return xr.DataArray(data, annotation.coords, annotation.dims, name, attrs)


def mask(
    annotation: xr.DataArray, structure_ids: Sequence[int], block_labels: BlockLabels | None = None
) -> xr.DataArray:
    """Mask of the voxels that hold one of some ids: bool, True inside.

    Examples
    --------
    >>> volume = xr.DataArray(dask.array.from_array(np.array([0, 8, 9], "u4")), dims="ml")
    >>> mask(volume, [8, 997]).values
    array([False,  True, False])
    """
    inside = dict.fromkeys(structure_ids, True)
    attrs = {"long_name": "inside the structures"}
    # Of bool, xarray's weighted mean sums exactly; uint8 weights it sums in uint8, which wraps.
    return relabel(
        annotation, inside, 0, dtype=bool, name="mask", attrs=attrs, block_labels=block_labels
    )


def coverage(covered: xr.DataArray, domain: ArrayLike) -> xr.DataArray:
    """Compare a mask with the domain that it should cover.

    Parameters
    ----------
    covered
        Mask, as `mask` gives it.
    domain
        Array of the same shape, not 0 where voxels should be covered. One with coordinates must
        be on the same grid.

    Returns
    -------
    xarray.DataArray
        int8: 1 where a voxel of the domain is missing, -1 where one is covered in excess, else 0.

    Raises
    ------
    GridError
        If the domain has another shape, or another grid.

    Examples
    --------
    >>> covered = xr.DataArray(dask.array.from_array(np.array([False, True, True])), dims="ml")
    >>> coverage(covered, np.array([1, 1, 0])).values
    array([ 1,  0, -1], dtype=int8)
    """
    if isinstance(domain, xr.DataArray):
        domain = _on_same_grid(domain, covered).data
    if np.shape(domain) != covered.shape:
        raise GridError(f"domain has shape {np.shape(domain)}; the annotation has {covered.shape}")
    inside = dask.array.asarray(domain).rechunk(covered.chunks) != 0
    data = inside.astype(np.int8) - covered.data.astype(np.int8)
    attrs = {"long_name": "coverage of the domain", "flag_values": [-1, 0, 1]}
    attrs["flag_meanings"] = "excess covered_or_outside missing"
    return xr.DataArray(data, covered.coords, covered.dims, "coverage", attrs)


def narrow(
    annotation: xr.DataArray,
    dtype: npt.DTypeLike,
    *,
    attrs: Mapping[str, Any],
    block_labels: BlockLabels | None = None,
) -> xr.DataArray:
    """Labels in another integer type; those that it cannot hold become 0 instead of wrapping.

    Examples
    --------
    >>> volume = xr.DataArray(dask.array.from_array(np.array([8, 65544], "u4")), dims="ml")
    >>> narrow(volume, np.uint16, attrs={}).values
    array([8, 0], dtype=uint16)
    """
    largest = np.iinfo(np.dtype(dtype)).max
    data = annotation.data
    if block_labels is not None:
        labels = block_labels.labels
        values = np.where(labels <= largest, labels, 0).astype(dtype)
        data = relabel_blocks(data, block_labels, values)
    elif np.iinfo(data.dtype).max > largest:
        meta = np.empty((0,) * data.ndim, data.dtype)
        data = data.map_blocks(_drop_larger, largest, meta=meta)
    return xr.DataArray(data.astype(dtype), annotation.coords, annotation.dims, "label", attrs)


def colors(
    annotation: xr.DataArray,
    colormap: Mapping[int, Color],
    unknown: Color,
    block_labels: BlockLabels | None = None,
) -> xr.DataArray:
    """Picture of labels: their colours along a last dim ``rgb``, uint8.

    Parameters
    ----------
    annotation
        Labels, dask-backed, with any dims.
    colormap
        Red, green and blue of each label, 0 to 255, or six hexadecimal digits.
    unknown
        Colour of labels that have none.
    block_labels
        Labels of each block, as for `relabel`.

    Raises
    ------
    OntologyError
        If a colour is neither three numbers nor six hexadecimal digits.

    Examples
    --------
    >>> volume = xr.DataArray(dask.array.from_array(np.array([0, 8, 9], "u4")), dims="ml")
    >>> colors(volume, {0: (0, 0, 0), 8: (1, 2, 3)}, (255, 0, 255)).values.tolist()
    [[0, 0, 0], [1, 2, 3], [255, 0, 255]]
    """
    rows = {label: StructureTree.hex_to_rgb(color) for label, color in colormap.items()}
    default = np.array(StructureTree.hex_to_rgb(unknown), np.uint8)
    data = _spread(annotation.data, _table(annotation, rows, default), block_labels)
    coords = {**annotation.coords, "rgb": ["red", "green", "blue"]}
    return xr.DataArray(data, coords, (*annotation.dims, "rgb"), "image")


def _drop_larger(block: NDArray[Any], largest: int) -> NDArray[Any]:
    """Block in which larger labels than one are 0."""
    # `dask.array.where` does not exist where arrays are expressions.
    return np.where(block <= largest, block, block.dtype.type(0))


def _table(
    annotation: xr.DataArray, values: Mapping[int, Any], default: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Labels, their values and the default, as the kernel takes them.

    Labels that the annotation's dtype cannot hold occur nowhere in it and are left out.
    """
    largest = np.iinfo(annotation.dtype).max
    ids = sorted(label for label in values if label <= largest)
    rows = np.array([values[label] for label in ids], default.dtype)
    return np.array(ids, annotation.dtype), rows.reshape(len(ids), *default.shape), default


def _spread(
    data: dask.array.Array,
    table: tuple[NDArray[Any], NDArray[Any], NDArray[Any]],
    block_labels: BlockLabels | None,
) -> dask.array.Array:
    """Values of every voxel, from a table as the kernel takes it."""
    if block_labels is not None:
        return relabel_blocks(data, block_labels, values_of_labels(block_labels, *table))
    row = table[2].shape
    result: dask.array.Array = data.map_blocks(
        kernels.relabel,
        *table,
        chunks=(*data.chunks, *((count,) for count in row)),
        new_axis=[data.ndim + axis for axis in range(len(row))],
        # An empty block tells dask the type of the result without a trial run.
        meta=np.empty((0,) * (data.ndim + len(row)), table[2].dtype),
    )
    return in_place(result, data)


def _on_same_grid(domain: xr.DataArray, covered: xr.DataArray) -> xr.DataArray:
    """Domain in the order of the mask; one that lies elsewhere is refused."""
    if set(domain.dims) <= set(domain.coords):
        grid = infer_grid(covered)
        turned = turn_onto(domain, grid)
        if turned.shape == covered.shape and not infer_grid(turned).matches(grid):
            own = infer_grid(domain)
            raise GridError(f"domain lies on {own}; the annotation on {grid}: resample one")
        return turned
    if domain.dims != covered.dims and set(domain.dims) == set(covered.dims):
        raise GridError(f"domain has dims {domain.dims}; the annotation {covered.dims}: transpose")
    return domain
