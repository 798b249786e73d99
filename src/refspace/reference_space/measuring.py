"""Verbs that measure: counts, volumes, boxes, centroids."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from refspace.blockwise.reduction import array_from_value
from refspace.errors import AnnotationError
from refspace.grid import Hemisphere
from refspace.ops.counts import count_labels
from refspace.ops.totals import label_totals, region_properties
from refspace.reference_space.sides import Sided
from refspace.structure_tree import Regions, StructureTree
from refspace.types import BACKGROUND


@dataclass(frozen=True)
class Bounds:
    """Bounding box of structures.

    Parameters
    ----------
    voxels
        Range of voxel indices along each axis, as `xarray.DataArray.isel` takes it.
    positions
        Outer edges of these voxels along each axis, in µm.
    """

    voxels: Mapping[str, slice]
    positions: Mapping[str, tuple[float, float]]


class Measuring(Sided):
    """Counts, volumes, bounding boxes and centroids of structures."""

    # ----- counts

    @functools.cached_property
    def _label_counts(self) -> dict[int, int]:
        index = self._known_index()
        return (
            count_labels(self._annotation, self._block_labels) if index is None else index.counts()
        )

    @functools.cached_property
    def direct_voxel_map(self) -> dict[int, int]:
        """Number of voxels that hold each structure's own id.

        From the label index of a store; of anything else the first call reads the volume.

        Examples
        --------
        >>> import refspace
        >>> space = refspace.phantom(resolution=200)
        >>> space.direct_voxel_map[315]  # Isocortex itself: all of it is in its layers
        0
        """
        return {i: self._voxels_of(i) for i in self.structure_tree.node_ids()}

    @functools.cached_property
    def total_voxel_map(self) -> dict[int, int]:
        """Number of voxels of each structure's subtree.

        From the label index of a store; of anything else the first call reads the volume.

        Examples
        --------
        >>> import refspace
        >>> space = refspace.phantom(resolution=200)
        >>> space.total_voxel_map[315] > space.total_voxel_map[385] > 0
        True
        """
        ids = self.structure_tree.node_ids()
        totals = self.structure_tree.total([self.direct_voxel_map[i] for i in ids])
        return dict(zip(ids, totals.tolist(), strict=True))

    def _voxels_of(self, structure_id: int) -> int:
        return 0 if structure_id == BACKGROUND else self._label_counts.get(structure_id, 0)

    def direct_voxel_counts(self, *, hemisphere: Hemisphere | None = None) -> dict[int, int]:
        """Number of voxels that hold each structure's own id: `direct_voxel_map`.

        Parameters
        ----------
        hemisphere
            ``"left"`` or ``"right"``; both together if not given.
        """
        return self._part(hemisphere).direct_voxel_map

    def total_voxel_counts(self, *, hemisphere: Hemisphere | None = None) -> dict[int, int]:
        """Number of voxels of each structure's subtree: `total_voxel_map`.

        Parameters
        ----------
        hemisphere
            ``"left"`` or ``"right"``; both together if not given.

        Examples
        --------
        >>> import refspace
        >>> space = refspace.phantom(resolution=200)
        >>> left, right = (space.total_voxel_counts(hemisphere=h)[385] for h in ("left", "right"))
        >>> left + right == space.total_voxel_counts()[385]
        True
        """
        return self._part(hemisphere).total_voxel_map

    def voxel_counts(self, *, hemisphere: Hemisphere | None = None) -> xr.Dataset:
        """Voxels and volume of every structure, as a table.

        Counts come from the label index of a store. Of anything else they take one pass over the
        volume, made on the first call and remembered.

        Parameters
        ----------
        hemisphere
            ``"left"`` or ``"right"``; both together if not given.

        Returns
        -------
        xarray.Dataset
            Over ``structure`` (ids, with coordinates ``acronym`` and ``name``): ``direct``, voxels
            that hold the structure's own id; ``total``, those of its subtree; ``volume``, that of
            its subtree in mm³. Attributes ``unknown_ids`` and ``unknown_voxels``: ids that the
            volume holds and the tree does not know, and how many voxels hold each; and
            ``hemisphere``, where one was asked for.

        Examples
        --------
        >>> import refspace
        >>> counts = refspace.phantom(resolution=200).voxel_counts()
        >>> bool(counts.total.sel(structure=315) > counts.direct.sel(structure=315))
        True
        """
        if hemisphere is not None:
            return self._part(hemisphere).voxel_counts().assign_attrs(hemisphere=hemisphere)
        tree, nodes = self.structure_tree, self.structure_tree.nodes()
        ids = tree.node_ids()
        direct = np.array([self._voxels_of(i) for i in ids], np.int64)
        total = tree.total(direct)
        unknown = self._unknown_ids()
        volume_attrs = {"units": "mm3", "long_name": "volume of the subtree"}
        return xr.Dataset(
            {
                "direct": ("structure", direct, {"long_name": "voxels of the structure itself"}),
                "total": ("structure", total, {"long_name": "voxels of the subtree"}),
                "volume": ("structure", total * self.grid.voxel_volume, volume_attrs),
            },
            coords={
                "structure": np.array(ids, np.int64),
                "acronym": ("structure", _texts(nodes, "acronym")),
                "name": ("structure", _texts(nodes, "name")),
            },
            # Not variables: a second dim would cross every table made of the dataset with it.
            attrs={
                "unknown_ids": unknown,
                "unknown_voxels": [self._label_counts[i] for i in unknown],
            },
        )

    def remove_unassigned(self, update_self: bool = True) -> list[dict[str, Any]]:
        """Structures that have voxels, themselves or in their subtree.

        Parameters
        ----------
        update_self
            Whether `structure_tree` becomes the tree of these structures.

        Returns
        -------
        list of dict
            The structures, in the order of the tree.

        Examples
        --------
        >>> import refspace
        >>> space = refspace.phantom(resolution=200)
        >>> assigned = space.remove_unassigned()
        >>> 12997 in space.structure_tree  # 'Somatosensory areas, layer 6a' has no voxels
        False
        """
        assigned = self.structure_tree.filter_nodes(
            lambda node: self.total_voxel_map[node["id"]] > 0
        )
        if update_self:
            # The maps stay: they say of the others that they have no voxel.
            self._structure_tree = StructureTree(assigned)
        return assigned

    def _unknown_ids(self) -> list[int]:
        """Labels of the volume that the tree does not know."""
        return [i for i in self._label_counts if i != BACKGROUND and i not in self.structure_tree]

    # ----- places

    def bounds(
        self,
        structure_ids: Any,
        direct_only: bool = False,
        *,
        hemisphere: Hemisphere | None = None,
    ) -> Bounds:
        """Bounding box of the union of some structures.

        Parameters
        ----------
        structure_ids
            The structures.
        direct_only
            Whether to leave out their descendants.
        hemisphere
            ``"left"`` or ``"right"``, where only what lies there is asked for.

        Returns
        -------
        Bounds
            The box in voxels and in µm; from the label index, without reading a voxel where it is
            stored.

        Raises
        ------
        StructureNotFoundError
            If there is no such structure.
        AnnotationError
            If none of the structures has a voxel.
        GridError
            If there is no such hemisphere.

        Examples
        --------
        >>> import refspace
        >>> space = refspace.phantom(resolution=200)
        >>> bounds = space.bounds("VISp")
        >>> bounds.voxels["dv"], bounds.positions["dv"]
        (slice(3, 13, None), (600.0, 2600.0))
        """
        box = self._box(structure_ids, direct_only, hemisphere)
        crop = self.grid.crop(*box)
        edges = zip(crop.dims, crop.origin, crop.extent, strict=True)
        return Bounds(
            {dim: slice(*ends) for dim, *ends in zip(self.grid.dims, *box, strict=True)},
            {dim: (origin, origin + extent) for dim, origin, extent in edges},
        )

    def _box(
        self, structure_ids: Any, direct_only: bool, hemisphere: Hemisphere | None = None
    ) -> tuple[Sequence[int], Sequence[int]]:
        """Corners of the box of structures, in voxels of the whole."""
        side = self._part(hemisphere)
        ids = self.structure_tree.resolve(structure_ids)
        box = side.label_index.extent(self._inner_labels(ids, direct_only))
        if box is None:
            listed = ", ".join(map(str, ids)) or "an empty list"
            where = "here" if hemisphere is None else f"in the {hemisphere} hemisphere"
            raise AnnotationError(
                f"{listed} has no voxels {where}; total_voxel_counts tells which have"
                if hemisphere
                else f"{listed} has no voxels {where}; total_voxel_map tells which have"
            )
        first = self._first_voxel(hemisphere)
        start, stop = ([i + n for i, n in zip(corner, first, strict=True)] for corner in box)
        return start, stop

    def _inner_labels(self, ids: Sequence[int], direct_only: bool) -> set[int]:
        """Labels of structures but 0: that is outside, whatever structure may have it as id."""
        return {*self._labels_of(ids, direct_only)} - {BACKGROUND}

    def centroid(
        self,
        structure_ids: Any,
        direct_only: bool = False,
        *,
        hemisphere: Hemisphere | None = None,
    ) -> dict[str, float]:
        """Centre of mass of the union of some structures.

        Parameters
        ----------
        structure_ids, direct_only, hemisphere
            As for `bounds`.

        Returns
        -------
        dict
            Mean position along each axis in µm. That of both hemispheres together often lies
            between them.

        Raises
        ------
        StructureNotFoundError, AnnotationError, GridError
            As for `bounds`.

        Examples
        --------
        >>> import refspace
        >>> {dim: round(x) for dim, x in refspace.phantom(resolution=200).centroid("VISp").items()}
        {'ap': 8906, 'dv': 1357, 'ml': 5700}
        """
        ids = self.structure_tree.resolve(structure_ids)
        self._box(ids, direct_only, hemisphere)  # raises where there is no voxel
        side = self._part(hemisphere)
        count, sums = side.label_index.coordinate_sums(self._inner_labels(ids, direct_only))
        grid = side.grid
        axes = zip(grid.dims, grid.origin, grid.spacing, sums, strict=True)
        return {dim: origin + (total / count + 0.5) * step for dim, origin, step, total in axes}

    def _geometry(self, regions: Regions) -> Any:
        """Rows of `ops.totals.geometry`: values where they are known, else lazy."""
        index = self._known_index()
        if index is not None:
            return region_properties(index.totals, regions, self.grid)
        table = label_totals(self._annotation, self._block_labels, regions.structures.tolist())
        measure = functools.partial(
            region_properties, regions=regions.without_names(), grid=self.grid
        )
        return array_from_value(table, measure, (11, len(regions)), np.float64)

    def _labels_of(self, structure_ids: Any, direct_only: bool = False) -> list[int]:
        """Labels of the voxels of structures: their own ids, and those of their subtrees."""
        ids = self.structure_tree.resolve(structure_ids)
        if not direct_only:
            ids = [i for subtree in self.structure_tree.descendant_ids(ids) for i in subtree]
        return ids


def _texts(nodes: Sequence[Mapping[str, Any]], field: str) -> list[str]:
    return [str(node.get(field) or "") for node in nodes]
