"""Masks of many structures as one job: to a store, or to a file each."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from refspace.batch.mask_files import ENDINGS, mask_files, write_mask_files
from refspace.batch.mask_store import MaskRequest, MasksWritten, write_mask_store
from refspace.blockwise.bounded import pool_for
from refspace.errors import FormatError
from refspace.pools import make_pool
from refspace.reference_space import ReferenceSpace
from refspace.reference_space import open as open_space
from refspace.store import Progress
from refspace.structure_tree import RegionsLike
from refspace.structure_tree.file_names import FileNames, file_stems
from refspace.types import PathLike
from refspace.verbs.grids import along_frame

if TYPE_CHECKING:
    from refspace.pools.choosing import Client


def write_masks(
    space: ReferenceSpace | PathLike,
    out: PathLike,
    regions: RegionsLike | None = None,
    *,
    format: Literal["nrrd", "nifti"] = "nrrd",
    names: FileNames = "id",
    overwrite: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    threads: int | None = None,
    client: "Client | None" = None,
    progress: Progress | None = None,
) -> MasksWritten:
    """Write masks of many structures, reading each block of the annotation once.

    With a label index, as every store has, blocks without any of the structures are not read, nor
    those in which no mask varies. A run that was stopped, by whatever, is continued by the same
    call. Existing output is reused only if its checksum matches.

    Parameters
    ----------
    space
        The annotation and its structures, of both hemispheres or of one; or the path or URL of a
        store. Workers of a cluster read the store or file by themselves; an array in memory is sent
        to them.
    out
        Path or URL of a store, ending in ``.zarr``: an OME-Zarr image over structures and space,
        which `open_masks` opens. Anything else is a folder, for a file of each structure, named
        ``structure_385.nrrd`` as `ReferenceSpace.check_and_write` names them.
    regions
        The structures, or what `StructureTree.regions` makes of them; all that have voxels if not
        given.
    format
        Of files: ``"nrrd"``, or ``"nifti"`` for ``.nii.gz``.
    names
        What files are named by: ``"id"``, or ``"acronym"`` for ``VISp.nrrd``. Signs that file names
        cannot have become ``_``; where acronyms are then alike, the id follows.
    overwrite
        Whether to replace what is there and is something else.
    storage_options
        What fsspec needs to reach `out`.
    threads
        Number of threads of this process that do the work, even where a client is active.
    client
        Client of a dask cluster whose workers do the work; they must see `out`. If neither is
        given, the active client (`distributed.get_client`), or else as many threads as there are
        cores.
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
        If `out` is there and is something else or damaged, or is being written.
    WriteError
        If there is no space left, or no right to write.
    JobError
        If some blocks or files failed; the others are done, and not done again.
    SourceError
        If both `threads` and `client` are given.
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
    pool = make_pool(threads, client)
    if not isinstance(space, ReferenceSpace):
        space = open_space(space)
    if format not in ENDINGS:
        raise FormatError(f"format is {format!r}; there are {' and '.join(ENDINGS)}")
    target = os.fspath(out).rstrip("/")
    is_store = target.lower().endswith(".zarr")
    if is_store:
        space = along_frame(space)
    if threads is None:
        pool = pool_for(pool, space.annotation.data)
    request = MaskRequest.from_space(space, regions)
    options: dict[str, Any] = {
        "pool": pool,
        "overwrite": overwrite,
        "storage_options": storage_options,
        "progress": progress,
    }
    if is_store:
        return write_mask_store(request, target, **options)
    stems = file_stems(space.structure_tree.nodes(), names)
    files = mask_files(request, ENDINGS[format], stems)
    return write_mask_files(
        lambda ids: MaskRequest.from_regions(space, request.regions.select(ids)),
        files,
        target,
        stems=stems.values(),
        **options,
    )
