"""The reference space: an annotation volume and its ontology, and the verbs that join them."""

import functools
import html
import operator
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from refspace.errors import AnnotationError, GridError, OntologyError
from refspace.files import replacing
from refspace.formats.itksnap import renumber, write_label_description
from refspace.formats.nrrd import read_nrrd, write_nrrd
from refspace.grid import Grid
from refspace.ops.counts import count_labels
from refspace.ops.relabel import Color, colors, coverage, mask, narrow, relabel
from refspace.ops.resample import Method, downsample
from refspace.structure_tree import StructureTree
from refspace.volume import as_annotation, grid_of

BACKGROUND = 0
BLACK = (0, 0, 0)
MAGENTA = (255, 0, 255)
_ITKSNAP_ATTRS = {"long_name": "ITK-SNAP label"}


class ReferenceSpace:
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

    def __init__(
        self,
        structure_tree: StructureTree,
        annotation: NDArray[Any] | dask.array.Array | xr.DataArray | str | os.PathLike[str],
        resolution: float | Sequence[float] | None = None,
        *,
        orientation: str | None = None,
    ) -> None:
        if not isinstance(structure_tree, StructureTree):
            raise OntologyError(
                f"structure_tree is a {type(structure_tree).__name__}; give a StructureTree first, "
                "as read_structures makes it of a file, and then the annotation"
            )
        if isinstance(annotation, str | os.PathLike):
            annotation = read_nrrd(annotation, resolution=resolution, orientation=orientation)
        self.structure_tree = structure_tree
        self._annotation = as_annotation(annotation, resolution, orientation=orientation)

    # ----- what it is

    @property
    def annotation(self) -> xr.DataArray:
        """Structure id of every voxel, 0 outside; dims ap, dv, ml, voxel centres in µm.

        Examples
        --------
        >>> import refspace
        >>> space = refspace.phantom(resolution=200)
        >>> voxel = space.annotation.sel(ap=5100, dv=1500, ml=3300)
        >>> space.structure_tree.nodes(voxel)[0]["acronym"]
        'SSp-ul4'
        """
        return self._annotation

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
        return grid_of(self._annotation)

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

    # ----- counts

    @functools.cached_property
    def _label_counts(self) -> dict[int, int]:
        return count_labels(self._annotation)

    @functools.cached_property
    def direct_voxel_map(self) -> dict[int, int]:
        """Number of voxels that hold each structure's own id; the first call reads the volume.

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
        """Number of voxels of each structure's subtree; the first call reads the volume.

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

    def direct_voxel_counts(self) -> dict[int, int]:
        """Number of voxels that hold each structure's own id: `direct_voxel_map`."""
        return self.direct_voxel_map

    def total_voxel_counts(self) -> dict[int, int]:
        """Number of voxels of each structure's subtree: `total_voxel_map`."""
        return self.total_voxel_map

    def voxel_counts(self) -> xr.Dataset:
        """Voxels and volume of every structure, as a table.

        Counting takes one pass over the volume, made on the first call and remembered.

        Returns
        -------
        xarray.Dataset
            Over ``structure`` (ids, with coordinates ``acronym`` and ``name``): ``direct``, voxels
            that hold the structure's own id; ``total``, those of its subtree; ``volume``, that of
            its subtree in mm³. Attributes ``unknown_ids`` and ``unknown_voxels``: ids that the
            volume holds and the tree does not know, and how many voxels hold each.

        Examples
        --------
        >>> import refspace
        >>> counts = refspace.phantom(resolution=200).voxel_counts()
        >>> bool(counts.total.sel(structure=315) > counts.direct.sel(structure=315))
        True
        """
        tree = self.structure_tree
        ids = tree.node_ids()
        direct = np.array([self._voxels_of(i) for i in ids], np.int64)
        total = tree.total(direct)
        unknown = [i for i in self._label_counts if i != BACKGROUND and i not in tree]
        volume_attrs = {"units": "mm3", "long_name": "volume of the subtree"}
        return xr.Dataset(
            {
                "direct": ("structure", direct, {"long_name": "voxels of the structure itself"}),
                "total": ("structure", total, {"long_name": "voxels of the subtree"}),
                "volume": ("structure", total * self.grid.voxel_volume, volume_attrs),
            },
            coords={
                "structure": np.array(ids, np.int64),
                "acronym": ("structure", _texts(tree, "acronym")),
                "name": ("structure", _texts(tree, "name")),
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
            self.structure_tree = StructureTree(assigned)
        return assigned

    # ----- masks

    def make_structure_mask(self, structure_ids: Any, direct_only: bool = False) -> xr.DataArray:
        """Mask of the union of some structures.

        Parameters
        ----------
        structure_ids
            The structures.
        direct_only
            Whether to leave out their descendants.

        Returns
        -------
        xarray.DataArray
            uint8, 1 inside and 0 outside; lazy, dims and coordinates of the annotation. Its
            attribute ``structure_ids`` holds the ids that were asked for.

        Raises
        ------
        StructureNotFoundError
            If there is no such structure.

        Examples
        --------
        >>> import refspace
        >>> space = refspace.phantom(resolution=200)
        >>> mask = space.make_structure_mask(["VISp", 1011])
        >>> int(mask.sum()) == space.total_voxel_map[385] + space.total_voxel_map[1011]
        True
        """
        ids = given = self.structure_tree.resolve(structure_ids)
        if not direct_only:
            ids = [i for subtree in self.structure_tree.descendant_ids(ids) for i in subtree]
        return mask(self._annotation, ids).assign_attrs(structure_ids=given)

    def many_structure_masks(
        self,
        structure_ids: Any,
        output_cb: Callable[[int, Callable[[], Any]], Any] | None = None,
        direct_only: bool = False,
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
            yield callback(i, functools.partial(self.make_structure_mask, [i], direct_only))

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

    def check_coverage(self, structure_ids: Any, domain_mask: Any) -> xr.DataArray:
        """Compare the union of some structures with the domain that they should cover.

        Parameters
        ----------
        structure_ids
            The structures, with their descendants.
        domain_mask
            Array of the annotation's shape, not 0 in the domain.

        Returns
        -------
        xarray.DataArray
            int8: 1 where a voxel of the domain is missing, -1 where one is in excess, else 0; lazy.

        Raises
        ------
        GridError
            If the domain has another shape or place.

        Examples
        --------
        >>> import refspace
        >>> space = refspace.phantom(resolution=200)
        >>> cortex = space.make_structure_mask("Isocortex")
        >>> int(space.check_coverage("VISp", cortex).min())  # the rest is missing, none in excess
        0
        """
        return coverage(self.make_structure_mask(structure_ids), domain_mask)

    def validate_structures(self, structure_ids: Any, domain_mask: Any) -> list[Any]:
        """Check that some structures cover a domain, each part of it once.

        Parameters
        ----------
        structure_ids, domain_mask
            As for `check_coverage`.

        Returns
        -------
        list
            Ids among the structures that are ancestors of others among them, and the result of
            `check_coverage`.

        Examples
        --------
        >>> import refspace
        >>> space = refspace.phantom(resolution=200)
        >>> cortex = space.make_structure_mask("Isocortex")
        >>> space.validate_structures(["Isocortex", "VISp"], cortex)[0]
        {315}
        """
        overlaps = self.structure_tree.has_overlaps(structure_ids)
        return [overlaps, self.check_coverage(structure_ids, domain_mask)]

    # ----- other resolutions, slices

    def downsample(
        self, target_resolution: float | Sequence[float], method: Method = "nearest"
    ) -> "ReferenceSpace":
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
            Lazy, ``round(n * resolution / target)`` voxels along each axis.

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
        coarser = downsample(self._annotation, target_resolution, method)
        return ReferenceSpace(self.structure_tree, coarser)

    def get_slice_image(
        self,
        axis: int | str,
        position: float,
        cmap: Mapping[Any, Color] | None = None,
        *,
        unknown_color: Color = MAGENTA,
    ) -> xr.DataArray:
        """Picture of a slice in the structures' colours.

        Parameters
        ----------
        axis
            ``"ap"`` (a coronal slice), ``"dv"`` (horizontal) or ``"ml"`` (sagittal), or its number.
        position
            Where to cut, in µm along the axis; the voxel that contains it is shown.
        cmap
            Colour of each structure, three numbers from 0 to 255 or six hexadecimal digits; the
            ontology's colours if not given.
        unknown_color
            Colour of ids that have none. 0, outside, is black unless ``cmap`` says otherwise.

        Returns
        -------
        xarray.DataArray
            uint8 over the other two axes and ``rgb``; lazy.

        Raises
        ------
        PositionError
            If the position is outside the volume.

        Examples
        --------
        >>> import refspace
        >>> image = refspace.phantom(resolution=100).get_slice_image("ap", 7000)
        >>> image.dims, image.shape
        (('dv', 'ml', 'rgb'), (80, 114, 3))
        """
        dim = self._dim(axis)
        plane = self._annotation.isel({dim: self.grid.index(dim, position)})
        return colors(plane, self._colormap(cmap), unknown_color)

    def _dim(self, axis: int | str) -> str:
        dims = self.grid.dims
        if isinstance(axis, str) and axis in dims:
            return axis
        if isinstance(axis, Integral) and type(axis) is not bool and axis in range(3):
            return dims[int(axis)]
        raise GridError(f"there is no axis {axis!r}; choose {', '.join(dims)}, or 0, 1 or 2")

    def _colormap(self, cmap: Mapping[Any, Color] | None) -> dict[int, Color]:
        if cmap is None:
            return {**self.structure_tree.get_colormap(), BACKGROUND: BLACK}
        # Ids that the tree does not know may have a colour too; acronyms and names must be known.
        resolve = self.structure_tree.resolve
        ids = [resolve(key)[0] if isinstance(key, str) else operator.index(key) for key in cmap]
        return {BACKGROUND: BLACK, **dict(zip(ids, cmap.values(), strict=True))}

    # ----- ITK-SNAP

    def export_itksnap_labels(
        self,
        id_type: npt.DTypeLike = np.uint16,
        label_description_kwargs: Mapping[str, Any] | None = None,
    ) -> tuple[xr.DataArray, pd.DataFrame]:
        """Annotation and label table for ITK-SNAP, renumbered if an id does not fit.

        Parameters
        ----------
        id_type
            Type of the labels. If it cannot hold every id of the tree, structures are numbered
            from 1 in the order of their labels; ITK-SNAP itself takes up to 65 535.
        label_description_kwargs
            Passed to `StructureTree.export_label_description`.

        Returns
        -------
        annotation
            Lazy. Ids that the tree does not know are 0 if structures are renumbered or the id does
            not fit.
        labels
            Columns IDX, -R-, -G-, -B-, -A-, VIS, MSH and LABEL.

        Raises
        ------
        AnnotationError
            If the type has fewer numbers than there are structures, or is no integer type.

        Examples
        --------
        >>> import refspace
        >>> space = refspace.phantom(resolution=200)
        >>> labels, table = space.export_itksnap_labels()
        >>> labels.dtype, table["LABEL"][0]
        (dtype('uint16'), 'ACA')
        """
        table = self.structure_tree.export_label_description(**(label_description_kwargs or {}))
        dtype = np.dtype(id_type)
        if dtype.kind not in "ui":
            raise AnnotationError(f"id_type is {dtype}; labels are integers, give uint16 or uint32")
        if table["IDX"].max() <= np.iinfo(dtype).max:
            return narrow(self._annotation, dtype, attrs=_ITKSNAP_ATTRS), table
        if len(table) > np.iinfo(dtype).max:
            raise AnnotationError(
                f"{dtype} cannot number {len(table)} structures; give a larger id_type"
            )
        table, numbers = renumber(table)
        labels = relabel(
            self._annotation, numbers, 0, dtype=dtype, name="label", attrs=_ITKSNAP_ATTRS
        )
        return labels, table

    def write_itksnap_labels(
        self,
        annotation_path: str | os.PathLike[str],
        label_path: str | os.PathLike[str],
        id_type: npt.DTypeLike = np.uint16,
        label_description_kwargs: Mapping[str, Any] | None = None,
        *,
        itksnap_header: bool = False,
    ) -> None:
        """Write the annotation and its label description for ITK-SNAP.

        Parameters
        ----------
        annotation_path
            NRRD file to write, slab by slab.
        label_path
            Label description to write; both files appear only when they are complete.
        id_type, label_description_kwargs
            As for `export_itksnap_labels`.
        itksnap_header
            Whether the description starts with a comment and a clear label, as those written by
            ITK-SNAP do; AllenSDK writes neither.

        Examples
        --------
        >>> import refspace, tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> space = refspace.phantom(resolution=400)
        >>> space.write_itksnap_labels(folder / "labels.nrrd", folder / "labels.txt")
        >>> (folder / "labels.txt").read_text().splitlines()[0]
        '1 64 166 102 1.0 1 1 "ACA"'
        """
        annotation, labels = self.export_itksnap_labels(id_type, label_description_kwargs)
        with replacing(label_path) as temporary:
            write_label_description(temporary, labels, itksnap_header=itksnap_header)
            write_nrrd(annotation_path, annotation)

    # ----- showing

    def __repr__(self) -> str:
        size = " × ".join(f"{dim} {n}" for dim, n in self._annotation.sizes.items())
        resolution = " × ".join(f"{r:g}" for r in self.resolution)
        return (
            f"<ReferenceSpace of {len(self.structure_tree)} structures, {size} voxels of "
            f"{resolution} µm>"
        )

    def _repr_html_(self) -> str:
        annotation = self._annotation._repr_html_()  # type: ignore[no-untyped-call]
        tree = self.structure_tree._repr_html_()
        return f"<p>{html.escape(repr(self))}</p>{annotation}{tree}"


def _texts(tree: StructureTree, field: str) -> list[str]:
    return [str(node.get(field) or "") for node in tree.nodes()]
