"""From the files and arrays in which atlases come to a store, in bounded memory."""

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeGuard

import dask.array
import dask.utils
import numpy as np
import xarray as xr
from dask.tokenize import tokenize
from numpy.typing import NDArray

from refspace.errors import AnnotationError, GridError
from refspace.formats.nrrd import NrrdStream
from refspace.formats.structures import read_structures
from refspace.grid import Grid
from refspace.reference_space import ReferenceSpace
from refspace.reference_space import open as open_space
from refspace.store import (
    Atlas,
    Feed,
    Layout,
    Progress,
    feed_of,
    open_atlas,
    store_layout,
    write_atlas,
)
from refspace.structure_tree import StructureTree
from refspace.volume import as_annotation, grid_of, labelled, unsigned_labels

Volume: TypeAlias = str | os.PathLike[str] | NDArray[Any] | dask.array.Array | xr.DataArray

_NRRD_ENDINGS = (".nrrd", ".nhdr")
# Of the memory that voxels may take: what is fed may take this share, the workers have the rest.
_SHARE_OF_STREAM, _SHARE_OF_ARRAY = 3 / 4, 1 / 3


@dataclass(frozen=True)
class _Source:
    """A volume to be stored: where its voxels are, how they come, and what tells it from others."""

    grid: Grid
    dtype: np.dtype[Any]
    identity: Mapping[str, Any]
    feed: Callable[[Layout, int], Feed]
    coordinates: Mapping[str, NDArray[np.float64]]


def convert(
    annotation: Volume,
    structures: StructureTree | str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    resolution: float | Sequence[float] | None = None,
    orientation: str | None = None,
    template: Volume | None = None,
    provenance: Mapping[str, Any] | None = None,
    chunks: int | Sequence[int] = 128,
    shards: int | Sequence[int] | None = None,
    memory: int | str = "1 GiB",
    workers: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> ReferenceSpace:
    """Convert an annotation volume of any size into a store.

    The source is read once, from its beginning to its end; voxels at the given resolution, and
    which labels each chunk holds, are written as they come, and the coarser levels from these.

    Parameters
    ----------
    annotation
        Path of an NRRD file, which is never held as a whole; path or URL of a zarr array or
        OME-Zarr label image; NumPy array, dask array or DataArray.
    structures
        The structures, as a tree or as the path or URL of a file.
    target
        Path or URL of the store.
    resolution
        µm per voxel, one number or one for each axis, where the annotation does not state it.
    orientation
        Direction in which the index of each axis grows, where the annotation does not state it.
    template
        Intensities on the same grid, in any of these forms; of the same orientation.
    provenance
        What the store is to say of where the atlas comes from: JSON values by name, such as
        ``version``, ``citation``, ``licence``. ``source`` is the path of the annotation if not
        given.
    chunks, shards
        As for `ReferenceSpace.to_zarr`.
    memory
        What voxels may take of the memory at a time, in bytes or as ``"500 MB"``; Python and its
        libraries take about 150 MB beside it.
    workers
        Number of threads; as many as there are cores if not given.
    resume
        Whether to go on with an interrupted run. Only what is missing is done.
    overwrite
        Whether a store of that name is replaced, once the new one is complete.
    storage_options
        What fsspec needs to reach the target.
    progress
        Called with the numbers of blocks done and to be done.

    Returns
    -------
    ReferenceSpace
        The store, opened.

    Raises
    ------
    AnnotationError
        If the annotation holds values that are no structure ids.
    FormatError
        If a file is damaged; nothing is left of the store then.
    GridError
        If the geometry is missing or contradictory, or the memory too small for the chunks.
    StoreError
        If the target exists, is being written, or has no space left; or if there is something to
        resume, or not what was asked for.

    Examples
    --------
    >>> import refspace, tempfile
    >>> folder = tempfile.mkdtemp()
    >>> space = refspace.phantom(resolution=200)
    >>> refspace.write_nrrd(f"{folder}/annotation.nrrd", space.annotation)
    >>> refspace.write_structures(f"{folder}/structures.json", space.structure_tree)
    >>> stored = refspace.convert(
    ...     f"{folder}/annotation.nrrd", f"{folder}/structures.json", f"{folder}/atlas.zarr"
    ... )
    >>> stored.total_voxel_map == space.total_voxel_map
    True
    """
    budget = _bytes(memory)
    tree = structures if isinstance(structures, StructureTree) else read_structures(structures)
    sources = {"annotation": _labels(annotation, resolution, orientation)}
    if template is not None:
        sources["template"] = _intensities(template, sources["annotation"].grid)
    first = sources["annotation"]
    dtypes = {name: source.dtype for name, source in sources.items()}
    layout = store_layout(first.grid, dtypes, chunks=chunks, shards=shards)
    named = {"source": os.fspath(annotation)} if _is_path(annotation) else {}
    write_atlas(
        os.fspath(target),
        Atlas(tree.nodes(), named | dict(provenance or {}), first.coordinates),
        layout,
        {name: source.feed(layout, budget) for name, source in sources.items()},
        source={name: dict(source.identity) for name, source in sources.items()},
        resume=resume,
        overwrite=overwrite,
        storage_options=storage_options,
        workers=workers,
        progress=progress,
        reads=[os.fspath(volume) for volume in (annotation, template) if _is_path(volume)],
    )
    return open_space(target, storage_options=storage_options)


def _bytes(memory: int | str) -> int:
    try:
        size = int(dask.utils.parse_bytes(memory))
    except (ValueError, TypeError, AttributeError) as error:
        raise GridError(f"memory is {memory!r}; give bytes, or a text like '500 MB'") from error
    if size < 1:
        raise GridError(f"memory is {memory!r}; give a positive number of bytes")
    return size


def _is_path(volume: Volume | None) -> TypeGuard[str | os.PathLike[str]]:
    return isinstance(volume, str | os.PathLike)


def _is_nrrd(volume: Volume) -> TypeGuard[str | os.PathLike[str]]:
    return _is_path(volume) and Path(volume).suffix.lower() in _NRRD_ENDINGS


def _labels(
    annotation: Volume, resolution: float | Sequence[float] | None, orientation: str | None
) -> _Source:
    """Annotation, as blocks of unsigned ids."""
    if _is_nrrd(annotation):
        stream = NrrdStream(annotation, resolution=resolution, orientation=orientation)
        stays = stream.dtype.kind == "u" and stream.dtype.itemsize <= 4
        dtype = stream.dtype if stays else np.dtype(np.uint32)
        return _streamed(stream, dtype, _same if stays else unsigned_labels)
    if _is_path(annotation):
        atlas = open_atlas(
            os.fspath(annotation),
            resolution=resolution,
            orientation=orientation,
        )
        volume = as_annotation(atlas.volume(atlas.level(resolution)), None)
    else:
        volume = as_annotation(annotation, resolution, orientation=orientation)
    return _computed(volume)


def _intensities(template: Volume, grid: Grid) -> _Source:
    """Template, which must lie on the grid of the annotation."""
    if _is_nrrd(template):
        stream = NrrdStream(template, resolution=grid.spacing, orientation=grid.orientation)
        source = _streamed(stream, stream.dtype, _same)
    elif _is_path(template):
        atlas = open_atlas(
            os.fspath(template),
            resolution=grid.spacing,
            orientation=grid.orientation,
        )
        source = _computed(atlas.volume(atlas.level(grid.spacing)))
    elif isinstance(template, xr.DataArray):
        source = _computed(template.chunk() if template.chunks is None else template)
    else:
        source = _computed(_on_grid(template, grid))
    if source.grid != grid:
        raise GridError(
            f"the template lies on {source.grid}, the annotation on {grid}: resample it"
        )
    _check_intensities(source.dtype)
    return source


def _on_grid(template: NDArray[Any] | dask.array.Array, grid: Grid) -> xr.DataArray:
    array = template if isinstance(template, dask.array.Array) else np.asarray(template)
    _check_intensities(array.dtype)
    if array.shape != grid.shape:
        raise GridError(
            f"the template has shape {array.shape}, the annotation {grid.shape}: resample it"
        )
    return labelled(dask.array.asarray(array), grid)


def _check_intensities(dtype: np.dtype[Any]) -> None:
    if dtype.kind not in "uif" or dtype.itemsize > 8:
        raise AnnotationError(
            f"the template has dtype {dtype}; intensities are numbers of at most 64 bits"
        )


def _same(block: NDArray[Any]) -> NDArray[Any]:
    return block


def _streamed(
    stream: NrrdStream, dtype: np.dtype[Any], values: Callable[[NDArray[Any]], NDArray[Any]]
) -> _Source:
    def feed_from(layout: Layout, memory: int) -> Feed:
        thickness = layout.block_shape[2]
        needed = stream.slab_bytes(thickness)
        if needed > memory * _SHARE_OF_STREAM:
            raise GridError(
                f"{thickness} layers of {stream.header.path} take {needed / 1e6:.1f} MB at a time; "
                f"give memory of {math.ceil(needed / _SHARE_OF_STREAM / 1e6)} MB, or chunks with "
                "fewer voxels along the last axis, like chunks=(128, 128, 32)"
            )

        def feed(skip: Callable[[Any], bool]) -> Iterator[tuple[Any, NDArray[Any]]]:
            ap, dv, _ = (slice(0, count) for count in stream.header.shape)
            for layers, slab in stream.slabs(thickness, lambda cut: skip((ap, dv, cut))):
                yield (ap, dv, layers), values(slab)

        return feed

    return _Source(stream.grid, dtype, stream.identity, feed_from, {})


def _computed(volume: xr.DataArray) -> _Source:
    def feed_from(layout: Layout, memory: int) -> Feed:
        return feed_of(volume.data, layout.block_shape, int(memory * _SHARE_OF_ARRAY))

    coordinates = {str(dim): volume[dim].values for dim in volume.dims}
    identity = {"voxels": tokenize(volume.data)}
    return _Source(grid_of(volume), volume.dtype, identity, feed_from, coordinates)
