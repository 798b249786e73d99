"""The label index of an image that another program wrote, made in one pass over its chunks."""

import functools
import hashlib
import os
import secrets
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from refspace.batch.index_journal import Journal, Measured
from refspace.errors import FormatError, RemoteError, StoreError, WriteError
from refspace.label_index import Chunks, LabelIndex
from refspace.pools import Pool, ThreadPool, make_pool
from refspace.pools.memory import memory_bytes
from refspace.store import Location, Progress, StoredAtlas, open_atlas
from refspace.store.boxes import BlockId
from refspace.store.digests import index_cells, json_digest
from refspace.store.kept_index import (
    ABSENT,
    MISSING,
    UNSTATED,
    IndexedArray,
    KeptIndex,
    NoIndexError,
    PackedIndex,
    Place,
    SpaceAxes,
    block_bytes,
    block_stamps,
    given_place,
    in_cache,
    index_places,
    may_write,
    measured_rows,
)
from refspace.store.object_records import ObjectRecord, table_of
from refspace.store.staging.recorder import Recorder
from refspace.store.staging.staging_area import OVERWRITE
from refspace.store.stored_array import StoredArray
from refspace.types import PathLike, Resolution

if TYPE_CHECKING:
    from refspace.pools.choosing import Client

# What measuring a block takes, in bytes of the block: its content, and the runs in it.
_PER_BLOCK = 2


@dataclass(frozen=True)
class IndexWritten:
    """What `write_index` has done.

    Parameters
    ----------
    place
        Path or URL of the index.
    where
        Where that is, in words: beside the image, in the cache, or where the caller wanted it.
    nbytes
        Its size.
    levels, chunks, missing
        Numbers of levels of the image, of all their chunks, and of those that are not stored and
        hold the fill value.
    labels
        Number of labels of the finest level, 0 among them.
    was_there
        Whether an index that fits was there before.
    """

    place: str
    where: str
    nbytes: int
    levels: int
    chunks: int
    missing: int
    labels: int
    was_there: bool = False


def write_index(
    url: PathLike,
    out: PathLike | None = None,
    *,
    published: PathLike | None = None,
    resolution: Resolution | None = None,
    orientation: str | None = None,
    overwrite: bool = False,
    resume: bool = True,
    storage_options: Mapping[str, Any] | None = None,
    engine: str = "fsspec",
    memory: int | str = "1 GiB",
    threads: int | None = None,
    client: "Client | None" = None,
    progress: Progress | None = None,
) -> IndexWritten:
    """Make a label index of labels in zarr that another program wrote, in one pass over them.

    From then on `refspace.open` of the same image finds the index, proves that it is still of this
    image, and answers as for a store of refspace: counts read no chunk, masks those alone that the
    index leaves open. All levels of the image are indexed.

    Parameters
    ----------
    url
        Path or URL of an OME-Zarr label image, of a group of a variable, or of an array, as for
        `refspace.open`.
    out
        File for the index, to be published: a path or URL, which `ReferenceSpace.with_index` takes.
        If not given, it is kept beside the image, at its URL and ``.label_index``; where that
        cannot be written to, in the cache of this user.
    published
        Path or URL of an index that somebody else has made and published: it is proven to be of the
        image, and kept in the place of a new one. Without it, all of the image is read.
    resolution, orientation
        As for `refspace.open`, for an image that does not state them.
    overwrite
        Whether an index that is there is made again, and any file of that name replaced.
    resume
        Whether to go on with an interrupted run, if the image is still the same.
    storage_options, engine
        As for `refspace.open`.
    memory
        What chunks may take at a time, as a number of bytes or a text; fewer threads work where
        chunks are large.
    threads, client
        As for `ReferenceSpace.to_zarr`.
    progress
        Called with the numbers of chunks done and to be done.

    Returns
    -------
    IndexWritten
        Where the index is.

    Raises
    ------
    StoreError
        If the image changes while it is read, another process makes the same index, or something
        else is in its place.
    FormatError
        If it is a store of refspace, which has an index; if it is damaged, or no labels; if what is
        published is no index of it.
    AnnotationError
        If it holds anything else than labels.
    GridError
        If its geometry is missing or contradictory.
    RemoteError
        If it cannot be reached.

    Warns
    -----
    UserWarning
        If a single chunk takes more memory than is allowed.

    Examples
    --------
    >>> import refspace, tempfile
    >>> url = tempfile.mkdtemp() + "/brain.ome.zarr"
    >>> phantom = refspace.phantom(resolution=200)
    >>> phantom.to_ome_zarr(url, chunks=32)
    >>> written = write_index(url)
    >>> written.where, written.labels == len(phantom.label_index.counts())
    ('beside the image', True)
    >>> space = refspace.open(url, structures=phantom.structure_tree)
    >>> space.block_labels is None, space.total_voxel_map == phantom.total_voxel_map
    (False, True)
    """
    atlas = open_atlas(
        os.fspath(url),
        storage_options=storage_options,
        resolution=resolution,
        orientation=orientation,
        engine=engine,
    )
    kept = [_kept(atlas, level) for level in range(len(atlas.levels))]
    where = _Where.from_arguments(atlas.location, out, storage_options)
    if not overwrite and (there := where.standing(kept)) is not None:
        Journal.forget(where.journal_path)
        return there
    pool = _bounded(make_pool(threads, client), kept, memory_bytes(memory))
    with Journal.opened(where.journal_path) as journal:
        if published is not None:
            packed = _published(given_place(os.fspath(published), storage_options), kept)
        else:
            cells = [_cells(atlas, level) for level in range(len(kept))]
            packed = _Run(kept, cells, journal, progress).packed(pool, resume=resume)
        place = where.write(packed, journal.folder)
        journal.remove()
    return _written(place, packed, kept)


def _kept(atlas: StoredAtlas, level: int) -> KeptIndex:
    kept = atlas.levels[level].kept
    if kept is None:
        raise FormatError(
            f"{atlas.location.name} is a store of refspace, which holds its label index; open it "
            "as it is"
        )
    return kept


def _published(place: Place, kept: Sequence[KeptIndex]) -> PackedIndex:
    """Index that somebody has published, once it is proven to be of an image."""
    packed = place.read()
    if packed is None:
        raise FormatError(f"there is no label index at {place.name}")
    if (why := _misfit(packed, place, kept)) is not None:
        raise FormatError(f"{place.name} is not the label index of the image: {why}")
    return packed


def _cells(atlas: StoredAtlas, level: int) -> Chunks:
    """Chunks of the index of a level: its blocks, cut at the midline."""
    stored = atlas.levels[level]
    blocks = SpaceAxes(stored.axes).blocks(stored.array)
    return index_cells(stored.grid, blocks, atlas.line.position)


def _bounded(pool: Pool, kept: Sequence[KeptIndex], memory: int) -> Pool:
    """Pool with no more threads than memory allows."""
    largest = max(kept, key=lambda each: block_bytes(each.array))
    nbytes = block_bytes(largest.array)
    if _PER_BLOCK * nbytes > memory:
        warnings.warn(
            f"{largest.array.location.name}: each chunk holds {nbytes} bytes once it is decoded, "
            f"and is decoded as a whole: this takes about {_PER_BLOCK * nbytes} bytes of memory "
            "for each thread or worker at work",
            stacklevel=3,
        )
    if not isinstance(pool, ThreadPool):
        return pool
    return ThreadPool(max(1, min(pool.threads, memory // (_PER_BLOCK * nbytes))))


# ----- where it is kept


@dataclass(frozen=True)
class _Where:
    """Where an index is to be kept: the first of some places that takes it."""

    places: tuple[Place, ...]
    journal_path: str
    is_named: bool

    @classmethod
    def from_arguments(
        cls, location: Location, out: PathLike | None, options: Mapping[str, Any] | None
    ) -> "_Where":
        cached = in_cache(location)
        if out is not None:
            if os.fspath(out).startswith(("http://", "https://")):
                raise StoreError(
                    f"{os.fspath(out)} is on a web server, which takes no files; write the index "
                    "to a path or to a bucket, and put it there"
                )
            places: tuple[Place, ...] = (given_place(os.fspath(out), options),)
            places[0].refuse_folder()
        else:
            near = [place for place in index_places(location)[:-1] if may_write(place)]
            places = (*near, cached)
        # Beside the index, so that who goes on finds it; else on this machine.
        first = places[0].file or cached.file
        return cls(places, f"{first}.parts", out is not None)

    def standing(self, kept: Sequence[KeptIndex]) -> IndexWritten | None:
        """Index that is there and fits, so that nothing is to be done.

        Raises
        ------
        StoreError
            If something else is in the place.
        """
        for place in self.places:
            try:
                packed = place.read()
                why = None if packed is None else _misfit(packed, place, kept)
            except FormatError as error:
                packed, why = None, str(error)
                if isinstance(error, NoIndexError):
                    raise _in_the_way(place, why) from error
            if why is not None and self.is_named:
                raise _in_the_way(place, why)
            if packed is not None and why is None:
                return _written(place, packed, kept, was_there=True)
        return None

    def write(self, packed: PackedIndex, scratch: Path) -> Place:
        """Keep an index in the first place that takes it."""
        *others, last = self.places
        for place in others:
            try:
                place.write(packed, scratch)
            except (WriteError, RemoteError, StoreError):
                continue  # no right to write there, as in most buckets
            return place
        last.write(packed, scratch)
        return last


def _misfit(packed: PackedIndex, place: Place, kept: Sequence[KeptIndex]) -> str | None:
    """Why what was read at a place does not fit all levels of an image; None if it does."""
    outcomes = (each.proven(packed, place) for each in kept)
    return next((each for each in outcomes if isinstance(each, str)), None)


def _in_the_way(place: Place, why: str) -> StoreError:
    return StoreError(
        f"{place.name} is there, and is not the label index of the image: {why}; give another "
        f"name, or give {OVERWRITE} to replace it"
    )


def _written(
    place: Place, packed: PackedIndex, kept: Sequence[KeptIndex], *, was_there: bool = False
) -> IndexWritten:
    arrays = [packed.array(each.array.array.path, each.axes.blocks(each.array)) for each in kept]
    return IndexWritten(
        place.name,
        place.words,
        len(packed.data),
        len(arrays),
        sum(len(array.records) for array in arrays),
        sum(int(array.is_absent.sum()) for array in arrays),
        len(arrays[0].index.counts()),
        was_there,
    )


# ----- the pass


@dataclass
class _Run:
    """One pass over all levels of an image."""

    kept: Sequence[KeptIndex]
    cells: Sequence[Chunks]
    journal: Journal
    progress: Progress | None
    done: list[dict[int, Measured]] = field(default_factory=list)

    def packed(self, pool: Pool, *, resume: bool) -> PackedIndex:
        """The index, once all blocks are measured and none has changed meanwhile."""
        before = [block_stamps(k.array, _block_ids(k), settled=True) for k in self.kept]
        stated = [_facts(*each) for each in zip(self.kept, self.cells, before, strict=True)]
        job = json_digest(stated)
        if not resume:
            self.journal.begin(job)
        restored = self.journal.restored(job, len(self.kept))
        self.done = [_unchanged(*each) for each in zip(restored, before, strict=True)]
        self._report()
        with self._noting_progress():
            for level in range(len(self.kept)):
                self._measure(pool, level)
        for level, stamps in enumerate(before):
            self._refuse_changed(level, stamps)
        return PackedIndex.from_arrays(
            [self._indexed(level, stamps) for level, stamps in enumerate(before)]
        )

    def _measure(self, pool: Pool, level: int) -> None:
        kept, done = self.kept[level], self.done[level]
        left = [i for i in range(_count(kept)) if i not in done]
        work = functools.partial(
            measure_block, array=kept.array, axes=kept.axes, cells=self.cells[level]
        )
        run = secrets.token_hex(8)
        record = functools.partial(self._record, level)
        results = pool.results(
            work, left, name=f"index-{level}", token=lambda i: f"{run} {level} {i}"
        )
        with closing(results) as measured, Recorder[int](record) as recorder:
            for flat_id, block in measured:
                done[flat_id] = block
                recorder.add(flat_id)
                self._report()

    def _record(self, level: int, flat_ids: Sequence[int]) -> None:
        self.journal.record(level, {i: self.done[level][i] for i in flat_ids})

    def _refuse_changed(self, level: int, before: NDArray[np.uint64]) -> None:
        """Refuse an image of which a chunk has changed, come or gone while it was read."""
        kept = self.kept[level]
        absent = np.array([self.done[level][i].record == ABSENT for i in range(before.size)])
        after = block_stamps(kept.array, _block_ids(kept))
        appeared, gone = absent & (before > UNSTATED), ~absent & (before == MISSING)
        if ((after != before) | appeared | gone).any():
            self.journal.remove()
            raise StoreError(
                f"{kept.array.location.name} has changed while it was read, so that no index is "
                "written; run the same again once it stays as it is"
            )

    def _indexed(self, level: int, stamps: NDArray[np.uint64]) -> IndexedArray:
        kept, done = self.kept[level], self.done[level]
        blocks = [done[i] for i in range(_count(kept))]
        shape = tuple(sum(sizes) for sizes in self.cells[level])
        index = LabelIndex.from_rows(shape, self.cells[level], [each.rows for each in blocks])
        records = table_of(each.record for each in blocks)
        absent = np.array([each.record == ABSENT for each in blocks])
        stamps = np.where(absent, np.uint64(MISSING), stamps)
        path = kept.array.array.path
        return IndexedArray(path, kept.metadata, index, records, stamps)

    def _report(self) -> None:
        if self.progress is not None:
            self.progress(sum(map(len, self.done)), sum(map(_count, self.kept)))

    @contextmanager
    def _noting_progress(self) -> Iterator[None]:
        """Add to what stops the pass how much of it is recorded."""
        try:
            yield
        except BaseException as error:
            count, total = sum(map(len, self.done)), sum(map(_count, self.kept))
            error.add_note(
                f"{count} of {total} chunks are recorded; run the same again to go on with the rest"
            )
            raise


def measure_block(flat_id: int, array: StoredArray, axes: SpaceAxes, cells: Chunks) -> Measured:
    """Read one block, and measure its labels.

    Parameters
    ----------
    flat_id
        Number of the block, in C order.
    array, axes, cells
        As for `measured_rows`.
    """
    (block_id,) = axes.block_ids(array, np.array([flat_id]))
    # Not from copies of chunks on this machine, which the image may have left behind.
    data = array.location.read(array.key(block_id), array.most_bytes)
    record = ABSENT if data is None else ObjectRecord.of(data)
    return Measured(record, measured_rows(array, axes, cells, block_id, data))


def _count(kept: KeptIndex) -> int:
    return int(np.prod([len(sizes) for sizes in kept.axes.blocks(kept.array)]))


def _block_ids(kept: KeptIndex) -> list[BlockId]:
    return kept.axes.block_ids(kept.array, np.arange(_count(kept)))


def _unchanged(recorded: Mapping[int, Measured], stamps: NDArray[np.uint64]) -> dict[int, Measured]:
    """Of what an earlier run recorded, blocks of which a stamp says that they are the same."""
    return {
        i: block for i, block in recorded.items() if stamps[i] > UNSTATED or block.record == ABSENT
    }


def _facts(kept: KeptIndex, cells: Chunks, stamps: NDArray[np.uint64]) -> list[Any]:
    """What tells the pass over a level from one over another image, or in other chunks."""
    digest = hashlib.sha256(stamps.tobytes()).hexdigest()
    return [kept.array.location.identity, kept.array.array.path, kept.metadata, cells, digest]
