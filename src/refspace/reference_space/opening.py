"""Opening a reference space where it is stored."""

import os
from collections.abc import Mapping
from operator import methodcaller
from typing import Any, NoReturn

import xarray as xr

from refspace.errors import FormatError, GridError
from refspace.formats.names import is_volume_file, refuse_override
from refspace.formats.structures import read_structures
from refspace.formats.volumes import read_volume
from refspace.grid import Grid
from refspace.labels import (
    blocks_from_both_ends,
    check_both_sides,
    check_hemispheres_dtype,
    infer_grid,
    resolve_midline,
    turn_onto,
    warn_of_one_side,
)
from refspace.reference_space.space import ReferenceSpace
from refspace.reference_space.stores import from_store
from refspace.store import open_atlas, open_like
from refspace.structure_tree import StructureTree
from refspace.types import PathLike, Resolution


def open(
    url: PathLike,
    *,
    resolution: Resolution | None = None,
    structures: StructureTree | PathLike | None = None,
    orientation: str | None = None,
    override: bool = False,
    midline: float | None = None,
    hemispheres: xr.DataArray | PathLike | None = None,
    storage_options: Mapping[str, Any] | None = None,
    engine: str = "fsspec",
    chunk_cache: PathLike | None = None,
) -> ReferenceSpace:
    """Open a reference space where it is stored: a store, or a file of a volume.

    Parameters
    ----------
    url, resolution, structures, orientation, override, midline, hemispheres
        As for `refspace.open`, which opens atlases by name too.
    storage_options, engine, chunk_cache
        As for `refspace.open`, likewise.

    Raises
    ------
    StoreError, RemoteError, FormatError, GridError, AnnotationError
        As for `refspace.open`.

    Examples
    --------
    >>> import refspace, tempfile
    >>> url = tempfile.mkdtemp() + "/phantom.zarr"
    >>> refspace.phantom(resolution=200).to_zarr(url)
    >>> open(url)  # doctest: +ELLIPSIS
    <ReferenceSpace of 488 structures, ap 66 × dv 40 × ml 57 voxels of 200 × 200 × 200 µm, in ...>
    """
    tree = _tree(structures)
    if is_volume_file(url):
        voxels = read_volume(
            url,
            resolution=resolution,
            orientation=orientation,
            override=override,
            storage_options=storage_options,
        )
        return separated(ReferenceSpace(tree or _lacking(url), voxels), midline, hemispheres)
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
        tree = atlas.structures.tree() if atlas.structures else _lacking(url)
    space = from_store(ReferenceSpace.from_volume, atlas, tree, atlas.level(resolution))
    return separated(space, midline, hemispheres)


def separated(
    space: ReferenceSpace, midline: float | None, hemispheres: xr.DataArray | PathLike | None
) -> ReferenceSpace:
    """The same space, whose hemispheres are told apart as the caller says, if the caller does.

    Parameters
    ----------
    space
        A space that was opened.
    midline, hemispheres
        As for `refspace.open`.

    Raises
    ------
    GridError
        If both are given, the midline is no position, or the hemispheres are on another grid.
    AnnotationError
        If the hemispheres lack one, or are no integers.

    Warns
    -----
    UserWarning
        If the midline leaves a hemisphere without a voxel.

    Examples
    --------
    >>> import refspace
    >>> space = refspace.phantom(resolution=200)
    >>> separated(space, 5000, None).midline
    5000.0
    """
    if midline is None and hemispheres is None:
        return space
    if hemispheres is None:
        line = resolve_midline(midline, None, space.grid)
        warn_of_one_side(space.grid, line.position)
        return space.changed(methodcaller("separated", line, None))
    if midline is not None:
        raise GridError("midline= and hemispheres= both say which side a voxel is on; give one")
    if not isinstance(hemispheres, xr.DataArray):
        hemispheres = read_hemispheres(hemispheres, space.grid)
    elif hemispheres.variable._in_memory and hemispheres.chunks is None:
        check_both_sides([hemispheres.values])
    volume = space.volume.separated(space.volume.hemispheres.line, hemispheres)
    return space.with_volume(volume, space.template)


def read_hemispheres(path: PathLike, grid: Grid) -> xr.DataArray:
    """Hemispheres in a file or store, lazy, in the order of a grid; what they leave open is its.

    Of a store, its hemispheres, or else its label image. Blocks are read until both were seen.

    Raises
    ------
    GridError
        If they lie elsewhere.
    AnnotationError
        As for `refspace.open`.
    """
    sides = _sides_like(path, grid).drop_vars("hemisphere", errors="ignore")
    turned = turn_onto(sides, grid)
    if not infer_grid(turned).matches(grid):
        raise GridError(
            f"the volume of hemispheres {os.fspath(path)} lies on {infer_grid(sides)}, the "
            f"annotation on {grid}: resample it"
        )
    check_hemispheres_dtype(turned.dtype)
    check_both_sides(blocks_from_both_ends(turned))
    return turned


def _sides_like(path: PathLike, grid: Grid) -> xr.DataArray:
    """Volume of hemispheres, whose statements are completed by a grid as far as they are open."""
    if is_volume_file(path):
        return read_volume(path, like=grid)
    return open_like(os.fspath(path), grid, ("hemispheres", "annotation"))


def _tree(structures: StructureTree | PathLike | None) -> StructureTree | None:
    if structures is None or isinstance(structures, StructureTree):
        return structures
    return read_structures(structures)


def _lacking(url: PathLike) -> NoReturn:
    raise FormatError(
        f"{os.fspath(url)} names no structures; give structures=, a tree or the path of a "
        "structures file"
    )
