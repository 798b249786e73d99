"""Writing a store: blocks as they come, then the levels made of them, then what describes them."""

import functools
import hashlib
import io
import json
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from dask import optimize
from dask.array import Array
from dask.tokenize import tokenize
from numpy.typing import NDArray

from refspace.errors import FormatError, StoreError
from refspace.grid import Grid
from refspace.label_index import Chunks, LabelIndex
from refspace.pools import Pool, ThreadPool
from refspace.store import ome
from refspace.store.blocks import (
    BlockWriter,
    Coarser,
    Cut,
    LazyPart,
    Number,
    Written,
    put_block,
    put_part,
)
from refspace.store.feed import Feed
from refspace.store.location import Location
from refspace.store.metadata import (
    FORMAT,
    Layout,
    Skeleton,
    digest_of,
    index_cells,
    put_block_table,
    put_index,
    put_structures,
    voxel_digest,
)
from refspace.store.staging import JOURNAL, Recorder, Staging, job_digest, open_staging
from refspace.store.stored_array import Box, boxes
from refspace.store.tables import structures_dataset
from refspace.store.zarr_files import ZARR_JSON
from refspace.version import __version__

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Atlas:
    """What a store says of itself beside its voxels.

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


class ArrayWriter:
    """One array of a store, and what is known of the blocks written so far.

    Parameters
    ----------
    blocks
        What writes them.
    """

    def __init__(self, blocks: BlockWriter) -> None:
        self.blocks = blocks
        self.array = blocks.array
        self.boxes = boxes(self.array.blocks)
        self.flat = {number: flat for flat, number in enumerate(self.boxes)}
        self.written: dict[int, Written] = {}

    @property
    def path(self) -> str:
        """Path of the array in the store."""
        return self.array.array.path

    def missing(self, part: Box | None = None) -> list[Number]:
        """Numbers of the blocks, of all or in a part of the array, that are not yet written."""
        return [
            number
            for number, box in self.boxes.items()
            if self.flat[number] not in self.written
            and (
                part is None
                or all(p.start <= b.start < p.stop for p, b in zip(part, box, strict=True))
            )
        ]

    def keys(self, flats: Iterable[int]) -> list[str]:
        """Names of the objects that hold some blocks."""
        numbers = list(self.boxes)
        return [self.array.key(numbers[flat]) for flat in flats]

    def index(self, cells: Chunks) -> LabelIndex:
        """Label index of the array, once every block is written."""
        rows = [written.rows for written in self.written.values()]
        return LabelIndex.from_rows(self.array.shape, cells, rows)


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
        Who does the work.
    progress
        Called with the numbers of blocks done and to be done.
    record_seconds
        How often what is done is recorded, as for `Recorder`.
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
            path: self._writer(path, grid, labels=name == "annotation")
            for name in self.layout.dtypes
            for path, grid in self.layout.paths(name)
        }
        self._recall()

    def _writer(self, path: str, grid: Grid, *, labels: bool) -> ArrayWriter:
        array = self.skeleton.array_at(self.location, path)
        cells = index_cells(grid, array.blocks, self.layout.midline) if labels else None
        ticket = None if self.pool.is_local else self.staging.ticket
        return ArrayWriter(BlockWriter(array, cells, ticket))

    # ----- the journal

    def _recall(self) -> None:
        """Take over what an interrupted run has recorded."""
        for payload in self.staging.recorded().values():
            with np.load(io.BytesIO(payload), allow_pickle=False) as record:
                writer = self.arrays[str(record["path"])]
                # A block may be several chunks of the index: its rows are those up to its end.
                rows = np.split(record["rows"], record["row_ends"][:-1], axis=1)
                blocks = zip(record["sha256"], record["size"].tolist(), rows, strict=True)
                for flat, block in zip(record["flat"].tolist(), blocks, strict=True):
                    digest, size, own = block
                    writer.written[flat] = Written(digest.tobytes(), size, own)

    def _record(self, writer: ArrayWriter, flats: Sequence[int]) -> None:
        """Make what was written last for good."""
        done = [writer.written[flat] for flat in flats]
        payload = io.BytesIO()
        np.savez(
            payload,
            path=np.array(writer.path),
            flat=np.array(flats, np.int64),
            sha256=np.array([list(written.sha256) for written in done], np.uint8),
            size=np.array([written.stored_bytes for written in done], np.int64),
            rows=np.concatenate([written.rows for written in done], axis=1),
            row_ends=np.cumsum([written.rows.shape[1] for written in done]),
        )
        # Named by what it holds: no other record, of this run or of one before, has this name.
        name = f"{writer.path.replace('/', '-')}-{flats[0]}"
        self.staging.record(name, payload.getvalue(), writer.keys(flats))

    # ----- voxels

    def write(self, feeds: Mapping[str, Feed]) -> None:
        """Write the voxels of every array that the journal does not hold yet.

        Parameters
        ----------
        feeds
            Voxels of the finest level of each volume.
        """
        self._report()
        for name, feed in feeds.items():
            self._write_finest(self.arrays[f"s0/{name}"], feed)
            for level in range(1, len(self.layout.grids)):
                writer, finer = (self.arrays[f"s{n}/{name}"] for n in (level, level - 1))
                self._put_all(self.pool, writer, writer.missing(), Coarser(name, finer.array))

    def _write_finest(self, writer: ArrayWriter, feed: Feed) -> None:
        parts = feed.parts(lambda part: not writer.missing(part))
        if feed.is_lazy and not self.pool.is_local:
            self._send_all(writer, parts)
            return
        # A stream can be read in its order alone: what it holds is compressed where it is read.
        threads = self.pool if self.pool.is_local else ThreadPool()
        for part, voxels in parts:
            make = Cut(voxels.compute() if isinstance(voxels, Array) else voxels, part)
            self._put_all(threads, writer, writer.missing(part), make)

    def _put_all(
        self,
        pool: Pool,
        writer: ArrayWriter,
        numbers: Sequence[Number],
        make: Callable[[Box], NDArray[Any]],
    ) -> None:
        """Make blocks and store them."""
        work = functools.partial(put_block, writer=writer.blocks, make=make)
        token = functools.partial(self._token, writer)
        done = pool.results(work, numbers, name=_task_name(writer), token=token)
        self._note(writer, (([number], [written]) for number, written in done))

    def _send_all(self, writer: ArrayWriter, parts: Iterable[tuple[Box, Any]]) -> None:
        """Have parts computed, and their blocks stored, elsewhere."""
        items = (LazyPart(part, optimize(v)[0], writer.missing(part)) for part, v in parts)
        done = self.pool.results(
            functools.partial(put_part, writer=writer.blocks),
            items,
            name=_task_name(writer),
            token=lambda lazy: self._token(writer, *lazy.numbers),
        )
        self._note(writer, ((lazy.numbers, written) for lazy, written in done))

    def _note(
        self, writer: ArrayWriter, done: Iterable[tuple[Sequence[Number], Sequence[Written]]]
    ) -> None:
        """Note what is stored, and record it now and then."""
        record = functools.partial(self._record, writer)
        with Recorder[int](record, self.record_seconds) as recorder:
            for numbers, written in done:
                for number, block in zip(numbers, written, strict=True):
                    writer.written[writer.flat[number]] = block
                    recorder.add(writer.flat[number])
                    self._report()

    def _token(self, writer: ArrayWriter, *numbers: Number) -> str:
        """What tells some blocks from any others, of this job or another."""
        place = self.staging.ticket
        return str(tokenize(place.location.url, place.job, writer.path, numbers))

    # ----- what describes them

    def finish(self, atlas: Atlas, job: str) -> None:
        """Write everything beside the voxels, the root's metadata last of all."""
        arrays = {path: self._describe(writer) for path, writer in self.arrays.items()}
        self.skeleton.put_coordinates(atlas.coordinates)
        put_structures(self.skeleton, atlas.nodes)
        described = _ome(atlas, self.layout)
        facts = {"format": FORMAT, "complete": True, "arrays": arrays}
        facts |= {"provenance": {**atlas.provenance, "converter": f"refspace {__version__}"}}
        facts |= {"midline": self.layout.midline}
        digest = digest_of([arrays, described["image-label"], self.layout.facts])
        facts |= {"digest": digest, "job": job}
        objects = self.skeleton.finish({"ome": described, "refspace": facts})
        root = objects.pop(ZARR_JSON)
        for key, data in objects.items():
            self.location.write(key, data)
        self._remove_strays({*objects})
        self.staging.commit(root)

    def _describe(self, writer: ArrayWriter) -> dict[str, str]:
        """Add the tables of an array, and return the digests that hold them and the voxels."""
        level, name = writer.path.split("/")
        blocks = [writer.written[flat] for flat in range(len(writer.boxes))]
        digests = b"".join(block.sha256 for block in blocks)
        put_block_table(
            self.skeleton, f"label_index/{level}/{name}", digests, [b.stored_bytes for b in blocks]
        )
        array = writer.array
        facts = {"voxels": voxel_digest(array.shape, array.dtype, array.blocks, digests)}
        if (cells := writer.blocks.cells) is not None:
            table = writer.index(cells).table
            put_index(self.skeleton, level, table)
            facts["label_index"] = hashlib.sha256(table.tobytes()).hexdigest()
        return facts

    def _remove_strays(self, described: set[str]) -> None:
        """Remove what a killed run has left in the staging folder: files that belong to nothing."""
        folder = self.location.local_path
        if folder is None:
            return
        written = {key for w in self.arrays.values() for key in w.keys(range(len(w.boxes)))}
        for key in self.location.keys() - written - described:
            if not key.startswith(JOURNAL):
                (folder / key).unlink()

    def _report(self) -> None:
        if self.progress is not None:
            done = sum(len(writer.written) for writer in self.arrays.values())
            self.progress(done, sum(len(writer.boxes) for writer in self.arrays.values()))


def _task_name(writer: ArrayWriter) -> str:
    """What the dashboard calls tasks that store blocks, like ``store-s0-annotation``."""
    return f"store-{writer.path.replace('/', '-')}"


def write_atlas(
    target: str,
    atlas: Atlas,
    layout: Layout,
    feeds: Mapping[str, Feed],
    *,
    source: Mapping[str, Any],
    resume: bool = True,
    overwrite: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    pool: Pool | None = None,
    progress: Progress | None = None,
    reads: Sequence[str] = (),
) -> None:
    """Write a store, which appears whole or not at all.

    Parameters
    ----------
    target
        Path or URL of the store.
    atlas, layout, feeds
        What it holds.
    source
        What tells the voxels of the feeds from others, as JSON values: an interrupted run is
        resumed only for the same ones.
    resume
        Whether to go on with an interrupted run.
    overwrite
        Whether a store that exists is replaced, once the new one is complete.
    storage_options
        What fsspec needs to reach the target.
    pool
        Who does the work; as many threads as there are cores if not given.
    progress
        Called with the numbers of blocks done and to be done.
    reads
        URLs of the stores that the feeds read.

    Raises
    ------
    StoreError
        If a store would be removed while it is read, or as `open_staging` says.
    """
    place = Location(target, storage_options or {})
    within = (Location(url).url for url in reads)
    if place.local_path is None and any(f"{url}/".startswith(f"{place.url}/") for url in within):
        # On a file system the old store stays until the new one is complete.
        raise StoreError(f"{target} would be written over while it is read; give another URL")
    # What the store cannot hold is refused before anything is written.
    described = _ome(atlas, layout)
    structures_dataset(atlas.nodes)
    _check_provenance(atlas.provenance)
    job = {
        "source": dict(source),
        "layout": layout.facts,
        "structures": digest_of(described["image-label"]),
        "provenance": dict(atlas.provenance),
    }
    with open_staging(
        target, job=job, resume=resume, overwrite=overwrite, storage_options=storage_options
    ) as staging:
        if staging.finished:
            return
        writer = StoreWriter(staging, layout, pool or ThreadPool(), progress)
        writer.write(feeds)
        writer.finish(atlas, job_digest(job))


def _check_provenance(provenance: Mapping[str, Any]) -> None:
    try:
        is_carried = json.loads(json.dumps(provenance, allow_nan=False)) == provenance
    except (TypeError, ValueError, RecursionError):
        is_carried = False
    if not is_carried:
        raise FormatError(
            f"provenance is {reprlib.repr(provenance)}, which JSON does not carry as it is; use "
            "texts, finite numbers, lists, and dicts of texts"
        )


def _ome(atlas: Atlas, layout: Layout) -> dict[str, Any]:
    template, hemispheres = (
        layout.paths(name) if name in layout.dtypes else () for name in ("template", "hemispheres")
    )
    levels = layout.paths("annotation")
    return ome.label_attributes(
        "annotation", levels, atlas.nodes, template=template, hemispheres=hemispheres
    )
