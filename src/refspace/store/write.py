"""Writes a store: the finest level, the coarser ones from it, then tables and metadata."""

import functools
import io
import itertools
import json
import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from dask import optimize
from dask.array import Array
from dask.tokenize import tokenize
from numpy.typing import NDArray

from refspace.blockwise.content_identity import Identity
from refspace.blockwise.identity import first_doubt, refuse_changed
from refspace.errors import FormatError, RefspaceError, StoreError
from refspace.grid import Grid
from refspace.pools import Pool, ThreadPool
from refspace.safe_text import has_surrogate, without_secrets_in
from refspace.store import ome
from refspace.store.array_writer import ArrayWriter
from refspace.store.block_source import BlockSource
from refspace.store.block_writer import (
    BlockWriter,
    FromMemory,
    LazySlab,
    WrittenBlock,
    put_block,
    put_coarse_block,
    put_slab,
)
from refspace.store.boxes import BlockId, Box
from refspace.store.digests import FORMAT, index_cells, json_digest, total_cells
from refspace.store.location import Location
from refspace.store.metadata import (
    Layout,
    Skeleton,
    array_digest,
    put_index,
    put_records,
    put_structures,
)
from refspace.store.object_records import ObjectRecord, table_of
from refspace.store.staging import Recorder, Staging, job_digest, open_staging
from refspace.store.tables import structures_dataset
from refspace.store.zarr_files import ZARR_JSON
from refspace.version import __version__

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Atlas:
    """Structures, provenance and coordinates: what a store holds besides its voxels.

    Parameters
    ----------
    nodes
        Structures, as `StructureTree.nodes` gives them.
    provenance
        Where it comes from: JSON values by name, like ``source``, ``version``, ``citation``.
    coordinates
        Voxel centres of the finest level where they are not quite those of its grid.
    """

    nodes: Sequence[Mapping[str, Any]]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    coordinates: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # It is public with the store.
        object.__setattr__(self, "provenance", without_secrets_in(self.provenance))


@dataclass
class StoreWriter:
    """Writes an atlas into a staging area, several blocks at a time.

    Parameters
    ----------
    staging
        Where to write, and the journal of what an interrupted run has done.
    layout
        Arrays of the store.
    pool
        Threads or workers that do the work.
    progress
        Called with the numbers of blocks done and to be done.
    record_seconds
        Time between two records of the journal, as for `Recorder`.
    """

    staging: Staging
    layout: Layout
    pool: Pool
    progress: Progress | None = None
    record_seconds: float | None = None

    def __post_init__(self) -> None:
        self.location = Location(self.staging.work, self.staging.storage_options)
        self.skeleton = Skeleton(self.layout)
        self.arrays = {
            path: self._writer(path, grid, indexed=name == "annotation" and self.layout.is_indexed)
            for name in self.layout.dtypes
            for path, grid in self.layout.paths(name)
        }
        with _refusing_strange_journals(self.staging.work):
            self._restore()

    def _writer(self, path: str, grid: Grid, *, indexed: bool) -> ArrayWriter:
        array = self.skeleton.array_at(self.location, path)
        cells = index_cells(grid, array.blocks, self.layout.midline) if indexed else None
        # Threads of the process that holds a lock file need no other permission.
        holds_file = self.pool.is_local and self.location.local_path is not None
        lease = None if holds_file else self.staging.lease
        return ArrayWriter(BlockWriter(array, cells, lease))

    # ----- the journal

    def _restore(self) -> None:
        """Take over the records of an interrupted run, of blocks that are there as recorded."""
        for payload in self.staging.recorded().values():
            with np.load(io.BytesIO(payload), allow_pickle=False) as record:
                writer = self.arrays[str(record["path"])]
                # A block may be several chunks of the index: its rows are those up to its end.
                rows = np.split(record["rows"], record["row_ends"][:-1], axis=1)
                blocks = zip(record["sha256"], record["size"].tolist(), rows, strict=True)
                for flat_id, block in zip(record["flat"].tolist(), blocks, strict=True):
                    sha256, size, own = block
                    object_record = ObjectRecord(size, sha256.tobytes())
                    writer.written[flat_id] = WrittenBlock(object_record, own)
        for writer in self.arrays.values():
            writer.forget_what_is_lost()

    def _record(self, writer: ArrayWriter, flat_ids: Sequence[int]) -> None:
        """Add blocks to the journal, so that an interrupted run does not write them again."""
        done = [writer.written[flat_id] for flat_id in flat_ids]
        payload = io.BytesIO()
        np.savez(
            payload,
            path=np.array(writer.path),
            flat=np.array(flat_ids, np.int64),
            sha256=np.array([list(written.record.sha256) for written in done], np.uint8),
            size=np.array([written.record.nbytes for written in done], np.int64),
            rows=np.concatenate([written.rows for written in done], axis=1),
            row_ends=np.cumsum([written.rows.shape[1] for written in done]),
        )
        # Named by what it holds: no other record, of this run or of one before, has this name.
        name = f"{writer.path.replace('/', '-')}-{flat_ids[0]}"
        self.staging.record(name, payload.getvalue(), writer.keys(flat_ids))

    # ----- voxels

    def write(self, sources: Mapping[str, BlockSource]) -> None:
        """Write the voxels of every array that the journal does not hold yet.

        Parameters
        ----------
        sources
            Voxels of the finest level of each volume.
        """
        self._report()
        for name, source in sources.items():
            levels = [self.arrays[path] for path, _ in self.layout.paths(name)]
            self._write_finest(levels[0], source)
            for finer, coarser in itertools.pairwise(levels):
                self._put_coarser(name, coarser, finer)

    def _write_finest(self, writer: ArrayWriter, source: BlockSource) -> None:
        slabs = source.slabs(lambda slab: not writer.missing(slab))
        if source.is_lazy and not self.pool.is_local:
            self._send_all(writer, slabs)
            return
        # A stream can only be read in its own order, so it is compressed where it is read.
        threads = self.pool if self.pool.is_local else ThreadPool()
        for slab, voxels in slabs:
            if isinstance(voxels, Array):
                # Not by the active client, where the caller has chosen threads.
                voxels = voxels.compute(scheduler="threads")
            self._put_all(threads, writer, writer.missing(slab), FromMemory(voxels, slab))

    def _put_all(
        self,
        pool: Pool,
        writer: ArrayWriter,
        block_ids: Sequence[BlockId],
        make: Callable[[Box], NDArray[Any]],
    ) -> None:
        """Make blocks and store them."""
        work = functools.partial(put_block, writer=writer.blocks, make=make)
        token = functools.partial(self._token, writer)
        # Closed, also where noting fails: what is written is removed then, with no writer left.
        results = pool.results(work, block_ids, name=_task_name(writer), token=token)
        with closing(results) as done:
            self._note(writer, (([block_id], [written]) for block_id, written in done))

    def _put_coarser(self, name: str, writer: ArrayWriter, finer: ArrayWriter) -> None:
        """Make the blocks of a level from those of the finer one, proven by their records."""
        work = functools.partial(
            put_coarse_block, writer=writer.blocks, name=name, finer=finer.array
        )
        results = self.pool.results(
            work,
            map(functools.partial(finer.sources, writer), writer.missing()),
            name=_task_name(writer),
            token=lambda block: self._token(writer, block.block_id),
        )
        with closing(results) as done:
            self._note(writer, (([block.block_id], [written]) for block, written in done))

    def _send_all(self, writer: ArrayWriter, slabs: Iterable[tuple[Box, Any]]) -> None:
        """Have slabs computed, and their blocks stored, elsewhere."""
        items = (LazySlab(box, optimize(v)[0], writer.missing(box)) for box, v in slabs)
        results = self.pool.results(
            functools.partial(put_slab, writer=writer.blocks),
            items,
            name=_task_name(writer),
            token=lambda slab: self._token(writer, *slab.block_ids),
        )
        with closing(results) as done:
            self._note(writer, ((slab.block_ids, written) for slab, written in done))

    def _note(
        self, writer: ArrayWriter, done: Iterable[tuple[Sequence[BlockId], Sequence[WrittenBlock]]]
    ) -> None:
        """Note what is stored, and record it now and then."""
        record = functools.partial(self._record, writer)
        with Recorder[int](record, self.record_seconds) as recorder:
            for block_ids, written in done:
                for block_id, block in zip(block_ids, written, strict=True):
                    writer.written[writer.flat_ids[block_id]] = block
                    recorder.add(writer.flat_ids[block_id])
                    self._report()

    def _token(self, writer: ArrayWriter, *block_ids: BlockId) -> str:
        """Token of some blocks, distinct from those of any others, of this run or another."""
        lease = self.staging.lease
        return str(tokenize(lease.location.url, lease.run, writer.path, block_ids))

    # ----- tables and metadata

    def finish(self, atlas: Atlas, job: str) -> None:
        """Write everything beside the voxels, the root's metadata last of all."""
        arrays = {path: self._describe(writer) for path, writer in self.arrays.items()}
        self.skeleton.put_coordinates(atlas.coordinates)
        put_structures(self.skeleton, atlas.nodes)
        ome_metadata = _ome_metadata(atlas, self.layout)
        metadata = {"format": FORMAT, "complete": True, "arrays": arrays}
        metadata |= {"provenance": {**atlas.provenance, "converter": f"refspace {__version__}"}}
        metadata |= {"midline": self.layout.midline, "midline_from": self.layout.midline_from}
        digest = json_digest([arrays, ome_metadata["image-label"], self.layout.metadata])
        metadata |= {"digest": digest, "job": job}
        objects = self.skeleton.finish({"ome": ome_metadata, "refspace": metadata})
        writers = self.arrays.values()
        self.staging.complete(
            objects, {key for w in writers for key in w.keys(range(len(w.boxes)))}
        )

    def _describe(self, writer: ArrayWriter) -> dict[str, str]:
        """Add the tables of an array, and return the digests that prove them and the voxels."""
        array = writer.array
        table = table_of(writer.written[flat_id].record for flat_id in range(len(writer.boxes)))
        put_records(self.skeleton, writer.path, table.reshape(*map(len, array.blocks), -1))
        digests = {"voxels": array_digest(array.shape, array.dtype, array.blocks, table)}
        if (cells := writer.blocks.cells) is not None:
            level = writer.path.partition("/")[0]
            grid = self.layout.grids[int(level[1:])]
            coarse = total_cells(grid, cells, self.layout.midline)
            digests |= put_index(self.skeleton, level, writer.index(cells), coarse)
        return digests

    def _report(self) -> None:
        if self.progress is not None:
            done = sum(len(writer.written) for writer in self.arrays.values())
            self.progress(done, sum(len(writer.boxes) for writer in self.arrays.values()))


@contextmanager
def _refusing_strange_journals(work: str) -> Iterator[None]:
    """Refuse records that are whole, and yet not what is recorded here."""
    try:
        yield
    except RefspaceError:
        raise
    except Exception as error:  # whatever reading an archive of NumPy raises
        raise StoreError(
            f"what is recorded at {work} of an interrupted run is not what this version of "
            f"refspace records ({error!r}); remove it, or begin anew (Python: resume=False)"
        ) from error


def _task_name(writer: ArrayWriter) -> str:
    """What the dashboard calls tasks that store blocks, like ``store-s0-annotation``."""
    return f"store-{writer.path.replace('/', '-')}"


@dataclass(frozen=True)
class WriteTarget:
    """Where a store is written, and what becomes of what is there.

    Parameters
    ----------
    url
        Path or URL of the store.
    resume
        Whether to go on with an interrupted run.
    overwrite
        Whether a store that exists is replaced, once the new one is complete.
    storage_options
        What fsspec needs to reach it.
    """

    url: str
    resume: bool = True
    overwrite: bool = False
    # It may hold keys, which must not stand in a log.
    storage_options: Mapping[str, Any] | None = field(default=None, repr=False)


def write_atlas(
    target: WriteTarget,
    atlas: Atlas,
    layout: Layout,
    sources: Mapping[str, BlockSource],
    *,
    identify: Callable[[], Mapping[str, Identity]],
    pool: Pool | None = None,
    progress: Progress | None = None,
    reads: Sequence[str] = (),
) -> None:
    """Write a store, which appears whole or not at all.

    Parameters
    ----------
    target
        Where the store is written.
    atlas, layout, sources
        What it holds.
    identify
        Identifies the voxels of each source, as they are when it is called. An interrupted run is
        resumed only for the same ones, and never where there is a doubt. Before the store appears
        they are identified again: they must not have changed while they were read.
    pool
        Threads or workers that do the work; as many threads as there are cores if not given.
    progress
        Called with the numbers of blocks done and to be done.
    reads
        URLs of the stores that the sources read.

    Raises
    ------
    StoreError
        If a store would be removed while it is read, if a source has changed while it was read, or
        as `open_staging` says.
    """
    # What the store cannot hold is refused before anything is written.
    ome_metadata = _ome_metadata(atlas, layout)
    structures_dataset(atlas.nodes)
    check_provenance(atlas.provenance)
    content = {
        "layout": layout.metadata,
        "structures": json_digest(ome_metadata["image-label"]),
        "provenance": dict(atlas.provenance),
    }

    def finish(writer: StoreWriter, job: str) -> None:
        writer.finish(atlas, job)

    job = StoreJob(layout, content, finish)
    write_store(target, job, sources, identify, pool=pool, progress=progress, reads=reads)


@dataclass(frozen=True)
class StoreJob:
    """What a store is to hold beside its voxels.

    Parameters
    ----------
    layout
        Its arrays.
    content
        JSON values by name that tell the job, beside its sources, from others.
    finish
        Writes all but the voxels, by the writer of the store and the digest of the job.
    root_key
        Key of the root metadata, as for `open_staging`.
    """

    layout: Layout
    content: Mapping[str, Any]
    finish: Callable[[StoreWriter, str], None]
    root_key: str = ZARR_JSON


def write_store(
    target: WriteTarget,
    job: StoreJob,
    sources: Mapping[str, BlockSource],
    identify: Callable[[], Mapping[str, Identity]],
    *,
    pool: Pool | None = None,
    progress: Progress | None = None,
    reads: Sequence[str] = (),
) -> None:
    """Write a store of any layout, which appears whole or not at all.

    Parameters
    ----------
    target, sources, identify, pool, progress, reads
        As for `write_atlas`.
    job
        What it holds beside the voxels.

    Raises
    ------
    StoreError
        As for `write_atlas`.
    """
    location = Location(target.url, target.storage_options or {})
    _refuse_what_is_read(location, target.url, reads)
    identities = identify()
    stated = {"source": {name: dict(each.facts) for name, each in identities.items()}}
    stated |= job.content
    with open_staging(
        target.url,
        job=stated,
        resume=target.resume,
        overwrite=target.overwrite,
        storage_options=target.storage_options,
        doubt=first_doubt(identities),
        root_key=job.root_key,
    ) as staging:
        if staging.finished:
            return
        writer = StoreWriter(staging, job.layout, pool or ThreadPool(), progress)
        writer.write(sources)
        refuse_changed(identities, identify())
        job.finish(writer, job_digest(stated))


def _refuse_what_is_read(location: Location, target: str, reads: Sequence[str]) -> None:
    """Refuse to write over what is read; on a file system the old store stays until the end."""
    if location.local_path is not None:
        return
    within = (Location(url).url for url in reads)
    if any(f"{url}/".startswith(f"{location.url}/") for url in within):
        raise StoreError(f"{target} would be written over while it is read; give another URL")


def check_provenance(provenance: Mapping[str, Any]) -> None:
    """Refuse a provenance that a store cannot hold.

    Raises
    ------
    FormatError
        If JSON does not carry it as it is.
    """
    try:
        text = json.dumps(provenance, allow_nan=False, ensure_ascii=False)
        is_carried = json.loads(text) == provenance and not has_surrogate(text)
    except (TypeError, ValueError, RecursionError):
        is_carried = False
    if not is_carried:
        raise FormatError(
            f"provenance is {reprlib.repr(provenance)}, which JSON does not carry as it is; use "
            "texts, finite numbers, lists, and dicts of texts"
        )


def _ome_metadata(atlas: Atlas, layout: Layout) -> dict[str, Any]:
    template, hemispheres = (
        layout.paths(name) if name in layout.dtypes else () for name in ("template", "hemispheres")
    )
    levels = layout.paths("annotation")
    return ome.label_attributes(
        "annotation", levels, atlas.nodes, template=template, hemispheres=hemispheres
    )
