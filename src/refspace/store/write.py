"""Writing a store: blocks as they come, then the levels made of them, then what describes them."""

import hashlib
import io
import json
import os
import reprlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refspace.errors import FormatError, StoreError
from refspace.grid import Grid
from refspace.label_index import Chunks, LabelIndex, cell_rows
from refspace.store import ome, pyramid
from refspace.store.feed import Feed
from refspace.store.location import Location
from refspace.store.metadata import (
    FORMAT,
    ROOT,
    Layout,
    Skeleton,
    digest_of,
    index_cells,
    put_block_table,
    put_index,
    put_structures,
    voxel_digest,
)
from refspace.store.staging import JOURNAL, Staging, job_digest, open_staging
from refspace.store.stored_array import Box, StoredArray, boxes
from refspace.store.tables import structures_dataset
from refspace.version import __version__

Progress = Callable[[int, int], None]

# What is done is recorded this often: a killed run loses no more, and syncing costs little.
_RECORD_SECONDS = 2.0
# Rows that are turned into C order at a time: a block then takes half the time.
_ROWS = 16


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


@dataclass(frozen=True)
class Written:
    """What is known of a block once it is stored."""

    sha256: bytes
    stored_bytes: int
    rows: NDArray[np.int64]


class ArrayWriter:
    """One array of a store, and what is known of the blocks written so far.

    Parameters
    ----------
    array
        The array, ready to be written to.
    cells
        Chunks of its label index; none for volumes that are not indexed.
    """

    def __init__(self, array: StoredArray, cells: Chunks | None = None) -> None:
        self.array = array
        self.cells = cells
        self.boxes = boxes(array.blocks)
        self._flat = {number: flat for flat, number in enumerate(self.boxes)}
        self.written: dict[int, Written] = {}

    @property
    def path(self) -> str:
        """Path of the array in the store."""
        return self.array.array.path

    def missing(self, part: Box | None = None) -> list[tuple[int, ...]]:
        """Numbers of the blocks, of all or in a part of the array, that are not yet written."""
        return [
            number
            for number, box in self.boxes.items()
            if self._flat[number] not in self.written
            and (
                part is None
                or all(p.start <= b.start < p.stop for p, b in zip(part, box, strict=True))
            )
        ]

    def put(self, number: tuple[int, ...], make: Callable[[Box], NDArray[Any]]) -> None:
        """Store a block; threads may store others meanwhile."""
        box = self.boxes[number]
        # In the machine's byte order, in which blocks are digested.
        block = _c_order(make(box).astype(self.array.dtype, copy=False))
        self.array.array[box] = block
        flat = self._flat[number]
        corner = [part.start for part in box]
        rows = cell_rows(block, corner, self.cells) if self.cells else np.empty((0, 0), np.int64)
        size = self.array.location.size(self.array.key(number))
        self.written[flat] = Written(hashlib.sha256(block.data).digest(), size, rows)

    def keys(self, flats: Iterable[int]) -> list[str]:
        """Names of the objects that hold some blocks."""
        numbers = list(self.boxes)
        return [self.array.key(numbers[flat]) for flat in flats]

    def index(self, cells: Chunks) -> LabelIndex:
        """Label index of the array, once every block is written."""
        rows = [written.rows for written in self.written.values()]
        return LabelIndex.from_rows(self.array.shape, cells, rows)


def _c_order(block: NDArray[Any]) -> NDArray[Any]:
    if block.flags.c_contiguous:
        return block
    ordered = np.empty(block.shape, block.dtype)
    for start in range(0, len(block), _ROWS):
        ordered[start : start + _ROWS] = block[start : start + _ROWS]
    return ordered


@dataclass
class StoreWriter:
    """Writes an atlas into a staging area, several blocks at a time.

    Parameters
    ----------
    staging
        Where to write, and the journal of what an interrupted run has done.
    layout
        Arrays of the store.
    workers
        Number of threads.
    progress
        Called with the numbers of blocks done and to be done.
    """

    staging: Staging
    layout: Layout
    workers: int = field(default_factory=lambda: os.cpu_count() or 1)
    progress: Progress | None = None
    record_seconds: float = _RECORD_SECONDS

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
        cells = index_cells(grid, array.blocks, self.layout.midline)
        return ArrayWriter(array, cells if labels else None)

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
        with ThreadPoolExecutor(self.workers) as pool:
            for name, feed in feeds.items():
                self._write_finest(pool, self.arrays[f"s0/{name}"], feed)
                for level in range(1, len(self.layout.grids)):
                    self._write_coarser(pool, name, level)

    def _write_finest(self, pool: ThreadPoolExecutor, writer: ArrayWriter, feed: Feed) -> None:
        for part, voxels in feed(lambda part: not writer.missing(part)):
            corner = [axis.start for axis in part]

            def cut(
                box: Box, voxels: NDArray[Any] = voxels, corner: list[int] = corner
            ) -> NDArray[Any]:
                return voxels[
                    tuple(slice(b.start - c, b.stop - c) for b, c in zip(box, corner, strict=True))
                ]

            self._put_all(pool, writer, writer.missing(part), cut)

    def _write_coarser(self, pool: ThreadPoolExecutor, name: str, level: int) -> None:
        writer, finer = (self.arrays[f"s{n}/{name}"] for n in (level, level - 1))
        shape = self.layout.grids[level - 1].shape
        combine = pyramid.coarser(name)

        def make(box: Box) -> NDArray[Any]:
            return combine(finer.array[pyramid.source_box(box, shape)], box, shape)

        self._put_all(pool, writer, writer.missing(), make)

    def _put_all(
        self,
        pool: ThreadPoolExecutor,
        writer: ArrayWriter,
        numbers: Sequence[tuple[int, ...]],
        make: Callable[[Box], NDArray[Any]],
    ) -> None:
        """Store blocks, and record now and then which are done."""
        flat = {number: position for position, number in enumerate(writer.boxes)}
        fresh: list[int] = []
        recorded = time.monotonic()
        for number in _in_turn(pool, numbers, lambda n: writer.put(n, make), 2 * self.workers):
            fresh.append(flat[number])
            self._report()
            if time.monotonic() - recorded >= self.record_seconds:
                self._record(writer, fresh)
                fresh, recorded = [], time.monotonic()
        if fresh:
            self._record(writer, fresh)

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
        root = objects.pop(ROOT)
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
        if writer.cells is not None:
            table = writer.index(writer.cells).table
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


def _in_turn(
    pool: ThreadPoolExecutor,
    items: Sequence[tuple[int, ...]],
    work: Callable[[tuple[int, ...]], None],
    ahead: int,
) -> Iterator[tuple[int, ...]]:
    """Do some work on items in a pool, few at a time, and yield each one that is done."""
    running: dict[Future[None], tuple[int, ...]] = {}
    try:
        for item in items:
            running[pool.submit(work, item)] = item
            if len(running) >= ahead:
                yield from _finished(running)
        while running:
            yield from _finished(running)
    finally:
        for future in running:
            future.cancel()
        wait(running)


def _finished(running: dict[Future[None], tuple[int, ...]]) -> Iterator[tuple[int, ...]]:
    done, _ = wait(running, return_when=FIRST_COMPLETED)
    for future in done:
        item = running.pop(future)
        future.result()
        yield item


def write_atlas(
    target: str,
    atlas: Atlas,
    layout: Layout,
    feeds: Mapping[str, Feed],
    *,
    source: Mapping[str, Any],
    resume: bool = False,
    overwrite: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    workers: int | None = None,
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
    workers
        Number of threads; as many as there are cores if not given.
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
        writer = StoreWriter(staging, layout, workers or os.cpu_count() or 1, progress)
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
