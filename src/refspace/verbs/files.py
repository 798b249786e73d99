"""The annotation in a file, with a table of its labels beside it."""

import os
from contextlib import ExitStack
from pathlib import Path

from refspace.errors import FormatError
from refspace.files import atomic_write
from refspace.formats.names import output_ending
from refspace.formats.structure_output import bids_table
from refspace.formats.tables import write_table
from refspace.formats.volumes import write_volume
from refspace.types import PathLike
from refspace.verbs.space import Space


def write_annotation(
    space: Space, path: PathLike, *, label_table: bool | PathLike = False
) -> Path | None:
    """Write the annotation as a volume, and a table that names its labels.

    The table is one of BIDS: ``atlas_dseg.nii.gz`` has it in ``atlas_dseg.tsv``, with columns
    ``index``, ``name``, ``abbreviation``, ``color`` and ``parent``, a row for each structure, where
    nilearn takes it as ``lut``. Ids stay as they are.

    Parameters
    ----------
    path
        File to write, slab by slab: NRRD or NIfTI, by its ending. It appears whole or not at all.
    label_table
        Whether to write the table too, called as the volume but ending in ``.tsv``; or its path.

    Returns
    -------
    pathlib.Path or None
        Path of the table, where there is one.

    Raises
    ------
    FormatError
        If the volume has another ending, or the table another one than ``.tsv``.
    AnnotationError, MissingDependencyError, OSError
        As for `refspace.write_nifti` and `refspace.write_nrrd`.

    Examples
    --------
    >>> import refspace, tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> space = refspace.phantom(resolution=400)
    >>> table = space.write_annotation(folder / "phantom_dseg.nrrd", label_table=True)
    >>> table.name
    'phantom_dseg.tsv'
    >>> table.read_text().splitlines()[0].split()
    ['index', 'name', 'abbreviation', 'color', 'parent']
    """
    table = _table_path(path, label_table)
    with ExitStack() as stack:
        if table is not None:
            # Both appear once both are whole.
            temporary = stack.enter_context(atomic_write(table))
            write_table(temporary, [bids_table(space.structure_tree)])
        write_volume(path, space.annotation)
    return table


def label_table_path(path: PathLike) -> Path:
    """Path of the table of labels beside a volume.

    Examples
    --------
    >>> label_table_path("atlas_dseg.nii.gz").name
    'atlas_dseg.tsv'
    """
    return Path(f"{os.fspath(path)[: -len(output_ending(path))]}.tsv")


def _table_path(path: PathLike, label_table: bool | PathLike) -> Path | None:
    beside = label_table_path(path)
    if isinstance(label_table, bool):
        return beside if label_table else None
    table = Path(label_table)
    if table.suffix.lower() != ".tsv":
        raise FormatError(f"label_table is {table}; give a name that ends in .tsv, or True")
    return table
