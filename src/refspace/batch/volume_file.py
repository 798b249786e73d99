"""Writes a volume to a file whose parts are computed and compressed apart, and then joined.

The parts are beside the file until all of them are there::

    .brain.nrrd.parts/part-00003                       some layers, as the file has them
    .brain.nrrd.parts/.refspace/part-00003.json        their checksum
    .brain.nrrd.parts/.refspace/runs/0123456789abcdef/ parts that are being written
"""

import functools
import hashlib
import re
import struct
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import dask
import dask.array
import xarray as xr
from dask.tokenize import tokenize

from refspace.batch.output_files import (
    JOURNAL,
    OutputFile,
    exclusive_folder,
    is_proven,
    record_digest,
)
from refspace.blockwise.identity import array_identity
from refspace.errors import StoreError
from refspace.files import atomic_write, explained, refuse_link
from refspace.formats.gzip_parts import VoxelPart
from refspace.formats.volumes import volume_head, write_volume
from refspace.formats.voxel_output import VoxelFileHead, slabs
from refspace.pools import Pool
from refspace.store import Location, Progress
from refspace.store.staging import WriteLease, job_digest
from refspace.types import PathLike

# Behind the bytes of a part: what they stand for, and its CRC-32.
_END = struct.Struct("<QI")
# All parts, joined.
_WHOLE = "whole"
# Names that `atomic_write` gives to records, and to the whole, while it writes.
_UNFINISHED = re.compile(rf"\.(part-\d{{5}}|{_WHOLE})\.[0-9a-f]{{8}}\.partial(\.json)?")


@dataclass(frozen=True)
class _Layers:
    """Layers of a volume, to be computed where they are written.

    Parameters
    ----------
    file
        Where they go.
    voxels
        The voxels; the graph holds only the tasks that these need.
    """

    file: OutputFile
    voxels: dask.array.Array


def write_volume_file(
    path: PathLike, array: xr.DataArray, *, pool: Pool, progress: Progress | None = None
) -> None:
    """Write a volume to a file, of which a pool makes the parts; it goes on where it was stopped.

    The bytes are the same wherever the work is done. Formats that cannot be written part by part
    (MetaImage, TIFF) are written by this process, and begin anew.

    Parameters
    ----------
    path
        File to write, as for `write_volume`.
    array
        The volume, lazy.
    pool
        Threads or workers that do the work.
    progress
        Called with the numbers of parts done and to be done.

    Raises
    ------
    AnnotationError, FormatError, GridError, MissingDependencyError, OSError
        As for `write_volume`.
    LockedError
        If another process writes the same file.
    StoreError
        If what is read has changed meanwhile.
    """
    head = volume_head(path, array)
    if head is None or not isinstance(array.data, dask.array.Array):
        write_volume(path, array)
        return
    target = Path(path).resolve()
    if target.exists() and not target.is_file():
        raise FileExistsError(f"{target} is a folder or device; give the name of a file")
    folder = target.with_name(f".{target.name}.parts")
    refuse_link(folder)
    identity = array_identity(array.data)
    facts = {"voxels": identity.facts, "head": hashlib.sha256(_described(head)).hexdigest()}
    files = _part_files(array.data, job_digest(facts))
    location = Location(str(folder))
    try:
        with explained(target), exclusive_folder(location, "parts", _UNFINISHED) as lease:
            done = {f.name for f in files if identity.is_proven and is_proven(location, f)}
            _write_parts(array.data, head, files, done, lease, pool, progress)
            if array_identity(array.data).facts != identity.facts:
                raise StoreError(f"what {target} is made of has changed; run the same again")
            # There, so that a kill leaves nothing beside the file.
            with atomic_write(folder / _WHOLE) as temporary, temporary.open("wb") as file:
                head.write(file, _read_parts(folder, files))
            (folder / _WHOLE).replace(target)
            _remove(folder)
    except (Exception, KeyboardInterrupt) as error:
        if folder.is_dir():
            error.add_note(f"what is done lies in {folder}; run the same again to go on with it")
        raise
    # Where another process has begun there meanwhile, it keeps them.
    with suppress(OSError):
        (folder / JOURNAL).rmdir()
        folder.rmdir()


def _described(head: VoxelFileHead) -> bytes:
    return repr((head.plain, head.packed, head.level)).encode()


def _part_files(data: dask.array.Array, job: str) -> list[OutputFile]:
    """File of each part, with its identity: that of the job, and its place in it."""
    return [
        OutputFile(number, f"part-{number:05}", f"{job}-{layers.start}-{layers.stop}")
        for number, layers in enumerate(slabs(data))
    ]


def _write_parts(
    data: dask.array.Array,
    head: VoxelFileHead,
    files: list[OutputFile],
    done: set[str],
    lease: WriteLease,
    pool: Pool,
    progress: Progress | None,
) -> None:
    """Have the parts written that are not there."""
    count = len(done)
    if progress is not None:
        progress(count, len(files))
    items = (
        _Layers(file, dask.optimize(data[..., layers])[0])
        for file, layers in zip(files, slabs(data), strict=True)
        if file.name not in done
    )
    # Of few parts, each has several threads.
    scheduler = "threads" if pool.is_local and len(files) == 1 else "synchronous"
    results = pool.results(
        functools.partial(_write_part, head=head, lease=lease, scheduler=scheduler),
        items,
        name="layers",
        token=lambda layers: str(tokenize(lease.location.url, lease.run, layers.file.name)),
    )
    with closing(results) as written:
        for layers, digest in written:
            record_digest(lease.location, layers.file, digest)
            count += 1
            if progress is not None:
                progress(count, len(files))


def _write_part(layers: _Layers, head: VoxelFileHead, lease: WriteLease, scheduler: str) -> str:
    """Write a part, and return its digest: the work of a task."""
    part = head.part(layers.voxels, scheduler)
    data = part.data + _END.pack(part.length, part.crc)
    lease.write(layers.file.name, data)
    return hashlib.sha256(data).hexdigest()


def _read_parts(folder: Path, files: list[OutputFile]) -> Iterator[VoxelPart]:
    """Parts in their order, one in memory at a time."""
    for file in files:
        data = (folder / file.name).read_bytes()
        yield VoxelPart(data[: -_END.size], *_END.unpack(data[-_END.size :]))


def _remove(folder: Path) -> None:
    """Remove parts, and their records: names of ours alone."""
    for pattern in ("part-*", _WHOLE, f"{JOURNAL}/part-*.json"):
        for path in folder.glob(pattern):
            path.unlink()
