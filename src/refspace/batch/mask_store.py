"""Writes masks of many structures to one store, in one pass over the annotation."""

import functools
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import dask
import dask.array
import numpy as np
import xarray as xr
from dask.tokenize import tokenize
from numpy.typing import NDArray

from refspace.batch.causes import one_line, raise_if_hopeless
from refspace.blockwise.content_identity import Identity
from refspace.blockwise.identity import array_identity, refuse_changed
from refspace.errors import FormatError, JobError, OntologyError, StoreError
from refspace.label_index import BlockLabels
from refspace.labels import LabelVolume
from refspace.pools import Pool
from refspace.reference_space import ReferenceSpace
from refspace.store import Fault, Location, Progress
from refspace.store.boxes import BlockId
from refspace.store.masks import (
    MaskBlock,
    MaskJournal,
    MaskLayout,
    Shard,
    ShardWriter,
    finish_masks,
    is_mask_store,
    open_stored_masks,
    put_block,
)
from refspace.store.staging import Recorder, Staging, job_digest, open_staging
from refspace.store.zarr_files import ZARR_JSON
from refspace.structure_tree import Regions, RegionsLike

# Voxels along each axis, where the annotation has chunks of several sizes: zarr needs one size.
_CHUNK = 128
# Fields of a structure that a store of masks holds.
_NODE_FIELDS = ("id", "acronym", "name", "rgb_triplet")
# Faults of a store that a message lists.
_MAX_LISTED = 3


@dataclass(frozen=True)
class MaskRequest:
    """Masks to be written, of an annotation of which no voxel is read yet.

    Parameters
    ----------
    annotation
        Labels, lazy, in blocks of one shape.
    block_labels
        Labels of each block; None if they are not known before it is read.
    regions
        The structures.
    layout
        Layout of their masks in a store.
    identity
        Distinguishes the masks from any others, as JSON values.
    provenance
        Where the annotation comes from.
    voxels
        Identity of the annotation's voxels as they were when the masks were asked for.
    """

    annotation: xr.DataArray
    block_labels: BlockLabels | None
    regions: Regions
    layout: MaskLayout
    identity: Mapping[str, Any]
    provenance: Mapping[str, Any]
    voxels: Identity

    @classmethod
    def from_space(cls, space: ReferenceSpace, regions: RegionsLike | None) -> "MaskRequest":
        """Request for the masks of regions of a space: all structures that have voxels if None."""
        if regions is None:
            regions = [i for i, count in space.total_voxel_map.items() if count > 0]
        return cls.from_regions(space, space.structure_tree.regions(regions))

    @classmethod
    def from_regions(cls, space: ReferenceSpace, regions: Regions) -> "MaskRequest":
        """Request for the masks of regions, each of which is of a structure."""
        if not len(regions):
            raise OntologyError("no structures are asked for; name one at least")
        if not regions.acronyms:
            raise OntologyError(
                "masks are those of structures, and a mapping has labels of its own: give "
                "structures, or write what relabel makes of it"
            )
        annotation, block_labels = _in_regular_blocks(space.volume)
        block = tuple(sizes[0] for sizes in annotation.data.chunks)
        nodes = space.structure_tree.nodes(list(regions.labels))
        layout = MaskLayout(space.grid, block, nodes)
        sides = dict(space.volume.hemispheres.attrs or space.volume.hemispheres.separation)
        voxels = array_identity(annotation.data)
        identity = {
            "voxels": str(voxels.facts.get("voxels")),
            # What files and stores state beside their voxels.
            "sides": [sides.get("hemisphere"), sides.get("midline")],
            "structures": str(tokenize(regions.labels, regions.members, regions.indptr)),
            "nodes": str(tokenize([[n.get(field) for field in _NODE_FIELDS] for n in nodes])),
            "layout": layout.metadata,
        }
        provenance = {
            "annotation": dict(space.provenance),
            "voxels": identity["voxels"],
            "direct_only": _are_structures_alone(regions),
            "hemisphere": space.volume.hemispheres.side,
            "sides": sides,
        }
        return cls(annotation, block_labels, regions, layout, identity, provenance, voxels)

    def refuse_changed(self) -> None:
        """Refuse an annotation that has changed since the masks were asked for.

        Raises
        ------
        StoreError
            If it has.
        """
        now = array_identity(self.annotation.data)
        refuse_changed({"annotation": self.voxels}, {"annotation": now})

    @property
    def ids(self) -> list[int]:
        """Ids of the structures, in the order of their masks."""
        return [int(node["id"]) for node in self.layout.nodes]

    @property
    def coordinates(self) -> dict[str, NDArray[np.float64]]:
        """Voxel centres along each axis of space."""
        return {str(dim): self.annotation[dim].values for dim in self.annotation.dims}

    @property
    def numblocks(self) -> tuple[int, ...]:
        """Number of blocks along each axis."""
        return tuple(map(len, self.annotation.data.chunks))

    @functools.cached_property
    def _members(self) -> tuple[NDArray[np.uint32], NDArray[np.int64], NDArray[np.int32]]:
        """Labels in any mask, sorted; bounds of each label's masks; these masks, label by label."""
        mask = np.repeat(np.arange(len(self.regions)), np.diff(self.regions.indptr))
        order = np.argsort(self.regions.members, kind="stable")
        labels, first = np.unique(self.regions.members[order], return_index=True)
        return labels.astype(np.uint32), np.append(first, order.size), mask[order].astype(np.int32)

    def block(self, block_id: BlockId) -> MaskBlock | None:
        """Work to do for a block; None if it holds no voxel of the structures."""
        data = self.annotation.data
        labels, first, masks_of = self._members
        present = labels if self.block_labels is None else self.block_labels.in_block(block_id)
        positions = np.flatnonzero(np.isin(labels, present))
        counts = first[positions + 1] - first[positions]
        bounds = zip(first[positions], first[positions + 1], strict=True)
        chosen = np.concatenate([masks_of[start:stop] for start, stop in bounds] or [masks_of[:0]])
        masks, members = np.unique(chosen, return_inverse=True)
        if not masks.size:
            return None
        # Then every mask has every label in the block, which need not be read.
        is_one = self.block_labels is not None and (counts == masks.size).all()
        is_one = is_one and positions.size == present.size
        return MaskBlock(
            block_id,
            None if is_one else dask.optimize(data.blocks[block_id])[0],
            tuple(sizes[i] for sizes, i in zip(data.chunks, block_id, strict=True)),
            labels[positions],
            masks,
            counts.astype(np.min_scalar_type(counts.max())),
            members.astype(np.min_scalar_type(masks.size)),
        )

    def blocks(self, done: Collection[int]) -> Iterator[MaskBlock]:
        """Blocks that may hold voxels of the structures, except those that are done."""
        for flat_id, block_id in enumerate(np.ndindex(self.numblocks)):
            if flat_id not in done and (block := self.block(block_id)) is not None:
                yield block

    def count(self) -> int:
        """Number of blocks that may hold voxels of the structures."""
        if self.block_labels is None:
            return int(np.prod(self.numblocks))
        held = np.isin(self.block_labels.labels, self._members[0])
        return int(np.count_nonzero(np.logical_or.reduceat(held, self.block_labels.indptr[:-1])))


def _in_regular_blocks(volume: LabelVolume) -> tuple[xr.DataArray, BlockLabels | None]:
    """Labels in blocks of one shape, and what is known of these."""
    # Of one hemisphere, in the blocks of both: the midline may have cut some.
    chunks = volume.labels.data.chunks
    if not _is_regular(chunks):
        chunks = volume.labels.chunk(_CHUNK).data.chunks
    regular = volume.rechunk(chunks)
    return regular.data, regular.block_labels


def _are_structures_alone(regions: Regions) -> bool:
    """Whether regions leave out the descendants of their structures, as far as these have any."""
    return all(
        regions.structures_in(region).tolist() == [label]
        for region, label in enumerate(regions.labels)
    )


def _is_regular(chunks: Sequence[Sequence[int]]) -> bool:
    """Whether all blocks have one shape, except the last along an axis, which may be smaller."""
    return all({*sizes[:-1]} <= {sizes[0]} and sizes[-1] <= sizes[0] for sizes in chunks)


@dataclass(frozen=True)
class MasksWritten:
    """Result of `write_masks`.

    Parameters
    ----------
    path
        Where the masks are.
    structures
        Ids of the structures.
    written
        Number of blocks, or of files, that were written.
    kept
        Number of those that were there already, with the right content.
    """

    path: str
    structures: tuple[int, ...]
    written: int
    kept: int


def write_mask_store(
    request: MaskRequest,
    target: str,
    *,
    pool: Pool,
    overwrite: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> MasksWritten:
    """Write masks to one zarr store.

    Parameters
    ----------
    request
        The masks.
    target, pool, overwrite, storage_options, progress
        As for `write_masks`.
    """
    job = {"kind": "masks", **request.identity}
    # Existing output is reused only if its checksums match.
    faults = _faults(target, storage_options)
    if faults and not overwrite:
        shown = ", ".join(map(str, faults[:_MAX_LISTED])) + (
            ", …" if len(faults) > _MAX_LISTED else ""
        )
        raise StoreError(
            f"{target} is there, and damaged: {shown}; replace it with --overwrite (Python: "
            "overwrite=True)"
        )
    with open_staging(
        target,
        job=job,
        resume=not faults,
        overwrite=overwrite,
        storage_options=storage_options,
        doubt=request.voxels.doubt,
    ) as staging:
        if staging.finished:
            return MasksWritten(target, tuple(request.ids), 0, request.count())
        journal = MaskJournal(staging, request.numblocks)
        kept = len(journal.done)
        _write_blocks(request, staging, journal, pool, progress)
        request.refuse_changed()
        shards = [shard for own in journal.done.values() for shard in own]
        provenance = request.provenance
        finish_masks(
            staging, request.layout, request.coordinates, shards, provenance, job_digest(job)
        )
    return MasksWritten(target, tuple(request.ids), len(journal.done) - kept, kept)


def _write_blocks(
    request: MaskRequest,
    staging: Staging,
    journal: MaskJournal,
    pool: Pool,
    progress: Progress | None,
) -> None:
    """Write the blocks that the journal lacks; failures are raised together at the end."""
    layout, lease = request.layout, staging.lease
    writer = ShardWriter(layout.chunk_shape, layout.per_shard, layout.numblocks, lease)
    total, failures = request.count(), {}
    done = len(journal.done)
    if progress is not None:
        progress(done, total)
    outcomes = pool.outcomes(
        functools.partial(put_block, writer=writer),
        request.blocks(done=frozenset(journal.done)),
        name="mask",
        token=lambda block: str(tokenize(staging.work, lease.run, block.block_id)),
    )
    # Closed, also where noting fails: what is written is removed then, with no writer left.
    with closing(outcomes), Recorder[tuple[int, list[Shard]]](journal.record) as recorder:
        for outcome in outcomes:
            if outcome.error is not None or outcome.result is None:
                failures[f"block {outcome.item.block_id}"] = outcome.error
                raise_if_hopeless(outcome.error)
                continue
            flat_id = int(np.ravel_multi_index(outcome.item.block_id, request.numblocks))
            recorder.add((flat_id, outcome.result))
            done += 1
            if progress is not None:
                progress(done, total)
    if failures:
        raise JobError(
            f"{len(failures)} of {total} blocks failed; what is done is not done again",
            {part: one_line(error) for part, error in failures.items()},
        )


def _faults(target: str, storage_options: Mapping[str, Any] | None) -> Sequence[Fault]:
    """What is wrong with the store of masks that is there, if there is one."""
    if not is_mask_store(Location(target, storage_options or {})):
        return ()
    try:
        return open_stored_masks(target, storage_options).report().faults
    except FormatError as error:
        return (Fault(ZARR_JSON, one_line(error)),)
