"""A reference space in a store, and as a DataTree."""

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import dask.array
import xarray as xr

from refspace.blockwise.identity import array_identity
from refspace.label_index import Chunks
from refspace.labels import LabelVolume, as_annotation, downsample
from refspace.labels.knowledge import BlockKnowledge, Once
from refspace.pools import make_pool
from refspace.store import (
    Atlas,
    BlockSource,
    ExportLayout,
    Progress,
    StoredAtlas,
    TreeLevel,
    WriteTarget,
    export_image,
    level_grids,
    make_datatree,
    store_layout,
    write_atlas,
)
from refspace.structure_tree import StructureTree
from refspace.types import PathLike, Resolution
from refspace.verbs.grids import along_frame, reorient
from refspace.verbs.space import AnySpace, Level, Space

if TYPE_CHECKING:
    from refspace.pools.choosing import Client
    from refspace.store.kept_index import KeptIndex


def to_zarr(
    space: Space,
    url: PathLike,
    *,
    chunks: int | Sequence[int] = 128,
    shards: int | Sequence[int] | None = None,
    overwrite: bool = False,
    resume: bool = True,
    storage_options: Mapping[str, Any] | None = None,
    memory: int = 2**30,
    threads: int | None = None,
    client: "Client | None" = None,
    progress: Progress | None = None,
) -> None:
    """Write the space to a zarr store that xarray, OME-Zarr viewers and `refspace.open` open.

    The store holds the voxels at this resolution and at halves of it, along the frame; the
    structures; and an index of the labels of each chunk. It appears whole or not at all.

    Parameters
    ----------
    url
        Path, or URL of any file system that fsspec writes to.
    chunks
        Voxels that are compressed together, along each axis.
    shards
        Voxels that one file holds, along each axis, where chunks would be too many files; multiples
        of `chunks`.
    overwrite
        Whether a store of that name is replaced, once the new one is complete.
    resume
        Whether to go on with an interrupted run of the very same job, or leave what it has
        completed. Voxels of arrays in memory, and of stores and files that refspace opened, are
        identified by their content; an array that dask reads in another way is written anew.
    storage_options
        What fsspec needs to reach the URL.
    memory
        Bytes that voxels may take at a time.
    threads
        Number of threads of this process that do the work, even where a client is active.
    client
        Client of a dask cluster whose workers do the work; they must see the URL. If neither is
        given, the active client (`distributed.get_client`), or else as many threads as there are
        cores.
    progress
        Called with the numbers of blocks done and to be done.

    Raises
    ------
    StoreError
        If the target exists, is being written or cannot be reached; if what the voxels are read
        from has changed meanwhile.
    GridError
        If the chunks are no lengths, or too large for the memory.

    Examples
    --------
    >>> import refspace, tempfile
    >>> url = tempfile.mkdtemp() + "/phantom.zarr"
    >>> refspace.phantom(resolution=200).to_zarr(url)
    >>> refspace.open(url)  # doctest: +ELLIPSIS
    <ReferenceSpace of 488 structures, ap 66 × dv 40 × ml 57 voxels of 200 × 200 × 200 µm, in ...>
    """
    space = along_frame(space)
    volumes = _volumes(space)
    dtypes = {name: volume.dtype for name, volume in volumes.items()}
    line = space.volume.hemispheres.line
    layout = store_layout(space.grid, dtypes, chunks=chunks, shards=shards, midline=line)
    coordinates = {str(dim): space.annotation[dim].values for dim in space.annotation.dims}
    write_atlas(
        WriteTarget(os.fspath(url), resume, overwrite, storage_options),
        Atlas(space.structure_tree.nodes(), dict(space.provenance), coordinates),
        layout,
        {
            name: BlockSource.from_array(volume.data, layout.block_shape, memory)
            for name, volume in volumes.items()
        },
        identify=lambda: {name: array_identity(volume.data) for name, volume in volumes.items()},
        pool=make_pool(threads, client),
        progress=progress,
        reads=[space.url] if space.url else [],
    )


def _volumes(space: Space) -> dict[str, xr.DataArray]:
    """Volumes that a store holds."""
    volumes = {
        "annotation": space.annotation,
        "template": space.template,
        "hemispheres": space.volume.hemispheres.volume,
    }
    return {name: volume for name, volume in volumes.items() if volume is not None}


def to_ome_zarr(
    space: Space,
    url: PathLike,
    *,
    version: Literal["0.4", "0.5"] = "0.5",
    orientation: str = "SPL",
    with_index: bool = True,
    chunks: int | Sequence[int] = 128,
    shards: int | Sequence[int] | None = None,
    overwrite: bool = False,
    resume: bool = True,
    storage_options: Mapping[str, Any] | None = None,
    memory: int = 2**30,
    threads: int | None = None,
    client: "Client | None" = None,
    progress: Progress | None = None,
) -> None:
    """Write a plain OME-Zarr image for other programs: the template, with the annotation as labels.

    The template is the root, and the annotation is ``labels/annotation`` with the names and colours
    of its structures. Without a template the annotation is both, of the same arrays. Axes are
    called z, y and x, are in micrometres, and state their directions; each level halves the one
    before. It appears whole or not at all. `to_zarr` writes what `refspace.open` needs.

    Parameters
    ----------
    url
        Path, or URL of any file system that fsspec writes to.
    version
        Version of OME-Zarr: 0.5, or 0.4 for programs that do not know it.
    orientation
        Directions in which the indices of z, y and x grow. In ``"SPL"``, those of ITK, positions
        are the same in programs that go by directions and in those that do not. In the annotation's
        own, like ``"PIR"``, slices along z are as they are here, and ITK has other positions.
    with_index
        Whether structures have the property ``index``, by which napari finds their names.
        napari-ome-zarr from 0.11 on needs it; with 0.8 to 0.10, napari opens only labels without.
    chunks, shards, overwrite, resume, storage_options, memory, threads, client, progress
        As for `to_zarr`.

    Raises
    ------
    FormatError
        If there is no such version, or shards are asked for in 0.4.
    GridError
        If the orientation is none, or the chunks are no lengths, or too large for the memory.
    StoreError
        As for `to_zarr`.

    Examples
    --------
    >>> import refspace, tempfile
    >>> url = tempfile.mkdtemp() + "/phantom.ome.zarr"
    >>> space = refspace.phantom(resolution=200)
    >>> space.to_ome_zarr(url)
    >>> labels = refspace.open(url + "/labels/annotation", structures=space.structure_tree)
    >>> labels.grid.orientation, labels.total_voxel_map == space.total_voxel_map
    ('SPL', True)
    """
    turned = reorient(space, orientation)
    volumes = {n: volume for n, volume in _volumes(turned).items() if n != "hemispheres"}
    layout = ExportLayout.from_layout(
        store_layout(
            turned.grid,
            {name: volume.dtype for name, volume in volumes.items()},
            chunks=chunks,
            shards=shards,
        ),
        version,
    )
    export_image(
        WriteTarget(os.fspath(url), resume, overwrite, storage_options),
        layout,
        space.structure_tree.nodes(),
        {
            name: BlockSource.from_array(volume.data, layout.block_shape, memory)
            for name, volume in volumes.items()
        },
        with_index=with_index,
        identify=lambda: {name: array_identity(volume.data) for name, volume in volumes.items()},
        pool=make_pool(threads, client),
        progress=progress,
        reads=[space.url] if space.url else [],
    )


def to_datatree(space: Space) -> xr.DataTree:
    """The space as a DataTree, laid out as a store is, along the frame; lazy.

    Returns
    -------
    xarray.DataTree
        ``s0``, ``s1``, …: ``annotation`` (and ``hemispheres``, where they are a volume; at ``s0``
        also ``template``) at this resolution and at halves of it; ``structures``: the ontology as
        columns. Its attributes hold all that `from_datatree` needs.

    Examples
    --------
    >>> import refspace
    >>> tree = refspace.phantom(resolution=50).to_datatree()
    >>> [level for level in tree.children], tree["s1/annotation"].shape
    (['s0', 's1', 's2', 'structures'], (132, 80, 114))
    """
    space = along_frame(space)
    levels = [_volumes(space)]
    for grid in level_grids(space.grid, (128, 128, 128))[1:]:
        finer = {name: v for name, v in levels[-1].items() if name != "template"}
        levels.append({n: downsample(v, grid.spacing, "mode") for n, v in finer.items()})
    return make_datatree(
        levels,
        space.structure_tree.nodes(),
        dict(space.provenance),
        space.volume.hemispheres.line,
    )


def from_datatree(
    from_volume: Callable[..., AnySpace], tree: xr.DataTree, *, resolution: Resolution | None = None
) -> AnySpace:
    """Space of a DataTree: what `ReferenceSpace.from_datatree` does."""
    level = TreeLevel.from_datatree(tree, resolution)
    volume = LabelVolume.from_array(
        level.annotation, hemispheres=level.hemispheres, midline=level.midline
    )
    return from_volume(
        StructureTree(level.nodes), volume, template=level.template, provenance=level.provenance
    )


def from_store(
    from_volume: Callable[..., AnySpace], atlas: StoredAtlas, tree: StructureTree, level: int
) -> AnySpace:
    """Space of a level of a store that was opened.

    Parameters
    ----------
    from_volume
        Makes the space, as `ReferenceSpace.from_volume` does.
    atlas
        The store.
    tree
        The structures: its own, or others.
    level
        Which of its resolutions, from 0 for the finest.
    """
    volume, template = _level(atlas, level)
    return from_volume(
        tree,
        volume,
        template=template,
        provenance=atlas.provenance,
        url=atlas.location.url,
        coarser=Once(functools.partial(_coarser_levels, atlas, level)),
    )


def _coarser_levels(atlas: StoredAtlas, level: int) -> tuple[Level, ...]:
    return tuple(_level(atlas, coarser) for coarser in range(level + 1, len(atlas.levels)))


def _level(atlas: StoredAtlas, level: int) -> Level:
    """Labels of a level of a store, and the template."""
    annotation = atlas.volume(level)
    hemispheres = atlas.volume(level, "hemispheres") if atlas.hemispheres else None
    # At every level the same: halves of an odd length have another middle.
    volume = LabelVolume.from_array(annotation, hemispheres=hemispheres, midline=atlas.line)
    if atlas.metadata is not None:
        blocks = BlockKnowledge.indexed(
            Once(functools.partial(atlas.index, level)),
            volume.chunks,
            Once(functools.partial(atlas.stored_bytes, level)),
            functools.partial(atlas.stored_bytes, level, "annotation"),
        )
        volume = volume.with_knowledge(blocks)
    elif (kept := atlas.levels[level].kept) is not None:
        volume = volume.with_knowledge(kept_knowledge(atlas, level, kept, volume.chunks))
    return volume, atlas.volume(level, "template") if atlas.template else None


def kept_knowledge(
    atlas: StoredAtlas, level: int, kept: "KeptIndex", chunks: Chunks
) -> BlockKnowledge:
    """What the label index that is kept of a level of another program's store says of its blocks.

    Parameters
    ----------
    atlas, level
        The store, and which of its resolutions.
    kept
        The index, which is looked for when something is asked for.
    chunks
        Chunks of the volume.
    """
    known = BlockKnowledge.indexed(Once(kept.index), chunks, Once(kept.stored_bytes))
    return replace(known, attach=functools.partial(_attached, atlas, level))


def _attached(
    atlas: StoredAtlas, level: int, url: str, storage_options: Mapping[str, Any] | None
) -> tuple[dask.array.Array, BlockKnowledge]:
    """Labels of a level whose index is the one at a path or URL, and what that says of them."""
    given = atlas.with_given_index(level, url, storage_options)
    labels = as_annotation(given.volume(level), None).data
    kept = given.levels[level].kept
    assert kept is not None
    return labels, kept_knowledge(given, level, kept, labels.chunks)
