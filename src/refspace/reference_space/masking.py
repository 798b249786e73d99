"""Verbs that tell inside from outside: masks, and the space cropped to structures."""

import functools
import math
import operator
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from refspace.errors import GridError
from refspace.formats.nrrd import write_nrrd
from refspace.grid import Hemisphere
from refspace.label_index import MIXED, BlockLabels
from refspace.labels import HEMISPHERES
from refspace.ops.relabel import mask
from refspace.ops.sides import keep
from refspace.reference_space.measuring import Measuring
from refspace.types import BACKGROUND


@dataclass(frozen=True)
class ReadPlan:
    """What a mask of some structures will read.

    Parameters
    ----------
    blocks
        Numbers of the blocks that are read, along each axis.
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


class Masking(Measuring):
    """Masks of structures, and the space cropped to them."""

    # ----- masks

    def make_structure_mask(
        self,
        structure_ids: Any,
        direct_only: bool = False,
        *,
        crop: bool = False,
        hemisphere: Hemisphere | None = None,
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
        hemisphere
            ``"left"`` or ``"right"``, where the mask is to be 0 in the other.

        Returns
        -------
        xarray.DataArray
            uint8, 1 inside and 0 outside; lazy, dims and coordinates of the annotation. Its
            attribute ``structure_ids`` holds the ids that were asked for, and ``hemisphere`` the
            hemisphere if one was. Blocks that lie in the other one are not read.

        Raises
        ------
        StructureNotFoundError
            If there is no such structure.
        AnnotationError
            If the mask is to be cropped to structures without voxels.
        GridError
            If there is no such hemisphere.

        Examples
        --------
        >>> import refspace
        >>> space = refspace.phantom(resolution=200)
        >>> mask = space.make_structure_mask(["VISp", 1011])
        >>> int(mask.sum()) == space.total_voxel_map[385] + space.total_voxel_map[1011]
        True
        """
        ids = self.structure_tree.resolve(structure_ids)
        if crop:
            part = self.crop(ids, direct_only=direct_only, hemisphere=hemisphere)
            return part.make_structure_mask(ids, direct_only, hemisphere=hemisphere)
        labels = self._labels_of(ids, direct_only)
        if hemisphere is None:
            inside = mask(self._annotation, labels, self._block_labels)
            return inside.assign_attrs(structure_ids=ids)
        inside = self._mask_of_side(labels, hemisphere)
        return inside.assign_attrs(structure_ids=ids, hemisphere=hemisphere)

    def _mask_of_side(self, labels: Sequence[int], hemisphere: Hemisphere) -> xr.DataArray:
        """Mask of the voxels of a hemisphere that have some labels."""
        side, own, known = self._part(hemisphere), self._own_hemispheres, self._block_labels
        if own is not None:
            verdicts = None if known is None else known.verdicts(labels)
            inside = mask(self._annotation, labels, known)
            return keep(inside, own, HEMISPHERES[hemisphere], verdicts)
        if self._is_empty(hemisphere):
            return mask(side.annotation, [], side._block_labels)
        return self._in_place(mask(side.annotation, labels, side._block_labels), hemisphere)

    def labels_within(
        self, hemisphere: Hemisphere | None = None
    ) -> tuple[xr.DataArray, BlockLabels | None]:
        """Annotation of a hemisphere on the grid of the whole, and what is known of its blocks.

        Parameters
        ----------
        hemisphere
            ``"left"`` or ``"right"``, where the annotation is to be 0 in the other.

        Returns
        -------
        annotation
            Lazy, chunked as the annotation of the space.
        labels
            Labels that may be in each block, where they are known without reading it.

        Raises
        ------
        GridError
            If there is no such hemisphere.

        Examples
        --------
        >>> import refspace
        >>> space = refspace.phantom(resolution=400)
        >>> left, known = space.labels_within("left")
        >>> counts = space.voxel_counts(hemisphere="left")
        >>> int((left == 672).sum()) == int(counts["direct"].sel(structure=672))
        True
        """
        known = self._block_labels
        if hemisphere is None:
            return self._annotation, known
        side = self._part(hemisphere)
        if self._own_hemispheres is not None or self._is_empty(hemisphere):
            return side._annotation, side._block_labels
        whole = self._in_place(side._annotation, hemisphere)
        whole = whole.copy(data=whole.data.rechunk(self._annotation.data.chunks))
        return whole, None if known is None else known.with_label(BACKGROUND)

    def many_structure_masks(
        self,
        structure_ids: Any,
        output_cb: Callable[[int, Callable[[], Any]], Any] | None = None,
        direct_only: bool = False,
        *,
        hemisphere: Hemisphere | None = None,
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
        hemisphere
            ``"left"`` or ``"right"``, where the masks are to be 0 in the other.

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
        callback = self.return_mask_cb if output_cb is None else output_cb
        for i in self.structure_tree.resolve(structure_ids):
            make = functools.partial(
                self.make_structure_mask, [i], direct_only, hemisphere=hemisphere
            )
            yield callback(i, make)

    @staticmethod
    def return_mask_cb(structure_id: int, fn: Callable[[], Any]) -> tuple[int, Any]:
        """Pair of a structure's id and its mask, for `many_structure_masks`."""
        return structure_id, fn()

    @staticmethod
    def check_and_write(
        base_dir: str | os.PathLike[str], structure_id: int, fn: Callable[[], Any]
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
            path.parent.mkdir(parents=True, exist_ok=True)
            write_nrrd(path, fn())
        return structure_id

    # ----- parts

    def crop(
        self,
        structure_ids: Any,
        *,
        pad: float | Sequence[float] = 0,
        direct_only: bool = False,
        hemisphere: Hemisphere | None = None,
    ) -> Self:
        """The space within the bounding box of some structures; voxels keep their coordinates.

        Parameters
        ----------
        structure_ids
            The structures.
        pad
            µm to add on each side, one number or one for each axis; rounded up to whole voxels,
            and cut off at the ends of the volume.
        direct_only
            Whether to leave out the structures' descendants.
        hemisphere
            ``"left"`` or ``"right"``, where the box is to hold what lies there.

        Returns
        -------
        ReferenceSpace
            Lazy; whatever is asked of it reads blocks of the box alone. The midline stays where it
            is: a pad may cross it.

        Raises
        ------
        StructureNotFoundError, AnnotationError
            As for `bounds`.
        GridError
            If the pad is negative or no length, or there is no such hemisphere.

        Examples
        --------
        >>> import refspace
        >>> space = refspace.phantom(resolution=200)
        >>> part = space.crop("VISp", pad=400)
        >>> part.annotation.sizes["dv"], float(part.annotation.dv[0])
        (14, 300.0)
        """
        box = self._padded(self._box(structure_ids, direct_only, hemisphere), pad)
        inside = dict(zip(self.grid.dims, box, strict=True))
        template, own = (
            None if volume is None else volume.isel(inside)
            for volume in (self._template, self._own_hemispheres)
        )
        annotation = self._annotation.isel(inside)
        part = self._derived(annotation, template=template, hemispheres=own)
        if self._block_labels is not None:
            # What may be in a block may be in a part of it.
            part._labels_of_whole = self._block_labels.crop(box)
        if self._read_stored_bytes is not None:
            chunks = self._annotation.data.chunks
            part._read_stored_bytes = functools.partial(
                _within, self._read_stored_bytes, chunks, box
            )
        return part

    def _padded(
        self, box: tuple[Sequence[int], Sequence[int]], pad: float | Sequence[float]
    ) -> tuple[slice, ...]:
        # To a billionth of a voxel, as positions are.
        steps = zip(_lengths(pad), self.resolution, strict=True)
        voxels = [math.ceil(round(length / step, 9)) for length, step in steps]
        axes = zip(*box, voxels, self.grid.shape, strict=True)
        return tuple(slice(max(0, a - n), min(count, b + n)) for a, b, n, count in axes)

    def plan(
        self,
        structure_ids: Any,
        direct_only: bool = False,
        *,
        hemisphere: Hemisphere | None = None,
    ) -> ReadPlan:
        """Say what a mask of some structures will read, before anything does.

        Parameters
        ----------
        structure_ids, direct_only, hemisphere
            As for `make_structure_mask`.

        Returns
        -------
        ReadPlan
            Blocks of the annotation, and bytes; all of them where nothing is known of the blocks.

        Raises
        ------
        StructureNotFoundError
            If there is no such structure.
        GridError
            If there is no such hemisphere.

        Examples
        --------
        >>> import refspace
        >>> print(refspace.phantom(resolution=100).plan("VISp"))
        reads 2 of 2 blocks: 4.82 MB
        """
        sizes = self._annotation.data.chunks
        read = self._blocks_read(self._labels_of(structure_ids, direct_only), hemisphere)
        blocks = tuple(tuple(number) for number in np.argwhere(read).tolist())
        voxels = sum(
            math.prod(axis[i] for axis, i in zip(sizes, number, strict=True)) for number in blocks
        )
        stored = self._stored_bytes
        return ReadPlan(
            blocks,
            read.size,
            voxels * self._annotation.dtype.itemsize,
            None if stored is None else int(stored[read.ravel()].sum()),
        )

    def _blocks_read(
        self, labels: Sequence[int], hemisphere: Hemisphere | None
    ) -> NDArray[np.bool_]:
        """Which blocks of the annotation a mask of some labels reads."""
        side, is_part = self._part(hemisphere), hemisphere and self._own_hemispheres is None
        known, chunks = (side if is_part else self)._block_labels, self._annotation.data.chunks
        asked = True if known is None else known.verdicts(labels) == MIXED
        read = np.zeros(tuple(map(len, chunks)), bool)
        if hemisphere is None or not is_part:
            read[...] = asked
        elif not self._is_empty(hemisphere):
            axis, place = self._grid.axis("ml"), self._place(hemisphere)["ml"]
            stops = np.cumsum(chunks[axis])
            meets = (stops > place.start) & (stops - chunks[axis] < place.stop)
            read[(slice(None),) * axis + (meets,)] = asked
        return read


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


def _within(
    read: Callable[[], NDArray[Any]], chunks: Sequence[Sequence[int]], box: Sequence[slice]
) -> NDArray[Any]:
    """Of a number for each block of an array, those of the blocks that a part of it meets."""
    blocks = []
    for sizes, part in zip(chunks, box, strict=True):
        ends = np.cumsum(sizes)
        first = np.searchsorted(ends, part.start, side="right")
        blocks.append(slice(first, np.searchsorted(ends, part.stop) + 1))
    return read().reshape([len(sizes) for sizes in chunks])[tuple(blocks)].ravel()
