"""Masks of many structures in one store, in one pass over the annotation."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dask
import dask.array
import numpy as np
import xarray as xr
from dask.tokenize import tokenize
from numpy.typing import NDArray

from refspace.batch.causes import cause_of, raise_if_hopeless
from refspace.errors import FormatError, JobError, OntologyError, StoreError
from refspace.grid import Hemisphere
from refspace.label_index import BlockLabels
from refspace.pools import Pool
from refspace.reference_space import ReferenceSpace
from refspace.store import Fault, Location, Progress
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
from refspace.structure_tree import Parcellation

# Of chunks whose sizes differ, which no array of zarr can have, these are made.
_CHUNK = 128
# What a store of masks says of each structure.
_TOLD = ("id", "acronym", "name", "rgb_triplet")
# Faults of a store that a message names.
_NAMED = 3


@dataclass(frozen=True)
class Asked:
    """Masks that are asked for, of an annotation of which nothing is read yet.

    Parameters
    ----------
    annotation
        Labels, lazy, in blocks of one shape.
    known
        Labels of each block, where they are known.
    regions
        The structures.
    layout
        How their masks lie in a store.
    identity
        What tells the masks from others, as JSON values.
    provenance
        Where the annotation comes from.
    """

    annotation: xr.DataArray
    known: BlockLabels | None
    regions: Parcellation
    layout: MaskLayout
    identity: Mapping[str, Any]
    provenance: Mapping[str, Any]

    @classmethod
    def of(
        cls,
        space: ReferenceSpace,
        structures: Any = None,
        *,
        level: Any = None,
        structure_set: Any = None,
        direct_only: bool = False,
        hemisphere: Hemisphere | None = None,
    ) -> "Asked":
        """Masks of structures of a space, as `write_masks` is asked for them."""
        if isinstance(structures, Mapping):
            raise OntologyError(
                "masks are those of structures, and a mapping has labels of its own: give "
                "structures, or write what relabel makes of it"
            )
        tree = space.structure_tree
        if structures is None and level is None and structure_set is None:
            structures = [i for i in tree.node_ids() if space.total_voxel_map[i] > 0]
        elif structures is not None:
            structures = [*dict.fromkeys(tree.resolve(structures))]
        regions = Parcellation.of(
            tree, structures, level=level, structure_set=structure_set, direct_only=direct_only
        )
        if not len(regions):
            raise OntologyError("no structures are asked for; name one at least")
        annotation, known = space.labels_within(hemisphere)
        if not _is_regular(annotation.data.chunks):
            annotation, known = annotation.chunk(_CHUNK), None
        block = tuple(sizes[0] for sizes in annotation.data.chunks)
        nodes = tree.nodes(list(regions.regions))
        layout = MaskLayout(space.grid, block, nodes)
        identity = {
            "voxels": str(tokenize(annotation.data)),
            "structures": str(tokenize(regions.regions, regions.members, regions.indptr)),
            "nodes": str(tokenize([[n.get(field) for field in _TOLD] for n in nodes])),
            "layout": layout.facts,
        }
        provenance = {
            "annotation": dict(space.provenance),
            "voxels": identity["voxels"],
            "direct_only": direct_only,
            "hemisphere": hemisphere,
        }
        return cls(annotation, known, regions, layout, identity, provenance)

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
        """Labels that are in any mask, sorted; where those of each begin; and which masks."""
        owner = np.repeat(np.arange(len(self.regions)), np.diff(self.regions.indptr))
        order = np.argsort(self.regions.members, kind="stable")
        labels, first = np.unique(self.regions.members[order], return_index=True)
        return labels.astype(np.uint32), np.append(first, order.size), owner[order].astype(np.int32)

    def block(self, number: tuple[int, ...]) -> MaskBlock | None:
        """What is to be done of a block; None if it holds none of the structures."""
        data = self.annotation.data
        labels, first, owners = self._members
        present = labels if self.known is None else self.known.in_block(number)
        places = np.flatnonzero(np.isin(labels, present))
        counts = first[places + 1] - first[places]
        owned = np.concatenate([owners[first[p] : first[p + 1]] for p in places] or [owners[:0]])
        masks, members = np.unique(owned, return_inverse=True)
        if not masks.size:
            return None
        # Every mask has every label that may be there.
        is_one = self.known is not None and (counts == masks.size).all()
        is_one = is_one and places.size == present.size
        return MaskBlock(
            number,
            None if is_one else dask.optimize(data.blocks[number])[0],
            tuple(sizes[i] for sizes, i in zip(data.chunks, number, strict=True)),
            labels[places],
            masks,
            counts.astype(np.min_scalar_type(counts.max())),
            members.astype(np.min_scalar_type(masks.size)),
        )

    def blocks(self, skip: Mapping[int, Any]) -> Iterator[MaskBlock]:
        """Blocks that hold any of the structures, as far as is known, but for some."""
        for flat, number in enumerate(np.ndindex(self.numblocks)):
            if flat not in skip and (block := self.block(number)) is not None:
                yield block

    def count(self) -> int:
        """Number of blocks that hold any of the structures, as far as is known."""
        if self.known is None:
            return int(np.prod(self.numblocks))
        held = np.isin(self.known.labels, self._members[0])
        return int(np.count_nonzero(np.logical_or.reduceat(held, self.known.indptr[:-1])))


def _is_regular(chunks: Sequence[Sequence[int]]) -> bool:
    """Whether all blocks have one shape, but for the last ones, which may be smaller."""
    return all({*sizes[:-1]} <= {sizes[0]} and sizes[-1] <= sizes[0] for sizes in chunks)


@dataclass(frozen=True)
class MasksWritten:
    """What `write_masks` has done.

    Parameters
    ----------
    path
        Where the masks are.
    structures
        Ids of the structures.
    written
        Number of blocks, or of files, that were written.
    kept
        Number of those that were there already, and are what they should be.
    """

    path: str
    structures: tuple[int, ...]
    written: int
    kept: int


def write_mask_store(
    asked: Asked,
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
    asked
        The masks.
    target, pool, overwrite, storage_options, progress
        As for `write_masks`.
    """
    job = {"kind": "masks", **asked.identity}
    # What is complete is left as it is, if it is what it should be.
    faults = _faults(target, storage_options)
    if faults and not overwrite:
        shown = ", ".join(map(str, faults[:_NAMED])) + (", …" if len(faults) > _NAMED else "")
        raise StoreError(
            f"{target} is there, and damaged: {shown}; replace it with --overwrite (Python: "
            "overwrite=True)"
        )
    with open_staging(
        target, job=job, resume=not faults, overwrite=overwrite, storage_options=storage_options
    ) as staging:
        if staging.finished:
            return MasksWritten(target, tuple(asked.ids), 0, asked.count())
        journal = MaskJournal(staging, asked.numblocks)
        kept = len(journal.done)
        _write_blocks(asked, staging, journal, pool, progress)
        shards = [shard for of_block in journal.done.values() for shard in of_block]
        provenance = asked.provenance
        finish_masks(staging, asked.layout, asked.coordinates, shards, provenance, job_digest(job))
    return MasksWritten(target, tuple(asked.ids), len(journal.done) - kept, kept)


def _write_blocks(
    asked: Asked, staging: Staging, journal: MaskJournal, pool: Pool, progress: Progress | None
) -> None:
    """Write the blocks that the journal lacks; those that fail are told at the end."""
    place = Location(staging.work, staging.storage_options)
    layout = asked.layout
    writer = ShardWriter(
        place, layout.chunk_shape, layout.per_shard, asked.numblocks, staging.ticket
    )
    total, failures = asked.count(), {}
    done = len(journal.done)
    if progress is not None:
        progress(done, total)
    with Recorder[tuple[int, list[Shard]]](journal.record) as recorder:
        for outcome in pool.outcomes(
            functools.partial(put_block, writer=writer),
            asked.blocks(skip=dict(journal.done)),
            name="mask",
            token=lambda block: str(tokenize(place.url, staging.ticket.job, block.number)),
        ):
            if outcome.error is not None or outcome.result is None:
                failures[f"block {outcome.item.number}"] = outcome.error
                raise_if_hopeless(outcome.error)
                continue
            flat = int(np.ravel_multi_index(outcome.item.number, asked.numblocks))
            recorder.add((flat, outcome.result))
            done += 1
            if progress is not None:
                progress(done, total)
    if failures:
        raise JobError(
            f"{len(failures)} of {total} blocks failed; what is done is not done again",
            {part: cause_of(error) for part, error in failures.items()},
        )


def _faults(target: str, storage_options: Mapping[str, Any] | None) -> Sequence[Fault]:
    """What is wrong with a store of masks, of which its name says little."""
    if not is_mask_store(Location(target, storage_options or {})):
        return ()
    try:
        return open_stored_masks(target, storage_options).report().faults
    except FormatError as error:
        return (Fault(ZARR_JSON, cause_of(error)),)
