"""How far it reaches: what a volume of 400 million chunks costs, and what breaks first.

    python -m benchmarks.scale [--side 100]

Opens and queries a synthetic store of ``side``³ chunks, by default a million, whose label index is
whole, in parts: of its voxels, only those of one structure are written. What is measured on it per
chunk, and per row of the index, is multiplied for volumes that no machine here can hold. It prints
tables in Markdown; ``docs/scale.md`` shows what they said.
"""

import argparse
import functools
import math
import sys
import tempfile
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
from numpy.typing import NDArray

import refspace
from refspace.grid import Grid
from refspace.label_index import FIELDS, LabelIndex, cell_rows, large_chunks
from refspace.label_index.parts import part_order
from refspace.limits import LIMITS
from refspace.store import ome
from refspace.store.digests import FORMAT, index_cells, total_cells
from refspace.store.encode import encode_block
from refspace.store.location import Location
from refspace.store.metadata import Layout, Skeleton, put_index, put_records, put_structures
from refspace.store.object_records import RECORD_BYTES, ObjectRecord

# Voxels of a chunk of the synthetic volume along each axis: few, for they are not what is measured.
CHUNK = 8
# The structure that is written, and the chunks of its corners along each axis.
STRUCTURE, FIRST, LAST = 7, 1, 3
CHUNK_OF_STORES = 128
# Requests of a store of ours: opening; then the index, or its totals; of a crop the places of the
# parts, and their records, and the records of those of chunks.
OPENING_REQUESTS, COUNT_REQUESTS = 4, 1
# A structure of the size of a cortical area, cropped: the chunks of its box, along each axis and in
# all, and those that its border crosses.
SIDE_OF_BOX, CHUNKS_OF_BOX, CHUNKS_READ = 10, 1000, 300
# Rows of the index of a chunk: structures that one of 128 µm meets; and structures in all.
ROWS_PER_CHUNK, LABELS = 3, 1327
# As the store has them: columns of a part of the index; blocks whose records are one object, and
# else those of a part along each axis.
PART_ROWS, MOST_RECORDS, RECORDS_SIDE = 2**17, 2**16, 32
# Parts of a table that are kept, and read at the same time.
MOST_KEPT, GROUP = 64 * 2**20, 4
VOLUMES = {
    "mouse, 10 µm": (1320, 800, 1140),
    "mouse, 1 µm": (13_200, 8_000, 11_400),
    "human, 1 µm": (100_000, 80_000, 110_000),
}


@dataclass(frozen=True)
class Measured:
    """Processor time in seconds, of a volume of some number of chunks, and memory in bytes."""

    chunks: int
    rows: int
    parts: int
    opening: float
    index: float
    block_labels: float
    count: float
    count_memory: int
    cropped_mask: float
    cropped_again: float
    cropped_memory: int
    cropped_reads: int
    cropped_tasks: int
    whole_mask: float
    sliced: float


# ----- the synthetic store


@contextmanager
def synthetic_store(side: int) -> Iterator[str]:
    """Store of ``side``³ chunks with a label index, in which one structure has voxels.

    Of its chunks those of the structure alone are written; what would prove the others is random.
    """
    grid = Grid((side * CHUNK,) * 3, (1, 1, 1))
    layout = Layout(
        (grid,), (CHUNK,) * 3, None, {"annotation": np.dtype("u4")}, midline=grid.middle
    )
    with tempfile.TemporaryDirectory() as folder:
        location = Location(str(Path(folder, "atlas.zarr")))
        skeleton, path = Skeleton(layout), "s0/annotation"
        array = skeleton.array_at(location, path)
        rng = np.random.default_rng(0)
        records = rng.integers(0, 256, (side, side, side, RECORD_BYTES), np.uint8)
        blocks = structure_blocks()
        for block_id, voxels in blocks.items():
            data = encode_block(array.array, voxels)
            location.write(array.key(block_id), data)
            records[block_id] = np.frombuffer(ObjectRecord.of(data).to_bytes(), np.uint8)
        cells = index_cells(grid, array.blocks, layout.midline)
        index = synthetic_index(grid, cells, blocks)
        digests = put_index(skeleton, "s0", index, total_cells(grid, cells, layout.midline))
        put_records(skeleton, path, records)
        skeleton.put_coordinates({})
        put_structures(skeleton, _tree().nodes())
        own = {"format": FORMAT, "complete": True, "arrays": {path: {"voxels": "", **digests}}}
        own |= {"provenance": {}, "midline": layout.midline, "midline_from": "", "digest": ""}
        image = ome.label_attributes("annotation", layout.paths("annotation"), _tree().nodes())
        for key, data in skeleton.finish({"ome": image, "refspace": own}).items():
            location.write(key, data)
        yield location.url


def _tree() -> refspace.StructureTree:
    return refspace.StructureTree(
        [{"id": STRUCTURE, "acronym": "S", "name": "Structure", "structure_id_path": [STRUCTURE]}]
    )


def structure_blocks() -> dict[tuple[int, ...], NDArray[np.uint32]]:
    """The chunks that have voxels of the structure: a cube that begins and ends within chunks."""
    corner = range((LAST - FIRST) * CHUNK)
    size = len(corner)
    voxels = np.zeros((size,) * 3, np.uint32)
    voxels[1:-1, 1:-1, 1:-1] = STRUCTURE
    return {
        tuple(FIRST + i for i in place): voxels[
            tuple(slice(CHUNK * i, CHUNK * (i + 1)) for i in place)
        ]
        for place in np.ndindex((LAST - FIRST,) * 3)
    }


def synthetic_index(
    grid: Grid,
    cells: Sequence[Sequence[int]],
    blocks: Mapping[tuple[int, ...], NDArray[np.uint32]],
) -> LabelIndex:
    """Label index of a volume in which there is nothing but some blocks."""
    parts = [
        cell_rows(voxels, [CHUNK * i for i in block_id], cells)
        for block_id, voxels in blocks.items()
    ]
    met = np.unique(np.concatenate([rows[0] for rows in parts]))
    others = np.delete(np.arange(math.prod(map(len, cells))), met)
    parts.append(_background_rows(others, cells))
    return LabelIndex.from_rows(grid.shape, cells, parts)


def _background_rows(chunks: NDArray[np.intp], cells: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    """Rows of chunks in which there is nothing."""
    edges = [np.cumsum((0, *sizes)) for sizes in cells]
    positions = np.unravel_index(chunks, tuple(map(len, cells)))
    start, stop = (
        np.stack([ends[i + by] for ends, i in zip(edges, positions, strict=True)]) for by in (0, 1)
    )
    count = (stop - start).prod(axis=0)
    rows = np.zeros((len(FIELDS), chunks.size), np.int64)
    rows[0], rows[2] = chunks, count
    rows[3:6], rows[6:9] = start, stop
    rows[9:12] = (start + stop - 1) * count // 2
    return rows


# ----- measuring


def seconds(function: Callable[[], Any]) -> float:
    """Processor time that a call takes."""
    start = time.process_time()
    function()
    return time.process_time() - start


def peak_bytes(function: Callable[[], Any]) -> int:
    """Most bytes that a call holds beyond those before it."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@contextmanager
def counted_reads() -> Iterator[Counter[str]]:
    """How often each object of a store is read."""
    seen: Counter[str] = Counter()
    read = Location.read

    def counted(self: Location, key: str, limit: int | None = None) -> bytes | None:
        seen[key] += 1
        return read(self, key, limit)

    Location.read = counted  # type: ignore[method-assign]
    try:
        yield seen
    finally:
        Location.read = read  # type: ignore[method-assign]


def measure(side: int) -> Measured:
    """Measure a synthetic volume of ``side``³ chunks."""
    with synthetic_store(side) as url:
        _crop(refspace.open(url))  # once before: the first call of a process imports
        memory = [peak_bytes(functools.partial(ask, refspace.open(url))) for ask in (_count, _crop)]
        with counted_reads() as reads:
            _crop(refspace.open(url))
        start = time.process_time()
        space = refspace.open(url)
        opening = time.process_time() - start
        count = seconds(lambda: _count(space))
        cropped, again = (seconds(lambda: _crop(space)) for _ in range(2))
        _check(space)
        graph = space.make_structure_mask("S", crop=True).data.__dask_graph__()
        labels = seconds(lambda: space.block_labels)
        index = space.label_index
        table = index.table
        indexed = seconds(lambda: LabelIndex(index.shape, index.chunks, table))
        whole = seconds(lambda: space.make_structure_mask("S"))
        part = space.annotation.data[(slice(FIRST * CHUNK, (FIRST + 1) * CHUNK),) * 3]
        return Measured(
            chunks=math.prod(space.annotation.data.numblocks),
            rows=table.shape[1],
            parts=-(-table.shape[1] // PART_ROWS),
            opening=opening,
            index=indexed,
            block_labels=labels,
            count=count,
            count_memory=memory[0],
            cropped_mask=cropped,
            cropped_again=again,
            cropped_memory=memory[1],
            cropped_reads=sum(key.startswith("label_index/s0/table/") for key in reads),
            cropped_tasks=len(graph),
            whole_mask=whole,
            sliced=seconds(lambda: dask.array.Array.compute(part, scheduler="sync")),
        )


def _count(space: refspace.ReferenceSpace) -> object:
    return space.total_voxel_map


def _crop(space: refspace.ReferenceSpace) -> object:
    return space.make_structure_mask("S", crop=True).compute()


def _check(space: refspace.ReferenceSpace) -> None:
    """What is measured has to be right."""
    voxels = ((LAST - FIRST) * CHUNK - 2) ** 3
    mask = space.make_structure_mask("S", crop=True).compute()
    assert space.total_voxel_map == {STRUCTURE: voxels}
    assert mask.size == int(mask.sum()) == voxels


# ----- planning


@dataclass(frozen=True)
class Plan:
    """What a volume takes, in bytes, numbers and seconds of processor time."""

    voxels: int
    chunks: int
    opening_bytes: int
    count_bytes: int
    crop_requests: int
    crop_parts: int
    crop_bytes: int
    record_parts: int
    index_bytes: int
    records_bytes: int
    label_bytes: int
    index_seconds: float
    mask_seconds: float
    slice_seconds: float
    is_within_limit: bool


def plan(shape: Sequence[int], measured: Measured) -> Plan:
    """Plan a volume from what was measured on another."""
    numblocks = [-(-count // CHUNK_OF_STORES) for count in shape]
    chunks = math.prod(numblocks)
    rows = chunks * ROWS_PER_CHUNK
    parts, of_records = parts_of_box(numblocks), record_parts_of_box(numblocks)
    all_parts, all_records = -(-rows // PART_ROWS), record_parts(numblocks)
    # Where the parts are, and what proves them; and what proves those of records.
    beside = (16 + RECORD_BYTES) * all_parts if all_parts > 1 else 0
    beside += RECORD_BYTES * all_records if all_records > 1 else 0
    row_bytes, part_rows = len(FIELDS) * 8, min(rows, PART_ROWS)
    # All parts of a group beside those that are kept; and the rows of the box, which are few.
    part_bytes = min(parts * part_rows * row_bytes, MOST_KEPT + GROUP * part_rows * row_bytes)
    record_bytes = RECORD_BYTES * (chunks if all_records == 1 else RECORDS_SIDE**3 * of_records)
    return Plan(
        voxels=math.prod(shape),
        chunks=chunks,
        # Sizes of the chunks along each axis, and the coordinates.
        opening_bytes=8 * (sum(numblocks) + sum(shape)),
        count_bytes=total_rows(shape) * row_bytes if all_parts > 1 else rows * row_bytes,
        crop_requests=CHUNKS_READ
        + (parts + 2 if all_parts > 1 else 0)
        + of_records
        + (all_records > 1),
        crop_parts=parts,
        crop_bytes=part_bytes + record_bytes + beside,
        record_parts=of_records,
        index_bytes=rows * row_bytes,
        records_bytes=chunks * RECORD_BYTES,
        # Labels of chunks: where those of each begin, the labels, counts and boxes.
        label_bytes=8 * chunks + (4 + 8 + 48) * rows,
        index_seconds=measured.index / measured.rows * rows,
        mask_seconds=measured.whole_mask / measured.chunks * chunks,
        slice_seconds=measured.sliced / measured.chunks * chunks,
        is_within_limit=chunks <= LIMITS["blocks"].default,
    )


def parts_of_box(numblocks: Sequence[int]) -> int:
    """Parts of the index that have the chunks of a box, at most."""
    ids = np.ravel_multi_index(np.ix_(*_box(numblocks)), tuple(numblocks))
    # As if all boxes of the order were whole: those at the ends have fewer chunks.
    first = part_order(ids.ravel(), numblocks) * ROWS_PER_CHUNK
    parts = np.concatenate((first, first + ROWS_PER_CHUNK - 1)) // PART_ROWS
    return 1 if math.prod(numblocks) * ROWS_PER_CHUNK <= PART_ROWS else np.unique(parts).size


def record_parts(numblocks: Sequence[int]) -> int:
    """Parts of the records of all chunks."""
    if math.prod(numblocks) <= MOST_RECORDS:
        return 1
    return math.prod(-(-count // RECORDS_SIDE) for count in numblocks)


def record_parts_of_box(numblocks: Sequence[int]) -> int:
    """Parts of the records of the chunks of a box, at most."""
    if record_parts(numblocks) == 1:
        return 1
    return math.prod(np.unique(along // RECORDS_SIDE).size for along in _box(numblocks))


def _box(numblocks: Sequence[int]) -> list[NDArray[np.intp]]:
    """Chunks of a structure along each axis, near the middle, where they meet most parts."""
    sides = [min(count, SIDE_OF_BOX) for count in numblocks]
    starts = [
        max(0, count // 2 // RECORDS_SIDE * RECORDS_SIDE - side // 2)
        for count, side in zip(numblocks, sides, strict=True)
    ]
    return [np.arange(start, start + side) for start, side in zip(starts, sides, strict=True)]


def total_rows(shape: Sequence[int]) -> int:
    """Rows of the totals, if each structure is in each of their large chunks."""
    cells = tuple((CHUNK_OF_STORES,) * (count // CHUNK_OF_STORES) for count in shape)
    whole = tuple((sum(sizes),) for sizes in cells)
    cut = (*whole[:2], (whole[2][0] // 2 // CHUNK_OF_STORES * CHUNK_OF_STORES,) * 2)
    cut = (*cut[:2], (cut[2][0], whole[2][0] - cut[2][0]))
    return LABELS * math.prod(map(len, large_chunks(cells, cut)))


# ----- tables


def bytes_text(count: float) -> str:
    """Number of bytes for people.

    Examples
    --------
    >>> bytes_text(2048), bytes_text(3 * 2**30)
    ('2 KiB', '3 GiB')
    """
    units = ["B", "KiB", "MiB", "GiB", "TiB"]
    power = min(int(math.log2(max(count, 1)) // 10), len(units) - 1)
    return f"{count / 1024**power:.3g} {units[power]}"


def seconds_text(value: float) -> str:
    """Time for people.

    Examples
    --------
    >>> seconds_text(0.0123), seconds_text(123.4), seconds_text(4000)
    ('0.012 s', '123 s', '67 min')
    """
    if value >= 600:
        return f"{value / 60:.0f} min"
    return f"{value:.0f} s" if value >= 10 else f"{value:.2g} s"


def measured_table(measured: Measured) -> str:
    """Table of what was measured."""
    rows = [
        ("opening", seconds_text(measured.opening)),
        ("counts of all structures", seconds_text(measured.count)),
        ("… most memory", bytes_text(measured.count_memory)),
        ("mask of the structure, cropped", seconds_text(measured.cropped_mask)),
        ("… most memory", bytes_text(measured.cropped_memory)),
        ("… parts of the index read", f"{measured.cropped_reads} of {measured.parts}"),
        ("… tasks of its graph", f"{measured.cropped_tasks}"),
        ("… the same again", seconds_text(measured.cropped_again)),
        ("labels of all chunks, by all parts", seconds_text(measured.block_labels)),
        ("all checks of the table as a whole", seconds_text(measured.index)),
        ("graph of its mask in the whole volume", seconds_text(measured.whole_mask)),
        ("one chunk, by a slice of the dask array", seconds_text(measured.sliced)),
    ]
    lines = [
        f"| {measured.chunks:,} chunks, {measured.rows:,} rows | processor time |",
        "|---|---:|",
    ]
    return "\n".join([*lines, *(f"| {name} | {value} |" for name, value in rows)])


def plan_table(plans: dict[str, Plan]) -> str:
    """Table of what volumes take."""
    yes = {True: "yes", False: "**no**"}
    rows: dict[str, Callable[[Plan], str]] = {
        "voxels": lambda p: f"{p.voxels:.2g}",
        "chunks of 128³": lambda p: f"{p.chunks:,}",
        "… within the limit `blocks`": lambda p: yes[p.is_within_limit],
        "opening: requests": lambda p: str(OPENING_REQUESTS),
        "… memory": lambda p: bytes_text(p.opening_bytes),
        "all counts: requests beyond these": lambda p: str(COUNT_REQUESTS),
        "… memory, of the totals": lambda p: bytes_text(p.count_bytes),
        "a cropped mask: requests beyond these, at most": lambda p: str(p.crop_requests),
        "… of these, parts of the index": lambda p: str(p.crop_parts),
        "… and of the records of chunks": lambda p: str(p.record_parts),
        "… memory, of all tables": lambda p: bytes_text(p.crop_bytes),
        "… tasks of its graph": lambda p: str(CHUNKS_OF_BOX + CHUNKS_READ),
        "the whole label index, in memory": lambda p: bytes_text(p.index_bytes),
        "… checking it": lambda p: seconds_text(p.index_seconds),
        "… labels of all chunks": lambda p: bytes_text(p.label_bytes),
        "records of all chunks": lambda p: bytes_text(p.records_bytes),
        "graph of a mask in the whole volume": lambda p: seconds_text(p.mask_seconds),
        "one chunk, by a slice of the dask array": lambda p: seconds_text(p.slice_seconds),
    }
    lines = [f"| | {' | '.join(plans)} |", "|---|" + "---:|" * len(plans)]
    for name, text in rows.items():
        lines.append(f"| {name} | {' | '.join(text(each) for each in plans.values())} |")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--side", type=int, default=100, help="chunks along each axis (100)")
    side = parser.parse_args(arguments).side
    if side <= LAST:
        parser.error(f"--side is {side}; give {LAST + 1} or more")
    measured = measure(side)
    print(measured_table(measured))
    print()
    print(plan_table({name: plan(shape, measured) for name, shape in VOLUMES.items()}))


if __name__ == "__main__":
    main(sys.argv[1:])
