"""A label array that knows its grid, its hemispheres, and what its blocks hold."""

import functools
from dataclasses import dataclass, replace
from typing import Any

import xarray as xr
from numpy.typing import NDArray

from refspace.blockwise.hemisphere import hemispheres_of_line, keep_slab, keep_where
from refspace.grid import Grid, Hemisphere
from refspace.label_index import BlockLabels, Chunks, LabelIndex, cut_at_midline
from refspace.labels.annotation import as_annotation, infer_grid
from refspace.labels.counting import count_labels
from refspace.labels.hemispheres import (
    HEMISPHERES,
    HEMISPHERES_ATTRS,
    Hemispheres,
    as_hemispheres,
    check_hemisphere,
    hemisphere_line,
    resolve_midline,
    with_hemispheres,
)
from refspace.labels.knowledge import UNKNOWN, BlockKnowledge, Box
from refspace.labels.measuring import measure_labels
from refspace.labels.reorienting import reorient
from refspace.labels.resampling import Method, downsample
from refspace.types import ArrayLike, Resolution


@dataclass(frozen=True, eq=False)
class LabelVolume:
    """Labels on a grid; a value, of which every method returns another.

    This is the only place that knows how hemispheres are told apart, and where a label index comes
    from: verbs ask for `block_labels`, and for a volume that is 0 in the other hemisphere.

    Parameters
    ----------
    data
        Labels over ap, dv and ml, dask-backed, with coordinates.
    grid
        Where the voxels are.
    hemispheres
        How hemispheres are told apart.
    blocks
        What is known of the blocks without reading them.

    Examples
    --------
    >>> import numpy as np
    >>> volume = LabelVolume.from_array(np.array([[[7, 7, 9, 0]]], "u4"), 10)
    >>> left = volume.hemisphere("left")
    >>> left.data.values.tolist(), left.label_counts
    ([[[7, 7, 0, 0]]], {0: 2, 7: 2})
    """

    data: xr.DataArray
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
        midline: float | None = None,
        blocks: BlockKnowledge = UNKNOWN,
    ) -> "LabelVolume":
        """Volume of an array, which is checked; see `ReferenceSpace` for the parameters.

        Raises
        ------
        AnnotationError, GridError
            As for `ReferenceSpace`.
        """
        data = as_annotation(annotation, resolution, orientation=orientation)
        grid = infer_grid(data)
        position = resolve_midline(midline, annotation, grid)
        if hemispheres is None:
            data = with_hemispheres(data, position)
        volume = None if hemispheres is None else as_hemispheres(hemispheres, grid)
        return cls(data, grid, Hemispheres(position, volume), blocks)

    # ----- what is known of the blocks

    @property
    def chunks(self) -> Chunks:
        """Sizes of the blocks along each axis."""
        chunks: Chunks = self.data.data.chunks
        return chunks

    @property
    def block_labels(self) -> BlockLabels | None:
        """Labels that may occur in each block; None where only reading them can tell."""
        labels: BlockLabels | None = self.blocks.block_labels()
        return labels

    @property
    def index(self) -> LabelIndex | None:
        """Label index that came with the volume; None where there is none."""
        index: LabelIndex | None = self.blocks.index()
        return index

    @property
    def stored_bytes(self) -> NDArray[Any] | None:
        """Bytes that each block takes where it is stored; None where that is not known."""
        stored: NDArray[Any] | None = self.blocks.stored_bytes()
        return stored

    @functools.cached_property
    def label_index(self) -> LabelIndex:
        """Label index: the one that came with the volume, or else one pass over it."""
        index = self.index
        return measure_labels(self.data, self.cells) if index is None else index

    @functools.cached_property
    def label_counts(self) -> dict[int, int]:
        """Number of voxels of each label: from the index, or else one pass over the volume."""
        index = self.index
        return count_labels(self.data, self.block_labels) if index is None else index.counts()

    @property
    def cells(self) -> Chunks:
        """Blocks, cut at the midline, so that each lies in one hemisphere."""
        return cut_at_midline(self.grid, self.chunks, self.hemispheres.midline)

    def with_knowledge(self, blocks: BlockKnowledge) -> "LabelVolume":
        """The same volume, of whose blocks something is known."""
        return replace(self, blocks=blocks)

    def with_index(self) -> "LabelVolume":
        """The same volume with a label index; one that has none is read once, now."""
        if self.index is not None:
            return self
        index = self.label_index
        known = BlockKnowledge.indexed(functools.partial(_itself, index), self.chunks)
        return replace(self, blocks=replace(known, stored_bytes=self.blocks.stored_bytes))

    # ----- other volumes

    def crop(self, box: Box) -> "LabelVolume":
        """Volume within a range of voxels along each axis."""
        part = dict(zip(self.grid.dims, box, strict=True))
        ends = [axis.indices(n)[:2] for axis, n in zip(box, self.grid.shape, strict=True)]
        return LabelVolume(
            self.data.isel(part),
            self.grid.crop(*zip(*ends, strict=True)),
            self.hemispheres.map_volume(lambda volume: volume.isel(part)),
            self.blocks.crop(box, self.chunks),
        )

    def reorient(self, orientation: str) -> "LabelVolume":
        """Volume with its axes in another order and other directions."""
        reorientation = self.grid.reorientation_to(orientation)
        is_flipped = reorientation.flipped[reorientation.axes.index(self.grid.axis("ml"))]
        midline = self.hemispheres.midline
        data = reorient(self.data, orientation)
        return LabelVolume(
            data,
            infer_grid(data),
            replace(
                self.hemispheres.map_volume(lambda volume: reorient(volume, orientation)),
                midline=0.0 - midline if is_flipped else midline,
            ),
            self.blocks.reorient(reorientation),
        )

    def downsample(
        self, target_resolution: Resolution, method: Method = "nearest"
    ) -> "LabelVolume":
        """Volume at another resolution; nothing is known of its blocks."""
        data = downsample(self.data, target_resolution, method)
        if self.hemispheres.volume is None:
            data = with_hemispheres(data, self.hemispheres.midline)
        hemispheres = self.hemispheres.map_volume(
            lambda volume: downsample(volume, target_resolution, method)
        )
        return LabelVolume(data, infer_grid(data), hemispheres)

    def rechunk(self, chunks: Chunks) -> "LabelVolume":
        """Volume in other chunks; its index stays, whose chunks they must be unions of."""
        if chunks == self.chunks:
            return self
        data = self.data.copy(data=self.data.data.rechunk(chunks))
        return replace(self, data=data, blocks=self.blocks.rechunk(chunks))

    # ----- hemispheres

    def hemisphere(self, side: Hemisphere) -> "LabelVolume":
        """Volume that is 0 in the other hemisphere.

        Nothing is read of blocks of the other hemisphere. Blocks that the midline cuts become two,
        so that what is known of the labels of each stays exact.

        Raises
        ------
        GridError
            If there is no such hemisphere.
        """
        side = check_hemisphere(side)
        hemispheres = replace(self.hemispheres, side=side)
        if self.hemispheres.volume is not None:
            labels, flag = self.block_labels, HEMISPHERES[side]
            kept = keep_where(self.data.data, self.hemispheres.volume.data, flag, labels)
            blocks = self.blocks.with_background()
        else:
            axis, part = self._slab(side)
            kept = keep_slab(self.data.data, axis, part)
            blocks = self.blocks.keep_slab(axis, part, self.chunks)
        return LabelVolume(self.data.copy(data=kept), self.grid, hemispheres, blocks)

    def within(self, volume: xr.DataArray) -> xr.DataArray:
        """Volume on the same grid, 0 in the hemisphere to which this one was not reduced."""
        side = self.hemispheres.side
        if side is None:
            return volume
        if self.hemispheres.volume is not None:
            flags = self.hemispheres.volume.data
            return volume.copy(data=keep_where(volume.data, flags, HEMISPHERES[side]))
        return volume.copy(data=keep_slab(volume.data, *self._slab(side)))

    def _slab(self, side: Hemisphere) -> tuple[int, slice]:
        """Axis across a hemisphere, and the range of its voxels there."""
        part = self.grid.hemisphere_slice(side, self.hemispheres.midline)
        return self.grid.axis("ml"), part

    @property
    def hemisphere_of_voxels(self) -> xr.DataArray:
        """Hemisphere of every voxel, uint8: 1 left, 2 right, 0 neither; lazy."""
        if self.hemispheres.volume is not None:
            return self.hemispheres.volume
        line = hemisphere_line(self.grid, self.hemispheres.midline)
        data = hemispheres_of_line(line, self.grid.axis("ml"), self.chunks)
        volume = self.data.copy(data=data).rename("hemispheres")
        volume.attrs = dict(HEMISPHERES_ATTRS)
        return volume


def _itself(index: LabelIndex) -> LabelIndex:
    return index
