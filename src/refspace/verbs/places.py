"""Where structures are: bounding boxes and centroids, from the label index."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from refspace.errors import AnnotationError
from refspace.types import BACKGROUND, StructuresLike
from refspace.verbs.space import Space


@dataclass(frozen=True)
class Bounds:
    """Bounding box of structures.

    Parameters
    ----------
    voxels
        Range of voxel indices along each axis, as `xarray.DataArray.isel` takes it.
    positions
        Lowest and highest position of these voxels along each axis, in µm.
    """

    voxels: Mapping[str, slice]
    positions: Mapping[str, tuple[float, float]]


def bounds(space: Space, structure_ids: StructuresLike, direct_only: bool = False) -> Bounds:
    """Bounding box of the union of some structures.

    Parameters
    ----------
    structure_ids
        The structures.
    direct_only
        Whether to leave out their descendants.

    Returns
    -------
    Bounds
        The box in voxels and in µm. It comes from the label index of a store; of anything else the
        first call reads the volume.

    Raises
    ------
    StructureNotFoundError
        If there is no such structure.
    AnnotationError
        If none of the structures has a voxel.

    Examples
    --------
    >>> import refspace
    >>> space = refspace.phantom(resolution=200)
    >>> bounds = space.bounds("VISp")
    >>> bounds.voxels["dv"], bounds.positions["dv"]
    (slice(3, 13, None), (600.0, 2600.0))
    """
    box = bounding_box(space, structure_ids, direct_only)
    part = space.grid.crop(*box)
    return Bounds(
        {dim: slice(*ends) for dim, *ends in zip(space.grid.dims, *box, strict=True)},
        {dim: part.edges(dim) for dim in part.dims},
    )


def centroid(
    space: Space, structure_ids: StructuresLike, direct_only: bool = False
) -> dict[str, float]:
    """Centre of mass of the union of some structures.

    Parameters
    ----------
    structure_ids, direct_only
        As for `bounds`.

    Returns
    -------
    dict
        Mean position along each axis in µm. That of both hemispheres together often lies between
        them: ``space.hemisphere("left").centroid(…)`` is that of one.

    Raises
    ------
    StructureNotFoundError, AnnotationError
        As for `bounds`.

    Examples
    --------
    >>> import refspace
    >>> space = refspace.phantom(resolution=200)
    >>> {dim: round(x) for dim, x in space.centroid("VISp").items()}
    {'ap': 8906, 'dv': 1357, 'ml': 5700}
    >>> round(space.hemisphere("left").centroid("VISp")["ml"])
    3228
    """
    ids = space.structure_tree.resolve(structure_ids)
    bounding_box(space, ids, direct_only)  # raises where there is no voxel
    labels = subtree_labels(space, ids, direct_only)
    count, sums = space.label_index.coordinate_sums(labels)
    return {
        dim: space.grid.position(dim, total / count + 0.5)
        for dim, total in zip(space.grid.dims, sums, strict=True)
    }


def bounding_box(
    space: Space, structure_ids: StructuresLike, direct_only: bool
) -> tuple[Sequence[int], Sequence[int]]:
    """Corners of the box of structures in voxels, half open.

    Raises
    ------
    StructureNotFoundError, AnnotationError
        As for `bounds`.
    """
    ids = space.structure_tree.resolve(structure_ids)
    box = space.label_index.extent(subtree_labels(space, ids, direct_only))
    if box is None:
        listed = ", ".join(map(str, ids)) or "an empty list"
        side = space.volume.hemispheres.side
        where = f"in the {side} hemisphere" if side else "here"
        raise AnnotationError(f"{listed} has no voxels {where}; total_voxel_map says which have")
    return box


def subtree_labels(space: Space, structure_ids: StructuresLike, direct_only: bool) -> list[int]:
    """Labels of the voxels of structures: their own ids, and those of their subtrees.

    0 is not among them: it is outside, whatever structure has it as its id.
    """
    ids = space.structure_tree.resolve(structure_ids)
    subtrees = [ids] if direct_only else space.structure_tree.descendant_ids(ids)
    return [i for subtree in subtrees for i in subtree if i != BACKGROUND]
