"""Files for ITK-SNAP: a volume of labels, and their description."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from refspace.errors import AnnotationError
from refspace.files import atomic_write
from refspace.formats.itksnap import hide_outside, renumber, write_label_description
from refspace.formats.nifti import write_nifti
from refspace.formats.nrrd import write_nrrd
from refspace.ops.relabel import narrow, relabel
from refspace.types import PathLike
from refspace.verbs.space import Space

_ITKSNAP_ATTRS = {"long_name": "ITK-SNAP label"}


def export_itksnap_labels(
    space: Space,
    id_type: npt.DTypeLike = np.uint16,
    label_description_kwargs: Mapping[str, Any] | None = None,
) -> tuple[xr.DataArray, pd.DataFrame]:
    """Annotation and label table for ITK-SNAP, renumbered if an id does not fit.

    Parameters
    ----------
    id_type
        Type of the labels. If it cannot hold every id of the tree, structures are numbered
        from 1 in the order of their labels; ITK-SNAP itself takes up to 65 535. 0 is outside and
        stays 0, and its row is invisible, whatever structure has it as its id.
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
    described = space.structure_tree.export_label_description(**(label_description_kwargs or {}))
    table = hide_outside(described)
    dtype = np.dtype(id_type)
    if dtype.kind not in "ui":
        raise AnnotationError(f"id_type is {dtype}; labels are integers, give uint16 or uint32")
    if table["IDX"].max() <= np.iinfo(dtype).max:
        labels = narrow(
            space.annotation, dtype, attrs=_ITKSNAP_ATTRS, block_labels=space.block_labels
        )
        return labels, table
    table, numbers = renumber(table)
    if (count := max(numbers.values(), default=0)) > np.iinfo(dtype).max:
        raise AnnotationError(f"{dtype} cannot number {count} structures; give a larger id_type")
    labels = relabel(
        space.annotation,
        numbers,
        0,
        dtype=dtype,
        name="label",
        attrs=_ITKSNAP_ATTRS,
        block_labels=space.block_labels,
    )
    return labels, table


def write_itksnap_labels(
    space: Space,
    annotation_path: PathLike,
    label_path: PathLike,
    id_type: npt.DTypeLike = np.uint16,
    label_description_kwargs: Mapping[str, Any] | None = None,
    *,
    itksnap_header: bool = False,
) -> None:
    """Write the annotation and its label description for ITK-SNAP.

    Parameters
    ----------
    annotation_path
        File to write, slab by slab: NIfTI where it ends in ``.nii`` or ``.nii.gz``, else NRRD; in
        mm, as ITK takes lengths.
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
    annotation, labels = export_itksnap_labels(space, id_type, label_description_kwargs)
    with atomic_write(label_path) as temporary:
        write_label_description(temporary, labels, itksnap_header=itksnap_header)
        # TIFF, which other volumes may be written to, has no directions that ITK-SNAP would read.
        is_nifti = os.fspath(annotation_path).lower().endswith((".nii", ".nii.gz"))
        (write_nifti if is_nifti else write_nrrd)(annotation_path, annotation)
