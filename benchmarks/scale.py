"""How far it reaches: what a volume of 400 million chunks costs, and what breaks first.

    python -m benchmarks.scale [--side 100]

Opens and queries a synthetic volume of ``side``³ chunks, by default a million, whose label index
is whole: of its voxels, only those of one structure are written. What is measured on it per chunk,
and per row of the index, is multiplied for volumes that no machine here can hold. It prints tables
in Markdown; ``docs/scale.md`` shows what they said.
"""

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import zarr
from numpy.typing import NDArray

import refspace
from refspace.label_index import FIELDS, LabelIndex, chunk_rows
from refspace.labels import LabelVolume
from refspace.labels.knowledge import BlockKnowledge, Once
from refspace.limits import LIMITS
from refspace.store.object_records import RECORD_BYTES

# Voxels of a chunk of the synthetic volume along each axis: few, for they are not what is measured.
CHUNK = 8
# The structure that is written, and the chunks of its corners along each axis.
STRUCTURE, FIRST, LAST = 7, 1, 3
CHUNK_OF_STORES = 128
# Requests of a store of ours: opening; then the index, and the records of its chunks, once each.
OPENING_REQUESTS, INDEX_REQUESTS, RECORDS_REQUESTS = 4, 1, 1
# A structure of the size of a cortical area, cropped: the chunks of its box, and those that its
# border crosses.
CHUNKS_OF_BOX, CHUNKS_READ = 1000, 300
# Rows of the index of a chunk: structures that one of 128 µm meets.
ROWS_PER_CHUNK = 3
VOLUMES = {
    "mouse, 10 µm": (1320, 800, 1140),
    "mouse, 1 µm": (13_200, 8_000, 11_400),
    "human, 1 µm": (100_000, 80_000, 110_000),
}


@dataclass(frozen=True)
class Measured:
    """Processor time in seconds, of a volume of some number of chunks."""

    chunks: int
    rows: int
    opening: float
    index: float
    block_labels: float
    count: float
    cropped_mask: float
    cropped_tasks: int
    whole_mask: float
    sliced: float


# ----- the synthetic volume


@contextmanager
def synthetic_space(side: int) -> Iterator[refspace.ReferenceSpace]:
    """Space of ``side``³ chunks with a label index, in which one structure has voxels.

    Nothing but the chunks of the structure is written; all others are missing, as zarr has chunks
    of the fill value.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "labels.zarr")
        shape = (side * CHUNK,) * 3
        array = zarr.create_array(path, shape=shape, chunks=(CHUNK,) * 3, dtype="u4", fill_value=0)
        begin, end = FIRST * CHUNK + 1, LAST * CHUNK - 1
        array[(slice(begin, end),) * 3] = STRUCTURE
        yield refspace.open(path, structures=_tree(), resolution=1, orientation="PIR")


def _tree() -> refspace.StructureTree:
    return refspace.StructureTree(
        [{"id": STRUCTURE, "acronym": "S", "name": "Structure", "structure_id_path": [STRUCTURE]}]
    )


def synthetic_index(volume: LabelVolume) -> LabelIndex:
    """Label index of a synthetic volume, of which only the chunks of the structure are read."""
    chunks: tuple[tuple[int, ...], ...] = volume.chunks
    shape = tuple(map(len, chunks))
    corner = range(FIRST, LAST)
    met = [(i, j, k) for i in corner for j in corner for k in corner]
    flat = np.ravel_multi_index(np.transpose(met), shape)
    others = np.delete(np.arange(math.prod(shape)), flat)
    parts = [_background_rows(others, shape)]
    for block_id, chunk in zip(met, flat.tolist(), strict=True):
        first = [CHUNK * i for i in block_id]
        voxels = volume.labels.data[tuple(slice(f, f + CHUNK) for f in first)].compute()
        parts.append(chunk_rows(voxels, chunk, first))
    return LabelIndex.from_rows(volume.grid.shape, chunks, parts)


def _background_rows(chunks: NDArray[np.intp], shape: Sequence[int]) -> NDArray[np.int64]:
    """Rows of chunks in which there is nothing."""
    start = CHUNK * np.stack(np.unravel_index(chunks, tuple(shape)))
    count = CHUNK**3
    rows = np.zeros((len(FIELDS), chunks.size), np.int64)
    rows[0], rows[2] = chunks, count
    rows[3:6], rows[6:9] = start, start + CHUNK
    rows[9:12] = (2 * start + CHUNK - 1) * count // 2
    return rows


def with_index(space: refspace.ReferenceSpace, index: LabelIndex) -> refspace.ReferenceSpace:
    """The same space, of whose chunks an index is known."""
    volume = space.volume
    known = BlockKnowledge.indexed(Once.from_value(index), volume.chunks)
    return refspace.ReferenceSpace.from_volume(space.structure_tree, volume.with_knowledge(known))


# ----- measuring


def seconds(function: Callable[[], Any]) -> float:
    """Processor time that a call takes."""
    start = time.process_time()
    function()
    return time.process_time() - start


def measure(side: int) -> Measured:
    """Measure a synthetic volume of ``side``³ chunks."""
    start = time.process_time()
    with synthetic_space(side) as bare:
        opening = time.process_time() - start
        index = synthetic_index(bare.volume)
        table = index.table
        indexed = seconds(lambda: LabelIndex(index.shape, index.chunks, table))
        space = with_index(bare, index)
        labels = seconds(lambda: space.block_labels)
        count = seconds(lambda: space.total_voxel_map)
        _check(space)
        # Once before: the first call of a process imports.
        space.make_structure_mask("S", crop=True).compute()
        cropped = seconds(lambda: space.make_structure_mask("S", crop=True).compute())
        graph = space.make_structure_mask("S", crop=True).data.__dask_graph__()
        whole = seconds(lambda: space.make_structure_mask("S"))
        part = space.annotation.data[:CHUNK, :CHUNK, :CHUNK]
        return Measured(
            chunks=math.prod(space.annotation.data.numblocks),
            rows=table.shape[1],
            opening=opening,
            index=indexed,
            block_labels=labels,
            count=count,
            cropped_mask=cropped,
            cropped_tasks=len(graph),
            whole_mask=whole,
            sliced=seconds(lambda: dask.array.Array.compute(part, scheduler="sync")),
        )


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
    index_bytes: int
    records_bytes: int
    label_bytes: int
    index_seconds: float
    mask_seconds: float
    slice_seconds: float
    has_exact_sums: bool
    is_within_limit: bool


def plan(shape: Sequence[int], measured: Measured) -> Plan:
    """Plan a volume from what was measured on another."""
    chunks = math.prod(-(-count // CHUNK_OF_STORES) for count in shape)
    rows = chunks * ROWS_PER_CHUNK
    return Plan(
        voxels=math.prod(shape),
        chunks=chunks,
        # Sizes of the chunks along each axis, and the coordinates.
        opening_bytes=8 * sum(-(-count // CHUNK_OF_STORES) + count for count in shape),
        index_bytes=rows * len(FIELDS) * 8,
        records_bytes=chunks * RECORD_BYTES,
        # Labels of chunks: where those of each begin, and the labels.
        label_bytes=8 * chunks + 4 * rows,
        index_seconds=measured.index / measured.rows * rows,
        mask_seconds=measured.whole_mask / measured.chunks * chunks,
        slice_seconds=measured.sliced / measured.chunks * chunks,
        has_exact_sums=math.prod(shape) * max(shape) < 2**62,
        is_within_limit=chunks <= LIMITS["blocks"].default,
    )


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
    rows = {
        "opening": seconds_text(measured.opening),
        "making the index of its table, with all checks": seconds_text(measured.index),
        "labels of all chunks": seconds_text(measured.block_labels),
        "counts of all structures": seconds_text(measured.count),
        "mask of the structure, cropped": seconds_text(measured.cropped_mask),
        "… tasks of its graph": f"{measured.cropped_tasks}",
        "graph of its mask in the whole volume": seconds_text(measured.whole_mask),
        "one chunk, by a slice of the dask array": seconds_text(measured.sliced),
    }
    lines = [
        f"| {measured.chunks:,} chunks, {measured.rows:,} rows | processor time |",
        "|---|---:|",
    ]
    return "\n".join([*lines, *(f"| {name} | {value} |" for name, value in rows.items())])


def plan_table(plans: dict[str, Plan]) -> str:
    """Table of what volumes take."""
    yes = {True: "yes", False: "**no**"}
    rows: dict[str, Callable[[Plan], str]] = {
        "voxels": lambda p: f"{p.voxels:.2g}",
        "chunks of 128³": lambda p: f"{p.chunks:,}",
        "… within the limit `blocks`": lambda p: yes[p.is_within_limit],
        "sums of indices fit 64 bits": lambda p: yes[p.has_exact_sums],
        "opening: requests": lambda p: str(OPENING_REQUESTS),
        "… memory": lambda p: bytes_text(p.opening_bytes),
        "all counts: requests beyond these": lambda p: str(INDEX_REQUESTS),
        "… memory, of the label index": lambda p: bytes_text(p.index_bytes),
        "… checking the index": lambda p: seconds_text(p.index_seconds),
        "a cropped mask: requests beyond these": lambda p: str(CHUNKS_READ + RECORDS_REQUESTS),
        "… tasks of its graph": lambda p: str(CHUNKS_OF_BOX + CHUNKS_READ),
        "… memory, of the labels of all chunks": lambda p: bytes_text(p.label_bytes),
        "… and of the records of all chunks": lambda p: bytes_text(p.records_bytes),
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
