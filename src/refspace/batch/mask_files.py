"""Writes masks of many structures to a file each, in one pass over the annotation.

The pass writes a store of masks, from which each file is then made by itself::

    FOLDER/structure_385.nrrd                          the mask
    FOLDER/.refspace/structure_385.nrrd.json           its checksum
    FOLDER/.refspace/masks-0123456789abcdef.zarr       the masks, until all files are there
    FOLDER/.refspace/runs/0123456789abcdef/            files that are being written
"""

import functools
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from dask.tokenize import tokenize

from refspace.batch.causes import one_line, raise_if_hopeless
from refspace.batch.mask_store import MaskRequest, MasksWritten, write_mask_store
from refspace.batch.output_files import (
    JOURNAL,
    OutputFile,
    exclusive_folder,
    is_proven,
    record_digest,
    recorded_digest,
)
from refspace.errors import (
    FormatError,
    GridError,
    JobError,
    RefspaceError,
    StoreError,
)
from refspace.formats.headers import VolumeHeader
from refspace.formats.sides import NO_SIDES, StatedSides
from refspace.formats.volume_format import Given, VolumeFormat
from refspace.formats.volumes import open_header, write_volume
from refspace.grid import Grid
from refspace.labels import in_frame, infer_grid, stated_midline
from refspace.pools import Pool
from refspace.store import Location, Progress
from refspace.store.masks import StoredMasks, open_stored_masks
from refspace.store.staging import WriteLease, job_digest
from refspace.structure_tree.file_names import unfinished_pattern

ENDINGS = {"nrrd": ".nrrd", "nifti": ".nii.gz"}
# What `atomic_write` adds to the name of a file, or of its record, while it writes.
_WHILE_WRITTEN = r"(\.nii|\.nrrd|\.nii\.gz)?"
_DTYPE = np.dtype(np.uint8)  # of masks in files, which have no bool
_OVERWRITE = "replace it with --overwrite (Python: overwrite=True)"


@dataclass(frozen=True)
class _FileOptions:
    """Where a file of a mask comes from, and where it goes.

    Parameters
    ----------
    masks
        Where the masks are.
    digest
        Distinguishes them from others at the same location at another time.
    folder
        Where the file goes.
    overwrite
        Whether it replaces a file that is something else.
    lease
        Permission to write.
    """

    masks: Location
    digest: str
    folder: Location
    overwrite: bool
    lease: WriteLease


def write_mask_files(
    request_masks: Callable[[Sequence[int]], MaskRequest],
    files: Sequence[OutputFile],
    folder: str,
    *,
    stems: Iterable[str],
    pool: Pool,
    overwrite: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> MasksWritten:
    """Write masks to a file each.

    Parameters
    ----------
    request_masks
        Makes the request for some of the structures.
    files
        The files.
    stems
        Names, without their endings, that files of masks of the same annotation may have.
    folder, pool, overwrite, storage_options, progress
        As for `write_masks`.
    """
    location = Location(folder, storage_options or {})
    unfinished = unfinished_pattern(stems, _WHILE_WRITTEN)
    with exclusive_folder(location, "masks", unfinished, instead=", or of a .zarr") as lease:
        missing = [file for file in files if not is_proven(location, file)]
        kept = len(files) - len(missing)
        if missing:
            masks = _scratch(request_masks, missing, location, pool, progress)
            options = _FileOptions(
                masks.location, str(masks.metadata["digest"]), location, overwrite, lease
            )
            _write(missing, options, pool, progress, kept, len(files))
        # All files are there: the store that they were made from is not needed any more.
        location.remove_all(f"{JOURNAL}/masks-*.zarr")
        # Those that other runs were writing, of an annotation that has changed since.
        location.remove_all(f"{JOURNAL}/.masks-*.zarr.*")
    ids = tuple(file.structure for file in files)
    return MasksWritten(folder, ids, len(missing), kept)


def mask_files(request: MaskRequest, ending: str, stems: Mapping[int, str]) -> list[OutputFile]:
    """Files for some masks, each with its name and its digest.

    Parameters
    ----------
    request
        The masks.
    ending
        Ending of the names.
    stems
        Name of the file of each structure, without the ending.
    """
    grid = request.layout.grid
    files = []
    for region_index, structure in enumerate(request.ids):
        identity = {
            "spacing": grid.spacing,
            "origin": grid.origin,
            "orientation": grid.orientation,
            "frame": grid.frame,
            "shape": grid.shape,
            "voxels": request.identity["voxels"],
            "sides": request.identity["sides"],
            "members": request.regions.structures_in(region_index).tolist(),
        }
        # Of voxels that may have changed unseen, no file is known to hold the mask.
        digest = job_digest(identity) if request.voxels.is_proven else ""
        files.append(OutputFile(structure, f"{stems[structure]}{ending}", digest))
    return files


# ----- existing files


def _is_mask(path: Path, mask: xr.DataArray) -> bool:
    """Whether a file holds a mask, voxel by voxel, and states of it nothing else."""
    grid = infer_grid(mask)
    try:
        form, header = open_header(path)
        header.refuse_other_spacing(grid.spacing)
        is_ours = header.sides != NO_SIDES
        if is_ours:
            if header.sides != StatedSides.from_array(mask, grid) or header.stated.assumed:
                return False
            there = form.labels(header, Given())
        else:
            there = _volume_of_others(form, header, mask, grid)
        # Without its position in the world, nothing says where the midline is.
        is_placed = not is_ours or stated_midline(there) is not None
        if not is_placed or there.dtype != _DTYPE or not infer_grid(there).matches(grid):
            return False
        differs = (there.data != mask.data).any().compute(scheduler="synchronous")
    except (RefspaceError, ValueError, OSError):  # no volume, no file, or of another shape
        return False
    return not differs


def _volume_of_others(
    form: VolumeFormat, header: VolumeHeader, mask: xr.DataArray, grid: Grid
) -> xr.DataArray:
    """Volume in a file of another program, which may write no geometry, and knows no frame."""
    # Of files without a unit, which would only be guessed.
    try:
        there = form.labels(header, Given(grid.spacing))
    except GridError:
        if header.is_askew:
            raise
        there = form.labels(header, Given(grid.spacing, grid.orientation))
        return there.assign_coords(mask.coords)
    # Files of others are in the world, and all but ours in single precision.
    return in_frame(there, grid.frame)


# ----- the masks


def _scratch(
    request_masks: Callable[[Sequence[int]], MaskRequest],
    missing: Sequence[OutputFile],
    location: Location,
    pool: Pool,
    progress: Progress | None,
) -> StoredMasks:
    """Store of the masks whose files are missing: one that is there, or else a new one."""
    request = request_masks([file.structure for file in missing])
    identity = [request.identity["sides"], *map(request.provenance.get, ("voxels", "direct_only"))]
    url = f"{location.url}/{JOURNAL}/masks-{tokenize(identity)[:16]}.zarr"
    masks = _complete(url, location) if request.voxels.is_proven else None
    if masks is None or not set(request.ids) <= set(masks.structures):
        write_mask_store(
            request,
            url,
            pool=pool,
            overwrite=True,
            storage_options=location.storage_options,
            progress=progress,
        )
        masks = open_stored_masks(url, location.storage_options)
    return masks


def _complete(url: str, location: Location) -> StoredMasks | None:
    """Masks that an earlier run has left, if the checksum of every shard matches."""
    try:
        masks = open_stored_masks(url, location.storage_options)
        return None if masks.report().faults else masks
    except (StoreError, FormatError):
        return None


# ----- the files


def _write(
    files: Sequence[OutputFile],
    task: _FileOptions,
    pool: Pool,
    progress: Progress | None,
    done: int,
    total: int,
) -> None:
    location, run = task.folder, task.lease.run
    failures = {}
    outcomes = pool.outcomes(
        functools.partial(_write_file, task=task),
        files,
        name="mask-file",
        token=lambda file: str(tokenize(location.url, run, file.name, file.identity)),
    )
    # Closed, also where recording fails: the run ends then, with no writer left.
    with closing(outcomes):
        for outcome in outcomes:
            if outcome.error is not None:
                raise_if_hopeless(outcome.error)
                failures[outcome.item.name] = one_line(outcome.error)
                continue
            record_digest(location, outcome.item, str(outcome.result))
            done += 1
            if progress is not None:
                progress(done, total)
    if failures:
        raise JobError(
            f"{len(failures)} of {total} masks failed; what is done is not done again", failures
        )


def _write_file(file: OutputFile, task: _FileOptions) -> str:
    """Write a file unless it is there, and return its digest: the work of a task."""
    mask = _masks_here(task.masks, task.digest).mask(file.structure)
    folder = task.folder.local_path
    # What it was recorded to be, it is no longer.
    is_changed = recorded_digest(task.folder, file) is not None
    if folder is not None:
        return _write_local(folder / file.name, mask, task.overwrite, is_changed, task.lease)
    # Where files cannot be written piece by piece, they are sent as a whole.
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary, file.name)
        data = task.folder.read(file.name)
        if data is not None:
            path.write_bytes(data)
        digest = _write_local(path, mask, task.overwrite, is_changed)
        if data is None or hashlib.sha256(data).hexdigest() != digest:
            task.lease.write(file.name, path.read_bytes())
    return digest


def _write_local(
    path: Path,
    mask: xr.DataArray,
    overwrite: bool,
    is_changed: bool,
    lease: WriteLease | None = None,
) -> str:
    if os.path.lexists(path) and (is_changed or not _is_mask(path, mask)):
        if not overwrite:
            what = "was changed" if is_changed else "is no mask of that structure"
            since = " since it was written here" if is_changed else ""
            raise StoreError(f"{path.name} is there, and {what}{since}; {_OVERWRITE}")
        _write_whole(path, mask, lease)
    elif not path.exists():
        _write_whole(path, mask, lease)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _write_whole(path: Path, mask: xr.DataArray, lease: WriteLease | None) -> None:
    # What is no regular file is written, or refused, as any file: a link, to what it names.
    if lease is None or path.is_symlink() or path.is_dir():
        write_volume(path, mask, scheduler="synchronous")
        return
    with lease.file(path.name) as temporary:
        write_volume(temporary, mask, scheduler="synchronous")


@functools.lru_cache(maxsize=1)
def _masks_here(location: Location, digest: str) -> StoredMasks:
    """Masks in a store, which each process opens once."""
    return open_stored_masks(location.url, location.storage_options)
