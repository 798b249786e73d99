"""What a reference space is: an annotation volume and its ontology."""

import functools
import html
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import dask.array
import xarray as xr
from numpy.typing import NDArray

from refspace.errors import AnnotationError, GridError, OntologyError
from refspace.formats.volumes import read_volume
from refspace.grid import Grid
from refspace.label_index import BlockLabels, Chunks, LabelIndex, cut_at_midline
from refspace.labels import (
    as_annotation,
    as_hemispheres,
    infer_grid,
    resolve_midline,
    with_hemispheres,
)
from refspace.ops.measure import measure_labels
from refspace.structure_tree import StructureTree

# What is remembered of the structures of a tree, and not of labels alone.
_OF_TREE = ("direct_voxel_map", "total_voxel_map")


class Core:
    """An annotation volume and the tree of its structures, without verbs.

    Parameters
    ----------
    structure_tree, annotation, resolution, orientation, template, hemispheres, midline
        As for `ReferenceSpace`.
    """

    def __init__(
        self,
        structure_tree: StructureTree,
        annotation: NDArray[Any] | dask.array.Array | xr.DataArray | str | os.PathLike[str],
        resolution: float | Sequence[float] | None = None,
        *,
        orientation: str | None = None,
        template: xr.DataArray | None = None,
        hemispheres: xr.DataArray | None = None,
        midline: float | None = None,
    ) -> None:
        if not isinstance(structure_tree, StructureTree):
            raise OntologyError(
                f"structure_tree is a {type(structure_tree).__name__}; give a StructureTree first, "
                "as read_structures makes it of a file, and then the annotation"
            )
        if isinstance(annotation, str | os.PathLike):
            if Path(annotation).is_dir():
                raise AnnotationError(
                    f"{os.fspath(annotation)} is a folder; open a zarr store with refspace.open"
                )
            annotation = read_volume(annotation, resolution=resolution, orientation=orientation)
        self._structure_tree = structure_tree
        self._annotation = as_annotation(annotation, resolution, orientation=orientation)
        self._grid = infer_grid(self._annotation)
        self._template = None if template is None else _on_grid(template, self.grid)
        self._midline = resolve_midline(midline, annotation, self._grid)
        # Volume that tells the hemispheres apart, where the midline does not.
        self._own_hemispheres = (
            None if hemispheres is None else as_hemispheres(hemispheres, self._grid)
        )
        if hemispheres is None:
            self._annotation = with_hemispheres(self._annotation, self._midline)
        self._provenance: Mapping[str, Any] = {}
        self._read_index: Callable[[], LabelIndex | None] | None = None
        self._read_stored_bytes: Callable[[], NDArray[Any]] | None = None
        # What may be in the blocks of a part, as the space that it was cropped from knows it.
        self._labels_of_whole: BlockLabels | None = None
        self._url: str | None = None

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
        if structure_tree is not self._structure_tree:
            self._structure_tree = structure_tree
            for name in _OF_TREE:
                self.__dict__.pop(name, None)

    @property
    def annotation(self) -> xr.DataArray:
        """Structure id of every voxel, 0 outside; dims ap, dv, ml, voxel centres in µm.

        Its coordinate ``hemisphere`` along ml is ``"left"`` or ``"right"``, where the midline
        parts the two.

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
        return self._grid

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
    def provenance(self) -> Mapping[str, Any]:
        """Where the atlas comes from, as its store says; empty if it was made in memory.

        Examples
        --------
        >>> import refspace
        >>> dict(refspace.phantom(resolution=200).provenance)
        {}
        """
        return MappingProxyType(dict(self._provenance))

    @property
    def url(self) -> str | None:
        """Path or URL of the store that the space was opened from; None if it was from none.

        Examples
        --------
        >>> import refspace
        >>> refspace.phantom(resolution=200).url is None
        True
        """
        return self._url

    # ----- what is known of its blocks

    @property
    def label_index(self) -> LabelIndex:
        """Voxels, bounding boxes and coordinate sums of each label in each chunk.

        Chunks that the midline cuts count as two, so that each lies in one hemisphere.

        That of the store where there is one; otherwise the first call reads the volume once.

        Examples
        --------
        >>> import refspace
        >>> space = refspace.phantom(resolution=200)
        >>> space.label_index.counts()[593] == space.direct_voxel_map[593]  # VISp1
        True
        """
        stored = self._stored_index
        return self._measured_index if stored is None else stored

    @functools.cached_property
    def _stored_index(self) -> LabelIndex | None:
        """Index that came with the volume; read when it is first needed."""
        return None if self._read_index is None else self._read_index()

    @functools.cached_property
    def _stored_bytes(self) -> NDArray[Any] | None:
        """Bytes that each block takes in the store, in C order; read when first needed."""
        return None if self._read_stored_bytes is None else self._read_stored_bytes()

    @functools.cached_property
    def _measured_index(self) -> LabelIndex:
        return measure_labels(self._annotation, self._cells)

    @property
    def _cells(self) -> Chunks:
        """Chunks of the annotation, cut at the midline."""
        return cut_at_midline(self._grid, self._annotation.data.chunks, self._midline)

    @property
    def _block_labels(self) -> BlockLabels | None:
        """Labels of each block of the annotation, where they are known without reading it."""
        return self._labels_of_whole if self._known_index() is None else self._indexed_labels

    @functools.cached_property
    def _indexed_labels(self) -> BlockLabels:
        # The index is that of cells, several of which may make up a block.
        return self.label_index.coarsen(self._annotation.data.chunks).block_labels

    def _known_index(self) -> LabelIndex | None:
        """Index that costs no voxel: the one that is stored, or was measured before."""
        stored: LabelIndex | None = self._stored_index
        return self.__dict__.get("_measured_index") if stored is None else stored

    def _derived(
        self,
        annotation: xr.DataArray,
        *,
        template: xr.DataArray | None = None,
        hemispheres: xr.DataArray | None = None,
        midline: float | None = None,
    ) -> Self:
        """The same tree over another volume; its midline is this one's if not given."""
        made = type(self)(
            self.structure_tree,
            annotation,
            template=template,
            hemispheres=hemispheres,
            midline=self._midline if midline is None else midline,
        )
        made._provenance, made._url = self._provenance, self._url
        return made

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


def _on_grid(template: xr.DataArray, grid: Grid) -> xr.DataArray:
    if infer_grid(template) != grid:
        raise GridError("the template must be a DataArray on the grid of the annotation")
    return template
