"""Opening a reference space where it is stored."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from refspace.errors import FormatError
from refspace.formats.structures import read_structures
from refspace.formats.volumes import is_volume_file
from refspace.reference_space.space import ReferenceSpace
from refspace.store import open_atlas
from refspace.structure_tree import StructureTree


def open(
    url: str | os.PathLike[str],
    *,
    resolution: float | Sequence[float] | None = None,
    structures: StructureTree | str | os.PathLike[str] | None = None,
    orientation: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    engine: str = "fsspec",
    chunk_cache: str | os.PathLike[str] | None = None,
) -> ReferenceSpace:
    """Open a reference space where it is stored, lazily: no voxel is read.

    Parameters
    ----------
    url
        Path or URL (anything that fsspec opens) of a store that refspace wrote, or of an OME-Zarr
        label image, 0.4 or 0.5, of any program; or the path of an NRRD or NIfTI file.
    resolution
        µm per voxel of the level to open; the finest if not given. Of a file, as for `read_nrrd`.
    structures
        The structures, as a tree or as the path or URL of a file. A store of refspace has its own;
        with any other they must be given.
    orientation
        Direction in which the index of each axis grows, like ``"PIR"``; needed where the store
        does not state it, and must agree with what it states.
    storage_options
        What fsspec needs to reach the URL. Public buckets of the field, like ``s3://brainglobe``,
        are read without an account unless something else is given.
    engine
        What reads from other machines: ``"fsspec"``, or ``"obstore"`` where it is installed.
    chunk_cache
        Folder for copies of what is read from other machines, so that it is read from there once;
        the copies take up to 10 GiB, those that are of no use for longest make room.

    Returns
    -------
    ReferenceSpace
        Lazy; its counts, boxes and centroids come from the store's label index, and its masks and
        slices read only the chunks that the index leaves open.

    Raises
    ------
    StoreError
        If there is no store, or an unfinished one.
    RemoteError
        If it cannot be reached, after several attempts; names URL, object and cause.
    FormatError
        If it is damaged, or no label image; or if structures are missing.
    GridError
        If there is no level of the resolution, or the geometry is missing or contradictory.

    Examples
    --------
    >>> import refspace, tempfile
    >>> url = tempfile.mkdtemp() + "/phantom.zarr"
    >>> refspace.phantom(resolution=50).to_zarr(url)
    >>> space = refspace.open(url, resolution=100)
    >>> space.annotation.shape, space.total_voxel_map[385] > 0
    ((132, 80, 114), True)
    """
    tree = _tree(structures)
    if is_volume_file(url):
        return ReferenceSpace(tree or _lacking(url), url, resolution, orientation=orientation)
    atlas = open_atlas(
        os.fspath(url),
        storage_options=storage_options,
        resolution=resolution,
        orientation=orientation,
        engine=engine,
        chunk_cache=chunk_cache,
    )
    if tree is None:
        tree = StructureTree(atlas.nodes) if atlas.nodes else _lacking(url)
    return ReferenceSpace._of_store(atlas, tree, atlas.level(resolution))


def _tree(structures: StructureTree | str | os.PathLike[str] | None) -> StructureTree | None:
    if structures is None or isinstance(structures, StructureTree):
        return structures
    return read_structures(structures)


def _lacking(url: str | os.PathLike[str]) -> NoReturn:
    raise FormatError(
        f"{os.fspath(url)} names no structures; give structures=, a tree or the path of a "
        "structures file"
    )
