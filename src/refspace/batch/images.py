"""Opening the images of a job: files and zarr, on this machine and on others."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import xarray as xr
from dask.tokenize import tokenize

from refspace.blockwise.content_identity import Identity
from refspace.blockwise.identity import array_identity
from refspace.errors import StoreError
from refspace.formats.names import is_volume_file, refuse_override
from refspace.formats.volumes import open_header, read_voxels
from refspace.grid import Grid
from refspace.ops.align import is_oblique
from refspace.safe_text import without_secrets
from refspace.store.images import open_image
from refspace.types import ImageOrigin, Resolution
from refspace.verbs.images import ImagePlace, without_position
from refspace.verbs.reading import read_image


@dataclass(frozen=True)
class ImageOptions:
    """How images are opened: what they do not state themselves.

    Parameters
    ----------
    variable
        Name of the variable, where a zarr group has several.
    same_grid
        Whether voxel i of an image is voxel i of the annotation, whatever position it states.
    orientation, resolution
        Of an image that does not state them; of a pyramid, the level to take.
    override
        Whether these overrule the header of a file, as for `read_nrrd`.
    image_origin
        What the position of the first voxel is that an image states, as for
        `ReferenceSpace.aggregate`.
    access
        Arguments ``storage_options``, ``engine`` and ``chunk_cache`` of `refspace.open`.
    """

    variable: str | None = None
    same_grid: bool = False
    orientation: str | None = None
    resolution: Resolution | None = None
    override: bool = False
    image_origin: ImageOrigin | None = None
    access: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def place(self) -> ImagePlace:
        """What is said of the place of images that are open."""
        # Where their own position is to be ignored, they are opened without.
        return ImagePlace(image_origin=self.image_origin)

    @property
    def geometry(self) -> dict[str, Any]:
        """Arguments of readers for what an image may not state."""
        return {"orientation": self.orientation, "resolution": self.resolution}

    @property
    def storage_options(self) -> Mapping[str, Any]:
        """What fsspec needs to reach the images."""
        options: Mapping[str, Any] = self.access.get("storage_options") or {}
        return options


def open_any_image(path: str, grid: Grid, options: ImageOptions) -> xr.DataArray:
    """Open an image in a file or in zarr, to aggregate it over an annotation.

    Parameters
    ----------
    path
        Path or URL.
    grid
        That of the annotation.
    options
        What the image does not state itself.

    Returns
    -------
    xarray.DataArray
        Lazy; without coordinates if it lies on the grid of the annotation.
    """
    image = _opened(path, grid, options)
    # A plain array of zarr has neither names of axes nor a position: its voxels are those of the
    # annotation.
    unplaced = {*image.dims[-3:]}.isdisjoint({*image.coords, *grid.dims})
    if image.ndim >= 3 and (options.same_grid or (unplaced and not is_oblique(image))):
        return without_position(image, grid.dims)
    return image


def _opened(path: str, grid: Grid, options: ImageOptions) -> xr.DataArray:
    if not options.same_grid:
        how: dict[str, Any] = {**options.geometry, **options.access}
        return read_image(path, override=options.override, variable=options.variable, **how)
    if is_volume_file(path):
        return read_voxels(path, is_image=True, storage_options=options.storage_options)
    refuse_override(path, options.override)
    return open_image(path, variable=options.variable, shape=grid.shape, **options.access)


def image_identity(path: str, grid: Grid, options: ImageOptions) -> Identity:
    """What tells an image, as it is now, from any other.

    A file is identified by where it is, by its size and by the times of its last change, or by what
    its server has in their place, such as an ETag. An image in zarr by its voxels: those of a store
    of ours have digests; any other array has objects, each with a size and a version.

    Parameters
    ----------
    path
        Path or URL.
    grid
        That of the annotation.
    options
        What the image does not state itself.

    Returns
    -------
    Identity
        In doubt where a server states sizes alone.

    Raises
    ------
    FileNotFoundError, RemoteError, StoreError, FormatError, GridError
        If there is no such image, or it cannot be reached or opened.
    """
    if is_volume_file(path):
        _, header = open_header(
            path, is_image=True, geometry=False, storage_options=options.storage_options
        )
        own = header.image.voxels.content_identity()
        return Identity({"image": str(tokenize(own.facts))}, own.doubt)
    with _naming_what_is_missing(path):
        image = open_any_image(path, grid, options)
        own = array_identity(image.data)
        names = sorted(map(str, image.coords))
        place = [(name, image[name].dims, image[name].values) for name in names]
        return Identity({**own.facts, "place": str(tokenize(image.dims, place))}, own.doubt)


@contextmanager
def _naming_what_is_missing(path: str) -> Iterator[None]:
    """Say of a path where nothing is what there might have been."""
    try:
        yield
    except StoreError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            what = "does not exist, or is neither a file of a volume nor a zarr store"
            raise FileNotFoundError(f"{without_secrets(path)} {what}") from error
        raise
