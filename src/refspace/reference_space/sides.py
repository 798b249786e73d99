"""The hemispheres of a space: where they are, and each as a space of its own."""

import functools
from typing import Any, Self

import xarray as xr

from refspace.grid import Hemisphere
from refspace.label_index import LabelIndex
from refspace.labels import HEMISPHERES, HEMISPHERES_ATTRS, check_hemisphere
from refspace.ops.sides import keep, nothing_of, padded, sides_of
from refspace.reference_space.core import Core


class Sided(Core):
    """Hemispheres: those that the midline parts, or those of a volume of their own."""

    @property
    def midline(self) -> float:
        """Position of the midline along ml, in µm.

        Voxels whose centre is on it are of the left hemisphere. It decides nothing where the atlas
        has a volume of its own that tells the hemispheres apart.

        Examples
        --------
        >>> import refspace
        >>> refspace.phantom(resolution=200).midline
        5700.0
        """
        return self._midline

    @property
    def hemispheres(self) -> xr.DataArray:
        """Hemisphere of every voxel, uint8: 1 left, 2 right, 0 neither; lazy.

        Examples
        --------
        >>> import refspace
        >>> sides = refspace.phantom(resolution=200).hemispheres
        >>> sides.sel(ap=5100, dv=1500, ml=3300).values
        array(1, dtype=uint8)
        """
        if self._own_hemispheres is not None:
            return self._own_hemispheres
        left, (one, two) = self._grid.hemisphere_slice("left", self._midline), HEMISPHERES.values()
        data = sides_of(self._annotation, left, (one, two))
        volume = self._annotation.copy(data=data).rename("hemispheres")
        volume.attrs = dict(HEMISPHERES_ATTRS)
        return volume

    def _part(self, hemisphere: Any) -> Self:
        """The space of one hemisphere, or the space itself for None."""
        if hemisphere is None:
            return self
        side = self._sides[check_hemisphere(hemisphere)]
        # The tree may have been exchanged meanwhile.
        side.structure_tree = self.structure_tree
        return side

    @functools.cached_property
    def _sides(self) -> dict[Hemisphere, Self]:
        return {name: self._side(name) for name in HEMISPHERES}

    def _side(self, hemisphere: Hemisphere) -> Self:
        """Space of the voxels of a hemisphere: a part, or 0 elsewhere where it is no box."""
        labels, own = self._block_labels, self._own_hemispheres
        if own is not None:
            side = self._derived(keep(self._annotation, own, HEMISPHERES[hemisphere]))
            side._labels_of_whole = None if labels is None else labels.with_label(0)
            return side
        if self._is_empty(hemisphere):
            nothing, labels = nothing_of(self._annotation)
            side = self._derived(nothing)
            side._labels_of_whole = labels
            return side
        key = self._place(hemisphere)
        side = self._derived(self._annotation.isel(key))
        side._read_index = functools.partial(self._index_of_side, hemisphere)
        side._labels_of_whole = None if labels is None else labels.crop(tuple(key.values()))
        return side

    def _place(self, hemisphere: Hemisphere) -> dict[str, slice]:
        """Voxels of a hemisphere along each axis."""
        whole = dict.fromkeys(self._grid.dims, slice(None))
        return whole | {"ml": self._grid.hemisphere_slice(hemisphere, self._midline)}

    def _is_empty(self, hemisphere: Hemisphere) -> bool:
        """Whether the midline leaves no voxel to a hemisphere."""
        place = self._place(hemisphere)["ml"]
        return self._own_hemispheres is None and bool(place.start == place.stop)

    def _first_voxel(self, hemisphere: Hemisphere | None) -> list[int]:
        """First voxel of the space of a hemisphere in that of the whole."""
        if hemisphere is None or self._own_hemispheres is not None:
            return [0, 0, 0]
        return [part.start or 0 for part in self._place(hemisphere).values()]

    def _index_of_side(self, hemisphere: Hemisphere) -> LabelIndex | None:
        """Part of the index; None where there is none, or one that knows of no midline."""
        index = self._known_index()
        if index is None or index.chunks != self._cells:
            return None
        axes = zip(self._place(hemisphere).values(), index.shape, strict=True)
        start, stop = zip(*(part.indices(count)[:2] for part, count in axes), strict=True)
        return index.crop(start, stop)

    def _only(self, volume: xr.DataArray, hemisphere: Hemisphere) -> xr.DataArray:
        """What a verb made of the annotation, in one hemisphere; 0 in the other."""
        if self._own_hemispheres is not None:
            return keep(volume, self._own_hemispheres, HEMISPHERES[hemisphere])
        return self._in_place(volume.isel(self._place(hemisphere)), hemisphere)

    def _in_place(self, part: xr.DataArray, hemisphere: Hemisphere) -> xr.DataArray:
        """What a verb made of a side, on the grid of the whole; 0 in the other hemisphere."""
        axis, start = self._grid.axis("ml"), self._place(hemisphere)["ml"].start
        data = padded(part.data, self._annotation.data, axis, start)
        coords, dims = self._annotation.coords, self._annotation.dims
        return xr.DataArray(data, coords, dims, part.name, part.attrs)
