"""Masks of structures, and how much is read to make one."""

import functools
import math
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import xarray as xr

from refspace.files import make_folder
from refspace.formats.nrrd import write_nrrd
from refspace.ops.relabel import mask
from refspace.structure_tree import StructureTree
from refspace.types import PathLike, StructuresLike
from refspace.verbs.grids import crop as crop_to
from refspace.verbs.places import subtree_labels
from refspace.verbs.space import Space


def make_structure_mask(
    space: Space, structure_ids: StructuresLike, direct_only: bool = False, *, crop: bool = False
) -> xr.DataArray:
    """Mask of the union of some structures.

    Parameters
    ----------
    structure_ids
        The structures.
    direct_only
        Whether to leave out their descendants.
    crop
        Whether to return the mask of the bounding box alone, at its coordinates.

    Returns
    -------
    xarray.DataArray
        bool, True inside; lazy, dims, coordinates and chunks of the annotation; files of masks
        hold 0 and 1. Its attribute ``structure_ids`` holds the ids that were asked for, and
        ``hemisphere`` the hemisphere if the space is of one.

    Raises
    ------
    StructureNotFoundError
        If there is no such structure.
    AnnotationError
        If the mask is to be cropped to structures without voxels.

    Examples
    --------
    >>> import refspace
    >>> space = refspace.phantom(resolution=200)
    >>> mask = space.make_structure_mask(["VISp", 1011])
    >>> int(mask.sum()) == space.total_voxel_map[385] + space.total_voxel_map[1011]
    True
    >>> left = space.hemisphere("left").make_structure_mask("VISp")
    >>> int(left.sum()) < space.total_voxel_map[385]
    True
    """
    ids = space.structure_tree.resolve(structure_ids)
    if crop:
        space = crop_to(space, ids, direct_only=direct_only)
    labels = subtree_labels(space, ids, direct_only)
    inside = space.volume.map_labels(lambda volume, known: mask(volume, labels, known), labels)
    return inside.assign_attrs(structure_ids=ids, **space.volume.hemispheres.attrs)


class MakesMasks(Protocol):
    """A space with a method that makes masks, which a subclass may have replaced."""

    @property
    def structure_tree(self) -> StructureTree:
        """The structures."""
        ...

    def make_structure_mask(
        self, structure_ids: StructuresLike, direct_only: bool = False
    ) -> xr.DataArray:
        """Mask of the union of some structures."""
        ...


def many_structure_masks(
    space: MakesMasks,
    structure_ids: StructuresLike,
    output_cb: Callable[[int, Callable[[], xr.DataArray]], Any] | None = None,
    direct_only: bool = False,
) -> Iterator[Any]:
    """Masks of many structures, one after the other.

    Parameters
    ----------
    structure_ids
        The structures.
    output_cb
        Called with each id and a function that makes the mask; what it returns is yielded.
        `return_mask_cb` if not given; `check_and_write` writes files.
    direct_only
        Whether to leave out the structures' descendants.

    Yields
    ------
    object
        What the callback returns; nothing runs until it is asked for.

    Examples
    --------
    >>> import refspace
    >>> space = refspace.phantom(resolution=400)
    >>> [(i, int(mask.sum()) > 0) for i, mask in space.many_structure_masks(["VISp", "CP"])]
    [(385, True), (672, True)]
    """
    callback = return_mask_cb if output_cb is None else output_cb
    for i in space.structure_tree.resolve(structure_ids):
        # The method and not the function of this module, as in AllenSDK: a subclass that makes
        # masks in its own way makes these so too.
        yield callback(i, functools.partial(space.make_structure_mask, [i], direct_only))


def return_mask_cb(structure_id: int, fn: Callable[[], xr.DataArray]) -> tuple[int, xr.DataArray]:
    """Pair of a structure's id and its mask, for `many_structure_masks`.

    Examples
    --------
    >>> return_mask_cb(385, lambda: xr.DataArray([0, 1]))[1].values
    array([0, 1])
    """
    return structure_id, fn()


def check_and_write(
    base_dir: PathLike, structure_id: int, fn: Callable[[], xr.DataArray | np.ndarray[Any, Any]]
) -> int:
    """Write a structure's mask as ``structure_{id}.nrrd`` unless that file exists.

    Parameters
    ----------
    base_dir
        Folder; made if missing. Bind it with `functools.partial` for `many_structure_masks`.
    structure_id
        The structure.
    fn
        Makes the mask.

    Returns
    -------
    int
        The structure's id.

    Examples
    --------
    >>> import tempfile
    >>> from refspace import ReferenceSpace
    >>> write = functools.partial(ReferenceSpace.check_and_write, tempfile.mkdtemp())
    >>> write(385, lambda: np.ones((2, 2, 2), np.uint8))
    385
    """
    # An index, so that no text can lead the path out of the folder.
    structure_id = int(operator.index(structure_id))
    path = Path(base_dir) / f"structure_{structure_id}.nrrd"
    if not path.exists():
        make_folder(path.parent)
        write_nrrd(path, fn())
    return structure_id


# ----- what a mask reads


@dataclass(frozen=True)
class ReadPlan:
    """What a mask of some structures will read.

    Parameters
    ----------
    blocks
        Ids of the blocks of the annotation that are read: their positions along each axis.
    block_count
        Number of blocks of the whole annotation.
    nbytes
        Bytes of these blocks once they are decoded.
    stored_bytes
        Bytes of them in the store, as they are read; None if they come from no store of refspace.
    """

    blocks: tuple[tuple[int, ...], ...]
    block_count: int
    nbytes: int
    stored_bytes: int | None

    def __str__(self) -> str:
        stored = (
            "" if self.stored_bytes is None else f", {self.stored_bytes / 1e6:.3g} MB as stored"
        )
        return (
            f"reads {len(self.blocks)} of {self.block_count} blocks: "
            f"{self.nbytes / 1e6:.3g} MB{stored}"
        )


def plan(space: Space, structure_ids: StructuresLike, direct_only: bool = False) -> ReadPlan:
    """Say what a mask of some structures will read, before anything does.

    Parameters
    ----------
    structure_ids, direct_only
        As for `make_structure_mask`.

    Returns
    -------
    ReadPlan
        Blocks of the annotation, and bytes; all of them where nothing is known of the blocks.

    Raises
    ------
    StructureNotFoundError
        If there is no such structure.

    Examples
    --------
    >>> import refspace
    >>> print(refspace.phantom(resolution=100).plan("VISp"))
    reads 2 of 2 blocks: 4.82 MB
    """
    chunks = space.volume.chunks
    read = space.volume.blocks_read(subtree_labels(space, structure_ids, direct_only))
    blocks = tuple(tuple(block_id) for block_id in np.argwhere(read).tolist())
    voxels = sum(
        math.prod(sizes[i] for sizes, i in zip(chunks, block_id, strict=True))
        for block_id in blocks
    )
    stored = space.volume.stored_bytes
    return ReadPlan(
        blocks,
        read.size,
        voxels * space.annotation.dtype.itemsize,
        None if stored is None else int(stored[read].sum()),
    )
