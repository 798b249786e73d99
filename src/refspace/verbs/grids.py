"""The same space on another grid: a part of it, one hemisphere, another resolution or order."""

import functools
import math
import os
from collections.abc import Mapping, Sequence
from operator import methodcaller
from typing import Any

import numpy as np

from refspace.errors import GridError
from refspace.grid import Hemisphere
from refspace.labels import Method, crop_volume
from refspace.labels import in_frame as in_frame_array
from refspace.labels import reorient as reorient_array
from refspace.types import PathLike, Resolution, StructuresLike
from refspace.verbs.places import bounding_box
from refspace.verbs.space import AnySpace


def crop(
    space: AnySpace,
    structure_ids: StructuresLike,
    *,
    pad: float | Sequence[float] = 0,
    direct_only: bool = False,
) -> AnySpace:
    """The space within the bounding box of some structures; voxels keep their coordinates.

    Parameters
    ----------
    structure_ids
        The structures.
    pad
        µm to add on each side, one number or one for each axis; rounded up to whole voxels, and cut
        off at the ends of the volume.
    direct_only
        Whether to leave out the structures' descendants.

    Returns
    -------
    ReferenceSpace
        Lazy; it reads blocks of the box alone. The midline stays where it is.

    Raises
    ------
    StructureNotFoundError, AnnotationError
        As for `bounds`.
    GridError
        If the pad is negative or no length.

    Examples
    --------
    >>> import refspace
    >>> space = refspace.phantom(resolution=200)
    >>> part = space.crop("VISp", pad=400)
    >>> part.annotation.sizes["dv"], float(part.annotation.dv[0])
    (14, 300.0)
    """
    box = _pad(space, bounding_box(space, structure_ids, direct_only), pad)
    inside = dict(zip(space.grid.dims, box, strict=True))
    template = None if space.template is None else crop_volume(space.template, inside)
    volume = space.volume
    if volume.hemispheres.side is None:
        # The box comes from the label index, which also says what blocks of the part may hold.
        volume = volume.with_index()
    return space.with_volume(volume.crop(box), template)


def _pad(
    space: AnySpace, box: tuple[Sequence[int], Sequence[int]], pad: float | Sequence[float]
) -> tuple[slice, ...]:
    # To a billionth of a voxel, as positions are.
    steps = zip(_lengths(pad), space.resolution, strict=True)
    voxels = [math.ceil(round(length / step, 9)) for length, step in steps]
    axes = zip(*box, voxels, space.grid.shape, strict=True)
    return tuple(slice(max(0, a - n), min(count, b + n)) for a, b, n, count in axes)


def _lengths(pad: float | Sequence[float]) -> list[float]:
    """µm on each side along each axis, from one number or three."""
    try:
        lengths: list[float] = np.broadcast_to(np.asarray(pad, np.float64), 3).tolist()
    except (TypeError, ValueError):
        lengths = [math.nan]
    if not all(0 <= length < math.inf for length in lengths):
        raise GridError(
            f"pad is {pad!r}; give µm to add on each side, one number or three in the order of "
            "the axes, none of them negative"
        )
    return lengths


def hemisphere(space: AnySpace, side: Hemisphere) -> AnySpace:
    """The space of one hemisphere: the same grid, and 0 in the other hemisphere.

    Parameters
    ----------
    side
        ``"left"`` or ``"right"``.

    Returns
    -------
    ReferenceSpace
        Lazy. Every verb works on it, and reads nothing of the other hemisphere; counts, boxes and
        centroids come from the label index as they do for both.

    Raises
    ------
    GridError
        If there is no such hemisphere.

    Examples
    --------
    >>> import refspace
    >>> space = refspace.phantom(resolution=200)
    >>> left = space.hemisphere("left")
    >>> left
    <ReferenceSpace of 488 structures, left hemisphere, ap 66 × dv 40 × ml 57 voxels of 200 × 200 × 200 µm>
    >>> left.bounds("VISp").positions["ml"]
    (2000.0, 4400.0)
    """  # noqa: E501
    return space.changed(methodcaller("hemisphere", side))


def downsample(
    space: AnySpace,
    target_resolution: Resolution,
    method: Method = "nearest",
    *,
    upsample: bool = False,
) -> AnySpace:
    """The same space at another resolution.

    Parameters
    ----------
    target_resolution
        µm per voxel, one number or one for each axis; any ratio.
    method
        ``"nearest"``: the voxel that contains the centre of the new one. ``"mode"``: the label that
        fills most of the new voxel, the smaller id of equal ones. ``"corner"``: the voxel that
        contains the corner of the new one where coordinates are lowest, as Allen published its
        coarser annotations; half a voxel of the result off its coordinates, less half a source
        voxel. ``"allensdk"``: the voxels that AllenSDK takes; up to half a voxel of the result off
        its coordinates.
    upsample
        Whether the result may be finer than the space, which adds voxels but no detail.

    Returns
    -------
    ReferenceSpace
        Lazy, without a template, ``round(n * resolution / target)`` voxels along each axis; its
        midline stays where it is.

    Raises
    ------
    GridError
        If no voxel is left, the result would be finer and `upsample` does not allow it, or there is
        no such method.

    Examples
    --------
    >>> import refspace
    >>> refspace.phantom(resolution=100).downsample(200, method="mode").annotation.shape
    (66, 40, 57)
    """
    return space.with_volume(space.volume.downsample(target_resolution, method, upsample=upsample))


def reorient(space: AnySpace, orientation: str) -> AnySpace:
    """The same space with its axes in another order and other directions.

    Parameters
    ----------
    orientation
        Direction in which the index of each axis grows, like ``"RAS"``.

    Returns
    -------
    ReferenceSpace
        Lazy: transposed and flipped views, also of the template and the hemispheres. No coordinate
        changes: along an axis that is stored against the frame they fall with the index. What is
        known of the blocks stays known.

    Raises
    ------
    GridError
        If the orientation is not one.

    Examples
    --------
    >>> import refspace
    >>> space = refspace.phantom(resolution=200)
    >>> turned = space.reorient("RAS")
    >>> turned.annotation.dims, turned.annotation.shape
    (('ml', 'ap', 'dv'), (57, 66, 40))
    >>> {dim: round(x) for dim, x in turned.centroid("VISp").items()}
    {'ml': 5700, 'ap': 8906, 'dv': 1357}
    """
    turn = functools.partial(reorient_array, orientation=orientation)
    return space.changed(methodcaller("reorient", orientation), turn)


def in_frame(space: AnySpace, frame: str) -> AnySpace:
    """The same space with its coordinates expressed in another frame.

    Parameters
    ----------
    frame
        Three letters, for x, y and z: the direction in which coordinates grow. ``"RAS"`` is the
        world of NIfTI, ``"PIR"`` that of the Allen CCF.

    Returns
    -------
    ReferenceSpace
        Lazy: voxels stay in their order. Coordinates that grow the other way are negated, that of
        the midline too: both frames are 0 at the same place.

    Raises
    ------
    GridError
        If there is no such frame.

    Examples
    --------
    >>> import refspace
    >>> space = refspace.phantom(resolution=200).in_frame("RAS")
    >>> space.annotation.dims, space.grid.frame
    (('ap', 'dv', 'ml'), 'RAS')
    >>> {dim: round(x) for dim, x in space.centroid("VISp").items()}
    {'ap': -8906, 'dv': -1357, 'ml': 5700}
    """
    express = functools.partial(in_frame_array, frame=frame)
    return space.changed(methodcaller("in_frame", frame), express)


def along_frame(space: AnySpace) -> AnySpace:
    """The same space stored along its frame, as stores are: no coordinate falls with the index."""
    orientation = space.grid.orientation_along_frame
    return space if orientation == space.grid.orientation else reorient(space, orientation)


def with_index(
    space: AnySpace,
    source: PathLike | None = None,
    *,
    storage_options: Mapping[str, Any] | None = None,
) -> AnySpace:
    """The same space with a label index: what stores bring, measured for any other array.

    Verbs read less of such a space: counts and boxes no voxel, masks no block in which the result
    does not vary.

    Parameters
    ----------
    source
        Path or URL of an index that `write_index` has made of the very labels, of a space as it was
        opened. If not given, the index that is kept beside the image or in the cache, or else a
        new one.
    storage_options
        What fsspec needs to reach the source.

    Returns
    -------
    ReferenceSpace
        The volume was read once, unless it has an index already or one was given.

    Raises
    ------
    AnnotationError
        If an index is given to a space that is none of another program's store, as it was opened.
    FormatError
        If the index that is given is none, is damaged, or is one of other labels.

    Examples
    --------
    >>> import refspace
    >>> space = refspace.phantom(resolution=200)
    >>> space.block_labels is None, space.with_index().block_labels is None
    (True, False)
    """
    if source is None:
        indexed = space.volume.with_index()
    else:
        indexed = space.volume.with_kept_index(os.fspath(source), storage_options)
    return space if indexed is space.volume else space.with_volume(indexed, space.template)
