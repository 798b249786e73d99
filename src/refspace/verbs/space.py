"""What every verb is given: a label volume, the tree of its structures, and where they are from."""

import copy
import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Self, TypeAlias, TypeVar

import xarray as xr

from refspace.blockwise.bounded import threads_for
from refspace.errors import GridError, OntologyError
from refspace.grid import Grid
from refspace.label_index import BlockLabels, LabelIndex
from refspace.labels import LabelVolume, infer_grid, turn_onto
from refspace.labels.knowledge import Once
from refspace.ops.contacts import Contacts, contacts
from refspace.safe_text import without_secrets_in
from refspace.structure_tree import StructureTree
from refspace.types import BACKGROUND

AnySpace = TypeVar("AnySpace", bound="Space")

Level: TypeAlias = tuple[LabelVolume, xr.DataArray | None]
"""Labels at one resolution, and the template there, if there is one."""

_ALONE: Once[tuple[Level, ...]] = Once.from_value(())


class Space:
    """An annotation volume and the tree of its structures, without verbs.

    Parameters
    ----------
    structure_tree
        The structures.
    volume
        Labels, with their grid and hemispheres, and what is known of their blocks.
    template
        Intensities on the same grid.
    provenance
        Where the atlas comes from.
    url
        Path or URL of the store that it was opened from.
    coarser
        The same at coarser resolutions, the finest of them first, made when they are asked for.

    Raises
    ------
    OntologyError
        If the structure tree is not one.
    GridError
        If the template is on another grid.
    """

    def __init__(
        self,
        structure_tree: StructureTree,
        volume: LabelVolume,
        *,
        template: xr.DataArray | None = None,
        provenance: Mapping[str, Any] | None = None,
        url: str | None = None,
        coarser: Once[tuple[Level, ...]] = _ALONE,
    ) -> None:
        if not isinstance(structure_tree, StructureTree):
            raise OntologyError(
                f"structure_tree is a {type(structure_tree).__name__}; give a StructureTree first, "
                "as read_structures makes it of a file, and then the annotation"
            )
        self._structure_tree = structure_tree
        self._volume = volume
        self._template = None if template is None else _on_grid(template, volume)
        self._provenance = without_secrets_in(provenance or {})
        self._url = url
        self._coarser = coarser
        # What is counted once, and remembered.
        self._voxel_maps: _VoxelMaps | None = None
        self._contacts: Contacts | None = None

    def with_volume(
        self,
        volume: LabelVolume,
        template: xr.DataArray | None = None,
        *,
        coarser: Once[tuple[Level, ...]] = _ALONE,
    ) -> Self:
        """Space of the same structures over another volume.

        Parameters
        ----------
        volume
            The other volume.
        template
            Intensities on its grid.
        coarser
            The other volume at coarser resolutions.
        """
        # A copy, so that a subclass keeps what it has beside.
        other = copy.copy(self)
        Space.__init__(
            other,
            self._structure_tree,
            volume,
            template=template,
            provenance=self._provenance,
            url=self._url,
            coarser=coarser,
        )
        return other

    def changed(
        self,
        change: Callable[[LabelVolume], LabelVolume],
        change_template: Callable[[xr.DataArray], xr.DataArray] | None = None,
    ) -> Self:
        """Space whose volume is changed, and its coarser levels alike; lazy.

        Parameters
        ----------
        change
            What becomes of the volume of each level; a function that can be pickled.
        change_template
            What becomes of the template of each level, which stays if this is not given.
        """
        to_level = functools.partial(_changed_level, change, change_template)
        volume, template = to_level((self._volume, self._template))
        to_levels = functools.partial(_changed_levels, to_level)
        return self.with_volume(volume, template, coarser=self._coarser.then(to_levels))

    @property
    def levels(self) -> tuple[Self, ...]:
        """The space, and the same at the coarser resolutions that its store holds.

        `reorient`, `in_frame` and `hemisphere` keep them. A space that was made in memory, a crop
        and what was resampled are alone.

        Examples
        --------
        >>> import refspace, tempfile
        >>> url = tempfile.mkdtemp() + "/phantom.zarr"
        >>> refspace.phantom(resolution=200).to_zarr(url, chunks=32)
        >>> [level.resolution[0] for level in refspace.open(url).levels]
        [200.0, 400.0, 800.0]
        """
        coarser = self._coarser() or ()
        return (self, *(self.with_volume(volume, template) for volume, template in coarser))

    # ----- the volume

    @property
    def volume(self) -> LabelVolume:
        """The labels, with their grid and hemispheres, and what is known of their blocks."""
        return self._volume

    @property
    def annotation(self) -> xr.DataArray:
        """Structure id of every voxel, 0 outside; dims ap, dv, ml, voxel centres in µm.

        Its coordinate ``hemisphere`` along ml is ``"left"`` or ``"right"``, where the midline
        separates the two.

        Examples
        --------
        >>> import refspace
        >>> space = refspace.phantom(resolution=200)
        >>> voxel = space.annotation.sel(ap=5100, dv=1500, ml=3300)
        >>> space.structure_tree.nodes(voxel)[0]["acronym"]
        'SSp-ul4'
        """
        return self._volume.data

    @property
    def grid(self) -> Grid:
        """Where the voxels are.

        Examples
        --------
        >>> import refspace
        >>> space = refspace.phantom(resolution=200)
        >>> space.grid.extent
        (13200.0, 8000.0, 11400.0)
        """
        return self._volume.grid

    @property
    def resolution(self) -> tuple[float, float, float]:
        """µm per voxel along each axis.

        Examples
        --------
        >>> import refspace
        >>> space = refspace.phantom(resolution=200)
        >>> space.resolution
        (200.0, 200.0, 200.0)
        """
        return self.grid.spacing

    @property
    def midline(self) -> float:
        """Position of the midline along ml, in µm.

        Voxels whose centre is on it are in the left hemisphere. It decides nothing where the atlas
        has a volume of its own that says which hemisphere a voxel is in.

        Examples
        --------
        >>> import refspace
        >>> refspace.phantom(resolution=200).midline
        5700.0
        """
        return self._volume.hemispheres.midline

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
        return self._volume.hemisphere_of_voxels

    @property
    def template(self) -> xr.DataArray | None:
        """Intensities on the same grid, lazy; None where there are none.

        Examples
        --------
        >>> import refspace
        >>> refspace.phantom(resolution=200).template is None
        True
        """
        return self._template

    @property
    def block_labels(self) -> BlockLabels | None:
        """Labels that may occur in each block of the annotation; None where only reading can tell.

        Examples
        --------
        >>> import refspace
        >>> refspace.phantom(resolution=200).block_labels is None  # an array in memory
        True
        """
        return self._volume.block_labels

    @property
    def label_index(self) -> LabelIndex:
        """Voxels, bounding boxes and coordinate sums of each label in each chunk.

        Chunks that the midline cuts count as two, so that each is in one hemisphere. The index is
        that of the store where there is one; otherwise the first call reads the volume once.

        Examples
        --------
        >>> import refspace
        >>> space = refspace.phantom(resolution=200)
        >>> space.label_index.counts()[593] == space.direct_voxel_map[593]  # VISp1
        True
        """
        return self._volume.label_index

    # ----- where it is from

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Where the atlas comes from, as its store says; empty if it was made in memory.

        Examples
        --------
        >>> import refspace
        >>> dict(refspace.phantom(resolution=200).provenance)
        {}
        """
        return MappingProxyType(self._provenance)

    @property
    def url(self) -> str | None:
        """Path or URL of the store that the space was opened from; None if there was none.

        Examples
        --------
        >>> import refspace
        >>> refspace.phantom(resolution=200).url is None
        True
        """
        return self._url

    # ----- the structures, and how many voxels they have

    @property
    def structure_tree(self) -> StructureTree:
        """The structures; another tree of the same labels may take its place.

        Examples
        --------
        >>> import refspace
        >>> len(refspace.phantom(resolution=200).structure_tree)
        488
        """
        return self._structure_tree

    @structure_tree.setter
    def structure_tree(self, structure_tree: StructureTree) -> None:
        self._structure_tree = structure_tree
        self._voxel_maps = None

    @property
    def direct_voxel_map(self) -> dict[int, int]:
        """Number of voxels that hold each structure's own id.

        From the label index of a store; of anything else the first call reads the volume. Counts
        that are known already may be assigned, as AllenSDK has it; totals are then made of them.

        Examples
        --------
        >>> import refspace
        >>> space = refspace.phantom(resolution=200)
        >>> space.direct_voxel_map[315]  # Isocortex itself: all of it is in its layers
        0
        """
        return self._maps.direct

    @direct_voxel_map.setter
    def direct_voxel_map(self, voxels: dict[int, int]) -> None:
        # AllenSDK lets users set the maps. Totals are those of what was set.
        self._voxel_maps = _VoxelMaps(self._structure_tree, self._volume)
        self._voxel_maps.direct = voxels

    @property
    def total_voxel_map(self) -> dict[int, int]:
        """Number of voxels of each structure's subtree.

        From the label index of a store; of anything else the first call reads the volume. Counts
        that are known already may be assigned.

        Examples
        --------
        >>> import refspace
        >>> space = refspace.phantom(resolution=200)
        >>> space.total_voxel_map[315] > space.total_voxel_map[385] > 0
        True
        """
        return self._maps.total

    @total_voxel_map.setter
    def total_voxel_map(self, voxels: dict[int, int]) -> None:
        self._maps.total = voxels

    @property
    def _maps(self) -> "_VoxelMaps":
        if self._voxel_maps is None:
            self._voxel_maps = _VoxelMaps(self._structure_tree, self._volume)
        return self._voxel_maps

    @property
    def contacts(self) -> Contacts:
        """Faces between all labels: the first call reads the volume once, whatever the tree."""
        if self._contacts is None:
            self._contacts = contacts(self.annotation, self.block_labels).compute(
                num_workers=threads_for(self.annotation.data)
            )
        return self._contacts


def _changed_level(
    change: Callable[[LabelVolume], LabelVolume],
    change_template: Callable[[xr.DataArray], xr.DataArray] | None,
    level: Level,
) -> Level:
    volume, template = level
    if template is not None and change_template is not None:
        template = change_template(template)
    return change(volume), template


def _changed_levels(
    change: Callable[[Level], Level], levels: tuple[Level, ...]
) -> tuple[Level, ...]:
    return tuple(map(change, levels))


class _VoxelMaps:
    """Voxels of the structures of one tree, counted when they are first asked for."""

    def __init__(self, tree: StructureTree, volume: LabelVolume) -> None:
        self._tree, self._volume = tree, volume

    @functools.cached_property
    def direct(self) -> dict[int, int]:
        counts = self._volume.label_counts
        return {i: 0 if i == BACKGROUND else counts.get(i, 0) for i in self._tree.node_ids()}

    @functools.cached_property
    def total(self) -> dict[int, int]:
        # A map that was set may be in another order.
        ids = self._tree.node_ids()
        totals = self._tree.total([self.direct[i] for i in ids])
        return dict(zip(ids, totals.tolist(), strict=True))


def _on_grid(template: xr.DataArray, volume: LabelVolume) -> xr.DataArray:
    """Template turned by what it states, with the very coordinates of the labels."""
    grid = volume.grid
    turned = turn_onto(template, grid)
    if not infer_grid(turned).matches(grid):
        raise GridError(
            f"the template lies on {infer_grid(template)}, the annotation on {grid}: resample it"
        )
    return turned.assign_coords({dim: volume.labels[dim].variable for dim in grid.dims})
