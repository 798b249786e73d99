"""Verbs for looking at a volume: slices in colour, and files for ITK-SNAP."""

import operator
import os
from collections.abc import Mapping
from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from refspace.errors import AnnotationError, GridError
from refspace.files import atomic_write
from refspace.formats.itksnap import renumber, write_label_description
from refspace.formats.nrrd import write_nrrd
from refspace.ops.relabel import Color, colors, narrow, relabel
from refspace.reference_space.checking import Checking
from refspace.types import BACKGROUND

BLACK = (0, 0, 0)
MAGENTA = (255, 0, 255)
_ITKSNAP_ATTRS = {"long_name": "ITK-SNAP label"}


class Picturing(Checking):
    """Slices, and label files for ITK-SNAP."""

    # ----- slices

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
        index = self.grid.index(dim, position)
        plane = self._annotation.isel({dim: index})
        labels = self._block_labels
        if labels is not None:
            labels = labels.crop(tuple(index if d == dim else slice(None) for d in self.grid.dims))
        return colors(plane, self._colormap(cmap), unknown_color, labels)

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
            labels = narrow(
                self._annotation, dtype, attrs=_ITKSNAP_ATTRS, block_labels=self._block_labels
            )
            return labels, table
        if len(table) > np.iinfo(dtype).max:
            raise AnnotationError(
                f"{dtype} cannot number {len(table)} structures; give a larger id_type"
            )
        table, numbers = renumber(table)
        labels = relabel(
            self._annotation,
            numbers,
            0,
            dtype=dtype,
            name="label",
            attrs=_ITKSNAP_ATTRS,
            block_labels=self._block_labels,
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
        >>> from pathlib import Path
        >>> folder = Path(tempfile.mkdtemp())
        >>> space = refspace.phantom(resolution=400)
        >>> space.write_itksnap_labels(folder / "labels.nrrd", folder / "labels.txt")
        >>> (folder / "labels.txt").read_text().splitlines()[0]
        '1 64 166 102 1.0 1 1 "ACA"'
        """
        annotation, labels = self.export_itksnap_labels(id_type, label_description_kwargs)
        with atomic_write(label_path) as temporary:
            write_label_description(temporary, labels, itksnap_header=itksnap_header)
            write_nrrd(annotation_path, annotation)
