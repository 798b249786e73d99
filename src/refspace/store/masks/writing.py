"""Writing masks: the shards of one block after the other, each by one task."""

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
from refspace.files import atomic_write
from refspace.store.location import Location
from refspace.store.masks.layout import FORMAT, PATH, MaskLayout
from refspace.store.masks.shards import compress, shard_of
from refspace.store.metadata import MASKS, digest_of
from refspace.store.staging import JOURNAL, Staging, Ticket
from refspace.store.zarr_files import ZARR_JSON
from refspace.version import __version__

Number = tuple[int, ...]

FIELDS = ("block", "group", "bytes")
TABLE, DIGESTS = "label_index/shards", "label_index/shards_sha256"


@dataclass(frozen=True)
class MaskBlock:
    """A block of the annotation, and the structures that have voxels in it.

    Parameters
    ----------
    number
        Number of the block along each axis.
    voxels
        The labels, as an array of dask whose graph holds how they are read and no more; None where
        every mask is 1 in all of the block, which need not be read.
    shape
        Voxels of the block along each axis.
    labels
        Labels of any of the structures, sorted.
    masks
        Position in the array of each mask that has voxels here.
    counts
        In how many of these masks each label is.
    members
        In which of them: their numbers among `masks`, label by label.
    """

    number: Number
    voxels: dask.array.Array | None
    shape: tuple[int, ...]
    labels: NDArray[np.uint32]
    masks: NDArray[np.int32]
    counts: NDArray[np.unsignedinteger[Any]]
    members: NDArray[np.unsignedinteger[Any]]

    def make(self) -> Any:
        """Masks of the block, one after the other."""
        if self.voxels is None:
            return (np.ones(self.shape, np.uint8) for _ in self.masks)
        # Not by the cluster that this is a task of, nor with more threads than there are.
        block = self.voxels.compute(scheduler="synchronous")
        inside = np.zeros((self.labels.size, self.masks.size), bool)
        inside[np.repeat(np.arange(self.labels.size), self.counts), self.members] = True
        return kernels.masks(block, self.labels, inside)


@dataclass(frozen=True)
class Shard:
    """What is known of a shard once it is stored.

    Parameters
    ----------
    block
        Flat number of its block, in C order.
    group
        Its number along the axis of structures.
    nbytes, sha256
        Its size, and the digest of its bytes.
    """

    block: int
    group: int
    nbytes: int
    sha256: bytes


@dataclass(frozen=True)
class ShardWriter:
    """Writes the masks of a block, in any thread, process or machine.

    Parameters
    ----------
    location
        The store.
    chunk_shape, per_shard
        As those of `MaskLayout`.
    blocks
        Number of blocks along each axis.
    ticket
        Leave to write.
    """

    location: Location
    chunk_shape: tuple[int, int, int]
    per_shard: int
    blocks: tuple[int, ...]
    ticket: Ticket

    def put(self, block: MaskBlock) -> list[Shard]:
        """Read a block, and store the masks in it; those that are 0 everywhere are left out."""
        frames: dict[int, dict[int, bytes]] = defaultdict(dict)
        for position, mask in zip(block.masks.tolist(), block.make(), strict=True):
            if mask.any():
                group, place = divmod(position, self.per_shard)
                frames[group][place] = compress(self._whole(mask))
        self.ticket.check()
        flat = int(np.ravel_multi_index(block.number, self.blocks))
        return [self._store(block.number, flat, *item) for item in sorted(frames.items())]

    def _whole(self, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Mask of a whole chunk; at the end of the volume its rest is 0."""
        if mask.shape == self.chunk_shape:
            return mask
        whole = np.zeros(self.chunk_shape, np.uint8)
        whole[tuple(map(slice, mask.shape))] = mask
        return whole

    def _store(self, number: Number, flat: int, group: int, frames: Mapping[int, bytes]) -> Shard:
        data = shard_of(frames, self.per_shard)
        write_whole(self.location, shard_key(group, number), data)
        return Shard(flat, group, len(data), hashlib.sha256(data).digest())


def put_block(block: MaskBlock, writer: ShardWriter) -> list[Shard]:
    """Store the masks of a block: the work of a task."""
    return writer.put(block)


def shard_key(group: int, number: Number) -> str:
    """Name of the object that holds a shard."""
    return "/".join([PATH, "c", str(group), *map(str, number)])


def write_whole(location: Location, key: str, data: bytes) -> None:
    """Write an object that is there as a whole or not at all."""
    folder = location.local_path
    if folder is None:
        location.write(key, data)
        return
    path = Path(folder, key)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)


class MaskJournal:
    """Which blocks of a store in the making are done, and the shards they have.

    Parameters
    ----------
    staging
        The store.
    blocks
        Number of blocks along each axis.
    """

    def __init__(self, staging: Staging, blocks: tuple[int, ...]) -> None:
        self._staging, self._blocks = staging, blocks
        self.done: dict[int, list[Shard]] = {}
        for payload in staging.recorded().values():
            self._recall(payload)

    def _recall(self, payload: bytes) -> None:
        with np.load(io.BytesIO(payload), allow_pickle=False) as record:
            self.done |= {flat: [] for flat in record["done"].tolist()}
            for shard in shards_of(record["shards"], record["sha256"]):
                self.done[shard.block].append(shard)

    def record(self, fresh: Sequence[tuple[int, list[Shard]]]) -> None:
        """Make what was done last known for good."""
        shards = [shard for _, of_block in fresh for shard in of_block]
        payload = io.BytesIO()
        done: dict[str, Any] = {"done": np.array([flat for flat, _ in fresh], np.int64)}
        np.savez(payload, **done, **table_of(shards))
        keys = [self._key(shard) for shard in shards]
        # Named by what it holds: no other record, of this run or of one before, has this name.
        self._staging.record(f"masks-{fresh[0][0]}", payload.getvalue(), keys)
        self.done |= dict(fresh)

    def _key(self, shard: Shard) -> str:
        return shard_key(shard.group, block_number(shard, self._blocks))


def block_number(shard: Shard, blocks: tuple[int, ...]) -> Number:
    """Number of a shard's block along each axis."""
    return tuple(int(i) for i in np.unravel_index(shard.block, blocks))


def table_of(shards: Sequence[Shard]) -> dict[str, Any]:
    """What is known of some shards: numbers, a row for each of them, and their digests."""
    facts = [[shard.block, shard.group, shard.nbytes] for shard in shards]
    return {
        "shards": np.array(facts, np.int64).reshape(-1, len(FIELDS)),
        "sha256": np.array([list(shard.sha256) for shard in shards], np.uint8).reshape(-1, 32),
    }


def shards_of(table: NDArray[Any], digests: NDArray[Any]) -> list[Shard]:
    """Shards that tables tell of."""
    rows = zip(table.tolist(), digests, strict=True)
    return [Shard(block, group, size, sha256.tobytes()) for (block, group, size), sha256 in rows]


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
        What it is made of, as JSON values.
    job
        Digest of the job.
    """
    location = Location(staging.work, staging.storage_options)
    draft = layout.draft(coordinates)
    table = table_of(sorted(shards, key=lambda shard: (shard.block, shard.group)))
    draft.put(TABLE, table["shards"], ["shard", "field"], {"fields": list(FIELDS)})
    draft.put(DIGESTS, table["sha256"], ["shard", "byte"])
    facts = {
        "kind": MASKS,
        "format": FORMAT,
        "complete": True,
        "provenance": {**provenance, "converter": f"refspace {__version__}"},
        "digest": digest_of([layout.facts, [node["id"] for node in layout.nodes], _told(table)]),
        "job": job,
    }
    objects = draft.finish({"ome": layout.described, "refspace": facts})
    root = objects.pop(ZARR_JSON)
    for key, data in objects.items():
        location.write(key, data)
    _remove_strays(location, layout, shards, {*objects})
    staging.commit(root)


def _told(table: Mapping[str, NDArray[Any]]) -> str:
    """Digest of a table of shards."""
    return hashlib.sha256(table["shards"].tobytes() + table["sha256"].tobytes()).hexdigest()


def _remove_strays(
    location: Location, layout: MaskLayout, shards: Sequence[Shard], described: set[str]
) -> None:
    """Remove what a killed task has left: files that belong to nothing."""
    folder = location.local_path
    if folder is None:
        return
    sides = zip(layout.grid.shape, layout.chunk_shape, strict=True)
    blocks = tuple(-(-count // size) for count, size in sides)
    written = {shard_key(shard.group, block_number(shard, blocks)) for shard in shards}
    for key in location.keys() - written - described:
        if not key.startswith(JOURNAL):
            (folder / key).unlink()
