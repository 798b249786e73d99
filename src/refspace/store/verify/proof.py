"""Proves that a store of refspace is as it was written, from every file of it."""

import functools
import json
import math
import secrets
from collections.abc import Mapping
from typing import Any

import numpy as np
from dask.tokenize import tokenize
from numpy.typing import NDArray

from refspace.errors import RefspaceError
from refspace.grid import Grid
from refspace.label_index import FIELDS, Chunks, LabelIndex, split_table
from refspace.label_index.rows import CHUNK, LABEL
from refspace.pools import Pool
from refspace.store import pyramid
from refspace.store.digests import (
    INDEX,
    INDEX_PARTS,
    INDEX_TOTALS,
    array_sha256,
    index_cells,
    is_in_root,
    json_digest,
    records_path,
    total_cells,
)
from refspace.store.metadata import Layout, array_digest
from refspace.store.object_records import RECORD_BYTES, ObjectRecord, table_of
from refspace.store.prove import object_faults, stray_faults
from refspace.store.report import Fault, FaultError, Report
from refspace.store.stored_atlas import StoredAtlas, StoredLevel
from refspace.store.tables import structures_dataset
from refspace.store.verify.levels import (
    BlockReader,
    BlockRecord,
    LevelProof,
    prove_block,
)
from refspace.store.write import Progress
from refspace.store.zarr_files import ZARR_JSON

# Of a voxel: users may give coordinates, which are those of the grid up to rounding.
_TOLERANCE = 1e-3


class AtlasProof:
    """Proves a store of refspace.

    Parameters
    ----------
    atlas
        The store.
    metadata
        What refspace wrote about it.
    pool
        Threads or workers that prove the voxels.
    progress
        Called with the numbers of blocks done and to be done.
    """

    def __init__(
        self,
        atlas: StoredAtlas,
        metadata: Mapping[str, Any],
        pool: Pool,
        progress: Progress,
    ) -> None:
        self._atlas, self._metadata, self._pool, self._progress = atlas, metadata, pool, progress
        volumes = {
            "annotation": atlas.levels,
            "template": atlas.template,
            "hemispheres": atlas.hemispheres,
        }
        self._volumes = {name: levels for name, levels in volumes.items() if levels}
        self._faults: list[Fault] = []
        self._checked_arrays: set[str] = set()
        # Objects of tables in parts, which the root does not prove.
        self._parts: set[str] = set()
        # Files may change between two runs under the same names.
        self._run = secrets.token_hex(8)

    def report(self) -> Report:
        """All faults of the store."""
        document = json.loads(self._atlas.location.read(ZARR_JSON) or b"")
        self._check_root(document)
        records = {k: ObjectRecord.from_json(v) for k, v in self._metadata["objects"].items()}
        self._faults += object_faults(self._atlas.location, records)
        self._check_parts()
        self._check_structures()
        for level, stored in enumerate(self._atlas.levels):
            self._check_coordinates(level, stored.grid)
        total = self._check_volumes()
        for path in sorted(self._atlas.arrays.keys() - self._checked_arrays):
            self._add(path, "is nothing that this version of refspace can prove")
        self._check_strays()
        return Report(self._atlas.location.url, total, tuple(self._faults), proven=True)

    def _add(self, key: str, what: str) -> None:
        self._faults.append(Fault(key, what))

    def _values(
        self, path: str, shape: tuple[int | None, ...], dtype: Any = None
    ) -> NDArray[Any] | None:
        """Values of a small array; None, and a fault, if they are not there."""
        self._checked_arrays.add(path)
        array = self._atlas.arrays.get(path)
        if array is None:
            self._add(path, "is missing from the metadata of the root")
            return None
        fits = len(shape) == array.ndim and all(
            count in (None, there) for count, there in zip(shape, array.shape, strict=True)
        )
        if not fits or (dtype is not None and array.dtype != dtype):
            self._add(path, f"is {array.dtype} of shape {array.shape}, which it should not be")
            return None
        told = {fault.key for fault in self._faults}
        if path in told or any(array.key(block_id) in told for block_id in array.boxes):
            return None
        try:
            return BlockReader(array).read_all()
        except FaultError as error:
            self._faults.append(error.fault)
            return None

    def _check_parts(self) -> None:
        """Prove the objects of tables in parts, by the tables of their records."""
        arrays = self._atlas.arrays
        # As these are made: the tables that prove others before those.
        for path in sorted(arrays, key=len, reverse=True):
            table = records_path(path)
            if not path.startswith("label_index/") or is_in_root(path) or table not in arrays:
                continue
            array = arrays[path]
            grid = tuple(map(len, array.blocks))
            records = self._values(table, (*grid, RECORD_BYTES), np.uint8)
            keys = [array.key(part) for part in np.ndindex(grid)]
            self._parts.update(keys)
            if records is None:
                self._add(path, "its parts cannot be proven: their records are damaged")
                continue
            rows = map(ObjectRecord.from_bytes, records.reshape(-1, RECORD_BYTES))
            self._faults += object_faults(self._atlas.location, dict(zip(keys, rows, strict=True)))

    # ----- what describes the voxels

    def _check_root(self, document: Mapping[str, Any]) -> None:
        """Prove the digest of the whole store; opening has proven that of its metadata."""
        first = self._atlas.levels[0]
        dtypes = {name: levels[0].array.dtype for name, levels in self._volumes.items()}
        zarr_array: Any = first.array.array
        grids = tuple(level.grid for level in self._atlas.levels)
        chunks, shards = zarr_array.chunks, zarr_array.shards
        layout = Layout(grids, chunks, shards, dtypes, self._atlas.midline)
        label = document["attributes"]["ome"]["image-label"]
        digest = json_digest([self._metadata.get("arrays"), label, layout.metadata])
        if digest != self._metadata.get("digest"):
            self._add(ZARR_JSON, "the digest of the store is not that of its contents")

    def _check_structures(self) -> None:
        structures = self._atlas.structures
        nodes = [] if structures is None else [*structures.records().values()]
        for name, column in structures_dataset(nodes).variables.items():
            dtype = None if column.dtype == object else column.dtype
            values = self._values(f"structures/{name}", column.shape, dtype)
            if values is not None and values.tolist() != column.values.tolist():
                self._add(f"structures/{name}", "is not what the image-label of the root says")

    def _check_coordinates(self, level: int, grid: Grid) -> None:
        for dim, count, spacing in zip(grid.dims, grid.shape, grid.spacing, strict=True):
            path = f"s{level}/{dim}"
            values = self._values(path, (count,), np.float64)
            expected = grid.coordinates(dim)
            if values is not None and not (abs(values - expected) < _TOLERANCE * spacing).all():
                self._add(path, "is not on the grid that the multiscales of the root state")

    # ----- voxels

    def _check_volumes(self) -> int:
        """Prove the voxels, and return the number of blocks."""
        self._check_grids()
        volumes = [
            [self._begin_level(name, level, stored) for level, stored in enumerate(levels)]
            for name, levels in self._volumes.items()
        ]
        # The coarsest first: it is read in no time, so that the first faults come early.
        proofs = [proof for levels in volumes for proof in reversed(levels)]
        total = sum(len(proof.blocks.array.boxes) for proof in proofs)
        self._done = 0
        for proof in proofs:
            self._check_level(proof, total)
        return total

    def _check_grids(self) -> None:
        """Find levels that are not halves of each other, as everything here takes them to be."""
        first = self._atlas.levels[0]
        expected = pyramid.level_grids(first.grid, first.array.block_shape)
        there = [[level.grid for level in levels] for levels in self._volumes.values()]
        if any(grids != expected for grids in there):
            self._add(ZARR_JSON, "its levels are not halves of each other")

    def _begin_level(self, name: str, level: int, stored: StoredLevel) -> LevelProof:
        """Take the records of a level's blocks, as far as these are proven themselves."""
        self._checked_arrays.add(stored.path)
        cells = index_cells(stored.grid, stored.array.blocks, self._atlas.midline)
        indexed = cells if name == "annotation" else None
        proof = LevelProof(name, level, BlockReader(stored.array), indexed)
        path, blocks = records_path(stored.path), proof.blocks.array.boxes
        shape = (*map(len, stored.array.blocks), RECORD_BYTES)
        table = self._values(path, shape, np.uint8)
        table = None if table is None else table.reshape(-1, RECORD_BYTES)
        if table is not None and self._is_digest(proof, table):
            records = map(ObjectRecord.from_bytes, table)
            proof.records = dict(zip(blocks, records, strict=True))
        elif table is not None:
            self._add(path, f"its records are not those of {stored.path}")
        return proof

    def _recorded(self, proof: LevelProof, what: str) -> Any:
        """Digest that the root has for a level."""
        return self._metadata.get("arrays", {}).get(proof.path, {}).get(what)

    def _is_digest(self, proof: LevelProof, records: NDArray[np.uint8]) -> bool:
        array = proof.blocks.array
        digest = array_digest(array.shape, array.dtype, array.blocks, records)
        return bool(digest == self._recorded(proof, "voxels"))

    def _check_level(self, proof: LevelProof, total: int) -> None:
        """Prove a level by its own digests, and its label index by its voxels.

        That each voxel is the mode or mean of those of the finer level is not looked at: a digest
        proves what the writer wrote, and what the writer makes of a level is tested there.
        """
        faults = {}
        array = proof.blocks.array
        prove = functools.partial(prove_block, array=array, cells=proof.cells)
        for record, findings in self._pool.results(
            prove,
            map(proof.record, proof.blocks.array.boxes),
            name=f"verify-{proof.path.replace('/', '-')}",
            token=functools.partial(self._token, proof),
        ):
            faults[record.block_id] = findings.faults
            if findings.measured is not None:
                proof.measured[record.block_id] = findings.measured
            if findings.rows is not None:
                proof.rows[record.block_id] = findings.rows
            self._done += 1
            self._progress(self._done, total)
        # In the order of the blocks, whichever was proven first.
        self._faults += [fault for block_id in sorted(faults) for fault in faults[block_id]]
        if not proof.records:
            self._check_as_a_whole(proof)
        if proof.cells is not None:
            self._check_index(proof, proof.cells)

    def _token(self, proof: LevelProof, record: BlockRecord) -> str:
        """What distinguishes proving a block from anything else, an earlier proof of it too."""
        token = (self._run, self._atlas.location.url, proof.path, record.block_id, record.record)
        return str(tokenize(token))

    def _check_as_a_whole(self, proof: LevelProof) -> None:
        """Prove the voxels of a level by the digest in the root, as the others are damaged."""
        measured = [proof.measured.get(block_id) for block_id in proof.blocks.array.boxes]
        whole = [record for record in measured if record is not None]
        if len(whole) < len(measured):
            self._add(proof.path, "its other chunks cannot be proven: their records are damaged")
        elif not self._is_digest(proof, table_of(whole)):
            what = "its chunks are not those that were written; which ones cannot be told"
            self._add(proof.path, what)

    def _check_index(self, proof: LevelProof, cells: Chunks) -> None:
        path = f"label_index/s{proof.level}/table"
        table = self._values(path, (len(FIELDS), None), np.int64)
        in_parts = self._recorded(proof, INDEX) is None
        whole = table is not None and self._is_of_voxels(proof, cells, table, in_parts=in_parts)
        if in_parts:
            self._check_index_parts(proof, cells, table if whole else None)
        elif table is not None and whole and array_sha256(table) != self._recorded(proof, INDEX):
            self._add(path, "is not the table that was written")

    def _is_of_voxels(
        self, proof: LevelProof, cells: Chunks, table: NDArray[np.int64], *, in_parts: bool
    ) -> bool:
        """Whether the index says what the voxels hold; a fault is told."""
        if in_parts:
            table = table[:, np.lexsort((table[LABEL], table[CHUNK]))]
        count = math.prod(map(len, cells))
        cell_rows = np.split(table, np.searchsorted(table[CHUNK], np.arange(1, count)), axis=1)
        wrong = []
        for block_id, rows in sorted(proof.rows.items()):
            # Every chunk of the index within the block has rows, if the index is true.
            recorded = [cell_rows[cell] for cell in np.unique(rows[CHUNK])]
            if not np.array_equal(np.concatenate(recorded, axis=1), rows):
                wrong.append(proof.blocks.array.key(block_id))
        if wrong:
            count = len(proof.blocks.array.boxes)
            what = f"differs from what {len(wrong)} of {count} chunks hold: {wrong[0]}"
            self._add(f"label_index/s{proof.level}/table", what + (", …" if len(wrong) > 1 else ""))
        return not wrong

    def _check_index_parts(
        self, proof: LevelProof, cells: Chunks, table: NDArray[np.int64] | None
    ) -> None:
        """Prove what is beside a table in parts; by the table too, where that is sound."""
        folder, shape = f"label_index/s{proof.level}", proof.blocks.array.shape
        spans = self._values(f"{folder}/spans", (2, None), np.int64)
        totals = self._values(f"{folder}/totals", (len(FIELDS), None), np.int64)
        records = self._values(f"{folder}/table_objects", (1, None, RECORD_BYTES), np.uint8)
        if totals is not None and array_sha256(totals) != self._recorded(proof, INDEX_TOTALS):
            self._add(f"{folder}/totals", "is not the table that was written")
            totals = None
        if spans is None or records is None:
            spans = None
        elif array_sha256(spans, records) != self._recorded(proof, INDEX_PARTS):
            self._add(f"{folder}/spans", "is not of the parts that were written")
            spans = None
        if table is None:
            return
        count = math.prod(map(len, cells))
        if ((table[CHUNK] < 0) | (table[CHUNK] >= count)).any():
            self._add(f"{folder}/table", f"has other chunks than the {count} that there are")
            return
        rows = self._atlas.arrays[f"{folder}/table"].block_shape[1]
        expected, places = split_table(table, [len(sizes) for sizes in cells], rows)
        if spans is not None and not (
            np.array_equal(table, expected) and np.array_equal(spans, places)
        ):
            self._add(f"{folder}/spans", "is not where the chunks are in the table")
        grid = self._atlas.levels[proof.level].grid
        coarse = total_cells(grid, cells, self._atlas.midline)
        if totals is not None and not _are_totals(totals, shape, cells, coarse, table):
            self._add(f"{folder}/totals", "its totals are not those of the table")

    # ----- files

    def _check_strays(self) -> None:
        """Find files that belong to nothing; only where listing a store costs little."""
        voxels = (levels[n].array for levels in self._volumes.values() for n in range(len(levels)))
        expected = {ZARR_JSON, *self._metadata["objects"], *self._parts}
        expected |= {array.key(block_id) for array in voxels for block_id in array.boxes}
        self._faults += stray_faults(self._atlas.location, expected)


def _are_totals(
    totals: NDArray[np.int64],
    shape: tuple[int, ...],
    cells: Chunks,
    coarse: Chunks,
    table: NDArray[np.int64],
) -> bool:
    """Whether a table has the totals of another one, whose chunks are in any order."""
    try:
        return bool(
            np.array_equal(
                LabelIndex.from_rows(shape, cells, [table]).coarsen(coarse).table, totals
            )
        )
    except RefspaceError:
        return False
