"""Layers of napari: the annotation with its colours and names, template, images and points.

They are plain tuples, as napari takes them of any program; napari itself is not imported.
"""

import itertools
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, TypeAlias

import dask.array
import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from refspace.errors import GridError
from refspace.grid import SAME, Grid
from refspace.labels import in_frame as in_frame_array
from refspace.labels import infer_grid
from refspace.labels import reorient as reorient_array
from refspace.ops.positions import (
    axis_names,
    is_table,
    positions_along_axes,
    with_axes_last,
)
from refspace.ops.relabel import relabel
from refspace.safe_text import escaped, without_secrets
from refspace.structure_tree import StructureTree
from refspace.types import AFFINE, BACKGROUND, ImageLike, PointsLike
from refspace.verbs.grids import reorient
from refspace.verbs.reading import read_image
from refspace.verbs.slices import MAGENTA
from refspace.verbs.space import Space

LayerData: TypeAlias = tuple[Any, dict[str, Any], str]
"""Data, keyword arguments and kind of a layer, as napari takes them."""

# Axes of the layers: slices across the first of them are coronal.
_DIMS = ("ap", "dv", "ml")
_UNIT = "um"
# Darkest and brightest share of a plane that is left out of its contrast.
_CONTRAST = (1.0, 99.8)
# Of labels that lie over something else.
_OPACITY = 0.6


def to_napari(
    space: Space,
    *,
    images: Mapping[str, ImageLike] | Sequence[ImageLike] = (),
    points: PointsLike | None = None,
) -> list[LayerData]:
    """Layers for napari, with positions in µm of the frame.

    Axes are ap, dv and ml, along the frame, in whatever order voxels are stored; the coordinates
    that napari shows are those of the annotation. Structures are numbered from 1, in pre-order, as
    napari without numba draws no larger numbers than 65535: the table of features leads from an
    ``index`` to the structure, and napari shows its acronym and name under the cursor.

    Parameters
    ----------
    images
        Images to show beside the template, by name or not: what `read_image` takes, on any grid.
    points
        Positions in µm, as for `structure_at`; other columns of a table become features.

    Returns
    -------
    list of tuple
        Data, keyword arguments and kind of each layer, the lowest first: ``template``, where there
        is one, the images, ``annotation``, ``points``. Volumes are lazy. Those that a store holds
        at several resolutions have them all; where one is no whole multiple of the finest, it is
        left out, and lengths that are none are filled up with 0 at the end. Voxels whose label
        the tree does not know are magenta. One plane of the template, of its coarsest level, is
        read to choose its contrast, and one of each image; no other voxel.

    Raises
    ------
    GridError
        If the points have another shape, or an image does not state its geometry.
    FormatError, StoreError, RemoteError, MissingDependencyError
        As for `read_image`.

    Examples
    --------
    >>> import refspace
    >>> (data, options, kind), = refspace.phantom(resolution=200).to_napari()
    >>> kind, data.shape, data.dtype, options["scale"], options["translate"]
    ('labels', (66, 40, 57), dtype('uint16'), (200.0, 200.0, 200.0), (100.0, 100.0, 100.0))
    >>> options["features"].loc[1].to_dict()
    {'index': 1, 'acronym': 'root', 'name': 'root', 'id': 997, 'parent': None}

    In napari:

    >>> import napari  # doctest: +SKIP
    >>> viewer = napari.Viewer()  # doctest: +SKIP
    >>> for layer in space.to_napari():  # doctest: +SKIP
    ...     viewer.add_layer(napari.layers.Layer.create(*layer))
    """
    levels = [reorient(level, _display_orientation(space.grid)) for level in space.levels]
    layers = []
    if space.template is not None:
        templates = [level.template for level in levels if level.template is not None]
        layers.append(_template_layer(templates, space.grid.frame))
    layers += [_image_layer(space, name, image) for name, image in _named(images)]
    layers.append(_labels_layer(space, levels, _OPACITY if layers else 1.0))
    return layers if points is None else [*layers, _points_layer(space, points)]


def _display_orientation(grid: Grid) -> str:
    """Orientation of the axes of the layers, along the frame."""
    letters = dict(zip(grid.dims, grid.orientation_along_frame, strict=True))
    return "".join(letters[dim] for dim in _DIMS)


# ----- labels


def _labels_layer(space: Space, levels: Sequence[Space], opacity: float) -> LayerData:
    tree = space.structure_tree
    ids = tree.node_ids()
    roots = [i for i, parent in zip(ids, tree.parent_ids(ids), strict=True) if parent is None]
    subtrees = itertools.chain.from_iterable(tree.descendant_ids(roots))
    index_of_id = {i: index for index, i in enumerate(subtrees, 1)}
    unknown = len(index_of_id) + 1
    colors = {index_of_id[i]: rgb for i, rgb in tree.get_colormap().items()}
    arrays = [_indices(level, index_of_id, unknown) for level in levels]
    options = {
        "features": structure_features(tree, index_of_id, unknown),
        "colormap": _colormap({**colors, unknown: MAGENTA}),
        "opacity": opacity,
    }
    return _volume_layer("annotation", arrays, space.grid.frame, options, "labels")


def _indices(level: Space, index_of_id: Mapping[int, int], unknown: int) -> xr.DataArray:
    """Annotation of which each voxel holds the number of its structure; lazy."""
    return relabel(
        level.annotation,
        {**index_of_id, BACKGROUND: 0},
        unknown,
        dtype=np.min_scalar_type(unknown),
        name="annotation",
        attrs={},
        block_labels=level.block_labels,
    )


def structure_features(
    tree: StructureTree, index_of_id: Mapping[int, int], unknown: int
) -> pd.DataFrame:
    """Table of structures: a row for each number that voxels may hold.

    Parameters
    ----------
    tree
        The structures.
    index_of_id
        Number of each structure.
    unknown
        Number of voxels whose label the tree does not know.

    Examples
    --------
    >>> tree = StructureTree([{"id": 8, "acronym": "grey", "name": "Grey"}])
    >>> structure_features(tree, {8: 1}, 2)["acronym"].tolist()
    [None, 'grey', None]
    """
    records = dict(zip(index_of_id, tree.nodes([*index_of_id]), strict=True))
    names = {i: _text(record.get("acronym")) for i, record in records.items()}
    parents = dict(zip(index_of_id, tree.parent_ids([*index_of_id]), strict=True))
    structures = [
        (index, names[i], _text(records[i].get("name")), i, _parent(parents[i], names))
        for i, index in index_of_id.items()
    ]
    outside = (0, None, "outside", None, None)
    other = (unknown, None, "of a label that is no structure", None, None)
    columns = zip(*(outside, *structures, other), strict=True)
    named = dict(zip(("index", "acronym", "name", "id", "parent"), columns, strict=True))
    # Of objects, so that ids stay integers beside None, which napari does not show.
    return pd.DataFrame({"index": named.pop("index"), **_objects(named)})


def _objects(columns: Mapping[str, Sequence[Any]]) -> dict[str, pd.Series]:
    return {name: pd.Series(values, dtype=object) for name, values in columns.items()}


def _parent(parent: int | None, names: Mapping[int, str | None]) -> str | None:
    return None if parent is None else names[parent] or str(parent)


def _text(value: object) -> str | None:
    return None if value is None else escaped(str(value))


def _colormap(colors: Mapping[int, Sequence[int]]) -> dict[int | None, NDArray[np.float64]]:
    """Colours as napari takes them of a Labels layer; of other numbers, and of 0, transparent."""
    opaque: dict[int | None, NDArray[np.float64]] = {
        index: np.array([*rgb, 255]) / 255 for index, rgb in colors.items()
    }
    return {None: np.zeros(4), BACKGROUND: np.zeros(4), **opaque}


# ----- intensities


def _template_layer(levels: Sequence[xr.DataArray], frame: str) -> LayerData:
    return _volume_layer("template", levels, frame, _intensities(levels[-1]), "image")


def _image_layer(space: Space, name: str | None, image: ImageLike) -> LayerData:
    opened = read_image(image)
    name = name or _image_name(image, opened)
    if AFFINE in opened.attrs:
        return _oblique_layer(space.grid, name, opened)
    own = in_frame_array(_first_volume(opened), space.grid.frame)
    orientation = _display_orientation(infer_grid(own))
    placed = _each_volume(opened, lambda one: _turned(one, space.grid.frame, orientation))
    return _volume_layer(name, [placed], space.grid.frame, _intensities(placed), "image")


def _turned(volume: xr.DataArray, frame: str, orientation: str) -> xr.DataArray:
    return reorient_array(in_frame_array(volume, frame), orientation)


def _oblique_layer(grid: Grid, name: str, image: xr.DataArray) -> LayerData:
    """Image whose axes are not those of space: an affine leads to the frame."""
    to_ras = dict(zip(("ml", "ap", "dv"), np.asarray(image.attrs[AFFINE], float), strict=True))
    positive = ("right", "anterior", "superior")
    before = image.ndim - 3
    affine = np.eye(image.ndim + 1)
    for row, dim in enumerate(_DIMS, before):
        sign = 1.0 if grid.frame_direction(dim) in positive else -1.0
        affine[row, before:] = sign * to_ras[dim]
    options = {"name": name, "affine": affine, **_axes(image.dims[:-3], grid.frame)}
    return image.data, options | _intensities(image), "image"


def _first_volume(image: xr.DataArray) -> xr.DataArray:
    return image.isel(dict.fromkeys(image.dims[:-3], 0))


def _each_volume(
    image: xr.DataArray, change: Callable[[xr.DataArray], xr.DataArray]
) -> xr.DataArray:
    """Image of which each volume is changed, along its axes before those of space."""
    if image.ndim == 3:
        return change(image)
    dim = image.dims[0]
    volumes = [_each_volume(image.isel({dim: n}), change) for n in range(image.sizes[dim])]
    return xr.concat(volumes, dim, coords="minimal", compat="override", join="override")


def _intensities(image: xr.DataArray) -> dict[str, Any]:
    return {"colormap": "gray", "contrast_limits": contrast_limits(image)}


def contrast_limits(image: xr.DataArray) -> tuple[float, float]:
    """Intensities to show as black and white: all but the extremes of one plane, which is read.

    Parameters
    ----------
    image
        Intensities, whose last three axes are those of space; of others, the first is taken.

    Examples
    --------
    >>> contrast_limits(xr.DataArray(np.arange(4000).reshape(4, 10, 100)))
    (2009.99, 2997.002)
    >>> contrast_limits(xr.DataArray(np.full((1, 2, 2), np.nan)))
    (0.0, 1.0)
    """
    volume = _first_volume(image)
    plane = np.asarray(volume[volume.shape[0] // 2].values)
    if np.iscomplexobj(plane):
        raise GridError(f"the image has dtype {plane.dtype}; give its absolute values")
    values = plane[np.isfinite(plane)].astype(np.float64)
    if not values.size:
        return 0.0, 1.0
    low, high = np.percentile(values, _CONTRAST).tolist()
    return (low, high) if low < high else (low, low + 1.0)


def _named(
    images: Mapping[str, ImageLike] | Sequence[ImageLike],
) -> list[tuple[str | None, ImageLike]]:
    if isinstance(images, Mapping):
        return [(str(name), image) for name, image in images.items()]
    if isinstance(images, str | os.PathLike | np.ndarray | dask.array.Array | xr.DataArray):
        return [(None, images)]
    return [(None, image) for image in images]


def _image_name(image: ImageLike, opened: xr.DataArray) -> str:
    if isinstance(image, str | os.PathLike):
        return escaped(PurePosixPath(without_secrets(os.fspath(image))).name)
    return "image" if opened.name is None else escaped(str(opened.name))


# ----- points


def _points_layer(space: Space, points: PointsLike) -> LayerData:
    dims = space.grid.frame_dims
    features = None
    if not is_table(points):
        points = with_axes_last(points, dims)
    elif isinstance(points, pd.DataFrame):
        features = points.drop(columns=axis_names(list(points.columns), dims), errors="ignore")
    axes = positions_along_axes(points, dims)
    if isinstance(axes, dask.array.Array):
        axes = np.moveaxis(axes.compute(), -1, 0)
    by_dim = dict(zip(dims, axes, strict=True))
    data = np.stack([np.asarray(by_dim[dim], np.float64).ravel() for dim in _DIMS], axis=1)
    is_known = np.isfinite(data).all(axis=1)
    options = {
        "name": "points",
        # Of a voxel, so that each is seen in the planes beside its own.
        "size": 2 * max(space.resolution),
        "out_of_slice_display": True,
        **_axes((), space.grid.frame),
    }
    if features is not None and len(features.columns):
        options["features"] = features[is_known].reset_index(drop=True)
    return data[is_known], options, "points"


# ----- what all layers have


def _axes(before: Sequence[Any], frame: str) -> dict[str, Any]:
    """Names and units of axes, those before the axes of space first, and the frame."""
    return {
        "axis_labels": (*map(str, before), *_DIMS),
        "units": (*("pixel" for _ in before), *(_UNIT for _ in _DIMS)),
        "metadata": {"frame": frame},
    }


def _volume_layer(
    name: str, levels: Sequence[xr.DataArray], frame: str, options: dict[str, Any], kind: str
) -> LayerData:
    """Layer of a volume at several resolutions, the finest first, along the frame."""
    before = levels[0].ndim - 3
    grids = [infer_grid(_first_volume(level)) for level in levels]
    whole = [n for n, grid in enumerate(grids) if _ratios(grid, grids[0]) is not None]
    arrays = _filled([levels[n].data for n in whole], [grids[n] for n in whole])
    first = grids[0]
    corner = (float(first.coordinates(dim)[0]) for dim in _DIMS)
    place = {
        "name": name,
        "scale": (*(1.0 for _ in range(before)), *first.spacing),
        "translate": (*(0.0 for _ in range(before)), *corner),
        "multiscale": len(arrays) > 1,
    }
    data = arrays if len(arrays) > 1 else arrays[0]
    return data, place | _axes(levels[0].dims[:-3], frame) | options, kind


def _ratios(grid: Grid, finest: Grid) -> tuple[int, ...] | None:
    """Voxels of the finest level to one of another; None where these are no whole ones."""
    exact = [a / b for a, b in zip(grid.spacing, finest.spacing, strict=True)]
    ratios = tuple(map(round, exact))
    off = [
        abs(a - b) / s for a, b, s in zip(grid.origin, finest.origin, finest.spacing, strict=True)
    ]
    fits = min(ratios) > 0 and all(
        abs(a - b) <= SAME and n <= -(-count // b)
        for a, b, n, count in zip(exact, ratios, grid.shape, finest.shape, strict=True)
    )
    return ratios if fits and max(off) <= SAME else None


def _filled(arrays: Sequence[dask.array.Array], grids: Sequence[Grid]) -> list[dask.array.Array]:
    """Levels whose lengths have the very ratios of their voxels, by which napari scales them."""
    ratios = [_ratios(grid, grids[0]) or (1, 1, 1) for grid in grids]
    shape = [
        math.lcm(*steps) * -(-count // math.lcm(*steps))
        for count, steps in zip(grids[0].shape, zip(*ratios, strict=True), strict=True)
    ]
    return [
        _extended(array, [n // step for n, step in zip(shape, steps, strict=True)])
        for array, steps in zip(arrays, ratios, strict=True)
    ]


def _extended(array: dask.array.Array, shape: Sequence[int]) -> dask.array.Array:
    """An array with zeros behind it along its last axes, up to a shape."""
    filled = array
    # Joined and not padded: arrays that are expressions cannot be padded.
    for axis, count in enumerate(shape, array.ndim - len(shape)):
        if width := count - array.shape[axis]:
            lengths = (*filled.shape[:axis], width, *filled.shape[axis + 1 :])
            zeros = dask.array.zeros(lengths, dtype=array.dtype)
            filled = dask.array.concatenate([filled, zeros], axis)
    return filled
