"""The reference space: an annotation volume and its ontology, and the verbs that join them."""

import functools
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import xarray as xr
from dask.tokenize import tokenize
from numpy.typing import NDArray

from refspace.grid import Reorientation
from refspace.label_index import LabelIndex
from refspace.labels import reorient
from refspace.ops.resample import Method, downsample
from refspace.pools import pool_of
from refspace.reference_space.picturing import Picturing
from refspace.store import (
    Atlas,
    BlockSource,
    Progress,
    StoredAtlas,
    TreeLevel,
    WriteTarget,
    level_grids,
    make_datatree,
    store_layout,
    write_atlas,
)
from refspace.structure_tree import StructureTree

if TYPE_CHECKING:
    from refspace.pools.choosing import Client


class ReferenceSpace(Picturing):
    """An annotation volume in which every voxel names a structure, and the tree of structures.

    Arrays come back as lazy `xarray.DataArray` over ``ap``, ``dv`` and ``ml`` with voxel centres in
    µm; nothing is read until their values are asked for. Wherever an argument names structures, it
    takes an id, an acronym, a name, or a list of them.

    Parameters
    ----------
    structure_tree
        The structures.
    annotation
        The volume: a NumPy array, dask array, DataArray, or the path of an NRRD file. An array in
        memory is not copied, so it must not be changed afterwards: counts are remembered.
    resolution
        µm per voxel, one number or one for each axis. May be left out where the annotation states
        it (coordinates, NRRD header), and must agree with what it states.
    orientation
        Direction in which the index of each axis grows: of an array without coordinates, where
        ``"PIR"`` (posterior, inferior, right), that of the Allen CCF, serves if not given; or of a
        file, whose header it overrules.
    template
        Intensities on the same grid.
    hemispheres
        Hemisphere of each voxel on the same grid, where it is not the midline that parts them: a
        DataArray of integers, 1 left and 2 right, anything else neither.
    midline
        Position of the midline along ml, in µm: the middle of the volume if the annotation does
        not state it. Voxels whose centre is on it are left.

    Raises
    ------
    AnnotationError
        If the array is no annotation volume.
    GridError
        If its geometry is missing or contradictory.
    OntologyError
        If the structure tree is none.

    Examples
    --------
    >>> import refspace
    >>> space = refspace.phantom(resolution=200)
    >>> mask = space.make_structure_mask("Isocortex")
    >>> mask.dims, mask.dtype
    (('ap', 'dv', 'ml'), dtype('uint8'))
    >>> int(mask.sum()) == space.total_voxel_map[315]
    True
    """

    # ----- other grids

    def downsample(
        self, target_resolution: float | Sequence[float], method: Method = "nearest"
    ) -> Self:
        """The same space at another resolution.

        Parameters
        ----------
        target_resolution
            µm per voxel, one number or one for each axis; any ratio.
        method
            ``"nearest"``: the voxel that contains the centre of the new one. ``"mode"``: the
            label that fills most of the new voxel, the smaller id of equal ones. ``"allensdk"``:
            the voxels that AllenSDK takes; up to half a voxel of the result off its coordinates.

        Returns
        -------
        ReferenceSpace
            Lazy, without a template, ``round(n * resolution / target)`` voxels along each axis;
            its midline stays where it is.

        Raises
        ------
        GridError
            If no voxel is left, or there is no such method.

        Examples
        --------
        >>> import refspace
        >>> refspace.phantom(resolution=100).downsample(200, method="mode").annotation.shape
        (66, 40, 57)
        """
        resampled = functools.partial(
            downsample, target_resolution=target_resolution, method=method
        )
        own = self._own_hemispheres
        return self._derived(
            resampled(self._annotation), hemispheres=None if own is None else resampled(own)
        )

    def reorient(self, orientation: str) -> Self:
        """The same space with its axes in another order and other directions.

        Parameters
        ----------
        orientation
            Direction in which the index of each axis grows, like ``"RAS"``.

        Returns
        -------
        ReferenceSpace
            Lazy: transposed and flipped views, also of the template and the hemispheres. Positions
            along a flipped axis change sign, that of the midline too; what is known of the blocks
            is kept.

        Raises
        ------
        GridError
            If it is no orientation.

        Examples
        --------
        >>> import refspace
        >>> space = refspace.phantom(resolution=200)
        >>> turned = space.reorient("RAS")
        >>> turned.annotation.dims, turned.annotation.shape
        (('ml', 'ap', 'dv'), (57, 66, 40))
        >>> {dim: round(x) for dim, x in turned.centroid("VISp").items()}
        {'ml': 5700, 'ap': -8906, 'dv': -1357}
        """
        reorientation = self._grid.reorientation_to(orientation)
        template, own = (
            None if volume is None else reorient(volume, orientation)
            for volume in (self._template, self._own_hemispheres)
        )
        flipped = reorientation.flipped[reorientation.axes.index(self._grid.axis("ml"))]
        made = self._derived(
            reorient(self._annotation, orientation),
            template=template,
            hemispheres=own,
            midline=0.0 - self._midline if flipped else self._midline,
        )
        made._read_index = functools.partial(self._turned_index, reorientation)
        labels = self._labels_of_whole
        made._labels_of_whole = None if labels is None else labels.reorient(reorientation)
        if self._read_stored_bytes is not None:
            made._read_stored_bytes = functools.partial(self._turned_bytes, reorientation)
        return made

    def _turned_index(self, reorientation: Reorientation) -> LabelIndex | None:
        index = self._known_index()
        return None if index is None else index.reorient(reorientation)

    def _turned_bytes(self, reorientation: Reorientation) -> NDArray[Any]:
        stored = self._stored_bytes
        assert stored is not None
        return reorientation.apply(stored.reshape(self._annotation.data.numblocks)).ravel()

    # ----- stores

    def to_zarr(
        self,
        url: str | os.PathLike[str],
        *,
        chunks: int | Sequence[int] = 128,
        shards: int | Sequence[int] | None = None,
        overwrite: bool = False,
        resume: bool = True,
        storage_options: Mapping[str, Any] | None = None,
        memory: int = 2**30,
        threads: int | None = None,
        client: "Client | None" = None,
        progress: Progress | None = None,
    ) -> None:
        """Write the space to a zarr store that xarray, OME-Zarr viewers and `refspace.open` open.

        The store holds the voxels at this resolution and at halves of it, the structures, and an
        index of the labels of each chunk. It appears whole or not at all.

        Parameters
        ----------
        url
            Path, or URL of any file system that fsspec writes to.
        chunks
            Voxels that are compressed together, along each axis.
        shards
            Voxels that one file holds, along each axis, where chunks would be too many files;
            multiples of `chunks`.
        overwrite
            Whether a store of that name is replaced, once the new one is complete.
        resume
            Whether to go on with an interrupted run of the very same job, or leave what it has
            completed.
        storage_options
            What fsspec needs to reach the URL.
        memory
            Bytes that voxels may take at a time.
        threads
            Number of threads that do the work; as many as there are cores if not given.
        client
            Client of a dask cluster whose workers do the work instead.
        progress
            Called with the numbers of blocks done and to be done.

        Raises
        ------
        StoreError
            If the target exists, is being written or cannot be reached.
        GridError
            If the chunks are no lengths, or too large for the memory.

        Examples
        --------
        >>> import refspace, tempfile
        >>> url = tempfile.mkdtemp() + "/phantom.zarr"
        >>> refspace.phantom(resolution=200).to_zarr(url)
        >>> refspace.open(url)
        <ReferenceSpace of 488 structures, ap 66 × dv 40 × ml 57 voxels of 200 × 200 × 200 µm>
        """
        volumes = self._volumes
        dtypes = {name: volume.dtype for name, volume in volumes.items()}
        layout = store_layout(
            self.grid, dtypes, chunks=chunks, shards=shards, midline=self._midline
        )
        coordinates = {str(dim): self._annotation[dim].values for dim in self._annotation.dims}
        write_atlas(
            WriteTarget(os.fspath(url), resume, overwrite, storage_options),
            Atlas(self.structure_tree.nodes(), self._provenance, coordinates),
            layout,
            {
                name: BlockSource.from_array(volume.data, layout.block_shape, memory)
                for name, volume in volumes.items()
            },
            identity={name: tokenize(volume.data) for name, volume in volumes.items()},
            pool=pool_of(threads, client),
            progress=progress,
            reads=[self._url] if self._url else [],
        )

    @property
    def _volumes(self) -> dict[str, xr.DataArray]:
        """Volumes that a store holds."""
        beside = {"template": self._template, "hemispheres": self._own_hemispheres}
        there = {name: volume for name, volume in beside.items() if volume is not None}
        return {"annotation": self._annotation, **there}

    def to_datatree(self) -> xr.DataTree:
        """The space as a DataTree, laid out as a store is; lazy.

        Returns
        -------
        xarray.DataTree
            ``s0``, ``s1``, …: ``annotation`` (and ``hemispheres``, where they are a volume; at
            ``s0`` also ``template``) at this resolution and at halves of it; ``structures``: the
            ontology as columns. Its attributes hold all that `from_datatree` needs.

        Examples
        --------
        >>> import refspace
        >>> tree = refspace.phantom(resolution=50).to_datatree()
        >>> [level for level in tree.children], tree["s1/annotation"].shape
        (['s0', 's1', 's2', 'structures'], (132, 80, 114))
        """
        levels = [self._volumes]
        for grid in level_grids(self.grid, (128, 128, 128))[1:]:
            finer = {name: v for name, v in levels[-1].items() if name != "template"}
            levels.append({n: downsample(v, grid.spacing, "mode") for n, v in finer.items()})
        return make_datatree(levels, self.structure_tree.nodes(), self._provenance, self._midline)

    @classmethod
    def from_datatree(
        cls, tree: xr.DataTree, *, resolution: float | Sequence[float] | None = None
    ) -> Self:
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
        level = TreeLevel.from_datatree(tree, resolution)
        space = cls(
            StructureTree(level.nodes),
            level.annotation,
            template=level.template,
            hemispheres=level.hemispheres,
            midline=level.midline,
        )
        space._provenance = level.provenance
        return space

    @classmethod
    def _of_store(cls, atlas: StoredAtlas, tree: StructureTree, level: int) -> Self:
        """Space of a level of a store that was opened."""
        template, hemispheres = (
            atlas.volume(level, name) if stored else None
            for name, stored in (("template", atlas.template), ("hemispheres", atlas.hemispheres))
        )
        # Of every level the same: halves of an odd length have another middle.
        midline = atlas.levels[0].grid.middle if atlas.midline is None else atlas.midline
        space = cls(
            tree,
            atlas.volume(level),
            template=template,
            hemispheres=hemispheres,
            midline=midline,
        )
        space._provenance = atlas.provenance
        space._url = atlas.location.url
        if atlas.metadata is not None:
            space._read_index = functools.partial(atlas.index, level)
            space._read_stored_bytes = functools.partial(atlas.stored_bytes, level)
        return space
