"""Opening a reference space where it is stored."""

import os
from collections.abc import Mapping
from typing import Any, NoReturn

from refspace.errors import FormatError
from refspace.formats.structures import read_structures
from refspace.formats.volumes import is_volume_file, read_volume, refuse_override
from refspace.reference_space.space import ReferenceSpace
from refspace.reference_space.stores import from_store
from refspace.store import open_atlas
from refspace.structure_tree import StructureTree
from refspace.types import PathLike, Resolution


def open(
    url: PathLike,
    *,
    resolution: Resolution | None = None,
    structures: StructureTree | PathLike | None = None,
    orientation: str | None = None,
    override: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    engine: str = "fsspec",
    chunk_cache: PathLike | None = None,
) -> ReferenceSpace:
    """Open a reference space where it is stored: a store, or a file of voxels.

    Parameters
    ----------
    url, resolution, structures, orientation, override, storage_options, engine, chunk_cache
        As for `refspace.open`, which opens atlases by name too.

    Raises
    ------
    StoreError, RemoteError, FormatError, GridError
        As for `refspace.open`.

    Examples
    --------
    >>> import refspace, tempfile
    >>> url = tempfile.mkdtemp() + "/phantom.zarr"
    >>> refspace.phantom(resolution=200).to_zarr(url)
    >>> open(url)
    <ReferenceSpace of 488 structures, ap 66 × dv 40 × ml 57 voxels of 200 × 200 × 200 µm>
    """
    tree = _tree(structures)
    if is_volume_file(url):
        voxels = read_volume(url, resolution=resolution, orientation=orientation, override=override)
        return ReferenceSpace(tree or _lacking(url), voxels)
    refuse_override(url, override)
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
    return from_store(ReferenceSpace.from_volume, atlas, tree, atlas.level(resolution))


def _tree(structures: StructureTree | PathLike | None) -> StructureTree | None:
    if structures is None or isinstance(structures, StructureTree):
        return structures
    return read_structures(structures)


def _lacking(url: PathLike) -> NoReturn:
    raise FormatError(
        f"{os.fspath(url)} names no structures; give structures=, a tree or the path of a "
        "structures file"
    )
