"""A label array that knows its grid, its hemispheres, and what its blocks hold."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from refspace.blockwise.hemisphere import hemispheres_of_line, keep_slab, keep_where
from refspace.blockwise.sources import UNKNOWN as UNKNOWN_LABEL
from refspace.blockwise.sources import sole_labels
from refspace.errors import AnnotationError
from refspace.grid import Grid, Hemisphere
from refspace.label_index import (
    MIXED,
    OUT,
    BlockLabels,
    Chunks,
    LabelIndex,
    PartedIndex,
    cut_at_midline,
)
from refspace.labels.annotation import as_annotation, infer_grid
from refspace.labels.counting import count_labels
from refspace.labels.cropping import crop_volume
from refspace.labels.hemispheres import (
    HEMISPHERES,
    HEMISPHERES_ATTRS,
    Hemispheres,
    as_hemispheres,
    check_hemisphere,
    hemisphere_line,
    stated_midline,
    with_hemispheres,
)
from refspace.labels.knowledge import (
    UNKNOWN,
    BlockKnowledge,
    Box,
    Once,
    labels_of_index,
)
from refspace.labels.measuring import measure_labels
from refspace.labels.midline import Midline, midline_in_frame, resolve_midline
from refspace.labels.reorienting import in_frame, reorient, turn_onto
from refspace.labels.resampling import Method, downsample
from refspace.types import BACKGROUND, ArrayLike, Resolution

LabelOperation: TypeAlias = Callable[[xr.DataArray, BlockLabels | None], xr.DataArray]


@dataclass(frozen=True, eq=False)
class LabelVolume:
    """Labels on a grid; a value, of which every method returns another.

    This is the only place that knows how hemispheres are told apart, and where a label index comes
    from. Verbs ask it for `data` and `block_labels`, whether it is of both hemispheres or of one.

    Parameters
    ----------
    labels
        Labels of both hemispheres over ap, dv and ml, dask-backed, with coordinates.
    grid
        Where the voxels are.
    hemispheres
        How hemispheres are told apart, and to which of them the volume is reduced.
    blocks
        What is known of the blocks of `labels` without reading them.

    Examples
    --------
    >>> import numpy as np
    >>> volume = LabelVolume.from_array(np.array([[[7, 7, 9, 0]]], "u4"), 10)
    >>> left = volume.hemisphere("left")
    >>> left.data.values.tolist(), left.label_counts
    ([[[7, 7, 0, 0]]], {0: 2, 7: 2})
    """

    labels: xr.DataArray
    grid: Grid
    hemispheres: Hemispheres
    blocks: BlockKnowledge = UNKNOWN

    @classmethod
    def from_array(
        cls,
        annotation: ArrayLike,
        resolution: Resolution | None = None,
        *,
        orientation: str | None = None,
        hemispheres: xr.DataArray | None = None,
        midline: float | Midline | None = None,
    ) -> "LabelVolume":
        """Volume of an array, which is checked; see `ReferenceSpace` for the parameters.

        A midline may say how it came to be known.

        Raises
        ------
        AnnotationError, GridError
            As for `ReferenceSpace`.
        """
        labels = as_annotation(annotation, resolution, orientation=orientation)
        grid = infer_grid(labels)
        if not isinstance(midline, Midline):
            midline = resolve_midline(midline, stated_midline(annotation), grid)
        return cls(labels, grid, Hemispheres(grid.middle)).separated(midline, hemispheres)

    # ----- what verbs read

    @functools.cached_property
    def data(self) -> xr.DataArray:
        """Labels, 0 in the other hemisphere if the volume is reduced to one; lazy.

        Blocks that the midline cuts are two then, so that what is known of each stays exact.
        """
        if self.hemispheres.side is None or self.hemispheres.volume is None:
            return self.within(self.labels)
        sole = sole_labels(self._labels_of_both, self._chunks_of_both)
        return self.within(self.labels, sole)

    @property
    def chunks(self) -> Chunks:
        """Sizes of the blocks of `data` along each axis."""
        chunks: Chunks = self.data.data.chunks
        return chunks

    @functools.cached_property
    def block_labels(self) -> BlockLabels | None:
        """Labels that may occur in each block of `data`; None where only reading can tell."""
        labels = self._labels_of_both
        if labels is None or self.hemispheres.side is None:
            return labels
        if self.hemispheres.volume is not None:
            return labels.with_label(BACKGROUND)
        # The index has rows for each part of a block that the midline cuts.
        index = self.index
        return (
            labels.keep_slab(*self._slab) if index is None else labels_of_index(index, self.chunks)
        )

    @property
    def is_indexed_in_parts(self) -> bool:
        """Whether the labels of all blocks are many, so that those of a part are better read."""
        return isinstance(self.blocks.index(), PartedIndex)

    def block_labels_in(self, key: tuple[slice | int, ...]) -> BlockLabels | None:
        """Labels that may occur in each block of a part of `data`, as ``block_labels.crop(key)``.

        Of an index in parts those alone are read that say so.

        Parameters
        ----------
        key
            As for `BlockLabels.crop`.
        """
        if not self.is_indexed_in_parts:
            labels = self.block_labels
            return None if labels is None else labels.crop(key)
        if self.index is not None:
            return labels_of_index(self.index, self.chunks, key)
        if self.hemispheres.volume is None:  # and the midline is not that of the index
            labels = self.block_labels
            return None if labels is None else labels.crop(key)
        known = self.blocks.labels_in(key, self._chunks_of_both)
        return None if known is None else known.with_label(BACKGROUND)

    @functools.cached_property
    def index(self) -> LabelIndex | None:
        """Label index of `data` that came with the volume; None where there is none."""
        index = self.blocks.index()
        if index is None or self.hemispheres.side is None:
            return index
        # Of hemispheres that no plane separates, or whose midline is another, it says nothing.
        if self.hemispheres.volume is not None or index.chunks != self._cells:
            return None
        return index.keep_slab(*self._slab)

    @functools.cached_property
    def label_index(self) -> LabelIndex:
        """Label index of `data`: the one that came with it, or else one pass over it."""
        index = self.index
        if index is not None:
            return index
        cells = cut_at_midline(self.grid, self.chunks, self.hemispheres.midline)
        return measure_labels(self.data, cells)

    @functools.cached_property
    def label_counts(self) -> dict[int, int]:
        """Number of voxels of each label: from the index, or else one pass over the volume."""
        index = self.index
        return count_labels(self.data, self.block_labels) if index is None else index.counts()

    def map_labels(self, operation: LabelOperation, ids: Sequence[int]) -> xr.DataArray:
        """What an operation makes of the labels that gives some of them a value, all others 0.

        Where a volume separates the hemispheres, values are made before the other hemisphere is
        left out: a block that becomes one value is not read then, though it holds 0 too.

        Parameters
        ----------
        operation
            Called with labels and what may occur in each of their blocks; lazy.
        ids
            Labels that get another value than 0, which is not among them.
        """
        if self.hemispheres.side is None or self.hemispheres.volume is None:
            return operation(self.data, self.block_labels)
        known = self._labels_of_both
        values = operation(self.labels, known)
        is_zero = None if known is None else known.verdicts(ids) == OUT
        return self.within(values, None if is_zero is None else np.where(is_zero, 0, UNKNOWN_LABEL))

    def blocks_read(self, ids: Sequence[int]) -> NDArray[np.bool_]:
        """Which blocks of `data` a mask of some labels reads, in the shape of the block grid."""
        # As in `map_labels`: where a volume separates the hemispheres, of both.
        labels = self.block_labels if self.hemispheres.volume is None else self._labels_of_both
        read = np.ones(self.data.data.numblocks, bool)
        if labels is not None:
            read[...] = labels.verdicts(ids) == MIXED
            return read
        if self.hemispheres.side is not None and self.hemispheres.volume is None:
            axis, part = self._slab
            starts = np.cumsum((0, *self.chunks[axis]))[:-1]
            is_outside = (starts < part.start) | (starts >= part.stop)
            read[(slice(None),) * axis + (is_outside,)] = False
        return read

    @functools.cached_property
    def stored_bytes(self) -> NDArray[Any] | None:
        """Bytes of the store that each block of `data` is read from; None where not known."""
        stored = self.blocks.stored_bytes()
        if stored is None or self.chunks == self._chunks_of_both:
            return stored
        # A block that the midline cuts is read for each of its parts.
        axis = self.grid.axis("ml")
        whole, cut = (np.cumsum((0, *c[axis])) for c in (self._chunks_of_both, self.chunks))
        parts: NDArray[Any] = np.take(
            stored, np.searchsorted(whole, cut[:-1], side="right") - 1, axis
        )
        return parts

    # ----- other volumes

    def crop(self, box: Box) -> "LabelVolume":
        """Volume within a range of voxels along each axis."""
        part = dict(zip(self.grid.dims, box, strict=True))
        ends = [axis.indices(n)[:2] for axis, n in zip(box, self.grid.shape, strict=True)]
        return LabelVolume(
            crop_volume(self.labels, part),
            self.grid.crop(*zip(*ends, strict=True)),
            self.hemispheres.map_volume(lambda volume: crop_volume(volume, part)),
            self.blocks.crop(box, self._chunks_of_both),
        )

    def reorient(self, orientation: str) -> "LabelVolume":
        """Volume with its axes in another order and other directions."""
        labels = reorient(self.labels, orientation)
        return LabelVolume(
            labels,
            infer_grid(labels),
            self.hemispheres.map_volume(lambda volume: reorient(volume, orientation)),
            self.blocks.reorient(self.grid.reorientation_to(orientation)),
        )

    def in_frame(self, frame: str) -> "LabelVolume":
        """Volume whose coordinates are those of another frame."""
        labels = in_frame(self.labels, frame)
        grid = infer_grid(labels)
        hemispheres = self.hemispheres.map_volume(lambda volume: in_frame(volume, frame))
        line = midline_in_frame(self.hemispheres.line, self.grid, grid)
        hemispheres = replace(hemispheres, midline=line.position)
        return replace(self, labels=labels, grid=grid, hemispheres=hemispheres)

    def downsample(
        self, target_resolution: Resolution, method: Method = "nearest", *, upsample: bool = False
    ) -> "LabelVolume":
        """Volume at another resolution; nothing is known of its blocks."""
        resample = functools.partial(
            downsample, target_resolution=target_resolution, method=method, upsample=upsample
        )
        hemispheres = self.hemispheres.map_volume(resample)
        labels = resample(self.labels, block_labels=self._labels_of_both)
        return LabelVolume(labels, infer_grid(labels), hemispheres)

    def hemisphere(self, side: Hemisphere) -> "LabelVolume":
        """Volume that is 0 in the other hemisphere, of which nothing is read.

        Raises
        ------
        GridError
            If there is no such hemisphere.
        """
        side = check_hemisphere(side)
        # Of the right hemisphere of the left one nothing is left.
        whole = self if self.hemispheres.side in (None, side) else self.rechunk(self.chunks)
        return replace(whole, hemispheres=replace(whole.hemispheres, side=side))

    def rechunk(self, chunks: Chunks) -> "LabelVolume":
        """The same labels in other chunks, as a volume of both hemispheres.

        What is known of the blocks stays known, as far as it holds for the new ones.
        """
        if chunks == self.chunks and self.hemispheres.side is None:
            return self
        labels = self.data.copy(data=self.data.data.rechunk(chunks))
        known = self.block_labels
        blocks = UNKNOWN if known is None else BlockKnowledge.bounded(known.coarsen(chunks))
        return LabelVolume(labels, self.grid, replace(self.hemispheres, side=None), blocks)

    def with_knowledge(self, blocks: BlockKnowledge) -> "LabelVolume":
        """The same volume, of whose blocks something is known."""
        return replace(self, blocks=blocks)

    def with_index(self) -> "LabelVolume":
        """The same volume with a label index; one that has none is read once, now."""
        if self.index is not None:
            return self
        # Of both hemispheres: what was measured of the volume before is not measured again.
        is_whole = self.hemispheres.side is None
        whole = (
            self if is_whole else replace(self, hemispheres=replace(self.hemispheres, side=None))
        )
        if whole.index is not None:
            return self
        index = Once.from_value(whole.label_index)
        stored_bytes = self.blocks.stored_bytes
        return self.with_knowledge(
            BlockKnowledge.indexed(index, self._chunks_of_both, stored_bytes)
        )

    def with_kept_index(
        self, url: str, storage_options: Mapping[str, Any] | None = None
    ) -> "LabelVolume":
        """The same volume with the label index at a path or URL, which must be of its labels.

        Raises
        ------
        AnnotationError
            If the volume is none of another program's store, as it was opened.
        FormatError
            If there is no such index, it is damaged, or is one of other labels.
        """
        if self.blocks.attach is None:
            raise AnnotationError(
                f"the label index {url} is for labels as they are opened in a store that refspace "
                "has not written; give it to the space as it was opened, before it is cropped, "
                "resampled or turned"
            )
        data, blocks = self.blocks.attach(url, storage_options)
        blocks.index()  # which must be there, and fit
        return replace(self, labels=self.labels.copy(data=data), blocks=blocks)

    # ----- hemispheres

    def separated(self, midline: Midline, hemispheres: xr.DataArray | None) -> "LabelVolume":
        """Volume of the same labels, of both hemispheres, which are told apart in another way.

        Parameters
        ----------
        midline
            The midline.
        hemispheres
            Hemisphere of each voxel, where the midline does not decide.

        Raises
        ------
        GridError, AnnotationError
            As for `as_hemispheres`.
        """
        if isinstance(hemispheres, xr.DataArray):
            hemispheres = turn_onto(hemispheres, self.grid)
        volume = None if hemispheres is None else as_hemispheres(hemispheres, self.grid)
        labels = (
            with_hemispheres(self.labels, midline)
            if volume is None
            else self.labels.drop_vars("hemisphere", errors="ignore")
        )
        told_apart = Hemispheres(midline.position, volume, midline_from=midline.source)
        return replace(self, labels=labels, hemispheres=told_apart)

    def within(self, volume: xr.DataArray, sole: NDArray[np.int64] | None = None) -> xr.DataArray:
        """Volume on the same grid, 0 in the other hemisphere if this one is reduced to one.

        Parameters
        ----------
        volume
            Labels of this volume, or what was made of them; dask-backed.
        sole
            Value of each of its blocks that is known to hold a single one, as of `sole_labels`.
        """
        side, flags = self.hemispheres.side, self.hemispheres.volume
        if side is None:
            return volume
        if flags is None:
            return volume.copy(data=keep_slab(volume.data, *self._slab))
        kept = keep_where(volume.data, flags.data, HEMISPHERES[side], sole)
        return volume.copy(data=kept)

    @property
    def hemisphere_of_voxels(self) -> xr.DataArray:
        """Hemisphere of every voxel, uint8: 1 left, 2 right, 0 neither; lazy."""
        if self.hemispheres.volume is not None:
            return self.hemispheres.volume
        line = hemisphere_line(self.grid, self.hemispheres.midline)
        data = hemispheres_of_line(line, self.grid.axis("ml"), self.chunks)
        volume = self.labels.copy(data=data).rename("hemispheres")
        volume.attrs = dict(HEMISPHERES_ATTRS)
        return volume

    @property
    def _slab(self) -> tuple[int, slice]:
        """Axis across the hemisphere, and the range of its voxels there."""
        side = self.hemispheres.side
        assert side is not None
        return self.grid.axis("ml"), self.grid.hemisphere_slice(side, self.hemispheres.midline)

    @property
    def _chunks_of_both(self) -> Chunks:
        """Sizes of the blocks of `labels` along each axis."""
        chunks: Chunks = self.labels.data.chunks
        return chunks

    @property
    def _labels_of_both(self) -> BlockLabels | None:
        """Labels that may occur in each block of `labels`."""
        return self.blocks.block_labels()

    @property
    def _cells(self) -> Chunks:
        """Blocks of `labels`, cut at the midline, so that each is in one hemisphere."""
        return cut_at_midline(self.grid, self._chunks_of_both, self.hemispheres.midline)
