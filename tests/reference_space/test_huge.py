"""A human brain at 1 µm, 4 × 10⁸ chunks: a crop of it takes no more than one of a small volume."""

import itertools
import tracemalloc

import numpy as np
import pytest
import zarr

import refspace
from refspace import ReferenceSpace, StructureTree
from refspace.label_index import FIELDS, LabelIndex, PartedIndex, large_chunks
from refspace.labels.knowledge import BlockKnowledge, Once

SHAPE, CHUNK = (100_000, 80_000, 110_000), 128
START, STOP = (60_000, 40_000, 99_900), (60_100, 40_050, 100_156)
TREE = StructureTree([{"id": 7, "acronym": "S", "name": "S", "structure_id_path": [7]}])
BOX = tuple(slice(a, b) for a, b in zip(START, STOP, strict=True))


def rows_of(number, low, high):
    """Rows of a chunk between two corners, of background and the box of one structure."""
    inside = [(max(a, x), min(b, y)) for a, b, x, y in zip(low, high, START, STOP, strict=True)]
    count, sums = measured(zip(low, high, strict=True))
    if any(a >= b for a, b in inside):
        return [[number, 0, count, *low, *high, *sums]]
    own, own_sums = measured(inside)
    first, last = zip(*inside, strict=True)
    row = [number, 7, own, *first, *last, *own_sums]
    if own == count:
        return [row]
    rest = [a - b for a, b in zip(sums, own_sums, strict=True)]
    return [[number, 0, count - own, *low, *high, *rest], row]


def measured(box):
    """Voxels of a box and sums of their indices."""
    box, count = [*box], 1
    for a, b in box:
        count *= b - a
    return count, [count * (a + b - 1) // 2 for a, b in box]


def index_of(chunks, start, stop):
    """Index of a part of the volume that is made of whole chunks, but in indices of the whole."""
    edges = [
        [e for e in np.cumsum((0, *sizes)).tolist() if a <= e <= b]
        for sizes, a, b in zip(chunks, start, stop, strict=True)
    ]
    corners = itertools.product(*(itertools.pairwise(along) for along in edges))
    rows = [
        row
        for number, box in enumerate(corners)
        for row in rows_of(number, *map(list, zip(*box, strict=True)))
    ]
    table = np.array(rows, np.int64).reshape(-1, len(FIELDS)).T
    return table, [tuple(np.diff(along).tolist()) for along in edges]


def cut_out(chunks, start, stop):
    """Index of such a part, in indices of the part."""
    table, own = index_of(chunks, start, stop)
    shift = np.array(start)[:, np.newaxis]
    table[3:6], table[6:9] = table[3:6] - shift, table[6:9] - shift
    table[9:12] -= shift * table[2]
    return LabelIndex([b - a for a, b in zip(start, stop, strict=True)], own, table)


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    """The volume, of which the chunks of one structure are written."""
    path = tmp_path_factory.mktemp("huge") / "labels.zarr"
    array = zarr.create_array(path, shape=SHAPE, chunks=(CHUNK,) * 3, dtype="u4", fill_value=0)
    array[BOX] = 7
    with refspace.set_limits(blocks=10**9):
        bare = refspace.open(path, structures=TREE, resolution=1, orientation="PIR")
        chunks = bare.volume.chunks
        large = large_chunks(chunks, tuple((n,) for n in SHAPE))
        coarse = LabelIndex(SHAPE, large, index_of(large, (0, 0, 0), SHAPE)[0])
        index = PartedIndex(SHAPE, chunks, coarse, lambda *ends: cut_out(chunks, *ends))
        known = BlockKnowledge.indexed(Once.from_value(index), chunks)
        yield ReferenceSpace.from_volume(TREE, bare.volume.with_knowledge(known))


def test_counts_and_centroids_are_exact(space):
    count, sums = measured(zip(START, STOP, strict=True))
    assert space.total_voxel_map == {7: count}
    voxels, whole = measured([(0, n) for n in SHAPE])
    assert space.label_index.counts() == {0: voxels - count, 7: count}
    assert max(whole) > 2**64
    assert space.label_index.coordinate_sums([0, 7]) == (voxels, tuple(whole))
    assert space.bounds("S").voxels == dict(zip(("ap", "dv", "ml"), BOX, strict=True))
    table = space.region_properties(["S"]).compute()
    for dim, total in zip(("ap", "dv", "ml"), sums, strict=True):
        centre = total / count + 0.5
        assert space.centroid("S")[dim] == pytest.approx(centre, rel=1e-15)
        assert float(table[f"{dim}_centroid"][0]) == pytest.approx(centre, rel=1e-15)


def test_a_crop_lists_the_chunks_of_its_box_alone(space):
    tracemalloc.start()
    mask = space.make_structure_mask("S", crop=True)
    inside = mask.compute(scheduler="synchronous")
    part = space.crop("S", pad=4)
    image = part.get_slice_image("ap", START[0] + 10.5).compute(scheduler="synchronous")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert bool(inside.all())
    assert inside.shape == tuple(b - a for a, b in zip(START, STOP, strict=True))
    assert part.total_voxel_map == {7: inside.size}
    assert image.shape == (58, 264, 3)
    # 4 × 10⁸ of anything would take more.
    assert peak < 2**28
