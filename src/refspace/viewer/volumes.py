"""What the viewer shows of a space: levels of its annotation, template, images and values."""

import itertools
import os
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import numpy as np
import xarray as xr

from refspace.errors import AnnotationError, GridError
from refspace.grid import Grid
from refspace.labels import LabelVolume, in_frame, infer_grid, reorient
from refspace.ops.align import as_image, image_extent, is_oblique
from refspace.ops.relabel import relabel
from refspace.safe_text import shown
from refspace.types import BACKGROUND, ImageLike
from refspace.verbs.grids import along_frame
from refspace.verbs.reading import read_image
from refspace.verbs.space import Space
from refspace.verbs.values import StructureValues

ImagesLike: TypeAlias = ImageLike | Sequence[ImageLike] | Mapping[str, ImageLike]
"""An image, several, or several by name."""

# A volume of one level is held in memory up to this size, and coarser levels are made of it.
_MOST_IN_MEMORY = 2 * 2**30
# A level as small as this needs no coarser one.
_SMALLEST = 64
# Names of layers that the page asks for.
_LAYERS = ("annotation", "template", "values", "points")
# Volumes of an image of channels or times that are shown, each as an image of its own.
_MOST_CHANNELS = 8
# Voxels whose values say how bright an image is.
_SAMPLE = 2**21
# Values at these percentiles are black and white.
_PERCENTILES = (1.0, 99.7)


@dataclass(frozen=True)
class ShownImage:
    """An image and its contrast.

    Parameters
    ----------
    name
        What it is called.
    levels
        The image at several resolutions, the finest first.
    contrast
        Values that are black and white.
    """

    name: str
    levels: tuple[xr.DataArray, ...]
    contrast: tuple[float, float]


def shown_levels(space: Space) -> tuple[Space, ...]:
    """The space and coarser ones, stored along its frame; what has one level is held in memory.

    Parameters
    ----------
    space
        The space. Levels of its store are read chunk by chunk, as they are looked at.
    """
    levels = tuple(along_frame(level) for level in space.levels)
    if len(levels) > 1 or not _fits_memory(space.annotation):
        return levels
    loaded = levels[0]
    volume = LabelVolume.from_array(
        loaded.annotation.compute(),
        hemispheres=loaded.volume.hemispheres.volume,
        midline=loaded.midline,
    )
    whole = loaded.with_volume(volume, _computed(loaded.template))
    return (whole, *_coarser(whole))


def _coarser(space: Space) -> list[Space]:
    """The space at halves of its resolution: every second voxel."""
    found: list[Space] = []
    labels, template = space.annotation, space.template
    hemispheres = space.volume.hemispheres.volume
    while max(labels.shape) > _SMALLEST:
        labels = _halved(labels)
        template = None if template is None else _halved(template)
        hemispheres = None if hemispheres is None else _halved(hemispheres)
        volume = LabelVolume.from_array(labels, hemispheres=hemispheres, midline=space.midline)
        found.append(space.with_volume(volume, template))
    return found


def halves(image: xr.DataArray) -> tuple[xr.DataArray, ...]:
    """An image and every second voxel of it, and so on.

    Examples
    --------
    >>> from refspace.labels import labelled
    >>> image = labelled(np.zeros((100, 4, 4)), Grid((100, 4, 4), (10, 10, 10)))
    >>> [level.shape for level in halves(image)], halves(image)[1].ap.values[:2]
    ([(100, 4, 4), (50, 2, 2)], array([10., 30.]))
    """
    levels = [image]
    while max(levels[-1].shape) > _SMALLEST:
        levels.append(_halved(levels[-1]))
    return tuple(levels)


def _halved(volume: xr.DataArray) -> xr.DataArray:
    """Every second voxel, in voxels twice as long."""
    grid = infer_grid(volume)
    coarse = volume[::2, ::2, ::2]
    coords = {}
    for dim, spacing in zip(grid.dims, grid.spacing, strict=True):
        attrs = volume[dim].attrs | {"spacing": 2 * spacing}
        coords[dim] = (dim, coarse[dim].values + spacing / 2, attrs)
    plain = coarse.drop_vars([name for name in coarse.coords if name not in grid.dims])
    return plain.assign_coords(coords)


# ----- images


def shown_images(
    space: Space, images: ImagesLike, options: Mapping[str, Any] | None = None
) -> list[ShownImage]:
    """Images that are shown with a space, where they say that they are.

    Parameters
    ----------
    space
        The space.
    images
        Arrays, paths or URLs.
    options
        Arguments of `refspace.read_image` for paths and URLs.

    Raises
    ------
    GridError
        If an image lies elsewhere, or its axes are oblique.
    AnnotationError
        If it has too many channels, or no real numbers.
    """
    found: list[ShownImage] = []
    taken = {*_LAYERS}
    for name, image in _named(images):
        opened = _opened(image, options or {})
        for suffix, volume in _volumes(as_image(opened, space.annotation, name), name):
            own = _unlike(f"{name}{suffix}", taken)
            taken.add(own)
            found.append(_shown_image(space, own, volume))
    return found


def _unlike(name: str, taken: Container[str]) -> str:
    """Name, with a number where it is taken.

    Examples
    --------
    >>> _unlike("CA1", {"CA1", "CA1 2"}), _unlike("CA3", {"CA1"})
    ('CA1 3', 'CA3')
    """
    numbered = (f"{name} {number}" for number in itertools.count(2))
    return next(each for each in itertools.chain([name], numbered) if each not in taken)


def template_image(levels: Sequence[Space]) -> ShownImage | None:
    """The template of a space; None where it has none."""
    templates = [level.template for level in levels if level.template is not None]
    if not templates:
        return None
    return ShownImage("template", tuple(templates), contrast(templates[-1]))


def contrast(image: xr.DataArray) -> tuple[float, float]:
    """Values of an image that are shown black and white: percentiles of those that are not 0.

    Examples
    --------
    >>> contrast(xr.DataArray(np.zeros((2, 2, 2))))
    (0.0, 1.0)
    """
    step = max(1, round((image.size / _SAMPLE) ** (1 / 3)))
    # A part of a large image is read, and not all of it: the middle of it.
    values = np.asarray(_middle(image)[::step, ::step, ::step].values, np.float64)
    values = values[np.isfinite(values) & (values != 0)]
    if not values.size:
        return 0.0, 1.0
    low, high = (float(x) for x in np.percentile(values, _PERCENTILES))
    low = min(low, 0.0) if low < 0 or low < 0.2 * high else low
    return (low, high) if high > low else (min(0.0, low), high or 1.0)


def _middle(image: xr.DataArray) -> xr.DataArray:
    if image.nbytes <= _MOST_IN_MEMORY:
        return image
    edge = round(_SAMPLE ** (1 / 3))
    return image[tuple(slice(max(0, n // 2 - edge), n // 2 + edge) for n in image.shape)]


def _shown_image(space: Space, name: str, volume: xr.DataArray) -> ShownImage:
    grid = space.grid
    if is_oblique(volume):
        raise GridError(
            f"the image {name} has axes that are oblique to the annotation's; resample it onto "
            "axes along the brain's"
        )
    image_extent(space.annotation, volume)  # raises where it lies elsewhere
    turned = reorient(in_frame(volume, grid.frame), grid.orientation_along_frame)
    levels = halves(turned.compute()) if _fits_memory(turned) else (turned,)
    return ShownImage(name, levels, contrast(levels[min(1, len(levels) - 1)]))


def _named(images: ImagesLike) -> list[tuple[str, ImageLike]]:
    """Images, each with its name, which others may have too."""
    if isinstance(images, Mapping):
        return [(shown(str(name)), image) for name, image in images.items()]
    if isinstance(images, str | os.PathLike) or hasattr(images, "ndim"):
        images = [images]
    return [(_name(image, number), image) for number, image in enumerate(images, 1)]


def _name(image: ImageLike, number: int) -> str:
    if isinstance(image, str | os.PathLike):
        path = os.fspath(image)
        return shown(PurePath(urlsplit(path).path).name) or f"image {number}"
    return shown(str(getattr(image, "name", None) or f"image {number}"))


def _opened(image: ImageLike, options: Mapping[str, Any]) -> Any:
    return read_image(image, **options) if isinstance(image, str | os.PathLike) else image


def _volumes(image: xr.DataArray, name: str) -> list[tuple[str, xr.DataArray]]:
    """Volumes of an image of channels or times, each with what to add to its name."""
    leading = image.dims[:-3]
    count = int(np.prod([image.sizes[dim] for dim in leading], dtype=np.int64))
    if count > _MOST_CHANNELS:
        raise AnnotationError(
            f"the image {name} has {count} volumes along {', '.join(map(str, leading))}; choose up "
            f"to {_MOST_CHANNELS}, like image.isel({leading[0]}=[0, 1])"
        )
    shape = [image.sizes[dim] for dim in leading]
    volumes = []
    for index in np.ndindex(*shape):
        choice = dict(zip(leading, index, strict=True))
        suffix = "".join(f" {dim} {i}" for dim, i in choice.items()) if count > 1 else ""
        volumes.append((suffix, image.isel(choice, drop=True)))
    return volumes


# ----- values


def painted(levels: Sequence[Space], values: StructureValues) -> tuple[xr.DataArray, ...]:
    """Image of values at each level: minus infinity outside, NaN where a structure has none.

    Parameters
    ----------
    levels
        The space at several resolutions.
    values
        Values of labels, of the hemispheres too.
    """
    return tuple(_painted(level, values) for level in levels)


def _painted(space: Space, values: StructureValues) -> xr.DataArray:
    left = _relabelled(space, values.left)
    if not values.is_sided:
        return left
    right = _relabelled(space, values.right)
    is_right: xr.DataArray = space.hemispheres == 2
    return left.where(~is_right.drop_vars("hemisphere", errors="ignore"), right)


def _relabelled(space: Space, values: Mapping[int, float]) -> xr.DataArray:
    # What no float32 holds is at an end of the colour map, and not outside.
    largest = float(np.finfo(np.float32).max)
    held = {label: float(np.clip(value, -largest, largest)) for label, value in values.items()}
    painted = relabel(
        space.annotation,
        {**held, BACKGROUND: -np.inf},
        np.nan,
        dtype=np.float32,
        name="values",
        attrs={},
        block_labels=space.block_labels,
    )
    return painted.drop_vars("hemisphere", errors="ignore")


def _fits_memory(volume: xr.DataArray) -> bool:
    return volume.nbytes <= _MOST_IN_MEMORY


def _computed(volume: xr.DataArray | None) -> xr.DataArray | None:
    return None if volume is None else volume.compute()


def grid_box(grid: Grid, dims: Sequence[str]) -> tuple[list[float], list[float]]:
    """Centre of the middle voxel of a grid, and its extent along some axes, in µm.

    Examples
    --------
    >>> grid_box(Grid((4, 3, 2), (10, 10, 10)), ("ml", "ap", "dv"))
    ([15.0, 25.0, 15.0], [20.0, 40.0, 30.0])
    """
    middle = [float(grid.coordinates(dim)[grid.shape[grid.axis(dim)] // 2]) for dim in dims]
    return middle, [grid.extent[grid.axis(dim)] for dim in dims]
