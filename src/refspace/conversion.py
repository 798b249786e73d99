"""Conversion of files and arrays into stores, in bounded memory."""

import functools
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard

import dask.array
import dask.utils
import numpy as np
import xarray as xr
from dask.tokenize import tokenize
from numpy.typing import NDArray

from refspace.blockwise.content_identity import Identity
from refspace.blockwise.identity import array_identity
from refspace.errors import AnnotationError, GridError
from refspace.formats.names import is_volume_file, refuse_override
from refspace.formats.structures import read_structures
from refspace.formats.volumes import stream_volume
from refspace.formats.voxel_files import VoxelStream
from refspace.grid import Grid
from refspace.kernels import count_labels, relabel
from refspace.labels import (
    Midline,
    along_frame,
    as_annotation,
    blocks_from_both_ends,
    check_both_sides,
    check_hemispheres_dtype,
    hemisphere_flags,
    in_frame,
    infer_grid,
    labelled,
    midline_in_frame,
    resolve_midline,
    stated_midline,
    turn_onto,
    unsigned_labels,
)
from refspace.pools import make_pool
from refspace.pools.memory import memory_bytes
from refspace.reference_space import ReferenceSpace
from refspace.reference_space import open as open_space
from refspace.safe_text import escaped, without_secrets
from refspace.store import (
    Atlas,
    BlockSource,
    Layout,
    Progress,
    WriteTarget,
    open_atlas,
    open_like,
    store_layout,
    write_atlas,
)
from refspace.store.block_source import IsDone
from refspace.store.boxes import Box
from refspace.structure_tree import StructureTree
from refspace.structure_tree.records import listing, structure_id
from refspace.types import PathLike, Resolution

if TYPE_CHECKING:
    from refspace.pools.choosing import Client

# A stream too: sources of atlases whose headers are wrong make one with a grid of their own.
Volume: TypeAlias = PathLike | NDArray[Any] | dask.array.Array | xr.DataArray | VoxelStream

# Share of the memory that one slab of a file, or one part of an array, may take; the workers that
# write its blocks need the rest.
_SHARE_OF_STREAM, _SHARE_OF_ARRAY = 3 / 4, 1 / 3
# Layers of a file that are looked at together, until both hemispheres were seen.
_LAYERS_CHECKED = 8
_ORDINALS = ("first", "second", "last")


@dataclass(frozen=True)
class _Source:
    """A volume to be stored: its grid, its voxels, and what identifies them for a resumed run.

    Its grid is that of the store, along the frame; the volume may be stored in another order. Its
    blocks are read one by one, for what is checked beforehand.
    """

    grid: Grid
    own_grid: Grid
    dtype: np.dtype[Any]
    identify: Callable[[], Identity]
    block_source: Callable[[Layout, int], BlockSource]
    coordinates: Mapping[str, NDArray[np.float64]]
    blocks: Callable[[], Iterator[NDArray[Any]]]
    midline: Midline | None = None


def convert(
    annotation: Volume,
    structures: StructureTree | PathLike,
    target: PathLike,
    *,
    resolution: Resolution | None = None,
    orientation: str | None = None,
    override: bool = False,
    template: Volume | None = None,
    hemispheres: Volume | None = None,
    midline: float | None = None,
    frame: str | None = None,
    ids: Mapping[int, int] | None = None,
    provenance: Mapping[str, Any] | None = None,
    chunks: int | Sequence[int] = 128,
    shards: int | Sequence[int] | None = None,
    memory: int | str = "1 GiB",
    threads: int | None = None,
    client: "Client | None" = None,
    resume: bool = True,
    overwrite: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    source_options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> ReferenceSpace:
    """Convert an annotation volume of any size into a store.

    The source is read once, from its beginning to its end. Its voxels and the labels of each chunk
    are written as they are read, the coarser levels from the finer ones.

    Parameters
    ----------
    annotation
        Path or URL of a file of a volume, which is never in memory as a whole; or of a zarr
        array or OME-Zarr label image; NumPy array, dask array or DataArray.
    structures
        The structures, as a tree or as the path or URL of a file.
    target
        Path or URL of the store.
    resolution
        µm per voxel, one number or one for each axis, where the annotation does not state it.
    orientation
        Direction in which the index of each axis grows, where the annotation does not state it.
    override
        Whether `resolution` and `orientation` overrule the headers of files, as for `read_nrrd`:
        that of the annotation, and those of a template and hemispheres that contradict it.
    template
        Intensities on the same grid, in any of these forms and in any order, which they state
        themselves; what they leave open is as of the annotation.
    hemispheres
        Hemisphere of each voxel on the same grid, in any of these forms, where the midline does not
        separate them: integers, 1 left, 2 right and 0 neither. It has both; so that this is known
        before anything is written, it is read until both were seen.
    midline
        Position of the midline along ml, in µm, whatever the annotation states; the middle of the
        volume if neither says it.
    frame
        Three letters, for x, y and z: the direction in which the coordinates of the store grow, and
        that of `midline`, like ``"PIR"``; as those of the annotation if not given. Axes stay in
        their order, stored along the frame.
    ids
        Structure id of each value of the annotation, where voxels hold other numbers.
    provenance
        Origin of the atlas, to be kept in the store: JSON values by name, such as ``version``,
        ``citation``, ``licence``. ``source`` is the path of the annotation by default.
    chunks, shards
        As for `ReferenceSpace.to_zarr`.
    memory
        Memory for voxels, in bytes or as ``"500 MB"``. Python and its libraries take about 150 MB
        more.
    threads
        Number of threads of this process that do the work, even where a client is active.
    client
        Client of a dask cluster whose workers do the work: all of it for zarr and dask arrays, the
        coarser levels for what is read as a stream. If neither is given, the active client
        (`distributed.get_client`), or else as many threads as there are cores.
    resume
        Whether to go on with an interrupted run of the very same conversion. Only what is missing
        is done; nothing, if the store is complete. Sources are identified by their content: files
        by size and times, stores of refspace by their digests, other zarr by size and version
        (ETag, generation, time) of each object, arrays in memory by their voxels. Where that is
        not possible, for a server that states no versions or a dask array that reads in another
        way, the conversion begins anew.
    overwrite
        Whether a store of that name is replaced, once the new one is complete.
    storage_options
        Options of fsspec for the target, such as credentials.
    source_options
        The same for URLs of the annotation, the template and the hemispheres.
    progress
        Called with the numbers of blocks done and to be done.

    Returns
    -------
    ReferenceSpace
        The store, opened.

    Raises
    ------
    AnnotationError
        If the annotation holds values that are no structure ids, or are missing from `ids`; or the
        hemispheres lack one, or hold anything else than 0, 1 and 2.
    FormatError
        If a file is damaged; nothing is left of the store then.
    GridError
        If the geometry is missing or contradictory, or the memory too small for the chunks.
    StoreError
        If the target exists, or is being written; if an interrupted run of another conversion is in
        the way; or if a source has changed while it was read.
    WriteError
        If there is no space left, or no right to write.

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
    budget = memory_bytes(memory)
    tree = structures if isinstance(structures, StructureTree) else read_structures(structures)
    access = source_options or {}
    sources = {
        "annotation": _annotation(annotation, resolution, orientation, override, frame, access)
    }
    if template is not None:
        sources["template"] = _same_grid(
            "template", template, sources["annotation"], override, access, is_image=True
        )
    if hemispheres is not None:
        sources["hemispheres"] = _hemispheres(hemispheres, sources["annotation"], override, access)
    if ids is not None:
        sources["annotation"] = _with_structure_ids(sources["annotation"], ids)
    first = sources["annotation"]
    dtypes = {name: source.dtype for name, source in sources.items()}
    line = resolve_midline(midline, first.midline, first.grid)
    layout = store_layout(first.grid, dtypes, chunks=chunks, shards=shards, midline=line)
    named = (
        {"source": escaped(without_secrets(os.fspath(annotation)))} if _is_path(annotation) else {}
    )
    write_atlas(
        WriteTarget(os.fspath(target), resume, overwrite, storage_options),
        Atlas(tree.nodes(), named | dict(provenance or {}), first.coordinates),
        layout,
        {name: source.block_source(layout, budget) for name, source in sources.items()},
        identify=lambda: {name: source.identify() for name, source in sources.items()},
        pool=make_pool(threads, client),
        progress=progress,
        reads=[
            os.fspath(volume) for volume in (annotation, template, hemispheres) if _is_path(volume)
        ],
    )
    return open_space(target, storage_options=storage_options)


def _is_path(volume: Volume | None) -> TypeGuard[PathLike]:
    return isinstance(volume, str | os.PathLike)


def _stream(
    volume: Volume,
    resolution: Resolution | None = None,
    orientation: str | None = None,
    override: bool = False,
    like: Grid | None = None,
    *,
    access: Mapping[str, Any],
    is_image: bool = False,
) -> VoxelStream | None:
    """Stream of the voxels of a file; None for any other form of volume."""
    if isinstance(volume, VoxelStream):
        return volume
    if not _is_path(volume) or not is_volume_file(volume):
        return None
    return stream_volume(
        volume,
        is_image=is_image,
        resolution=resolution,
        orientation=orientation,
        override=override,
        like=like,
        storage_options=access,
    )


def _annotation(
    annotation: Volume,
    resolution: Resolution | None,
    orientation: str | None,
    override: bool,
    frame: str | None,
    access: Mapping[str, Any],
) -> _Source:
    """Volume of the annotation, with unsigned ids as voxels."""
    stream = _stream(annotation, resolution, orientation, override, access=access)
    if stream is not None:
        stays = stream.dtype.kind == "u" and stream.dtype.itemsize <= 4
        dtype = stream.dtype if stays else np.dtype(np.uint32)
        values = _unchanged if stays else unsigned_labels
        return _streamed(stream, dtype, values, frame=frame)
    refuse_override(annotation if _is_path(annotation) else "the annotation", override)
    if _is_path(annotation):
        atlas = open_atlas(
            os.fspath(annotation),
            resolution=resolution,
            orientation=orientation,
            storage_options=access,
        )
        volume = atlas.volume(atlas.level(resolution))
        return _labels(as_annotation(volume, None), atlas.line, frame)
    volume = as_annotation(annotation, resolution, orientation=orientation)
    return _labels(volume, stated_midline(annotation), frame)


def _labels(volume: xr.DataArray, midline: Midline | None, frame: str | None) -> _Source:
    """Volume of an annotation that is an array, with its midline."""
    source = _computed(volume if frame is None else in_frame(volume, frame))
    return replace(source, midline=_turned(midline, infer_grid(volume), source.grid))


def _turned(midline: Midline | None, grid: Grid, target: Grid) -> Midline | None:
    return None if midline is None else midline_in_frame(midline, grid, target)


def _same_grid(
    name: str,
    volume: Volume,
    first: _Source,
    override: bool,
    access: Mapping[str, Any],
    *,
    is_image: bool = False,
) -> _Source:
    """Volume of numbers on the grid of the annotation, turned by what it states itself.

    What it leaves open is taken as of the annotation. Another grid is an error.
    """
    how: dict[str, Any] = {"override": override, "is_image": is_image, "access": access}
    stream = _stream(volume, like=first.own_grid, **how)
    if stream is not None:
        source = _streamed(stream, stream.dtype, _unchanged, first.grid)
    elif _is_path(volume):
        opened = open_like(os.fspath(volume), first.own_grid, storage_options=access)
        source = _computed(opened, first.grid)
    elif isinstance(volume, xr.DataArray):
        chunked = volume.chunk() if volume.chunks is None else volume
        source = _computed(chunked, first.grid)
    else:
        source = _computed(_on_grid(name, volume, first.own_grid), first.grid)
    if not source.grid.matches(first.grid):
        raise GridError(
            f"the {name} lies on {source.own_grid}, the annotation on {first.own_grid}: resample it"
        )
    _check_numbers(name, source.dtype)
    return source


def _on_grid(name: str, volume: NDArray[Any] | dask.array.Array, grid: Grid) -> xr.DataArray:
    array = volume if isinstance(volume, dask.array.Array) else np.asarray(volume)
    _check_numbers(name, array.dtype)
    if array.shape != grid.shape:
        raise GridError(
            f"the {name} has shape {array.shape}, the annotation {grid.shape}: resample it"
        )
    return labelled(dask.array.asarray(array), grid)


def _check_numbers(name: str, dtype: np.dtype[Any]) -> None:
    if dtype.kind not in "uif" or dtype.itemsize > 8:
        raise AnnotationError(
            f"the {name} has dtype {dtype}; intensities are numbers of at most 64 bits"
        )


def _hemispheres(
    hemispheres: Volume, first: _Source, override: bool, access: Mapping[str, Any]
) -> _Source:
    """Volume of hemispheres, as uint8."""
    source = _same_grid("volume of hemispheres", hemispheres, first, override, access)
    check_hemispheres_dtype(source.dtype)
    check_both_sides(source.blocks())
    return _mapped(source, hemisphere_flags, np.dtype(np.uint8))


def _with_structure_ids(source: _Source, ids: Mapping[int, int]) -> _Source:
    """Annotation whose values are replaced by structure ids, block by block."""
    by_value = {structure_id(value): structure_id(i) for value, i in ids.items()}
    values = np.array(sorted(by_value), np.uint32)
    structure_ids = np.array([by_value[value] for value in values.tolist()], np.uint32)
    relabel_block = functools.partial(_relabel, values=values, ids=structure_ids)

    def identify() -> Identity:
        # With the ids, so that a run with others is not resumed.
        own = source.identify()
        return Identity({**own.facts, "ids": tokenize(values, structure_ids)}, own.doubt)

    mapped = _mapped(source, relabel_block, np.dtype(np.uint32))
    return replace(mapped, identify=identify)


def _relabel(
    voxels: NDArray[Any], values: NDArray[np.uint32], ids: NDArray[np.uint32]
) -> NDArray[np.uint32]:
    try:
        return relabel(voxels, values, ids, None)
    except AnnotationError as error:
        unknown = np.setdiff1d(count_labels(voxels)[0], values).tolist()
        raise AnnotationError(
            f"the annotation holds values that ids tells no structure of: {listing(unknown)}; "
            "complete it, with 0 for what is outside"
        ) from error


def _mapped(
    source: _Source, values: Callable[[NDArray[Any]], NDArray[Any]], dtype: np.dtype[Any]
) -> _Source:
    """Volume whose voxels are converted block by block, by a function of a block."""

    def block_source(layout: Layout, memory: int) -> BlockSource:
        return source.block_source(layout, memory).map(values, dtype)

    return replace(source, dtype=dtype, block_source=block_source)


def _unchanged(block: NDArray[Any]) -> NDArray[Any]:
    return block


def _streamed(
    stream: VoxelStream,
    dtype: np.dtype[Any],
    values: Callable[[NDArray[Any]], NDArray[Any]],
    onto: Grid | None = None,
    frame: str | None = None,
) -> _Source:
    """Volume of a file, turned slab by slab: along a frame, its own one or not, or onto a grid."""
    used = (frame or stream.grid.frame) if onto is None else onto.frame
    own, volume = stream.grid.in_frame(used), stream.volume_grid.in_frame(used)
    order = volume.orientation_along_frame if onto is None else onto.orientation
    turn, stored = own.reorientation_to(order), own.reorient(order)
    # The axis of the store along which the file is read.
    across = turn.axes.index(2)

    def box(layers: slice) -> Box:
        """Where layers of the file are in the store."""
        count = stored.shape[across]
        cut = slice(count - layers.stop, count - layers.start) if turn.flipped[across] else layers
        return tuple(cut if n == across else slice(0, stored.shape[n]) for n in range(3))

    def block_source(layout: Layout, memory: int) -> BlockSource:
        thickness = layout.block_shape[across]
        needed = stream.slab_bytes(thickness)
        if needed > memory * _SHARE_OF_STREAM:
            fewer = tuple(32 if n == across else 128 for n in range(3))
            raise GridError(
                f"{thickness} layers of {stream.path} take {needed / 1e6:.1f} MB at a time; "
                f"give memory of {math.ceil(needed / _SHARE_OF_STREAM / 1e6)} MB, or chunks with "
                f"fewer voxels along the {_ORDINALS[across]} axis, like chunks={fewer}"
            )

        def slabs(is_done: IsDone) -> Iterator[tuple[Box, NDArray[Any]]]:
            # Slabs meet the borders of blocks, which are counted from the store's first voxel.
            from_end = turn.flipped[across]
            for layers, slab in stream.slabs(
                thickness, lambda cut: is_done(box(cut)), from_end=from_end
            ):
                yield box(layers), values(turn.apply(slab))

        return BlockSource(slabs, is_lazy=False)

    def blocks() -> Iterator[NDArray[Any]]:
        return (slab for _, slab in stream.slabs(_LAYERS_CHECKED))

    line = _turned(stream.midline, stream.grid, stored)
    identify = stream.content_identity
    return _Source(stored, stream.volume_grid, dtype, identify, block_source, {}, blocks, line)


def _computed(volume: xr.DataArray, onto: Grid | None = None) -> _Source:
    """Volume of an array, turned along its own frame, or into the order of a grid."""
    turned = along_frame(volume) if onto is None else turn_onto(volume, onto)

    def block_source(layout: Layout, memory: int) -> BlockSource:
        return BlockSource.from_array(
            turned.data, layout.block_shape, int(memory * _SHARE_OF_ARRAY)
        )

    def blocks() -> Iterator[NDArray[Any]]:
        return blocks_from_both_ends(turned)

    coordinates = {str(dim): turned[dim].values for dim in turned.dims}
    identify = functools.partial(array_identity, turned.data)
    grids = infer_grid(turned), infer_grid(volume)
    return _Source(*grids, turned.dtype, identify, block_source, coordinates, blocks)
