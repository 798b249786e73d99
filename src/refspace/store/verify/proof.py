"""Proving a store of refspace, from every file of it."""

import functools
import hashlib
import json
import math
import secrets
from collections.abc import Mapping
from typing import Any

import numpy as np
from dask.tokenize import tokenize
from numpy.typing import NDArray

from refspace.errors import StoreError
from refspace.grid import Grid
from refspace.label_index import FIELDS, Chunks
from refspace.pools import Pool
from refspace.store import pyramid
from refspace.store.location import map_concurrently
from refspace.store.metadata import Layout, digest_of, index_cells, voxel_digest
from refspace.store.read import StoredAtlas, StoredLevel
from refspace.store.report import Fault, FaultError, Report, said
from refspace.store.tables import structures_dataset
from refspace.store.verify.levels import Blocks, Family, Level, families_of, prove
from refspace.store.write import Progress
from refspace.store.zarr_files import ZARR_JSON

# Of a voxel: coordinates may be given, and then are those of the grid to rounding alone.
_TOLERANCE = 1e-3


class Proof:
    """Proves a store of refspace.

    Parameters
    ----------
    atlas
        The store.
    facts
        What refspace wrote about it.
    pool
        Who proves the voxels.
    progress
        Called with the numbers of blocks done and to be done.
    """

    def __init__(
        self,
        atlas: StoredAtlas,
        facts: Mapping[str, Any],
        pool: Pool,
        progress: Progress,
    ) -> None:
        self._atlas, self._facts, self._pool, self._progress = atlas, facts, pool, progress
        volumes = {
            "annotation": atlas.levels,
            "template": atlas.template,
            "hemispheres": atlas.hemispheres,
        }
        self._volumes = {name: levels for name, levels in volumes.items() if levels}
        self._faults: list[Fault] = []
        # Arrays that were looked at.
        self._known: set[str] = set()
        # Files may change between two runs, and their names do not tell.
        self._run = secrets.token_hex(8)

    def report(self) -> Report:
        """All faults of the store."""
        document = json.loads(self._atlas.location.read(ZARR_JSON) or b"")
        nodes = document["consolidated_metadata"]["metadata"]
        self._check_root(document)
        self._check_nodes(nodes)
        self._check_structures()
        for number, level in enumerate(self._atlas.levels):
            self._check_coordinates(number, level.grid)
        total = self._check_volumes()
        for path in sorted(self._atlas.arrays.keys() - self._known):
            self._found(path, "is nothing that this version of refspace can prove")
        self._check_strays(nodes)
        return Report(self._atlas.location.url, total, tuple(self._faults), proven=True)

    def _found(self, key: str, what: str) -> None:
        self._faults.append(Fault(key, what))

    def _values(
        self, path: str, shape: tuple[int | None, ...], dtype: Any = None
    ) -> NDArray[Any] | None:
        """Values of a small array; None, and a fault, if they are not there."""
        self._known.add(path)
        array = self._atlas.arrays.get(path)
        if array is None:
            self._found(path, "is missing from the metadata of the root")
            return None
        fits = len(shape) == array.ndim and all(
            count in (None, there) for count, there in zip(shape, array.shape, strict=True)
        )
        if not fits or (dtype is not None and array.dtype != dtype):
            self._found(path, f"is {array.dtype} of shape {array.shape}, which it should not be")
            return None
        try:
            return Blocks(array).values()
        except FaultError as error:
            self._faults.append(error.fault)
            return None

    # ----- what describes the voxels

    def _check_root(self, document: Mapping[str, Any]) -> None:
        """Prove what the digest of the metadata, which was proven in opening, leaves out."""
        first = self._atlas.levels[0]
        dtypes = {name: levels[0].array.dtype for name, levels in self._volumes.items()}
        zarr_array: Any = first.array.array
        grids = tuple(level.grid for level in self._atlas.levels)
        chunks, shards = zarr_array.chunks, zarr_array.shards
        layout = Layout(grids, chunks, shards, dtypes, self._atlas.midline)
        label = document["attributes"]["ome"]["image-label"]
        digest = digest_of([self._facts.get("arrays"), label, layout.facts])
        if digest != self._facts.get("digest"):
            self._found(ZARR_JSON, "the digest of the store is not that of its contents")

    def _check_nodes(self, nodes: Mapping[str, Mapping[str, Any]]) -> None:
        """Prove that whoever opens a node by itself reads what the root says of it."""
        # Small files, of which each is mostly waited for.
        for faults in map_concurrently(self._node_faults, list(nodes.items())):
            self._faults += faults

    def _node_faults(self, item: tuple[str, Mapping[str, Any]]) -> list[Fault]:
        key = f"{item[0]}/{ZARR_JSON}"
        expected = {k: v for k, v in item[1].items() if k != "consolidated_metadata"}
        try:
            data = self._atlas.location.read(key)
            same = data is not None and json.loads(data) == expected
        except StoreError as error:
            return [Fault(key, said(error, self._atlas.location, key))]
        except (ValueError, RecursionError) as error:
            return [Fault(key, f"is no JSON: {error}")]
        if data is None:
            return [Fault(key, "is missing")]
        return [] if same else [Fault(key, "is not what the metadata of the root says")]

    def _check_structures(self) -> None:
        for name, column in structures_dataset(self._atlas.nodes or ()).variables.items():
            dtype = None if column.dtype == object else column.dtype
            values = self._values(f"structures/{name}", column.shape, dtype)
            if values is not None and values.tolist() != column.values.tolist():
                self._found(f"structures/{name}", "is not what the image-label of the root says")

    def _check_coordinates(self, number: int, grid: Grid) -> None:
        for dim, count, spacing in zip(grid.dims, grid.shape, grid.spacing, strict=True):
            path = f"s{number}/{dim}"
            values = self._values(path, (count,), np.float64)
            expected = grid.coordinates(dim)
            if values is not None and not (abs(values - expected) < _TOLERANCE * spacing).all():
                self._found(path, "is not on the grid that the multiscales of the root state")

    # ----- voxels

    def _check_volumes(self) -> int:
        """Prove the voxels, and return the number of blocks."""
        halved = self._are_halved()
        stacks = [
            [self._level(name, number, stored) for number, stored in enumerate(levels)]
            for name, levels in self._volumes.items()
        ]
        total = sum(len(level.blocks.boxes) for levels in stacks for level in levels)
        self._done = 0
        for levels in stacks:
            # The coarsest first: what is damaged itself is not held against what it is made of.
            for level, coarser in zip(levels[::-1], [None, *levels[:0:-1]], strict=True):
                self._check_level(level, coarser if halved else None, total)
        return total

    def _are_halved(self) -> bool:
        first = self._atlas.levels[0]
        expected = pyramid.level_grids(first.grid, first.array.block_shape)
        there = [[level.grid for level in levels] for levels in self._volumes.values()]
        if all(grids == expected for grids in there):
            return True
        self._found(ZARR_JSON, "its levels are not halves of each other")
        return False

    def _level(self, name: str, number: int, stored: StoredLevel) -> Level:
        """A level with what is recorded of its blocks, as far as that is proven."""
        self._known.add(stored.path)
        cells = index_cells(stored.grid, stored.array.blocks, self._atlas.midline)
        indexed = cells if name == "annotation" else None
        level = Level(name, number, Blocks(stored.array), indexed)
        group, blocks = f"label_index/s{number}/{name}", level.blocks.boxes
        digests = self._values(f"{group}_sha256", (len(blocks), 32), np.uint8)
        if digests is not None and self._is_digest(level, digests.tobytes()):
            level.sha256 = {n: row.tobytes() for n, row in zip(blocks, digests, strict=True)}
        elif digests is not None:
            self._found(f"{group}_sha256", f"its digests are not those of {stored.path}")
        sizes = self._values(f"{group}_stored_bytes", (len(blocks),), np.int64)
        if sizes is not None:
            level.stored_bytes = dict(zip(blocks, sizes.tolist(), strict=True))
        return level

    def _recorded(self, level: Level, what: str) -> Any:
        """Digest that the root has for a level."""
        return self._facts.get("arrays", {}).get(level.path, {}).get(what)

    def _is_digest(self, level: Level, sha256: bytes) -> bool:
        array = level.blocks.array
        found = voxel_digest(array.shape, array.dtype, array.blocks, sha256)
        return bool(found == self._recorded(level, "voxels"))

    def _check_level(self, level: Level, coarser: Level | None, total: int) -> None:
        faults = {}
        families = enumerate(families_of(level, coarser))
        token = functools.partial(self._token, level)
        for (place, family), found in self._pool.results(
            prove, families, name=f"verify-{level.path.replace('/', '-')}", token=token
        ):
            faults[place] = found.faults
            level.measured |= found.measured
            level.rows |= found.rows
            self._done += len(family.members)
            self._progress(self._done, total)
        # In the order of the blocks, whichever was proven first.
        self._faults += [fault for place in sorted(faults) for fault in faults[place]]
        if not level.sha256:
            self._check_as_a_whole(level)
        if level.cells is not None:
            self._check_index(level, level.cells)

    def _token(self, level: Level, numbered: tuple[int, Family]) -> str:
        """What tells proving a family from anything else; not what was proven at another time."""
        members = [(record.number, record.sha256) for record in numbered[1].members]
        return str(tokenize(self._run, self._atlas.location.url, level.path, members))

    def _check_as_a_whole(self, level: Level) -> None:
        """Prove the voxels of a level by the digest in the root, as the others are damaged."""
        measured = [level.measured.get(number) for number in level.blocks.boxes]
        if None in measured:
            self._found(level.path, "its other chunks cannot be proven: their digests are damaged")
        elif not self._is_digest(level, b"".join(filter(None, measured))):
            what = "its voxels are not those that were written; which chunks cannot be told"
            self._found(level.path, what)

    def _check_index(self, level: Level, cells: Chunks) -> None:
        path, numbers = f"label_index/s{level.number}/table", level.blocks.boxes
        table = self._values(path, (len(FIELDS), None), np.int64)
        if table is None:
            return
        count = math.prod(map(len, cells))
        of_cells = np.split(table, np.searchsorted(table[0], np.arange(1, count)), axis=1)
        wrong = []
        for number, rows in sorted(level.rows.items()):
            # Every chunk of the index that lies in the block has rows, if it is true.
            recorded = [of_cells[cell] for cell in np.unique(rows[0])]
            if not np.array_equal(np.concatenate(recorded, axis=1), rows):
                wrong.append(level.blocks.array.key(number))
        if wrong:
            what = f"differs from what {len(wrong)} of {len(numbers)} chunks hold: {wrong[0]}"
            self._found(path, what + (", …" if len(wrong) > 1 else ""))
        elif hashlib.sha256(table.tobytes()).hexdigest() != self._recorded(level, "label_index"):
            self._found(path, "is not the table that was written")

    # ----- files

    def _check_strays(self, nodes: Mapping[str, Any]) -> None:
        """Find what belongs to nothing; only where listing a store costs little."""
        if self._atlas.location.local_path is None:
            return
        expected = {ZARR_JSON, *(f"{path}/{ZARR_JSON}" for path in nodes)}
        for array in self._atlas.arrays.values():
            expected.update(map(array.key, Blocks(array).boxes))
        for key in sorted(self._atlas.location.keys() - expected):
            self._found(key, "belongs to nothing in the store; remove it")
