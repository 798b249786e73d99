"""Masks of many structures, in one pass over the annotation, to wherever they are wanted."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from refspace.batch.mask_files import ENDINGS, mask_files, write_mask_files
from refspace.batch.mask_store import MaskRequest, MasksWritten, write_mask_store
from refspace.errors import FormatError
from refspace.grid import Hemisphere
from refspace.pools import pool_of
from refspace.reference_space import ReferenceSpace
from refspace.reference_space import open as open_space
from refspace.store import Progress
from refspace.structure_tree.parcellation import Level

if TYPE_CHECKING:
    from refspace.pools.choosing import Client


def write_masks(
    space: ReferenceSpace | str | os.PathLike[str],
    out: str | os.PathLike[str],
    structures: Any = None,
    *,
    level: Level | None = None,
    structure_set: int | Sequence[int] | None = None,
    direct_only: bool = False,
    hemisphere: Hemisphere | None = None,
    format: Literal["nrrd", "nifti"] = "nrrd",
    overwrite: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    threads: int | None = None,
    client: "Client | None" = None,
    progress: Progress | None = None,
) -> MasksWritten:
    """Write masks of many structures, reading each block of the annotation once.

    Of a store, blocks that hold none of the structures are not read, and neither are those in which
    no mask varies. A run that was stopped, whatever stopped it, is continued by the same call; what
    is complete is proven to be what it should be, and left.

    Parameters
    ----------
    space
        The annotation and its structures, or the path or URL of a store. With `client`, workers
        read the store or file by themselves; an array in memory is sent to them.
    out
        Path or URL of a store, ending in ``.zarr``: an OME-Zarr image over structures and space,
        which `open_masks` opens. Anything else is a folder, for a file of each structure, named
        ``structure_385.nrrd`` as `ReferenceSpace.check_and_write` names them.
    structures, level, structure_set
        The structures, as for `ReferenceSpace.parcellation`; all that have voxels if not given.
    direct_only
        Whether to leave out the structures' descendants.
    hemisphere
        ``"left"`` or ``"right"``, where the masks are to be 0 in the other.
    format
        Of files: ``"nrrd"``, or ``"nifti"`` for ``.nii.gz``.
    overwrite
        Whether to replace what is there, and is something else.
    storage_options
        What fsspec needs to reach `out`.
    threads
        Number of threads that do the work; as many as there are cores if not given.
    client
        Client of a dask cluster whose workers do the work instead; they must see `out`.
    progress
        Called with the numbers of blocks done and to be done; then, for files, with those of files.

    Returns
    -------
    MasksWritten
        How many blocks or files were written, and how many were there.

    Raises
    ------
    StructureNotFoundError, OntologyError
        If there is no such structure, or none at all.
    StoreError
        If `out` is there and is something else or damaged, is being written, or has no space left.
    JobError
        If some blocks or files failed; the others are done, and not done again.
    ClusterError
        If the scheduler is gone; what was done is not done again.

    Examples
    --------
    >>> import refspace, tempfile
    >>> space, folder = refspace.phantom(resolution=400), tempfile.mkdtemp()
    >>> write_masks(space, f"{folder}/masks.zarr", ["VISp", "TH"]).structures
    (385, 549)
    >>> write_masks(space, folder, ["VISp", "TH"]).written
    2
    """
    if not isinstance(space, ReferenceSpace):
        space = open_space(space)
    if format not in ENDINGS:
        raise FormatError(f"format is {format!r}; there are {' and '.join(ENDINGS)}")
    options: dict[str, Any] = {"direct_only": direct_only, "hemisphere": hemisphere}
    request = MaskRequest.from_space(
        space, structures, level=level, structure_set=structure_set, **options
    )
    how: dict[str, Any] = {
        "pool": pool_of(threads, client),
        "overwrite": overwrite,
        "storage_options": storage_options,
        "progress": progress,
    }
    target = os.fspath(out).rstrip("/")
    if target.lower().endswith(".zarr"):
        return write_mask_store(request, target, **how)
    files = mask_files(request, ENDINGS[format])
    return write_mask_files(
        lambda ids: MaskRequest.from_space(space, ids, **options), files, target, **how
    )
