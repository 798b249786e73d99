"""Writes masks: one task for each block, which reads it once and stores its shards."""

import hashlib
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
from numpy.typing import NDArray

from refspace import kernels
from refspace.files import atomic_write, make_folder
from refspace.store.boxes import BlockId
from refspace.store.digests import FORMAT, MASKS, json_digest
from refspace.store.location import Location
from refspace.store.masks.layout import PATH, MaskLayout
from refspace.store.masks.shards import compress, encode_shard
from refspace.store.object_records import ObjectRecord, table_of
from refspace.store.prove import object_faults
from refspace.store.staging import Staging, WriteLease
from refspace.version import __version__

FIELDS = ("block", "group")
TABLE, RECORDS = "label_index/shards", "label_index/shard_records"


@dataclass(frozen=True)
class MaskBlock:
    """A block of the annotation, and the structures that have voxels in it.

    Parameters
    ----------
    block_id
        The block.
    voxels
        The labels, as an array of dask whose graph holds only the tasks that read them; None where
        every mask is 1 in all of the block, so that it need not be read.
    shape
        Voxels of the block along each axis.
    labels
        Labels of any of the structures, sorted.
    masks
        Position in the array of each mask that has voxels here.
    counts
        Number of these masks that each label is in.
    members
        Which masks these are: positions in `masks`, label by label.
    """

    block_id: BlockId
    voxels: dask.array.Array | None
    shape: tuple[int, ...]
    labels: NDArray[np.uint32]
    masks: NDArray[np.int32]
    counts: NDArray[np.unsignedinteger[Any]]
    members: NDArray[np.unsignedinteger[Any]]

    def make(self) -> Any:
        """Masks of the block, one after the other."""
        if self.voxels is None:
            return (np.ones(self.shape, bool) for _ in self.masks)
        # In this thread: this is a task of a cluster, or of a pool that uses all cores, already.
        block = self.voxels.compute(scheduler="synchronous")
        inside = np.zeros((self.labels.size, self.masks.size), bool)
        inside[np.repeat(np.arange(self.labels.size), self.counts), self.members] = True
        return kernels.masks(block, self.labels, inside)


@dataclass(frozen=True)
class Shard:
    """Record of a shard that is stored.

    Parameters
    ----------
    block_id
        Flat id of its block, in C order.
    group
        Its index along the axis of structures.
    record
        What proves its object.
    """

    block_id: int
    group: int
    record: ObjectRecord

    def key(self, numblocks: tuple[int, ...]) -> str:
        """Name of the object that holds it, where there are as many blocks along each axis."""
        return shard_key(self.group, unflattened(self.block_id, numblocks))


@dataclass(frozen=True)
class ShardWriter:
    """Writes the masks of a block, in any thread, process or machine.

    Parameters
    ----------
    chunk_shape, per_shard, numblocks
        As those of `MaskLayout`.
    lease
        Permission to write to the store.
    """

    chunk_shape: tuple[int, int, int]
    per_shard: int
    numblocks: tuple[int, ...]
    lease: WriteLease

    def put(self, block: MaskBlock) -> list[Shard]:
        """Read a block, and store the masks in it; those that are 0 everywhere are left out."""
        frames: dict[int, dict[int, bytes]] = defaultdict(dict)
        for position, mask in zip(block.masks.tolist(), block.make(), strict=True):
            if mask.any():
                group, within = divmod(position, self.per_shard)
                frames[group][within] = compress(self._padded(mask))
        return [self._store(block.block_id, *item) for item in sorted(frames.items())]

    def _padded(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Mask of a whole chunk; at the end of the volume its rest is outside."""
        if mask.shape == self.chunk_shape:
            return mask
        whole = np.zeros(self.chunk_shape, bool)
        whole[tuple(map(slice, mask.shape))] = mask
        return whole

    def _store(self, block_id: BlockId, group: int, frames: Mapping[int, bytes]) -> Shard:
        data = encode_shard(frames, self.per_shard)
        self.lease.write(shard_key(group, block_id), data)
        flat_id = int(np.ravel_multi_index(block_id, self.numblocks))
        return Shard(flat_id, group, ObjectRecord.of(data))


def put_block(block: MaskBlock, writer: ShardWriter) -> list[Shard]:
    """Store the masks of a block: the work of a task."""
    return writer.put(block)


def shard_key(group: int, block_id: BlockId) -> str:
    """Name of the object that holds a shard."""
    return "/".join([PATH, "c", str(group), *map(str, block_id)])


def write_whole(location: Location, key: str, data: bytes) -> None:
    """Write an object that appears as a whole or not at all."""
    folder = location.local_path
    if folder is None:
        location.write(key, data)
        return
    path = Path(folder, key)
    make_folder(path.parent)
    with atomic_write(path, through_links=False) as temporary:
        temporary.write_bytes(data)


class MaskJournal:
    """Journal of the blocks of a store in the making that are done, with the shards they have.

    Parameters
    ----------
    staging
        The store.
    numblocks
        Number of blocks along each axis.
    """

    def __init__(self, staging: Staging, numblocks: tuple[int, ...]) -> None:
        self._staging, self._numblocks = staging, numblocks
        # Shards of each block that is done, by its flat id.
        self.done: dict[int, list[Shard]] = {}
        for payload in staging.recorded().values():
            self._restore(payload)
        self._forget_what_is_lost()

    def _restore(self, payload: bytes) -> None:
        with np.load(io.BytesIO(payload), allow_pickle=False) as record:
            self.done |= {block_id: [] for block_id in record["done"].tolist()}
            for shard in shards_from_tables(record["shards"], record["records"]):
                self.done[shard.block_id].append(shard)

    def _forget_what_is_lost(self) -> None:
        """Forget blocks any of whose shards are gone, or are not those recorded."""
        location = Location(self._staging.work, self._staging.storage_options)
        shards = {s.key(self._numblocks): s for own in self.done.values() for s in own}
        records = {key: shard.record for key, shard in shards.items()}
        for fault in object_faults(location, records):
            self.done.pop(shards[fault.key].block_id, None)

    def record(self, fresh: Sequence[tuple[int, list[Shard]]]) -> None:
        """Record blocks that were done since the last record, so that a resumed run skips them."""
        shards = [shard for _, own in fresh for shard in own]
        payload = io.BytesIO()
        done: dict[str, Any] = {"done": np.array([block_id for block_id, _ in fresh], np.int64)}
        np.savez(payload, **done, **tables_from_shards(shards))
        keys = [shard.key(self._numblocks) for shard in shards]
        # Named by what it holds: no other record, of this run or of one before, has this name.
        self._staging.record(f"masks-{fresh[0][0]}", payload.getvalue(), keys)
        self.done |= dict(fresh)


def unflattened(flat_id: int, numblocks: tuple[int, ...]) -> BlockId:
    """Index along each axis of the block with a flat id, in C order."""
    return tuple(int(i) for i in np.unravel_index(flat_id, numblocks))


def tables_from_shards(shards: Sequence[Shard]) -> dict[str, Any]:
    """Records of shards as two tables, with a row for each: which it is, and what proves it."""
    rows = [[shard.block_id, shard.group] for shard in shards]
    return {
        "shards": np.array(rows, np.int64).reshape(-1, len(FIELDS)),
        "records": table_of(shard.record for shard in shards),
    }


def shards_from_tables(table: NDArray[Any], records: NDArray[np.uint8]) -> list[Shard]:
    """Records of shards from their tables."""
    rows = zip(table.tolist(), map(ObjectRecord.from_bytes, records), strict=True)
    return [Shard(block, group, record) for (block, group), record in rows]


def finish_masks(
    staging: Staging,
    layout: MaskLayout,
    coordinates: Mapping[str, NDArray[np.float64]],
    shards: Sequence[Shard],
    provenance: Mapping[str, Any],
    job: str,
) -> None:
    """Write everything beside the voxels, the root's metadata last of all.

    Parameters
    ----------
    staging
        The store in the making, all of whose shards are written.
    layout, coordinates
        What it holds.
    shards
        All of them, in any order.
    provenance
        Where the masks come from, as JSON values.
    job
        Digest of the job.
    """
    draft = layout.draft(coordinates)
    table = tables_from_shards(sorted(shards, key=lambda shard: (shard.block_id, shard.group)))
    draft.put(TABLE, table["shards"], ["shard", "field"], {"fields": list(FIELDS)})
    draft.put(RECORDS, table["records"], ["shard", "byte"])
    metadata = {
        "kind": MASKS,
        "format": FORMAT,
        "complete": True,
        "provenance": {**provenance, "converter": f"refspace {__version__}"},
        "digest": json_digest(
            [layout.metadata, [node["id"] for node in layout.nodes], _tables_digest(table)]
        ),
        "job": job,
    }
    objects = draft.finish({"ome": layout.ome_metadata, "refspace": metadata})
    staging.complete(objects, {shard.key(layout.numblocks) for shard in shards})


def _tables_digest(table: Mapping[str, NDArray[Any]]) -> str:
    """Digest of a table of shards."""
    return hashlib.sha256(table["shards"].tobytes() + table["records"].tobytes()).hexdigest()
