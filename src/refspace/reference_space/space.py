"""The reference space: a table of contents of the verbs."""

import os
from collections.abc import Mapping
from typing import Any, Self

import xarray as xr

from refspace.errors import AnnotationError
from refspace.labels import LabelVolume, check_both_sides
from refspace.labels.knowledge import Once
from refspace.plotting import accessor
from refspace.reference_space import stores
from refspace.structure_tree import StructureTree
from refspace.types import ArrayLike, Resolution
from refspace.verbs import (
    comparison,
    counts,
    coverage,
    files,
    grids,
    images,
    itksnap,
    masks,
    meshes,
    places,
    points,
    regions,
    shapes,
    slices,
    unknown,
    validation,
)
from refspace.verbs.space import Level, Space
from refspace.viewer import viewing


class ReferenceSpace(Space):
    """An annotation volume in which every voxel names a structure, and the tree of structures.

    Arrays come back as lazy `xarray.DataArray` over ``ap``, ``dv`` and ``ml`` with voxel centres in
    µm. Everything is lazy: no voxel is read until you compute. Wherever an argument names
    structures, it takes an id, an acronym, a name, or a list of them; wherever it names regions, it
    takes what `StructureTree.regions` takes, or makes.

    Parameters
    ----------
    structure_tree
        The structures.
    annotation
        The volume: a NumPy array, dask array or DataArray. An array in memory is not copied, so it
        must not be changed afterwards: counts are remembered. Files are opened by `refspace.open`.
    resolution
        µm per voxel, one number or one for each axis. May be left out where the annotation has
        coordinates, and must agree with them.
    orientation
        Direction in which the index of each axis grows, of an array without coordinates:
        ``"PIR"`` (posterior, inferior, right), that of the Allen CCF, if not given.
    template
        Intensities on the same grid.
    hemispheres
        Hemisphere of each voxel on the same grid, where it is not the midline that separates them:
        a DataArray of integers, 1 left, 2 right and 0 neither. One in memory is checked here, a
        lazy one as its values are computed.
    midline
        Position of the midline along ml, in µm, whatever the annotation states; the middle of the
        volume if neither says it. Voxels whose centre is on it are left.

    Raises
    ------
    AnnotationError
        If the array is no annotation volume; or the hemispheres lack one, or hold anything else
        than 0, 1 and 2.
    GridError
        If its geometry is missing or contradictory.
    OntologyError
        If the structure tree is not one.

    Examples
    --------
    >>> import refspace
    >>> space = refspace.phantom(resolution=200)
    >>> mask = space.make_structure_mask("Isocortex")
    >>> mask.dims, mask.dtype
    (('ap', 'dv', 'ml'), dtype('bool'))
    >>> int(mask.sum()) == space.total_voxel_map[315]
    True
    """

    def __init__(
        self,
        structure_tree: StructureTree,
        annotation: ArrayLike,
        resolution: Resolution | None = None,
        *,
        orientation: str | None = None,
        template: xr.DataArray | None = None,
        hemispheres: xr.DataArray | None = None,
        midline: float | None = None,
    ) -> None:
        if isinstance(annotation, str | os.PathLike):
            raise AnnotationError(
                f"annotation is the path {os.fspath(annotation)}; open files and stores with "
                "refspace.open(path, structures=…), or give an array"
            )
        if isinstance(hemispheres, xr.DataArray) and hemispheres.variable._in_memory:
            check_both_sides([hemispheres.values])
        volume = LabelVolume.from_array(
            annotation,
            resolution,
            orientation=orientation,
            hemispheres=hemispheres,
            midline=midline,
        )
        super().__init__(structure_tree, volume, template=template)

    # What it is made of.
    annotation = Space.annotation
    structure_tree = Space.structure_tree
    grid = Space.grid
    resolution = Space.resolution
    midline = Space.midline
    hemispheres = Space.hemispheres
    template = Space.template
    volume = Space.volume
    block_labels = Space.block_labels
    label_index = Space.label_index
    contacts = Space.contacts
    provenance = Space.provenance
    url = Space.url
    levels = Space.levels
    with_volume = Space.with_volume
    changed = Space.changed

    # How many voxels structures have, and where these are.
    direct_voxel_map = Space.direct_voxel_map
    total_voxel_map = Space.total_voxel_map
    direct_voxel_counts = counts.direct_voxel_counts
    total_voxel_counts = counts.total_voxel_counts
    voxel_counts = counts.voxel_counts
    unknown_ids = unknown.unknown_ids
    remove_unassigned = counts.remove_unassigned
    bounds = places.bounds
    centroid = places.centroid

    # The same space on another grid.
    crop = grids.crop
    hemisphere = grids.hemisphere
    downsample = grids.downsample
    reorient = grids.reorient
    in_frame = grids.in_frame
    with_index = grids.with_index

    # Masks of structures.
    make_structure_mask = masks.make_structure_mask
    many_structure_masks = masks.many_structure_masks
    return_mask_cb = staticmethod(masks.return_mask_cb)
    check_and_write = staticmethod(masks.check_and_write)
    plan = masks.plan
    check_coverage = coverage.check_coverage
    validate_structures = coverage.validate_structures

    # Regions of structures, and values of them.
    relabel = regions.relabel
    paint = regions.paint
    boundaries = regions.boundaries
    aggregate = images.aggregate
    structure_at = points.structure_at
    count_points = points.count_points

    # Shapes of regions.
    region_properties = shapes.region_properties
    surface_area = shapes.surface_area
    adjacency = shapes.adjacency
    distance = shapes.distance
    mesh = meshes.mesh

    # Pictures, and files for other programs.
    plot = property(accessor.plot)
    get_slice_image = slices.get_slice_image
    export_itksnap_labels = itksnap.export_itksnap_labels
    write_itksnap_labels = itksnap.write_itksnap_labels
    write_annotation = files.write_annotation

    # In the browser.
    view = viewing.view

    # What differs, and what is wrong.
    compare = comparison.compare
    validate = validation.validate

    # Stores.
    to_zarr = stores.to_zarr
    to_ome_zarr = stores.to_ome_zarr
    to_datatree = stores.to_datatree

    # Of a class, not of a space: help shows them with the rest.
    @classmethod
    def from_volume(
        cls,
        structure_tree: StructureTree,
        volume: LabelVolume,
        *,
        template: xr.DataArray | None = None,
        provenance: Mapping[str, Any] | None = None,
        url: str | None = None,
        coarser: Once[tuple[Level, ...]] | None = None,
    ) -> Self:
        """Space of a label volume, as stores and sources make them.

        Parameters
        ----------
        structure_tree, volume, template, provenance, url, coarser
            The structures; labels, with their grid and hemispheres, and what is known of their
            blocks; intensities on the same grid; where the atlas comes from; the path or URL of
            its store; and the same at coarser resolutions.

        Examples
        --------
        >>> import refspace
        >>> space = refspace.phantom(resolution=400)
        >>> again = refspace.ReferenceSpace.from_volume(space.structure_tree, space.volume)
        >>> again.grid == space.grid
        True
        """
        space = cls.__new__(cls)  # without an array to make a volume of
        Space.__init__(
            space,
            structure_tree,
            volume,
            template=template,
            provenance=provenance,
            url=url,
            coarser=coarser or Once.from_value(()),
        )
        return space

    @classmethod
    def from_datatree(cls, tree: xr.DataTree, *, resolution: Resolution | None = None) -> Self:
        """Space of a DataTree, as `to_datatree` makes it or `xarray.open_datatree` opens it.

        Parameters
        ----------
        tree
            The DataTree.
        resolution
            µm per voxel of the level to take; the finest if not given.

        Raises
        ------
        FormatError
            If it is not the tree of a reference space.
        GridError
            If it has no level of the resolution.

        Examples
        --------
        >>> import refspace
        >>> space = refspace.phantom(resolution=200)
        >>> refspace.ReferenceSpace.from_datatree(space.to_datatree()).grid == space.grid
        True
        """
        return stores.from_datatree(cls.from_volume, tree, resolution=resolution)

    __repr__ = Space.__repr__
